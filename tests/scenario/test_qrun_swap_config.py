"""config/workflow_okx_swap_1h.json runs: perpetuals by the hour, long and short, on the sample market and on real bars
of OKX with their mark prices and funding. An ordinary test run takes the real ones alone where they are there."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from proof import cases
from real_stores import REAL, okx_perpetuals, table

import qlib
from qlib import session
from qlib.backtest import backtest
from qlib.cli.run import main
from qlib.crypto.sample import MarketSpec
from qlib.crypto.sample_store import write_sample
from qlib.data import D
from qlib.utils.nested import fill_placeholder
from qlib.utils.objects import init_instance_by_config
from qlib.workflow import QlibRecorder
from qlib.workflow.expm import MLflowExpManager

CONFIG = Path(__file__).resolve().parents[2] / "config" / "workflow_okx_swap_1h.json"
HOUR = pd.Timedelta(hours=1)
QUICK = {"num_boost_round": 5, "num_leaves": 4, "min_data_in_leaf": 20, "max_bin": 15}  # the road, not the skill


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    log, before_dir = logging.getLogger("qlib"), Path.cwd()
    before = (log.level, log.propagate, list(log.handlers), list(log.filters))
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before_dir)
        session.close()
        log.level, log.propagate, log.handlers[:], log.filters[:] = before


class Run:
    """A finished run of the configuration, and what it left."""

    def __init__(self, folder: Path, config: dict) -> None:
        self.folder, self.config = folder, config
        file = folder / "config.json"
        file.write_text(json.dumps(config))
        assert main([str(file)]) == 0
        runs = QlibRecorder(MLflowExpManager(str(folder / "mlruns"), "E"))
        (self.recorder,) = runs.list_recorders(experiment_name=config["experiment_name"]).values()
        self.pred = self.recorder.load_object("pred.pkl")
        self.trades = pd.read_parquet(next((folder / "mlruns").rglob("trades*.parquet")))
        self.page = next((folder / "mlruns").rglob("report.html"))
        self.numbers = json.loads(next((folder / "mlruns").rglob("report.json")).read_text())

    def portfolio(self, name: str):
        return self.recorder.load_object(f"portfolio_analysis/{name}_normal_60min.pkl")

    def traded_with(self, pred: pd.DataFrame) -> pd.DataFrame:
        """The fills of the configuration's back-test with other scores."""
        qlib.init(**self.config["qlib_init"], logging_level=40)
        told = self.config["task"]["record"][-1]["kwargs"]["config"]
        executor = init_instance_by_config(told["executor"])
        backtest(strategy=fill_placeholder(told["strategy"], {"<PRED>": pred}), executor=executor, **told["backtest"])
        return executor.trade_account.trades.frame()


def shipped(store: Path) -> dict:
    config = json.loads(CONFIG.read_text())
    config["qlib_init"]["provider_uri"] = str(store)
    config["task"]["model"]["kwargs"]["model"]["kwargs"] |= QUICK
    return config


@pytest.fixture(scope="module")
def sample(tmp_path_factory) -> Iterator[Run]:
    """The sample market with fewer coins, so that it is quick; the dates are those of the file."""
    folder = tmp_path_factory.mktemp("sample")
    with working_in(folder):
        store, _ = write_sample(folder / "store", MarketSpec(coins=cases(9, 50), late=2, delisted=1))
        config = shipped(store)
        config["task"]["record"][-1]["kwargs"]["config"]["strategy"]["kwargs"]["topk"] = cases(3, 8)
        yield Run(folder, config)


@pytest.fixture(scope="module")
def real(tmp_path_factory) -> Iterator[Run]:
    """A month of OKX: the dates and the leader are others, and the mark price is the venue's."""
    if not REAL.is_dir():
        pytest.skip("../shared/realdata is absent: no real bars to trade on")
    folder = tmp_path_factory.mktemp("real")
    with working_in(folder):
        config = shipped(okx_perpetuals(folder, cases(10, 39)))
        task = config["task"]
        task["model"]["kwargs"] |= {"step": "4d", "window": "12d", "valid": "2d"}
        data = task["dataset"]["kwargs"]
        data["handler"]["kwargs"] |= {
            "start_time": "2026-05-27", "end_time": "2026-06-25 18:00:00", "leaders": {"BTC": "BTC-USDT-SWAP"},
            "fit_start_time": "2026-05-30", "fit_end_time": "2026-06-07 21:00:00",
        }  # fmt: skip
        data["segments"] = {
            "train": ["2026-05-30", "2026-06-10 22:00:00"],
            "test": ["2026-06-12", "2026-06-24 16:00:00"],
        }
        told = task["record"][-1]["kwargs"]["config"]
        told["strategy"]["kwargs"]["topk"] = 4
        told["backtest"] |= {
            "start_time": "2026-06-13",
            "end_time": "2026-06-24 16:00:00",
        }
        told["backtest"]["exchange_kwargs"]["exchange"]["kwargs"] |= {
            "start_time": "2026-06-12", "end_time": "2026-06-25 18:00:00", "mark": "$mark",
        }  # fmt: skip
        yield Run(folder, config)


@pytest.fixture(params=cases(["real"] if REAL.is_dir() else ["sample"], ["sample", "real"]))
def run(request) -> Run:
    return request.getfixturevalue(request.param)


