"""OKX's dialect: what its rows mean, and what its bars are called."""

from __future__ import annotations

import json

import numpy as np
import pytest
from conftest import shared
from hypothesis import given
from hypothesis import strategies as st

from qlib.collect.source import COLUMNS, Instrument, VenueError
from qlib.crypto.venues.okx import bars, parse
from qlib.errors import InputError

HOUR = 3_600_000
BTC_SWAP = Instrument("BTC-USDT-SWAP", "swap", "BTC", "USDT", "USDT", False, 0, None, "live", contract_value=0.01,
                      multiplier=1.0)  # fmt: skip
BTC_INVERSE = Instrument("BTC-USD-SWAP", "swap", "BTC", "USD", "BTC", True, 0, None, "live", contract_value=100.0,
                         multiplier=1.0)  # fmt: skip
BTC_SPOT = Instrument("BTC-USDT", "spot", "BTC", "USDT", "", False, 0, None, "live")


def recorded(name: str) -> list:
    return json.loads(shared(f"realdata/okx_json/{name}.json").read_text())["data"]


# --- candles


def test_real_candles_of_a_perpetual_have_their_volume_in_coins():
    rows = parse.candles(recorded("http_get_candlesticks_full"), "swap").rows
    assert list(rows) == list(COLUMNS["candles"])
    assert {name: str(values.dtype) for name, values in rows.items()} == COLUMNS["candles"]
    newest = {name: values[0] for name, values in rows.items()}
    assert newest == {
        "ts": 1747094040000, "open": 102806.1, "high": 102820.4, "low": 102806.1, "close": 102820.4,
        "volume": 10.4037, "amount": 1069603.34883, "vwap": 1069603.34883 / 10.4037, "traded": True,
    }  # fmt: skip


def test_the_same_row_of_a_spot_pair_has_its_volume_in_another_field():
    assert parse.candles(recorded("http_get_candlesticks_full"), "spot").rows["volume"].tolist() == [1040.37, 7164.04]


def test_bars_that_form_are_not_rows_but_are_seen():
    answer = parse.candles(recorded("http_get_candlesticks"), "spot")  # both have confirm 0
    assert answer.rows["ts"].tolist() == []
    assert (answer.oldest, answer.unfinished) == (1625097600000, 1625097600000)


def row(ts: int, ohlc: str = "1", volume: str = "5", confirm: str = "1") -> list[str]:
    return [str(ts), *[ohlc] * 4, volume, volume, volume, confirm]


def test_only_the_bars_before_the_first_one_that_forms_are_final():
    answer = parse.candles([row(4000, confirm="0"), row(3000), row(2000, confirm="0"), row(1000)], "spot")
    assert answer.rows["ts"].tolist() == [3000, 1000]
    assert answer.unfinished == 2000


def test_a_flat_bar_without_volume_was_not_tradable_and_has_no_vwap():
    rows = parse.candles([row(2000, volume="0"), row(1000)], "spot").rows
    assert rows["traded"].tolist() == [False, True]
    assert np.isnan(rows["vwap"][0])
    assert rows["vwap"][1] == 1.0


def test_a_bar_without_volume_that_moved_is_not_an_outage():
    moved = ["1000", "1", "2", "1", "2", "0", "0", "0", "1"]
    assert parse.candles([moved], "spot").rows["traded"].tolist() == [True]


def test_unknown_is_nan_and_never_zero():
    rows = parse.candles([["1000", "1", "1", "1", "1", "2", "", "", "1"]], "swap").rows
    assert np.isnan(rows["volume"][0])
    assert np.isnan(rows["amount"][0])
    assert np.isnan(rows["vwap"][0])


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=7, max_size=7))
def test_every_number_is_read_to_its_last_bit(numbers: list[float]):
    rows = parse.candles([["1000", *map(repr, numbers), "1"]], "spot").rows
    received = [rows[name][0] for name in ("open", "high", "low", "close", "volume", "amount")]
    assert received == [*numbers[:5], numbers[6]]


