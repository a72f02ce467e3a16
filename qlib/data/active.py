"""The slot that `qlib.init` fills with the session's provider: `D` for users, `active_provider()` for rooms.

`horizon` is set while a session looks at its data as they were (`qlib.data.provider.as_of`).
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple

from qlib.utils.slot import Slot

if TYPE_CHECKING:
    import pandas as pd

    from qlib.data.provider import Provider

D: Any = Slot("D", "call qlib.init(provider_uri=...) first")


def active_provider() -> Provider:
    """Return the provider of the live session; RuntimeError, saying what to do, before `qlib.init`."""
    return D.held()


def fill(provider: Provider) -> Provider | None:
    """Make a provider the one that `D` shows, and return the one before."""
    return D.put(provider)


class Horizon(NamedTuple):
    """The time of the last bar that is known, and how many bars a label looks ahead."""

    last: pd.Timestamp
    label_bars: int


horizon: ContextVar[Horizon | None] = ContextVar("horizon", default=None)


def within_horizon(frame: pd.DataFrame, label: str = "label") -> pd.DataFrame:
    """Return what is known of a frame with a level `datetime`: the whole frame, unless the session looks at the past.

    Rows after the horizon are left out, and columns of the group `label` are missing where they were not known yet.
    """
    now = horizon.get()
    if now is None:
        return frame
    times = frame.index.get_level_values("datetime")
    frame, times = frame[times <= now.last], times[times <= now.last]
    labels = [place for place, column in enumerate(frame.columns) if isinstance(column, tuple) and column[0] == label]
    if labels and now.label_bars and len(frame):
        known = times.isin(times.unique().sort_values()[: -now.label_bars])
        frame = frame.copy()
        for place in labels:
            frame.isetitem(place, frame.iloc[:, place].where(known).array)
    return frame
