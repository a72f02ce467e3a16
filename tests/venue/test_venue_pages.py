"""Whatever is asked, the fake venue's page is what a reading of the fact sheet, row by row, says it is."""

from __future__ import annotations

import functools
import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("aiohttp", reason="the fake venue needs aiohttp")

from qlib.crypto.venues.fake import FakeVenue, random_market
from qlib.crypto.venues.fake.bars import CANDLES, MARKED, number, size, text
from qlib.crypto.venues.fake.desk import Question

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
START = 1_767_225_600_000
MARKET = random_market(1, 3, 3000, "1m", START, seed=21)
VENUE = FakeVenue(**MARKET, limits=False)
MOST = {"market/candles": 300, "market/history-candles": 300, "market/history-mark-price-candles": 100}


def ask(path: str, now: int, **params: Any) -> list[Any]:
    question = Question("GET", f"/api/v5/{path}", {key: str(value) for key, value in params.items()})
    answer = json.loads(VENUE.desk.reply(question, now).body)
    assert answer["code"] == "0", answer
    return answer["data"]


def opening(ts: int, bar: str) -> int:
    """When the bar that holds a moment began, by the calendar of pandas."""
    zone = "UTC" if bar.endswith("utc") or bar[-1] in "smH" and int(bar[:-1]) < 6 else "Etc/GMT-8"
    moment = pd.Timestamp(ts, unit="ms", tz="UTC").tz_convert(zone).tz_localize(None)
    count, unit = int(bar.removesuffix("utc")[:-1]), bar.removesuffix("utc")[-1]
    if unit == "W":
        moment = moment.normalize() - pd.Timedelta(days=moment.weekday())
    elif unit == "M":
        moment = moment.normalize().replace(day=1, month=(moment.month - 1) // count * count + 1)
    else:
        step = pd.Timedelta(count, {"s": "s", "m": "min", "H": "h", "D": "D"}[unit])
        moment = pd.Timestamp(0) + (moment - pd.Timestamp(0)) // step * step
    return int(moment.tz_localize(zone).timestamp() * 1000)


@functools.cache
def openings(bar: str) -> np.ndarray:
    """Opening times of the bars of a size in which the minutes of the window lie."""
    return np.array([opening(START + minute * MINUTE, bar) for minute in range(3001)])


@given(st.integers(START - 400 * DAY, START + 400 * DAY), st.sampled_from(sorted(CANDLES)))
def test_bars_open_when_the_calendar_of_their_zone_says(moment: int, bar: str):
    unit = size(bar)
    opened = int(unit.open(np.array(moment)))
    assert opened == opening(moment, bar)
    assert opened <= moment < unit.end(opened)
    assert int(unit.open(np.array(unit.end(opened)))) == unit.end(opened)


@settings(max_examples=150)
@given(
    path=st.sampled_from(sorted(MOST)),
    bar=st.sampled_from(["1m", "5m", "1H", "6Hutc", "1D"]),
    row=st.integers(-20, 3020),
    part=st.integers(0, MINUTE - 1),
    bounds=st.tuples(*[st.none() | st.integers(-10, 3010)] * 2),
    off=st.tuples(*[st.sampled_from([-1, 0, 1])] * 2),
    limit=st.none() | st.integers(1, 400),
)
def test_a_page_is_what_row_by_row_reading_says(
    path: str,
    bar: str,
    row: int,
    part: int,
    bounds: tuple[int | None, int | None],
    off: tuple[int, int],
    limit: int | None,
):
    name, kind = "BTC-USDT-SWAP", "mark" if "mark-price" in path else "candles"
    now = START + row * MINUTE + part
    frame = MARKET[kind][name, "1m"]
    seen = frame[frame["ts"] <= now]
    opened = sorted(set(openings(bar)[: len(seen)].tolist()))
    if path == "market/candles":
        opened = opened[-1440:]
    asked: dict[str, Any] = {"instId": name, "bar": bar}
    after, before = (None if b is None else START + b * MINUTE + shift for b, shift in zip(bounds, off, strict=True))
    if after is not None:
        opened, asked["after"] = [ts for ts in opened if ts < after], after
    if before is not None:
        opened, asked["before"] = [ts for ts in opened if ts > before], before
    if limit is not None:
        asked["limit"] = limit
    expected = opened[::-1][: min(limit or 100, MOST[path])]
    told = ask(path, now, **asked)
    assert [int(line[0]) for line in told] == expected
    assert [line[-1] for line in told] == ["0" if size(bar).end(ts) > now else "1" for ts in expected]
    for line in told:
        if line[-1] == "1":
            whole = seen[openings(bar)[: len(seen)] == int(line[0])]
            assert (float(line[1]), float(line[2])) == (whole["open"].iloc[0], whole["high"].max())


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_written_is_the_number_read(value: float):
    for told in (number(value), text(np.array([value]))[0]):
        assert float(told) == value
        assert "e" not in told


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=20))
def test_many_numbers_are_written_as_one_by_one(values: list[float]):
    assert text(np.array(values, np.float64)) == [number(value) for value in values]