@pytest.mark.parametrize("data", [[["1", "2"]], [row(1), row(1)[:-1]], [{"ts": "1"}], [None]])
def test_rows_of_another_shape_are_an_error_that_shows_them(data: list):
    with pytest.raises(VenueError, match="a candle row of OKX has 9 fields; received "):
        parse.candles(data, "spot")


def test_mark_and_index_rows_have_six_fields():
    answer = parse.prices([["2000", "1", "2", "0.5", "1.5", "0"], ["1000", "1", "2", "0.5", "1.5", "1"]], "mark")
    assert {name: values.tolist() for name, values in answer.rows.items()} == {
        "ts": [1000], "open": [1.0], "high": [2.0], "low": [0.5], "close": [1.5],
    }  # fmt: skip
    assert (answer.oldest, answer.unfinished) == (1000, 2000)
    with pytest.raises(VenueError, match="has 6 fields"):
        parse.prices([row(1)], "mark")


# --- funding, open interest, trades


def test_real_funding_is_what_was_paid_not_what_was_predicted():
    answer = parse.funding(recorded("http_get_funding_rate_history"), now=1 << 50)
    assert answer.rows["ts"].tolist() == [1704067200000, 1704038400000]
    assert answer.rows["rate"].tolist() == [0.00015, -0.00002]
    assert answer.rows["predicted_rate"].tolist() == [0.0001515032, -0.0000236017]


def settlement(ts: int, rate: str) -> dict[str, str]:
    return {"fundingTime": str(ts), "realizedRate": rate, "fundingRate": "0.0001"}


def test_a_rate_that_is_missing_is_not_final_when_new_and_nan_when_old():
    data = [settlement(10 * HOUR, ""), settlement(2 * HOUR, ""), settlement(0, "0")]
    answer = parse.funding(data, now=10 * HOUR + 1)
    assert answer.rows["ts"].tolist() == [2 * HOUR, 0]
    assert np.isnan(answer.rows["rate"][0])
    assert answer.rows["rate"][1] == 0.0
    assert answer.unfinished == 10 * HOUR
    assert parse.funding(data, now=12 * HOUR).unfinished is None


def test_open_interest_of_a_period_that_runs_is_not_final():
    answer = parse.open_interest([["2000", "7", "0.07", "7000"], ["1000", "5", "0.05", ""]], settled=2000)
    assert answer.rows["ts"].tolist() == [1000]
    assert answer.rows["oi"].tolist() == [5.0]
    assert np.isnan(answer.rows["oi_quote"][0])
    assert (answer.oldest, answer.unfinished) == (1000, 2000)


def test_real_trades_of_a_spot_pair():
    answer = parse.trades(recorded("http_get_trades"), BTC_SPOT)
    assert answer.rows["trade_id"].tolist() == [734864333, 734864332]
    assert answer.rows["size"].tolist() == [0.00013669, 0.0000125]
    assert answer.rows["side"].tolist() == ["sell", "buy"]
    assert answer.oldest == 734864332


def test_sizes_of_contracts_become_coins():
    trade = [{"ts": "1", "tradeId": "5", "px": "50000", "sz": "3", "side": "buy"}]
    assert parse.trades(trade, BTC_SWAP).rows["size"].tolist() == [0.03]
    assert parse.trades(trade, BTC_INVERSE).rows["size"].tolist() == [300 / 50000]


# --- instruments


