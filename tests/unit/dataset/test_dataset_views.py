"""Views of one block say what copies would: any chain of processors against one sentence of pandas for each."""

from __future__ import annotations

import gc
import subprocess
import sys
import textwrap
import weakref

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from proof import cases

from qlib.data.dataset import columns
from qlib.data.dataset import processor as processors
from qlib.data.dataset.columns import View
from qlib.data.dataset.handler import DataHandlerLP
from qlib.data.dataset.loader import DataLoader, StaticDataLoader
from qlib.data.dataset.processor import Processor

DATES = pd.date_range("2020-01-01", periods=7)
NAMES = list("ABCDE")
FIRST, LAST = "2020-01-02", "2020-01-04"
WINDOW = {"fit_start_time": FIRST, "fit_end_time": LAST}
FEATURES = [("feature", f"F{i}") for i in range(5)]
COLUMNS = pd.MultiIndex.from_tuples([*FEATURES, ("label", "L0")])
CELLS = st.sampled_from([np.nan, np.inf, -np.inf, 0.0, -1.5, 2.0, 2.0, 7.25, 100.0])


# ------------------------------------------------------------------------------------- what each one does, in pandas
def by_date(df):
    return df.groupby(level="datetime")


def finite(df):
    return df.where(np.isfinite(df))


def learned(df, how):
    inside = df[(df.index.get_level_values(0) >= FIRST) & (df.index.get_level_values(0) <= LAST)]
    return getattr(finite(inside), how)()


def scaled(df, centre, width):
    same = width == 0
    return (df - centre.where(~same, 0.0)) / width.where(~same, 1.0)


def zscore_of(df):
    spread = by_date(finite(df)).transform("std")
    flat = by_date(finite(df)).transform("max") == by_date(finite(df)).transform("min")
    return (df - by_date(finite(df)).transform("mean")) / spread.where(~flat)


def sentences(group):
    """Processor's name, its arguments -> what it does to the columns of one group."""
    args = {"fields_group": group}
    return {
        "Fillna": (args | {"fill_value": -9.0}, lambda df: df.fillna(-9.0)),
        "MinMaxNorm": (
            args | WINDOW,
            lambda df: scaled(df, learned(df, "min"), learned(df, "max") - learned(df, "min")),
        ),
        "ZScoreNorm": (
            args | WINDOW,
            lambda df: scaled(
                df, learned(df, "mean"), np.sqrt(((finite(df) - learned(df, "mean")) ** 2).pipe(learned, "mean"))
            ),
        ),
        "CSZScoreNorm": (args, zscore_of),
        "CSRankNorm": (args, lambda df: (by_date(df).rank(pct=True) - 0.5) * 3.46),
        "CSZFillna": (args, lambda df: df.where(~df.isna(), by_date(finite(df)).transform("mean"))),
        "DropnaProcessor": (args, None),
    }


FRAMES = st.lists(st.tuples(st.booleans(), *[CELLS] * 6), min_size=35, max_size=35)
LINKS = st.lists(st.tuples(st.sampled_from(sorted(sentences("x"))), st.sampled_from(["feature", "label"])), max_size=4)


def table(cells, kind="f8"):
    index = pd.MultiIndex.from_product([DATES, NAMES], names=["datetime", "instrument"])
    keep = np.array([here for here, *_ in cells]) | (np.arange(35) % 5 == 0)  # every date has one row at least
    return pd.DataFrame([row for _, *row in cells], index=index, columns=COLUMNS).astype(kind)[keep]


def configs(chain):
    return [{"class": name, "kwargs": sentences(group)[name][0]} for name, group in chain]


def naive(df, chain):
    for name, group in chain:
        names = [column for column in df.columns if column[0] == group]
        if name == "DropnaProcessor":
            df = df[~df[names].isna().any(axis=1)]
        else:
            df = df.copy()
            with np.errstate(all="ignore"):
                df[names] = sentences(group)[name][1](df[names])
    return df


class Fresh(DataLoader):
    """Gives a new frame each time, as the store's loader does: its memory may be written to."""

    gives_new_frames = True

    def __init__(self, df):
        self.df = df

    def load(self, instruments, start_time=None, end_time=None):
        return self.df.copy()


def agree(received, expected):
    assert received.index.equals(expected.index)
    assert received.columns.equals(expected.columns)
    np.testing.assert_allclose(received.to_numpy(), expected.to_numpy(), rtol=1e-6, atol=1e-6)


