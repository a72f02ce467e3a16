"""The slot that `qlib.init` fills with the session's provider: `D` for users, `active_provider()` for rooms."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from qlib.utils.slot import Slot

if TYPE_CHECKING:
    from qlib.data.provider import Provider

D: Any = Slot("D", "call qlib.init(provider_uri=...) first")


def active_provider() -> Provider:
    """Return the provider of the live session; RuntimeError, saying what to do, before `qlib.init`."""
    return D.held()


def fill(provider: Provider) -> Provider | None:
    """Make a provider the one that `D` shows, and return the one before."""
    return D.put(provider)


@contextmanager
def shown(provider: Provider) -> Iterator[None]:
    """Let `D` show a provider for the length of a `with` block."""
    before = fill(provider)
    try:
        yield
    finally:
        D.put(before)
