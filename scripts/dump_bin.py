"""Write a store from CSV or Parquet files: `python scripts/dump_bin.py dump_all --data_path csv --qlib_dir store`.

A door: the commands live in qlib.cli.dump, the classes in qlib.collect.dump.
"""

from qlib.cli.dump import run
from qlib.collect.dump import DumpDataAll, DumpDataBase, DumpDataFix, DumpDataUpdate

__all__ = ["DumpDataAll", "DumpDataBase", "DumpDataFix", "DumpDataUpdate"]

if __name__ == "__main__":
    run()
