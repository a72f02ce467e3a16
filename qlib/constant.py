"""Names of the regions and two numbers that many rooms share."""

from __future__ import annotations

from typing import Final, TypeVar

REG_CN: Final = "cn"
REG_US: Final = "us"
REG_TW: Final = "tw"
REG_CRYPTO: Final = "crypto"

EPS: Final = 1e-12
INF: Final = 10**18

float_or_ndarray = TypeVar("float_or_ndarray", float, "numpy.ndarray")  # type: ignore[name-defined]  # noqa: F821
ONE_DAY: Final = "1D"
