"""Where the return over a benchmark came from, after Brinson, Hood and Beebower.

Of each group of names (an industry, say) with weight w and return r, in the portfolio (p) and in the benchmark (b):

    RAA     asset allocation     sum (wp - wb) * rb         other weights than the benchmark's
    RSS     stock selection      sum wb * (rp - rb)         other names within the groups
    RIN     interaction          RTotal - RAA - RSS         both at once: sum (wp - wb) * (rp - rb)
    RTotal                       sum wp * rp - sum wb * rb

A group that one side does not hold has no return there: its terms of RAA and RSS are left out, and what it contributed
stands in RIN. Weights are those at the close of a day, over the holdings without cash; returns those to the next day.

    effects, parts = brinson_pa(positions, bench="SH000905", group_field="industry")
    effects.sum()                                   # of all days
    parts["port_group_weight"]                      # what they were computed from

The benchmark's weights come from `raw/AIndexMembers/weights.csv` in the folder of the data, with the columns index,
date, code, weight (in per cent).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from qlib.data.provider import active_provider
from qlib.errors import InputError, MissingDataError, did_you_mean
from qlib.log import get_module_logger

METHODS = ("category", "bins")
COLUMNS = ("index", "date", "code", "weight")
WEIGHTS_FILE = Path("raw") / "AIndexMembers" / "weights.csv"
Array = np.ndarray[Any, np.dtype[np.float64]]
logger = get_module_logger("profit attribution")


def get_benchmark_weight(
    bench: str,
    start_date: str | pd.Timestamp | None = None,
    end_date: str | pd.Timestamp | None = None,
    path: str | Path | None = None,
    freq: str = "day",
) -> pd.DataFrame:
    """Return the weights of a benchmark's members (1 is all of it) by date and instrument; NaN for who is none.

    Parameters
    ----------
    bench
        Name of the benchmark in the column `index` of the file.
    start_date, end_date
        Range of the dates, both included; None for no bound.
    path
        The CSV file; None: `raw/AIndexMembers/weights.csv` in the folder of the data of `freq`.

    Raises MissingDataError for a file or a benchmark that is not there, InputError for a file without the columns.
    """
    file = Path(active_provider().settings.dpm.get_data_uri(freq)).expanduser() / WEIGHTS_FILE if path is None else path
    try:
        table = pd.read_csv(file, dtype={"code": str, "index": str})
    except FileNotFoundError:
        raise MissingDataError(
            f"weights of benchmark {bench}: there is no file {file}; it has the columns {', '.join(COLUMNS)}"
        ) from None
    absent = [name for name in COLUMNS if name not in table.columns]
    if absent:
        raise InputError(f"{file}: it has the columns {', '.join(table.columns)} and lacks {', '.join(absent)}")
    names = table["index"].unique().tolist()
    table = table[table["index"] == bench]
    if table.empty:
        raise MissingDataError(f"{file}: it holds no weights of {bench}{did_you_mean(bench, names)}")
    table = table.assign(date=pd.to_datetime(table["date"]))
    twice = table.duplicated(["date", "code"])
    if twice.any():
        row = table[twice].iloc[0]
        raise InputError(f"{file}: {bench} has two weights of {row['code']} on {row['date'].date()}")
    return table.pivot_table(index="date", columns="code", values="weight").loc[start_date:end_date] / 100


def get_stock_weight_df(positions: Mapping[pd.Timestamp, Any]) -> pd.DataFrame:
    """Return the weights of the holdings, cash left out, by date and instrument; NaN for what was not held."""
    rows = {time: position.get_stock_weight_dict(only_stock=True) for time, position in positions.items()}
    return pd.DataFrame.from_dict(rows, orient="index").sort_index()


def decompose_portofolio_weight(
    stock_weight_df: pd.DataFrame, stock_group_df: pd.DataFrame
) -> tuple[dict[Hashable, pd.Series], dict[Hashable, pd.DataFrame]]:
    """Split weights by group.

    Parameters
    ----------
    stock_weight_df
        Weights by date and instrument.
    stock_group_df
        Group by date and instrument; NaN for none.

    Returns
    -------
    By group, its weight by date (0 where nothing of it is held), and the weights of the names within it (their sum is
    1, or all are NaN).
    """
    groups = stock_group_df.reindex(index=stock_weight_df.index, columns=stock_weight_df.columns)
    found = pd.unique(stock_group_df.to_numpy().ravel())
    total: dict[Hashable, pd.Series] = {}
    within: dict[Hashable, pd.DataFrame] = {}
    for group in sorted(group for group in found if not pd.isna(group)):
        weights = stock_weight_df.where(groups == group)
        total[group] = weights.sum(axis=1)
        within[group] = weights.div(total[group].where(total[group] != 0), axis=0)
    return total, within


def decompose_portofolio(
    stock_weight_df: pd.DataFrame, stock_group_df: pd.DataFrame, stock_ret_df: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return (weight, return) of each group by date.

    A name without a return counts as one of 0; a group of which nothing is held has no return.

    >>> day = pd.DatetimeIndex(["2024-01-02"])
    >>> weight, earned = decompose_portofolio(
    ...     pd.DataFrame({"A": 0.2, "B": 0.6, "C": 0.2}, day),
    ...     pd.DataFrame({"A": "bank", "B": "bank", "C": "steel"}, day),
    ...     pd.DataFrame({"A": 0.04, "B": 0.0, "C": -0.01}, day),
    ... )
    >>> weight.round(3).to_dict("records"), earned.round(3).to_dict("records")
    ([{'bank': 0.8, 'steel': 0.2}], [{'bank': 0.01, 'steel': -0.01}])
    """
    total, within = decompose_portofolio_weight(stock_weight_df, stock_group_df)
    returns = stock_ret_df.reindex(index=stock_weight_df.index, columns=stock_weight_df.columns).fillna(0.0)
    earned = {group: (weights * returns).sum(axis=1, min_count=1) for group, weights in within.items()}
    index = stock_weight_df.index
    return pd.DataFrame(total, index=index), pd.DataFrame(earned, index=index)


