"""Commands that get data: `python -m qlib.cli.data COMMAND ...`, the same as scripts/get_data.py.

    python -m qlib.cli.data sample --target_dir ~/.qlib/qlib_data/sample_data --exists_skip

Exit code 2 for a wrong input, 1 for a failed run; what went wrong is one sentence on stderr.
"""

from __future__ import annotations

import sys

from qlib.errors import InputError, QlibError
from qlib.tests.data import GetData

__all__ = ["GetData", "run"]


def run() -> None:
    """Hand the command line to `GetData`."""
    import fire  # noqa: PLC0415  only the command line needs it

    try:
        fire.Fire(GetData)
    except QlibError as error:
        print(f"get_data: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, InputError) else 1)


if __name__ == "__main__":
    run()
