"""`GetData`: Qlib's door to ready-made data.

python scripts/get_data.py sample --target_dir ~/.qlib/qlib_data/sample_data --exists_skip       needs no network
python scripts/get_data.py qlib_data --target_dir ~/.qlib/qlib_data/cn_data --region cn --sha256 9f86...
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from qlib.collect.datasets import (
    BASE_URL,
    BASE_URL_VARIABLE,
    Got,
    address,
    archive_name,
    checked_name,
    get_archive,
    sha256_for,
)
from qlib.collect.download import available, fetch
from qlib.collect.server import shown
from qlib.crypto.planted import read_truth
from qlib.crypto.sample import DEFAULT_SEED, MarketSpec
from qlib.crypto.sample_store import DEFAULT_TARGET, write_sample
from qlib.errors import InputError
from qlib.utils.stored import exists_qlib_data

CN_TARGET = "~/.qlib/qlib_data/cn_data"


class GetData:
    """Commands of `scripts/get_data.py`.

    Whatever is downloaded must have the SHA-256 that `--sha256` gives or that is pinned in `qlib.collect.datasets`;
    `--unpinned` trusts the server instead.

    Parameters
    ----------
    delete_zip_file
        Whether to delete a downloaded archive after unpacking it; by default it stays in the target folder, and a
        later call with its SHA-256 needs no server.
    base_url
        Server, by default the environment's QLIB_DATA_URL, else REMOTE_URL.
    """

    REMOTE_URL = BASE_URL

    def __init__(self, delete_zip_file: bool = False, base_url: str | None = None) -> None:
        self.delete_zip_file = _flag("delete_zip_file", delete_zip_file)
        self.base_url = base_url or os.environ.get(BASE_URL_VARIABLE) or self.REMOTE_URL

    def sample(
        self,
        target_dir: str | Path = DEFAULT_TARGET,
        seed: int = DEFAULT_SEED,
        exists_skip: bool = False,
        null: bool = False,
    ) -> str:
        """Write the synthetic market as a `.bin` store; return what was done as a few sentences.

        Parameters
        ----------
        target_dir
            Folder of the store; must be absent, empty, or an older sample store (which is replaced).
        seed
            Seed of the market: the same seed gives the same bytes.
        exists_skip
            Keep a sample store that is already there.
        null
            Write the null twin: the same shocks with the predictable part switched off.
        """
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise InputError(f"seed must be a whole number from 0, received {seed!r}")
        _flag("exists_skip", exists_skip)
        _flag("null", null)
        spec = MarketSpec(seed=seed, ic=0.0) if null else MarketSpec(seed=seed)
        folder, written = write_sample(target_dir, spec, exists_skip=exists_skip)
        return _report(folder, written)

    def qlib_data(
        self,
        name: str = "qlib_data",
        target_dir: str | Path = CN_TARGET,
        version: str | None = None,
        interval: str = "1d",
        region: str = "cn",
        delete_old: bool = True,
        exists_skip: bool = False,
        sha256: str | None = None,
        unpinned: bool = False,
        yes: bool = False,
    ) -> str:
        """Download a data set of Qlib's server and unpack it; return what was done.

        Parameters
        ----------
        name
            Data set, such as qlib_data or qlib_data_simple.
        target_dir
            Folder of the store.
        version
            Folder of the server, by default v2.
        interval, region
            1d or 1min; cn or us.
        delete_old
            Replace the store that is there (features, calendars, instruments and caches; other files stay).  Asks
            before it does, and refuses where nobody can answer, unless `yes`.
        exists_skip
            Download nothing if the folder holds a whole store.
        sha256, unpinned
            What the archive must hash to, or that what comes is taken.
        yes
            The answer to what `delete_old` asks.
        """
        if _flag("exists_skip", exists_skip) and exists_qlib_data(target_dir):
            return f"already there, kept: {Path(target_dir).expanduser().resolve()}"
        file_name = archive_name(name, region, interval, version)
        return self._get(file_name, target_dir, delete_old, sha256, unpinned, yes, store=True)

    def download_data(
        self,
        file_name: str,
        target_dir: str | Path,
        delete_old: bool = True,
        sha256: str | None = None,
        unpinned: bool = False,
        yes: bool = False,
    ) -> str:
        """Download any zip archive of Qlib's server and unpack it; return what was done.

        Parameters
        ----------
        file_name
            File of the server, such as csv_data_cn.zip or v2/qlib_data_cn_1d_latest.zip (v0 where no folder is given).
        target_dir, delete_old, sha256, unpinned, yes
            As for `qlib_data`.
        """
        return self._get(file_name, target_dir, delete_old, sha256, unpinned, yes, store=False)

    def download(self, url: str, target_path: str | Path, sha256: str | None = None, unpinned: bool = False) -> str:
        """Download one file, going on with what an earlier call left; return what was done.

        Parameters
        ----------
        url
            Address of the file.
        target_path
            Where it is put.
        sha256, unpinned
            As for `qlib_data`.
        """
        wanted = sha256_for(shown(url), sha256, unpinned=_flag("unpinned", unpinned))
        found = fetch(url, target_path, sha256=wanted)
        return f"{shown(url)} is at {Path(target_path).expanduser().resolve()}, SHA-256 {found}"

    def check_dataset(self, file_name: str) -> bool:
        """Tell whether the server has a file (as `download_data` takes it)."""
        return available(self.merge_remote_url(file_name))

    def merge_remote_url(self, file_name: str) -> str:
        """Return the address of a file of the server."""
        return address(file_name, self.base_url)

    def _get(
        self,
        file_name: str,
        target_dir: str | Path,
        delete_old: bool,
        sha256: str | None,
        unpinned: bool,
        yes: bool,
        *,
        store: bool,
    ) -> str:
        for name, value in (("delete_old", delete_old), ("unpinned", unpinned), ("yes", yes)):
            _flag(name, value)
        wanted = sha256_for(checked_name(file_name), None if sha256 is None else str(sha256), unpinned=unpinned)
        got = get_archive(
            file_name,
            target_dir,
            sha256=wanted,
            base_url=self.base_url,
            delete_old=delete_old,
            keep_archive=not self.delete_zip_file,
            store=store,
            may_delete=(lambda folder, names: True) if yes else _ask,
        )
        return _got(got, pinned=wanted is not None)


def _flag(name: str, value: bool) -> bool:
    if not isinstance(value, bool):
        raise InputError(f"{name} must be True or False, received {value!r}")
    return value


def _ask(folder: Path, names: list[str]) -> bool:
    """Ask whoever sits there; InputError where nobody does."""
    if not sys.stdin.isatty():
        raise InputError(
            f"{folder} holds {', '.join(names)}, which delete_old would delete, and nobody is there to be asked: give "
            "--yes, or --delete_old=False to keep what the archive does not replace; nothing was changed"
        )
    answer = input(f"{folder}: delete {', '.join(names)} when the new data are there? (y/N) ")
    return answer.strip().lower() in ("y", "yes")


def _got(got: Got, *, pinned: bool) -> str:
    vouched = "as it must be" if pinned else "which nobody vouches for; next time give it as --sha256"
    return f"{got.name}: {got.files} files unpacked into {got.folder}\n  SHA-256 {got.sha256}, {vouched}"


def _report(folder: Path, written: bool) -> str:
    truth = read_truth(folder)
    spec = truth["spec"]
    kind = "null twin, nothing planted" if truth["null_twin"] else f"planted IC {truth['planted']['ic']}"
    done = "written to" if written else "already there, kept:"
    return "\n".join(
        [
            f"SYNTHETIC market {done} {folder}",
            f"  {spec['coins']} invented coins and MARKET, {spec['days']} days from {spec['start']} "
            f"(60min: the last {spec['hourly_days']} days), seed {spec['seed']}, {kind}",
            "  No price in it is real; README.txt and truth.json in the folder say what was invented and planted.",
            "Next: qrun config/workflow.json",
        ]
    )
