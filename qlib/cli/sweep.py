"""A sweep: one run for each combination of values, under one parent run.

    qrun config.yaml -m task.model.kwargs.alpha=0.1,1,10 seed=seeds(5) --jobs 4

    table of the file + changes  ->  points (one for each combination, all checked)  ->  runs  ->  sweep.json, a table

The parent is a run of the same experiment; MLflow shows its children below it (tag `mlflow.parentRunId`). It keeps the
points before the first is computed, so a sweep that was broken off is gone on with: `qrun --resume PARENT` computes
what is not FINISHED. A point that fails does not stop the others. Who computes is an executor of
`qlib.data.distributed`: this process, processes of this machine, or a Ray cluster that sees the same files.
"""

from __future__ import annotations

import json
import logging
import math
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import numpy as np

from qlib.cli import hidden
from qlib.cli.check import ConfigProblemsError, check_config, config_warnings
from qlib.cli.checks.problem import Problem
from qlib.cli.config_file import fill_sections_of, read_table, sys_config
from qlib.cli.job import FOLDER, Job
from qlib.cli.overrides import Change, changed, grid, place_of
from qlib.cli.runs import find_run
from qlib.data.distributed import Executor, JoblibExecutor, RayExecutor
from qlib.errors import InputError, QlibError, RunError
from qlib.log import get_module_logger
from qlib.workflow import R, Recorder
from qlib.workflow.exp import search_runs
from qlib.workflow.recorder import MLflowRecorder
from qlib.workflow.stage import stage, stage_of, unwatched

PLAN: Final = "sweep.json"
PARENT: Final = "mlflow.parentRunId"
NUMBER: Final = "sweep.point"
LONGEST_NAME: Final = 200
SHOWN: Final = (
    "IC",
    "Rank IC",
    "excess_return_with_cost.annualized_return",
    "excess_return_with_cost.information_ratio",
    "excess_return_with_cost.max_drawdown",
)

logger = get_module_logger("qrun")


class BrokenSweepError(RunError):
    """Some runs of a sweep failed; each keeps its own traceback."""


@dataclass(slots=True)
class Point:
    """One combination, and what became of it."""

    number: int
    changes: dict[str, Any]  # dotted path -> value
    config: dict[str, Any] = field(repr=False)
    result: dict[str, Any] = field(default_factory=dict)  # run, status, seconds, metrics, error

    @property
    def name(self) -> str:
        """What the run is called: alpha=0.1 seed=3."""
        return " ".join(f"{path.rpartition('.')[2]}={value}" for path, value in self.changes.items())[:LONGEST_NAME]

    @property
    def done(self) -> bool:
        return self.result.get("status") == Recorder.STATUS_FI


