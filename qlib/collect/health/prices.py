"""What a bar says about itself, and about the bar before it.

All of it works on blocks of instruments x times at once; `there` marks the cells that have a bar. Rows of returns are
over the bars that are there, so that a hole is one step (`Rules` says how its length counts).
"""

from __future__ import annotations

import numpy as np

from qlib.collect.health.bars import FIELDS, PRICES, REQUIRED, Bars
from qlib.collect.health.report import Findings, runs
from qlib.collect.health.rules import Rules

_ALMOST_FACTOR = 0.1  # how near a jump comes to the step of the factor that explains it


def check_columns(bars: Bars, found: Findings) -> None:
    """Find columns that are not there: wrong where prices lack one, or where other instruments have it."""
    for place, name in enumerate(FIELDS):
        lacks = ~bars.has[:, place]
        if name == "vwap" or not lacks.any():
            continue
        if name in PRICES or not lacks.all():
            kind, names = ("factor" if name == "factor" else "column"), bars.names[lacks]
            found.add(kind, names, field=name, detail="the column is not there")
        elif not (name == "factor" and bars.always_open):  # such markets trade real prices
            found.add("absent column", field=name)


def check_block(
    bars: Bars, rules: Rules, found: Findings, low: int, block: dict[str, np.ndarray], there: np.ndarray
) -> None:
    """Look at one block, which begins with instrument `low`."""
    names, times = bars.names[low : low + len(there)], bars.times
    has = bars.has[low : low + len(there)]
    _incomplete(found, names, times, block, there, has)
    clean = _ordered(found, names, times, block, bars.relative)
    if "volume" in block:
        _volume(found, rules, names, times, block, there)
    if "close" in block:
        steps = Steps(np.where(there & clean, block["close"], np.nan))
        _moves(found, rules, names, times, steps)
        _repeated(found, rules, names, times, block, there)
        if "factor" in block:
            _factor(found, names, times, block, there, has[:, FIELDS.index("factor")], steps)


def _incomplete(
    found: Findings,
    names: np.ndarray,
    times: np.ndarray,
    block: dict[str, np.ndarray],
    there: np.ndarray,
    has: np.ndarray,
) -> None:
    for name in REQUIRED:
        if name not in block:
            continue
        lost = np.isnan(block[name]) & there & has[:, [FIELDS.index(name)]]
        found.add_bars("incomplete", names, times, lost, field=name)
    for name, values in block.items():
        found.add_bars("infinite", names, times, np.isinf(values), field=name)


def _ordered(
    found: Findings, names: np.ndarray, times: np.ndarray, block: dict[str, np.ndarray], relative: float
) -> np.ndarray:
    """Find prices that cannot be; return where the close is positive and finite."""
    for name in PRICES:
        if name in block:
            found.add_bars("not positive", names, times, block[name] <= 0, field=name)
    slack = 1 + relative
    with np.errstate(invalid="ignore", over="ignore"):
        for name, others, beyond in (
            ("high", ("open", "close", "low"), np.less),
            ("low", ("open", "close"), np.greater),
        ):
            broken = np.zeros((len(names), len(times)), bool)
            for other in others:
                if name in block and other in block:
                    bound = block[name] * slack if name == "high" else block[name] / slack
                    broken |= beyond(bound, block[other])
            found.add_bars("broken bar", names, times, broken, field=name)
        if all(name in block for name in ("vwap", "high", "low", "volume")):
            mean = block["vwap"]
            outside = (mean > block["high"] * (1 + 1e-3)) | (mean < block["low"] * (1 - 1e-3))
            found.add_bars("vwap", names, times, outside & (block["volume"] > 0), field="vwap")
        close = block.get("close", np.ones((len(names), len(times))))
        return (close > 0) & (close < np.inf)


def _volume(
    found: Findings, rules: Rules, names: np.ndarray, times: np.ndarray, block: dict[str, np.ndarray], there: np.ndarray
) -> None:
    volume = block["volume"]
    found.add_bars("volume", names, times, volume < 0, field="volume")
    if "high" in block and "low" in block:
        moved = there & (volume == 0) & (block["high"] > block["low"])
        found.add_bars("untraded move", names, times, moved)
    steps = Steps(np.where((volume > 0) & (volume < np.inf), volume, np.nan))
    limit = np.log1p(rules.large_step_threshold_volume)
    far = steps.beyond(limit, limit, rules.volume_deviations)
    _tell_steps(found, "volume jump", names, times, steps, far, "volume")


def _moves(found: Findings, rules: Rules, names: np.ndarray, times: np.ndarray, steps: Steps) -> None:
    away = steps.beyond(*_limits(rules.spike_threshold_price), rules.spike_deviations)
    back = np.zeros(len(away), bool)
    if len(away) > 1:
        move = steps.move
        rest = np.abs(move[:-1] + move[1:])
        returns = (np.sign(move[:-1]) == -np.sign(move[1:])) & (rest < rules.spike_rest * np.abs(move[:-1]))
        back[:-1] = away[:-1] & away[1:] & returns & (steps.row[:-1] == steps.row[1:])
    after = np.concatenate([[False], back[:-1]])[: len(back)]
    _tell_steps(found, "spike", names, times, steps, back & ~after, "close")
    alone = (steps.deviations > rules.jump_deviations) & ~back & ~after
    far = steps.beyond(*_limits(rules.large_step_threshold_price), rules.jump_deviations) & alone
    size = np.abs(steps.move)
    jump = far & (size > np.log(max(rules.jump_factor, 1.0)))
    if rules.large_step_threshold_price < 1:  # else a double price is no large step
        jump |= alone & (np.abs(size - np.log(2)) < rules.split_deviations * steps.scale)
    _tell_steps(found, "jump", names, times, steps, jump, "close")
    _tell_steps(found, "large step", names, times, steps, far & ~jump, "close")