@settings(deadline=None, max_examples=cases(25, 1000))
@given(FRAMES, LINKS, LINKS, st.booleans(), st.booleans(), st.data())
def test_any_chain_says_what_copies_of_pandas_say(cells, infer, learn, append, drop_raw, data):
    df = table(cells)
    has_window = df.loc[FIRST:LAST]
    expected = {"infer": naive(df, infer)}
    if any("Norm" in name and "CS" not in name for name, _ in infer + learn):
        try:  # rows of the fit window may all have been dropped before a processor learns
            kept = naive(df, infer)
            assert len(has_window) and len(kept.loc[FIRST:LAST])
        except (AssertionError, KeyError):
            return
    expected["learn"] = naive(expected["infer"] if append else df, learn)
    try:
        handler = DataHandlerLP(
            data_loader=Fresh(df) if drop_raw else StaticDataLoader(df),
            infer_processors=configs(infer),
            learn_processors=configs(learn),
            process_type="append" if append else "independent",
            drop_raw=drop_raw,
        )
    except processors.MissingDataError:
        return
    low, high = sorted(data.draw(st.tuples(st.integers(0, 6), st.integers(0, 6))))
    for key, whole in expected.items():
        agree(handler.fetch(col_set="__raw", data_key=key), whole)
        part = handler.fetch(slice(DATES[low], DATES[high]), col_set=["label", "feature"], data_key=key)
        agree(part, whole.loc[DATES[low] : DATES[high], [("label", "L0"), *FEATURES]])
        names = (
            handler.fetch(["B", "D", "A"], level="instrument", col_set="feature", data_key=key)
            if all(name in whole.index.get_level_values(1) for name in "ABD")
            else None
        )
        if names is not None:
            agree(names, whole[whole.index.get_level_values(1).isin(list("ABD"))]["feature"])
        agree(getattr(handler, f"_{key}"), whole)  # read as an attribute, it is a frame like any other
        agree(handler.fetch(col_set="__raw", data_key=key), whole)
    if not drop_raw:
        agree(handler.fetch(col_set="__raw", data_key="raw"), df)


@settings(deadline=None, max_examples=cases(15, 200))
@given(FRAMES, LINKS)
def test_one_thread_or_many_give_the_same_bits(cells, chain):
    results = []
    for n_threads in (1, 3):
        with pytest.MonkeyPatch.context() as patch:
            chosen = columns.active_settings().replace(n_threads=n_threads)
            patch.setattr(columns, "active_settings", lambda chosen=chosen: chosen)
            try:
                handler = DataHandlerLP(
                    data_loader=StaticDataLoader(table(cells, "f4")), infer_processors=configs(chain)
                )
            except processors.MissingDataError:
                return
            results.append(handler.fetch(col_set="__raw"))
    pd.testing.assert_frame_equal(*results, check_exact=True)


# -------------------------------------------------------------------------------------------- what happens to memory
def market(n_dates=40, n_names=25, n_features=30):
    index = pd.MultiIndex.from_product(
        [pd.date_range("2020-01-01", periods=n_dates), [f"N{i:03d}" for i in range(n_names)]],
        names=["datetime", "instrument"],
    )
    names = [*(("feature", f"F{i}") for i in range(n_features)), ("label", "L0")]
    values = np.random.default_rng(0).normal(size=(len(names), len(index))).astype("f4")
    values[-1, -2 * n_names :] = np.nan
    values[-1, 7], values[3, 5] = np.nan, np.nan
    return pd.DataFrame(values.T, index=index, columns=pd.MultiIndex.from_tuples(names), copy=False)


USUAL = [{"class": "DropnaLabel"}, {"class": "CSZScoreNorm", "kwargs": {"fields_group": "label"}}]
LINEAR = [
    {
        "class": "RobustZScoreNorm",
        "kwargs": {"fit_start_time": None, "fit_end_time": "2020-01-20", "fields_group": "feature"},
    },
    {"class": "Fillna", "kwargs": {"fields_group": "feature"}},
]


def held(handler):
    """Return the memory of the handler's views: every array behind them, once."""
    frames = {id(view.frame): view.frame for view in vars(handler).values() if isinstance(view, View)}
    new = sum(x.nbytes for view in vars(handler).values() if isinstance(view, View) for x in view.new.values())
    blocks = {
        frame.iloc[:, at].to_numpy().__array_interface__["data"][0]
        for frame in frames.values()
        for at in range(frame.shape[1])
    }
    return len(blocks) * len(next(iter(frames.values()))) * 4 + new


