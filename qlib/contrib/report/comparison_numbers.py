"""Several runs side by side, as numbers: `comparison.json`.

    runs          what each is called, when and on what it ran
    groups        rows of figures (signal, portfolio, luck, ...), one value a run, and which one is best
    shared        the same figures over the periods that all runs have: what a comparison should look at
    differences   settings that are not the same in all runs
    series        growth, drawdown and rolling IC, on the times of all runs together
    alike         correlation of the runs' net returns, and of their scores

Everything is taken from the twins of the runs' own reports, so a number here is the number there.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from qlib.contrib.report.artifacts import Artifacts
from qlib.contrib.report.numbers import clean
from qlib.contrib.report.page import pointed
from qlib.contrib.report.portfolio_numbers import drawdown
from qlib.contrib.report.times import stamp, stamps
from qlib.contrib.report.words import plural
from qlib.errors import InputError
from qlib.utils.nested import flatten_dict

SCHEMA = {"name": "qlib.run_comparison", "version": 1}
MOST = 8  # runs that can be told apart in one figure
# Words, where the number stands in the twin of a run, kind, and whether more of it is better (1), less (-1) or neither.
ROWS: tuple[tuple[str, tuple[tuple[str, str, str, int], ...]], ...] = (
    (
        "Signal",
        (
            ("IC", "/signal/ic/mean", "coefficient", 1),
            ("t of the IC", "/signal/ic/t", "ratio", 1),
            ("ICIR", "/signal/ic/ir", "ratio", 1),
            ("Rank IC", "/signal/rank_ic/mean", "coefficient", 1),
            ("Highest less lowest group", "/signal/groups/top_less_bottom/mean", "change", 1),
            ("Autocorrelation of the scores", "/signal/memory/mean/0", "ratio", 0),
        ),
    ),
    (
        "Portfolio",
        (
            ("Return a year, net", "/portfolio/net/annual", "change", 1),
            ("Return a year, before costs", "/portfolio/gross/annual", "change", 1),
            ("Benchmark, a year", "/portfolio/benchmark/annual", "change", 0),
            ("Excess a year, net", "/portfolio/excess/annual", "change", 1),
            ("Volatility a year", "/portfolio/net/volatility", "percent", -1),
            ("Sharpe ratio, net", "/portfolio/net/sharpe", "ratio", 1),
            ("Sortino ratio, net", "/portfolio/net/sortino", "ratio", 1),
            ("Information ratio", "/portfolio/excess/information_ratio", "ratio", 1),
            ("Deepest drawdown", "/portfolio/net/max_drawdown", "change", 1),
            ("Beta to the benchmark", "/portfolio/rolling/whole_beta", "ratio", 0),
            ("Turnover a period", "/portfolio/trading/turnover_mean", "percent", -1),
            ("Cost a year", "/portfolio/trading/cost_annual", "percent", -1),
            ("Invested, mean", "/portfolio/exposure/mean", "percent", 0),
            ("Holdings, mean", "/portfolio/holdings/mean", "decimal", 0),
            ("Forced closes", "/portfolio/sides/forced_closes", "count", -1),
        ),
    ),
    (
        "Luck and capacity",
        (
            ("Trials on these data", "/trials/ledger/trials", "count", 0),
            ("Probability to be skill", "/trials/ledger/dsr", "percent", 1),
            ("Probability to be above 0", "/trials/net/psr", "percent", 1),
            ("Capital that earns the most", "/capacity/best", "money", 1),
        ),
    ),
)
SETTINGS = ("model", "dataset", "backtest", "data")  # parts of the twin whose differences are told
UNTOLD = ("data.truth",)


def build_comparison(twins: Sequence[dict[str, Any]], artifacts: Sequence[Artifacts]) -> dict[str, Any]:
    """Compute the comparison of two to eight runs from their twins and artifacts, in the same order."""
    if not 2 <= len(twins) <= MOST:
        raise InputError(f"a comparison needs 2 to {MOST} runs; received {len(twins)}")
    twin: dict[str, Any] = {
        "schema": dict(SCHEMA),
        "title": f"{len(twins)} runs side by side",
        "runs": [_run(one, own) for one, own in zip(twins, _names(twins), strict=True)],
        "groups": [group for name, rows in ROWS if (group := _group(name, rows, twins))],
        "differences": _differences(twins),
        "series": _series(twins),
        "shared": _shared(twins),
        "alike": {"returns": _returns_alike(twins), "scores": _scores_alike(artifacts)},
    }
    twin = clean(twin)
    twin["caveats"] = _caveats(twin)
    return twin


def _names(twins: Sequence[dict[str, Any]]) -> list[str]:
    """Short names that tell the runs apart: the model's, with a letter."""
    models = [str((twin["model"] or {}).get("class") or "run").rpartition(".")[2] for twin in twins]
    return [f"{chr(65 + k)} {name}" for k, name in enumerate(models)]


