"""Qlib's names under `qlib.utils`; each lives in a room of its own."""

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
from qlib.utils.text import hash_args, parse_config
from qlib.utils.wrapper import Wrapper

__all__ = [
    "FLATTEN_TUPLE",
    "Wrapper",
    "auto_filter_kwargs",
    "class_casting",
    "code_to_fname",
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
