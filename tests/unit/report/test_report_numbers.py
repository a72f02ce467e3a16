"""The report's numbers against naive arithmetic, and what is said when a part of the run is missing."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pandas as pd
import pytest
import report_runs
from hypothesis import example, given
from hypothesis import strategies as st

from qlib.analysis.ic import calc_ic
from qlib.analysis.risk import risk_analysis
from qlib.backtest.decision import Order
from qlib.backtest.indicator import Indicator
from qlib.backtest.position import Position, PositionHistory
from qlib.config import build_settings
from qlib.contrib.report import fills
from qlib.contrib.report.artifacts import read_artifacts
from qlib.contrib.report.drawing import thin, time_ticks, value_ticks
from qlib.contrib.report.numbers import build_twin, clean, dump
from qlib.contrib.report.portfolio_numbers import drawdown, worst_drawdowns
from qlib.contrib.report.signal_numbers import group_numbers, standard_error
from qlib.contrib.report.words import show

returns = st.lists(st.floats(-0.5, 0.5), min_size=1, max_size=60)


def twin_of(recorder):
    return build_twin(read_artifacts(recorder), build_settings(region="crypto"), "0")


def codes(twin) -> set[str]:
    return {caveat["code"] for caveat in twin["caveats"]}


@pytest.fixture(scope="module")
def twin(tmp_path_factory):
    return twin_of(report_runs.run(tmp_path_factory.mktemp("run")))


# ---------------------------------------------------------------------------------------------------- the portfolio
def hand_made(tmp_path, **changes):
    """Four days: +10 %, -20 %, +5 %, +10 % gross, 1 % cost a day, benchmark +2 % a day."""
    gross, cost = np.array([0.10, -0.20, 0.05, 0.10]), np.full(4, 0.01)
    account = 100.0 * np.cumprod(1 + gross - cost)
    report = pd.DataFrame(
        {
            "account": account,
            "return": gross,
            "total_turnover": [50.0, 100, 150, 200],
            "turnover": 0.5,
            "total_cost": [1.0, 2, 3, 4],
            "cost": cost,
            "value": account / 2,
            "cash": account / 2,
            "bench": 0.02,
        },
        index=pd.date_range("2024-01-30", periods=4, name="datetime"),
    )
    return report_runs.run(tmp_path, portfolio_analysis__report_normal_1day=report.assign(**changes))


def test_growth_drawdown_and_excess_of_four_days_are_those_worked_out_by_hand(tmp_path):
    held = twin_of(hand_made(tmp_path))["portfolio"]
    assert held["starting_capital"] == pytest.approx(100)
    assert held["net"]["total"] == pytest.approx(1.09 * 0.79 * 1.04 * 1.09 - 1)
    assert held["net"]["annual"] == pytest.approx((1.09 * 0.79 * 1.04 * 1.09) ** (365 / 4) - 1)
    assert held["net"]["max_drawdown"] == pytest.approx(-0.21)
    assert held["gross"]["total"] == pytest.approx(1.1 * 0.8 * 1.05 * 1.1 - 1)
    assert held["benchmark"]["total"] == pytest.approx(1.02**4 - 1)
    assert held["excess"]["annual"] == pytest.approx((0.07 - 0.23 + 0.02 + 0.07) / 4 * 365)
    assert held["trading"]["cost_of_traded"] == pytest.approx(4 / 200)
    assert held["exposure"]["mean"] == pytest.approx(0.5)
    assert held["drawdowns"] == [
        {"depth": pytest.approx(-0.21), "from": "2024-01-30", "bottom": "2024-01-31", "recovered": None, "periods": 3}
    ]


def test_a_month_that_the_backtest_covers_partly_is_marked_and_months_compound_to_the_year(tmp_path):
    (year,) = twin_of(hand_made(tmp_path))["portfolio"]["monthly"]
    assert year["year"] == 2024
    assert year["months"][:2] == pytest.approx([1.09 * 0.79 - 1, 1.04 * 1.09 - 1])
    assert year["months"][2:] == [None] * 10
    assert year["partial"][:3] == [True, True, False]
    assert year["total"] == pytest.approx(1.09 * 0.79 * 1.04 * 1.09 - 1)


def test_a_loss_on_the_first_day_is_a_drawdown_from_the_starting_capital():
    assert drawdown(pd.Series([0.9, 0.95, 1.2, 1.1])).tolist() == pytest.approx([-0.1, -0.05, 0, 1.1 / 1.2 - 1])


@given(returns)
def test_drawdown_is_the_distance_from_the_highest_value_ever_held(moves):
    equity = np.cumprod(1 + np.array(moves))
    highs = [max([1.0, *equity[: k + 1]]) for k in range(len(equity))]
    np.testing.assert_allclose(drawdown(pd.Series(equity)), equity / highs - 1, rtol=1e-12, atol=1e-12)


@given(returns)
def test_the_worst_drawdown_listed_is_the_deepest_point_of_the_curve(moves):
    fall = drawdown(pd.Series(np.cumprod(1 + np.array(moves))))
    listed = worst_drawdowns(fall, [f"{k:03d}" for k in range(len(moves) + 1)])
    if fall.min() < -1e-12:
        assert listed[0]["depth"] == fall.min()
        assert listed[0]["from"] < listed[0]["bottom"]
    else:
        assert listed == []


def test_excess_figures_are_those_of_risk_analysis(twin):
    report = report_runs.backtest()
    judged = risk_analysis(report["return"] - report["cost"] - report["bench"], N=365).risk
    excess = twin["portfolio"]["excess"]
    assert excess["annual"] == pytest.approx(judged["annualized_return"])
    assert excess["information_ratio"] == pytest.approx(judged["information_ratio"])


@pytest.mark.parametrize(("region", "days"), [("crypto", 365), ("cn", 238), ("us", 252)])
def test_the_year_is_as_long_as_the_runs_region_says(tmp_path, region, days):
    recorder = report_runs.run(tmp_path, config={"qlib_init": {"region": region}})
    held = twin_of(recorder)["portfolio"]
    assert held["periods_per_year"] == days
    assert held["trading"]["cost_annual"] == pytest.approx(held["trading"]["cost_mean"] * days)


def test_without_a_config_the_sessions_settings_say_the_region(tmp_path):
    artifacts = read_artifacts(report_runs.run(tmp_path, config=None))
    assert build_twin(artifacts, build_settings(region="us"), "0")["data"]["region"] == "us"


def test_series_and_headline_say_the_same(twin):
    held = twin["portfolio"]
    assert held["series"]["net_growth"][-1] == pytest.approx(held["net"]["total"])
    assert min(held["series"]["drawdown"]) == held["net"]["max_drawdown"]
    assert held["series"]["account"][-1] == held["final_account"]
    product = np.prod([1 + year["total"] for year in held["monthly"]])
    assert product - 1 == pytest.approx(held["net"]["total"])


# ------------------------------------------------------------------------------------------------------- the signal
@given(st.lists(st.floats(-1, 1), min_size=2, max_size=80))
def test_the_standard_error_is_newey_wests(values):
    x = np.array(values)
    error, lags = standard_error(x)
    n, apart = len(x), x - x.mean()
    total = sum(
        (1 - abs(i - j) / (lags + 1)) * apart[i] * apart[j] for i in range(n) for j in range(n) if abs(i - j) <= lags
    )
    assert (error or 0.0) == pytest.approx(np.sqrt(max(total, 0) / n / (n - 1)), abs=1e-9)


def test_ic_artifacts_are_used_and_otherwise_computed(tmp_path, twin):
    pred, label = report_runs.signal()
    ic, ric = calc_ic(pred, label)
    assert twin["signal"]["ic"]["mean"] == pytest.approx(ic.mean())
    assert twin["signal"]["rank_ic"]["ir"] == pytest.approx(ric.mean() / ric.std())
    kept = twin_of(report_runs.run(tmp_path, sig_analysis__ic=ic[:50], sig_analysis__ric=ric[:50]))
    assert kept["signal"]["ic"]["periods"] == 50


def test_the_histogram_counts_every_period(twin):
    ic = twin["signal"]["ic"]
    assert sum(ic["histogram"]["counts"]) == ic["periods"] == 400


def test_groups_of_a_perfect_signal_climb_and_lie_around_the_mean_of_all():
    pred, _ = report_runs.signal(days=20, names=25)
    score = pred["score"]
    groups = group_numbers(score, score + 5.0)
    assert groups["relative_mean"] == sorted(groups["relative_mean"])
    assert sum(groups["relative_mean"]) == pytest.approx(0, abs=1e-12)
    assert groups["top_less_bottom"]["mean"] == pytest.approx(groups["mean"][-1] - groups["mean"][0])


def test_the_share_of_labelled_rows_without_a_prediction_is_told(tmp_path):
    pred, label = report_runs.signal()
    pred.iloc[::10] = np.nan
    twin = twin_of(report_runs.run(tmp_path, pred=pred, label=label))
    assert twin["signal"]["coverage"]["missing_predictions"] == pytest.approx(0.1)
    assert "10.0\u00a0% of the rows" in next(c["text"] for c in twin["caveats"] if c["code"] == "missing_predictions")


def test_an_index_that_starts_with_the_instrument_is_read_as_well(tmp_path, twin):
    pred, label = report_runs.signal()
    turned = twin_of(report_runs.run(tmp_path, pred=pred.swaplevel().sort_index(), label=label))
    assert turned["signal"]["ic"]["mean"] == pytest.approx(twin["signal"]["ic"]["mean"])


# ---------------------------------------------------------------------------------------------------- missing parts
def test_a_run_with_a_signal_only_has_no_portfolio_and_says_so(tmp_path):
    recorder = report_runs.run(tmp_path)
    recorder.objects = {name: value for name, value in recorder.objects.items() if "portfolio" not in name}
    twin = twin_of(recorder)
    assert twin["portfolio"] is None
    assert twin["signal"]["ic"]["periods"] == 400
    assert "no_portfolio" in codes(twin)


def test_a_run_with_a_backtest_only_has_no_signal_and_says_so(tmp_path):
    twin = twin_of(report_runs.run(tmp_path, pred=None, label=None))
    assert twin["signal"] is None
    assert twin["portfolio"]["periods"] == 400
    assert "no_prediction" in codes(twin)


@pytest.mark.parametrize("label", ["absent", "empty"])
def test_without_a_usable_label_there_is_no_ic_and_no_group(tmp_path, label):
    frame = None if label == "absent" else report_runs.signal()[1] * np.nan
    twin = twin_of(report_runs.run(tmp_path, label=frame))
    assert twin["signal"]["ic"] is None
    assert twin["signal"]["groups"] is None
    assert "no_label" in codes(twin)


def test_a_constant_score_has_no_ic(tmp_path):
    pred, label = report_runs.signal()
    twin = twin_of(report_runs.run(tmp_path, pred=pred * 0.0, label=label))
    assert twin["signal"]["ic"] is None


def test_one_day_is_enough_for_a_report_and_too_little_to_judge(tmp_path):
    pred, label = report_runs.signal(days=1)
    recorder = report_runs.run(tmp_path, pred=pred, label=label)
    recorder.objects |= report_runs.portfolio(report_runs.backtest(1))
    twin = twin_of(recorder)
    assert twin["signal"]["ic"]["standard_error"] is None
    assert twin["portfolio"]["net"]["sharpe"] is None
    assert {"short_history", "few_rows", "ic_unknown"} <= codes(twin)


def test_without_a_benchmark_there_is_no_excess(tmp_path):
    recorder = report_runs.run(tmp_path)
    recorder.objects |= report_runs.portfolio(report_runs.backtest(bench=False))
    twin = twin_of(recorder)
    assert twin["portfolio"]["excess"] is None
    assert twin["portfolio"]["series"]["benchmark"] is None
    assert "no_benchmark" in codes(twin)


def test_a_backtest_without_steps_is_no_portfolio(tmp_path):
    recorder = report_runs.run(tmp_path)
    recorder.objects |= report_runs.portfolio(report_runs.backtest().iloc[:0])
    assert twin_of(recorder)["portfolio"] is None


def test_a_run_that_left_nothing_still_gets_a_report(tmp_path):
    twin = twin_of(report_runs.FakeRecorder(tmp_path, {}))
    assert twin["title"] == "A run"
    assert {"no_prediction", "no_portfolio"} <= codes(twin)


def test_of_several_frequencies_the_outermost_is_told(tmp_path):
    recorder = report_runs.run(tmp_path)
    recorder.objects |= report_runs.portfolio(report_runs.backtest(50, freq="30min"), "30min")
    held = twin_of(recorder)["portfolio"]
    assert held["freq"] == "1day"
    assert held["other_freqs"] == ["30min"]


def test_half_hours_are_recognised_and_their_year_is_17520_periods(tmp_path):
    pred, label = report_runs.signal(days=200, freq="30min")
    recorder = report_runs.run(tmp_path, pred=pred, label=label)
    recorder.objects = {name: value for name, value in recorder.objects.items() if "1day" not in name}
    recorder.objects |= report_runs.portfolio(report_runs.backtest(200, freq="30min"), "30min")
    twin = twin_of(recorder)
    assert twin["signal"]["freq"] == "30min"
    assert twin["portfolio"]["periods_per_year"] == 17520
    assert twin["portfolio"]["series"]["time"][1] == "2023-01-01 00:30"


def test_positions_as_plain_dicts_are_counted(tmp_path):
    report = report_runs.backtest(3)
    held = {"A": {"amount": 1.0, "price": 2.0}, "B": {"amount": 1.0, "price": 2.0}, "cash": 5.0, "now_account_value": 9}
    recorder = report_runs.run(tmp_path)
    recorder.objects |= report_runs.portfolio(report)
    recorder.objects["portfolio_analysis/positions_normal_1day.pkl"] = dict.fromkeys(report.index, held)
    assert twin_of(recorder)["portfolio"]["holdings"]["mean"] == 2


def test_predictions_with_one_index_level_are_refused_with_the_reason(tmp_path):
    with pytest.raises(ValueError, match=r"pred.pkl must be indexed by \(datetime, instrument\), received 1"):
        read_artifacts(report_runs.run(tmp_path, pred=pd.DataFrame({"score": [1.0]})))


# --------------------------------------------------------------------------------------------------------- caveats
def caveats_of(tmp_path, **changes):
    """Codes of a run whose backtest columns were changed."""
    recorder = report_runs.run(tmp_path)
    report = report_runs.backtest().assign(**{"return" if k == "gross" else k: v for k, v in changes.items()})
    report["account"] = 1e6 * (1 + report["return"].fillna(0) - report["cost"]).cumprod()
    recorder.objects |= report_runs.portfolio(report)
    return codes(twin_of(recorder))


def test_a_sound_run_gets_no_caveat_about_its_length_or_its_gain(twin):
    assert codes(twin) == set()


def test_gains_that_costs_eat_are_an_alarm(tmp_path):
    assert "costs_eat_the_gain" in caveats_of(tmp_path, gross=0.0001, cost=0.0004)


def test_a_loss_is_an_alarm(tmp_path):
    assert "loss" in caveats_of(tmp_path, gross=-0.001)


def test_trading_for_free_is_told(tmp_path):
    assert "no_cost" in caveats_of(tmp_path, cost=0.0, total_cost=0.0)


def test_never_trading_is_told(tmp_path):
    assert "no_trades" in caveats_of(tmp_path, turnover=0.0, total_turnover=0.0, cost=0.0, total_cost=0.0)


def test_a_benchmark_that_did_better_is_told(tmp_path):
    assert {"behind_benchmark"} <= caveats_of(tmp_path, gross=0.0006, bench=0.01)


def test_steps_without_a_return_are_counted(tmp_path):
    gaps = report_runs.backtest()["return"].where(lambda r: np.arange(len(r)) % 7 > 0)
    assert "missing_returns" in caveats_of(tmp_path, gross=gaps)


def test_an_account_that_its_returns_do_not_explain_is_an_alarm(tmp_path):
    recorder = report_runs.run(tmp_path)
    report = report_runs.backtest()
    report.loc[report.index[200] :, "account"] *= 1.5
    recorder.objects |= report_runs.portfolio(report)
    assert "account_differs" in codes(twin_of(recorder))


def test_a_holding_whose_scores_ended_is_named(tmp_path):
    pred, label = report_runs.signal()
    times = pred.index.get_level_values("datetime")
    gone = (pred.index.get_level_values("instrument") == "C03") & (times > "2023-06-01")
    text = {c["code"]: c["text"] for c in twin_of(report_runs.run(tmp_path, pred=pred[~gone], label=label))["caveats"]}
    assert "1 holding that no score" in text["stuck_holdings"]
    assert "C03 (since 2023-06-01)" in text["stuck_holdings"]


def test_a_logged_return_of_another_year_length_is_told(tmp_path):
    recorder = report_runs.run(tmp_path)
    annual = twin_of(recorder)["portfolio"]["excess"]["annual"]
    name = "1day.excess_return_with_cost.annualized_return"
    recorder.metrics = {name: annual}
    assert "other_year" not in codes(twin_of(recorder))
    recorder.metrics = {name: annual * 238 / 365}
    assert "other_year" in codes(twin_of(recorder))


def test_an_ic_within_two_standard_errors_of_zero_is_told_with_its_t(tmp_path):
    pred, label = report_runs.signal(strength=0.0, days=60)
    twin = twin_of(report_runs.run(tmp_path, pred=pred, label=label))
    (text,) = [caveat["text"] for caveat in twin["caveats"] if caveat["code"] == "ic_uncertain"]
    assert show(twin["signal"]["ic"]["t"], "ratio") in text
    assert "standard error" in text


@pytest.mark.parametrize(("strength", "code"), [(-0.1, "ic_negative"), (0.5, "ic_too_good")])
def test_an_ic_that_is_negative_or_too_good_is_an_alarm(tmp_path, strength, code):
    pred, label = report_runs.signal(strength=strength)
    assert code in codes(twin_of(report_runs.run(tmp_path, pred=pred, label=label)))


def test_a_test_that_overlaps_the_training_is_an_alarm(tmp_path):
    task = json.loads(json.dumps(report_runs.TASK))
    task["dataset"]["kwargs"]["segments"]["train"][1] = "2023-03-01"
    assert "overlap" in codes(twin_of(report_runs.run(tmp_path, task=task)))


@pytest.mark.parametrize("planted", [0.08, 0.0])
def test_the_reach_of_the_planted_part_is_told_where_something_was_planted(tmp_path, planted):
    recorder = report_runs.run(tmp_path)
    truth = {
        "synthetic": True,
        "null_twin": not planted,
        "planted": {"ic": planted},
        "oracle_on_all_days": {"mean_ic": 0.09},
    }
    (tmp_path / "store" / "truth.json").write_text(json.dumps(truth))
    twin = twin_of(recorder)
    reach = f"reaches an IC of {show(0.09, 'coefficient')}"
    assert any(reach in line for line in twin["summary"]) is bool(planted)
    assert ("the null twin" in twin["caveats"][0]["text"]) is not bool(planted)


@pytest.mark.parametrize(
    ("name", "content", "synthetic"),
    [
        ("truth.json", '{"synthetic": true, "planted": {"ic": 0.08}, "oracle_on_all_days": {"mean_ic": 0.08}}', True),
        ("truth.json", '{"synthetic": true, "null_twin": true}', True),
        ("truth.json", '{"synthetic": false}', False),
        ("README.md", "# Synthetic prices", True),
        ("README.md", "# Prices of OKX", False),
    ],
)
def test_a_store_that_says_it_is_synthetic_makes_a_synthetic_report(tmp_path, name, content, synthetic):
    recorder = report_runs.run(tmp_path)
    (tmp_path / "store" / name).write_text(content)
    twin = twin_of(recorder)
    assert twin["data"]["synthetic"] is synthetic
    assert ("synthetic" in codes(twin)) is synthetic
    assert not synthetic or twin["caveats"][0]["code"] == "synthetic"


# ------------------------------------------------------------------------------------------ naive and honest fills
def with_fills(tmp_path, slippage: list[float]):
    """The four days of `hand_made`, two fills on each of the first two, in a log as a backtest keeps it."""
    level, hours = Indicator(), pd.date_range("2024-01-30", periods=4, freq="12h")
    for hour, lost in zip(hours, slippage, strict=True):
        order = Order("C00", 1.0, Order.BUY, hour, hour)
        order.deal_amount, order.slippage = 1.0, lost
        level.update_order_indicators([(order, 10.0, 0.1, 10.0)], hour)
    recorder = hand_made(tmp_path)
    recorder.objects["portfolio_analysis/indicators_normal_1day_obj.pkl"] = level
    return recorder


def test_the_optimism_gap_gives_back_what_spread_and_impact_took(tmp_path):
    twin = twin_of(with_fills(tmp_path, [1.0, 2.0, 0.5, 0.0]))
    trading = twin["portfolio"]["trading"]
    net = np.array([0.09, -0.21, 0.04, 0.09])
    given_back = net + np.array([3.0 / 100, 0.5 / 109, 0, 0])
    assert (trading["fills"], trading["slippage_total"]) == (4, 3.5)
    assert trading["naive_total"] == pytest.approx(np.prod(1 + given_back) - 1)
    assert trading["optimism_gap"] == pytest.approx(np.prod(1 + given_back) - np.prod(1 + net))
    assert any(" points of optimism" in line for line in twin["summary"])


def test_fills_at_the_undisturbed_price_have_no_gap_and_a_run_without_fills_none_either(tmp_path):
    twin = twin_of(with_fills(tmp_path, [0.0] * 4))
    assert twin["portfolio"]["trading"]["optimism_gap"] == 0
    assert not any("of optimism" in line for line in twin["summary"])
    recorder = hand_made(tmp_path / "none")
    del recorder.objects["portfolio_analysis/indicators_normal_1day_obj.pkl"]
    twin = twin_of(recorder)
    assert twin["portfolio"]["trading"]["optimism_gap"] is None
    assert twin["trades"] is None


# ------------------------------------------------------------------------------------------- sides, margin and carry
def naive_sides(report, positions):
    rows = []
    for time, account in report["account"].items():
        held = [one for one in positions[time].position.values() if isinstance(one, dict)]
        values = [one["amount"] * one["price"] for one in held]
        limits = [(one["amount"], one["price"], one["limit"]) for one in held if one["limit"] > 0]
        near = [max((p - limit) / p if amount > 0 else (limit - p) / p, 0.0) for amount, p, limit in limits]
        rows.append(
            {
                "long": sum(value for value in values if value > 0) / account,
                "short": sum(value for value in values if value < 0) / account,
                "net": sum(values) / account,
                "gross": sum(map(abs, values)) / account,
                "margin": sum(one["margin"] for one in held) / account,
                "distance": min(near, default=np.nan),
            }
        )
    return pd.DataFrame(rows)


def test_exposure_margin_and_distance_are_those_of_a_walk_through_the_positions(tmp_path):
    report = report_runs.backtest(60)
    recorder = report_runs.run(tmp_path)
    recorder.objects |= report_runs.sides(report)
    sides = twin_of(recorder)["portfolio"]["sides"]
    naive = naive_sides(report, report_runs.signed_positions(report))
    for name, column in naive.items():
        np.testing.assert_allclose(np.array(sides["series"][name], float), column, rtol=1e-12, atol=1e-15, err_msg=name)
        spread = {"mean": column.mean(), "lowest": column.min(), "highest": column.max()}
        assert sides[name] == pytest.approx(spread, abs=1e-12), name
    assert naive["distance"].isna().sum() == 12, "steps without holdings"
    assert (sides["distance_of"], sides["forced_closes"]) == ("each", 2)


@pytest.mark.parametrize("kind", [dict, "pickled", "unequal"])
def test_positions_of_any_kind_give_the_same_exposure(tmp_path, kind):
    report = report_runs.backtest(20)
    history = report_runs.signed_positions(report)
    if kind is dict:
        given = {time: history[time] for time in history}
    elif kind == "pickled":
        given = pickle.loads(pickle.dumps(history))
    else:
        given = type(history)()
        for time in reversed(list(history)):  # in another order, and one holding knows more than the others
            position = history[time]
            for name in position.get_stock_list()[:1]:
                position.position[name]["more"] = 1.0
            given.record(time, position)
    twins = []
    for number, positions in enumerate((history, given)):
        recorder = report_runs.run(tmp_path / str(number))
        recorder.objects |= report_runs.sides(report)
        recorder.objects["portfolio_analysis/positions_normal_1day.pkl"] = positions
        twins.append(twin_of(recorder)["portfolio"]["sides"])
    assert twins[0]["series"].keys() == twins[1]["series"].keys()
    for name, column in twins[0]["series"].items():
        np.testing.assert_allclose(
            np.array(column, float), np.array(twins[1]["series"][name], float), rtol=1e-13, atol=1e-16
        )


@pytest.mark.parametrize("richer", [1.0, 3.0])
def test_one_account_for_all_is_closed_when_all_prices_have_moved_by_the_distance(tmp_path, richer):
    report = report_runs.backtest(40)
    positions = report_runs.signed_positions(report, own_limits=False)
    report["account"] *= richer  # the larger one can lose all that is long
    recorder = report_runs.run(tmp_path)
    recorder.objects |= report_runs.sides(report, own_limits=False)
    recorder.objects["portfolio_analysis/positions_normal_1day.pkl"] = positions
    sides = twin_of(recorder)["portfolio"]["sides"]
    assert sides["distance_of"] == "together"
    found = [x for x in sides["series"]["distance"] if x is not None]
    assert max(found) > 1 if richer > 1 else min(found) < 1
    for (time, account), x in zip(report["account"].items(), sides["series"]["distance"], strict=True):
        held = [one for one in positions[time].position.values() if isinstance(one, dict)]
        assert (x is None) == (not held)
        if held:
            moved = [max(one["price"] * (1 - np.sign(one["amount"]) * x), 0.0) for one in held]
            lost = sum(one["amount"] * (price - one["price"]) for one, price in zip(held, moved, strict=True))
            needed = sum(abs(one["amount"]) * price * one["mmr"] for one, price in zip(held, moved, strict=True))
            assert account + lost == pytest.approx(needed, abs=1e-6 * account)


def test_four_days_of_one_long_and_one_short_worked_out_by_hand(tmp_path):
    """Account 1000: long 5 at 100 with margin 100, closed at 80; short 2 at 50, closed at 60; then nothing."""
    report = pd.DataFrame(
        {
            "account": 1000.0, "return": 0.0, "total_turnover": 0.0, "turnover": 0.0, "total_cost": 0.0, "cost": 0.0,
            "value": [500.0, 400.0, -100.0, 0.0], "cash": [500.0, 600.0, 1100.0, 1000.0], "bench": 0.0,
        },
        index=pd.date_range("2024-01-01", periods=4, name="datetime"),
    )  # fmt: skip
    long = {"amount": 5.0, "price": 100.0, "margin": 100.0, "mmr": 0.01, "limit": 80.0}
    short = {"amount": -2.0, "price": 50.0, "margin": 50.0, "mmr": 0.01, "limit": 60.0}
    history = PositionHistory()
    for time, held in zip(report.index, ({"A": long}, {"A": long, "B": short}, {"B": short}, {}), strict=True):
        history.record(time, Position(cash=0.0, position_dict=held, short=True))
    costs = pd.DataFrame(
        {"account": 1000.0, "change": 0.0, "price": 0.0, "fee": 0.0, "impact": 0.0, "borrow": [0.0, 2, 1, 0],
         "payments": [1.0, -3, 0, 0], "stale": 0, "stale_value": 0.0},
        index=report.index,
    )  # fmt: skip
    recorder = report_runs.run(
        tmp_path, portfolio_analysis__report_normal_1day=report, portfolio_analysis__positions_normal_1day=history,
        portfolio_analysis__attribution_normal_1day=costs,
    )  # fmt: skip
    held = twin_of(recorder)["portfolio"]
    assert held["sides"]["series"] == {
        "long": [0.5, 0.5, 0.0, 0.0],
        "short": [0.0, -0.1, -0.1, 0.0],
        "net": [0.5, 0.4, -0.1, 0.0],
        "gross": [0.5, 0.6, 0.1, 0.0],
        "margin": [0.1, pytest.approx(0.15), 0.05, 0.0],
        "distance": [pytest.approx(0.2), pytest.approx(0.2), pytest.approx(0.2), None],
    }
    assert held["sides"]["forced_closes"] == 0
    assert held["carry"]["names"] == ["borrow", "payments"]
    assert held["carry"]["paid"] == [3.0, -2.0]
    np.testing.assert_allclose(held["carry"]["series"], [[0, 0.002, 0.003, 0.003], [0.001, -0.002, -0.002, -0.002]])
    assert held["carry"]["share"] == [column[-1] for column in held["carry"]["series"]]


def test_a_run_without_shorts_and_margin_has_no_sides_and_one_that_paid_nothing_for_holding_no_carry(tmp_path, twin):
    assert (twin["portfolio"]["sides"], twin["portfolio"]["carry"]) == (None, None)
    report = report_runs.backtest(10)
    history = PositionHistory()
    for time in report.index:
        history.record(time, Position(cash=1.0, position_dict={"A": {"amount": 1.0, "price": 2.0}}))
    recorder = report_runs.run(tmp_path)
    recorder.objects |= report_runs.portfolio(report)
    recorder.objects["portfolio_analysis/positions_normal_1day.pkl"] = history
    recorder.objects["portfolio_analysis/attribution_normal_1day.pkl"] = report_runs.attribution(report, borrow=0.0)
    held = twin_of(recorder)["portfolio"]
    assert (held["sides"], held["carry"]) == (None, None)


# ---------------------------------------------------------------------------------------------------- the trade log
def test_the_log_is_counted_whole_and_its_rows_are_the_fills_newest_first(tmp_path):
    recorder = report_runs.run(tmp_path)
    log = recorder.objects["portfolio_analysis/indicators_normal_1day_obj.pkl"].trades.frame()
    trades = twin_of(recorder)["trades"]
    assert trades["count"] == trades["shown"] == len(log) == 1200
    assert trades["files"] == ["portfolio_analysis/trades.parquet"]
    newest_first = log[::-1]
    for name, column in trades["rows"].items():
        wanted = newest_first[name].dt.strftime("%Y-%m-%d") if name == "time" else newest_first[name]
        assert column == wanted.tolist(), name
    assert set(trades["rows"]) == set(log.columns)
    assert dict(trades["instruments"]) == log.groupby("instrument").size().to_dict()
    assert dict(trades["reasons"]) == log.groupby("reason").size().to_dict()
    sides = log.groupby("side")["value"].sum()
    assert (trades["bought"], trades["sold"]) == (pytest.approx(sides["buy"]), pytest.approx(sides["sell"]))
    assert trades["fee"] == pytest.approx(log["fee"].sum())
    values = [trades["rows"]["value"][k] for k in trades["largest"]]
    assert values == sorted(log["value"], reverse=True)


def test_of_a_long_log_the_newest_rows_are_listed_and_everything_is_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(fills, "MOST", 100)
    recorder = report_runs.run(tmp_path)
    log = recorder.objects["portfolio_analysis/indicators_normal_1day_obj.pkl"].trades.frame()
    trades = twin_of(recorder)["trades"]
    assert (trades["count"], trades["shown"]) == (1200, 100)
    assert trades["rows"]["instrument"] == log["instrument"][:-101:-1].tolist()
    assert sum(count for _, count in trades["instruments"]) == 1200
    assert trades["bought"] + trades["sold"] == pytest.approx(log["value"].sum())
    assert sorted(trades["largest"]) == list(range(100))


def test_a_backtest_that_never_dealt_has_an_empty_log(tmp_path):
    recorder = report_runs.run(tmp_path, portfolio_analysis__indicators_normal_1day_obj=Indicator())
    trades = twin_of(recorder)["trades"]
    assert (trades["count"], trades["shown"], trades["instruments"], trades["largest"]) == (0, 0, [], [])


# ---------------------------------------------------------------------------------------------------- words and JSON
@example(-0.0, "plain")
@given(
    st.one_of(st.none(), st.floats(), st.integers(-(10**9), 10**9)),
    st.sampled_from(["percent", "change", "points", "coefficient", "ratio", "count", "money", "decimal", "plain"]),
)
def test_a_number_is_written_without_false_digits(value, kind):
    text = show(value, kind)
    assert "nan" not in text
    assert "inf" not in text
    assert "-" not in text
    assert len(text) <= 24
    digits = text.split("e")[0].partition(".")[2]
    assert sum(c.isdigit() for c in digits) <= 6
    assert text.strip("\u2212+0.,\u00a0%") or text[0] == "0", "zero has no sign"


@example(999999.5)
@example(0.99999951)
@given(st.floats(0, 1e14))
def test_an_amount_or_a_price_is_written_with_six_figures_at_any_size(value):
    text = show(value, "quantity")
    read = float(text.replace("\u2212", "-").replace(",", ""))
    assert read == pytest.approx(value, rel=5.1e-6)
    assert sum(c.isdigit() for c in text.split("e")[0].lstrip("0.")) <= 6 or value >= 1e5
    assert not text.endswith(".")
    assert "." not in text or not text.endswith("0") or "e" in text


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_ticks_are_few_round_and_inside(low, width):
    ticks = value_ticks(low, low + width)
    assert 1 <= len(ticks) <= 7
    assert all(low - width * 1e-6 <= tick <= low + width * (1 + 1e-6) for tick in ticks)


@given(st.integers(0, 20_000), st.integers(1, 12_000_000))
def test_time_ticks_are_few_inside_and_told_apart(start, minutes):
    first = pd.Timestamp("2001-01-01") + pd.Timedelta(days=start % 9000)
    ticks = time_ticks(first, first + pd.Timedelta(minutes=minutes))
    assert 1 <= len(ticks) <= 8
    assert len({text for _, text in ticks}) == len(ticks)
    assert all(first <= tick <= first + pd.Timedelta(minutes=minutes) for tick, _ in ticks)


@given(st.integers(1, 5000), st.integers(0, 10**6))
def test_thinning_keeps_the_ends_and_the_extremes(n, seed):
    values = np.random.default_rng(seed).normal(size=n).cumsum()
    rows = thin(values, 400)
    assert len(rows) <= 400
    assert (np.diff(rows) > 0).all()
    assert {0, n - 1, int(values.argmin()), int(values.argmax())} <= set(rows.tolist())


def test_nan_and_infinity_become_null_and_numpy_becomes_plain():
    long = [1.0] * 200
    assert clean({"a": [np.float64(1), np.nan], "b": np.int64(3), "c": [*long, np.inf]}) == {
        "a": [1.0, None],
        "b": 3,
        "c": [*long, None],
    }


def test_the_twin_is_strict_json_with_a_version(twin):
    def refuse(constant):
        raise AssertionError(constant)

    assert json.loads(dump(twin), parse_constant=refuse) == twin
    assert twin["schema"] == {"name": "qlib.run_report", "version": 2}


@pytest.mark.parametrize(("bars", "told"), [(1, False), (24, True)])
def test_labels_that_look_over_many_periods_are_told(tmp_path, bars, told):
    """Of returns that are drawn one by one, sums over 24 periods are alike from one period to the next."""
    pred, label = report_runs.signal(days=400, names=10)
    walk = label["LABEL0"].unstack() + np.random.default_rng(0).normal(0, 0.02, (400, 1))
    summed = walk[::-1].rolling(bars).sum()[::-1].stack().rename("LABEL0").dropna()
    twin = twin_of(report_runs.run(tmp_path, pred=pred, label=summed.to_frame()))
    assert ("labels_overlap" in codes(twin)) == told
    assert (twin["signal"]["groups"]["overlap"] > 0.9) == told
