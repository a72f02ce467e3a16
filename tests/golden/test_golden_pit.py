"""Point-in-time formulas: the contract's ten through the files, and the 78 checks of the golden market."""

from __future__ import annotations

import functools
import io
import json
import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import shared
from warm import run_warm

from qlib.config import build_settings
from qlib.data.provider import Provider
from qlib.data.storage.pit import pit_path, write_pit
from qlib.data.storage.writer import write_store
from qlib.errors import ExpressionError

ROOT = Path(__file__).resolve().parents[2]

# Checks without a quirk tag that the default fails on purpose: Qlib loads N - 1 periods for Delta(x, N), so that it is
# NaN for ever (trap 10).
UNTAGGED = {"pit.late:P(Delta($$yoyni_q,1))", "pit.early:P(Delta($$yoyni_q,1))"}
TAGS = {"window_of_periods"}


@functools.cache
def golden() -> dict:
    return json.loads(shared("contract/golden/expressions.json").read_text())


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """The contract's source of records, written by us."""
    root = tmp_path_factory.mktemp("pit") / "s"
    days = pd.DatetimeIndex(golden()["calendar"])
    write_store({"AAA": pd.DataFrame({"close": np.arange(float(len(days)))}, index=days)}, root, "day")
    source = pd.read_csv(io.StringIO(golden()["pit_source"])).sort_values("date", kind="stable")
    for field, records in source.groupby("field"):
        write_pit(pit_path(root, "aaa", f"{field}_q"), records[["date", "period", "value"]].itertuples(index=False))
    return root


@pytest.mark.parametrize("compat", [None, "qlib"])
def test_the_contracts_formulas_have_qlibs_values(root, compat):
    provider = Provider(build_settings(provider_uri=root, compat=compat))
    days = golden()["calendar"]
    assert len(golden()["pit"]) == 10
    for case in golden()["pit"]:
        low, high = case["query"]
        found = provider.features(["AAA"], [case["expr"]], days[low], days[high])
        wanted = np.array([np.nan if value is None else value for value in case["values"]], dtype=float)
        np.testing.assert_allclose(found.iloc[:, 0].to_numpy(), wanted, rtol=1e-5, atol=2e-6, err_msg=case["expr"])


@pytest.mark.parametrize("compat", [None, "qlib"])
def test_what_qlib_refuses_is_refused(root, compat):
    provider = Provider(build_settings(provider_uri=root, compat=compat))
    refused = [case["expr"] for case in golden()["errors"] if "$$" in case["expr"]]
    assert len(refused) == 3
    for text in refused:
        with pytest.raises(ExpressionError):
            provider.features(["AAA"], [text])


def failures(folder: Path, init: dict) -> dict[str, str | None]:
    """Return the failed checks with their quirk tags."""
    checker = shared("goldens/check_goldens.py")
    result = folder / "result.json"
    command = [sys.executable, str(checker), "--set", str(checker.parent / "public"), "--select", "pit"]
    command += ["--init", json.dumps(init), "--json", str(result)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = run_warm(command, cwd=folder, env=environment)
    assert result.exists(), done.stderr[-2000:]
    checks = json.loads(result.read_text())["results"]
    assert len(checks) == 78
    return {check["check"]: check["quirk"] for check in checks if not check["ok"]}


def test_compat_passes_every_check_quirks_included(tmp_path):
    assert failures(tmp_path, {"compat": "qlib"}) == {}


def test_the_default_differs_only_where_windows_of_periods_are_cured(tmp_path):
    failed = failures(tmp_path, {})
    assert {check for check, quirk in failed.items() if quirk is None} == UNTAGGED
    assert {quirk for quirk in failed.values() if quirk} == TAGS
