"""Qlib's path for the operators over reported periods; they live in qlib.data.expression.objects."""

from qlib.data.expression.objects import P, PRef

__all__ = ["P", "PRef"]
