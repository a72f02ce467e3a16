"""The best scored names against the worst: equal to the slow way, blind to the future, costs counted once."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from backtest_market import MemoryProvider, random_market, random_signal
from hypothesis import given, settings
from hypothesis import strategies as st

from qlib.contrib import evaluate
from qlib.contrib.evaluate import long_short_backtest
from qlib.errors import InputError, MissingDataError


def slow_way(provider, scores, topk, shift, open_cost, close_cost, limit):
    """One bar, one name at a time; closes as deal prices."""
    close = pd.DataFrame(
        provider.values["close"].astype(np.float32).astype(float),
        index=pd.DatetimeIndex(provider.clock.times),
        columns=provider.names,
    )
    change = pd.DataFrame(provider.values["change"].astype(np.float32), index=close.index, columns=close.columns)
    days = list(close.index)
    table = scores.unstack("instrument").sort_index()
    trades = [days[days.index(day) + shift] for day in table.index if days.index(day) + shift + 1 < len(days)]
    rows, parts = {}, {"best": {}, "worst": {}}
    for i, day in enumerate(trades):
        later = trades[i + 1] if i + 1 < len(trades) else days[days.index(day) + 1]
        score = table.iloc[i].dropna()

        def growth(name, day=day, later=later):
            ahead = close[name].loc[later:].dropna()
            known = ahead.iloc[0] if len(ahead) else close[name].dropna().iloc[-1]
            return known / close[name][day] - 1

        there = [name for name in score.index if not np.isnan(close[name][day])]
        can_buy = [name for name in there if change[name][day] < limit]
        can_sell = [name for name in there if change[name][day] > -limit]
        chosen = {
            "best": score[can_buy].sort_values(ascending=False, kind="stable").index[:topk],
            "worst": score[can_sell].sort_values(kind="stable").index[:topk],
        }
        both = [growth(name) for name in can_buy if name in can_sell]
        average = np.mean(both) if both else np.nan
        earned = {}
        for side, names in chosen.items():
            new = {name: 1 / len(names) for name in names}
            change_of = {name: new.get(name, 0) - parts[side].get(name, 0) for name in {*new, *parts[side]}}
            more = sum(value for value in change_of.values() if value > 0)
            less = -sum(value for value in change_of.values() if value < 0)
            rates = (open_cost, close_cost) if side == "best" else (close_cost, open_cost)
            earned[side] = sum(part * growth(name) for name, part in new.items())
            earned[side] = earned[side] - (more * rates[0] + less * rates[1]) * (1 if side == "best" else -1)
            parts[side] = {name: part * (1 + growth(name)) for name, part in new.items()}
        rows[day] = (earned["best"] - average, average - earned["worst"])
    return pd.DataFrame.from_dict(rows, orient="index", columns=["long", "short"])


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 10_000), st.integers(1, 5), st.integers(1, 3), st.sampled_from([0.0, 0.001]),
    st.sampled_from([0.0, 0.002]), st.sampled_from([0.02, 9.0]), st.sampled_from([0.0, 0.15]),
)  # fmt: skip
def test_it_equals_the_slow_way(seed, topk, shift, open_cost, close_cost, limit, gaps):
    provider = random_market(seed, bars=14, names=7, gaps=gaps)
    pred = random_signal(provider, seed, missing=0.1)
    got = long_short_backtest(
        pred, topk, "close", shift, open_cost, close_cost, limit_threshold=limit, exchange_kwargs={"provider": provider}
    )
    expected = slow_way(provider, pred, topk, shift, open_cost, close_cost, limit)
    assert list(got) == ["long", "short", "long_short"]
    for side in ("long", "short"):
        np.testing.assert_allclose(got[side], expected[side], atol=1e-6)
        assert list(got[side].index) == list(expected.index)
    np.testing.assert_allclose(got["long_short"], got["long"] + got["short"], atol=1e-15)


def test_a_score_that_knows_the_next_return_earns_and_its_opposite_loses():
    provider = random_market(3, bars=60, names=20)
    close = pd.DataFrame(provider.values["close"], index=pd.DatetimeIndex(provider.clock.times), columns=provider.names)
    knows = (close.shift(-2) / close.shift(-1) - 1).stack()
    knows.index.names = ["datetime", "instrument"]
    kwargs = {"topk": 5, "deal_price": "close", "exchange_kwargs": {"provider": provider}}
    for sign in (1, -1):
        series = long_short_backtest(sign * knows, **kwargs)
        assert (sign * series["long_short"] > 0).all()
        assert (sign * series["long"] > 0).all()


def test_later_data_change_nothing_earlier():
    provider = random_market(5, bars=30, names=8)
    pred = random_signal(provider)
    kwargs = {"topk": 3, "deal_price": "close", "exchange_kwargs": {"provider": provider}}
    before = long_short_backtest(pred, **kwargs)
    for field in provider.values:
        provider.values[field] = provider.values[field].copy()
        provider.values[field][20:] *= 1.7
    changed = pred.copy()
    changed[changed.index.get_level_values(0) >= pd.Timestamp(provider.clock.times[19])] *= -1
    after = long_short_backtest(changed, **kwargs)
    known = slice(None, pd.Timestamp(provider.clock.times[18]))
    for name in before:
        pd.testing.assert_series_equal(before[name].loc[known], after[name].loc[known])


def test_bad_scores_are_refused():
    provider = random_market(0, bars=6, names=3)
    pred = random_signal(provider)
    with_it = {"exchange_kwargs": {"provider": provider}}
    with pytest.raises(InputError, match="3 scores stand twice"):
        long_short_backtest(pd.concat([pred, pred.iloc[:3]]), **with_it)
    with pytest.raises(InputError, match="some scores are infinite"):
        long_short_backtest(pred.replace(pred.iloc[0], np.inf), **with_it)
    with pytest.raises(InputError, match="there are no scores"):
        long_short_backtest(pred * np.nan, **with_it)
    with pytest.raises(InputError, match="datetime and instrument are needed"):
        long_short_backtest(pred.reset_index(drop=True), **with_it)
    with pytest.raises(InputError, match="topk: received 0"):
        long_short_backtest(pred, topk=0, **with_it)
    with pytest.raises(InputError, match="shift: received 0"):
        long_short_backtest(pred, shift=0, **with_it)
    with pytest.raises(MissingDataError, match="the day calendar ends before"):
        long_short_backtest(pred[pred.index.get_level_values(0) == provider.clock.times[-1]], **with_it)
    moved = pred.copy()
    moved.index = moved.index.set_levels(moved.index.levels[0] + pd.Timedelta("1h"), level=0)
    with pytest.raises(InputError, match="01:00:00 is no time of the day calendar"):
        long_short_backtest(moved, **with_it)


def test_a_trial_reads_its_scores_from_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MissingDataError, match="check_pred.csv is missing"):
        evaluate.t_run()
    provider: MemoryProvider = random_market(1, bars=20, names=6)
    random_signal(provider).rename("score").reset_index().to_csv("check_pred.csv", index=False)
    monkeypatch.setattr(evaluate, "active_provider", lambda: provider)
    monkeypatch.setattr("qlib.backtest.exchange.active_provider", lambda: provider)
    figures = evaluate.t_run()
    assert set(figures) == {"long", "short", "long_short"}
    assert list(figures["long"].index) == ["mean", "std", "annualized_return", "information_ratio", "max_drawdown"]
