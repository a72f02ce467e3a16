"""Ready-made models. A name is imported when it is asked for, so that one model needs one library only."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qlib.contrib.model.gbdt import LGBModel
    from qlib.contrib.model.linear import LinearModel
    from qlib.contrib.model.walk_forward import WalkForwardModel

_HOME = {"LGBModel": "gbdt", "LinearModel": "linear", "WalkForwardModel": "walk_forward"}

__all__ = ["LGBModel", "LinearModel", "WalkForwardModel"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"qlib.contrib.model.{_HOME[name]}"), name)
    raise AttributeError(f"module 'qlib.contrib.model' has no attribute {name!r}")
