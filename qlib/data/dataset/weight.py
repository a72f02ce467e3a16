"""Weights of the rows in learning."""

from __future__ import annotations

from typing import Any


class Reweighter:
    """Base of anything that weighs rows: subclasses say how in `reweight`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if type(self) is Reweighter:
            raise NotImplementedError("Reweighter is a base: derive a class from it and override `reweight`")

    def reweight(self, data: Any) -> Any:
        """Return one weight per row of `data` (the frame of a segment), as a Series or array."""
        raise NotImplementedError(f"{type(self).__name__} does not say how to `reweight`")
