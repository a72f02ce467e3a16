"""By default the goldens of the backtest differ for reasons that are written down, and for no other."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import backtest_rows
import numpy as np
import pytest
from conftest import shared
from proof import cases

ROWS_OF: dict[str, list[str]] = json.loads(backtest_rows.NEEDED.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def goldens() -> Iterator[backtest_rows.Goldens]:
    """The cases; they change the working folder, the environment and numpy's generator, which are put back."""
    shared("goldens/public")
    folder, environment, generator = Path.cwd(), dict(os.environ), np.random.get_state()
    yield backtest_rows.Goldens()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    np.random.set_state(generator)


def test_every_place_that_asks_for_qlibs_numbers_belongs_to_a_row():
    rooms = set(backtest_rows.sites_of())
    of_rows = {site for sites, _ in backtest_rows.ROWS.values() for site in sites}
    assert rooms - of_rows == set()
    assert {site for site in of_rows - rooms if not site[0].startswith("data/")} == set()


def test_every_row_stands_in_the_list_of_deviations():
    page = (backtest_rows.PACKAGE.parent / "docs" / "deviations.md").read_text(encoding="utf-8")
    for row, (_, cells) in backtest_rows.ROWS.items():
        for cell in cells:
            assert f"\n| {cell} |" in page, row


def test_a_case_is_qlibs_once_its_own_rows_are_put_back(goldens):
    differing = {case: goldens.differing(ROWS_OF.get(case, ()), [case]) for case in goldens.cases}
    assert {case: checks for case, checks in differing.items() if checks} == {}


def test_no_row_of_a_case_is_there_for_nothing(goldens):
    few = sorted(ROWS_OF)
    for case in cases(few[:: len(few) // 8], few):
        for row in ROWS_OF[case]:
            assert goldens.differing(set(ROWS_OF[case]) - {row}, [case]), (case, row)


@pytest.mark.parametrize("case", cases(["backtest.weights_open", "nested.minute_file_orders_sbb"], sorted(ROWS_OF)))
def test_with_no_row_put_back_a_case_is_the_default_one(goldens, case):
    assert goldens.run(None, [case]) == goldens.run(backtest_rows.Switched(()), [case])
