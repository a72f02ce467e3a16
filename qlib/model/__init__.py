"""The model contract; ready-made models are in `qlib.contrib.model`."""

from qlib.model.base import Model

__all__ = ["Model"]
