"""The runner: the one way in which anything is executed, however it ends."""

import asyncio
import gc
import json
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest

from amrikyy.agents import Agent, Request, Result, RunContext, minutes
from amrikyy.agents.reuse import Asked, Flight, Reuse
from amrikyy.agents.runner import Runner
from amrikyy.cache import Cache, MemoryCache
from amrikyy.errors import ModelRefused, NotFound, Unavailable
from amrikyy.llm import Models, ModelsConfig, open_models
from amrikyy.llm.request import Usage
from amrikyy.runs.events import Event
from amrikyy.runs.execution import Execution
from amrikyy.runs.live import LiveRuns
from amrikyy.runs.partial import Fold
from amrikyy.runs.run import Run
from amrikyy.runs.slots import Slots
from amrikyy.sealing import PLAIN
from amrikyy.telemetry.metrics import Metrics
from amrikyy.testing import try_out


class Nothing(Request):
    pass


class Number(Result):
    number: int


class Recorder:
    """Records in memory, and refuses when told."""

    def __init__(self) -> None:
        self.noted: list[tuple[str, str]] = []
        self.full = False

    def note(self, run: Run) -> None:
        if not run.ended:
            self.check()
        self.noted.append((run.id, run.status))

    def check(self) -> None:
        if self.full:
            raise Unavailable("No room.")


agent = Agent("test", "Tests.")


@agent.operation()
async def answer(_: Nothing, run: RunContext) -> Number:
    """Answer."""
    run.progress(0.2, "Thinking")
    run.progress(0.1, "Never back")
    run.progress(1.0, "Nearly")
    return Number(number=42)


@agent.operation()
async def crash(_: Nothing, run: RunContext) -> Number:
    """Crash."""
    raise ZeroDivisionError("secret detail")


@agent.operation()
async def refuse(_: Nothing, run: RunContext) -> Number:
    """Refuse."""
    raise ModelRefused("No.", model="test:x")


@agent.operation(cache_for=minutes(1))
async def refuse_for_all(_: Nothing, run: RunContext) -> Number:
    """Refuse all who ask at the same time."""
    raise ModelRefused("No.", model="test:x")


@agent.operation()
async def misunderstand(_: Nothing, run: RunContext) -> Number:
    """Blame the caller."""
    raise NotFound("No such place.")


@agent.operation()
async def wait(_: Nothing, run: RunContext) -> Number:
    """Wait for ever."""
    await asyncio.sleep(60)
    return Number(number=0)


@agent.operation()
async def delegate(_: Nothing, run: RunContext) -> Number:
    """Ask twice and add up."""
    first, second = await asyncio.gather(run.call(answer, Nothing()), run.call(answer, Nothing()))
    return Number(number=first.number + second.number)


@agent.operation()
async def delegate_waiting(_: Nothing, run: RunContext) -> Number:
    """Wait for a child."""
    return await run.call(wait, Nothing())


@agent.operation()
async def delegate_refused(_: Nothing, run: RunContext) -> Number:
    """Ask for what is refused."""
    return await run.call(refuse, Nothing())


@agent.operation()
async def ask_model(_: Nothing, run: RunContext) -> Number:
    """Ask the model twice."""
    await run.generate(Number, prompt="one")
    return await run.generate(Number, prompt="two")


class Words(Result):
    words: list[str]


@agent.operation()
async def list_words(_: Nothing, run: RunContext) -> Words:
    """List words."""
    return await run.generate(Words, prompt="words")


@agent.operation()
async def write(_: Nothing, run: RunContext) -> str:
    """Write and stumble."""
    run.say("one ")
    run.say("two")
    raise ModelRefused("No more.", model="test:x")


@agent.operation()
async def compose(_: Nothing, run: RunContext) -> str:
    """Write a text."""
    return await run.write(prompt="text", expected_words=100)


@pytest.fixture
async def models() -> AsyncIterator[Models]:
    opened = open_models(ModelsConfig(models="offline", offline_tokens_per_s=0))
    yield opened
    await opened.close()


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
async def runner(models: Models, recorder: Recorder) -> AsyncIterator[Runner]:
    made = Runner(
        models, Cache(MemoryCache(1_000_000)), LiveRuns(keep_s=60), recorder, Slots(100, 100), Metrics(), timeout_s=5
    )
    yield made
    await made.close()


