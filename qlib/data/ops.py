"""Qlib's path for the operators as Python objects; they live in qlib.data.expression.objects."""

from qlib.data.expression.objects import *  # noqa: F403  every operator, and nothing else: see its __all__
from qlib.data.expression.objects import __all__ as __all__
