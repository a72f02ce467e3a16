"""Bars within days: nothing of the evening is known in the morning, numbers have their types, files are whole."""

from __future__ import annotations

import json
from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from proof import cases

import qlib
from qlib.contrib.data import highfreq_processor
from qlib.contrib.data.data import ArcticFeatureProvider, within_sessions
from qlib.contrib.data.highfreq_handler import (
    HighFreqBacktestHandler,
    HighFreqBacktestOrderHandler,
    HighFreqGeneralBacktestHandler,
    HighFreqGeneralHandler,
    HighFreqHandler,
    HighFreqOrderHandler,
)
from qlib.contrib.data.highfreq_processor import HighFreqNorm, HighFreqTrans
from qlib.contrib.data.highfreq_provider import HighFreqProvider
from qlib.data.dataset import DatasetH
from qlib.data.dataset.handler import DataHandlerLP
from qlib.data.storage.writer import write_store
from qlib.errors import ConfigError, InputError, MissingDataError

FIELDS = ("open", "high", "low", "close", "vwap", "volume", "paused_num", "factor")
DAYS = pd.date_range("2021-01-04", periods=8)


def bars(per_day, seed=0):
    times = pd.DatetimeIndex([day + pd.Timedelta(minutes=i) for day in DAYS for i in range(per_day)])
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.uniform(8, 12, (len(times), len(FIELDS))), index=times, columns=list(FIELDS))
    frame["paused_num"] = 2.0
    return frame


def opened(folder, per_day, seed=0, change=None):
    frame = bars(per_day, seed)
    if change is not None:
        change(frame)
    qlib.init(provider_uri=str(write_store({"AAA": frame}, folder / "s", "1min")), region="cn", kernels=1)


# ------------------------------------------------------------------------------------------------------------- handlers
def test_columns_are_the_published_ones():
    prices = ["$open", "$high", "$low", "$close", "$vwap"]
    later = [f"{name}_1" for name in prices]
    depths = ["$bidV", "$bidV1", "$bidV3", "$bidV5", "$askV", "$askV1", "$askV3", "$askV5"]
    names = {
        HighFreqHandler: [*prices, *later, "$volume", "$volume_1"],
        HighFreqOrderHandler: [*prices, *later, "$bid", "$ask", "$bid_1", "$ask_1", "$volume", "$volume_1"]
        + [*depths, *(f"{name}_1" for name in depths)],
        HighFreqBacktestHandler: ["$close0", "$vwap0", "$volume0", "$factor0"],
        HighFreqBacktestOrderHandler: ["$close0", "$vwap0", "$volume0", "$bid0", "$bidV0", "$ask0", "$askV0"]
        + ["$median0", "$factor0", "$downlimitmarket0", "$uplimitmarket0", "$highmarket0", "$lowmarket0"],
    }
    for cls, wanted in names.items():
        formulas, got = object.__new__(cls).get_feature_config()
        assert got == wanted
        assert len(formulas) == len(wanted)
    general = object.__new__(HighFreqGeneralHandler)
    general.day_length, general.columns = 1440, ["$close"]
    assert general.get_feature_config()[1] == ["$close", "$close_1", "$volume", "$volume_1"]


def test_rows_are_by_instrument_and_columns_have_no_group(tmp_path):
    opened(tmp_path, 6)
    handler = HighFreqGeneralHandler("all", DAYS[4], None, day_length=6, infer_processors=["Fillna"])
    frame = handler.fetch(col_set="__raw")
    assert frame.index.names == ["instrument", "datetime"]
    assert frame.columns.nlevels == 1
    assert len(handler.fetch(slice(DAYS[5], DAYS[5] + pd.Timedelta("1h")))) == 6
    with pytest.raises(AttributeError, match="dropped"):
        handler.fetch(data_key="raw")


def test_a_price_is_relative_to_the_close_two_days_ago(tmp_path):
    opened(tmp_path, 6)
    got = HighFreqGeneralHandler("all", DAYS[4], DAYS[4] + pd.Timedelta("1h"), day_length=6).fetch()
    raw = bars(6)
    at = 4 * 6
    np.testing.assert_allclose(got["$open"], raw["open"].iloc[at : at + 6] / raw["close"].iloc[at - 7], rtol=1e-6)
    np.testing.assert_allclose(got["$open_1"], raw["open"].iloc[at - 6 : at] / raw["close"].iloc[at - 1], rtol=1e-6)
    mean = raw["volume"].iloc[:at].mean()
    np.testing.assert_allclose(got["$volume"], raw["volume"].iloc[at : at + 6] / mean, rtol=1e-6)


