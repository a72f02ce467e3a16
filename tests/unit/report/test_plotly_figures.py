"""Qlib's plotly figures where they are right by default: what is counted, what is left out, what cannot be drawn.

That every value is Qlib's under compat="qlib" stands in tests/golden/test_golden_figures.py.
"""

from __future__ import annotations

import copy
import logging

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from proof import cases

import qlib
from qlib.backtest.position import Position
from qlib.contrib.report import GRAPH_NAME_LIST, analysis_model, analysis_position
from qlib.contrib.report.analysis_model.analysis_model_performance import autocorrelation, ic_figure, turnover
from qlib.contrib.report.analysis_position.cumulative_return import excess
from qlib.contrib.report.analysis_position.parse_position import get_position_data, parse_position
from qlib.contrib.report.analysis_position.report import growth
from qlib.contrib.report.graph import BaseGraph, DistplotGraph, ScatterGraph, SubplotsGraph
from qlib.errors import InputError, MissingDataError

QUIET = {"show_notebook": False}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return str(tmp_path_factory.mktemp("empty"))


@pytest.fixture(autouse=True)
def by_default(store):
    qlib.init(provider_uri=store, region="cn")


@pytest.fixture
def as_qlib(store):
    return lambda: qlib.init(provider_uri=store, region="cn", compat="qlib")


def scores(days: int = 20, names: int = 12) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    index = pd.MultiIndex.from_product(
        [pd.date_range("2021-01-01", periods=days), [f"C{k:02d}" for k in range(names)]],
        names=["datetime", "instrument"],
    )
    label = rng.normal(0, 0.02, len(index))
    return pd.DataFrame({"score": label + rng.normal(0, 0.05, len(index)), "label": label}, index=index)


def report(days: int = 10, **columns) -> pd.DataFrame:
    rng = np.random.default_rng(5)
    index = pd.date_range("2021-01-01", periods=days, name="datetime")
    frame = pd.DataFrame({name: rng.normal(0, 0.01, days) for name in ("return", "bench")}, index=index)
    return frame.assign(cost=0.001, turnover=0.2).assign(**columns)


def held(*days: dict[str, float]) -> dict[pd.Timestamp, Position]:
    out = {}
    for day, names in zip(pd.date_range("2021-01-01", periods=len(days)), days, strict=True):
        out[day] = Position(cash=10.0, position_dict={})
        for name, amount in names.items():
            out[day].position[name] = {"amount": amount, "price": 2.0}
    return out


def labels(days: int, **names: float) -> pd.DataFrame:
    index = pd.MultiIndex.from_product(
        [pd.date_range("2021-01-01", periods=days), list(names)], names=["datetime", "instrument"]
    )
    return pd.DataFrame({"label": np.tile(list(names.values()), days)}, index=index)


def drawn(figure: go.Figure) -> dict[str, np.ndarray]:
    return {trace.name: np.asarray(trace.y, dtype=float) for trace in figure.data}


def test_every_name_belongs_to_a_group_and_in_qlib_those_left_over_to_none(as_qlib):
    frame = scores()
    curves = drawn(analysis_model.model_performance_graph(frame, N=5, graph_names=["group_return"], **QUIET)[0])
    day = frame.loc["2021-01-01"].sort_values("score", ascending=False)["label"]
    assert curves["Group5"][0] == pytest.approx(day.iloc[10:].mean())  # 12 names: 3, 2, 3, 2, 2
    assert curves["Group1"][0] == pytest.approx(day.iloc[:3].mean())
    as_qlib()
    curves = drawn(analysis_model.model_performance_graph(frame, N=5, graph_names=["group_return"], **QUIET)[0])
    assert curves["Group5"][0] == pytest.approx(day.iloc[8:10].mean())


@pytest.mark.parametrize(("frame", "groups"), [(scores(days=1), 5), (scores(), 1)])
def test_bars_have_a_size_where_nothing_varies(frame, groups):
    drawn_bars = analysis_model.model_performance_graph(frame, N=groups, graph_names=["group_return"], **QUIET)[1].data
    assert all(trace.xbins.size > 0 for trace in drawn_bars if trace.type == "histogram")


