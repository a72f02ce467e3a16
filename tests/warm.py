"""Programs of tests in processes that are warm: the large libraries are imported once, each program is a fork of that.

    from warm import run_warm

    done = run_warm([sys.executable, "examples/workflow.py", "--quick"], cwd=folder, env={**os.environ, "HOME": home})
    assert done.returncode == 0, done.stderr

What a program sees is what a process of its own would see: its own environment, folder, arguments and `__main__`, its
own import of qlib, its exit code and its `atexit`. Warm are the libraries of others alone, which take most of the
seconds. For what is said about starting itself (what an import loads, PYTHONHASHSEED), take `subprocess`.
"""

from __future__ import annotations

import atexit
import functools
import gc
import importlib
import json
import os
import runpy
import subprocess
import sys
import tempfile
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

LIBRARIES = (
    "jinja2",
    "lightgbm",
    "mlflow.artifacts",
    "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.tracking",
    "pandas",
    "plotly.graph_objects",
    "pyarrow.parquet",
    "scipy.stats",
)


def run_warm(
    command: Sequence[str | Path], *, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `[sys.executable, script | "-m" module | "-c" code, ...]` to its end; return its code and what it printed."""
    words = [str(word) for word in command]
    assert words[0] == sys.executable
    with tempfile.TemporaryDirectory() as folder:
        said = [Path(folder) / name for name in ("stdout", "stderr")]
        environment = dict(os.environ if env is None else env)
        request = {"words": words[1:], "cwd": str(cwd or Path.cwd()), "env": environment, "said": [*map(str, said)]}
        server = _server()
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write(json.dumps(request) + "\n")
        server.stdin.flush()
        answer = server.stdout.readline()
        assert answer, "the warm process has ended"
        return subprocess.CompletedProcess(words, int(answer), *(path.read_text(encoding="utf-8") for path in said))


@functools.cache
def _server() -> subprocess.Popen[str]:
    environment = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true", "GIT_PYTHON_REFRESH": "quiet"}  # as qlib imports it
    command = [sys.executable, __file__]
    server = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def end() -> None:
        assert server.stdin is not None
        server.stdin.close()
        server.wait()

    atexit.register(end)
    return server


def serve() -> dict[str, Any] | None:
    """Fork for every request; return None at the end of the input, and in a fork what it is to run."""
    for name in LIBRARIES:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    while line := sys.stdin.readline():
        child = os.fork()
        if child == 0:
            return json.loads(line)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    return None


def become(request: dict[str, Any]) -> None:
    """Be the process that was asked for, up to its last line: what comes after is the interpreter's own end.

    Of that end one thing is left out: to take apart, object by object, the memory that is shared with all the others.
    """
    codes.append(1)
    try:
        _be(request)
        codes.append(0)
    except SystemExit as end:
        codes.append(end.code & 255 if isinstance(end.code, int) else int(end.code is not None))
        raise


def leave() -> None:
    """Be asked last of all that is to be done at the end, and leave with the code of the program."""
    if codes:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(codes[-1])


def _be(request: dict[str, Any]) -> None:
    for number, path in enumerate((os.devnull, *request["said"])):
        opened = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        os.dup2(opened, number)
        os.close(opened)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    paths = [path for path in request["env"].get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[:0] = [path for path in paths if path not in sys.path]
    first, *words = request["words"]
    if first == "-m":
        sys.argv, sys.path[:0] = words, [request["cwd"]]
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
        return
    main = types.ModuleType("__main__")
    if first == "-c":
        source, sys.argv, name, place = words[0], ["-c", *words[1:]], "<string>", ""
    else:
        source, sys.argv, name, place = Path(first).read_text(encoding="utf-8"), [first, *words], first, first
        main.__file__ = first
    sys.path.insert(0, str(Path(place).parent) if place else "")
    sys.modules["__main__"] = main
    exec(compile(source, name, "exec"), main.__dict__)


codes: list[int] = []  # of a fork: how it would end now

if __name__ == "__main__":
    atexit.register(leave)  # before any library registers its own: the first to come is the last to be asked
    sys.path.remove(str(Path(__file__).parent))
    if (asked := serve()) is not None:
        become(asked)
