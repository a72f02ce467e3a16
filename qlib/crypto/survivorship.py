"""How much a list of today flatters the past: the same basket by today's list and by what was known.

    report = survivorship(coins, Rule(top=50), returns=returns_of_close(close))
    print(report)

    today's list against what was known at the time
      2020-01-02  50 members, 12 of them on today's list
      ...
      equal weight   known then x 3.10   today's list x 12.4   flattered by 22.1 % a year

The basket holds the members of each bar with equal weight, and earns what they earn over it. A member without a bar
earns an unknown return. One whose bars end while it is a member (for good, or for 45 days and more) is where
survivorship hides: the basket is counted twice, with such names left out and with such names worth nothing. The truth
lies between: a coin that got another name did not lose everything, and one that died did.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pandas as pd

from qlib.crypto.snapshots import DAY_MS
from qlib.crypto.universe import Membership, Rule, members
from qlib.errors import InputError

YEAR_MS: Final = 365 * DAY_MS
LONG: Final = 45 * DAY_MS  # without a return for longer: it ended
_SHOWN: Final = 12


@dataclass(frozen=True)
class Basket:
    """What an equal-weight basket became of 1, over bars in which it had a return.

    `coverage` is the part of (member, bar) pairs with a known return; `vanished` the members whose bars ended.
    """

    growth: float
    growth_if_worthless: float
    coverage: float
    bars: int
    years: float
    vanished: list[str] = field(default_factory=list)

    @property
    def yearly(self) -> tuple[float, float]:
        """Growth a year, as a part: with vanished members left out, and with vanished members worth nothing."""
        if not self.years > 0:
            return float("nan"), float("nan")
        return self.growth ** (1 / self.years) - 1, self.growth_if_worthless ** (1 / self.years) - 1

    def as_dict(self) -> dict[str, Any]:
        """Return plain values; None is unknown."""
        values = vars(self) | dict(zip(("yearly", "yearly_if_worthless"), self.yearly, strict=True))
        return {name: None if isinstance(one, float) and np.isnan(one) else one for name, one in values.items()}


@dataclass(frozen=True)
class Survivorship:
    """The comparison; `str(report)` is a page for people, `as_dict()` the same for programs."""

    today: list[str]
    ever: int  # names that were members at any time
    overlap: pd.DataFrame  # index: when a stretch begins; columns members, of_today
    gone: pd.DataFrame  # index: instrument; columns first, last, best_rank: once members, not on today's list
    late: list[str]  # on today's list, and no member at the beginning
    known_then: Basket | None = None
    by_today: Basket | None = None
    without_bars: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        baskets = {"known_then": self.known_then, "by_today": self.by_today}
        return {
            "today": self.today,
            "ever": self.ever,
            "overlap": [
                {"from": str(time), "members": int(size), "of_today": int(common)}
                for time, size, common in zip(self.overlap.index, *self.overlap.to_numpy().T, strict=True)
            ],
            "gone": [
                {"instrument": name, "first": str(first), "last": str(last), "best_rank": rank}
                for name, first, last, rank in self.gone.itertuples()
            ],
            "late": self.late,
            "baskets": {name: one.as_dict() for name, one in baskets.items() if one is not None},
            "without_bars": self.without_bars,
        }

    def __str__(self) -> str:
        first = self.overlap.iloc[0]
        begin, end = self.overlap.index[0].date(), self.overlap.index[-1].date()
        lines = [
            "Today's list against what was known at the time",
            f"  today's list         {len(self.today)} names, by the snapshot in force from {end}",
            f"  members on {begin}  {first['members']}, of which {first['of_today']} are on today's list",
            f"  members at any time  {self.ever} names, {len(self.gone)} of them not on today's list",
            f"  not members then     {len(self.late)} names of today's list",
        ]
        if len(self.gone):
            lines.append("  gone, best-ranked first")
            for name, low, high, rank in list(self.gone.itertuples())[:_SHOWN]:
                lines.append(f"      {name:<14} {low.date()} to {high.date()}, best rank {rank}")
            if len(self.gone) > _SHOWN:
                lines.append(f"      ... and {len(self.gone) - _SHOWN} more (--json has all)")
        lines += self._basket_lines()
        return "\n".join(lines)

    def _basket_lines(self) -> list[str]:
        if self.known_then is None or self.by_today is None:
            return ["  baskets              not compared: there are no bars"]
        lines = [
            "  equal-weight basket, from bar to bar, without costs",
            "                       growth        a year   returns known",
        ]
        for title, one in (("known then", self.known_then), ("today's list", self.by_today)):
            lines.append(
                f"      {title:<14} x {one.growth:>9.4g}  {_percent(one.yearly[0]):>10}        {one.coverage:>7.1%}"
            )
            if one.vanished:
                lines.append(
                    f"        worthless  x {one.growth_if_worthless:>9.4g}  {_percent(one.yearly[1]):>10}        "
                    f"if the {len(one.vanished)} whose bars ended were worth nothing"
                )
        least, most = (self.by_today.yearly[0] - one for one in self.known_then.yearly)
        to = f" to {_percent(most)}" if most != least else ""
        lines.append(f"  today's list flatters the past by {_percent(least)}{to} a year")
        if self.without_bars:
            some = ", ".join(self.without_bars[:_SHOWN])
            more = ", ..." if len(self.without_bars) > _SHOWN else ""
            lines.append(
                f"  {len(self.without_bars)} names have no bars at all and are missing from the baskets: {some}{more}"
            )
        return lines


def _percent(part: float) -> str:
    return f"{part:+.1%}" if np.isfinite(part) else "unknown"


def survivorship(
    coins: pd.DataFrame, rule: Rule = Rule(), returns: pd.DataFrame | None = None, freq: str = "day"
) -> Survivorship:
    """Compare the universe that was known with the list of the last snapshot.

    Parameters
    ----------
    coins
        What `match` returns (see `qlib.crypto.universe.members`).
    rule, freq
        As for `members`.
    returns
        What each instrument earned over each bar (`returns_of_close`, `returns_of_snapshots`); index: open times,
        a column an instrument; NaN unknown. None leaves the baskets out.

    Raises InputError as `members` does, and where no bar lies inside the universe.
    """
    found = members(coins, rule, freq)
    names = np.array(found.names, dtype=object)
    today: np.ndarray = found.inside[-1]
    overlap = pd.DataFrame(
        {"members": found.inside.sum(axis=1), "of_today": (found.inside & today).sum(axis=1)},
        index=pd.to_datetime(found.begin, unit="ms"),
    )
    once: np.ndarray = np.logical_or.reduce(found.inside, axis=0)
    gone = _gone(found, names, once & ~today, coins, rule)
    late = names[today & ~found.inside[0]].tolist()
    kept: dict[str, Any] = {}
    if returns is not None:
        kept = _baskets(found, names, today, once, returns)
    return Survivorship(names[today].tolist(), int(once.sum()), overlap, gone, late, **kept)


def _gone(found: Membership, names: np.ndarray, which: np.ndarray, coins: pd.DataFrame, rule: Rule) -> pd.DataFrame:
    ranked = coins[coins["instrument"].notna() & (coins[rule.by] > 0)]
    rank = ranked.groupby("known")[rule.by].rank(method="first", ascending=False)
    best = rank.groupby(ranked["instrument"]).min()
    spans = found.spans
    rows = {name: (spans[name][0][0], spans[name][-1][1], int(best[name])) for name in names[which]}
    gone = pd.DataFrame.from_dict(rows, orient="index", columns=["first", "last", "best_rank"]).rename_axis(
        "instrument"
    )
    return gone.sort_values(["best_rank", "first"], kind="stable")


def _baskets(
    found: Membership, names: np.ndarray, today: np.ndarray, once: np.ndarray, returns: pd.DataFrame
) -> dict[str, Any]:
    times = returns.index.to_numpy("datetime64[ms]").astype(np.int64)
    covered = (times >= found.begin[0]) & (times < found.end[-1])
    if not covered.any():
        raise InputError(
            f"returns: bars from {returns.index.min()} to {returns.index.max()} lie outside the universe, "
            f"{_date(found.begin[0])} to {_date(found.end[-1])}"
        )
    values = returns.reindex(columns=list(names)).to_numpy(np.float64)
    ended = _ended(values, times)[covered]
    inside, values, times = found.at(times[covered]), values[covered], times[covered]
    fixed = today & np.logical_or.reduce(inside, axis=1, keepdims=True)  # where nobody knew, nobody holds anything
    wanted = once | today
    without = [name for name in names[wanted] if name not in returns.columns or returns[name].isna().all()]
    return {
        "known_then": _basket(inside, values, ended, times, found.bar_ms, names),
        "by_today": _basket(fixed, values, ended, times, found.bar_ms, names),
        "without_bars": without,
    }


def _ended(values: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Return a bool array: the first bar without a return of a series that has none for LONG from there on."""
    known = np.isfinite(values)
    again = np.where(known, times[:, None].astype(np.float64), np.inf)
    again = np.minimum.accumulate(again[::-1], axis=0)[::-1]  # when there is a return again
    ended = ~known & (again - times[:, None] > LONG)
    ended[1:] &= known[:-1]
    ended[:1] = False
    return ended


