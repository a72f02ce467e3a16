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

# Opening and closing (excluded) of a day's trading sessions, in the market's own clock.
SESSIONS: Final = {
    REG_CN: (("09:30", "11:30"), ("13:00", "15:00")),
    REG_US: (("09:30", "16:00"),),
    REG_TW: (("09:00", "13:30"),),
    REG_CRYPTO: (("00:00", "24:00"),),
}
