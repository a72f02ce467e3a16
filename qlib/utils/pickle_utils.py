"""Reading a pickle without running what a stranger wrote into it.

    restricted_pickle_load(file)      read one object; refuse every name that is not in the table
    add_safe_class("my.module", "MyThing")      you vouch for one class
    remember_class(cls)               let a class of the running program be restored from its state

A pickle is a small program: it names callables and calls them. Three rules take its power away.

1. Names come from a table of exact (module, name) pairs. No prefix is trusted, no dotted name is followed.
2. Only constructors of plain data (numbers, dates, arrays, frames) may be *called*. Handlers, models, datasets and
   other classes of this package may only be created empty and be given their saved state: their constructors take
   configurations, and a configuration can name any code.
3. State is given to instances only, never to classes or functions.

What a table cannot prevent is a damaged array: a file from a stranger may still be nonsense, or too large.
"""

# mypy: disable-error-code="attr-defined,misc,assignment"
# (typeshed hides what pickle._Unpickler inherits; its opcode methods are what has to be watched)

from __future__ import annotations

import builtins
import io
import pickle
from collections.abc import Iterable
from importlib import import_module
from types import BuiltinFunctionType, FunctionType
from typing import IO, Any
from zoneinfo import ZoneInfo

from qlib.errors import did_you_mean

# Constructors of plain data: these may be called with the arguments that the file gives.
_PLAIN: dict[str, str] = {
    "builtins": "slice range complex set frozenset bytearray list dict tuple int float str bytes bool Ellipsis",
    "collections": "OrderedDict Counter deque defaultdict",
    "datetime": "date datetime time timedelta timezone",
    "decimal": "Decimal",
    "fractions": "Fraction",
    "pathlib": "Path PosixPath WindowsPath PurePath PurePosixPath PureWindowsPath",
    "_codecs": "encode",
    "zoneinfo": "ZoneInfo",
    "numpy": "ndarray dtype bool_ float16 float32 float64 int8 int16 int32 int64 uint8 uint16 uint32 uint64 str_",
    "numpy._core.multiarray": "_reconstruct scalar",
    "numpy.core.multiarray": "_reconstruct scalar",
    "numpy._core.numeric": "_frombuffer",
    "numpy.core.numeric": "_frombuffer",
    "numpy.random._pickle": "__bit_generator_ctor __generator_ctor __randomstate_ctor",
    "numpy.random._mt19937": "MT19937",
    "numpy.random._pcg64": "PCG64 PCG64DXSM",
    "numpy.random._philox": "Philox",
    "numpy.random._sfc64": "SFC64",
    "numpy.random.bit_generator": "SeedSequence __pyx_unpickle_SeedSequence",
    "pandas": "DataFrame Series Index MultiIndex DatetimeIndex TimedeltaIndex PeriodIndex RangeIndex IntervalIndex "
    "CategoricalIndex Categorical CategoricalDtype DatetimeTZDtype PeriodDtype IntervalDtype StringDtype Interval "
    "Period Timestamp Timedelta NaT NA BooleanDtype Float32Dtype Float64Dtype Int8Dtype Int16Dtype Int32Dtype "
    "Int64Dtype UInt8Dtype UInt16Dtype UInt32Dtype UInt64Dtype",
    "pandas.arrays": "ArrowStringArray BooleanArray DatetimeArray FloatingArray IntegerArray IntervalArray "
    "NumpyExtensionArray PeriodArray SparseArray StringArray TimedeltaArray",
    "pandas._libs.arrays": "__pyx_unpickle_NDArrayBacked",
    "pandas._libs.internals": "_unpickle_block",
    "pandas._libs.interval": "Interval",
    "pandas._libs.missing": "NA NAType",
    "pandas._libs.tslibs.nattype": "_nat_unpickle __nat_unpickle",
    "pandas._libs.tslibs.offsets": "BusinessDay BusinessHour CustomBusinessDay Day Hour Minute Second Milli Micro Nano "
    "Week MonthBegin MonthEnd BusinessMonthBegin BusinessMonthEnd QuarterBegin QuarterEnd BQuarterBegin BQuarterEnd "
    "YearBegin YearEnd BYearBegin BYearEnd",
    "pandas._libs.tslibs.period": "Period",
    "pandas._libs.tslibs.timedeltas": "_timedelta_unpickle Timedelta",
    "pandas._libs.tslibs.timestamps": "_unpickle_timestamp Timestamp",
    "pandas.core.arrays.boolean": "BooleanArray BooleanDtype",
    "pandas.core.arrays.categorical": "Categorical",
    "pandas.core.arrays.datetimes": "DatetimeArray",
    "pandas.core.arrays.floating": "FloatingArray Float32Dtype Float64Dtype",
    "pandas.core.arrays.integer": "IntegerArray Int8Dtype Int16Dtype Int32Dtype Int64Dtype UInt8Dtype UInt16Dtype "
    "UInt32Dtype UInt64Dtype",
    "pandas.core.arrays.interval": "IntervalArray",
    "pandas.core.arrays.numpy_": "NumpyExtensionArray",
    "pandas.core.arrays.period": "PeriodArray",
    "pandas.core.arrays.string_": "StringArray StringDtype",
    "pandas.core.arrays.string_arrow": "ArrowStringArray ArrowStringArrayNumpySemantics",
    "pandas.core.arrays.timedeltas": "TimedeltaArray",
    "pandas.core.dtypes.dtypes": "CategoricalDtype DatetimeTZDtype IntervalDtype PeriodDtype",
    "pandas.core.frame": "DataFrame",
    "pandas.core.indexes.base": "Index _new_Index",
    "pandas.core.indexes.category": "CategoricalIndex",
    "pandas.core.indexes.datetimes": "DatetimeIndex _new_DatetimeIndex",
    "pandas.core.indexes.frozen": "FrozenList",
    "pandas.core.indexes.interval": "IntervalIndex _new_IntervalIndex",
    "pandas.core.indexes.multi": "MultiIndex",
    "pandas.core.indexes.period": "PeriodIndex _new_PeriodIndex",
    "pandas.core.indexes.range": "RangeIndex",
    "pandas.core.indexes.timedeltas": "TimedeltaIndex",
    "pandas.core.internals.managers": "BlockManager SingleBlockManager",
    "pandas.core.series": "Series",
    "pytz": "_p _UTC",
    "pyarrow.lib": "_restore_array py_buffer type_for_alias chunked_array",
    "qlib.backtest.decision": "OrderDir",
}