async def run_of(runner: Runner, operation: Any, **options: Any) -> Run:
    run = await runner.start(operation, Nothing(), owner="user:1", **options)
    await run.wait()
    await asyncio.sleep(0)  # one that is alone is counted and recorded once those who waited have been told
    return run


async def test_what_has_just_ended_is_recorded_before_the_runner_is_closed(runner: Runner, recorder: Recorder) -> None:
    run = await runner.start(answer, Nothing(), owner="user:1")
    await run.wait()
    await runner.close()
    assert recorder.noted == [(run.id, "running"), (run.id, "completed")]
    assert runner.tally("test").calls == 1


@pytest.mark.parametrize("beside", [False, True])
async def test_whoever_waits_for_the_only_run_in_progress_is_told_before_it_is_recorded(
    runner: Runner, recorder: Recorder, beside: bool
) -> None:
    if beside:
        await runner.start(wait, Nothing(), owner="user:2")
    run = await runner.start(answer, Nothing(), owner="user:1")
    await run.wait()
    assert ((run.id, "completed") in recorder.noted) is beside
    await asyncio.sleep(0)
    assert recorder.noted.count((run.id, "completed")) == 1


@pytest.mark.parametrize("operation", [answer, refuse, crash, delegate, delegate_refused, wait, delegate_waiting])
async def test_the_deadline_of_a_run_that_has_ended_is_not_kept(runner: Runner, operation: Any) -> None:
    run = await runner.start(operation, Nothing(), owner="user:1")
    await asyncio.sleep(0.01)
    run.cancel("Enough.")
    await run.wait()
    async with asyncio.timeout(1):
        while runner.running:
            await asyncio.sleep(0)
    assert not runner._deadlines._due


async def test_a_run_that_takes_too_long_ends_with_its_parts_which_did_not_fail(
    runner: Runner, recorder: Recorder
) -> None:
    first = await runner.start(wait, Nothing(), owner="user:1", deadline_s=0.02)
    run = await runner.start(delegate_waiting, Nothing(), owner="user:1", deadline_s=0.04)
    await asyncio.gather(first.wait(), run.wait())
    async with asyncio.timeout(1):
        while runner.running:
            await asyncio.sleep(0)
    ends = [status for _, status in recorder.noted if status != "running"]
    assert sorted(ends) == ["cancelled", "failed", "failed"]
    assert not runner._deadlines._due


async def test_a_run_is_a_list_of_events_that_ends_with_its_result(runner: Runner, recorder: Recorder) -> None:
    run = await run_of(runner, answer)
    assert run.execution.events == [
        Event("started"),
        Event("progress", (20, "Thinking")),
        Event("progress", (99, "Nearly")),
        Event("progress", (100, "Done")),
        Event("completed"),
    ]
    assert run.execution.outcome is not None
    assert run.execution.outcome.result == b'{"number":42}'
    assert recorder.noted == [(run.id, "running"), (run.id, "completed")]
    assert runner.live.get(run.id) is run


async def test_a_run_that_takes_over_begun_work_never_falls_behind_what_was_shown(runner: Runner) -> None:
    run = Run(owner="user:1", agent="test", operation="answer", request=b"{}", deadline_s=5)
    run.execution.events += [Event("started"), Event("progress", (40, "Elsewhere"))]
    context = RunContext(runner, run, answer, Nothing())
    context.progress(0.2, "Again")
    context.progress(0.5, "Further")
    assert run.execution.events[2:] == [Event("progress", (50, "Further"))]


async def test_how_far_a_text_is_goes_to_those_who_see_it_grow(runner: Runner) -> None:
    async def events(*, streams: bool) -> list[str]:
        run = await run_of(runner, compose, streams=streams)
        return [event.kind for event in run.execution.events]

    seen, unseen = await events(streams=True), await events(streams=False)
    assert seen.count("token") > 10
    assert seen.count("progress") > unseen.count("progress") == 1
    assert unseen == ["started", "token", "progress", "completed"]


