"""How the offline texts sound: openings, asides and closings for each tone and each style of video."""

from typing import NamedTuple

from amrikyy.agents.catalog.content.fields import Style, Tone


class Voice(NamedTuple):
    """Sentences that carry a tone. `{topic}` stands for the topic, `{who}` for the readers."""

    openings: tuple[str, ...]
    asides: tuple[str, ...]
    closings: tuple[str, ...]


VOICES: dict[Tone, Voice] = {
    "professional": Voice(
        (
            "Anyone who takes on {topic} soon notices that advice is plentiful and priorities are rare. This article "
            "puts the decisions in an order that has proved workable for {who}.",
            "The difference between a good intention and a good result in {topic} is seldom talent. It is a handful of "
            "decisions, and they can be prepared. This is a working guide for {who}.",
        ),
        (
            "In a team, this belongs on one page that everybody can find.",
            "Half an hour of preparation is usually repaid within the week.",
            "Document the decision together with its reason; the reason ages more slowly.",
            "If time is short, do this part and leave the next.",
        ),
        (
            "Start with one of these points this week, and decide on a date to look at the result. A modest start that "
            "is reviewed beats an ambitious one that is not.",
            "None of this requires a large project. It requires an owner, a date and a first step that fits into an "
            "ordinary working day.",
        ),
    ),
    "casual": Voice(
        (
            "So you've run into {topic}, and now there are twelve open tabs and no plan. Let's fix that. Here's what "
            "I'd tell {who} over a coffee.",
            "There's a lot of noise around {topic}. Most of it you can skip. Here's the part that's worth your time, "
            "for {who} and anybody who's curious.",
        ),
        (
            "Yes, it's that simple. No, that doesn't make it easy.",
            "If that sounds obvious, great: you're already ahead.",
            "Don't overthink this one; you can change it next week.",
            "And if it goes wrong, you've at least got a story.",
        ),
        (
            "That's it. Pick one thing, try it before the weekend, and see what happens. You can always come back for "
            "the rest.",
            "You don't need all of this. You need one piece of it, soon. Which one is up to you.",
        ),
    ),
    "friendly": Voice(
        (
            "If {topic} feels like a lot right now, you are in good company. Take a breath: we will go through it "
            "together, one step at a time, with {who} in mind.",
            "Welcome! It takes some courage to begin with {topic}, and you have just done the first bit. Here is what "
            "has helped {who}, in an order that you can follow.",
        ),
        (
            "Be patient with yourself here; almost everybody finds this part hard at first.",
            "If you get stuck, that is a good moment to ask somebody, not a sign that you are slow.",
            "Small progress is progress, and you are allowed to enjoy it.",
            "You will be surprised how much of this you already know.",
        ),
        (
            "You have everything you need for a first step now. Take it gently, tell somebody about it, and come back "
            "when you want to go further.",
            "Whatever you try first, be kind to your own beginning. You can do this, and next month you will smile "
            "about today.",
        ),
    ),
    "formal": Voice(
        (
            "The subject of {topic} has attracted considerable attention, and not all of it has been helpful. The "
            "present text sets out the principal considerations for {who}.",
            "The following remarks concern {topic}. They are addressed to {who} and proceed from the purpose, through "
            "the means, to the assessment of the result.",
        ),
        (
            "It is advisable to record such decisions in writing.",
            "The effort involved is moderate and can be estimated in advance.",
            "Exceptions exist; they should be justified individually.",
            "A periodic review of this point is recommended.",
        ),
        (
            "In conclusion, it appears advisable to begin with a limited undertaking, to assess it by criteria agreed "
            "beforehand, and to proceed only thereafter.",
            "The considerations above do not replace judgement in the individual case. They may, however, serve to "
            "direct it to the questions of consequence.",
        ),
    ),
    "humorous": Voice(
        (
            "Everybody has an opinion about {topic}, usually the person who tried it once, in 2009, for a fortnight. "
            "Here is a calmer version for {who}, tested on people with jobs.",
            "There are two kinds of people: those who are good at {topic}, and those who have read eleven articles "
            "about it. This is article number twelve, and it would like to be the last one {who} need.",
        ),
        (
            "A spreadsheet may be involved. I am sorry.",
            "At this point somebody will suggest an app. Offer them a biscuit and go on.",
            "This is the part that everyone nods at and nobody does.",
            "Yes, also on Fridays. Fridays are where plans go to retire.",
        ),
        (
            "There you have it: no secret, no hack, and not a single pyramid. Do one of these things before dinner, "
            "and you will have overtaken most of the internet.",
            "Go and try one of them. If it works, tell everyone it was talent. If it does not, tell everyone it was an "
            "experiment.",
        ),
    ),
}

STYLE_VOICES: dict[Style, Voice] = {
    "tutorial": Voice(
        ("By the end of this video you will have made a start with {topic}, step by step, and nothing is skipped.",),
        ("Pause here if you are doing it along with me.", "Check this before you go on; the next step builds on it."),
        ("That was every step. Do the first one now, while it is fresh, and keep this video for the rest.",),
    ),
    "vlog": Voice(
        ("I gave myself one day for {topic}, and I will show you all of it, including the part I would rather cut.",),
        ("I did not expect that, to be honest.", "This was the moment when I nearly gave up and made tea instead."),
        ("So that was the day. Tell me what you would have done differently, because I am going to try it.",),
    ),
    "review": Voice(
        ("Is it worth it? That is the question about {topic}, and you get an answer with reasons, good and bad.",),
        ("On this point it does well, and on this point alone I would hesitate.", "That costs it half a mark with me."),
        ("My verdict: worth it if you recognised yourself in the middle of this video, and not before.",),
    ),
    "educational": Voice(
        (
            "Why do sensible people get {topic} wrong? By the end of this video you will be able to explain it "
            "yourself.",
        ),
        ("Keep that in mind; we will need it again in a minute.", "Notice how this follows from what came before."),
        ("Now you can explain it. Try it on somebody today, and you will find out which part to watch again.",),
    ),
    "entertainment": Voice(
        ("Nobody believed that {topic} could be this interesting. Stay until the end, and judge for yourself.",),
        ("And then it got strange.", "You can probably guess what happened next. You would be wrong."),
        ("And that is how it ends: no explosion, one lesson, and a very good excuse to try it yourself.",),
    ),
}
