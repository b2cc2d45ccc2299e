"""The chain: what is tried again, what is asked of the next model, and what never is."""

import asyncio
from collections.abc import Callable, Sequence

import pytest
import structlog

from amrikyy.errors import (
    ContextTooLong,
    ModelCircuitOpen,
    ModelError,
    ModelKeyRejected,
    ModelMalformed,
    ModelOverloaded,
    ModelQuotaExceeded,
    ModelRateLimited,
    ModelRefused,
    ModelTimeout,
    ModelUnreachable,
)
from amrikyy.http_client import HttpClient
from amrikyy.llm.breaker import Breaker
from amrikyy.llm.chain import ModelChain, Retry
from amrikyy.llm.request import Emit, Request, Usage
from tests.llm.asking import KEY, Answer, Protocol, ask, attempt, until, wire_client
from tests.model_server import Behaviour, ModelServer

Step = Sequence[str | Exception]


class Scripted:
    """A client that says what its script says, call by call; the last entry stays."""

    def __init__(self, name: str, *script: Step) -> None:
        self.name = name
        self.calls = 0
        self.closed = False
        self._script = script

    async def stream(self, request: Request, emit: Emit) -> None:
        del request
        step = self._script[min(self.calls, len(self._script) - 1)]
        self.calls += 1
        for item in step:
            if isinstance(item, Exception):
                raise item
            if item == "hang":
                await asyncio.Event().wait()
            emit([item])
        emit(Usage(model=self.name, provider="test"))

    async def ping(self) -> None:
        raise ModelUnreachable("no", model=self.name)

    async def close(self) -> None:
        self.closed = True


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Slept(list[float]):
    async def __call__(self, seconds: float) -> None:
        self.append(seconds)


@pytest.fixture
def slept() -> Slept:
    return Slept()


def chain(
    *clients: Scripted, slept: Slept, breakers: list[Breaker] | None = None, retry: Retry | None = None
) -> ModelChain:
    made = breakers or [Breaker() for _ in clients]
    return ModelChain(list(zip(clients, made, strict=True)), retry=retry, sleep=slept)


def failing(kind: Callable[..., ModelError], name: str = "a", retry_after_s: float | None = None) -> Step:
    return [kind(f"{name} failed", model=name, retry_after_s=retry_after_s)]


def rejected(answer: Answer) -> ModelError:
    assert answer.error is not None
    return answer.error


# --- Trying again ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [ModelOverloaded, ModelRateLimited, ModelUnreachable, ModelMalformed])
async def test_what_may_pass_is_tried_again(kind: type[ModelError], slept: Slept) -> None:
    client = Scripted("a", failing(kind), failing(kind), ["yes"])
    assert (await ask(chain(client, slept=slept))).text == "yes"
    assert client.calls == 3
    assert 0 <= slept[0] <= 0.5
    assert 0 <= slept[1] <= 1.0


async def test_after_three_attempts_it_is_an_error(slept: Slept) -> None:
    client = Scripted("a", failing(ModelOverloaded))
    assert isinstance(rejected(await attempt(chain(client, slept=slept))), ModelOverloaded)
    assert client.calls == 3
    assert len(slept) == 2


@pytest.mark.parametrize("kind", [ModelKeyRejected, ModelQuotaExceeded, ContextTooLong, ModelRefused, ModelTimeout])
async def test_what_does_not_pass_is_not_tried_again(kind: type[ModelError], slept: Slept) -> None:
    client = Scripted("a", failing(kind), ["yes"])
    assert type(rejected(await attempt(chain(client, slept=slept)))) is kind
    assert (client.calls, slept) == (1, [])


async def test_pauses_grow_are_capped_and_differ() -> None:
    retry = Retry(attempts=9, base_s=0.5, cap_s=2)
    for number, most in ((1, 0.5), (2, 1), (3, 2), (8, 2)):
        pauses = [retry.pause_s(number, None) or 0 for _ in range(200)]
        assert most / 2 <= min(pauses) < most * 0.6
        assert most * 3 / 4 < max(pauses) <= most


async def test_the_providers_retry_after_is_waited_for_exactly(slept: Slept) -> None:
    client = Scripted("a", failing(ModelRateLimited, retry_after_s=7.5), ["yes"])
    assert (await ask(chain(client, slept=slept))).text == "yes"
    assert slept == [7.5]


