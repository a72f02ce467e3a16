"""Signals: read by time, and refused with one sentence where they cannot mean anything."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlib.backtest.signal import ModelSignal, Signal, SignalWCache, create_signal_from
from qlib.errors import ConfigError

DAYS = pd.date_range("2024-01-01", periods=3)
INDEX = pd.MultiIndex.from_product([DAYS, ["A", "B"]], names=["datetime", "instrument"])
SCORES = pd.Series([1.0, 2.0, 3.0, np.nan, 5.0, 6.0], index=INDEX, name="score")


def scores_of(signal: Signal, start, end) -> dict[str, float] | None:
    found = signal.get_scores(pd.Timestamp(start), pd.Timestamp(end))
    if found is None:
        return None
    return {name: found.values[i] for name, i in found.column.items() if not np.isnan(found.values[i])}


@pytest.mark.parametrize(
    "signal",
    [SCORES, SCORES.to_frame(), SCORES.iloc[::-1], SCORES.swaplevel(), SCORES.swaplevel().sort_index(),
     SCORES.rename_axis([None, None]), SCORES.to_frame().assign(other="x")[["score"]],
     SCORES.set_axis(INDEX.set_levels(INDEX.levels[0].astype(str), level=0))],
    ids=["series", "frame", "reversed", "swapped", "sorted by name", "unnamed", "columns", "times as text"],
)  # fmt: skip
def test_a_step_sees_the_last_score_of_each_name_in_its_range(signal):
    made = create_signal_from(signal)
    assert scores_of(made, "2024-01-01", "2024-01-01 23:59:59") == {"A": 1.0, "B": 2.0}
    assert scores_of(made, "2024-01-01", "2024-01-02 23:59:59") == {"A": 3.0, "B": 2.0}
    assert scores_of(made, "2024-01-02", "2024-01-03") == {"A": 5.0, "B": 6.0}
    assert scores_of(made, "2024-02-01", "2024-02-03") is None
    table = made.get_signal(pd.Timestamp("2024-01-01"), pd.Timestamp("2024-01-02"))
    column = table.iloc[:, 0] if isinstance(table, pd.DataFrame) else table
    assert column.to_dict() == {"A": 3.0, "B": 2.0}
    assert made.get_signal(pd.Timestamp("2024-02-01"), pd.Timestamp("2024-02-02")) is None


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3), st.floats(-5, 5)), max_size=15),
    st.integers(0, 5),
    st.integers(0, 5),
)
def test_arrays_and_frames_say_the_same(rows, low, high):
    unique = {(day, name): score for day, name, score in rows}
    index = (
        pd.MultiIndex.from_tuples(
            [(pd.Timestamp("2024-01-01") + pd.Timedelta(days=d), f"N{n}") for d, n in unique],
            names=["datetime", "instrument"],
        )
        if unique
        else INDEX[:0]
    )
    signal = SignalWCache(pd.Series(list(unique.values()), index=index, dtype=float))
    start, end = (pd.Timestamp("2024-01-01") + pd.Timedelta(days=d) for d in (low, high))
    frame = signal.get_signal(start, end)
    assert scores_of(signal, start, end) == (None if frame is None else frame.to_dict())


WORDS = pd.MultiIndex.from_product([list("xyz"), ["A", "B"]], names=["day", "instrument"])


@pytest.mark.parametrize(
    ("signal", "message"),
    [
        (pd.concat([SCORES, SCORES.iloc[2:3]]), "A has several scores at 2024-01-02"),
        (SCORES.replace(2.0, np.inf), "the score of B at 2024-01-01 00:00:00 is infinite"),
        (SCORES.reset_index(drop=True), "two levels datetime and instrument are needed"),
        (SCORES.droplevel(0), "levels .'instrument'.; the two levels datetime and instrument"),
        (SCORES.set_axis(WORDS), "no level of its index holds times"),
        (SCORES.set_axis(WORDS.rename(["datetime", "instrument"])), "its level datetime holds no times"),
        (SCORES.set_axis(INDEX.set_levels(DAYS.tz_localize("UTC"), level=0)), "carry the zone UTC"),
        (SCORES.astype(str), "not numbers"),
        (SCORES.to_frame()[[]], "the frame has no column"),
        (5, "received int"),
        (None, "received NoneType"),
    ],
)  # fmt: skip
def test_a_signal_that_means_nothing_is_refused(signal, message):
    with pytest.raises(ConfigError, match=message):
        create_signal_from(signal)


def test_the_given_frame_is_not_changed():
    before = SCORES.copy(deep=True)
    create_signal_from(SCORES)
    pd.testing.assert_series_equal(SCORES, before)


class Constant:
    def predict(self, dataset):
        return SCORES.to_frame() * dataset


def test_a_model_predicts_once_at_construction():
    for made in (
        create_signal_from((Constant(), 2.0)),
        create_signal_from([Constant(), 2.0]),
        ModelSignal(Constant(), 2.0),
    ):
        assert isinstance(made, ModelSignal)
        assert scores_of(made, "2024-01-01", "2024-01-01") == {"A": 2.0, "B": 4.0}


class Half(SignalWCache):
    def get_signal(self, start_time, end_time):
        found = super().get_signal(start_time, end_time)
        return None if found is None else found / 2


def test_a_subclass_with_its_own_scores_is_asked_for_them():
    assert scores_of(Half(SCORES), "2024-01-01", "2024-01-01") == {"A": 0.5, "B": 1.0}


def test_a_configuration_makes_a_signal():
    made = create_signal_from(
        {"class": "SignalWCache", "module_path": "qlib.backtest.signal", "kwargs": {"signal": SCORES}}
    )
    assert scores_of(made, "2024-01-01", "2024-01-01") == {"A": 1.0, "B": 2.0}


@pytest.mark.parametrize("kind", ["parquet", "parquet without an index", "csv", "pkl", "text"])
def test_a_file_of_scores_is_a_signal(kind, tmp_path):
    frame = SCORES.to_frame()
    path = tmp_path / f"pred.{kind.split()[0].replace('text', 'csv')}"
    if kind == "csv":
        frame.to_csv(path)
    elif kind == "text":
        frame.rename(index={"A": "000001", "B": "000002"}, level=1).to_csv(path)
    elif kind == "pkl":
        frame.to_pickle(path)
    else:
        (frame.reset_index() if "without" in kind else frame).to_parquet(path)
    names = ["000001", "000002"] if kind == "text" else ["A", "B"]
    for source in (path, str(path)):
        made = create_signal_from(source)
        assert scores_of(made, "2024-01-01", "2024-01-01") == dict(zip(names, [1.0, 2.0], strict=True))


class Loud:
    def __reduce__(self):
        return (print, ("never",))


def test_a_file_that_is_not_there_or_holds_something_else_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"there is no file .*pred.parquet .looked from"):
        create_signal_from(tmp_path / "pred.parquet")
    pd.to_pickle({"a": 1}, tmp_path / "pred.pkl")
    with pytest.raises(ConfigError, match="holds a dict; a Series or DataFrame is allowed"):
        create_signal_from(str(tmp_path / "pred.pkl"))
    pd.to_pickle(Loud(), tmp_path / "pred.pkl")
    with pytest.raises(Exception, match="print"):
        create_signal_from(str(tmp_path / "pred.pkl"))


def test_rows_of_two_times_that_look_like_one_are_told_apart():
    """Four rows and four names, but B of the second day comes after A and C of the first."""
    rows = {(DAYS[0], "A"): 1.0, (DAYS[0], "C"): 3.0, (DAYS[1], "B"): 2.0, (DAYS[1], "D"): 4.0}
    made = SignalWCache(pd.Series(rows).rename_axis(["datetime", "instrument"]))
    assert scores_of(made, DAYS[0], DAYS[1]) == {"A": 1.0, "B": 2.0, "C": 3.0, "D": 4.0}


def steps(*days: str) -> list[tuple[pd.Timestamp, pd.Timestamp]]:
    return [(pd.Timestamp(day), pd.Timestamp(day) + pd.Timedelta(hours=23)) for day in days]


@pytest.mark.parametrize(
    ("scores", "quoted", "days", "wrong", "odd"),
    [
        (SCORES.dropna(), "AB", ["2024-01-01", "2024-01-02"], None, []),
        (SCORES.dropna(), "AB", ["2023-12-31", "2024-01-01"], None, []),
        (SCORES.dropna(), "AB", ["2023-12-30", "2023-12-31", "2024-01-01"], None, ["2 of 3 steps have no score"]),
        (SCORES.dropna(), "AB", ["2024-01-03", "2024-01-04"], None, ["1 of 2 steps have no score .* 2024-01-04"]),
        (SCORES.dropna(), "A", ["2024-01-01"], None, ["1 of 2 instruments have no quotes and are never traded: B"]),
        (SCORES, "AB", ["2024-01-01", "2024-01-02"], None, ["1 of 4 scores are NaN: such a name is not bought"]),
        (SCORES, "AB", ["2024-02-01"], "from 2024-01-01 .* to 2024-01-03 .*, but .* of 2024-02-01", []),
        (SCORES[:0], "AB", ["2024-02-01"], "its scores are none", []),
        (SCORES, ["a1", "b1"], ["2024-01-01"], "none of its 2 .* has quotes, the first is A; did you mean a1", []),
        (SCORES * np.nan, "AB", ["2024-01-01"], "every score is NaN", []),
    ],
)  # fmt: skip
def test_what_is_odd_about_scores_is_said_before_the_first_step(scores, quoted, days, wrong, odd):
    got, doubts = SignalWCache(scores).doubts(list(quoted), steps(*days))
    assert (got is None) == (wrong is None)
    if wrong:
        assert re.search(wrong, got)
    assert len(doubts) == len(odd)
    for sentence, expected in zip(doubts, odd, strict=True):
        assert re.search(expected, sentence)
