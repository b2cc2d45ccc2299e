"""Every error that the server raises on purpose, as one tree, each with its HTTP status.

Raise one of these anywhere below `web`; a single handler there turns it into the one JSON body (or,
after the first byte of a stream, into an `error` event with the same body).
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pydantic import BaseModel, ValidationError

from amrikyy.wrong_fields import wrong_fields

MAX_DETAILS = 100
"""Wrong fields that one answer names: a body of 60,000 unknown ones would else be answered with 8 MB."""


class AmrikyyError(Exception):
    """An error with an answer: what happened, what to do about it, and the status that says whose turn it is.

    Attributes:
        status: HTTP status code.
        code: a stable snake_case word that a program can switch on: the class' own, or a more exact one of its `codes`.
        codes: the more exact words, for the documentation; nothing else may be raised.
        title: a short title for a person.
        message: what happened and what to do. Never contains a secret, a prompt or a stack trace.
        details: structured particulars, for example one entry per wrong field.
        retry_after_s: when it is worth trying again, if that is known.
    """

    status: int = 500
    code: str = "internal_error"
    codes: ClassVar[tuple[str, ...]] = ()
    title: str = "Internal error"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        details: Sequence[dict[str, Any]] = (),
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.details = list(details)
        self.retry_after_s = retry_after_s
        if code is not None:
            assert code == self.code or code in self.codes, f"{code} is missing in {type(self).__name__}.codes"
            self.code = code

    @property
    def record(self) -> dict[str, Any]:
        """What is recorded of it for good, as JSON values, and told to other processes; `error_of` reads it."""
        return {
            "status": self.status,
            "error": self.title,
            "code": self.code,
            "message": self.message,
            "details": self.details,
            "retry_after_s": self.retry_after_s,
        }


# --- The caller's turn -------------------------------------------------------------------------------


class ValidationFailed(AmrikyyError):
    """The body, a parameter or a header is wrong; `details` names every wrong field at once."""

    status = 400
    code = "validation_failed"
    codes = (
        "malformed_request",
        "malformed_body",
        "body_timeout",
        "exceeds_limit",
        "price_unknown",
    )
    title = "Validation failed"

    @classmethod
    def from_pydantic(
        cls,
        error: ValidationError,
        model: type[BaseModel],
        *,
        where: str = "fields",
        also: Sequence[dict[str, Any]] = (),
    ) -> "ValidationFailed":
        """Name every wrong field, up to MAX_DETAILS. The values are left out: they may be secrets or prompts.

        `also` is what else is known to be wrong.
        """
        details = wrong_fields(error, model, MAX_DETAILS)
        if any(detail["type"] == "json_invalid" for detail in details):
            return cls(f"The body cannot be read. {details[0]['message']}.", code="malformed_body", details=details)
        named = {detail["field"] for detail in details}
        return cls.of([*details, *(each for each in also if each["field"] not in named)][:MAX_DETAILS], where=where)

    @classmethod
    def of(cls, details: Sequence[dict[str, Any]], *, where: str = "fields") -> "ValidationFailed":
        """Name these fields."""
        names = ", ".join(dict.fromkeys(detail["field"] for detail in details))
        return cls(f"Correct these {where} and send the request again: {names}.", details=details)


class Unauthenticated(AmrikyyError):
    """No credential, or one that is wrong, expired or revoked."""

    status = 401
    code = "unauthenticated"
    codes = (
        "missing_credential",
        "ambiguous_credentials",
        "malformed_authorization",
        "invalid_credential",
        "invalid_token",
        "token_expired",
        "session_over",
        "account_disabled",
        "invalid_api_key",
        "invalid_login",
        "invalid_reset",
        "email_not_confirmed",
        "second_factor_required",
        "anonymous_user",
        "login_refused",
    )
    title = "Authentication required"


class BudgetSpent(AmrikyyError):
    """The caller's budget does not cover the call."""

    status = 402
    code = "budget_spent"
    codes = ("cost_ceiling",)
    title = "Budget spent"


class Forbidden(AmrikyyError):
    """The caller is known, and may not do this."""

    status = 403
    code = "forbidden"
    codes = (
        "no_session",
        "role_too_high",
        "wrong_password",
        "users_elsewhere",
        "change_refused",
    )
    title = "Forbidden"


class NotFound(AmrikyyError):
    """There is no such thing, or it is not the caller's to see."""

    status = 404
    code = "not_found"
    codes = (
        "no_such_path",
        "agent_not_found",
        "operation_not_found",
        "run_not_found",
        "workflow_not_found",
        "user_not_found",
        "key_not_found",
        "budget_not_found",
        "trace_not_found",
    )
    title = "Not found"


class MethodNotAllowed(AmrikyyError):
    """The path exists, the method does not."""

    status = 405
    code = "method_not_allowed"
    title = "Method not allowed"


class Conflict(AmrikyyError):
    """The request contradicts what already is."""

    status = 409
    code = "conflict"
    codes = (
        "user_exists",
        "last_admin",
        "no_password",
        "run_ended",
        "idempotency_conflict",
        "other_run",
        "other_request",
        "no_such_event",
        "workflow_ended",
        "workflow_in_use",
        "workflow_built_in",
    )
    title = "Conflict"


class RunCancelled(Conflict):
    """The run was cancelled before it had a result."""

    code = "run_cancelled"
    title = "Run cancelled"


class Gone(AmrikyyError):
    """It existed, and can no longer be had."""

    status = 410
    code = "gone"
    title = "Gone"


class BodyTooLarge(AmrikyyError):
    """The body is over the limit."""

    status = 413
    code = "body_too_large"
    title = "Body too large"


