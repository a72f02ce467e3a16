"""Bars from frames and tables instead of files; see `brought` for the way in."""

from qlib.data.storage.frames.brought import Frames
from qlib.data.storage.frames.scans import DuckTable

__all__ = ["DuckTable", "Frames"]
