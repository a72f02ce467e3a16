"""Get ready-made data: `python scripts/get_data.py sample` (a door: the commands live in qlib.cli.data)."""

from qlib.cli.data import run

if __name__ == "__main__":
    run()
