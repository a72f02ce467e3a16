"""get_data: archives of a server become a folder whole or not at all, and nothing is deleted that nobody gave up."""

from __future__ import annotations

import hashlib
import io
import itertools
import os
import pty
import runpy
import shutil
import signal
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from http_server import File, serving
from proof import cases

from qlib.collect import datasets
from qlib.collect.datasets import archive_name, checked_name, get_archive, sha256_for
from qlib.data.storage.writer import write_store
from qlib.errors import InputError, RunError
from qlib.tests.data import GetData
from qlib.utils import exists_qlib_data

ROOT = Path(__file__).resolve().parents[3]
CN = "/v2/qlib_data_cn_1d_latest.zip"


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def zip_of(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def store_files(folder: Path, days: int, names: str) -> dict[str, bytes]:
    dates = pd.date_range("2024-01-01", periods=days)
    frames = {name: pd.DataFrame({"close": np.arange(days) + 1.0}, index=dates) for name in names}
    return contents(write_store(frames, folder / "made" / f"{days}{names}", "day"))


def hash_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def archive(tmp_path) -> bytes:
    return zip_of(store_files(tmp_path, 5, "AB"))


@pytest.fixture(autouse=True)
def nobody_there(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))


def test_a_data_set_is_downloaded_checked_and_unpacked(tmp_path, archive, monkeypatch):
    target = tmp_path / "cn_data"
    with serving({CN: File(archive)}) as (url, asked):
        monkeypatch.setenv("QLIB_DATA_URL", url)
        said = GetData().qlib_data(target_dir=target, sha256=hash_of(archive))
    assert said.splitlines()[0] == f"v2/qlib_data_cn_1d_latest.zip: 4 files unpacked into {target}"
    assert f"SHA-256 {hash_of(archive)}, as it must be" in said
    assert [path for path, _ in asked] == [CN]
    assert exists_qlib_data(target)
    kept = contents(target)
    assert kept.pop("qlib_data_cn_1d_latest.zip") == archive
    assert kept == store_files(tmp_path, 5, "AB")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cn_data", "made"]


def test_the_archive_is_deleted_if_asked_and_spares_the_server_if_not(tmp_path, archive):
    wanted = {"target_dir": tmp_path / "s", "sha256": hash_of(archive), "yes": True}
    with serving({CN: File(archive)}) as (url, asked):
        GetData(base_url=url).qlib_data(**wanted)
        GetData(base_url=url, delete_zip_file=True).qlib_data(**wanted)
        assert len(asked) == 1
        assert set(contents(tmp_path / "s")) == set(store_files(tmp_path, 5, "AB"))


def test_a_whole_store_is_kept_if_asked_and_half_of_one_is_not(tmp_path, archive):
    with serving({CN: File(archive)}) as (url, asked):
        door = GetData(base_url=url)
        door.qlib_data(target_dir=tmp_path / "s", sha256=hash_of(archive))
        assert door.qlib_data(target_dir=tmp_path / "s", exists_skip=True).startswith("already there, kept: ")
        (tmp_path / "s" / "features" / "a" / "close.day.bin").unlink()
        (tmp_path / "s" / "features" / "a").rmdir()
        door.qlib_data(target_dir=tmp_path / "s", exists_skip=True, sha256=hash_of(archive), yes=True)
    assert exists_qlib_data(tmp_path / "s")
    assert len(asked) == 1


def test_what_nothing_vouches_for_is_not_downloaded_unless_that_is_said(tmp_path, archive):
    with serving({"/v0/a.zip": File(archive)}) as (url, asked):
        door = GetData(base_url=url)
        with pytest.raises(InputError, match=r"no SHA-256 is known of v0/a.zip, .* --sha256 .* or --unpinned"):
            door.download_data("a.zip", tmp_path / "s")
        with pytest.raises(InputError, match="received sha256 and unpinned"):
            door.download_data("a.zip", tmp_path / "s", sha256=hash_of(archive), unpinned=True)
        assert asked == []
        said = door.download_data("a.zip", tmp_path / "s", unpinned=True)
    assert f"SHA-256 {hash_of(archive)}, which nobody vouches for" in said


def test_a_pin_vouches_for_its_file(archive):
    pins = {"v2/a.zip": "0" * 64}
    assert sha256_for("v2/a.zip", None, unpinned=False, pins=pins) == "0" * 64
    assert sha256_for("v2/a.zip", "A" * 64, unpinned=False, pins=pins) == "a" * 64
    assert sha256_for("v2/a.zip", None, unpinned=True, pins=pins) is None
    assert all(checked_name(name) == name and len(pin) == 64 for name, pin in datasets.PINS.items())