def _limits(share: float) -> tuple[float, float]:
    """Return the logs of a rise and of a fall by a share; nothing falls by more than all of it."""
    return float(np.log1p(share)), float(-np.log1p(-share)) if share < 1 else np.inf


def _repeated(
    found: Findings, rules: Rules, names: np.ndarray, times: np.ndarray, block: dict[str, np.ndarray], there: np.ndarray
) -> None:
    """Find bars that repeat the ones before them, volume included: filled forward, not traded."""
    if "volume" not in block or there.shape[1] < 2 or not rules.repeats:
        return
    same = there[:, 1:] & (block["volume"][:, 1:] > 0)
    for name in REQUIRED:
        if name in block:
            same &= block[name][:, 1:] == block[name][:, :-1]
    if not same.any():
        return
    row, start, stop = runs(same)
    long = stop - start >= rules.repeats
    found.add(
        "repeated", names[row[long]], first=times[start[long] + 1], last=times[stop[long]], bars=(stop - start)[long]
    )


def _factor(
    found: Findings,
    names: np.ndarray,
    times: np.ndarray,
    block: dict[str, np.ndarray],
    there: np.ndarray,
    has: np.ndarray,
    steps: Steps,
) -> None:
    factor = block["factor"]
    lost = there & np.isnan(factor) & has[:, None]
    found.add_bars("factor", names, times, lost, field="factor", detail="missing")
    found.add_bars("factor", names, times, factor <= 0, field="factor", detail="not positive")
    with np.errstate(invalid="ignore", divide="ignore"):
        own = np.log(factor[steps.row, steps.column]) - np.log(factor[steps.row, steps.before])
    # Adjusted prices pass a split without a jump. A jump that undoes the factor's means that they are not adjusted.
    raw = (np.abs(own) > np.log(1.2)) & (np.abs(steps.move + own) < _ALMOST_FACTOR * np.abs(own))
    _tell_steps(found, "factor", names, times, steps, raw, "factor", "the price jumps against it: not adjusted?")


class Steps:
    """Moves from one value to the next that is there: log returns, flat over all instruments of a block.

    row, column    the cell that was reached; `before` is the column that was left
    move           log return
    scale          robust standard deviation of the instrument's moves, times the root of the bars that this one spans
    deviations     how far the move is from the instrument's median move, in units of that
    """

    def __init__(self, values: np.ndarray) -> None:
        width = values.shape[1]
        at = np.flatnonzero(~np.isnan(values))
        row, column = np.divmod(at, width) if width else (at, at)
        level = np.log(values.ravel()[at].astype(np.float64))
        same = row[1:] == row[:-1]
        self.row, self.column, self.before = row[1:][same], column[1:][same], column[:-1][same]
        self.move = (level[1:] - level[:-1])[same]
        self.deviations, self.scale = self._deviations(len(values))

    def beyond(self, rise: float, fall: float, deviations: float) -> np.ndarray:
        """Mark moves up by more than `rise`, or down by more than `fall` (logs), that are that many deviations."""
        return ((self.move > rise) | (self.move < -fall)) & (self.deviations > deviations)

    def _deviations(self, rows: int) -> tuple[np.ndarray, np.ndarray]:
        if not len(self.move):
            return np.empty(0), np.empty(0)
        middle = _medians(self.move, self.row, rows)
        off = np.abs(self.move - middle[self.row])
        spread = 1.4826 * _medians(off, self.row, rows)
        # More than half of the moves are the same (a coarse tick, a pegged price): their mean distance has to do.
        count = np.bincount(self.row, minlength=rows)
        mean = 1.2533 * np.bincount(self.row, off, minlength=rows) / np.maximum(count, 1)
        spread = np.where(spread > 0, spread, mean)
        scale = spread[self.row] * np.sqrt(self.column - self.before)
        return np.divide(off, scale, out=np.zeros_like(off), where=scale > 0), scale


def _medians(values: np.ndarray, row: np.ndarray, rows: int) -> np.ndarray:
    """Return the (upper) median of each row's values; 0 for a row without any. `row` ascends."""
    count = np.bincount(row, minlength=rows)
    begin = np.concatenate([[0], np.cumsum(count)])
    width = int(count.max(initial=0))
    spread = np.full((rows, max(width, 1)), np.inf)
    spread[row, np.arange(len(row)) - begin[row]] = values
    spread.sort(axis=1)
    middle = spread[np.arange(rows), np.minimum(count // 2, spread.shape[1] - 1)]
    return np.where(count > 0, middle, 0.0)


def _tell_steps(
    found: Findings,
    kind: str,
    names: np.ndarray,
    times: np.ndarray,
    steps: Steps,
    marked: np.ndarray,
    field: str,
    detail: str = "",
) -> None:
    at = np.flatnonzero(marked)
    told = [detail or f"x {np.exp(steps.move[i]):.4g}, {steps.deviations[i]:.0f} deviations" for i in at]
    found.add(kind, names[steps.row[at]], field=field, first=times[steps.column[at]], bars=1, detail=told)
