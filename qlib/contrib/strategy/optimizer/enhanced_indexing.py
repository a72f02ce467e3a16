"""Enhanced indexing: near a benchmark, but with a better expected return.

    d = w - wb           weights beyond the benchmark
    v = d F              what they expose to the risk factors
    max  d'r - lamb * (v' cov_b v + sum(var_u * d^2))
    with sum(w) = 1, w >= 0, |d| <= b_dev, |v| <= f_dev, sum(|w - w0|) <= delta

Names that must be held keep their weight and names that must be sold get 0, whatever b_dev says of them.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

from qlib.contrib.strategy.optimizer.base import Array, BaseOptimizer, covariance, numbers, scaled_return
from qlib.errors import ConfigError, InputError
from qlib.log import get_module_logger

logger = get_module_logger("EnhancedIndexingOptimizer")
SOLVED = ("optimal", "optimal_inaccurate")
Mask = np.ndarray[Any, np.dtype[np.bool_]]


class EnhancedIndexingOptimizer(BaseOptimizer):
    """Weights near a benchmark.

    Parameters
    ----------
    lamb
        Aversion to risk beyond the benchmark's.
    delta
        Most turnover, the sum of |w - w0|; None for any. Counts where `w0` is given.
    b_dev
        Most |w - wb| of a name, a number or one for each; None for any.
    f_dev
        Most |v| of a factor, a number or one for each; None for any.
    scale_return
        Give the returns the spread of a name's usual risk, so that `lamb` means the same at any scale.
    epsilon
        Weights below it become 0, and the others are stretched.
    solver_kwargs
        For cvxpy's `solve`: `{"solver": "CLARABEL"}` unless said.

    Needs cvxpy: pip install 'qlib-crypto[portfolio]'. Raises ConfigError for arguments that make no sense.
    """

    def __init__(
        self,
        lamb: float = 1,
        delta: float | None = 0.2,
        b_dev: float | Array | None = 0.01,
        f_dev: float | Array | None = None,
        scale_return: bool = True,
        epsilon: float = 5e-5,
        solver_kwargs: dict[str, Any] | None = {},
    ) -> None:
        for name, value in (("lamb", lamb), ("delta", delta), ("b_dev", b_dev), ("f_dev", f_dev), ("epsilon", epsilon)):
            if value is None and name in ("delta", "b_dev", "f_dev"):
                continue
            if value is None or not (np.asarray(value, dtype=float) >= 0).all():
                raise ConfigError(f"{name}: received {value!r}; a number of at least 0 is allowed")
        self.lamb, self.delta, self.b_dev, self.f_dev = lamb, delta, b_dev, f_dev
        self.scale_return, self.epsilon = scale_return, epsilon
        self.solver_kwargs = {"solver": "CLARABEL", **(solver_kwargs or {})}

    def __call__(
        self,
        r: Any,
        F: Any,
        cov_b: Any,
        var_u: Any,
        w0: Any,
        wb: Any,
        mfh: Any = None,
        mfs: Any = None,
    ) -> Array:
        """Return the weights.

        Parameters
        ----------
        r
            Expected returns, (n,).
        F
            Exposure of each name to the factors, (n, k).
        cov_b
            Covariance of the factors, (k, k).
        var_u
            Variance of each name beyond the factors, (n,).
        w0
            Current weights, (n,); None before the first trade.
        wb
            Benchmark weights, (n,).
        mfh, mfs
            Names that must be held or must be sold, (n,) booleans; None for none.

        Where no weights keep all limits, the one of turnover is dropped; where there are none still, a warning says so
        and the current weights are returned. Raises InputError for wrong shapes, missing numbers, and if there are no
        current weights to return.
        """
        r = numbers("r", r, (None,))
        n = len(r)
        F = numbers("F", F, (n, None))
        cov_b, var_u = covariance("cov_b", cov_b, F.shape[1]), numbers("var_u", var_u, (n,))
        wb = numbers("wb", wb, (n,))
        now = None if w0 is None else numbers("w0", w0, (n,))
        hold, sell = _mask(mfh, n), _mask(mfs, n)
        if hold.shape != (n,) or sell.shape != (n,):
            raise InputError(f"mfh, mfs: received shapes {hold.shape} and {sell.shape}; ({n},) is needed")
        if (var_u < 0).any():
            raise InputError("var_u: a variance is negative")
        if hold.any() and now is None:
            raise InputError("mfh: names must be held, but there are no current weights w0 to hold them at")
        sell = sell & ~hold  # what cannot be traded cannot be sold either
        if self.scale_return:
            r = scaled_return(r, np.einsum("ij,jk,ik->i", F, cov_b, F) + var_u)
        found = self._solve(r, F, cov_b, var_u, now, wb, hold, sell)
        if found is None:
            if now is None:
                raise InputError("no weights keep the limits, and there are no current weights w0 to stay at")
            logger.warning("no weights keep the limits, with any turnover: the current weights are returned")
            return now
        found[~hold & (found < self.epsilon)] = 0.0
        free = float(found[~hold].sum())
        if free > 0:
            found[~hold] *= (1 - float(found[hold].sum())) / free
        return found

    def _solve(
        self, r: Array, F: Array, cov_b: Array, var_u: Array, w0: Array | None, wb: Array, hold: Mask, sell: Mask
    ) -> Array | None:
        """Return the best weights, or None where none are allowed."""
        cp = _cvxpy()
        n = len(r)
        d = cp.Variable(n)
        v = d @ F
        # in units of the usual variance, so that the solver's precision means the same for hours and for years
        unit = float((np.diag(F @ cov_b @ F.T) + var_u).mean()) or 1.0
        risk = cp.quad_form(v, cp.psd_wrap(cov_b / unit)) + (var_u / unit) @ cp.square(d)
        limits = [cp.sum(d) == 1 - wb.sum()]
        fixed = hold | sell
        to = np.zeros(n) if w0 is None else np.where(hold, w0, 0.0)
        if fixed.any():
            limits.append(d[fixed] == to[fixed] - wb[fixed])
        if not fixed.all():
            limits.append(d[~fixed] >= -wb[~fixed])
            if self.b_dev is not None:
                limits.append(cp.abs(d[~fixed]) <= np.broadcast_to(np.asarray(self.b_dev, dtype=float), n)[~fixed])
        if self.f_dev is not None:
            limits.append(cp.abs(v) <= np.broadcast_to(np.asarray(self.f_dev, dtype=float), F.shape[1]))
        goal = cp.Maximize(d @ (r / unit) - self.lamb * risk)
        turnover = [] if w0 is None or self.delta is None else [cp.norm1(d + (wb - w0)) <= self.delta]
        for extra in (turnover, []) if turnover else ([],):
            problem = cp.Problem(goal, limits + extra)
            try:
                problem.solve(**self.solver_kwargs)
            except cp.SolverError as error:
                logger.warning(f"the solver failed: {error}")
                continue
            if problem.status in SOLVED:
                return np.maximum(np.asarray(d.value, dtype=np.float64) + wb, 0.0)
            if extra:
                logger.warning(f"no weights keep a turnover of {self.delta}: the limit is dropped for this step")
        return None


def _mask(given: Any, n: int) -> Mask:
    return np.zeros(n, dtype=bool) if given is None else np.asarray(given, dtype=bool)


def _cvxpy() -> ModuleType:
    try:
        import cvxpy  # noqa: PLC0415  heavy, and an extra
    except ImportError:
        raise ImportError(
            "EnhancedIndexingOptimizer needs cvxpy: pip install 'qlib-crypto[portfolio]' (or pip install cvxpy)"
        ) from None
    return cvxpy
