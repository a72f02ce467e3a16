"""Does a dataset know the future? It is built again on the past, and what both know is compared.

    findings = check_leakage(config["task"]["dataset"])      [] where nothing changes
    print(*findings, sep="\n")                               infer: MA5, 2020-03-02, AAPL: 1.02 with all data, ...

For some days, the *cuts*, the store is shown as it was at the end of that day (`qlib.data.provider.as_of`), the dataset
is built from its configuration as a user would have built it then, and everything up to that day must be equal:

    raw       what the loader gives: formulas, filters of the universe, labels as far as they are known
    infer     after the processors that are used at inference; rows too, so a label cannot decide which rows there are
    learn     after the learn processors, up to the last day whose label is known
    windows   what a sampler hands to a model

Cuts lie after the fit windows of the processors (inside them, what was learned may change), spread over the rest of the
data; one stands in the widest gap, where a back-fill would show, and one before the first instrument that ends. What a
configuration says by itself is read first: formulas that look ahead, fit windows that reach into what the model is
judged on, segments that overlap, labels of the training segment that reach into the next one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd

from qlib.data.active import active_provider
from qlib.data.dataset.dataset import Dataset, DatasetH
from qlib.data.dataset.handler import DataHandler, DataHandlerLP
from qlib.data.dataset.horizon import guess_horizon
from qlib.data.dataset.loader import DLWParser
from qlib.data.dataset.utils import CS_RAW, LEVELS
from qlib.data.expression.plan import build_plan
from qlib.data.provider.as_of import data_until
from qlib.errors import InputError, MissingDataError
from qlib.utils.objects import init_instance_by_config
from qlib.utils.time import Freq

LABEL: Final = "label"
TRAIN: Final = "train"
CUTS: Final = 4
SAME: Final = 1e-6  # of the larger value: users' code may add up in another order
WINDOWS: Final = 2_000  # of a sampler, the newest before a cut, that are compared


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong. `part` is where: formula, raw, infer, learn, windows, fit window, segments, label gap.

    `certain` is False for what only makes results look better than they are by a few rows: a label gap.
    """

    part: str
    what: str
    why: str
    date: pd.Timestamp | None = None
    instrument: str = ""
    certain: bool = True

    def __str__(self) -> str:
        place = ", ".join(
            str(x) for x in (self.what, None if self.date is None else _day(self.date), self.instrument) if x
        )
        return f"{self.part}: {place}: {self.why}"


def check_leakage(
    dataset: Mapping[str, Any],
    *,
    cuts: int = CUTS,
    horizon: int | None = None,
    freq: str | None = None,
) -> list[Finding]:
    """Return everything by which a dataset knows the future, first what its configuration says by itself.

    Parameters
    ----------
    dataset
        The configuration {class, module_path, kwargs} of a DatasetH or a kin of it; its handler must be a configuration
        too, because it is built anew for every cut.
    cuts
        How many days are tried, besides the two that gaps and endings suggest.
    horizon
        How many bars the label looks ahead; by default what its formulas say, 1 where there are none.
    freq
        The bar size of the data; by default the loader's.

    Raises
    ------
    InputError
        A dataset that cannot be built again, or whose data end before its processors have learned.
    """
    for name, number, least in (("cuts", cuts, 1), ("horizon", horizon, 0)):
        if number is not None and (isinstance(number, bool) or not isinstance(number, int) or number < least):
            raise InputError(f"{name}: received {number!r}; a whole number of at least {least} is allowed")
    whole = _built(dataset)
    handler = whole.handler
    freq = _freq(handler) if freq is None else freq
    horizon = label_horizon(handler) if horizon is None else horizon
    found = [*_formulas(handler), *_fit_windows(whole), *_segments(whole), *_label_gaps(whole, horizon, freq)]
    known = {finding.what for finding in found}
    views = _views(handler)
    if "raw" not in views and "infer" not in views:
        raise InputError(f"{type(handler).__name__} holds no data to compare")
    days = _cut_days(views, handler, cuts, horizon)
    if not days and not found:
        raise InputError("the data end before the processors have learned: there is no later day to compare")
    for cut in days:
        with data_until(cut, freq, label_bars=horizon):
            past = _built(dataset)
        for finding in _differences(whole, past, views, cut, horizon):
            if finding.what not in known:
                known.add(finding.what)
                found.append(finding)
    return found


