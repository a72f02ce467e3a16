"""The catalogue at Qlib's paths: handlers, models, strategies, reports."""
