"""Turns a provider's error response into an error by cause, worded for the operator and free of secrets."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from amrikyy.errors import (
    ContextTooLong,
    ModelError,
    ModelKeyRejected,
    ModelMalformed,
    ModelNotFound,
    ModelOverloaded,
    ModelQuotaExceeded,
    ModelRateLimited,
    ModelRefused,
    ModelRequestRejected,
)

MAX_QUOTE = 300
"""The most characters of a provider's own message that are passed on."""

ECHO = 24
"""A run of this many characters that also occurs in the prompt is an echo of it and is left out of a quote."""

LONGEST_WAIT_S = 31 * 86_400
"""The longest that a provider is believed to want to be left alone: until a quota of a month is there again."""

_KEY = re.compile(
    r"(?i)\b(?:api[-_]?)?key=[^\s&\"']+|\bbearer\s+[^\s\"',]+|\bx-goog-api-key\W+[^\s\"',]+|\b(?:sk-|AIza)[\w\-*.]{4,}"
)


@dataclass(frozen=True, slots=True)
class Origin:
    """The model that failed, and the variables that the operator would change.

    Attributes:
        model: `provider:model`.
        service: the provider's name for people.
        key_variable, url_variable: where its key and its address are configured.
        secret: the configured key, so that it can be kept out of every message.
    """

    model: str
    service: str
    key_variable: str
    url_variable: str
    secret: str | None


@dataclass(frozen=True, slots=True)
class Complaint:
    """What a provider said was wrong.

    Attributes:
        message: its own message.
        code: its own error code.
        kind: the cause, where the protocol names it; else the status decides.
        retry_after_s: seconds after which it is worth asking again.
    """

    message: str = ""
    code: str = ""
    kind: type[ModelError] | None = None
    retry_after_s: float | None = None


_ADVICE: dict[type[ModelError], str] = {
    ModelKeyRejected: "{service} does not accept the key for {model}; check {key_variable}.",
    ModelNotFound: "{service} has no model {model}; check its name in MODELS or GEMINI_MODEL, and {url_variable}.",
    ModelQuotaExceeded: "The account with {service} has no quota left for {model}; raise it there.",
    ModelRateLimited: "{service} asks us to slow down for {model}; try again later.",
    ModelOverloaded: "{service} cannot serve {model} right now (HTTP {status}); try again later.",
    ContextTooLong: "The request is too long for {model}; shorten it.",
    ModelRefused: "The safety system of {model} refused the prompt or the answer; rephrase the request.",
    ModelRequestRejected: "{service} rejected the request to {model} (HTTP {status}).",
    ModelMalformed: "{service} reported an error for {model} that its protocol does not know.",
}


def cause(origin: Origin, status: int, complaint: Complaint, prompts: Sequence[str] = ()) -> ModelError:
    """The error for a response that holds no answer. `prompts` are kept out of its message."""
    kind = complaint.kind or by_status(status)
    text = _ADVICE[kind].format(
        service=origin.service,
        model=origin.model,
        key_variable=origin.key_variable,
        url_variable=origin.url_variable,
        status=status,
    )
    if 300 <= status < 400:
        text += f" It redirects elsewhere; check {origin.url_variable}."
    text += quote(complaint.message, origin.secret, prompts)
    wait_s = complaint.retry_after_s
    if wait_s is not None:  # it may be anything that is a float
        wait_s = None if math.isnan(wait_s) else min(wait_s, LONGEST_WAIT_S)
    return kind(text, model=origin.model, retry_after_s=wait_s)


def by_status(status: int) -> type[ModelError]:
    """The cause that an HTTP status stands for."""
    named: dict[int, type[ModelError]] = {
        401: ModelKeyRejected,
        402: ModelQuotaExceeded,
        403: ModelKeyRejected,
        404: ModelNotFound,
        408: ModelOverloaded,
        413: ContextTooLong,
        429: ModelRateLimited,
    }
    return named.get(status) or (ModelOverloaded if status >= 500 or status < 200 else ModelRequestRejected)


def quote(message: str, secret: str | None, prompts: Sequence[str] = ()) -> str:
    """A provider's own message: short, and without keys or the prompt. Empty if it said nothing."""
    text = " ".join(message[: 8 * MAX_QUOTE].split())
    # Keys go first: cutting first could leave half a key that no pattern knows.
    if secret:
        text = text.replace(secret, "***")
    text = _without_echo(_KEY.sub("***", text)[: 2 * MAX_QUOTE], prompts)
    if len(text) > MAX_QUOTE:
        text = text[: MAX_QUOTE - 1] + "…"
    return f' It says: "{text}"' if text else ""


def _without_echo(text: str, prompts: Sequence[str]) -> str:
    said = [" ".join(prompt.split()) for prompt in prompts]
    kept: list[str] = []
    position = 0
    while position < len(text):
        window = text[position : position + ECHO]
        if not any(len(window) == ECHO and window in prompt for prompt in said):
            kept.append(text[position])
            position += 1
            continue
        end = position + ECHO
        while end < len(text) and any(text[position : end + 1] in prompt for prompt in said):
            end += 1
        kept.append("…")
        position = end
    return "".join(kept)


def retry_after_s(value: str, milliseconds: str = "") -> float | None:
    """The Retry-After header in seconds: a number or a date (RFC 9110 §10.2.3); OpenAI's retry-after-ms is finer."""
    try:
        if milliseconds:
            return max(0.0, float(milliseconds) / 1000)
        value = value.strip()
        if not value:
            return None
        if value.replace(".", "", 1).isdigit():
            return float(value)
        when = parsedate_to_datetime(value)
        ahead_s = (when.replace(tzinfo=when.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
        return ahead_s if ahead_s > 0 else None
    except (TypeError, ValueError):
        return None
