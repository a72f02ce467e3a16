"""Members of an index and their changes -> a market file `instruments/<index>.txt`.

    changes      2021-03-01  add     AAA          AAA is a member from 2021-03-01 on
                 2021-06-30  remove  BBB          BBB was one until 2021-06-30, the last day included
    today        AAA, CCC

    aaa's file   AAA  2021-03-01  2099-12-31
                 CCC  2015-01-01  2099-12-31      no change is known: a member since the index begins
                 BBB  2015-01-01  2021-06-30

The changes are walked backwards from today. Names and arguments are those of Qlib's
`scripts/data_collector/index.py`.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pandas as pd

from qlib.errors import InputError
from qlib.log import get_module_logger
from qlib.utils.paths import replace_file

logger = get_module_logger("collector")


@dataclass
class _Span:
    symbol: str
    start: pd.Timestamp
    end: pd.Timestamp


class IndexBase(abc.ABC):
    """What knows an index.

    Parameters
    ----------
    index_name
        Name of the index; its file is named by it in small letters.
    qlib_dir
        The store; None: `qlib_data` in the working folder. Its `instruments` folder is made.
    freq
        "day" or "1min": the files of minutes hold times.
    request_retry, retry_sleep
        How often to ask a source, and the seconds between; for those who ask (`deco_retry`).
    """

    DEFAULT_END_DATE: ClassVar[pd.Timestamp] = pd.Timestamp("2099-12-31")
    SYMBOL_FIELD_NAME: ClassVar[str] = "symbol"
    DATE_FIELD_NAME: ClassVar[str] = "date"
    START_DATE_FIELD: ClassVar[str] = "start_date"
    END_DATE_FIELD: ClassVar[str] = "end_date"
    CHANGE_TYPE_FIELD: ClassVar[str] = "type"
    INSTRUMENTS_COLUMNS: ClassVar[list[str]] = [SYMBOL_FIELD_NAME, START_DATE_FIELD, END_DATE_FIELD]
    REMOVE: ClassVar[str] = "remove"
    ADD: ClassVar[str] = "add"
    INST_PREFIX: ClassVar[str] = ""

    def __init__(
        self,
        index_name: str,
        qlib_dir: str | Path | None = None,
        freq: str = "day",
        request_retry: int = 5,
        retry_sleep: float = 3,
    ) -> None:
        self.index_name = index_name
        self.instruments_dir = Path(qlib_dir or "qlib_data").expanduser().resolve() / "instruments"
        self.instruments_dir.mkdir(parents=True, exist_ok=True)
        self.freq = freq
        self._request_retry = request_retry
        self._retry_sleep = retry_sleep

    @property
    @abc.abstractmethod
    def bench_start_date(self) -> pd.Timestamp:
        """Return when the index begins."""

    @property
    @abc.abstractmethod
    def calendar_list(self) -> list[pd.Timestamp]:
        """Return the trading dates of its market."""

    @abc.abstractmethod
    def get_new_companies(self) -> pd.DataFrame:
        """Return the members of today: a column `symbol`."""

    @abc.abstractmethod
    def get_changes(self) -> pd.DataFrame:
        """Return the changes: columns `symbol`, `type` (add or remove), `date` (first or last day as a member)."""

    @abc.abstractmethod
    def format_datetime(self, inst_df: pd.DataFrame) -> pd.DataFrame:
        """Return the spans with their dates as the file has them."""

    def save_new_companies(self) -> None:
        """Write the members of today to `<index>_only_new.txt`, each from the begin of the index on.

        A backtest over that file knows who will survive: it is what Qlib writes, and no universe.
        """
        spans = self._members()
        logger.warning(f"{self.index_name}_only_new: holds the members of today alone, who have all survived")
        self._write(f"{self.index_name.lower()}_only_new.txt", spans)

    def parse_instruments(self) -> None:
        """Write the members of every date to `<index>.txt`."""
        changes = self.get_changes()
        missing = {self.SYMBOL_FIELD_NAME, self.CHANGE_TYPE_FIELD, self.DATE_FIELD_NAME} - set(changes.columns)
        if missing:
            raise InputError(f"get_changes: the column {min(missing)!r} is missing; there are {list(changes.columns)}")
        # Backwards; of one day first those who left: they were members until its end, the others from its begin on.
        told = sorted(
            zip(
                pd.to_datetime(changes[self.DATE_FIELD_NAME]),
                changes[self.CHANGE_TYPE_FIELD].astype(str),
                changes[self.SYMBOL_FIELD_NAME].astype(str),
                strict=True,
            ),
            key=lambda change: (change[0], change[1] == self.REMOVE),
            reverse=True,
        )
        spans = self._members()
        for date, kind, symbol in told:
            self._undo(spans, symbol, kind, date)
        self._write(f"{self.index_name.lower()}.txt", spans)

    def _undo(self, spans: list[_Span], symbol: str, kind: str, date: pd.Timestamp) -> None:
        """Walk back over one change."""
        its = [span for span in spans if span.symbol == symbol and span.start < date <= span.end]
        if kind == self.REMOVE:
            if its:
                logger.warning(
                    f"{self.index_name}: {symbol} left on {date.date()}, and no change says when it came back"
                )
            spans.append(_Span(symbol, pd.Timestamp(self.bench_start_date), date))
        elif kind == self.ADD:
            if not its:
                logger.warning(f"{self.index_name}: {symbol} came on {date.date()}, and no change says when it left")
            for span in its:
                span.start = date
        else:
            raise InputError(
                f"get_changes: received the type {kind!r} for {symbol}; {self.ADD} and {self.REMOVE} are allowed"
            )

    def _members(self) -> list[_Span]:
        symbols = self.get_new_companies()[self.SYMBOL_FIELD_NAME].drop_duplicates()
        if symbols.empty:
            raise InputError(f"{self.index_name}: get_new_companies gave no members; an index has some")
        start = pd.Timestamp(self.bench_start_date)
        return [_Span(str(symbol), start, self.DEFAULT_END_DATE) for symbol in symbols]

    def _write(self, name: str, spans: list[_Span]) -> None:
        rows = [(f"{self.INST_PREFIX}{span.symbol}".upper(), span.start, span.end) for span in spans]
        table = self.format_datetime(pd.DataFrame(sorted(set(rows)), columns=self.INSTRUMENTS_COLUMNS))
        text = table[self.INSTRUMENTS_COLUMNS].to_csv(sep="\t", index=False, header=False, lineterminator="\n")
        replace_file(self.instruments_dir / name, lambda file: file.write(text.encode()))