# Classes that may be created empty and given their state; their constructors are never called from a file.
_STATE_ONLY: dict[str, str] = {
    "lightgbm.basic": "Booster",
    "qlib.backtest.decision": "Order TradeDecisionWO EmptyTradeDecision TradeRangeByTime IdxTradeRange",
    "qlib.backtest.high_performance_ds": "NumpyOrderIndicator PandasOrderIndicator PandasSingleMetric",
    "qlib.backtest.indicator": "Indicator OrderIndicator",
    "qlib.backtest.position": "Position InfPosition PositionHistory",
    "qlib.backtest.report": "Indicator PortfolioMetrics",
    "qlib.backtest.trades": "TradeLog",
    "qlib.contrib.data.alpha158": "Alpha158DL",
    "qlib.contrib.data.alpha360": "Alpha360DL",
    "qlib.contrib.data.dataset": "MTSDatasetH",
    "qlib.contrib.data.handler": "Alpha158 Alpha158vwap Alpha360 Alpha360vwap",
    "qlib.contrib.data.highfreq_handler": "HighFreqBacktestHandler HighFreqBacktestOrderHandler "
    "HighFreqGeneralBacktestHandler HighFreqGeneralHandler HighFreqHandler HighFreqOrderHandler",
    "qlib.contrib.data.highfreq_processor": "HighFreqNorm HighFreqTrans",
    "qlib.contrib.data.processor": "ConfigSectionProcessor",
    "qlib.contrib.data.loader": "Alpha158DL Alpha360DL",
    "qlib.contrib.model.gbdt": "LGBModel",
    "qlib.contrib.model.linear": "LinearModel",
    "qlib.contrib.model.walk_forward": "WalkForwardModel",
    "qlib.crypto.handler": "Crypto158 CryptoLoader",
    "qlib.data.dataset": "Dataset DatasetH TSDataSampler TSDatasetH",
    "qlib.data.dataset.dataset": "Dataset DatasetH",
    "qlib.data.dataset.handler": "DataHandler DataHandlerABC DataHandlerLP",
    "qlib.data.dataset.loader": "DataLoader DataLoaderDH DLWParser NestedDataLoader QlibDataLoader StaticDataLoader",
    "qlib.data.dataset.processor": "CSRankNorm CSZFillna CSZScoreNorm DropCol DropnaLabel DropnaProcessor Fillna "
    "FilterCol HashStockFormat MinMaxNorm ProcessInf Processor RobustZScoreNorm TanhProcess TimeRangeFlt ZScoreNorm",
    "qlib.data.dataset.sampler": "TSDataSampler TSDatasetH",
    "qlib.data.dataset.storage": "HashingStockStorage NaiveDFStorage",
    "qlib.data.filter": "ExpressionDFilter NameDFilter",
    "qlib.model.base": "BaseModel Model ModelFT",
    "qlib.utils.index_data": "Index IndexData LocIndexer MultiData SingleData",
}


