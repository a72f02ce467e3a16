"""Qlib's path for the loaders of the feature sets; they live in `alpha158` and `alpha360`."""

from qlib.contrib.data.alpha158 import Alpha158DL
from qlib.contrib.data.alpha360 import Alpha360DL

__all__ = ["Alpha158DL", "Alpha360DL"]
