"""What a run of `dump_all`, `dump_fix` or `dump_update` did: numbers, names, and the text that is printed."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from qlib.data.calendar import time_texts

_SHOWN: Final = 5


@dataclass
class DumpReport:
    """What a run did, or with `dry_run` would do; `str(report)` is what the command line prints."""

    command: str
    root: Path
    freq: str
    dry_run: bool = False
    instruments: int = 0
    new_instruments: list[str] = field(default_factory=list)
    calendar: tuple[str, str, int] = ("", "", 0)
    new_dates: np.ndarray = field(default_factory=lambda: np.empty(0, "M8[s]"))
    inserted: int = 0
    kept: dict[str, int] = field(default_factory=dict)
    quarantined: dict[str, list[str]] = field(default_factory=dict)
    files: dict[str, list[str]] = field(default_factory=dict)

    def __str__(self) -> str:
        first, last, entries = self.calendar
        lines = [
            f"{self.command}: {self.root} ({self.freq})" + (" would change as follows" if self.dry_run else ""),
            f"  instruments  {self.instruments} in the sources, {len(self.new_instruments)} of them new"
            + _some(self.new_instruments),
            f"  calendar     {first} to {last}, {entries} entries, {len(self.new_dates)} of them new"
            + _some(time_texts(self.new_dates[: _SHOWN + 1], self.freq)),
        ]
        if self.inserted:
            lines.append(f"  inserted     {self.inserted} of the new entries lie before the old calendar's end")
        if self.kept:
            total = sum(self.kept.values())
            lines.append(
                f"  kept         {total} stored values of {len(self.kept)} instruments that the sources give "
                f"otherwise{_some(list(self.kept))}; dump_fix replaces them"
            )
        if self.quarantined:
            told = [f"{name} {times[0]}" for name, times in self.quarantined.items()]
            total = sum(map(len, self.quarantined.values()))
            lines.append(f"  quarantined  {total} rows at times that the calendar lacks{_some(told)}")
        for kind, names in self.files.items():
            lines.append(f"  {kind:<12} {len(names)} files{_some(names)}")
        return "\n".join(lines)


def _some(names: list[str]) -> str:
    return f": {', '.join(names[:_SHOWN])}{', ...' if len(names) > _SHOWN else ''}" if names else ""
