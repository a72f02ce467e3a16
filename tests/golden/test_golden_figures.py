"""Qlib's plotly figures: every trace, every value and the layout as pyqlib 0.9.7 draws them.

`figures.json` was made by `figures.py` over the inputs of `figures_inputs.py`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import figures_inputs as inputs
import numpy as np
import pytest

import qlib
from qlib.backtest.position import Position
from qlib.contrib.evaluate import risk_analysis
from qlib.contrib.report import GRAPH_NAME_LIST, analysis_model, analysis_position, graph
from qlib.contrib.report.analysis_model.analysis_model_performance import ic_figure
from qlib.contrib.report.analysis_position.parse_position import get_position_data, parse_position
from qlib.contrib.report.data import ana
from qlib.contrib.report.utils import guess_plotly_rangebreaks

ANSWERS = json.loads((Path(__file__).parent / "figures.json").read_text())
ADDED = {"showlegend"}  # Qlib's Q-Q figure has a legend of "trace 2" and "trace 3"
QUIET: dict[str, Any] = {"show_notebook": False}
# Qlib's spelling mistake of an axis title
SPELLED = {"label-rank-ratio: %": "lable-rank-ratio: %"}


@pytest.fixture(autouse=True, scope="module")
def qlibs_numbers(tmp_path_factory):
    qlib.init(provider_uri=str(tmp_path_factory.mktemp("empty")), region="cn", compat="qlib")


def draw(name: str) -> Any:
    kind, _, rest = name.partition(", ")
    if kind == "report":
        return analysis_position.report_graph(inputs.falling() if rest else inputs.report(), **QUIET)
    if kind == "score_ic":
        breaks = {"rangebreaks": [{"bounds": ["sat", "mon"]}]} if rest else {}
        return analysis_position.score_ic_graph(inputs.pred_label(), **breaks, **QUIET)
    if kind == "risk":
        report = None if rest == "whole" else inputs.report()
        sides = inputs.long_short() if rest == "sides" else None
        return analysis_position.risk_analysis_graph(inputs.risks(risk_analysis), report, sides, **QUIET)
    if kind == "ic":
        table = inputs.table()
        return [ic_figure(table[["return"]], show_nature_day=False) if rest else ic_figure(table[["return", "bench"]])]
    if kind == "cumulative":
        held = inputs.positions(Position)
        given = inputs.RANGES[rest]
        return analysis_position.cumulative_return_graph(held, inputs.report(), inputs.label_data(), **QUIET, **given)
    if kind == "rank":
        held = inputs.positions(Position)
        return analysis_position.rank_label_graph(held, inputs.label_data(), **QUIET, **inputs.RANGES[rest])
    if kind == "model":
        return analysis_model.model_performance_graph(inputs.pred_label(), **QUIET, **inputs.MODEL[rest])
    if kind == "SubplotsGraph":
        return [graph.SubplotsGraph(inputs.table(), **inputs.SUBPLOTS[rest]).figure]
    if kind == "DistplotGraph":
        return [graph.DistplotGraph(inputs.table(), graph_kwargs={"bin_size": 0.01}).figure]
    return [getattr(graph, kind)(inputs.table(), **(inputs.STYLE if rest else {})).figure]


def same(mine: Any, answer: Any, where: str) -> None:
    """Compare two JSON values, numbers to 1e-12."""
    if isinstance(answer, dict):
        mine = {key: value for key, value in mine.items() if key in answer or key not in ADDED}
        assert sorted(mine) == sorted(answer), where
        for key in answer:
            same(mine[key], answer[key], f"{where}.{key}")
    elif isinstance(answer, list) and answer and all(isinstance(v, float | int | None) for v in answer):
        np.testing.assert_allclose(
            np.array(mine, dtype=float), np.array(answer, dtype=float), rtol=1e-12, atol=1e-12, err_msg=where
        )
    elif isinstance(answer, list):
        assert len(mine) == len(answer), where
        for number, (left, right) in enumerate(zip(mine, answer, strict=True)):
            same(left, right, f"{where}[{number}]")
    elif isinstance(answer, float):
        assert mine == pytest.approx(answer, rel=1e-12, abs=1e-12), where
    else:
        assert (SPELLED.get(mine, mine) if isinstance(mine, str) else mine) == answer, where


@pytest.mark.parametrize("name", ANSWERS["figures"])
def test_a_figure_is_qlibs_trace_by_trace(name):
    got = draw(name)
    assert type(got).__name__ == ANSWERS["figures"][name]["type"]
    facts = [inputs.facts(figure) for figure in got]
    same(facts, ANSWERS["figures"][name]["figures"], name)


@pytest.mark.parametrize("name", inputs.TIMES)
def test_breaks_of_a_time_axis_are_qlibs(name):
    assert inputs.plain(guess_plotly_rangebreaks(inputs.TIMES[name])) == ANSWERS["breaks"][name]


def test_the_list_of_figures_is_qlibs():
    assert ANSWERS["names"] == GRAPH_NAME_LIST


def test_positions_as_a_table_are_qlibs():
    equals(parse_position(inputs.positions(Position)).sort_index(), ANSWERS["parse_position"])
    data = get_position_data(
        inputs.positions(Position), inputs.pred_label()[["label"]], inputs.report(), calculate_label_rank=True
    )
    equals(data.sort_index(), ANSWERS["get_position_data"])


@pytest.mark.parametrize(("name", "given"), inputs.FEATURES)
def test_figures_of_features_draw_qlibs_lines(name, given, monkeypatch):
    plt = pytest.importorskip("matplotlib.pyplot", reason="pip install qlib-crypto[plots]")
    monkeypatch.setattr(plt, "show", lambda: None)
    mine = inputs.drawn_lines(ana, plt, name, given)
    same([values for _, values in mine], [values for _, values in ANSWERS["features"][name]], name)
    assert [said for said, _ in mine] == [said for said, _ in ANSWERS["features"][name]]


def equals(frame: Any, answer: dict[str, Any]) -> None:
    frame = frame.iloc[::3]
    assert list(frame.index.names) == answer["names"]
    assert list(frame.columns) == answer["columns"]
    assert [[name, str(time)] for name, time in frame.index] == answer["index"]
    np.testing.assert_allclose(frame, np.array(answer["values"], dtype=float), rtol=1e-12, atol=1e-15)
