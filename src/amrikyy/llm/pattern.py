"""A short string that matches a regular expression: for schemas that ask for one."""

import re
from typing import Any

try:
    from re import _constants as op
    from re import _parser as parser
except ImportError:  # not a public module: without it, patterns are matched only by chance
    parser = op = None

_CATEGORIES = {"CATEGORY_DIGIT": "1", "CATEGORY_WORD": "a", "CATEGORY_SPACE": " ", "CATEGORY_NOT_DIGIT": "a"}
_ANYTHING = "a1 -A"


def example_of(pattern: str, turn: int = 0) -> str | None:
    """A matching string, a different one for each `turn` where there are several; None if none was found."""
    if parser is None:
        return None
    try:
        text = _write(list(parser.parse(pattern)), turn)
        return text if re.search(pattern, text) else None
    except (re.error, KeyError, ValueError, RecursionError, OverflowError):
        return None


def _write(tokens: list[Any], turn: int) -> str:
    return "".join(_write_one(kind, argument, turn) for kind, argument in tokens)


def _write_one(kind: Any, argument: Any, turn: int) -> str:
    if kind is op.LITERAL:
        return chr(argument)
    if kind is op.NOT_LITERAL:
        return next(letter for letter in _ANYTHING if letter != chr(argument))
    if kind is op.ANY:
        return "a"
    if kind is op.AT or kind in (op.ASSERT, op.ASSERT_NOT):
        return ""  # checked at the end, against the whole
    if kind is op.IN:
        return _one_of(argument, turn)
    if kind is op.BRANCH:
        options = argument[1]
        return _write(list(options[turn % len(options)]), turn)
    if kind is op.SUBPATTERN:
        return _write(list(argument[-1]), turn)
    if kind in (op.MAX_REPEAT, op.MIN_REPEAT, getattr(op, "POSSESSIVE_REPEAT", None)):
        least, most, repeated = argument
        return _write(list(repeated), turn) * int(min(max(least, 1), most))
    raise ValueError(f"cannot write {kind}")


def _one_of(options: list[Any], turn: int) -> str:
    if options[0][0] is op.NEGATE:
        excluded = re.compile(
            "|".join(re.escape(letter) for letter in _ANYTHING if _contains(options[1:], letter)) or "$."
        )
        return next(letter for letter in _ANYTHING if not excluded.fullmatch(letter))
    kind, argument = options[turn % len(options)]
    if kind is op.LITERAL:
        return chr(argument)
    if kind is op.RANGE:
        first, last = argument
        return chr(first + turn % (last - first + 1))
    return _CATEGORIES[str(argument)]


def _contains(options: list[Any], letter: str) -> bool:
    for kind, argument in options:
        if kind is op.LITERAL and argument == ord(letter):
            return True
        if kind is op.RANGE and argument[0] <= ord(letter) <= argument[1]:
            return True
        if kind is op.CATEGORY and re.fullmatch(_CATEGORY_CLASSES.get(str(argument), "(?!)"), letter):
            return True
    return False


_CATEGORY_CLASSES = {"CATEGORY_DIGIT": r"\d", "CATEGORY_WORD": r"\w", "CATEGORY_SPACE": r"\s"}