@pytest.mark.parametrize("handler", [HighFreqHandler, HighFreqOrderHandler, HighFreqGeneralHandler])
def test_days_longer_than_the_handler_counts_are_refused(handler, tmp_path):
    opened(tmp_path, 300)
    text = r"1min: 2021-01-04 has 300 rows, the handler counts 240 as a day.*day_length=300"
    with pytest.raises(InputError, match=text):
        handler("all")
    assert len(HighFreqGeneralHandler("all", day_length=300).fetch()) == 8 * 300
    assert len(HighFreqBacktestHandler("all").fetch()) == 8 * 300  # counts no days


def test_compat_computes_on_and_knows_the_evening(tmp_path):
    def raise_the_evening(frame):
        frame.loc[DAYS[5] + pd.Timedelta("3min") : DAYS[5] + pd.Timedelta("1h"), "close"] *= 3

    values = []
    for change in (None, raise_the_evening):
        frame = bars(6)
        if change:
            change(frame)
        uri = str(write_store({"AAA": frame}, tmp_path / str(bool(change)), "1min"))
        qlib.init(provider_uri=uri, region="cn", kernels=1, compat="qlib")
        handler = HighFreqGeneralHandler("all", DAYS[3], None, day_length=1)
        values.append(handler.fetch(DAYS[5])["$open"].item())
    assert values[0] != values[1]


@settings(max_examples=cases(6, 30))
@given(st.integers(2 * 6 + 1, 8 * 6 - 1), st.integers(0, 9))
def test_no_value_changes_when_what_follows_does(tmp_path_factory, row, seed):
    def change(frame):
        frame.iloc[row:, [FIELDS.index(name) for name in FIELDS if name != "paused_num"]] *= 1.7

    past = []
    for number, harm in enumerate((None, change)):
        opened(tmp_path_factory.mktemp(f"f{number}"), 6, seed, harm)
        frames = [
            HighFreqGeneralHandler("all", day_length=6).fetch(),
            HighFreqGeneralBacktestHandler("all", day_length=6).fetch(),
            HighFreqBacktestHandler("all").fetch(),
        ]
        past.append([frame.iloc[:row] for frame in frames])
    for left, right in zip(*past, strict=True):
        pd.testing.assert_frame_equal(left, right)


def test_columns_of_a_backtest_can_be_chosen(tmp_path):
    opened(tmp_path, 6)
    assert list(HighFreqGeneralBacktestHandler("all", day_length=6, columns=["$vwap"]).fetch()) == ["$vwap0"]
    with pytest.raises(ConfigError, match=r"columns: received \['\$open'\]"):
        HighFreqGeneralBacktestHandler("all", day_length=6, columns=["$open"])
    with pytest.raises(ConfigError, match="day_length: received 0"):
        HighFreqGeneralHandler("all", day_length=0)


# ----------------------------------------------------------------------------------------------------------- processors
ROWS = pd.MultiIndex.from_product([["A"], pd.date_range("2020-01-01", periods=6)], names=["instrument", "datetime"])


def table(values=None):
    values = np.arange(18.0).reshape(6, 3) if values is None else values
    return pd.DataFrame(values, index=ROWS, columns=list("abc"))


def test_types_are_changed_and_values_without_a_place_are_named():
    assert set(HighFreqTrans("float32")(table()).dtypes) == {np.dtype("f4")}
    assert HighFreqTrans()(table() / 2)["c"].tolist() == [1, 2, 4, 5, 7, 8]
    for value in (np.nan, np.inf, 128.0, -129.0):
        wrong = table()
        wrong.iloc[2, 1] = value
        with pytest.raises(InputError, match="in column b has no place in int8"):
            HighFreqTrans()(wrong)
    edge = table()
    edge.iloc[0, :2] = -128, 127
    assert HighFreqTrans()(edge).iloc[0, :2].tolist() == [-128, 127]
    with pytest.raises(ConfigError, match="dtype: received 'int'"):
        HighFreqTrans("int")


def norm(folder, end="2020-01-03", **groups):
    return HighFreqNorm("2020-01-01", end, str(folder), groups or {"price": 2, "volume": 1})


def test_another_fit_window_is_learned_though_files_are_there(tmp_path, monkeypatch):
    norm(tmp_path).fit(table())
    later = norm(tmp_path, "2020-01-06")
    later.fit(table())
    first = norm(tmp_path)
    first.fit(table())
    assert later.learned["price"]["mean"] == table()[["a", "b"]].to_numpy().mean()
    assert first.learned["price"]["mean"] == table()[["a", "b"]].iloc[:3].to_numpy().mean()
    monkeypatch.setattr(highfreq_processor, "active_settings", lambda: type("S", (), {"compat": "qlib"}))
    stale = norm(tmp_path, "2020-01-06")
    stale.fit(table())
    assert stale.learned == first.learned


