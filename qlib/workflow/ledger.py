"""Where trials are written down, so that none is forgotten: lines that are only ever added.

    FileLedger(path)        trials.jsonl beside the runs' database: one JSON object a line
    TagLedger(recorder)     a store elsewhere: the line is a tag of its run

Deleting a run leaves its lines: the file knows nothing of runs, and MLflow keeps the tags of a deleted run until its
store is cleaned (`mlflow gc`). What a line says is decided in `qlib.workflow.trials`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Protocol

from qlib.errors import StoreError
from qlib.log import get_module_logger
from qlib.utils.locks import locked
from qlib.workflow.recorder import MLflowRecorder, Recorder
from qlib.workflow.store import place_of

FILE: Final = "trials.jsonl"
TAG: Final = "qlib.trial."
PAGE: Final = 1000  # runs that MLflow hands out in one call
LOCK_SECONDS: Final = 60

Line = dict[str, Any]
logger = get_module_logger("workflow")


class Ledger(Protocol):
    """Lines in the order in which they were written."""

    def add(self, line: Line) -> None:
        """Add a line; when this returns, it is kept."""

    def lines(self) -> list[Line]:
        """Return all lines, the oldest first."""

    def lines_of(self, recorder: Recorder) -> list[Line]:
        """Return the lines of one run."""


def ledger_of(recorder: Recorder) -> Ledger | None:
    """Return the ledger of the store that a run is kept in; None for a store that is not MLflow's."""
    if not isinstance(recorder, MLflowRecorder):
        return None
    place = place_of(recorder.uri)
    return TagLedger(recorder) if place.folder is None else FileLedger(place.folder / FILE)


class FileLedger:
    """A file of lines, written by one process at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, line: Line) -> None:
        data = json.dumps(line, sort_keys=True, allow_nan=False).encode() + b"\n"
        try:
            with locked(f"{self.path}.lock", seconds=LOCK_SECONDS, purpose="writing down a trial"):
                self._append(data)
        except OSError as error:
            raise StoreError(f"{self.path}: the trial could not be written down: {error.strerror}") from error

    def _append(self, data: bytes) -> None:
        file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            size = os.fstat(file).st_size
            if size and _last_byte(file) != b"\n":  # a line that a dying process left unfinished
                data = b"\n" + data
            try:
                while data:
                    data = data[os.write(file, data) :]
                os.fsync(file)
            except OSError:
                os.ftruncate(file, size)
                raise
        finally:
            os.close(file)

    def lines_of(self, recorder: Recorder) -> list[Line]:
        return [line for line in self.lines() if line["run"] == recorder.id]

    def lines(self) -> list[Line]:
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return []
        found = []
        for number, text in enumerate(content.split(b"\n"), 1):
            if not text.strip():
                continue
            try:
                line = json.loads(text)
            except ValueError:
                line = None
            if isinstance(line, dict):
                found.append(line)
            else:
                logger.warning(f"{self.path}: line {number} is damaged and counts as no trial")
        return found


def _last_byte(file: int) -> bytes:
    os.lseek(file, -1, os.SEEK_END)
    return os.read(file, 1)


class TagLedger:
    """Lines as tags of the runs they tell of; a run has one of each kind for each trial that it made."""

    def __init__(self, recorder: MLflowRecorder) -> None:
        self.recorder = recorder

    def add(self, line: Line) -> None:
        name = f"{TAG}{line['event']}"
        former = self.recorder.list_tags().get(name)
        if former is not None and json.loads(former)["trial"] != line["trial"]:
            name += f".{line['trial']}"
        self.recorder.set_tags(**{name: json.dumps(line, sort_keys=True, allow_nan=False)})

    def lines_of(self, recorder: Recorder) -> list[Line]:
        return _told(recorder.list_tags())

    def lines(self) -> list[Line]:
        from mlflow.entities import ViewType  # noqa: PLC0415  heavy: only who keeps runs needs it

        client = self.recorder.client
        experiments = [e.experiment_id for e in _pages(client.search_experiments, view_type=ViewType.ALL)]
        found = []
        for first in range(0, len(experiments), PAGE):
            some = experiments[first : first + PAGE]
            runs = _pages(
                client.search_runs,
                experiment_ids=some,
                filter_string=f"tags.`{TAG}begun` LIKE '%'",
                run_view_type=ViewType.ALL,
            )
            found += [line for run in runs for line in _told(run.data.tags)]
        return _in_time(found)


def _told(tags: Mapping[str, str]) -> list[Line]:
    return _in_time([json.loads(text) for name, text in tags.items() if name.startswith(TAG)])


def _in_time(lines: list[Line]) -> list[Line]:
    return sorted(lines, key=lambda line: (line["time"], line["run"]))


def _pages(search: Any, **arguments: Any) -> list[Any]:
    page = search(max_results=PAGE, **arguments)
    found = list(page)
    while page.token:
        page = search(max_results=PAGE, page_token=page.token, **arguments)
        found += page
    return found
