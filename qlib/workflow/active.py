"""`R`, and the recorder it stands for.

    with R.start(experiment_name="lightgbm"):       FINISHED at the end of the block, FAILED if it raises
        R.log_params(num_leaves=210)
        R.log_metrics(ic=0.05)
        R.save_objects(**{"pred.pkl": pred})
    R.get_recorder(recorder_id=..., experiment_name="lightgbm").load_object("pred.pkl")

Runs are kept by MLflow (`qlib.workflow.store` says where), which is loaded when the first experiment is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from qlib.errors import InputError
from qlib.log import get_module_logger
from qlib.utils.exceptions import RecorderInitializationError
from qlib.utils.wrapper import Wrapper
from qlib.workflow.exp import Experiment
from qlib.workflow.expm import ExpManager
from qlib.workflow.recorder import Recorder

logger = get_module_logger("workflow")


class QlibRecorder:
    """Starts experiments, and writes to the one that is running."""

    def __init__(self, exp_manager: ExpManager) -> None:
        self.exp_manager = exp_manager

    def __repr__(self) -> str:
        return f"QlibRecorder(manager={self.exp_manager})"

    # --------------------------------------------------------------------------------------------- begin and end
    @contextmanager
    def start(
        self,
        *,
        experiment_id: str | None = None,
        experiment_name: str | None = None,
        recorder_id: str | None = None,
        recorder_name: str | None = None,
        uri: str | None = None,
        resume: bool = False,
    ) -> Iterator[Experiment]:
        """Run a block as one run: FINISHED at its end, FAILED if it raises (the exception goes on).

        Parameters
        ----------
        experiment_name
            The experiment; made if there is none of that name.
        recorder_name
            A name for the run.
        uri
            Where this run is kept; None: where runs are kept by default.
        resume
            Go on with the run of `recorder_id` or `recorder_name` instead of a new one.
        """
        experiment = self.start_exp(
            experiment_id=experiment_id,
            experiment_name=experiment_name,
            recorder_id=recorder_id,
            recorder_name=recorder_name,
            uri=uri,
            resume=resume,
        )
        try:
            yield experiment
        except BaseException:
            try:
                self.end_exp(Recorder.STATUS_FA)
            except Exception as error:  # noqa: BLE001  what broke the block is what must be known
                logger.error(f"the run could not be marked as FAILED: {error}")
            raise
        self.end_exp(Recorder.STATUS_FI)

    def start_exp(
        self,
        *,
        experiment_id: str | None = None,
        experiment_name: str | None = None,
        recorder_id: str | None = None,
        recorder_name: str | None = None,
        uri: str | None = None,
        resume: bool = False,
    ) -> Experiment:
        """Begin a run that goes on until `end_exp`, or until the program ends."""
        return self.exp_manager.start_exp(
            experiment_id=experiment_id,
            experiment_name=experiment_name,
            recorder_id=recorder_id,
            recorder_name=recorder_name,
            uri=uri,
            resume=resume,
        )

    def end_exp(self, recorder_status: str = Recorder.STATUS_FI) -> None:
        """End the run that is going on."""
        self.exp_manager.end_exp(recorder_status)

    # ------------------------------------------------------------------------------------------ experiments and runs
    def search_records(self, experiment_ids: list[str], **kwargs: Any) -> list[Any]:
        """Return MLflow's records of runs; `filter_string`, `run_view_type`, `max_results`, `order_by` as in MLflow."""
        return self.exp_manager.search_records(experiment_ids, **kwargs)

    def list_experiments(self) -> dict[str, Experiment]:
        """Return all experiments by name."""
        return self.exp_manager.list_experiments()

    def list_recorders(
        self, experiment_id: str | None = None, experiment_name: str | None = None
    ) -> dict[str, Recorder]:
        """Return the runs of an experiment by id, newest first; of one that does not exist, none."""
        try:
            experiment = self.get_exp(experiment_id=experiment_id, experiment_name=experiment_name, create=False)
        except InputError:
            return {}
        return experiment.list_recorders()

    def get_exp(
        self,
        *,
        experiment_id: str | None = None,
        experiment_name: str | None = None,
        create: bool = True,
        start: bool = False,
    ) -> Experiment:
        """Return an experiment; without id and name the running one, or the one of the default name."""
        return self.exp_manager.get_exp(
            experiment_id=experiment_id, experiment_name=experiment_name, create=create, start=start
        )

    def delete_exp(self, experiment_id: str | None = None, experiment_name: str | None = None) -> None:
        """Mark an experiment as deleted."""
        self.exp_manager.delete_exp(experiment_id, experiment_name)

    def get_recorder(
        self,
        *,
        recorder_id: str | None = None,
        recorder_name: str | None = None,
        experiment_id: str | None = None,
        experiment_name: str | None = None,
    ) -> Recorder:
        """Return a run; without any argument the one that is going on. Never makes one: InputError if there is none."""
        experiment = self.get_exp(experiment_id=experiment_id, experiment_name=experiment_name, create=False)
        return experiment.get_recorder(recorder_id, recorder_name, create=False, start=False)

    def delete_recorder(self, recorder_id: str | None = None, recorder_name: str | None = None) -> None:
        """Mark a run of the running (or default) experiment as deleted."""
        if recorder_id is None and recorder_name is None:
            message = "delete_recorder needs the id or the name of a run"
            raise InputError(message)
        self.get_exp(create=False).delete_recorder(recorder_id, recorder_name)

    # ------------------------------------------------------------------------------------------------------- the place
    def get_uri(self) -> str:
        """Return where runs are kept now."""
        return self.exp_manager.uri

    def set_uri(self, uri: str | None) -> None:
        """Keep later runs at `uri`; None changes nothing. Raises RecorderInitializationError while one is running."""
        if uri is None:
            return
        self.refuse_while_running()
        self.exp_manager.default_uri = uri

    @contextmanager
    def uri_context(self, uri: str) -> Iterator[None]:
        """Keep runs at `uri` for the length of a `with` block."""
        before = self.exp_manager.default_uri
        self.exp_manager.default_uri = uri
        try:
            yield
        finally:
            self.exp_manager.default_uri = before

    def refuse_while_running(self) -> None:
        """Raise RecorderInitializationError if an experiment is running."""
        running = self.exp_manager.active_experiment
        if running is not None:
            raise RecorderInitializationError(
                f"experiment {running.name} is running: the place of the runs, and qlib.init, must wait until it ended "
                "(R.end_exp(), or the end of its `with R.start(...)` block)"
            )

    # ------------------------------------------------------------------------------------------------- the running run
    def _recorder(self) -> Recorder:
        return self.get_exp(start=True).get_recorder(start=True)

    def save_objects(
        self, local_path: str | Path | None = None, artifact_path: str | None = None, **kwargs: Any
    ) -> None:
        """Keep a file, a folder or any objects: `R.save_objects(**{"pred.pkl": pred})`."""
        self._recorder().save_objects(local_path, artifact_path, **kwargs)

    def load_object(self, name: str, **kwargs: Any) -> Any:
        """Return an object that was kept; LoadObjectError if there is none. `kwargs` as in the recorder's method."""
        return self._recorder().load_object(name, **kwargs)

    def log_params(self, **kwargs: Any) -> None:
        """Keep parameters."""
        self._recorder().log_params(**kwargs)

    def log_metrics(self, step: int | None = None, **kwargs: float) -> None:
        """Keep values of metrics."""
        self._recorder().log_metrics(step, **kwargs)

    def log_metric_history(self, history: Mapping[str, Sequence[float]]) -> None:
        """Keep whole series of metrics, one value per iteration, in one go."""
        self._recorder().log_metric_history(history)

    def log_artifact(self, local_path: str | Path, artifact_path: str | None = None) -> None:
        """Keep a file or folder."""
        self._recorder().log_artifact(local_path, artifact_path)

    def download_artifact(self, path: str, dst_path: str | Path | None = None) -> str:
        """Copy a file of the run out of it and return where it is."""
        return self._recorder().download_artifact(path, dst_path)

    def set_tags(self, **kwargs: Any) -> None:
        """Write tags."""
        self._recorder().set_tags(**kwargs)


class RecorderWrapper(Wrapper):
    """The slot `R`: refuses a new recorder while the old one has an experiment running."""

    def register(self, provider: Any) -> None:
        self.put(provider)

    def put(self, thing: Any) -> Any:
        if self.filled:
            self.held().refuse_while_running()
        return super().put(thing)


QlibRecorderWrapper = QlibRecorder
R: Any = RecorderWrapper("R", "call qlib.init(...) first")


def active_recorder() -> QlibRecorder:
    """Return the recorder of the live session; RuntimeError, saying what to do, before `qlib.init`."""
    return R.held()
