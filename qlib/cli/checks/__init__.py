"""The single checks of `qrun --check`; `qlib.cli.check` puts them together."""
