"""A universe is what was known: no later snapshot changes it, and plain definitions give the same members."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qlib.config import build_settings
from qlib.crypto.universe import Membership, Rule, bar_milliseconds, members, turnover
from qlib.data.provider import Provider
from qlib.data.storage.file_storage import FileInstrumentStorage
from qlib.data.storage.instruments import read_instruments, write_instruments
from qlib.data.storage.writer import write_store
from qlib.errors import InputError
from tests.proof import cases

DAY = 86_400_000
HOUR = 3_600_000
NAMES = ["A", "B", "C", "D", "E", None]
FREQS = ["day", "60min", "7h", "15min"]


@st.composite
def snapshots(draw: st.DrawFn, low: int = 0, high: int = 40 * DAY) -> pd.DataFrame:
    """Some snapshots at odd moments of `low` to `high`, with ties, unknown caps and coins that nobody lists."""
    moments = draw(st.lists(st.integers(low, high - 1), min_size=1, max_size=6, unique=True))
    rows = []
    for moment in moments:
        for name in draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=6, unique=True)):
            cap = draw(st.sampled_from([1.0, 2.0, 2.0, 3.0, 5.0, np.nan, 0.0]))
            rows.append((moment, name, cap))
    frame = pd.DataFrame(rows, columns=["known", "instrument", "market_cap"])
    return frame.astype({"known": "int64", "market_cap": "float64", "instrument": object})


rules = st.builds(
    lambda top, more, stale: Rule(top=top, keep=None if more is None else top + more, stale=stale),
    st.integers(1, 3), st.none() | st.integers(0, 2), st.sampled_from([0.3, 2.0, 9.0, 45.0]),
)  # fmt: skip


def first_open(moment: int, bar: int) -> int:
    """The first bar that opens at or after a moment, by looking at every bar."""
    for midnight in (moment // DAY * DAY, moment // DAY * DAY + DAY):
        for opens in range(midnight, midnight + DAY, bar):
            if opens >= moment:
                return opens
    raise AssertionError


def plain(coins: pd.DataFrame, rule: Rule, bar: int) -> dict[int, set[str]]:
    """The definition, written down: the members of every bar from the first snapshot on."""
    opens = {int(known): first_open(int(known), bar) for known in coins["known"].unique()}
    force = {}  # of several snapshots before one bar, the last
    for known in sorted(opens):
        force[opens[known]] = known
    found: dict[int, set[str]] = {}
    before: set[str] = set()
    over = -1
    starts = sorted(force)
    for place, start in enumerate(starts):
        known = force[start]
        end = first_open(known + round(rule.stale * DAY), bar)
        if place + 1 < len(starts):
            end = min(end, starts[place + 1])
        rows = coins[(coins["known"] == known) & coins["instrument"].notna() & (coins["market_cap"] > 0)]
        ranked = [row.instrument for row in sorted(rows.itertuples(), key=lambda r: (-r.market_cap, r.instrument))]
        if start != over:
            before = set()
        now = set(ranked[: rule.top]) | (before & set(ranked[: rule.keep or rule.top]))
        over = end
        for midnight in range(start // DAY * DAY, end + DAY, DAY):
            for open_ in range(midnight, midnight + DAY, bar):
                if start <= open_ < end:
                    found[open_] = now
        before = now
    return found


def as_sets(found: Membership, times: np.ndarray) -> list[set[str]]:
    return [{name for name, one in zip(found.names, row, strict=True) if one} for row in found.at(times)]


def in_spans(found: Membership, time: int) -> set[str]:
    stamp = pd.Timestamp(time, unit="ms")
    return {name for name, spans in found.spans.items() if any(a <= stamp <= b for a, b in spans)}


@settings(max_examples=cases(60, 500), deadline=None)
@given(coins=snapshots(), rule=rules, freq=st.sampled_from(FREQS))
def test_members_are_those_of_the_plain_definition(coins: pd.DataFrame, rule: Rule, freq: str):
    if not (coins["instrument"].notna() & (coins["market_cap"] > 0)).any():
        with pytest.raises(InputError, match="nothing to rank"):
            members(coins, rule, freq)
        return
    expected = plain(coins, rule, bar_milliseconds(freq))
    if not expected:
        with pytest.raises(InputError, match="over before the next"):
            members(coins, rule, freq)
        return
    found = members(coins, rule, freq)
    times = sorted(expected)[:: max(1, len(expected) // 200)]
    for time, got in zip(times, as_sets(found, np.array(times, dtype=np.int64)), strict=True):
        assert got == expected[time] == in_spans(found, time)
    outside = [min(expected) - bar_milliseconds(freq), max(expected) + bar_milliseconds(freq)]
    assert as_sets(found, np.array(outside)) == [set(), set()]


@settings(max_examples=cases(80, 600), deadline=None)
@given(
    early=snapshots(0, 20 * DAY), late=snapshots(20 * DAY, 40 * DAY), other=snapshots(20 * DAY, 40 * DAY),
    rule=rules, freq=st.sampled_from(FREQS),
)  # fmt: skip
def test_no_later_snapshot_changes_who_was_a_member(
    early: pd.DataFrame, late: pd.DataFrame, other: pd.DataFrame, rule: Rule, freq: str
):
    early = pd.concat([early, pd.DataFrame({"known": [0], "instrument": ["Z"], "market_cap": [1.0]})])
    early = early.drop_duplicates(["known", "instrument"])
    bar = bar_milliseconds(freq)
    times = np.array([t for day in range(0, 20 * DAY, DAY) for t in range(day, day + DAY, bar)])[:: 1 + HOUR // bar]
    alone, one, two = (members(pd.concat([early, later]), rule, freq) for later in (early[:0], late, other))
    assert as_sets(one, times) == as_sets(two, times) == as_sets(alone, times)


def test_a_snapshot_counts_from_the_next_bar_on_and_not_before():
    coins = pd.DataFrame({"known": [2 * DAY, 5 * DAY + 1], "instrument": ["A", "B"], "market_cap": [1.0, 1.0]})
    found = members(coins, Rule(top=1), "day")
    assert found.spans["A"] == [(pd.Timestamp("1970-01-03"), pd.Timestamp("1970-01-06"))]
    assert found.spans["B"][0][0] == pd.Timestamp("1970-01-07")
    hours = members(coins, Rule(top=1), "60min").spans
    assert hours["A"] == [(pd.Timestamp("1970-01-03 00:00"), pd.Timestamp("1970-01-06 00:00"))]
    assert hours["B"][0][0] == pd.Timestamp("1970-01-06 01:00")


def test_a_stale_snapshot_is_not_used_and_the_hole_is_told():
    coins = pd.DataFrame({"known": [0, 30 * DAY], "instrument": ["A", "A"], "market_cap": [1.0, 1.0]})
    found = members(coins, Rule(top=1, stale=10), "day")
    assert found.spans["A"] == [
        (pd.Timestamp("1970-01-01"), pd.Timestamp("1970-01-10")),
        (pd.Timestamp("1970-01-31"), pd.Timestamp("1970-02-09")),
    ]
    assert found.holes == [(10 * DAY, 30 * DAY)]


def test_hysteresis_keeps_who_falls_a_little_and_admits_who_is_good():
    caps = {0: "ABCD", 10: "ACBD", 20: "CABD", 30: "CDAB"}
    rows = [(k * DAY, n, float(9 - i)) for k, names in caps.items() for i, n in enumerate(names)]
    coins = pd.DataFrame(rows, columns=["known", "instrument", "market_cap"])
    strict, patient = (members(coins, Rule(top=2, keep=keep)) for keep in (None, 3))
    assert ["".join(strict.members(k * DAY)) for k in caps] == ["AB", "AC", "AC", "CD"]
    assert ["".join(patient.members(k * DAY)) for k in caps] == ["AB", "ABC", "ABC", "ACD"]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"top": 0}, "top"),
        ({"by": "marketcap"}, "did you mean market_cap"),
        ({"keep": 3}, "keep"),
        ({"stale": 0}, "stale"),
    ],
)
def test_a_rule_that_is_none_is_refused(wrong: dict[str, object], told: str):
    with pytest.raises(InputError, match=told):
        Rule(**wrong)  # type: ignore[arg-type]


def test_what_cannot_be_ranked_is_refused():
    twice = pd.DataFrame({"known": [0, 0], "instrument": ["A", "A"], "market_cap": [1.0, 2.0]})
    with pytest.raises(InputError, match="A occurs twice in the snapshot known at 1970-01-01"):
        members(twice)
    with pytest.raises(InputError, match="day and shorter"):
        members(twice, freq="week")
    with pytest.raises(InputError, match="volume_24h"):
        members(twice, Rule(by="volume_24h"))


@pytest.mark.parametrize("freq", ["day", "60min"])
def test_the_file_is_a_market_of_a_store(tmp_path, freq: str):
    times = pd.date_range("2024-01-01", "2024-03-31 23:00", freq="D" if freq == "day" else "h")
    bars = pd.DataFrame({"close": np.arange(len(times)) + 1.0}, index=times)
    root = write_store({"AAA": bars, "BBB": bars, "CCC": bars[:"2024-02-09"]}, tmp_path / "store", freq)
    known = (
        pd.to_datetime(["2024-01-10 02:05", "2024-02-10 02:05", "2024-03-10 02:05"]).to_numpy("M8[ms]").astype(np.int64)
    )
    caps = {"AAA": [1.0, 3.0, 1.0], "BBB": [2.0, 1.0, 2.0], "CCC": [3.0, 2.0, np.nan]}
    rows = [(k, name, cap[i]) for name, cap in caps.items() for i, k in enumerate(known)]
    found = members(pd.DataFrame(rows, columns=["known", "instrument", "market_cap"]), Rule(top=1, stale=31), freq)
    write_instruments(root / "instruments" / "best.txt", found.spans)

    assert read_instruments(root / "instruments" / "best.txt") == found.spans
    stored = FileInstrumentStorage(market="best", freq=freq, provider_uri={freq: str(root)})
    assert dict(stored.data) == found.spans
    provider = Provider(build_settings(provider_uri=str(root), region="crypto"))
    assert provider.list_instruments(provider.instruments("best"), freq=freq, as_list=True) == ["AAA", "BBB", "CCC"]
    rows = provider.features(provider.instruments("best"), ["$close"], freq=freq).index.to_frame(index=False)
    for row in rows.itertuples():
        assert found.members(row.datetime.value // 10**6) == [row.instrument]
    first = {"day": "2024-01-11", "60min": "2024-01-10 03:00"}[freq]
    assert rows["datetime"].min() == pd.Timestamp(first)


# ---------------------------------------------------------------------- trailing turnover
def test_turnover_is_the_mean_of_the_bars_that_were_over_and_gone_names_are_not_ranked():
    times = pd.date_range("2024-01-01", "2024-03-15")
    amount = pd.DataFrame({"LIVE": 10.0, "HOLED": 30.0, "DEAD": 99.0, "YOUNG": 50.0}, index=times)
    amount.loc["2024-01-05":"2024-01-10", "HOLED"] = np.nan  # unknown, not zero
    amount.loc["2024-01-25":, "DEAD"] = np.nan
    amount.loc[:"2024-01-28", "YOUNG"] = np.nan
    found = turnover(amount, DAY, days=30, every="month", least=0.5)
    by_month = {str(pd.Timestamp(k, unit="ms").date()): dict(zip(g["instrument"], g["volume_24h"], strict=True))
                for k, g in found.groupby("known")}  # fmt: skip
    assert by_month == {
        "2024-02-01": {"LIVE": 10.0, "HOLED": 30.0},
        "2024-03-01": {"LIVE": 10.0, "HOLED": 30.0, "YOUNG": 50.0},
    }


@settings(max_examples=cases(30, 400), deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1), days=st.integers(1, 20), every=st.sampled_from(["day", "week", "month"]),
    bar=st.sampled_from([DAY, 6 * HOUR]), cut=st.integers(5, 60),
)  # fmt: skip
def test_turnover_knows_no_bar_that_was_not_over(seed: int, days: int, every: str, bar: int, cut: int):
    rng = np.random.default_rng(seed)
    times = pd.date_range("2024-01-01", periods=70 * DAY // bar, freq=pd.Timedelta(bar, "ms"))
    values = rng.uniform(1, 100, (len(times), 4))
    values[rng.random(values.shape) < 0.2] = np.nan
    amount = pd.DataFrame(values, index=times, columns=list("ABCD"))
    changed = amount.copy()
    moment = times[0] + pd.Timedelta(days=cut)
    changed.loc[changed.index + pd.Timedelta(bar, "ms") > moment] = rng.uniform(1, 1e6)
    one, two = (turnover(frame, bar, days=days, every=every) for frame in (amount, changed))
    known = moment.value // 10**6
    pd.testing.assert_frame_equal(one[one["known"] <= known], two[two["known"] <= known])
    for row in one.sample(min(5, len(one)), random_state=0).itertuples():
        ends = (times + pd.Timedelta(bar, "ms")).to_numpy("M8[ms]").astype(np.int64)
        window = amount.loc[(ends > row.known - days * DAY) & (ends <= row.known), row.instrument].dropna()
        assert row.volume_24h == pytest.approx(window.mean() * (DAY // bar), rel=1e-12)
        assert len(window) >= max(1, 0.5 * days * (DAY // bar))
