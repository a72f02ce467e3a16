"""The `.bin` format: exact bytes, any range, and damage that is named."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlib.data.storage import binary
from qlib.data.storage.binary import read_bin, read_start, to_bytes, write_bin
from qlib.errors import InputError, StoreError


def test_the_bytes_are_qlibs(tmp_path):
    write_bin(tmp_path / "close.day.bin", 1, [1.5, 1.6])
    assert (tmp_path / "close.day.bin").read_bytes() == bytes.fromhex("0000803f 0000c03f cdcccc3f")


@given(
    start=st.integers(0, 500),
    values=st.lists(st.floats(width=32), max_size=50),
    first=st.integers(0, 600),
    length=st.integers(0, 600),
    whole=st.booleans(),
)
def test_any_range_reads_what_a_slice_of_the_whole_is(tmp_path_factory, start, values, first, length, whole):
    path = tmp_path_factory.mktemp("bin") / "x.bin"
    write_bin(path, start, np.float32(values))
    before, binary._READ_WHOLE = binary._READ_WHOLE, binary._READ_WHOLE if whole else 8
    try:
        at, found = read_bin(path, first, first + length - 1)
    finally:
        binary._READ_WHOLE = before
    table = {start + i: value for i, value in enumerate(np.float32(values))}
    expected = [table[i] for i in range(first, first + length) if i in table]
    np.testing.assert_array_equal(found, np.float32(expected))
    assert found.dtype == np.float32 and (not expected or at == max(first, start))
    assert not found.flags.writeable or not len(found)


def test_a_file_of_no_bytes_and_a_bare_header_hold_nothing(tmp_path):
    path = tmp_path / "x.bin"
    path.write_bytes(b"")
    assert len(read_bin(path)[1]) == 0 and read_start(path) is None
    write_bin(path, 7, [])
    assert len(read_bin(path)[1]) == 0 and read_start(path) == (7, 0)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\0\0\0\0\0", "5 bytes; a feature file holds whole float32 numbers"),
        (struct.pack("<2f", float("nan"), 1), "is NaN"),
        (struct.pack("<2f", -3, 1), "is negative"),
        (struct.pack("<2f", 1.5, 1), "is 1.5, not a whole number"),
        (struct.pack("<2f", 2e7, 1), "beyond 16777216"),
        (struct.pack("<2f", float("inf"), 1), "beyond 16777216"),
    ],
)
def test_a_damaged_file_is_named_with_what_is_wrong(tmp_path, content, said):
    path = tmp_path / "close.day.bin"
    path.write_bytes(content)
    for read in (read_bin, read_start):
        with pytest.raises(StoreError, match=rf"close.day.bin.*{said}"):
            read(path)


def test_a_file_that_reaches_beyond_its_calendar_is_damaged(tmp_path):
    path = tmp_path / "close.day.bin"
    write_bin(path, 8, [1, 2, 3])
    assert len(read_bin(path, entries=11)[1]) == 3
    with pytest.raises(StoreError, match="positions 8 to 10, but its calendar has 10 entries"):
        read_bin(path, 0, 3, entries=10)


def test_positions_that_float32_cannot_count_are_refused():
    assert to_bytes(2**24, np.float32([1]))[:4] == struct.pack("<f", 2**24)
    with pytest.raises(InputError, match="16777217; 0 to 16777216 is allowed"):
        to_bytes(2**24 + 1, np.float32([1]))
    with pytest.raises(InputError, match="-1"):
        to_bytes(-1, np.float32([1]))
