"""MTSDatasetH: windows of own rows, rows that do not depend on the label, memory that hides the future."""

from __future__ import annotations

import pickle
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from proof import cases

import qlib.contrib.data.dataset as module
from qlib.contrib.data.dataset import MTSDatasetH
from qlib.data.dataset.handler import DataHandlerLP
from qlib.data.dataset.horizon import guess_horizon
from qlib.data.dataset.loader import DataLoader, StaticDataLoader
from qlib.errors import ConfigError, InputError, MissingDataError

DATES = pd.date_range("2020-01-01", periods=10)


def panel(seed=0, names="ABC", missing=0.2, features=2):
    rng = np.random.default_rng(seed)
    index = pd.MultiIndex.from_product([DATES, list(names)], names=["datetime", "instrument"])
    columns = pd.MultiIndex.from_tuples([*(("feature", f"f{i}") for i in range(features)), ("label", "L")])
    df = pd.DataFrame(rng.normal(size=(len(index), features + 1)).astype("f4"), index=index, columns=columns)
    df = df.loc[rng.random(len(df)) >= missing]
    df.iloc[rng.integers(0, len(df), 3), 0] = np.nan
    return df


def handler(df, **kwargs):
    return DataHandlerLP(data_loader=StaticDataLoader(df), **kwargs)


def dataset(df, segment=(None, None), data_key=None, **kwargs):
    arguments = {"seq_len": 4, "horizon": 2, "num_states": 1, "shuffle": False} | kwargs
    whole = MTSDatasetH(handler(df), {"all": segment}, **arguments)
    return whole.prepare("all", **({"data_key": data_key} if data_key else {}))


@settings(max_examples=cases(15, 150))
@given(st.integers(0, 9), st.sampled_from([-1, -3, 1, 4]), st.integers(1, 6), st.integers(0, 9), st.integers(0, 9))
def test_a_window_holds_the_last_rows_of_its_own_instrument(seed, batch_size, seq_len, low, high):
    df = panel(seed)
    bounds = (DATES[min(low, high)], DATES[max(low, high)])
    made = dataset(df, bounds, batch_size=batch_size, seq_len=seq_len)
    seen = []
    for batch in made.batches():
        for row, window, label in zip(batch["index"], batch["data"], batch["label"], strict=True):
            name, date = made.restore_index(row)
            own = df.xs(name, level=1).loc[:date].iloc[-seq_len:]
            wanted = np.zeros((seq_len, 2), "f4")
            wanted[seq_len - len(own) :] = own["feature"].fillna(0)
            np.testing.assert_array_equal(window, wanted)
            assert label == own[("label", "L")].iloc[-1]
            seen.append((date, name))
        assert batch["daily_count"].sum() == (len(batch["index"]) if batch_size < 0 else 0)
    inside = df.loc[slice(*bounds)].index
    assert sorted(seen) == sorted(inside)
    assert len(made) == len(list(made.batches()))


@settings(max_examples=cases(15, 150))
@given(st.integers(0, 9), st.integers(1, 5), st.integers(1, 5), st.sampled_from(["sample", "daily"]))
def test_a_state_is_memory_that_was_known(seed, seq_len, horizon, mode):
    made = dataset(panel(seed), seq_len=seq_len, horizon=horizon, memory_mode=mode)
    size = len(made._memory) - 1
    made.assign_data(np.arange(size), np.arange(1.0, size + 1)[:, None])
    for batch in made.batches():
        things = batch["index"] if mode == "sample" else batch["daily_index"]
        for thing, state in zip(things, batch["state"][:, :, 0], strict=True):
            remembered = state[state > 0] - 1
            if mode == "daily":
                wanted = np.arange(thing - horizon - seq_len, thing - horizon)
                assert remembered.tolist() == [day for day in wanted if day >= 0]
            else:
                assert (remembered <= thing - horizon).all()
                names = {made.restore_index(int(row))[0] for row in (thing, *remembered)}
                assert len(names) == 1
    made.clear_memory()
    assert all(not batch["state"].any() for batch in made.batches())


def test_in_qlib_first_windows_show_another_instrument(monkeypatch):
    df = panel(missing=0.0)
    first = next(dataset(df, (DATES[0], DATES[0])).batches())["data"]
    assert not first[:, :-1].any()
    monkeypatch.setattr(module, "active_settings", lambda: type("S", (), {"compat": "qlib"}))
    first = next(dataset(df, (DATES[0], DATES[0])).batches())["data"]
    a = df.xs("A", level=1)["feature"].fillna(0).to_numpy()
    np.testing.assert_array_equal(first[1, :-1], a[-3:])  # B begins with the last rows of A


def test_which_rows_are_scored_does_not_depend_on_the_label(monkeypatch):
    df = panel(missing=0.0)
    df.iloc[-6:, -1] = np.nan  # the labels of the last two days are not known yet
    made = MTSDatasetH(handler(df, learn_processors=["DropnaLabel"]), {"test": (DATES[7], None)}, 4, 2, shuffle=False)
    rows = [made.restore_index(batch["index"]) for batch in made.prepare("test").batches()]
    assert [len(part) for part in rows] == [3, 3, 3]
    learn = list(made.prepare("test", data_key="learn").batches())
    assert [len(batch["index"]) for batch in learn] == [3]
    assert np.isfinite(learn[0]["label"]).all()
    monkeypatch.setattr(module, "active_settings", lambda: type("S", (), {"compat": "qlib"}))
    as_qlib = MTSDatasetH(handler(df, learn_processors=["DropnaLabel"]), {"test": (DATES[7], None)}, 4, 2)
    assert len(as_qlib.prepare("test")) == 1


