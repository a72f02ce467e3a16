"""Base class of index collectors (a door: it lives in qlib.collect.index_files)."""

from qlib.collect.index_files import IndexBase

__all__ = ["IndexBase"]
