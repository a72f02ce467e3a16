"""Processors, handler views and sampler windows equal Qlib's stored results (contract/golden/dataset.json)."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from conftest import shared

from qlib.config import active_settings
from qlib.data.dataset import TSDataSampler
from qlib.data.dataset import processor as processors
from qlib.data.dataset.handler import DataHandlerLP
from qlib.data.dataset.loader import StaticDataLoader


@pytest.fixture(scope="module")
def golden():
    return json.loads(shared("contract/golden/dataset.json").read_text())


@pytest.fixture
def qlib_numbers(monkeypatch):
    settings = active_settings().replace(compat="qlib")
    monkeypatch.setattr(processors, "active_settings", lambda: settings)


def number(cell):
    return np.nan if cell is None else float(cell)  # "inf" and "-inf" are written as text


def frame(table):
    index = pd.MultiIndex.from_tuples(
        [(pd.Timestamp(d), i) for d, i in table["rows"]], names=["datetime", "instrument"]
    )
    columns = pd.MultiIndex.from_tuples([tuple(c) for c in table["columns"]])
    return pd.DataFrame([[number(cell) for cell in row] for row in table["values"]], index=index, columns=columns)


def close(received, expected, rtol=1e-7):
    assert list(received.index) == list(expected.index)
    assert list(received.columns) == list(expected.columns)
    np.testing.assert_allclose(received.to_numpy(), expected.to_numpy(), rtol=rtol, atol=1e-9)


# These see no infinity in what they learn from, or treat it as Qlib does in any case.
SAME_BY_DEFAULT = ("Drop", "Filter", "Tanh", "ProcessInf", "Fillna", "CSRank", "RobustZ")


@pytest.mark.parametrize("number_of_case", range(18))
def test_every_processor_gives_qlibs_numbers_under_compat(golden, qlib_numbers, number_of_case):
    case = golden["processors"][number_of_case]
    given = frame(golden["input"])
    before = given.copy()
    processor = getattr(processors, case["processor"])(**case["kwargs"])
    processor.fit(given)
    close(processor(given), frame(case["result"]))
    pd.testing.assert_frame_equal(given, before)


@pytest.mark.parametrize("number_of_case", range(18))
def test_where_no_infinity_is_learned_from_the_default_is_the_same(golden, number_of_case):
    case = golden["processors"][number_of_case]
    if not (case["processor"].startswith(SAME_BY_DEFAULT) or case["kwargs"].get("fields_group") == "label"):
        pytest.skip("infinity counts as missing by default")
    processor = getattr(processors, case["processor"])(**case["kwargs"])
    given = frame(golden["input"])
    processor.fit(given)
    close(processor(given), frame(case["result"]))


@pytest.mark.parametrize("number_of_case", range(2))
def test_the_views_of_a_handler_follow_its_process_type(golden, qlib_numbers, number_of_case):
    case = golden["handler"][number_of_case]
    window = {"fit_start_time": "2020-01-01", "fit_end_time": "2020-01-02", "fields_group": "feature"}
    handler = DataHandlerLP(
        data_loader=StaticDataLoader(frame(golden["input"])),
        infer_processors=[
            {"class": "ZScoreNorm", "kwargs": window},
            {"class": "Fillna", "kwargs": {"fields_group": "feature"}},
        ],
        learn_processors=["DropnaLabel", {"class": "CSRankNorm", "kwargs": {"fields_group": "label"}}],
        process_type=case["process_type"],
    )
    close(handler.fetch(col_set="__raw", data_key="infer"), frame(case["infer"]))
    close(handler.fetch(col_set="__raw", data_key="learn"), frame(case["learn"]))


@pytest.mark.parametrize("number_of_case", range(3))
def test_windows_and_their_filling_are_qlibs(golden, number_of_case):
    case = golden["ts_sampler"][number_of_case]
    dropped = [(pd.Timestamp(d), i) for d, i in case["dropped_rows"]]
    data = frame(golden["input"]).drop(index=dropped)
    sampler = TSDataSampler(data, case["start"], case["end"], case["step_len"], fillna_type=case["fillna_type"])
    assert [[str(d.date()), i] for d, i in sampler.get_index()] == case["index"]
    for i, window in enumerate(case["samples"]):
        expected = np.array([[number(cell) for cell in row] for row in window])
        np.testing.assert_allclose(sampler[i], expected)
    np.testing.assert_allclose(sampler[[0, 5, 11]], np.stack([sampler[0], sampler[5], sampler[11]]))
