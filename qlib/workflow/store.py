"""Where runs are kept: from the text of a uri to an MLflow client that is ready.

    "mlruns", "file:mlruns", "file:///x/mlruns"   ->  sqlite:////x/mlruns/mlflow.db, artifacts beside it
    the same, holding MLflow's folder store       ->  file:///x/mlruns: opened as it is, with a warning, until migrated
    "sqlite:////x/runs.db"                        ->  as it is, artifacts beside it
    "http://host:5000", "postgresql://..."        ->  as it is; MLflow decides where artifacts go

    Place        what a uri means: the tracking uri, the folder of the artifacts, the database file
    prepare      make the database exist and know that it can be used
    client       the MlflowClient of a place, one per process and place
    migrate      MLflow's folder store into a database beside it (`qlib migrate-runs`)

MLflow refuses its old store of folders unless told otherwise, and building a new database by its migrations takes
seconds. So an empty, migrated database is built once per MLflow version in the user's cache (`~/.cache/qlib-crypto`, or
below $XDG_CACHE_HOME) and copied. Both steps put a finished file in its place: a reader sees none or a whole one,
however many processes start at once.

MLflow is imported here and nowhere else, on first use, with its telemetry and its talk switched off.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import io
import logging
import os
import re
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, unquote

from qlib.errors import InputError, RunError, StoreError
from qlib.log import get_module_logger
from qlib.utils.paths import code_to_fname
from qlib.utils.text import hash_args

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

DATABASE: Final = "mlflow.db"
SQLITE: Final = "sqlite:///"
BUSY_SECONDS: Final = 20.0  # how long a database that another process writes is waited for; MLflow waits as long
CACHE_NAME: Final = "qlib-crypto"
LONGEST_NAME: Final = 200

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")  # two letters or more: "C:" is a drive
_MLFLOW_WORDS: Final = ("databricks", "databricks-uc", "uc")
_REFUSALS: Final = {
    "database is locked": "another process has locked it for {seconds:g} s; wait for it, or end it",
    "database or disk is full": "the disk is full",
    "disk I/O error": "the disk refuses to write, as one that is full or has a quota does",
    "readonly database": "it cannot be written",
    "unable to open database file": "it cannot be opened",
}
_told: set[str] = set()
_engines: dict[str, Any] = {}  # SQLAlchemy's, by tracking uri: its open connections


@dataclass(frozen=True, slots=True)
class Place:
    """Where runs are kept.

    Parameters
    ----------
    uri
        MLflow's tracking uri.
    folder
        Root of the artifacts, `folder/<experiment>/<run>/artifacts`; None when MLflow decides.
    database
        The SQLite file; None for any other kind of store.
    """

    uri: str
    folder: Path | None = None
    database: Path | None = None

    def artifact_location(self, experiment_name: str) -> str | None:
        """Return the uri of the folder that a new experiment keeps its runs in; None when MLflow decides."""
        if self.folder is None:
            return None
        name = code_to_fname(experiment_name)
        if len(name.encode()) > LONGEST_NAME or name.lower().startswith(DATABASE):
            name = f"experiment-{hash_args(experiment_name)}"
        return (self.folder / name).as_uri()


def place_of(uri: str | os.PathLike[str]) -> Place:
    """Return what `uri` means; nothing is written.

    >>> place_of("file:///x/mlruns").uri, place_of("sqlite:////x/r.db").folder, place_of("http://h:1").folder
    ('sqlite:////x/mlruns/mlflow.db', PosixPath('/x'), None)
    """
    text = os.fspath(uri)
    if not text:
        raise InputError("the uri of the runs is empty; write a folder such as 'mlruns', or an MLflow uri")
    if text.startswith("file:"):
        path = unquote(text.removeprefix("file:"))
        return _in_folder(Path(path.removeprefix("//")), text)
    if text.startswith(SQLITE):
        path = text.removeprefix(SQLITE).partition("?")[0]
        if path in ("", ":memory:"):
            raise InputError(f"{text}: a database in memory is gone with the process; write sqlite:///<file>")
        database = Path(path).expanduser().absolute()
        return Place(SQLITE + str(database), database.parent, database)
    if _SCHEME.match(text) or text in _MLFLOW_WORDS:
        return Place(text)
    return _in_folder(Path(text), text)


def _in_folder(folder: Path, text: str) -> Place:
    whole = folder.expanduser().absolute()
    database = whole / DATABASE
    log = get_module_logger("workflow")
    if is_folder_store(whole):
        _tell(
            log.warning,
            f"{whole} holds runs in MLflow's old folder store, which is used as it is: slow, and MLflow will drop "
            f"it. To keep all runs in a database: qlib migrate-runs {whole}",
        )
        return Place(whole.as_uri())
    if text not in _told:
        _told.add(text)
        log.info(f"runs are kept in {SQLITE}{database}")
    return Place(SQLITE + str(database), whole, database)


def _tell(how: Callable[[str], None], message: str) -> None:
    if message not in _told:
        _told.add(message)
        how(message)


def is_folder_store(folder: Path) -> bool:
    """Return whether a folder holds runs of MLflow's folder store that were not migrated."""
    return not (folder / DATABASE).exists() and any(folder.glob("[0-9]*/meta.yaml"))


