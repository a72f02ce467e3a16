"""Datasets of one-minute bars made once, and kept as files that other programs read.

    provider = HighFreqProvider("2020-09-15", "2021-01-18", "2020-11-30", "2020-12-01", "2020-12-31", "2021-01-04",
                                qlib_conf={"provider_uri": "~/.qlib/qlib_data/cn_data_1min"},
                                feature_conf={"path": "feature.pkl", "class": "DatasetH", ...}, label_conf={...})
    features, labels = provider.get_pre_datasets()      {"train": "feature_train.parquet", ...}

A configuration is that of a dataset and, under `path`, where its files go. The dataset is saved as a readable folder
(`feature/`, see `Serializable.save`), every segment as a Parquet file. Qlib pickles both and takes whatever lies at the
path already, made by whatever configuration; here they are made anew, each file in one step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pandas as pd

import qlib
from qlib.data.dataset.dataset import Dataset
from qlib.errors import ConfigError
from qlib.log import TimeInspector, get_module_logger
from qlib.utils.objects import init_instance_by_config
from qlib.utils.paths import replace_file

SEGMENTS: Final = ("train", "valid", "test")
Paths = dict[str, str]


class HighFreqProvider:
    """Makes the datasets of features, labels and backtests.

    Parameters
    ----------
    start_time, end_time, train_end_time, valid_start_time, valid_end_time, test_start_time
        The segments: train [start_time, train_end_time], valid, test [test_start_time, end_time]. They are those of a
        dataset whose configuration has none.
    qlib_conf
        Arguments of `qlib.init`, which is called with them.
    feature_conf, label_conf, backtest_conf
        Configuration of a dataset, and `path`.
    freq
        Frequency of the bars, kept for who reads it.
    """

    def __init__(
        self,
        start_time: Any,
        end_time: Any,
        train_end_time: Any,
        valid_start_time: Any,
        valid_end_time: Any,
        test_start_time: Any,
        qlib_conf: Mapping[str, Any],
        feature_conf: Mapping[str, Any],
        label_conf: Mapping[str, Any] | None = None,
        backtest_conf: Mapping[str, Any] | None = None,
        freq: str = "1min",
        **kwargs: Any,
    ) -> None:
        if kwargs:
            raise ConfigError(f"HighFreqProvider takes no argument {', '.join(kwargs)}")
        self.start_time = start_time
        self.end_time = end_time
        self.train_end_time = train_end_time
        self.valid_start_time = valid_start_time
        self.valid_end_time = valid_end_time
        self.test_start_time = test_start_time
        self.feature_conf = feature_conf
        self.label_conf = label_conf
        self.backtest_conf = backtest_conf
        self.qlib_conf = qlib_conf
        self.freq = freq
        self.logger = get_module_logger("HighFreqProvider")
        qlib.init(**qlib_conf)

    def get_pre_datasets(self) -> tuple[Paths, Paths | None]:
        """Make the datasets of features and labels; return segment -> path of its Parquet file for each.

        Without `label_conf` the second is None.
        """
        features = self._made(self.feature_conf, "feature_conf")
        return features, None if self.label_conf is None else self._made(self.label_conf, "label_conf")

    def get_backtest(self, **kwargs: Any) -> None:
        """Make the dataset of a backtest; `kwargs` are put over its configuration."""
        if self.backtest_conf is None:
            raise ConfigError("backtest_conf: received None; the configuration of a dataset, and path, is allowed")
        self._made({**self.backtest_conf, **kwargs}, "backtest_conf")

    def _made(self, config: Mapping[str, Any], name: str) -> Paths:
        if not isinstance(config, Mapping) or not isinstance(config.get("path"), str | Path):
            raise ConfigError(f"{name}: received {config!r}; the configuration of a dataset, and path, is allowed")
        target = Path(config["path"]).expanduser().with_suffix("")
        with TimeInspector.logt(f"{name}: dataset"):
            dataset = init_instance_by_config(self._with_segments(config), accept_types=Dataset)
        with TimeInspector.logt(f"{name}: files in {target.parent}"):
            dataset.save(target)
            return self._written(dataset, target, SEGMENTS)

    def _with_segments(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return the configuration of the dataset itself, with the segments of this provider if it names none."""
        inner = {key: value for key, value in config.items() if key != "path"}
        kwargs = dict(inner.get("kwargs") or {})
        kwargs.setdefault(
            "segments",
            {
                "train": (self.start_time, self.train_end_time),
                "valid": (self.valid_start_time, self.valid_end_time),
                "test": (self.test_start_time, self.end_time),
            },
        )
        return inner | {"kwargs": kwargs}

    @staticmethod
    def _written(dataset: Any, target: Path, segments: Sequence[str]) -> Paths:
        paths = {segment: target.with_name(f"{target.name}_{segment}.parquet") for segment in segments}
        for segment, frame in zip(segments, dataset.prepare(list(segments)), strict=True):
            if not isinstance(frame, pd.DataFrame):
                raise ConfigError(f"segment {segment}: the dataset gives a {type(frame).__name__}; a frame is needed")
            replace_file(paths[segment], frame.to_parquet)
        return {segment: str(path) for segment, path in paths.items()}
