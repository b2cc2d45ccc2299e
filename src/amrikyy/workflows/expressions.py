"""The expressions of plans: JMESPath, bounded, with a few functions of our own. Nothing that a client sends is code."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import jmespath
from jmespath import exceptions, functions, visitor

from amrikyy.errors import ValidationFailed

MAX_LENGTH = 2_000
MAX_DEPTH = 40
MAX_WORK = 1_000_000
"""Steps of evaluation and values made, together: under a second."""

CHARACTERS_PER_UNIT = 16
"""Of a text that count as one value made."""

AGGREGATORS = ("combine", "concat", "first", "summarize")
"""What can be said instead of an expression: the name of a function that is given all results."""

_GUIDE = re.compile(r"\s*function\s*\(\s*([A-Za-z_$][\w$]*)\s*\)\s*\{\s*return\s+(\w+)\s*\(\s*\1\s*\)\s*(?:;\s*)?\}\s*")
"""`function(results) { return combine(results); }`: how the guide writes the name of an aggregator. No two repetitions
follow each other, or a text of blanks would take the square of its length."""


class InvalidExpression(ValueError):
    """The text is no expression that we evaluate; the message says why."""


def check(text: str) -> str:
    """The expression, if it can be evaluated.

    Raises:
        InvalidExpression: it cannot be read, is too long or too deep, or calls a function that there is not.
    """
    if len(text) > MAX_LENGTH:
        raise InvalidExpression(f"The expression is longer than {MAX_LENGTH} characters")
    try:
        parsed = jmespath.compile(text).parsed
        _check_node(parsed, 1)
    except exceptions.JMESPathError as error:
        reason = str(error).splitlines()[0].rstrip(": ")
        raise InvalidExpression(f"Not a JMESPath expression ({reason[:160]}); code is not accepted") from None
    except RecursionError:
        raise InvalidExpression(f"The expression is nested deeper than {MAX_DEPTH}") from None
    return text


def check_aggregator(text: str) -> str:
    """The expression that an aggregator stands for: the name of one, the guide's function, or JMESPath itself.

    Raises:
        InvalidExpression: it is none of these.
    """
    if len(text) > MAX_LENGTH:
        raise InvalidExpression(f"The aggregator is longer than {MAX_LENGTH} characters")
    name = text.strip()
    if (match := _GUIDE.fullmatch(text)) is not None:
        name = match[2]
        if name not in AGGREGATORS:
            raise InvalidExpression(
                f"There is no aggregator {name[:64]!r}; the aggregators are {', '.join(AGGREGATORS)}"
            )
    if name in AGGREGATORS:
        return f"{name}(@)"
    try:
        return check(text)
    except InvalidExpression as error:
        raise InvalidExpression(f"{error}. Name one of {', '.join(AGGREGATORS)}, or write JMESPath") from None


def evaluate(text: str, value: Any) -> Any:
    """What the expression makes of a JSON value. It may take up to a second: call it in a thread.

    Raises:
        ValidationFailed: it does not fit the value, or makes too much of it.
    """
    interpreter = _Interpreter()
    try:
        result = interpreter.visit(jmespath.compile(text).parsed, value)
        interpreter.charge(result)
    except (
        exceptions.JMESPathError, RecursionError, LookupError, TypeError, ValueError, OverflowError,
    ) as error:  # fmt: skip
        reason = str(error).splitlines()[0][:160] if str(error) else type(error).__name__
        if isinstance(error, KeyError):
            reason = f"{reason} is missing in a result"
        raise ValidationFailed(f"The expression {text[:200]!r} cannot be evaluated here: {reason}.") from None
    return result


def _check_node(node: Any, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise RecursionError
    if node["type"] == "function_expression":
        name, count = node["value"], len(node["children"])
        function = _FUNCTIONS.FUNCTION_TABLE.get(name)
        if function is None:
            raise InvalidExpression(f"There is no function {name[:64]!r}; code is not accepted")
        signature = function["signature"]
        variadic = bool(signature) and signature[-1].get("variadic", False)
        if count != len(signature) and not (variadic and count > len(signature)):
            raise InvalidExpression(f"The function {name!r} takes {len(signature)} arguments, not {count}")
    for child in node["children"]:
        if isinstance(child, dict):
            _check_node(child, depth + 1)


class _Functions(functions.Functions):
    """JMESPath's own functions, arithmetic that plans need, and the aggregators."""

    @functions.signature({"types": ["string"]}, {"types": ["string"]})
    def _func_days_between(self, start: str, end: str) -> int:
        return (date.fromisoformat(end) - date.fromisoformat(start)).days

    @functions.signature({"types": ["number"]}, {"types": ["number"]})
    def _func_subtract(self, minuend: float, subtrahend: float) -> float:
        return minuend - subtrahend

    @functions.signature({"types": ["string"]}, {"types": ["array-string"]})
    def _func_join(self, separator: str, texts: Sequence[str]) -> str:
        """JMESPath's own, refused before it is made: what it makes is the product of what it is given."""
        if len(separator) * len(texts) + sum(map(len, texts)) > MAX_WORK * CHARACTERS_PER_UNIT:
            raise ValueError("it makes too large a value of its input")
        return separator.join(texts)

    @functions.signature({"types": ["array"]})
    def _func_combine(self, results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        return combine(results)

    @functions.signature({"types": ["array"]})
    def _func_concat(self, results: Sequence[Mapping[str, Any]]) -> list[Any]:
        whole: list[Any] = []
        for result in _succeeded(results):
            output = result["output"]
            whole.extend(output) if isinstance(output, list) else whole.append(output)
        return whole

    @functions.signature({"types": ["array"]})
    def _func_first(self, results: Sequence[Mapping[str, Any]]) -> Any:
        return next((result["output"] for result in _succeeded(results)), None)

    @functions.signature({"types": ["array"]})
    def _func_summarize(self, results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        done = _succeeded(results)
        return {
            "succeeded": len(done),
            "failed": len(results) - len(done),
            "results": [{"name": _name(result), "summary": _summary(result["output"])} for result in done],
        }


_FUNCTIONS = _Functions()


def combine(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One object of all outputs: by method, by agent and method where two agents have it, numbered where both recur."""
    done = _succeeded(results)
    methods = Counter(result["method"] for result in done)
    whole: dict[str, Any] = {}
    numbers: Counter[str] = Counter()
    for result in done:
        name = result["method"] if methods[result["method"]] == 1 else _name(result)
        key = name
        while key in whole:
            numbers[name] += 1
            key = f"{name}#{numbers[name] + 1}"
        whole[key] = result["output"]
    return whole


def _succeeded(results: Sequence[Any]) -> list[Mapping[str, Any]]:
    return [result for result in results if isinstance(result, dict) and result.get("success")]


def _name(result: Mapping[str, Any]) -> str:
    return f"{result['agent']}.{result['method']}" if result.get("agent") else str(result["method"])


def _summary(output: Any) -> Any:
    """What an output says of itself in short."""
    if isinstance(output, dict):
        for field in ("summary", "excerpt", "title", "theme"):
            if isinstance(output.get(field), str):
                return output[field]
        return {name: value for name, value in output.items() if isinstance(value, (str, int, float, bool))}
    return output


class _Interpreter(visitor.TreeInterpreter):
    """Counts what it does, so that a short expression cannot make a large value, or take for ever."""

    def __init__(self) -> None:
        super().__init__(visitor.Options(custom_functions=_FUNCTIONS))
        self._left = MAX_WORK

    def visit(self, node: Any, *args: Any, **kwargs: Any) -> Any:
        self._spend(1)
        result = super().visit(node, *args, **kwargs)
        if node["type"] in ("multi_select_list", "multi_select_dict", "function_expression"):
            self.charge(result)
        return result

    def charge(self, value: Any) -> None:
        """Count a value, as large as it would be written out: `[@, @]` is twice as large as `@`."""
        waiting = [value]
        while waiting:
            each = waiting.pop()
            self._spend(1 + (len(each) // CHARACTERS_PER_UNIT if isinstance(each, str) else 0))
            if isinstance(each, dict):
                waiting.extend(each.values())
            elif isinstance(each, list):
                waiting.extend(each)

    def _spend(self, units: int) -> None:
        self._left -= units
        if self._left < 0:
            raise ValueError("it makes too large a value of its input")
