"""Crypto158: every formula is what its table says, in the same hours at every bar size, and knows no future."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import shared
from proof import cases

import qlib
from qlib.contrib.data.alpha158 import ROLLING
from qlib.crypto.features import (
    ALPHA158,
    GROUPS,
    LONG,
    SHORT,
    bars_of,
    columns,
    feature_config,
    feature_markdown,
    feature_table,
    label_config,
    window_name,
)
from qlib.crypto.handler import Crypto158
from qlib.crypto.listing import BeforeDelisting, ListedFor, announcements
from qlib.crypto.sample import MarketSpec
from qlib.crypto.sample_store import write_sample
from qlib.crypto.spot import add_spot
from qlib.data import D
from qlib.data.dataset.horizon import guess_horizon
from qlib.data.expression.plan import build_plan
from qlib.data.storage.writer import write_store
from qlib.errors import ConfigError, MissingDataError
from qlib.utils.objects import init_instance_by_config
from qlib.workflow.leakage import check_leakage, label_horizon

LEAD = {"BTC": "LEAD"}
HOURS = pd.date_range("2026-01-01", periods=24 * 36, freq="h")
SMALL = MarketSpec(seed=5, days=150, hourly_days=80, coins=8, late=2, delisted=1)


def market(seed: int = 1, hours: pd.DatetimeIndex = HOURS, coins: int = 4) -> pd.DataFrame:
    """Hourly bars of some coins with holes, outages, a coin that comes late, unknown funding and open interest."""
    rng = np.random.default_rng(seed)
    common = 0.006 * rng.standard_t(4, len(hours))
    frames = []
    for i in range(coins):
        name = "LEAD" if i == 0 else f"COIN{i}"
        n = len(hours)
        close = 10.0 ** (2 - 2 * i) * np.exp(np.cumsum((0.7 + 0.2 * i) * common + 0.004 * rng.standard_t(4, n)))
        start = np.concatenate([[close[0]], close[:-1]]) * np.exp(0.0005 * rng.normal(size=n))
        high = np.maximum(start, close) * np.exp(np.abs(0.003 * rng.normal(size=n)))
        low = np.minimum(start, close) * np.exp(-np.abs(0.003 * rng.normal(size=n)))
        volume = 1e4 / close * np.exp(rng.normal(size=n))
        count = np.where(np.arange(n) % (8 if i % 2 else 4) == 0, 1.0, 0.0)
        frame = pd.DataFrame(
            {
                "instrument": name,
                "datetime": hours,
                "open": start,
                "high": high,
                "low": low,
                "close": close,
                "volume": volume,
                "vwap": (high + low + close) / 3,
                "funding": np.where(count > 0, 1e-4 + 2e-4 * rng.normal(size=n), np.nan),
                "funding_count": count,
                "mark": close * np.exp(0.0008 * rng.normal(size=n)),
                "index": close * np.exp(0.0006 * rng.normal(size=n)),
                "spot": close * np.exp(0.001 * rng.normal(size=n) - 0.0005),
                "oi": 3e5 / close[0] * np.exp(np.cumsum(0.01 * rng.normal(size=n))),
            }
        )
        flat = rng.random(n) < 0.01  # nobody could trade: the price stands still, and there is no volume
        for price in ("open", "high", "low"):
            frame.loc[flat, price] = frame.loc[flat, "close"]
        frame.loc[flat, "volume"], frame.loc[flat, "vwap"] = 0.0, np.nan
        unknown = rng.integers(0, n, 4)
        frame.loc[unknown, ["funding", "funding_count"]] = np.nan
        frame.loc[rng.integers(0, n, 20), ["mark", "oi"]] = np.nan
        kept = rng.random(n) > 0.005
        kept[n // 2 : n // 2 + 5] = i == 0  # the clock goes on
        if i == coins - 1:
            kept[: n // 10] = False
        frames.append(frame[kept])
    return pd.concat(frames, ignore_index=True)


def opened(bars: pd.DataFrame, freq: str = "60min", **more: pd.DataFrame) -> None:
    qlib.init(data={freq: bars, **more}, region="crypto", logging_level=logging.ERROR)


def computed(freq: str, formulas: list[str], names: list[str] | None = None) -> pd.DataFrame:
    frame = D.features(D.instruments("all"), formulas, freq=freq)
    frame.columns = names or formulas
    return frame


# ------------------------------------------------------------ naive definitions in pandas
def over(x: pd.Series, n: int, what: str, least: int = 1) -> pd.Series:
    """A statistic of the finite values of the last n rows; NaN where there are fewer than `least`."""
    return getattr(x.replace([np.inf, -np.inf], np.nan).rolling(n, min_periods=least), what)()


def pairs(x: pd.Series, y: pd.Series, n: int, what: str) -> pd.Series:
    return getattr(x.rolling(n, min_periods=2), what)(y.reindex(x.index))


def naive(family: str, coin: pd.DataFrame, lead: pd.Series, n: int, window: str) -> pd.Series:
    """What a column is, said plainly: `coin` has a row for each hour, `lead` holds the leader's returns."""
    o, h, lo, c, v = (coin[name] for name in ("open", "high", "low", "close", "volume"))
    r = np.log(c / c.shift(1))
    day, month, week = 24, 24 * 30, 24 * 7
    known = coin["funding_count"].notna()
    fund = coin["funding"].where(coin["funding_count"] > 0, 0.0).where(known)

    def carry(n: int) -> pd.Series:
        return over(fund, n, "sum", n)

    def mean(x: pd.Series, n: int) -> pd.Series:
        return over(x, n, "mean")

    span, premium, rate, oi = np.log(h / lo), coin["mark"] / c - 1, coin["funding"], coin["oi"]
    money, illiquid = c * v, r.abs() / (c * v)
    m = lead.reindex(c.index)
    both_r, both_m = r.where(m.notna()), m.where(r.notna())

    def forced(of: pd.Series) -> pd.Series:
        spike = span / mean(span, week) * v / mean(v, week)
        return over(spike * (1 - oi / oi.shift(1)).clip(lower=0) * of, n, "sum")

    def beta() -> pd.Series:
        return pairs(r, m, n, "cov") / over(both_m, n, "var", 2)

    began = pd.Series(c.index.floor("D") if window == "day" else c.index.to_period("W").start_time, index=c.index)

    def so_far(x: pd.Series, what: str) -> pd.Series:
        if what == "first":
            return x.groupby(began).transform("first").where(x.groupby(began).ffill().notna())
        return getattr(x.groupby(began), f"cum{what}")().groupby(began).ffill()

    match family:
        case "RV":
            return np.sqrt(mean(r**2, n) * day)
        case "PKV":
            return np.sqrt(mean(span**2, n) * day / (4 * np.log(2)))
        case "GKV":
            return np.sqrt(mean(0.5 * span**2 - (2 * np.log(2) - 1) * np.log(c / o) ** 2, n) * day)
        case "RVT":
            return np.sqrt(mean(r**2, n) / mean(r**2, month))
        case "JUMP":
            return 1 - np.pi / 2 * mean(r.abs() * r.shift(1).abs(), n) / mean(r**2, n)
        case "DNV":
            return over(r.clip(upper=0) ** 2, n, "sum") / over(r**2, n, "sum")
        case "SKEW":
            return over(r, n, "skew", 3)
        case "KURT":
            return over(r, n, "kurt", 4)
        case "VOV":
            return over(span, n, "std", 2) / mean(span, n)
        case "MAXR":
            return over(r, n, "max")
        case "MINR":
            return over(r, n, "min")
        case "AMIHUD":
            return np.log(mean(illiquid, n))
        case "AMIHUDR":
            return mean(illiquid, n) / mean(illiquid, month)
        case "MONEY":
            return np.log(mean(money, n))
        case "MONEYR":
            return mean(money, n) / mean(money, month)
        case "ROLL":
            return 2 * np.sqrt((-pairs(r, r.shift(1), n, "cov")).clip(lower=0))
        case "IDLE":
            return mean((v == 0).astype(float).where(v.notna()), n)
        case "VWAPD":
            return c / (over(coin["vwap"] * v, n, "sum") / over(v, n, "sum")) - 1
        case "SPIKE":
            return span / mean(span, n) * v / mean(v, n)
        case "FUND":
            return carry(n)
        case "FUNDC":
            return carry(n) - carry(n).shift(n)
        case "FUNDV":
            return carry(n) / np.sqrt(over(r**2, n, "sum"))
        case "FRATE":
            return mean(rate, n)
        case "FRATEZ":
            return (mean(rate, day) - mean(rate, n)) / over(rate, n, "std", 2)
        case "FSIGN":
            return mean(np.sign(rate), n)
        case "BASIS":
            return premium
        case "BASISM":
            return mean(premium, n)
        case "BASISZ":
            return (premium - mean(premium, n)) / over(premium, n, "std", 2)
        case "PREM":
            return coin["mark"] / coin["index"] - 1
        case "PREMM":
            return mean(coin["mark"] / coin["index"] - 1, n)
        case "SBASIS":
            return c / coin["spot"] - 1
        case "SBASISM":
            return mean(c / coin["spot"] - 1, n)
        case "SBASISZ":
            return (c / coin["spot"] - 1 - mean(c / coin["spot"] - 1, n)) / over(c / coin["spot"] - 1, n, "std", 2)
        case "OICH":
            return oi / oi.shift(n) - 1
        case "OIVOL":
            return oi / over(v, n, "sum")
        case "OIZ":
            return (oi - mean(oi, n)) / over(oi, n, "std", 2)
        case "OICORR":
            return pairs(oi / oi.shift(1), c / c.shift(1), n, "corr")
        case "LIQL":
            return forced(c < o)
        case "LIQS":
            return forced(c > o)
        case "MBETA":
            return beta()
        case "MCORR":
            return pairs(r, m, n, "corr")
        case "RMOM":
            return over(both_r, n, "sum") - beta() * over(both_m, n, "sum")
        case "IVOL":
            rest = (1 - pairs(r, m, n, "corr") ** 2).clip(lower=0)
            return np.sqrt(over(both_r, n, "var", 2) * rest * day)
        case "LAG":
            return pairs(r, m.shift(1), n, "corr")
        case "RKMOM":
            return c / c.shift(n) - 1
        case "RKVOL":
            return np.sqrt(mean(r**2, n) * day)
        case "RKMON":
            return mean(money, n)
        case "RKILL":
            return mean(illiquid, n)
        case "RKHI":
            return c / over(h, n, "max")
        case "RKMAX":
            return over(r, n, "max")
        case "RKVMA":
            return v / mean(v, n)
        case "RKFUND":
            return carry(n)
        case "RKRATE":
            return mean(rate, n)
        case "TRET":
            return c / so_far(o, "first") - 1
        case "TPOS":
            return (c - so_far(lo, "min")) / (so_far(h, "max") - so_far(lo, "min"))
        case "TRNG":
            return (so_far(h, "max") - so_far(lo, "min")) / c
    raise AssertionError(f"no naive definition of {family}")  # fmt: skip


