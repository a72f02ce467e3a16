"""Instruments as folder names, reversibly; files replaced whole or not at all."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qlib.errors import InputError
from qlib.utils.paths import code_to_fname, fname_to_code, instrument_folder, replace_file

names = st.text(min_size=1, max_size=40)


@pytest.mark.parametrize("name", ["SH600000", "aapl", "BRK.B", "^gspc", "1000SHIB", "BTC-USDT", "BTC_USDT", "币安"])
def test_ordinary_names_stay_as_they_are(name):
    assert code_to_fname(name) == name
    assert instrument_folder(name) == name.lower()


@pytest.mark.parametrize("name", ["CON", "nul", "Aux", "com1", "LPT9", "prn"])
def test_names_that_windows_reserves_get_qlibs_prefix_and_come_back_whole(name):
    assert code_to_fname(name) == f"_qlib_{name}"
    assert fname_to_code(f"_qlib_{name}") == name


@given(names)
@example("_qlib_nul")
@example("_QLIB_CON")
@example("..")
@example("BTC/USDT")
@example("%2f")
@example("a ")
@example("\x00")
def test_every_name_makes_one_safe_component_and_comes_back(name):
    folder = code_to_fname(name)
    assert fname_to_code(folder) == name
    assert folder not in (".", "..") and not re.search(r'[/\\\x00<>:"|?*]', folder)
    assert not folder.endswith((".", " "))
    assert fname_to_code(folder.lower()) == name.lower()


@given(st.lists(names, min_size=2, max_size=2, unique=True))
def test_two_names_never_share_a_folder_but_for_case(pair):
    assert code_to_fname(pair[0]) != code_to_fname(pair[1])


@pytest.mark.parametrize("name", ["", "x" * 256])
def test_a_name_without_a_folder_is_refused(name):
    with pytest.raises(InputError, match="1 to 255 bytes"):
        instrument_folder(name)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"old")

    def fail(file):
        file.write(b"half")
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        replace_file(path, fail)
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]
    replace_file(path, lambda file: file.write(b"new"))
    assert path.read_bytes() == b"new" and list(tmp_path.iterdir()) == [path]