def _run(twin: dict[str, Any], name: str) -> dict[str, Any]:
    signal, held, origin = twin["signal"] or {}, twin["portfolio"] or {}, twin["origin"] or {}
    return {
        "name": name,
        "id": twin["run"]["recorder_id"],
        "experiment": twin["run"]["experiment"],
        "title": twin["title"],
        "started": twin["run"]["start_time"],
        "market": twin["data"]["market"],
        "freq": signal.get("freq") or held.get("freq"),
        "first": held.get("first") or (signal.get("coverage") or {}).get("first"),
        "last": held.get("last") or (signal.get("coverage") or {}).get("last"),
        "snapshot": origin.get("snapshot"),
        "code": origin.get("code"),
        "synthetic": twin["data"]["synthetic"],
    }


def _group(
    name: str, rows: Sequence[tuple[str, str, str, int]], twins: Sequence[dict[str, Any]]
) -> dict[str, Any] | None:
    found = []
    for words, at, kind, better in rows:
        values = [pointed(twin, at) for twin in twins]
        if any(value is not None for value in values):
            found.append({"words": words, "at": at, "kind": kind, "values": values, "best": _best(values, better)})
    return {"name": name, "rows": found} if found else None


def _best(values: Sequence[float | None], better: int) -> int | None:
    """Place of the best value; None where neither way is better, one is missing, or several are best."""
    if not better or any(value is None for value in values):
        return None
    signed = [better * float(value) for value in values if value is not None]
    best = max(signed)
    return signed.index(best) if signed.count(best) == 1 else None


