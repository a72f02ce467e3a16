"""Caches of what `ExpressionD.expression` answers: `DiskExpressionCache`, and what one of your own fills in."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from qlib.data.provider.cache_base import BaseProviderCache, behind, made, plain
from qlib.data.provider.facade import Provider
from qlib.data.provider.frame_cache import fingerprint
from qlib.data.storage.binary import read_bin, write_bin
from qlib.errors import StoreError
from qlib.utils.locks import LockTimeout, locked
from qlib.utils.paths import instrument_folder, replace_file
from qlib.utils.text import hash_args


class ExpressionCache(BaseProviderCache):
    """Caches what `ExpressionD.expression` answers; a subclass says how in `_expression`."""

    def expression(self, instrument: str, field: Any, start_time: Any, end_time: Any, freq: str) -> pd.Series:
        """Return a formula over one instrument."""
        try:
            return self._expression(instrument, field, start_time, end_time, freq)
        except NotImplementedError:
            return self.provider.expression(instrument, field, start_time, end_time, freq)

    def _uri(self, instrument: str, field: Any, start_time: Any, end_time: Any, freq: str) -> str:
        raise NotImplementedError(f"{type(self).__name__} has no _uri")

    def _expression(self, instrument: str, field: Any, start_time: Any, end_time: Any, freq: str) -> pd.Series:
        raise NotImplementedError(f"{type(self).__name__} has no _expression")

    def update(self, cache_uri: str | Path, freq: str = "day") -> int:
        """Bring a kept series up to date; 0: it is now, 1: it was, 2: it was damaged and is removed."""
        raise NotImplementedError(f"{type(self).__name__} has no update")


_META: Final = ".json"


class DiskExpressionCache(ExpressionCache):
    """Keeps series beside the data, in `<store>/<features_cache_dir_name>/<instrument>/`.

    A file is a `.bin` of the store's own format over the whole calendar; `<file>.json` beside it says of what.  By
    Qlib's rules a value depends on where the query began, so with compat="qlib" nothing is kept, nor is a plain
    `$field`, or a series with rows left out.

    D.features does not read these files: computing a formula for one instrument takes less than looking up whether its
    file is good (docs/component/caches.md has the figures). They are for programs that share series as `.bin` files.
    """

    def __init__(self, provider: Any, **kwargs: Any) -> None:
        super().__init__(provider)
        self.r = None  # Qlib's connection to redis
        self.remote = kwargs.get("remote", False)

    def get_cache_dir(self, freq: str | None = None) -> Path:  # type: ignore[override]
        """Return the folder for a frequency; it is made if need be."""
        return made(self._folder(freq))

    def _folder(self, freq: str | None) -> Path:
        settings = self._settings()
        stored = None if freq is None else behind(self).store.stored_freq(freq)
        return settings.dpm.get_data_uri(stored) / settings["features_cache_dir_name"]

    def _uri(self, instrument: str, field: Any, start_time: Any, end_time: Any, freq: str) -> str:  # noqa: ARG002
        return hash_args(str(instrument).lower(), plain(field), freq)

    def _expression(
        self, instrument: str, field: Any, start_time: Any = None, end_time: Any = None, freq: str = "day"
    ) -> pd.Series:
        provider = behind(self)
        mark = None if plain(field).lstrip("$").isidentifier() else _mark(provider, instrument, field, freq)
        if mark is None:
            return self.provider.expression(instrument, field, start_time, end_time, freq)
        path = self._folder(freq) / instrument_folder(instrument) / self._uri(instrument, field, None, None, freq)
        calendar = provider.locate(provider.store.stored_freq(freq))
        low, high = calendar.locate(start_time, end_time)
        if _kept(path).get("fingerprint") == mark:
            try:
                first, values = read_bin(path, low, high, len(calendar))
            except (FileNotFoundError, StoreError) as error:
                self.logger.warning(f"{error}; it is written anew")
            else:
                if len(values):
                    name = str(self.provider.get_expression_instance(field))
                    return pd.Series(np.array(values), pd.RangeIndex(first, first + len(values)), name=name)
        whole = self.provider.expression(instrument, field, None, None, freq)
        if not (len(whole) and isinstance(whole.index, pd.RangeIndex) and whole.dtype == np.float32):
            return self.provider.expression(instrument, field, start_time, end_time, freq)
        try:
            self._keep(whole, path, instrument, field, freq, str(calendar.index[-1]), mark)
        except (OSError, LockTimeout) as error:
            self.logger.warning(f"the answer is right, but was not kept in {path}: {error}")
        inside = whole.loc[low:high]
        return inside if len(inside) else self.provider.expression(instrument, field, start_time, end_time, freq)

    def gen_expression_cache(
        self,
        expression_data: pd.Series,
        cache_path: str | Path,
        instrument: str,
        field: Any,
        freq: str,
        last_update: Any,
    ) -> None:
        """Keep a series (index: calendar positions, without gaps) as the file `cache_path`, with what it is."""
        mark = _mark(behind(self), instrument, field, freq)
        self._keep(expression_data, Path(cache_path), instrument, field, freq, str(last_update), mark)

    def _keep(
        self, series: pd.Series, path: Path, instrument: str, field: Any, freq: str, last_update: str, mark: str | None
    ) -> None:
        about = {
            "info": {"instrument": instrument, "field": str(field), "freq": freq, "last_update": last_update},
            "meta": {"last_visit": time.time(), "visits": 1},
            "fingerprint": mark,
        }
        with locked(path.parent / ".lock", purpose=f"writing {path.name}"):
            path.with_name(path.name + _META).unlink(missing_ok=True)  # until both are new there is none
            write_bin(path, int(series.index[0]), series.to_numpy(np.float32))
            replace_file(path.with_name(path.name + _META), lambda file: file.write(json.dumps(about).encode()))

    def update(self, sid: str, cache_uri: str | Path, freq: str = "day") -> int:  # type: ignore[override]
        """Bring the kept series of an instrument up to date; 0: it is now, 1: it was, 2: damaged and removed."""
        path = self._folder(freq) / instrument_folder(sid) / Path(cache_uri).name
        about = _kept(path)
        try:
            field, mark = about["info"]["field"], about["fingerprint"]
            read_bin(path)
        except (KeyError, TypeError, FileNotFoundError, StoreError):
            path.unlink(missing_ok=True)
            path.with_name(path.name + _META).unlink(missing_ok=True)
            return 2
        if mark is not None and mark == _mark(behind(self), sid, field, freq):
            return 1
        path.with_name(path.name + _META).unlink(missing_ok=True)
        self._expression(sid, field, None, None, freq)
        return 0


def _mark(provider: Provider, instrument: str, field: Any, freq: str) -> str | None:
    query = provider.query([instrument], [field], None, None, freq)
    if query is None or query.plan.compat is not None:
        return None
    return fingerprint(provider, query)


def _kept(path: Path) -> dict[str, Any]:
    """Return what stands beside a series; nothing where it is not ours."""
    try:
        about = json.loads(path.with_name(path.name + _META).read_bytes())
    except (OSError, ValueError):
        return {}
    return about if isinstance(about, dict) else {}
