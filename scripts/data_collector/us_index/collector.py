"""Members of an index -> a market file of a store (a door: the work is done in qlib.contrib.collectors.index_lists).

collector.py --index_name SP500 --qlib_dir store --method parse_instruments --members FILE --changes FILE
"""

from qlib.cli.collector import run_index

if __name__ == "__main__":
    run_index("us_index")