@given(st.integers(1, 9), st.integers(0, 5))
@settings(max_examples=cases(10, 100))
def test_nothing_changes_when_the_future_does(day, seed):
    df = panel(seed)
    future = df.index.get_level_values(0) >= DATES[day]
    other = df.copy()
    other.loc[future] *= 3
    for name in ("data", "label"):
        left, right = ([b[name] for b in dataset(x, (None, DATES[day - 1])).batches()] for x in (df, other))
        for a, b in zip(left, right, strict=True):
            np.testing.assert_array_equal(a, b)


def test_rows_that_hold_their_own_window_are_unfolded():
    df = panel(features=6, missing=0.0)
    batch = next(dataset(df, input_size=2).batches())
    assert batch["data"].shape == (3, 3, 2)
    row = df.iloc[0]["feature"].fillna(0).to_numpy()
    np.testing.assert_array_equal(batch["data"][0], row.reshape(2, 3).T)
    with pytest.raises(ConfigError, match="a divisor of the number of features, 6"):
        dataset(df, input_size=4)


def test_draws_are_repeatable_and_complete():
    df = panel(missing=0.0)
    made = dataset(df, batch_size=4, shuffle=True)
    first = [batch["index"].tolist() for batch in made.batches()]
    assert sorted(sum(first, [])) == list(range(30))
    assert [batch["index"].tolist() for batch in made.batches()] != first  # mixed anew
    assert [batch["index"].tolist() for batch in dataset(df, batch_size=4, shuffle=True).batches()] == first
    assert [b["index"].tolist() for b in dataset(df, batch_size=4, shuffle=True, seed=1).batches()] != first
    assert [len(batch["index"]) for batch in dataset(df, n_samples=2).batches()] == [2] * 10
    assert len(dataset(df, batch_size=4, drop_last=True)) == 7
    made.eval()
    assert (len(made), made.shuffle) == (10, False)
    made.train()
    assert (len(made), made.shuffle) == (8, True)


# ------------------------------------------------------------------------------------------------------------ arguments
@pytest.mark.parametrize(
    ("kwargs", "text"),
    [
        ({"batch_size": 0}, "batch_size: received 0"),
        ({"memory_mode": "dayly"}, "memory_mode: received 'dayly'"),
        ({"memory_mode": "daily", "batch_size": 3}, "needs days: -n"),
        ({"seq_len": 0}, "seq_len: received 0"),
        ({"horizon": -1}, "horizon: received -1"),
        ({"horizon": 0}, "has no formulas of a group 'label'"),
    ],
)
def test_arguments_that_cannot_be_used_are_named(kwargs, text):
    with pytest.raises(ConfigError, match=text):
        dataset(panel(), **kwargs)


def test_segments_that_are_not_there_are_named():
    made = MTSDatasetH(handler(panel()), {"train": (DATES[0], DATES[3])}, horizon=1)
    with pytest.raises(MissingDataError, match="no segment is called 'tran'.*did you mean train"):
        made.prepare("tran")
    with pytest.raises(InputError, match="a segment's name or"):
        made.prepare(5)
    assert [len(part) for part in made.prepare(["train", "train"])] == [4, 4]


class WithFormulas(DataLoader):
    def __init__(self, label):
        self.fields = {"label": (label, ["L"])}

    def load(self, instruments=None, start_time=None, end_time=None):
        return panel()


def test_the_horizon_is_how_far_the_label_looks():
    assert guess_horizon(["Ref($close, -2)/Ref($close, -1) - 1"]) == 2
    assert guess_horizon(["$close", "Mean(Ref($close, -5), 3)"]) == 5
    made = MTSDatasetH(DataHandlerLP(data_loader=WithFormulas(["Ref($close, -7)/$close"])), {}, horizon=0)
    assert made.horizon == 7
    for wrong, text in (
        ([], "a list of formulas"),
        ("$close", "a list of formulas"),
        (["DayLast($close)"], "all that"),
    ):
        with pytest.raises(InputError, match=text):
            guess_horizon(wrong)


# ----------------------------------------------------------------------------------------------------- torch, and files
def test_without_torch_iterating_says_what_is_needed(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match=r'pip install "qlib-crypto\[torch\]"; MTSDatasetH.batches'):
        next(iter(dataset(panel())))


def test_iterating_gives_tensors_of_the_same_numbers():
    torch = pytest.importorskip("torch", reason="torch is not installed: that tensors hold the arrays cannot be seen")
    made = dataset(panel())
    for tensors, arrays in zip(made, made.batches(), strict=True):
        for name in ("data", "label", "state"):
            assert tensors[name].dtype is torch.float32
            np.testing.assert_array_equal(tensors[name].cpu().numpy(), arrays[name])
        assert isinstance(tensors["index"], np.ndarray)
        made.assign_data(tensors["index"], tensors["label"][:, None])
    assert made._memory[:-1, 0].tolist() == pytest.approx(made._label.tolist(), nan_ok=True)


def test_saved_with_its_data_it_goes_on_and_without_it_says_so(tmp_path):
    made = dataset(panel(), (DATES[2], DATES[5]))
    made.assign_data(np.arange(5), np.ones((5, 1)))
    back = MTSDatasetH.load(made.save(tmp_path / "d"))
    for left, right in zip(back.batches(), made.batches(), strict=True):
        for name in left:
            np.testing.assert_array_equal(left[name], right[name])
    bare = pickle.loads(pickle.dumps(made))
    with pytest.raises(InputError, match="call setup_data"):
        next(bare.batches())
