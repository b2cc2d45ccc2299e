"""Kinds of business that exist in almost every niche: the material of the offline model's ideas."""

from typing import NamedTuple


class Pattern(NamedTuple):
    """A kind of business. `{niche}` stands for the niche, `{Niche}` for the same with a capital letter.

    The three numbers are impact, feasibility and novelty, 0 to 100, before the request shifts them a little.
    """

    title: str
    description: str
    customer: str
    value: str
    revenue: str
    risk: str
    step: str
    scores: tuple[int, int, int]


PATTERNS = (
    Pattern(
        "{Niche} starter kit",
        "A box and a guided first month for people who are new to {niche}. It removes the twenty small decisions that "
        "stop most beginners in the first week.",
        "Beginners who have bought a book and not opened it",
        "From interest to a first result in thirty days, without research.",
        "One-time sale, then refills by subscription",
        "Beginners leave once they are none",
        "Sell ten kits by hand to acquaintances of acquaintances, and telephone each after a week.",
        (58, 81, 35),
    ),
    Pattern(
        "Second opinion on {niche}",
        "An independent expert looks at a plan or an offer within 48 hours and says on one page what to change. No "
        "commission, nothing else to sell.",
        "People before an expensive decision who do not trust the seller",
        "An honest view for less than the mistake would cost.",
        "Fixed fee for each review",
        "Good experts are scarce and have their own clients",
        "Offer five reviews free of charge in a forum and ask afterwards what they would have been worth.",
        (66, 76, 48),
    ),
    Pattern(
        "{Niche} price watch",
        "A service that records what is really paid, from receipts that members send in, and shows what is a fair "
        "price this month in their region.",
        "Small companies that buy regularly and compare rarely",
        "Know within a minute whether an offer is fair.",
        "Monthly subscription for companies, free for those who contribute",
        "It is useful only with enough receipts in one region",
        "Collect a hundred receipts in one town and show the spread to ten buyers.",
        (71, 54, 63),
    ),
    Pattern(
        "Shared equipment for {niche}",
        "A booking service for expensive equipment that stands idle most of the week. Owners earn, others try before "
        "they buy, and insurance is included.",
        "Serious amateurs and very small firms in one city",
        "Use the good equipment for a tenth of its price.",
        "Commission on each booking",
        "Damage and disputes eat the commission",
        "Rent out three items of your own over two weekends.",
        (62, 57, 41),
    ),
    Pattern(
        "The {niche} apprenticeship",
        "Twelve evenings in which a small group works on real tasks of a local company under a master's eyes. The "
        "company gets results and meets people it could hire.",
        "Career changers with a job, and companies that do not find staff",
        "Learn it on something that counts, and be seen while you do.",
        "Fee from participants and a placement fee from companies",
        "Companies have no suitable tasks when the group needs them",
        "Find one company with one task and four people for four evenings.",
        (69, 64, 52),
    ),
    Pattern(
        "{Niche} paperwork desk",
        "Forms, permits and deadlines for {niche} handled by one desk for a fixed monthly price, with a calendar "
        "that warns in time and a person who answers the telephone.",
        "Owners of companies with one to five people",
        "No evening spent on forms, no deadline missed.",
        "Monthly flat fee",
        "Liability for mistakes in regulated matters",
        "Do the paperwork of three companies for a month and measure the hours.",
        (73, 68, 34),
    ),
    Pattern(
        "Field notes for {niche}",
        "A weekly letter that tests one method, tool or supplier, paid by its readers alone, with the failed tests "
        "left in.",
        "Practitioners who are tired of sponsored advice",
        "One tested thing every Friday, in five minutes.",
        "Yearly subscription",
        "Growth is slow, and one good writer is hard to replace",
        "Write four issues, send them to fifty people, and ask for money for the fifth.",
        (47, 88, 29),
    ),
    Pattern(
        "{Niche} for people over seventy",
        "The same offer, thought through again for older customers: by telephone, with large print, home visits and a "
        "daughter or son in copy.",
        "People over seventy, and their children who pay",
        "Take part again without asking the family for help.",
        "Service fee, partly paid by relatives",
        "Sales take long and need trust in person",
        "Spend three afternoons in a senior citizens' club and do it with them.",
        (74, 62, 57),
    ),
    Pattern(
        "{Niche} repair network",
        "Repairers with free hours are matched with what is broken nearby, at fixed prices and with a guarantee for a "
        "year.",
        "Households and small firms that would rather not buy new",
        "Repaired within five days, at a price known beforehand.",
        "Commission and a guarantee fee",
        "Fixed prices fail on odd cases",
        "Broker twenty repairs by telephone and note every surprise.",
        (64, 59, 44),
    ),
    Pattern(
        "Quiet hours for {niche}",
        "Unsold hours and places are offered to people with flexible days at half the price, without harming the "
        "regular price.",
        "Freelancers, shift workers and parents of small children",
        "The same thing on a Tuesday morning for half.",
        "Commission on hours that would have stayed empty",
        "Providers fear for their regular prices",
        "Ask ten providers for their emptiest hour and sell it in one local group.",
        (56, 72, 46),
    ),
    Pattern(
        "{Niche} quality mark",
        "Independent visits by three simple criteria that customers chose, with results that everybody can read, bad "
        "ones included.",
        "Good providers who cannot show that they are good",
        "See in one glance who keeps to what matters.",
        "Yearly fee for each provider, whatever the result",
        "Providers pay, so independence must be proven again and again",
        "Visit eight providers unpaid, publish the results, and see who links to them.",
        (61, 49, 51),
    ),
    Pattern(
        "{Niche} on demand for offices",
        "Companies book a fixed half day each month for their staff, and a coordinator takes care of everything else.",
        "Personnel managers of companies with 30 to 300 people",
        "A benefit that people use, with one invoice.",
        "Monthly contract for each company",
        "First to be cut in a bad year",
        "Run one half day at a friend's company and ask who would come again.",
        (59, 74, 38),
    ),
    Pattern(
        "{Niche} translator",
        "Plain-language versions of contracts, manuals and letters about {niche}, made by software and checked by a "
        "person within a day.",
        "Newcomers to the country or to the field",
        "Understand what you sign, today.",
        "Price for each page, packages for advisers",
        "One wrong word can do real harm",
        "Translate ten documents from an advice centre and let its staff judge them.",
        (68, 65, 55),
    ),
    Pattern(
        "The {niche} swap",
        "A club in which members exchange what they have outgrown for what they need next, with points instead of "
        "money and a monthly meeting.",
        "Families and enthusiasts whose needs change every year",
        "The next size or level without buying new.",
        "Membership fee",
        "Popular things are gone, the rest piles up",
        "Hold one swap meeting with twenty people in a borrowed room.",
        (51, 79, 43),
    ),
    Pattern(
        "{Niche} memory",
        "A logbook that fills itself from photographs, invoices and messages, and answers questions such as 'when "
        "did we last do this, and who did it?'.",
        "Small teams whose knowledge sits in one head",
        "Find what happened last year in ten seconds.",
        "Subscription for each team",
        "People must trust it with their messages",
        "Keep the log for one team by hand for two weeks and count the questions it answers.",
        (70, 61, 67),
    ),
    Pattern(
        "Local heroes of {niche}",
        "Guided visits to people who do it exceptionally well, for small groups, including a dinner at which one may "
        "ask anything.",
        "Curious travellers and professionals from elsewhere",
        "One evening that no search result can replace.",
        "Ticket price, shared with the host",
        "Depends on hosts who soon tire of it",
        "Sell eight places for one evening before you have a second host.",
        (54, 77, 49),
    ),
    Pattern(
        "{Niche} safety net",
        "A mutual fund in which small providers insure each other against the one bad month, with a cap, clear rules "
        "and a reserve.",
        "Self-employed people without reserves",
        "One bad month no longer ends the business.",
        "Administration fee on contributions",
        "Insurance law; expert advice is needed before the first contribution",
        "Interview fifteen self-employed people about their last bad month, and ask a lawyer for the limits.",
        (77, 33, 69),
    ),
    Pattern(
        "{Niche} test lab",
        "Small makers send in a product and receive, within ten days, the opinion of twenty real users on video and "
        "three pieces of advice.",
        "Makers with a product and no research budget",
        "Know before the second batch what is wrong with the first.",
        "Price for each test, packages for several",
        "Panels get used to testing and stop being normal users",
        "Test two products with ten neighbours each and sell the third test.",
        (63, 71, 58),
    ),
    Pattern(
        "{Niche} carbon receipt",
        "A plain statement for each purchase of what it took in energy and transport, with the method explained and "
        "the uncertainty shown.",
        "Companies whose own customers ask for numbers",
        "An answer to the customer's question that can be checked.",
        "Price for each product assessed",
        "Methods are disputed, and rules change",
        "Assess five products of one company and let a critic take the method apart.",
        (60, 52, 61),
    ),
    Pattern(
        "{Niche} night shift",
        "A team in another time zone takes over at six in the evening what has to be done by eight in the morning, "
        "with a handover of ten minutes.",
        "Small teams with orders that come in late",
        "Go home at six, and find it done at eight.",
        "Price for each finished task",
        "Quality suffers without a common language and clear handovers",
        "Do one customer's tasks overnight yourself for one week.",
        (65, 58, 47),
    ),
)
