"""A coin gets an instrument only where ticker, price and rank agree; what is unsure is told and never guessed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qlib.collect.source import Instrument
from qlib.crypto.coin_classes import kind_of, unlisted_pegs
from qlib.crypto.mapping import markets_by_name, markets_of, markets_of_bars, match, read_overrides, told
from qlib.errors import InputError
from tests.proof import cases

DAY = 86_400_000


def coins(*rows: tuple[str, str, float, float], known: int = 0) -> pd.DataFrame:
    """Coins as (id, symbol, price, market cap), best-ranked first."""
    frame = pd.DataFrame(rows, columns=["id", "symbol", "price", "market_cap"])
    return frame.assign(known=known, name=frame["id"], rank=np.arange(1.0, len(frame) + 1))


def markets(*rows: tuple[str, str, float]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["instrument", "base", "price"])


def given_to(matched: pd.DataFrame) -> dict[str, str]:
    return {row.id: row.instrument for row in matched.itertuples() if row.instrument}


def test_the_ticker_alone_is_not_enough():
    there = markets(("BTC-USDT", "BTC", 101.0))
    found = match(coins(("bitcoin", "BTC", 100.0, 1e12), ("clone", "BTC", 0.2, 1e3)), there)
    assert given_to(found) == {"bitcoin": "BTC-USDT"}
    assert found["why"].tolist() == ["ticker and price", "the price disagrees: BTC-USDT x 505"]
    assert given_to(match(coins(("clone", "BTC", 0.2, 1e3)), there)) == {}


def test_of_two_with_the_same_ticker_and_price_the_much_larger_is_taken_and_otherwise_nobody():
    rivals = (("big", "X", 1.0, 1e9), ("small", "X", 1.01, 9e7))
    found = match(coins(*rivals), markets(("X-USDT", "X", 1.0)))
    assert given_to(found) == {"big": "X-USDT"}
    assert found["why"].tolist() == ["ticker, price and rank", "X-USDT belongs to big, ten times larger"]
    close = match(coins(("big", "X", 1.0, 1e9), ("small", "X", 1.01, 2e8)), markets(("X-USDT", "X", 1.0)))
    assert given_to(close) == {}
    assert set(close["why"]) == {"ambiguous: X-USDT could be big, small"}
    unknown = match(coins(("a", "X", 1.0, np.nan), ("b", "X", 1.0, np.nan)), markets(("X-USDT", "X", 1.0)))
    assert given_to(unknown) == {}


def test_a_person_decides_before_all_of_that():
    overrides = {"small": "X-USDT", "gone": None, "renamed": "NEW-USDT"}
    rows = (("big", "X", 1.0, 1e9), ("small", "X", 1.01, 1.0), ("gone", "G", 5.0, 1e8), ("renamed", "OLD", 2.0, 1e7))
    found = match(
        coins(*rows), markets(("X-USDT", "X", 1.0), ("G-USDT", "G", 5.0), ("NEW-USDT", "NEW", 4.0)), overrides=overrides
    )
    assert given_to(found) == {"small": "X-USDT", "renamed": "NEW-USDT"}
    assert found["why"].tolist() == [
        "an override gives its instrument to another coin", "override", "left out by an override", "override",
    ]  # fmt: skip
    assert told(found) == [
        "X (big), 1970-01-01: an override gives its instrument to another coin",
        "OLD (renamed), 1970-01-01: override to NEW-USDT, x 2",  # a person's word that does not fit any more
    ]
    with pytest.raises(InputError, match="big, small would all be X-USDT"):
        match(coins(*rows), markets(("X-USDT", "X", 1.0)), overrides={"big": "X-USDT", "small": "X-USDT"})


def test_stable_wrapped_and_staked_coins_are_left_out_unless_asked_for():
    rows = (("tether", "USDT", 1.0, 1e11), ("wrapped-bitcoin", "WBTC", 100.0, 1e10),
            ("staked-ether", "STETH", 3.0, 1e10), ("pax-gold", "PAXG", 4000.0, 1e9))  # fmt: skip
    there = markets(*((f"{symbol}-USDT", symbol, price) for _, symbol, price, _ in rows))
    assert match(coins(*rows), there)["why"].tolist() == ["stable", "wrapped", "staked", "ticker and price"]
    assert given_to(match(coins(*rows), there, left_out=())) == {row[0]: f"{row[1]}-USDT" for row in rows}
    with pytest.raises(InputError, match="did you mean stable"):
        match(coins(*rows), there, left_out=["stabel"])


def test_a_price_that_nobody_knows_is_no_agreement():
    found = match(coins(("a", "A", np.nan, 1e9), ("b", "B", 1.0, 1e9), ("c", "C", 0.0, 1e9)),
                  markets(("A-USDT", "A", 1.0), ("B-USDT", "B", np.nan), ("C-USDT", "C", 0.0)))  # fmt: skip
    assert given_to(found) == {}
    assert set(found["why"]) == {"no price to compare"}


def test_two_instruments_for_one_coin_are_ambiguous():
    found = match(coins(("a", "A", 1.0, 1e9)), markets(("A-USDT", "A", 1.0), ("A-USDC", "A", 1.001)))
    assert found["why"].tolist() == ["ambiguous: A-USDC, A-USDT"]


def test_the_same_ticker_is_another_coin_at_another_time():
    table = pd.concat(
        [coins(("old-luna", "LUNA", 80.0, 1e10), known=1), coins(("new-luna", "LUNA", 5.0, 1e9), known=2)]
    )
    there = pd.DataFrame({"known": [1, 2], "instrument": "LUNA-USDT", "base": "LUNA", "price": [81.0, 5.0]})
    assert given_to(match(table, there)) == {"old-luna": "LUNA-USDT", "new-luna": "LUNA-USDT"}
    swapped = there.assign(known=[2, 1])
    assert given_to(match(table, swapped)) == {}


def test_on_a_wild_day_a_coin_keeps_what_it_had_and_nobody_gets_anything_new():
    days = [coins(("a", "A", 1.0, 1e9), ("b", "B", 1.0, 1e9), known=day) for day in range(4)]
    prices = {"A-USDT": [1.0, 0.8, 0.6, 0.4], "B-USDT": [0.8, 1.0, 1.0, 1.0]}  # of one moment in days 0 ... 3
    rows = [(day, name, name[0], price[day]) for name, price in prices.items() for day in range(4)]
    there = pd.DataFrame(rows, columns=["known", "instrument", "base", "price"])
    found = match(pd.concat(days), there)
    assert found[found["id"] == "a"]["why"].tolist() == [
        "ticker and price", "as before", "as before", "the price disagrees: A-USDT x 0.4",
    ]  # fmt: skip
    assert found[found["id"] == "b"]["why"].tolist() == ["the price disagrees: B-USDT x 0.8"] + ["ticker and price"] * 3
    rival = pd.concat([*days[:1], coins(("a", "A", 1.0, 1e9), ("rival", "A", 0.8, 1e3), known=1)])
    found = match(rival, there)
    assert found["instrument"].notna().tolist() == [True, False, False, False]
    assert found["why"].tolist()[-2:] == ["ambiguous: A-USDT could be a as before, or rival"] * 2


@settings(max_examples=cases(40, 400), deadline=None)
@given(seed=st.integers(0, 2**32 - 1), cut=st.integers(0, 8))
def test_no_later_snapshot_changes_who_had_what(seed: int, cut: int):
    rng = np.random.default_rng(seed)
    price, cap = ([1.0, 1.04, 1.3, 1.9, 9.0], [1e3, 1e4, 1e9])
    table = pd.concat(
        [coins(*((f"c{i}", rng.choice(list("AB")), rng.choice(price), rng.choice(cap)) for i in range(4)), known=day)
         for day in range(8)]
    )  # fmt: skip
    rows = [(day, f"{base}{i}", base, rng.choice(price)) for day in range(8) for base in "AB" for i in range(2)]
    there = pd.DataFrame(rows, columns=["known", "instrument", "base", "price"])
    whole = match(table, there)
    early = match(table[table["known"] < cut], there[there["known"] < cut])
    pd.testing.assert_frame_equal(whole[whole["known"] < cut], early, check_dtype=False)
    assert not whole.dropna(subset="instrument").duplicated(["known", "instrument"]).any()


@settings(max_examples=cases(60, 600), deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.sampled_from("AB"), st.sampled_from([1.0, 1.04, 1.2, 50.0, np.nan]),
                  st.sampled_from([1e3, 5e3, 1e4, 1e9, np.nan])), min_size=1, max_size=6),
    prices=st.lists(st.tuples(st.sampled_from("AB"), st.sampled_from([1.0, 50.0, np.nan])), max_size=4),
)  # fmt: skip
def test_who_gets_an_instrument_is_who_the_plain_rule_says(
    rows: list[tuple[str, float, float]], prices: list[tuple[str, float]]
):
    table = coins(*((f"c{i}", symbol, price, cap) for i, (symbol, price, cap) in enumerate(rows)))
    there = markets(*((f"{base}{i}", base, price) for i, (base, price) in enumerate(prices)))
    expected = {}
    agrees = {
        (i, name): abs(theirs / price - 1) <= 0.05
        for i, (symbol, price, _) in enumerate(rows)
        for name, base, theirs in there.itertuples(index=False)
        if base == symbol
    }
    several = {i for i in range(len(rows)) if sum(yes for (j, _), yes in agrees.items() if j == i) > 1}
    for name in there["instrument"]:
        claims = [(np.nan_to_num(rows[i][2]), i) for (i, other), yes in agrees.items() if yes and other == name]
        claims = sorted(((cap, i) for cap, i in claims if i not in several), reverse=True)
        if len(claims) == 1 or (len(claims) > 1 and claims[0][0] > 0 and claims[0][0] >= 10 * claims[1][0]):
            expected[f"c{claims[0][1]}"] = name
    found = match(table, there)
    assert given_to(found) == expected
    assert (found["why"] != "").all()


def test_names_by_a_pattern_never_choose_between_two_of_one_ticker():
    table = coins(("binaryx-old", "BNX", 112.0, 3.3e8), ("binaryx", "BNX", 1.0, 3.0e8), ("btc", "BTC", 9.0, 1e12))
    found = match(table, markets_by_name(table, "{symbol}-USDT-SWAP"), tolerance=None)
    assert given_to(found) == {"btc": "BTC-USDT-SWAP"}
    assert told(found) == [
        "BNX (binaryx-old), 1970-01-01: ambiguous: BNX-USDT-SWAP could be binaryx-old, binaryx",
        "BNX (binaryx), 1970-01-01: ambiguous: BNX-USDT-SWAP could be binaryx-old, binaryx",
    ]
    assert markets_by_name(pd.DataFrame({"symbol": ["A\tB", "C"]}))["instrument"].tolist() == ["C"]
    with pytest.raises(InputError, match="symbol"):
        markets_by_name(table, "BTC")


def test_the_markets_of_a_venue_are_linear_and_of_one_quote():
    def one(symbol: str, kind: str, base: str, quote: str, *, inverse: bool = False, state: str = "live") -> Instrument:
        return Instrument(symbol, kind, base, quote, "", inverse, None, None, state)

    listed = [
        one("BTC-USDT-SWAP", "swap", "BTC", "USDT"), one("BTC-USD-SWAP", "swap", "BTC", "USD", inverse=True),
        one("BTC-USDT", "spot", "BTC", "USDT"), one("NEW-USDT-SWAP", "swap", "NEW", "USDT", state="preopen"),
    ]  # fmt: skip
    found = markets_of(listed, {"BTC-USDT-SWAP": 5.0})
    assert found.to_numpy().tolist() == [["BTC-USDT-SWAP", "BTC", 5.0]]
    assert markets_of(listed, {}, kind="spot")["instrument"].tolist() == ["BTC-USDT"]


def test_bars_give_the_price_of_their_last_bar_that_was_over():
    times = pd.date_range("1970-01-01", periods=5)
    close = pd.DataFrame({"A-USD": [1.0, 2.0, 3.0, np.nan, np.nan], "OTHER": 9.0}, index=times)
    found = markets_of_bars(close, [DAY - 1, DAY, 2 * DAY + 5, 4 * DAY, 9 * DAY], DAY, "{symbol}-USD")
    assert found.to_numpy().tolist() == [[DAY, "A-USD", "A", 1.0], [2 * DAY + 5, "A-USD", "A", 2.0]]


def test_pegs_that_no_table_knows_are_told():
    table = pd.concat([coins(("new-dollar", "ZZUSD", 0.999 + k / 1000, 1e9), ("real", "R", 1.0 + k, 1e9), known=k)
                       for k in range(4)])  # fmt: skip
    assert unlisted_pegs(table) == ["new-dollar"]
    assert kind_of("FRAX", "frax-prev-fxs") == ""  # a ticker that changed its owner


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[]", "is expected"),
        ('{"coin": {}}', "did you mean coins"),
        ('{"coins": {"a": 1}}', "a is 1"),
        ("{", "no JSON"),
    ],
)
def test_a_file_of_overrides_that_is_none_is_refused(text: str, problem: str, tmp_path: Path):
    (tmp_path / "o.json").write_text(text)
    with pytest.raises(InputError, match=problem):
        read_overrides(tmp_path / "o.json")
    good = {"about": "why", "coins": {"a": "A-USDT", "b": None}}
    (tmp_path / "o.json").write_text(json.dumps(good))
    assert read_overrides(tmp_path / "o.json") == good["coins"]