def test_what_follows_the_fit_window_is_not_learned(tmp_path):
    poisoned = table()
    poisoned.iloc[3:] = 1e9
    left, right = norm(tmp_path / "a"), norm(tmp_path / "b")
    left.fit(table())
    right.fit(poisoned)
    assert left.learned == right.learned


def test_the_norm_needs_files_or_a_fit_and_columns_enough(tmp_path):
    with pytest.raises(MissingDataError, match="called before fit"):
        norm(tmp_path)(table())
    first = norm(tmp_path)
    first.fit(table())
    pd.testing.assert_frame_equal(norm(tmp_path)(table()), first(table()))  # from the files
    with pytest.raises(InputError, match="price ends with column 9; the frame has 3 columns"):
        norm(tmp_path, price=9).fit(table())
    with pytest.raises(MissingDataError, match="no rows in the fit window"):
        HighFreqNorm("2030-01-01", "2030-01-02", str(tmp_path), {"p": 3}).fit(table())
    with pytest.raises(InputError, match="constant in the fit window"):
        flat = norm(tmp_path, p=3)
        flat.fit(table(np.ones((6, 3))))
        flat(table())


def test_beyond_the_families_columns_stay_and_the_frame_given_too(tmp_path):
    p, df = norm(tmp_path, price=1), table()
    p.fit(df)
    assert p(df)[["b", "c"]].equals(df[["b", "c"]])
    pd.testing.assert_frame_equal(df, table())


# ------------------------------------------------------------------------------------------------------------- provider
class Frames(DatasetH):
    """A dataset over a frame: what the provider makes files of."""

    def __init__(self, segments, handler=None):
        super().__init__(DataHandlerLP.from_df(table().swaplevel()), segments)


def provider(tmp_path, **confs):
    store = write_store({"AAA": bars(6)}, tmp_path / "s", "1min") if not (tmp_path / "s").exists() else tmp_path / "s"
    times = ("2020-01-01", "2020-01-06", "2020-01-02", "2020-01-03", "2020-01-04", "2020-01-05")
    return HighFreqProvider(*times, qlib_conf={"provider_uri": str(store), "region": "cn"}, **confs)


def conf(path):
    return {"path": str(path), "class": "Frames", "module_path": __name__, "kwargs": {}}


def test_datasets_become_files_that_need_no_pickle(tmp_path):
    given = conf(tmp_path / "out" / "feature.pkl")
    before = json.dumps(given)
    features, labels = provider(tmp_path, feature_conf=given).get_pre_datasets()
    assert labels is None
    assert json.dumps(given) == before
    rows = {name: pd.read_parquet(path) for name, path in features.items()}
    assert {name: len(frame) for name, frame in rows.items()} == {"train": 2, "valid": 2, "test": 2}
    pd.testing.assert_frame_equal(pd.concat(rows.values()), table().swaplevel())
    assert len(DatasetH.load(tmp_path / "out" / "feature").prepare("train")) == 2
    assert not list(tmp_path.rglob("*.pkl"))


def test_files_are_made_anew_and_a_missing_path_is_named(tmp_path):
    made = provider(tmp_path, feature_conf=conf(tmp_path / "f"), backtest_conf=conf(tmp_path / "b"))
    (tmp_path / "f_train.parquet").write_bytes(b"old")
    features, _ = made.get_pre_datasets()
    assert len(pd.read_parquet(features["train"])) == 2
    made.get_backtest()
    assert (tmp_path / "b_test.parquet").is_file()
    with pytest.raises(ConfigError, match="feature_conf: received"):
        provider(tmp_path, feature_conf={"class": "Frames"}).get_pre_datasets()
    with pytest.raises(ConfigError, match="backtest_conf: received None"):
        provider(tmp_path, feature_conf=conf(tmp_path / "f")).get_backtest()
    with pytest.raises(ConfigError, match="takes no argument frek"):
        provider(tmp_path, feature_conf={}, frek=1)


# --------------------------------------------------------------------------------------------------------------- arctic
def test_arctic_says_what_it_needs():
    if find_spec("arctic") is not None:
        pytest.skip("arctic is installed: what is said without it cannot be seen")
    with pytest.raises(ImportError, match='pip install "arctic"'):
        ArcticFeatureProvider().feature("A", "$close", "2020-01-01", "2020-01-02", "ticks")
    with pytest.raises(ConfigError, match="market_transaction_time_list"):
        ArcticFeatureProvider(market_transaction_time_list=["09:15"])


def test_rows_outside_the_sessions_are_left_out():
    times = pd.date_range("2020-01-01 09:00", "2020-01-02 16:00", freq="15min")
    kept = within_sessions(pd.Series(1.0, index=times), [("09:15", "11:30"), ("13:00", "15:00")])
    assert len(kept) == 2 * (10 + 9)
    assert len(within_sessions(pd.Series(dtype="f4"), [("09:15", "11:30")])) == 0
