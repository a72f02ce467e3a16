"""The sixteen back-tests of contract/golden/backtest.json: Qlib's numbers with compat="qlib", right ones without."""

from __future__ import annotations

import json
import logging
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import shared

from qlib.analysis.risk import periods_per_year, risk_analysis
from qlib.backtest import backtest
from qlib.backtest.executor import SimulatorExecutor
from qlib.config import build_settings
from qlib.contrib.strategy import TopkDropoutStrategy
from qlib.data.provider import Provider
from qlib.data.storage.writer import write_store

EXCHANGE = {
    "freq": "day",
    "limit_threshold": 0.095,
    "deal_price": "close",
    "open_cost": 0.0005,
    "close_cost": 0.0015,
    "min_cost": 5,
}
# where our exchange differs on purpose from Qlib's, whatever the strategy: a lot never rounds up
DIFFERENT = {"n_drop0", "unit1", "vol_limit"}
NAMES = [
    "base", "topk2_ndrop2", "hold_thresh3", "only_tradable", "no_forbid", "limit002", "unit1", "unit_none_free",
    "limit001", "limit001_no_forbid", "risk_degree", "impact", "open_buy_close_sell", "vol_limit", "n_drop0",
    "init_pos",
]  # fmt: skip


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    return json.loads(shared("contract/golden/backtest.json").read_text())


@pytest.fixture(scope="module")
def store(golden, tmp_path_factory) -> str:
    days = pd.DatetimeIndex(golden["calendar"])
    frames = {name: pd.DataFrame(bars, index=days, dtype=float) for name, bars in golden["inputs"].items()}
    return str(write_store(frames, tmp_path_factory.mktemp("golden") / "store", "day"))


class QlibsFlow(TopkDropoutStrategy):
    """Decides as Qlib does, at an exchange that does not."""

    compat = "qlib"  # type: ignore[assignment]


def run(golden: dict[str, Any], store: str, name: str, compat: str | None, kind: Any = TopkDropoutStrategy):
    case = next(case for case in golden["cases"] if case["name"] == name)
    scores = pd.DataFrame(golden["scores"], index=pd.DatetimeIndex(golden["calendar"], name="datetime")).stack()
    scores.index.names = ["datetime", "instrument"]
    overrides = case["overrides"]
    provider = Provider(build_settings(provider_uri=store, region="cn", compat=compat, logging_level=logging.CRITICAL))
    portfolio, indicators = backtest(
        "2020-01-03",
        "2020-01-20",
        kind(**{"topk": 3, "n_drop": 1, **overrides.get("st", {})}, signal=scores),
        SimulatorExecutor("day", generate_portfolio_metrics=True),
        benchmark="S0",
        account=overrides.get("account", 100000),
        exchange_kwargs={**EXCHANGE, **overrides.get("ex", {}), "provider": provider},
    )
    return case, *portfolio["1day"], indicators["1day"][0]


def close(got: Any, want: list[float | None], **tolerance: float) -> None:
    expected = np.array([np.nan if value is None else value for value in want], dtype=float)
    np.testing.assert_allclose(np.asarray(got, dtype=float), expected, **{"rtol": 1e-8, "atol": 1e-9, **tolerance})


def check(case: dict[str, Any], report, positions, indicators, *, first_return: bool = True) -> None:
    assert [str(day.date()) for day in report.index] == case["dates"]
    assert list(report.columns) == list(case["report"])
    for column, want in case["report"].items():
        skip = 0 if first_return or column not in ("return", "turnover", "cost") else 1
        close(report[column].iloc[skip:], want[skip:], atol=5e-7 if column == "bench" else 1e-9)
    for day, want in zip(report.index, case["positions"], strict=True):
        held = positions[day].position
        assert set(held) == set(want)
        for key, value in want.items():
            if isinstance(value, dict):
                assert set(held[key]) == set(value)
                close([held[key][field] for field in value], list(value.values()))
            else:
                close([held[key]], [value])
    for column, want in case["indicators"].items():
        close(indicators[column], want)


@pytest.mark.parametrize("name", NAMES)
def test_compat_gives_qlibs_numbers(golden, store, name):
    case, report, positions, indicators = run(golden, store, name, "qlib")
    check(case, report, positions, indicators)
    year = periods_per_year("day", None)
    excess = report["return"] - report["bench"] - report["cost"]
    for key, series, mode in (
        ("risk_sum_excess_with_cost", excess, "sum"),
        ("risk_product_return", report["return"], "product"),
    ):
        figures = risk_analysis(series, year, mode, compat="qlib")["risk"]
        close(figures[list(case[key])], list(case[key].values()), rtol=1e-4, atol=3e-6)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in DIFFERENT])
def test_the_default_exchange_gives_the_same_for_qlibs_orders(golden, store, name):
    case, report, positions, indicators = run(golden, store, name, None, QlibsFlow)
    check(case, report, positions, indicators, first_return=name != "init_pos")


@pytest.mark.parametrize("name", [name for name in NAMES if name not in {*DIFFERENT, "init_pos"}])
def test_the_default_begins_as_qlib_and_then_keeps_to_its_names_and_its_money(golden, store, name):
    """The first portfolio is Qlib's; never more than k names; the free cash stays near what the risk degree says."""
    case, report, positions, _ = run(golden, store, name, None)
    close(report["value"].iloc[:1], case["report"]["value"][:1])
    arguments = {"topk": 3, "risk_degree": 0.95, **case["overrides"].get("st", {})}
    assert all(len(positions[day].get_stock_list()) <= arguments["topk"] for day in report.index)
    gross = report["value"] / report["account"]
    assert (gross < arguments["risk_degree"] + 0.03).all()  # holdings may outgrow it a little


def test_every_case_of_the_file_is_run(golden):
    assert [case["name"] for case in golden["cases"]] == NAMES


def test_with_n_drop_0_nothing_is_ever_sold(golden, store):
    _, report, positions, indicators = run(golden, store, "n_drop0", None)
    bought = [set(positions[day].get_stock_list()) for day in report.index]
    assert all(before <= after for before, after in zip(bought, bought[1:], strict=False))
    assert len(bought[-1]) == 3


def test_the_first_return_counts_the_initial_holdings(golden, store):
    _, report, _, _ = run(golden, store, "init_pos", None)
    at_start = 50000 + 200 * 20.0 + 400 * 40.0
    earned = report["account"].iloc[0] - at_start + report["total_cost"].iloc[0]
    assert report["return"].iloc[0] == pytest.approx(earned / at_start, rel=1e-12)
    assert abs(report["return"].iloc[0]) < 0.1


@pytest.mark.parametrize("name", ["unit1", "vol_limit"])
def test_lots_of_one_share_are_never_rounded_up(golden, store, name):
    _, report, positions, _ = run(golden, store, name, None)
    for day in report.index:
        for stock, amount in positions[day].get_stock_amount_dict().items():
            real = amount * golden["inputs"][stock]["factor"][0]
            assert real == pytest.approx(round(real), abs=1e-6)
        assert positions[day].get_cash() >= 0
