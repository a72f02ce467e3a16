"""Token actions: returns over an event are exact, units are one, and two assets never join."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from backtest_market import MemoryProvider, run
from hypothesis import given, settings
from hypothesis import strategies as st
from klines import add, candles, funding, marks, open_interest, stamp, tree
from proof import cases

from qlib.backtest.decision import Order, TradeDecisionWO
from qlib.backtest.executor import SimulatorExecutor
from qlib.cli.convert import convert as convert_command
from qlib.collect.convert import convert
from qlib.config import build_settings
from qlib.crypto.actions import Actions, scaled_by
from qlib.crypto.market import Perpetuals
from qlib.data.provider import Provider
from qlib.errors import InputError
from qlib.strategy.base import BaseStrategy

CASES = settings(max_examples=cases(60, 2000), deadline=None)
START = pd.Timestamp("2024-01-01")


def at(hour: float) -> pd.Timestamp:
    return START + pd.Timedelta(hours=hour)


def bars(name: str, first: int, close, volume=None, **more) -> pd.DataFrame:
    """Bars of an hour from hour `first` on."""
    close = np.asarray(close, np.float64)
    index = pd.MultiIndex.from_product(
        [[name], pd.date_range(at(first), periods=len(close), freq="h")], names=["instrument", "datetime"]
    )
    volume = np.ones(len(close)) if volume is None else np.asarray(volume, np.float64)
    change = np.concatenate([[np.nan], close[1:] / close[:-1] - 1])
    return pd.DataFrame({"close": close, "volume": volume, "change": change, **more}, index)


def act(*rows) -> Actions:
    names = ("instrument", "kind", "time", "to", "ratio", "haircut", "known_at")
    return Actions.of([dict(zip(names, row, strict=False)) for row in rows])


# ------------------------------------------------------------------------------------------------------------- P24
def test_the_return_over_a_redenomination_is_exactly_zero():
    """DOT in 2020: 512.34 for an old one, 5.1234 for each of the 100 new ones; 30 coins of 10 are 3,000 of 0.1."""
    raw = bars("DOT", 0, [512.34, 512.34, 5.1234, 5.1234], [30, 0.07, 3000, 7], oi=[2, 2, 200, 200], funding=1e-4)
    raw = raw.assign(amount=raw["close"] * raw["volume"], mark=raw["close"], index=raw["close"], oi_change=7.0)
    done = act(("DOT", "redenomination", at(2), None, "100:1")).apply(raw)
    assert done["change"].tolist()[1:] == [0.0, 0.0, 0.0]
    for price in ("close", "mark", "index"):
        assert done[price].tolist() == [5.1234] * 4
    assert done["volume"].tolist() == [3000, 7, 3000, 7] and done["oi"].tolist() == [200] * 4
    assert done["factor"].tolist() == [0.01, 0.01, 1, 1]
    pd.testing.assert_frame_equal(done[["amount", "funding", "oi_change"]], raw[["amount", "funding", "oi_change"]])
    assert raw["close"].iloc[0] == 512.34  # what was given stays


@pytest.mark.parametrize("ratio", ["100:1", "1000", "1:1000", "0.001", "3:7", "1:1"])
def test_numbers_are_those_nearest_to_the_exact_quotients(ratio):
    [row] = act(("A", "redenomination", at(0), None, ratio)).rows
    prices = np.round(np.random.default_rng(3).lognormal(3, 4, 500), 4)
    exact = [float(Fraction(str(price)) / row.ratio) for price in prices.tolist()]
    assert scaled_by(prices, 1 / row.ratio).tolist() == exact


def test_two_assets_that_share_a_ticker_never_join():
    """LUNA falls to 0.0001 and becomes LUNC; the name LUNA begins anew at 18."""
    raw = pd.concat([bars("LUNA", 0, [80, 1, 0.0001, 18, 19]), bars("LUNC", 4, [0.0002])])
    both = act(("LUNA", "rename", at(3), "LUNC"), ("LUNA", "reuse", at(3)))
    done = both.apply(raw)
    assert done["close"].xs("LUNC").tolist() == [80, 1, 0.0001, 0.0002]
    assert done["close"].xs("LUNA.2").tolist() == [18, 19]
    assert np.isnan(done["change"].xs("LUNA.2").iloc[0])  # 18 / 0.0001 is nobody's return
    assert np.isnan(done["change"].xs("LUNC").iloc[-1])  # an hour is missing in between
    alone = act(("LUNA", "reuse", at(3))).apply(raw.drop("LUNC"))
    assert alone["close"].xs("LUNA").tolist() == [80, 1, 0.0001]  # the first keeps its name
    assert alone["close"].xs("LUNA.2").tolist() == [18, 19]


def test_a_migration_goes_on_in_the_new_unit_under_the_new_name():
    raw = pd.concat([bars("OLD", 0, [10, 20], [6, 6]), bars("NEW", 2, [2.5, 5], [9, 9])])
    done = act(("OLD", "migration", at(2), "NEW", "10:1")).apply(raw).xs("NEW")
    assert done["close"].tolist() == [1, 2, 2.5, 5] and done["volume"].tolist() == [60, 60, 9, 9]
    assert done["change"].tolist()[1:] == [1, 0.25, 1]


def test_a_name_that_comes_back_and_names_that_move_on_together():
    raw = pd.concat([bars("A", 0, [1, 2]), bars("B", 2, [3]), bars("A", 3, [4])])
    assert act(("A", "rename", at(2), "B"), ("B", "rename", at(3), "A")).apply(raw).xs("A")["close"].tolist() == [
        1, 2, 3, 4,
    ]  # fmt: skip
    raw = pd.concat([bars("A", 0, [1, 2]), bars("B", 0, [7, 8, 3]), bars("C", 2, [9])])
    done = act(("A", "rename", at(2), "B"), ("B", "rename", at(2), "C")).apply(raw)
    assert done.xs("B.2")["close"].tolist() == [1, 2, 3] and done.xs("C")["close"].tolist() == [7, 8, 9]


# ------------------------------------------------------------------------------------------- any sequence of events
@st.composite
def worlds(draw):
    """An asset with its true path, what a venue shows of it under events, and the table of these."""
    count = draw(st.integers(4, 30))
    path = draw(st.lists(st.integers(1, 10**6), min_size=count, max_size=count))
    hours = sorted(draw(st.sets(st.integers(1, count - 1), max_size=4)))
    holes = draw(st.sets(st.integers(1, count - 2), max_size=3))
    name, unit, rows, pieces, start = "N0", Fraction(1), [], [], 0
    for number, hour in enumerate([*hours, count], 1):
        kept = [h for h in range(start, hour) if h not in holes]
        price = [float(Fraction(path[h], 100) / unit) for h in kept]
        pieces.append(
            pd.DataFrame(
                {"close": price, "volume": [float(h * unit) for h in kept], "amount": 1.0, "change": np.nan},
                pd.MultiIndex.from_product([[name], [at(h) for h in kept]], names=["instrument", "datetime"]),
            )
        )
        if hour < count:
            kind = draw(st.sampled_from(["rename", "redenomination", "migration"]))
            ratio = draw(st.sampled_from([Fraction(100), Fraction(1, 1000), Fraction(3, 7), Fraction(1)]))
            kind = "rename" if ratio == 1 and kind == "redenomination" else kind  # nothing happens
            late = draw(st.integers(0, 10))
            row = {"instrument": name, "kind": kind, "time": at(hour), "known_at": at(hour + late)}
            if kind != "rename":
                row["ratio"] = f"{ratio.numerator}:{ratio.denominator}"
                unit *= ratio
            if kind != "redenomination":
                name = row["to"] = f"N{number}"
            rows.append(row)
        start = hour
    return np.array(path) / 100, holes, pd.concat(pieces), Actions.of(rows), name


@CASES
@given(worlds())
def test_returns_and_money_do_not_depend_on_names_and_units(world):
    path, holes, raw, actions, last = world
    done = actions.apply(raw, freq="60min")
    kept = [h for h in range(len(path)) if h not in holes]
    assert done.index.tolist() == [(last, at(h)) for h in kept]
    close, true = done["close"].to_numpy(), path[kept]
    np.testing.assert_allclose(close[1:] / close[:-1], true[1:] / true[:-1], rtol=1e-13)
    np.testing.assert_allclose(done["volume"] * close, np.array(kept) * true, rtol=1e-13)
    assert (done["amount"] == 1).all()
    change = dict(zip(kept, done["change"].tolist(), strict=True))
    for hour in {(pd.Timestamp(row.time, unit="ms") - START) // pd.Timedelta(hours=1) for row in actions.rows}:
        if hour in change:
            expected = path[hour] / path[hour - 1] - 1 if hour - 1 in change else np.nan
            np.testing.assert_allclose(change[hour], expected, rtol=1e-12, atol=1e-15)


@CASES
@given(worlds())
def test_twice_is_once_or_refused(world):
    *_, raw, actions, last = world
    once = actions.apply(raw, freq="60min")
    if {row.kind for row in actions.rows} <= {"redenomination"}:
        pd.testing.assert_frame_equal(actions.apply(once, freq="60min"), once)
        stored = once.astype({"factor": np.float32}).astype({"factor": np.float64})
        np.testing.assert_array_equal(actions.apply(stored, freq="60min")["close"], once["close"])
    elif (once.index.get_level_values(0) != raw.sort_index(level=1, kind="stable").index.get_level_values(0)).any():
        with pytest.raises(InputError, match="The table was applied to these bars before"):
            actions.apply(once, freq="60min")


@CASES
@given(worlds(), st.integers(0, 40))
def test_an_action_that_is_known_later_changes_no_ratio_of_an_earlier_bar(world, hour):
    *_, raw, actions, _ = world
    now = raw[raw.index.get_level_values("datetime") < at(hour)]
    if not len(now):
        return
    for name, own in actions.apply(now, known=at(hour), freq="60min").groupby(level="instrument"):
        final = actions.apply(raw, freq="60min").droplevel("instrument").loc[own.index.get_level_values("datetime")]
        times = own.index.get_level_values("datetime")
        # one asset may still have two names, or two units, where the news came late: between seams all ratios agree
        known = [row for row in actions.rows if row.counts_from > at(hour).value // 10**6]
        seams = np.searchsorted(times, [pd.Timestamp(row.time, unit="ms") for row in known])
        same = np.diff(np.searchsorted(np.sort(seams), np.arange(len(own)), "right")) == 0
        for column in ("close", "volume"):
            with np.errstate(divide="ignore", invalid="ignore"):
                early, late = (frame[column].to_numpy()[1:] / frame[column].to_numpy()[:-1] for frame in (own, final))
            np.testing.assert_allclose(early[same], late[same], rtol=1e-13, err_msg=str(name))


def test_news_of_later_come_on_top_of_what_is_applied():
    actions = act(("A", "redenomination", at(2), None, "100"), ("A", "redenomination", at(4), None, "0.5", None, at(9)))
    raw = bars("A", 0, [700, 700, 7, 7, 14, 14])
    early = actions.apply(raw, known=at(4))
    assert early["close"].tolist() == [7, 7, 7, 7, 14, 14]
    assert actions.apply(early)["close"].tolist() == [14.0] * 6
    assert actions.apply(early)["factor"].tolist() == [0.02, 0.02, 2, 2, 1, 1]


def test_frames_of_either_order_with_dollars_or_without_are_taken():
    actions = act(("A", "redenomination", at(2), None, 100), ("B", "rename", at(1), "C"))
    raw = pd.concat([bars("A", 0, [700, 700, 7]), bars("B", 0, [1]), bars("C", 1, [2, 3]), bars("D", 0, [5])])
    done = actions.apply(raw)
    assert done.index.unique("instrument").tolist() == ["A", "C", "D"]
    dollars = actions.apply(raw.rename(columns="${}".format)).rename(columns=lambda name: name[1:])
    pd.testing.assert_frame_equal(dollars, done)
    swapped = actions.apply(raw.swaplevel().sort_index())
    assert swapped.index.names == ["datetime", "instrument"]
    pd.testing.assert_frame_equal(swapped.swaplevel().sort_index(), done)
    with pytest.raises(InputError, match="an index of instrument and datetime is needed"):
        actions.apply(raw.reset_index())
    with pytest.raises(InputError, match="the times carry a zone"):
        actions.apply(raw.tz_localize("UTC", level="datetime"))


def test_payments_get_the_names_and_units_of_the_assets():
    paid = pd.DataFrame(
        {
            "instrument": ["OLD", "OLD", "NEW", "X"], "time": [at(0), at(8), at(16), at(0)], "rate": [1e-4] * 4,
            "mark": [512.34, 500, 5, 9],
        }
    )  # fmt: skip
    done = act(("OLD", "migration", at(12), "NEW", "100:1")).payments(paid)
    assert done["instrument"].tolist() == ["NEW", "NEW", "NEW", "X"]
    assert done["mark"].tolist() == [5.1234, 5, 5, 9] and done["rate"].tolist() == [1e-4] * 4
    with pytest.raises(InputError, match="OLD has bars where it means nothing"):
        act(("OLD", "migration", at(4), "NEW", "100:1")).payments(paid)


# ---------------------------------------------------------------------------------------------------- wrong tables
@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([("A", "renaming", "2024-01-01", "B")], "row 1: kind: received 'renaming'; .*did you mean rename"),
        ([("A", "rename", "2024-01-01")], "a rename needs to"),
        ([("A", "reuse", "2024-01-01", None, 2)], "a reuse has no ratio"),
        ([("A", "redenomination", "2024-01-01", None, "100:0")], "ratio: received '100:0'"),
        ([("A", "redenomination", "2024-01-01", None, "many")], "ratio: received 'many'; a number"),
        ([("A", "redenomination", "1/2/2024", None, 2)], "time: received '1/2/2024'"),
        ([("A", "delisting", "2024-01-01", None, None, 1.5)], "haircut: received 1.5; a share"),
        ([("A", "rename", "2024-01-01", "A")], "A is called so already"),
        ([("A", "rename", "2024-01-01", "B"), ("A", "delisting", "2024-01-01", None, None, 1)], "only one of them"),
        ([("A", "redenomination", "2024-01-01", None, 2)] * 2, "only one of them can be"),
        ([("A", "rename", "2024-01-01", "C"), ("B", "rename", "2024-01-01", "C")], "both would be called C"),
        ([("A", "rename", "2024-01-01", "C"), ("B", "rename", "2024-01-02", "C")], "C means another asset then"),
        ([("A", "rename", "2024-01-01", "B"), ("A", "reuse", "2024-01-03"), ("A", "rename", "2024-01-02", "C")],
         "A means nothing any more since 2024-01-01"),
        ([("A", "rename", "2024-01-01", "B"), ("B", "rename", "2024-01-01", "A")], "in a circle, A -> B -> A"),
        ([("A", "reuse", "2024-01-01"), ("A.2", "redenomination", "2024-01-02", None, 2)], "A.2 is what the 2"),
    ],
)  # fmt: skip
def test_a_table_that_cannot_be_is_refused(rows, said):
    with pytest.raises(InputError, match=said):
        act(*rows)


def test_a_wrong_column_or_file_is_named(tmp_path):
    with pytest.raises(InputError, match="column 'haircutt'.*did you mean haircut"):
        Actions.of(pd.DataFrame({"instrument": ["A"], "haircutt": [1]}))
    with pytest.raises(InputError, match="received 'A'; a dict for each action is needed"):
        Actions.of(["A"])
    with pytest.raises(InputError, match="actions: received 5; a frame, a list of dicts"):
        Actions.of(5)
    with pytest.raises(InputError, match=r"none\.csv cannot be read: No such file"):
        Actions.read(tmp_path / "none.csv")
    (tmp_path / "a.csv").write_text("instrument,kind,time,ratio\nA,redenomination,2024-01-01,10\nB,reuse,,\n")
    with pytest.raises(InputError, match=r"a\.csv, row 2: has no time"):
        Actions.read(tmp_path / "a.csv")


def test_the_three_ways_to_read_a_table_agree(tmp_path):
    rows = [
        ("A", "redenomination", "2024-01-01T08:00", None, "100:1", None),
        ("B", "delisting", "2024-01-02", None, None, 0.9),
    ]
    frame = pd.DataFrame(rows, columns=["instrument", "kind", "time", "to", "ratio", "haircut"])
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_parquet(tmp_path / "a.parquet")
    found = [Actions.of(one) for one in (frame, str(tmp_path / "a.csv"), tmp_path / "a.parquet", act(*rows))]
    assert len({one.digest for one in found}) == 1 and found[0].rows[1].haircut == Fraction(9, 10)


def test_bars_that_contradict_the_table_are_refused():
    renamed = act(("A", "rename", at(2), "B"))
    with pytest.raises(InputError, match=r"rename of A to B at .*: A has bars where it means nothing .* A,reuse,TIME"):
        renamed.apply(bars("A", 0, [1, 2, 3]))
    with pytest.raises(InputError, match="B has bars where it means nothing"):
        renamed.apply(bars("B", 0, [1, 2, 3]))
    with pytest.raises(InputError, match="is over later than that; apply the table to smaller bars"):
        act(("A", "redenomination", at(1.5), None, 10)).apply(bars("A", 0, [1, 2, 3]))
    with pytest.raises(InputError, match="A means another asset from .*is over later"):
        act(("A", "reuse", at(1.5))).apply(bars("A", 0, [1, 2, 3]))
    with pytest.raises(InputError, match=r"A\.2 has bars already"):
        act(("A", "reuse", at(1))).apply(pd.concat([bars("A", 0, [1, 2]), bars("A.2", 0, [1])]))


# --------------------------------------------------------------------------------------------------- a haircut
class _Buys(BaseStrategy):
    def generate_trade_decision(self, execute_result=None):
        step = self.trade_calendar.get_trade_step()
        order = Order("DEAD", 10, Order.BUY, *self.trade_calendar.get_step_time())
        return TradeDecisionWO([order] if step == 0 else [], self)


def test_a_haircut_is_a_loss_of_the_last_bar_in_the_backtest():
    """10 coins at 100 and leverage 1, delisted at 80 % off: 1,000 become 200 in the bar after the last one."""
    raw = pd.concat([bars("DEAD", 0, [100, 100, 100]), bars("ALIVE", 0, [7.0] * 5)])
    done = act(("DEAD", "delisting", at(3), None, None, "0.8")).apply(raw.assign(mark=raw["close"], factor=1.0))
    added = done.xs("DEAD").iloc[-1]
    assert (added.name, added["close"], added["volume"]) == (at(3), 20.0, 0.0)
    np.testing.assert_allclose(added["change"], -0.8)
    wide = {name: done[name].unstack("instrument") for name in ("close", "mark", "factor", "volume")}
    names = list(wide["close"].columns)
    provider = MemoryProvider(
        wide["close"].index.to_numpy(), names, {name: one.to_numpy() for name, one in wide.items()}, freq="60min",
        region="crypto",
    )  # fmt: skip
    exchange = Perpetuals(
        freq="60min", start_time=at(0), end_time=at(4), codes=names, provider=provider, deal_price="close", fees=0.0,
    )  # fmt: skip
    executor = SimulatorExecutor("60min", generate_portfolio_metrics=True)
    report, *_ = run(provider, _Buys(), executor=executor, account=10_000.0, exchange_kwargs={"exchange": exchange})
    np.testing.assert_allclose(report["account"], [10_000, 10_000, 9_200, 9_200], atol=1e-6)


def test_a_haircut_waits_until_the_bars_reach_to_it():
    gone = act(("DEAD", "delisting", at(5), None, None, 1))
    raw = bars("DEAD", 0, [100, 100, 100])
    assert len(gone.apply(raw)) == 3
    assert gone.apply(raw, until=at(5)).iloc[-1][["close", "volume"]].tolist() == [0, 0]
    with pytest.raises(InputError, match="The table was applied to these bars before"):
        gone.apply(gone.apply(raw, until=at(5)))


# ------------------------------------------------------------------------------------------------- when converted
def swap(folder: Path, symbol: str, first: int, last: int, unit: float = 1.0) -> None:
    rows = candles(first, last - first)
    prices = ("open", "high", "low", "close", "vwap")
    rows |= {name: rows[name] / unit for name in prices} | {"volume": rows["volume"] * unit}
    add(folder, symbol, "candles", "1H", rows, first, last)
    add(folder, symbol, "funding", None, funding(-(-first // 8) * 8, last, 8), first, last)
    mark = marks(first, last - first)
    add(folder, symbol, "mark", "1H", {n: v if n == "ts" else v / unit for n, v in mark.items()}, first, last)
    oi = open_interest(first, last - first)
    add(folder, symbol, "oi", "1H", oi | {"oi_base": oi["oi_base"] * unit}, first, last)


TABLE = """instrument,kind,time,ratio,to
OLD,migration,2026-01-02,100:1,NEW
TICK,reuse,2026-01-01T10:00,,
DTO,redenomination,2026-01-01T10:00,10,
"""


def test_a_store_is_converted_with_actions(tmp_path, capsys):
    klines, store = tmp_path / "klines", tmp_path / "store"
    swap(klines, "OLD", 0, 24)
    swap(klines, "NEW", 24, 48, 100.0)
    swap(klines, "TICK", 0, 48)
    swap(klines, "DOT", 0, 48)
    (tmp_path / "actions.csv").write_text(TABLE)
    words = [
        "--klines",
        str(klines),
        "--qlib_dir",
        str(store),
        "--bar",
        "1H",
        "--actions",
        str(tmp_path / "actions.csv"),
    ]
    convert_command(words)
    told = capsys.readouterr().out
    assert "actions      applied to NEW, OLD, TICK" in told
    assert "of what is not here: DTO; did you mean DOT?" in told
    provider = Provider(build_settings(provider_uri=str(store), region="crypto"))
    fields = [f"${name}" for name in ("close", "volume", "amount", "change", "mark", "oi", "funding", "factor")]
    found = provider.features(["NEW", "TICK", "TICK.2", "DOT"], fields, freq="60min")
    joined, true = candles(0, 24), candles(24, 24)
    whole = np.concatenate([joined["close"], true["close"]])
    new = found.xs("NEW")
    np.testing.assert_array_equal(new["$close"], (whole / 100).astype(np.float32))
    np.testing.assert_allclose(new["$change"].iloc[1:], whole[1:] / whole[:-1] - 1, rtol=1e-5, atol=1e-9)
    assert new["$factor"].tolist() == [np.float32(0.01)] * 24 + [1.0] * 24
    np.testing.assert_allclose(new["$volume"], np.concatenate([joined["volume"], true["volume"]]) * 100, rtol=1e-6)
    base = np.concatenate([open_interest(0, 24)["oi_base"], open_interest(24, 24)["oi_base"]])
    np.testing.assert_allclose(new["$oi"], base * 100, rtol=1e-6)
    paid = np.concatenate([funding(0, 24)["rate"], funding(24, 48)["rate"]])
    np.testing.assert_array_equal(new["$funding"].dropna(), paid.astype(np.float32))
    assert found.xs("TICK").index[-1] == stamp(9) and found.xs("TICK.2").index[0] == stamp(10)
    assert np.isnan(found.xs("TICK.2")["$change"].iloc[0])
    listed = (store / "instruments/all.txt").read_text().splitlines()
    assert [line.split("\t")[0] for line in listed] == ["DOT", "NEW", "TICK", "TICK.2"]


def test_conversions_with_actions_in_pieces_end_in_the_bytes_of_one(tmp_path):
    klines, table = tmp_path / "klines", tmp_path / "actions.csv"
    table.write_text(TABLE)
    swap(klines, "OLD", 0, 24)
    swap(klines, "TICK", 0, 48)
    swap(klines, "DOT", 0, 48)
    convert(klines, tmp_path / "pieces", "1H")  # nobody knew of anything yet
    convert(klines, tmp_path / "pieces", "1H", actions=Actions.read(table))
    swap(klines, "NEW", 24, 48, 100.0)
    convert(klines, tmp_path / "pieces", "1H", actions=Actions.read(table))
    again = convert(klines, tmp_path / "pieces", "1H", actions=Actions.read(table))
    assert not again.whole and not again.touched
    convert(klines, tmp_path / "once", "1H", actions=Actions.read(table))
    assert tree(tmp_path / "pieces") == tree(tmp_path / "once")
    convert(klines, tmp_path / "pieces", "1H")  # and without the table all is as it was traded
    convert(klines, tmp_path / "plain", "1H")
    assert tree(tmp_path / "pieces") == tree(tmp_path / "plain")
