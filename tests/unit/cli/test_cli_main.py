"""The command `qlib`: what it knows, what it answers to what it does not, and with which exit code."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import qlib
from qlib.cli.main import COMMANDS, Command, find, main

ROOT = Path(__file__).resolve().parents[3]


def test_help_names_every_command_with_its_line(capsys):
    assert main(["--help"]) == 0
    said = capsys.readouterr().out
    for name, command in COMMANDS.items():
        assert f"  {name} " in said
        assert command.about in said


def test_without_a_command_the_help_is_an_error(capsys):
    assert main([]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "usage: qlib COMMAND" in err


def test_an_unknown_command_gets_the_nearest_spelling(capsys):
    assert main(["explian", "$close"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("qlib: received explian; known are run, data, ")
    assert err.endswith("; did you mean explain?\n")
    assert err.count("\n") == 1


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_can_be_imported_and_called_without_arguments(name):
    assert callable(find(name))


def test_a_sub_command_gets_its_own_words_and_its_exit_code_is_handed_on(capsys):
    before = list(sys.argv)
    with pytest.raises(SystemExit) as ended:
        main(["explain", "Mean($close, 5)"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("Mean($close,5)  reads $close  back 4  ahead 0")
    with pytest.raises(SystemExit) as ended:
        main(["explain", "Mean($close, 5"])
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("qlib explain: ")
    assert sys.argv == before


@pytest.mark.parametrize(("error", "code"), [("InputError", 2), ("RunError", 1), ("KeyboardInterrupt", 130)])
def test_what_a_sub_command_raises_is_one_sentence_and_an_exit_code(tmp_path, monkeypatch, capsys, error, code):
    text = "from qlib.errors import InputError, RunError\n\n\ndef run():\n"
    (tmp_path / "command_that_fails.py").write_text(f"{text}    raise {error}('the disk is full')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "command_that_fails", raising=False)
    monkeypatch.setitem(COMMANDS, "fails", Command("command_that_fails:run", "fails"))
    assert main(["fails"]) == code
    said = capsys.readouterr().err
    assert said == f"qlib fails: {'interrupted' if code == 130 else 'the disk is full'}\n"


def test_the_module_runs_as_a_program_and_imports_no_command_it_was_not_asked_for():
    program = "import sys; from qlib.cli import main; code = main.main(['--help']); print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert "'qlib.cli.main'" in done.stdout
    assert "'qlib.cli.run'" not in done.stdout
    assert "'qlib.tests.data'" not in done.stdout
    command = [sys.executable, "-m", "qlib.cli.main", "--version"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout) == (0, f"qlib-crypto {qlib.__version__}\n"), done.stderr


def test_the_installed_commands_lead_there():
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts["qlib"] == "qlib.cli.main:run"
    assert scripts["qrun"] == COMMANDS["run"].does
