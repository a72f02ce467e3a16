"""Record what pyqlib 0.9.7 draws for `figures_inputs.py`, into figures.json.

python tests/golden/figures.py          in an environment with pyqlib 0.9.7, plotly 6, statsmodels and seaborn
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import figures_inputs as inputs
import matplotlib.pyplot as plt
import plotly

from qlib.backtest.position import Position
from qlib.contrib.evaluate import risk_analysis
from qlib.contrib.report import GRAPH_NAME_LIST, analysis_model, analysis_position, graph
from qlib.contrib.report.analysis_position import parse_position
from qlib.contrib.report.data import ana
from qlib.contrib.report.utils import guess_plotly_rangebreaks


def drawn() -> dict[str, Callable[[], Iterable[Any]]]:
    """Return by name what draws figures; each call makes its inputs anew, because Qlib's functions change them."""
    position = analysis_position
    risks = lambda: inputs.risks(risk_analysis)  # noqa: E731
    quiet = {"show_notebook": False}
    out: dict[str, Callable[[], Iterable[Any]]] = {
        "report": lambda: position.report_graph(inputs.report(), **quiet),
        "report, falls at once": lambda: position.report_graph(inputs.falling(), **quiet),
        "score_ic": lambda: position.score_ic_graph(inputs.pred_label(), **quiet),
        "score_ic, chosen breaks": lambda: position.score_ic_graph(
            inputs.pred_label(), rangebreaks=[{"bounds": ["sat", "mon"]}], **quiet
        ),
        "risk": lambda: position.risk_analysis_graph(risks(), inputs.report(), **quiet),
        "risk, whole": lambda: position.risk_analysis_graph(risks(), **quiet),
        "risk, sides": lambda: position.risk_analysis_graph(risks(), inputs.report(), inputs.long_short(), **quiet),
        "ic": lambda: [analysis_model.analysis_model_performance.ic_figure(inputs.table()[["return", "bench"]])],
        "ic, working days": lambda: [
            analysis_model.analysis_model_performance.ic_figure(inputs.table()[["return"]], show_nature_day=False)
        ],
    }
    for name, given in inputs.RANGES.items():
        out[f"cumulative, {name}"] = lambda given=given: position.cumulative_return_graph(
            inputs.positions(Position), inputs.report(), inputs.label_data(), **quiet, **given
        )
        out[f"rank, {name}"] = lambda given=given: position.rank_label_graph(
            inputs.positions(Position), inputs.label_data(), **quiet, **given
        )
    for name, given in inputs.MODEL.items():
        out[f"model, {name}"] = lambda given=given: analysis_model.model_performance_graph(
            inputs.pred_label(), **quiet, **given
        )
    for kind in inputs.KINDS:
        out[kind] = lambda kind=kind: [getattr(graph, kind)(inputs.table()).figure]
        out[f"{kind}, styled"] = lambda kind=kind: [getattr(graph, kind)(inputs.table(), **inputs.STYLE).figure]
    out["DistplotGraph"] = lambda: [graph.DistplotGraph(inputs.table(), graph_kwargs={"bin_size": 0.01}).figure]
    for name, given in inputs.SUBPLOTS.items():
        out[f"SubplotsGraph, {name}"] = lambda given=given: [graph.SubplotsGraph(inputs.table(), **given).figure]
    return out


def answers() -> dict[str, Any]:
    """Return what figures.json holds."""
    figures = {}
    for name, draw in drawn().items():
        got = draw()
        figures[name] = {"type": type(got).__name__, "figures": [inputs.facts(one) for one in got]}
    held = parse_position.parse_position(inputs.positions(Position))
    label, ranked = inputs.pred_label()[["label"]], {"calculate_label_rank": True}
    data = parse_position.get_position_data(inputs.positions(Position), label, inputs.report(), **ranked)
    return {
        "names": GRAPH_NAME_LIST,
        "features": {name: inputs.drawn_lines(ana, plt, name, given) for name, given in inputs.FEATURES},
        "figures": figures,
        "breaks": {name: inputs.plain(guess_plotly_rangebreaks(times)) for name, times in inputs.TIMES.items()},
        "parse_position": rows(held.sort_index()),
        "get_position_data": rows(data.sort_index()),
    }


def rows(frame: Any) -> dict[str, Any]:
    """Return every third row of a frame by (instrument, datetime)."""
    frame = frame.iloc[::3]
    return {
        "names": list(frame.index.names),
        "columns": list(frame.columns),
        "index": [[name, str(time)] for name, time in frame.index],
        "values": [inputs.plain(row) for row in frame.to_numpy(dtype=float)],
    }


if __name__ == "__main__":
    text = json.dumps({"plotly": plotly.__version__, **answers()}, indent=None, separators=(",", ":"))
    Path(__file__).with_suffix(".json").write_text(text + "\n")
