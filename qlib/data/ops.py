"""Qlib's path for the operators as Python objects; they live in qlib.data.expression.objects."""

from qlib.data.expression import objects
from qlib.data.expression.catalogue import Operators, OpsList, OpsWrapper, TOpsList, register_all_ops
from qlib.data.expression.objects import *  # noqa: F403  every operator, and nothing else: see objects.__all__

__all__ = ["Operators", "OpsList", "OpsWrapper", "TOpsList", "register_all_ops"]
__all__ += objects.__all__
