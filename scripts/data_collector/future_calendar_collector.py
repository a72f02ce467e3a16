"""Write a store's calendar of the future (a door, at Qlib's path: the command is `qlib data future`).

future_calendar_collector.py --qlib_dir DIR --region cn --end_date 2027-12-31 --holidays FILE

Nothing is downloaded: a market that never closes needs no list, one that closes needs that of its holidays.
"""

import sys

from qlib.cli.data import run

if __name__ == "__main__":
    sys.argv.insert(1, "future")
    run()
