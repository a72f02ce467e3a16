"""The manager of experiments: finds, makes, starts and ends them in one place.

    ExpManager           what any manager can do
    MLflowExpManager     over MLflow (see qlib.workflow.store for what a uri means)

Building a manager touches nothing: MLflow is loaded and a database made when an experiment is first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qlib.errors import InputError, did_you_mean
from qlib.log import get_module_logger
from qlib.utils.exceptions import ExpAlreadyExistError, RecorderInitializationError
from qlib.workflow.exp import Experiment, MLflowExperiment, search_runs
from qlib.workflow.recorder import Recorder
from qlib.workflow.store import Place, client, place_of, prepare, told_plainly
from qlib.workflow.utils import watch

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

logger = get_module_logger("workflow")


class ExpManager:
    """Experiments of one place; at most one of them is running.

    Parameters
    ----------
    uri
        Where runs are kept when nothing else is said.
    default_exp_name
        Name of the experiment when none is given.
    """

    active_experiment: Experiment | None

    def __init__(self, uri: str, default_exp_name: str | None) -> None:
        self._default_uri = uri
        self.default_exp_name = default_exp_name or "Experiment"
        self.active_experiment = None
        self._active_uri: str | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}(uri={self.uri})"

    @property
    def default_uri(self) -> str:
        """Where runs are kept when nothing else is said."""
        return self._default_uri

    @default_uri.setter
    def default_uri(self, uri: str) -> None:
        self._default_uri = uri

    @property
    def uri(self) -> str:
        """Where runs are kept now: the running experiment's place, else the default."""
        return self.default_uri if self._active_uri is None else self._active_uri

    def start_exp(
        self,
        *,
        experiment_id: str | None = None,
        experiment_name: str | None = None,
        recorder_id: str | None = None,
        recorder_name: str | None = None,
        uri: str | None = None,
        resume: bool = False,
        **kwargs: Any,
    ) -> Experiment:
        """Begin a run of an experiment, which is made if there is none of that name.

        Raises RecorderInitializationError while another experiment is running.
        """
        if self.active_experiment is not None:
            active = self.active_experiment.active_recorder
            raise RecorderInitializationError(
                f"run {None if active is None else active.id} of experiment {self.active_experiment.name} is going on; "
                "end it with R.end_exp(), or leave its `with R.start(...)` block, before another begins"
            )
        self._active_uri = uri
        try:
            experiment = self.get_exp(experiment_id=experiment_id, experiment_name=experiment_name)
            experiment.start(recorder_id=recorder_id, recorder_name=recorder_name, resume=resume)
        except BaseException:
            self._active_uri = None
            raise
        self.active_experiment = experiment
        watch(self)
        return experiment

    def end_exp(self, recorder_status: str = Recorder.STATUS_S, **kwargs: Any) -> None:
        """End the running experiment's run; without one nothing happens."""
        experiment, self.active_experiment = self.active_experiment, None
        self._active_uri = None
        if experiment is not None:
            experiment.end(recorder_status)

    def create_exp(self, experiment_name: str | None = None) -> Experiment:
        """Make an experiment; ExpAlreadyExistError if the name is taken."""
        raise NotImplementedError

    def get_exp(
        self,
        *,
        experiment_id: str | None = None,
        experiment_name: str | None = None,
        create: bool = True,
        start: bool = False,
    ) -> Experiment:
        """Return an experiment by id or name; without either, the running one, or the one of the default name.

        Parameters
        ----------
        create
            Make it when there is none; otherwise InputError (a ValueError).
        start
            Begin a run of it, unless one is going on.
        """
        if experiment_id is None and experiment_name is None:
            if self.active_experiment is not None:
                return self.active_experiment
            experiment_name = self.default_exp_name
        found = self._find(experiment_id, experiment_name)
        if found is None and (not create or experiment_name is None):
            raise self._no_experiment(experiment_id, experiment_name)
        experiment = self._find_or_create(str(experiment_name)) if found is None else found
        active = self.active_experiment
        if active is not None and active.id == experiment.id:
            return active
        if start and active is None:
            experiment.start()
            self.active_experiment = experiment
            watch(self)
        return experiment

    def _find(self, experiment_id: str | None, experiment_name: str | None) -> Experiment | None:
        raise NotImplementedError

    def _find_or_create(self, experiment_name: str) -> Experiment:
        try:
            return self.create_exp(experiment_name)
        except ExpAlreadyExistError:
            found = self._find(None, experiment_name)  # another process was first
            if found is None:
                raise
            return found

    def _no_experiment(self, experiment_id: str | None, experiment_name: str | None) -> InputError:
        known = self.list_experiments()
        if experiment_id is not None:
            return InputError(f"{self.uri} holds no experiment with id {experiment_id}")
        names = ", ".join(sorted(known)) or "none"
        hint = did_you_mean(str(experiment_name), known)
        return InputError(f"{self.uri} holds no experiment called {experiment_name}; there are: {names}{hint}")

    def delete_exp(self, experiment_id: str | None = None, experiment_name: str | None = None) -> None:
        """Mark an experiment as deleted."""
        raise NotImplementedError

    def list_experiments(self) -> dict[str, Experiment]:
        """Return the experiments by name."""
        raise NotImplementedError

    def search_records(self, experiment_ids: list[str] | None = None, **kwargs: Any) -> list[Any]:
        """Return MLflow's records of the runs that a filter lets through, of some experiments or of all."""
        raise NotImplementedError


