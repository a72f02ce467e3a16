"""Providers: where a formula meets the files.

facade.py      Provider, what `D` is: calendar, instruments, list_instruments, features, panel
features.py    a query: which rows to read, what to compute, which rows to keep
absent.py      what a query lacks, and what a person is told about it
store.py       the files of a store as arrays, with calendars and spans remembered
views.py       Qlib's provider classes (CalendarProvider, ...) as views on the Provider
"""

from qlib.data.active import active_provider
from qlib.data.provider.facade import Provider
from qlib.data.provider.store import Store

__all__ = ["Provider", "Store", "active_provider"]