async def test_a_growing_object_is_shown_ten_times_a_second_at_most_its_end_included(
    runner: Runner, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr("amrikyy.agents.showing.time", SimpleNamespace(monotonic=lambda: now))

    async def stream(_: object, emit: Callable[[object], None]) -> None:
        nonlocal now
        emit(Usage(model="test", provider="test", cost_usd=0.0))
        for piece in ['{"words": ["a"', *[', "word"'] * 488, "]}"]:
            emit([piece])
            shown.append((now, sum(event.kind == "partial" for event in run.execution.events)))
            now += 0.005

    shown: list[tuple[float, int]] = []
    monkeypatch.setattr(models.for_tier("standard"), "stream", stream)
    run = await runner.start(list_words, Nothing(), owner="user:1", streams=True)
    assert (await run.wait()).error is None
    shown.append((now, sum(event.kind == "partial" for event in run.execution.events)))
    at = [moment for (_, before), (moment, after) in pairwise([(0.0, 0), *shown]) if after > before]
    assert 9 <= max(sum(first <= each < first + 1 for each in at) for first in at) <= 10
    assert run.execution.latest_partial is not None
    assert run.outcome is not None
    assert run.execution.latest_partial[1] == run.outcome.result


@pytest.mark.parametrize(
    ("operation", "status", "code", "is_failure"),
    [(crash, "failed", "internal_error", True), (refuse, "failed", "model_refused", True),
     (misunderstand, "failed", "not_found", False)],
)  # fmt: skip
async def test_every_end_is_an_event_and_counted(
    runner: Runner, operation: object, status: str, code: str, is_failure: bool
) -> None:
    run = await run_of(runner, operation)
    outcome = run.execution.outcome
    assert outcome is not None
    assert outcome.error is not None
    assert (run.status, outcome.error.code) == (status, code)
    assert "secret detail" not in outcome.error.message
    assert (runner.tally("test").calls, runner.tally("test").failures) == (1, int(is_failure))


async def test_who_asks_again_in_the_moment_of_a_failure_joins_nothing_that_is_over(
    runner: Runner, recorder: Recorder
) -> None:
    first = await run_of(runner, refuse_for_all)
    second = await run_of(runner, refuse_for_all)  # not a step of the event loop lies between the two
    assert not second.joined
    assert second.execution is not first.execution
    assert recorder.noted[-1] == (second.id, "failed")
    assert not list(runner.live.running())


async def test_an_answer_in_json_joins_the_stream_beside_an_answer_that_has_just_ended(
    models: Models, runner: Runner
) -> None:
    reuse = Reuse(Cache(MemoryCache(1_000_000)), None, models, PLAIN, Metrics())
    over, going_on = Execution(), Execution(streams=True)
    over.fail(ModelRefused("No.", model="test:x"))
    reuse.begun(Flight("key", streams=False), over)
    assert reuse.in_progress(Flight("key", streams=False)) is None
    reuse.begun(Flight("key", streams=True), going_on)
    assert reuse.in_progress(Flight("key", streams=False)) is going_on
    assert reuse.in_progress(Flight("key", streams=True)) is going_on


async def test_a_run_that_takes_too_long_is_a_504(runner: Runner) -> None:
    run = await run_of(runner, wait, deadline_s=0.02)
    assert run.execution.outcome is not None
    error = run.execution.outcome.error
    assert error is not None
    assert (error.status, error.code) == (504, "deadline_exceeded")


async def test_a_cancelled_run_says_why_and_is_no_failure(runner: Runner) -> None:
    run = await runner.start(wait, Nothing(), owner="user:1")
    await asyncio.sleep(0)
    assert run.cancel("Enough.")
    outcome = await run.wait()
    assert outcome.error is not None
    assert (run.status, outcome.error.message) == ("cancelled", "Enough.")
    assert not run.cancel("Again.")
    assert runner.tally("test").failures == 0


async def test_a_run_cancelled_before_its_first_step_still_ends(runner: Runner) -> None:
    run = await runner.start(answer, Nothing(), owner="user:1")
    run.cancel("At once.")
    async with asyncio.timeout(1):
        await run.wait()
    assert run.status == "cancelled"


async def test_child_runs_belong_to_their_parent(runner: Runner) -> None:
    run = await run_of(runner, delegate)
    assert run.execution.outcome is not None
    assert run.execution.outcome.result == b'{"number":84}'
    assert runner.tally("test").calls == 3


async def test_cancelling_a_parent_cancels_its_children(runner: Runner) -> None:
    run = await runner.start(delegate_waiting, Nothing(), owner="user:1")
    while len(list(runner.live.running())) < 2:
        await asyncio.sleep(0)
    child = next(each for each in runner.live.running() if each is not run)
    assert (child.parent_id, child.owner) == (run.id, "user:1")
    run.cancel("Enough.")
    await child.wait()
    assert (child.status, run.status) == ("cancelled", "cancelled")


async def test_the_error_of_a_child_is_the_error_of_its_parent(runner: Runner) -> None:
    run = await run_of(runner, delegate_refused)
    assert run.execution.outcome is not None
    assert run.execution.outcome.error is not None
    assert run.execution.outcome.error.code == "model_refused"


class Level(Request):
    level: int = 0


@agent.operation()
async def recurse(level: Level, run: RunContext) -> Number:
    """Call itself without end."""
    return await run.call(recurse, Level(level=level.level + 1))


@agent.operation(cache_for=minutes(1))
async def ask_oneself(level: Level, run: RunContext) -> Number:
    """Call itself with the same request, by a detour."""
    return await run.call(pass_on, level)


@agent.operation(cache_for=minutes(1))
async def pass_on(level: Level, run: RunContext) -> Number:
    """Call who called."""
    return await run.call(ask_oneself, level)


@agent.operation()
async def descend(level: Level, run: RunContext) -> Number:
    """Call itself until it is deep enough."""
    return Number(number=16) if level.level == 15 else await run.call(descend, Level(level=level.level + 1))


@agent.operation()
async def branch(level: Level, run: RunContext) -> Number:
    """Start ten, each of which starts ten."""
    if level.level < 3:
        await asyncio.gather(*(run.call(branch, Level(level=level.level + 1)) for _ in range(10)))
    return Number(number=1)


@pytest.mark.parametrize(
    ("operation", "said", "runs"),
    [
        (recurse, "test.recurse is called 16 deep (test.recurse → test.recurse → test.recurse → test.recurse)", 16),
        (ask_oneself, "test.askOneself is called 2 deep (test.askOneself → test.passOn → test.askOneself)", 3),
    ],
)
async def test_an_operation_that_calls_itself_without_end_fails_and_says_so(
    runner: Runner, recorder: Recorder, operation: Any, said: str, runs: int
) -> None:
    run = await runner.start(operation, Level(), owner="user:1")
    async with asyncio.timeout(2):
        outcome = await run.wait()
    assert outcome.error is not None
    assert (outcome.error.status, outcome.error.code) == (500, "too_many_runs")
    assert said in outcome.error.message
    while runner.running:
        await asyncio.sleep(0)
    assert len({run_id for run_id, _ in recorder.noted}) == runs
    assert not list(runner.live.running())


async def test_as_many_runs_within_one_another_as_may_be_have_a_result(runner: Runner) -> None:
    run = await runner.start(descend, Level(), owner="user:1")
    assert (await run.wait()).result == b'{"number":16}'


async def test_one_run_starts_a_thousand_others_at_most(runner: Runner, recorder: Recorder) -> None:
    run = await runner.start(branch, Level(), owner="user:1")
    outcome = await run.wait()
    assert outcome.error is not None
    assert outcome.error.code == "too_many_runs"
    assert f"{run.id} has started 1000 others" in outcome.error.message
    assert len({run_id for run_id, _ in recorder.noted}) == 1001


async def test_what_all_calls_of_a_run_used_adds_up(runner: Runner) -> None:
    run = await run_of(runner, ask_model)
    assert run.status == "completed", run.execution.outcome
    spent = run.execution.spent
    assert (spent.model, spent.cost_usd) == ("offline", 0.0)
    assert spent.output_tokens >= 2


async def test_a_text_that_breaks_off_keeps_the_tokens_that_were_written(runner: Runner) -> None:
    run = await run_of(runner, write, streams=True)
    assert [event.data for event in run.execution.events if event.kind == "token"] == ["one ", "two"]
    assert run.execution.events[-1].kind == "failed"


async def test_a_run_that_cannot_be_recorded_does_not_begin(runner: Runner, recorder: Recorder) -> None:
    recorder.full = True
    with pytest.raises(Unavailable):
        await runner.start(answer, Nothing(), owner="user:1")
    assert list(runner.live.running()) == []


async def test_closing_ends_every_run_with_a_word(runner: Runner) -> None:
    runs = [await runner.start(wait, Nothing(), owner="user:1") for _ in range(5)]
    await asyncio.sleep(0)
    async with asyncio.timeout(1):
        await runner.close()
    assert {run.status for run in runs} == {"failed"}
    assert {run.outcome.error.code for run in runs if run.outcome and run.outcome.error} == {"draining"}


class Other(Result):
    other: int


@agent.operation()
async def return_another(_: Nothing, run: RunContext) -> Number:
    """Return another result."""
    return Other(other=1)  # type: ignore[return-value]  # that is the mistake


@agent.operation()
async def return_nothing(_: Nothing, run: RunContext) -> Number:  # type: ignore[empty-body]  # that is the mistake
    """Forget to return."""


@agent.operation()
async def forget_to_await(_: Nothing, run: RunContext) -> Number:
    """Forget to await."""
    return run.generate(Number, prompt="one")  # type: ignore[return-value]  # that is the mistake


@agent.operation()
async def write_nothing(_: Nothing, run: RunContext) -> str:  # type: ignore[empty-body]  # that is the mistake
    """Forget to return the text."""


@pytest.mark.parametrize(
    ("operation", "said"),
    [
        (return_another, "declares that it returns Number, and returned an object of the type Other"),
        (return_nothing, "Number, and returned nothing (None). Is a `return` missing?"),
        (forget_to_await, "a coroutine (RunContext.generate). Is an `await` missing?"),
        (write_nothing, "declares that it returns str, and returned nothing (None)"),
    ],
)
async def test_a_result_that_was_not_declared_is_an_error_that_says_what_it_is(
    runner: Runner, operation: Any, said: str
) -> None:
    outcome = await (await run_of(runner, operation)).wait()
    assert outcome.error is not None
    assert (outcome.error.status, outcome.error.code) == (500, "wrong_result")
    assert said in outcome.error.message


class Panic(BaseException):
    """As libraries in Rust raise it."""


@pytest.mark.parametrize("raised", [SystemExit(3), Panic("at the disco"), KeyboardInterrupt(), GeneratorExit()])
async def test_an_operation_that_exits_or_panics_fails_alone(runner: Runner, raised: BaseException) -> None:
    unretrieved: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unretrieved.append(context))
    own = Agent("own", "Its own.")

    @own.operation()
    async def exit_all(_: Nothing, run: RunContext) -> Number:
        """Exit."""
        raise raised

    run = await run_of(runner, exit_all)
    assert run.outcome is not None
    assert run.outcome.error is not None
    assert run.outcome.error.code == "internal_error"
    assert run.id in run.outcome.error.message
    assert (await run_of(runner, answer)).status == "completed"
    gc.collect()  # asyncio complains of an exception that nobody has looked at when it collects the task
    assert not unretrieved