def get_daily_bin_group(bench_values: pd.Series, stock_values: pd.Series, group_n: int) -> pd.Series:
    """Return the group of every name by the size of its value: 1 is the largest, `group_n` the smallest.

    The bounds are the quantiles of `bench_values`, so that the benchmark's names fall into equal parts; a value on a
    bound belongs to the larger ones. NaN for a name without a value.

    >>> bench = pd.Series({"A": 1, "B": 2, "C": 3})
    >>> get_daily_bin_group(bench, pd.Series({"A": 1, "B": 2, "C": 3, "D": 9}), 3).to_dict()
    {'A': 3.0, 'B': 2.0, 'C': 1.0, 'D': 1.0}
    """
    _check_count(group_n)
    values, within = stock_values.to_numpy(dtype=np.float64), bench_values.to_numpy(dtype=np.float64)
    return pd.Series(_bins(values[None, :], within[None, :], group_n)[0], index=stock_values.index)


def _check_count(group_n: Any) -> None:
    if isinstance(group_n, bool) or not isinstance(group_n, int | np.integer) or group_n < 1:
        raise InputError(f"group_n: received {group_n!r}; group_method 'bins' needs a whole number of at least 1")


def _bins(values: Array, within: Array, count: int) -> Array:
    """Return the bin of each value in its row, by the quantiles of `within` in that row; NaN where there is none."""
    empty: Any = np.isnan(within).all(axis=1)
    bounds = np.nanquantile(np.where(empty[:, None], 0.0, within), np.arange(1, count) / count, axis=1)
    found = 1.0 + (values[None] < bounds[:, :, None]).sum(axis=0)
    return np.where(np.isnan(values) | empty[:, None], np.nan, found)


def get_stock_group(
    stock_group_field_df: pd.DataFrame,
    bench_stock_weight_df: pd.DataFrame,
    group_method: str,
    group_n: int | None = None,
) -> pd.DataFrame:
    """Return the group of every name on every day.

    "category": the value of the field is the group. "bins": `group_n` groups by the size of the value, see
    `get_daily_bin_group`; the bounds of a day are those of the benchmark's members.
    """
    if group_method not in METHODS:
        raise InputError(
            f"group_method: received {group_method!r}; allowed are 'category' and 'bins'"
            f"{did_you_mean(str(group_method), METHODS)}"
        )
    if group_method == "category":
        return stock_group_field_df
    _check_count(group_n)
    field = stock_group_field_df
    members = bench_stock_weight_df.reindex(index=field.index, columns=field.columns).notna()
    found = _bins(field.to_numpy(np.float64), field.where(members).to_numpy(np.float64), int(group_n or 0))
    return pd.DataFrame(found, index=field.index, columns=field.columns)