class Sweep:
    """All runs of a sweep; used as `Job` is, by `qlib.cli.run`."""

    def __init__(
        self,
        config_path: str | Path,
        experiment_name: str = "workflow",
        uri_folder: str = FOLDER,
        *,
        changes: Sequence[Change] = (),
        many: Sequence[Change] = (),
        jobs: int = 1,
        ray: bool = False,
        cache: bool = True,
        quiet: bool = False,
    ) -> None:
        self.job = Job(config_path, experiment_name, uri_folder, cache=cache, quiet=quiet)
        self.changes, self.many = tuple(changes), tuple(many)
        self.jobs, self.ray, self.cache, self.quiet = jobs, ray, cache, quiet
        self.points: list[Point] = []
        self.repeated: set[str] = set()  # paths of seeds: repetitions of one thing
        self.resumed: Recorder | None = None
        self.warnings: list[Problem] = []
        self._table: dict[str, Any] = {}

    @classmethod
    def of_run(cls, parent: Recorder, uri_folder: str, **options: Any) -> Sweep:
        """Return the sweep of a parent run, with what is done already."""
        kept = _plan_of(parent)
        made = cls(kept["file"], kept["experiment"], uri_folder, **options)
        made.resumed, made._table, made.repeated = parent, parent.load_object("config"), set(kept["repeated"])
        made._point({tuple(one["changes"].items()): None for one in kept["points"]})
        for one in _children(parent):
            point = made.points[int(one.list_tags()[NUMBER])]
            if not point.done:
                point.result = {"run": one.id, "status": one.status, "metrics": one.list_metrics()}
        return made

    # ------------------------------------------------------------------------------------------------ before it begins
    def _point(self, combinations: Mapping[tuple[tuple[str, Any], ...], None]) -> None:
        for number, combination in enumerate(combinations):
            table = changed(self._table, combination)
            config = fill_sections_of(self.job.path, table, whole=False)
            self.points.append(Point(number, dict(combination), config))

    def checked_config(self) -> dict[str, Any]:
        """Make the points; ConfigProblemsError lists what is wrong with them, each problem once."""
        if not self.points:
            self._table = read_table(self.job.path)
            for change in self.changes:
                self._table = changed(self._table, [(place_of(self._table, change.key), change.values[0])])
            many = [Change(place_of(self._table, one.key), one.values, one.seeds) for one in self.many]
            twice = [one.key for place, one in enumerate(many) if one.key in [other.key for other in many[:place]]]
            if twice:
                raise InputError(f"-m: {twice[0]} is given twice")
            self.repeated = {change.key for change in many if change.seeds}
            self._point(dict.fromkeys(grid(many)))
        problems: dict[Problem, str] = {}
        warnings: dict[Problem, None] = {}
        for point in self.points:
            sys_config(point.config, self.job.path)
            found = check_config(point.config, self.job.runs)
            problems.update({one: point.name for one in found if one not in problems})
            if not found:
                warnings.update(dict.fromkeys(config_warnings(point.config)))
        if problems:
            named = [Problem(one.where, f"{one.what} (with {name})") for one, name in problems.items()]
            raise ConfigProblemsError(str(self.job.path), named)
        self.warnings = list(warnings)
        return self._table

    # -------------------------------------------------------------------------------------------------------- the work
    def run(self, *, show_steps: bool = True) -> None:
        """Check all points, begin the parent, compute what is not done, and write down what came of it."""
        with stage("check") as told:
            self.checked_config()
            told["runs"] = len(self.points)
        for one in self.warnings:
            logger.warning(hidden.hide(f"{one}"))
        with self.job.session(self.points[0].config, show_steps=show_steps):
            parent = self._begin()
            self.job.recorder = parent
        ended = Recorder.STATUS_FA
        try:
            self._compute([point for point in self.points if not point.done], parent)
            parent.save_file(PLAN, self._write)
            ended = Recorder.STATUS_FI if not self.broken else Recorder.STATUS_FA
        except BaseException:  # workers that were stopped could not say so
            for child in _children(parent):
                if child.status == Recorder.STATUS_R:
                    child.end_run(Recorder.STATUS_FA)
            raise
        finally:
            parent.end_run(ended)

    def _begin(self) -> Recorder:
        """Begin the parent run, or go on with it; the points are kept before anything is computed."""
        if self.resumed is not None:
            self.resumed.start_run()
            return self.resumed
        self.job.open_store()
        name = self.points[0].config.get("experiment_name") or self.job.experiment_name
        parent = R.get_exp(experiment_name=name).create_recorder(f"sweep of {len(self.points)}")
        parent.start_run()
        parent.save_objects(config=self._table)
        parent.save_file(PLAN, self._write)
        values: dict[str, list[str]] = defaultdict(list)
        for point in self.points:
            for path, value in point.changes.items():
                if str(value) not in values[path]:
                    values[path].append(str(value))
        parent.log_params(**{f"sweep {path}": ", ".join(some)[:LONGEST_NAME] for path, some in values.items()})
        return parent

    def _write(self, path: Path) -> None:
        kept = {
            "file": str(self.job.path.absolute()),
            "experiment": self.job.experiment_name,
            "repeated": sorted(self.repeated),
            "points": [{"number": p.number, "name": p.name, "changes": p.changes} | p.result for p in self.points],
        }
        path.write_text(json.dumps(kept, indent=1, default=str), encoding="utf-8")

    def _compute(self, points: Sequence[Point], parent: Recorder) -> None:
        specs = [
            {
                "number": point.number,
                "of": len(self.points),
                "name": point.name,
                "config": point.config,
                "path": str(self.job.path.absolute()),
                "experiment": self.job.experiment_name,
                "runs": self.job.runs,
                "parent": parent.id,
                "resumed": point.result.get("run"),
                "hidden": hidden.noted(),
                "cache": self.cache,
                "quiet": self.quiet,
            }
            for point in points
        ]
        with closing(self._executor(len(points))) as executor, stage("runs") as told:
            told["workers"] = executor.workers
            log = logging.getLogger("qlib")
            level = log.level
            try:
                with unwatched():
                    results = executor.map(run_point, specs)
            finally:
                log.setLevel(level)  # the runs are quiet, and one worker is this process
            for point, result in zip(points, results, strict=True):
                point.result = result

    def _executor(self, count: int) -> Executor:
        if self.ray:
            return RayExecutor()
        executor = JoblibExecutor(self.jobs)
        return executor if executor.workers <= count else JoblibExecutor(max(1, count))

    # ---------------------------------------------------------------------------------------------------- what is told
    @property
    def recorder(self) -> Recorder | None:
        """The parent, once it was begun."""
        return self.job.recorder

    def ended(self) -> Recorder | None:
        """As `Job.ended`: the parent that is gone on with, if all of it is done."""
        return self.resumed if self.resumed is not None and self.resumed.status == Recorder.STATUS_FI else None

    @property
    def broken(self) -> int:
        """How many points are not finished."""
        return sum(not point.done for point in self.points)

    def keep_traceback(self, error: BaseException) -> str:
        """As `Job.keep_traceback`; that of a point lies in its own run."""
        return self.job.keep_traceback(error)

    def state(self) -> str:
        """As `Job.state`."""
        return self.job.state()

    def closing(self) -> dict[str, Any]:
        """Return what a person does next."""
        return {name: value for name, value in self.job.closing().items() if name != "report"}

    def results(self) -> list[dict[str, Any]]:
        """Return one flat row for each point: its values, status, run, seconds, metrics."""
        return [{"number": p.number, **p.changes, **p.result} for p in self.points]

    def table(self) -> str:
        """Return the results as text: a line for each point, and for each group of seeds its mean and deviation."""
        paths = list(self.points[0].changes)
        metrics = _shown([point.result.get("metrics", {}) for point in self.points])
        head = [*(path.rpartition(".")[2] for path in paths), *(_short(name) for name in metrics), "status", "run"]
        rows = [
            [*(str(point.changes[path]) for path in paths),
             *(_number(point.result.get("metrics", {}).get(name)) for name in metrics),
             str(point.result.get("status", "")), str(point.result.get("run") or point.result.get("error", ""))]
            for point in self.points
        ]  # fmt: skip
        groups = list(self._groups()) if self.repeated else []
        for values, some in groups:
            found = {name: [p.result["metrics"][name] for p in some if name in p.result["metrics"]] for name in metrics}
            named = ["seeds" if path in self.repeated else str(values[path]) for path in paths]
            rows.append([*named, *map(_spread, found.values()), f"{len(some)} runs", "mean ± deviation"])
        widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
                 for row in [head, *rows]]  # fmt: skip
        trials = len(self.points)
        if trials > 1:
            lines.append(
                f"{trials} trials on the same data: the best of them is also the luckiest; its report counts all"
            )
        return "\n".join(lines)

    def _groups(self) -> Iterator[tuple[dict[str, Any], list[Point]]]:
        """Yield the finished points that differ in seeds only, with the values they share."""
        groups: dict[str, list[Point]] = defaultdict(list)
        for point in self.points:
            if point.done:
                groups[str({k: v for k, v in point.changes.items() if k not in self.repeated})].append(point)
        for some in groups.values():
            yield some[0].changes, some


