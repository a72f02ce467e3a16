"""What every record is: a step that reads what a run holds, computes, and keeps the result in the run.

A record finds what it needs by name, in its own folder or in that of the record it depends on, so each can be run again
alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from qlib.errors import ConfigError
from qlib.log import get_module_logger
from qlib.utils.exceptions import LoadObjectError
from qlib.utils.objects import class_casting
from qlib.workflow.recorder import Recorder

logger = get_module_logger("workflow")


class RecordTemp:
    """Base of all records.

    Class attributes: `artifact_path` (folder inside the run, None for the run's own), `depend_cls` (the record whose
    results are needed).
    """

    artifact_path: ClassVar[str | None] = None
    depend_cls: ClassVar[type[RecordTemp] | None] = None

    def __init__(self, recorder: Recorder | None) -> None:
        self._recorder = recorder

    @property
    def recorder(self) -> Recorder:
        """The run that is read and written."""
        if self._recorder is None:
            message = f"{type(self).__name__} has no recorder: pass one, such as R.get_recorder()"
            raise ConfigError(message)
        return self._recorder

    @classmethod
    def get_path(cls, path: str | None = None) -> str:
        """Return the name inside the run of a file of this record; of nothing, its folder."""
        return "/".join(part for part in (cls.artifact_path, path) if part)

    def save(self, **kwargs: Any) -> None:
        """Keep objects in this record's folder."""
        self.recorder.save_objects(artifact_path=self.get_path() or None, **kwargs)

    def load(self, name: str, parents: bool = True) -> Any:
        """Return an object of this record or, with `parents`, of those it depends on; else LoadObjectError."""
        try:
            return self.recorder.load_object(self.get_path(name))
        except LoadObjectError:
            if not parents or self.depend_cls is None:
                raise
        with class_casting(self, self.depend_cls):
            return self.load(name, parents=True)

    def list(self) -> list[str]:
        """Return the names of the files this record makes."""
        return []

    def check(self, include_self: bool = False, parents: bool = True) -> None:
        """Raise FileNotFoundError, naming what is missing, unless the files this record needs are there.

        Parameters
        ----------
        include_self
            Also the files that this record makes.
        parents
            Also those that the records it depends on depend on.
        """
        if include_self:
            there: dict[str, set[str]] = {}
            missing = []
            for name in map(self.get_path, self.list()):
                folder = name.rpartition("/")[0]
                if folder not in there:
                    there[folder] = set(self.recorder.list_artifacts(folder or None))
                if name not in there[folder]:
                    missing.append(name)
            if missing:
                raise FileNotFoundError(f"run {self.recorder.id} holds no {', '.join(missing)}")
        if parents and self.depend_cls is not None:
            with class_casting(self, self.depend_cls):
                self.check(include_self=True, parents=True)

    def generate(self, **kwargs: Any) -> Any:
        """Compute and keep the results."""
        raise NotImplementedError(f"{type(self).__name__} must say what it generates")


class ACRecordTemp(RecordTemp):
    """A record that looks first whether its work can be, or need be, done.

    Parameters
    ----------
    skip_existing
        Do nothing when the results are there already.
    """

    def __init__(self, recorder: Recorder | None, skip_existing: bool = False) -> None:
        self.skip_existing = skip_existing
        super().__init__(recorder)

    def generate(self, *args: Any, **kwargs: Any) -> Any:
        """Compute and keep the results; when what they depend on is missing, only a warning is written."""
        if self.skip_existing:
            try:
                self.check(include_self=True, parents=False)
            except FileNotFoundError:
                pass
            else:
                logger.info(f"{type(self).__name__}: the results are there already, nothing is done")
                return None
        try:
            self.check()
        except FileNotFoundError as error:
            logger.warning(f"{type(self).__name__} is left out: {error}")
            return None
        made = self._generate(*args, **kwargs)
        if isinstance(made, dict):
            self.save(**made)
        return made

    def _generate(self, *args: Any, **kwargs: Any) -> dict[str, Any] | None:
        """Compute the results: a dict name -> object, which is kept."""
        raise NotImplementedError(f"{type(self).__name__} must say what it generates")


def figures_in_words(figures: Mapping[Any, float]) -> str:
    """Figures in one line, such as "IC 0.041, ICIR 0.38"."""
    return ", ".join(f"{str(name).replace('_', ' ')} {value:.4g}" for name, value in figures.items())
