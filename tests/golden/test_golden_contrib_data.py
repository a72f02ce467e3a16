"""What pyqlib 0.9.7 answers for the handlers of one-minute bars, for HighFreqNorm, and for the batches of MTSDatasetH.

`contrib_data.json` was made by running it over the inputs of `contrib_data_inputs.py`.
"""

from __future__ import annotations

import json
from pathlib import Path

import contrib_data_inputs as inputs
import numpy as np
import pandas as pd
import pytest

import qlib
from qlib.contrib.data import highfreq_handler
from qlib.contrib.data.dataset import MTSDatasetH
from qlib.contrib.data.highfreq_processor import HighFreqNorm
from qlib.data.dataset.handler import DataHandlerLP
from qlib.data.dataset.loader import StaticDataLoader
from qlib.data.storage.writer import write_store

ANSWERS = json.loads((Path(__file__).parent / "contrib_data.json").read_text())


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    return write_store(inputs.bars(), tmp_path_factory.mktemp("bars") / "s", "1min")


def equals(frame: pd.DataFrame, answer: dict) -> None:
    assert list(frame.columns) == answer["columns"]
    assert [[name, str(time)] for name, time in frame.index] == answer["index"]
    np.testing.assert_allclose(frame, np.array(answer["values"], dtype="f8"), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("compat", [None, "qlib"])
@pytest.mark.parametrize("name", ANSWERS["highfreq"])
def test_handlers_of_minutes_give_qlibs_rows_and_values(name, compat, store):
    qlib.init(provider_uri=str(store), region="cn", kernels=1, compat=compat)
    length = {"day_length": inputs.DAY} if "General" in name else {}
    handler = getattr(highfreq_handler, name)(
        instruments=["AAA", "BBB"], start_time=inputs.FIRST, end_time=inputs.LAST, **length
    )
    equals(handler.fetch(col_set="__raw"), ANSWERS["highfreq"][name])


def test_the_norm_of_minutes_learns_writes_and_scales_as_qlib_does(tmp_path):
    norm = HighFreqNorm(feature_save_dir=f"{tmp_path}/n/", **inputs.NORM)
    frame = inputs.norms()
    norm.fit(frame)
    equals(norm(frame), ANSWERS["norm"]["values"])
    saved = {path.name: float(np.load(path)) for path in (tmp_path / "n").iterdir()}
    assert saved == pytest.approx(ANSWERS["norm"]["saved"])
    pd.testing.assert_frame_equal(frame, inputs.norms())


@pytest.mark.parametrize("name", inputs.BATCHES)
def test_batches_are_qlibs(name, store):
    qlib.init(provider_uri=str(store), region="cn", kernels=1, compat="qlib")
    handler = DataHandlerLP(data_loader=StaticDataLoader(inputs.panel()))
    arguments = {"seq_len": 3, "horizon": 2, "num_states": 2, "shuffle": False} | inputs.BATCHES[name]
    dates = pd.date_range("2020-01-01", periods=8)
    train = MTSDatasetH(handler, {"train": (dates[2], dates[6])}, **arguments).prepare("train")
    size = 8 if arguments.get("memory_mode") == "daily" else 21
    states = arguments["num_states"]
    train.assign_data(np.arange(size), np.arange(1.0, size * states + 1).reshape(size, states))
    batches = list(train.batches())
    assert len(batches) == len(train) == len(ANSWERS["batches"][name])
    for batch, answer in zip(batches, ANSWERS["batches"][name], strict=True):
        assert list(batch) == list(answer)
        for part, values in batch.items():
            assert list(values.shape) == answer[part]["shape"], part
            np.testing.assert_array_equal(np.ravel(values), answer[part]["values"], err_msg=part)
