"""Qlib's storage classes over files."""

from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from qlib.config import build_settings
from qlib.data.provider import Provider
from qlib.data.storage import CalendarStorage, FeatureStorage
from qlib.data.storage.file_storage import FileCalendarStorage, FileFeatureStorage, FileInstrumentStorage
from qlib.data.storage.writer import write_store
from qlib.errors import MissingDataError, StoreError

TIMES = pd.date_range("2024-01-01", periods=10)
Stamp = pd.Timestamp


@pytest.fixture
def root(tmp_path):
    frame = pd.DataFrame({"close": np.arange(5.0)}, index=TIMES[2:7])
    return write_store({"A": pd.DataFrame({"close": 1.0}, index=TIMES), "B": frame}, tmp_path / "s", "day")


# ---------------------------------------------------------------------- calendar
def test_a_calendar_is_a_list_of_texts(root):
    calendar = FileCalendarStorage("day", future=False, provider_uri=str(root))
    assert isinstance(calendar, CalendarStorage) and calendar.storage_name == "calendar"
    assert (len(calendar), calendar[0], calendar[-1]) == (10, "2024-01-01", "2024-01-10")
    assert calendar[:2] == calendar.data[:2] == ["2024-01-01", "2024-01-02"]
    assert calendar.index("2024-01-03") == 2 and calendar.file_name == "day.txt"
    assert calendar.uri == root / "calendars" / "day.txt"
    assert FileCalendarStorage("1d", future=False, provider_uri=root).data == calendar.data


def test_a_calendar_can_be_changed_and_stays_in_order(root):
    calendar = FileCalendarStorage("day", future=False, provider_uri=root)
    calendar.extend(["2024-01-12"])
    calendar.insert(10, "2024-01-11")
    assert calendar[-2:] == ["2024-01-11", "2024-01-12"]
    calendar.remove("2024-01-11")
    del calendar[-1]
    calendar[9] = Stamp("2024-01-15")
    assert calendar[-1] == "2024-01-15" and len(calendar) == 10
    with pytest.raises(StoreError, match="ascends strictly"):
        calendar.extend(["2023-01-01"])
    assert len(calendar) == 10
    calendar.clear()
    assert calendar.data == []


def test_a_calendar_that_is_not_stored_is_resampled_or_missed(root, tmp_path):
    weeks = FileCalendarStorage("week", future=False, provider_uri=root)
    assert weeks.data == ["2024-01-01", "2024-01-08"]
    with pytest.raises(StoreError, match="resampled calendar cannot be written"):
        weeks.extend(["2024-01-15"])
    with pytest.raises(ValueError, match=r"no calendar of freq 1min .* stored there: day"):
        FileCalendarStorage("1min", future=False, provider_uri=root).data  # noqa: B018
    with pytest.raises(ValueError, match="stored there: nothing"):
        FileCalendarStorage("day", future=False, provider_uri=tmp_path / "none").data  # noqa: B018


def test_a_new_calendar_can_be_begun(tmp_path):
    calendar = FileCalendarStorage("1min", future=False, provider_uri=tmp_path)
    calendar.extend(["2024-01-01 00:00:00", "2024-01-01 00:01"])
    assert (tmp_path / "calendars" / "1min.txt").read_text() == "2024-01-01 00:00:00\n2024-01-01 00:01:00\n"


def test_the_future_falls_back_to_the_present(root):
    future = FileCalendarStorage("day", future=True, provider_uri=root)
    assert future.file_name == "day_future.txt" and len(future) == 10
    shutil.copy(root / "calendars" / "day.txt", root / "calendars" / "day_future.txt")
    future.extend(["2024-02-01"])
    assert future[-1] == "2024-02-01"
    assert len(FileCalendarStorage("day", future=False, provider_uri=root)) == 10


# ---------------------------------------------------------------------- instruments
def test_instruments_are_a_dict_of_spans(root):
    market = FileInstrumentStorage("ALL", "day", provider_uri=root)
    assert list(market.data) == ["A", "B"] and len(market) == 2
    assert market["B"] == [(TIMES[2], TIMES[6])]
    market["C"] = [("2024-01-02", "2024-01-03"), ("2024-01-05", "2024-01-06")]
    market.update({"A": [(TIMES[0], TIMES[1])]})
    assert market["C"][1] == (Stamp("2024-01-05"), Stamp("2024-01-06")) and market["A"] == [(TIMES[0], TIMES[1])]
    del market["B"]
    assert list(market.data) == ["A", "C"]
    market.clear()
    assert market.data == {}
    with pytest.raises(ValueError, match=r"no market is called al .* stored there: all; did you mean all"):
        FileInstrumentStorage("al", "day", provider_uri=root).data  # noqa: B018


