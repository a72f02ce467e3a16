"""Digests of numbers: what is the same whatever file it is in, and what is not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from qlib.workflow.manifest import content_digest, differences, file_changes, results

DATES = pd.date_range("2024-01-01", periods=3)


def frame(**changes):
    index = pd.MultiIndex.from_product([DATES, ["A", "B"]], names=["datetime", "instrument"])
    made = pd.DataFrame({"score": np.arange(6.0), "n": range(6)}, index=index)
    for name, value in changes.items():
        made.iloc[2, made.columns.get_loc(name)] = value
    return made


def test_labels_values_and_order_count():
    known = content_digest(frame())
    others = [
        frame(score=2.0000000001),
        frame(score=np.nan),
        frame().iloc[::-1],
        frame().rename(columns={"score": "pred"}),
        frame().rename(index={"B": "C"}, level=1),
        frame().iloc[:-1],
        frame().astype({"score": "float32"}),
    ]
    digests = [content_digest(one) for one in others]
    assert known not in digests
    assert len(set(digests)) == len(digests)
    assert content_digest(frame()) == known


def test_what_a_file_does_to_a_frame_does_not_count(tmp_path):
    frame().to_parquet(tmp_path / "a.parquet")
    assert content_digest(pd.read_parquet(tmp_path / "a.parquet")) == content_digest(frame())
    coarse = frame().set_index(frame().index.set_levels(DATES.as_unit("s"), level=0))
    assert content_digest(coarse) == content_digest(frame())


@pytest.mark.parametrize("zone", [None, "UTC"])
def test_times_of_a_zone_and_spans_of_time_have_a_digest(zone):
    made = pd.DataFrame({"at": DATES.tz_localize(zone), "took": pd.to_timedelta([1, 2, None], unit="h")})
    assert content_digest(made) == content_digest(made.copy()) != content_digest(made.shift(1))


def test_nan_is_nan_whatever_its_bits():
    other = np.array([0x7FF8000000000001], dtype=np.uint64).view(np.float64)
    assert content_digest(pd.DataFrame({"x": other})) == content_digest(pd.DataFrame({"x": [np.nan]}))


def manifest(**changes):
    own = {
        "config": {"task": {"record": [{"kwargs": {"topk": 3}}]}},
        "data": {"id": "1" * 40, "calendars": [], "universes": [], "fields": [], "instruments": 1, "files": 2,
                 "other_files": []},
        "code": {"sources": {"a.py": "1", "b.py": "2"}, "repositories": []},
        "packages": {"numpy": "2.0"},
        "environment": {"threads": {"OMP_NUM_THREADS": None}},
        "seeds": {"seeds": {"model.kwargs.seed": 1}},
        "hardware": {"cpus": 2},
        "predictions": "p",
        "accounts": {"report_normal_1day": "r"},
    }  # fmt: skip
    return own | changes


def test_subjects_that_agree_are_left_out_and_what_differs_is_named():
    assert differences(manifest(), manifest()) == {}
    found = differences(
        manifest(),
        manifest(
            config={"task": {"record": [{"kwargs": {"topk": 5}}]}},
            packages={"numpy": "2.1", "scipy": "1"},
            code={"sources": {"a.py": "1", "b.py": "3", "c.py": "4"}, "repositories": []},
        ),
    )
    assert found == {
        "config": ["task.record.0.kwargs.topk: 3 -> 5"],
        "code": ["b.py: changed", "c.py: only in the second"],
        "packages": ["numpy: 2.0 -> 2.1", "scipy: (none) -> 1"],
    }


def test_results_are_compared_one_by_one():
    assert results(manifest(), manifest(predictions="q")) == {"predictions": False, "report_normal_1day": True}
    assert results(manifest(accounts={}), manifest()) == {"predictions": True, "report_normal_1day": False}


def test_files_are_told_by_what_became_of_them():
    assert file_changes({"a": "1", "b": "1"}, {"b": "2", "c": "1"}) == [
        "a: only in the first",
        "b: changed",
        "c: only in the second",
    ]
