"""Saving objects by a rule: what starts with an underscore is not saved.

    class Handler(Serializable):
        def __init__(self): self.rules = [...]; self._data = <a big frame>

    handler.to_pickle("handler.pkl")                   the rules only: a small file
    handler.to_pickle("handler.pkl", dump_all=True)    the data too
    Handler.load("handler.pkl")                        reads only classes the program knows (utils.pickle_utils)

Which attributes are kept, first rule that fits: the two bookkeeping attributes never; names in `include` always; names
in `exclude` never; then everything when `dump_all` is on, else names without a leading underscore.
"""

from __future__ import annotations

import pickle
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Self

from qlib.errors import did_you_mean
from qlib.utils.pickle_utils import remember_class, restricted_pickle_load

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
        for key, value in kwargs.items():
            setattr(self, f"_{key}", value)
        if recursive:
            self.__dict__[self.FLAG_KEY] = True  # marks this object as visited, for attributes that point back
            try:
                for value in list(self.__dict__.values()):
                    if isinstance(value, Serializable) and self.FLAG_KEY not in value.__dict__:
                        Serializable.config(value, recursive=True, **kwargs)
            finally:
                del self.__dict__[self.FLAG_KEY]

    def to_pickle(self, path: str | Path, **kwargs: Any) -> None:
        """Write the object to `path`; `kwargs` go to `config` first and stay in force."""
        Serializable.config(self, **kwargs)
        data = self.get_backend().dumps(self, protocol=PROTOCOL)  # in memory first: a failure leaves no half file
        Path(path).write_bytes(data)

    @classmethod
    def load(cls, filepath: str | Path) -> Self:
        """Read an object written by `to_pickle`.

        Names outside the known ones raise `pickle.UnpicklingError`; an object of another class raises TypeError.
        """
        with Path(filepath).open("rb") as file:
            loaded = restricted_pickle_load(file) if cls.pickle_backend == "pickle" else cls.get_backend().load(file)
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
            Path(path).write_bytes(pickle.dumps(obj, protocol=PROTOCOL))
