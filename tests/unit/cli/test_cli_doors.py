"""Command lines are understood whole before anything is done, and texts stay texts."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from qlib.cli import data, doors, dump
from qlib.collect.dump import DumpDataBase
from qlib.errors import InputError

DONE: list[object] = []


def write(target: str | Path, fields: str | Sequence[str] = (), dry_run: bool = False) -> str:
    """Write."""
    DONE.append((target, fields, dry_run))
    return "written"


class Store:
    """A store."""

    def __init__(self, root: str, limit: int | None = None) -> None:
        self.root, self.limit = root, limit

    def fill(self, name: str = "all") -> str:
        """Fill it, by way of `write`."""
        return self.write(name)

    def write(self, name: str) -> str:
        """Write."""
        DONE.append((self.root, self.limit, name))
        return name


class Loose:
    """Takes any option."""

    def fill(self, **options: int) -> None:
        """Fill."""
        DONE.append(options)


@pytest.fixture(autouse=True)
def nothing_done():
    DONE.clear()


def told(monkeypatch, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", ["program", *words])


@pytest.mark.parametrize(
    "words",
    [
        ("write", "--target", "x", "--dryrun"),
        ("write", "--target", "x", "--fields", "a", "--dry_run", "--no_such=1"),
        ("write", "x", "a", "True", "more"),
        ("wirte", "--target", "x"),
        ("write",),
        (),
    ],
)
def test_a_word_that_nobody_takes_ends_the_program_before_anything_is_done(monkeypatch, capsys, words):
    told(monkeypatch, *words)
    with pytest.raises(SystemExit) as ended:
        doors.call({"write": write}, name="program")
    assert (ended.value.code, DONE) == (2, [])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("wirte", "--target", "x"), "received wirte; commands are write; did you mean write?"),
        (("write", "x", "--Target=y"), "received --Target; .* did you mean --target?"),
        (("write", "-target_", "y"), "received -target_; .* did you mean --target?"),
        (("write", "x", "--zzz"), "received --zzz; options of write are --target, --fields, --dry_run"),
    ],
)
def test_a_mistyped_word_is_told_with_the_nearest_right_one(monkeypatch, capsys, words, said):
    told(monkeypatch, *words)
    with pytest.raises(SystemExit):
        doors.call({"write": write}, name="program")
    assert re.fullmatch(f"program: {said}\n".replace("?", r"\?"), capsys.readouterr().err)


def test_words_that_fire_understands_are_no_mistakes(monkeypatch, capsys):
    for words in (
        ("write", "x", "--nodry_run"),
        ("write", "-t", "x"),
        ("write", "-t=x", "--dry-run=False"),
        ("write", "--target", "x", "--", "--verbose"),
    ):
        told(monkeypatch, *words)
        doors.call({"write": write}, name="program")
    assert DONE == [("x", (), False)] * 4
    told(monkeypatch, "--root", "7", "fill", "--name=b")
    doors.call(doors.of_class(Store), name="program")
    told(monkeypatch, "fill", "--more=1")
    doors.call(doors.of_class(Loose), name="program")
    assert DONE[4:] == [("7", None, "b"), {"more": 1}]
    told(monkeypatch, "write", "--help")
    with pytest.raises(SystemExit) as ended:
        doors.call({"write": write}, name="program")
    assert ended.value.code == 0


@pytest.mark.parametrize("words", [("fill", "--root", "x", "--nmae", "a"), ("--root", "x"), ("fil", "--root", "x")])
def test_so_it_is_with_classes(monkeypatch, capsys, words):
    told(monkeypatch, *words)
    with pytest.raises(SystemExit) as ended:
        doors.call(doors.of_class(Store), name="program")
    assert (ended.value.code, DONE) == (2, [])


def test_what_is_understood_is_done_once(monkeypatch):
    told(monkeypatch, "write", "--target", "2024", "--fields", "a,b", "--dry-run")
    assert doors.call({"write": write}, name="program") == "written"
    assert DONE == [("2024", ("a", "b"), True)]
    told(monkeypatch, "fill", "--root=7", "--limit=3", "--name", "None")
    assert doors.call(doors.of_class(Store), name="program") is None
    assert DONE[1:] == [("7", 3, None)]


@pytest.mark.parametrize("word", ["1_000", "2024.10", "0" * 64, "True", "1e3", "a,b", "[a]"])
def test_a_text_stays_as_it_was_written(monkeypatch, word):
    told(monkeypatch, "write", f"--target={word}", "--fields", "1,2")
    doors.call({"write": write}, name="program")
    told(monkeypatch, "write", word)
    doors.call({"write": write}, name="program")
    assert [target for target, *_ in DONE] == [word, word]


def test_an_option_without_its_text_is_said(monkeypatch):
    told(monkeypatch, "write", "--target", "--dry_run")
    with pytest.raises(InputError, match=r"^target: received True; a text is needed$"):
        doors.call({"write": write}, name="program")
    assert not DONE


def test_a_mistyped_option_of_dump_bin_leaves_the_store(monkeypatch, capsys, tmp_path):
    (tmp_path / "csv").mkdir()
    (tmp_path / "csv" / "a.csv").write_text("date,close\n2026-01-05,1\n")
    told(monkeypatch, "dump_all", str(tmp_path / "csv"), str(tmp_path / "store"), "--dryrun")
    with pytest.raises(SystemExit) as ended:
        dump.run()
    assert ended.value.code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["csv"]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("dump_bin: received --dryrun; options of dump_all are --data_path, --qlib_dir, --backup_dir")
    assert line.endswith("; did you mean --dry_run?")


def test_a_mistyped_option_of_get_data_leaves_the_store(monkeypatch, capsys, tmp_path):
    told(monkeypatch, "sample", "--target_dir", str(tmp_path / "store"), "--exist_skip")
    with pytest.raises(SystemExit) as ended:
        data.run()
    assert ended.value.code == 2
    assert not list(tmp_path.iterdir())
    assert capsys.readouterr().err == (
        "get_data: received --exist_skip; options of sample are --target_dir, --seed, --exists_skip, --null, "
        "--delete_zip_file, --base_url; did you mean --exists_skip?\n"
    )


@pytest.mark.parametrize("command", ["dump_all", "dump_fix", "dump_update"])
def test_the_help_of_dump_bin_says_what_every_option_is(monkeypatch, capsys, command):
    told(monkeypatch, command, "--help")
    with pytest.raises(SystemExit):
        dump.run()
    shown = " ".join(capsys.readouterr().err.split())
    assert "Arguments as" not in shown
    for name in inspect.signature(DumpDataBase).parameters:
        about = re.search(rf"^ *{name}\n +(.+)$", DumpDataBase.__doc__, re.MULTILINE).group(1)
        assert about in shown


def test_the_help_of_qlib_data_has_a_line_for_each_command():
    lines = data.help_text().splitlines()[3:-2]
    assert len({line.index(line.split(maxsplit=1)[1]) for line in lines}) == 1  # one column
    assert all(len(line.split(maxsplit=1)[0]) < line.index(line.split(maxsplit=1)[1]) - 3 for line in lines)


def test_a_mistyped_command_of_qlib_data_is_told_with_all_of_them(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["qlib data", "resmaple", "--qlib_dir", "x"])
    with pytest.raises(SystemExit) as ended:
        data.run()
    assert ended.value.code == 2
    assert re.fullmatch(
        r"qlib data: received resmaple; commands are .*sample, resample, future; did you mean resample\?\n",
        capsys.readouterr().err,
    )
