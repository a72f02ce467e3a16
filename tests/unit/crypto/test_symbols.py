"""One market has one name, however it was spelled; files of symbols are read or refused with a reason."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlib.crypto.symbols import QUOTES, Symbol, parse, read_symbols
from qlib.errors import InputError

BASES = st.from_regex(r"[A-Z0-9]{1,9}", fullmatch=True)


@pytest.mark.parametrize(
    ("written", "venue"),
    [
        ("BTC/USDT", "BTC-USDT"),
        ("btc_usdt", "BTC-USDT"),
        ("BTCUSDT", "BTC-USDT"),
        ("BTCUSD", "BTC-USD"),
        ("BTC/USDT:USDT", "BTC-USDT-SWAP"),
        ("BTC/USD:BTC", "BTC-USD-SWAP"),
        ("btc-usdt-swap", "BTC-USDT-SWAP"),
        ("BTC-USD-240628", "BTC-USD-240628"),
        ("BTC/USD:BTC-240628", "BTC-USD-240628"),
        ("1INCH-USDT-SWAP", "1INCH-USDT-SWAP"),
    ],
)
def test_every_spelling_is_the_venues_name(written: str, venue: str):
    assert parse(written).venue == venue


@given(base=BASES, quote=st.sampled_from(QUOTES), kind=st.sampled_from(["spot", "swap"]))
def test_every_written_form_is_read_back(base: str, quote: str, kind: str):
    symbol = Symbol(base, quote, kind)
    assert parse(symbol.venue) == symbol
    assert parse(symbol.pair, kind=kind) == symbol
    assert parse(symbol.pair.lower(), kind=kind) == symbol


def test_the_kind_completes_a_pair_and_never_overrules_what_is_written():
    assert parse("BTC/USDT", kind="swap").venue == "BTC-USDT-SWAP"
    assert parse("BTC-USDT-SWAP", kind="spot").venue == "BTC-USDT-SWAP"


@pytest.mark.parametrize(
    "wrong", ["", "BTC", "USDT", "BTC//USDT", "BTC/USDT/ETH", "BTC USDT", "../etc", "BTC-USDT-2406"]
)
def test_what_is_no_symbol_is_refused_with_what_is_allowed(wrong: str):
    with pytest.raises(InputError, match="BTC-USDT-SWAP"):
        parse(wrong)


def test_files_of_every_shape_give_their_symbols_in_order_and_once(tmp_path: Path):
    shapes = {
        "a.json": json.dumps({"symbols": ["BTC/USDT", "ETH/USDT", "BTC/USDT"], "updated_at": "x", "count": 3}),
        "b.json": json.dumps({"symbols": [{"symbol": "BTC/USDT", "market_cap_rank": 1}, {"symbol": "ETH/USDT"}]}),
        "c.json": json.dumps(["BTC/USDT", "ETH/USDT"]),
        "d.txt": "BTC/USDT\t2020-01-01\t2021-01-01\nETH/USDT\t2020-01-01\t2021-01-01\nBTC/USDT\t2022-01-01\t2023\n",
        "e.txt": "# two coins\nBTC/USDT\n\nETH/USDT\n",
    }
    for name, text in shapes.items():
        (tmp_path / name).write_text(text)
        assert read_symbols(tmp_path / name) == ["BTC/USDT", "ETH/USDT"], name


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "no JSON"),
        ('{"symbls": []}', "did you mean symbols"),
        ('{"symbols": []}', "names no symbol"),
        ('{"symbols": [1]}', "holds 1"),
        ('{"symbols": "BTC"}', "received a str"),
    ],
)
def test_a_file_that_is_none_says_why(text: str, told: str, tmp_path: Path):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(InputError, match=told):
        read_symbols(tmp_path / "x.json")
    with pytest.raises(InputError, match="cannot be read"):
        read_symbols(tmp_path / "absent.json")
