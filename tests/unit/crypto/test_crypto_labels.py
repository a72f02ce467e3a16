"""A label less what holding cost is what an account earns that buys at the next close and sells when it says."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from backtest_market import Given, MemoryProvider, run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import qlib
from qlib import session
from qlib.backtest.executor import SimulatorExecutor
from qlib.crypto.features import label_config
from qlib.crypto.handler import Crypto158
from qlib.crypto.market import Perpetuals
from qlib.data.dataset.horizon import guess_horizon
from qlib.errors import MissingDataError

BARS = 30
TIMES = pd.date_range("2024-01-01", periods=BARS, freq="h")


def market(seed, every, lost=()):
    """Closes of one coin, and rates paid every so many hours; `lost` are bars of which nobody knows."""
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(rng.normal(0, 0.02, (BARS, 1)).cumsum(axis=0))
    paid = np.arange(BARS)[:, None] % every == 0
    rate = np.where(paid, rng.normal(0, 0.002, (BARS, 1)), np.nan)
    count = paid.astype(float)
    count[list(lost)], rate[list(lost)] = np.nan, np.nan
    fields = {"close": close, "factor": np.ones_like(close), "volume": 1e6 * np.ones_like(close)}
    fields |= {"funding": rate, "funding_count": count}
    return MemoryProvider(TIMES.to_numpy(), ["A"], fields, freq="60min", region="crypto")


def earned(provider, decided, bars):
    """Buy for 1,000 at the close after the bar `decided`, sell `bars` closes later: the profit, as a share."""
    amount = 1_000 / provider.values["close"][decided + 1, 0]
    exchange = Perpetuals(
        freq="60min", start_time=TIMES[0], end_time=TIMES[-1], codes=["A"], provider=provider, deal_price="close",
        fees=0.0, leverage=1, mark="$close", funding="field",
    )  # fmt: skip
    executor = SimulatorExecutor("60min", generate_portfolio_metrics=True)
    orders = {decided: [("A", amount)], decided + bars: [("A", -amount)]}
    report, *_ = run(provider, Given(orders), executor=executor, account=10_000, exchange_kwargs={"exchange": exchange})
    return (report["account"].iloc[-1] - 10_000) / 1_000


def label(provider, bars, **options):
    (formula,), _ = label_config("60min", bars, carry=True, **options)
    return provider.features(["A"], [formula], freq="60min").to_numpy()[:, 0]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 99),
    every=st.sampled_from([1, 3, 4, 8]),
    decided=st.integers(0, 18),
    bars=st.integers(1, 9),
    counted=st.booleans(),
)
def test_the_label_is_what_the_account_earns(seed, every, decided, bars, counted):
    provider = market(seed, every)
    found = label(provider, bars, counted=counted)[decided]
    np.testing.assert_allclose(found, earned(provider, decided, bars), atol=2e-6)


def test_who_buys_at_a_close_pays_what_is_due_then_and_who_sells_does_not():
    """8-hourly payments stand in bars 0, 8, 16 ...: that at 08:00 is due from who bought at the close of bar 7."""
    provider = market(3, 8)
    close, rate = provider.values["close"][:, 0], provider.values["funding"][:, 0]
    plain = provider.features(["A"], label_config("60min", 2)[0], freq="60min").to_numpy()[:, 0]
    taken = plain - label(provider, 2)
    np.testing.assert_allclose(np.flatnonzero(np.abs(np.nan_to_num(taken)) > 1e-9), [5, 6, 13, 14, 21, 22])
    np.testing.assert_allclose(taken[[5, 6]], rate[8] * close[7] / close[[6, 7]], atol=2e-6)


def test_a_rate_that_is_not_known_leaves_no_label_and_ends_the_run():
    provider = market(1, 4, lost=[12])
    assert np.flatnonzero(np.isnan(label(provider, 3))).tolist() == [8, 9, 10, 26, 27, 28, 29]
    with pytest.raises(MissingDataError, match="its funding is not known"):
        earned(provider, 9, 3)


def test_it_looks_as_far_as_the_plain_label():
    for bars in (1, 8):
        assert guess_horizon(label_config("60min", bars, carry=True)[0]) == bars + 1
    assert label_config("60min", "8h", carry=True)[1] == ["LABEL_8h_CARRY"]


def test_the_handler_says_what_its_store_does_not_know():
    fields = {name: values[:, 0] for name, values in market(0, 8).values.items()}
    bars = pd.DataFrame(fields | dict.fromkeys(("open", "high", "low", "vwap"), fields["close"]), index=TIMES)

    def handler(columns, **options):
        data = pd.concat({"A": bars[columns]}, names=["instrument", "datetime"])
        qlib.init(data={"60min": data}, region="crypto", logging_level=40)
        made = Crypto158(freq="60min", groups=["candle"], listing="0h", horizon=2, carry=True, **options)
        return made.fetch(col_set="label", data_key="raw").iloc[:, 0].to_numpy()

    every = list(bars)
    try:
        known = handler(every)
        older = handler([c for c in every if c != "funding_count"], missing="leave out")
        np.testing.assert_allclose(known, older, atol=1e-7)
        with pytest.raises(MissingDataError, match=r"carry: no instrument has \$funding_count at 60min"):
            handler([c for c in every if c != "funding_count"])
        with pytest.raises(MissingDataError, match=r"has \$funding, \$funding_count at 60min, so nobody knows what"):
            handler([c for c in every if not c.startswith("funding")], missing="leave out")
    finally:
        session.close()