def prepare(place: Place, *, write: bool = True) -> None:
    """Make the database of `place` exist, and check that it can be used (with `write`: written).

    Raises InputError in one sentence when the folder cannot be written, StoreError when the file is damaged or was
    written by another MLflow than the installed one. Nothing is left behind then.
    """
    if place.database is None or place.folder is None:
        return
    if not place.database.exists():
        _make_folder(place.folder)
        _place_copy(place.database, place.folder)
        if place.uri in _engines:  # its connections lead to a file that somebody removed
            _engines[place.uri].dispose()
    _check_version(place.database)
    if write:
        _check_writable(place)


@functools.cache
def client(uri: str) -> MlflowClient:
    """Return the MlflowClient of a place's tracking uri (prepare the place first)."""
    _import_mlflow()
    from mlflow.tracking import MlflowClient  # noqa: PLC0415  heavy: only who keeps runs needs it

    if uri.startswith("file:"):
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # MLflow's own switch; the warning was ours
    made = MlflowClient(tracking_uri=uri)
    engine = getattr(getattr(getattr(made, "_tracking_client", None), "store", None), "engine", None)
    if engine is not None:
        if not _engines and hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_forget_connections)
        _engines[uri] = engine
    return made


@contextmanager
def told_plainly(place: Place) -> Iterator[None]:
    """Turn what the database says when it cannot be written into one sentence, a RunError."""
    try:
        yield
    except Exception as error:
        text = str(error)
        for words, sentence in _REFUSALS.items():
            if words in text:
                told = sentence.format(seconds=BUSY_SECONDS)
                raise RunError(f"{place.database}: {told}; what was kept before is as it was") from error
        raise


def _forget_connections() -> None:
    """Make a forked process open connections of its own: those to SQLite must not be shared."""
    for engine in _engines.values():
        engine.dispose(close=False)


