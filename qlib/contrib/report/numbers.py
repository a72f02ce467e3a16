"""The JSON twin of the report: every number the page shows, at full precision.

    build_twin(artifacts, settings, version) -> dict
        schema      name and version of this layout
        run         experiment, recorder, times          data       store, region, market, synthetic or not
        model       class and parameters                 dataset    handler, segments
        backtest    strategy, costs, benchmark           logged     the recorder's own metrics
        summary     the outcome in sentences             caveats    what to know first
        signal      coverage, ic, rank_ic, groups        portfolio  growth, risk, trading, months, series
        trades      every fill: counts, the newest rows
        capacity    what more capital would have earned    model_numbers   importance, learning curves
        market      holes, universe, liquidity tiers        trials          how far luck alone could have gone
        origin      snapshot, code, packages, machine

The page is drawn from the twin and from nothing else, so the two cannot disagree. NaN and infinity are null.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from qlib.analysis.risk import periods_per_year
from qlib.config import Settings
from qlib.contrib.report.artifacts import Artifacts
from qlib.contrib.report.caveats import caveats
from qlib.contrib.report.facts import facts, freq_of, market_of, universe_of
from qlib.contrib.report.fills import fills
from qlib.contrib.report.market_numbers import market_numbers
from qlib.contrib.report.model_numbers import model_numbers
from qlib.contrib.report.portfolio_numbers import portfolio_numbers
from qlib.contrib.report.signal_numbers import signal_numbers
from qlib.contrib.report.trial_numbers import trial_numbers
from qlib.contrib.report.words import plural, show
from qlib.data.provider import Provider

LONG = 100
SCHEMA = {"name": "qlib.run_report", "version": 2}


def build_twin(
    artifacts: Artifacts,
    settings: Settings,
    version: str | None,
    *,
    kept: Mapping[str, Any] | None = None,
    provider: Provider | None = None,
) -> dict[str, Any]:
    """Compute everything the report says.

    Parameters
    ----------
    kept
        What an earlier report of the run said of the store ("market"); it is not read again.
    provider
        Reads the run's store; None: it cannot be read.
    """
    market = market_of(artifacts, settings)
    twin: dict[str, Any] = {"schema": dict(SCHEMA), **facts(artifacts, market, version)}
    twin["title"] = _title(twin, artifacts)
    freq = freq_of(artifacts.pred.index.get_level_values(0)) if artifacts.pred is not None else "day"
    twin["signal"] = signal_numbers(artifacts, periods_per_year(freq, market.region) / 12, freq)
    portfolio = artifacts.portfolio
    twin["portfolio"] = (
        None
        if portfolio is None
        else portfolio_numbers(portfolio, periods_per_year(portfolio.freq, market.region), artifacts.pred)
    )
    twin["capacity"] = None if portfolio is None else portfolio.capacity
    twin["model_numbers"] = model_numbers(artifacts.model, artifacts.model_why, artifacts.history)
    twin["market"] = _market(twin, artifacts, freq, kept, provider)
    ic = (twin["signal"] or {}).get("ic")
    year = twin["portfolio"]["periods_per_year"] if twin["portfolio"] else None
    twin["trials"] = trial_numbers(artifacts, ic["series"]["value"] if ic else None, year)
    twin["trades"] = None if portfolio is None else fills(portfolio.trades, portfolio.trade_files)
    twin["logged"] = artifacts.metrics
    twin = clean(twin)
    twin["caveats"] = caveats(twin)
    twin["summary"] = summary(twin)
    return twin


def _market(
    twin: dict[str, Any],
    artifacts: Artifacts,
    freq: str,
    kept: Mapping[str, Any] | None,
    provider: Provider | None,
) -> dict[str, Any]:
    if kept is not None:
        return dict(kept)
    if provider is None:
        return {"why": "the store was not at hand when this report was written"}
    task = artifacts.task or artifacts.config.get("task") or {}
    return market_numbers(artifacts, provider, freq, twin["dataset"]["segments"], universe_of(task))


def _title(twin: dict[str, Any], artifacts: Artifacts) -> str:
    model = (twin["model"] or {}).get("class") or artifacts.params.get("model.class") or "A run"
    market = twin["data"]["market"]
    name = str(model).rpartition(".")[2]
    return f"{name} on market \u201c{market}\u201d" if isinstance(market, str) else name


def summary(twin: dict[str, Any]) -> list[str]:
    """The outcome in sentences."""
    lines = []
    signal, held = twin["signal"], twin["portfolio"]
    if signal and signal["ic"]:
        ic = signal["ic"]
        error = ic["standard_error"]
        spread = f" ± {show(error, 'coefficient')} (one standard error)" if error is not None else ""
        lines.append(
            f"Mean IC {show(ic['mean'], 'coefficient')}{spread} over {plural(ic['periods'], 'period')}; "
            f"it was above zero in {show(ic['positive_share'], 'percent')} of them."
        )
        truth = twin["data"]["truth"] or {}
        oracle = truth.get("oracle_ic")
        if oracle and truth.get("planted_ic") and signal["freq"] == "day":
            lines.append(
                "A pattern was planted in this market. Whoever knows it reaches an IC of "
                f"{show(oracle, 'coefficient')} over all its days (not only the days tested here)."
            )
    if held:
        bench = held["benchmark"]
        against = f", against {show(bench['total'], 'change')} for the benchmark" if bench else ""
        lines.append(
            f"From {held['first']} to {held['last']} the portfolio made {show(held['net']['total'], 'change')} after "
            f"costs ({show(held['gross']['total'], 'change')} before){against}; its deepest fall was "
            f"{show(abs(held['net']['max_drawdown']), 'percent')}."
        )
        trading = held["trading"]
        if trading["slippage_total"]:
            lines.append(
                "Had every fill been at the undisturbed price, without spread and impact, it would have shown "
                f"{show(trading['naive_total'], 'change')}: "
                f"{show(trading['optimism_gap'], 'points')} points of optimism."
            )
    return lines


def clean(value: Any) -> Any:
    """Plain JSON values: numpy numbers become Python's, NaN and infinity None."""
    if isinstance(value, dict):
        return {str(key): clean(part) for key, part in value.items()}
    if isinstance(value, list) and len(value) > LONG and isinstance(value[0], float):  # a series: floats and NaN
        seen = np.isfinite(np.array(value, dtype=float))
        return value if seen.all() else [part if kept else None for part, kept in zip(value, seen, strict=True)]
    if isinstance(value, list | tuple):
        return [clean(part) for part in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def dump(twin: dict[str, Any]) -> str:
    """The twin as JSON text: objects indented, each list of plain values on one line."""
    return _dump(twin, "") + "\n"


def _dump(value: Any, indent: str) -> str:
    inner = indent + " "
    if isinstance(value, dict) and value:
        body = ",\n".join(f"{inner}{_text(str(key))}: {_dump(part, inner)}" for key, part in value.items())
        return f"{{\n{body}\n{indent}}}"
    if isinstance(value, list) and value and isinstance(value[0], dict | list):
        return "[\n" + ",\n".join(inner + _dump(part, inner) for part in value) + f"\n{indent}]"
    return _text(value)


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
