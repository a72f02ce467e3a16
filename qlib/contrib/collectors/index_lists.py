"""Members of stock indices -> market files, from two lists that one names.

    members    a symbol a line (what follows a comma is ignored): who is in the index today
    changes    a table: symbol,type,date; type is add (date: first day as a member) or remove (date: last day)

    get_instruments("store", "SP500", market_index="us_index", members="sp500.txt", changes="sp500_changes.csv")

Each is a file or an address, given as an argument or by QLIB_INDEX_SP500_MEMBERS and QLIB_INDEX_SP500_CHANGES. Qlib
reads announcements and web pages of the exchanges; those readers are what is missing here. Names of indices, arguments
and methods are Qlib's.
"""

from __future__ import annotations

import io
import os
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Final

import pandas as pd

from qlib.collect.collector_tools import symbols_from, text_of
from qlib.collect.index_files import IndexBase
from qlib.errors import InputError, MissingDataError, did_you_mean

INDICES: Final = {
    "cn_index": ("CSI100", "CSI300", "CSI500"),
    "us_index": ("SP500", "NASDAQ100", "DJIA", "SP400"),
    "br_index": ("IBOVESPA",),
}
METHODS: Final = ("parse_instruments", "save_new_companies")


def variable(index_name: str, what: str) -> str:
    """Return the environment variable that names a list.

    >>> variable("sp500", "changes")
    'QLIB_INDEX_SP500_CHANGES'
    """
    return f"QLIB_INDEX_{index_name.upper()}_{what.upper()}"


class ListedIndex(IndexBase):
    """An index whose members and changes are lists.

    Parameters
    ----------
    members, changes
        Files or addresses; None means what the environment variables name.
    start
        When the index begins for us: from then on is in it who is in it today and never came. None: the day of the
        first change, before which nothing is known.
    """

    NEEDED: ClassVar[tuple[str, ...]] = (
        IndexBase.SYMBOL_FIELD_NAME,
        IndexBase.CHANGE_TYPE_FIELD,
        IndexBase.DATE_FIELD_NAME,
    )

    def __init__(
        self, index_name: str, qlib_dir: str | Path | None = None, freq: str = "day", request_retry: int = 5,
        retry_sleep: float = 3, members: str | None = None, changes: str | None = None, start: Any = None,
    ) -> None:  # fmt: skip
        self._members_of, self._changes_of, self._start = members, changes, start
        super().__init__(index_name, qlib_dir, freq, request_retry, retry_sleep)

    @property
    def bench_start_date(self) -> pd.Timestamp:
        """Return when the index begins for us."""
        return pd.Timestamp(self._start if self._start is not None else self._changes["date"].min())

    @property
    def calendar_list(self) -> list[pd.Timestamp]:
        """Return no dates: the changes name first and last days themselves."""
        return []

    def get_new_companies(self) -> pd.DataFrame:
        """Return the members of today."""
        return pd.DataFrame({self.SYMBOL_FIELD_NAME: symbols_from(self._place("members", self._members_of))})

    def get_changes(self) -> pd.DataFrame:
        """Return the changes."""
        return self._changes

    def format_datetime(self, inst_df: pd.DataFrame) -> pd.DataFrame:
        """Return dates for days; for minutes the first and the last one of a day."""
        day = self.freq == "day"
        form = {self.START_DATE_FIELD: " 00:00:00", self.END_DATE_FIELD: " 23:59:00"}
        for name, time in form.items():
            inst_df[name] = pd.to_datetime(inst_df[name]).dt.strftime("%Y-%m-%d" + ("" if day else time))
        return inst_df

    @cached_property
    def _changes(self) -> pd.DataFrame:
        place = self._place("changes", self._changes_of)
        table = pd.read_csv(io.StringIO(text_of(place)), dtype=str, keep_default_na=False)
        for name in self.NEEDED:
            if name not in table.columns:
                raise InputError(
                    f"changes: {place} has no column {name!r}; its columns are {', '.join(table.columns)}"
                    f"{did_you_mean(name, table.columns)}"
                )
        if table.empty:
            raise InputError(f"changes: {place} holds none; at least one is needed, or the index has no history")
        try:
            table["date"] = pd.to_datetime(table["date"], format="ISO8601")
        except ValueError as error:
            raise InputError(f"changes: {place}: {str(error).splitlines()[0]}; dates such as 2024-01-31") from None
        return table

    def _place(self, what: str, given: str | None) -> str:
        name = variable(self.index_name, what)
        found = given if given is not None else os.environ.get(name)
        if not found:
            raise MissingDataError(
                f"{what}: no list of {self.index_name} is known; give a file or an address with --{what}, or set {name}"
            )
        return found


def get_instruments(
    qlib_dir: str, index_name: str, method: str = "parse_instruments", freq: str = "day", request_retry: int = 3,
    retry_sleep: float = 3, market_index: str = "cn_index", members: str | None = None, changes: str | None = None,
    start: str | None = None,
) -> None:  # fmt: skip
    """Write the market file of an index.

    Parameters
    ----------
    qlib_dir
        The store.
    index_name, market_index
        CSI100, CSI300, CSI500 of cn_index; SP500, NASDAQ100, DJIA, SP400 of us_index; IBOVESPA of br_index.
    method
        parse_instruments: who was a member when; save_new_companies: who is one today.
    freq
        "day" or "1min".
    members, changes, start
        Those of `ListedIndex`.
    """
    if market_index not in INDICES:
        raise InputError(
            f"market_index: received {market_index!r}; {', '.join(INDICES)} are allowed"
            f"{did_you_mean(market_index, INDICES)}"
        )
    name, known = str(index_name).upper(), INDICES[market_index]
    if name not in known:
        raise InputError(
            f"index_name: received {index_name!r}; {market_index} has {', '.join(known)}{did_you_mean(name, known)}"
        )
    if method not in METHODS:
        raise InputError(
            f"method: received {method!r}; {', '.join(METHODS)} are allowed{did_you_mean(method, METHODS)}"
        )
    index = ListedIndex(name, qlib_dir, freq, request_retry, retry_sleep, members, changes, start)
    if method == "parse_instruments":
        index.parse_instruments()
    else:
        index.save_new_companies()
