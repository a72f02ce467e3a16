"""Handlers of one-minute bars: prices relative to an earlier day's close, volumes relative to an average day.

    HighFreqHandler(instruments="csi300", start_time="2020-09-15", end_time="2021-01-18")
    HighFreqGeneralHandler(instruments="all", day_length=1440)        a market that never closes

Columns are not grouped and rows are (instrument, datetime), as Qlib's models of order execution expect. Columns with
the suffix `_1` are those of one day before.

The formulas count a day in rows. On a day with more rows than that, "yesterday" would lie inside today and the last row
of the day would be known in the morning: such a calendar is refused. Qlib computes on (`compat="qlib"`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Final

import numpy as np

from qlib.config import active_settings
from qlib.contrib.data.handler import check_transform_proc
from qlib.data.active import active_provider
from qlib.data.dataset.handler import DataHandler, DataHandlerLP
from qlib.errors import ConfigError, InputError

EPSILON = 1e-4
SESSION: Final = 240  # minutes of a Chinese day
BEFORE_AUCTION: Final = 3  # its last three minutes are an auction: no price is made there
PRICES: Final = ("$open", "$high", "$low", "$close", "$vwap")
BOOK: Final = ("$bidV", "$bidV1", "$bidV3", "$bidV5", "$askV", "$askV1", "$askV3", "$askV5")

Fields = tuple[list[str], list[str]]


# ------------------------------------------------------------------------------------------------------ building blocks
def _traded(x: str) -> str:
    """Return the rows of `x` at which the instrument is not paused."""
    return f"Select(Gt($paused_num, 1.001), {x})"


def _or(x: str, instead: str) -> str:
    return f"If(IsNull({x}), {instead}, {x})"


def _finite(x: str, instead: str) -> str:
    return f"If(IsInf({x}), {instead}, {x})"


def _lagged(x: str, rows: int) -> str:
    return f"Ref({x}, {rows})" if rows else x


def _price(price: str, lag: int, base: int) -> str:
    """Return `price` of `lag` rows ago (the close where it is missing) relative to a close of an earlier day.

    That close lies `base` rows before the last row of the row's own day.
    """
    return f"FFillNan({_lagged(_or(price, '$close'), lag)}/DayLast(Ref(FFillNan($close), {base})))"


def _volume(volume: str, lag: int, day: int) -> str:
    """Return `volume` of `lag` rows ago relative to the mean of thirty days up to yesterday; 0 where it is missing."""
    return _or(f"{_lagged(volume, lag)}/Ref(DayLast(Mean({volume}, {30 * day})), {day})", "0")


def _not_negative(x: str) -> str:
    return f"If(Ge({x}, 0), {x}, 0)"


def _shifted(names: Iterable[str]) -> list[str]:
    return [f"{name}_1" for name in names]


# ------------------------------------------------------------------------------------------------------------- handlers
class _Bars(DataHandler):
    """What these handlers share: a loader of ungrouped columns, and the length of a day."""

    day_length: int = SESSION
    columns: Sequence[str] = ()

    def get_feature_config(self) -> Fields:
        """Return (formulas, names)."""
        raise NotImplementedError

    def _bars(self, freq: str = "1min", inst_processors: Any = None) -> dict[str, Any]:
        """Return the configuration of the loader."""
        kwargs = {"config": self.get_feature_config(), "swap_level": False, "freq": freq}
        return {"class": "QlibDataLoader", "kwargs": kwargs | {"inst_processors": inst_processors}}


def _check_days(freq: str, day_length: int) -> None:
    """Raise InputError for a calendar with a day of more than `day_length` rows."""
    if active_settings().compat == "qlib":
        return
    times = active_provider().locate(freq, future=False).times
    days, rows = np.unique(times.astype("datetime64[D]"), return_counts=True)
    if len(rows) and rows.max() > day_length:
        worst = int(rows.argmax())
        raise InputError(
            f"{freq}: {days[worst]} has {rows[worst]} rows, the handler counts {day_length} as a day, so that values "
            f"of the evening would be known in the morning; take HighFreqGeneralHandler(day_length={rows.max()})"
        )


class _LearningBars(_Bars, DataHandlerLP):
    def __init__(
        self,
        loader: dict[str, Any],
        instruments: Any,
        start_time: Any,
        end_time: Any,
        infer_processors: Sequence[Any],
        learn_processors: Sequence[Any],
        fit_start_time: Any,
        fit_end_time: Any,
        *,
        drop_raw: bool,
    ) -> None:
        _check_days(loader["kwargs"]["freq"], self.day_length)
        super().__init__(
            instruments=instruments,
            start_time=start_time,
            end_time=end_time,
            data_loader=loader,
            infer_processors=check_transform_proc(infer_processors, fit_start_time, fit_end_time),
            learn_processors=check_transform_proc(learn_processors, fit_start_time, fit_end_time),
            drop_raw=drop_raw,
        )


class HighFreqHandler(_LearningBars):
    """Ten prices and two volumes of a Chinese day of 240 minutes, today's and yesterday's.

    Parameters
    ----------
    instruments, start_time, end_time, infer_processors, learn_processors, fit_start_time, fit_end_time, drop_raw
        As for `Alpha158` and `DataHandlerLP`; the store needs `$paused_num` (a bar with less than 1.001 is left out).
    """

    def __init__(
        self,
        instruments: Any = "csi300",
        start_time: Any = None,
        end_time: Any = None,
        infer_processors: Sequence[Any] = [],
        learn_processors: Sequence[Any] = [],
        fit_start_time: Any = None,
        fit_end_time: Any = None,
        drop_raw: bool = True,
    ) -> None:
        chains = (infer_processors, learn_processors, fit_start_time, fit_end_time)
        super().__init__(self._bars(), instruments, start_time, end_time, *chains, drop_raw=drop_raw)

    def get_feature_config(self) -> Fields:
        """Return (formulas, names): $open ... $vwap, the same with _1, $volume, $volume_1."""
        base = SESSION + BEFORE_AUCTION
        prices = [_traded(_price(price, lag, base)) for lag in (0, SESSION) for price in PRICES]
        volumes = [_not_negative(_traded(_volume("$volume", lag, SESSION))) for lag in (0, SESSION)]
        return prices + volumes, [*PRICES, *_shifted(PRICES), "$volume", "$volume_1"]


class HighFreqGeneralHandler(_LearningBars):
    """Prices and volumes, today's and yesterday's, of days of any length.

    Parameters
    ----------
    day_length
        Rows of a day: 1440 for minutes around the clock. The first two days of an instrument have no values.
    freq
        Frequency of the bars.
    columns
        The prices.
    inst_processors
        As for `QlibDataLoader`.
    """

    def __init__(
        self,
        instruments: Any = "csi300",
        start_time: Any = None,
        end_time: Any = None,
        infer_processors: Sequence[Any] = [],
        learn_processors: Sequence[Any] = [],
        fit_start_time: Any = None,
        fit_end_time: Any = None,
        drop_raw: bool = True,
        day_length: int = SESSION,
        freq: str = "1min",
        columns: Sequence[str] = PRICES,
        inst_processors: Any = None,
    ) -> None:
        self.day_length = _checked_length(day_length)
        self.columns = list(columns)
        chains = (infer_processors, learn_processors, fit_start_time, fit_end_time)
        loader = self._bars(freq, inst_processors)
        super().__init__(loader, instruments, start_time, end_time, *chains, drop_raw=drop_raw)

    def get_feature_config(self) -> Fields:
        """Return (formulas, names): prices by the close two days ago, yesterday's by yesterday's close, volumes."""
        day = self.day_length
        bases = ((0, 2 * day), (day, day))
        blocks = [_price(price, lag, base) for lag, base in bases for price in self.columns]
        blocks += [_volume("$volume", lag, day) for lag in (0, day)]
        names = [*self.columns, *_shifted(self.columns), "$volume", "$volume_1"]
        return [f"Cut({block}, {2 * day}, None)" for block in blocks], names


class HighFreqOrderHandler(_LearningBars):
    """What `HighFreqHandler` has, the quotes, and the depth of the book: 16 volumes."""

    def __init__(
        self,
        instruments: Any = "csi300",
        start_time: Any = None,
        end_time: Any = None,
        infer_processors: Sequence[Any] = [],
        learn_processors: Sequence[Any] = [],
        fit_start_time: Any = None,
        fit_end_time: Any = None,
        inst_processors: Any = None,
        drop_raw: bool = True,
    ) -> None:
        chains = (infer_processors, learn_processors, fit_start_time, fit_end_time)
        loader = self._bars(inst_processors=inst_processors)
        super().__init__(loader, instruments, start_time, end_time, *chains, drop_raw=drop_raw)

    def get_feature_config(self) -> Fields:
        """Return (formulas, names); an infinite vwap counts as the close, an infinite volume as 0."""
        base = SESSION + BEFORE_AUCTION
        prices = [*PRICES[:-1], _finite("$vwap", "$close")]
        quotes = ["$bid", "$ask"]
        formulas = [_traded(_price(x, lag, base)) for part in (prices, quotes) for lag in (0, SESSION) for x in part]
        for part in (["$volume"], BOOK):
            formulas += [
                _not_negative(_traded(_finite(_volume(x, lag, SESSION), "0"))) for lag in (0, SESSION) for x in part
            ]
        names = [name for part in (PRICES, quotes, ["$volume"], BOOK) for name in (*part, *_shifted(part))]
        return formulas, names


class HighFreqBacktestHandler(_Bars):
    """What an order is dealt at: $close0 $vwap0 $volume0 $factor0."""

    def __init__(self, instruments: Any = "csi300", start_time: Any = None, end_time: Any = None) -> None:
        super().__init__(instruments, start_time, end_time, data_loader=self._bars())

    extra: ClassVar[dict[str, str]] = {"$factor0": "$factor"}

    def get_feature_config(self) -> Fields:
        """Return (formulas, names): the close filled forward, vwap (the close where it is missing), others or 0."""
        columns = {
            "$close0": f"FFillNan({_traded('$close')})",
            "$vwap0": _traded(_or("$vwap", "FFillNan($close)")),
            "$volume0": _traded(_or("$volume", "0")),
            **{name: _traded(_or(x, "0")) for name, x in self.extra.items()},
        }
        return list(columns.values()), list(columns)


class HighFreqBacktestOrderHandler(HighFreqBacktestHandler):
    """What an order is dealt at, with the quotes and the limits of the day."""

    extra: ClassVar[dict[str, str]] = {
        **{f"${name}0": f"${name}" for name in ("bid", "bidV", "ask", "askV")},
        "$median0": "($bid + $ask) / 2",
        **{
            f"${name}0": f"${name}"
            for name in ("factor", "downlimitmarket", "uplimitmarket", "highmarket", "lowmarket")
        },
    }


class HighFreqGeneralBacktestHandler(_Bars):
    """What an order is dealt at, on days of any length.

    Parameters
    ----------
    columns
        Of `$close`, `$vwap`, `$volume`, those that are wanted.
    day_length, freq, inst_processors
        As for `HighFreqGeneralHandler`.
    """

    def __init__(
        self,
        instruments: Any = "csi300",
        start_time: Any = None,
        end_time: Any = None,
        day_length: int = SESSION,
        freq: str = "1min",
        columns: Sequence[str] = ("$close", "$vwap", "$volume"),
        inst_processors: Any = None,
    ) -> None:
        self.day_length = _checked_length(day_length)
        self.columns = list(columns)
        super().__init__(instruments, start_time, end_time, data_loader=self._bars(freq, inst_processors))

    def get_feature_config(self) -> Fields:
        """Return (formulas, names): the close filled forward, vwap (the close where it is missing), volume or 0."""
        known = {
            "$close": "FFillNan($close)",
            "$vwap": _or("$vwap", "FFillNan($close)"),
            "$volume": _or("$volume", "0"),
        }
        wrong = [name for name in self.columns if name not in known]
        if wrong or not self.columns:
            raise ConfigError(f"columns: received {self.columns}; allowed are {', '.join(known)}")
        chosen = [name for name in known if name in self.columns]
        return [f"Cut({known[name]}, {2 * self.day_length}, None)" for name in chosen], [f"{name}0" for name in chosen]


def _checked_length(day_length: Any) -> int:
    if isinstance(day_length, bool) or not isinstance(day_length, int | np.integer) or day_length < 1:
        raise ConfigError(f"day_length: received {day_length!r}; a number of rows, at least 1, is allowed")
    return int(day_length)
