"""Perpetuals beside nautilus_trader's accounts (`tests/golden/nautilus_accounts.py`) and ccxt's precision rules."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_perpetuals import START, market, trade

from qlib.crypto.contracts import Terms
from qlib.crypto.currencies import Leg

TOLD = json.loads((Path(__file__).parents[2] / "golden" / "nautilus_accounts.json").read_text())
CENT = 2e-8  # its money has 8 digits, rounded at every fill


def start_of(case):
    return 100.0 if case["inverse"] else 1e6


def ours(case, fee):
    """The fills of a case, one a bar, in an account of the settle currency; positions and sums at the end of each."""
    fills = case["fills"]
    prices = [fills[0]["price"], *(one["price"] for one in fills), fills[-1]["price"]]
    provider = market(A=prices)
    provider.values["mark"] = np.array([prices[0], *(one["mark"] for one in fills), prices[-1]])[:, None]
    contract = case["contract"]
    terms = {
        "inverse": case["inverse"],
        "settle": "BTC" if case["inverse"] else "USDT",
        "contract": contract,
        "lot": 1.0,
    }
    orders = {step: [("A", one["contracts"] * contract)] for step, one in enumerate(fills)}
    return trade(
        provider, orders, account=start_of(case), contracts={"A": terms}, currency=terms["settle"], margin="cross",
        leverage=1 / TOLD["init"], mmr=TOLD["maintenance"], fees=fee,
    )  # fmt: skip


@pytest.mark.parametrize("number", range(len(TOLD["cases"])))
def test_positions_and_profit_are_those_of_nautilus_trader(number):
    """Size, notional, maintenance margin, fees; and profit, realised and not, where every position has one entry.

    Of an inverse position that was opened in several fills it takes the arithmetic mean of prices as the entry: not
    what was paid, and its profit is off by that (the test below). Linear ones agree there, too.
    """
    case = TOLD["cases"][number]
    contract, inverse = case["contract"], case["inverse"]
    values, positions, account = ours(case, TOLD["taker"])
    log = account.trades.frame()
    leg = Leg("A", "", inverse=inverse)
    for step, told in enumerate(case["fills"]):
        np.testing.assert_allclose(log["fee"].iloc[step], told["fee"], rtol=1e-9, atol=CENT)
        held = positions[START + pd.Timedelta(hours=step + 1)].position.get("A", {"amount": 0.0})
        np.testing.assert_allclose(held["amount"], told["held"] * contract, rtol=1e-12, atol=1e-12)
        unrealised = 0.0
        if told["held"]:
            notional = abs(held["amount"]) * leg.worth(told["mark"])
            np.testing.assert_allclose(notional, told["notional"], rtol=1e-9, atol=CENT)
            np.testing.assert_allclose(notional * held["mmr"], told["maintenance"], rtol=1e-9, atol=CENT)
            np.testing.assert_allclose(notional * TOLD["init"], told["margin"], rtol=1e-9, atol=CENT)
            unrealised = leg.profit(held["amount"], held["entry"], told["mark"])
        if inverse and case["adding"]:
            continue
        if told["held"]:
            np.testing.assert_allclose(held["entry"], told["entry"], rtol=1e-9)
            np.testing.assert_allclose(unrealised, told["unrealised"], rtol=1e-9, atol=CENT)
        realised = values[step] - start_of(case) - unrealised
        np.testing.assert_allclose(realised, told["realised"], rtol=1e-9, atol=CENT * (step + 1))


def test_the_entry_of_an_inverse_position_is_the_price_that_was_paid():
    """nautilus_trader means prices by contracts; coins that were paid for are the face by the harmonic mean.

    1,000 face at 20,000 and 1,000 at 80,000 are 0.05 + 0.0125 = 0.0625 coins: 32,000 a coin, not 50,000.
    """
    leg, seen = Leg("A", "BTC", inverse=True), 0
    np.testing.assert_allclose(leg.entry(1000.0, 20_000.0, 1000.0, 80_000.0), 32_000)
    for case in TOLD["cases"]:
        fills, entry, before = case["fills"], 0.0, 0.0
        for one in fills if case["inverse"] and case["adding"] else []:
            held, change = one["held"], one["contracts"]
            if before * change > 0:
                entry = (before * entry + change * one["price"]) / held
                seen += 1
            elif before * held <= 0:
                entry = one["price"]
            if held:
                np.testing.assert_allclose(one["entry"], entry, rtol=1e-9)
            before = held
    assert seen > 5


# --------------------------------------------------------------------------------------------------------------- ccxt
ROWS = [
    {"symbol": symbol, "ctVal": contract, "lotSz": lot, "minSz": lot, "tickSz": "0.1", "settle": settle}
    for symbol, contract, lot, settle in (
        ("BTC-USDT-SWAP", "0.01", "0.01", "USDT"),
        ("ETH-USDT-SWAP", "0.1", "0.01", "USDT"),
        ("DOGE-USDT-SWAP", "1000", "0.01", "USDT"),
        ("SHIB-USDT-SWAP", "1000000", "0.1", "USDT"),
        ("BTC-USD-SWAP", "100", "1", "BTC"),
    )
]


def ccxt_market(row):
    """The venue's row of an instrument, as ccxt reads it."""
    ccxt = pytest.importorskip("ccxt", reason="pip install ccxt")
    base, quote, _ = row["symbol"].split("-")
    venue = ccxt.okx()
    told = {
        "instType": "SWAP", "instId": row["symbol"], "uly": f"{base}-{quote}", "instFamily": f"{base}-{quote}",
        "baseCcy": "", "quoteCcy": "", "settleCcy": row["settle"], "ctVal": row["ctVal"], "ctMult": "1",
        "ctValCcy": "USD" if quote == "USD" else base, "ctType": "inverse" if quote == "USD" else "linear",
        "lever": "100", "tickSz": row["tickSz"], "lotSz": row["lotSz"], "minSz": row["minSz"], "state": "live",
        "listTime": "1611916828000", "expTime": "", "optType": "", "stk": "", "alias": "", "maxLmtSz": "1e9",
    }  # fmt: skip
    found = venue.parse_market(told)
    venue.set_markets([found])
    return venue, found


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["symbol"])
def test_sizes_are_those_of_ccxt(row):
    """Amounts in coins (or face) become whole lots of contracts as ccxt truncates them, at any size."""
    venue, found = ccxt_market(row)
    assert found["contract"] and found["inverse"] == (row["settle"] == "BTC")
    contract = found["contractSize"]
    terms = Terms(
        row["symbol"], contract=float(row["ctVal"]), lot=float(row["lotSz"]), minimum=float(row["minSz"]),
        inverse=found["inverse"], settle=row["settle"],
    )  # fmt: skip
    assert terms.contract == contract and found["limits"]["amount"]["min"] == terms.minimum
    rng = np.random.default_rng(7)
    lots = rng.integers(1, 10**6, 200)
    sizes = [*(10 ** rng.uniform(-3, 5, 300)), *(lots * float(row["lotSz"])), *(rng.integers(1, 50, 50) * 0.1)]
    for size in sizes:
        text = f"{size:.12f}"
        if Decimal(text) < Decimal(row["minSz"]):
            assert terms.floor(float(text) * contract) == 0.0
            continue
        expected = float(venue.amount_to_precision(found["symbol"], float(text)))
        np.testing.assert_allclose(terms.floor(float(text) * contract) / contract, expected, rtol=1e-12)
