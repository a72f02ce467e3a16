"""Batches of windows with a memory: what models that route their samples by what they did before learn from (TRA).

    dataset = MTSDatasetH(handler, segments, seq_len=60, horizon=2, num_states=3, batch_size=-1)
    train = dataset.prepare("train", data_key="learn")
    for batch in train:                     # one day; batch["data"]: (samples, seq_len, features), torch tensors
        train.assign_data(batch["index"], what_the_model_did)

`batches()` gives the same as numpy arrays and needs no torch. All windows are read from one array by row numbers; what
lies before the first row of an instrument is a row of zeros. A window never reaches into another instrument: in Qlib
(`compat="qlib"`) the first windows of every instrument but one do.

Samples are the rows of the inference view: which rows there are, and what their features show, does not depend on the
label. Labels are those of the learning view; `prepare(..., data_key="learn")` serves only the rows that have one there.
Qlib takes everything from the learning view (`compat="qlib"`), so that names without a tomorrow are never scored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any, ClassVar, Final

import numpy as np
import pandas as pd

from qlib.config import active_settings
from qlib.data.dataset.dataset import DatasetH
from qlib.data.dataset.handler import DataHandlerLP
from qlib.data.dataset.horizon import guess_horizon
from qlib.data.dataset.utils import CS_RAW, get_level_index, group_positions, level_positions
from qlib.errors import ConfigError, InputError

MODES: Final = ("sample", "daily")
Batch = dict[str, np.ndarray]


def __getattr__(name: str) -> Any:
    """Return `device`, where tensors are put: asking for it imports torch, if there is one."""
    if name == "device":
        return "cuda" if find_spec("torch") and _torch().cuda.is_available() else "cpu"
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _torch() -> Any:
    try:
        return import_module("torch")
    except ImportError as error:
        raise ImportError(
            'batches of tensors need torch: pip install "qlib-crypto[torch]"; MTSDatasetH.batches() gives numpy arrays'
        ) from error


class MTSDatasetH(DatasetH):
    """Windows over a handler's rows, in batches of days or of samples.

    Parameters
    ----------
    handler, segments
        As for `DatasetH`.
    seq_len
        Rows of a window.
    horizon
        Rows until a label is known: the memory of that many rows is hidden. 0: as far as the label's formulas look.
    num_states
        Numbers remembered for each sample, or each day.
    memory_mode
        "sample": a window shows the memory of its own first rows. "daily": a day shows that of `seq_len` days before,
        up to the one `horizon` + 1 days ago.
    batch_size
        -n: n days a batch; n: n samples a batch.
    n_samples
        With days: at most so many samples of each, drawn anew every time.
    shuffle, drop_last
        Mix the days or samples; leave out a last batch that is not full.
    input_size
        Rows hold their own window, feature by feature (Alpha360: 6): it is unfolded, and `seq_len` is for the memory.
    kwargs
        `seed` (0) of what is drawn and mixed, and the arguments of `DatasetH`.
    """

    # Arrays that the handler's frames give again.
    exclude_attr: ClassVar[list[str]] = (
        "_index _day _dates _data _label _learnable _first _days _rows_of_day _rng".split()  # noqa: SIM905
    )

    def __init__(
        self,
        handler: Any,
        segments: Mapping[str, Any],
        seq_len: int = 60,
        horizon: int = 0,
        num_states: int = 0,
        memory_mode: str = "sample",
        batch_size: int = -1,
        n_samples: int | None = None,
        shuffle: bool = True,
        drop_last: bool = False,
        input_size: int | None = None,
        **kwargs: Any,
    ) -> None:
        if memory_mode not in MODES:
            raise ConfigError(f"memory_mode: received {memory_mode!r}; allowed are {', '.join(MODES)}")
        if batch_size == 0:
            raise ConfigError("batch_size: received 0; allowed are -n (n days a batch) and n (n samples a batch)")
        if memory_mode == "daily" and batch_size > 0:
            raise ConfigError(f"batch_size: received {batch_size} with memory_mode 'daily', which needs days: -n")
        for name, value, least in (("seq_len", seq_len, 1), ("horizon", horizon, 0), ("num_states", num_states, 0)):
            if not isinstance(value, int | np.integer) or value < least:
                raise ConfigError(f"{name}: received {value!r}; a whole number of at least {least} is allowed")
        self.seq_len = seq_len
        self.horizon = horizon
        self.num_states = num_states
        self.memory_mode = memory_mode
        self.batch_size = batch_size
        self.n_samples = n_samples
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.input_size = input_size
        self.params = (batch_size, n_samples, shuffle, drop_last)
        self.seed = kwargs.pop("seed", 0)
        super().__init__(handler, segments, **kwargs)

    # ------------------------------------------------------------------------------------------------------ the arrays
    def setup_data(self, handler_kwargs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Put the handler's rows into arrays, instrument after instrument; `handler_kwargs` make it load again."""
        super().setup_data(handler_kwargs=handler_kwargs, **kwargs)
        if self.horizon == 0:
            self.horizon = self._horizon_of_label()
        self._arrange()
        days = len(self._dates) if self.memory_mode == "daily" else len(self._day)
        self._memory = np.zeros((days + 1, self.num_states), np.float32)
        self._choose(np.arange(len(self._day)))

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take a saved state; with the handler's data in it the arrays are there again."""
        super().__setstate__(state)
        if "_rows" in state:
            self._arrange()
            self._choose(self._rows)

    def _arrange(self) -> None:
        """Make the arrays from the handler's frames."""
        as_qlib = active_settings().compat == "qlib"
        learn = self.handler.fetch(col_set=CS_RAW, data_key=DataHandlerLP.DK_L)
        rows = learn if as_qlib else self.handler.fetch(col_set=CS_RAW, data_key=DataHandlerLP.DK_I)
        index = rows.index
        levels = [get_level_index(index, name) for name in ("instrument", "datetime")]
        (names, instrument), (times, day) = (
            pd.factorize(index.get_level_values(level), sort=True)[::-1] for level in levels
        )
        order = np.lexsort((day, instrument))
        instrument, day = instrument[order], day[order]
        self._index = pd.MultiIndex([names, times], [instrument, day], names=["instrument", "datetime"])
        self._day, self._dates = day, times
        self._data = _gathered(rows, "feature", order, filler=True)
        self._label = _gathered(learn, "label", _places(learn.index, index)[order])[: len(order)]
        self._learnable = np.ones(len(order), bool) if learn.index is index else _places(learn.index, index)[order] >= 0
        # Where each row's instrument begins: rows before that one are somebody else's.
        first = np.searchsorted(instrument, np.arange(len(names)))
        self._first = np.zeros(len(order), np.int64) if as_qlib else first[instrument]
        if self.input_size is not None and (self.input_size < 1 or self._data.shape[1] % self.input_size):
            raise ConfigError(
                f"input_size: received {self.input_size}; a divisor of the number of features, {self._data.shape[1]}, "
                "is allowed"
            )

    def _horizon_of_label(self) -> int:
        fields = getattr(getattr(self.handler, "data_loader", None), "fields", None)
        if not isinstance(fields, Mapping) or "label" not in fields:
            raise ConfigError(
                "horizon: received 0, and the loader of the handler has no formulas of a group 'label' to guess it "
                "from; give the number of rows until a label is known"
            )
        return guess_horizon(fields["label"][0])

    def _choose(self, rows: np.ndarray) -> None:
        """Serve these rows, day after day and in the order of instruments."""
        self._rows = rows
        by_day = rows[np.argsort(self._day[rows], kind="stable")]
        self._days, starts = np.unique(self._day[by_day], return_index=True)
        self._rows_of_day = np.split(by_day, starts[1:]) if len(rows) else []
        self._rng = np.random.default_rng(self.seed)

    def _prepare_seg(self, slc: Any, **kwargs: Any) -> MTSDatasetH:
        """Return this dataset, arrays and memory shared, with the samples of one segment."""
        if not isinstance(slc, slice) and not (isinstance(slc, list | tuple) and len(slc) == 2):
            raise InputError(f"MTSDatasetH.prepare: received {slc!r}; a segment's name or (start, end) is allowed")
        picked = np.zeros(len(self._dates), bool)
        picked[level_positions(self._dates, slc if isinstance(slc, slice) else slice(*slc))] = True
        mine = picked[self._day]
        if kwargs.get("data_key") == DataHandlerLP.DK_L:
            mine &= self._learnable
        chosen = object.__new__(type(self))
        chosen.__dict__.update(self.__dict__)  # copy.copy would leave the arrays behind, as pickling does
        chosen._choose(np.flatnonzero(mine))
        return chosen

    # ------------------------------------------------------------------------------------------------------- batches
    def train(self) -> None:
        """Batches as the constructor was told."""
        self.batch_size, self.n_samples, self.shuffle, self.drop_last = self.params

    def eval(self) -> None:
        """Batches of one whole day each, in order."""
        self.batch_size, self.n_samples, self.shuffle, self.drop_last = -1, None, False, False

    def __len__(self) -> int:
        """Return the number of batches."""
        things = len(self._days) if self.batch_size < 0 else len(self._rows)
        return (things if self.drop_last else things + abs(self.batch_size) - 1) // abs(self.batch_size)

    def batches(self) -> Iterator[Batch]:
        """Yield one dict a batch.

        data (samples, seq_len, features), label (samples,) or (samples, labels), state: memory (samples or days, rows,
        num_states), index: row numbers for `assign_data` in mode "sample", daily_index: numbers of the days,
        daily_count: samples of each day.
        """
        if "_rows" not in vars(self):
            raise InputError("MTSDatasetH holds no arrays: they are left out when it is pickled; call setup_data()")
        size = abs(self.batch_size)
        if self.batch_size > 0:
            order = self._rng.permutation(self._rows) if self.shuffle else self._rows
            for number in range(len(self)):
                yield self._batch(order[number * size : (number + 1) * size], np.empty(0, np.int64), [])
            return
        order = np.arange(len(self._days))
        if self.shuffle:
            self._rng.shuffle(order)
        for number in range(len(self)):
            days = order[number * size : (number + 1) * size]
            rows = [self._drawn(self._rows_of_day[day]) for day in days]
            yield self._batch(np.concatenate(rows), self._days[days], [len(part) for part in rows])

    def _drawn(self, rows: np.ndarray) -> np.ndarray:
        if self.n_samples is None or not 0 < self.n_samples < len(rows):
            return rows
        return self._rng.choice(rows, self.n_samples, replace=False)

    def _batch(self, rows: np.ndarray, days: np.ndarray, counts: list[int]) -> Batch:
        window = rows[:, None] + np.arange(1 - self.seq_len, 1)
        window[window < self._first[rows][:, None]] = -1  # the last row of the arrays: zeros
        if self.input_size is None:
            data = self._data[window]
        else:
            data = self._data[rows].reshape(len(rows), self.input_size, -1).transpose(0, 2, 1)
        if self.memory_mode == "sample":
            state = self._memory[window[:, : max(self.seq_len - self.horizon, 0)]]
        else:
            past = days[:, None] + np.arange(-self.seq_len, 0) - self.horizon
            state = self._memory[np.where(past < 0, -1, past)]
        return {
            "data": data,
            "label": self._label[rows],
            "state": state,
            "index": rows,
            "daily_index": days,
            "daily_count": np.array(counts, np.int64),
        }

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield the batches with `data`, `label` and `state` as torch tensors on `device`."""
        torch, device = _torch(), __getattr__("device")
        for batch in self.batches():
            tensors = {
                name: torch.tensor(np.ascontiguousarray(batch[name]), device=device)
                for name in ("data", "label", "state")
            }
            yield {**batch, **tensors}

    # ----------------------------------------------------------------------------------------------- memory and names
    def assign_data(self, index: np.ndarray, vals: Any) -> None:
        """Remember `vals` (an array or tensor, num_states wide) for the samples (mode "daily": days) `index`."""
        if hasattr(vals, "detach"):
            vals = vals.detach().cpu().numpy()
        self._memory[:-1][index] = vals

    def clear_memory(self) -> None:
        """Forget what was assigned."""
        self._memory[:] = 0

    def restore_index(self, index: np.ndarray) -> pd.MultiIndex:
        """Return the (instrument, datetime) of samples."""
        return self._index[index]

    def restore_daily_index(self, daily_index: np.ndarray) -> pd.Index:
        """Return the dates of days."""
        return self._dates[daily_index]


def _places(index: pd.Index, wanted: pd.Index) -> np.ndarray:
    """Return where in `index` the rows `wanted` stand, -1 where they do not."""
    return np.arange(len(wanted)) if index is wanted or index.equals(wanted) else index.get_indexer(wanted)


def _gathered(df: pd.DataFrame, group: str, order: np.ndarray, *, filler: bool = False) -> np.ndarray:
    """Return the columns of a group as float32, rows in this order, -1 a row of NaN.

    With `filler` NaN is 0, and a row of zeros is added. A group of one column without `filler` has one dimension.
    """
    positions = group_positions(df.columns, group)
    out = np.zeros((len(order) + 1, len(positions)), np.float32)
    for at, position in enumerate(positions):
        column = df.iloc[:, int(position)].to_numpy()[order]
        out[:-1, at] = np.where(np.isnan(column), 0, column) if filler else np.where(order < 0, np.nan, column)
    return out[:, 0] if len(positions) == 1 and not filler else out
