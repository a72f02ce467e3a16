"""The clock of a level of execution, and what the parts of a level share.

TradeCalendarManager     step i covers [calendar[first + i], calendar[first + i + 1] - 1 second]
CommonInfrastructure     trade_account, trade_exchange: shared by all levels
LevelInfrastructure      trade_calendar, executor, sub_level_infra: one level's own
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from qlib.data.calendar import timestamp
from qlib.data.provider import active_provider
from qlib.errors import ConfigError, did_you_mean
from qlib.log import get_module_logger
from qlib.utils.time import Freq

if TYPE_CHECKING:
    from qlib.backtest.decision import BaseTradeDecision

SECOND = pd.Timedelta(seconds=1)
BLOCK = 2048  # steps whose ends are made together
logger = get_module_logger("backtest")


def bar_end(time: pd.Timestamp, freq: str) -> pd.Timestamp:
    """Return when the bar that opens at `time` ends, from its size alone.

    >>> bar_end(pd.Timestamp("2020-01-31"), "month"), bar_end(pd.Timestamp("2020-01-31 10:00"), "30min")
    (Timestamp('2020-02-29 00:00:00'), Timestamp('2020-01-31 10:30:00'))
    """
    size = Freq(freq)
    if size.base == Freq.NORM_FREQ_MONTH:
        return time + pd.DateOffset(months=size.count)
    return time + Freq.get_timedelta(size.count, size.base)


class TradeCalendarManager:
    """Steps of a range of a calendar.

    Parameters
    ----------
    freq
        Length of a step.
    start_time, end_time
        Range, both included; times between bars snap inwards. Both or neither: without them the manager waits for
        `reset`.
    level_infra
        The level it belongs to.
    provider
        Where the calendar comes from; None means the exchange's, or the session's.

    Raises ConfigError for a start after the end, and MissingDataError (an IndexError too) for a range without bars.
    """

    def __init__(
        self,
        freq: str,
        start_time: str | pd.Timestamp | None = None,
        end_time: str | pd.Timestamp | None = None,
        level_infra: LevelInfrastructure | None = None,
        *,
        provider: Any = None,
    ) -> None:
        self.level_infra = level_infra
        self.provider = provider
        self.reset(freq=freq, start_time=start_time, end_time=end_time)

    def reset(
        self, freq: str, start_time: str | pd.Timestamp | None = None, end_time: str | pd.Timestamp | None = None
    ) -> None:
        """Begin a range anew at its first step."""
        self.freq = freq
        start, end = timestamp(start_time, "start_time"), timestamp(end_time, "end_time")
        if start is not None and end is not None and start > end:
            raise ConfigError(f"backtest: start_time {start} is after end_time {end}")
        calendar = self._provider().locate(freq, False)
        if end is not None and len(calendar) and end.normalize() > calendar.stamps[-1]:
            calendar = self._provider().locate(freq, True)
        calendar.check_inside(start, end)
        if calendar.times is not getattr(self, "_times", None):
            self._ends: dict[int, list[pd.Timestamp]] = {}  # ends of so many steps of the calendar, by their block
        self._calendar = calendar.stamps
        self._times = calendar.times
        self.start_index, self.end_index = calendar.locate(start, end)
        if start is not None and start.normalize() < self._calendar[0].normalize():
            logger.warning(
                f"start_time {start} is before the first {freq} bar: the range begins at {self._calendar[0]}"
            )
        if end is not None and end.normalize() > max(self._calendar[-1], bar_end(self._calendar[-1], freq) - SECOND):
            logger.warning(f"end_time {end} is after the last {freq} bar: the range ends at {self._calendar[-1]}")
        self.start_time = self._calendar[self.start_index] if start is None else start
        self.end_time = self._calendar[self.end_index] if end is None else end
        self.trade_len = self.end_index - self.start_index + 1
        self.trade_step = 0
        self._known: dict[int, tuple[pd.Timestamp, pd.Timestamp]] = {}

    def _provider(self) -> Any:
        if self.provider is not None:
            return self.provider
        common = getattr(self.level_infra, "common_infra", None)
        exchange = getattr(common, "trade_exchange", None)
        return active_provider() if exchange is None else exchange.provider

    def finished(self) -> bool:
        """Return True when every step has been taken."""
        return self.trade_step >= self.trade_len

    def step(self) -> None:
        """Go to the next step; RuntimeError at the end."""
        if self.finished():
            raise RuntimeError("the calendar is finished; reset it to begin again")
        self.trade_step += 1

    def get_freq(self) -> str:
        return self.freq

    def get_trade_len(self) -> int:
        """Return the number of steps."""
        return self.trade_len

    def get_trade_step(self) -> int:
        """Return the current step, from 0."""
        return self.trade_step

    def get_step_time(self, trade_step: int | None = None, shift: int = 0) -> tuple[pd.Timestamp, pd.Timestamp]:
        """Return the closed time range of a step (None: the current one), `shift` bars earlier.

        The range before the first bar of the calendar is empty of bars: the bar size before it.
        """
        step = self.trade_step if trade_step is None else trade_step
        place = self.start_index + step - shift
        found = self._known.get(place)
        if found is None:
            found = self._known[place] = self._range(place)
        return found

    def _range(self, place: int) -> tuple[pd.Timestamp, pd.Timestamp]:
        calendar = self._calendar
        if place < 0:
            start = calendar[0] + place * (bar_end(calendar[0], self.freq) - calendar[0])
            return start, min(bar_end(start, self.freq), calendar[0]) - SECOND
        if place >= len(calendar):
            raise IndexError(f"step {place - self.start_index} is outside the {self.trade_len} steps of the range")
        start = calendar[place]
        if place + 1 >= len(calendar):
            return start, bar_end(start, self.freq) - SECOND
        block, inside = divmod(place, BLOCK)
        ends = self._ends.get(block)
        if ends is None:  # of many steps at once: one by one they take ten times as long
            ends = (pd.DatetimeIndex(self._times[block * BLOCK + 1 : (block + 1) * BLOCK + 1]) - SECOND).tolist()
            self._ends[block] = ends
        return start, ends[inside]

    def get_data_cal_range(self, rtype: str = "full") -> tuple[int, int]:
        """Return the range of steps in bars of the exchange's data, counted from the first bar of the day.

        "full": of all steps; "step": of the current one.
        """
        if rtype not in ("full", "step"):
            raise ConfigError(f"rtype: received {rtype!r}; allowed are 'full' and 'step'")
        assert self.level_infra is not None
        exchange = self.level_infra.get("common_infra").get("trade_exchange")
        first_moment = self.start_time.normalize()
        first, _ = exchange.calendar_range(first_moment, first_moment + pd.Timedelta(days=1) - SECOND)
        span = (self.start_time, self.end_time) if rtype == "full" else self.get_step_time()
        start, end = exchange.calendar_range(*span)
        return start - first, end - first

    def get_all_time(self) -> tuple[pd.Timestamp, pd.Timestamp]:
        """Return start and end of the whole range, as given."""
        return self.start_time, self.end_time

    def get_range_idx(self, start_time: pd.Timestamp, end_time: pd.Timestamp) -> tuple[int, int]:
        """Return the first and last step that a closed time range touches, cut to the steps there are."""
        left = int(np.searchsorted(self._times, start_time.to_datetime64(), side="right")) - 1 - self.start_index
        right = int(np.searchsorted(self._times, end_time.to_datetime64(), side="right")) - 1 - self.start_index
        last = self.trade_len - 1
        return min(max(left, 0), last), min(max(right, 0), last)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.freq}: {self.start_time} to {self.end_time}, "
            f"step {self.trade_step} of {self.trade_len})"
        )


class BaseInfrastructure:
    """Things shared by name; a name that is not known is refused with a warning."""

    def __init__(self, **kwargs: Any) -> None:
        self.reset_infra(**kwargs)

    @abstractmethod
    def get_support_infra(self) -> set[str]:
        """Return the names that may be shared."""
        raise NotImplementedError

    def reset_infra(self, **kwargs: Any) -> None:
        """Share things."""
        known = self.get_support_infra()
        for name, thing in kwargs.items():
            if name in known:
                setattr(self, name, thing)
            else:
                logger.warning(f"{type(self).__name__} shares no {name}{did_you_mean(name, known)}; it is ignored")

    def get(self, infra_name: str) -> Any:
        """Return what is shared under a name; None, with a warning, for what is not."""
        try:
            return self.__dict__[infra_name]  # a strategy asks often
        except KeyError:
            pass
        if self.has(infra_name):
            return getattr(self, infra_name)
        logger.warning(f"{type(self).__name__} has no {infra_name}")
        return None

    def has(self, infra_name: str) -> bool:
        return infra_name in self.get_support_infra() and hasattr(self, infra_name)

    def update(self, other: BaseInfrastructure) -> None:
        """Take everything that another one of the kind shares."""
        self.reset_infra(**{name: getattr(other, name) for name in other.get_support_infra() if hasattr(other, name)})


class CommonInfrastructure(BaseInfrastructure):
    """What all levels share: the account and the exchange."""

    def get_support_infra(self) -> set[str]:
        return {"trade_account", "trade_exchange"}


class LevelInfrastructure(BaseInfrastructure):
    """What one level shares between its strategy and its executor."""

    def get_support_infra(self) -> set[str]:
        return {"trade_calendar", "sub_level_infra", "common_infra", "executor"}

    def reset_cal(self, freq: str, start_time: str | pd.Timestamp | None, end_time: str | pd.Timestamp | None) -> None:
        """Set the level's calendar to a range."""
        if self.has("trade_calendar"):
            self.trade_calendar.reset(freq, start_time=start_time, end_time=end_time)
        else:
            self.reset_infra(
                trade_calendar=TradeCalendarManager(freq, start_time=start_time, end_time=end_time, level_infra=self)
            )

    def set_sub_level_infra(self, sub_level_infra: LevelInfrastructure) -> None:
        """Make the next level down visible to this one."""
        self.reset_infra(sub_level_infra=sub_level_infra)

    trade_calendar: TradeCalendarManager


def get_start_end_idx(trade_calendar: TradeCalendarManager, outer_trade_decision: BaseTradeDecision) -> tuple[int, int]:
    """Return the first and last step in which an outer decision may be executed: all, unless it has a range."""
    whole = (0, trade_calendar.get_trade_len() - 1)
    found: tuple[int, int] = outer_trade_decision.get_range_limit(inner_calendar=trade_calendar, default_value=whole)
    return found
