"""Positions of a backtest as one table: what was bought, held and sold at each step, and what it earned afterwards.

     held at t-1    held at t       status at t
         -              X            1   bought
         X              X            0   held
         X              -           -1   sold: the row repeats what was held at t-1

A label of t is the return that follows t, so the benchmark's return of the next bar stands beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from qlib.config import active_settings
from qlib.errors import InputError, MissingDataError

BUY, HOLD, SELL = 1, 0, -1
COLUMNS = ["amount", "cash", "price", "status", "weight"]
INDEX = ["instrument", "datetime"]


def parse_position(position: Mapping[pd.Timestamp, Any] | None = None) -> pd.DataFrame:
    """Return what each name was worth at each step of a backtest.

    Parameters
    ----------
    position
        `{time: Position}`, as a backtest returns it and `positions_normal_1day.pkl` holds it.

    Returns
    -------
    By (instrument, datetime): amount, cash (of the account), price, status (1 bought, 0 held, -1 sold), weight (share
    of the holdings, cash left out; below 0 for a short, the sizes of all adding up to 1). The row of a sold name
    repeats the step before, when it was still held.
    """
    if not position:
        raise InputError("position: received nothing; {time: Position}, as a backtest returns it, is needed")
    times = sorted(position)
    held = {time: set(position[time].get_stock_list()) for time in times}
    rows = []
    for number, time in enumerate(times):
        before = times[max(number - 1, 0)]
        past = held[before] if number else set()
        rows += [(name, time, time, HOLD if name in past else BUY) for name in sorted(held[time])]
        rows += [(name, time, before, SELL) for name in sorted(past - held[time])]
    if not rows:
        raise MissingDataError("position: nothing was held at any step")
    worth = {time: _worth(position[time], held[time]) for time in times}
    values = [(*worth[seen][name][:3], status, worth[seen][name][3]) for name, _, seen, status in rows]
    index = pd.MultiIndex.from_tuples([row[:2] for row in rows], names=INDEX)
    return pd.DataFrame(values, columns=COLUMNS, index=index)


def get_position_data(
    position: Mapping[pd.Timestamp, Any],
    label_data: pd.DataFrame,
    report_normal: pd.DataFrame | None = None,
    calculate_label_rank: bool = False,
    start_date: str | pd.Timestamp | None = None,
    end_date: str | pd.Timestamp | None = None,
) -> pd.DataFrame:
    """Return `parse_position` for every row that has a label, with the label and what it compares to.

    Parameters
    ----------
    position
        `{time: Position}`.
    label_data
        Column `label` by (instrument, datetime), the levels in any order: the return that follows.
    report_normal
        The report of the backtest with the column `bench`; adds `bench`, the benchmark's return of the next bar.
    calculate_label_rank
        Add rank_ratio (place of the label among all labels of its date, in per cent; the best has the smallest;
        under compat="qlib" among all rows of the date, also those without a label),
        rank_label_mean (its mean over the names of the date with the same status), excess_return (label less the mean
        label of the date).
    start_date, end_date
        Bounds of the dates, both included.

    Returns
    -------
    By (instrument, datetime), sorted; NaN in the columns of the position where nothing was held or sold.
    """
    label = _label(label_data)
    frame = parse_position(position).reindex(label.index)
    frame["label"] = label
    if calculate_label_rank:
        frame = _with_ranks(frame)
    if report_normal is not None:
        if "bench" not in report_normal:
            raise MissingDataError("report_normal: the column bench is needed")
        after = report_normal["bench"].shift(-1)
        frame["bench"] = after.reindex(frame.index.get_level_values("datetime")).to_numpy()
    times = frame.index.get_level_values("datetime")
    kept = pd.Series(True, index=frame.index)
    if start_date is not None:
        kept &= times >= pd.Timestamp(start_date)
    if end_date is not None:
        kept &= times <= pd.Timestamp(end_date)
    if not kept.any():
        asked = f"from {start_date or 'the first'} to {end_date or 'the last'}"
        raise MissingDataError(f"label_data: no rows {asked}; it has {times.min()} to {times.max()}")
    return frame[kept]


def _worth(position: Any, names: set[str]) -> dict[str, tuple[float, float, float, float]]:
    """Return (amount, cash, price, weight) by name."""
    cash = float(position.get_cash())
    seen = {
        name: (float(position.get_stock_amount(name)), float(position.get_stock_price(name))) for name in sorted(names)
    }
    gross = sum(abs(amount * price) for amount, price in seen.values())
    return {
        name: (amount, cash, price, amount * price / gross if gross else 0.0) for name, (amount, price) in seen.items()
    }


def _label(label_data: pd.DataFrame) -> pd.Series:
    if not isinstance(label_data, pd.DataFrame) or "label" not in label_data:
        there = list(label_data.columns) if isinstance(label_data, pd.DataFrame) else type(label_data).__name__
        raise MissingDataError(f"label_data: a frame with the column label is needed; received {there}")
    if set(label_data.index.names) != set(INDEX):
        raise InputError(f"label_data: index levels {list(label_data.index.names)}; needed are {INDEX}")
    return label_data[["label"]].reorder_levels(INDEX).sort_index()["label"]


def _with_ranks(frame: pd.DataFrame) -> pd.DataFrame:
    day = frame.groupby(level="datetime")["label"]
    places = day.transform("size") if active_settings().compat == "qlib" else day.transform("count")
    place = day.rank(ascending=False) / places * 100
    of_status = [frame.index.get_level_values("datetime"), frame["status"]]
    return frame.assign(
        rank_ratio=place,
        rank_label_mean=place.groupby(of_status).transform("mean"),
        excess_return=frame["label"] - day.transform("mean"),
    )
