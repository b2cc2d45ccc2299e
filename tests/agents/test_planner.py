"""The planner without a server: what the offline model makes of words and of fields."""

from datetime import UTC, datetime, timedelta
from typing import Any

from amrikyy.agents.planner import Choice
from tests.serving import Served


def day(ahead: int) -> str:
    return (datetime.now(UTC).date() + timedelta(days=ahead)).isoformat()


async def chosen(server: Served, agent: str, wanted: str | dict[str, Any]) -> Choice:
    operations = list(server.runtime.registry[agent].operations.values())
    return await server.runtime.planner.choose(operations, wanted, owner="key:test")


async def test_flights_between_two_codes(server: Served) -> None:
    choice = await chosen(server, "travel", "flights from NYC to LAX")
    assert choice.operation.key == "travel.searchFlights"
    assert choice.assumed == {"date": day(30)}
