"""What an optimizer is: called with what is known of the assets, it returns their weights."""

from __future__ import annotations

import abc
from typing import Any

import numpy as np

from qlib.errors import InputError

Array = np.ndarray[Any, np.dtype[np.float64]]


class BaseOptimizer(abc.ABC):
    """Makes weights."""

    @abc.abstractmethod
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return the weights."""
        raise NotImplementedError


def numbers(name: str, given: Any, shape: tuple[int | None, ...]) -> Array:
    """Return `given` as finite numbers of a shape (None: any length), or raise InputError naming it."""
    found = np.asarray(given, dtype=np.float64)
    if found.ndim != len(shape) or any(want not in (None, have) for want, have in zip(shape, found.shape, strict=True)):
        wanted = ", ".join("any" if want is None else str(want) for want in shape)
        raise InputError(f"{name}: received shape {found.shape}; ({wanted}) is needed")
    if not np.isfinite(found).all():
        raise InputError(f"{name}: {int((~np.isfinite(found)).sum())} of its numbers are missing or infinite")
    return found


def covariance(name: str, given: Any, size: int | None = None) -> Array:
    """Return a symmetric matrix without negative variances, or raise InputError naming it."""
    found = numbers(name, given, (size, size))
    if found.shape[0] != found.shape[1]:
        raise InputError(f"{name}: received shape {found.shape}; a covariance matrix is square")
    level = float(np.abs(found).max(initial=0.0))
    if not np.allclose(found, found.T, rtol=0, atol=1e-8 * level):
        raise InputError(f"{name}: the matrix is not symmetric, so it is no covariance matrix")
    found = (found + found.T) / 2
    if len(found) and float(np.linalg.eigvalsh(found)[0]) < -1e-8 * level:
        raise InputError(f"{name}: the matrix has a negative eigenvalue, so it is no covariance matrix")
    return found


def scaled_return(returns: Array, variance: Array) -> Array:
    """Return the returns with a spread of one asset's usual risk: r / std(r) * sqrt(mean variance).

    >>> scaled_return(np.array([1.0, -1.0]), np.array([4.0, 4.0])).tolist()
    [2.0, -2.0]
    """
    spread = float(returns.std())
    return returns if spread == 0 else returns / spread * float(np.sqrt(variance.mean()))
