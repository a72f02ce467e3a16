"""An experiment is a named set of runs.

Experiment          what any experiment can do
MLflowExperiment    kept by MLflow
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qlib.errors import InputError, did_you_mean
from qlib.log import get_module_logger
from qlib.workflow.recorder import MLflowRecorder, Recorder
from qlib.workflow.store import client, place_of

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

logger = get_module_logger("workflow")

PAGE = 50000  # what MLflow hands out in one call


class Experiment:
    """A named set of runs, one of which may be going on."""

    RT_D = "dict"
    RT_L = "list"

    def __init__(self, id: str, name: str) -> None:  # noqa: A002  Qlib's name
        self.id = id
        self.name = name
        self.active_recorder: Recorder | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}(id={self.id}, info={self.info})"

    def __str__(self) -> str:
        return str(self.info)

    @property
    def info(self) -> dict[str, Any]:
        """Id, name, the run that is going on and the ids of all runs."""
        active = None if self.active_recorder is None else self.active_recorder.id
        return {
            "class": "Experiment",
            "id": self.id,
            "name": self.name,
            "active_recorder": active,
            "recorders": list(self.list_recorders()),
        }

    def start(
        self, *, recorder_id: str | None = None, recorder_name: str | None = None, resume: bool = False
    ) -> Recorder:
        """Begin a new run, or with `resume` go on with the one of that id or name."""
        raise NotImplementedError

    def end(self, recorder_status: str = Recorder.STATUS_S) -> None:
        """End the run that is going on."""
        raise NotImplementedError

    def create_recorder(self, recorder_name: str | None = None) -> Recorder:
        """Return a recorder that was not started yet."""
        raise NotImplementedError

    def get_recorder(
        self,
        recorder_id: str | None = None,
        recorder_name: str | None = None,
        create: bool = True,
        start: bool = False,
    ) -> Recorder:
        """Return a run by id or name; without either, the one that is going on.

        Parameters
        ----------
        recorder_name
            Of several runs of that name the newest is meant.
        create
            Make a new recorder when there is none; otherwise InputError (a ValueError).
        start
            Begin the run of a recorder made here.
        """
        raise NotImplementedError

    def list_recorders(self, rtype: str = RT_D, **flt_kwargs: Any) -> Any:
        """Return the runs, newest first: a dict by id, or a list."""
        raise NotImplementedError

    def search_records(self, **kwargs: Any) -> list[Any]:
        """Return MLflow's records of the runs that a filter lets through."""
        raise NotImplementedError

    def delete_recorder(self, recorder_id: str | None = None, recorder_name: str | None = None) -> None:
        """Mark a run as deleted."""
        raise NotImplementedError


