"""Providers, storages and processors of a user's own, behind `D`; and Qlib's client mode, which is not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qlib
from qlib.config import build_settings
from qlib.data import D, data
from qlib.data.client import Client
from qlib.data.data import (
    Cal,
    DatasetD,
    ExpressionD,
    FeatureD,
    Inst,
    LocalCalendarProvider,
    LocalDatasetProvider,
    LocalExpressionProvider,
    LocalFeatureProvider,
    LocalInstrumentProvider,
    LocalProvider,
)
from qlib.data.dataset.processor import TimeRangeFlt
from qlib.data.filter import ExpressionDFilter
from qlib.data.inst_processor import InstProcessor
from qlib.data.provider import Provider
from qlib.data.storage.storage import CalendarStorage, FeatureStorage, InstrumentStorage
from qlib.data.storage.writer import write_store
from qlib.errors import ConfigError, InputError, StoreError

DAYS = pd.date_range("2024-01-01", periods=20)
HELD: dict = {}


class HeldCalendarStorage(CalendarStorage):
    @property
    def data(self):
        return [str(day.date()) for day in DAYS]


class HeldInstrumentStorage(InstrumentStorage):
    @property
    def data(self):
        return {name: [(str(f.index[0]), str(f.index[-1]))] for name, f in HELD.items()}


class HeldFeatureStorage(FeatureStorage):
    def __getitem__(self, i):
        frame = HELD.get(self.instrument.upper())
        if frame is None or self.field not in frame:
            return pd.Series(dtype=np.float32)
        return pd.Series(frame[self.field].to_numpy("f4"), DAYS.get_indexer(frame.index)).loc[i.start : i.stop - 1]


def held(kind):
    storage = {"class": f"Held{kind}Storage", "module_path": __name__}
    return {"class": f"Local{kind}Provider", "kwargs": {"backend": storage}}


ALL_HELD = {
    "calendar_provider": held("Calendar"),
    "instrument_provider": held("Instrument"),
    "feature_provider": held("Feature"),
}
FORMULAS = ["$close", "Mean($open, 5)-$close", "CSRank($close)", "Ref($close, -2)", "$none"]


@pytest.fixture(scope="module")
def frames():
    rng = np.random.default_rng(5)
    made = {n: pd.DataFrame(rng.uniform(1, 2, (20, 2)), DAYS, ["close", "open"]) for n in ("AA", "BB", "CC")}
    HELD.update({"AA": made["AA"], "BB": made["BB"].iloc[4:], "CC": made["CC"].iloc[:15]})
    return HELD


@pytest.fixture(scope="module")
def root(frames, tmp_path_factory):
    return write_store(frames, tmp_path_factory.mktemp("p") / "s", "day")


# ---------------------------------------------------------------------- storages of one's own
@pytest.mark.parametrize("mode", [None, "qlib"])
def test_every_query_reads_the_storages_that_settings_name(root, tmp_path, mode):
    files = Provider(build_settings(provider_uri=root, compat=mode))
    own = Provider(build_settings(provider_uri=tmp_path / "no store at all", compat=mode, **ALL_HELD))
    assert list(own.calendar()) == list(files.calendar())
    universe = own.instruments("any", [ExpressionDFilter("$close>1.4")])
    there = files.instruments("all", [ExpressionDFilter("$close>1.4")])
    assert own.list_instruments(universe) == files.list_instruments(there)
    for ours, theirs in ((universe, there), (["BB", "AA", "NOBODY"],) * 2):
        for by_time in (False, True):
            one = own.features(ours, FORMULAS, DAYS[3], DAYS[17], by_time=by_time)
            two = files.features(theirs, FORMULAS, DAYS[3], DAYS[17], by_time=by_time)
            pd.testing.assert_frame_equal(one, two, check_exact=True)


def test_one_storage_beside_the_files(root, frames):
    p = Provider(build_settings(provider_uri=root, feature_provider=held("Feature")))
    one = p.features(p.instruments("all"), ["$close"])
    pd.testing.assert_frame_equal(
        one, Provider(build_settings(provider_uri=root)).features(p.instruments("all"), ["$close"])
    )
    frames["BB"] = frames["BB"] * 2
    try:
        assert np.allclose(p.features(["BB"], ["$close"]), one.loc[["BB"]] * 2)
    finally:
        frames["BB"] = frames["BB"] / 2


def test_the_globals_show_what_settings_name(root, tmp_path):
    qlib.init(provider_uri=tmp_path / "none", **ALL_HELD)
    assert isinstance(D.parts["feature"], LocalFeatureProvider) and len(Cal.calendar()) == 20
    assert Inst.list_instruments(Inst.instruments("any"), as_list=True) == ["AA", "BB", "CC"]
    assert FeatureD.feature("AA", "$close", 2, 4, "day").tolist() == HELD["AA"]["close"].to_numpy("f4")[2:5].tolist()
    assert ExpressionD.expression("CC", "Sum($close,2)", DAYS[3], DAYS[4], "day").index.tolist() == [3, 4]
    qlib.init(provider_uri=root)
    assert DatasetD.dataset(["AA"], ["$close"]).equals(D.features(["AA"], ["$close"]))
    with pytest.raises(AttributeError):
        DatasetD.nothing_of_that_name("")
    Cal.register(LocalCalendarProvider(backend={"class": "HeldCalendarStorage", "module_path": __name__}))
    assert Cal.load_calendar("day", False) == list(DAYS)
    Cal.register(None)


def test_a_storage_that_answers_what_was_not_asked_is_named(root):
    class Shifted(LocalFeatureProvider):
        def feature(self, instrument, field, start_index, end_index, freq):
            return pd.Series([1.0], [end_index + 1])

    class ByTime(LocalFeatureProvider):
        def feature(self, instrument, field, start_index, end_index, freq):
            return pd.Series([1.0], DAYS[:1])

    for made, message in (
        (Shifted, "has positions 20 to 20, where 0 to 19 was asked"),
        (ByTime, "its index is datetime"),
    ):
        p = Provider(build_settings(provider_uri=root, feature_provider=made()))
        with pytest.raises(StoreError, match=rf"AA \$close of {made.__name__}: {message}"):
            p.features(["AA"], ["$close"])


# ---------------------------------------------------------------------- providers of one's own
class EveryOther(LocalCalendarProvider):
    def load_calendar(self, freq, future):
        return super().load_calendar(freq, future)[::2]


class OnlyA(LocalInstrumentProvider):
    def list_instruments(self, instruments, start_time=None, end_time=None, freq="day", as_list=False):
        found = super().list_instruments(instruments, start_time, end_time, freq)
        kept = {name: spans for name, spans in found.items() if name.startswith("A")}
        return list(kept) if as_list else kept


class Tripled(LocalDatasetProvider):
    def dataset(self, instruments, fields, start_time=None, end_time=None, freq="day", inst_processors=[]):
        return super().dataset(instruments, fields, start_time, end_time, freq, inst_processors) * 3


class Mine(LocalProvider):
    def greeting(self):
        return f"{len(self.calendar())} days"


def test_subclasses_of_qlibs_providers_are_asked(root):
    qlib.init(provider_uri=root, instrument_provider=OnlyA(), dataset_provider=Tripled())
    plain = Provider(build_settings(provider_uri=root)).features(["AA"], ["$close"])
    assert D.list_instruments(D.instruments("all"), as_list=True) == ["AA"]
    assert np.array_equal(D.features(D.instruments("all"), ["$close"]), plain * 3)
    assert D.features(["AA"], ["$close"], by_time=True).index.names == ["datetime", "instrument"]
    qlib.init(provider_uri=root, calendar_provider=EveryOther())
    assert list(D.calendar()) == list(DAYS[::2])
    qlib.init(provider_uri=root, provider={"class": "Mine", "module_path": __name__})
    assert D.greeting() == "20 days" and D.features(["AA"], ["$close"]).equals(plain)
    with pytest.raises(ConfigError, match="provider: received .*LocalFeatureProvider.*; LocalProvider or a subclass"):
        qlib.init(provider_uri=root, provider="LocalFeatureProvider")


def test_a_provider_of_formulas_answers_its_global_and_a_warning_says_so(root, capfd):
    class Sevens(LocalExpressionProvider):
        def expression(self, instrument, field, start_time=None, end_time=None, freq="day"):
            return pd.Series([7])

    qlib.init(provider_uri=root, expression_provider=Sevens())
    assert "answers ExpressionD only: what D.features computes" in capfd.readouterr().err
    assert ExpressionD.expression("AA", "$close").tolist() == [7] and len(D.features(["AA"], ["$close"])) == 20


# ---------------------------------------------------------------------- client mode
def test_the_client_mode_says_what_to_use_instead(root):
    names = ["ClientCalendarProvider", "ClientInstrumentProvider", "ClientDatasetProvider", "ClientProvider"]
    for made, arguments in ((Client, ("localhost", 1)), *((getattr(data, name), ()) for name in names)):
        with pytest.raises(ConfigError, match=f"{made.__name__}: there is no data server .* mount the folder"):
            made(*arguments)
        bare = object.__new__(made)
        for method in ("set_conn", "calendar", "list_instruments", "dataset", "connect_server", "disconnect"):
            own = vars(made).get(method)
            if own is not None:
                with pytest.raises(ConfigError, match="there is no data server"):
                    own(bare, *((["A"],) * (own.__code__.co_argcount - 1 - len(own.__defaults__ or ()))))
    for more in ({"provider": "ClientProvider"}, {"calendar_provider": "ClientCalendarProvider"}):
        with pytest.raises(ConfigError, match="there is no data server"):
            qlib.init(provider_uri=root, **more)
    qlib.init("client", provider_uri=root, redis_host="10.0.0.1", redis_port=1234)
    assert len(D.calendar()) == 20, "redis is never needed"


# ---------------------------------------------------------------------- instrument processors
class Each(InstProcessor):
    def __init__(self, step, lag, order):
        self.step, self.lag, self.order = step, lag, order

    def __call__(self, df, instrument):
        df["sum"] = df.sum(axis=1)
        return df.iloc[self.lag :: self.step][:: self.order]


class Whole(Each):
    def over(self, frame):
        frame = frame.assign(sum=frame.sum(axis=1))
        return frame.groupby(level=0, group_keys=False).apply(lambda f: f.iloc[self.lag :: self.step])


@given(st.integers(1, 3), st.sampled_from([0, 1, 17, 30]), st.sampled_from([1, -1]))
@settings(max_examples=15)
def test_processors_make_the_same_of_each_instrument_and_of_all_at_once(root, step, lag, order):
    p = Provider(build_settings(provider_uri=root))
    raw = p.features(["AA", "BB", "CC"], ["$close", "$open"])
    parts = {name: raw.loc[name].copy() for name in ("AA", "BB", "CC")}
    for part in parts.values():
        part["sum"] = part.sum(axis=1)
    wanted = pd.concat({name: part.iloc[lag::step] for name, part in parts.items()}, names=["instrument"])
    for chain in ([Each(step, lag, order)], [Whole(step, lag, order)]):
        got = p.features(["AA", "BB", "CC"], ["$close", "$open"], inst_processors=chain)
        if len(wanted):
            pd.testing.assert_frame_equal(got, wanted, check_freq=False)
        assert len(got) == len(wanted)
    twice = [
        Each(1, 0, 1),
        Whole(step, lag, 1),
        {"class": "Each", "module_path": __name__, "kwargs": {"step": 1, "lag": 1, "order": 1}},
    ]
    got = p.features(["AA", "BB", "CC"], ["$close", "$open"], inst_processors=twice, by_time=True)
    assert got.index.names == ["datetime", "instrument"]
    assert len(got) == sum(max(len(part.iloc[lag::step]) - 1, 0) for part in parts.values())


@pytest.mark.parametrize("start", [None, DAYS[0], DAYS[3], DAYS[4], DAYS[15]])
@pytest.mark.parametrize("end", [None, DAYS[13], DAYS[16], DAYS[19], "2031-01-01"])
def test_a_filter_of_ranges_keeps_the_same_instruments_by_itself_and_at_once(root, start, end):
    class ByItself(TimeRangeFlt):
        def __call__(self, df, instrument):
            return super().__call__(df, instrument)

    qlib.init(provider_uri=root, logging_level=40)
    for bounds in ((None, None), (DAYS[2], DAYS[14])):
        asked = (["AA", "BB", "CC"], ["$close", "$open"], *bounds)
        got = D.features(*asked, inst_processors=[TimeRangeFlt(start, end)])
        wanted = D.features(*asked, inst_processors=[ByItself(start, end)])
        pd.testing.assert_frame_equal(got, wanted, check_index_type=len(got) > 0)


def test_what_is_no_frame_is_named(root):
    class Odd(InstProcessor):
        def __call__(self, df, instrument):
            return 3

    with pytest.raises(InputError, match="inst_processors: Odd returned int for AA; a DataFrame is expected"):
        Provider(build_settings(provider_uri=root)).features(["AA"], ["$close"], inst_processors=[Odd()])