class UnsupportedMediaType(AmrikyyError):
    """The body is not declared as JSON."""

    status = 415
    code = "unsupported_media_type"
    title = "Unsupported media type"


class RateLimited(AmrikyyError):
    """A limit refused the request."""

    status = 429
    code = "rate_limited"
    codes = (
        "rate_limited_global",
        "rate_limited_admin",
        "rate_limited_agent",
        "rate_limited_operation",
        "rate_limited_login",
    )
    title = "Too many requests"


# --- Our turn ----------------------------------------------------------------------------------------


class InternalError(AmrikyyError):
    """Something that the server, or the author of an agent, did not foresee; the log has the traceback."""

    codes = (
        "wrong_result",
        "output_too_large",
        "too_many_runs",
    )


class Undecryptable(AmrikyyError):
    """A stored value is encrypted, and cannot be read with the keys that there are; the log says where it is."""

    code = "undecryptable"
    title = "Stored value cannot be decrypted"

    def __init__(self) -> None:
        super().__init__(
            "This value is stored encrypted, and none of the server's encryption keys can read it. "
            "The server's log names the key that is missing."
        )


class Unavailable(AmrikyyError):
    """A needed dependency is down, or the server is full, overloaded or draining."""

    status = 503
    code = "unavailable"
    codes = (
        "database_unavailable",
        "database_outdated",
        "database_newer",
        "server_full",
        "overloaded",
        "draining",
        "run_elsewhere",
        "login_busy",
        "supabase_unavailable",
        "supabase_key_rejected",
        "supabase_malformed",
        "supabase_misconfigured",
    )
    title = "Service unavailable"


class RunLost(Unavailable):
    """The process that produced the run died before the run had ended."""

    code = "run_lost"
    title = "Run lost"


class HandedOver(Unavailable):
    """This process stops, and the run, which another one works on, is read on at any other."""

    code = "draining"


class RedisUnavailable(Unavailable):
    """Redis cannot be reached, answers too late, or cannot do its work. Whoever can go on without it catches this."""

    code = "redis_unavailable"


class RedisRefused(RedisUnavailable):
    """Redis answered with an error."""


class DeadlineExceeded(AmrikyyError):
    """The run took longer than it may."""

    status = 504
    code = "deadline_exceeded"
    title = "Deadline exceeded"


# --- The model provider's turn -----------------------------------------------------------------------


class ModelError(AmrikyyError):
    """A model provider failed.

    Attributes:
        model: which one, as `provider:model`.
        retryable: the same call may succeed if it is made again shortly.
        fallback: another model may succeed where this one failed.
        counts: a failure of the provider, so the circuit breaker counts it (a refusal is none).
    """

    status = 502
    code = "model_failed"
    title = "Model failed"
    retryable: ClassVar[bool] = False
    fallback: ClassVar[bool] = True
    counts: ClassVar[bool] = True

    def __init__(
        self,
        message: str,
        *,
        model: str = "",
        code: str | None = None,
        details: Sequence[dict[str, Any]] = (),
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message, code=code, details=details, retry_after_s=retry_after_s)
        self.model = model


class ModelKeyRejected(ModelError):
    """The provider does not accept our key (HTTP 401, 403, or Gemini's API_KEY_INVALID)."""

    code = "model_key_rejected"
    title = "Model key rejected"


class ModelNotFound(ModelError):
    """The provider does not know the model (HTTP 404)."""

    code = "model_not_found"
    title = "Model not found"


class ModelRequestRejected(ModelError):
    """The provider says that our request is wrong (HTTP 400)."""

    code = "model_request_rejected"
    title = "Model request rejected"
    counts = False


class ModelQuotaExceeded(ModelError):
    """The account with the provider has no quota left; waiting seconds does not help."""

    code = "model_quota_exceeded"
    title = "Model quota exceeded"


class ModelRateLimited(ModelError):
    """The provider asks us to slow down (HTTP 429)."""

    code = "model_rate_limited"
    title = "Model rate limited"
    retryable = True


class ModelOverloaded(ModelError):
    """The provider is overloaded or failing (HTTP 5xx)."""

    code = "model_overloaded"
    title = "Model overloaded"
    retryable = True


class ModelUnreachable(ModelError):
    """No connection to the provider, or it broke."""

    code = "model_unreachable"
    title = "Model unreachable"
    retryable = True


class ModelRefused(ModelError):
    """The provider's safety system refused the prompt or the answer."""

    code = "model_refused"
    title = "Model refused"
    fallback = False  # asking the next model would be a way around a refusal
    counts = False


class ContextTooLong(ModelError):
    """The prompt does not fit the model's context: the caller's request is too large for it."""

    status = 400
    code = "context_too_long"
    title = "Context too long"
    counts = False


class ModelMalformed(ModelError):
    """The provider answered something that its protocol, or the operation's result, does not allow."""

    code = "model_malformed"
    title = "Malformed model answer"
    retryable = True


class ModelTimeout(ModelError):
    """The provider did not connect, begin, go on or end in time."""

    status = 504
    code = "model_timeout"
    title = "Model timeout"


class ModelCircuitOpen(ModelError):
    """The model failed repeatedly; its circuit breaker is open and no call was made."""

    status = 503
    code = "model_circuit_open"
    title = "Model unavailable"
    counts = False


# --- From a record -----------------------------------------------------------------------------------


def error_of(record: Mapping[str, Any]) -> AmrikyyError:
    """An error from its record. Its class is lost, except that of a cancellation, which is a status of its own."""
    kind = RunCancelled if record["code"] == RunCancelled.code else AmrikyyError
    error = kind(record["message"], details=record["details"], retry_after_s=record.get("retry_after_s"))
    error.status, error.code, error.title = record["status"], record["code"], record["error"]
    return error