@pytest.mark.parametrize("infer", [[], LINEAR])
def test_raw_infer_and_learn_are_one_block(infer):
    df = market()
    handler = DataHandlerLP(data_loader=StaticDataLoader(df), infer_processors=infer, learn_processors=USUAL)
    assert held(handler) <= df.size * 4 + 2 * len(df) * 4  # and one label
    assert len(handler.fetch(data_key="learn")) == len(df) - 51


def test_dropped_raw_data_are_freed():
    loader = Fresh(market())
    handler = DataHandlerLP(data_loader=loader, infer_processors=LINEAR, learn_processors=USUAL, drop_raw=True)
    assert set(vars(handler)) >= {"_infer", "_learn"}
    assert "_data" not in vars(handler)
    assert held(handler) <= loader.df.size * 4 + 2 * len(loader.df) * 4
    assert vars(handler)["_infer"].is_plain  # the work was done in the raw data's own memory

    class Twice(Processor):
        def __call__(self, df):
            return df * 2

    kept = []

    class Watched(Fresh):
        def load(self, *args, **kwargs):
            df = super().load(*args, **kwargs)
            kept.append(weakref.ref(df))
            return df

    handler = DataHandlerLP(data_loader=Watched(market()), infer_processors=[Twice()], drop_raw=True)
    gc.collect()
    assert kept[0]() is None
    assert held(handler) == loader.df.size * 4


@pytest.mark.parametrize("infer", [[], LINEAR])
@pytest.mark.parametrize("key", ["raw", "infer", "learn"])
@pytest.mark.parametrize("selector", [slice(None), slice("2020-01-03", "2020-01-09"), "2020-01-04"])
@pytest.mark.parametrize("col_set", ["__raw", "__all", "feature"])
def test_changing_what_was_fetched_changes_no_handler(infer, key, selector, col_set):
    handler = DataHandlerLP(data_loader=StaticDataLoader(market()), infer_processors=infer, learn_processors=USUAL)
    before = {name: handler.fetch(col_set="__raw", data_key=name).copy(deep=True) for name in ("raw", "infer", "learn")}
    fetched = handler.fetch(selector, col_set=col_set, data_key=key)
    fetched.iloc[:, 0] = 1e9
    fetched.iloc[2, 3] = 1e9
    fetched[fetched.columns[1]] = 0.0
    fetched.fillna(5.0, inplace=True)
    fetched.columns = range(fetched.shape[1])
    for name, frame in before.items():
        pd.testing.assert_frame_equal(handler.fetch(col_set="__raw", data_key=name), frame)


class Spoils(Processor):
    """A user's processor that writes where it should not; `claims` is what it says of itself."""

    def __init__(self, claims):
        self.claims = claims

    def fit(self, df=None):
        df.iloc[0, 0] = 123.0

    def __call__(self, df):
        df[df.columns[1]] = 0.0
        df.iloc[:, 2] = 1.0
        return df

    def readonly(self):
        return self.claims


def test_a_processor_of_a_user_cannot_reach_the_raw_data():
    handler = DataHandlerLP(data_loader=StaticDataLoader(market()), infer_processors=[*LINEAR, Spoils(False)])
    pd.testing.assert_frame_equal(handler.fetch(col_set="__raw", data_key="raw"), market())
    assert (handler.fetch(col_set="feature")[["F1", "F2"]] == [0.0, 1.0]).all(axis=None)


@pytest.mark.parametrize("key", ["infer", "learn"])
def test_rows_by_label_come_from_a_view_as_from_a_frame(key):
    handler = DataHandlerLP(data_loader=StaticDataLoader(market()), infer_processors=LINEAR, learn_processors=USUAL)
    plain = handler.fetch(col_set="__raw", data_key=key)
    date = pd.Timestamp("2020-01-04")
    for selector in ((date, "N003"), plain.index[[9, 2, 30]], date):
        received = handler.fetch(selector, level=None, col_set="__raw", data_key=key)
        expected = plain.loc(axis=0)[selector]
        assert type(received) is type(expected)
        (pd.testing.assert_series_equal if received.ndim == 1 else pd.testing.assert_frame_equal)(received, expected)


def test_what_a_processor_becomes_later_changes_nothing_that_it_did():
    handler = DataHandlerLP(data_loader=StaticDataLoader(market()), infer_processors=LINEAR)
    before = handler.fetch(col_set="__raw").copy(deep=True)
    norm, fill = handler.infer_processors
    fill.fill_value = 77.0
    norm.mean_train[:] = 5.0
    norm.clip_outlier = False
    pd.testing.assert_frame_equal(handler.fetch(col_set="__raw"), before)