def _import_mlflow() -> None:
    """Import MLflow quietly: no telemetry, no git subprocess, no lines about migrations."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    import mlflow  # noqa: F401, PLC0415  heavy: only who keeps runs needs it

    for name in ("mlflow", "alembic"):
        logger = logging.getLogger(name)
        if logger.getEffectiveLevel() < logging.WARNING:
            logger.setLevel(logging.WARNING)
    # It logs pages about what `told_plainly` says in one line.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)


# ---------------------------------------------------------------------------------------- the folder of the runs
def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, probe = tempfile.mkstemp(prefix=".probe.", dir=folder)
        os.close(handle)
        Path(probe).unlink()
    except OSError as error:
        raise _not_writable(folder, error) from error


def _not_writable(folder: Path, error: OSError | sqlite3.Error) -> InputError:
    reason = getattr(error, "strerror", None) or str(error)
    return InputError(f"runs cannot be kept in {folder}: {reason}; choose a folder that can be written")


def unwritable_reason(folder: Path) -> str | None:
    """Return why runs could not be kept in `folder`, as far as this can be known without touching anything."""
    for ancestor in (folder, *folder.parents):
        if ancestor.exists():
            if not ancestor.is_dir():
                return f"{ancestor} is a file"
            if not os.access(ancestor, os.W_OK | os.X_OK):
                return f"{ancestor} cannot be written"
            if hasattr(os, "statvfs") and os.statvfs(ancestor).f_flag & getattr(os, "ST_RDONLY", 0):
                return f"{ancestor} lies on a read-only file system"
            return None
    return None


def readable_reason(database: Path) -> str | None:
    """Return why `database` could not be used, as far as this can be known without MLflow; None also without a file."""
    if not database.exists():
        return None
    try:
        _version_in(database)
    except InputError as error:  # damaged, or locked
        return str(error)
    return None if os.access(database, os.W_OK) else f"{database.name} cannot be written"


def _check_writable(place: Place) -> None:
    assert place.database is not None
    if not os.access(place.database, os.W_OK):
        raise _not_writable(place.database.parent, PermissionError(13, f"{place.database.name} cannot be written"))
    try:
        with closing(sqlite3.connect(place.database, timeout=BUSY_SECONDS, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise _locked(place.database) from error
        raise _not_writable(place.database.parent, error) from error


def _locked(database: Path) -> InputError:
    return InputError(f"{database} has been locked by another process for {BUSY_SECONDS:g} s; wait for it, or end it")


def _version_in(database: Path) -> str:
    try:
        with closing(
            sqlite3.connect(f"file:{quote(str(database))}?mode=ro", timeout=BUSY_SECONDS, uri=True)
        ) as connection:
            return str(connection.execute("SELECT version_num FROM alembic_version").fetchone()[0])
    except (sqlite3.DatabaseError, TypeError) as error:
        if "locked" in str(error):
            raise _locked(database) from error
        advice = "move the file away, or choose another folder for the runs"
        message = f"{database} is not a database of MLflow ({error}); {advice}"
        raise StoreError(message) from error


def _check_version(database: Path) -> None:
    found, wanted = _version_in(database), _head_version()
    if found == wanted:
        return
    installed = f"the installed MLflow {mlflow_version()}"
    if found in _known_versions():
        raise StoreError(
            f"{database} was written by an older MLflow (schema {found}, {installed} writes {wanted}): "
            f"copy the file, then run: mlflow db upgrade {SQLITE}{database}"
        )
    raise StoreError(
        f"{database} was written by a newer MLflow (schema {found}, {installed} knows up to {wanted}): "
        "install that newer MLflow, or choose another folder for the runs"
    )


# ------------------------------------------------------------------------------------- from folders to a database
def migrate(folder: str | os.PathLike[str]) -> tuple[int, int]:
    """Put what MLflow's folder store in `folder` holds into a database there; return (experiments, runs).

    The files of the runs stay where they are, and the old folders as they were. The database appears whole, at the end.
    Raises InputError when there is nothing to migrate, or there is a database already.
    """
    root = Path(folder).expanduser().absolute()
    database = root / DATABASE
    if database.exists():
        raise InputError(f"{database} is there already: the runs of {root} were migrated, or new ones have begun")
    if not is_folder_store(root):
        raise InputError(f"{root} holds no runs of MLflow's folder store (folders such as 0/meta.yaml)")
    _import_mlflow()
    try:
        from mlflow.store.fs2db import migrate as migrate_with_mlflow  # noqa: PLC0415  heavy: only who migrates needs it
    except ImportError:
        raise InputError(f"MLflow {mlflow_version()} cannot migrate: pip install --upgrade mlflow-skinny") from None
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    with tempfile.TemporaryDirectory(prefix=".migrate.", dir=root) as beside:
        made, fresh = Path(beside) / "made.db", Path(beside) / DATABASE
        with contextlib.redirect_stdout(io.StringIO()):  # MLflow tells of a file that will not stay there
            migrate_with_mlflow(root, SQLITE + str(made), progress=False)
        # MLflow keeps its connection, and a log beside the file: a copy is one whole file.
        with closing(sqlite3.connect(made)) as source, closing(sqlite3.connect(fresh)) as connection:
            source.backup(connection)
            connection.execute("PRAGMA journal_mode = DELETE")
            experiments, runs = (
                int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])  # noqa: S608  two fixed names
                for table in ("experiments", "runs")
            )
        os.link(fresh, database)  # unlike a rename, this never replaces what another process put there
    return experiments, runs


# ---------------------------------------------------------------------------------------- the migrated template
@functools.cache
def mlflow_version() -> str:
    """Version of the MLflow that is installed; asking does not import it."""
    for distribution in ("mlflow-skinny", "mlflow"):
        try:
            return importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    raise InputError('keeping runs needs MLflow: pip install "mlflow-skinny" sqlalchemy alembic')


def cache_folder() -> Path:
    """Return the user's cache folder of this package (it need not exist)."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home and Path(home).is_absolute() else Path.home() / ".cache") / CACHE_NAME


