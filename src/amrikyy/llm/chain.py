"""A fallback chain of models: each is tried a few times, then the next one, but never after the first text."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from time import perf_counter_ns

import msgspec
import structlog
from msgspec import structs

from amrikyy.errors import ModelCircuitOpen, ModelError, ModelTimeout
from amrikyy.llm.breaker import Breaker, Call, Outcome
from amrikyy.llm.request import Client, Emit, Pieces, Request, Usage
from amrikyy.llm.spans import ModelCall, describe_call

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Retry:
    """How often one model is tried, and the pauses between: exponential, with equal jitter.

    Half of each pause is fixed, which gives a provider the time to restart, and half is random, so that callers that
    failed together do not all retry together (Brooker, "Exponential Backoff and Jitter", AWS 2015).

    Attributes:
        attempts: the most calls of one model, including the first.
        base_s, cap_s: the first pause is at most `base_s`, each further one at most twice as long, up to `cap_s`.
    """

    attempts: int = 3
    base_s: float = 0.5
    cap_s: float = 8.0

    def pause_s(self, attempt: int, retry_after_s: float | None) -> float | None:
        """Seconds to wait after failed attempt number `attempt`, from 1; None when waiting is not worth it."""
        if retry_after_s is not None:
            return retry_after_s if retry_after_s <= self.cap_s else None
        longest = min(self.cap_s, self.base_s * 2 ** (attempt - 1))
        return random.uniform(longest / 2, longest)  # noqa: S311 - no secret


Observe = Callable[[str, str, float, str], None]
"""Called after each call with the model, the agent that it was for, its seconds, and "ok" or the error's code."""


class _Attempt(msgspec.Struct, eq=False):
    """Passes an answer on, and notes when its text has begun: from then on no other model is asked."""

    emit: Emit
    call: Call
    timeout: asyncio.Timeout | None
    begun: bool = False
    begun_ns: int = 0

    def take(self, item: Pieces | Usage) -> None:
        if not self.begun and isinstance(item, list):
            self.begun = True
            self.begun_ns = perf_counter_ns()
            self.call.answers()
            if self.timeout is not None:
                self.timeout.reschedule(None)  # the client's own deadlines hold
        self.emit(item)


class _Link:
    """A model of the chain.

    Attributes:
        label: its name in metrics, without the provider.
    """

    __slots__ = ("breaker", "client", "label")

    def __init__(self, client: Client, breaker: Breaker) -> None:
        self.client = client
        self.breaker = breaker
        self.label = client.name.partition(":")[2] or client.name


class ModelChain:
    """An ordered fallback chain, itself a `Client`."""

    def __init__(
        self,
        links: Sequence[tuple[Client, Breaker]],
        *,
        retry: Retry | None = None,
        total_s: float = 300,
        observe: Observe | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._links = [_Link(*link) for link in links]
        self._retry = retry or Retry()
        self._total_s = total_s
        self._observe = observe
        self._now = clock
        self._sleep = sleep
        self.name = ",".join(link.client.name for link in self._links)

    async def stream(self, request: Request, emit: Emit) -> None:
        """Ask the models in order until one answers; see `Client.stream`.

        Raises:
            ModelError: the last model's error, with the errors of all models in `details`.
        """
        ends_at = self._now() + self._total_s
        failures: list[ModelError] = []
        for link in self._links:
            client, breaker = link.client, link.breaker
            if failures:
                log.warning("model_fallback", model=client.name, after=failures[-1].model, code=failures[-1].code)
            failure: ModelError | None = None
            for number in range(1, self._retry.attempts + 1):
                call = breaker.enter()
                if call is None:
                    failure = failure or _left_alone(client, breaker)  # an earlier failure tells more
                    break
                # The first attempt has all the time that its own deadlines give it.
                left_s = ends_at - self._now() if failures or failure else None
                failure = await self._attempt(link, call, request, emit, left_s, number)
                if failure is None:
                    return
                pause_s = self._pause_s(failure, number, ends_at)
                if pause_s is None or breaker.state == "open":
                    break
                log.info("model_retry", model=client.name, code=failure.code, attempt=number, pause_s=round(pause_s, 3))
                await self._sleep(pause_s)
            assert failure is not None
            failures.append(failure)
            if self._now() >= ends_at:
                break
        raise _summary(failures)

    async def ping(self) -> None:
        """Find out whether any of the models can be reached. Raises the first one's error if none can."""
        first: ModelError | None = None
        for link in self._links:
            try:
                return await link.client.ping()
            except ModelError as error:
                first = first or error
        if first is not None:
            raise first
        return None

    async def close(self) -> None:
        """Close every client."""
        for link in self._links:
            await link.client.close()

    def _pause_s(self, error: ModelError, attempt: int, ends_at: float) -> float | None:
        if not error.retryable or attempt >= self._retry.attempts:
            return None
        pause_s = self._retry.pause_s(attempt, error.retry_after_s)
        return None if pause_s is None or self._now() + pause_s >= ends_at else pause_s

    async def _attempt(
        self, link: _Link, call: Call, request: Request, emit: Emit, left_s: float | None, number: int
    ) -> ModelError | None:
        """Make one call and tell the breaker its outcome. Returns a failure after which a model may be asked again."""
        client, began, outcome = link.client, self._now(), "cancelled"
        verdict: Outcome = "left"
        span = made = None
        if request.span is not None:
            made, span = ModelCall(client.name, request, number), request.span.child()
            if request.calls is not None:
                request.calls.append(made)
            request = structs.replace(request, span=span)
        attempt = _Attempt(emit, call, None)
        try:
            if left_s is None:
                await client.stream(request, attempt.take)
            else:
                async with asyncio.timeout(left_s) as timeout:
                    attempt = _Attempt(emit, call, timeout)
                    await client.stream(request, attempt.take)
            outcome, verdict = "ok", "succeeded"
        except TimeoutError:
            outcome, verdict = ModelTimeout.code, "failed"
            return ModelTimeout(
                f"The model {client.name} did not begin to answer within the {self._total_s:g} s that all attempts "
                "together have (MODEL_TIMEOUT_S).",
                model=client.name,
            )
        except ModelError as error:
            outcome = error.code
            if error.counts:
                verdict = "failed"
            if attempt.begun or not error.fallback:
                raise
            return error
        finally:
            call.end(verdict, outcome)
            if made is not None and span is not None:
                made.outcome = outcome
                if attempt.begun:
                    made.first_text_ms = (attempt.begun_ns - span.began_ns + span.offset_ns) / 1e6
                span.end(describe_call, made)
            if self._observe is not None:
                self._observe(link.label, request.agent, self._now() - began, outcome)
        return None


def _left_alone(client: Client, breaker: Breaker) -> ModelCircuitOpen:
    wait_s = breaker.retry_after_s
    return ModelCircuitOpen(
        f"The model {client.name} failed repeatedly and is left alone for another {wait_s:.0f} s.",
        model=client.name,
        retry_after_s=wait_s,
    )


def _summary(failures: list[ModelError]) -> ModelError:
    """The last error, with what each model said in `details`. A model that was merely skipped hides no real failure."""
    asked = [failure for failure in failures if not isinstance(failure, ModelCircuitOpen)]
    last = asked[-1] if asked else min(failures, key=lambda failure: failure.retry_after_s or 0)
    last.details = [{"model": each.model, "code": each.code, "message": each.message} for each in failures]
    return last