# ------------------------------------------------------------------------------------------------------------- building
def _built(config: Mapping[str, Any]) -> Any:
    if not isinstance(config, Mapping):
        raise InputError(f"dataset: received a {type(config).__name__}; its configuration is needed, to build it again")
    inside = config.get("kwargs") or {}
    if not isinstance(inside.get("handler"), Mapping):
        raise InputError("dataset: its handler must be a configuration {class, module_path, kwargs}, to build it again")
    try:
        dataset = init_instance_by_config(deepcopy(dict(config)), accept_types=Dataset)
    except TypeError as error:  # arguments that do not fit, a processor that may not be used at inference
        raise InputError(f"dataset: it cannot be built: {error}") from error
    if not isinstance(getattr(dataset, "handler", None), DataHandler):
        raise InputError(f"dataset: {type(dataset).__name__} has no handler; a DatasetH is needed")
    return dataset


def _views(handler: DataHandler) -> dict[str, pd.DataFrame]:
    """Return what the handler holds, (datetime, instrument) first, by the name of the view."""
    if not isinstance(handler, DataHandlerLP):
        return {"raw": _ordered(handler.fetch(col_set=CS_RAW))}
    views = {}
    for name in handler.ATTR_MAP:
        if name == "raw" and handler.drop_raw:
            continue
        views[name] = _ordered(handler.fetch(col_set=CS_RAW, data_key=name))  # type: ignore[arg-type]
    return views


def _ordered(frame: pd.DataFrame) -> pd.DataFrame:
    if set(LEVELS) <= set(frame.index.names) and frame.index.names != list(LEVELS):
        frame = frame.reorder_levels(list(LEVELS))
    return frame.sort_index()


def _loaders(handler: Any) -> Iterator[Any]:
    """Yield the loaders of a handler, those inside others too."""
    waiting = [getattr(handler, "data_loader", None)]
    while waiting:
        loader = waiting.pop()
        if loader is None:
            continue
        yield loader
        waiting += list(getattr(loader, "data_loader_l", []))
        waiting += [getattr(h, "data_loader", None) for h in _values(getattr(loader, "handlers", None))]


def _values(thing: Any) -> list[Any]:
    return list(thing.values()) if isinstance(thing, Mapping) else [] if thing is None else [thing]


def _groups(handler: Any) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yield (group, formulas, names) of every loader that has formulas; "" for those without a group."""
    for loader in _loaders(handler):
        if isinstance(loader, DLWParser):
            groups = loader.fields if loader.is_group else {"": loader.fields}
            for group, (formulas, names) in groups.items():
                yield str(group), list(formulas), list(names)


def _freq(handler: Any) -> str:
    sizes = [f for loader in _loaders(handler) for f in _values(getattr(loader, "freq", None)) if isinstance(f, str)]
    return min(sizes, key=lambda f: Freq(f).seconds, default="day")


def label_formulas(handler: Any) -> list[str]:
    """Return the formulas of a handler's labels; none where its loaders know none."""
    return [formula for group, formulas, _ in _groups(handler) if group == LABEL for formula in formulas]


def label_horizon(handler: Any) -> int:
    """Return how many bars the formulas of a handler's labels look ahead; 1 where it has none."""
    labels = label_formulas(handler)
    return guess_horizon(labels) if labels else 1


# ------------------------------------------------------------------------------- what the configuration says by itself
def _formulas(handler: Any) -> Iterator[Finding]:
    """Formulas of the features that look ahead."""
    provider = active_provider()
    for group, formulas, names in _groups(handler):
        if group == LABEL:
            continue
        for formula, name in zip(formulas, names, strict=True):
            plan = build_plan([formula], compat=provider.settings["compat"], registry=provider.registry)
            if plan.span.ahead > 0 and not (group == "" and _is_label(name)):
                yield Finding("formula", name, f"{formula} looks {_bars(plan.span.ahead)} ahead")


