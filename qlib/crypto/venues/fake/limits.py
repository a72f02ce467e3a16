"""Rate limits as the venue counts them: so many requests in any window, per endpoint, some per instrument.

    limits = Limits(factor=1.0)
    limits.allows(("/api/v5/market/candles",), requests=40, seconds=2.0, now=time.monotonic())     False: answer 429

The window slides, which is the strictest reading of "40 requests per 2 s": whoever passes here passes a venue that
counts in fixed windows too. Requests that were refused are not counted. Time is real time, whatever the venue's clock.
"""

from __future__ import annotations

from collections import deque


class Limits:
    """Counts of all endpoints. `factor` 10 allows ten times as many requests; None allows everything."""

    def __init__(self, factor: float | None) -> None:
        self.factor = factor
        self._seen: dict[tuple[str, ...], deque[float]] = {}

    def allows(self, key: tuple[str, ...], requests: int, seconds: float, now: float) -> bool:
        """Count one request at `now` (seconds of a steady clock), or refuse it.

        >>> limits = Limits(1.0)
        >>> [limits.allows(("/a",), 2, 2.0, moment) for moment in (0.0, 0.5, 1.9, 2.1)]
        [True, True, False, True]
        """
        if self.factor is None:
            return True
        seen = self._seen.setdefault(key, deque())
        while seen and seen[0] <= now - seconds:
            seen.popleft()
        if len(seen) >= max(1, round(requests * self.factor)):
            return False
        seen.append(now)
        return True
