"""Reading Markdown: headings, paragraphs and plain words, and cutting a text at the end of a word."""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator

from amrikyy.agents.agent import without_closing

# Lengths are bounded, so that no text makes a pattern slow.
_HEADING = re.compile(r" {0,3}(#{1,6})\s+(\S.*)")
_LINK = re.compile(r"!?\[([^\]\n]{0,500})\]\([^)\n]{0,500}\)")
_UNDERLINES = re.compile(r"(?<!\w)_+|(?<!_)_++(?!\w)")
_WORD = re.compile(r"[^\W_]+")
_NOT_PROSE = re.compile(r"\s*($|#{1,6}\s|[-*+]\s|\d+[.)]\s|>|\||<|-{3,}\s*$|\*{3,}\s*$)")


def prose_lines(text: str) -> list[str]:
    """The lines of the text, as Markdown ends them (CommonMark §2.1), except those in code fences, where a comment is
    not a heading."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    lines = text.split("\n")
    return list(_unfenced(lines)) if "`" in text or "~" in text else lines


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
    """The level (1 to 6) and the plain text, if the line is a heading."""
    match = _HEADING.fullmatch(line)
    return (len(match[1]), plain(without_closing(match[2]))) if match else None


def first_paragraph(prose: Iterable[str]) -> str:
    """The first paragraph in lines of prose, plain and on one line; empty if there is none."""
    lines: list[str] = []
    for line in prose:
        if line and not _NOT_PROSE.match(line):
            lines.append(line)
        elif lines:
            break
    return plain(" ".join(lines))


def plain(text: str) -> str:
    """The words of a piece of Markdown on one line: links are their text, and emphasis is dropped."""
    if "](" in text:
        text = _LINK.sub(r"\1", text)
    if "_" in text:  # one within a word is part of it
        text = _UNDERLINES.sub("", text)
    if "*" in text or "`" in text or "~~" in text:
        text = text.replace("~~", "").replace("*", "").replace("`", "")
    if text.isprintable() and "  " not in text:  # then all its white space is single spaces (`str.isprintable`)
        return text.strip()
    return " ".join(text.split())


def fold(text: str) -> str:
    """The words of a piece of Markdown as `count_phrase` needs them: plain and case-folded."""
    return plain(text).casefold()


def count_phrase(phrase: str, folded: str) -> int:
    """How often a word or phrase occurs as such in a text, whatever its case and kind of white space.

    Where the phrase begins or ends with a cased letter or a digit, the word must not go on ("art" is not in "start").
    Other scripts write words together or with prefixes, so there any occurrence counts.
    """
    phrase = " ".join(phrase.casefold().split())
    starts_word, ends_word = _ends_words(phrase[:1]), _ends_words(phrase[-1:])
    count, place = 0, folded.find(phrase) if phrase else -1
    while place >= 0:
        end = place + len(phrase)
        goes_on = (starts_word and _is_in_word(folded[place - 1 : place])) or (
            ends_word and _is_in_word(folded[end : end + 1])
        )
        count += not goes_on
        place = folded.find(phrase, place + 1 if goes_on else end)
    return count


def shorten(text: str, limit: int, measure: Callable[[str], int] | None = None) -> str:
    """The text if it measures no more than `limit`, else as many whole words of it as fit, and an ellipsis.

    Without a space in the second half of what fits (one very long word, or a script without spaces), a word is cut.

    Args:
        measure: how long a text is; by default, in characters.
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
    """How many characters, followed by an ellipsis, measure no more than `limit`."""
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if measure(text[:middle] + "…") <= limit else (low, middle - 1)
    return low


def _whole_character(text: str, end: int) -> int:
    """The last position up to `end` that separates no mark or joiner from its base character."""
    while end and (unicodedata.combining(text[end]) or text[end] in "\u200d\ufe0f" or text[end - 1] == "\u200d"):
        end -= 1
    return end


def slugify(text: str, default: str) -> str:
    """Lower-case words joined by hyphens, with accents removed from Latin letters, for the end of a URL."""
    text = text.casefold()
    if not text.isascii():
        decomposed = unicodedata.normalize("NFKD", text)
        without_accents = "".join(char for char in decomposed if not "\u0300" <= char <= "\u036f")
        text = unicodedata.normalize("NFC", without_accents)
    return shorten(" ".join(_WORD.findall(text)), 80).rstrip("…").replace(" ", "-") or default


def _is_in_word(char: str) -> bool:
    return char.isalnum() or char == "_"


def _ends_words(char: str) -> bool:
    return char.isdigit() or char.lower() != char.upper()
