"""Any model, fitted again and again on what was known: every prediction is out of sample.

    model = WalkForwardModel(
        model={"class": "LGBModel", "module_path": "qlib.contrib.model.gbdt", "kwargs": {"num_threads": 2}},
        step="30d", window="180d", valid="30d")
    model.fit(dataset)                 one model for each 30 days of the segment "test"
    model.predict(dataset)             their pieces, joined

           window                        purge + embargo     step
    |--------------- train ---------------|.....|=== predicted ===|
                |--------------- train ---------------|.....|=== predicted ===|

A label looks `purge` bars ahead, so the labels of the bars right before a prediction are not known yet when it is made:
they are left out. By default that is what the formulas of the label say. The dataset's handler is made once; its
processors have learned from their fit window, which should end where the first model's training does.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import numpy as np
import pandas as pd

from qlib.contrib.model.segments import history_kept, require_fitted
from qlib.data.dataset import DatasetH
from qlib.data.dataset.handler import DataHandler
from qlib.data.dataset.horizon import guess_horizon
from qlib.data.dataset.utils import unique_dates
from qlib.data.dataset.weight import Reweighter
from qlib.errors import ConfigError, InputError, MissingDataError, did_you_mean
from qlib.log import get_module_logger
from qlib.model.base import Model
from qlib.model.interpret.base import FeatureInt
from qlib.utils.objects import init_instance_by_config
from qlib.utils.time import Freq
from qlib.workflow.leakage import label_formulas

Length = int | str


class WalkForwardModel(Model, FeatureInt):
    """A model that is fitted anew for every `step`, on what lies before it.

    Parameters
    ----------
    model
        A model or its configuration; each fit begins with a new one.
    step
        How long a fitted model predicts before the next one takes over. This and the other lengths are a number of
        bars, or a time such as "30d".
    window
        How far back a model learns from; None: from the beginning of the segment "train" on. It never begins earlier.
    purge
        What is left out right before a prediction, because its labels are not known then. None: as many bars as the
        formulas of the label look ahead.
    embargo
        What is left out besides.
    valid
        The end of the window becomes the segment "valid" (for early stopping); the labels of "train" do not reach into
        it. None: there is no such segment.

    After `fit`: `models`, and `pieces`, a dict for each of them: `first` (the first bar it predicts) and the closed
    segments `train` and `valid` it learned from.
    """

    def __init__(
        self,
        model: Any,
        step: Length,
        window: Length | None = None,
        purge: Length | None = None,
        embargo: Length = 0,
        valid: Length | None = None,
    ) -> None:
        super().__init__()
        self.model_config = model
        _check_length("step", step, 1)
        for name, length, least in (
            ("window", window, 1),
            ("purge", purge, 0),
            ("embargo", embargo, 0),
            ("valid", valid, 1),
        ):
            if length is not None:
                _check_length(name, length, least)
        self.step, self.window, self.purge, self.embargo, self.valid = step, window, purge, embargo, valid
        self.models: list[Model] = []
        self.pieces: list[dict[str, Any]] = []
        self._new()  # a configuration that makes no model is told before any data are loaded

    def _new(self) -> Model:
        given = self.model_config
        made = deepcopy(given) if isinstance(given, Model) else init_instance_by_config(given, accept_types=Model)
        if not isinstance(made, Model):
            raise ConfigError(f"model: received {given!r}; a Model or its configuration is allowed")
        return made

    # --------------------------------------------------------------------------------------------------------- the walk
    def plan(self, dataset: DatasetH) -> list[dict[str, Any]]:
        """Return the pieces of the walk over the segment "test"; nothing is fitted.

        Raises InputError where a model would have nothing to learn from, and where nobody says how far labels look.
        """
        dates = _dates(dataset)
        train, test = (_within(dataset, name, dates) for name in ("train", "test"))
        first, stop, begin = test.start, test.stop, train.start
        labels = label_formulas(dataset.handler)
        horizon = guess_horizon(labels) if labels else None
        purge = horizon if self.purge is None else self.purge
        if purge is None:
            raise InputError(
                "purge: the handler's labels are no formulas, so nobody knows how many bars they look ahead; say it, "
                "such as purge=2"
            )
        pieces = []
        for at in _refits(dates, first, stop, self.step):
            end = _back(dates, _back(dates, at, purge), self.embargo)  # the first bar that is left out
            low = max(begin, begin if self.window is None else _back(dates, end, self.window))
            piece: dict[str, Any] = {"first": dates[at], "valid": None}
            learned = end
            if self.valid is not None:
                split = max(_back(dates, end, self.valid), low)
                piece["valid"] = (dates[split], dates[max(end - 1, 0)])
                learned = _back(dates, split, purge)
            if learned <= low or end <= low:
                raise InputError(
                    f"the model of {dates[at]} has nothing to learn from: its window begins on {dates[low]}, and "
                    f"purge {purge}, embargo {self.embargo} and valid {self.valid} leave no bar of it"
                )
            piece["train"] = (dates[low], dates[learned - 1])
            pieces.append(piece)
            if horizon is not None and at - end < horizon:
                get_module_logger("WalkForwardModel").warning(
                    f"the model of {dates[at]} learns from labels that end {horizon - (at - end)} bars later: purge "
                    f"{purge} is less than the {horizon} bars that labels look ahead; results are too good"
                )
        return pieces

    def fit(self, dataset: DatasetH, reweighter: Reweighter | None = None) -> WalkForwardModel:  # type: ignore[override]
        """Fit one model for each piece of the segment "test"; the run keeps the learning curve of the last one."""
        pieces, log = self.plan(dataset), get_module_logger("WalkForwardModel")
        models = []
        for number, piece in enumerate(pieces):
            segments = {name: piece[name] for name in ("train", "valid") if piece[name] is not None}
            view, model = _with_segments(dataset, segments), self._new()
            since, until = piece["train"]
            log.info(
                f"{number + 1} of {len(pieces)}: learns from {since} to {until}, predicts from {piece['first']} on"
            )
            with history_kept(number == len(pieces) - 1):
                model.fit(view, **({} if reweighter is None else {"reweighter": reweighter}))
            models.append(model)
        self.models, self.pieces = models, pieces
        return self

    def predict(self, dataset: DatasetH, segment: Any = "test") -> pd.Series:  # type: ignore[override]
        """Return the scores of a segment, each by the last model whose piece had begun.

        Raises InputError for a segment that begins before the first piece: no model may judge what it learned from.
        """
        require_fitted(bool(self.models), self)
        dates = _dates(dataset)
        rows = _within(dataset, segment, dates)
        starts = pd.DatetimeIndex([piece["first"] for piece in self.pieces])
        if dates[rows.start] < starts[0]:
            raise InputError(
                f"segment {segment}: it begins on {dates[rows.start]}, but the walk predicts from {starts[0]} on; what "
                "lies before is what its models learned from"
            )
        newest = int(dates.searchsorted(starts[-1]))
        last = _refits(dates, newest, rows.stop, self.step) if newest < rows.stop else []
        if len(last) > 1:
            get_module_logger("WalkForwardModel").warning(
                f"from {dates[last[1]]} on the model of {starts[-1]} is used, which is older than step {self.step}; "
                "fit again with a later end of the segment test"
            )
        owner = starts.searchsorted(dates[rows], side="right") - 1
        parts = []
        for number in np.unique(owner):
            own = dates[rows][owner == number]
            view = _with_segments(dataset, {"test": (own[0], own[-1])})
            parts.append(self.models[number].predict(view))
        return pd.concat(parts) if len(parts) > 1 else parts[0]

    def get_feature_importance(self, *args: Any, **kwargs: Any) -> pd.Series:
        """Return feature name -> mean importance over the models, the largest first."""
        require_fitted(bool(self.models), self)
        models = [model for model in self.models if isinstance(model, FeatureInt)]
        if not models:
            raise InputError(f"{type(self.models[0]).__name__} does not say how much its features count")
        found = [model.get_feature_importance(*args, **kwargs) for model in models]
        return pd.concat(found, axis=1).fillna(0.0).mean(axis=1).sort_values(ascending=False, kind="stable")


# -------------------------------------------------------------------------------------------------------------- lengths
def _check_length(name: str, length: Any, least: int) -> None:
    if isinstance(length, str):
        try:
            Freq(length)
            return
        except ValueError:
            pass
    elif isinstance(length, int) and not isinstance(length, bool) and length >= least:
        return
    raise ConfigError(
        f"{name}: received {length!r}; a whole number of bars of at least {least}, or a time such as '30d', is allowed"
    )


def _back(dates: pd.DatetimeIndex, at: int, length: Length) -> int:
    """Return the position so far before the bar `at`: a number of bars, or the first bar of the time before it."""
    if isinstance(length, str):
        earlier = dates[min(at, len(dates) - 1)] - pd.Timedelta(seconds=Freq(length).seconds)
        return int(dates.searchsorted(earlier))
    return max(at - length, 0)


def _refits(dates: pd.DatetimeIndex, first: int, stop: int, step: Length) -> list[int]:
    """Return the positions in [first, stop) at which a new model takes over."""
    if not isinstance(step, str):
        return list(range(first, stop, step))
    moments = pd.date_range(dates[first], dates[stop - 1], freq=pd.Timedelta(seconds=Freq(step).seconds))
    return sorted(set(dates.searchsorted(moments).tolist()))


# ------------------------------------------------------------------------------------------------------------- datasets
def _dates(dataset: DatasetH) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(unique_dates(dataset.handler.fetch(col_set=DataHandler.CS_RAW).index))


def _within(dataset: DatasetH, segment: Any, dates: pd.DatetimeIndex) -> slice:
    """Return the positions of the bars of a segment: a name, a pair of times, or a slice of them."""
    if isinstance(segment, str):
        if segment not in dataset.segments:
            raise MissingDataError(
                f"the dataset has no segment {segment!r}; it has {', '.join(dataset.segments) or '(none)'}"
                f"{did_you_mean(segment, dataset.segments)}"
            )
        segment = dataset.segments[segment]
    bounds = segment if isinstance(segment, slice) else slice(*segment)
    found = dates.slice_indexer(bounds.start, bounds.stop)
    start, stop, _ = found.indices(len(dates))
    if start >= stop:
        reach = f"the data reach from {dates[0]} to {dates[-1]}" if len(dates) else "there are no data"
        raise MissingDataError(f"segment [{bounds.start}, {bounds.stop}] holds no bar: {reach}")
    return slice(start, stop)


def _with_segments(dataset: DatasetH, segments: Mapping[str, Any]) -> DatasetH:
    """Return the same dataset, over the same handler, with other segments; nothing is loaded or copied."""
    view: DatasetH = object.__new__(type(dataset))
    view.__dict__.update(dataset.__dict__)
    view.segments = dict(segments)
    return view