async def test_a_retry_after_that_is_too_long_is_not_waited_for(slept: Slept) -> None:
    client, other = Scripted("a", failing(ModelRateLimited, retry_after_s=8.1)), Scripted("b", ["b"])
    assert (await ask(chain(client, other, slept=slept))).text == "b"
    assert (client.calls, slept) == (1, [])
    error = rejected(await attempt(chain(client, slept=slept)))
    assert (error.retry_after_s, slept) == (8.1, [])


async def test_no_pause_goes_beyond_the_time_for_the_whole_call(slept: Slept) -> None:
    client = Scripted("a", failing(ModelRateLimited, retry_after_s=5))
    limited = ModelChain([(client, Breaker())], total_s=4, sleep=slept)
    assert isinstance(rejected(await attempt(limited)), ModelRateLimited)
    assert (client.calls, slept) == (1, [])


async def test_cancelling_during_a_pause_ends_it() -> None:
    client = Scripted("a", failing(ModelRateLimited, retry_after_s=5))
    reading = asyncio.create_task(attempt(ModelChain([(client, Breaker())])))
    await until(lambda: client.calls == 1)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading


@pytest.mark.parametrize("header", ["2", "0"])
async def test_retry_after_comes_from_the_wire(
    protocol: Protocol, server: ModelServer, http: HttpClient, slept: Slept, header: str
) -> None:
    server.script.append(Behaviour(status=429, headers={"Retry-After": header}))
    wire = ModelChain([(wire_client(protocol, server.url, http), Breaker())], sleep=slept)
    assert (await ask(wire)).text.startswith("# ")
    assert slept == [float(header)]


# --- The next model ----------------------------------------------------------------------------------


async def test_the_next_model_answers_where_one_fails(slept: Slept) -> None:
    first, second = Scripted("a", failing(ModelKeyRejected)), Scripted("b", ["from b"])
    answer = await ask(chain(first, second, slept=slept))
    assert (answer.text, answer.usage.model) == ("from b", "b")


async def test_a_refusal_is_not_carried_to_the_next_model(slept: Slept) -> None:
    first, second = Scripted("a", failing(ModelRefused)), Scripted("b", ["from b"])
    assert isinstance(rejected(await attempt(chain(first, second, slept=slept))), ModelRefused)
    assert second.calls == 0


async def test_when_all_fail_the_details_name_every_model(slept: Slept) -> None:
    clients = [
        Scripted("a", failing(ModelOverloaded, "a")),
        Scripted("b", failing(ModelKeyRejected, "b")),
        Scripted("c", failing(ModelTimeout, "c")),
    ]
    error = rejected(await attempt(chain(*clients, slept=slept)))
    assert isinstance(error, ModelTimeout)
    told = [(each["model"], each["code"]) for each in error.details]
    assert told == [("a", "model_overloaded"), ("b", "model_key_rejected"), ("c", "model_timeout")]


@pytest.mark.parametrize("kind", [ModelOverloaded, ModelUnreachable, ModelTimeout, ModelMalformed])
async def test_after_the_first_token_nothing_is_begun_again(kind: type[ModelError], slept: Slept) -> None:
    first, second = Scripted("a", ["half ", kind("broke", model="a")]), Scripted("b", ["from b"])
    answer = await attempt(chain(first, second, slept=slept))
    assert (answer.text, type(answer.error)) == ("half ", kind)
    assert (first.calls, second.calls, slept) == (1, 0, [])


async def test_a_stream_that_breaks_before_its_first_token_is_begun_again(
    protocol: Protocol, server: ModelServer, http: HttpClient, slept: Slept
) -> None:
    server.script += [
        Behaviour(pieces=[], cut=True),
        Behaviour(pieces=[], garbage=b"data: {\n\n"),
        Behaviour(pieces=["yes"]),
    ]
    wire = ModelChain([(wire_client(protocol, server.url, http), Breaker())], sleep=slept)
    assert (await ask(wire)).text == "yes"
    assert len(server.requests) == 3


async def test_an_error_that_is_none_of_a_models_is_not_hidden(slept: Slept) -> None:
    client, breaker = Scripted("a", [ZeroDivisionError()]), Breaker(failures=1)
    with pytest.raises(ZeroDivisionError):
        await attempt(chain(client, slept=slept, breakers=[breaker]))
    assert breaker.state == "closed"


async def test_closing_closes_every_client_and_ping_asks_the_first(slept: Slept) -> None:
    clients = Scripted("a", ["x"]), Scripted("b", ["x"])
    both = chain(*clients, slept=slept)
    assert both.name == "a,b"
    with pytest.raises(ModelUnreachable):
        await both.ping()
    await both.close()
    assert [each.closed for each in clients] == [True, True]


