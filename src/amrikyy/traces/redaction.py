"""Redacts what must not be stored in a text: e-mail addresses, telephone and card numbers, keys and tokens.

Callers control the texts, so that no pattern may be slow on any of them. Each takes linear time: where a match could be
attempted at every character, a bound or a lookbehind keeps the text from being scanned again and again.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

MAX_TEXT = 16_000
"""The most characters of a prompt or a result that are kept."""

_AHEAD = 4_096
"""How much more is scanned, so that a key at the cut is recognised, and half of it is not left behind."""

_EMAIL = re.compile(r"[^\s@<>()\[\]{}\"',;:=&?/|]{1,64}@(?:[\w-]{1,63}\.){1,8}[\w-]{2,63}")

_KEYS = re.compile(
    r"""
      -----BEGIN[ A-Z]{0,40}PRIVATE[ ]KEY-----[A-Za-z0-9+/=\s\\]{0,8000}
    | (?<![\w-])eyJ[\w-]{4,}\.[\w-]{4,}(?:\.[\w-]*)?                          # JSON Web Tokens
    | (?<![A-Za-z0-9])(?:sk|pk|rk|api|key|ghp|gho|ghu|ghs|ghr|github_pat|glpat|xox[abeprs]|hf|lsv2|npm|dop_v1)
      [-_][\w-]{12,}                                                          # by their makers' prefixes, ours too
    | (?<![A-Za-z0-9])(?:AKIA|ASIA)[A-Z0-9]{16}
    | (?<![A-Za-z0-9])AIza[\w-]{30,}
    | (?<![A-Za-z0-9])(?=[A-Za-z]{0,63}[0-9])(?=[0-9]{0,63}[A-Za-z])[A-Za-z0-9]{32,}   # random, by its looks
    """,
    re.VERBOSE,
)

_NAMED = re.compile(
    r"""
    ( (?<![A-Za-z0-9])(?i:authorization|bearer|basic|(?:api|access|secret|private)[ _-]?keys?|secrets?|tokens?
      |passwords?|passwd|passphrase|pwd)
    | (?<=[a-z])(?:Token|Secret|Password)s?                                   # clientSecret
    | (?<=[?&])(?i:key|sig|signature|auth)(?==)                               # in a URL
    )
    ([\\"']{0,4}(?:[ \t]{0,4}[:=]|[ \t]{1,4}(?i:is)\b)?[ \t]{0,4}[\\"']{0,4})((?i:bearer[ ]|basic[ ])?)
    (?=[^\s"',;]{0,200}[0-9=])((?:[^\s"',;\\]|\\(?!["'])){6,})
    """,
    re.VERBOSE,
)
"""A value with the name of a secret: `password: hunter2x`, `Bearer 3f…`. Without a digit it is more likely a word."""

_USERINFO = re.compile(r"://([^\s/?#@:]{0,64}):[^\s/?#]{1,256}@")
"""The password in a URL, `postgres://app:…@db`."""

_ESCAPE = re.compile(r"\\(?:[bfnrt]|u[0-9a-fA-F]{4})")
_BREAK = "\x1f"
"""Put around each JSON escape during the search for secrets: the `n` of `\\n` does not belong to the text after it."""

_DIGITS = re.compile(r"(?<!\d)\d(?:[ -]?\d){12,}")
"""Digits grouped as in card numbers; a checksum decides which of them are one."""

_GROUP = re.compile(r"\d+")
MIN_CARD_DIGITS, MAX_CARD_DIGITS = 13, 19
MIN_CARD_GROUP = 2
MIN_PHONE_DIGITS = 7

_PHONE = re.compile(
    r"""
      (?<![\w+])(?:\+|00)[1-9](?:[ ().\-/]{0,3}\d){6,14}(?!\d)                # international
    | (?<![\w.-])(?:\([2-9]\d{2}\)|[2-9]\d{2})[ .\-]{0,2}[2-9]\d{2}[ .\-]?\d{4}(?![\w-])   # North America
    | (?<![\w.-])(?<!\d[ ])(?:\(0[1-9]\d{0,4}\)|0[1-9]\d{0,4})[ \-/]{1,3}\d{3,8}(?:[ \-/]\d{2,8}){0,3}(?![\w-])
                                                                              # with a trunk prefix
    """,
    re.VERBOSE,
)


class Redactor:
    """Replaces what it finds with its kind: `[email]`, `[phone]`, `[card]`, `[key]`, `[redacted]`.

    Args:
        extra: further patterns, in RE2's syntax, because that engine takes linear time whatever they are.

    Raises:
        ValueError: a pattern is invalid, or matches the empty text.
    """

    def __init__(self, extra: Sequence[str] = ()) -> None:
        self._extra = _compile(extra) if extra else []

    def __call__(self, text: str) -> str:
        """Redact a text."""
        is_escaped = "\\" in text
        if is_escaped:
            text = _ESCAPE.sub(rf"{_BREAK}\g<0>{_BREAK}", text)
        if "@" in text:
            text = _USERINFO.sub(r"://\1:[key]@", text)
            text = _EMAIL.sub("[email]", text)
        text = _KEYS.sub("[key]", text)
        text = _NAMED.sub(r"\1\2\3[key]", text)
        text = _DIGITS.sub(_without_cards, text)
        text = _PHONE.sub(_without_phone, text)
        for replace in self._extra:
            text = replace("[redacted]", text)
        return text.replace(_BREAK, "") if is_escaped else text

    def whole(self, text: str) -> str:
        """Redact a text of any length; one that is longer than `MAX_TEXT` is cut."""
        if len(text) <= MAX_TEXT:
            return self(text)
        return f"{self(text[: MAX_TEXT + _AHEAD])[:MAX_TEXT]}… [{len(text)} characters]"


def _compile(patterns: Sequence[str]) -> list[Callable[[str, str], str]]:
    import re2  # imported only if there are extra patterns

    compiled: list[Callable[[str, str], str]] = []
    for pattern in patterns:
        try:
            options: Any = re2.Options()
            options.log_errors = False
            expression = re2.compile(pattern, options)
        except re2.error as error:
            why = error.args[0].decode(errors="replace") if error.args and isinstance(error.args[0], bytes) else error
            raise ValueError(f"{pattern!r} is no regular expression of RE2: {why}") from None
        if expression.search("") is not None:
            raise ValueError(f"{pattern!r} matches the empty text, so it would replace everything")
        compiled.append(expression.sub)
    return compiled


def _without_phone(match: re.Match[str]) -> str:
    return "[phone]" if sum(map(str.isdigit, match[0])) >= MIN_PHONE_DIGITS else match[0]


def _without_cards(match: re.Match[str]) -> str:
    """Redact the card numbers in a run of grouped digits; each begins and ends with a group."""
    groups = list(_GROUP.finditer(match[0]))
    kept, at, start = "", 0, 0
    while at < len(groups):
        end = _card_end(groups, at)
        if end is None:
            at += 1
            continue
        kept += f"{match[0][start : groups[at].start()]}[card]"
        start = groups[end].end()
        at = end + 1
    return kept + match[0][start:]


def _card_end(groups: Sequence[re.Match[str]], first: int) -> int | None:
    """The index of the group that ends a card number which begins with group `first`; None if none does."""
    digits = ""
    for place in range(first, len(groups)):
        digits += groups[place][0]
        if len(groups[place][0]) < MIN_CARD_GROUP or len(digits) > MAX_CARD_DIGITS:
            return None
        if len(digits) >= MIN_CARD_DIGITS and _is_card(digits):
            return place
    return None


def _is_card(digits: str) -> bool:
    """Whether the Luhn checksum (ISO/IEC 7812-1) and the first digit are those of a card."""
    if digits[0] not in "23456":
        return False
    total = 0
    for place, digit in enumerate(map(int, reversed(digits))):
        doubled = digit * 2 if place % 2 else digit
        total += doubled - 9 if doubled > 9 else doubled
    return total % 10 == 0
