"""Qlib's cache in memory, its calendars, and its series on disk."""

from __future__ import annotations

import json
import pickle
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import qlib
from qlib.config import C
from qlib.data import D
from qlib.data.cache import (
    CacheUtils,
    CalendarCache,
    DiskExpressionCache,
    ExpressionCache,
    H,
    MemCache,
    MemCacheExpire,
    MemCacheLengthUnit,
    MemCacheSizeofUnit,
    MemoryCalendarCache,
    QlibCacheException,
)
from qlib.data.data import Cal, ExpressionD, LocalDatasetProvider, LocalExpressionProvider
from qlib.data.storage.binary import read_bin
from qlib.data.storage.writer import write_store
from qlib.errors import ConfigError

DAYS = pd.date_range("2024-01-01", periods=20)


@pytest.fixture
def root(tmp_path):
    rng = np.random.default_rng(1)
    frames = {name: pd.DataFrame(rng.uniform(1, 2, (17, 2)), DAYS[3:], ["close", "open"]) for name in ("AA", "BB")}
    return write_store(frames | {"CC": pd.DataFrame({"close": np.ones(20)}, DAYS)}, tmp_path / "s", "day")


# ---------------------------------------------------------------------- in memory
@given(
    st.lists(st.tuples(st.sampled_from("sgp"), st.integers(0, 5), st.integers(0, 3)), max_size=40), st.integers(0, 6)
)
def test_a_unit_keeps_what_was_used_last_up_to_its_limit(steps, limit):
    class Weighed(MemCacheLengthUnit):
        def _get_value_size(self, value):
            return value

    unit, kept = Weighed(limit), {}  # `kept` is in order of use
    for step, key, value in steps:
        if step == "s":
            kept.pop(key, None)
            kept[key] = value
            unit[key] = value
            while limit and sum(kept.values()) > limit:
                del kept[next(iter(kept))]
        elif key not in kept:
            with pytest.raises(KeyError):
                unit[key] if step == "g" else unit.pop(key)
        elif step == "g":
            assert unit[key] == kept[key]
            kept[key] = kept.pop(key)
        else:
            assert unit.pop(key) == kept.pop(key)
        assert list(unit.od.items()) == list(kept.items())
        assert (unit.total_size, len(unit), unit.limited) == (sum(kept.values()), len(kept), limit > 0)


def test_units_answer_as_pyqlibs():
    unit = MemCacheLengthUnit(3)
    for i in range(5):
        unit[i] = i * 10
    assert list(unit.od.items()) == [(2, 20), (3, 30), (4, 40)] and 0 not in unit
    assert unit[2] == 20 and list(unit.od) == [3, 4, 2]
    assert unit.popitem(last=False) == (3, 30) and unit.popitem() == (2, 20)
    unit[5] = 1
    unit.set_limit_size(1)
    assert list(unit.od) == [5] and str(unit) == "MemCacheLengthUnit<size_limit:1 total_size:1>"
    unit.clear()
    assert unit.total_size == 0
    heavy = MemCacheSizeofUnit(4_000)
    heavy["a"] = np.zeros(2)
    assert "a" in heavy and heavy.total_size > 16
    heavy["view"] = np.zeros(10_000)[:9_000]
    assert "view" not in heavy and len(heavy) == 0
    heavy["frame"] = pd.DataFrame({"x": np.zeros(100)})
    assert heavy.total_size > 800


def test_three_units_and_things_whose_time_is_over(monkeypatch):
    cache = MemCache(5)
    with pytest.raises(KeyError, match="no unit is called 'z'; there are c"):
        cache["z"]
    with pytest.raises(ConfigError, match="limit_type: received 'lenght'; allowed are length, sizeof; did you mean le"):
        MemCache(5, "lenght")
    MemCacheExpire.set_cache(cache["c"], "k", 5)
    assert MemCacheExpire.get_cache(cache["c"], "k") == (5, False)
    assert MemCacheExpire.get_cache(cache["c"], "none") == (None, False)
    monkeypatch.setattr(MemCacheExpire, "CACHE_EXPIRE", 0.001)
    time.sleep(0.005)
    assert MemCacheExpire.get_cache(cache["c"], "k") == (5, True)
    cache.clear()
    assert "k" not in cache["c"]