# -------------------------------------------------------------------------------------------------- end to end, on both
def test_it_trades_perpetuals_long_and_short_and_writes_its_report(run):
    assert set(run.trades["side"]) == {"buy", "sell"}
    assert run.trades["time"].dt.hour.nunique() <= 2  # it decides once a day
    assert 100_000 < run.page.stat().st_size < 5_000_000
    positions = run.portfolio("positions")
    held = positions[max(positions)]
    amounts = np.array(list(held.get_stock_amount_dict().values()))
    assert (amounts > 0).any() and (amounts < 0).any()
    assert {"entry", "margin", "limit"} <= set(held.position[held.get_stock_list()[0]])


def test_the_report_tells_leverage_margin_distance_funding_and_sides(run):
    sides, carry = run.numbers["portfolio"]["sides"], run.numbers["portfolio"]["carry"]
    assert sides["long"]["highest"] > 0.2 and sides["short"]["lowest"] < -0.2 and sides["gross"]["highest"] <= 1.3
    assert 0 < sides["margin"]["highest"] < 1 and sides["distance"]["lowest"] > 0
    paid = run.portfolio("attribution")["funding"]
    assert carry["names"] == ["funding"] and carry["paid"] == [pytest.approx(paid.sum())]
    assert (paid != 0).sum() > 20


def test_capacity_is_kept_with_the_run(run):
    found = run.recorder.load_object("portfolio_analysis/capacity.pkl")
    assert run.numbers["capacity"]["impact"] == pytest.approx(found["impact"])
    assert found["impact"] > 0 and found["y"] == 1.0 and 0 < found["participation"]["median"] < 1
    assert found["participation"]["orders"] == len(run.trades)


def test_the_walk_is_purged_by_the_labels_horizon(run):
    walk, dataset = run.recorder.load_object("params.pkl"), run.recorder.load_object("dataset")
    assert dataset.handler.label_horizon == 25  # decided at a close, dealt at the next, held for a day
    assert len(walk.pieces) >= 4
    for piece in walk.pieces:
        for begin, end in ((piece["first"], piece["valid"][1]), (piece["valid"][0], piece["train"][1])):
            assert begin - end == 26 * HOUR  # 25 bars lie between
    times = run.pred.index.get_level_values("datetime")
    assert times.min() == walk.pieces[0]["first"] and run.pred["score"].notna().all()


def test_a_decision_at_a_close_is_dealt_at_the_next_bar_and_not_before(run):
    """Scores from T on are known when the bar T is over: all that is traded up to T is the same without them."""
    times = run.pred.index.get_level_values("datetime")
    moment = run.trades["time"].unique()[len(run.trades["time"].unique()) // 2]  # a bar in which it trades
    other = run.pred.copy()
    other.loc[times >= moment, "score"] *= -1.0
    now, then = run.trades, run.traded_with(other)
    kept = ["time", "instrument", "side", "amount", "price"]
    pd.testing.assert_frame_equal(
        now[now["time"] <= moment][kept].reset_index(drop=True), then[then["time"] <= moment][kept]
    )
    later = then[then["time"] > moment]
    assert len(later) and not np.array_equal(later["amount"].head(4), now[now["time"] > moment]["amount"].head(4))
    before = run.pred.copy()
    before.loc[times == moment - HOUR, "score"] *= -1.0  # and the bar before it is what counts
    changed = run.traded_with(before)
    assert not np.array_equal(
        changed[changed["time"] == moment]["amount"].to_numpy(), now[now["time"] == moment]["amount"].to_numpy()
    )


def test_nothing_is_dealt_in_a_bar_in_which_nothing_was_traded(run):
    qlib.init(**run.config["qlib_init"], logging_level=40)
    names = sorted(run.trades["instrument"].unique())
    volume = D.features(names, ["$volume"], run.trades["time"].min(), run.trades["time"].max(), freq="60min")
    traded = volume.loc[pd.MultiIndex.from_frame(run.trades[["instrument", "time"]]), "$volume"]
    assert (traded > 0).all()


# ----------------------------------------------------------------------------------------------------- the real market
def test_the_books_balance_and_funding_is_what_the_venue_paid(real):
    parts, positions = real.portfolio("attribution"), real.portfolio("positions")
    explained = parts["price"] - parts["fee"] - parts["impact"] - parts["funding"] - parts["insurance"]
    np.testing.assert_allclose(parts["change"], explained, atol=1e-6 * parts["account"].abs().max())
    paid, due = table("okx_funding_2026"), pd.Series(0.0, index=parts.index)
    for row in paid.itertuples():
        bar = pd.Timestamp(row.ts, unit="ms").floor("h") - HOUR  # the bar that ends with the payment
        if bar in due.index and positions[bar].check_stock(row.symbol):
            held = positions[bar]
            due[bar] += held.get_stock_amount(row.symbol) * row.rate * held.get_stock_price(row.symbol)
    np.testing.assert_allclose(parts["funding"], due, atol=1e-5 * parts["funding"].abs().max())
    assert (due != 0).sum() > 20


def test_features_of_funding_and_mark_prices_are_there_where_the_store_has_them(run):
    names = set(run.recorder.load_object("params.pkl").models[0].feature_names)
    is_real = "RMOM_BTC_7d" in names
    assert is_real or "RMOM_MARKET_7d" in names
    assert {"ROC_7d", "FRATE_1d", "day_RV_7d", "day_CORR_14d"} <= names and len(names) > 200
    for column in ("FUND_1d", "BASISM_1d", "RKFUND_7d"):
        assert (column in names) is is_real  # the sample market does not say of which bars it knows no funding
