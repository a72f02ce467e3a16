"""Keys and small texts: a hash of arguments, a configuration given as text."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from qlib.errors import ConfigError


def hash_args(*args: Any) -> str:
    """Return 32 hexadecimal digits that depend on the arguments alone: the same as Qlib's, for names of cached files.

    >>> hash_args("a", {"b": 1})
    '718080eb72529d54d09a48fe5011a312'
    """
    text = json.dumps(args, sort_keys=True, default=str)
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def parse_config(config: Any) -> Any:
    """Return a configuration given as itself, as YAML or JSON text, or as the path of such a file."""
    if not isinstance(config, str | Path):
        return config
    import yaml  # noqa: PLC0415  only who hands over text needs the parser

    is_file = len(str(config)) < 4096 and "\n" not in str(config) and Path(config).is_file()
    text = Path(config).read_text(encoding="utf-8") if is_file else str(config)
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        message = f"this is neither YAML nor JSON: {error}"
        raise ConfigError(message) from error
