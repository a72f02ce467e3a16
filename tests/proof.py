"""How much a proof does: a part of it with every test run, all of it in `make proof` (QLIB_PROOF=1)."""

from __future__ import annotations

import os
from typing import Final, TypeVar

PROOF: Final = bool(os.environ.get("QLIB_PROOF"))
T = TypeVar("T")


def cases(few: T, all_of_them: T) -> T:
    """Return the first in an ordinary test run, the second in `make proof`."""
    return all_of_them if PROOF else few