def test_a_session_sets_the_limits_and_empties_it(root):
    H["f"]["mine"] = 1
    qlib.init(provider_uri=root, clear_mem_cache=False, mem_cache_size_limit=7, mem_cache_expire=9)
    assert H["f"]["mine"] == 1 and H["f"].size_limit == 7 and MemCacheExpire.CACHE_EXPIRE == 9
    qlib.init(provider_uri=root, mem_cache_limit_type="sizeof", mem_cache_size_limit=1000)
    assert "mine" not in H["f"] and isinstance(H["i"], MemCacheSizeofUnit) and H["c"].size_limit == 1000
    qlib.init(provider_uri=root)
    assert isinstance(H["i"], MemCacheLengthUnit) and H["c"].size_limit == 500 and MemCacheExpire.CACHE_EXPIRE == 3600
    assert MemCache()["c"].size_limit == C["mem_cache_size_limit"]


def test_a_remembered_calendar_is_the_one_in_the_store(root):
    qlib.init(provider_uri=root, calendar_cache="MemoryCalendarCache")
    assert isinstance(D.parts["calendar"], MemoryCalendarCache | CalendarCache)
    first = Cal.calendar(DAYS[2], DAYS[9])
    assert list(first) == list(DAYS[2:10]) and len(H["c"]) == 1
    first[0] = None
    assert list(Cal.calendar(DAYS[2], DAYS[9])) == list(DAYS[2:10]), "nobody changes what is remembered"
    lines = (root / "calendars" / "day.txt").read_text().splitlines()
    del lines[4]
    (root / "calendars" / "day.txt").write_text("\n".join(lines) + "\n")
    assert list(Cal.calendar(DAYS[2], DAYS[9])) == [day for day in DAYS[2:10] if day != DAYS[4]]
    assert Cal.locate_index(DAYS[5], None, "day")[2] == 4, "what is not cached, the provider answers"


# ---------------------------------------------------------------------- series on disk
FIELD = "Mean($close, 5)"


@pytest.fixture
def cached(root):
    qlib.init(provider_uri=root, expression_cache="DiskExpressionCache")
    cache = D.parts["expression"]
    assert isinstance(cache, DiskExpressionCache)
    return cache


def files(root):
    return sorted(path for path in (root / "features_cache").rglob("*") if path.is_file() and path.name[0] != ".")


def test_a_kept_series_is_a_bin_of_the_whole_calendar(cached, root):
    plain = LocalExpressionProvider()
    for start, end in ((None, None), (DAYS[7], DAYS[11]), (DAYS[0], DAYS[4]), (DAYS[0], DAYS[1])):
        for _ in range(2):
            wanted = plain.expression("AA", FIELD, start, end, "day")
            got = ExpressionD.expression("AA", FIELD, start, end, "day")
            pd.testing.assert_series_equal(got, wanted, check_index_type="equiv")
    data, about = files(root)
    first, values = read_bin(data)
    assert (first, len(values)) == (3, 17) and json.loads(about.read_text())["info"]["field"] == FIELD
    assert data.parent == cached.get_cache_dir("day") / "aa"
    ExpressionD.expression("AA", "$close", None, None, "day")
    assert len(files(root)) == 2, "a stored field is in a file already"


