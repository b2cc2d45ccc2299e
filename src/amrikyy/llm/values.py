"""Single values that look sensible under a field's name, within a schema's bounds: what the offline model writes."""

import math
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

from amrikyy.llm.pattern import example_of

TOPICS = ("topic", "destination", "idea", "niche", "industry", "title", "name", "query", "subject")
"""Inputs that say what a request is about, the most telling first."""

_NUMBERS = (
    (("year",), 2026), (("percent", "share", "rate"), 25), (("score", "rating"), 7),
    (("price", "cost", "budget", "amount", "fee", "total"), 120), (("minutes", "seconds"), 30),
)  # fmt: skip
"""Plausible values of numbers, by words in their names, where the schema sets no bounds."""

_FORMATS = {
    "email": "someone@example.com", "uri": "https://example.com/", "url": "https://example.com/",
    "uuid": "6f1c1f1e-0000-4000-8000-000000000001", "ipv4": "192.0.2.1", "ipv6": "2001:db8::1", "duration": "PT1H",
    "ipv4network": "192.0.2.0/24", "ipv6network": "2001:db8::/32", "json-string": "{}", "hostname": "example.com",
}  # fmt: skip

_STRINGS = (
    "JFK", "USD", "US", "en", "12:00", "https://example.com/", "someone@example.com", "1", "123", "#336699",
    "America/New_York", "+14155550100", "192.0.2.1", "6f1c1f1e-0000-4000-8000-000000000001", "a", "example",
)  # fmt: skip
"""What validators of plain strings most often accept."""


class Values:
    """Makes values from the inputs of one request.

    Attributes:
        alternatives: how many different values there are for a string; more attempts than that are useless.
    """

    def __init__(self, inputs: Mapping[str, Any]) -> None:
        self._inputs = {**inputs, **{to_words(name): value for name, value in inputs.items()}}
        texts = [value for value in inputs.values() if isinstance(value, str) and value.strip()]
        dates = [found for text in texts if (found := _date(text)) is not None]
        told = [inputs[name] for name in TOPICS if isinstance(inputs.get(name), str) and inputs[name].strip()]
        self.topic = " ".join((told or [text for text in texts if _date(text) is None] or ["your request"])[0].split())[
            :80
        ]
        self._first_day = max(dates) if dates else datetime.now(UTC).date() + timedelta(days=30)
        self._strings = (*texts, *_STRINGS)
        self._days = 0
        self.alternatives = len(self._strings) + 4

    def restart(self) -> None:
        """Begin a new answer: dates start at the first day again."""
        self._days = 0

    def given(self, name: str) -> Any:
        """The input of that name; `in_words` and `inWords` count as the same name."""
        value = self._inputs.get(name)
        return self._inputs.get(to_words(name)) if value is None else value

    def leaf(self, name: str, schema: dict[str, Any], *, position: int, turn: int) -> Any:
        """A value that is neither an object nor a list.

        Args:
            name: the field's name.
            schema: the field's schema.
            position: its index in the list that holds it, from 0.
            turn: how many values were rejected here before.
        """
        examples = schema.get("examples") or ()
        if turn == 0 and self._fits(self.given(name), schema):
            return self.given(name)
        if turn <= 1 and examples:
            return examples[position % len(examples)]
        match schema.get("type"):
            case "integer" | "number":
                return _number(name, schema, position + turn)
            case "boolean":
                return (position + turn) % 2 == 0
            case _:
                return self._string(name, schema, position, turn)

    def _fits(self, given: Any, schema: dict[str, Any]) -> bool:
        match schema.get("type"):
            case "string":
                return isinstance(given, str) and (
                    schema.get("minLength", 0) <= len(given) <= schema.get("maxLength", math.inf)
                )
            case "integer":
                return isinstance(given, int) and not isinstance(given, bool) and _in_bounds(given, schema)
            case "number":
                return isinstance(given, (int, float)) and not isinstance(given, bool) and _in_bounds(given, schema)
            case "boolean":
                return isinstance(given, bool)
            case _:
                return False

    def _string(self, name: str, schema: dict[str, Any], position: int, turn: int) -> str:
        if kind := schema.get("format"):
            return self._formatted(kind, turn)
        if pattern := schema.get("pattern"):
            matching = [text for text in self._strings if re.search(pattern, text)]
            example = example_of(pattern, position + turn)
            if example is not None or matching:
                choices = [*([example] if example is not None else []), *matching]
                return choices[turn % len(choices)]
        if turn > 1:
            return self._strings[(turn - 2) % len(self._strings)]
        least, most = schema.get("minLength", 0), schema.get("maxLength", 10_000)
        label = to_words(name).replace("_", " ").strip() or "answer"
        text = f"{label.capitalize()}{f' {position + 1}' if position else ''}: {self.topic}"
        while len(text) < least:
            text += ". Written by the offline model, which is not an AI"
        return text[:most].rstrip() if len(text[:most].rstrip()) >= least else text[:most].replace(" ", "_")

    def _formatted(self, kind: str, turn: int) -> str:
        day = self._first_day + timedelta(days=self._days)
        match kind:
            case "date":
                self._days += 1
                return (day - timedelta(days=40_000 if turn % 3 == 2 else 0)).isoformat()
            case "date-time":
                self._days += 1
                moment = f"{day.isoformat()}T09:00:00"
                past = f"{(day - timedelta(days=3650)).isoformat()}T09:00:00"
                return (f"{moment}Z", moment, f"{past}Z", past)[turn % 4]
            case "time":
                return ("09:00:00", "09:00:00Z")[turn % 2]
            case _:
                return _FORMATS.get(kind) or self._strings[turn % len(self._strings)]


def to_words(name: str) -> str:
    """A field's name in snake_case: checkIn → check_in."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def _date(text: str) -> date | None:
    try:
        return date.fromisoformat(text[:10])
    except ValueError:
        return None


def _bounds(schema: dict[str, Any]) -> tuple[float, float]:
    step = schema.get("multipleOf") or (1 if schema.get("type") == "integer" else 0.01)
    least, most = schema.get("minimum", -math.inf), schema.get("maximum", math.inf)
    if "exclusiveMinimum" in schema:
        least = max(least, schema["exclusiveMinimum"] + step)
    if "exclusiveMaximum" in schema:
        most = min(most, schema["exclusiveMaximum"] - step)
    return least, most


def _in_bounds(given: float, schema: dict[str, Any]) -> bool:
    least, most = _bounds(schema)
    step = schema.get("multipleOf")
    return least <= given <= most and (not step or given % step == 0)


def _number(name: str, schema: dict[str, Any], turn: int) -> float | int:
    whole = schema.get("type") == "integer"
    least, most = _bounds(schema)
    words = set(to_words(name).split("_"))
    usual = next((number for names, number in _NUMBERS if words & set(names)), 3)
    if least > most:  # narrower than a step, for example between 0 and 0.001
        return float(schema.get("exclusiveMinimum", least) + schema.get("exclusiveMaximum", most)) / 2
    span = most - least
    value = usual + turn * (1 if span > 10 else span / 10)
    if not least <= value <= most:
        value = least + (turn % 11) * span / 10 if math.isfinite(span) else (least if math.isfinite(least) else most)
    step = schema.get("multipleOf") or (1 if whole else None)
    if step:
        value = math.ceil(value / step - 1e-9) * step
        value = value if value <= most else math.floor(most / step) * step
    return int(value) if whole else min(max(round(value, 6), least), most)
