"""Figures of features: what is drawn is what the frame says, date by date."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from qlib.contrib.report.data import ana
from qlib.contrib.report.data.base import FeaAnalyser
from qlib.contrib.report.utils import sub_fig_generator
from qlib.errors import InputError

matplotlib = pytest.importorskip("matplotlib", reason="pip install qlib-crypto[plots]")
matplotlib.use("Agg")
plt = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture(autouse=True)
def shown(monkeypatch):
    """Count the times figures are shown, and close them all afterwards."""
    calls: list[int] = []
    monkeypatch.setattr(plt, "show", lambda: calls.append(len(plt.get_fignums())))
    yield calls
    plt.close("all")


@pytest.fixture
def features() -> pd.DataFrame:
    days = pd.date_range("2021-01-01", periods=6)
    index = pd.MultiIndex.from_product([days, list("abcdefgh")], names=["datetime", "instrument"])
    rng = np.random.default_rng(7)
    frame = pd.DataFrame({"x": rng.normal(size=48), "y": rng.normal(size=48)}, index=index)
    frame["holes"] = frame["x"].where(np.arange(48) % 5 != 0)
    frame["wild"] = frame["y"].where(np.arange(48) % 7 != 0, np.inf)
    frame["word"] = np.where(np.arange(48) % 2, "a", "b")
    return frame


def lines(figure: int = 1) -> dict[str, np.ndarray]:
    """What is drawn: {title of the axes, label of the line: values}; a right axis bears the title of its left one."""
    axes = plt.figure(figure).axes
    titles = {tuple(ax.get_position().bounds): ax.get_title() for ax in axes if ax.get_title()}
    return {
        f"{titles[tuple(ax.get_position().bounds)]} {line.get_label()}": np.asarray(line.get_ydata(), dtype=float)
        for ax in axes
        for line in ax.lines
    }


def test_mean_and_deviation_leave_infinite_values_and_words_out(features):
    ana.FeaMeanStd(features).plot_all(col_n=4)
    drawn = lines()
    groups = features.groupby(level="datetime")
    np.testing.assert_allclose(drawn["x mean"], groups["x"].mean())
    np.testing.assert_allclose(drawn["holes std"], groups["holes"].std())
    finite = features["wild"].replace(np.inf, np.nan).groupby(level="datetime")
    np.testing.assert_allclose(drawn["wild mean"], finite.mean())
    assert not any(name.startswith("word") for name in drawn)


def test_skew_and_kurtosis_are_pandas(features):
    ana.FeaSkewTurt(features[["x"]]).plot_all(col_n=1)
    groups = features["x"].groupby(level="datetime")
    np.testing.assert_allclose(lines()["x skew"], groups.skew())
    np.testing.assert_allclose(lines()["x kurt"], groups.apply(pd.Series.kurt))


def test_missing_values_are_counted_and_columns_without_any_left_out(features):
    ana.FeaNanAna(features).plot_all(col_n=2)
    missing = features["holes"].isna().groupby(level="datetime")
    assert list(lines()) == ["holes holes"]
    np.testing.assert_array_equal(lines()["holes holes"], missing.sum())
    ana.FeaNanAnaRatio(features).plot_all(col_n=2)
    np.testing.assert_allclose(lines(2)["holes holes"], missing.mean())


def test_infinite_values_are_counted_and_words_have_none(features):
    ana.FeaInfAna(features).plot_all(col_n=2)
    assert list(lines()) == ["wild wild"]
    np.testing.assert_array_equal(lines()["wild wild"], np.isinf(features["wild"]).groupby(level="datetime").sum())


def test_distinct_values_are_counted_words_included(features):
    ana.ValueCNT(features).plot_all(col_n=5)
    assert lines()["word word"].tolist() == [2.0] * 6
    np.testing.assert_array_equal(
        lines()["holes holes"], features["holes"].groupby(level="datetime").nunique(dropna=False)
    )
    ana.ValueCNT(features, ratio=True).plot_all(col_n=5)
    assert lines(2)["word word"].tolist() == [0.25] * 6


def test_autocorrelation_compares_with_the_date_before(features):
    ana.FeaACAna(features).plot_all(col_n=4)
    table = features["x"].unstack()
    want = [np.nan, *(table.iloc[k].corr(table.iloc[k - 1]) for k in range(1, 6))]
    np.testing.assert_allclose(lines()["x x"], want)


def test_the_histogram_counts_every_finite_value(features):
    ana.FeaDistAna(features).plot_all(col_n=4)
    counted = {ax.get_title(): sum(bar.get_height() for bar in ax.patches) for ax in plt.figure(1).axes}
    assert counted == {"x": 48, "y": 48, "holes": features["holes"].count(), "wild": 48 - 7}


def test_raw_values_share_one_scale(features):
    ana.RawFeaAna(features[["x", "y"]]).plot_all(col_n=2)
    left, right = plt.figure(1).axes
    assert left.get_ylim() == right.get_ylim()
    np.testing.assert_array_equal(lines()["x x"], features["x"])


def test_several_kinds_stand_below_each_other(features):
    ana.CombFeaAna(features[["x", "holes"]], ana.FeaMeanStd, ana.FeaNanAna).plot_all(sub_figsize=(4, 2), col_n=2)
    figure = plt.figure(1)
    assert figure.get_size_inches().tolist() == [8, 4]
    grid = {}
    for ax in figure.axes:
        spec = ax.get_subplotspec()
        grid.setdefault((spec.rowspan.start, spec.colspan.start), []).extend(line.get_label() for line in ax.lines)
    assert grid == {(0, 0): ["mean", "std"], (0, 1): ["mean", "std"], (1, 0): [], (1, 1): ["holes"]}


def test_more_columns_make_more_figures_each_shown_once(features, shown):
    ana.FeaMeanStd(features).plot_all(col_n=2)
    assert len(plt.get_fignums()) == 2
    assert shown == [1, 2]


def test_the_order_of_the_index_does_not_matter(features):
    turned = features.swaplevel().sort_index()
    ana.FeaACAna(turned[["x"]]).plot_all(col_n=1)
    ana.FeaACAna(features[["x"]]).plot_all(col_n=1)
    np.testing.assert_allclose(lines(1)["x x"], lines(2)["x x"])


def test_a_figure_leaves_no_empty_frames_and_writes_few_dates(features):
    ana.FeaMeanStd(features[["x"]]).plot_all(col_n=3)
    used, *empty = [ax for ax in plt.figure(1).axes if ax.get_subplotspec().colspan.start >= 0][:3]
    assert used.axison
    assert not any(ax.axison for ax in empty)
    plt.figure(1).canvas.draw()
    assert 2 <= sum(bool(label.get_text()) for label in used.get_xticklabels()) <= 6


def test_axes_come_one_after_the_other_and_rows_as_arrays(shown):
    axes = sub_fig_generator((4, 2), col_n=3)
    first = [next(axes) for _ in range(4)]
    assert len({ax.figure.number for ax in first}) == 2
    assert first[0].figure.get_size_inches().tolist() == [12, 2]
    axes.close()
    assert shown == [1, 2]
    column = next(sub_fig_generator(col_n=2, row_n=3))
    assert column.shape == (3,)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda f: ana.FeaMeanStd(f.reset_index(drop=True)), "by .datetime, instrument. is needed"),
        (lambda f: ana.FeaMeanStd(f.head(0)), "empty"),
        (lambda f: ana.FeaMeanStd(f["x"]), "received Series"),
        (lambda f: ana.CombFeaAna(f, ana.FeaMeanStd), "at least two"),
        (lambda f: ana.FeaMeanStd(f).plot_all(row_n=2), "one row"),
        (lambda f: next(sub_fig_generator(col_n=0)), "at least 1"),
    ],
)
def test_what_cannot_be_drawn_is_said(features, wrong, said):
    with pytest.raises(InputError, match=said):
        wrong(features)


def test_a_kind_of_ones_own_says_what_it_computes_and_draws(features):
    class Median(ana.NumFeaAnalyser):
        def calc_stat_values(self):
            self.median = self._dataset[["x"]].groupby(level="datetime").median()

        def plot_single(self, col, ax):
            ax.plot(self.median[col], label="median")

    Median(features[["x"]]).plot_all(col_n=1)
    np.testing.assert_allclose(lines()["x median"], features["x"].groupby(level="datetime").median())
    with pytest.raises(NotImplementedError, match="plot_single"):
        FeaAnalyser(features).plot_single("x", None)
