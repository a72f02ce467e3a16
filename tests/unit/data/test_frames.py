"""Frames of every kind instead of a store: what D returns is what `write_store` and reading would give, to the bit."""

from __future__ import annotations

import contextlib
import gc
import mmap
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import qlib
from qlib.cli.check import check_config
from qlib.config import build_settings
from qlib.data import D, DuckTable, Frames
from qlib.data.distributed import JoblibExecutor, distributed_features
from qlib.data.provider import Provider
from qlib.data.storage.pit import pit_path, write_pit
from qlib.data.storage.writer import write_store
from qlib.errors import ConfigError, MissingDataError, StoreError
from qlib.session import Session, close
from tests.proof import cases

polars = pytest.importorskip("polars")
duckdb = pytest.importorskip("duckdb")

HOURS = pd.date_range("2024-01-01", periods=40, freq="h")
FIELDS = ("open", "close", "volume")
NAMES = ("BTC/USDT", "AAA", "con", "Zz", "b_b")
FORMULAS = [
    "$close",
    "$open/$close-1",
    "Mean($close,5)",
    "Std($volume,4)",
    "EMA($open,3)",
    "Ref($close,-2)/$close",
    "Corr($close,$open,6)",
    "CSRank($close)",
    "Mean(CSRank(Delta($volume,2)),3)",
    "CSZScore($close-Mean($close,4))",
    "ChangeInstrument('aaa',$close)",
    "$close-Mask($open,'Zz')",
    "Mean(Select($volume>1,$close),2)",
    "DayLast($close)",
    "$nothing",
]

Source = tuple[Any, dict[str, Any]]


@pytest.fixture(autouse=True)
def _leave():
    yield
    close()