def _pairs(table: dict[str, str]) -> set[tuple[str, str]]:
    return {(module, name) for module, names in table.items() for name in names.split()}


SAFE_PICKLE_CLASSES: set[tuple[str, str]] = _pairs(_PLAIN)
STATE_ONLY_CLASSES: set[tuple[str, str]] = _pairs(_STATE_ONLY)
TRUSTED_MODULE_PREFIXES: tuple[str, ...] = ()  # Qlib's name; a prefix is never enough here


def add_safe_class(module: str, name: str) -> None:
    """Vouch for one class or function: it may be named *and called* by any pickle read after this."""
    SAFE_PICKLE_CLASSES.add((module, name))


def get_safe_classes() -> set[tuple[str, str]]:
    """Return a copy of every (module, name) pair a pickle may name."""
    return SAFE_PICKLE_CLASSES | STATE_ONLY_CLASSES


def may_be_restored(module: str, name: str) -> bool:
    """Return whether instances of a class may be created empty and given their state.

    >>> may_be_restored("qlib.data.dataset.processor", "Fillna"), may_be_restored("builtins", "dict")
    (True, False)
    """
    pair = (module, name)
    return pair in STATE_ONLY_CLASSES or (pair in SAFE_PICKLE_CLASSES and pair not in _pairs(_PLAIN))


def remember_class(cls: type) -> None:
    """Let instances of `cls`, a class the running program itself defined or imported, be restored from their state."""
    if "<locals>" not in cls.__qualname__ and "." not in cls.__qualname__:
        STATE_ONLY_CLASSES.add((cls.__module__, cls.__qualname__))


