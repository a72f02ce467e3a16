"""Collectors that Qlib's users know, built on `qlib.collect.collectors`; the doors are in scripts/data_collector."""
