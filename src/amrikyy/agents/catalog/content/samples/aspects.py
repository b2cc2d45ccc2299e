"""What can be said about almost any subject, aspect by aspect: the material of the offline texts."""

from typing import NamedTuple


class Aspect(NamedTuple):
    """One side of a subject. `{it}` stands for the subject and `{who}` for the readers.

    Attributes:
        name: a noun phrase for use within a sentence.
        heading: a section's heading.
        point: why it matters.
        steps: what to do, as three imperatives.
        example: how it looks in practice.
        mistake: what usually goes wrong.
        check: how to tell whether it works.
        visual: what a camera could show.
    """

    name: str
    heading: str
    point: str
    steps: tuple[str, str, str]
    example: str
    mistake: str
    check: str
    visual: str


ASPECTS = (
    Aspect(
        "the goal",
        "Write down what you want from it",
        "A goal that fits on one line decides more than any tool does. With {it}, the useful goals name a person, a "
        "moment and a difference that somebody could see.",
        ("Write the goal as one sentence.", "Name who would notice.", "Cross out every word that only sounds good."),
        "Compare 'get better at this' with 'by June, answer the three most common questions without looking them up'. "
        "The second one tells you on Monday morning what to do.",
        "The usual mistake is a goal that cannot fail. It feels safe, and for that reason it never helps with a "
        "choice.",
        "Read the sentence to somebody who was not there. If they can say what success would look like, it is done.",
        "A hand writes one sentence on an empty page, crosses out two words, and circles the rest.",
    ),
    Aspect(
        "the first step",
        "Begin with the smallest thing that counts",
        "The first step should be small enough to finish today and real enough to teach something. In {it}, an hour of "
        "doing usually answers questions that a week of reading leaves open.",
        ("Pick the part that you could finish in an hour.", "Do it badly on purpose.", "Note what surprised you."),
        "A small team that wanted to change everything changed one page instead, on a Tuesday, and had its first real "
        "feedback before lunch.",
        "Many people prepare until the energy is gone. Preparation is pleasant because nothing can go wrong in it yet.",
        "You have taken the step when something exists that was not there yesterday, however plain it is.",
        "A timer is set to sixty minutes, and the desk behind it is cleared except for one thing.",
    ),
    Aspect(
        "the cost",
        "Count the whole cost, also the quiet part",
        "The price on the label is the part of the cost that is easy to see. What {it} really takes is hours, "
        "attention and the things that you will not do meanwhile.",
        ("List what you pay once.", "List what you pay every month.", "Put hours beside the money."),
        "Somebody who keeps a simple tally for two weeks will often find one item that costs more than all the others "
        "together, and it is seldom the one that was feared.",
        "Budgets tend to forget the second month. That is when help, repairs and second thoughts arrive.",
        "Divide what you spent by what you got out of it, even roughly. A number that you dislike is still a start.",
        "Receipts are laid out in a row, and a stopwatch is placed at the end of it.",
    ),
    Aspect(
        "the time",
        "Give it a place in the week",
        "What has no place in the week does not happen. For {who}, a fixed half hour does more for {it} than a free "
        "afternoon that might come.",
        ("Choose a day and an hour.", "Tell one person about it.", "Stop when the time is over."),
        "Twenty-five minutes on three mornings add up to more than an hour a week, and nobody has to find a free day.",
        "Long sessions look serious and are easy to postpone. Short ones look modest and survive a bad week.",
        "Look back after a month and count the sessions that took place. Two out of three is a habit.",
        "A wall calendar is filled with small crosses, three to each week.",
    ),
    Aspect(
        "the tools",
        "Choose tools last, and few of them",
        "Tools answer the question of how, and are no help with what or why. A plain tool that you know well carries "
        "{it} further than a fine one that you have to learn first.",
        ("Use what is already there for two weeks.", "Write down where it hurts.", "Buy only against that pain."),
        "A shared table and a folder with clear names have carried many projects that were later said to need a "
        "platform.",
        "New tools are exciting for the person who chose them. For everybody else they are one more thing to open.",
        "Ask which tool you would miss tomorrow. Whatever you do not name can go.",
        "A crowded screen is closed window by window until a single one remains.",
    ),
    Aspect(
        "the people",
        "Talk to the people it touches",
        "Somebody always lives with the result. In {it}, a short conversation with that person early saves a long one "
        "later.",
        (
            "Name three people it touches.",
            "Ask each of them what annoys them today.",
            "Change one thing because of it.",
        ),
        "One such talk can turn a plan around: the feature that was meant to impress is ignored, and a detail that "
        "nobody mentioned turns out to matter every day.",
        "It is tempting to ask people whether they like an idea. They are polite. Ask what they did last time instead.",
        "You have listened well when you can tell their story and they say: yes, exactly.",
        "Two people sit at a kitchen table; one talks, the other takes notes by hand.",
    ),
    Aspect(
        "a worked example",
        "Follow one example to the end",
        "A rule becomes clear when it meets a case. Take one ordinary case of {it} and go through it from its first "
        "minute to its last.",
        (
            "Choose a case that is typical, not spectacular.",
            "Write down each decision in it.",
            "Mark the two hard ones.",
        ),
        "Suppose the case takes five steps. Written out, the third turns out to be two steps, and the fifth could have "
        "come first.",
        "Show cases are chosen because they went well. They hide exactly the places where help is needed.",
        "Give the example to a beginner. Where they stop and ask, the explanation is not finished.",
        "One case is drawn as five boxes on a whiteboard, and the third box is split in two.",
    ),
    Aspect(
        "the mistakes",
        "Learn from the usual mistakes",
        "Most mistakes in {it} have been made before, by careful people. Knowing them costs nothing; making them "
        "yourself costs a season.",
        ("Collect three mistakes that others admit.", "Ask how they noticed.", "Build that warning into your routine."),
        "A list of five typical errors, pinned where the work is done, is read more often than any handbook.",
        "The mistake behind the mistakes is to look for somebody to blame. After that, nobody reports anything.",
        "If the same error has not come back within three months, the lesson has been learnt.",
        "A pinned list of five short lines; a pen ticks off the first.",
    ),
    Aspect(
        "the measure",
        "Measure one thing, and honestly",
        "One number that you look at every week is worth more than a page that you admire once a quarter. For {it} it "
        "should move within days when you change something.",
        ("Choose one number.", "Write down today's value.", "Decide what you will do if it falls."),
        "A count of finished pieces, kept on paper, has the charm that everybody can check it and nobody can polish "
        "it.",
        "A measure becomes useless when it becomes a target for its own sake: people begin to serve the number.",
        "Ask what you would do differently if the number were half as large. If the answer is nothing, drop it.",
        "A single number is written large on a card, with last week's value struck through below.",
    ),
    Aspect(
        "the risk",
        "Decide beforehand what may go wrong",
        "Risk is easier to bear when it has a name and a limit. Before you go further with {it}, decide how much you "
        "can lose, and at which point you will stop.",
        ("Write the worst plausible outcome.", "Write what would warn you early.", "Agree on a point to stop."),
        "A limit such as 'six weeks and no more than two days a week' turns a worry into an experiment.",
        "People often insure themselves against the dramatic risk and stumble over the boring one: illness, holidays, "
        "a password that only one person knows.",
        "A colleague should be able to take over tomorrow with what is written down. Try it once.",
        "A line is drawn across a chart, and the words 'stop here' are written beside it.",
    ),
    Aspect(
        "the quality",
        "Say what good enough means",
        "Quality without a definition is a mood. In {it}, three criteria that can be checked in a minute will settle "
        "most discussions.",
        ("Name three criteria.", "Find one example that meets them.", "Find one that just fails."),
        "The example that just fails is the more useful one, because it shows where the border runs.",
        "Perfection is often a polite form of delay. It protects the work from the only people who could improve it.",
        "Two people who judge the same piece by the criteria should agree. If they do not, sharpen the words.",
        "Two almost identical pieces lie side by side; a finger points at the one small difference.",
    ),
    Aspect(
        "the routine",
        "Turn it into a routine that survives bad days",
        "Enthusiasm starts things and routine finishes them. A routine for {it} should be so plain that it also works "
        "on a day when nothing else does.",
        ("Attach it to something you do anyway.", "Reduce it to its core.", "Plan the version for bad days."),
        "After the first coffee, before the first message: a place like that in the day needs no reminder.",
        "Routines fail when they are designed on a good day. Design yours on a Thursday afternoon in November.",
        "Count how often you skipped it twice in a row. Once is life, twice is a signal.",
        "A cup is put down, a notebook is opened, the clock behind shows the same time on three mornings.",
    ),
    Aspect(
        "the limits",
        "Know where it does not help",
        "Every approach has an edge, and it is fair to say where it is. There are situations in which {it} will not be "
        "the answer, and knowing them makes the rest more credible.",
        ("List two situations where it fails.", "Name what works better there.", "Tell others before they ask."),
        "A good adviser will sometimes send a client away. The ones who stay trust every other word the more.",
        "Success makes people widen the field until the method no longer fits, and then blame the method.",
        "You know the limits when you can describe a case that you would refuse, and why.",
        "A map with a clear border; a hand stops exactly at the line.",
    ),
    Aspect(
        "the alternatives",
        "Compare it with the two best alternatives",
        "A choice without an alternative is no choice. Put {it} beside the two most serious other ways, one of which "
        "is to do nothing.",
        ("Name the two alternatives.", "Compare them by your goal.", "Write why you decided as you did."),
        "Doing nothing is often underrated: it costs no money, hurts nobody and leaves time for something else.",
        "Comparisons are often written after the decision. They then have a winner in every line, and convince nobody.",
        "Six months later, the note about your reasons should still make sense to you, even if you now disagree.",
        "Three columns on paper, each with one strong and one weak point; the middle one is underlined.",
    ),
    Aspect(
        "the next skill",
        "Learn the next thing, not everything",
        "Nobody has to know all of it. What {who} need next about {it} is usually one skill, and it can be named.",
        ("Name the next skill.", "Find one person who has it.", "Practise on something that matters."),
        "Someone who explains a thing the day after learning it will find the gaps, and close them in the same hour.",
        "Collecting courses feels like progress. Without a task that waits for the skill, little of it stays.",
        "You have learnt it when you can do it twice in a row without looking.",
        "Someone explains a sketch to a friend, stops, laughs, and corrects one arrow.",
    ),
    Aspect(
        "the feedback",
        "Ask for feedback while it can still change something",
        "Feedback is a gift with a date on it. In {it}, the best moment to ask is when the shape can be seen and "
        "nothing is finished.",
        ("Show it at thirty per cent.", "Ask two precise questions.", "Say afterwards what you changed."),
        "The question 'where did you stop reading?' brings more than 'what do you think?', and hurts less to answer.",
        "Whoever asks everybody hears everything, and ends in the middle. Three well-chosen people are enough.",
        "Feedback worked if the next version would have been different without it.",
        "A half-finished draft is passed across a table, with two questions on a sticky note.",
    ),
    Aspect(
        "the records",
        "Keep notes that your future self can use",
        "Memory is kind and unreliable. A few lines after each session keep {it} from starting over every month.",
        ("Note what you tried.", "Note what happened.", "Note what you would do next."),
        "Three lines in a plain file, with the date in front, are found again by any search.",
        "Elaborate systems for notes are a hobby of their own. The best one is the one that you still use in spring.",
        "Open a note from two months ago. If you could continue from it at once, it was good.",
        "A cursor types a date and three short lines into an otherwise empty document.",
    ),
    Aspect(
        "the next size",
        "Grow only what already works",
        "Growth multiplies whatever is there, weaknesses included. Before {it} gets larger, it should work twice in "
        "a row at the present size.",
        ("Repeat the success once.", "Remove one manual step.", "Double, and watch for two weeks."),
        "What works for five people may work for ten. For fifty it will be a different thing, and wants to be "
        "designed.",
        "The usual mistake is to grow in order to escape a problem. The problem grows along.",
        "Growth is healthy while the time for each piece falls or stays the same.",
        "One small plant, then two, then four, each in a pot of the same size.",
    ),
)