class RestrictedUnpickler(pickle._Unpickler):  # the one in Python: the C one cannot watch calls
    """An unpickler that follows the three rules of this module; anything else is an UnpicklingError."""

    dispatch = dict(pickle._Unpickler.dispatch)

    def __init__(self, file: IO[bytes], **kwargs: Any) -> None:
        super().__init__(file, **kwargs)
        self._callable: list[Any] = []

    def find_class(self, module: str, name: str) -> Any:
        """Return the named object, or raise UnpicklingError naming the pair and how to vouch for it."""
        if (module, name) == ("builtins", "getattr"):  # a time zone is saved as getattr(ZoneInfo, "_unpickle")(key)
            zone_attribute = self._zone_attribute  # one bound method: calls are recognised by identity
            self._callable.append(zone_attribute)
            return zone_attribute
        plain = (module, name) in SAFE_PICKLE_CLASSES
        if "." in name or not (plain or (module, name) in STATE_ONLY_CLASSES):
            near = did_you_mean(name, (known for mod, known in get_safe_classes() if mod == module))
            raise pickle.UnpicklingError(
                f"the pickle names {module}.{name}, which is not in the list of plain data and of this package's "
                f"classes{near}. If you wrote the file yourself, call "
                f"qlib.utils.pickle_utils.add_safe_class({module!r}, {name!r}) first"
            )
        if module.startswith("numpy.core."):  # numpy 1's name for numpy._core
            module = "numpy._core." + module.removeprefix("numpy.core.")
        try:
            found = getattr(builtins if module == "builtins" else import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise pickle.UnpicklingError(
                f"the pickle names {module}.{name}, which cannot be imported here: {error}"
            ) from error
        if plain:
            self._callable.append(found)
        return found

    def _zone_attribute(self, owner: Any, name: str) -> Any:
        if owner is not ZoneInfo or name != "_unpickle":
            raise pickle.UnpicklingError(f"the pickle asks for attribute {name!r}: only time zones may do that")
        found = ZoneInfo._unpickle
        self._callable.append(found)
        return found

    def _check_call(self, function: Any) -> None:
        if not any(function is known for known in self._callable):
            name = getattr(function, "__qualname__", type(function).__qualname__)
            raise pickle.UnpicklingError(
                f"the pickle calls {name}, which may only be restored from its state: "
                "its constructor takes a configuration, and a configuration can run any code"
            )

    def load_reduce(self) -> None:
        self._check_call(self.stack[-2])
        super().load_reduce()

    def load_newobj(self) -> None:
        self._check_new(self.stack[-2], self.stack[-1])
        super().load_newobj()

    def load_newobj_ex(self) -> None:
        self._check_new(self.stack[-3], (*self.stack[-2], *self.stack[-1]))
        super().load_newobj_ex()

    def _check_new(self, cls: Any, args: Iterable[Any]) -> None:
        if not isinstance(cls, type) or tuple(args):
            self._check_call(cls)

    def _instantiate(self, klass: Any, args: Any) -> None:
        self._check_call(klass)
        super()._instantiate(klass, args)

    def load_build(self) -> None:
        target = self.stack[-2]
        if isinstance(target, type | FunctionType | BuiltinFunctionType):
            raise pickle.UnpicklingError(f"the pickle changes {target!r} itself: only instances may be given a state")
        state = self.stack[-1]
        slots = state[1] if isinstance(state, tuple) and len(state) == 2 and isinstance(state[1], dict) else {}
        if not hasattr(target, "__setstate__") and any(str(key).startswith("__") for key in slots):
            raise pickle.UnpicklingError(f"the pickle sets special attributes {sorted(map(str, slots))} of an instance")
        super().load_build()

    dispatch[pickle.REDUCE[0]] = load_reduce
    dispatch[pickle.NEWOBJ[0]] = load_newobj
    dispatch[pickle.NEWOBJ_EX[0]] = load_newobj_ex
    dispatch[pickle.BUILD[0]] = load_build


def restricted_pickle_load(file: IO[bytes]) -> Any:
    """Read one object from an open binary file; raise `pickle.UnpicklingError` for anything outside the table.

    >>> restricted_pickle_load(io.BytesIO(pickle.dumps({"a": [1, 2.5]})))
    {'a': [1, 2.5]}
    >>> restricted_pickle_load(io.BytesIO(pickle.dumps(len)))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    _pickle.UnpicklingError: the pickle names builtins.len, which is not in the list ...
    """
    return RestrictedUnpickler(file).load()


def restricted_pickle_loads(data: bytes) -> Any:
    """Like `restricted_pickle_load`, from bytes."""
    return restricted_pickle_load(io.BytesIO(data))
