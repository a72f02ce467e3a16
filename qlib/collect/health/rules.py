"""The thresholds of the checks: each number once, with its reason."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from qlib.errors import InputError


@dataclass(frozen=True)
class Rules:
    """Thresholds; all can be given to `check`.

    A move is a log return divided by the robust standard deviation of the instrument's own log returns (1.4826 times
    their median absolute deviation), and by the root of the bars it spans. On the real markets that the tests read
    (2017-2026, one minute to one day) no bar is beyond both its limits.

    Parameters
    ----------
    missing_data_num
        An instrument with at most that many missing bars has none.
    large_step_threshold_price, jump_deviations
        A price makes a large step where it rises or falls by more than this share and that many deviations.
    jump_factor, split_deviations
        A large step is a jump where it goes beyond this factor, or doubles or halves the price to within that many
        deviations. Markets do crash; whether a smaller step was one nobody can tell from the bars.
    spike_threshold_price, spike_deviations
        The same for a price that is back with the next bar (less than `spike_rest` of the way is left).
    large_step_threshold_volume, volume_deviations
        The same for volume; 3 is a rise by 300 %.
    most
        Share of the listed instruments that makes a flat bar without volume an outage.
    hardly_any
        At most this share of at least `enough` listed instruments has a bar at a stranger among the times.
    together, together_share
        Series that end early are truncated where that many, and that share of all, end with the same bar.
    early
        A series ends early where it lacks more bars than this, and more than a day.
    repeats
        A bar is repeated where it is the same as that many before it, volume included.
    """

    missing_data_num: int = 0
    large_step_threshold_price: float = 0.5
    jump_deviations: float = 30.0
    jump_factor: float = 3.0
    split_deviations: float = 3.0
    spike_threshold_price: float = 0.15
    spike_deviations: float = 20.0
    spike_rest: float = 0.2
    large_step_threshold_volume: float = 3.0
    volume_deviations: float = 20.0
    most: float = 0.5
    hardly_any: float = 0.1
    enough: int = 10
    together: int = 3
    together_share: float = 0.05
    early: int = 3
    repeats: int = 3

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
                raise InputError(f"{name}: received {value!r}; a number of 0 or more is allowed")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
