"""Permutation proof: replace whatever comes after a time, and no fill at or before it changes.

Two worlds have the same past and different futures: prices, volumes, changes, factors, scores, weights of a benchmark,
risk models in files and lists of orders. Every shipped strategy is run in both, in every market preset; the fills up to
the last common bar must be the same to the last bit. A strategy that is shipped and not in the table fails a test.

The bar of the deal itself is the hard part. Dealing at the open of a bar, nothing of the bar but that open is known; so
there the worlds differ from the open on.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from backtest_market import MemoryProvider, random_market, random_signal, run
from proof import cases

import qlib.contrib.strategy
from qlib.backtest.decision import Order
from qlib.backtest.executor import NestedExecutor, SimulatorExecutor
from qlib.config import REGIONS
from qlib.contrib.strategy import EnhancedIndexingStrategy, SoftTopkStrategy, TopkDropoutStrategy, TWAPStrategy
from qlib.contrib.strategy.order_generator import OrderGenWInteract, OrderGenWOInteract
from qlib.contrib.strategy.rule_strategy import ACStrategy, FileOrderStrategy, RandomOrderStrategy, SBBStrategyEMA
from qlib.contrib.strategy.signal_strategy import WeightStrategyBase
from qlib.strategy.base import BaseStrategy

BARS, NAMES = 24, 8


@dataclass(frozen=True)
class World:
    """All that a strategy may ask: a market, scores, risk models in a folder, a list of orders."""

    market: MemoryProvider
    scores: pd.Series
    risk: Path
    orders: pd.DataFrame


class BestByScore(WeightStrategyBase):
    def generate_target_weight_position(self, score, current, trade_start_time, trade_end_time):
        best = score.dropna().nlargest(3)
        return {str(name): share for name, share in zip(best.index, (0.5, 0.3, 0.2), strict=False)}


class BestAgainstWorst(WeightStrategyBase):
    def generate_target_weight_position(self, score, current, trade_start_time, trade_end_time):
        ranked = [str(name) for name in score.dropna().sort_values().index]
        return dict(zip(ranked[:2] + ranked[-2:], (-0.2, -0.2, 0.3, 0.3), strict=False)) if len(ranked) >= 4 else {}


STRATEGIES: dict[str, Any] = {
    "topk": lambda world: TopkDropoutStrategy(signal=world.scores, topk=4, n_drop=2),
    "topk_tradable": lambda world: TopkDropoutStrategy(
        signal=world.scores, topk=4, n_drop=2, only_tradable=True, forbid_all_trade_at_limit=False
    ),
    "topk_random": lambda world: TopkDropoutStrategy(
        signal=world.scores, topk=4, n_drop=2, method_sell="random", method_buy="random", hold_thresh=2
    ),
    "soft": lambda world: SoftTopkStrategy(signal=world.scores, topk=3, max_sold_weight=0.3),
    "weights": lambda world: BestByScore(signal=world.scores, order_generator_cls_or_obj=OrderGenWOInteract),
    "weights_now": lambda world: BestByScore(signal=world.scores, order_generator_cls_or_obj=OrderGenWInteract),
    "weights_short": lambda world: BestAgainstWorst(signal=world.scores, order_generator_cls_or_obj=OrderGenWInteract),
    "enhanced": lambda world: EnhancedIndexingStrategy(
        signal=world.scores, riskmodel_root=world.risk, market="index", optimizer_kwargs={"b_dev": 0.1, "delta": 2.0}
    ),
    "random": lambda world: RandomOrderStrategy(sample_ratio=0.125, volume_ratio=0.6, direction=Order.BUY, seed=3),  # noqa: ARG005
    "file": lambda world: FileOrderStrategy(world.orders),
}
SOLVED = ("enhanced",)  # each step solves a problem: fewer cases


def seeds_of(strategy: str, region: str, compat: str | None = None) -> range:
    """Cases of a strategy; in an ordinary run two in one market, one in the others, and hardly any of what is slow."""
    if strategy in SOLVED:
        if cases(region != "cn" or compat, False):
            pytest.skip("each step solves a problem: in one market here, in all of them in make proof")
        return range(cases(1, 3))
    place = list(REGIONS).index(region)
    return cases(range(place, place + 1 + (region == "cn")), range(40))


HONEST = {
    "volume_threshold": ("prior", "0.3*$volume"),
    "fills": {
        "half_spread": 0.0005,
        "impact": 0.5,
        "volatility": "Ref(Std($close/Ref($close,1)-1,5),1)",
        "volume": "Ref(Mean($volume,5),1)",
    },
}


def a_market(seed: int, **kwargs: Any) -> MemoryProvider:
    """Return a random market whose benchmark has weights."""
    made = random_market(seed, names=NAMES, **kwargs)
    rng = np.random.default_rng(seed + 77)
    made.values["index_weight"] = rng.dirichlet(np.full(NAMES, 5.0), len(made.clock))
    return made


def list_of_orders(times: Any, seed: int) -> pd.DataFrame:
    """Return orders for most names in most steps, buys and sells."""
    rng = np.random.default_rng(seed)
    rows = [(time, f"N{i}") for time in pd.DatetimeIndex(times) for i in range(NAMES) if rng.random() < 0.6]
    orders = pd.DataFrame(rows, columns=["datetime", "instrument"])
    return orders.assign(
        amount=rng.uniform(10, 2500, len(rows)), direction=np.where(rng.random(len(rows)) < 0.65, "buy", "sell")
    )


@pytest.fixture(scope="module")
def risks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A maker of folders with a risk model a day: `risks(since)` has other models from that day on."""
    home = tmp_path_factory.mktemp("risk")
    days = pd.date_range("2024-01-01", periods=BARS)
    made: dict[Any, Path] = {}
    for kind in ("now", "other"):
        rng = np.random.default_rng(len(kind))
        for day in days:
            folder = home / kind / f"{day:%Y%m%d}"
            folder.mkdir(parents=True)
            names, root = [f"N{i}" for i in range(NAMES)], rng.normal(size=(2, 2))
            pd.DataFrame(rng.normal(size=(NAMES, 2)), names).to_pickle(folder / "factor_exp.pkl")
            pd.DataFrame(root @ root.T * 1e-4).to_pickle(folder / "factor_cov.pkl")
            pd.Series(rng.uniform(0.01, 0.02, NAMES), names).to_pickle(folder / "specific_risk.pkl")
            pd.Series(rng.choice(names, 1)).to_pickle(folder / "blacklist.pkl")

    def folder(since: Any = None) -> Path:
        if since not in made:
            made[since] = home / ("now" if since is None else f"since {pd.Timestamp(since):%Y%m%d}")
            for day in days if since is not None else ():
                kind, name = "other" if day >= pd.Timestamp(since) else "now", f"{day:%Y%m%d}"
                made[since].mkdir(exist_ok=True)
                (made[since] / name).symlink_to(home / kind / name)
        return made[since]

    yield folder


