"""Get ready-made data: `python scripts/get_data.py sample` (a door: the command lives in qlib.tests.data)."""

from __future__ import annotations

import sys

import fire

from qlib.errors import InputError, QlibError
from qlib.tests.data import GetData

if __name__ == "__main__":
    try:
        fire.Fire(GetData)
    except QlibError as error:
        print(error, file=sys.stderr)
        sys.exit(2 if isinstance(error, InputError) else 1)
