"""What speaks to people: the command `qlib` (main.py) and what it calls: run.py (`qrun`), check.py, data.py ..."""