def test_one_file_is_downloaded(tmp_path):
    with serving({"/x/y.csv": File(b"hello")}) as (url, _):
        said = GetData().download(f"{url}/x/y.csv", tmp_path / "y.csv", sha256=hash_of(b"hello"))
        assert said.endswith(f"SHA-256 {hash_of(b'hello')}")
        with pytest.raises(InputError, match=r"no SHA-256 is known of http://127.0.0.1:\d+/x/y.csv"):
            GetData().download(f"{url}/x/y.csv", tmp_path / "z.csv")
    assert (tmp_path / "y.csv").read_bytes() == b"hello"


def test_whether_the_server_has_a_data_set(archive):
    with serving({"/v0/a.zip": File(archive)}) as (url, _):
        assert GetData(base_url=url + "/").check_dataset("a.zip") is True
        assert GetData(base_url=url).check_dataset("v2/a.zip") is False


@pytest.mark.parametrize("name", ["", "../a.zip", "a/b/c.zip", "/a.zip", "a.zip?x=1", ".hidden", "v2/.a.zip", "v2/"])
def test_names_that_are_none(tmp_path, name):
    with pytest.raises(InputError, match="file_name: received "):
        GetData().download_data(name, tmp_path / "s", unpinned=True)


def test_addresses_are_qlibs_unless_another_server_is_named(monkeypatch):
    class Mine(GetData):
        REMOTE_URL = "https://mine.example"

    monkeypatch.delenv("QLIB_DATA_URL", raising=False)
    assert GetData().merge_remote_url("a.zip") == f"{GetData.REMOTE_URL}/v0/a.zip"
    assert Mine().merge_remote_url("v1/a.zip") == "https://mine.example/v1/a.zip"
    monkeypatch.setenv("QLIB_DATA_URL", "https://env.example/")
    assert Mine().merge_remote_url("a.zip") == "https://env.example/v0/a.zip"
    assert Mine(base_url="https://told.example").merge_remote_url("a.zip") == "https://told.example/v0/a.zip"


def test_names_are_qlibs():
    assert archive_name("qlib_data_simple", "US", "1min") == "v2/qlib_data_simple_us_1min_latest.zip"
    assert archive_name("qlib_data", "cn", "1d", "v1") == "v1/qlib_data_cn_1d_latest.zip"


# ------------------------------------------------------------------------------------------------ what is there already
@pytest.fixture
def old(tmp_path) -> Path:
    root = tmp_path / "s"
    made = store_files(tmp_path, 3, "AC") | {"mine/notes.txt": b"years", "features_cache/a/x": b"cache"}
    for name, content in made.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    (root / "empty").mkdir()
    return root


def test_nothing_is_deleted_where_nobody_can_be_asked(old, archive):
    before = contents(old)
    with serving({CN: File(archive)}) as (url, asked):
        said = r"holds features, calendars, instruments, features_cache, which delete_old would delete, .* --yes"
        with pytest.raises(InputError, match=said):
            GetData(base_url=url).qlib_data(target_dir=old, sha256=hash_of(archive))
    assert asked == [], "nobody waits for a download to be asked afterwards"
    assert contents(old) == before


def test_delete_old_replaces_the_store_and_keeps_what_is_none(old, archive, tmp_path):
    with serving({CN: File(archive)}) as (url, _):
        GetData(base_url=url, delete_zip_file=True).qlib_data(target_dir=old, sha256=hash_of(archive), yes=True)
    assert contents(old) == store_files(tmp_path, 5, "AB") | {"mine/notes.txt": b"years"}
    assert (old / "empty").is_dir()


def test_without_delete_old_what_the_archive_lacks_stays(old, archive, tmp_path):
    before = contents(old)
    with serving({CN: File(archive)}) as (url, _):
        door = GetData(base_url=url, delete_zip_file=True)
        door.qlib_data(target_dir=old, sha256=hash_of(archive), delete_old=False)
    assert contents(old) == before | store_files(tmp_path, 5, "AB")


def test_series_that_stay_are_never_moved_to_other_dates(old, tmp_path):
    other = zip_of({"calendars/day.txt": b"2023-12-29\n2024-01-01\n", "instruments/all.txt": b"", "features/b/x": b""})
    before = contents(old)
    said = "the series that stay would move to other dates"
    with serving({CN: File(other)}) as (url, _), pytest.raises(InputError, match=said):
        GetData(base_url=url).qlib_data(target_dir=old, sha256=hash_of(other), delete_old=False)
    assert {**before, "qlib_data_cn_1d_latest.zip": other} == contents(old)


