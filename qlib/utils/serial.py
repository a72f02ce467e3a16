"""Saving objects by a rule: what starts with an underscore is not saved.

    class Handler(Serializable):
        def __init__(self): self.rules = [...]; self._data = <a big frame>

    handler.to_pickle("handler.pkl")                   the rules only: a small file
    handler.to_pickle("handler.pkl", dump_all=True)    the data too
    handler.save("handler/")                           no pickle: spec.json and arrays, readable (utils.spec); data too
    Handler.load("handler.pkl"), Handler.load("handler/")      read only classes the program knows (utils.pickle_utils)

Which attributes are kept, first rule that fits: the two bookkeeping attributes never; names in `include` always; names
in `exclude` never; then everything when `dump_all` is on, else names without a leading underscore.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Self

from qlib.errors import did_you_mean
from qlib.utils.paths import replace_file
from qlib.utils.pickle_utils import remember_class, restricted_pickle_load
from qlib.utils.spec import BOOKKEEPING, read_spec, write_spec

PROTOCOL = 4  # what Qlib writes (setting dump_protocol_version)
BACKENDS = ("pickle", "dill")


class Serializable:
    """Base of everything that is saved by the rule above; subclasses may name exceptions to it.

    Class attributes: `pickle_backend` ("pickle" or "dill"), `default_dump_all`, `include_attr`, `exclude_attr`.
    """

    pickle_backend: ClassVar[str] = "pickle"
    default_dump_all: ClassVar[bool] = False
    config_attr: ClassVar[list[str]] = ["_include", "_exclude"]
    exclude_attr: ClassVar[list[str]] = []
    include_attr: ClassVar[list[str]] = []
    FLAG_KEY = "_qlib_serial_flag"

    def __init__(self) -> None:
        self._dump_all = self.default_dump_all
        self._exclude: list[str] | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        remember_class(cls)

    def _attributes(self, kind: str) -> list[str]:
        given = self.__dict__.get(f"_{kind}")
        return getattr(self, f"{kind}_attr", []) if given is None else given

    def _is_kept(self, key: str) -> bool:
        if key in self.config_attr:
            return False
        if key in self._attributes("include"):
            return True
        if key in self._attributes("exclude"):
            return False
        return self.dump_all or not key.startswith("_")

    @property
    def dump_all(self) -> bool:
        """True when attributes with a leading underscore are saved too."""
        return self.__dict__.get("_dump_all", self.default_dump_all)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if self._is_kept(key)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def config(self, recursive: bool = False, **kwargs: Any) -> None:
        """Say what will be saved.

        Parameters
        ----------
        recursive
            Also tell every Serializable attribute, and theirs.
        dump_all, exclude, include
            The rule's parts; anything else raises KeyError.
        """
        allowed = ("dump_all", "exclude", "include")
        for key in kwargs:
            if key not in allowed:
                raise KeyError(
                    f"config of {type(self).__name__}: received {key!r}; allowed are {', '.join(allowed)}"
                    f"{did_you_mean(key, allowed)}"
                )
        for one in self._family() if recursive else [self]:
            for key, value in kwargs.items():
                setattr(one, f"_{key}", value)

    def _family(self) -> list[Serializable]:
        """Return this object, its Serializable attributes, and theirs, each once."""
        found = {id(self): self}
        waiting = [self]
        while waiting:
            for value in waiting.pop().__dict__.values():
                if isinstance(value, Serializable) and id(value) not in found:
                    found[id(value)] = value
                    waiting.append(value)
        return list(found.values())

    @contextmanager
    def _told(self, *, recursive: bool = False, **kwargs: Any) -> Iterator[None]:
        """Let `config(...)` hold for the length of a `with` block."""
        names = [f"_{key}" for key in kwargs]
        before = [(one, {name: one.__dict__[name] for name in names if name in one.__dict__}) for one in self._family()]
        Serializable.config(self, recursive=recursive, **kwargs)
        try:
            yield
        finally:
            for one, values in before:
                for name in names:
                    one.__dict__.pop(name, None)
                one.__dict__.update(values)

    def to_pickle(self, path: str | Path, **kwargs: Any) -> None:
        """Write the object to `path`; `kwargs` (those of `config`) hold for this call only."""
        with self._told(**kwargs):
            data = self.get_backend().dumps(self, protocol=PROTOCOL)
        replace_file(path, lambda file: file.write(data))

    def save(self, folder: str | Path, *, data: bool = True) -> Path:
        """Write the object to a folder that `load` reads without pickle, and return the folder.

        Parameters
        ----------
        folder
            A new or empty folder, or one with a saved object in it: that one is replaced, in one step.
        data
            Keep what starts with an underscore too, such as the frames of a handler; `exclude` stays out.

        Raises ConfigError for what only code could bring back, such as a function, and leaves the folder as it was.
        """

        def state_of(obj: Any) -> dict[str, Any]:
            if not isinstance(obj, Serializable):
                return obj.__getstate__() or {}
            with obj._told(**({"dump_all": True} if data else {})):
                return {key: value for key, value in obj.__getstate__().items() if key not in BOOKKEEPING}

        return write_spec(self, folder, state_of)

    @classmethod
    def load(cls, filepath: str | Path) -> Self:
        """Read an object written by `to_pickle` or `save`.

        In a pickle, names outside the known ones raise `pickle.UnpicklingError`; in a folder, ConfigError. An object of
        another class raises TypeError.
        """
        if Path(filepath).is_dir():
            loaded = read_spec(filepath)
        else:
            with Path(filepath).open("rb") as file:
                is_pickle = cls.pickle_backend == "pickle"
                loaded = restricted_pickle_load(file) if is_pickle else cls.get_backend().load(file)
        if not isinstance(loaded, cls):
            raise TypeError(f"{filepath} holds a {type(loaded).__name__}; a {cls.__name__} was expected")
        return loaded

    @classmethod
    def get_backend(cls) -> ModuleType:
        """Return the module that pickles this class: `pickle`, or `dill` when the class asks for it."""
        if cls.pickle_backend not in BACKENDS:
            raise ValueError(
                f"pickle_backend of {cls.__name__}: received {cls.pickle_backend!r}; allowed are {', '.join(BACKENDS)}"
            )
        if cls.pickle_backend == "pickle":
            return pickle
        try:
            return import_module("dill")
        except ImportError as error:
            raise ImportError(f"{cls.__name__} is pickled with dill: pip install dill") from error

    @staticmethod
    def general_dump(obj: Any, path: str | Path) -> None:
        """Write any object; a Serializable is written by its own rule."""
        if isinstance(obj, Serializable):
            obj.to_pickle(path)
        else:
            data = pickle.dumps(obj, protocol=PROTOCOL)
            replace_file(path, lambda file: file.write(data))
