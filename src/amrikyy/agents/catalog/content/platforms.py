"""The social networks: how long a post may be there, how its length is counted, and what a hashtag is."""

import re
import unicodedata
from collections.abc import Iterable
from typing import NamedTuple

from amrikyy.agents.catalog.content.fields import SocialPlatform

MAX_HASHTAG_LENGTH = 40
"""Characters, including the #: nobody reads longer ones, and three of them would leave no room in a tweet."""

_SIGN = re.compile(r"(?<![\w&/])[#＃](?=[^\W\d])")
# Possessive and anchored at the start of a run, so that no text makes them slow.
_LINK = re.compile(r"(https?://)?(?<![\w.-])([\w-]++(?:\.[\w-]++)++)(?:/[!-~]*+)?", re.IGNORECASE)
_LINK_WEIGHT = 23


class Platform(NamedTuple):
    """What a network allows, and our own rules for it.

    Attributes:
        label: its display name.
        limit: the most characters of a post, including hashtags, for a free account.
        max_hashtags: how many we put under a post: what is customary, well below what is allowed.
        advice: what works there, for the prompt.
    """

    label: str
    limit: int
    max_hashtags: int
    advice: str


PLATFORMS: dict[SocialPlatform, Platform] = {
    "twitter": Platform("X (Twitter)", 280, 3, "one idea in at most 200 characters; the first five words decide"),
    "facebook": Platform("Facebook", 63_206, 3, "40 to 120 words that end with a question people like to answer"),
    "instagram": Platform(
        "Instagram", 2_200, 10, "60 to 150 words in short paragraphs; the first line stands alone above the fold"
    ),
    "linkedin": Platform(
        "LinkedIn", 3_000, 5, "80 to 200 words, one observation from work, line breaks, no sales talk"
    ),
    "tiktok": Platform(
        "TikTok", 2_200, 5, "a caption of 15 to 50 words for a short vertical clip, with its hook first"
    ),
}


def post_length(platform: SocialPlatform, text: str) -> int:
    """Characters as the network counts them: code points, except on Twitter.

    There a link counts as 23, and a character outside the Latin, Greek, Cyrillic, Arabic and similar ranges as 2
    (twitter-text, config/v3.json). An emoji of several code points counts as 2 there, while we count each code point:
    we may cut a little early, never too late.
    """
    if platform != "twitter":
        return len(text)
    text = unicodedata.normalize("NFC", text)
    saved = sum(map(_saved_by_link, _LINK.finditer(text)))
    return sum(map(_weight, text)) - saved


def _saved_by_link(match: re.Match[str]) -> int:
    """By how much a link counts for less than its characters; negative if it counts for more."""
    top_level = match[2].rpartition(".")[2]
    if len(top_level) < 2 or not top_level.isalpha():
        return 0  # 3.5, e.g
    written = sum(map(_weight, match[0].rstrip(".,;:!?)]}'\"")))
    # What looks like an address may not be one, and then its letters count.
    return written - (_LINK_WEIGHT if match[1] else max(_LINK_WEIGHT, written))


def _weight(char: str) -> int:
    point = ord(char)
    light = point <= 4351 or 8192 <= point <= 8205 or 8208 <= point <= 8223 or 8242 <= point <= 8247
    return 1 if light else 2


def normalize_hashtags(tags: Iterable[str], at_most: int) -> list[str]:
    """Hashtags as the networks link them: one #, letters, digits and underscores, with words joined in CamelCase.

    Repeats (whatever their case), tags without a letter and overlong ones are dropped.
    """
    kept: dict[str, str] = {}
    for tag in tags:
        words = "".join(char if _in_hashtag(char) else " " for char in unicodedata.normalize("NFC", tag)).split()
        name = words[0] if len(words) == 1 else "".join(word[:1].upper() + word[1:] for word in words)
        if any(map(str.isalpha, name)) and len(name) < MAX_HASHTAG_LENGTH:
            kept.setdefault(name.casefold(), f"#{name}")
    return list(kept.values())[:at_most]


def _in_hashtag(char: str) -> bool:
    # Vowel signs of Indian and other scripts are marks, not letters; so are an emoji's variation selectors.
    mark = unicodedata.category(char).startswith("M") and char not in "\ufe0e\ufe0f"
    return char.isalnum() or char == "_" or mark


def split_hashtags(text: str) -> tuple[str, list[str]]:
    """The text without its trailing hashtags, and these; a single one that ends a sentence belongs to the sentence."""
    text = text.strip()
    words = text.split()
    count = next((place for place, word in enumerate(reversed(words)) if not _is_hashtag(word)), len(words))
    head = text.rsplit(maxsplit=count)[0] if count < len(words) else ""
    footer = text[len(head) :]
    first_tag = footer.lstrip()
    on_own_line = not head or "\n" in footer[: len(footer) - len(first_tag)]
    if not count or (count == 1 and not on_own_line):
        return text, []
    return head, re.findall(r"[^\s#＃]+", footer)


def _is_hashtag(word: str) -> bool:
    return len(word) > 1 and word[0] in "#＃"


def without_hashtags(text: str) -> str:
    """The text with hashtags turned into plain words."""
    return _SIGN.sub("", text)
