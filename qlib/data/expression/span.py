"""How far around its own row a formula looks.

Mean($close, 5)              back 4   ahead 0
Ref($close, -2) / $close     back 0   ahead 2
EMA($close, 12)              back EVERYTHING: every row since the listing
DayLast($close)              back EVERYTHING   ahead EVERYTHING: how long a day is, only the calendar knows

What is declared here is a bound for anybody.  Who knows the calendar may load less: see `positions_needed` in reach.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

EVERYTHING: Final = math.inf


@dataclass(frozen=True, slots=True)
class Span:
    """Rows before (`back`) and after (`ahead`) the current one; each may be EVERYTHING.

    >>> Span(back=4) + Span(back=2, ahead=1)
    Span(back=6, ahead=1)
    """

    back: float = 0
    ahead: float = 0

    def __add__(self, other: Span) -> Span:
        return Span(self.back + other.back, self.ahead + other.ahead)

    def shifted(self, rows: int) -> Span:
        """Return the span of the same formula read `rows` rows ago (in the future, where negative).

        The rows of the unshifted formula stay inside: a window that begins at the first row of a panel would
        otherwise be taken for the first row of the instrument.
        """
        return Span(max(self.back + rows, self.back), max(self.ahead - rows, self.ahead))

    @staticmethod
    def union(spans: Iterable[Span]) -> Span:
        """Return the smallest span that holds all of them.

        >>> Span.union([Span(3, 0), Span(0, 2)])
        Span(back=3, ahead=2)
        """
        spans = list(spans)
        return Span(max((s.back for s in spans), default=0), max((s.ahead for s in spans), default=0))