def _differences(twins: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Settings that are not the same in all runs, as their authors wrote them; None where a run has none."""
    flat = []
    for twin in twins:
        parts = {part: twin[part] for part in SETTINGS if twin[part]}
        flat.append({name: value for name, value in flatten_dict(parts).items() if not name.startswith(UNTOLD)})
    names = dict.fromkeys(name for one in flat for name in one)
    told = []
    for name in names:
        values = [one.get(name) for one in flat]
        if len({json.dumps(value, sort_keys=True, default=str) for value in values}) > 1:
            told.append({"setting": name, "values": values})
    return told


# ----------------------------------------------------------------------------------------------------------- series
def _series_of(twin: dict[str, Any], part: str, key: str) -> pd.Series | None:
    """A list of the twin with its times; None where the run has none."""
    if part == "portfolio":
        held = twin["portfolio"]
        found = None if held is None else (held["series"]["time"], held["series"][key])
    else:
        ic = (twin["signal"] or {}).get("ic")
        found = None if not ic or not ic["rolling_window"] else (ic["series"]["time"], ic["series"][key])
    if found is None:
        return None
    times = pd.to_datetime(pd.Series(found[0]), format="ISO8601")
    return pd.Series(np.array([np.nan if value is None else value for value in found[1]], float), pd.Index(times))


def _table(twins: Sequence[dict[str, Any]], part: str, key: str) -> pd.DataFrame | None:
    columns = {k: found for k, twin in enumerate(twins) if (found := _series_of(twin, part, key)) is not None}
    return pd.DataFrame(columns).sort_index() if columns else None


def _series(twins: Sequence[dict[str, Any]]) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for name, part, key in (
        ("growth", "portfolio", "net_growth"),
        ("drawdown", "portfolio", "drawdown"),
        ("ic", "signal", "rolling"),
    ):
        table = _table(twins, part, key)
        told[name] = None
        if table is not None and len(table) > 1:
            values = [table[k].tolist() if k in table else None for k in range(len(twins))]
            told[name] = {"time": stamps(table.index), "values": values}
    return told


def _shared(twins: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Return, volatility, Sharpe ratio and drawdown of each over the periods that all have; None without such."""
    table = _table(twins, "portfolio", "net")
    if table is None or table.shape[1] < len(twins) or len({twin["portfolio"]["freq"] for twin in twins}) > 1:
        return None
    net = table.dropna()
    if len(net) < 2:
        return None
    year = float(twins[0]["portfolio"]["periods_per_year"])
    grown = (1 + net).cumprod()
    std = net.std()
    values = {
        "total": (grown.iloc[-1] - 1).tolist(),
        "volatility": (std * np.sqrt(year)).tolist(),
        "sharpe": (net.mean() / std.where(std > 0) * np.sqrt(year)).tolist(),
        "max_drawdown": [float(drawdown(grown[k]).min()) for k in grown],
    }
    better = {"total": 1, "volatility": -1, "sharpe": 1, "max_drawdown": 1}
    return {
        "periods": len(net),
        "first": stamp(net.index[0]),
        "last": stamp(net.index[-1]),
        "values": values,
        "best": {name: _best([None if pd.isna(v) else v for v in values[name]], better[name]) for name in values},
    }


def _returns_alike(twins: Sequence[dict[str, Any]]) -> list[list[float | None]] | None:
    table = _table(twins, "portfolio", "net")
    if table is None or table.shape[1] < len(twins):
        return None
    return table.corr(min_periods=3).to_numpy().tolist()


def _scores_alike(artifacts: Sequence[Artifacts]) -> list[list[float | None]] | None:
    """Mean over the periods of the correlation of two runs' scores."""
    if any(one.pred is None for one in artifacts):
        return None
    table = pd.DataFrame({k: one.pred for k, one in enumerate(artifacts)}).dropna()
    if table.empty:
        return None
    centred = table - table.groupby(level=0).transform("mean")
    size = centred.pow(2).groupby(level=0).sum().pow(0.5)
    n = len(artifacts)
    told: list[list[float | None]] = [[1.0] * n for _ in range(n)]
    for a in range(n):
        for b in range(a):
            product = (centred[a] * centred[b]).groupby(level=0).sum()
            scale = size[a] * size[b]
            found = (product / scale.where(scale > 0)).mean()
            told[a][b] = told[b][a] = None if pd.isna(found) else float(found)
    return told


# ---------------------------------------------------------------------------------------------------------- caveats
def _caveats(twin: dict[str, Any]) -> list[dict[str, str]]:
    runs = twin["runs"]
    told = []
    if any(run["synthetic"] for run in runs):
        told.append(("synthetic", "alarm", "Some of these prices are synthetic: they say nothing about a real market."))
    for key, words in (("market", "universe"), ("freq", "bar size")):
        if len({json.dumps(run[key], sort_keys=True) for run in runs}) > 1:
            text = f"The runs are not on the same {words}: " + _each(runs, key) + "."
            told.append((f"other_{key}", "alarm", text))
    if len({(run["first"], run["last"]) for run in runs}) > 1:
        shared = twin["shared"]
        also = f" Compare them over the {plural(shared['periods'], 'period')} that all have." if shared else ""
        text = "The runs do not cover the same time: " + _each(runs, "first", "last") + f".{also}"
        told.append(("other_time", "caution", text))
    known = {run["snapshot"] for run in runs}
    if None not in known and len(known) > 1:
        told.append(("other_data", "caution", "The runs did not read the same bytes: their snapshots differ."))
    if None not in {run["code"] for run in runs} and len({run["code"] for run in runs}) > 1:
        told.append(("other_code", "note", "The runs were not made by the same code."))
    told.append(
        (
            "best_of_many",
            "note",
            f"The best of {len(runs)} looks better than it is: whoever picks it has made {len(runs)} trials.",
        )
    )
    return [{"code": code, "level": level, "text": text} for code, level, text in told]


def _each(runs: Sequence[dict[str, Any]], *keys: str) -> str:
    return "; ".join(f"{run['name']} {' to '.join(str(run[key]) for key in keys)}" for run in runs)
