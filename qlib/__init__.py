"""qlib-crypto: Microsoft Qlib's public API, written anew, with crypto markets built in.

    import qlib
    qlib.init(provider_uri="~/.qlib/qlib_data/sample_data", region="crypto")
    from qlib.data import D
    D.features(["SYN01"], ["$close", "Mean($close, 5)"], start_time="2024-01-01")
    print(qlib.explain(["$close", "Mean($close, 5)"]))

This door only names things; `qlib.session` builds them. Importing it loads no heavy package.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from qlib.config import Settings, on_register
from qlib.log import get_module_logger

if TYPE_CHECKING:
    from qlib.session import Session, auto_init, explain, get_project_path, init, init_from_yaml_conf

__version__ = "0.1.0"
__all__ = ["auto_init", "explain", "get_module_logger", "get_project_path", "init", "init_from_yaml_conf"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("qlib.session"), name)
    raise AttributeError(f"module 'qlib' has no attribute {name!r}")


def _open_session(settings: Settings) -> Session:
    return import_module("qlib.session").Session(settings).activate()


on_register(_open_session)