class MLflowExperiment(Experiment):
    """An experiment kept by MLflow."""

    UNLIMITED = PAGE
    DEFAULT_RECORDER_NAME = "mlflow_recorder"

    def __init__(self, id: str, name: str, uri: str) -> None:  # noqa: A002  Qlib's name
        super().__init__(id, name)
        self._uri = place_of(uri).uri

    @property
    def client(self) -> MlflowClient:
        """MLflow's client for the place of this experiment."""
        return client(self._uri)

    def start(
        self, *, recorder_id: str | None = None, recorder_name: str | None = None, resume: bool = False
    ) -> Recorder:
        if resume:
            recorder = self.get_recorder(recorder_id, recorder_name, create=recorder_id is None)
        else:
            if recorder_id is not None:
                logger.warning(f"recorder_id {recorder_id} is not used: only resume=True goes on with an existing run")
            recorder = self.create_recorder(recorder_name)
        recorder.start_run()
        self.active_recorder = recorder
        return recorder

    def end(self, recorder_status: str = Recorder.STATUS_S) -> None:
        recorder, self.active_recorder = self.active_recorder, None
        if recorder is not None:
            recorder.end_run(recorder_status)

    def create_recorder(self, recorder_name: str | None = None) -> MLflowRecorder:
        return MLflowRecorder(self.id, self._uri, recorder_name or self.DEFAULT_RECORDER_NAME)

    def get_recorder(
        self,
        recorder_id: str | None = None,
        recorder_name: str | None = None,
        create: bool = True,
        start: bool = False,
    ) -> Recorder:
        if recorder_id is None and recorder_name is None:
            if self.active_recorder is not None:
                return self.active_recorder
            recorder_name = self.DEFAULT_RECORDER_NAME
        found = self._find(recorder_id, recorder_name)
        if found is not None:
            return found
        if not create:
            raise self._no_recorder(recorder_id, recorder_name)
        recorder = self.create_recorder(recorder_name)
        if start:
            recorder.start_run()
            self.active_recorder = recorder
        return recorder

    def _find(self, recorder_id: str | None, recorder_name: str | None) -> MLflowRecorder | None:
        if recorder_id is not None:
            from mlflow.exceptions import MlflowException  # noqa: PLC0415  heavy

            try:
                run = self.client.get_run(recorder_id)
            except MlflowException:
                return None
            here = run.info.experiment_id == str(self.id) and run.info.lifecycle_stage == "active"
            return self._recorder(run) if here else None
        quote = '"' if "'" in str(recorder_name) else "'"
        if quote in str(recorder_name) or "\\" in str(recorder_name):  # MLflow's filter language cannot say it
            runs = [run for run in self.search_records() if run.info.run_name == recorder_name]
        else:
            text = f"attributes.run_name = {quote}{recorder_name}{quote}"
            runs = self.search_records(filter_string=text, max_results=1)
        return self._recorder(runs[0]) if runs else None

    def _recorder(self, run: Run) -> MLflowRecorder:
        return MLflowRecorder(self.id, self._uri, mlflow_run=run)

    def _no_recorder(self, recorder_id: str | None, recorder_name: str | None) -> InputError:
        asked = f"id {recorder_id}" if recorder_id is not None else f"name {recorder_name}"
        known = self.list_recorders(rtype=self.RT_L, max_results=1000)
        near = [str(r.id if recorder_id is not None else r.name) for r in known]
        text = f"experiment {self.name} holds no run with {asked} ({len(known)} runs there)"
        return InputError(text + did_you_mean(str(recorder_id or recorder_name), near))

    def list_recorders(  # type: ignore[override]  # the base takes any filter, this one names them
        self,
        rtype: str = Experiment.RT_D,
        max_results: int = UNLIMITED,
        status: str | None = None,
        filter_string: str = "",
    ) -> Any:
        runs = self.search_records(filter_string=filter_string, max_results=max_results)
        recorders = [self._recorder(run) for run in runs if status is None or run.info.status == status]
        if rtype == self.RT_L:
            return recorders
        if rtype == self.RT_D:
            return {recorder.id: recorder for recorder in recorders}
        message = f"rtype: received {rtype!r}; allowed are {self.RT_D!r} and {self.RT_L!r}"
        raise InputError(message)

    def search_records(self, **kwargs: Any) -> list[Run]:
        return search_runs(self.client, [str(self.id)], **kwargs)

    def delete_recorder(self, recorder_id: str | None = None, recorder_name: str | None = None) -> None:
        if recorder_id is None and recorder_name is None:
            message = "delete_recorder needs the id or the name of a run"
            raise InputError(message)
        recorder = self.get_recorder(recorder_id, recorder_name, create=False)
        self.client.delete_run(str(recorder.id))


def search_runs(
    of: MlflowClient, experiment_ids: list[str], max_results: int = 100000, order_by: Any = None, **kwargs: Any
) -> list[Run]:
    """Return MLflow's records of runs, newest first unless `order_by` says else, over as many pages as it takes."""
    found: list[Run] = []
    token = None
    while len(found) < max_results:
        page = of.search_runs(
            experiment_ids,
            max_results=min(PAGE, max_results - len(found)),
            order_by=order_by or ["attributes.start_time DESC"],
            page_token=token,
            **kwargs,
        )
        found += page
        token = page.token
        if not token:
            break
    return found
