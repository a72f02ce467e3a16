"""Qlib's path for what turns a configuration into an object; it lives in `qlib.utils.objects`."""

from qlib.utils.objects import (
    class_casting,
    find_all_classes,
    get_callable_kwargs,
    get_cls_kwargs,
    get_module_by_module_path,
    init_instance_by_config,
    split_module_path,
)

__all__ = [
    "class_casting",
    "find_all_classes",
    "get_callable_kwargs",
    "get_cls_kwargs",
    "get_module_by_module_path",
    "init_instance_by_config",
    "split_module_path",
]
