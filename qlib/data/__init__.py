"""Data: stores, calendars, universes, formulas. `D` is the live session's provider (after `qlib.init`)."""

from qlib.data.active import D

__all__ = ["D"]
