"""Whether a folder holds a whole store: asked before it is downloaded again."""

from __future__ import annotations

import os
from pathlib import Path

from qlib.utils.paths import instrument_folder


def exists_qlib_data(qlib_dir: str | os.PathLike[str]) -> bool:
    """Tell whether a folder is a store that lacks nothing, as far as names tell.

    It has calendars, instruments and features; for every calendar there are `.bin` files; every instrument of
    `instruments/all.txt` has its folder.

    >>> exists_qlib_data("/nowhere")
    False
    """
    root = Path(qlib_dir).expanduser()
    freqs = {path.stem for path in (root / "calendars").glob("*.txt") if not path.stem.endswith("_future")}
    market = root / "instruments" / "all.txt"
    if not freqs or not market.is_file() or not (root / "features").is_dir():
        return False
    lines = market.read_text(encoding="utf-8").splitlines()
    wanted = {instrument_folder(line.split("\t")[0]) for line in lines if line.strip()}
    missing = set(freqs)
    with os.scandir(root / "features") as folders:
        found = {folder.name: folder.path for folder in folders if folder.is_dir()}
    for path in found.values():
        if not missing:
            break
        missing -= {file.stem.rpartition(".")[2] for file in Path(path).glob("*.*.bin")}
    return bool(wanted) and wanted <= found.keys() and not missing
