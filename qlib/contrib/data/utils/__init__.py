"""Containers that some of the models of `qlib.contrib` work with."""
