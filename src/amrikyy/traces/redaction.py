"""Removes from a text what must not be stored: addresses, telephone and card numbers, keys and tokens.

Texts are a caller's, so no pattern may take long over any of them. Each is linear: where something could be tried at
every character, either a bound or a look behind keeps it from being scanned again and again.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

MAX_TEXT = 16_000
"""Characters of a prompt or a result that are kept."""

_AHEAD = 4_096
"""How much more is looked at, so that what is cut off does not leave half of a key behind."""

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
"""What is called a secret: `password: hunter2x`, `Bearer 3f…`. Without a digit it is more likely a word."""

_USERINFO = re.compile(r"://([^\s/?#@:]{0,64}):[^\s/?#]{1,256}@")
"""The password in a URL, `postgres://app:…@db`."""

_ESCAPE = re.compile(r"\\(?:[bfnrt]|u[0-9a-fA-F]{4})")
_BREAK = "\x1f"
"""Stands around each JSON escape while secrets are looked for: the `n` of a new line is no part of what follows."""

_DIGITS = re.compile(r"(?<!\d)\d(?:[ -]?\d){12,}")
"""Digits as card numbers are written; which of them are one is found out by their checksum."""

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
    """Replaces what it finds by what it was: `[email]`, `[phone]`, `[card]`, `[key]`, `[redacted]`.

    Args:
        extra: more patterns, in RE2's syntax: its engine takes linear time whatever they are.

    Raises:
        ValueError: a pattern is none, or it matches the empty text.
    """

    def __init__(self, extra: Sequence[str] = ()) -> None:
        self._extra = _compile(extra) if extra else []

    def __call__(self, text: str) -> str:
        """The text without it."""
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
        """The same, for a text of any length: what is too long is cut."""
        if len(text) <= MAX_TEXT:
            return self(text)
        return f"{self(text[: MAX_TEXT + _AHEAD])[:MAX_TEXT]}… [{len(text)} characters]"


def _compile(patterns: Sequence[str]) -> list[Callable[[str, str], str]]:
    import re2  # only for who needs it

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
    """A run of digits in groups without the card numbers in it, which begin and end with a group."""
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
    """With which group a card number ends that begins with group `first`."""
    digits = ""
    for place in range(first, len(groups)):
        digits += groups[place][0]
        if len(groups[place][0]) < MIN_CARD_GROUP or len(digits) > MAX_CARD_DIGITS:
            return None
        if len(digits) >= MIN_CARD_DIGITS and _is_card(digits):
            return place
    return None


def _is_card(digits: str) -> bool:
    """Luhn's checksum (ISO/IEC 7812-1), and a first digit that cards have."""
    if digits[0] not in "23456":
        return False
    total = 0
    for place, digit in enumerate(map(int, reversed(digits))):
        doubled = digit * 2 if place % 2 else digit
        total += doubled - 9 if doubled > 9 else doubled
    return total % 10 == 0
