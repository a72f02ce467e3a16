"""Fixtures every test may use."""

from __future__ import annotations

import gc
import logging
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from qlib import session

SHARED = Path(__file__).resolve().parents[2] / "shared"


def shared(path: str) -> Path:
    """Path below ../shared; skip the test, saying so, where the reference material is absent."""
    found = SHARED / path
    if not found.exists():
        pytest.skip(f"reference material ../shared/{path} is not here")
    return found


@pytest.fixture(scope="session")
def golden_stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the golden `.bin` stores `day`, `h60`, `m1` (read only by convention)."""
    folder = tmp_path_factory.mktemp("stores")
    with tarfile.open(shared("goldens/public/stores.tar.gz")) as archive:
        archive.extractall(folder, filter="data")
    return folder / "stores"


@pytest.fixture(autouse=True, scope="module")
def no_session_left_behind() -> Iterator[None]:
    """Close the session a module of tests opened, and put its log back: the order of modules decides nothing."""
    session.close()
    log = logging.getLogger("qlib")
    before = log.level, list(log.handlers), log.propagate, list(log.filters)
    yield
    session.close()
    log.level, log.handlers, log.propagate, log.filters = before
    log.manager._clear_cache()  # noqa: SLF001  loggers remember whether a level is enabled


def pytest_collection_finish() -> None:
    """Leave what lives as long as the process, thousands of tests and their modules, out of every later collection."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def pytest_unconfigure() -> None:
    gc.unfreeze()


# Machines that run tests are shared and slow at times: a slow example is no fault.
# CI repeats the same examples, so that its verdict is about the change; a run at home draws new ones.
EXAMPLES = int(os.environ.get("QLIB_EXAMPLES", "100"))  # `make test-lowest` asks about packages, and draws a few
settings.register_profile("here", deadline=None, derandomize=bool(os.environ.get("CI")), max_examples=EXAMPLES)
settings.load_profile("here")