@pytest.mark.parametrize(("answer", "done"), [("y", True), ("YES", True), ("n", False), ("", False)])
def test_who_sits_there_is_asked(old, archive, tmp_path, monkeypatch, capsys, answer, done):
    before = contents(old)
    mine, theirs = pty.openpty()
    os.write(mine, f"{answer}\n".encode())
    with serving({CN: File(archive)}) as (url, asked), os.fdopen(theirs) as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        door = GetData(base_url=url, delete_zip_file=True)
        if done:
            door.qlib_data(target_dir=old, sha256=hash_of(archive))
        else:
            with pytest.raises(InputError, match="instruments, features_cache may not be deleted; nothing was changed"):
                door.qlib_data(target_dir=old, sha256=hash_of(archive))
    os.close(mine)
    question = f"{old}: delete features, calendars, instruments, features_cache when the new data are there? (y/N)"
    assert question in capsys.readouterr().out
    assert len(asked) == (1 if done else 0)
    assert contents(old) == (store_files(tmp_path, 5, "AB") | {"mine/notes.txt": b"years"} if done else before)


@pytest.mark.parametrize(
    ("served", "said"),
    [
        (lambda good: b"<html>", "no zip archive"),
        (lambda good: zip_of({"../evil": b"x"}), "leads out of the folder"),
        (lambda good: zip_of({"features/zeros": bytes(30 << 20)}), "at most 100 times as many"),
        (lambda good: zip_of({"a.csv": b"1,2"}), "it holds no store"),
        (lambda good: good[: len(good) // 2], "no zip archive"),
    ],
)
def test_a_bad_archive_leaves_the_store_as_it_was(old, archive, tmp_path, served, said):
    before, bad = contents(tmp_path), served(archive)
    with serving({CN: File(bad)}) as (url, _):
        with pytest.raises(RunError, match=said):
            GetData(base_url=url).qlib_data(target_dir=old, unpinned=True, yes=True)
        with pytest.raises(RunError, match=said):
            GetData(base_url=url).qlib_data(target_dir=tmp_path / "new", unpinned=True)
        with pytest.raises(RunError, match="its SHA-256 is"):
            GetData(base_url=url).qlib_data(target_dir=old, sha256=hash_of(archive), yes=True)
    after = contents(tmp_path)
    kept = {name: after.pop(name) for name in [*after] if name.endswith(".zip")}
    assert after == before and all(content == bad for content in kept.values())


def test_a_file_that_the_server_lacks_leaves_nothing(tmp_path):
    with serving({}) as (url, _), pytest.raises(InputError, match="no such file"):
        GetData(base_url=url).download_data("a.zip", tmp_path / "s", unpinned=True)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_exchanged_is_refused_before_anything_is_downloaded(tmp_path, archive, monkeypatch):
    (tmp_path / "file").write_text("")
    (tmp_path / "here" / "deep").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here" / "deep")
    with serving({"/v0/a.zip": File(archive)}) as (url, asked):
        for folder, said in (
            ("file", "is a file; a folder"),
            ("here", "holds the working directory"),
            ("here/deep", "holds"),
        ):
            with pytest.raises(InputError, match=said):
                GetData(base_url=url).download_data("a.zip", tmp_path / folder, unpinned=True)
        with pytest.raises(InputError, match="is a mount point"):
            GetData(base_url=url).download_data("a.zip", "/proc", unpinned=True)
    assert asked == []


def test_a_link_or_a_folder_is_never_replaced_by_something_else(old, tmp_path):
    (tmp_path / "disk").mkdir()
    (old / "linked").symlink_to(tmp_path / "disk")
    before = contents(tmp_path)
    for name, said in (("linked/x", "is a link"), ("mine", "is a folder"), ("mine/notes.txt/x", "is a file")):
        packed = zip_of({name: b"1"})
        with serving({"/v0/a.zip": File(packed)}) as (url, _), pytest.raises(InputError, match=said):
            GetData(base_url=url).download_data("a.zip", old, sha256=hash_of(packed), yes=True)
        (old / "a.zip").unlink()
    assert contents(tmp_path) == before and (old / "linked").is_symlink()


def test_a_link_to_a_folder_leads_there(tmp_path, archive):
    (tmp_path / "disk").mkdir()
    (tmp_path / "s").symlink_to(tmp_path / "disk")
    with serving({CN: File(archive)}) as (url, _):
        GetData(base_url=url).qlib_data(target_dir=tmp_path / "s", sha256=hash_of(archive))
    assert (tmp_path / "s").is_symlink() and exists_qlib_data(tmp_path / "disk")


@pytest.mark.parametrize("value", ["False", 1, None])
def test_flags_are_true_or_false(tmp_path, value):
    for name in ("delete_old", "unpinned", "yes"):
        with pytest.raises(InputError, match=f"{name} must be True or False"):
            GetData().download_data("a.zip", tmp_path / "s", **{name: value})


def test_a_kill_at_any_moment_leaves_the_old_store_or_the_new_one(tmp_path, monkeypatch):
    """kill -9 while archives are unpacked over each other, in turns."""
    versions = [{f"features/{i:03}/x.day.bin": bytes([k]) * 50 for i in range(5)} for k in (1, 2)]
    for k, files in enumerate(versions):
        (tmp_path / f"{k}.zip").write_bytes(zip_of(files))

    def get() -> None:
        with serving({"/v0/a.zip": File((tmp_path / "0.zip").read_bytes())}) as (url, _):
            get_archive("a.zip", tmp_path / "s", sha256=None, base_url=url, keep_archive=False)

    get()
    monkeypatch.setattr(datasets, "fetch", lambda url, path, **_: shutil.copy(url, path))
    monkeypatch.setattr(datasets, "address", lambda name, base: str(base))
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(cases(20, 300)):
        if not (child := os.fork()):
            try:
                for k in itertools.count(1):
                    base = str(tmp_path / f"{k % 2}.zip")
                    get_archive("a.zip", tmp_path / "s", sha256=None, base_url=base, keep_archive=False)
            finally:  # a child that fails must not go on as a second pytest
                os._exit(1)
        time.sleep(rng.uniform(0.02, 0.2))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        found = contents(tmp_path / "s")
        found.pop("a.zip", None)
        assert found in versions
        seen.add(found == versions[1])
    assert seen == {False, True}
    monkeypatch.undo()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    get()
    assert contents(tmp_path / "s") == versions[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.zip", "1.zip", "s"], (
        "what the killed ones left is swept up"
    )


def test_the_script_speaks_in_one_sentence_and_exit_codes(tmp_path, archive, monkeypatch, capsys):
    def door(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["get_data.py", *words, "--target_dir", str(tmp_path / "s")])
        try:
            runpy.run_path(str(ROOT / "scripts" / "get_data.py"), run_name="__main__")
        except SystemExit as ended:
            return ended.code, *capsys.readouterr()
        return 0, *capsys.readouterr()

    with serving({CN: File(archive), "/v0/bad.zip": File(b"x")}) as (url, _):
        monkeypatch.setenv("QLIB_DATA_URL", url)
        for words, code, said in (
            (("qlib_data",), 2, "no SHA-256 is known of v2/qlib_data_cn_1d_latest.zip"),
            (("qlib_data", "--sha256", hash_of(archive)), 0, ""),
            (("qlib_data", "--sha256", hash_of(archive)), 2, "nobody is there to be asked"),
            (("download_data", "--file_name", "none.zip", "--unpinned", "--yes"), 2, "no such file (404)"),
            (("download_data", "--file_name", "bad.zip", "--unpinned", "--yes"), 1, "no zip archive"),
        ):
            found, _, err = door(*words)
            assert found == code and said in err
            assert sum(line.startswith("get_data: ") for line in err.splitlines()) == (1 if code else 0)
        assert "files unpacked into" in door("qlib_data", "--unpinned", "--yes", "--delete_zip_file=True")[1]
    assert not (tmp_path / "s" / "qlib_data_cn_1d_latest.zip").exists()


@pytest.mark.parametrize("lost", ["calendars/day.txt", "instruments/all.txt", "features/b/close.day.bin"])
def test_a_store_that_lacks_something_is_not_there(tmp_path, lost):
    root = tmp_path / "s"
    for name, content in store_files(tmp_path, 3, "AB").items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    assert exists_qlib_data(root) and exists_qlib_data(str(root))
    (root / "features" / "b" / "other.txt").write_text("")
    if lost.startswith("features"):
        (root / "features" / "a" / "close.day.bin").unlink()
    (root / lost).unlink()
    assert not exists_qlib_data(root)


def test_a_store_with_a_calendar_nothing_uses_or_a_name_without_a_folder_is_not_there(tmp_path):
    root = write_store(
        {"CON": pd.DataFrame({"x": [1.0]}, index=pd.DatetimeIndex(["2024-01-01"]))}, tmp_path / "s", "day"
    )
    assert exists_qlib_data(root)
    (root / "calendars" / "day_future.txt").write_text("2024-01-01\n2024-01-02\n")
    assert exists_qlib_data(root)
    (root / "calendars" / "1min.txt").write_text("2024-01-01 00:00:00\n")
    assert not exists_qlib_data(root)
    (root / "calendars" / "1min.txt").unlink()
    with (root / "instruments" / "all.txt").open("a") as file:
        file.write("NOBODY\t2024-01-01\t2024-01-01\n")
    assert not exists_qlib_data(root)
    (root / "instruments" / "all.txt").write_text("")
    assert not exists_qlib_data(root), "Qlib fails here"
