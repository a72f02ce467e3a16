"""Crypto158: the handler of the tables in `qlib.crypto.features`, for YAML and for Python.

    class: Crypto158
    module_path: qlib.crypto.handler
    kwargs:
        instruments: all
        freq: 60min
        leaders: {BTC: BTC-USDT-SWAP}        beta, residual momentum ... against these
        coarse: {day: [RV, ROC, FUND]}       columns of days that are over, beside the hours
        horizon: 4h                          of the label; it looks one bar farther
        carry: true                          of it: less the funding that is paid meanwhile
        listing: 3d                          not in the first three days of a coin
        missing: leave out                   what needs a field that the store lacks

All columns are one query of the engine (one for each bar size). A column whose field no instrument of the universe has
is not silently NaN: it is an error that names it, or, with missing="leave out", it is left out, logged, and in
`handler.left_out`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, cast

import pandas as pd

from qlib.contrib.data.handler import _DEFAULT_LEARN_PROCESSORS, _FeatureSet, check_transform_proc
from qlib.crypto.features import Column, bar_seconds, columns, label_config
from qlib.crypto.listing import ListedFor
from qlib.data.active import active_provider
from qlib.data.dataset.handler import DataHandlerLP
from qlib.data.dataset.horizon import guess_horizon
from qlib.data.dataset.loader import QlibDataLoader
from qlib.data.expression.plan import build_plan
from qlib.data.filter import usable
from qlib.data.universe import Spans, as_spans
from qlib.errors import ConfigError, MissingDataError
from qlib.log import get_module_logger

MISSING: Final = ("error", "leave out")
FEATURE: Final = "feature"


class CryptoLoader(QlibDataLoader):
    """Loads groups of formulas; "feature@day" is of bars of a day, and its columns join those of "feature".

    Parameters
    ----------
    config
        Group -> (formulas, names).
    freq
        Size of the bars whose rows are loaded.
    filters
        Filters, or their configurations: of a market, of a list and of spans alike.
    """

    def __init__(self, config: Mapping[str, Any], freq: str, filters: Sequence[Any] = ()) -> None:
        coarse = [group for group in config if "@" in group]
        sizes = {group: group.split("@")[1] if group in coarse else freq for group in config}
        super().__init__(config=config, freq=sizes if coarse else freq)
        self.clock = freq
        self.filters = list(filters)

    def load(self, instruments: Any = None, start_time: Any = None, end_time: Any = None) -> pd.DataFrame:
        frame = super().load(self._universe(instruments), start_time, end_time)
        if isinstance(self.freq, Mapping):
            pairs = [(str(column[0]).split("@")[0], column[1]) for column in frame.columns]
            order = sorted(range(len(pairs)), key=lambda i: pairs[i][0] != FEATURE)
            frame = frame.iloc[:, order] if order != sorted(order) else frame
            frame.columns = pd.MultiIndex.from_tuples([pairs[i] for i in order])
        return frame

    def _universe(self, instruments: Any) -> Any:
        provider = active_provider()
        if isinstance(instruments, str) or instruments is None:
            return provider.instruments(instruments or "all", filter_pipe=self.filters)
        if isinstance(instruments, Mapping) and "market" in instruments:
            return {**instruments, "filter_pipe": [*(instruments.get("filter_pipe") or []), *self.filters]}
        spans: Spans = as_spans(
            instruments if isinstance(instruments, Mapping) else {name: [(None, None)] for name in instruments}
        )
        for one in self.filters:
            spans = usable(one)(spans, None, None, self.clock, provider)
        return spans


class Crypto158(_FeatureSet):
    """Alpha158 for bars around the clock, and what only crypto markets have (see `qlib.crypto.features`).

    Parameters
    ----------
    instruments
        A market's name, a list of instruments, or what `D.instruments` returns.
    freq
        Size of the bars; one that divides a day.
    groups, windows, leaders, exclude
        As for `qlib.crypto.features.columns`; by default all groups, and no leaders.
    coarse
        Bar size -> families that are there once more, of coarser bars; a row sees the last one that is over. The
        column RV_7d of days is called day_RV_7d.
    horizon
        Of the label: a number of bars, or a time such as "4h". `label_horizon` says how many bars it looks ahead.
    carry
        The label is what is left after funding; see `qlib.crypto.features.label_config`. With missing="leave out", a
        store without $funding_count has no payment where it has no rate.
    listing
        How long after its first bar an instrument is left out ("0h": not at all).
    filter_pipe
        More filters, such as `qlib.crypto.listing.BeforeDelisting`.
    missing
        "error": a column that needs a field which no instrument has is an error. "leave out": it is left out.
    kwargs
        `label` (formulas, or (formulas, names)) and the arguments of `DataHandlerLP`.

    Raises
    ------
    ConfigError
        An argument that is not understood.
    MissingDataError
        A field or a leader that the store does not have.
    """

    def __init__(
        self,
        instruments: Any = "all",
        start_time: Any = None,
        end_time: Any = None,
        freq: str = "60min",
        infer_processors: Sequence[Any] = [],
        learn_processors: Sequence[Any] = _DEFAULT_LEARN_PROCESSORS,
        fit_start_time: Any = None,
        fit_end_time: Any = None,
        process_type: str = DataHandlerLP.PTYPE_A,
        filter_pipe: Sequence[Any] | None = None,
        groups: Sequence[str] | None = None,
        windows: Mapping[str, Sequence[str]] | None = None,
        leaders: Mapping[str, str] | None = None,
        exclude: Iterable[str] = (),
        coarse: Mapping[str, Sequence[str]] | None = None,
        horizon: str | int = 1,
        carry: bool = False,
        listing: str = "1d",
        missing: str = "error",
        **kwargs: Any,
    ) -> None:
        if missing not in MISSING:
            raise ConfigError(f"missing: received {missing!r}; allowed are {', '.join(map(repr, MISSING))}")
        own = {"groups": groups, "windows": windows, "leaders": leaders, "exclude": tuple(exclude)}
        parts = {"": (freq, columns(freq, **own))}  # type: ignore[arg-type]
        for size, families in (coarse or {}).items():
            parts[str(size)] = (str(size), _coarse(str(size), freq, families, windows, leaders))
        if coarse and active_provider().settings["compat"] == "qlib":
            raise ConfigError(
                "coarse: with compat='qlib' bars of several sizes are joined by their stamps, so that an hour sees the "
                "day that has only begun; leave compat out, or coarse"
            )
        self.left_out: dict[str, str] = {}
        config: dict[str, Any] = {}
        for size, (bars, made) in parts.items():
            made = self._available(made, instruments, bars, size, missing)
            if made:
                names = [f"{size}_{name}" if size else name for name in made]
                config[f"{FEATURE}@{size}" if size else FEATURE] = ([one.formula for one in made.values()], names)
        if FEATURE not in config:
            raise MissingDataError(f"Crypto158: no column is left at {freq}; the store lacks what all of them need")
        if self.left_out:
            shown = ", ".join(f"{name} ({why})" for name, why in self.left_out.items())
            get_module_logger("crypto").info(f"Crypto158 at {freq}: {len(self.left_out)} columns left out: {shown}")
        label = kwargs.pop("label", None)
        if carry and label is not None:
            raise ConfigError("carry: received with a label of your own, which has to say itself what funding takes")
        config["label"] = self._label(instruments, freq, horizon, carry, missing) if label is None else label
        loader = CryptoLoader(config, freq, [ListedFor(listing).to_config(), *(filter_pipe or [])])
        self.label_horizon = guess_horizon(loader.fields["label"][0])
        super().__init__(
            instruments=instruments,
            start_time=start_time,
            end_time=end_time,
            data_loader=loader,
            infer_processors=check_transform_proc(infer_processors, fit_start_time, fit_end_time),
            learn_processors=check_transform_proc(learn_processors, fit_start_time, fit_end_time),
            process_type=process_type,
            **kwargs,
        )

    def _label(
        self, instruments: Any, freq: str, horizon: str | int, carry: bool, missing: str
    ) -> tuple[list[str], list[str]]:
        wanted = {"funding", "funding_count"} if carry else set()
        lacking = wanted - _fields(instruments, freq, wanted)
        if "funding" in lacking or (lacking and missing == "error"):
            raise MissingDataError(
                f"carry: no instrument has {', '.join(f'${field}' for field in sorted(lacking))} at {freq}, so nobody "
                "knows what holding cost"
            )
        if lacking:
            get_module_logger("crypto").info(
                f"Crypto158 at {freq}: the store has no $funding_count: a bar without $funding counts in the label as "
                "one without a payment"
            )
        return label_config(freq, horizon, carry=carry, counted=not lacking)

    def _available(
        self, made: Mapping[str, Column], instruments: Any, freq: str, size: str, missing: str
    ) -> dict[str, Column]:
        """Return the columns whose fields are there, and note the others in `left_out`; raise for them if asked to."""
        for column in made.values():
            if column.leader and "close" not in _fields([column.leader], freq, {"close"}):
                raise MissingDataError(f"leaders: {column.leader} has no $close at {freq}")
        needs = {name: set(build_plan([column.formula]).reads) for name, column in made.items()}
        there = _fields(instruments, freq, set().union(*needs.values()) if needs else set())
        lacking = {name: sorted(fields - there) for name, fields in needs.items() if fields - there}
        if lacking and missing == "error":
            fields = sorted({field for absent in lacking.values() for field in absent})
            groups = sorted({made[name].group for name in lacking})
            raise MissingDataError(
                f"Crypto158: no instrument has {', '.join(f'${field}' for field in fields)} at {freq}, which "
                f"{len(lacking)} columns need ({', '.join(list(lacking)[:3])} ..., of {', '.join(groups)}); "
                "missing='leave out' leaves them out, `groups` names those that are wanted"
            )
        for name, absent in lacking.items():
            self.left_out[f"{size}_{name}" if size else name] = " ".join(f"${field}" for field in absent)
        return {name: column for name, column in made.items() if name not in lacking}


def _coarse(
    size: str,
    freq: str,
    families: Sequence[str],
    windows: Mapping[str, Sequence[str]] | None,
    leaders: Mapping[str, str] | None,
) -> dict[str, Column]:
    """Return the columns of some families at a coarser bar size."""
    if bar_seconds(size) <= bar_seconds(freq):
        raise ConfigError(f"coarse: received {size!r}; bars longer than {freq} are allowed")
    made = columns(size, windows=windows, leaders=leaders)
    wanted = [families] if isinstance(families, str) else list(families)
    known = {column.family.name for column in made.values()}
    columns(size, exclude=[name for name in wanted if name not in known])  # raises for what is no family
    absent = [name for name in wanted if name not in known]
    if absent:
        raise ConfigError(f"coarse: {', '.join(absent)} has no column at {size}")
    return {name: column for name, column in made.items() if column.family.name in wanted}


def _fields(instruments: Any, freq: str, wanted: set[str]) -> set[str]:
    """Return those of the wanted fields that at least one instrument of the universe has."""
    provider = active_provider()
    stored = provider.store.stored_freq(freq)
    if isinstance(instruments, str) or instruments is None:
        instruments = provider.instruments(instruments or "all")
    if isinstance(instruments, Mapping):
        instruments = provider.list_instruments(instruments, freq=stored, as_list=True)
    found: set[str] = set()
    for name in cast("list[str]", instruments):
        found |= wanted.intersection(provider.stored_fields(name, stored))
        if len(found) == len(wanted):
            break
    return found
