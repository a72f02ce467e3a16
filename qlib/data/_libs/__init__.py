"""Qlib's path for compiled loops over one array; the kernels of the package do the work."""