async def test_what_it_logs_names_no_key(
    protocol: Protocol, server: ModelServer, http: HttpClient, slept: Slept
) -> None:
    server.rule = lambda _: Behaviour(status=503, body={"error": {"message": f"key {KEY}"}})
    wire = wire_client(protocol, server.url, http)
    with structlog.testing.capture_logs() as logs:
        error = rejected(await attempt(ModelChain([(wire, Breaker()), (wire, Breaker(failures=1))], sleep=slept)))
    assert {each["event"] for each in logs} == {"model_retry", "model_fallback", "model_circuit"}
    assert KEY not in str(logs) + str(error.details)


# --- The breaker in the chain ------------------------------------------------------------------------


async def test_a_model_that_keeps_failing_is_left_alone_and_then_probed(slept: Slept) -> None:
    clock = Clock()
    breaker = Breaker(monotonic=clock)
    client = Scripted("a", *[failing(ModelOverloaded)] * 5, ["yes"])
    alone = chain(client, slept=slept, breakers=[breaker], retry=Retry(attempts=1))
    for _ in range(5):
        assert isinstance(rejected(await attempt(alone)), ModelOverloaded)
    clock.now += 20
    error = rejected(await attempt(alone))
    assert isinstance(error, ModelCircuitOpen)
    assert (error.status, error.retry_after_s, error.model) == (503, 40, "a")
    assert client.calls == 5
    clock.now += 40
    assert (await ask(alone)).text == "yes"
    assert breaker.state == "closed"


async def test_retries_stop_when_the_breaker_opens(slept: Slept) -> None:
    breaker = Breaker(failures=2)
    client = Scripted("a", failing(ModelOverloaded))
    error = rejected(await attempt(chain(client, slept=slept, breakers=[breaker])))
    assert [each["code"] for each in error.details] == ["model_overloaded"]
    assert client.calls == 2


async def test_an_open_breaker_sends_calls_to_the_next_model_at_once(slept: Slept) -> None:
    breaker = Breaker(failures=1)
    opening = breaker.enter()
    assert opening is not None
    opening.end("failed")
    first, second = Scripted("a", ["a"]), Scripted("b", ["b"])
    assert (await ask(chain(first, second, slept=slept, breakers=[breaker, Breaker()]))).text == "b"
    assert (first.calls, slept) == (0, [])


@pytest.mark.parametrize("kind", [ModelRefused, ContextTooLong])
async def test_what_is_the_callers_fault_does_not_open_it(kind: type[ModelError], slept: Slept) -> None:
    breaker = Breaker(failures=1)
    await attempt(chain(Scripted("a", failing(kind)), slept=slept, breakers=[breaker]))
    assert breaker.state == "closed"


async def test_a_failure_after_the_first_token_counts(slept: Slept) -> None:
    breaker = Breaker(failures=1)
    await attempt(chain(Scripted("a", ["half", ModelTimeout("late")]), slept=slept, breakers=[breaker]))
    assert breaker.state == "open"


async def test_a_cancelled_probe_frees_the_slot_and_others_wait_for_it(slept: Slept) -> None:
    clock = Clock()
    breaker = Breaker(failures=1, monotonic=clock)
    client = Scripted("a", failing(ModelOverloaded), ["hang"], ["yes"])
    alone = chain(client, slept=slept, breakers=[breaker], retry=Retry(attempts=1))
    await attempt(alone)
    clock.now += 60
    probing = asyncio.create_task(attempt(alone))
    await until(lambda: client.calls == 2)
    assert isinstance(rejected(await attempt(alone)), ModelCircuitOpen)
    probing.cancel()
    await asyncio.gather(probing, return_exceptions=True)
    assert (await ask(alone)).text == "yes"
    assert breaker.state == "closed"


async def test_a_probe_whose_reader_leaves_frees_the_slot(slept: Slept) -> None:
    clock = Clock()
    breaker = Breaker(failures=1, monotonic=clock)
    opening = breaker.enter()
    assert opening is not None
    opening.end("failed")
    clock.now += 60
    said = Answer()
    asked = chain(Scripted("a", ["one", "hang"]), slept=slept, breakers=[breaker])
    reading = asyncio.create_task(asked.stream(Request(prompt="x"), said.take))
    await until(lambda: said.text == "one")
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    assert breaker.enter()