def effects_of(
    port_weight: pd.DataFrame, port_return: pd.DataFrame, bench_weight: pd.DataFrame, bench_return: pd.DataFrame
) -> pd.DataFrame:
    """Return RAA, RSS, RIN and RTotal by date from weights and returns by date and group, as the head says."""
    allocation = ((port_weight - bench_weight) * bench_return).sum(axis=1)
    selection = (bench_weight * (port_return - bench_return)).sum(axis=1)
    total = (port_weight * port_return).sum(axis=1) - (bench_weight * bench_return).sum(axis=1)
    return pd.DataFrame({"RAA": allocation, "RSS": selection, "RIN": total - allocation - selection, "RTotal": total})


def brinson_pa(
    positions: Mapping[pd.Timestamp, Any],
    bench: str | pd.DataFrame = "SH000905",
    group_field: str = "industry",
    group_method: str = "category",
    group_n: int | None = None,
    deal_price: str = "vwap",
    freq: str = "day",
) -> tuple[pd.DataFrame, dict[str, pd.DataFrame]]:
    """Return (RAA, RSS, RIN, RTotal by day, the tables they were computed from); see the head of the module.

    Parameters
    ----------
    positions
        Positions by time, as a backtest returns them.
    bench
        Name of the benchmark in the file of weights, or a frame of weights by date and instrument. Weights hold from
        their date on, until the next ones.
    group_field
        Field (or formula) that says the group.
    group_method, group_n
        See `get_stock_group`.
    deal_price
        Field (or formula) of the prices that returns are computed from; a missing one is that of the day before.

    Raises MissingDataError for a benchmark without weights on or before the first day.
    """
    if not len(positions):
        raise InputError("brinson_pa: there are no positions")
    provider = active_provider()
    compat = provider.settings.compat == "qlib"
    port = get_stock_weight_df(positions)
    days, first, last = pd.DatetimeIndex(port.index), port.index[0], port.index[-1]
    weights = bench if isinstance(bench, pd.DataFrame) else get_benchmark_weight(bench, end_date=last, freq=freq)
    weights = weights.sort_index()
    # a date's weights are whole: a name that left the benchmark is NaN there, which must not be filled
    place = weights.index.searchsorted(days, side="right") - 1
    if place[0] < 0:
        raise MissingDataError(f"brinson_pa: the benchmark has no weights on or before {first.date()}")
    bench_weights = weights.iloc[place].set_axis(days)

    names = sorted({*map(str, port.columns), *map(str, bench_weights.columns)})
    fields = [_formula(group_field), _formula(deal_price)]
    later = last if compat else _bar_after(provider, last, freq)
    table = provider.features(names, fields, first, later, freq=freq)
    by_day = {field: table[field].unstack(level="instrument") for field in dict.fromkeys(fields)}
    price = by_day[fields[1]].ffill()
    returns = (price.shift(-1) / price - 1).reindex(days)
    groups = get_stock_group(by_day[fields[0]].ffill().reindex(days), bench_weights, group_method, group_n)
    _tell_ungrouped(port, bench_weights, groups)

    port_weight, port_return = decompose_portofolio(port, groups, returns)
    bench_weight, bench_return = decompose_portofolio(bench_weights, groups, returns)
    effects = effects_of(port_weight, port_return, bench_weight, bench_return)
    if not compat:  # a day whose next prices nobody knows has no effects
        effects[returns.isna().all(axis=1)] = np.nan
    return effects, {
        "port_group_ret": port_return,
        "port_group_weight": port_weight,
        "bench_group_ret": bench_return,
        "bench_group_weight": bench_weight,
        "stock_group": groups,
        "bench_stock_weight": bench_weights,
        "port_stock_weight": port,
        "stock_ret": returns,
    }


def _formula(field: str) -> str:
    return field if not field.isidentifier() else f"${field}"


def _bar_after(provider: Any, last: pd.Timestamp, freq: str) -> pd.Timestamp:
    """Return the bar after `last`; `last` itself where the data end."""
    times = provider.locate(freq).times
    place = int(np.searchsorted(times, np.datetime64(last), side="right"))
    return pd.Timestamp(times[place]) if place < len(times) else last


def _tell_ungrouped(port: pd.DataFrame, bench: pd.DataFrame, groups: pd.DataFrame) -> None:
    for what, weights in (("portfolio", port), ("benchmark", bench)):
        there = groups.reindex(index=weights.index, columns=weights.columns).notna()
        lost = weights.where(~there).sum(axis=1).mean()
        if lost > 1e-9:
            logger.warning(f"brinson_pa: {lost:.1%} of the {what} has no group, and counts in no effect")
