"""Commands about data: `qlib data COMMAND ...`, the same as `python -m qlib.cli.data` and scripts/get_data.py.

    qlib data sample --target_dir ~/.qlib/qlib_data/sample_data --exists_skip
    qlib data resample --qlib_dir ~/store --from 1min --to 15min
    qlib data future --qlib_dir ~/store --freq 60min --until 2027-12-31

Exit code 2 for a wrong input, 1 for a failed run; what went wrong is one sentence on stderr.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from qlib.cli import doors
from qlib.collect.future import write_future_calendar
from qlib.collect.resample import resample_store
from qlib.errors import InputError, QlibError, did_you_mean
from qlib.tests.data import GetData

__all__ = ["GetData", "future", "resample", "run"]


def resample(arguments: Sequence[str] | None = None) -> None:
    """Make coarser bars of a store.

    The work is done by `qlib.collect.resample.resample_store`.
    """
    parser = argparse.ArgumentParser(prog="qlib data resample", description="Make coarser bars of a store.")
    parser.add_argument("--qlib_dir", required=True, help="the store")
    parser.add_argument("--from", dest="source", required=True, help="stored bars to use, such as 1min")
    parser.add_argument("--to", required=True, help="bars to make, such as 15min, 4h, day, week, month")
    parser.add_argument("--out_dir", help="another store for them (default: the same one)")
    parser.add_argument("--fields", help="fields, with commas between (default: all)")
    parser.add_argument("--rules", help="rules of fields that the table lacks, such as depth=last,mid=mean:volume")
    parser.add_argument("--region", help="the market; needed where the calendar does not run around the clock")
    parser.add_argument("--offset", help="how long after midnight the bars of hours begin, such as 8h")
    parser.add_argument("--min_data_shift", type=int, default=0, help="minutes by which the sessions stand earlier")
    parser.add_argument("--ends", default="calendar", help="calendar: only whole bars at the ends; keep: all")
    parser.add_argument("--dry_run", action="store_true", help="only say what would be written")
    asked = parser.parse_args(arguments)
    done = resample_store(
        asked.qlib_dir,
        asked.source,
        asked.to,
        out_dir=asked.out_dir,
        fields=_listed(asked.fields),
        rules=_rules(asked.rules),
        region=asked.region,
        offset=asked.offset,
        min_data_shift=asked.min_data_shift,
        ends=asked.ends,
        dry_run=asked.dry_run,
    )
    print(f"{'would write ' if asked.dry_run else ''}{done}")


def future(arguments: Sequence[str] | None = None) -> None:
    """Write a calendar of the future: the stored bars, then those to come.

    The work is done by `qlib.collect.future.write_future_calendar`.
    """
    parser = argparse.ArgumentParser(
        prog="qlib data future", description="Write calendars/<freq>_future.txt: the stored bars, then those to come."
    )
    parser.add_argument("--qlib_dir", required=True, help="the store")
    parser.add_argument("--freq", default="day", help="a stored frequency (default: day)")
    parser.add_argument("--until", "--end_date", help="last day (default: two years after the last stored bar)")
    parser.add_argument("--region", help="the market; needed where the calendar does not run around the clock")
    parser.add_argument("--holidays", help="dates with commas between, a file with one a line, or none")
    parser.add_argument("--workdays", help="Saturdays and Sundays on which the market is open, likewise")
    parser.add_argument("--times", help="a file with the times to come, one a line, instead of a rule")
    asked = parser.parse_args(arguments)
    path = write_future_calendar(
        asked.qlib_dir,
        asked.freq,
        until=asked.until,
        region=asked.region,
        holidays=_dates(asked.holidays, "holidays"),
        workdays=_dates(asked.workdays, "workdays") or (),
        times=_dates(asked.times, "times"),
    )
    lines = path.read_text(encoding="utf-8").splitlines()
    print(f"{path}: {len(lines)} entries, {lines[0]} to {lines[-1]}")


def _listed(text: str | None) -> list[str] | None:
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]


def _rules(text: str | None) -> dict[str, str]:
    pairs = [part.partition("=") for part in _listed(text) or []]
    wrong = [name for name, sign, rule in pairs if not (name and sign and rule)]
    if wrong:
        raise InputError(f"rules: received {text!r}; field=rule with commas between is allowed, such as depth=last")
    return {name.strip(): rule.strip() for name, _, rule in pairs}


def _dates(text: str | None, name: str) -> list[str] | None:
    """Return the dates of a list or a file; None where nothing was said, [] for "none"."""
    if text is None:
        return None
    if text.strip().lower() == "none":
        return []
    if text[:1].isdigit() and not Path(text).exists():
        return _listed(text)
    path = Path(text).expanduser()
    if not path.is_file():
        raise InputError(f"{name}: received {text!r}, which is neither a list of dates nor a file")
    return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


_OWN: Final[dict[str, Callable[[Sequence[str]], None]]] = {"resample": resample, "future": future}


def _about() -> dict[str, str]:
    """Return what there is, with one line for each command."""
    found = {name: getattr(GetData, name) for name in dir(GetData) if not name.startswith("_")}
    return {
        name: what.__doc__.strip().splitlines()[0].replace("`", "")
        for name, what in {**found, **_OWN}.items()
        if callable(what) and what.__doc__
    }


def help_text() -> str:
    """Return what `qlib data --help` shows."""
    about = _about()
    width = max(map(len, about))
    lines = [f"  {name:<{width}}  {line}" for name, line in about.items()]
    return "\n".join(
        ["usage: qlib data COMMAND ...", "", "commands:", *lines, "", "qlib data COMMAND --help says more."]
    )


def run() -> None:
    """Do what the command line says: `resample` and `future` here, the rest by `GetData`."""
    name, words = "".join(sys.argv[1:2]), sys.argv[2:]
    if name in ("", "-h", "--help"):
        print(help_text())
        return
    program = "qlib data" if sys.argv[0].startswith("qlib ") else "get_data"
    try:
        if name in _OWN:
            _OWN[name](words)
        elif not name.startswith("-") and name.replace("-", "_") not in _about():
            raise InputError(f"received {name}; commands are {', '.join(_about())}{did_you_mean(name, _about())}")
        else:
            print(doors.call(doors.of_class(GetData), name=program))
    except QlibError as error:
        print(f"{program}{f' {name}' if name in _OWN else ''}: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, InputError) else 1)


if __name__ == "__main__":
    run()