class MLflowExpManager(ExpManager):
    """Experiments kept by MLflow."""

    @property
    def place(self) -> Place:
        """What the present uri means."""
        return place_of(self.uri)

    @property
    def client(self) -> MlflowClient:
        """MLflow's client for the present place, which is made ready first."""
        place = self.place
        prepare(place, write=False)
        return client(place.uri)

    def create_exp(self, experiment_name: str | None = None) -> MLflowExperiment:
        from mlflow.exceptions import MlflowException  # noqa: PLC0415  heavy: only who keeps runs needs it

        name = experiment_name or self.default_exp_name
        place = self.place
        prepare(place)
        try:
            with told_plainly(place):
                experiment_id = client(place.uri).create_experiment(name, place.artifact_location(name))
        except MlflowException as error:
            if error.error_code == "RESOURCE_ALREADY_EXISTS":
                hint = (
                    ""
                    if self._find(None, name)
                    else (" among the deleted ones; choose another name, or remove it for good with `mlflow gc`")
                )
                raise ExpAlreadyExistError(f"{place.uri} holds an experiment called {name} already{hint}") from error
            raise
        return MLflowExperiment(experiment_id, name, place.uri)

    def _find(self, experiment_id: str | None, experiment_name: str | None) -> MLflowExperiment | None:
        from mlflow.exceptions import MlflowException  # noqa: PLC0415  heavy: only who keeps runs needs it

        of = self.client
        try:
            by_id = experiment_id is not None
            found = of.get_experiment(str(experiment_id)) if by_id else of.get_experiment_by_name(str(experiment_name))
        except MlflowException:
            return None
        if found is None or found.lifecycle_stage != "active":
            return None
        return MLflowExperiment(found.experiment_id, found.name, self.place.uri)

    def delete_exp(self, experiment_id: str | None = None, experiment_name: str | None = None) -> None:
        if experiment_id is None and experiment_name is None:
            message = "delete_exp needs the id or the name of an experiment"
            raise InputError(message)
        experiment = self.get_exp(experiment_id=experiment_id, experiment_name=experiment_name, create=False)
        if self.active_experiment is not None and self.active_experiment.id == experiment.id:
            message = f"experiment {experiment.name} is running; end it before it is deleted"
            raise RecorderInitializationError(message)
        prepare(self.place)
        self.client.delete_experiment(experiment.id)

    def list_experiments(self) -> dict[str, Experiment]:
        place = self.place
        return {
            found.name: MLflowExperiment(found.experiment_id, found.name, place.uri)
            for found in self.client.search_experiments()
        }

    def search_records(self, experiment_ids: list[str] | None = None, **kwargs: Any) -> list[Run]:
        of = self.client
        ids = [e.experiment_id for e in of.search_experiments()] if experiment_ids is None else experiment_ids
        return search_runs(of, [str(i) for i in ids], **kwargs)