# ------------------------------------------------------------------------------------------------ rows, brought
def long_of(frames: dict[str, pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(frames, names=["instrument", "datetime"]).reset_index()


def pandas_columns(long: pd.DataFrame, folder: Path) -> Source:
    return long.sample(frac=1, random_state=3), {}


def pandas_sorted(long: pd.DataFrame, folder: Path) -> Source:
    return long.sort_values(["instrument", "datetime"], ignore_index=True).astype(dict.fromkeys(FIELDS, "f4")), {}


def pandas_index(long: pd.DataFrame, folder: Path) -> Source:
    return long.set_index(["instrument", "datetime"]), {}


def pandas_index_by_time(long: pd.DataFrame, folder: Path) -> Source:
    frame = long.set_index(["datetime", "instrument"]).sort_index()
    frame.index.names = [None, None]
    return frame, {}


def pandas_time_index(long: pd.DataFrame, folder: Path) -> Source:
    return long.set_index("datetime"), {}


def pandas_zoned(long: pd.DataFrame, folder: Path) -> Source:
    times = long["datetime"].dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo")
    renamed = long.assign(opened=times).drop(columns="datetime").rename(columns={"instrument": "symbol", "close": "C"})
    options = {"instrument": "symbol", "time": "opened", "clock": "UTC"}
    return renamed, {**options, "fields": {"open": "open", "C": "close", "volume": "volume"}}


def polars_frame(long: pd.DataFrame, folder: Path) -> Source:
    return polars.from_pandas(long), {}


def polars_lazy(long: pd.DataFrame, folder: Path) -> Source:
    return polars.from_pandas(long).sample(fraction=1, shuffle=True, seed=1).lazy(), {}


def polars_lazy_parquet(long: pd.DataFrame, folder: Path) -> Source:
    polars.from_pandas(long.assign(datetime=long["datetime"].dt.tz_localize("UTC"))).write_parquet(folder / "p.parquet")
    return polars.scan_parquet(folder / "p.parquet"), {"clock": "UTC"}


def arrow_table(long: pd.DataFrame, folder: Path) -> Source:
    whole, half = pa.Table.from_pandas(long), len(long) // 2
    return pa.concat_tables([whole.slice(0, half), whole.slice(half)]), {}


def arrow_reader(long: pd.DataFrame, folder: Path) -> Source:
    table = pa.Table.from_pandas(long)
    return table.to_reader(max_chunksize=7), {"fields": FIELDS}


def parquet_file(long: pd.DataFrame, folder: Path) -> Source:
    long.to_parquet(folder / "bars.parquet", index=False, row_group_size=11)
    return str(folder / "bars.parquet"), {}


def parquet_hive(long: pd.DataFrame, folder: Path) -> Source:
    table = pa.Table.from_pandas(long, preserve_index=False)
    ds.write_dataset(table, folder / "hive", format="parquet", partitioning=["instrument"], partitioning_flavor="hive")
    return folder / "hive", {}


def arrow_files(long: pd.DataFrame, folder: Path) -> Source:
    for i, piece in enumerate((long[::2], long[1::2])):
        pyarrow.feather.write_feather(pa.Table.from_pandas(piece, preserve_index=False), folder / f"{i}.feather")
    return folder, {}


def arrow_dataset(long: pd.DataFrame, folder: Path) -> Source:
    pq.write_table(pa.Table.from_pandas(long), folder / "d.parquet")
    return ds.dataset(folder / "d.parquet"), {"fields": FIELDS}


def duckdb_relation(long: pd.DataFrame, folder: Path) -> Source:
    return duckdb.connect().from_arrow(pa.Table.from_pandas(long, preserve_index=False)), {}


def duckdb_table(long: pd.DataFrame, folder: Path) -> Source:
    with duckdb.connect(str(folder / "d.duckdb")) as connection:
        connection.from_arrow(pa.Table.from_pandas(long, preserve_index=False)).create("bars")
    return DuckTable(str(folder / "d.duckdb"), table="bars"), {}


def duckdb_query(long: pd.DataFrame, folder: Path) -> Source:
    with duckdb.connect(str(folder / "q.duckdb")) as connection:
        connection.from_arrow(pa.Table.from_pandas(long, preserve_index=False)).create("bars")
    query = "select *, volume + 0 as v from bars order by volume"
    options = {"fields": {"open": "open", "close": "close", "v": "volume"}}
    return DuckTable(str(folder / "q.duckdb"), query=query), options


LONG: list[Callable[[pd.DataFrame, Path], Source]] = [
    pandas_columns, pandas_sorted, pandas_index, pandas_index_by_time, pandas_time_index, pandas_zoned, polars_frame,
    polars_lazy, polars_lazy_parquet, arrow_table, arrow_reader, parquet_file, parquet_hive, arrow_files, arrow_dataset,
    duckdb_relation, duckdb_table, duckdb_query,
]  # fmt: skip


# ------------------------------------------------------------------------------------------------ the law
numbers = st.one_of(st.floats(-3, 3, width=32), st.just(np.nan), st.just(np.inf), st.integers(-5, 5).map(float))


@st.composite
def markets(draw: st.DrawFn, *, every_field: bool = True) -> dict[str, pd.DataFrame]:
    """Frames of a few instruments with holes; with `every_field` all have the same columns."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    frames = {}
    for name in draw(st.lists(st.sampled_from(NAMES), min_size=1, unique=True)):
        at = np.sort(rng.choice(len(HOURS), draw(st.integers(1, len(HOURS))), replace=False))
        fields = FIELDS if every_field else draw(st.lists(st.sampled_from(FIELDS), min_size=1, unique=True))
        values = rng.normal(1, 1, (len(at), len(fields)))
        values[rng.random(values.shape) < draw(st.sampled_from([0, 0.2]))] = np.nan
        frames[name] = pd.DataFrame(values, HOURS[at], list(fields))
        some = list(draw(st.lists(numbers, max_size=3)))
        frames[name].iloc[: len(some), 0] = some[: len(at)]
    return frames


@st.composite
def queries(draw: st.DrawFn) -> tuple[Any, ...]:
    names = draw(st.one_of(st.none(), st.lists(st.sampled_from([*NAMES, "aaa", "nobody"]), min_size=1, unique=True)))
    low, high = draw(
        st.one_of(st.just((None, None)), st.tuples(st.sampled_from(list(HOURS)), st.sampled_from(list(HOURS))))
    )
    fields = draw(st.lists(st.sampled_from(FORMULAS), min_size=1, max_size=6, unique=True))
    return names, fields, low, high, draw(st.integers(1, 3)), draw(st.sampled_from([None, "qlib"]))


def asked(provider: Provider, query: tuple[Any, ...]) -> pd.DataFrame:
    names, fields, low, high, *_ = query
    return provider.features(provider.instruments("all") if names is None else names, fields, low, high, "60min")


def provider_of(query: tuple[Any, ...], **place: Any) -> Provider:
    return Provider(build_settings(region="crypto", kernels=query[4], compat=query[5], **place))


def same(ours: Provider, stored: Provider, query: tuple[Any, ...]) -> None:
    whole = ours.instruments("all")
    for freq in ("60min", "day"):
        assert (ours.calendar(freq=freq) == stored.calendar(freq=freq)).all()
    found, expected = (one.list_instruments(whole, query[2], query[3], "60min") for one in (ours, stored))
    assert found == expected
    assert sorted(found) == sorted(ours.list_instruments(whole, query[2], query[3], "60min", as_list=True))
    for name in NAMES:
        assert ours.stored_fields(name, "60min") == stored.stored_fields(name, "60min")
    assert ours.store.stored_instruments("60min") == stored.store.stored_instruments("60min")
    lengths = [one.store.lengths([*NAMES, "nobody"], "close", "60min") for one in (ours, stored)]
    assert (lengths[0] <= lengths[1]).all()
    with quiet():
        pd.testing.assert_frame_equal(asked(ours, query), asked(stored, query), check_exact=True)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    with np.errstate(all="ignore"):
        yield


FEW = settings(
    max_examples=cases(6, 300), deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@pytest.mark.parametrize("bring", LONG, ids=lambda one: one.__name__)
@FEW
@given(frames=markets(), query=queries())
def test_long_frames_give_what_the_store_of_the_same_rows_gives(bring, frames, query):
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "frames"
        folder.mkdir()
        store = write_store(frames, f"{place}/store", "60min")
        source, options = bring(long_of(frames), folder)
        ours = provider_of(query, data=Frames({"60min": source}, **options))
        same(ours, provider_of(query, provider_uri=store), query)
        names = ours.list_instruments(ours.instruments("all"), freq="60min", as_list=True)
        assert names == sorted(frames)


@FEW
@given(frames=markets(every_field=False), query=queries())
def test_frames_by_instrument_may_lack_fields_that_others_have(frames, query):
    with tempfile.TemporaryDirectory() as place:
        expected = provider_of(query, provider_uri=write_store(frames, f"{place}/store", "60min"))
        for sources in (
            frames,
            {name: frame.rename_axis("datetime").reset_index() for name, frame in frames.items()},
            {name: polars.from_pandas(frame.rename_axis("datetime").reset_index()) for name, frame in frames.items()},
        ):
            ours = provider_of(query, data={"60min": sources})
            same(ours, expected, query)
            assert ours.list_instruments(ours.instruments("all"), freq="60min", as_list=True) == list(frames)


@FEW
@given(frames=markets(every_field=False), query=queries())
def test_files_that_are_one_instrument_each_may_lack_fields_that_others_have(frames, query):
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "frames"
        folder.mkdir()
        for name, frame in frames.items():
            frame.rename_axis("datetime").reset_index().to_parquet(folder / f"{name.replace('/', '%2f')}.parquet")
        expected = provider_of(query, provider_uri=write_store(frames, f"{place}/store", "60min"))
        same(provider_of(query, data=Frames({"60min": folder}, instrument=None)), expected, query)


@FEW
@given(frames=markets(), query=queries(), single=st.booleans())
def test_wide_frames_give_what_the_store_of_their_columns_gives(frames, query, single):
    kind = np.float32 if single else np.float64
    wide = {
        field: pd.DataFrame({name: frame[field] for name, frame in frames.items()}).astype(kind) for field in FIELDS
    }
    there = pd.concat([frame.notna() for frame in wide.values()]).groupby(level=0).any()
    wide = {field: frame[there.any(axis=1)] for field, frame in wide.items()}
    kept = {}
    for name in wide["close"].columns:
        whole = pd.DataFrame({field: frame[name] for field, frame in wide.items()})
        first, last = whole.dropna(how="all").index[[0, -1]] if whole.notna().any(axis=None) else (None, None)
        if first is not None:
            kept[name] = whole[first:last]
    if not kept:
        return
    with tempfile.TemporaryDirectory() as place:
        expected = provider_of(query, provider_uri=write_store(kept, f"{place}/store", "60min"))
        same(provider_of(query, data=Frames({"60min": wide}, wide=True)), expected, query)


# ------------------------------------------------------------------------------------------------ beside the values
def market(seed: int = 0, count: int = 3, bars: int = 40) -> dict[str, pd.DataFrame]:
    rng = np.random.default_rng(seed)
    names = [f"S{i}" for i in range(count)]
    return {name: pd.DataFrame(rng.normal(1, 0.1, (bars, 3)), HOURS[:bars], list(FIELDS)) for name in names}


def test_init_takes_frames_and_everything_behind_d_answers():
    qlib.init(data={"60min": long_of(market())}, region="crypto")
    universe = D.instruments("all", filter_pipe=[{"filter_type": "NameDFilter", "name_rule_re": "S[01]"}])
    assert D.list_instruments(universe, freq="60min", as_list=True) == ["S0", "S1"]
    assert D.features(universe, ["CSRank($close)"], freq="60min").shape == (80, 1)
    assert D.calendar(freq="day").tolist() == list(pd.date_range("2024-01-01", periods=2))
    assert D.stored_fields("s1", "60min") == sorted(FIELDS)
    assert "60min: 40 bars of 3 instruments" in repr(D)


def test_settings_are_one_place_or_the_other(tmp_path):
    frames = market()
    with pytest.raises(ConfigError, match="data and provider_uri: received both"):
        qlib.init(data={"60min": frames}, provider_uri=str(tmp_path))
    settings = Session(build_settings(data={"60min": frames}, region="crypto")).settings
    assert isinstance(settings["data"], Frames)
    assert settings["provider_uri"] == {}
    assert settings.replace(kernels=1)["data"] is settings["data"]
    assert settings.replace(provider_uri=str(tmp_path))["data"] is None


def test_several_frequencies_stand_side_by_side():
    days = {name: frame[::24].set_axis(HOURS[:40:24].normalize()) for name, frame in market().items()}
    qlib.init(data={"60min": long_of(market()), "day": days}, region="crypto")
    assert D.stored_freqs() == ["60min", "day"]
    assert len(D.features(["S0"], ["$close"])) == 2
    assert len(D.features(["S0"], ["$close"], freq="1h")) == 40
    with pytest.raises(MissingDataError, match=r"data does not contain data for 5min; stored there: 60min, day"):
        D.features(["S0"], ["$close"], freq="5min")


def test_markets_and_a_calendar_can_be_given():
    longer = pd.date_range(HOURS[0], periods=60, freq="h")
    two = {"few": ["S1"], "early": {"S0": [("2024-01-01", "2024-01-01 05:00")]}}
    qlib.init(data=Frames({"60min": long_of(market())}, calendar=longer, markets=two), region="crypto")
    assert len(D.calendar(freq="60min")) == 60
    assert D.list_instruments(D.instruments("few"), freq="60min", as_list=True) == ["S1"]
    assert len(D.features(D.instruments("EARLY"), ["$close"], freq="60min")) == 6
    assert len(D.features(D.instruments("all"), ["$close"], freq="60min")) == 120
    with pytest.raises(MissingDataError, match=r"market: received 'fw'; data\['60min'\] has all, early, few; did you"):
        D.list_instruments(D.instruments("fw"), freq="60min")


def test_reported_data_come_from_a_folder_or_are_said_to_be_missing(tmp_path):
    qlib.init(data={"60min": market()}, region="crypto")
    with pytest.raises(MissingDataError, match=r"no point-in-time data .*Frames\(\.\.\., pit=folder\)"):
        D.features(["S0"], ["P($$roe_q)"], freq="60min")
    write_pit(pit_path(tmp_path, "S0", "roe_q"), [("2024-01-01", 202304, 0.5)])
    qlib.init(data=Frames({"60min": market()}, pit=tmp_path), region="crypto")
    assert D.features(["S0"], ["P($$roe_q)"], freq="60min").iloc[-1, 0] == 0.5


def test_names_in_folders_stay_text(tmp_path):
    for name in ("000001", "600000"):
        folder = tmp_path / f"symbol={name}" / "year=2024"
        folder.mkdir(parents=True)
        pd.DataFrame({"t": HOURS[:3], "close": [1.0, 2, 3]}).to_parquet(folder / "part-0.parquet")
    (tmp_path / "notes.md").write_text("not data")
    qlib.init(data=Frames({"60min": tmp_path}, instrument="symbol", time="t", fields=["close"]), region="crypto")
    assert D.list_instruments(D.instruments("all"), freq="60min", as_list=True) == ["000001", "600000"]
    assert D.features(["600000"], ["$close"], freq="60min")["$close"].tolist() == [1, 2, 3]


def test_files_that_change_are_read_anew(tmp_path):
    frames = market(bars=10)
    long_of(frames).to_parquet(tmp_path / "a.parquet")
    qlib.init(data={"60min": str(tmp_path)}, region="crypto")
    assert len(D.features(["S0"], ["$close"], freq="60min")) == 10
    later = pd.DataFrame({"instrument": ["S0"], "datetime": HOURS[10:11], "close": [7.0], "open": 1.0, "volume": 1.0})
    later.to_parquet(tmp_path / "b.parquet")
    assert D.features(["S0"], ["$close"], freq="60min").iloc[-1, 0] == 7
    assert D.list_instruments(D.instruments("all"), freq="60min")["S0"][0][1] == HOURS[10]


def test_a_table_that_changes_behind_the_query_is_said_to_have_changed():
    connection = duckdb.connect()
    connection.from_arrow(pa.Table.from_pandas(long_of(market(bars=10)), preserve_index=False)).create("bars")
    qlib.init(data={"60min": connection.table("bars")}, region="crypto")
    D.features(["S0"], ["$close"], freq="60min")
    shown = "rows that were not there when its calendar was read"
    for name, time in (("S0", "2024-01-03"), ("S7", "2024-01-01"), ("S1", "2024-01-01 09:00")):
        if name == "S1":
            connection.execute("delete from bars where instrument = 'S1' and datetime > '2024-01-01 05:00'")
            qlib.init(data={"60min": connection.table("bars")}, region="crypto")
            D.features(["S0"], ["$close"], freq="60min")
        connection.execute(f"insert into bars values ('{name}', '{time}', 1, 1, 1)")
        with pytest.raises(StoreError, match=shown):
            D.features(D.instruments("all"), ["$close"], freq="60min")
        connection.execute(f"delete from bars where instrument = '{name}' and datetime = '{time}'")
        assert len(D.features(["S0"], ["$close"], freq="60min")) == 10


@pytest.mark.skipif(pd.__version__ < "3", reason="pandas 2 copies nothing when a frame is changed that others share")
def test_an_owner_who_changes_a_frame_does_not_change_what_was_brought():
    long = (
        long_of(market()).sort_values(["instrument", "datetime"], ignore_index=True).astype(dict.fromkeys(FIELDS, "f4"))
    )
    qlib.init(data={"60min": long}, region="crypto")
    before = D.features(["S0"], ["$close"], freq="60min").copy()
    long.loc[:, "close"] = np.float32(-1)
    assert D.features(["S0"], ["$close"], freq="60min").equals(before)


# ------------------------------------------------------------------------------------------------ memory and reading
def test_float32_rows_in_order_are_not_copied():
    frame = pd.DataFrame(
        {
            "instrument": np.repeat(["A", "B"], 40),
            "datetime": np.tile(HOURS, 2),
            "close": np.arange(80, dtype="f4"),
        }
    )
    own = frame["close"].to_numpy()
    raw = Frames({"60min": frame}).read("60min", ["A", "B"], ["close"], 3, 30)
    assert np.shares_memory(raw.column(0), own)
    assert raw.series(1, 0).tolist() == list(range(43, 71))
    table = pa.Table.from_pandas(frame)
    raw = Frames({"60min": table}).read("60min", ["A"], ["close"], 0, 39)
    assert np.shares_memory(raw.column(0), table.column("close").chunk(0).to_numpy())
    wide = pd.DataFrame(np.ones((3, 40), "f4").T, HOURS, list("ABC"))
    raw = Frames({"60min": {"close": wide}}, wide=True).read("60min", ["B"], ["close"], 0, 39)
    assert np.shares_memory(raw.column(0), wide.to_numpy())


def test_only_the_columns_and_rows_of_a_query_are_read():
    asked_for = []

    class Watched:
        """A dataset that notes what is asked of it."""

        __module__ = "pyarrow.dataset"

        def __init__(self, dataset):
            self.dataset, self.schema = dataset, dataset.schema

        def scanner(self, **kwargs):
            asked_for.append((kwargs["columns"], str(kwargs["filter"])))
            return self.dataset.scanner(**kwargs)

    frames = Frames({"60min": Watched(ds.dataset(pa.Table.from_pandas(long_of(market()), preserve_index=False)))})
    raw = frames.read("60min", ["s1"], ["close"], 5, 6)
    assert len(raw.values) == 2
    assert asked_for[0] == (["instrument", "datetime"], "None")
    columns, rows = asked_for[1]
    assert columns == ["instrument", "datetime", "close"]
    assert "2024-01-01 05:00:00" in rows
    assert "2024-01-01 06:00:00" in rows
    assert "S1" in rows


def test_a_query_of_a_large_file_takes_the_memory_of_the_query(tmp_path):
    count, bars = 200, 20_000
    times = pa.array(pd.date_range("2010-01-01", periods=bars, freq="h"))
    rng = np.random.default_rng(0)
    schema = pa.schema(
        [("instrument", pa.string()), ("datetime", times.type), *((f"f{i}", pa.float64()) for i in range(4))]
    )
    with pq.ParquetWriter(tmp_path / "large.parquet", schema) as writer:
        for i in range(count):
            own = [rng.normal(size=bars) for _ in range(4)]
            writer.write_table(pa.table([pa.array([f"S{i:03d}"] * bars), times, *own], schema=schema))
    code = f"""
import resource
import qlib
from qlib.cli.check import check_config
from qlib.data import D
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
qlib.init(data={{"60min": {str(tmp_path)!r}}}, region="crypto", kernels=1, logging_level=40)
D.features(["S001"], ["$f0"], freq="60min")
before = peak()
found = D.features(D.instruments("all"), ["Mean($f1,5)"], "2012-01-01", freq="60min")
block = found.to_numpy().nbytes
grown = peak() - before
print(block / 2**20, grown)
"""
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=dict(os.environ)
    )
    assert run.returncode == 0, run.stderr
    block, grown = map(float, run.stdout.split())
    assert block < 12
    assert grown < 120  # the file holds 128 MB of numbers in 4 columns; a copy of all would be twice that


# ------------------------------------------------------------------------------------------------ other processes
def mapped(values: np.ndarray) -> bool:
    held: Any = values
    while isinstance(held, np.ndarray):
        held = held.base
    return isinstance(held, mmap.mmap)


def test_frames_in_memory_are_lent_to_other_processes(tmp_path):
    frames = Frames({"60min": market(), "day": long_of({"X": pd.DataFrame({"close": [1.0]}, HOURS[:1])})})
    settings = build_settings(data=frames, region="crypto")
    packed = pickle.dumps(settings)
    assert len(packed) < 20_000
    theirs = pickle.loads(packed)
    fields = ["$close", "CSRank($open)"]
    ours, other = (Provider(one).features(list(market()), fields, freq="60min") for one in (settings, theirs))
    assert ours.equals(other)
    folder = frames._lent
    for one in (settings, theirs):
        assert mapped(Provider(one).store.read(["S0"], ["close"], "60min", 0, 9).column(0))
    del frames, settings, theirs, one
    gc.collect()
    assert not folder.exists()
    with pytest.raises(MissingDataError, match="is gone: frames in memory are lent to processes of the same machine"):
        pickle.loads(packed)


@pytest.mark.parametrize(
    "bring", [pandas_columns, parquet_hive, duckdb_table, polars_lazy], ids=lambda one: one.__name__
)
def test_sharded_queries_run_over_frames(bring, tmp_path):
    source, options = bring(long_of(market(count=5)), tmp_path)
    settings = Session(build_settings(data=Frames({"60min": source}, **options), region="crypto")).settings
    query = ([f"S{i}" for i in range(5)], ["Mean($close,3)", "CSRank($open)"], None, None, "60min")
    with JoblibExecutor(2) as executor:
        found = distributed_features(*query, executor=executor, provider=settings)
    assert found.equals(Provider(settings).features(*query))


def test_a_relation_that_cannot_travel_says_what_can(tmp_path):
    source, _ = duckdb_relation(long_of(market()), tmp_path)
    with pytest.raises(TypeError, match=r"cannot go to another process; name the database file instead: DuckTable"):
        pickle.dumps(Frames({"60min": source}))


# ------------------------------------------------------------------------------------------------ no look-ahead
@pytest.mark.parametrize("bring", [pandas_columns, parquet_file, duckdb_relation], ids=lambda one: one.__name__)
def test_rows_that_come_later_change_nothing_before(bring, tmp_path):
    past = [formula for formula in FORMULAS if "-2)" not in formula and "DayLast" not in formula]
    long = long_of(market(count=4))
    early = long[long["datetime"] < HOURS[25]]
    late = long.copy()
    changed = late["datetime"] >= HOURS[25]
    late.loc[changed, list(FIELDS)] = np.random.default_rng(9).normal(5, 9, (int(changed.sum()), 3))
    found = []
    for i, one in enumerate((early, long, late)):
        (tmp_path / str(i)).mkdir()
        source, options = bring(one, tmp_path / str(i))
        provider = Provider(build_settings(data=Frames({"60min": source}, **options), region="crypto"))
        found.append(provider.features([f"S{k}" for k in range(4)], past, None, HOURS[24], "60min"))
    assert found[0].equals(found[1])
    assert found[0].equals(found[2])


def test_a_configuration_can_name_files(tmp_path):
    long_of(market(count=2)).rename(columns={"instrument": "symbol"}).to_parquet(tmp_path / "bars.parquet")
    kwargs = {"sources": {"60min": str(tmp_path)}, "instrument": "symbol"}
    init = {"region": "crypto", "data": {"class": "Frames", "module_path": "qlib.data", "kwargs": kwargs}}
    qlib.init(**init)
    assert D.list_instruments(D.instruments("all"), freq="60min", as_list=True) == ["S0", "S1"]
    handler = {
        "class": "DataHandlerLP",
        "module_path": "qlib.data.dataset.handler",
        "kwargs": {
            "instruments": "all",
            "data_loader": {
                "class": "QlibDataLoader",
                "module_path": "qlib.data.dataset.loader",
                "kwargs": {"config": [["$close", "$clos"], ["C", "X"]], "freq": "60min"},
            },
        },
    }
    dataset = {"class": "DatasetH", "module_path": "qlib.data.dataset", "kwargs": {"handler": handler, "segments": {}}}
    model = {"class": "LGBModel", "module_path": "qlib.contrib.model.gbdt"}
    problems = [str(one) for one in check_config({"qlib_init": init, "task": {"model": model, "dataset": dataset}})]
    assert [one for one in problems if "no instrument has the field $clos at 60min; did you mean $close" in one]
    assert not [one for one in problems if "qlib_init" in one]
    kwargs["sources"] = {"60min": str(tmp_path / "nowhere")}
    problems = [str(one) for one in check_config({"qlib_init": init, "task": {"model": model, "dataset": dataset}})]
    assert [one for one in problems if "qlib_init" in one and "there is no file or folder" in one]


@pytest.mark.parametrize("clock", ["UTC", "Asia/Tokyo", "America/New_York"])
@pytest.mark.parametrize("kind", ["dataset", "file", "duckdb", "lazy"])
def test_times_with_a_zone_are_converted_and_asked_for_in_their_own(kind, clock, tmp_path):
    long = long_of(market(count=3))
    aware = long.assign(datetime=long["datetime"].dt.tz_localize("UTC").dt.tz_convert("Europe/Paris"))
    table = pa.Table.from_pandas(aware, preserve_index=False)
    pq.write_table(table, tmp_path / "bars.parquet")
    source = {
        "dataset": lambda: ds.dataset(table),
        "file": lambda: tmp_path,
        "duckdb": lambda: duckdb.connect().from_arrow(table),
        "lazy": lambda: polars.from_arrow(table).lazy(),
    }[kind]()
    local = long.assign(datetime=aware["datetime"].dt.tz_convert(clock).dt.tz_localize(None))
    ours, expected = (
        Provider(build_settings(data=Frames({"60min": one}, clock=clock), region="crypto")) for one in (source, local)
    )
    times = expected.calendar(freq="60min")
    for low, high in ((None, None), (times[3], times[20]), (times[5], times[5]), (times[-1], None), (None, times[0])):
        query = (["S0", "S2"], ["$close", "Mean($open,3)"], low, high, "60min")
        assert ours.features(*query).equals(expected.features(*query))
