"""Base classes of collectors (a door: they live in qlib.collect.collectors). README.md shows how to write one's own."""

from qlib.collect.collectors import BaseCollector, BaseNormalize, BaseRun, Normalize

__all__ = ["BaseCollector", "BaseNormalize", "BaseRun", "Normalize"]
