"""A name that users import before anything is configured: `D`, `R`, `C`.

A slot forwards every attribute to what was put into it, and says what to do while it is empty.
"""

from __future__ import annotations

from typing import Any


class Slot:
    """Forward attributes to the object put in; raise with `advice` while empty."""

    def __init__(self, name: str, advice: str) -> None:
        object.__setattr__(self, "_name", name)
        object.__setattr__(self, "_advice", advice)
        object.__setattr__(self, "_held", None)

    def put(self, thing: Any) -> Any:
        """Put `thing` in (None empties the slot) and return what was there before."""
        before = object.__getattribute__(self, "_held")
        object.__setattr__(self, "_held", thing)
        return before

    @property
    def filled(self) -> bool:
        return object.__getattribute__(self, "_held") is not None

    def held(self) -> Any:
        """Return the object itself; raise RuntimeError with the advice while empty."""
        thing = object.__getattribute__(self, "_held")
        if thing is None:
            name, advice = object.__getattribute__(self, "_name"), object.__getattribute__(self, "_advice")
            message = f"{name} is not ready: {advice}"
            raise RuntimeError(message)
        return thing

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__") and attribute.endswith("__"):  # copy, pickle and inspect ask for these
            raise AttributeError(attribute)
        return getattr(self.held(), attribute)

    def __setattr__(self, attribute: str, value: Any) -> None:
        setattr(self.held(), attribute, value)

    def __getitem__(self, key: Any) -> Any:
        return self.held()[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        self.held()[key] = value

    def __contains__(self, key: Any) -> bool:
        return key in self.held()

    def __repr__(self) -> str:
        return f"<slot {object.__getattribute__(self, '_name')}: {object.__getattribute__(self, '_held')!r}>"
