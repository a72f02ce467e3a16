"""Alpha158 by KunQuant, which compiles C++ for the formula set: the arrays are in memory, the compilation is over.

    VENV/bin/python benchmarks/kunquant_alpha158.py --market FOLDER --job alpha158

Needs `pip install KunQuant` and g++.  Its layouts and number types are tried on one thread and on two, with the widest
vectors of this processor; `wall` is the best of all on one thread, into buffers that it has used before.  It is given
what it likes best: no file is read, no gap is closed, no index is made within the time.  Prints one line of JSON.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from KunQuant.Driver import KunCompilerConfig
from KunQuant.jit import cfake
from KunQuant.Op import Builder, Input, Output
from KunQuant.predefined.Alpha158 import AllData
from KunQuant.runner import KunRunner
from KunQuant.Stage import Function
from matrices import matrices
from measure import peak_mb, repeat

INPUTS = ("open", "high", "low", "close", "volume", "vwap")


def graph() -> Any:
    """Return Alpha158 as KunQuant's function."""
    builder = Builder()
    with builder:
        data = AllData(**{name: Input(name) for name in ("low", "high", "close", "open", "amount", "volume")})
        price = [("OPEN", data.open), ("HIGH", data.high), ("LOW", data.low), ("VWAP", data.vwap)]
        rolling = {"windows": [5, 10, 20, 30, 60]}
        outputs, names = data.build({"kbar": {}, "price": {"windows": [0], "feature": price}, "rolling": rolling})
        for value, name in zip(outputs, names, strict=True):
            Output(value, name)
    return Function(builder.ops)


def configurations() -> list[tuple[str, int, str]]:
    """Return (number type, lanes, layout) for the widest vectors of this processor."""
    flags = Path("/proc/cpuinfo").read_text().split("flags", 1)[1].split("\n", 1)[0].split()
    wide = {"avx512f", "avx512dq", "avx512vl"} <= set(flags)
    more = 2 if wide else 1
    return [("float", 8 * more, "STs"), ("float", 8 * more, "TS"), ("double", 4 * more, "STs")]


def processor(dtype: str, lanes: int) -> Any:
    if lanes == (16 if dtype == "float" else 8):
        return cfake.X64CPUFlags(avx512=True, avx512dq=True, avx512vl=True)
    return cfake.NativeCPUFlags()


def compiled(dtype: str, lanes: int, layout: str) -> tuple[Any, Any, float]:
    """Return the library (which must live as long as its module), the module, and the seconds of the compiler."""
    options = {"opt_reduce": True, "fast_log": True, "no_fast_stat": "no_warn" if dtype == "float" else False}
    config = KunCompilerConfig(
        dtype=dtype,
        blocking_len=lanes,
        partition_factor=4,
        input_layout=layout,
        output_layout=layout,
        options=options,
    )
    begun = time.perf_counter()
    library = cfake.compileit(
        [("alpha158", graph(), config)], "alpha158", cfake.CppCompilerConfig(machine=processor(dtype, lanes))
    )
    return library, library.getModule("alpha158"), time.perf_counter() - begun


def laid_out(matrix: np.ndarray, dtype: str, lanes: int, layout: str) -> np.ndarray:
    """Return a (time, stock) matrix in the layout: TS as it is, STs as (blocks of stocks, time, lanes)."""
    values = matrix.astype(np.float32 if dtype == "float" else np.float64)
    if layout == "STs":
        rows, stocks = values.shape
        values = values.reshape(rows, stocks // lanes, lanes).transpose(1, 0, 2)
    return np.ascontiguousarray(values)


def measure(source: dict[str, np.ndarray], dtype: str, lanes: int, layout: str, dump: Path | None) -> dict[str, Any]:
    """Time one configuration; `dump`: also write the values of layout TS, (names, times, stocks), and the names."""
    library, module, seconds = compiled(dtype, lanes, layout)
    given = {name: laid_out(values, dtype, lanes, layout) for name, values in source.items()}
    names = module.getOutputNames()
    shape = given["close"].shape
    rows = source["close"].shape[0]
    result: dict[str, Any] = {"compile": seconds}
    block = np.zeros((len(names), *shape), np.float32 if dtype == "float" else np.float64)
    outputs = {name: block[i] for i, name in enumerate(names)}
    for threads in (1, 2):
        single = threads == 1
        executor = KunRunner.createSingleThreadExecutor() if single else KunRunner.createMultiThreadExecutor(threads)
        run = [lambda executor=executor: KunRunner.runGraph(executor, module, given, 0, rows, outputs)]
        result[f"threads_{threads}"] = repeat(run * 5)
    if dump is not None and layout == "TS":
        np.save(f"{dump}.npy", block)
        Path(f"{dump}.json").write_text(json.dumps(list(names)))
    del library
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--market", type=Path, required=True)
    parser.add_argument("--job", default="alpha158", choices=("alpha158", "hours"))
    parser.add_argument("--dump", type=Path)
    asked = parser.parse_args()
    source, names = matrices(asked.market, asked.job, list(INPUTS), pad=16)
    source["amount"] = source.pop("vwap") * source["volume"]
    tried = {}
    for dtype, lanes, layout in configurations():
        tried[f"{dtype} x {lanes}, {layout}"] = measure(source, dtype, lanes, layout, asked.dump)
    one, two = ({name: run[f"threads_{n}"] for name, run in tried.items()} for n in (1, 2))
    best = min(one, key=lambda name: one[name]["best"])
    best_two = min(two, key=lambda name: two[name]["best"])
    result = {
        "wall": one[best]["best"],
        "cpu": one[best]["cpu"],
        "others": one[best]["others"],
        "peak_mb": peak_mb(),
        "two_threads": two[best_two]["best"],
        "best": best,
        "best_two": best_two,
        "tried": tried,
        "instruments": len(names),
        "versions": {name: importlib.metadata.version(name) for name in ("KunQuant", "numpy")},
    }
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
