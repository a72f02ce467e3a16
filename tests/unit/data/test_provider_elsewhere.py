"""Queries whose formulas read another instrument: rows, neighbours, messages."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import qlib
from qlib.config import build_settings
from qlib.data.data import ExpressionD
from qlib.data.provider import Provider
from qlib.data.storage.writer import write_store

DAYS = pd.date_range("2024-01-01", periods=40)
SPANS = {"INDEX": (3, 39), "OLD": (0, 20), "NEW": (15, 39), "BRIEF": (10, 12)}


@pytest.fixture(scope="module")
def frames() -> dict[str, pd.DataFrame]:
    rng = np.random.default_rng(4)
    whole = {name: pd.DataFrame(rng.uniform(1, 2, (40, 2)), DAYS, ["close", "open"]) for name in SPANS}
    whole["INDEX"].iloc[20:23] = np.nan
    return {name: whole[name].iloc[a : b + 1] for name, (a, b) in SPANS.items()}


@pytest.fixture(scope="module")
def root(tmp_path_factory, frames) -> Path:
    return write_store(frames, tmp_path_factory.mktemp("p") / "s", "day")


@pytest.fixture(params=[None, "qlib"])
def p(root, request) -> Provider:
    return Provider(build_settings(provider_uri=root, compat=request.param))


@pytest.fixture
def told():
    messages: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())
    logging.getLogger("qlib").addHandler(handler)
    yield messages
    logging.getLogger("qlib").removeHandler(handler)


def column(found: pd.DataFrame, name: str) -> pd.Series:
    return found.iloc[:, 0].loc[name]


def same(got: pd.Series, wanted: pd.Series) -> None:
    assert list(got.index) == list(wanted.index)
    np.testing.assert_allclose(got.to_numpy(), wanted.to_numpy(np.float32), rtol=1e-6, atol=1e-6)


# ------------------------------------------------------------------------------------------------ rows
def test_a_formula_about_another_has_its_rows_whoever_is_asked(p, frames, told):
    found = p.features(["NEW", "OLD", "nobody"], ["ChangeInstrument('INDEX',$close)"])
    for name in ("NEW", "OLD", "nobody"):
        same(column(found, name), frames["INDEX"]["close"])
    assert told == [f"no data in {p.store.root()} for nobody"]


def test_rows_are_those_of_both(p, frames):
    found = p.features(["NEW", "OLD"], ["$close/Mask($close,'index')"])
    close = frames["INDEX"]["close"]
    same(column(found, "OLD"), (frames["OLD"]["close"] / close).reindex(DAYS))
    same(column(found, "NEW"), (frames["NEW"]["close"] / close).reindex(DAYS[3:]))


def test_spans_and_times_cut_the_rows_of_both(p, frames):
    universe = {"NEW": [(DAYS[5], DAYS[8]), (DAYS[30], DAYS[31])], "OLD": [(DAYS[0], DAYS[4])]}
    found = p.features(universe, ["Mask($close,'index')"], DAYS[4], DAYS[30])
    assert list(column(found, "NEW").index) == [*DAYS[5:9], DAYS[30]] and list(column(found, "OLD").index) == [DAYS[4]]
    same(column(found, "NEW"), frames["INDEX"]["close"].loc[column(found, "NEW").index])


def test_the_history_of_the_other_is_read_too(p, frames):
    found = p.features(["BRIEF"], ["Mask(Mean($close,5),'INDEX')", "Mean(Mask($close,'INDEX'),5)"], DAYS[9], DAYS[11])
    mean = frames["INDEX"]["close"].rolling(5, min_periods=1).mean().loc[DAYS[9:12]]
    for place in (0, 1):
        np.testing.assert_allclose(found.iloc[:, place], mean, rtol=1e-6)


def test_its_own_rows_decide_a_formula_and_not_those_of_its_neighbours(p, frames):
    """WMA knows how long its window is: rows that another formula brings must not make it longer."""
    fields = ["WMA($close,4)", "Count($close,3)", "$close>1", "IdxMax($close,5)", "Mean($close,3)"]
    alone = p.features(["NEW", "OLD"], fields)
    beside = p.features(["NEW", "OLD"], [*fields, "Mask($close,'INDEX')", "Mask($close,'BRIEF')"])
    both = beside[fields].reindex(alone.index)
    pd.testing.assert_frame_equal(both, alone)
    assert beside[fields].drop(alone.index).isna().all().all() and len(beside) > len(alone)


def test_a_dead_name_has_no_value_after_its_last_bar(p, frames):
    found = p.features(["OLD"], ["Mean($close,5)+Mask($open,'INDEX')", "Mask($open,'INDEX')"])
    assert found.iloc[:, 0].loc["OLD"].loc[DAYS[21] :].isna().all() and found.iloc[:, 1].notna().sum() > 30


# ------------------------------------------------------------------------------------------------ nests, chunks, ways
NESTED = [
    "ChangeInstrument('INDEX',Mean(ChangeInstrument('OLD',$close)-$close,3))",
    "Corr($close/Ref($close,1),Mask($close/Ref($close,1),'INDEX'),8)",
    "If(Mask($close>$open,'INDEX'),$close,$open)",
    "Mean(Mask($close,'BRIEF'),3)+$open",
]


def test_nests_equal_what_is_built_by_hand(p, frames):
    found = p.features(["NEW"], NESTED[:1]).iloc[:, 0].loc["NEW"]
    inner = (frames["OLD"]["close"] - frames["INDEX"]["close"]).reindex(DAYS)
    same(found, inner.rolling(3, min_periods=1).mean())


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_and_company_change_no_bit(p, root, threads):
    names = sorted(SPANS)
    whole = p.features(names, NESTED, DAYS[8], DAYS[35])
    other = Provider(build_settings(provider_uri=root, compat=p.settings["compat"], kernels=threads))
    pd.testing.assert_frame_equal(other.features(names, NESTED, DAYS[8], DAYS[35]), whole)
    for name in names:
        own = p.features([name], NESTED, DAYS[8], DAYS[35])
        pd.testing.assert_frame_equal(whole.loc[[name]], own)


def test_rows_in_order_of_time_are_the_same_rows(p):
    fields = [*NESTED, "WMA($close,4)", "Count($open,3)"]
    frame = p.features(sorted(SPANS), fields, DAYS[2], DAYS[35])
    by_time = p.features(sorted(SPANS), fields, DAYS[2], DAYS[35], by_time=True)
    pd.testing.assert_frame_equal(by_time, frame.swaplevel().sort_index(), check_exact=True)


def test_compared_with_others_inside_and_outside(p, frames):
    """A rank among instruments beside, and around, what is read elsewhere."""
    found = p.features(["NEW", "OLD"], ["CSRank($close-Mask($close,'INDEX'))", "CSRank($close)*Mask($close,'INDEX')"])
    both = pd.DataFrame({name: frames[name]["close"] for name in ("NEW", "OLD")})
    ranks = both.rank(axis=1, pct=True)
    spread = both.sub(frames["INDEX"]["close"], axis=0).rank(axis=1, pct=True)
    for name in ("NEW", "OLD"):
        own = found.loc[name]
        np.testing.assert_allclose(own.iloc[:, 0], spread[name].reindex(own.index), rtol=1e-6)
        np.testing.assert_allclose(
            own.iloc[:, 1], (ranks[name] * frames["INDEX"]["close"]).reindex(own.index), rtol=1e-6
        )


def test_values_do_not_depend_on_where_the_query_begins(root):
    p = Provider(build_settings(provider_uri=root))
    fields = [*NESTED, "EMA(Mask($close,'INDEX'),5)", "Mask(Sum($close,0),'INDEX')-$close"]
    whole = p.features(["NEW", "OLD"], fields)
    for start in (0, 7, 22):
        part = p.features(["NEW", "OLD"], fields, DAYS[start], DAYS[start + 12])
        pd.testing.assert_frame_equal(part, whole.loc[part.index])


def test_rooms_that_want_arrays_and_series_by_position_get_the_same(root):
    qlib.init(provider_uri=root)
    p = Provider(build_settings(provider_uri=root))
    field = "$close-ChangeInstrument('INDEX',$close)"
    frame = p.features(["NEW"], [field])
    panel, times = p.panel(["NEW"], [field])
    np.testing.assert_array_equal(panel.columns[field], frame[field])
    assert list(times[panel.positions()]) == list(frame.index.get_level_values(1))
    series = ExpressionD.expression("NEW", field)
    np.testing.assert_array_equal(series, frame[field])
    assert series.index[0] == 3 and series.name == "Sub($close,ChangeInstrument('index',$close))"


# ------------------------------------------------------------------------------------------------ messages
def test_who_is_not_stored_is_named(p, told):
    found = p.features(["OLD"], ["$close-Mask($close,'INDX')", "Mask($clsoe,'INDEX')"])
    assert found.isna().all().all() and len(found) == 21
    assert told[0].endswith("for indx (did you mean index?)") and "no data in" in told[0]
    assert told[1] == "index has no $clsoe at day; did you mean $close? (stored: close, open)"


def test_nothing_stored_there_is_an_empty_answer(p, told):
    found = p.features(["OLD"], ["Mask($close,'BRIEF')"], DAYS[20], DAYS[30])
    assert len(found) == 0 and list(found.columns) == ["Mask($close,'BRIEF')"] and told == []
