"""How objects are kept: each in its format, back as it was, and never by running a stranger's code."""

from __future__ import annotations

import datetime as dt
import fractions
import os
import pickle
import zipfile
from collections import OrderedDict, defaultdict
from pathlib import Path

import lightgbm
import numpy as np
import pandas as pd
import pytest

from qlib.backtest.decision import Order
from qlib.backtest.indicator import Indicator
from qlib.backtest.position import Position, PositionHistory
from qlib.contrib.model.gbdt import LGBModel
from qlib.contrib.model.linear import LinearModel
from qlib.errors import InputError
from qlib.model.base import Model
from qlib.utils.exceptions import LoadObjectError
from qlib.workflow import QlibRecorder, formats
from qlib.workflow.expm import MLflowExpManager
from qlib.workflow.formats import object_name, read_object, write_object

INDEX = pd.MultiIndex.from_product([pd.date_range("2020", periods=3), ["a", "b"]], names=["datetime", "instrument"])
FRAME = pd.DataFrame({"score": np.arange(6.0)}, index=INDEX)
DAYS = pd.Series(np.arange(3.0), pd.date_range("2024", periods=3, freq="D"))


@pytest.fixture
def runs(tmp_path):
    recorder = QlibRecorder(MLflowExpManager(f"file:{tmp_path}/mlruns", "Experiment"))
    yield recorder
    recorder.end_exp()


@pytest.fixture
def run(runs):
    with runs.start(experiment_name="e"):
        yield runs.get_recorder()


def files_of(run):
    root = Path(run.get_local_dir(), "artifacts")
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


PLAIN = {
    "task": {"model": {"class": "LGBModel", "kwargs": {"lr": 0.1, "n": None}}, "span": ("2020-01-01", None)},
    "none": None,
    "text": "ü" * 5000,
    "numbers": [1, 2**70, -0.0, float("inf")],
    "dates": {"at": pd.Timestamp("2020-01-01 01:02:03.000000004"), 1: {1, 2}, (1, "a"): frozenset()},
    "dollars": {"$close": [], "": {}},
}


@pytest.mark.parametrize("name", PLAIN)
def test_plain_values_are_json(run, name):
    run.save_objects(**{name: PLAIN[name], f"{name}.pkl": PLAIN[name]})
    assert files_of(run) == [f"{name}.object.json", f"{name}.pkl.json"]
    for asked in (name, f"{name}.pkl"):
        back = run.load_object(asked)
        assert back == PLAIN[name]
        assert repr(back) == repr(PLAIN[name])


def test_json_of_a_task_is_what_one_would_write_oneself(run):
    run.save_objects(task={"model": {"class": "LGBModel", "kwargs": {"lr": 0.1}}, "record": []})
    text = Path(run.get_local_dir(), "artifacts", "task.object.json").read_text()
    assert text == '{"model": {"class": "LGBModel", "kwargs": {"lr": 0.1}}, "record": []}'


def test_frames_are_parquet_that_anybody_reads(run):
    run.save_objects(artifact_path="sig", **{"pred.pkl": FRAME, "days.pkl": DAYS})
    assert files_of(run) == ["sig/days.pkl.parquet", "sig/pred.pkl.parquet"]
    assert run.list_artifacts("sig") == ["sig/days.pkl", "sig/pred.pkl"]
    pd.testing.assert_frame_equal(run.load_object("sig/pred.pkl"), FRAME)
    pd.testing.assert_series_equal(run.load_object("sig/days.pkl"), DAYS, check_freq=True)
    pd.testing.assert_frame_equal(pd.read_parquet(run.download_artifact("sig/pred.pkl")), FRAME)


def lgb_model():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(300, 4)), rng.normal(size=300)
    model = LGBModel(num_boost_round=5)
    data = lightgbm.Dataset(x, y)
    model.model = lightgbm.train({"verbosity": -1, "num_threads": 1}, data, 5, valid_sets=[data])
    model.feature_names = list("abcd")
    return model, x


def test_a_booster_is_kept_in_lightgbms_own_format(run, tmp_path):
    model, x = lgb_model()
    run.save_objects(**{"params.pkl": model})
    assert files_of(run) == ["params.pkl.zip"]
    back = run.load_object("params.pkl")
    assert type(back) is LGBModel
    assert back.feature_names == model.feature_names
    np.testing.assert_array_equal(back.model.predict(x), model.model.predict(x))
    with zipfile.ZipFile(run.download_artifact("params.pkl", tmp_path)) as archive:
        (native,) = [name for name in archive.namelist() if name.endswith(".txt")]
        archive.extract(native, tmp_path)
    np.testing.assert_array_equal(lightgbm.Booster(model_file=tmp_path / native).predict(x), model.model.predict(x))


def test_equal_objects_give_equal_bytes(tmp_path):
    first = write_object(lgb_model()[0], tmp_path / "m.pkl").read_bytes()
    assert write_object(lgb_model()[0], tmp_path / "m.pkl").read_bytes() == first


