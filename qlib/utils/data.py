"""Small statistics of one table, and merging of configurations.

zscore(x)                        (x - mean) / std, ddof 1
robust_zscore(x)                 (x - median) / (1.4826 * median |x - median|), clipped to [-3, 3]
update_config(base, ext)         a copy of `base` with `ext` merged in; "__DROP__" removes a key
guess_horizon(label)             Qlib's name of what `qlib.data.dataset.horizon` does
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any, Final, TypeVar

import numpy as np
import pandas as pd

from qlib.errors import ConfigError

S_DROP: Final = "__DROP__"
MAD_TO_STD: Final = 1.4826  # the median absolute deviation of a normal sample, times this, estimates its deviation


def __getattr__(name: str) -> Any:
    if name == "guess_horizon":  # it reads formulas, which live upstairs
        from qlib.data.dataset.horizon import guess_horizon  # noqa: PLC0415

        return guess_horizon
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


Table = TypeVar("Table", pd.Series, pd.DataFrame)


def zscore(x: Table) -> Table:
    """Return (x - mean) / std by column, NaN skipped, std with ddof 1.

    >>> zscore(pd.Series([1.0, 2.0, 3.0])).tolist()
    [-1.0, 0.0, 1.0]
    """
    return (x - x.mean()) / x.std()


def robust_zscore(x: Table, zscore: bool = False) -> Table:
    """Return the z-score by median and median absolute deviation, clipped to [-3, 3].

    With `zscore` the result is standardised once more by mean and std.

    >>> robust_zscore(pd.Series([1.0, 2.0, 3.0, 100.0])).round(4).tolist()
    [-1.0117, -0.3372, 0.3372, 3.0]
    """
    centred = x - x.median()
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = (centred / (centred.abs().median() * MAD_TO_STD)).clip(-3, 3)
    return (scaled - scaled.mean()) / scaled.std() if zscore else scaled


def deepcopy_basic_type(obj: Any) -> Any:
    """Copy tuples, lists and dicts at every level; everything inside them stays the same object."""
    if isinstance(obj, tuple):
        return tuple(deepcopy_basic_type(item) for item in obj)
    if isinstance(obj, list):
        return [deepcopy_basic_type(item) for item in obj]
    if isinstance(obj, dict):
        return {key: deepcopy_basic_type(value) for key, value in obj.items()}
    return obj


def update_config(
    base_config: Mapping[str, Any], ext_config: Mapping[str, Any] | Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return a deep copy of `base_config` with `ext_config` (one table, or several in order) merged into it.

    Dicts merge key by key, everything else is replaced whole, and the value "__DROP__" removes the key.

    >>> update_config({"a": {"b": 1, "c": 2}, "d": 3}, [{"a": {"b": 5}}, {"d": S_DROP}])
    {'a': {'b': 5, 'c': 2}}
    """
    merged = deepcopy(dict(base_config))
    for extension in [ext_config] if isinstance(ext_config, Mapping) else ext_config:
        if not isinstance(extension, Mapping):
            raise ConfigError(
                f"update_config: received {extension!r} ({type(extension).__name__}); "
                "a dict, or a list of dicts, is allowed"
            )
        _merge(merged, extension)
    return merged


def _merge(base: dict[str, Any], extension: Mapping[str, Any]) -> None:
    for key, value in extension.items():
        if isinstance(value, str) and value == S_DROP:
            base.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(base.get(key), dict):
            _merge(base[key], value)
        else:
            base[key] = deepcopy(value)