def by_coin(bars: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The bars as the store holds them: float32, a row for each hour from the first to the last one of a coin."""
    made = {}
    for name, frame in bars.groupby("instrument"):
        frame = frame.set_index("datetime").drop(columns="instrument").astype("float32").astype(float)
        made[str(name)] = frame.reindex(pd.date_range(frame.index[0], frame.index[-1], freq="h"))
    return made


OWN = [group for group in GROUPS if group not in ALPHA158]


@pytest.mark.parametrize("seed", range(1, cases(2, 30)))
def test_every_formula_is_its_naive_definition_on_a_market_with_holes(seed):
    bars = market(seed)
    opened(bars)
    # With these holes no week of payments is known.
    known = {"FUND": ["8h", "1d", "3d"], "FUNDC": ["1d"], "FUNDV": ["3d"], "RKFUND": ["8h", "1d"]}
    made = columns("60min", groups=OWN, leaders=LEAD, windows=known)
    frame = computed("60min", [column.formula for column in made.values()], list(made))
    coins = by_coin(bars)
    lead = np.log(coins["LEAD"]["close"] / coins["LEAD"]["close"].shift(1))
    for name, column in made.items():
        n = bars_of(column.window, "60min") if column.window[:1].isdigit() else 0
        wanted = {coin: naive(column.family.name, data, lead, n, column.window) for coin, data in coins.items()}
        if column.group in ("ranks", "funding_ranks"):
            table = pd.DataFrame(wanted).replace([np.inf, -np.inf], np.nan)
            ranks = (table.rank(axis=1) - 0.5).div(table.notna().sum(axis=1), axis=0)
            wanted = {coin: ranks[coin].reindex(data.index) for coin, data in coins.items()}
        rows = 0
        for coin, right in wanted.items():
            if coin == "LEAD" and column.family.name in ("RMOM", "IVOL", "MBETA"):
                continue  # 0 and 1 up to rounding: see below
            got = frame.loc[coin, name].reindex(right.index).to_numpy(float)
            right = right.to_numpy(float)
            finite = np.isfinite(right) | np.isfinite(got)
            assert (np.isfinite(right) == np.isfinite(got)).all(), (name, coin)
            rows = max(rows, int(finite.sum()))
            if not finite.any():
                continue
            if column.family.name == "ROLL":  # a root enlarges what is next to 0
                got, right = got**2, right**2
            noise = 1e-3 * np.std(right[finite]) + 1e-9  # of returns in float32
            off = ~np.isclose(got[finite], right[finite], rtol=2e-4, atol=noise)
            # Returns are float32: a near tie may rank the other way, and two of them may cancel in a window of two.
            assert off.sum() <= 2, f"{name} {coin}: {got[finite][off]}, expected {right[finite][off]}"
        assert rows > 40, name


def test_the_leader_explains_itself_and_a_coin_that_is_twice_its_leader_has_beta_two():
    hours = HOURS[:400]
    r = 0.01 * np.random.default_rng(3).normal(size=len(hours))
    bars = [
        pd.DataFrame({"instrument": name, "datetime": hours, "close": 50 * np.exp(beta * np.cumsum(r))})
        for name, beta in (("LEAD", 1.0), ("TWICE", 2.0))
    ]
    opened(pd.concat(bars))
    formulas, names = feature_config("60min", groups=["leaders"], leaders=LEAD, exclude=["LAG"])
    last = computed("60min", formulas, names).groupby("instrument").last()
    for name, beta in (("LEAD", 1.0), ("TWICE", 2.0)):
        np.testing.assert_allclose(last.loc[name, ["MBETA_BTC_1d", "MBETA_BTC_7d"]], beta, rtol=1e-4)
        np.testing.assert_allclose(last.loc[name, ["RMOM_BTC_1d", "RMOM_BTC_7d"]], 0, atol=1e-5)
        np.testing.assert_allclose(last.loc[name, "IVOL_BTC_7d"], 0, atol=2e-4)


def test_the_first_part_is_alpha158_but_for_what_its_table_says():
    bars = market(2)
    bars = bars[bars["volume"] > 0].assign(volume=bars["volume"] * 1e6)  # Qlib's + 1 is nothing to it
    opened(bars)
    windows = {"rolling": ["12h", "7d"]}
    made = columns("60min", groups=["rolling"], windows=windows)
    names, formulas = [], []
    for name, column in made.items():
        n = bars_of(column.window, "60min")
        for column_name, formula in (
            (name, column.formula),
            (f"{name} of Qlib", ROLLING[column.family.name].format(d=n)),
        ):
            names.append(column_name)
            formulas.append(formula)
    frame = computed("60min", formulas, names).dropna()
    assert len(frame) > 2000
    for name, column in made.items():
        ours, qlibs = frame[name], frame[f"{name} of Qlib"]
        if column.family.name == "BETA":
            qlibs = qlibs * 24
        elif column.family.name == "VMA":
            qlibs = 1 / qlibs
        elif column.family.name == "VSTD":
            qlibs = qlibs * frame[name.replace("VSTD", "VMA")]
        np.testing.assert_allclose(ours, qlibs, rtol=3e-3, atol=3e-3 * qlibs.std(), err_msg=name)


@pytest.mark.parametrize("freq", ["60min", "4h", "day"])
def test_there_are_158_and_more_at_every_size(freq):
    assert len(columns(freq, groups=ALPHA158)) == 158
    made = columns(freq, leaders=LEAD)
    assert len(made) > 158 + 90
    for name, column in made.items():
        assert build_plan([column.formula]).span.ahead <= 0, name


# ------------------------------------------------------------ time and the future
def days_of(bars: pd.DataFrame, freq: str = "D") -> pd.DataFrame:
    """The same market in longer bars; one without a single hour in it is not there."""
    grouped = bars.set_index("datetime").groupby(["instrument", pd.Grouper(freq=freq)])
    first = {
        "open": "first",
        "high": "max",
        "low": "min",
        "close": "last",
        "mark": "last",
        "index": "last",
        "spot": "last",
        "oi": "last",
    }
    longer = grouped.agg(first)
    money = (bars["vwap"] * bars["volume"]).rename("money")
    keys = [bars["instrument"], bars["datetime"].dt.floor(freq)]
    longer["volume"] = grouped["volume"].sum()
    longer["vwap"] = money.groupby(keys).sum() / longer["volume"]
    longer["funding"] = grouped["funding"].sum(min_count=1)
    longer["funding_count"] = grouped["funding_count"].agg(lambda count: count.sum(skipna=False))
    return longer.dropna(how="all").reset_index()


def whole(bars: pd.DataFrame, **options) -> pd.DataFrame:
    opened(bars, day=days_of(bars))
    asked = {"leaders": LEAD, "listing": "0h", "coarse": {"day": ["RV", "ROC", "FUND", "MBETA", "RKMOM", "TRET"]}}
    handler = Crypto158(freq="60min", learn_processors=[], **(asked | options))
    return handler.fetch(col_set="feature", data_key="raw")


@pytest.mark.parametrize("seed", range(4, cases(5, 30)))
def test_the_past_stands_still_when_the_future_is_another(seed):
    bars, other = market(seed, HOURS[: 24 * 33]), market(seed + 100, HOURS[: 24 * 33])
    cut = HOURS[24 * 31 + 9 + seed]
    mixed = pd.concat([bars[bars["datetime"] <= cut], other[other["datetime"] > cut]]).sort_values(
        ["instrument", "datetime"]
    )
    one, two = (frame[frame.index.get_level_values("datetime") <= cut] for frame in (whole(bars), whole(mixed)))
    short = whole(bars[bars["datetime"] <= cut])
    assert one.shape[1] > 290
    assert (one.notna().sum() > 20).sum() > 280
    pd.testing.assert_frame_equal(one, two, check_exact=True)
    pd.testing.assert_frame_equal(one, short, check_exact=True)


def test_bars_that_come_in_one_by_one_give_the_same_bits():
    bars, groups = market(11), [group for group in GROUPS if group not in ("running", "leaders")]
    opened(bars)
    formulas, names = feature_config("60min", groups=groups)
    whole_frame = computed("60min", formulas, names)
    engine = D.engine(sorted(bars["instrument"].unique()), formulas, end_time=HOURS[700], freq="60min")
    for hour in HOURS[701:712]:
        bar = bars[bars["datetime"] == hour].set_index("instrument").reindex(engine.instruments)
        row = engine.append({field: bar[field].to_numpy() for field in bar.columns if field != "datetime"})
    expected = whole_frame.xs(HOURS[711], level="datetime").reindex(engine.instruments)
    np.testing.assert_array_equal(np.asarray(row, dtype=np.float32), expected.to_numpy().T)


SAME_AT_EVERY_SIZE = [
    "ROC",
    "MAX",
    "MIN",
    "RSV",
    "VWAPD",
    "FUND",
    "FUNDC",
    "OICH",
    "OIVOL",
    "RKMOM",
    "RKFUND",
    "TRET",
    "TRNG",
]


def test_windows_are_the_same_hours_at_every_bar_size():
    bars = market(6)
    bars = bars[bars["instrument"] != "COIN3"].groupby("datetime").filter(lambda hour: len(hour) == 3)  # no hole
    whole_hours = pd.MultiIndex.from_product([["LEAD", "COIN1", "COIN2"], HOURS], names=["instrument", "datetime"])
    bars = (
        bars.set_index(["instrument", "datetime"])
        .reindex(whole_hours)
        .groupby("instrument")
        .ffill()
        .bfill()
        .reset_index()
    )
    bars.loc[bars["funding_count"] == 0, "funding"] = np.nan
    wanted = {
        "FUND": ["1d", "7d"],
        "RSV": ["3d", "7d"],
        "RKMOM": ["1d", "3d"],
        "OICH": ["1d", "7d"],
        "VWAPD": ["7d"],
    }
    options = {"windows": wanted, "exclude": []}
    frames = {}
    for freq, step in (("60min", "h"), ("240min", "4h"), ("day", "D")):
        longer = bars if step == "h" else days_of(bars, step)
        opened(longer, freq)
        made = {n: c for n, c in columns(freq, **options).items() if c.family.name in SAME_AT_EVERY_SIZE}
        frame = computed(freq, [c.formula for c in made.values()], list(made)).reset_index()
        frame["datetime"] += pd.Timedelta(bars_of("1d", "60min") // bars_of("1d", freq), "h")  # when the bar is over
        frames[freq] = frame.set_index(["instrument", "datetime"])
    for coarse in ("240min", "day"):
        names = [n for n in frames[coarse] if n in frames["60min"] and not (coarse == "day" and n.endswith("_day"))]
        assert len(names) > 15
        fine = frames["60min"].reindex(frames[coarse].index)
        for name in names:
            least = bars_of(name.split("_")[1], "60min") if name.split("_")[1][0].isdigit() else 0
            rows = frames[coarse].groupby(level=0).cumcount() * 24 // bars_of("1d", coarse) > 2 * least
            ours, theirs = fine.loc[rows, name], frames[coarse].loc[rows, name]
            assert ours.notna().sum() > 20, name
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6, err_msg=f"{name} at {coarse}")


@pytest.mark.parametrize("price, amount", [(2.0**-16, 1.0), (1.0, 2.0**12)])
def test_columns_are_the_same_in_any_unit(price, amount):
    bars = market(7)
    other = bars.copy()
    other[["open", "high", "low", "close", "vwap", "mark", "index", "spot"]] *= price
    other[["volume", "oi"]] *= amount
    made = columns("60min", leaders=LEAD)
    formulas, names = [column.formula for column in made.values()], list(made)
    frames = []
    for one in (bars, other):
        opened(one)
        frames.append(computed("60min", formulas, names))
    for name, column in made.items():
        left, right = (frame[name].to_numpy() for frame in frames)
        if column.family.scale_free:
            np.testing.assert_allclose(left, right, rtol=2e-4, atol=2e-5, err_msg=name)
        else:
            assert np.nanmax(np.abs(left - right)) > 1, name


def test_unknown_funding_is_not_zero():
    hours = HOURS[:60]
    paid = np.where(np.arange(60) % 8 == 0, 0.001, np.nan)
    count = (~np.isnan(paid)).astype(float)
    count[30] = np.nan
    bars = pd.DataFrame({"instrument": "A", "datetime": hours, "close": 1.0, "funding": paid, "funding_count": count})
    opened(bars)
    formulas, names = feature_config("60min", groups=["funding"], windows={"FUND": ["8h", "1d"]}, exclude=["FUNDV"])
    frame = computed("60min", formulas, names).loc["A"]
    assert np.flatnonzero(frame["FUND_8h"].isna()).tolist() == [*range(7), *range(30, 38)]
    assert np.flatnonzero(frame["FUND_1d"].isna()).tolist() == [*range(23), *range(30, 54)]
    np.testing.assert_allclose(frame["FUND_8h"].dropna(), 0.001, rtol=1e-6)
    np.testing.assert_allclose(frame["FUND_1d"].dropna(), 0.003, rtol=1e-6)


# ------------------------------------------------------------ the handler
@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sample") / "store"
    write_sample(folder, SMALL)
    return folder


def configured(freq: str, start: str, fit: str, end: str, **kwargs) -> dict:
    handler = {
        "class": "Crypto158",
        "module_path": "qlib.crypto.handler",
        "kwargs": {
            "instruments": "all",
            "freq": freq,
            "start_time": start,
            "end_time": end,
            "fit_start_time": start,
            "fit_end_time": fit,
            "infer_processors": [{"class": "RobustZScoreNorm", "kwargs": {"fields_group": "feature"}}],
            "missing": "leave out",
            "leaders": {"ALL": "MARKET"},
            **kwargs,
        },
    }
    gap = pd.Timestamp(fit) + pd.Timedelta(days=4)
    segments = {"train": [start, fit], "test": [str(gap), end]}
    return {
        "class": "DatasetH",
        "module_path": "qlib.data.dataset",
        "kwargs": {"handler": handler, "segments": segments},
    }


@pytest.mark.parametrize(
    "config",
    [
        configured("day", "2021-03-01", "2021-04-10", "2021-05-25", horizon=2),
        configured(
            "60min",
            "2021-04-20",
            "2021-05-08",
            "2021-05-28",
            coarse={"day": ["RV", "FRATE"]},
            horizon="4h",
            listing="3d",
        ),
    ],
    ids=["day", "60min"],
)
def test_it_runs_on_the_sample_market_and_knows_no_future(sample, config):
    qlib.init(provider_uri=str(sample), region="crypto", logging_level=logging.ERROR)
    dataset = init_instance_by_config(config)
    train = dataset.prepare("train", col_set=["feature", "label"])
    assert len(train) > 250
    assert (train["feature"].notna().mean() > 0.5).all()
    assert (train["feature"].std() > 0).all()
    assert (
        dataset.handler.label_horizon
        == label_horizon(dataset.handler)
        == (3 if "day" in str(config["kwargs"]["handler"]["kwargs"]["freq"]) else 5)
    )
    assert check_leakage(config, cuts=2) == []


def test_a_field_that_nobody_has_is_named_or_left_out_on_request(sample):
    qlib.init(provider_uri=str(sample), region="crypto", logging_level=logging.ERROR)
    with pytest.raises(
        MissingDataError,
        match=r"no instrument has \$funding_count, \$index, \$mark, \$oi, \$spot at day, which 29 columns",
    ):
        Crypto158(freq="day")
    handler = Crypto158(freq="day", missing="leave out", start_time="2021-05-01")
    assert handler.left_out["BASIS"] == "$mark"
    assert set(handler.left_out) & set(handler.fetch(col_set="feature", data_key="raw").columns) == set()
    assert {columns("day")[name].group for name in handler.left_out} == {
        "funding", "funding_ranks", "basis", "interest", "liquidation"
    }  # fmt: skip
    with pytest.raises(MissingDataError, match="no column is left"):
        Crypto158(freq="day", groups=["basis", "interest"], missing="leave out")


def test_a_leader_that_is_not_there_is_named(sample):
    qlib.init(provider_uri=str(sample), region="crypto", logging_level=logging.ERROR)
    with pytest.raises(MissingDataError, match=r"leaders: BTC-USDT has no \$close at day"):
        Crypto158(freq="day", leaders={"BTC": "BTC-USDT"}, missing="leave out")


def test_days_beside_hours_are_refused_where_qlibs_rules_would_look_ahead(sample):
    qlib.init(provider_uri=str(sample), region="crypto", compat="qlib", logging_level=logging.ERROR)
    with pytest.raises(ConfigError, match="an hour sees the day that has only begun"):
        Crypto158(freq="60min", coarse={"day": ["RV"]}, missing="leave out")


def test_a_saved_handler_comes_back(sample, tmp_path):
    qlib.init(provider_uri=str(sample), region="crypto", logging_level=logging.ERROR)
    handler = Crypto158(freq="day", start_time="2021-05-01", missing="leave out", coarse=None, leaders={"M": "MARKET"})
    handler.to_pickle(str(tmp_path / "handler"), dump_all=True)
    again = Crypto158.load(str(tmp_path / "handler"))
    pd.testing.assert_frame_equal(again.fetch(data_key="learn"), handler.fetch(data_key="learn"), check_exact=True)
    assert (again.left_out, again.label_horizon) == (handler.left_out, handler.label_horizon)


def test_groups_families_and_windows_can_be_chosen(sample):
    qlib.init(provider_uri=str(sample), region="crypto", logging_level=logging.ERROR)
    handler = Crypto158(
        ["SYN01", "SYN03"],
        freq="60min",
        start_time="2021-05-20",
        groups=["volatility", "ranks"],
        windows={"RV": ["24h", "90h"], "ranks": ["5d"]},
        exclude=["KURT", "RKMAX"],
        horizon="1d",
    )
    raw = handler.fetch(col_set="__raw", data_key="raw")
    names = raw["feature"].columns
    assert [n for n in names if n.startswith("RV_")] == ["RV_1d", "RV_90h"]
    assert [n for n in names if n.startswith("RKMOM")] == ["RKMOM_5d"]
    assert not [n for n in names if n.startswith(("KURT", "RKMAX", "ROC"))]
    assert raw["label"].columns.tolist() == ["LABEL_1d"]
    assert handler.label_horizon == 25


def test_the_label_says_how_far_it_looks():
    assert label_config("60min") == (["Ref($close,-2)/Ref($close,-1)-1"], ["LABEL0"])
    assert label_config("4h", "1d") == (["Ref($close,-7)/Ref($close,-1)-1"], ["LABEL_1d"])
    assert guess_horizon(label_config("day", 5)[0]) == 6


@pytest.mark.parametrize(
    "options, text",
    [
        ({"groups": ["volatilty"]}, "groups: received 'volatilty'.*did you mean volatility"),
        ({"exclude": ["AMIHUDD"]}, "exclude: received 'AMIHUDD'.*did you mean AMIHUD"),
        ({"windows": {"RW": ["1d"]}}, "windows: received 'RW'"),
        ({"windows": {"RV": ["90min"]}}, "'90min', which is no whole number of bars of 60min"),
        ({"windows": {"RV": ["2h"]}}, "RV needs at least 3 bars, '2h' has 2 of 60min"),
        ({"windows": {"RV": ["a day"]}}, "received 'a day'; minutes, hours and days are allowed"),
        ({"windows": {"RV": ["week"]}}, "received 'week'; minutes, hours and days are allowed"),
        ({"windows": {"KMID": ["1d"]}}, "KMID has none"),
        ({"groups": ["leaders"]}, "groups: leaders needs `leaders`"),
        ({"exclude": iter(["KURT", "SKEWW"])}, "exclude: received 'SKEWW'.*did you mean SKEW"),
    ],
)
def test_a_wrong_choice_is_one_sentence(options, text):
    with pytest.raises(ConfigError, match=text):
        columns("60min", **options)


@pytest.mark.parametrize("freq", ["week", "7h", "month"])
def test_bars_that_do_not_divide_a_day_are_refused(freq):
    with pytest.raises(ConfigError, match="bar sizes that divide a day"):
        columns(freq)


@pytest.mark.parametrize(
    "kwargs, text",
    [
        ({"missing": "drop"}, "missing: received 'drop'; allowed are 'error', 'leave out'"),
        ({"horizon": 0}, "horizon: received 0; at least one bar"),
        ({"horizon": "90min"}, "no whole number of bars"),
        ({"coarse": {"60min": ["RV"]}}, "coarse: received '60min'; bars longer than 60min"),
        ({"coarse": {"day": ["RVV"]}}, "received 'RVV'.*did you mean"),
        ({"listing": "soon"}, "after: received 'soon'"),
        ({"carry": True, "label": (["$close"], ["L"])}, "carry: received with a label of your own"),
    ],
)
def test_a_wrong_argument_is_one_sentence(sample, kwargs, text):
    qlib.init(provider_uri=str(sample), region="crypto", logging_level=logging.ERROR)
    with pytest.raises(ConfigError, match=text):
        Crypto158(**({"missing": "leave out", "start_time": "2021-05-25"} | kwargs))


# ------------------------------------------------------------ young and leaving coins
def test_a_coin_counts_from_the_declared_time_after_its_first_bar():
    bars = market(8, HOURS[: 24 * 12])
    late = bars[bars["instrument"] == "COIN3"]["datetime"].min()
    market_of_all = {"market": "all", "filter_pipe": []}
    for instruments in (
        "all",
        market_of_all,
        ["LEAD", "COIN3"],
        {"COIN3": [("2026-01-01", "2026-03-01")], "LEAD": [(None, None)]},
    ):
        opened(bars)
        handler = Crypto158(instruments, groups=["ranks"], listing="2d", leaders=LEAD, learn_processors=[])
        first = handler.fetch(data_key="raw").reset_index().groupby("instrument")["datetime"].min()
        assert first["COIN3"] == late + pd.Timedelta(days=2)
        assert first["LEAD"] == bars["datetime"].min() + pd.Timedelta(days=2)


def test_a_young_coin_is_not_ranked():
    bars = market(8, HOURS[: 24 * 12])
    opened(bars)
    late = bars[bars["instrument"] == "COIN3"]["datetime"].min() + pd.Timedelta(hours=30)
    ranks = Crypto158(groups=["ranks"], listing="2d", learn_processors=[]).fetch(data_key="raw")["RKMOM_4h"].dropna()
    assert ranks[late].min() == pytest.approx(1 / 6)
    assert ranks[late + pd.Timedelta(days=2)].min() == pytest.approx(1 / 8)


def test_the_days_before_a_delisting_are_left_out_once_it_is_announced():
    bars = market(9, HOURS[: 24 * 12])
    opened(bars)
    plan = [["2026-01-04 06:00", "2026-01-06"], ["2026-01-05", None], ["2026-01-08 12:00", "2026-01-10"]]
    filters = [BeforeDelisting("3d", {"COIN1": plan}).to_config()]
    frame = Crypto158(groups=["candle"], listing="0h", filter_pipe=filters, learn_processors=[]).fetch(data_key="raw")
    times = frame.xs("COIN1", level="instrument").index
    gone = pd.date_range(HOURS[0], HOURS[24 * 12 - 1], freq="h").difference(times)
    there = bars[bars["instrument"] == "COIN1"]["datetime"]
    expected = [
        *pd.date_range("2026-01-04 06:00", "2026-01-04 23:00", freq="h"),
        *pd.date_range("2026-01-08 12:00", "2026-01-12 23:00", freq="h"),
    ]
    assert set(gone) - set(pd.date_range(HOURS[0], there.min(), freq="h", inclusive="left")) == set(expected)
    assert len(frame.xs("COIN2", level="instrument")) > 24 * 11


def test_the_announcements_of_a_list_are_known_the_day_after_it_was_seen():
    end = 1710057600000
    rows = [
        ("NEW", "2024-01-01", False, None),
        ("OLD", "2024-01-01", False, None),
        ("OLD", "2024-03-01", False, end),
        ("OLD", "2024-03-11", True, end),
        ("LOST", "2024-01-01", False, None),
        ("LOST", "2024-02-01", True, None),
    ]
    history = pd.DataFrame(rows, columns=["symbol", "seen", "gone", "delisted"])
    assert announcements(history) == {
        "LOST": [["2024-02-02", "2024-02-02"]],
        "OLD": [["2024-03-02", "2024-03-10T08:00:00"]],
    }


@pytest.mark.parametrize("one", [ListedFor("36h"), BeforeDelisting("2d", {"X": [["2026-01-01", "2026-02-01"]]})])
def test_a_filter_is_its_configuration(one):
    assert type(one).from_config(one.to_config()) == one


def test_a_delisting_without_its_announcement_is_refused():
    with pytest.raises(ConfigError, match="without the day of the announcement a row would know the future"):
        BeforeDelisting("3d", ["COIN1"])
    with pytest.raises(
        ConfigError, match=r"received \['2026-01-05'\] for COIN1; \[\[announced, delisted\], ...\] is allowed"
    ):
        BeforeDelisting("3d", {"COIN1": ["2026-01-05"]})


def test_windows_have_one_spelling():
    assert [window_name(w) for w in ("24h", "1d", "36h", "90min", "7day")] == ["1d", "1d", "36h", "90min", "7d"]
    assert {window_name(w) for w in (*SHORT, *LONG)} == {*SHORT, *LONG}


def test_the_table_has_every_family_once_with_a_formula_and_a_source():
    table = feature_table("60min")
    assert table["family"].is_unique
    assert (table[["formula", "says", "source"]] != "").all().all()
    assert len(table) == sum(map(len, GROUPS.values()))


def test_the_page_of_the_documentation_has_the_table_of_the_code():
    page = Path(__file__).resolve().parents[3] / "docs" / "component" / "crypto_features.md"
    assert feature_markdown("60min") in page.read_text()


# ------------------------------------------------------------ real bars
def test_real_perpetuals_with_real_funding_and_mark_prices():
    """39 swaps of OKX, 30 days of hours: four and eight hours between payments."""
    halves = pd.read_parquet(shared("realdata/okx_swap_30m_2026.parquet"))
    marks = pd.read_parquet(shared("realdata/okx_mark_1h_2026.parquet"))
    rates = pd.read_parquet(shared("realdata/okx_funding_2026.parquet"))
    for frame in (halves, marks, rates):
        stamps = pd.to_datetime(frame["ts"], unit="ms").dt.as_unit("ns")
        frame["datetime"] = stamps.dt.floor("h")
    hours = halves.groupby(["symbol", "datetime"]).agg(
        open=("open", "first"),
        high=("high", "max"),
        low=("low", "min"),
        close=("close", "last"),
        volume=("volume", "sum"),
    )
    hours["vwap"] = hours[["high", "low", "close"]].mean(axis=1)
    hours["mark"] = marks.set_index(["symbol", "datetime"])["close"]
    paid = rates.groupby(["symbol", "datetime"])["rate"].agg(["sum", "count"])
    hours["funding"], hours["funding_count"] = paid["sum"], paid["count"]
    hours["funding_count"] = hours["funding_count"].fillna(0)
    opened(hours.reset_index().rename(columns={"symbol": "instrument"}))
    handler = Crypto158(
        leaders={"BTC": "BTC-USDT-SWAP", "ETH": "ETH-USDT-SWAP"}, missing="leave out", listing="15d", horizon="4h"
    )
    frame = handler.fetch(col_set="feature", data_key="raw")
    assert set(handler.left_out.values()) == {"$oi", "$spot", "$index"}
    assert len(frame) > 39 * 24 * 14
    assert not np.isinf(frame.to_numpy()).any()
    late = frame[frame.index.get_level_values("datetime") >= "2026-06-24"]
    there = late.notna().mean()
    assert set(there[there < 0.9].index) <= {
        n for n in there.index if n.endswith(("_30d", "_14d")) or n.startswith("FUNDC_7d")
    }
    for coin in ("BTC-USDT-SWAP", "ENA-USDT-SWAP"):
        row = frame.xs(coin, level="instrument").loc["2026-06-25 12:00"]
        own = rates[rates["symbol"] == coin].set_index("datetime")["rate"]
        week = own[(own.index > "2026-06-18 12:00") & (own.index <= "2026-06-25 12:00")]
        assert len(week) == (21 if coin.startswith("BTC") else 42)
        assert row["FUND_7d"] == pytest.approx(week.sum(), rel=1e-5)
        assert row["FRATE_7d"] == pytest.approx(week.mean(), rel=1e-5)
    assert frame["MBETA_BTC_7d"].xs("ETH-USDT-SWAP", level="instrument").between(0.5, 2).all()
    assert frame["BASIS"].abs().max() < 0.05


# ------------------------------------------------------------ the spot market beside the perpetual
def test_the_spot_price_lies_beside_the_perpetual(tmp_path):
    hours = HOURS[:40]
    rng = np.random.default_rng(0)

    def prices(rows: slice, hole: int) -> pd.DataFrame:
        frame = pd.DataFrame({"close": 100 + rng.normal(size=40)}, index=hours)
        frame.iloc[hole] = np.nan
        return frame[rows]

    coins = {
        "BTC-USDT": prices(slice(0, 40), 9),
        "BTC-USDT-SWAP": prices(slice(5, 40), 12),
        "ETH-USDT": prices(slice(10, 30), 15),
        "ETH-USDT-SWAP": prices(slice(5, 40), 12),
        "XRP-USDT-SWAP": prices(slice(0, 40), 3),
    }
    write_store(coins, tmp_path / "store", "60min")
    assert add_spot(tmp_path / "store", "60min") == {"BTC-USDT-SWAP": "BTC-USDT", "ETH-USDT-SWAP": "ETH-USDT"}
    qlib.init(provider_uri=str(tmp_path / "store"), region="crypto", logging_level=logging.ERROR)
    frame = computed("60min", ["$close/$spot-1", "$spot"])
    for coin in ("BTC", "ETH"):
        swap, spot = (coins[f"{coin}-USDT{end}"]["close"].astype("float32") for end in ("-SWAP", ""))
        spot = spot.reindex(swap.index)
        np.testing.assert_array_equal(frame.loc[f"{coin}-USDT-SWAP", "$spot"], spot)
        np.testing.assert_allclose(frame.loc[f"{coin}-USDT-SWAP", "$close/$spot-1"], swap / spot - 1, atol=1e-7)
    with pytest.raises(MissingDataError, match="pairs: DOGE-USDT has no close at 60min"):
        add_spot(tmp_path / "store", "60min", {"XRP-USDT-SWAP": "DOGE-USDT"})
    with pytest.raises(MissingDataError, match="has no calendar of day; it has 60min"):
        add_spot(tmp_path / "store", "day")
