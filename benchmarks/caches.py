"""Does a cache on disk pay?  One run of what is computed and what is read from the cache, as ratios.

python benchmarks/market.py FOLDER            once: the market
python benchmarks/caches.py FOLDER/stocks     CPU seconds of this process, the median of a few
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from collections.abc import Callable
from statistics import median

import qlib
from qlib.config import build_settings
from qlib.contrib.data.loader import Alpha158DL
from qlib.data import D
from qlib.data.data import ExpressionD, LocalExpressionProvider
from qlib.data.filter import ExpressionDFilter
from qlib.data.provider import Provider

FOURTEEN = [
    *("$close", "$open", "$volume", "Mean($close,5)", "Std($close,20)", "Corr($close,$volume,10)", "Rank($close,20)"),
    *("Slope($close,20)", "Rsquare($close,10)", "Max($high,30)", "Min($low,30)", "EMA($close,12)"),
    *("$close/Ref($close,5)-1", "Quantile($close,20,0.8)"),
]
SETS = {"1 field": ["$close"], "14 formulas": FOURTEEN, "Alpha158": Alpha158DL.get_feature_config()[0]}


def seconds(work: Callable[[], object], repeats: int) -> float:
    """Return the CPU seconds of one call: machines that run this are shared."""
    found = []
    for _ in range(repeats):
        before = time.process_time()
        work()
        found.append(time.process_time() - before)
    return median(found)


def frames(store: str, repeats: int) -> None:
    """Print what it takes to compute frames, and to map kept ones."""
    with tempfile.TemporaryDirectory() as kept:
        more = {"dataset_cache": "SimpleDatasetCache", "local_cache_path": kept, "kernels": 1}
        provider = Provider(build_settings(provider_uri=store, **more))
        universe = provider.instruments("all")
        print("frame           computed s   kept first   mapped   mapped and every number read   rows")
        for name, fields in SETS.items():
            computed = seconds(lambda fields=fields: provider.computed(universe, fields), repeats)
            first = seconds(lambda fields=fields: provider.features(universe, fields), 1)
            mapped = seconds(lambda fields=fields: provider.features(universe, fields), repeats)
            read = seconds(lambda fields=fields: provider.features(universe, fields).to_numpy().sum(), repeats)
            rows = len(provider.features(universe, fields))
            ratios = "  ".join(f"{computed / part:8.1f}x" for part in (first, mapped, read))
            print(f"{name:14s} {computed:10.3f} {ratios}   {rows}")


def series(store: str, repeats: int) -> None:
    """Print what a series takes by itself, from its file, and as a part of a frame."""
    with tempfile.TemporaryDirectory() as kept:
        qlib.init(
            provider_uri=store, expression_cache="DiskExpressionCache", features_cache_dir_name=kept, kernels=1,
            logging_level=40,
        )  # fmt: skip
        names, fields = D.list_instruments(D.instruments("all"), as_list=True)[:50], FOURTEEN[3:7]
        plain = LocalExpressionProvider()

        def each(provider: object) -> None:
            for name in names:
                for field in fields:
                    provider.expression(name, field, None, None, "day")  # type: ignore[attr-defined]

        each(ExpressionD)
        count = len(names) * len(fields)
        computed = seconds(lambda: each(plain), repeats) / count
        read = seconds(lambda: each(ExpressionD), repeats) / count
        whole = seconds(lambda: D.features(names, fields), repeats) / count
        print(f"series: computed alone {computed * 1e6:.0f} us, from its file {read * 1e6:.0f} us ", end="")
        print(f"({computed / read:.1f}x), in D.features {whole * 1e6:.0f} us ({computed / whole:.1f}x)")


def filters(store: str, repeats: int) -> None:
    """Print what a filter adds to a query."""
    provider = Provider(build_settings(provider_uri=store, kernels=1))
    rule = ExpressionDFilter("$close>Mean($close,20)")
    every, some = provider.instruments("all"), provider.instruments("all", [rule])
    plain = seconds(lambda: provider.features(every, FOURTEEN[:4]), repeats)
    ruled = seconds(lambda: provider.features(some, FOURTEEN[:4]), repeats)
    print(f"filter: 4 fields {plain:.3f} s, of a universe with a rule {ruled:.3f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description="Does a cache on disk pay?")
    parser.add_argument("store", help="a store of daily bars, such as FOLDER/stocks of market.py")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    logging.getLogger("qlib").setLevel(logging.ERROR)
    for part in (frames, series, filters):
        part(options.store, options.repeats)


if __name__ == "__main__":
    main()
