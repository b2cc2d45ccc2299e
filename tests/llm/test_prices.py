"""What a call costs."""

import sys

import pytest
from genai_prices import Usage, calc_price
from genai_prices.data import providers

from amrikyy.llm.prices import ModelPrice, Prices, _public_rates, estimate_tokens, forget_table


def test_the_operators_price_wins() -> None:
    prices = Prices({"gpt-5": ModelPrice(1, 2), "gemini:x": ModelPrice(3, 4)})
    assert prices.cost("openai", "gpt-5", 1_000_000, 500_000) == 2.0
    assert prices.cost("gemini", "x", 1_000_000, 1_000_000) == 7.0
    assert prices.cost("openai", "x", 1, 1) is None


def test_a_price_for_one_provider_wins_over_one_for_all() -> None:
    prices = Prices({"m": ModelPrice(1, 1), "ollama:m": ModelPrice(0, 0)})
    assert prices.cost("ollama", "m", 1_000_000, 0) == 0
    assert prices.cost("openai", "m", 1_000_000, 0) == 1


@pytest.mark.parametrize(("provider", "model"), [("gemini", "gemini-2.5-pro"), ("openai", "gpt-4o-mini")])
def test_public_prices_are_known(provider: str, model: str) -> None:
    one, two = (Prices().cost(provider, model, 1000 * times, 1000 * times) for times in (1, 2))
    assert one is not None
    assert two == pytest.approx(2 * one)
    assert 0.00001 < one < 0.1


def test_what_we_calculate_is_what_genai_prices_calculates() -> None:
    compared = 0
    for provider, public in (("gemini", "google"), ("openai", "openai")):
        for model in next(each.models for each in providers if each.id == public):
            for into, out in ((0, 0), (1000, 500), (200_000, 1), (200_001, 9000), (1_000_000, 1000)):
                try:
                    price = calc_price(Usage(input_tokens=into, output_tokens=out), model.id, provider_id=public)
                except LookupError:  # the name of a family, not of a model
                    continue
                expected = pytest.approx(float(price.total_price))
                assert Prices().cost(provider, model.id, into, out) == expected, model.id
                compared += 1
    assert compared > 500


def test_what_is_known_of_a_model_outlasts_the_table_and_another_is_found_all_the_same() -> None:
    one = Prices().cost("gemini", "gemini-2.5-flash-lite", 1000, 1000)
    forget_table()
    forget_table()
    assert "genai_prices.data" not in sys.modules
    _public_rates.cache_clear()  # a new day
    assert Prices().cost("gemini", "gemini-2.5-flash-lite", 1000, 1000) == one
    assert "genai_prices.data" not in sys.modules
    assert Prices().cost("openai", "gpt-4.1-nano", 1000, 1000) is not None


def test_output_costs_more_than_input() -> None:
    prices = Prices()
    into, out = prices.cost("gemini", "gemini-2.5-pro", 1000, 0), prices.cost("gemini", "gemini-2.5-pro", 0, 1000)
    assert into is not None
    assert out is not None
    assert out > into > 0


@pytest.mark.parametrize(
    ("provider", "model"), [("openai", "no-such-model"), ("gemini", ""), ("ollama", "gpt-4o"), ("other", "gpt-4o")]
)
def test_an_unknown_price_is_none_and_not_nothing(provider: str, model: str) -> None:
    assert Prices().cost(provider, model, 10, 10) is None


def test_the_offline_model_costs_nothing() -> None:
    assert Prices().cost("offline", "offline", 10, 10) == 0


def test_tokens_are_estimated_upwards() -> None:
    assert [estimate_tokens(length) for length in (0, 1, 4, 5, 400)] == [0, 1, 1, 2, 100]