def test_names_stay_text_and_several_spans_stay_several(root):
    path = root / "instruments" / "odd.txt"
    path.write_text("NA\t2024-01-01\t2024-01-02\textra\n\nNULL\t2024-01-01\t2024-01-02\nNA\t2024-01-04\t2024-01-05\r\n")
    spans = FileInstrumentStorage("odd", "day", provider_uri=root).data
    assert list(spans) == ["NA", "NULL"] and len(spans["NA"]) == 2
    assert spans["NA"][1] == (Stamp("2024-01-04"), Stamp("2024-01-05"))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("A\t2024-01-01", "line 2 is 'A.t2024-01-01'; name, start and end are expected"),
        ("A\t2024-13-01\t2024-12-01", "start 2 is b'2024-13-01', which is no time"),
        ("A\t\t2024-12-01", "start 2 is b'', which is no time"),
    ],
)
def test_a_damaged_instruments_file_is_named_with_its_line(root, line, said):
    (root / "instruments" / "bad.txt").write_text(f"B\t2024-01-01\t2024-01-02\n{line}\n")
    with pytest.raises(StoreError, match=rf"bad.txt: {said}"):
        FileInstrumentStorage("bad", "day", provider_uri=root).data  # noqa: B018


def test_a_span_that_starts_after_its_end_is_told(root, caplog):
    lines = ["A\t2024-01-01\t2024-01-02", "", "B\t2024-01-05\t2024-01-02", "C\t2024-01-03\t2024-01-02"]
    (root / "instruments" / "odd.txt").write_text("\n".join(lines))
    provider = Provider(build_settings(provider_uri=root))
    assert list(provider.list_instruments(provider.instruments("odd"))) == ["A"]
    (told,) = [message for message in caplog.messages if "after its end" in message]
    assert told.endswith(
        "odd.txt: line 3: B starts 2024-01-05, after its end 2024-01-02: such a span holds no time (and 1 other lines)"
    )


# ---------------------------------------------------------------------- features
def test_a_feature_is_a_series_over_calendar_positions(root):
    b = FileFeatureStorage("b", "CLOSE", "day", provider_uri=root)
    assert isinstance(b, FeatureStorage) and b.file_name == "b/close.day.bin"
    assert (b.start_index, b.end_index, len(b)) == (2, 6, 5)
    assert b[3] == (3, 1.0)
    pd.testing.assert_series_equal(b[0:4], pd.Series(np.float32([0, 1]), index=pd.RangeIndex(2, 4)))
    assert len(b.data) == len(b[:]) == len(b[1:]) == 5 and b[-2:].tolist() == [3, 4]
    for position in (1, 7, -1):
        with pytest.raises(IndexError, match="holds positions 2 to 6"):
            b[position]
    with pytest.raises(TypeError, match="a whole number or a slice"):
        b["x"]


def test_a_feature_that_is_not_there_is_empty(root):
    none = FileFeatureStorage("X", "close", "day", provider_uri=root)
    assert none[0] == (None, None) and none[:3].empty and none.data.dtype == np.float32
    assert none.start_index is None and none.end_index is None
    with pytest.raises(ValueError, match="feature does not exist: .*x/close.day.bin"):
        len(none)
    with pytest.raises(MissingDataError, match="no data at freq week .* stored there: day"):
        FileFeatureStorage("A", "close", "week", provider_uri=root).data  # noqa: B018


class FeatureMachine(RuleBasedStateMachine):
    """A FileFeatureStorage does what a dict from position to value does."""

    def __init__(self):
        super().__init__()
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        times = pd.date_range("2024-01-01", periods=100)
        root = write_store({"A": pd.DataFrame({"close": 1.0}, index=times)}, self.folder.name + "/s", "day")
        self.storage = FileFeatureStorage("A", "new", "day", provider_uri=root)
        self.model: dict[int, float] = {}

    def teardown(self):
        self.folder.cleanup()

    values = st.lists(st.floats(-1e6, 1e6, width=32) | st.just(float("nan")), min_size=1, max_size=6)

    @rule(values=values, index=st.integers(0, 30) | st.none())
    def write(self, values, index):
        start = (max(self.model) + 1 if self.model else 0) if index is None else index
        self.model |= {start + i: value for i, value in enumerate(values)}
        self.fill()
        self.storage.write(values, index)

    @rule(values=values, index=st.integers(0, 30))
    def rewrite(self, values, index):
        self.model = {index + i: value for i, value in enumerate(values)}
        self.storage.rewrite(values, index)

    @precondition(lambda self: self.model)
    @rule(first=st.integers(0, 30), length=st.integers(1, 30))
    def rebase(self, first, length):
        self.model = {i: self.model.get(i, float("nan")) for i in range(first, first + length)}
        self.storage.rebase(first, first + length - 1)

    @rule()
    def clear(self):
        self.model = {}
        self.storage.clear()

    def fill(self):
        self.model = {i: self.model.get(i, float("nan")) for i in range(min(self.model), max(self.model) + 1)}

    @invariant()
    def the_same(self):
        found = self.storage.data
        assert list(found.index) == sorted(self.model)
        np.testing.assert_array_equal(found.to_numpy(), np.float32([self.model[i] for i in sorted(self.model)]))


FeatureMachine.TestCase.settings = settings(max_examples=15, stateful_step_count=8, deadline=None)
TestFeatureMachine = FeatureMachine.TestCase


def test_an_interface_without_a_backend_says_which_method_it_lacks():
    with pytest.raises(NotImplementedError, match="FeatureStorage does not offer data"):
        FeatureStorage("A", "close", "day").data  # noqa: B018
