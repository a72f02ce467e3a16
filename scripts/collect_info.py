"""Print what a bug report needs: system, Python, qlib and the packages it stands on.

python scripts/collect_info.py            everything
python scripts/collect_info.py sys        one part: sys, py or qlib
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import sys
from pathlib import Path

PARTS = ("sys", "py", "qlib")


def system() -> dict[str, str]:
    return {
        "system": platform.platform(),
        "machine": platform.machine(),
        "cores": str(os.cpu_count()),
        "libc": " ".join(platform.libc_ver()) or "not glibc",
    }


def interpreter() -> dict[str, str]:
    return {"python": sys.version.replace("\n", " "), "executable": Path(sys.executable).name, "prefix": sys.prefix}


def package() -> dict[str, str]:
    found = {}
    owners = importlib.metadata.packages_distributions().get("qlib", [])
    found["distributions named qlib"] = ", ".join(sorted(set(owners))) or "none"
    if "pyqlib" in owners:
        found["conflict"] = "pyqlib is installed too and has the same import name: pip uninstall pyqlib"
    for owner in ("qlib-crypto",):
        try:
            meta = importlib.metadata.metadata(owner)
        except importlib.metadata.PackageNotFoundError:
            found[owner] = "not installed"
            continue
        found[owner] = meta["Version"]
        for need in importlib.metadata.requires(owner) or []:
            name = re.split(r"[<>=!~;\[ ]", need, maxsplit=1)[0]
            extra = re.search(r"extra == ['\"](\w+)['\"]", need)
            try:
                found[name] = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                found[name] = f"not installed (extra {extra[1]})" if extra else "MISSING"
    return found


def main(arguments: list[str]) -> int:
    wanted = arguments or ["all"]
    unknown = [part for part in wanted if part not in (*PARTS, "all")]
    if unknown:
        print(f"received {unknown[0]!r}; allowed are {', '.join(PARTS)} and all", file=sys.stderr)
        return 2
    for part, table in zip(PARTS, (system, interpreter, package), strict=True):
        if part in wanted or "all" in wanted:
            print(f"[{part}]")
            for key, value in table().items():
                print(f"{key:>26}  {value}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