def two_worlds(now: MemoryProvider, other: MemoryProvider, scores: pd.Series, steps: Any, last: Any, risks: Any) -> Any:
    """Return both worlds. What is known in the bar `last` (scores, risk models) is used after it: part of the future.

    Orders of a list are those of their step, so they differ after `last` only.
    """
    orders, others = list_of_orders(steps, 5), list_of_orders(steps, 6)
    mixed = pd.concat([orders[orders["datetime"] <= last], others[others["datetime"] > last]])
    since = pd.Timestamp(last).normalize()
    return (
        World(now, scores, risks(), orders),
        World(other, other_scores(scores, last), risks(since), mixed),
    )


def market_rules(strategy: str, compat: str | None) -> dict[str, Any]:
    """Arguments of the exchange that a strategy cannot do without."""
    if strategy == "file" and compat:  # Qlib's lots add a tenth of a share, and so may sell more than is held
        return {"trade_unit": None}
    return {"short": {"leverage": 3.0, "borrow": 0.0001}} if strategy == "weights_short" and not compat else {}


def other_future(provider: MemoryProvider, since: int, *, keep: tuple[str, ...] = ()) -> MemoryProvider:
    """Return the market with all rows from `since` on replaced; of that row itself the fields `keep` are the same."""
    other = random_market(
        999 + since, bars=len(provider.clock), names=len(provider.names), gaps=0.3, freq=provider.freq
    )
    fields = {}
    for name, values in provider.values.items():
        fields[name] = values.copy()
        later = other.values.get(name, values[:, ::-1])
        fields[name][since:] = later[since:] * (1 if name == "change" else 1.3)
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
def test_what_comes_after_a_bar_changes_no_fill_at_or_before_it(strategy, compat, region, risks):
    differ = 0
    for seed in seeds_of(strategy, region, compat):
        now = a_market(seed, bars=BARS, gaps=0.1, region=region, compat=compat)
        scores = random_signal(now, seed + 1, missing=0.1)
        until = 8 + seed % 9
        last, later = now.clock.times[until], now.clock.times[until + 4]
        exchange = {"volume_threshold": ("current", "0.5*$volume"), "impact_cost": 0.05} if seed % 2 else {}
        exchange |= market_rules(strategy, compat)
        worlds = two_worlds(now, other_future(now, until + 1), scores, now.clock.times, last, risks)
        fills = [dealt(world.market, STRATEGIES[strategy](world), exchange_kwargs=exchange) for world in worlds]
        same(*(told(made, last) for made in fills))
        differ += told(fills[0], later) != told(fills[1], later)
    assert differ, "the worlds are not the same"