def _processors(handler: Any) -> list[Any]:
    return list(handler.get_all_processors()) if isinstance(handler, DataHandlerLP) else []


def _fit_end(processor: Any) -> pd.Timestamp | None:
    """Return the last moment that a processor learns from: a date as text is the whole day, as in a slice of rows."""
    end = getattr(processor, "fit_end_time", None)
    if end is None:
        return None
    whole_day = isinstance(end, str) and ":" not in end
    return pd.Timestamp(end) + (pd.Timedelta(days=1) - pd.Timedelta(1, "ns") if whole_day else pd.Timedelta(0))


def _fit_windows(dataset: Any) -> Iterator[Finding]:
    """Processors that learned from what the model is judged on."""
    segments = _bounds(dataset)
    judged = {name: low for name, (low, _) in segments.items() if name != TRAIN and low is not None}
    for processor in _processors(dataset.handler):
        name = type(processor).__name__
        if not hasattr(processor, "fit_end_time") or not judged:
            continue
        segment, low = min(judged.items(), key=lambda item: item[1])
        end = _fit_end(processor)
        if end is None:
            yield Finding(
                "fit window", name, f"it learns from all data, segment {segment} among them (fit_end_time is not set)"
            )
        elif end >= low:
            why = f"it learns up to {_day(processor.fit_end_time)}, segment {segment} begins on {_day(low)}"
            yield Finding("fit window", name, why)


def _bounds(dataset: Any) -> dict[str, tuple[pd.Timestamp | None, pd.Timestamp | None]]:
    bounds = {}
    for name, segment in (getattr(dataset, "segments", None) or {}).items():
        low, high = (segment.start, segment.stop) if isinstance(segment, slice) else segment
        bounds[str(name)] = tuple(None if t is None else pd.Timestamp(t) for t in (low, high))
    return bounds  # type: ignore[return-value]


def _segments(dataset: Any) -> Iterator[Finding]:
    """A training segment that shares days with another one, or lies behind it."""
    bounds = _bounds(dataset)
    if TRAIN not in bounds:
        return
    _, end = bounds[TRAIN]
    for name, (low, _) in bounds.items():
        if name != TRAIN and low is not None and (end is None or end >= low):
            shown = "has no end" if end is None else f"ends on {_day(end)}"
            yield Finding("segments", name, f"it begins on {_day(low)}, and the segment train {shown}")


def _label_gaps(dataset: Any, horizon: int, freq: str) -> Iterator[Finding]:
    for message in label_gaps(_bounds(dataset), horizon, active_provider().locate(freq).times):
        yield Finding("label gap", message.segment, message.why, certain=False)


@dataclass(frozen=True, slots=True)
class LabelGap:
    """A segment whose first bars the labels of the training segment know."""

    segment: str
    why: str


def label_gaps(
    segments: Mapping[str, tuple[pd.Timestamp | None, pd.Timestamp | None]], horizon: int, times: np.ndarray
) -> list[LabelGap]:
    """Return which segments begin before the labels of `train` are over.

    Parameters
    ----------
    segments
        Name -> (first, last) time, None for an open end.
    horizon
        Bars that the label looks ahead.
    times
        The calendar, ascending datetime64.

    The last label of `train` is over `horizon` bars after its last bar; a segment that begins at that bar or before it
    is partly known to whoever learned.

    >>> days = pd.date_range("2020-01-01", periods=31)
    >>> stamp = pd.Timestamp
    >>> bounds = {"train": (None, stamp("2020-01-10")), "test": (stamp("2020-01-11"), None)}
    >>> label_gaps(bounds, 2, days.to_numpy())[0].why
    'the labels of train look 2 bars ahead, to 2020-01-12; let train end on 2020-01-08 or test begin on 2020-01-13'
    """
    end = segments.get(TRAIN, (None, None))[1]
    if end is None or not horizon or not len(times):
        return []
    last = int(np.searchsorted(times, end.to_datetime64(), side="right")) - 1
    if last < 0:
        return []
    over = min(last + horizon, len(times) - 1)
    gaps = []
    for name, (low, _) in segments.items():
        if name == TRAIN or low is None or low <= end:
            continue
        first = int(np.searchsorted(times, low.to_datetime64()))
        if first <= over:
            early = max(first - horizon - 1, 0)
            later = f" or {name} begin on {_day(times[over + 1])}" if over + 1 < len(times) else ""
            gaps.append(
                LabelGap(
                    name,
                    f"the labels of train look {_bars(horizon)} ahead, to {_day(times[over])}; "
                    f"let train end on {_day(times[early])}{later}",
                )
            )
    return gaps