@settings(max_examples=30)
@given(st.integers(0, 3000 * MINUTE), st.sampled_from(sorted(MARKED)))
def test_a_bar_while_it_forms_never_contradicts_the_bar_that_it_becomes(moment: int, bar: str):
    name, now = "BTC-USDT-SWAP", START + moment
    (line,) = ask("market/candles", now, instId=name, bar=bar, limit=1)
    if line[-1] == "1":
        return
    frame = MARKET["candles"][name, "1m"]
    whole = frame[openings(bar) == int(line[0])]
    opened, high, low, close, _, base = map(float, line[1:7])
    assert opened == whole["open"].iloc[0]
    assert whole["low"].min() <= low <= min(opened, close) <= max(opened, close) <= high <= whole["high"].max()
    assert base <= whole["volume"].sum() + 1e-9


def test_a_random_market_has_what_tests_of_collectors_forget():
    market = random_market(5, 5, 2000, "1m", START, seed=3)
    frames = {name: frame for (name, _), frame in market["candles"].items()}
    listed = {row["instId"]: int(row["listTime"]) for row in market["instruments"]}
    assert any(at > START for at in listed.values()), "listings inside the window"
    assert all(frame["ts"].min() + MINUTE > listed[name] for name, frame in frames.items())
    holes = {name: int((frame["ts"].diff().dropna() > MINUTE).sum()) for name, frame in frames.items()}
    assert all(count > 0 for name, count in holes.items() if not name.endswith("SWAP")), "bars that do not exist"
    assert not any(count for name, count in holes.items() if name.endswith("SWAP"))
    flat = [set(frame["ts"][frame["volume"] == 0]) for frame in frames.values()]
    assert set.intersection(*flat), "an outage of all"
    for frame in frames.values():
        quiet = frame[frame["volume"] == 0]
        assert (quiet[["open", "high", "low"]].eq(quiet["close"], axis=0)).all().all()
        assert (frame["high"] >= frame[["open", "close"]].max(axis=1)).all()
        assert (frame["low"] <= frame[["open", "close"]].min(axis=1)).all()
    steps = {name: set(table["ts"].diff().dropna() / HOUR) for name, table in market["funding"].items()}
    assert {8.0} in steps.values()
    assert any({4.0, 1.0} <= found for found in steps.values()), "an interval that changes"
    assert sum(row.get("ctType") == "inverse" for row in market["instruments"]) == 1
    (future,) = [row for row in random_market(0, 1, 50, "1H", START, n_futures=1)["instruments"] if "expTime" in row]
    assert (future["instType"], future["instId"]) == ("FUTURES", "BTC-USDT-260202")
    again = random_market(5, 5, 2000, "1m", START, seed=3)
    assert all(again["candles"][key].equals(frame) for key, frame in market["candles"].items())
