"""Sentences that look at one aspect of a subject; with the aspects, they make hours of narration without a repeat."""

from collections.abc import Sequence

STRIDE = 5
"""Shares no divisor with the number of lenses, so that every one of them comes first somewhere."""

LENSES = (
    "Stay with {aspect} for a moment, because the rest hangs on it.",
    "If you had only ten minutes for {it}, you could do worse than spend them on {aspect}.",
    "When {who} get together, {aspect} will come up sooner or later, so have an answer of your own.",
    "Try to explain {aspect} to a friend in two sentences; the place where you stumble is the place to work on.",
    "Nobody gets {aspect} right on the first day, and nobody has to.",
    "Here is a small exercise: write {aspect} at the top of a page, and below it the last time it mattered.",
    "Think of one person who handles {aspect} well, and ask what they stopped doing.",
    "The surprising thing about {aspect} is how little it takes to make a difference that others notice.",
    "Before you buy or build anything, check what {aspect} looks like today, without any judgement.",
    "In practice, {aspect} shows itself in small moments: a question that is asked twice, a step that is skipped.",
    "You may disagree with me about {aspect}, and that is fine, as long as you can say why.",
    "Take a photograph, a screenshot or a note of how things stand, so that {aspect} can be compared next month.",
    "It helps to separate {aspect} from everything around it, if only for an afternoon.",
    "What would happen to {it} if you ignored {aspect} entirely? The honest answer tells you how much care it needs.",
    "There is a quick version of {aspect} and a thorough one; begin with the quick one and see whether it is enough.",
    "If something about {aspect} feels too complicated, it probably contains two decisions that want to be taken "
    "apart.",
    "Put a date next to {aspect}; even a wrong date is better company than none.",
    "And if you work with others, agree on who looks after {aspect}, by name.",
    "Let me put {aspect} differently: it is what you would miss first if somebody took it away.",
    "Half of the trouble with {aspect} disappears once it is spoken about openly.",
    "Look for the cheapest way to be wrong about {aspect}, and take it this week.",
    "Once {aspect} is settled, several other questions about {it} answer themselves.",
    "Watch for the moment when {aspect} becomes easy, because that is when attention slips.",
    "A good sign for {aspect} is that people stop mentioning it.",
    "Keep the part of {aspect} that already works; improvement does not have to mean replacement.",
    "Ask yourself what a beginner would find strange about {aspect}, and whether the beginner has a point.",
    "When you come back to {aspect} in a month, you will want to know what you assumed today, so write that down.",
    "So much for the theory; with {aspect}, one try in your own setting is worth more than my opinion.",
)


def lenses_for(place: int, order: Sequence[str]) -> list[str]:
    """All lenses, from a different start for each place in a text, so that neighbours begin with different ones."""
    start = STRIDE * place % len(order)
    return [*order[start:], *order[:start]]


KEYWORD_SENTENCES = (
    "This is where {keyword} comes in: decide early what it means in your case, and put that into one line.",
    "Keep {keyword} in view here, because it is easy to agree on in general and hard to notice in detail.",
    "If you search for one term on this point, let it be {keyword}, and read two opinions that differ.",
    "A useful test is to ask what {keyword} would look like here if it were done well.",
    "People who know {keyword} from another field will recognise the pattern and can skip a few detours.",
    "It is worth asking who looks after {keyword} today, and whether that person knows it.",
    "Much of what is said about {keyword} applies at this point, though with less drama.",
    "Treat {keyword} as a question and not as a slogan, and this part becomes concrete.",
    "For a first attempt, one small decision about {keyword} is enough.",
    "Put {keyword} on the agenda once, early, and it will not have to interrupt you later.",
)
