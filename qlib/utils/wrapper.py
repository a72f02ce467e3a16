"""Qlib's name for a slot that is filled with `register`."""

from __future__ import annotations

from typing import Any

from qlib.utils.slot import Slot


class Wrapper(Slot):
    """A slot that Qlib's users fill with `register(provider)` instead of `put`."""

    def __init__(self, name: str = "this provider", advice: str = "call qlib.init(...) first") -> None:
        super().__init__(name, advice)

    def register(self, provider: Any) -> None:
        self.put(provider)
