"""The report's newer numbers against naive arithmetic: decay, costs, execution, holdings, store, model, luck."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import report_runs
from hypothesis import given
from hypothesis import strategies as st

from qlib.analysis.ic import calc_ic, pred_autocorr
from qlib.backtest.decision import Order
from qlib.backtest.indicator import Indicator
from qlib.backtest.position import Position, PositionHistory
from qlib.config import build_settings
from qlib.contrib.model.linear import LinearModel
from qlib.contrib.report.artifacts import Portfolio, read_artifacts
from qlib.contrib.report.cost_numbers import cost_numbers
from qlib.contrib.report.execution_numbers import execution_numbers
from qlib.contrib.report.holding_numbers import holding_numbers
from qlib.contrib.report.market_numbers import hole_numbers, market_numbers, tiers_of, universe_numbers
from qlib.contrib.report.model_numbers import importance, learning
from qlib.contrib.report.numbers import build_twin
from qlib.contrib.report.rolling_numbers import rolling_numbers
from qlib.contrib.report.signal_detail import Grid, decay_numbers, memory_numbers, quantile_numbers, row_correlations
from qlib.contrib.report.times import by_month
from qlib.contrib.report.trial_numbers import of_returns, trial_numbers
from qlib.data.provider import Provider
from qlib.data.storage.writer import write_store
from qlib.utils.exceptions import LoadObjectError

DAYS = pd.date_range("2024-01-01", periods=6, name="datetime")


# ------------------------------------------------------------------------------------------------------- the signal
@pytest.fixture(scope="module")
def scores():
    pred, label = report_runs.signal(days=40, names=7)
    random = np.random.default_rng(1)
    pred, label = pred["score"].copy(), label["LABEL0"].copy()
    pred[random.uniform(size=len(pred)) < 0.1] = np.nan
    return pred, label[random.uniform(size=len(label)) > 0.1]


def test_the_decay_is_the_ic_with_the_label_of_later_periods(scores):
    pred, label = scores
    found = decay_numbers(Grid(pred, label))
    table = label.unstack().reindex(pred.index.get_level_values(0).unique())
    for lag, mean, periods in zip(found["lags"], found["mean"], found["periods"], strict=True):
        later = table.shift(-lag).stack().dropna().rename_axis(["datetime", "instrument"])
        ic, _ = calc_ic(pred, later)
        assert mean == pytest.approx(ic.mean(), abs=1e-12), lag
        assert periods == ic.notna().sum()
    assert found["lags"] == [0, 1, 2, 3, 5, 8, 13, 21]


def test_the_memory_is_the_autocorrelation_of_the_scores(scores):
    pred, _ = scores
    found = memory_numbers(Grid(pred, None))
    for lag, mean in zip(found["lags"], found["mean"], strict=True):
        assert mean == pytest.approx(pred_autocorr(pred, lag=lag).mean(), abs=1e-12), lag


@given(st.lists(st.lists(st.floats(-1e6, 1e6), min_size=8, max_size=8), min_size=1, max_size=4), st.floats(1e-9, 1e9))
def test_a_correlation_does_not_depend_on_the_size_of_the_labels(rows, size):
    x = np.array(rows)
    y = np.linspace(-1, 1, x.size).reshape(x.shape) ** 3
    one, other = row_correlations(x, y), row_correlations(x, y * size)
    np.testing.assert_allclose(one, other, atol=1e-6)
    assert np.isnan(one[x.max(axis=1) == x.min(axis=1)]).all(), "constant scores have no correlation"
    assert ((np.abs(one) <= 1) | np.isnan(one)).all()


def test_quantiles_of_a_normal_sample_lie_on_the_line_and_those_of_a_heavy_one_leave_it():
    random = np.random.default_rng(0)
    calm, wild = quantile_numbers(random.normal(size=4000)), quantile_numbers(random.standard_t(2.5, size=4000))
    inner = np.abs(np.array(calm["normal"])) < 2
    assert np.abs(np.array(calm["seen"]) - np.array(calm["line"]))[inner].max() < 0.1
    assert calm["kurtosis"] == pytest.approx(3, abs=0.3) and wild["kurtosis"] > 5
    assert wild["seen"][-1] > 2 * wild["line"][-1]
    assert quantile_numbers(np.arange(7.0)) is None


def test_months_are_those_of_a_group_by():
    times = pd.date_range("2023-11-20", "2025-02-10", freq="D")
    values = pd.Series(np.random.default_rng(0).normal(size=len(times)), times)
    rows = by_month(times, lambda chosen: float(values.to_numpy()[chosen].mean()))
    naive = values.groupby([times.year, times.month]).mean()
    seen = {(row["year"], m + 1): mean for row in rows for m, mean in enumerate(row["months"]) if mean is not None}
    assert seen == pytest.approx(naive.to_dict())
    assert [(row["year"], m + 1) for row in rows for m in range(12) if row["partial"][m]] == [(2023, 11), (2025, 2)]


# ---------------------------------------------------------------------------------------------------- the portfolio
def by_hand() -> Portfolio:
    """Six days with 1000: A is bought at 10 and sold at 12, B bought at 20 and kept, falling to 19."""
    fills = [
        (0, "A", Order.BUY, 50.0, 50.0, 10.0, 1.0, 0.5, "order"),
        (1, "B", Order.BUY, 40.0, 20.0, 20.0, 0.5, 0.25, "volume"),
        (3, "A", Order.SELL, 50.0, 50.0, 12.0, 1.5, 1.0, "order"),
    ]
    log = Indicator()
    for day, name, side, ordered, amount, price, fee, slippage, reason in fills:
        order = Order(name, ordered, side, DAYS[day], DAYS[day])
        order.deal_amount, order.slippage, order.reason = amount, slippage, reason
        log.update_order_indicators([(order, amount * price, fee, price)], DAYS[day])
    price_a, price_b = [10, 10, 11, 12, 12, 12], [20, 20, 21, 20, 20, 19]
    held = [(50, 0), (50, 20), (50, 20), (0, 20), (0, 20), (0, 20)]
    cash = [499.0, 98.5, 98.5, 697.0, 697.0, 697.0]
    value = np.array([a * p + b * q for (a, b), p, q in zip(held, price_a, price_b, strict=True)], float)
    account = value + cash
    fees = np.array([1.0, 0.5, 0, 1.5, 0, 0])
    before = np.concatenate([[1000.0], account[:-1]])
    report = pd.DataFrame(
        {
            "account": account,
            "return": (account - before + fees) / before,
            "cost": fees / before,
            "turnover": np.array([500.0, 400, 0, 600, 0, 0]) / before,
            "total_turnover": np.cumsum([500.0, 400, 0, 600, 0, 0]),
            "total_cost": fees.cumsum(),
            "value": value,
            "cash": cash,
            "bench": 0.0,
        },
        index=DAYS,
    )
    history = PositionHistory()
    for k, day in enumerate(DAYS):
        table = {"A": (held[k][0], price_a[k]), "B": (held[k][1], price_b[k])}
        own = {name: {"amount": float(n), "price": float(p)} for name, (n, p) in table.items() if n}
        history.record(day, Position(cash=cash[k], position_dict=own))
    return Portfolio("1day", report, positions=history, trades=log.trades.frame())


def test_where_the_money_went_adds_up_to_the_change_of_the_account():
    held = by_hand()
    found = cost_numbers(held)
    assert dict(zip(found["names"], found["paid"], strict=True)) == pytest.approx(
        {"fees": 3.0, "spread and impact": 1.75}
    )
    assert found["change"] == pytest.approx(held.report["account"].iloc[-1] - 1000)
    assert found["earned"] - sum(found["paid"]) == pytest.approx(found["change"])
    before = np.concatenate([[1000.0], held.report["account"].to_numpy()[:-1]])
    assert found["series"][0] == pytest.approx(np.cumsum(np.array([1.0, 0.5, 0, 1.5, 0, 0]) / before))


def test_holding_costs_are_counted_by_the_names_of_the_market():
    report = report_runs.backtest(50)
    held = Portfolio("1day", report, attribution=report_runs.attribution(report, borrow=0.001, unused=0.0))
    found = cost_numbers(held)
    assert found["names"] == ["fees", "borrow"]
    assert found["paid"][1] == pytest.approx(held.attribution["borrow"].sum())


def test_what_each_instrument_earned_is_worked_out_by_hand():
    found = holding_numbers(by_hand())
    assert found["earned"]["instruments"] == ["A", "B"]
    assert found["earned"]["money"] == pytest.approx([600 - 500 - 1 - 1.5, 20 * 19 - 400 - 0.5])
    assert (found["earned"]["winners"], found["earned"]["losers"], found["earned"]["best_share"]) == (1, 1, 1.0)
    assert found["last"] == [
        {"instrument": "B", "amount": 20.0, "price": 19.0, "value": 380.0, "share": pytest.approx(380 / 1077)}
    ]
    assert found["weight"]["largest"][1] == pytest.approx(500 / 900)
    assert found["weight"]["effective"][1] == pytest.approx(900**2 / (500**2 + 400**2))
    mean_value = np.mean([500, 900, 970, 400, 400, 380])
    assert found["steps_held"] == pytest.approx(mean_value / (600 / 6))


def test_what_does_not_add_up_to_the_account_is_not_told():
    held = by_hand()
    held.report.loc[DAYS[-1], "account"] += 50  # money that no fill explains
    assert holding_numbers(held)["earned"] is None


def test_execution_tells_what_was_cut_and_what_it_cost():
    found = execution_numbers(by_hand())
    assert found["fills"] == 3
    assert found["filled_share"] == pytest.approx(1500 / 1900)
    assert found["cuts"] == [{"reason": "volume", "fills": 1, "value": pytest.approx(400.0)}]
    assert found["fee_bps"] == pytest.approx(3 / 1500 * 1e4)
    assert found["slippage_bps"] == pytest.approx(1.75 / 1500 * 1e4)
    assert found["sides"]["sell"]["fee_bps"] == pytest.approx(1.5 / 600 * 1e4)
    assert found["bars"]["value"] == [500, 400, 0, 600, 0, 0]
    assert found["bars"]["cost_bps"][1] == pytest.approx(0.75 / 400 * 1e4)
    assert np.isnan(found["bars"]["cost_bps"][2])


def test_rolling_figures_are_those_of_each_window_alone():
    random = np.random.default_rng(3)
    bench = pd.Series(random.normal(0, 0.01, 60))
    net = 0.5 * bench + pd.Series(random.normal(0.001, 0.005, 60))
    found = rolling_numbers(net, bench, 40.0)
    assert found["window"] == 10
    for k in (9, 30, 59):
        part, market = net[k - 9 : k + 1], bench[k - 9 : k + 1]
        assert found["sharpe"][k] == pytest.approx(part.mean() / part.std() * 40**0.5)
        assert found["beta"][k] == pytest.approx(np.cov(part, market)[0, 1] / market.var())
    assert np.isnan(found["sharpe"][8])
    assert rolling_numbers(net[:11], bench[:11], 40.0) is None
    flat = rolling_numbers(net * 0, None, 40.0)
    assert np.isnan(flat["sharpe"]).all() and flat["beta"] is None


# ---------------------------------------------------------------------------------------------------------- the store
def test_holes_and_members_are_those_of_a_walk_through_calendar_and_spans():
    calendar = pd.date_range("2024-01-01", periods=30)
    spans = {
        "A": [(calendar[0], calendar[-1])],
        "B": [(calendar[5], calendar[9]), (calendar[20], calendar[-1])],
        "C": [(calendar[0], calendar[14])],
    }
    random = np.random.default_rng(0)
    rows = {}
    for name, kept in spans.items():
        for start, end in kept:
            for time in calendar[(calendar >= start) & (calendar <= end)]:
                if random.uniform() > 0.3:
                    rows[(time, name)] = 1.0 if random.uniform() > 0.1 else np.nan
    close = pd.Series(rows).rename_axis(["datetime", "instrument"])
    found = hole_numbers(close, spans, calendar)
    members, lost, missing = [], [], dict.fromkeys(spans, 0)
    for time in calendar:
        alive = [name for name, kept in spans.items() if any(a <= time <= b for a, b in kept)]
        absent = [name for name in alive if close.get((time, name), np.nan) != 1.0]
        members.append(len(alive))
        lost.append(len(absent))
        for name in absent:
            missing[name] += 1
    assert found["expected"] == sum(members)
    assert found["holes"] == sum(lost)
    assert found["holes_over_time"]["share"] == pytest.approx(np.array(lost) / np.array(members))
    assert {one["instrument"]: one["holes"] for one in found["worst"]} == {k: n for k, n in missing.items() if n}
    universe = universe_numbers(spans, calendar)
    assert universe["members"] == members
    assert [(change["time"], change["instrument"], change["what"]) for change in universe["changes"]] == [
        ("2024-01-21", "B", "came"),
        ("2024-01-16", "C", "left"),
        ("2024-01-11", "B", "left"),
        ("2024-01-06", "B", "came"),
    ]


def test_a_signal_of_the_least_traded_is_found_among_them_alone():
    pred, label = report_runs.signal(days=80, names=30, strength=0.0)
    traded = pd.Series(np.tile(10.0 ** np.arange(30), 80), pred.index)
    least = pred.index.get_level_values("instrument") < "C10"
    label.loc[least, "LABEL0"] = pred.loc[least, "score"] + label.loc[least, "LABEL0"]
    found = tiers_of(pred["score"], label["LABEL0"], traded)
    assert found["names"] == ["most traded", "middle", "least traded"]
    assert found["rows"] == [800, 800, 800]
    assert abs(found["ic_t"][0]) < 3 and abs(found["ic_t"][1]) < 3 and found["ic"][2] > 0.9
    assert found["value"] == sorted(found["value"], reverse=True)
    assert tiers_of(pred["score"], label["LABEL0"], traded.iloc[:0]) is None


def test_the_store_of_a_run_is_read_through_its_provider(tmp_path):
    days = pd.date_range("2023-11-01", periods=120)
    random = np.random.default_rng(0)
    frames = {
        f"C{k:02d}": pd.DataFrame(
            {
                "close": random.uniform(1, 2, 120),
                "volume": 10.0**k,
                "open": 1.0,
                "high": 2.0,
                "low": 1.0,
                "factor": 1.0,
            },
            index=days,
        )
        for k in range(12)
    }
    frames["C03"].loc[days[70:72], "close"] = np.nan
    frames["C05"] = frames["C05"].iloc[80:]
    store = write_store(frames, tmp_path / "store", "day", instruments={"all": sorted(frames)})
    provider = Provider(build_settings(provider_uri=str(store), region="us"))
    pred, label = report_runs.signal(days=40, names=12)
    move = pd.Timestamp("2023-12-20") - pred.index.get_level_values("datetime").min()
    for frame in (pred, label):
        times = frame.index.get_level_values("datetime") + move
        frame.index = pd.MultiIndex.from_arrays(
            [times, frame.index.get_level_values("instrument")], names=["datetime", "instrument"]
        )
    artifacts = read_artifacts(report_runs.run(tmp_path, pred=pred, label=label))
    found = market_numbers(artifacts, provider, "day", {"train": ["2023-11-05", "2023-12-10"]}, "all")
    assert (found["first"], found["last"], found["instruments"]) == ("2023-11-05", "2024-01-28", 12)
    assert found["holes"] == 2
    assert found["worst"][0] == {"instrument": "C03", "bars": 85, "holes": 2, "share": 2 / 85, "longest": 2}
    assert found["universe"]["changes"] == [{"time": "2024-01-20", "instrument": "C05", "what": "came"}]
    assert sum(found["tiers"]["rows"]) <= len(pred)
    assert found["tiers"]["value"] == sorted(found["tiers"]["value"], reverse=True)
    told_by_name = market_numbers(artifacts, provider, "day", {"train": ["2023-11-05", "2023-12-10"]}, None)
    assert told_by_name["holes"] == 2, "an instrument that is not listed yet has no holes"
    assert "no calendar" in market_numbers(artifacts, provider, "5min", {}, "all")["why"]
    assert "why" in market_numbers(artifacts, provider, "day", {}, "nobody")


# ---------------------------------------------------------------------------------------------------------- the model
def test_coefficients_and_importances_come_largest_first():
    model = LinearModel()
    model.coef_, model.feature_names = np.array([0.1, -3.0, 0.0]), ["a", ("feature", "b"), "c"]
    found = importance(model)
    assert (found["features"], found["value"]) == (["b", "a", "c"], [-3.0, 0.1, 0.0])
    assert (found["kind"], found["used"], found["half"]) == ("coefficients", 2, 1)
    assert importance(report_runs.FakeModel())["half"] == 1
    assert importance(object()) is None


def test_the_best_round_is_the_lowest_loss_or_the_highest_gain_on_unseen_rows():
    curves = learning(
        {
            "l2.train": [3.0, 2, 1],
            "l2.valid": [3.0, 1, 2],
            "auc.train": [0.5, 0.7],
            "auc.valid": [0.5, 0.6],
            "x.train": [1.0],
        }
    )
    assert [(one["metric"], one["best"], one["segments"]) for one in curves] == [
        ("auc", 2, ["train", "valid"]),
        ("l2", 2, ["train", "valid"]),
    ]


# --------------------------------------------------------------------------------------------------------------- luck
def test_luck_is_told_of_ic_and_returns_with_and_without_a_ledger(tmp_path):
    artifacts = read_artifacts(report_runs.everything(tmp_path))
    found = trial_numbers(artifacts, [0.1, 0.2, -0.1, 0.3], 365.0)
    assert found["ledger"]["trials"] == 12
    report = artifacts.portfolio.report
    net = report["return"] - report["cost"]
    assert found["net"]["value"] == pytest.approx(net.mean() / net.std() * 365**0.5)
    assert found["net"]["low"] < found["net"]["value"] < found["net"]["high"]
    assert trial_numbers(read_artifacts(report_runs.run(tmp_path)), None, None)["ledger"] is None


def test_a_ratio_below_zero_is_never_sure():
    found = of_returns(pd.Series([-0.01, 0.005, -0.02, 0.01, -0.01, -0.005]), 252.0)
    assert found["never"] and found["track_record"] is None
    assert of_returns(pd.Series([0.0] * 9), 252.0) is None


def test_the_ic_of_a_run_without_sig_analysis_has_an_interval_too(tmp_path):
    artifacts = read_artifacts(report_runs.run(tmp_path))
    twin = build_twin(artifacts, build_settings(region="crypto"), "0")
    assert artifacts.ic is None
    assert twin["trials"]["ic"]["value"] == pytest.approx(twin["signal"]["ic"]["mean"])


def test_a_model_that_cannot_be_loaded_has_a_reason(tmp_path):
    recorder = report_runs.everything(tmp_path)
    kept = recorder.load_object
    error = LoadObjectError("gone")
    recorder.load_object = lambda name: (_ for _ in ()).throw(error) if name == "params.pkl" else kept(name)
    artifacts = read_artifacts(recorder)
    assert (artifacts.model, artifacts.model_why) == (None, "gone")