def _basket(
    inside: np.ndarray, values: np.ndarray, ended: np.ndarray, times: np.ndarray, bar_ms: int, names: np.ndarray
) -> Basket:
    earned = inside & np.isfinite(values)
    count = earned.sum(axis=1)
    total = np.where(earned, values, 0.0).sum(axis=1)
    lost = (inside & ended).sum(axis=1)
    plain = 1 + total[count > 0] / count[count > 0]
    worst = 1 + (total - lost)[count + lost > 0] / (count + lost)[count + lost > 0]
    held = inside.sum()
    last = times[-1] - times[-2] if len(times) > 1 else bar_ms  # as long as the one before it
    span = float(times[-1] - times[0] + last) / YEAR_MS
    vanished = names[(inside & ended).any(axis=0)].tolist()
    return Basket(
        float(plain.prod()),
        float(worst.prod()),
        float(earned.sum() / held) if held else float("nan"),
        len(plain),
        span,
        vanished,
    )


# ---------------------------------------------------------------------- returns
def returns_of_close(close: pd.DataFrame) -> pd.DataFrame:
    """Return close over the close of the bar before, less 1; NaN where one of the two is missing.

    `close`: index of open times, every bar of the calendar, a column an instrument.
    """
    return close / close.shift(1) - 1


def returns_of_snapshots(coins: pd.DataFrame, bar_ms: int = DAY_MS) -> pd.DataFrame:
    """Return what each instrument earned from one snapshot to the next, by the prices of the snapshots themselves.

    Where price and market cap disagree about the change by more than a factor of two, coins were split or merged, or
    another coin took over the name: the return is unknown. So is that of a coin that the next snapshot lacks.
    """
    traded = coins[coins["instrument"].notna()]
    price = traded.pivot_table(index="known", columns="instrument", values="price", aggfunc="first", dropna=False)
    worth = traded.pivot_table(index="known", columns="instrument", values="market_cap", aggfunc="first", dropna=False)
    change = price.shift(-1) / price
    other = worth.shift(-1) / worth
    with np.errstate(divide="ignore", invalid="ignore"):
        agree = np.abs(np.log(change.to_numpy() / other.to_numpy())) <= np.log(2)
    returns = (change - 1).where(agree)[:-1]
    opens = -(-returns.index.to_numpy(np.int64) // bar_ms) * bar_ms
    return returns.set_axis(pd.to_datetime(opens, unit="ms"))


def _date(milliseconds: int) -> str:
    return str(pd.Timestamp(int(milliseconds), unit="ms").date())
