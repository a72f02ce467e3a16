"""Writes the synthetic market as a `.bin` store that says what it is.

calendars/ instruments/ features/    as every store: all.txt holds the coins, benchmark.txt the index MARKET
README.txt                           what a person should know: nothing in here is real
truth.json                           what a program may ask: seed, planted part, listings, outages
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from qlib.analysis.ic import calc_ic
from qlib.crypto.planted import TRUTH_FILE, describe_planted, oracle_score
from qlib.crypto.sample import BENCHMARK, HOURS, VERSION, MarketSpec, SampleMarket
from qlib.data.storage.writer import write_store
from qlib.errors import InputError
from qlib.log import get_module_logger

GENERATOR = "qlib.crypto.sample"
DEFAULT_TARGET = "~/.qlib/qlib_data/sample_data"


def write_sample(
    target_dir: str | Path = DEFAULT_TARGET, spec: MarketSpec | None = None, *, exists_skip: bool = False
) -> tuple[Path, bool]:
    """Play the market and write it as a `.bin` store; return the folder and whether it was written.

    The store appears at once when it is complete: a run that is killed leaves nothing at `target_dir`. An older sample
    store is replaced (kept when `exists_skip`); a folder that holds anything else is refused and left as it is.
    """
    spec = spec or MarketSpec()
    target = Path(target_dir).expanduser().resolve()
    if target.exists() and not target.is_dir():
        raise InputError(f"target_dir must be a folder, received the file {target}")
    if target.is_dir() and any(target.iterdir()):
        if not (target / TRUTH_FILE).exists():
            raise InputError(
                f"{target} is not empty and was not written by `get_data.py sample`: nothing was changed; "
                f"give another --target_dir or empty the folder"
            )
        if exists_skip:
            return target, False
    market = SampleMarket(spec)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as scratch:
            fresh, old = Path(scratch) / "fresh", Path(scratch) / "old"
            _write(market, fresh)
            if target.exists():
                target.rename(old)
            fresh.rename(target)
    except PermissionError as error:
        raise InputError(f"the sample market cannot be written to {target}: {error}") from error
    get_module_logger("sample").info("synthetic market written to %s", target)
    return target, True


def _write(market: SampleMarket, root: Path) -> None:
    for freq in ("day", "60min"):
        frames = market.frames(freq)
        coins = [name for name in frames if name != BENCHMARK]
        write_store(frames, root, freq, instruments={"all": coins, "benchmark": [BENCHMARK]})
    (root / TRUTH_FILE).write_text(json.dumps(_truth(market), indent=2) + "\n", encoding="utf-8")
    (root / "README.txt").write_text(_readme(market), encoding="utf-8")


def _truth(market: SampleMarket) -> dict[str, Any]:
    """What anybody may look up about the market, as plain values."""
    spec, coins, hours = market.spec, market.coins, market.spec.days * HOURS
    stamps = pd.date_range(spec.start, periods=hours + 1, freq="h")
    frames = {name: frame for name, frame in market.frames("day").items() if name != BENCHMARK}
    bars = pd.concat(frames, names=["instrument", "datetime"]).add_prefix("$")
    close = bars["$close"].unstack("instrument")
    label = (close.shift(-2) / close.shift(-1) - 1).stack(future_stack=True).rename_axis(["datetime", "instrument"])
    oracle, _ = calc_ic(oracle_score(bars), label, dropna=True)
    return {
        "synthetic": True,
        "warning": "Every price in this folder is invented. Nothing in it says anything about any real market.",
        "generator": GENERATOR,
        "version": VERSION,
        "null_twin": spec.ic == 0,
        "spec": asdict(spec),
        "planted": describe_planted(spec.ic),
        "oracle_on_all_days": {
            "mean_ic": round(float(oracle.mean()), 5),
            "standard_error": round(float(oracle.std() / np.sqrt(len(oracle))), 5),
            "days": len(oracle),
        },
        "benchmark": f"{BENCHMARK}: equally weighted index of the coins that are listed, rebalanced every midnight",
        "coins": [
            {
                "name": name,
                "first_hour": str(stamps[coins.listed[column]]),
                "delisted": str(stamps[coins.delisted[column]]) if coins.delisted[column] < hours else None,
                "price_at_start": float(coins.start_price[column]),
            }
            for column, name in enumerate(coins.names)
        ],
        "events": market.events.log,
    }


def _readme(market: SampleMarket) -> str:
    spec = market.spec
    planted = (
        f"A predictable part is planted (information coefficient {spec.ic}); truth.json tells the formula."
        if spec.ic
        else "This is the null twin: nothing is planted, no model can honestly find anything."
    )
    return f"""SYNTHETIC DATA - every price in this folder is invented

{spec.coins} invented coins (SYN01 ... SYN{spec.coins:02d}) and MARKET, their equally weighted index.
Made by {GENERATOR} version {VERSION} with seed {spec.seed}; the same seed gives the same bytes.
{planted}
A good result on these data shows that the software works, never that a strategy earns money: with 50 coins a day even
a small coefficient gives an information ratio that no real market pays.

Time        UTC, without a zone; a bar is stamped with its opening time
day         {spec.days} days from {spec.start}; a daily bar is put together from the hourly bars of that day
60min       the last {spec.hourly_days} days
Fields      open high low close vwap (money per coin), volume (coins), change (return since the last bar),
            factor (always 1), funding (rate settled every 8 hours; per day their sum; not for MARKET)
Markets     all (the coins), benchmark (MARKET)
Holes       NaN where the exchange was down, flat bars with volume 0 where nobody could trade: see truth.json
"""
