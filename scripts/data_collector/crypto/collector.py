"""Prices of coins from CoinGecko (a door: the work is done in qlib.crypto.coin_charts).

collector.py download_data --source_dir source --symbols bitcoin,ethereum --start 2026-01-01
"""

from pathlib import Path

from qlib.cli.collector import run
from qlib.crypto import coin_charts
from qlib.crypto.coin_charts import *  # noqa: F403  Qlib's users import the classes from here


class Run(coin_charts.Run):
    __doc__ = coin_charts.Run.__doc__
    default_base_dir = Path(__file__).resolve().parent


if __name__ == "__main__":
    run(Run)
