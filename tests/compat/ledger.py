"""The ledger of Qlib's public paths: what is still missing here, counted and listed.

python tests/compat/ledger.py            compare with missing.txt; exit 1 when they differ
python tests/compat/ledger.py --update   write missing.txt anew (the count may only fall)
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
LEDGER = HERE / "missing.txt"
CONTRACT = HERE.parents[2] / "shared" / "contract"


def measure() -> tuple[float, int, list[str]]:
    """Return (percentage present, number missing, the missing names without those below a missing parent)."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "api.json"
        command = [sys.executable, str(CONTRACT / "api_check.py"), "--json", str(out)]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if not out.exists():
            message = f"api_check.py wrote no result: {done.stderr[-600:]}"
            raise RuntimeError(message)
        result = json.loads(out.read_text())
    missing = [(kind, where) for kind, where, *_ in result["missing"]]
    absent = {where for kind, where in missing if kind in ("module", "class", "function", "method")}

    def parent_absent(where: str) -> bool:
        module, _, rest = where.partition(":")
        if not rest:
            return False
        if module in absent:
            return True
        name = rest.split("(")[0]
        parts = name.split(".")
        above = [f"{module}:{'.'.join(parts[:n])}" for n in range(1, len(parts) + ("(" in rest))]
        return any(one in absent for one in above)

    listed = sorted(f"{where}  [{kind}]" for kind, where in missing if not parent_absent(where))
    return float(result["total"]), len(missing), listed


def recorded() -> tuple[int, list[str]]:
    lines = LEDGER.read_text().splitlines()
    return int(lines[0].split()[0]), [line for line in lines[1:] if line]


def main() -> int:
    percent, count, names = measure()
    if "--update" in sys.argv:
        if LEDGER.exists() and count > recorded()[0] and "--init" not in sys.argv:
            print(f"{count} names are missing, {recorded()[0]} were: the count may only fall")
            return 1
        LEDGER.write_text("\n".join([f"{count} public names of Qlib are missing here", *names]) + "\n")
        print(f"{percent:.2f} % present, {count} missing, written to {LEDGER.name}")
        return 0
    before, known = recorded()
    for name in sorted(set(names) - set(known)):
        print(f"newly missing: {name}")
    for name in sorted(set(known) - set(names)):
        print(f"built, take it off the list: {name}")
    print(f"{percent:.2f} % present, {count} missing, the ledger says {before}")
    return 0 if (count, names) == (before, known) else 1


if __name__ == "__main__":
    sys.exit(main())
