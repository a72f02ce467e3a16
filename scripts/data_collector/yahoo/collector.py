"""Stocks of Yahoo Finance (a door: the work is done in qlib.contrib.collectors.yahoo).

collector.py download_data --source_dir source --region US --symbols AAPL,MSFT --start 2024-01-01 --end 2024-02-01
"""

from pathlib import Path

from qlib.cli.collector import run
from qlib.contrib.collectors import yahoo
from qlib.contrib.collectors.yahoo import *  # noqa: F403  Qlib's users import the classes from here


class Run(yahoo.Run):
    __doc__ = yahoo.Run.__doc__
    default_base_dir = Path(__file__).resolve().parent


if __name__ == "__main__":
    run(Run)
