"""Handlers of the feature sets: formulas, a label, and the processors that usually go with them.

    Alpha158(instruments="csi300", start_time="2008-01-01", end_time="2020-08-01",
             fit_start_time="2008-01-01", fit_end_time="2014-12-31",
             infer_processors=["RobustZScoreNorm", ...], learn_processors=["DropnaLabel", ...])

The label of all of them is the return from the next bar's close to the one after: known two bars later, tradable at the
next bar. Processors that learn from data are given the handler's fit window.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Final

from qlib.config import active_settings
from qlib.contrib.data.loader import Alpha158DL, Alpha360DL
from qlib.data.dataset import processor as processor_module
from qlib.data.dataset.handler import DataHandlerLP
from qlib.data.dataset.processor import Processor
from qlib.errors import ConfigError
from qlib.utils.objects import accepted_arguments, get_callable_kwargs

FIT_WINDOW: Final = ("fit_start_time", "fit_end_time")

_DEFAULT_LEARN_PROCESSORS: Final[list[Any]] = [
    {"class": "DropnaLabel"},
    {"class": "CSZScoreNorm", "kwargs": {"fields_group": "label"}},
]
_DEFAULT_INFER_PROCESSORS: Final[list[Any]] = [
    {"class": "ProcessInf", "kwargs": {}},
    {"class": "ZScoreNorm", "kwargs": {"fields_group": "feature"}},
    {"class": "Fillna", "kwargs": {"fields_group": "feature"}},
]
# Qlib's own list scales and fills the label too, so that rows without a label are learned from as zeros.
_QLIB_INFER_PROCESSORS: Final[list[Any]] = [
    {"class": "ProcessInf", "kwargs": {}},
    {"class": "ZScoreNorm", "kwargs": {}},
    {"class": "Fillna", "kwargs": {}},
]


def check_transform_proc(proc_l: Sequence[Any], fit_start_time: Any, fit_end_time: Any) -> list[Any]:
    """Return the processors with the fit window given to those that learn from one; `proc_l` is left as it is.

    Parameters
    ----------
    proc_l
        Processors (passed through), configurations, or class names of `qlib.data.dataset.processor`.
    fit_start_time, fit_end_time
        The fit window; where one is None the processor's own setting counts.

    Raises ConfigError when a processor needs a fit window and neither it nor the handler has one.
    """
    checked: list[Any] = []
    for config in proc_l or []:
        if isinstance(config, Processor):
            checked.append(config)
            continue
        cls, kwargs = get_callable_kwargs(config, processor_module)
        if all(name in inspect.signature(cls).parameters for name in FIT_WINDOW):
            given = dict(zip(FIT_WINDOW, (fit_start_time, fit_end_time), strict=True))
            kwargs = kwargs | {name: value for name, value in given.items() if value is not None}
            absent = [name for name in FIT_WINDOW if kwargs.get(name) is None]
            if absent:
                raise ConfigError(
                    f"{cls.__name__} learns from a fit window: {' and '.join(absent)} must be given to the handler "
                    "(first and last date of the training data)"
                )
        named = {"class": cls.__name__, "kwargs": kwargs}
        if isinstance(config, Mapping) and config.get("module_path"):
            named["module_path"] = config["module_path"]
        elif cls.__module__ != processor_module.__name__:
            named["module_path"] = cls.__module__
        checked.append(named)
    return checked


class _FeatureSet(DataHandlerLP):
    """What the handlers of this file share: a loader of groups `feature` and `label`."""

    @classmethod
    def known_kwargs(cls) -> tuple[str, ...]:
        """Return the names that `**kwargs` may hold, so that a misspelt one can be reported."""
        return ("label", *accepted_arguments(DataHandlerLP).names)

    def get_label_config(self) -> tuple[list[str], list[str]]:
        """Return (formulas, names) of the label: the return from the next close to the one after."""
        return ["Ref($close, -2)/Ref($close, -1) - 1"], ["LABEL0"]

    @staticmethod
    def _loader(feature: Any, label: Any, **options: Any) -> dict[str, Any]:
        return {"class": "QlibDataLoader", "kwargs": {"config": {"feature": feature, "label": label}, **options}}


class _VwapLabel(DataHandlerLP):
    """The same label, of the volume-weighted average price."""

    def get_label_config(self) -> tuple[list[str], list[str]]:
        """Return (formulas, names) of the label: the return from the next vwap to the one after."""
        return ["Ref($vwap, -2)/Ref($vwap, -1) - 1"], ["LABEL0"]


class Alpha360(_FeatureSet):
    """360 features: sixty bars of six fields, relative to the newest (see `alpha360`).

    Parameters
    ----------
    instruments
        A market's name, a list of instruments, or what `D.instruments` returns.
    fit_start_time, fit_end_time
        The fit window of the processors that learn; the default chain needs it.
    kwargs
        `label` (formulas, or (formulas, names)) and the arguments of `DataHandlerLP`.
    """

    def __init__(
        self,
        instruments: Any = "csi500",
        start_time: Any = None,
        end_time: Any = None,
        freq: str = "day",
        infer_processors: Sequence[Any] = _DEFAULT_INFER_PROCESSORS,
        learn_processors: Sequence[Any] = _DEFAULT_LEARN_PROCESSORS,
        fit_start_time: Any = None,
        fit_end_time: Any = None,
        filter_pipe: list[Any] | None = None,
        inst_processors: list[Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if infer_processors is _DEFAULT_INFER_PROCESSORS and active_settings().compat == "qlib":
            infer_processors = _QLIB_INFER_PROCESSORS
        label = kwargs.pop("label", None)
        super().__init__(
            instruments=instruments,
            start_time=start_time,
            end_time=end_time,
            data_loader=self._loader(
                Alpha360DL.get_feature_config(),
                self.get_label_config() if label is None else label,
                filter_pipe=filter_pipe,
                freq=freq,
                inst_processors=inst_processors,
            ),
            infer_processors=check_transform_proc(infer_processors, fit_start_time, fit_end_time),
            learn_processors=check_transform_proc(learn_processors, fit_start_time, fit_end_time),
            **kwargs,
        )


class Alpha360vwap(_VwapLabel, Alpha360):
    """Alpha360 with the label computed from vwap."""


class Alpha158(_FeatureSet):
    """158 features: candle shapes, prices and rolling statistics (see `alpha158`).

    Parameters
    ----------
    instruments
        A market's name, a list of instruments, or what `D.instruments` returns.
    fit_start_time, fit_end_time
        The fit window of the processors that learn.
    process_type
        As in `DataHandlerLP`.
    kwargs
        `label` (formulas, or (formulas, names)) and the arguments of `DataHandlerLP`.
    """

    def __init__(
        self,
        instruments: Any = "csi500",
        start_time: Any = None,
        end_time: Any = None,
        freq: str = "day",
        infer_processors: Sequence[Any] = [],
        learn_processors: Sequence[Any] = _DEFAULT_LEARN_PROCESSORS,
        fit_start_time: Any = None,
        fit_end_time: Any = None,
        process_type: str = DataHandlerLP.PTYPE_A,
        filter_pipe: list[Any] | None = None,
        inst_processors: list[Any] | None = None,
        **kwargs: Any,
    ) -> None:
        label = kwargs.pop("label", None)
        super().__init__(
            instruments=instruments,
            start_time=start_time,
            end_time=end_time,
            data_loader=self._loader(
                self.get_feature_config(),
                self.get_label_config() if label is None else label,
                filter_pipe=filter_pipe,
                freq=freq,
                inst_processors=inst_processors,
            ),
            infer_processors=check_transform_proc(infer_processors, fit_start_time, fit_end_time),
            learn_processors=check_transform_proc(learn_processors, fit_start_time, fit_end_time),
            process_type=process_type,
            **kwargs,
        )

    def get_feature_config(self) -> tuple[list[str], list[str]]:
        """Return (formulas, names) of the features; subclasses override it to choose others."""
        return Alpha158DL.get_feature_config()


class Alpha158vwap(_VwapLabel, Alpha158):
    """Alpha158 with the label computed from vwap."""