def test_long_short_and_long_average_are_added_up(as_qlib):
    frame = scores()
    curves = drawn(analysis_model.model_performance_graph(frame, N=3, graph_names=["group_return"], **QUIET)[0])
    np.testing.assert_allclose(curves["long-short"], curves["Group1"] - curves["Group3"])
    average = frame["label"].groupby(level="datetime").mean().cumsum()
    np.testing.assert_allclose(curves["long-average"], curves["Group1"] - average, atol=1e-15)


def test_scores_are_compared_date_by_date_over_the_names_of_both(as_qlib):
    frame = scores(6, 8)
    frame = frame.drop(index=(pd.Timestamp("2021-01-03"), "C02"))
    table = frame["score"].unstack()
    want = [np.nan, *(table.iloc[k].corr(table.iloc[k - 1], method="spearman") for k in range(1, 6))]
    np.testing.assert_allclose(autocorrelation(frame["score"], 1), want)
    given = {"graph_names": ["pred_autocorr"], **QUIET}
    np.testing.assert_allclose(drawn(analysis_model.model_performance_graph(frame, **given)[0])["value"], want)
    as_qlib()
    qlibs = drawn(analysis_model.model_performance_graph(frame, **given)[0])["value"]
    assert not np.isclose(qlibs[3], want[3])  # the day after the hole: compared with a score two days old


def test_a_name_that_is_gone_counts_as_replaced():
    days = pd.date_range("2021-01-01", periods=3)
    index = pd.MultiIndex.from_product([days, list("abcd")], names=["datetime", "instrument"])
    score = pd.Series([4.0, 3, 2, 1] * 3, index=index).drop((days[1], "a"))
    new = turnover(score, lag=1, n=2)
    assert new["Top"].iloc[0] != new["Top"].iloc[0]  # nothing to compare the first date with
    assert new["Top"].iloc[1:].tolist() == [0.0, 0.5]  # of b alone nothing is new; then a is back beside b
    assert new["Bottom"].iloc[1:].tolist() == [0.0, 0.5]


def test_the_first_date_of_the_turnover_is_unknown_and_in_qlib_a_number(as_qlib):
    given = {"graph_names": ["pred_turnover"], **QUIET}
    assert np.isnan(drawn(analysis_model.model_performance_graph(scores(), **given)[0])["Top"][0])
    as_qlib()
    assert np.isfinite(drawn(analysis_model.model_performance_graph(scores(), **given)[0])["Top"][0])


def test_rank_puts_the_rank_ic_first_and_in_qlib_does_nothing(as_qlib):
    frame = scores(40)
    given = {"graph_names": ["pred_ic"], "rank": True, **QUIET}
    bars, months, spread = analysis_model.model_performance_graph(frame, **given)
    assert [trace.name for trace in bars.data] == ["Rank IC", "IC"]
    assert months.layout.title.text == "Monthly Rank IC"
    assert np.nanmax(months.data[0].z) == pytest.approx(
        pd.Series(drawn(bars)["Rank IC"], index=pd.to_datetime(bars.data[0].x)).groupby(lambda t: t.month).mean().max()
    )
    assert spread.layout.annotations[1].text == "Rank IC Normal Dist. Q-Q"
    as_qlib()
    assert analysis_model.model_performance_graph(frame, **given)[1].layout.title.text == "Monthly IC"


def test_chosen_breaks_hold_in_every_figure_with_a_time_axis(as_qlib):
    breaks = [{"bounds": ["sat", "mon"]}]
    names = ["group_return", "pred_ic", "pred_autocorr", "pred_turnover"]
    figures = analysis_model.model_performance_graph(scores(), graph_names=names, rangebreaks=breaks, **QUIET)
    timed = [figure for figure in figures if figure.layout.xaxis.tickangle == 45]
    assert len(timed) == 4
    assert all(figure.layout.xaxis.rangebreaks[0].bounds == ("sat", "mon") for figure in timed)
    as_qlib()
    bars = analysis_model.model_performance_graph(scores(), graph_names=["pred_ic"], rangebreaks=breaks, **QUIET)[0]
    assert not bars.layout.xaxis.rangebreaks