def at_the_open(strategy: str, region: str, compat: str | None, limit: Any, risks: Any) -> list[list[tuple[Any, ...]]]:
    found = []
    for seed in seeds_of(strategy, region):
        now = a_market(seed, bars=BARS, region=region, compat=compat)
        scores = random_signal(now, seed + 1)
        until = 8 + seed % 9
        last = now.clock.times[until]
        exchange = {"deal_price": "open", "limit_threshold": limit, **market_rules(strategy, compat)}
        exchange |= HONEST if seed % 2 and not compat else {}
        # the world after the open of bar `until`; whether there is such a bar at all is known at its open
        other = other_future(now, until, keep=("open", "factor"))
        gone = np.isnan(other.values["close"][until])
        other.values["close"][until, gone] = other.values["open"][until, gone]
        worlds = two_worlds(now, other, scores, now.clock.times, last, risks)
        fills = [dealt(world.market, STRATEGIES[strategy](world), exchange_kwargs=exchange) for world in worlds]
        found.append([told(made, last) for made in fills])
    return found


@pytest.mark.parametrize("region", REGIONS)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_dealing_at_the_open_nothing_of_the_bar_but_its_open_is_known(strategy, region, risks):
    for one, two in at_the_open(strategy, region, None, 0.04, risks):
        same(one, two)


def test_by_qlibs_rules_the_limit_knows_the_close_of_the_bar(risks):
    """Trap 27: a name that will close at its limit cannot be bought at the open."""
    assert any(one != two for one, two in at_the_open("topk", "cn", "qlib", 0.04, risks))


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
        ("enhanced", "twap"),
        ("file", "twap"),
        ("file", "sbb"),
        ("file", "ac"),
    ],
)
def test_a_day_that_is_executed_in_hours_does_not_know_its_evening(strategy, splitting, region, risks):
    """One strategy decides at midnight, one below it splits: what comes after an hour changes no fill until then."""
    limit = REGIONS[region].limit_threshold
    for seed in seeds_of(strategy, region):
        now = a_market(seed, bars=24 * 9, gaps=0.05, freq="60min", region="crypto")
        until = 24 * 5 + 3 + 5 * seed % 80
        last = now.clock.times[until]
        midnights = MemoryProvider(now.clock.times[::24], now.names, {}, region="crypto")
        daily = random_signal(midnights, seed, missing=0.1)
        other = other_future(now, until + 1)
        midnight = pd.Timestamp(last).normalize()
        fills = [
            dealt(
                world.market,
                STRATEGIES[strategy](world),
                executor=NestedExecutor(
                    "day",
                    SimulatorExecutor("60min"),
                    SPLITTING[splitting](now.names),
                    generate_portfolio_metrics=True,
                ),
                start_time=pd.Timestamp(now.clock.times[24]),
                exchange_kwargs={"freq": "60min", "limit_threshold": limit, **market_rules(strategy, None)},
            )
            for world in two_worlds(now, other, daily, midnights.clock.times, midnight, risks)
        ]
        same(*(told(made, last) for made in fills))


# ------------------------------------------------------------------------------------------------ nobody is left out
# These decide nothing themselves; what is built on them is proven.
BASES = {"BaseSignalStrategy", "WeightStrategyBase", "SplitStrategy", "FormulaSplitStrategy", "SBBStrategyBase"}


def shipped() -> set[type[BaseStrategy]]:
    """Return every strategy of qlib.contrib.strategy, abstract ones too."""
    package = qlib.contrib.strategy
    modules = [
        importlib.import_module(found.name) for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    ]
    return {
        kind
        for module in modules
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if issubclass(kind, BaseStrategy) and kind.__module__.startswith(package.__name__)
    }


def test_every_strategy_that_is_shipped_is_proven(risks):
    market = a_market(0, bars=BARS)
    world = World(market, random_signal(market), risks(), list_of_orders(market.clock.times, 5))
    proven = {type(make(world)) for make in STRATEGIES.values()}
    proven |= {type(make(market.names)) for make in SPLITTING.values()}
    missing = {kind.__name__ for kind in shipped() - proven} - BASES
    assert missing == set(), "a strategy needs a line in STRATEGIES or SPLITTING"
    assert {base.__name__ for one in proven for base in one.__mro__} >= BASES
