"""Qlib's client of a data server, and what takes its place.

A Qlib server computes for its clients and sends pickles. Here a query takes less than the way to a server: mount the
folder of the store and name it in `qlib.init(provider_uri=...)`, or spread a large query over machines with
`qlib.data.distributed.distributed_features`. Every class of the client mode says so when it is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

from qlib.data.provider.facade import Provider
from qlib.data.provider.views import CalendarProvider, DatasetProvider, InstrumentProvider
from qlib.errors import ConfigError


def _refused(who: object) -> NoReturn:
    raise ConfigError(
        f"{type(who).__name__}: there is no data server to be a client of; mount the folder of the store and name it "
        "in qlib.init(provider_uri=...), or compute on several machines with qlib.data.distributed.distributed_features"
    )


class Client:
    """A connection to a Qlib server; making one raises ConfigError, which says what to use instead."""

    def __init__(self, host: str, port: int) -> None:
        self.server_host, self.server_port = host, port
        _refused(self)

    def connect_server(self) -> None:
        _refused(self)

    def disconnect(self) -> None:
        _refused(self)

    def send_request(self, request_type: str, request_content: Any, msg_queue: Any, msg_proc_func: Any = None) -> None:
        _refused(self)


class _OfServer:
    """What the providers of the client mode have in common."""

    def __init__(self) -> None:
        _refused(self)

    def set_conn(self, conn: Any) -> None:
        _refused(self)


class ClientCalendarProvider(_OfServer, CalendarProvider):
    """Calendars of a server; making one raises ConfigError, which says what to use instead."""

    def calendar(
        self, start_time: Any = None, end_time: Any = None, freq: str = "day", future: bool = False
    ) -> NoReturn:
        _refused(self)


class ClientInstrumentProvider(_OfServer, InstrumentProvider):
    """Universes of a server; making one raises ConfigError, which says what to use instead."""

    def list_instruments(
        self, instruments: Any, start_time: Any = None, end_time: Any = None, freq: str = "day", as_list: bool = False
    ) -> NoReturn:
        _refused(self)


class ClientDatasetProvider(_OfServer, DatasetProvider):
    """Frames of a server; making one raises ConfigError, which says what to use instead."""

    def dataset(  # type: ignore[override]  # Qlib's order of arguments
        self,
        instruments: Any,
        fields: Sequence[Any],
        start_time: Any = None,
        end_time: Any = None,
        freq: str = "day",
        disk_cache: int = 0,
        return_uri: bool = False,
        inst_processors: Sequence[Any] = [],
    ) -> NoReturn:
        _refused(self)


class ClientProvider(Provider):
    """`D` of a server; making one raises ConfigError, which says what to use instead."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ARG002  settings, as every Provider
        _refused(self)
