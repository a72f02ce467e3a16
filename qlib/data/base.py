"""Qlib's path for the bases of formulas; they live in qlib.data.expression.objects."""

from qlib.data.expression.objects import Expression, ExpressionOps, Feature, PFeature

__all__ = ["Expression", "ExpressionOps", "Feature", "PFeature"]