@functools.cache
def template() -> Path:
    """Return an empty database that MLflow's migrations have been run on, building it if it is not in the cache."""
    folder = cache_folder()
    path = folder / f"mlflow-{mlflow_version()}.db"
    if _is_template(path):
        return path
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _lock(path):
            if not _is_template(path):
                _build(path)
        return path
    except OSError as error:
        get_module_logger("workflow").info(f"{folder} cannot be written ({error.strerror}): each process migrates anew")
        private = Path(_private_folder().name) / path.name
        _build(private)
        return private


def _template_now() -> Path:
    """Return the template, built again where somebody has emptied the cache since."""
    if not template().is_file():
        template.cache_clear()
    return template()


@functools.cache
def _private_folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix=f"{CACHE_NAME}-")  # removed when the process ends


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    import filelock  # noqa: PLC0415  only the first run of a new MLflow version needs it

    with filelock.FileLock(path.with_suffix(".lock")):
        yield


def _is_template(path: Path) -> bool:
    if not path.is_file():
        return False
    try:
        _version_in(path)
    except StoreError:
        return False
    return True


def _build(path: Path) -> None:
    """Let MLflow migrate a new database, and put it at `path` when it is whole."""
    began = time.perf_counter()
    _import_mlflow()
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore  # noqa: PLC0415  heavy

    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(handle)
    try:
        store = SqlAlchemyStore(SQLITE + name, str(path.parent))
        store.engine.dispose()
        getattr(SqlAlchemyStore, "_engine_map", {}).pop(SQLITE + name, None)
        Path(name).replace(path)
    finally:
        for leftover in path.parent.glob(f"{Path(name).name}*"):
            leftover.unlink()
    get_module_logger("workflow").debug(f"{path} built in {time.perf_counter() - began:.1f} s")


def _place_copy(database: Path, folder: Path) -> None:
    """Put a copy of the template at `database`, whole and at once; who comes second keeps what is there."""
    source = _template_now()
    handle, name = tempfile.mkstemp(prefix=f".{database.name}.", suffix=".tmp", dir=folder)
    copy = Path(name)
    try:
        with os.fdopen(handle, "wb") as target, source.open("rb") as original:
            shutil.copyfileobj(original, target)
        now = int(time.time() * 1000)
        with closing(sqlite3.connect(copy)) as connection, connection:
            connection.execute(
                "UPDATE experiments SET artifact_location = ?, creation_time = ?, last_update_time = ? "
                "WHERE experiment_id = 0",
                ((folder / "Default").as_uri(), now, now),
            )
        umask = os.umask(0)
        os.umask(umask)
        copy.chmod(0o666 & ~umask)  # mkstemp makes files that only their owner can read
        try:
            os.link(copy, database)  # unlike a rename, this never replaces what another process put there
        except FileExistsError:
            pass
        except OSError:  # a file system without links
            if not database.exists():
                copy.replace(database)
    finally:
        copy.unlink(missing_ok=True)


@functools.cache
def _head_version() -> str:
    return _version_in(_template_now())


def _known_versions() -> set[str]:
    """Return every schema version that the installed MLflow has a migration for."""
    _import_mlflow()
    from alembic.config import Config  # noqa: PLC0415  only an error message needs it
    from alembic.script import ScriptDirectory  # noqa: PLC0415  only an error message needs it
    from mlflow.store import db_migrations  # noqa: PLC0415  only an error message needs it

    config = Config()
    config.set_main_option("script_location", str(Path(next(iter(db_migrations.__path__)))))
    return {str(script.revision) for script in ScriptDirectory.from_config(config).walk_revisions()}


def batches(entities: list[Any], size: int) -> Iterator[list[Any]]:
    """Cut a list into pieces of at most `size`: what MLflow takes in one call."""
    for start in range(0, len(entities), size):
        yield entities[start : start + size]
