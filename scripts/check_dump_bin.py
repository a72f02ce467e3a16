"""Does a store hold what the files say? `python scripts/check_dump_bin.py check --qlib_dir STORE --csv_path FILES`."""

from qlib.cli.health import CheckBin, run_compare

__all__ = ["CheckBin"]

if __name__ == "__main__":
    run_compare()