def is_sweep(recorder: Recorder) -> bool:
    """Return whether a run is the parent of a sweep."""
    return PLAN in recorder.list_artifacts()


def parent_of(recorder: MLflowRecorder) -> MLflowRecorder | None:
    """Return the sweep that a run belongs to; None of a run that stands alone."""
    parent = recorder.list_tags().get(PARENT)
    return None if parent is None else find_run(parent, recorder.uri)


def run_point(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Compute one point, in whatever process this is, and return what became of it; only an interruption is raised."""
    hidden.note(spec["hidden"])
    began = perf_counter()
    where = {"experiment_name": spec["experiment"], "uri_folder": spec["runs"]}
    resumed = find_run(spec["resumed"], spec["runs"]) if spec["resumed"] else None
    tags = {PARENT: spec["parent"], NUMBER: str(spec["number"])}
    job = Job(spec["path"], **where, table=spec["config"], resume=resumed, cache=spec["cache"], quiet=True,
              name=spec["name"], tags=tags)  # fmt: skip
    result: dict[str, Any] = {}
    try:
        job.run(show_steps=False)
    except Exception as error:  # one point that fails does not stop the others
        what = str(error) if isinstance(error, QlibError) else f"{type(error).__name__}: {error}"
        in_stage = stage_of(error)
        told = f"{hidden.hide(what)}{f' in the stage {in_stage}' if in_stage else ''}; {job.keep_traceback(error)}"
        result = {"error": told}
    recorder = job.recorder
    result |= {
        "run": None if recorder is None else recorder.id,
        "status": Recorder.STATUS_FA if result else Recorder.STATUS_FI,
        "seconds": round(perf_counter() - began, 3),
        "metrics": {} if recorder is None else recorder.list_metrics(),
    }
    if not spec["quiet"]:
        told = result.get("error") or "  ".join(
            f"{_short(name)} {_number(result['metrics'][name])}" for name in _shown([result["metrics"]])
        )
        line = f"run {spec['number'] + 1} of {spec['of']}  {spec['name']}  {result['status']} {result['seconds']:.1f} s"
        print(f"{line}  {told}", file=sys.stderr, flush=True)
    return result


def _plan_of(parent: Recorder) -> dict[str, Any]:
    folder = Path(parent.download_artifact(PLAN))
    kept: dict[str, Any] = json.loads(folder.read_text(encoding="utf-8"))
    return kept


def _children(parent: Recorder) -> list[MLflowRecorder]:
    """Return the runs of a sweep, the finished ones first; none where something else than MLflow keeps them."""
    if not isinstance(parent, MLflowRecorder):
        return []
    found = search_runs(parent.client, [str(parent.experiment_id)], filter_string=f"tags.`{PARENT}` = '{parent.id}'")
    runs = [MLflowRecorder(run.info.experiment_id, parent.uri, mlflow_run=run) for run in found]
    return sorted(runs, key=lambda run: run.status != Recorder.STATUS_FI)


def _shown(metrics: Sequence[Mapping[str, float]]) -> list[str]:
    """Return the metrics that a table shows: the usual ones, else the first few there are."""
    there = list(dict.fromkeys(name for some in metrics for name in some))
    usual = [name for end in SHOWN for name in there if name == end or name.endswith(f".{end}")]
    return usual or there[: len(SHOWN)]


def _short(metric: str) -> str:
    return metric.replace("excess_return_with_cost.", "").replace("_", " ")


def _number(value: Any) -> str:
    return "" if value is None else "nan" if math.isnan(value) else f"{value:.4g}"


def _spread(numbers: Sequence[float]) -> str:
    if not numbers:
        return ""
    return f"{np.mean(numbers):.4g} ± {np.std(numbers, ddof=1) if len(numbers) > 1 else math.nan:.2g}"
