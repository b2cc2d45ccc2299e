"""Fits a topic into a sentence."""

import re

from amrikyy.agents.catalog.content.reading import shorten

MAX_SUBJECT_LENGTH = 60

_LEAD = re.compile(
    r"(?:an? |the )?(?:(?:ultimate|complete|short|quick|beginner['’]s) )*(?:guide|introduction) (?:to|for) "
    r"|what (?:is|are) |\d+ (?:tips|ideas|rules|reasons|facts) (?:for|on|about) ",
    re.IGNORECASE,
)
_HOW_TO = re.compile(r"(?:how|\d* ?(?:best )?ways) to (?!not\b)([a-z]+)\b(.*)", re.IGNORECASE)


def subject(topic: str) -> str:
    """The topic as a noun phrase: "how to bake bread" is "baking bread", and one too long to repeat "this subject"."""
    phrase = topic.rstrip(" .!?…")
    if how_to := _HOW_TO.fullmatch(phrase):
        phrase = gerund(how_to[1].lower()) + how_to[2]
    elif lead := _LEAD.match(phrase):
        phrase = phrase[lead.end() :]
    elif topic.endswith("?") or topic.lower().startswith("why "):
        return "this question"
    return phrase if 0 < len(phrase) <= MAX_SUBJECT_LENGTH else "this subject"


def gerund(verb: str) -> str:
    """The -ing form of an English verb, by the rules of spelling."""
    if verb.endswith("ie"):
        return verb[:-2] + "ying"
    if verb.endswith("e") and not verb.endswith(("ee", "oe", "ye")) and len(verb) > 2:
        return verb[:-1] + "ing"
    if re.fullmatch(r"[^aeiou]*[aeiou][^aeiouwxy]", verb):
        return f"{verb}{verb[-1]}ing"
    return f"{verb}ing"


def headline(topic: str, length: int = 80) -> str:
    """The topic as the beginning of a title, with a capital where it has none of its own."""
    text = shorten(topic.rstrip(" .:"), length) or topic
    first = text.split(maxsplit=1)[0]
    return text[:1].upper() + text[1:] if first.islower() else text
