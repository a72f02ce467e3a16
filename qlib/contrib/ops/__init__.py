"""Qlib's path for operators beyond the standard ones."""
