"""Venues as plug-ins: each dialect in a file of its own, plain bars out."""
