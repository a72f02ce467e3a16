"""OKX: `parse` reads what it writes, `bars` knows its bar sizes, `rest` asks it."""

from qlib.crypto.venues.okx.rest import OkxSource

__all__ = ["OkxSource"]
