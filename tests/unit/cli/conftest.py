"""What tests of `qrun` stand on: a market of their own, a working directory of their own."""

from __future__ import annotations

import logging
import sys

import pytest
from qrun_job import small_config, small_market

from qlib import session


@pytest.fixture(scope="module")
def market(tmp_path_factory):
    return small_market(tmp_path_factory.mktemp("market"))


@pytest.fixture
def config(market):
    return small_config(market)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory of its own; afterwards no session, no running experiment, the log as it was."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    log = logging.getLogger("qlib")
    before = (log.level, log.propagate, list(log.handlers), list(log.filters))
    yield tmp_path
    session.close()
    log.level, log.propagate, log.handlers[:], log.filters[:] = before
