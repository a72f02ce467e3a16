"""A run that a command line names: by its id, by the beginning of it, or as `last`.

    find_run("3f9a", "mlruns")          the run whose id begins so
    find_run("last", "mlruns")          the newest one, of any experiment

The folder (or MLflow uri) is that of `--uri_folder`; nothing is written, and no session is needed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from qlib.errors import InputError, did_you_mean
from qlib.workflow.exp import search_runs
from qlib.workflow.recorder import MLflowRecorder
from qlib.workflow.store import client, place_of, prepare

LAST: Final = "last"
SHORTEST: Final = 4  # of the beginning of an id
SHOWN: Final = 5


def runs_uri(uri_folder: str | Path) -> str:
    """Return what `--uri_folder` means: an MLflow uri as it is, a folder from the root on."""
    text = str(uri_folder)
    return text if ":" in text else str(Path(text).expanduser().absolute())


def find_run(run: str, uri_folder: str | Path = "mlruns") -> MLflowRecorder:
    """Return the run of an id, of the unmistakable beginning of one (four characters or more), or the `last` one.

    Raises InputError, which names the runs there are.
    """
    place = place_of(runs_uri(uri_folder))
    if place.database is not None and not place.database.exists():
        raise InputError(f"run {run}: there are no runs in {place.folder}; --uri_folder says where they are kept")
    prepare(place, write=False)
    of = client(place.uri)
    experiments = [experiment.experiment_id for experiment in of.search_experiments()]
    found = search_runs(of, experiments, max_results=1 if run == LAST else 100_000) if experiments else []
    ids = [one.info.run_id for one in found]
    if run != LAST:
        found = [
            one for one in found if one.info.run_id == run or (len(run) >= SHORTEST and one.info.run_id.startswith(run))
        ]
    if len(found) == 1:
        return MLflowRecorder(found[0].info.experiment_id, place.uri, mlflow_run=found[0])
    where = f"{place.folder or place.uri}"
    if found:
        raise InputError(f"run {run}: {len(found)} runs in {where} begin so: {_few([o.info.run_id for o in found])}")
    there = f"the newest of {len(ids)} runs there are {_few(ids)}" if ids else "there are no runs"
    raise InputError(f"run {run}: {where} has none of that id{did_you_mean(run, ids)}; {there}")


def _few(ids: list[str]) -> str:
    return ", ".join(ids[:SHOWN]) + (" ..." if len(ids) > SHOWN else "")
