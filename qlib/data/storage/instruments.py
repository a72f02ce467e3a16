"""The instruments file: one span a line, `NAME<TAB>start<TAB>end`, both ends included; a name may have several lines.

Names are text and stay text: a coin called NA or NULL is a coin.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from qlib.data.calendar import parse_times
from qlib.errors import InputError, StoreError
from qlib.log import get_module_logger
from qlib.utils.paths import replace_file

Spans = dict[str, list[tuple[pd.Timestamp, pd.Timestamp]]]
SEPARATOR = "\t"

logger = get_module_logger("instruments")


def read_instruments(path: Path) -> Spans:
    """Return {name: [(start, end), ...]} in the order of the file; columns after the third are ignored.

    A span that starts after its end contains no time: a warning tells its line, as the instrument is then not listed.
    Raises StoreError, which names the file and the line, for a line without three columns or with text that is no date.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise StoreError(f"{path}: is not UTF-8 text ({error})") from None
    names, starts, ends, numbers = [], [], [], []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        columns = line.rstrip("\r").split(SEPARATOR)
        if len(columns) < 3 or not columns[0]:
            raise StoreError(f"{path}: line {number} is {line[:80]!r}; name, start and end are expected, tabs between")
        names.append(columns[0])
        starts.append(columns[1])
        ends.append(columns[2])
        numbers.append(number)
    spans: Spans = {}
    low, high = _times(starts, f"{path}: start"), _times(ends, f"{path}: end")
    for name, start, end in zip(names, low, high, strict=True):
        spans.setdefault(name, []).append((start, end))
    wrong = np.flatnonzero(low > high)
    if len(wrong):
        at = int(wrong[0])
        more = f" (and {len(wrong) - 1} other lines)" if len(wrong) > 1 else ""
        logger.warning(
            f"{path}: line {numbers[at]}: {names[at]} starts {starts[at]}, after its end {ends[at]}: "
            f"such a span holds no time{more}"
        )
    return spans


def _times(texts: list[str], where: str) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(parse_times([text.encode() for text in texts], where))


def write_instruments(path: Path, spans: Mapping[str, Iterable[tuple[object, object]]]) -> None:
    """Write the file, whole or not at all. Dates without a time of day are written as dates."""
    replace_file(path, lambda file: file.write(instruments_text(spans).encode()))


def instruments_text(spans: Mapping[str, Iterable[tuple[object, object]]], *, intraday: bool = False) -> str:
    """Return the content of an instruments file; with times of day everywhere if one bound has one, or `intraday`."""
    names = [name for name, pairs in spans.items() for _ in pairs]
    ticks = [pd.Timestamp(bound).value for pairs in spans.values() for pair in pairs for bound in pair]  # type: ignore[arg-type]
    bounds = np.array(ticks, dtype="M8[ns]").astype("M8[s]")
    if (absent := np.isnat(bounds)).any():
        raise InputError(f"instrument {names[int(absent.argmax()) // 2]}: a bound of its span is no time (NaT)")
    whole = not intraday and not (bounds.view(np.int64) % 86400).any()
    texts = [text.replace("T", " ") for text in np.datetime_as_string(bounds, unit="D" if whole else "s").tolist()]
    rows = zip(names, texts[::2], texts[1::2], strict=True)
    return "".join(SEPARATOR.join(row) + "\n" for row in rows)
