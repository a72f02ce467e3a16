"""Tables of margin and caps of orders: from the venue's answer to the back-test, as of the date."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from test_perpetuals import market, trade

pytest.importorskip("aiohttp", reason="the fake venue needs aiohttp")

from qlib.cli.main import main
from qlib.collect.instrument_history import latest
from qlib.crypto import read_instruments
from qlib.crypto.contracts import Contracts
from qlib.crypto.margin import Tier, Tiers
from qlib.crypto.market import Perpetuals, Spot, okx_futures
from qlib.crypto.tier_history import read_tiers, remember_tiers
from qlib.crypto.venues.fake import FakeVenue, Fault, Faults, random_market
from qlib.crypto.venues.okx import OkxSource, parse
from qlib.errors import InputError, MissingDataError

START = 1_767_225_600_000  # 2026-01-01
WIDE = [Tier(10, 0.01, 100), Tier(1000, 0.1, 10)]
NARROW = [Tier(5, 0.01, 100), Tier(1000, 0.1, 10)]
TABLE = {"default": [(10, 0.01, 100), (20, 0.05, 20), (1000, 0.1, 10)]}


@pytest.fixture
def venue(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    monkeypatch.chdir(tmp_path)
    with FakeVenue(**random_market(n_spot=1, n_swap=2, bars=50, bar="1H", start=START, seed=3), limits=False) as venue:
        monkeypatch.setenv("OKX_BASE_URL", venue.url)
        yield venue


def asked_for_tiers(venue: FakeVenue) -> list[str]:
    return [one.params["tdMode"] for one in venue.requests if "position-tiers" in one.path]


# --- what the venue says


def test_the_table_of_a_contract_is_what_the_venue_says_of_its_family(venue):
    with OkxSource(speed=None) as source:
        found = source.position_tiers("BTC-USDT-SWAP", "isolated")
    assert found[0] == Tier(1000.0, 0.004, 100.0), "the fake venue's first tier of a contract with leverage 100"
    assert [one.up_to for one in found] == [1000.0, 5000.0, 25_000.0, 125_000.0, 625_000.0]
    assert asked_for_tiers(venue) == ["isolated"]


def test_spot_has_no_tiers_and_an_unknown_mode_is_told_the_known_ones(venue):
    with OkxSource(speed=None) as source:
        with pytest.raises(InputError, match="BTC-USDT: a spot pair has no tiers"):
            source.position_tiers("BTC-USDT", "cross")
        with pytest.raises(
            InputError, match="mode: received 'crossed'; allowed are isolated, cross; did you mean cross"
        ):
            source.position_tiers("BTC-USDT-SWAP", "crossed")


def test_an_order_cap_is_in_contracts_or_for_spot_in_money():
    row = {"instType": "SWAP", "instId": "A-USDT-SWAP", "uly": "A-USDT", "maxMktSz": "30000", "maxMktAmt": ""}
    (swap,) = parse.instruments([row])
    assert (swap.maximum, math.isnan(swap.maximum_value)) == (30_000.0, True)
    pair = {"instType": "SPOT", "instId": "A-USDT", "maxMktSz": "1000000", "maxMktAmt": "900000"}
    (spot,) = parse.instruments([pair])
    assert math.isnan(spot.maximum) and spot.maximum_value == 900_000.0, "maxMktSz of a pair is no number of coins"


# --- what is kept of it


def test_only_what_changed_is_added_and_nothing_is_ever_removed(tmp_path):
    file = tmp_path / "tiers.parquet"
    assert remember_tiers(file, {("A", "cross"): WIDE, ("A", "isolated"): WIDE}, "2026-01-05")
    assert not remember_tiers(file, {("A", "cross"): WIDE}, "2026-01-06"), "nothing is new"
    assert remember_tiers(file, {("A", "cross"): NARROW}, "2026-01-07") == [("A", "cross")]
    frame = read_tiers(tmp_path)
    assert frame.groupby(["mode", "seen"]).size().to_dict() == {
        ("cross", "2026-01-05"): 2, ("cross", "2026-01-07"): 2, ("isolated", "2026-01-05"): 2,
    }  # fmt: skip
    cross, isolated = (Tiers.read(tmp_path, mode) for mode in ("cross", "isolated"))
    for day, width in (("2020-01-01", 10), ("2026-01-06 23:00", 10), ("2026-01-07", 5), ("2027-01-01", 5)):
        assert cross.of_size("A", 1.0, pd.Timestamp(day)).up_to == width
        assert isolated.of_size("A", 1.0, pd.Timestamp(day)).up_to == 10


def test_a_second_table_of_one_day_takes_the_place_of_the_first(tmp_path):
    file = tmp_path / "tiers.parquet"
    remember_tiers(file, {("A", "cross"): WIDE}, "2026-01-05")
    remember_tiers(file, {("A", "cross"): NARROW}, "2026-01-05")
    assert Tiers.read(file, "cross").table("A") == tuple(NARROW)


def test_where_no_tiers_were_collected_the_command_is_named(tmp_path):
    with pytest.raises(MissingDataError, match=r"tiers.parquet does not exist.*qlib collect okx --tiers"):
        Tiers.of(str(tmp_path), mode="cross")


def test_the_command_keeps_the_tables_of_both_modes_and_the_caps(venue, capsys):
    words = ["collect", "okx", "--speed", "1000", "--symbols", "BTC-USDT-SWAP,BTC-USDT", "--end", "2026-01-02"]
    assert main([*words, "--quiet"]) == 0
    assert not asked_for_tiers(venue), "who does not ask for them pays no request"
    assert main([*words, "--tiers"]) == 0
    assert sorted(asked_for_tiers(venue)) == ["cross", "isolated"], "one question a mode, and none for spot"
    assert "margin tiers of 1 contract" in capsys.readouterr().out
    assert set(read_tiers("data/klines")["symbol"]) == {"BTC-USDT-SWAP"}
    caps = read_instruments("data/klines").set_index("symbol")
    assert caps.loc["BTC-USDT-SWAP", "maximum"] == 30_000
    assert Contracts.read("data/klines").at("BTC-USDT", "2026-01-02").most == 1_000_000


def test_a_venue_that_does_not_tell_its_tiers_costs_no_bars(venue, capsys):
    venue.faults = Faults(plan=[Fault("code", path="position-tiers", code="51000", times=99)])
    words = ["collect", "okx", "--speed", "1000", "--symbols", "BTC-USDT-SWAP", "--end", "2026-01-02", "--tiers"]
    assert main(words) == 1
    (said,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("margin tiers of BTC-USDT-SW")]
    assert "OKX answers 200, code 51000" in said
    assert len(list(Path("data/klines").rglob("2026.parquet"))) == 1, "the bars are there"


def test_a_history_from_before_there_were_caps_is_read_and_gone_on_with(venue):
    words = ["collect", "okx", "--speed", "1000", "--symbols", "BTC-USDT-SWAP", "--end", "2026-01-02", "--quiet"]
    assert main(words) == 0
    file = Path("data/klines/instruments.parquet")
    table = pq.read_table(file).drop_columns(["maximum", "maximum_value"])
    pq.write_table(table, file)
    assert read_instruments("data/klines")["maximum"].isna().all()
    assert Contracts.read("data/klines").at("BTC-USDT-SWAP", "2026-01-02").maximum == math.inf
    assert main(words) == 0
    assert latest(file)["BTC-USDT-SWAP"]["maximum"] == 30_000


def test_a_contract_that_is_gone_is_not_asked_for_its_tiers(venue, capsys):
    words = ["collect", "okx", "--speed", "1000", "--end", "2026-01-02", "--tiers"]
    assert main([*words, "--symbols", "BTC-USDT-SWAP,ETH-USD-SWAP"]) == 0
    venue.faults = Faults(plan=[Fault("delist", path="candles", params=(("instId", "ETH-USD-SWAP"),))])
    main([*words[:-2], "2026-01-03", "--update"])
    venue.requests.clear()
    capsys.readouterr()
    main([*words[:-2], "2026-01-04", "--update", "--tiers"])
    assert "margin tiers of 1 contract: 0 tables are new" in capsys.readouterr().out
    assert {one.params["instFamily"] for one in venue.requests if "tiers" in one.path} == {"BTC-USDT"}


# --- what the back-test makes of it


def test_an_order_is_cut_to_the_most_that_the_venue_takes_as_of_the_date():
    """100 coins are ordered each day at 10: at most 5 contracts of 10 coins, from 2 January on 300 of money too."""
    history = pd.DataFrame(
        {
            "symbol": ["A", "A"], "seen": ["2024-01-01", "2024-01-02"], "kind": "spot", "quote": "USDT",
            "inverse": False, "lot": 1.0, "minimum": 1.0, "maximum": [50.0, np.nan], "maximum_value": [np.nan, 300.0],
        }
    )  # fmt: skip
    provider = market("day", A=[10.0] * 4)
    provider.clock = type(provider.clock)("day", pd.date_range("2023-12-31", periods=4).to_numpy())
    orders = {0: [("A", 100)], 1: [("A", 100)]}
    _, _, account = trade(provider, orders, contracts=history, kind=Spot)
    assert account.trades.frame()["amount"].tolist() == [50.0, 30.0]


def test_tiers_hold_as_of_the_date_for_what_is_held_too():
    """8 coins long at 100, leverage 5, cash 10,000: limit 80 / (1 - mmr). On 3 January tier one ends at 5 contracts."""
    rows = [("A", seen, "isolated", *row) for seen, table in (("2024-01-01", WIDE), ("2024-01-03", NARROW))
            for row in ((n, one.up_to, one.mmr, one.max_leverage) for n, one in enumerate(table, 1))]  # fmt: skip
    frame = pd.DataFrame(rows, columns=["symbol", "seen", "mode", "tier", "up_to", "mmr", "max_leverage"])
    provider = market("day", A=[100.0] * 6)
    _, positions, _ = trade(provider, {0: [("A", 8)]}, leverage=5, mmr=frame)
    limits = {str(time.date()): one.position["A"]["limit"] for time, one in positions.items() if "A" in one.position}
    before, after = 80 / 0.99, 80 / 0.9
    assert limits.pop("2024-01-02") == pytest.approx(before, rel=1e-12)
    assert limits and all(limit == pytest.approx(after, rel=1e-12) for limit in limits.values())


def test_the_fee_of_a_liquidation_counts_into_the_margin_where_the_venue_says_so():
    """OKX closes at P0 (1 - 1/L) / (1 - (mmr + fee)): 100 * 0.8 / (1 - 0.0105) and not 100 * 0.8 / (1 - 0.01)."""
    provider = market(A=[100.0] * 3)
    for kind, more, needed in (
        (Perpetuals, {}, 0.01),
        (Perpetuals, {"fee_in_margin": True}, 0.0105),
        (okx_futures, {}, 0.0105),
        (okx_futures, {"fee_in_margin": False}, 0.01),
    ):
        _, positions, _ = trade(provider, {0: [("A", 1)]}, leverage=5, mmr=TABLE, kind=kind, **more)
        assert positions[max(positions)].position["A"]["limit"] == pytest.approx(80 / (1 - needed), rel=1e-12)


@pytest.mark.parametrize(
    ("kind", "contracts", "amount", "said"),
    [
        (
            Perpetuals,
            {"lot": 1, "minimum": 5, "contract": 0.1},
            0.4,
            "to buy 0.4 A at .*: it is below the least order of 0.5",
        ),
        (
            Spot,
            {"kind": "spot", "lot": 0.1, "notional": 50},
            0.4,
            "to buy 0.4 A .* below the least order of 0.1 and 50 of value",
        ),
        (Perpetuals, {"lot": 1, "minimum": 5, "contract": 0.1}, 0.5, None),
    ],
)
def test_an_order_below_the_least_one_is_skipped_or_an_error_that_names_it(kind, contracts, amount, said):
    provider, orders = market(A=[100.0] * 3), {0: [("A", amount)]}
    terms = {"A": contracts}
    _, _, account = trade(provider, orders, kind=kind, contracts=terms)
    log = account.trades.frame(fills_only=False)
    assert (log["amount"].tolist(), log["reason"].tolist()) == (([0.0], ["lot"]) if said else ([amount], ["order"]))
    if said is None:
        trade(provider, orders, kind=kind, contracts=terms, too_small="error")
        return
    with pytest.raises(InputError, match=said):
        trade(provider, orders, kind=kind, contracts=terms, too_small="error")