# ------------------------------------------------------------------------------------------------------------ the cuts
def _cut_days(views: Mapping[str, pd.DataFrame], handler: Any, cuts: int, horizon: int) -> list[pd.Timestamp]:
    frame = views.get("raw", views.get("infer"))
    assert frame is not None
    days = frame.index.get_level_values(LEVELS[0]).unique().sort_values()
    ends = [end for processor in _processors(handler) if (end := _fit_end(processor)) is not None]
    first = max(int(days.searchsorted(max(ends), side="right")) - 1, 0) if ends else len(days) // 5
    last = len(days) - 2
    if first > last:
        return []
    places = set(np.linspace(min(first + horizon, last), last, cuts).astype(int).tolist())
    suggested = (_widest_gap(frame, days, first, last), _first_ending(frame, days, first))
    places |= {place for place in suggested if first <= place <= last}
    return [days[place] for place in sorted(places)]


def _widest_gap(frame: pd.DataFrame, days: pd.Index, first: int, last: int) -> int:
    """Return the day after which most missing values are there again: where a back-fill would show; -1 for none."""
    features = frame.iloc[:, [not _is_label(column) for column in frame.columns]]
    missing = features.isna().to_numpy()
    order = np.argsort(_codes(frame, 1), kind="stable")  # an instrument's days behind one another
    who, day = _codes(frame, 1)[order], days.get_indexer(frame.index.get_level_values(LEVELS[0]))[order]
    ends = (missing[order][:-1] & ~missing[order][1:]).sum(axis=1) * (who[:-1] == who[1:])
    by_day = np.bincount(day[:-1], weights=ends, minlength=len(days))[first : last + 1]
    return first + int(np.argmax(by_day)) if by_day.any() else -1


def _first_ending(frame: pd.DataFrame, days: pd.Index, first: int) -> int:
    """Return the day before the first instrument ends that still has a bar at `first` or later; -1 for none."""
    day = days.get_indexer(frame.index.get_level_values(LEVELS[0]))
    who = _codes(frame, 1)
    last = np.zeros(int(who.max(initial=0)) + 1, np.int64)
    np.maximum.at(last, who, day)
    ending = last[(last > first) & (last < len(days) - 1)]
    return int(ending.min()) - 1 if len(ending) else -1


def _codes(frame: pd.DataFrame, level: int) -> np.ndarray:
    assert isinstance(frame.index, pd.MultiIndex)
    return np.asarray(frame.index.codes[level])


# ---------------------------------------------------------------------------------------------------------- comparison
def _differences(
    whole: Any, past: Any, views: Mapping[str, pd.DataFrame], cut: pd.Timestamp, horizon: int
) -> Iterator[Finding]:
    """Yield what the dataset says of the days up to the cut and did not say then."""
    then = _views(past.handler)
    for name, now in views.items():
        if name not in then:
            continue
        days = now.index.get_level_values(LEVELS[0]).unique().sort_values()
        until = days[days <= cut]
        labelled = until[: len(until) - horizon] if horizon else until
        judged = [column for column in now.columns if not _is_label(column)]
        labels = [column for column in now.columns if _is_label(column)]
        if name == "learn":
            yield from _compared(name, now, then[name], list(now.columns), labelled, cut)
            continue
        yield from _compared(name, now, then[name], judged, until, cut)
        if name == "raw":
            yield from _compared(name, now, then[name], labels, labelled, cut)
    yield from _windows(whole, past, cut)


