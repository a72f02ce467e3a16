"""What every dialect of the venue shares: the market at one moment, and the way the venue says no."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from qlib.crypto.venues.fake.bars import DAY
from qlib.crypto.venues.fake.market import Market

REACH: Final = {"1s": 90 * DAY, "funding": 95 * DAY, "trades": 90 * DAY, "premium": 180 * DAY}


class Refusal(Exception):  # noqa: N818 - an answer of the venue, not an error of this program
    """An answer that is an error: the venue's code, its words, and the HTTP status under which it comes."""

    def __init__(self, code: str, words: str, status: int = 200) -> None:
        super().__init__(f"{code}: {words}")
        self.code, self.words, self.status = code, words, status


@dataclass(frozen=True, slots=True)
class View:
    """The market at one moment, with the page limits and reaches in force."""

    market: Market
    now: int
    page_limits: Mapping[str, int] = field(default_factory=dict)
    reach: Mapping[str, int | None] = field(default_factory=dict)
    url: str = ""  # where the venue listens
    seed: int = 0

    def since(self, what: str) -> int:
        """The oldest moment of which the venue still tells."""
        back = self.reach.get(what, REACH[what])
        return -(1 << 62) if back is None else self.now - back

    def span(self, name: str, ts: np.ndarray) -> tuple[int, int]:
        """Rows of `ts` that lie in the instrument's life and not in the future, as (first, last)."""
        last = int(ts.searchsorted(self.now, "right"))
        end = self.market.ends(name)
        if end is not None:
            last = min(last, int(ts.searchsorted(end, "left")))
        return int(ts.searchsorted(self.market.starts(name), "left")), last


def dumps(value: Any) -> str:
    """JSON as the venue writes it, without spaces."""
    return json.dumps(value, separators=(",", ":"))
