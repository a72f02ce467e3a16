"""What speaks to people: `qrun` (run.py, check.py), the getting of data (data.py)."""
