"""Alpha360: the last sixty bars of close, open, high, low, vwap and volume, relative to the newest, as formulas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from qlib.data.dataset.loader import QlibDataLoader

BARS: Final = 60
PRICES: Final = ("CLOSE", "OPEN", "HIGH", "LOW", "VWAP")


class Alpha360DL(QlibDataLoader):
    """Loads Alpha360.

    Parameters
    ----------
    config
        More column groups (such as a label), or another "feature" group.
    kwargs
        As for `QlibDataLoader`.
    """

    def __init__(self, config: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(config={"feature": self.get_feature_config(), **(config or {})}, **kwargs)

    @staticmethod
    def get_feature_config() -> tuple[list[str], list[str]]:
        """Return (formulas, names): six blocks of sixty columns, the oldest bar first; a row is a (6, 60) picture."""
        columns = {}
        for field in (*PRICES, "VOLUME"):
            newest = "($volume+1e-12)" if field == "VOLUME" else "$close"
            for d in reversed(range(BARS)):
                lagged = f"Ref(${field.lower()}, {d})" if d else f"${field.lower()}"
                columns[f"{field}{d}"] = f"{lagged}/{newest}"
        return list(columns.values()), list(columns)