def test_a_market_that_never_closes_has_no_breaks_and_hours_keep_their_time():
    hours = report(30)
    hours.index = pd.date_range("2021-01-01", periods=30, freq="h", name="datetime")
    curves = growth(hours)
    assert len(curves.index.unique()) == 31
    assert list(curves.index[:3]) == ["T0", "2021-01-01 00:00", "2021-01-01 01:00"]
    frame = scores().reset_index("datetime")
    frame["datetime"] = pd.Timestamp("2021-01-01") + (frame["datetime"] - frame["datetime"].min()) / 24
    figure = analysis_position.score_ic_graph(frame.set_index("datetime", append=True), **QUIET)[0]
    assert figure.layout.xaxis.rangebreaks == ()
    assert len(figure.data[0].x) == 20


def test_the_order_of_the_index_changes_no_figure():
    frame = scores()
    turned = frame.swaplevel().sort_index()
    mine, other = (analysis_model.model_performance_graph(f, **QUIET) for f in (frame, turned))
    assert [one.to_json() for one in mine] == [one.to_json() for one in other]


def test_a_fall_counts_from_the_starting_capital_and_in_qlib_from_the_first_bar(as_qlib):
    falling = report(4, **{"return": [-0.1, -0.1, 0.3, 0.0], "cost": 0.0})
    assert growth(falling)["return_wo_mdd"].round(9).tolist() == [0.0, -0.1, -0.2, 0.0, 0.0]
    band = analysis_position.report_graph(falling, **QUIET)[0].layout.shapes[0]
    assert (band.x0, band.x1) == ("T0", "2021-01-02")
    as_qlib()
    assert growth(falling)["return_wo_mdd"].round(9).tolist() == [0.0, 0.0, -0.1, 0.0, 0.0]
    band = analysis_position.report_graph(falling, **QUIET)[0].layout.shapes[0]
    assert (band.x0, band.x1) == ("2021-01-01", "2021-01-02")


def test_without_a_benchmark_the_curves_that_need_one_are_left_out():
    (figure,) = analysis_position.report_graph(report(bench=np.nan), **QUIET)
    assert set(drawn(figure)) == {
        "cum return wo cost", "cum return w cost", "return wo mdd", "return w cost mdd", "turnover",
    }  # fmt: skip
    assert len(figure.layout.shapes) == 1


def test_a_date_without_a_buy_has_no_point_and_in_qlib_the_best_place(as_qlib):
    positions = held({"a": 1.0}, {"a": 1.0}, {"a": 1.0, "b": 1.0})
    given = labels(3, a=0.1, b=0.2, c=0.3)
    bought = list(analysis_position.rank_label_graph(positions, given, **QUIET))[1]
    np.testing.assert_allclose(bought.data[0].y, [100.0, np.nan, 200 / 3])
    as_qlib()
    bought = list(analysis_position.rank_label_graph(positions, given, **QUIET))[1]
    np.testing.assert_allclose(bought.data[0].y, [100.0, 0.0, 200 / 3])


def test_places_are_counted_among_labels_and_in_qlib_among_rows(as_qlib):
    given = labels(1, a=0.1, b=0.2, c=np.nan, d=np.nan)
    place = get_position_data(held({"a": 1.0}), given, calculate_label_rank=True)["rank_ratio"]
    assert place.droplevel("datetime")[["a", "b"]].tolist() == [100.0, 50.0]
    as_qlib()
    place = get_position_data(held({"a": 1.0}), given, calculate_label_rank=True)["rank_ratio"]
    assert place.droplevel("datetime")[["a", "b"]].tolist() == [50.0, 25.0]


def test_what_was_sold_keeps_what_it_was_and_earns_what_came_after():
    positions = held({"a": 3.0, "b": 1.0}, {"b": 1.0}, {"b": 1.0})
    table = parse_position(positions)
    second = pd.Timestamp("2021-01-02")
    assert table.loc[("a", second), ["amount", "status", "weight"]].tolist() == [3.0, -1, 0.75]
    assert table.loc[("b", second), ["amount", "status", "weight"]].tolist() == [1.0, 0, 1.0]
    data = get_position_data(positions, labels(3, a=0.5, b=0.1), report(3, bench=[0.0, 0.01, 0.02]))
    sums = excess(data)
    # the bench of a date is that of the bar after, which the last date lacks
    assert sums["sell"]["value"].round(9).tolist() == [0.0, 0.36]
    assert sums["sell"]["cum"].round(9).tolist() == [0.0, 0.48]
    assert sums["buy"]["value"].round(9).tolist() == [0.39, 0.0]
    assert sums["hold"]["weight"].tolist() == [0.0, 1.0]
    assert sums["buy_minus_sell"]["cum"].round(9).tolist() == [0.39, -0.09]


