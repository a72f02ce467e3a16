"""unpack: what a zip archive holds lies in the folder, and an archive that means harm is refused before it does any."""

from __future__ import annotations

import io
import os
import stat
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from proof import cases

from qlib.collect import archive
from qlib.collect.archive import Limits, unpack
from qlib.errors import InputError, RunError

GOOD = {"calendars/day.txt": b"2024-01-01\n", "features/a/close.day.bin": bytes(4000), "README.txt": b"hello"}


def zipped(path: Path, members: dict[str, bytes] | list[tuple[zipfile.ZipInfo | str, bytes]]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items() if isinstance(members, dict) else members:
            file.writestr(name, content)
    return path


def info(name: str, mode: int = 0, flags: int = 0) -> zipfile.ZipInfo:
    made = zipfile.ZipInfo(name)
    made.create_system, made.external_attr, made.flag_bits = 3, mode << 16, flags
    return made


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_a_good_archive_is_unpacked(tmp_path):
    members = [("calendars/", b""), *GOOD.items()]
    assert sorted(unpack(zipped(tmp_path / "a.zip", members), tmp_path / "out")) == sorted(GOOD)
    assert contents(tmp_path / "out") == GOOD


@given(st.dictionaries(st.text("abc%._ ü-", min_size=1, max_size=12), st.binary(max_size=300), max_size=8))
def test_any_harmless_archive_comes_back(tmp_path_factory, members):
    members = {name: content for name, content in members.items() if name not in (".", "..")}
    folder = tmp_path_factory.mktemp("zip")
    unpack(zipped(folder / "a.zip", members), folder / "out")
    assert contents(folder / "out") == members


def slashes(name: str) -> zipfile.ZipInfo:
    made = info("x")
    made.filename = made.orig_filename = name  # the constructor would clean it
    return made


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("member", "said"),
    [
        (info("../evil"), "leads out of the folder"),
        (info("features/../../evil"), "leads out of the folder"),
        (slashes("..\\evil"), "leads out of the folder"),
        (info("/etc/evil"), "is an absolute path"),
        (slashes("C:evil"), "is an absolute path"),
        (slashes("features\\evil"), "is no name that every system reads alike"),
        (info("features/./evil"), "is no name that"),
        (info("features//evil"), "is no name that"),
        (info("evil\n"), "is no name that"),
        (info("evil", stat.S_IFLNK | 0o777), "is a link"),
        (info("evil/", stat.S_IFLNK | 0o777), "is a link"),
        (info("evil", stat.S_IFIFO), "is neither a file nor a folder"),
        (info("evil", stat.S_IFBLK), "is neither a file nor a folder"),
        (info("evil", stat.S_IFDIR), "is neither a file nor a folder"),
        (info("README.txt"), "more than once"),
        (info("README.txt/evil"), "'README.txt' is a file in it and a folder, too"),
        (info("README.txt/"), "'README.txt' is a file in it and a folder, too"),
    ],
)
def test_a_member_that_means_harm_is_named_and_nothing_is_unpacked(tmp_path, member, said):
    source = zipped(tmp_path / "a.zip", [*GOOD.items(), (member, b"evil")])
    with pytest.raises(RunError, match=said) as caught:
        unpack(source, tmp_path / "deep" / "out")
    assert str(source) in str(caught.value) and "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


def test_an_encrypted_member_is_refused(tmp_path):
    source = zipped(tmp_path / "a.zip", GOOD)
    content = bytearray(source.read_bytes())
    for sign, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(sign) + at] |= 1
    source.write_bytes(content)
    with pytest.raises(RunError, match="is encrypted; nothing was unpacked"):
        unpack(source, tmp_path / "out")


def test_a_bomb_is_refused_before_it_goes_off(tmp_path):
    source = zipped(tmp_path / "a.zip", {"zeros": bytes(50 << 20)})
    assert source.stat().st_size < 100_000
    with pytest.raises(RunError, match="bytes would become 52,428,800; at most 100 times as many are allowed"):
        unpack(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_bomb_of_members_that_share_their_bytes_is_refused(tmp_path):
    """Every entry of the table of contents leads to the same packed bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("m0", os.urandom(1 << 20))
        one = file.infolist()[0]
        for number in range(1, 200):
            copy = info(f"m{number}")
            for name in ("compress_type", "CRC", "compress_size", "file_size", "header_offset"):
                setattr(copy, name, getattr(one, name))
            file.filelist.append(copy)
    (tmp_path / "a.zip").write_bytes(buffer.getvalue())
    with pytest.raises(RunError, match="at most 100 times as many"):
        unpack(tmp_path / "a.zip", tmp_path / "out")


def test_a_member_that_is_larger_than_announced_is_cut_off_and_found_damaged(tmp_path):
    source = zipped(tmp_path / "a.zip", {"a": os.urandom(1000) + bytes(100_000)})
    content = bytearray(source.read_bytes())
    at = content.index(b"PK\x01\x02") + 24
    content[at : at + 4] = (10).to_bytes(4, "little")
    source.write_bytes(content)
    with pytest.raises(RunError, match="a damaged one"):
        unpack(source, tmp_path / "out")
    assert (tmp_path / "out" / "a").stat().st_size <= 10


def test_too_many_members_and_too_many_bytes_are_refused(tmp_path):
    source = zipped(tmp_path / "a.zip", GOOD)
    with pytest.raises(RunError, match="it holds 3 members; at most 2 are allowed"):
        unpack(source, tmp_path / "out", Limits(files=2))
    with pytest.raises(RunError, match="it holds 4,016 bytes; at most 4,000 are allowed"):
        unpack(source, tmp_path / "out", Limits(size=4000))


def test_a_disk_without_room_is_known_beforehand(tmp_path, monkeypatch):
    usage = os.statvfs(tmp_path)
    assert usage.f_bavail
    real = archive.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(archive.shutil, "disk_usage", lambda path: real._replace(free=1000))
    with pytest.raises(RunError, match="it needs 4,016 bytes, but .* has 1,000 left; nothing was unpacked"):
        unpack(zipped(tmp_path / "a.zip", GOOD), tmp_path / "deep" / "out")
    assert not (tmp_path / "deep").exists()


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda content: b"<html>not found</html>",
        lambda content: b"",
        lambda content: content[:60] + bytes([content[60] ^ 255]) + content[61:],
    ],
)
def test_a_damaged_archive_is_said(tmp_path, damage):
    source = zipped(tmp_path / "a.zip", {"a": os.urandom(1000)})
    source.write_bytes(damage(source.read_bytes()))
    with pytest.raises(RunError, match=r"a.zip: this is no zip archive, or a damaged one: "):
        unpack(source, tmp_path / "out")


@settings(max_examples=cases(100, 5000), deadline=None)
@given(st.data())
def test_an_archive_with_any_byte_changed_never_writes_outside(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("zip")
    content = bytearray(zipped(folder / "a.zip", {"a/b": b"12345678", "c": b"9"}).read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (folder / "a.zip").write_bytes(content)
    try:
        unpack(folder / "a.zip", folder / "out")
    except RunError as error:
        assert "a.zip" in str(error)
    assert {path.name for path in folder.iterdir()} <= {"a.zip", "out"}


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("years")
    with pytest.raises(InputError, match="is not an empty folder"):
        unpack(zipped(tmp_path / "a.zip", GOOD), tmp_path / "out")
    with pytest.raises(InputError, match="none.zip: No such file"):
        unpack(tmp_path / "none.zip", tmp_path / "new")
    assert contents(tmp_path / "out") == {"mine": b"years"}
