"""Qlib's names under `qlib.utils`; each lives in a room of its own."""

from typing import Any, Final

from qlib.log import set_log_with_config
from qlib.utils.frames import lazy_sort_index, np_ffill, split_pred, time_to_slc_point
from qlib.utils.nested import FLATTEN_TUPLE, fill_placeholder, flatten_dict, get_item_from_obj
from qlib.utils.objects import (
    auto_filter_kwargs,
    class_casting,
    find_all_classes,
    get_callable_kwargs,
    get_cls_kwargs,
    get_module_by_module_path,
    init_instance_by_config,
    split_module_path,
)
from qlib.utils.paths import code_to_fname, fname_to_code
from qlib.utils.stored import exists_qlib_data
from qlib.utils.text import hash_args, parse_config
from qlib.utils.wrapper import Wrapper

__all__ = [
    "FLATTEN_TUPLE",
    "Wrapper",
    "auto_filter_kwargs",
    "class_casting",
    "code_to_fname",
    "exists_qlib_data",
    "fill_placeholder",
    "find_all_classes",
    "flatten_dict",
    "fname_to_code",
    "get_callable_kwargs",
    "get_cls_kwargs",
    "get_item_from_obj",
    "get_module_by_module_path",
    "hash_args",
    "init_instance_by_config",
    "lazy_sort_index",
    "np_ffill",
    "parse_config",
    "set_log_with_config",
    "split_module_path",
    "split_pred",
    "time_to_slc_point",
]

# Trading dates are of the session's calendar, which lives upstairs: it is fetched when somebody asks for them.
_OF_DATES: Final = (
    "get_date_by_shift",
    "get_date_in_file_name",
    "get_date_range",
    "get_next_trading_date",
    "get_pre_trading_date",
    "is_tradable_date",
    "transform_end_date",
)


def __getattr__(name: str) -> Any:
    if name in _OF_DATES:
        from qlib.data import dates  # noqa: PLC0415

        return getattr(dates, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_OF_DATES])