def test_a_kept_series_is_used_while_the_store_is_the_same_and_not_longer(cached, root):
    before = ExpressionD.expression("AA", FIELD, None, None, "day")
    data, about = files(root)
    forged = np.frombuffer(data.read_bytes(), "<f4").copy()
    forged[1:] = 7
    data.write_bytes(forged.tobytes())
    assert (ExpressionD.expression("AA", FIELD, None, None, "day") == 7).all(), "it is the file that is read"
    assert cached.update("AA", data) == 1
    source = root / "features" / "aa" / "close.day.bin"
    content = np.frombuffer(source.read_bytes(), "<f4").copy()
    content[3] += 1
    source.write_bytes(content.tobytes())
    after = ExpressionD.expression("AA", FIELD, None, None, "day")
    assert after.iloc[0] == before.iloc[0] and after.iloc[2] > before.iloc[2]
    content[3] -= 1
    source.write_bytes(content.tobytes())
    assert cached.update("AA", data) == 0 and cached.update("AA", data.name) == 1
    pd.testing.assert_series_equal(ExpressionD.expression("AA", FIELD, None, None, "day"), before)
    about.write_bytes(pickle.dumps({"info": 1}))
    pd.testing.assert_series_equal(ExpressionD.expression("AA", FIELD, None, None, "day"), before)
    assert json.loads(about.read_text())["info"]["instrument"] == "AA"
    data.write_bytes(b"xx")
    pd.testing.assert_series_equal(ExpressionD.expression("AA", FIELD, None, None, "day"), before)
    about.unlink()
    assert cached.update("AA", data) == 2 and files(root) == []


def test_files_that_qlib_wrote_are_left_alone(cached, root):
    folder = cached.get_cache_dir("day") / "aa"
    folder.mkdir()
    name = cached._uri("AA", FIELD, None, None, "day")
    (folder / f"{name}.meta").write_bytes(pickle.dumps({"info": {"field": FIELD}}))
    ExpressionD.expression("AA", FIELD, None, None, "day")
    assert (folder / f"{name}.meta").read_bytes() == pickle.dumps({"info": {"field": FIELD}})


def test_all_series_of_a_universe_can_be_kept(cached, root):
    LocalDatasetProvider.multi_cache_walker(["AA", "CC"], [FIELD, "Std($close,3)"])
    assert len(files(root)) == 8
    series = pd.Series(np.float32([1, 2]), pd.RangeIndex(4, 6))
    cached.gen_expression_cache(series, root / "mine", "AA", FIELD, "day", "2024-01-06")
    assert read_bin(root / "mine")[1].tolist() == [1, 2]


def test_under_qlibs_rules_nothing_is_kept(root):
    qlib.init(provider_uri=root, expression_cache="DiskExpressionCache", compat="qlib")
    assert ExpressionD.expression("AA", "EMA($close,5)", DAYS[9], DAYS[9], "day").iloc[0] > 0
    assert not (root / "features_cache").exists()


def test_a_cache_of_ones_own_for_series(root):
    qlib.init(provider_uri=root, expression_cache={"class": "Tens", "module_path": __name__})
    assert ExpressionD.expression("AA", FIELD, None, None, "day").tolist() == [10]
    assert len(ExpressionD.expression("BB", FIELD, None, None, "day")) == 17


class Tens(ExpressionCache):
    def _expression(self, instrument, field, start_time, end_time, freq):
        if instrument == "BB":
            raise NotImplementedError
        return pd.Series([10])


# ---------------------------------------------------------------------- locks by Qlib's names
def test_locks_by_qlibs_names(root, tmp_path):
    qlib.init(provider_uri=root, local_cache_path=tmp_path / "local")
    with CacheUtils.reader_lock(None, "name"), CacheUtils.reader_lock(None, "name"):
        assert (tmp_path / "local" / "locks").is_dir()
    with CacheUtils.writer_lock(tmp_path / "here", "name"):
        assert len(list((tmp_path / "here").glob("*.lock"))) == 1
    from filelock import FileLock

    with FileLock(tmp_path / "a.lock"), pytest.raises(QlibCacheException, match="name: somebody else holds this lock"):
        CacheUtils.acquire(FileLock(tmp_path / "a.lock", timeout=0.05), "name")
    (tmp_path / "seen").touch()
    before = Path(tmp_path / "seen").stat().st_mtime_ns
    time.sleep(0.02)
    CacheUtils.visit(tmp_path / "seen")
    CacheUtils.visit(tmp_path / "absent")
    assert (tmp_path / "seen").stat().st_mtime_ns > before and not (tmp_path / "absent").exists()
    assert CacheUtils.organize_meta_file() is None and CacheUtils.reset_lock() is None and CacheUtils.LOCK_ID == "QLIB"
