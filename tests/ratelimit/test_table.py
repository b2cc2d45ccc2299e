"""Which limits there are, and what a request is charged."""

import pytest

from amrikyy.ratelimit import Charge, Limit, LimitTable
from amrikyy.ratelimit.table import DEFAULTS

DECLARED = {
    "travel": Limit(60, 60),
    "travel.searchFlights": Limit(20, 60),
    "travel.searchHotels": Limit(20, 60),
    "travel.getVisaRequirements": None,
}


def test_an_operation_is_charged_to_its_agent_and_to_itself() -> None:
    table = LimitTable(DECLARED, {})
    assert table.operation("ana", "travel.searchFlights") == (
        Charge("travel", "ana", Limit(60, 60)),
        Charge("travel.searchFlights", "ana", Limit(20, 60)),
    )
    assert table.operation("ana", "travel.getVisaRequirements") == (Charge("travel", "ana", Limit(60, 60)),)


def test_a_plan_is_charged_for_each_operation_as_often_as_it_runs() -> None:
    times = {"travel.searchFlights": 2, "travel.searchHotels": 1, "travel.getVisaRequirements": 4}
    assert LimitTable(DECLARED, {}).operations("ana", times) == [
        Charge("travel", "ana", Limit(60, 60), 7),
        Charge("travel.searchFlights", "ana", Limit(20, 60), 2),
        Charge("travel.searchHotels", "ana", Limit(20, 60), 1),
    ]


def test_the_configuration_wins_over_the_declaration() -> None:
    overrides = {"global": "1000/hour", "travel.getVisaRequirements": "3/10 seconds", "login.account": "5/hour"}
    table = LimitTable(DECLARED, overrides)
    assert table["global"] == Limit(1000, 3600)
    assert table["travel.getVisaRequirements"] == Limit(3, 10)
    assert table["login.account"] == Limit(5, 3600)
    assert table["admin"] == DEFAULTS["admin"]


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"travel.searchTrains": "1/minute"}, "no limit 'travel.searchTrains'"),
        ({"global": "many"}, "global: 'many' is not a limit"),
        ({"global": "0/minute"}, "global: '0/minute' is not a limit"),
    ],
)
def test_a_wrong_override_names_itself(overrides: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=r"^RATE_LIMITS: ") as wrong:
        LimitTable(DECLARED, overrides)
    assert said in str(wrong.value)
