"""Qlib's path for measures of predictions."""