async def test_ctrl_c_during_an_authors_tests_ends_the_tests() -> None:
    own = Agent("own", "Its own.")

    @own.operation()
    async def interrupt(_: Nothing, run: RunContext) -> Number:
        """Raise what Ctrl-C raises."""
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await try_out(interrupt, {})


async def test_an_operation_whose_coroutine_is_closed_cleans_up_and_does_not_fail(runner: Runner) -> None:
    own = Agent("own", "Its own.")
    cleaned_up = False

    @own.operation()
    async def wait_and_clean_up(_: Nothing, run: RunContext) -> Number:
        """Wait, and clean up."""
        nonlocal cleaned_up
        try:
            await asyncio.sleep(60)
        finally:
            cleaned_up = True
        return Number(number=0)

    run = await runner.start(wait_and_clean_up, Nothing(), owner="user:1")
    await asyncio.sleep(0)
    (task,) = runner._tasks
    coroutine: Any = task.get_coro()
    coroutine.close()  # as Python does at its end with what still waits
    assert cleaned_up
    assert not run.ended


async def wait_although_cancelled(told: asyncio.Event) -> None:
    while not told.is_set():
        with suppress(asyncio.CancelledError):
            await told.wait()


async def test_a_run_ends_although_its_operation_ignores_that_it_was_cancelled(
    runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("amrikyy.runs.execution.CLEAN_UP_S", 0.01)
    own, told = Agent("own", "Its own."), asyncio.Event()
    silenced: list[bool] = []

    @own.operation()
    async def go_on(_: Nothing, run: RunContext) -> Number:
        """Go on whatever happens."""
        await wait_although_cancelled(told)
        try:
            run.say("too late")
        except asyncio.CancelledError:
            silenced.append(True)
        return Number(number=1)

    run = await runner.start(go_on, Nothing(), owner="user:1")
    await asyncio.sleep(0)
    run.cancel("Enough.")
    outcome = await run.wait()
    assert outcome.error is not None
    assert (run.status, outcome.error.message) == ("cancelled", "Enough.")
    assert runner.running == 1
    told.set()
    while runner.running:
        await asyncio.sleep(0)
    assert silenced == [True]
    assert [event.kind for event in run.execution.events] == ["started", "cancelled"]


async def test_closing_leaves_behind_what_ignores_that_it_was_cancelled(
    runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("amrikyy.agents.runner.CLEAN_UP_S", -0.99)
    own, told = Agent("own", "Its own."), asyncio.Event()

    @own.operation()
    async def go_on(_: Nothing, run: RunContext) -> Number:
        """Go on whatever happens."""
        await wait_although_cancelled(told)
        return Number(number=1)

    await runner.start(go_on, Nothing(), owner="user:1")
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await runner.close()
    assert runner.running == 1
    told.set()
    while runner.running:
        await asyncio.sleep(0)


@agent.operation()
async def say_too_much(_: Nothing, run: RunContext) -> str:
    """Say too much."""
    while True:
        run.say("x" * 1_000_000)


@agent.operation()
async def tell_too_often(_: Nothing, run: RunContext) -> Number:
    """Tell without an end."""
    turn = 0
    while True:
        turn += 1
        run.progress(0.5, f"Turn {turn % 2}")


@agent.operation()
async def return_too_much(_: Nothing, run: RunContext) -> str:
    """Return too much."""
    return "x" * 9_000_000


@pytest.mark.parametrize("operation", [say_too_much, tell_too_often, return_too_much])
async def test_what_a_run_makes_has_a_bound(runner: Runner, operation: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("amrikyy.agents.context.MAX_CHANGES", 1000)
    run = await run_of(runner, operation)
    assert run.outcome is not None
    assert run.outcome.error is not None
    assert run.outcome.error.code == "output_too_large"
    assert len(run.execution.events) <= 1002


async def test_an_operation_knows_its_run_who_asks_and_how_long_it_has(runner: Runner) -> None:
    known: list[tuple[str, str, float]] = []
    own = Agent("own", "Its own.")

    @own.operation()
    async def look(_: Nothing, run: RunContext) -> Number:
        """Look."""
        known.append((run.id, run.owner, run.remaining_s))
        return Number(number=1)

    @own.operation(shared=True)
    async def look_for_all(_: Nothing, run: RunContext) -> Number:
        """Look for all."""
        return Number(number=len(run.owner))

    run = await run_of(runner, look)
    [(run_id, owner, remaining_s)] = known
    assert (run_id, owner) == (run.id, "user:1")
    assert 0 < remaining_s <= 5
    assert (await run_of(runner, look_for_all)).status == "failed"


async def test_an_object_of_the_operations_own_is_shown_as_it_grows_where_somebody_looks(runner: Runner) -> None:
    own = Agent("own", "Its own.")

    @own.operation()
    async def grow(_: Nothing, run: RunContext) -> Words:
        """Grow."""
        run.show({"words": ["a"]})
        run.show({"words": ["too", "soon"]})
        run.shown_at = float("-inf")
        run.show({"words": ["a", "b"], "unknown": 1})
        run.shown_at = float("-inf")
        run.show({"words": ["x" * 5_000_000]})
        return Words(words=["a", "b", "c"])

    run = await run_of(runner, grow, streams=True)
    shown = [event for event in run.execution.events if event.kind == "partial"]
    assert [event.data.text for event in shown] == ['{"words":["a"]}', '{"words":["a","b"],"unknown":1}']
    assert run.execution.latest_partial is not None
    assert run.execution.latest_partial[1] == b'{"words":["a","b"]}'
    in_json = await run_of(runner, grow)
    assert not [event for event in in_json.execution.events if event.kind == "partial"]


async def test_of_several_objects_each_is_shown_by_itself_to_readers_who_come_later_too(
    runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("context", "showing"):
        monkeypatch.setattr(f"amrikyy.agents.{module}.PARTIAL_INTERVAL_S", 0)
    own = Agent("own", "Its own.")

    @own.operation()
    async def three_objects(_: Nothing, run: RunContext) -> Words:
        """Generate two and show a third."""
        await run.generate(Number, prompt="a number")
        await asyncio.gather(run.generate(Words, prompt="words"), run.generate(Number, prompt="another"))
        run.show({"words": ["own"]})
        return Words(words=["end"])

    run = await run_of(runner, three_objects, streams=True)
    assert run.status == "completed", run.outcome
    fold, late = Fold(Number), []
    for number, event in enumerate(run.execution.events, 1):
        if event.kind == "partial":
            fold.feed(event.data, run.execution.partial_types.get(number))
            late.append(json.loads(fold.encoded()))
    assert late[-1] == {"words": ["own"]}
    assert all(set(each) in ({"number"}, {"words"}) for each in late)
    assert {"number", "words"} == {name for each in late[:-1] for name in each}


async def test_what_is_shared_is_made_of_what_is_shared(runner: Runner) -> None:
    own = Agent("own", "Its own.")

    @own.operation(shared=True)
    async def count_for_all(_: Nothing, run: RunContext) -> Number:
        """Count for all."""
        return Number(number=1)

    @own.operation()
    async def count_for_one(_: Nothing, run: RunContext) -> Number:
        """Count for whoever asks."""
        return Number(number=len(run.owner))

    @own.operation(shared=True)
    async def count_both(_: Nothing, run: RunContext) -> Number:
        """Count what is for all, and what is not."""
        assert (await run.call(count_for_all, Nothing())).number == 1
        with pytest.raises(TypeError, match=r"own.count.* is shared"):
            await run.call(count_for_one, Nothing())
        return Number(number=2)

    assert (await run_of(runner, count_both)).status == "completed"


async def test_what_an_operations_own_library_has_used_is_accounted_for(runner: Runner) -> None:
    own = Agent("own", "Its own.")

    @own.operation()
    async def use(_: Nothing, run: RunContext) -> Number:
        """Use a model by itself."""
        await run.charge("anthropic:claude-x", input_tokens=100, output_tokens=20, cost_usd=0.25)
        await run.charge("openai:gpt-4o", input_tokens=1_000_000, output_tokens=0)
        with pytest.raises(ValueError, match="provider:model"):
            await run.charge("gpt-4o", input_tokens=1, output_tokens=1)
        with pytest.raises(ValueError, match="zero or more"):
            await run.charge("openai:gpt-4o", input_tokens=-1, output_tokens=1)
        return Number(number=1)

    spent = (await run_of(runner, use)).execution.spent
    assert (spent.input_tokens, spent.output_tokens, spent.models) == (1_000_100, 20, ("claude-x", "gpt-4o"))
    assert spent.cost_usd is not None
    assert spent.cost_usd > 0.25


def test_who_could_not_ask_the_other_processes_keeps_nobody_waiting_for_the_answer() -> None:
    def claim(*_: object) -> None:
        raise RuntimeError("no connection")

    asking: dict[Flight, asyncio.Event] = {}
    sharing: Any = SimpleNamespace(claim=claim)
    with pytest.raises(RuntimeError):
        Asked(asking, Cache(MemoryCache(1)), sharing, Flight("key", streams=False), "run")
    assert not asking