def test_a_short_earns_when_its_label_falls_and_weighs_by_its_size():
    data = get_position_data(held({"a": 1.0, "b": -3.0}), labels(1, a=0.1, b=-0.2), report(2, bench=0.0))
    assert data["weight"].tolist() == [0.25, -0.75]
    bought = excess(data)["buy"]
    assert bought["weight"].tolist() == [1.0]
    assert bought["cum"].round(9).tolist() == [0.175]


def test_positions_are_left_as_they_were():
    positions = held({"a": 3.0, "b": 1.0}, {"b": 1.0})
    before = copy.deepcopy({day: one.position for day, one in positions.items()})
    for _ in range(2):
        parse_position(positions)
    assert {day: one.position for day, one in positions.items()} == before


def test_sides_are_drawn_month_by_month_and_in_qlib_not(as_qlib):
    sides = report(60)[["return", "bench"]].set_axis(["long", "short"], axis=1)
    figures = analysis_position.risk_analysis_graph(None, report(60), sides, **QUIET)
    assert [trace.name for trace in figures[0].data] == [
        "excess_return_with_cost_annualized_return", "excess_return_without_cost_annualized_return",
        "long_annualized_return", "short_annualized_return",
    ]  # fmt: skip
    as_qlib()
    assert len(analysis_position.risk_analysis_graph(None, report(60), sides, **QUIET)[0].data) == 2


def test_every_listed_figure_is_there():
    rooms = {"analysis_position": analysis_position, "analysis_model": analysis_model}
    for name in GRAPH_NAME_LIST:
        room, function = name.split(".")
        assert callable(getattr(rooms[room], function))


def test_outside_a_notebook_the_log_says_that_nothing_is_shown(caplog):
    logging.getLogger("qlib").propagate = True
    with caplog.at_level("WARNING"):
        assert analysis_position.report_graph(report()) is None
    assert "show_notebook=False returns them" in caplog.text


def test_a_distribution_has_area_one_by_bars_and_by_line():
    values = np.random.default_rng(1).normal(size=400)
    for kind in ("kde", "normal"):
        graph = DistplotGraph(pd.DataFrame({"x": values}), graph_kwargs={"bin_size": 0.25, "curve_type": kind})
        line = graph.data[1]
        assert np.trapezoid(line.y, line.x) == pytest.approx(1.0, abs=0.02)
    (bars,) = DistplotGraph(pd.DataFrame({"x": [2.0, 2.0]})).data  # equal values have no density
    assert bars.type == "histogram"


books = st.lists(
    st.dictionaries(st.sampled_from("abcde"), st.integers(-4, 4).filter(bool).map(float), max_size=5),
    min_size=1, max_size=6,
).filter(any)  # fmt: skip


@settings(max_examples=cases(15, 2000))
@given(books, st.integers(0, 1000))
def test_what_was_bought_sold_and_held_equals_the_slow_way(book, seed):
    days = pd.date_range("2021-01-01", periods=len(book) + 1)
    index = pd.MultiIndex.from_product([days, list("abcde")], names=["datetime", "instrument"])
    rng = np.random.default_rng(seed)
    label = pd.DataFrame({"label": rng.normal(size=len(index))}, index=index)
    rows = report(len(days), bench=rng.normal(size=len(days)))
    earned = excess(get_position_data(held(*book), label, rows))
    for number, day in enumerate(days[:-1]):
        now, past = book[number], book[number - 1] if number else {}
        groups = {
            "buy": {n: (now, a) for n, a in now.items() if n not in past},
            "hold": {n: (now, a) for n, a in now.items() if n in past},
            "sell": {n: (past, a) for n, a in past.items() if n not in now},
        }
        for name, members in groups.items():
            shares = {n: a / sum(abs(x) for x in held_then.values()) for n, (held_then, a) in members.items()}
            over = {n: label.loc[(day, n), "label"] - rows["bench"].iloc[number + 1] for n in members}
            if day in earned[name].index:
                got = earned[name].loc[day]
                assert got["value"] == pytest.approx(sum(shares[n] * over[n] for n in members), abs=1e-12)
                assert got["weight"] == pytest.approx(sum(abs(share) for share in shares.values()), abs=1e-12)
            else:
                assert not now
                assert not past


