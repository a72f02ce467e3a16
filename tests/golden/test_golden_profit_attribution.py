"""What pyqlib 0.9.7 answers for profit attribution (`profit_attribution.json`), and what its numbers must obey.

Its `brinson_pa` looks for the weights in a file named like the frequency; it was given one.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qlib.backtest import profit_attribution as pa
from qlib.backtest.position import Position
from qlib.config import build_settings
from qlib.data.provider import Provider
from qlib.data.storage.writer import write_store
from qlib.errors import InputError, MissingDataError

ANSWERS = json.loads((Path(__file__).parent / "profit_attribution.json").read_text())


def table(answer: dict) -> pd.DataFrame:
    values = np.array(answer["values"], dtype=float)
    return pd.DataFrame(values, index=pd.DatetimeIndex(answer["index"]), columns=answer["columns"])


def same(got: pd.DataFrame, answer: dict, rows: slice = slice(None)) -> None:
    expected = table(answer)
    got = got.reindex(columns=expected.columns)
    assert list(got.index) == list(expected.index)
    np.testing.assert_allclose(got.to_numpy(float)[rows], expected.to_numpy()[rows], rtol=1e-5, atol=2e-6)


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    fields = {name: table(answer) for name, answer in ANSWERS["fields"].items()}
    names = fields["close"].columns
    frames = {name: pd.DataFrame({field: values[name] for field, values in fields.items()}) for name in names}
    folder = Path(write_store(frames, tmp_path_factory.mktemp("brinson") / "store", "day"))
    weights = folder / pa.WEIGHTS_FILE
    weights.parent.mkdir(parents=True)
    pd.DataFrame(ANSWERS["weights"]).to_csv(weights, index=False)
    return folder


@pytest.fixture
def use(store, monkeypatch):
    def choose(compat: str | None) -> None:
        settings = build_settings(provider_uri=str(store), region="cn", compat=compat, logging_level=logging.CRITICAL)
        monkeypatch.setattr(pa, "active_provider", lambda: Provider(settings))

    choose(None)
    return choose


@pytest.fixture(scope="module")
def positions() -> dict[pd.Timestamp, Position]:
    held = {}
    for day, amounts in ANSWERS["positions"].items():
        stocks = {name: {"amount": amount, "price": 10.0} for name, amount in amounts.items()}
        held[pd.Timestamp(day)] = Position(cash=100.0, position_dict=stocks)
    return held


@pytest.mark.parametrize("case", ANSWERS["cases"], ids=lambda case: str(case["arguments"].get("group_n", "category")))
@pytest.mark.parametrize("compat", [None, "qlib"])
def test_effects_are_qlibs(use, positions, case, compat):
    use(compat)
    effects, parts = pa.brinson_pa(positions, **case["arguments"])
    # the return of the last day needs the price of the day after, which Qlib does not load: it answers 0 there
    known = slice(None) if compat else slice(0, -1)
    same(effects, case["effects"], known)
    for name, answer in case["parts"].items():
        same(parts[name], answer, known)


def test_the_last_day_counts_where_the_next_one_is_known(use, positions):
    effects, parts = pa.brinson_pa(positions)
    assert effects.notna().all().all()
    assert effects["RTotal"].iloc[-1] != 0
    day = effects.index[-1]
    price = table(ANSWERS["fields"]["vwap"]).ffill()
    earned = (price.shift(-1) / price - 1).loc[day]
    share = parts["port_stock_weight"].loc[day].fillna(0) @ earned.reindex(parts["port_stock_weight"].columns)
    bench = parts["bench_stock_weight"].loc[day] @ earned.reindex(parts["bench_stock_weight"].columns)
    assert effects["RTotal"].iloc[-1] == pytest.approx(share - bench, abs=1e-6)


def test_a_day_after_which_data_end_has_no_effects(use):
    last = table(ANSWERS["fields"]["close"]).index[-1]
    held = Position(cash=0, position_dict={"SH600000": {"amount": 1.0, "price": 10.0}})
    effects, _ = pa.brinson_pa({last: held})
    assert effects.isna().all().all()
    use("qlib")
    effects, _ = pa.brinson_pa({last: held})
    assert (effects == 0).all().all()


@pytest.mark.parametrize("count", ANSWERS["bins"]["groups"])
def test_bins_are_those_of_the_benchmarks_quantiles(count):
    bench, values = (pd.Series(ANSWERS["bins"][name], dtype=float) for name in ("bench", "values"))
    got = pa.get_daily_bin_group(bench, values, int(count))
    np.testing.assert_array_equal(got, np.array(ANSWERS["bins"]["groups"][count], dtype=float))


def random_tables(seed: int) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    rng = np.random.default_rng(seed)
    days, names = pd.date_range("2024-01-01", periods=5), list("ABCDEFG")

    def make(values: np.ndarray) -> pd.DataFrame:
        return pd.DataFrame(values, index=days, columns=names)

    held = [rng.dirichlet(np.ones(7), 5) * np.where(rng.random((5, 7)) < 0.4, np.nan, 1) for _ in range(2)]
    groups = make(rng.integers(1, 4, (5, 7)).astype(float))
    return make(held[0]), make(held[1]), groups, make(rng.normal(0, 0.02, (5, 7)))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_weights_and_returns_of_groups_add_up_to_those_of_the_whole(seed):
    weights, _, groups, returns = random_tables(seed)
    weight, earned = pa.decompose_portofolio(weights, groups, returns)
    np.testing.assert_allclose(weight.sum(axis=1), weights.sum(axis=1), atol=1e-12)
    np.testing.assert_allclose((weight * earned).sum(axis=1), (weights * returns).sum(axis=1), atol=1e-12)
    _, within = pa.decompose_portofolio_weight(weights, groups)
    for shares in within.values():
        total = shares.sum(axis=1, min_count=1).dropna()
        np.testing.assert_allclose(total, 1.0, atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_the_effects_add_up_to_the_return_over_the_benchmark(seed):
    """The identity of the decomposition, computed from the names themselves, not from the groups."""
    port, bench, groups, returns = random_tables(seed)
    wp, rp = pa.decompose_portofolio(port, groups, returns)
    wb, rb = pa.decompose_portofolio(bench, groups, returns)
    effects = pa.effects_of(wp, rp, wb, rb)
    over = (port * returns).sum(axis=1) - (bench * returns).sum(axis=1)
    np.testing.assert_allclose(effects["RTotal"], over, atol=1e-12)
    np.testing.assert_allclose(effects[["RAA", "RSS", "RIN"]].sum(axis=1), over, atol=1e-12)
    both = rp.notna().all(axis=1) & rb.notna().all(axis=1)
    np.testing.assert_allclose(effects["RIN"][both], ((wp - wb) * (rp - rb)).sum(axis=1)[both], atol=1e-12)


def test_holding_the_benchmark_has_no_effect_and_its_weights_other_names_are_selection_only(use, positions):
    weights = pa.get_benchmark_weight("SH000905")
    day = weights.index[5]
    mine = {name: {"amount": float(value), "price": 1.0} for name, value in weights.loc[day].items()}
    effects, _ = pa.brinson_pa({day: Position(cash=0, position_dict=mine)}, bench=weights / weights.sum(axis=1).iloc[5])
    np.testing.assert_allclose(effects.to_numpy(), 0, atol=1e-12)


def test_weights_hold_until_the_next_ones_and_a_name_that_left_is_gone(use, positions):
    days = pd.DatetimeIndex(sorted(positions))
    weights = pd.DataFrame({"SH600000": [0.5, 1.0], "SZ000001": [0.5, np.nan]}, index=[days[0], days[3]])
    _, parts = pa.brinson_pa(positions, bench=weights)
    kept = parts["bench_stock_weight"]
    assert (kept.loc[: days[2], "SZ000001"] == 0.5).all()
    assert kept.loc[days[3] :, "SZ000001"].isna().all()
    with pytest.raises(MissingDataError, match="no weights on or before 2020-01-06"):
        pa.brinson_pa(positions, bench=weights.iloc[1:])


def test_weights_of_a_benchmark_are_shares_within_the_range(use, store):
    weights = pa.get_benchmark_weight("SH000905", "2020-01-06", "2020-01-08")
    assert [str(day.date()) for day in weights.index] == ["2020-01-06", "2020-01-07", "2020-01-08"]
    np.testing.assert_allclose(weights.sum(axis=1), 0.97)
    same_file = pa.get_benchmark_weight("SH000905", path=store / pa.WEIGHTS_FILE)
    assert len(same_file) == 40


def test_what_is_wrong_with_a_file_of_weights_is_named(use, tmp_path):
    with pytest.raises(MissingDataError, match="it holds no weights of SH000950; did you mean SH000905"):
        pa.get_benchmark_weight("SH000950")
    with pytest.raises(MissingDataError, match="there is no file .*nowhere.csv; it has the columns"):
        pa.get_benchmark_weight("SH000905", path=tmp_path / "nowhere.csv")
    (tmp_path / "w.csv").write_text("index,date,weight\nX,2020-01-01,1\n")
    with pytest.raises(InputError, match="lacks code"):
        pa.get_benchmark_weight("X", path=tmp_path / "w.csv")
    (tmp_path / "w.csv").write_text("index,date,code,weight\nX,2020-01-01,A,1\nX,2020-01-01,A,2\n")
    with pytest.raises(InputError, match="X has two weights of A on 2020-01-01"):
        pa.get_benchmark_weight("X", path=tmp_path / "w.csv")


def test_what_cannot_be_grouped_is_refused(use, positions):
    with pytest.raises(
        InputError, match="group_method: received 'bin'; allowed are 'category' and 'bins'; did you mean"
    ):
        pa.brinson_pa(positions, group_method="bin")
    with pytest.raises(InputError, match="group_n: received None"):
        pa.brinson_pa(positions, group_field="size", group_method="bins")
    with pytest.raises(InputError, match="there are no positions"):
        pa.brinson_pa({})
