"""The named workflows that ship."""

from amrikyy.workflows.plan import Definition, Parallel, Sequential, Step, Task

LIBRARY = (
    Definition(
        name="trip-offers",
        description="Flights and hotels for a trip: origin and destination as airport codes, date, returnDate.",
        plan=Parallel(
            tasks=[
                Task(agent="travel", method="searchFlights", select="{passengers: travelers}"),
                Task(
                    agent="travel",
                    method="searchHotels",
                    select="{checkIn: date, checkOut: returnDate, guests: travelers}",
                ),
            ]
        ),
    ),
    Definition(
        name="trip-plan",
        description="Flights and hotels, then an itinerary with what is left of the budget, then a blog post about the "
        "trip: origin and destination as airport codes, date, returnDate, budget; travelers, interests.",
        plan=Sequential(
            steps=[
                Step(workflow="trip-offers"),
                Step(
                    agent="travel",
                    method="generateItinerary",
                    select="{destination: searchHotels.destination.name, duration: days_between(date, returnDate), "
                    "budget: max([`0`, subtract(budget, sum([searchFlights.cheapestTotal || `0`, "
                    "searchHotels.cheapestTotal || `0`]))])}",
                    transform="{itinerary: @}",
                ),
                Step(
                    agent="content",
                    method="generateBlogPost",
                    params={"tone": "friendly"},
                    select="{topic: join(' ', [to_string(itinerary.duration), 'days in', itinerary.destination.name])}",
                ),
            ]
        ),
    ),
    Definition(
        name="campaign-launch",
        description="Ideas for a niche, then social posts about the best of them, then a content calendar: niche; "
        "problem, platforms, duration, frequency.",
        plan=Sequential(
            steps=[
                Step(
                    agent="innovation",
                    method="generateIdeas",
                    transform="{ideas: ideas, topic: ideas[0].title, topics: ideas[*].title}",
                ),
                Step(agent="content", method="generateSocialPosts", transform="{posts: posts}"),
                Step(agent="content", method="generateContentCalendar", select="{platforms: platforms}"),
            ],
            input={"platforms": ["twitter", "linkedin", "instagram"]},
        ),
    ),
    Definition(
        name="market-research",
        description="Trends and competitors of a market: industry, competitors; niche, region, timeframe, focus.",
        plan=Parallel(
            tasks=[
                Task(agent="innovation", method="analyzeTrends"),
                Task(agent="innovation", method="analyzeCompetitors", select="{niche: niche || industry}"),
            ]
        ),
    ),
    Definition(
        name="market-study",
        description="Trends and competitors of a market, then a judgement of an idea in it, then its business model: "
        "idea, industry, competitors; niche, targetMarket, budget, timeline.",
        plan=Sequential(
            steps=[
                Step(workflow="market-research"),
                Step(agent="innovation", method="validateIdea", transform="{validation: @}"),
                Step(agent="innovation", method="createBusinessModelCanvas"),
            ]
        ),
    ),
)
