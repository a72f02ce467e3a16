"""Figures of features, drawn with matplotlib: base.py what all share, ana.py the kinds."""
