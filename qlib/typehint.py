"""Types that describe configurations."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, TypedDict, final

__all__ = ["InstConf", "InstDictConf", "Literal", "TypedDict", "final"]


class InstDictConf(TypedDict, total=False):
    """An object as configuration: `{"class": "LGBModel", "module_path": "qlib.contrib.model.gbdt", "kwargs": {...}}`.

    The key "class" is a keyword of Python, so this form cannot declare it; it is always there.
    """

    kwargs: dict[str, Any]
    module_path: str


# What `init_instance_by_config` takes: a dict as above, a text "module.Class", a path to a pickle, or the object.
InstConf = InstDictConf | str | object | Path
