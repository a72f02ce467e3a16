"""What can go wrong between a venue and whoever reads it, on request: by chance with a seed, or from a list.

    Faults({"reset": 0.02, "html": 0.01}, seed=7)                   2 % and 1 % of all requests, the same ones each time
    Faults(plan=[Fault("truncated", path="history-candles", nth=3)])    the third request of that path, once
    venue.faults = Faults({"busy": 1.0}); ...; venue.faults = None      set and unset while the venue runs

    timeout     no answer; the connection stays open for `hold` seconds, then breaks
    reset       the connection breaks before the answer
    cut         the connection breaks in the middle of the answer
    5xx         HTTP 500, 502, 503 or 504 with the venue's JSON
    html        HTTP 502 with an HTML page from the edge
    limit_html  HTTP 429 with an HTML page from the edge
    limit       HTTP 429 and code 50011
    truncated   HTTP 200 and JSON that ends early
    code        HTTP 200 and an error code (50011, 50013 or 50026, or Fault.code)
    busy        HTTP 429 and code 50013
    duplicate   some rows come twice
    disorder    the rows come in any order
    revised     the newest finished bar comes with other numbers than it will have the next time
    short       fewer rows than asked, though there are more: the newest ones of the page
    skew        the venue's clock is `skew` ms off for this request
    null        CoinGecko only: every number of every row is null
    lost, twice, drop    WebSocket only: a push does not come, comes twice, or the connection breaks before it
    delist      from this request on, its instrument is gone (code 51001)

By chance, the same question fails at most `in_a_row` times one after the other, so that patience pays; what
`delist` does stays, therefore it happens from a plan only.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from qlib.errors import InputError, did_you_mean

KINDS: Final = (
    "timeout", "reset", "cut", "5xx", "html", "limit_html", "limit", "truncated", "code", "busy",
    "duplicate", "disorder", "revised", "short", "skew", "null", "delist", "lost", "twice", "drop",
)  # fmt: skip
PUSHES: Final = ("lost", "twice", "drop")
REQUESTS: Final = tuple(kind for kind in KINDS if kind not in PUSHES)
HANDSHAKE: Final = ("timeout", "reset", "html")  # what may strike the opening of a WebSocket
ON_ROWS: Final = ("duplicate", "disorder", "revised", "short")


@dataclass(frozen=True, slots=True)
class Fault:
    """One planned fault: `kind`, at the `nth` request (from 1) whose path ends in `path` and that has `params`.

    It happens `times` times in a row, beginning with the nth. `code` is the error code of a "code", `skew` the
    milliseconds of a "skew".
    """

    kind: str
    path: str = ""
    nth: int = 1
    times: int = 1
    params: tuple[tuple[str, str], ...] = ()
    code: str = ""
    skew: int = 0

    def __post_init__(self) -> None:
        _check(self.kind)


def _check(kind: str) -> None:
    if kind not in KINDS:
        raise InputError(f"no fault {kind!r}: there are {', '.join(KINDS)}{did_you_mean(kind, KINDS)}")


class Faults:
    """A schedule of faults.

    Parameters
    ----------
    chances
        Fault -> probability per request; their sum is at most 1.
    plan
        Faults at counted requests, in addition.
    seed
        Seed of the chances.
    paths
        Ends of the paths that chance may hit; all by default.
    in_a_row
        How often chance may hit the same question (path and parameters) one after the other.
    hold
        Seconds for which a "timeout" keeps the connection.
    skew
        Milliseconds that the clock is off in a "skew" by chance.
    """

    def __init__(
        self,
        chances: Mapping[str, float] | None = None,
        *,
        plan: Sequence[Fault] = (),
        seed: int = 0,
        paths: Sequence[str] = (),
        in_a_row: int = 3,
        hold: float = 30.0,
        skew: int = 5_000,
    ) -> None:
        self.chances = dict(chances or {})
        for kind in self.chances:
            _check(kind)
        if "delist" in self.chances:
            raise InputError("a delisting stays, so it cannot happen by chance: give Fault('delist', ...) in `plan`")
        if not 0 <= sum(self.chances.values()) <= 1 + 1e-9:
            raise InputError(f"chances of faults must lie between 0 and 1 together, got {self.chances}")
        self.plan, self.paths, self.in_a_row, self.hold, self.skew = tuple(plan), tuple(paths), in_a_row, hold, skew
        self.happened: list[tuple[str, str]] = []  # (kind, path), as they came
        self._random = random.Random(seed)  # noqa: S311 - chance with a seed, nothing to keep secret
        self._counts = [0] * len(self.plan)
        self._row: dict[tuple[str, tuple[tuple[str, str], ...]], int] = {}
        self._lock = threading.Lock()

    def draw(self, path: str, params: Mapping[str, str], kinds: Sequence[str] = REQUESTS) -> Fault | None:
        """The fault of these kinds that hits this request, or None."""
        with self._lock:
            fault = self._planned(path, params, kinds) or self._by_chance(path, params, kinds)
            if fault is not None:
                self.happened.append((fault.kind, path))
            return fault

    def _planned(self, path: str, params: Mapping[str, str], kinds: Sequence[str]) -> Fault | None:
        hit = None
        for number, fault in enumerate(self.plan):
            fits = fault.kind in kinds and path.endswith(fault.path)
            if fits and all(params.get(key) == value for key, value in fault.params):
                self._counts[number] += 1
                if hit is None and fault.nth <= self._counts[number] < fault.nth + fault.times:
                    hit = fault
        return hit

    def _by_chance(self, path: str, params: Mapping[str, str], kinds: Sequence[str]) -> Fault | None:
        chances = {kind: chance for kind, chance in self.chances.items() if kind in kinds}
        if not chances or (self.paths and not path.endswith(self.paths)):
            return None
        question = (path, tuple(sorted(params.items())))
        draw = self._random.random()
        for kind, chance in chances.items():
            draw -= chance
            if draw < 0:
                if self._row.get(question, 0) >= self.in_a_row:
                    break
                self._row[question] = self._row.get(question, 0) + 1
                return Fault(kind, skew=self.skew)
        self._row.pop(question, None)
        return None

    def choice(self, options: Sequence[str]) -> str:
        """One of several, by the same seed."""
        with self._lock:
            return self._random.choice(options)

    def disturb(self, kind: str, rows: list[str]) -> list[str]:
        """Rows after "duplicate", "disorder" or "short"."""
        with self._lock:
            if kind == "short":
                return rows[: self._random.randint(1, len(rows))] if rows else rows
            if kind == "duplicate":
                rows = [row for row in rows for _ in range(1 + (self._random.random() < 0.2))]
                return rows + rows[-1:]
            return self._random.sample(rows, len(rows))
