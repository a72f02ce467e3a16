"""Write reported figures into a store (a door: the work is done in qlib.collect.dump_pit).

python scripts/dump_pit.py dump --csv_path pit_csv --qlib_dir ~/.qlib/qlib_data/cn_data --interval quarterly

Exit code 2 for a wrong input, 1 for a failed run; what went wrong is one sentence on stderr.
"""

from __future__ import annotations

import sys

from qlib.cli import doors
from qlib.collect.dump_pit import DumpPitData
from qlib.errors import InputError, QlibError


def main() -> None:
    try:
        print(doors.call(doors.of_class(DumpPitData), name="dump_pit"))
    except QlibError as error:
        print(f"dump_pit: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, InputError) else 1)


if __name__ == "__main__":
    main()
