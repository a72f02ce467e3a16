"""Signals: read by time, and refused with one sentence where they cannot mean anything."""

from __future__ import annotations

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
