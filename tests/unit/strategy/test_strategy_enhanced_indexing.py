"""EnhancedIndexingStrategy: what it knows when, what it holds and sells, and what it says of bad files."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from backtest_market import MemoryProvider, run

from qlib.contrib.strategy import EnhancedIndexingStrategy
from qlib.contrib.strategy.risk_data import file_names, read_risk_data
from qlib.errors import ConfigError, MissingDataError

pytestmark = pytest.mark.skipif(not importlib.util.find_spec("cvxpy"), reason="cvxpy (extra portfolio) is not here")
BARS, NAMES = 12, [f"N{i}" for i in range(6)]


def market(seed: int = 0, *, after: int | None = None) -> MemoryProvider:
    """Prices, volumes and benchmark weights; those behind bar `after` are others."""
    rng = np.random.default_rng(seed)
    shape = (BARS, len(NAMES))
    fields = {
        "close": 20 * np.exp(np.cumsum(rng.normal(0, 0.02, shape), axis=0)),
        "volume": rng.integers(1_000, 9_000, shape).astype(float),
        "index_weight": rng.dirichlet(np.ones(len(NAMES)) * 5, BARS),
    }
    fields["volume"][5, 2] = 0.0
    if after is not None:
        other = np.random.default_rng(99)
        for values in fields.values():
            values[after + 1 :] *= other.uniform(0.5, 2, values[after + 1 :].shape)
    days = pd.date_range("2024-01-01", periods=BARS).to_numpy()
    return MemoryProvider(days, NAMES, fields, region="crypto")


@pytest.fixture
def risk(tmp_path: Path) -> Path:
    rng = np.random.default_rng(7)
    for day in pd.date_range("2024-01-01", periods=BARS):
        folder = tmp_path / f"{day:%Y%m%d}"
        folder.mkdir()
        root = rng.normal(size=(2, 2))
        pd.DataFrame(rng.normal(size=(6, 2)), NAMES, ["size", "value"]).to_pickle(folder / "factor_exp.pkl")
        pd.DataFrame(root @ root.T * 1e-4).to_pickle(folder / "factor_cov.pkl")
        pd.Series(rng.uniform(0.01, 0.02, 6), NAMES).to_pickle(folder / "specific_risk.pkl")
    return tmp_path


class Noting(EnhancedIndexingStrategy):
    def generate_target_weight_position(self, score, current, trade_start_time, trade_end_time):
        found = super().generate_target_weight_position(score, current, trade_start_time, trade_end_time)
        self.__dict__.setdefault("seen", {})[trade_start_time.day - 1] = found
        return found


def weights(provider: MemoryProvider, risk: Path, **kwargs):
    signal = pd.Series(
        np.random.default_rng(1).normal(size=BARS * 6),
        index=pd.MultiIndex.from_product([provider.clock.times, NAMES], names=["datetime", "instrument"]),
    )
    kwargs = {"optimizer_kwargs": {"b_dev": 0.1, "delta": 2.0}, **kwargs}
    strategy = Noting(riskmodel_root=risk, market="index", signal=signal, **kwargs)
    _, _, fills, _ = run(provider, strategy, account=1e9, exchange_kwargs={"trade_unit": None, "min_cost": 0})
    return strategy.seen, [(o.start_time, o.stock_id, o.amount_delta, o.deal_amount) for o, *_ in fills]


def test_weights_are_near_those_of_the_benchmark_in_the_bar_before(risk):
    provider = market()
    seen, fills = weights(provider, risk)
    assert list(seen) == list(range(1, BARS))
    for bar, found in seen.items():
        known = provider.values["index_weight"][bar - 1].astype(np.float32)
        assert sum(found.values()) == pytest.approx(1)
        assert max(abs(found.get(name, 0) - known[i]) for i, name in enumerate(NAMES) if i != 2) <= 0.1 + 1e-4
    assert len(fills) > 30


def test_a_limit_of_turnover_counts(risk):
    anywhere = {"b_dev": None, "delta": 2.0}
    _, wide = weights(market(), risk, optimizer_kwargs=anywhere)
    _, narrow = weights(market(), risk, optimizer_kwargs=anywhere, turn_limit=0.1)
    traded = [sum(amount for t, _, _, amount in fills if t.day > 4) for fills in (wide, narrow)]
    assert traded[1] < traded[0] / 2


def test_what_is_not_traded_is_held_and_what_is_banned_is_sold(risk):
    free, _ = weights(market(), risk)
    banned = max(free[3], key=free[3].get)
    pd.Series([banned]).to_csv(risk / "20240103" / "banned.csv")
    seen, fills = weights(market(), risk, name_mapping={"blacklist": "banned.csv"})
    assert seen[2] == free[2]
    assert banned not in seen[3]
    # N2 had no volume in bar 5: in step 6 its weight is what it was worth
    assert seen[6]["N2"] == pytest.approx(seen[5]["N2"], rel=0.2)
    assert not [row for row in fills if row[0].day == 7 and row[1] == "N2" and abs(row[2]) * 20 > 1e7]


@pytest.mark.parametrize("bar", [3, 7])
def test_what_happens_later_changes_no_earlier_weight_or_fill(risk, bar):
    (seen, fills), (other, others) = weights(market(), risk), weights(market(after=bar), risk)
    assert [row for row in fills if row[0].day <= bar + 1] == [row for row in others if row[0].day <= bar + 1]
    assert all(seen[step] == other[step] for step in seen if step <= bar + 1)


def test_a_day_without_a_risk_model_makes_no_orders(risk):
    for file in (risk / "20240105").iterdir():
        file.unlink()
    (risk / "20240105").rmdir()
    seen, fills = weights(market(), risk)
    assert seen[5] is None
    assert not [row for row in fills if row[0].day == 6]


def test_files_may_be_csv_and_parquet_and_pickles_run_no_code(risk):
    folder = risk / "20240102"
    known = read_risk_data(folder, file_names({}))
    pd.read_pickle(folder / "factor_exp.pkl").to_csv(folder / "exp.csv")
    pd.read_pickle(folder / "factor_cov.pkl").rename(columns=str).to_parquet(folder / "cov.parquet")
    pd.read_pickle(folder / "specific_risk.pkl")[::-1].to_csv(folder / "risk.csv")
    names = {"factor_exp": "exp.csv", "factor_cov": "cov.parquet", "specific_risk": "risk.csv"}
    found = read_risk_data(folder, file_names(names))
    assert found.universe == known.universe == NAMES
    for field in ("factor_exp", "factor_cov", "specific_risk"):
        assert getattr(found, field) == pytest.approx(getattr(known, field), rel=1e-12)
    (folder / "factor_exp.pkl").write_bytes(b"cbuiltins\neval\n(S'1'\ntR.")
    with pytest.raises(Exception, match=r"builtins\.eval"):
        read_risk_data(folder, file_names({}))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda f: (f / "factor_cov.pkl").unlink(), "factor_cov.pkl is missing"),
        (lambda f: pd.DataFrame(np.eye(3)).to_pickle(f / "factor_cov.pkl"), "has 2 factors"),
        (lambda f: pd.Series([0.1], ["N1"]).to_pickle(f / "specific_risk.pkl"), "not each has a specific risk"),
    ],
)
def test_a_damaged_risk_model_is_named(risk, spoil, says):
    spoil(risk / "20240102")
    with pytest.raises(MissingDataError, match="20240102") as error:
        weights(market(), risk)
    assert says in str(error.value)


def test_what_is_missing_is_said_in_one_sentence(risk):
    with pytest.raises(ConfigError, match="no folder"):
        weights(market(), risk / "none")
    with pytest.raises(ConfigError, match="did you mean"):
        file_names({"factor_expo": "x.pkl"})
    provider = market()
    del provider.values["index_weight"]
    with pytest.raises(MissingDataError, match=r"no \$index_weight"):
        weights(provider, risk)