def test_a_column_of_another_kind_stays_what_it_is():
    df = market()
    df[("extra", "text")] = "x"
    df[("extra", "number")] = np.arange(len(df))
    handler = DataHandlerLP(data_loader=StaticDataLoader(df), infer_processors=LINEAR, learn_processors=USUAL)
    learn = handler.fetch(col_set="__raw", data_key="learn")
    assert learn[("extra", "number")].dtype == df[("extra", "number")].dtype
    pd.testing.assert_series_equal(learn[("extra", "text")], df.loc[learn.index, ("extra", "text")])
    with pytest.raises(processors.InputError, match="a column of numbers is needed"):
        DataHandlerLP(data_loader=StaticDataLoader(df), infer_processors=["Fillna"])


@pytest.mark.parametrize("name", ["ZScoreNorm", "MinMaxNorm", "RobustZScoreNorm"])
@pytest.mark.parametrize(
    "before", [[], ["CSZFillna"], [{"class": "CSRankNorm", "kwargs": {"fields_group": "feature"}}]]
)
def test_the_future_changes_nothing_that_a_handlers_processors_learn(name, before):
    clean, spoiled = market(), market()
    later = spoiled.index.get_level_values(0) > "2020-01-20"
    spoiled.loc[later] = np.where(np.arange(later.sum())[:, None] % 3, 1e6, np.nan)
    states = []
    for df in (clean, spoiled):
        norm = {
            "class": name,
            "kwargs": {"fit_start_time": "2020-01-05", "fit_end_time": "2020-01-20", "fields_group": "feature"},
        }
        handler = DataHandlerLP(data_loader=StaticDataLoader(df), infer_processors=[*before, norm])
        states.append(handler.infer_processors[-1].__dict__)
        states.append(handler.fetch(slice(None, "2020-01-20"), col_set="feature"))
    assert {k: str(v) for k, v in states[0].items()} == {k: str(v) for k, v in states[2].items()}
    for key in ("mean_train", "std_train", "min_val", "max_val"):
        np.testing.assert_array_equal(states[0].get(key), states[2].get(key))
    pd.testing.assert_frame_equal(states[1], states[3], check_exact=True)


PEAK = """
    import sys
    import numpy as np, pandas as pd
    from qlib.data.dataset.handler import DataHandlerLP
    from qlib.data.dataset.loader import DataLoader

    def peak():
        return int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) * 1024

    class Loader(DataLoader):
        def load(self, instruments, start_time=None, end_time=None):
            index = pd.MultiIndex.from_product(
                [pd.date_range("2020-01-01", periods=800), [f"N{i:03d}" for i in range(250)]],
                names=["datetime", "instrument"])
            names = [*(("feature", f"F{i}") for i in range(100)), ("label", "L0")]
            block = np.empty((101, len(index)), "f4")
            for column in block:
                column[:] = np.arange(len(index)) % 1013
            block[-1, ::17] = np.nan
            return pd.DataFrame(block.T, index=index, columns=pd.MultiIndex.from_tuples(names), copy=False)

    config = lambda name, **kwargs: {"class": name, "kwargs": {"fields_group": "feature", **kwargs}}
    fit = {"fit_start_time": None, "fit_end_time": "2021-01-01"}
    chains = {
        "usual": [],
        "linear": [config("RobustZScoreNorm", **fit), config("Fillna")],
    }
    DataHandlerLP(data_loader=Loader(), end_time=None, init_data=False)
    before = peak()
    handler = DataHandlerLP(
        data_loader=Loader(), infer_processors=chains[sys.argv[1]],
        learn_processors=["DropnaLabel", {"class": "CSZScoreNorm", "kwargs": {"fields_group": "label"}}])
    made = peak()
    handler.fetch("2020-06-01", data_key="learn")
    handler.fetch(slice("2020-01-01", "2020-12-31"), col_set=["feature", "label"], data_key="learn")
    one = 100 * 800 * 250 * 4
    print((made - before) / one, (peak() - before) / one)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peak memory is read from /proc")
@pytest.mark.parametrize("chain", ["usual", "linear"])
def test_a_handler_holds_one_copy_and_a_fetch_no_more_than_it_hands_out(chain):
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PEAK), chain], capture_output=True, text=True, timeout=120, check=True
    )
    made, fetched = map(float, run.stdout.split()[-2:])
    assert made < 1.5
    assert fetched < 2.2
