"""Permutation proof: replace whatever comes after a time, and no fill at or before it changes.

Two worlds have the same past and different futures: prices, volumes, changes, factors and scores. Every shipped
strategy is run in both, in every market preset; the fills up to the last common bar must be the same to the last bit.

The bar of the deal itself is the hard part. Dealing at the open of a bar, nothing of the bar but that open is known; so
there the worlds differ from the open on.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from backtest_market import MemoryProvider, random_market, random_signal, run
from proof import cases

from qlib.backtest.executor import NestedExecutor, SimulatorExecutor
from qlib.config import REGIONS
from qlib.contrib.strategy import SoftTopkStrategy, TopkDropoutStrategy, TWAPStrategy
from qlib.contrib.strategy.order_generator import OrderGenWInteract, OrderGenWOInteract
from qlib.contrib.strategy.rule_strategy import ACStrategy, SBBStrategyEMA
from qlib.contrib.strategy.signal_strategy import WeightStrategyBase

BARS, NAMES = 24, 8
SEEDS = range(cases(2, 40))


class BestByScore(WeightStrategyBase):
    def generate_target_weight_position(self, score, current, trade_start_time, trade_end_time):
        best = score.dropna().nlargest(3)
        return {str(name): share for name, share in zip(best.index, (0.5, 0.3, 0.2), strict=False)}


class BestAgainstWorst(WeightStrategyBase):
    def generate_target_weight_position(self, score, current, trade_start_time, trade_end_time):
        ranked = [str(name) for name in score.dropna().sort_values().index]
        return dict(zip(ranked[:2] + ranked[-2:], (-0.2, -0.2, 0.3, 0.3), strict=False)) if len(ranked) >= 4 else {}


STRATEGIES: dict[str, Any] = {
    "topk": lambda signal: TopkDropoutStrategy(signal=signal, topk=4, n_drop=2),
    "topk_tradable": lambda signal: TopkDropoutStrategy(
        signal=signal, topk=4, n_drop=2, only_tradable=True, forbid_all_trade_at_limit=False
    ),
    "topk_random": lambda signal: TopkDropoutStrategy(
        signal=signal, topk=4, n_drop=2, method_sell="random", method_buy="random", hold_thresh=2
    ),
    "soft": lambda signal: SoftTopkStrategy(signal=signal, topk=3, max_sold_weight=0.3),
    "weights": lambda signal: BestByScore(signal=signal, order_generator_cls_or_obj=OrderGenWOInteract),
    "weights_now": lambda signal: BestByScore(signal=signal, order_generator_cls_or_obj=OrderGenWInteract),
    "weights_short": lambda signal: BestAgainstWorst(signal=signal, order_generator_cls_or_obj=OrderGenWInteract),
}
HONEST = {
    "volume_threshold": ("prior", "0.3*$volume"),
    "fills": {
        "half_spread": 0.0005,
        "impact": 0.5,
        "volatility": "Ref(Std($close/Ref($close,1)-1,5),1)",
        "volume": "Ref(Mean($volume,5),1)",
    },
}


def market_rules(strategy: str, compat: str | None) -> dict[str, Any]:
    """Arguments of the exchange that a strategy cannot do without."""
    return {"short": {"leverage": 3.0, "borrow": 0.0001}} if strategy == "weights_short" and not compat else {}


def other_future(provider: MemoryProvider, since: int, *, keep: tuple[str, ...] = ()) -> MemoryProvider:
    """Return the market with all rows from `since` on replaced; of that row itself the fields `keep` are the same."""
    other = random_market(
        999 + since, bars=len(provider.clock), names=len(provider.names), gaps=0.3, freq=provider.freq
    )
    fields = {}
    for name, values in provider.values.items():
        fields[name] = values.copy()
        fields[name][since:] = other.values[name][since:] * (1 if name == "change" else 1.3)
        if name in keep:
            fields[name][since] = values[since]
    return MemoryProvider(
        provider.clock.times, provider.names, fields, freq=provider.freq, region=provider.settings.region.name,
        compat=provider.settings["compat"],
    )  # fmt: skip


def other_scores(scores: pd.Series, since: Any) -> pd.Series:
    changed = scores.copy()
    later = changed.index.get_level_values("datetime") >= since
    changed[later] = -7 * changed[later] + 1
    return changed


def dealt(market: MemoryProvider, strategy: Any, **kwargs: Any) -> list[Any]:
    np.random.seed(0)  # Qlib's random choices come from numpy's global generator
    return run(market, strategy, account=1e6, **kwargs)[2]


def told(fills: list[Any], last: Any) -> list[tuple[Any, ...]]:
    """What was dealt in bars up to `last`."""
    return [
        (order.start_time, order.stock_id, int(order.direction), order.amount, order.deal_amount, value, cost, price)
        for order, value, cost, price in fills
        if order.start_time <= last and value > 0
    ]


def same(one: list[tuple[Any, ...]], two: list[tuple[Any, ...]]) -> None:
    assert len(one) > 0
    assert [row[:3] for row in one] == [row[:3] for row in two]
    np.testing.assert_array_equal([row[3:] for row in one], [row[3:] for row in two])


@pytest.mark.parametrize(
    ("strategy", "compat"),
    [(name, compat) for name in STRATEGIES for compat in (None, "qlib") if not (compat and name == "weights_short")],
)
@pytest.mark.parametrize("region", REGIONS)
def test_what_comes_after_a_bar_changes_no_fill_at_or_before_it(strategy, compat, region):
    for seed in SEEDS:
        now = random_market(seed, bars=BARS, names=NAMES, gaps=0.1, region=region, compat=compat)
        scores = random_signal(now, seed + 1, missing=0.1)
        until = 8 + seed % 9
        last, later = now.clock.times[until], now.clock.times[until + 1]
        exchange = {"volume_threshold": ("current", "0.5*$volume"), "impact_cost": 0.05} if seed % 2 else {}
        exchange |= market_rules(strategy, compat)
        fills = [
            dealt(market, STRATEGIES[strategy](signal), exchange_kwargs=exchange)
            for market, signal in ((now, scores), (other_future(now, until + 1), other_scores(scores, last)))
        ]
        # the scores of the last common bar are used in the bar after it, so they are part of the future here
        same(*(told(made, last) for made in fills))
        assert told(fills[0], later) != told(fills[1], later)


def at_the_open(strategy: str, region: str, compat: str | None, limit: Any) -> list[list[tuple[Any, ...]]]:
    found = []
    for seed in SEEDS:
        now = random_market(seed, bars=BARS, names=NAMES, region=region, compat=compat)
        scores = random_signal(now, seed + 1)
        until = 8 + seed % 9
        last = now.clock.times[until]
        exchange = {"deal_price": "open", "limit_threshold": limit, **market_rules(strategy, compat)}
        exchange |= HONEST if seed % 2 and not compat else {}
        # the world after the open of bar `until`; whether there is such a bar at all is known at its open
        other = other_future(now, until, keep=("open", "factor"))
        gone = np.isnan(other.values["close"][until])
        other.values["close"][until, gone] = other.values["open"][until, gone]
        fills = [
            dealt(market, STRATEGIES[strategy](signal), exchange_kwargs=exchange)
            for market, signal in ((now, scores), (other, other_scores(scores, last)))
        ]
        found.append([told(made, last) for made in fills])
    return found


@pytest.mark.parametrize("region", REGIONS)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_dealing_at_the_open_nothing_of_the_bar_but_its_open_is_known(strategy, region):
    for one, two in at_the_open(strategy, region, None, 0.04):
        same(one, two)


def test_by_qlibs_rules_the_limit_knows_the_close_of_the_bar():
    """Trap 27: a name that will close at its limit cannot be bought at the open."""
    assert any(one != two for one, two in at_the_open("topk", "cn", "qlib", 0.04))


SPLITTING: dict[str, Any] = {
    "twap": lambda names: TWAPStrategy(),  # noqa: ARG005
    "sbb": lambda names: SBBStrategyEMA(instruments=names, freq="60min"),
    "ac": lambda names: ACStrategy(instruments=names, freq="60min", window_size=6),
}


@pytest.mark.parametrize("region", REGIONS)
@pytest.mark.parametrize(
    ("strategy", "splitting"),
    [
        ("topk", "twap"),
        ("topk", "sbb"),
        ("topk", "ac"),
        ("soft", "twap"),
        ("weights", "twap"),
        ("weights_now", "twap"),
        ("weights_short", "twap"),
    ],
)
def test_a_day_that_is_executed_in_hours_does_not_know_its_evening(strategy, splitting, region):
    """One strategy decides at midnight, one below it splits: what comes after an hour changes no fill until then."""
    limit = REGIONS[region].limit_threshold
    for seed in SEEDS:
        now = random_market(seed, bars=24 * 9, names=NAMES, gaps=0.05, freq="60min", region="crypto")
        until = 24 * 5 + 3 + 5 * seed
        last = now.clock.times[until]
        midnights = MemoryProvider(now.clock.times[::24], now.names, {}, region="crypto")
        daily = random_signal(midnights, seed, missing=0.1)
        other = other_future(now, until + 1)
        fills = [
            dealt(
                market,
                STRATEGIES[strategy](signal),
                executor=NestedExecutor(
                    "day",
                    SimulatorExecutor("60min"),
                    SPLITTING[splitting](now.names),
                    generate_portfolio_metrics=True,
                ),
                start_time=pd.Timestamp(now.clock.times[24]),
                exchange_kwargs={"freq": "60min", "limit_threshold": limit, **market_rules(strategy, None)},
            )
            for market, signal in ((now, daily), (other, other_scores(daily, pd.Timestamp(last).normalize())))
        ]
        same(*(told(made, last) for made in fills))
