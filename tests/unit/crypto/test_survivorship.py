"""What a list of today hides, in numbers that can be worked out by hand."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qlib.crypto.survivorship import returns_of_close, returns_of_snapshots, survivorship
from qlib.crypto.universe import Rule, members
from qlib.errors import InputError

DAY = 86_400_000


def ranking(days: dict[int, str]) -> pd.DataFrame:
    rows = [(day * DAY, name, float(9 - i), 1.0) for day, names in days.items() for i, name in enumerate(names)]
    return pd.DataFrame(rows, columns=["known", "instrument", "market_cap", "price"])


def closes(**columns: list[float]) -> pd.DataFrame:
    size = max(map(len, columns.values()))
    padded = {name: [*values, *[np.nan] * (size - len(values))] for name, values in columns.items()}
    return pd.DataFrame(padded, index=pd.date_range("1970-01-01", periods=size))


def test_the_winner_of_the_end_was_not_on_the_list_of_the_beginning():
    coins = ranking({1: "AB", 3: "CA"})
    close = closes(A=[1, 1, 1, 1, 1], B=[2, 1, 0.5, 0.5, 0.5], C=[1, 2, 4, 8, 8])
    found = survivorship(coins, Rule(top=1), returns_of_close(close))
    assert (found.today, found.late, found.gone.index.tolist()) == (["C"], ["C"], ["A"])
    assert found.known_then is not None
    assert found.by_today is not None
    assert found.known_then.growth == pytest.approx(1 * 1 * 2 * 1)  # A, A, then C
    assert found.by_today.growth == pytest.approx(2 * 2 * 2 * 1)
    assert found.known_then.bars == 4
    assert found.known_then.yearly[0] == pytest.approx(2 ** (365 / 4) - 1)
    json.dumps(found.as_dict(), allow_nan=False)


def test_a_member_whose_bars_end_is_left_out_once_and_worth_nothing_once():
    close = closes(A=[1.0] * 100, B=[1.0, 1.0, 1.0])
    found = survivorship(ranking({1: "AB", 40: "AB"}), Rule(top=2), returns_of_close(close))
    assert found.known_then is not None
    assert found.known_then.vanished == ["B"]
    assert found.known_then.growth == pytest.approx(1)
    assert found.known_then.growth_if_worthless == pytest.approx(0.5)  # half of the basket, in one bar


def test_a_hole_of_some_days_is_no_death():
    close = closes(A=[1.0] * 60, B=[1.0] * 60)
    close.loc[close.index[10:40], "B"] = np.nan
    found = survivorship(ranking({1: "AB"}), Rule(top=2), returns_of_close(close))
    assert found.known_then is not None
    assert found.known_then.vanished == []
    assert found.known_then.coverage < 1


def test_prices_of_snapshots_earn_from_one_to_the_next_and_splits_are_unknown():
    coins = ranking({1: "ABC", 31: "ABC", 61: "AB"})
    coins["price"] = [1.0, 1.0, 1.0, 2.0, 1000.0, 1.0, 1.0, 1000.0]
    coins["market_cap"] = [10.0, 9.0, 8.0, 20.0, 9.0, 8.0, 10.0, 9.0]
    found = returns_of_snapshots(coins)
    assert found["A"].tolist() == [1.0, -0.5]
    assert np.isnan(found["B"].iloc[0])  # a thousand times the price, the same market cap: another unit
    assert found["B"].iloc[1] == 0.0
    assert np.isnan(found["C"].iloc[1])  # the last snapshot lacks it
    assert found.index.tolist() == [pd.Timestamp("1970-01-02"), pd.Timestamp("1970-02-01")]


def test_bars_that_lie_elsewhere_are_refused():
    with pytest.raises(InputError, match="lie outside the universe"):
        survivorship(ranking({400: "A"}), Rule(top=1), returns_of_close(closes(A=[1.0, 2.0])))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), top=st.integers(1, 3))
def test_a_basket_is_the_product_of_plain_means(seed: int, top: int):
    rng = np.random.default_rng(seed)
    days = {int(day): "".join(rng.permutation(list("ABCD"))) for day in rng.choice(30, 4, replace=False)}
    close = pd.DataFrame(
        rng.uniform(1, 2, (40, 4)), index=pd.date_range("1970-01-01", periods=40), columns=list("ABCD")
    )
    close = close.mask(rng.random(close.shape) < 0.1)
    returns = returns_of_close(close)
    found = survivorship(ranking(days), Rule(top=top), returns)
    universe = members(ranking(days), Rule(top=top))
    growth, bars = 1.0, 0
    for time, row in returns.iterrows():
        earned = row[universe.members(pd.Timestamp(str(time)).value // 10**6)].dropna()
        if len(earned):
            growth, bars = growth * (1 + earned.mean()), bars + 1
    assert found.known_then is not None
    assert found.known_then.growth == pytest.approx(growth)
    assert found.known_then.bars == bars
