"""Portfolios from a covariance matrix: least variance, mean and variance, equal risk, inverse volatility.

    weights = PortfolioOptimizer("gmv")(S)

All weights are in 0 to 1 and add up to 1. With V = w'Sw and n assets:

    gmv    least V                                  rp     every asset contributes V / n to the variance
    mvo    least lamb * V - w'r                     inv    w ~ 1 / sqrt(S_ii)

`alpha * |w|^2` is added to what is minimised, and |w - w0| adds up to at most `delta` where current weights are given.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, overload

import numpy as np
import pandas as pd

from qlib.contrib.strategy.optimizer.base import Array, BaseOptimizer, covariance, numbers, scaled_return
from qlib.errors import ConfigError, InputError, did_you_mean
from qlib.log import get_module_logger

logger = get_module_logger("optimizer")
Goal = Callable[[Array], tuple[float, Array]]  # weights -> (what is minimised, its gradient)


class PortfolioOptimizer(BaseOptimizer):
    """Weights from a covariance matrix.

    Parameters
    ----------
    method
        "gmv", "mvo", "rp" or "inv".
    lamb
        Aversion to risk of "mvo"; 0 means return alone.
    delta
        Most turnover, the sum of |w - w0|; counts where `w0` is given, and not for "inv".
    alpha
        Penalty on |w|^2, not for "inv".
    scale_return
        Give the returns the spread of an asset's usual risk, so that `lamb` means the same at any scale.
    tol
        Precision: relative change of the goal at which the search ends.

    Raises ConfigError for arguments that make no sense.

    >>> PortfolioOptimizer("gmv")(np.diag([1.0, 4.0])).round(6).tolist()
    [0.8, 0.2]
    """

    OPT_GMV: ClassVar[str] = "gmv"
    OPT_MVO: ClassVar[str] = "mvo"
    OPT_RP: ClassVar[str] = "rp"
    OPT_INV: ClassVar[str] = "inv"

    def __init__(
        self,
        method: str = "inv",
        lamb: float = 0,
        delta: float = 0,
        alpha: float = 0.0,
        scale_return: bool = True,
        tol: float = 1e-8,
    ) -> None:
        methods = (self.OPT_GMV, self.OPT_MVO, self.OPT_RP, self.OPT_INV)
        if method not in methods:
            raise ConfigError(
                f"method: received {method!r}; allowed are {', '.join(methods)}{did_you_mean(str(method), methods)}"
            )
        for name, number in (("lamb", lamb), ("delta", delta), ("alpha", alpha)):
            if not 0 <= number < np.inf:
                raise ConfigError(f"{name}: received {number!r}; a number of at least 0 is allowed")
        if not 0 < tol < 1:
            raise ConfigError(f"tol: received {tol!r}; a number between 0 and 1 is allowed")
        self.method, self.lamb, self.delta, self.alpha = method, lamb, delta, alpha
        self.scale_return, self.tol = scale_return, tol

    @overload
    def __call__(self, S: pd.DataFrame, r: Any = None, w0: Any = None) -> pd.Series: ...
    @overload
    def __call__(self, S: Array, r: Any = None, w0: Any = None) -> Array: ...
    def __call__(self, S: Any, r: Any = None, w0: Any = None) -> Any:
        """Return the weights: an array, or a Series named as the rows of a frame `S`.

        Parameters
        ----------
        S
            Covariance matrix, (n, n).
        r
            Expected returns, (n,); needed by "mvo". A Series is aligned to the frame by name.
        w0
            Current weights, (n,), adding up to 1; a Series is aligned, and what it lacks is 0.

        Raises InputError for a matrix that is no covariance matrix, wrong shapes and missing numbers.
        """
        names = S.index if isinstance(S, pd.DataFrame) else None
        matrix = covariance("S", S)
        n = len(matrix)
        if not n:
            raise InputError("S: the covariance matrix has no assets")
        returns = None if r is None else numbers("r", _aligned(r, names, np.nan), (n,))
        now = None if w0 is None else numbers("w0", _aligned(w0, names, 0.0), (n,))
        if self.method == self.OPT_MVO and returns is None:
            raise InputError("r: the method 'mvo' needs expected returns")
        weights = self._solve(matrix, returns, now)
        return weights if names is None else pd.Series(weights, index=names)

    def _solve(self, S: Array, r: Array | None, w0: Array | None) -> Array:
        n, variance = len(S), np.diag(S)
        if self.method in (self.OPT_INV, self.OPT_RP) and not (variance > 0).all():
            raise InputError(f"S: an asset has no variance, so the method {self.method!r} has no answer")
        if self.method == self.OPT_INV:
            weights: Array = 1 / np.sqrt(variance)
            return weights / weights.sum()
        if self.method == self.OPT_RP:
            equal = equal_risk(S)
            if w0 is None and not self.alpha:
                return equal
            return self._search(_equal_risk_goal(S, self.alpha), equal, w0)
        lamb, gain = 1.0, np.zeros(n)
        if self.method == self.OPT_MVO and r is not None:
            lamb, gain = self.lamb, scaled_return(r, variance) if self.scale_return else r
        # weights do not depend on the unit in which risk is measured, so neither must the search
        unit = max(lamb * float(variance.mean()), self.alpha, float(np.abs(gain).max())) or 1.0
        goal = _quadratic_goal((lamb * S + self.alpha * np.eye(n)) / unit, gain / unit)
        return self._search(goal, np.full(n, 1 / n), w0)

    def _search(self, goal: Goal, start: Array, w0: Array | None) -> Array:
        """Minimise over the weights that are allowed."""
        if w0 is None:
            whole = {"type": "eq", "fun": _full, "jac": np.ones_like}
            return self._told(self._minimise(goal, start, (0.0, 1.0), (whole,)), np.asarray)
        n, missing = len(w0), 1 - float(w0.sum())
        if (w0 < 0).any() or abs(missing) > self.delta + 1e-9:
            raise InputError(
                f"w0: the current weights are {w0.min():.4g} or more and add up to {w0.sum():.4g}; weights of at "
                f"least 0 from which a turnover of delta={self.delta:g} leads to a sum of 1 are needed"
            )
        if self.delta == 0:
            return w0
        # what is bought and what is sold are variables of their own: turnover is linear in them
        side = np.repeat([1.0, -1.0], n)

        def moved(x: Array) -> Array:
            return w0 + x[:n] - x[n:]

        def goal_of_moves(x: Array) -> tuple[float, Array]:
            value, slope = goal(moved(x))
            return value, np.concatenate([slope, -slope])

        constraints = (
            {"type": "eq", "fun": lambda x: side @ x - missing, "jac": lambda x: side},  # noqa: ARG005
            {"type": "ineq", "fun": lambda x: self.delta - x.sum(), "jac": lambda x: -np.ones_like(x)},
        )
        # equal risk has more than one valley: begin where nothing is moved that need not be, and as near to the weights
        # without a limit as the limit allows
        still = w0 + missing / n if missing > 0 else w0 * (1 + missing / max(float(w0.sum()), 1e-300))
        way = start - still
        near = still + way * min(1.0, (self.delta - abs(missing)) / max(float(np.abs(way).sum()), 1e-300))
        begins = [np.concatenate([np.maximum(w - w0, 0), np.maximum(w0 - w, 0)]) for w in (near, still)]
        most = np.concatenate([np.ones(n), w0])  # nobody sells more than there is
        found = [self._minimise(goal_of_moves, begin, (0.0, most), constraints) for begin in begins]
        best = self._told(min(found, key=lambda end: goal(moved(end[0]))[0]), moved)
        turned, least = float(np.abs(best - w0).sum()), abs(missing)
        if turned > self.delta:  # a search that ended early may have gone too far: turnover is convex on the way back
            best = still + (best - still) * (max(self.delta - least, 0.0) / (turned - least) if turned > least else 0.0)
        return best

    @staticmethod
    def _told(end: tuple[Array, str], weights_of: Callable[[Array], Array]) -> Array:
        """Return the weights of the end of a search, with a sum of 1, and warn where it was no proper end."""
        if end[1]:
            logger.warning(f"the search for weights ended early ({end[1]}); the best that it saw are returned")
        weights = weights_of(end[0])
        whole: Array = weights / weights.sum()  # the search keeps its constraints to a few parts in ten million
        return whole

    def _minimise(self, goal: Goal, start: Array, bounds: tuple[float, Any], constraints: Any) -> tuple[Array, str]:
        """Return where the search ended, and why it ended early if it did."""
        from scipy.optimize import Bounds, minimize  # noqa: PLC0415  heavy: only who searches needs it

        found = minimize(
            goal,
            start,
            jac=True,
            method="SLSQP",
            bounds=Bounds(*bounds),
            constraints=constraints,
            options={"ftol": self.tol * 1e-4, "maxiter": 1000},
        )
        return np.clip(found.x, *bounds), "" if found.success else str(found.message)


def equal_risk(S: Array) -> Array:
    """Return the weights, all above 0, of which each contributes the same to the variance.

    They are x / sum(x) of the x that minimises x'Sx / 2 - sum(log(x)) / n, which is convex: Newton's method finds it.

    >>> equal_risk(np.diag([1.0, 4.0])).round(6).tolist()
    [0.666667, 0.333333]
    """
    n, spread = len(S), np.sqrt(np.diag(S))
    matrix = S / np.outer(spread, spread)
    x = np.full(n, 1 / np.sqrt(max(float(matrix.sum()), 1.0)))
    for _ in range(200):
        slope = matrix @ x - 1 / (n * x)
        step = np.linalg.solve(matrix + np.diag(1 / (n * x * x)), slope)
        length = float(np.sqrt(max(n * slope @ step, 0.0)))
        x = x - step / (1 + length if length > 0.25 else 1.0)  # the damped step never leaves x > 0
        if length < 1e-12:
            break
    weights: Array = x / spread
    return weights / weights.sum()


def _full(weights: Array) -> float:
    return float(weights.sum()) - 1


def _quadratic_goal(matrix: Array, gain: Array) -> Goal:
    def goal(w: Array) -> tuple[float, Array]:
        risk = matrix @ w
        return float(w @ risk - w @ gain), 2 * risk - gain

    return goal


def _equal_risk_goal(S: Array, alpha: float) -> Goal:
    """Sum of (w_i - V / (n (Sw)_i))^2 + alpha |w|^2; the unit of S cancels."""
    unit = max(1.0, alpha)

    def goal(w: Array) -> tuple[float, Array]:
        risk = S @ w
        total, n = float(w @ risk), len(w)
        gap = w - total / (n * risk)
        slope = 2 * (gap - 2 * risk * float((gap / risk).sum()) / n + S @ (gap * total / (n * risk * risk)))
        return float(gap @ gap + alpha * w @ w) / unit, (slope + 2 * alpha * w) / unit

    return goal


def _aligned(given: Any, names: pd.Index | None, missing: float) -> Any:
    if names is None or not isinstance(given, pd.Series):
        return given
    return given.reindex(names).fillna(missing) if missing == missing else given.reindex(names)  # noqa: PLR0124