@pytest.mark.parametrize(
    ("name", "symbol", "facts"),
    [
        ("spot", "BTC-USD", ("spot", "BTC", "USD", "", False, 1733454000000, None)),
        ("swap", "BTC-USD-SWAP", ("swap", "BTC", "USD", "BTC", True, 1535424203000, None)),
        ("futures", "BTC-USD-241220", ("futures", "BTC", "USD", "BTC", True, 1733472600725, 1734681600000)),
    ],
)
def test_real_instruments(name: str, symbol: str, facts: tuple):
    data = recorded(f"http_get_instruments_{name}")
    found = {one.symbol: one for one in parse.instruments(data)}
    one = found[symbol]
    assert (one.kind, one.base, one.quote, one.settle, one.inverse, one.listed, one.delisted) == facts
    assert one.raw in data
    assert one.tick > 0
    assert one.lot > 0
    assert one.minimum > 0
    assert np.isnan(one.contract_value) == (name == "spot")


def test_a_row_before_its_opening_holds_little_and_survives():
    bare = {"instType": "SPOT", "instId": "NEW-USDT", "listTime": "1700000000000", "state": "preopen", "baseCcy": "",
            "quoteCcy": "", "tickSz": "", "lotSz": "", "expTime": ""}  # fmt: skip
    (one,) = parse.instruments([bare])
    assert (one.symbol, one.state, one.listed, one.delisted) == ("NEW-USDT", "preopen", 1700000000000, None)
    assert np.isnan([one.tick, one.lot, one.minimum, one.contract_value]).all()
    (least,) = parse.instruments([{"instType": "SWAP", "instId": "X-USDT-SWAP"}])
    assert least.listed is None


def test_an_instrument_without_a_name_is_an_error():
    with pytest.raises(VenueError, match="without type or name"):
        parse.instruments([{"instType": "SPOT", "instId": ""}])


def test_after_an_auction_the_trading_begins_when_it_is_continuous():
    data = {"instType": "SPOT", "instId": "A-B", "listTime": "1000", "contTdSwTime": "2000"}
    assert parse.instruments([data])[0].listed == 2000


# --- bars


@pytest.mark.parametrize(
    ("short", "name"),
    [("1D", "1Dutc"), ("6H", "6Hutc"), ("1W", "1Wutc"), ("1M", "1Mutc"), ("4H", "4H"), ("1m", "1m")],
)
def test_long_bars_open_in_utc(short: str, name: str):
    assert bars.check(short) == name
    assert bars.check(name) == name


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("1h", "1H"), ("1d", "1Dutc"), ("1day", "1Dutc"), ("60min", "1H"), ("240min", "4H"), ("1min", "1m"),
     ("1w", "1Wutc"), ("1mon", "1Mutc"), ("5M", "5m"), ("1dutc", "1Dutc"), ("4h", "4H"), ("1Min", "1m")],
)  # fmt: skip
def test_a_wrong_bar_is_told_the_right_one(wrong: str, right: str):
    with pytest.raises(InputError, match=rf"received '{wrong}'; OKX knows 1s, .*; did you mean {right}\?"):
        bars.check(wrong)


def test_mark_and_index_know_fewer_bars():
    with pytest.raises(InputError, match="bar of mark: received '2D'"):
        bars.check("2D", "mark")
    assert bars.check("2D") == "2Dutc"


@pytest.mark.parametrize("bar", bars.NAMES)
@given(ts=st.integers(1_400_000_000_000, 1_900_000_000_000))
def test_a_moment_lies_in_the_bar_that_opened_before_it(bar: str, ts: int):
    first, after = bars.open_of(bar, ts), bars.next_open(bar, ts)
    assert first <= ts < after
    assert after - first >= bars.length(bar)
    assert bars.opens(bar, first, after + 1).tolist() == [first, after]


def test_weeks_open_on_mondays_and_quarters_in_january():
    monday = np.array(bars.opens("1W", 1_700_000_000_000, 1_702_000_000_000)).astype("datetime64[ms]")
    assert {int(str(one.astype("datetime64[D]").astype(object).weekday())) for one in monday} == {0}
    quarters = bars.opens("3M", 1_672_531_200_000, 1_704_067_200_000).astype("datetime64[ms]").astype("datetime64[M]")
    assert quarters.astype(str).tolist() == ["2023-01", "2023-04", "2023-07", "2023-10"]
