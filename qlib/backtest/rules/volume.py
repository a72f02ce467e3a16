"""How much of a bar's volume one may take.

Qlib's `volume_threshold`: `(kind, formula)` for both sides, or a dict of such pairs under "all", "buy", "sell".

    ("current", "0.1*$volume")     at most the sum of the formula over the step
    ("cum", "0.1*DayCumsum(...)")  at most its last value in the step, less what was dealt in the instrument that day
    ("prior", "0.1*$volume")       at most its value in the bar before the step, for every bar of it: known at the time

The smallest limit of a side wins. A missing number (no volume known) allows nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qlib.errors import ConfigError, did_you_mean

CURRENT, CUMULATIVE, PRIOR = "current", "cum", "prior"
KINDS = (CURRENT, CUMULATIVE, PRIOR)
Cap = tuple[str, str]


@dataclass(frozen=True, slots=True)
class VolumeCap:
    """The pairs (kind, formula) that bound a buy and a sell."""

    buy: tuple[Cap, ...] = ()
    sell: tuple[Cap, ...] = ()

    @property
    def fields(self) -> tuple[str, ...]:
        """Formulas of both sides, each once."""
        return tuple(dict.fromkeys(formula for _, formula in (*self.buy, *self.sell)))


def volume_cap(volume_threshold: Any) -> VolumeCap:
    """Read Qlib's `volume_threshold`; lists are as good as tuples.

    >>> volume_cap({"all": ["cum", "$volume"], "sell": ("current", "0.1*$volume")}).sell
    (('cum', '$volume'), ('current', '0.1*$volume'))
    """
    if volume_threshold is None:
        return VolumeCap()
    if isinstance(volume_threshold, tuple | list):
        volume_threshold = {"all": volume_threshold}
    if not isinstance(volume_threshold, Mapping):
        raise ConfigError(
            f"volume_threshold: received {volume_threshold!r}; allowed are (kind, formula) and a dict of such pairs "
            "under all, buy, sell"
        )
    caps: dict[str, list[Cap]] = {"buy": [], "sell": []}
    for side, cap in volume_threshold.items():
        if side not in ("all", "buy", "sell"):
            raise ConfigError(
                f"volume_threshold: received the side {side!r}; allowed are all, buy, sell"
                f"{did_you_mean(str(side), ('all', 'buy', 'sell'))}"
            )
        if not isinstance(cap, tuple | list) or len(cap) != 2 or not isinstance(cap[1], str):
            raise ConfigError(f"volume_threshold[{side!r}]: received {cap!r}; a pair (kind, formula) is allowed")
        kind, formula = cap
        if kind not in KINDS:
            raise ConfigError(
                f"volume_threshold[{side!r}]: received the kind {kind!r}; allowed are {', '.join(KINDS)}"
                f"{did_you_mean(str(kind), KINDS)}"
            )
        if kind == PRIOR:
            formula = f"Ref({formula},1)"
        for each in ("buy", "sell") if side == "all" else (side,):
            caps[each].append((kind, formula))
    return VolumeCap(tuple(caps["buy"]), tuple(caps["sell"]))
