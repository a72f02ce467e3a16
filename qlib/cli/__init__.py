"""What speaks to people: the command `qlib` (main.py) and what it calls: `run` (`qrun`; run.py, check.py), `data`, ..."""