def test_objects_hold_frames_exactly(run):
    report = DAYS.to_frame("return")
    report.attrs = {"benchmark": None}
    model = LinearModel()
    model.coef_, model.parts = np.arange(3.0), {"report": report, "pred": FRAME, "index": report.index}
    run.save_objects(**{"m.pkl": model})
    back = run.load_object("m.pkl")
    np.testing.assert_array_equal(back.coef_, model.coef_)
    pd.testing.assert_frame_equal(back.parts["report"], report, check_freq=True)
    assert back.parts["report"].attrs == report.attrs
    pd.testing.assert_index_equal(back.parts["index"], report.index)
    assert back.parts["index"].freq == report.index.freq
    assert files_of(run) == ["m.pkl.zip"]


def positions(steps=40, seed=0):
    """Positions as a backtest leaves them: nothing held at first, what is held changes, a settlement in between."""
    rng, history, position = np.random.default_rng(seed), PositionHistory(), Position(cash=1e6)
    for step in range(steps):
        table = {"cash": float(rng.normal()), "now_account_value": float(rng.normal())}
        if step % 7 == 3:
            table["cash_delay"] = np.nan
        for k in rng.permutation(6)[: step % 5]:
            table[f"S{k}"] = {"amount": rng.normal(), "price": np.nan, "weight": 0.5, "count_day": int(rng.integers(9))}
        position.position = table
        history.record(pd.Timestamp("2024-01-01") + pd.Timedelta(hours=step), position)
    return history


def test_positions_are_one_table_and_come_back_to_the_bit(run):
    history = positions()
    run.save_objects(**{"positions_normal_1day.pkl": history})
    assert files_of(run) == ["positions_normal_1day.pkl.parquet"]
    back = run.load_object("positions_normal_1day.pkl")
    assert type(back) is PositionHistory
    assert list(back) == list(history)
    for time, position in history.items():
        assert repr(back[time].__dict__) == repr(position.__dict__)  # NaN, signs and the order of names too
    table = pd.read_parquet(run.download_artifact("positions_normal_1day.pkl"))
    held = table[table["instrument"].notna()]
    assert len(held) == sum(len(position.get_stock_list()) for position in history.values())
    assert held["amount"].tolist() == history.columns("amount")[1]["amount"].tolist()


@pytest.mark.parametrize("history", [PositionHistory(), "odd"])
def test_positions_that_are_no_table_come_back_too(run, history):
    if history == "odd":
        history = positions(3)
        unequal = {"A": {"amount": 1.0, "price": 2.0}, "B": {"amount": 1.0, "price": 2.0, "limit": 3}}
        history.record(pd.Timestamp("2025-01-01"), Position(position_dict=unequal))
    run.save_objects(**{"p.pkl": history})
    assert files_of(run) == ["p.pkl.zip"]
    back = run.load_object("p.pkl")
    assert [repr(position.__dict__) for position in back.values()] == [repr(p.__dict__) for p in history.values()]


def test_the_indicators_of_a_backtest_come_back(run):
    indicator = Indicator()
    for day in pd.date_range("2024-01-01", periods=3):
        order = Order("A", 100.0, Order.BUY, day, day)
        order.deal_amount = 50.0
        indicator.reset()
        indicator.update_order_indicators(trade_info=[(order, 500.0, 1.0, 10.0)])
        indicator.record(day)
    run.save_objects(**{"indicators_normal_1day_obj.pkl": indicator})
    assert files_of(run) == ["indicators_normal_1day_obj.pkl.zip"]
    back = run.load_object("indicators_normal_1day_obj.pkl")
    pd.testing.assert_frame_equal(back.trades.frame(), indicator.trades.frame())
    assert list(back.order_indicator_his) == list(indicator.order_indicator_his)


class Mine(Model):
    """A user's model whose state no format but a pickle can hold."""

    def __init__(self, state):
        super().__init__()
        self.state = state

    def predict(self, dataset, segment="test"):
        return self.state


def test_what_else_there_is_is_a_pickle_and_this_process_reads_its_own(run):
    thing = {"f": fractions.Fraction(1, 3), "o": OrderedDict(a=1), "d": defaultdict(list, x=[1])}
    run.save_objects(**{"thing.pkl": thing, "mine.pkl": Mine(fractions.Fraction(1, 3)), "model": Mine(len)})
    assert files_of(run) == ["mine.pkl", "model", "thing.pkl"]
    assert run.load_object("thing.pkl") == thing
    assert run.load_object("mine.pkl").state == fractions.Fraction(1, 3)
    assert run.load_object("model").state is len


@pytest.mark.parametrize("table", [FRAME.astype("category"), FRAME.assign(score=[{}, [], 1, "a", None, 2.0])])
def test_a_table_that_parquet_cannot_hold_exactly_is_a_pickle(run, table):
    run.save_objects(**{"x.pkl": table})
    assert files_of(run) == ["x.pkl"]
    pd.testing.assert_frame_equal(run.load_object("x.pkl"), table)


