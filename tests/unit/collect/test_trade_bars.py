"""Bars of trades: each rule against a plain loop over decimals; the whole against any chunks of it; recorded bars."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import shared
from hypothesis import given, settings
from hypothesis import strategies as st
from proof import cases

from qlib.collect.trade_bars import COLUMNS, Rule, TradeBars, bars_of
from qlib.errors import InputError

SIZED = ("time:1min", "tick:3", "volume:1", "volume:2.5", "dollar:25", "dollar:0.1")
INFORMED = tuple(f"{weight}_{kind}:4" for weight in ("tick", "volume", "dollar") for kind in ("imbalance", "run"))


# ---------------------------------------------------------------------- the oracle: one trade after the other
def plain_bars(trades: pd.DataFrame, text: str, alpha: float = 0.1) -> list[dict[str, Any]]:
    rule = Rule.of(text, alpha=alpha)
    bars: list[dict[str, Any]] = []
    sided = "side" in trades
    bar: list[tuple[int, Decimal, Decimal, int]] = []
    expected: dict[str, float] = {}
    sign, last = 0, None

    def close(known: int | None = None) -> None:
        prices = [float(price) for _, price, _, _ in bar]
        volume = sum((size for _, _, size, _ in bar), Decimal(0))
        amount = sum((price * size for _, price, size, _ in bar), Decimal(0))
        bought = sum((size for _, _, size, side in bar if side > 0), Decimal(0))
        bars.append(
            {
                "ts": bar[0][0] if known is None else known - 60_000,
                "known": bar[-1][0] if known is None else known,
                "open": prices[0], "high": max(prices), "low": min(prices), "close": prices[-1],
                "volume": float(volume), "amount": float(amount), "vwap": float(amount) / float(volume),
                "trades": len(bar), "buy_volume": float(bought) if sided else float("nan"),
            }
        )  # fmt: skip
        bar.clear()

    for row in trades.itertuples():
        price, size = Decimal(repr(row.price)), Decimal(repr(row.size))
        if sided:
            sign = 1 if row.side == "buy" else -1
        elif last is not None and price != last:
            sign = 1 if price > last else -1
        last = price
        if rule.kind == "time":
            minute = row.ts // 60_000
            if bar and bar[0][0] // 60_000 != minute:
                close((bar[0][0] // 60_000 + 1) * 60_000)
            bar.append((row.ts, price, size, sign))
            continue
        bar.append((row.ts, price, size, sign))
        weight_of = {"tick": lambda p, s: Decimal(1), "volume": lambda p, s: s, "dollar": lambda p, s: p * s}
        weight = weight_of[rule.kind.split("_")[0]]
        bought = sum((weight(p, s) for _, p, s, side in bar if side > 0), Decimal(0))
        sold = sum((weight(p, s) for _, p, s, side in bar if side < 0), Decimal(0))
        if not rule.informed:
            if sum((weight(p, s) for _, p, s, _ in bar), Decimal(0)) >= Decimal(str(rule.size)):
                close()
            continue
        if not expected:
            over = len(bar) == rule.size
        elif rule.kind.endswith("run"):
            each = max(expected[f"p_{side}"] * expected.get(f"v_{side}", 0.0) for side in ("buy", "sale"))
            over = max(bought, sold) >= Decimal(expected["ticks"]) * Decimal(each)
        else:
            over = abs(bought - sold) >= Decimal(expected["ticks"]) * Decimal(abs(expected["balance"]))
        if over:
            buys, sales = (sum(side == way for *_, side in bar) for way in (1, -1))
            seen = {"ticks": float(len(bar))}
            if rule.kind.endswith("run"):
                seen |= {"p_buy": buys / len(bar), "p_sale": sales / len(bar)}
                seen |= {"v_buy": float(bought) / buys} if buys else {}
                seen |= {"v_sale": float(sold) / sales} if sales else {}
            else:
                seen["balance"] = float(bought - sold) / len(bar)
            for name, value in seen.items():
                known = expected.get(name, value)
                expected[name] = known + alpha * (value - known)
            close()
    if bar:
        close((bar[0][0] // 60_000 + 1) * 60_000 if rule.kind == "time" else None)
    return bars


@st.composite
def some_trades(draw: st.DrawFn, least: int = 0) -> pd.DataFrame:
    count = draw(st.integers(least, 40))
    steps = draw(st.lists(st.sampled_from([0, 0, 1, 999, 30_000, 61_000]), min_size=count, max_size=count))
    ticks = draw(st.lists(st.integers(-2, 2), min_size=count, max_size=count))
    sizes = draw(
        st.lists(st.sampled_from(["0.1", "0.2", "0.7", "1", "2.5", "0.00000003"]), min_size=count, max_size=count)
    )
    trades = pd.DataFrame(
        {
            "ts": np.cumsum(steps, dtype=np.int64) + 1_570_752_011_620,
            "price": [(100 + move) / 10 for move in np.cumsum(ticks, dtype=np.int64).tolist()],
            "size": [float(size) for size in sizes],
        }
    )
    if draw(st.booleans()):
        trades["side"] = draw(st.lists(st.sampled_from(["buy", "sell"]), min_size=count, max_size=count))
    return trades


@pytest.mark.parametrize("rule", [*SIZED, *INFORMED])
@settings(max_examples=cases(25, 500))
@given(trades=some_trades())
def test_bars_are_those_of_a_loop_over_decimals(rule: str, trades: pd.DataFrame) -> None:
    found = bars_of(trades, rule)
    expected = pd.DataFrame(plain_bars(trades, rule), columns=list(COLUMNS)).astype(found.dtypes.to_dict())
    pd.testing.assert_frame_equal(found, expected, check_exact=True)


@pytest.mark.parametrize("rule", [*SIZED, *INFORMED])
@settings(max_examples=cases(15, 500))
@given(trades=some_trades(least=1), data=st.data())
def test_chunks_of_any_size_give_the_bits_of_the_whole(rule: str, trades: pd.DataFrame, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(trades)), max_size=8)))
    bounds = [0, *cuts, len(trades)]
    chunks = [trades.iloc[low:high] for low, high in zip(bounds[:-1], bounds[1:], strict=True)]
    pd.testing.assert_frame_equal(bars_of(iter(chunks), rule), bars_of(trades, rule), check_exact=True)


@settings(max_examples=cases(40, 1000))
@given(trades=some_trades(least=2), data=st.data())
def test_a_bar_that_is_over_does_not_change_with_what_comes_later(trades: pd.DataFrame, data: st.DataObject) -> None:
    rule = data.draw(st.sampled_from([*SIZED, *INFORMED]))
    cut = data.draw(st.integers(1, len(trades) - 1))
    maker = TradeBars(rule)
    early = maker.add(trades.iloc[:cut])
    now = int(trades["ts"].iloc[cut - 1])
    if not rule.startswith("time"):
        assert (early["known"] <= now).all()
    pd.testing.assert_frame_equal(bars_of(trades, rule).head(len(early)), early, check_exact=True)


def test_ten_trades_of_a_tenth_fill_a_bar_of_one() -> None:
    trades = pd.DataFrame({"ts": np.arange(25), "price": 1.0, "size": 0.1})
    assert bars_of(trades, "volume:1")["trades"].tolist() == [10, 10, 5]
    assert bars_of(trades, "volume:1", rest=False)["trades"].tolist() == [10, 10]


def test_a_trade_larger_than_a_bar_is_one_bar() -> None:
    trades = pd.DataFrame({"ts": [1, 2, 3], "price": 1.0, "size": [0.5, 7.0, 1.0]})
    assert bars_of(trades, "volume:1")["volume"].tolist() == [7.5, 1.0]


def test_sums_beyond_int64_are_exact() -> None:
    trades = pd.DataFrame({"ts": np.arange(40), "price": 0.000000001234567, "size": 98765432109876.5})
    bars = bars_of(trades, "tick:20")
    exact = 20 * Decimal("0.000000001234567") * Decimal("98765432109876.5")
    assert bars["amount"].tolist() == [float(exact)] * 2


def test_ends_of_information_bars_move_with_what_is_expected() -> None:
    """Balanced flow: hardly any imbalance is expected, so that a one-sided stretch ends many bars."""
    sides = ["buy", "sell"] * 50 + ["buy"] * 50
    trades = pd.DataFrame({"ts": np.arange(150), "price": 10.0, "size": 1.0, "side": sides})
    trades.loc[:9, "side"] = "buy"
    bars = bars_of(trades, Rule.of("tick_imbalance:10", alpha=0.5))
    assert bars["trades"].iloc[0] == 10
    assert bars["trades"].sum() == 150


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"price": [1.0, 0.0, 2.0]}, "row 1 has the price 0.0"),
        ({"size": [1.0, float("nan"), 2.0]}, "row 1 has the size nan"),
        ({"ts": [5, 4, 6]}, "row 1 is of 4, earlier"),
        ({"ts": [5.0, 6.0, 7.0]}, "whole milliseconds"),
        ({"price": ["1", "2", "3"]}, "price is .*; numbers are needed"),
        ({"side": ["buy", "SELL", "buy"]}, "row 1 has the side 'SELL'"),
    ],
)
def test_wrong_trades_are_named(change: dict[str, Any], words: str) -> None:
    trades = pd.DataFrame({"ts": [1, 2, 3], "price": 1.0, "size": 1.0} | change)
    with pytest.raises(InputError, match=words):
        bars_of(trades, "tick:2")


def test_a_mistyped_column_and_rule_are_answered_with_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean prices"):
        bars_of(pd.DataFrame({"ts": [1], "prices": [1.0], "size": [1.0]}), "tick:2")
    with pytest.raises(InputError, match="did you mean volume"):
        Rule.of("volumes:2")
    for wrong in ("tick:2.5", "volume:0", "volume:x", "time:1month", "tick"):
        with pytest.raises(InputError):
            Rule.of(wrong)


def test_time_that_goes_back_between_chunks_is_an_error() -> None:
    trades = pd.DataFrame({"ts": [5, 6], "price": 1.0, "size": 1.0})
    with pytest.raises(InputError, match="row 2 is of 5, earlier"):
        bars_of([trades, trades], "tick:3")


# ---------------------------------------------------------------------- recorded trades and bars
@pytest.mark.parametrize(("name", "size", "rows"), [("xrpeth_1m_2019", "1min", 2_469), ("xrpeth_5m_2019", "5min", 706)])
@pytest.mark.parametrize("chunk", [100_000, 997])
def test_recorded_trades_make_the_recorded_bars(name: str, size: str, rows: int, chunk: int) -> None:
    trades = pd.read_parquet(shared("realdata/xrpeth_trades_2019.parquet")).rename(columns={"amount": "size"})
    recorded = pd.read_parquet(shared(f"realdata/{name}.parquet"))
    bars = bars_of((trades.iloc[low : low + chunk] for low in range(0, len(trades), chunk)), f"time:{size}")
    fields = ["ts", "open", "high", "low", "close", "volume"]
    assert len(bars) == rows
    pd.testing.assert_frame_equal(bars[fields], recorded[fields], check_exact=True)


@pytest.mark.parametrize("rule", ["tick:100", "volume:5000", "dollar:10", "volume_imbalance:50", "dollar_run:50"])
def test_no_recorded_trade_is_lost_or_counted_twice(rule: str) -> None:
    trades = pd.read_parquet(shared("realdata/xrpeth_trades_2019.parquet")).rename(columns={"amount": "size"})
    bars = bars_of(trades, rule)
    assert bars["trades"].sum() == len(trades)
    written = [Decimal(repr(size)) for size in trades["size"].tolist()]
    assert sum(Decimal(repr(volume)) for volume in bars["volume"].tolist()) == sum(written)
    if rule.startswith("volume:"):
        assert (bars["volume"].iloc[:-1] >= 5000).all()
