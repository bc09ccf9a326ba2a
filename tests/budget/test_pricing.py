"""Prices by model and day, and costs in whole micro-dollars."""

from datetime import date

import pytest

from chatapp.budget.pricing import PriceTable, from_dict
from chatapp.providers.base import Usage

DAY = date(2026, 11, 22)


def test_a_model_costs_what_the_table_says():
    price = PriceTable().at("gemini-2.5-flash", DAY)

    assert price.cost_microusd(Usage(input_tokens=1_000_000, output_tokens=1_000_000)) == 300_000 + 2_500_000


def test_cached_tokens_are_inside_input_and_thoughts_inside_output():
    price = PriceTable().at("gemini-2.5-flash", DAY)
    usage = Usage(input_tokens=1000, cached_tokens=600, output_tokens=500, thoughts_tokens=400)

    assert price.cost_microusd(usage) == (400 * 300_000 + 600 * 30_000 + 500 * 2_500_000) // 10**6


def test_a_long_request_costs_more_as_a_whole():
    price = PriceTable().at("gemini-2.5-pro", DAY)

    assert price.cost_microusd(Usage(input_tokens=200_000)) == 250_000
    assert price.cost_microusd(Usage(input_tokens=200_001)) == 500_003


def test_an_unknown_price_is_unknown():
    assert PriceTable().at("somebody-elses-model", DAY) is None
    assert PriceTable().at("gemini-2.5-flash", date(2020, 1, 1)) is None


def test_an_operators_own_prices_come_first_and_from_their_day_on(tmp_path):
    own = tmp_path / "prices.toml"
    entry = '[[price]]\nmodel = "gemini-2.5-flash"\nsince = 2026-06-01\ninput = 0.5\noutput = 1\n'
    own.write_text(entry)
    table = PriceTable(own)

    assert table.at("gemini-2.5-flash", DAY).input == 500_000
    assert table.at("gemini-2.5-flash", date(2026, 5, 31)).input == 300_000


@pytest.mark.parametrize("line", ["input = -1", 'input = "a lot"', "input = 0.1234567", "", "input ="])
def test_a_price_that_is_none_names_its_file(tmp_path, line):
    own = tmp_path / "prices.toml"
    own.write_text(f'[[price]]\nmodel = "x"\nsince = 2026-06-01\noutput = 1\n{line}\n')

    with pytest.raises(ValueError, match=r"PRICES_FILE: .*prices\.toml"):
        PriceTable(own)


def test_a_file_of_prices_that_is_not_there_is_named_once(tmp_path):
    with pytest.raises(ValueError, match=r"^PRICES_FILE: [^ ]*/prices\.toml: No such file or directory$"):
        PriceTable(tmp_path / "prices.toml")


def test_a_stored_price_is_the_price_that_was():
    price = PriceTable().at("gemini-2.5-pro", DAY)

    assert from_dict(price.as_dict()) == price
    assert from_dict(None) is None