def test_an_object_that_changes_its_kind_leaves_nothing_of_the_old_one(run):
    for thing, file in (([1], "x.pkl.json"), (FRAME, "x.pkl.parquet"), ({1j}, "x.pkl"), (np.arange(9.0), "x.pkl.zip")):
        run.save_objects(**{"x.pkl": thing})
        assert files_of(run) == [file]
    Path(run.get_local_dir(), "artifacts", "x.pkl.json").write_text("[2]")  # whoever replaced it was killed in between
    assert run.load_object("x.pkl") == [2]
    assert run.list_artifacts() == ["x.pkl"]


def test_a_file_of_ones_own_is_listed_and_read_under_its_name(run, tmp_path):
    FRAME.reset_index().to_parquet(tmp_path / "trades.parquet")
    (tmp_path / "seeds.json").write_text('{"seed": 1}')
    pd.to_pickle(FRAME, tmp_path / "old.pkl")
    run.log_artifact(tmp_path)
    assert {"old.pkl", "seeds.json", "trades.parquet"} <= set(run.list_artifacts())
    assert run.load_object("seeds.json") == {"seed": 1}
    assert len(run.load_object("trades.parquet")) == 6
    pd.testing.assert_frame_equal(run.load_object("old.pkl"), FRAME)


@pytest.mark.parametrize("name", ["x.pkl.json", "x.object.zip", "folder/x.pkl.parquet"])
def test_names_that_say_how_an_object_is_kept_are_refused(run, name):
    with pytest.raises(InputError, match="names of objects do not end in"):
        run.save_objects(**{name: 1})


class Loud:
    """What a stranger may put into a run."""

    def __reduce__(self):
        return (os.system, ("touch /tmp/qlib-loud",))


def test_a_foreign_pickle_is_read_only_with_a_flag_or_within_the_list(run, tmp_path):
    stranger = Path(run.get_local_dir(), "artifacts", "loud.pkl")
    stranger.parent.mkdir(parents=True, exist_ok=True)
    stranger.write_bytes(pickle.dumps(Loud()))
    with pytest.raises(LoadObjectError, match=r"posix.system, which is not in the list.*unpickler=pickle.Unpickler"):
        run.load_object("loud.pkl")
    assert not Path("/tmp/qlib-loud").exists()
    stranger.write_bytes(pickle.dumps(fractions.Fraction(1, 3)) + b" ")  # plain data, and not what this process wrote
    assert run.load_object("loud.pkl") == fractions.Fraction(1, 3)
    stranger.write_bytes(pickle.dumps(len))
    with pytest.raises(LoadObjectError, match="builtins.len"):
        run.load_object("loud.pkl")
    assert run.load_object("loud.pkl", unpickler=pickle.Unpickler) is len


def test_what_another_process_pickled_is_foreign(run, monkeypatch):
    run.save_objects(model=Mine(len))
    monkeypatch.setattr(formats, "_written_here", set())  # what another process would know
    with pytest.raises(LoadObjectError, match=r"Mine|builtins.len"):
        run.load_object("model")


def archive_with(path, name, content=b"x"):
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, content)


@pytest.mark.parametrize("name", ["../x", "/x", "a/b", ".."])
def test_an_archive_cannot_write_outside(run, name):
    run.save_objects(**{"x.pkl": np.arange(9.0)})
    archive_with(Path(run.get_local_dir(), "artifacts", "x.pkl.zip"), name)
    with pytest.raises(LoadObjectError, match="it holds a file called"):
        run.load_object("x.pkl")


def test_an_archive_cannot_name_a_strangers_class(tmp_path):
    file = write_object(LinearModel(), tmp_path / "m.pkl")
    with zipfile.ZipFile(file) as archive:
        text = archive.read("spec.json").decode()
    file.unlink()
    text = text.replace('"LinearModel"', '"Popen"').replace("qlib.contrib.model.linear", "subprocess")
    archive_with(file, "spec.json", text)
    with pytest.raises(Exception, match=r"names the class subprocess.Popen, which this program does not know"):
        read_object(file, "m.pkl")


@pytest.mark.parametrize("name", ["pred.pkl", "task", "sig/ic.pkl", "a.parquet", "x.json", "weird.object", "x.zip"])
def test_a_name_leads_to_its_files_and_back(name, tmp_path):
    for thing in (1, FRAME, np.arange(9.0), {1j}):
        made = write_object(thing, tmp_path / Path(name).name)
        assert object_name(made.name) == Path(name).name
        assert type(read_object(made, name)) is type(thing)
        made.unlink()


def test_what_a_format_stumbles_over_is_kept_by_the_next_one(run):
    itself: list = [1]
    itself.append(itself)
    far = {"day": dt.datetime(1, 1, 1), "zone": dt.datetime(2020, 1, 1, tzinfo=dt.UTC)}
    run.save_objects(itself=itself, far=far)
    back = run.load_object("itself")
    assert back[0] == 1
    assert back[1] is back
    assert run.load_object("far") == far


def test_an_object_may_be_called_as_a_folder_is(run):
    run.save_objects(artifact_path="report", page=1)
    run.save_objects(report={"a": 1})
    assert run.load_object("report") == {"a": 1}
    assert run.load_object("report/page") == 1
