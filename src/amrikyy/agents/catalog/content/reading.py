"""Reading Markdown: headings, paragraphs and plain words, and cutting a text where a word ends."""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator

# Lengths are bounded, so that no text makes a pattern slow.
_HEADING = re.compile(r" {0,3}(#{1,6})\s+(\S.*)")
_LINK = re.compile(r"!?\[([^\]\n]{0,500})\]\([^)\n]{0,500}\)")
_EMPHASIS = re.compile(r"[*`]+|~~|(?<!\w)_+|(?<!_)_++(?!\w)")
_WORD = re.compile(r"[^\W_]+")
_NOT_PROSE = re.compile(r"\s*($|#{1,6}\s|[-*+]\s|\d+[.)]\s|>|\||<|-{3,}\s*$|\*{3,}\s*$)")


def prose_lines(text: str) -> list[str]:
    """The lines of the text, those in code fences left out: a comment in code is no heading."""
    lines = text.splitlines()
    return list(_unfenced(lines)) if "```" in text or "~~~" in text else lines


def _unfenced(lines: Iterable[str]) -> Iterator[str]:
    fence = ""
    for line in lines:
        mark = line.lstrip()[:3]
        if fence:
            fence = "" if mark == fence else fence
        elif mark in ("```", "~~~"):
            fence = mark
        else:
            yield line


def heading_of(line: str) -> tuple[int, str] | None:
    """Level 1 to 6 and plain text, if the line is a heading."""
    match = _HEADING.fullmatch(line)
    return (len(match[1]), plain(match[2].rstrip().rstrip("#"))) if match else None


def first_paragraph(prose: Iterable[str]) -> str:
    """The first paragraph in lines of prose, plain and on one line; empty if there is none."""
    lines: list[str] = []
    for line in prose:
        if not _NOT_PROSE.match(line):
            lines.append(line)
        elif lines:
            break
    return plain(" ".join(lines))


def plain(text: str) -> str:
    """The words of a piece of Markdown on one line: links are their text, and emphasis is dropped."""
    if "](" in text:
        text = _LINK.sub(r"\1", text)
    # Most lines have none, and looking costs a hundredth of replacing.
    if "*" in text or "`" in text or "~" in text or "_" in text:
        text = _EMPHASIS.sub("", text)
    return " ".join(text.split())


def count_phrase(phrase: str, text: str) -> int:
    """How often a word or phrase occurs as such: case and kind of white space make no difference.

    A letter that has a case, or a digit, must not continue at the phrase's ends ("art" is not in "start"). Other
    scripts write words together or with prefixes, so there any occurrence counts.
    """
    before = r"(?<!\w)" if _ends_words(phrase[:1]) else ""
    after = r"(?!\w)" if _ends_words(phrase[-1:]) else ""
    pattern = r"\s+".join(map(re.escape, phrase.split()))
    return len(re.findall(f"{before}{pattern}{after}", text, re.IGNORECASE)) if pattern else 0


def shorten(text: str, limit: int, measure: Callable[[str], int] | None = None) -> str:
    """The text if it measures no more than `limit`, else as many whole words of it as fit, and an ellipsis.

    Without a space in the second half of what fits (one very long word, or a script without spaces) it is cut inside.

    Args:
        measure: how long a text is; in characters, if not given.
    """
    if (measure or len)(text) <= limit:
        return text
    fits = limit - 1 if measure is None else _longest(text, limit, measure)
    word_end = fits
    while word_end and not text[word_end].isspace():
        word_end -= 1
    end = word_end if word_end * 2 >= fits else _whole_character(text, fits)
    return text[:end].rstrip().rstrip(",;:–—-#@(").rstrip() + "…"


def _longest(text: str, limit: int, measure: Callable[[str], int]) -> int:
    """How many characters, with an ellipsis behind them, measure no more than `limit`."""
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if measure(text[:middle] + "…") <= limit else (low, middle - 1)
    return low


def _whole_character(text: str, end: int) -> int:
    """The last place up to `end` at which no mark or joiner loses what it belongs to."""
    while end and (unicodedata.combining(text[end]) or text[end] in "\u200d\ufe0f" or text[end - 1] == "\u200d"):
        end -= 1
    return end


def slugify(text: str, default: str) -> str:
    """Lower-case words joined by hyphens, accents removed from Latin letters, for the end of a URL."""
    text = text.casefold()
    if not text.isascii():
        decomposed = unicodedata.normalize("NFKD", text)
        without_accents = "".join(char for char in decomposed if not "\u0300" <= char <= "\u036f")
        text = unicodedata.normalize("NFC", without_accents)
    return shorten(" ".join(_WORD.findall(text)), 80).rstrip("…").replace(" ", "-") or default


def _ends_words(char: str) -> bool:
    return char.isdigit() or char.lower() != char.upper()