def _compared(
    part: str, now: pd.DataFrame, then: pd.DataFrame, columns: Sequence[Any], days: pd.Index, cut: pd.Timestamp
) -> Iterator[Finding]:
    if not len(days):
        return
    now, then = (frame[frame.index.get_level_values(LEVELS[0]) <= days[-1]] for frame in (now, then))
    if absent := [column for column in columns if column not in then.columns]:
        yield Finding(part, _name(absent[0]), f"the column is not there with data up to {_day(cut)}")
        columns = [column for column in columns if column in then.columns]
    if len(now) != len(then) or not now.index.equals(then.index):
        only = now.index.symmetric_difference(then.index)
        date, instrument = only.sort_values()[0]
        has = "all data" if (date, instrument) in now.index else f"data up to {_day(cut)}"
        why = f"{len(only)} rows differ; the first one is there only with {has}"
        yield Finding(part, "rows", why, date, str(instrument))
        both = now.index.intersection(then.index)
        now, then = now.loc[both], then.loc[both]
    for column in columns:
        left, right = (_numbers(frame[column]) for frame in (now, then))
        different = ~((left == right) | (np.isnan(left) & np.isnan(right)))
        with np.errstate(invalid="ignore"):
            different &= ~(np.abs(left - right) <= SAME * np.maximum(np.abs(left), np.abs(right)))
        if different.any():
            at = int(np.argmax(different))
            date, instrument = now.index[at]
            why = f"{left[at]:.6g} with all data, {right[at]:.6g} with data up to {_day(cut)}"
            more = int(different.sum()) - 1
            yield Finding(
                part, _name(column), why + (f" (and {more} more values)" if more else ""), date, str(instrument)
            )


def _numbers(column: pd.Series) -> np.ndarray:
    if pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    return pd.factorize(column)[0].astype(np.float64)


def _windows(whole: Any, past: Any, cut: pd.Timestamp) -> Iterator[Finding]:
    """Compare the newest windows that a sampler hands out before the cut, in the segment that holds it."""
    if type(whole).prepare is DatasetH.prepare:
        return
    for name, (low, high) in _bounds(whole).items():
        if (low is not None and cut < low) or (high is not None and cut > high):
            continue
        asked: dict[str, Any] = {"data_key": DataHandlerLP.DK_I, "col_set": ["feature"]}
        now = whole.prepare(name, **asked)
        if not (hasattr(now, "get_index") and hasattr(now, "__getitem__")):
            return
        try:
            then = past.prepare(name, **asked)
        except MissingDataError:
            continue
        index, before = (pd.MultiIndex.from_tuples(list(s.get_index()), names=LEVELS) for s in (now, then))
        both = index[index.get_level_values(LEVELS[0]) <= cut].intersection(before)
        newest = both[np.argsort(both.get_level_values(LEVELS[0]), kind="stable")][-WINDOWS:]
        for key, i, j in zip(newest, index.get_indexer(newest), before.get_indexer(newest), strict=True):
            left, right = np.asarray(now[int(i)], dtype=float), np.asarray(then[int(j)], dtype=float)
            if left.shape != right.shape or not np.allclose(left, right, rtol=SAME, atol=0, equal_nan=True):
                why = f"the window of segment {name} is another one with data up to {_day(cut)}"
                yield Finding("windows", name, why, key[0], str(key[1]))
                break


def _bars(count: float) -> str:
    return "without end" if np.isinf(count) else "1 bar" if count == 1 else f"{count:g} bars"


def _is_label(column: Any) -> bool:
    return column[0] == LABEL if isinstance(column, tuple) else str(column).upper().startswith("LABEL")


def _name(column: Any) -> str:
    return str(column[-1]) if isinstance(column, tuple) else str(column)


def _day(moment: Any) -> str:
    stamp = pd.Timestamp(moment)
    return str(stamp.date()) if stamp == stamp.normalize() else str(stamp)
