"""The planner without a model: what is made of words, and of loose fields."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field

from amrikyy.agents.agent import Agent, Request, Result
from amrikyy.agents.catalog.travel.fields import FutureDate
from amrikyy.agents.context import RunContext
from amrikyy.agents.planner import Choice, Planner
from amrikyy.agents.planner.planner import Planned
from amrikyy.agents.registry import Registry, load_registry
from amrikyy.errors import ValidationFailed
from tests.serving import Served

REGISTRY = load_registry()
AGENTS = st.sampled_from(["travel", "content", "innovation"])


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """One kind is enough: nothing here depends on it."""
    return sqlite_url


def day(ahead: int) -> str:
    return (datetime.now(UTC).date() + timedelta(days=ahead)).isoformat()


async def chosen(server: Served, agent: str, wanted: str | dict[str, Any]) -> Choice:
    operations = list(server.runtime.registry[agent].operations.values())
    return await server.runtime.planner.choose(operations, wanted, owner="key:test")


def answer_to(registry: Registry, agent: str, wanted: str | dict[str, Any]) -> Planned | None:
    """The offline planner without the server around it: a valid request, or (None) a refusal that names fields."""
    planner = Planner(registry, cast("Any", None), home_airport="JFK")
    _, question = planner.question(list(registry[agent].operations.values()), wanted)
    planned, refused = None, None
    try:
        planned = planner.plan_offline(question)
    except ValidationFailed as error:
        refused = error
    if planned is None:
        assert refused is not None
        assert all(detail["field"] for detail in refused.details)
        assert refused.details
        return None
    operation = registry[agent][planned.operation.partition(".")[2]]
    whole = operation.request_type.model_validate(planned.request).model_dump(mode="json", by_alias=True)
    assert whole == planned.request
    assert planned.assumed == {name: whole[name] for name in planned.assumed}
    return planned


async def test_flights_between_two_codes(server: Served) -> None:
    choice = await chosen(server, "travel", "flights from NYC to LAX")
    assert choice.operation.key == "travel.searchFlights"
    assert choice.assumed == {"date": day(30), "passengers": 1, "class": "economy"}


SAID: list[tuple[str, str, dict[str, Any]]] = [
    ("hotels in Paris", "travel.searchHotels", {"destination": "Paris", "checkIn": day(30), "checkOut": day(37)}),
    (
        "a flight to Tokyo tomorrow for two people",
        "travel.searchFlights",
        {"origin": "JFK", "destination": "HND", "date": day(1), "passengers": 2},
    ),
    (
        "fly from London to Rome on 2098-05-03, back on 2098-05-10, business class",
        "travel.searchFlights",
        {"origin": "LHR", "destination": "FCO", "date": "2098-05-03", "returnDate": "2098-05-10", "class": "business"},
    ),
    (
        "flight Cairo - Dubai in two weeks",
        "travel.searchFlights",
        {"origin": "CAI", "destination": "DXB", "date": day(14)},
    ),
    ("LAX to SFO", "travel.searchFlights", {"origin": "LAX", "destination": "SFO"}),
    (
        "cheap hostel in Rome for 3 nights from tomorrow, 4 stars, 1 guest",
        "travel.searchHotels",
        {"checkIn": day(1), "checkOut": day(4), "stars": 4, "guests": 1},
    ),
    (
        "plan a 5 day trip to Rome with $2000",
        "travel.generateItinerary",
        {"destination": "Rome", "duration": 5, "budget": 2000},
    ),
    (
        "itinerary for Tokyo, 7 days, budget 3,000, interested in food and temples",
        "travel.generateItinerary",
        {"budget": 3000, "interests": ["food", "temples"]},
    ),
    (
        "what should I see in Kyoto in three days for 500 dollars?",
        "travel.generateItinerary",
        {"destination": "Kyoto", "duration": 3, "budget": 500},
    ),
    ("flights from Paris to Tokyo on 2098-05-01 for 2", "travel.searchFlights", {"passengers": 2}),
    ("flights for two from Paris to Tokyo for 2 weeks", "travel.searchFlights", {"passengers": 2}),
    ("flights from Paris to Tokyo for 2 weeks", "travel.searchFlights", {"passengers": 1}),
    ("a trip to Rome for 2 for 5 days with $900", "travel.generateItinerary", {"travelers": 2, "duration": 5}),
    ("flights from Paris to Rome, I know Paris", "travel.searchFlights", {"origin": "CDG", "destination": "FCO"}),
    (
        "where should I go in summer for beaches under $1000",
        "travel.getDestinationRecommendations",
        {"season": "summer", "interests": ["beaches"], "budget": 1000},
    ),
    (
        "recommend somewhere warm for two with wine and good food for a ski holiday, budget 2000",
        "travel.getDestinationRecommendations",
        {"season": "ski holiday", "interests": ["wine", "good food"], "budget": 2000, "travelers": 2},
    ),
    (
        "where should we go in Europe for 10 days during the school holidays, for me and my wife",
        "travel.getDestinationRecommendations",
        {"season": "school holidays", "interests": [], "duration": 10},
    ),
    (
        "where should I go for 10 days, I love hiking and wine",
        "travel.getDestinationRecommendations",
        {"duration": 10, "interests": ["hiking", "wine"]},
    ),
    (
        "Do I need a visa for Japan as an Egyptian?",
        "travel.getVisaRequirements",
        {"destination": "Japan", "nationality": "Egyptian"},
    ),
    (
        "visa requirements for US citizens travelling to India",
        "travel.getVisaRequirements",
        {"destination": "India", "nationality": "US"},
    ),
    (
        "complete package from New York to Paris for 7 days with a budget of 4000",
        "travel.createCompletePackage",
        {"origin": "New York", "destination": "Paris", "duration": 7, "budget": 4000},
    ),
    ("write a short, funny article on cats", "content.generateBlogPost", {"topic": "cats", "length": "short"}),
    (
        "a formal blog post about quantum computing",
        "content.generateBlogPost",
        {"topic": "quantum computing", "tone": "formal"},
    ),
    ("5 tweets about our new product", "content.generateSocialPosts", {"topic": "our new product"}),
    (
        "social media posts for twitter and linkedin about the summer sale",
        "content.generateSocialPosts",
        {"topic": "summer sale", "platforms": ["twitter", "linkedin"]},
    ),
    (
        "make a 3 minute video script about packing light",
        "content.generateVideoScript",
        {"topic": "packing light", "duration": 180},
    ),
    ("research electric vehicles", "content.researchTopic", {"topic": "electric vehicles"}),
    ("content calendar for the next two weeks", "content.generateContentCalendar", {"duration": 14}),
    (
        "10 business ideas for sustainable travel",
        "innovation.generateIdeas",
        {"niche": "sustainable travel", "count": 10},
    ),
    (
        "emerging trends in the hospitality industry",
        "innovation.analyzeTrends",
        {"industry": "hospitality", "timeframe": "emerging"},
    ),
    (
        "compare Uber, Lyft and Bolt in ride sharing",
        "innovation.analyzeCompetitors",
        {"niche": "ride sharing", "competitors": ["Uber", "Lyft", "Bolt"]},
    ),
    (
        "compare pricing of Make and Zapier in automation",
        "innovation.analyzeCompetitors",
        {"competitors": ["Make", "Zapier"], "focus": "pricing"},
    ),
    (
        "validate my idea: an app that finds dog walkers",
        "innovation.validateIdea",
        {"idea": "app that finds dog walkers"},
    ),
    (
        "business model canvas for a box of local cheeses in the food industry",
        "innovation.createBusinessModelCanvas",
        {"industry": "food"},
    ),
]


@pytest.mark.parametrize(("query", "key", "fields"), SAID)
def test_what_people_say_is_understood(query: str, key: str, fields: dict[str, Any]) -> None:
    planned = answer_to(REGISTRY, key.partition(".")[0], query)
    assert planned is not None
    assert (planned.operation, {name: planned.request[name] for name in fields}) == (key, fields)


def test_what_nobody_said_is_assumed_even_if_the_operation_has_a_default_for_it() -> None:
    for query, assumed in (
        ("flights from Paris to Rome on 2098-05-01", {"passengers": 1, "class": "economy"}),
        ("flights from Paris to Rome on 2098-05-01 for 2, economy", {}),
    ):
        planned = answer_to(REGISTRY, "travel", query)
        assert planned is not None
        assert planned.assumed == assumed


# --- Fields, as workflows have them ----------------------------------------------------------------------------------

BAGS: list[tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    # The guide's: operation, params, what flows, what is assumed
    ("travel.searchFlights", {}, {"destination": "Paris"}, {"origin": "JFK", "date": day(30)}),
    ("travel.searchFlights", {}, {"destination": "Tokyo"}, {"origin": "JFK", "date": day(30)}),
    ("travel.searchHotels", {}, {"destination": "Tokyo"}, {"checkIn": day(30), "checkOut": day(37)}),
    (
        "content.generateSocialPosts",
        {},
        {"destination": "Tokyo"},
        {"platforms": ["twitter", "facebook", "instagram", "linkedin", "tiktok"]},
    ),
    ("content.generateBlogPost", {}, {"destination": "Paris"}, {}),
    # Values that do not validate, and other names
    ("travel.searchFlights", {"origin": "New York", "date": "tomorrow"}, {"destination": "LAX"}, {}),
    ("travel.searchHotels", {"guests": "four"}, {"destination": "Rome", "checkIn": day(3)}, {"checkOut": day(10)}),
    ("innovation.generateIdeas", {}, {"campaign": "Summer Travel 2025"}, {}),
]


@pytest.mark.parametrize(("key", "params", "flowing", "assumed"), BAGS)
async def test_missing_and_wrong_fields_are_completed(
    server: Served, key: str, params: dict[str, Any], flowing: dict[str, Any], assumed: dict[str, Any]
) -> None:
    agent, _, name = key.partition(".")
    operation = server.runtime.registry[agent][name]
    choice = await server.runtime.planner.complete(operation, params, flowing, owner="key:test")
    assert choice.operation is operation
    assert choice.assumed == assumed


@pytest.mark.parametrize("agent", ["travel", "content", "innovation"])
async def test_the_guides_campaign_suits_every_agent(server: Served, agent: str) -> None:
    choice = await chosen(server, agent, {"campaign": "Summer Travel 2025"})
    assert choice.operation.agent == agent
    assert choice.cost_usd == 0


@pytest.mark.parametrize(
    ("agent", "fields", "key", "request_"),
    [
        # Days are no seconds: the operation with most fields of these names cannot be asked for with them.
        (
            "content",
            {"destination": "Rome", "duration": 5, "budget": 1000},
            "content.generateBlogPost",
            {"topic": "Rome"},
        ),
        ("content", {"topic": "Rome", "duration": 300}, "content.generateVideoScript", {"duration": 300}),
        (
            "innovation",
            {"destination": "Rome", "duration": 5, "budget": 1000},
            "innovation.generateIdeas",
            {"niche": "Rome"},
        ),
        # What does not suit the operation that takes most of them is left to its defaults, or assumed.
        (
            "travel",
            {"destination": "Rome", "duration": 45, "budget": 1000},
            "travel.generateItinerary",
            {"budget": 1000, "duration": 7},
        ),
        (
            "innovation",
            {"niche": "urban gardening", "count": 500},
            "innovation.generateIdeas",
            {"niche": "urban gardening", "count": 5},
        ),
    ],
)
def test_of_several_operations_one_is_chosen_that_the_fields_make_a_request_of(
    agent: str, fields: dict[str, Any], key: str, request_: dict[str, Any]
) -> None:
    planned = answer_to(REGISTRY, agent, fields)
    assert planned is not None
    assert (planned.operation, {name: planned.request[name] for name in request_}) == (key, request_)


async def test_an_unsuitable_value_for_the_operation_that_was_named_is_a_mistake(server: Served) -> None:
    operation = server.runtime.registry["innovation"]["generateIdeas"]
    with pytest.raises(ValidationFailed) as refused:
        await server.runtime.planner.complete(operation, {}, {"niche": "trains", "count": 500}, owner="key:test")
    assert [detail["field"] for detail in refused.value.details] == ["count"]


async def test_an_unknown_parameter_stays_an_error_and_needs_no_model(server: Served) -> None:
    operation = server.runtime.registry["travel"]["searchHotels"]
    with pytest.raises(ValidationFailed, match="pool"):
        await server.runtime.planner.complete(operation, {"pool": True}, {"destination": "Rome"}, owner="key:test")


async def test_what_cannot_be_completed_is_named(server: Served) -> None:
    operation = server.runtime.registry["travel"]["getVisaRequirements"]
    with pytest.raises(ValidationFailed) as refused:
        await server.runtime.planner.complete(operation, {}, {"destination": "Rome"}, owner="key:test")
    assert [detail["field"] for detail in refused.value.details] == ["nationality"]


# --- An agent that somebody adds -------------------------------------------------------------------------------------


class Order(Request):
    """What is ordered."""

    dish: str = Field(min_length=3, max_length=60)
    portions: int = Field(1, ge=1, le=20)
    size: Literal["small", "large"] = "small"


class Booking(Request):
    """A table that is wanted."""

    guests: int = Field(ge=1, le=12)
    evening: FutureDate


class Kitchen(Result):
    """What the kitchen says."""

    answer: str


kitchen = Agent("kitchen", "Cooks.")


@kitchen.operation(words=("want", "eat"))
async def order_food(order: Order, run: RunContext) -> Kitchen:
    """Order a dish."""
    return Kitchen(answer=order.dish)


@kitchen.operation()
async def book_table(booking: Booking, run: RunContext) -> Kitchen:
    """Reserve a table in the restaurant."""
    return Kitchen(answer=str(booking.guests))


@pytest.mark.parametrize(
    ("query", "operation", "fields"),
    [
        ("order mushroom soup", "orderFood", {"dish": "mushroom soup", "portions": 1}),
        ("I want to eat 3 portions of lasagna, large", "orderFood", {"portions": 3, "size": "large"}),
        ("order food, dish: pad thai", "orderFood", {"dish": "pad thai"}),
        ("book a table for 4 guests tomorrow", "bookTable", {"guests": 4, "evening": day(1)}),
    ],
)
def test_an_agent_without_any_hints_is_understood_too(query: str, operation: str, fields: dict[str, Any]) -> None:
    planned = answer_to(Registry([kitchen]), "kitchen", query)
    assert planned is not None
    assert (planned.operation, {name: planned.request[name] for name in fields}) == (f"kitchen.{operation}", fields)


def test_nothing_is_assumed_that_an_agent_does_not_allow() -> None:
    assert answer_to(Registry([kitchen]), "kitchen", "book a table for 4 guests") is None


# --- Whatever comes --------------------------------------------------------------------------------------------------

PIECES = """flights hotels from to in Paris NYC LAX visa Japan tomorrow next friday 3 days two weeks $2000 budget -5
99999 for people about AI blog post video minute ideas compare A, B and C . , ; : - → 2099-02-30 2025-01-01 9999-12-31
in 99999999 days in 9999999 weeks 0 1,000 ½ ١٢ ' " DROP TABLE {x} %s"""
WORDS = st.sampled_from([*PIECES.split(), "\x00", "\u202e", "\n"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=8,
)
NAMES = st.sampled_from(["destination", "origin", "date", "checkIn", "duration", "budget", "topic", "idea", "x"])


@settings(deadline=None, max_examples=150)
@given(AGENTS, st.lists(WORDS, min_size=1, max_size=25).map(" ".join))
def test_any_words_are_a_valid_request_or_a_clear_refusal(agent: str, query: str) -> None:
    answer_to(REGISTRY, agent, query)


@settings(deadline=None, max_examples=100)
@given(AGENTS, st.text(min_size=1, max_size=2000))
def test_any_text_is_a_valid_request_or_a_clear_refusal(agent: str, query: str) -> None:
    answer_to(REGISTRY, agent, query)


@settings(deadline=None, max_examples=150)
@given(
    AGENTS,
    st.dictionaries(NAMES | st.text(max_size=12), JSON | WORDS, max_size=6),
)
def test_any_fields_are_a_valid_request_or_a_clear_refusal(agent: str, fields: dict[str, Any]) -> None:
    answer_to(REGISTRY, agent, fields)


def test_reading_the_worst_of_texts_takes_no_time() -> None:
    for text in (
        "1,1," * 500,
        "Xy " * 660,
        "from " * 400,
        "in a " * 400,
        " " * 2000,
        "Berlin to " * 200,
        "for 2 " * 330,
        "for a the " * 200,
        "in a summer " * 160,
    ):
        began = time.process_time()
        answer_to(REGISTRY, "travel", text)
        assert time.process_time() - began < 0.5, text[:10]