@settings(max_examples=cases(15, 2000))
@given(st.integers(0, 10_000), st.integers(1, 3), st.integers(1, 4))
def test_turnover_and_memory_of_scores_equal_the_slow_way(seed, lag, n):
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(rng.integers(0, 50, (6, 7)) + rng.random((6, 7)), index=pd.date_range("2021", periods=6))
    table = table.where(rng.random(table.shape) < 0.7)
    table.index.name, table.columns.name = "datetime", "instrument"
    score = table.stack().dropna()
    new, memory = turnover(score, lag, n), autocorrelation(score, lag)
    days = list(new.index)
    for number, day in enumerate(days[lag:], lag):
        now, before = score.loc[day], score.loc[days[number - lag]]
        both = now.index.intersection(before.index)
        slow = now[both].corr(before[both], method="spearman") if len(both) > 1 else np.nan
        assert memory[day] == pytest.approx(slow, abs=1e-12, nan_ok=True)
        best = set(now.nlargest(len(now) // n).index)
        if best:
            gone = best - set(before.nlargest(len(before) // n).index)
            assert new.loc[day, "Top"] == pytest.approx(len(gone) / len(best))
        else:
            assert np.isnan(new.loc[day, "Top"])


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: ScatterGraph(None), "a DataFrame is needed"),
        (lambda: ScatterGraph(pd.DataFrame()), "nothing to draw"),
        (lambda: ScatterGraph(report(), name_dict={"retrun": "R"}), "did you mean return"),
        (lambda: ScatterGraph(report(), layuot={}), "did you mean layout"),
        (lambda: BaseGraph(report()), "choose one of ScatterGraph"),
        (lambda: BaseGraph.get_instance_with_graph_parameters("BarGrap", df=report()), "did you mean BarGraph"),
        (lambda: SubplotsGraph(report(), kind_map={"kind": "Bars", "kwargs": {}}), "no graph is called 'Bars'"),
        (lambda: SubplotsGraph(report(), kindmap={}), "did you mean kind_map"),
        (lambda: DistplotGraph(report(), graph_kwargs={"bin_sizes": 1}), "did you mean bin_size"),
        (lambda: DistplotGraph(report(), graph_kwargs={"show_rug": True}), "only False"),
        (lambda: DistplotGraph(report(bench=np.nan)), "every row holds a NaN"),
        (lambda: analysis_position.report_graph(report().drop(columns="bench"), **QUIET), "no column bench"),
        (lambda: analysis_position.report_graph(report().head(0), **QUIET), "no rows"),
        (lambda: analysis_position.score_ic_graph(scores()[["score"]], **QUIET), "no column label"),
        (lambda: analysis_position.score_ic_graph(scores(), breaks=[], **QUIET), "did you mean rangebreaks"),
        (lambda: analysis_position.risk_analysis_graph(**QUIET), "neither analysis_df nor a report"),
        (lambda: analysis_position.risk_analysis_graph(report(), **QUIET), "column risk"),
        (lambda: analysis_model.model_performance_graph(scores().reset_index(drop=True), **QUIET), "index levels"),
        (
            lambda: analysis_model.model_performance_graph(scores(), graph_names=["pred_icc"], **QUIET),
            "did you mean pred_ic",
        ),
        (lambda: analysis_model.model_performance_graph(scores(), methods=["ic"], **QUIET), "allowed are 'IC'"),
        (lambda: analysis_model.model_performance_graph(scores(), lag=0, **QUIET), "at least 1"),
        (lambda: analysis_model.model_performance_graph(scores(), N=0, **QUIET), "at least 1"),
        (lambda: analysis_model.model_performance_graph(scores(), N=40, **QUIET), "no date has 40 names"),
        (lambda: ic_figure(report(), break_=1), "no argument"),
        (lambda: parse_position({}), "received nothing"),
        (lambda: parse_position(held({}, {})), "nothing was held"),
        (lambda: get_position_data(held({"a": 1.0}), scores()["label"]), "column label is needed"),
        (
            lambda: get_position_data(held({"a": 1.0}), labels(2, a=0.1), start_date="2022-01-01"),
            "from 2022-01-01 to the last",
        ),
    ],
)
def test_what_cannot_be_drawn_is_said(wrong, said):
    with pytest.raises((InputError, MissingDataError, NotImplementedError), match=said):
        wrong()
