"""What pyqlib 0.9.7 answers for random formulas of Select, Cut, fills and days: rows and values.

Each entry of rows_left_out.json is [formula, first hour, last hour, {instrument: [hours, values]}], over three days by
the hour. It was made by running pyqlib with the operators registered and its memory cache emptied before every query.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from qlib.config import build_settings
from qlib.data.provider import Provider
from qlib.data.storage.writer import write_store

ANSWERS = json.loads((Path(__file__).parent / "rows_left_out.json").read_text())
HOURS = pd.date_range("2021-01-04", periods=72, freq="h")


@pytest.fixture(scope="module")
def provider(tmp_path_factory) -> Provider:
    x = np.arange(72.0) + 1
    x[[3, 4, 23, 24, 30, 47]] = np.nan
    x[10] = np.inf
    whole = pd.DataFrame({"x": x, "g": (np.arange(72) % 3 != 1) * 1.0, "y": np.arange(72.0) * 2}, index=HOURS)
    late = whole.iloc[30:60].assign(y=np.arange(30.0))
    root = write_store({"AAA": whole, "BBB": late}, tmp_path_factory.mktemp("rows") / "s", "60min")
    return Provider(build_settings(provider_uri=root, compat="qlib"))


def test_there_are_enough_of_each():
    texts = [text for text, *_ in ANSWERS]
    assert len(texts) == 150
    for name in ("Select", "Cut", "DayLast", "FFillNan", "BFillNan"):
        assert sum(name in text for text in texts) > 30, name


@pytest.mark.parametrize(("text", "first", "last", "answer"), ANSWERS, ids=[text for text, *_ in ANSWERS])
def test_rows_and_values_are_qlibs(provider, text, first, last, answer):
    frame = provider.features(["AAA", "BBB"], [text], HOURS[first], HOURS[last], freq="60min")
    assert frame.index.unique("instrument").tolist() == list(answer)
    for name, (hours, values) in answer.items():
        own = frame.loc[name, text]
        assert ((own.index - HOURS[0]) // pd.Timedelta("1h")).tolist() == hours
        np.testing.assert_allclose(own, np.array(values, dtype="f8"), rtol=1e-5, atol=1e-6)
