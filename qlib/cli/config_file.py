"""A configuration file -> one table.

    text  --template-->  text  --YAML 1.2 or JSON-->  table  --over BASE_CONFIG_PATH-->  table  --sections-->  table

YAML is read by the rules of its version 1.2, as Qlib's configurations expect: `1e-3` is a number, `9:30` and `yes` are
texts. A key that stands twice in one table is an error. A `.json` file is read by the rules of JSON.
Templates are Jinja's, in its sandbox; a variable is an environment variable, whose value is never logged. A text
`<section.key>` becomes what stands there (qlib/utils/sections.py).
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from qlib.cli.hidden import hide, note
from qlib.errors import ConfigError
from qlib.log import get_module_logger
from qlib.utils.data import update_config
from qlib.utils.sections import fill_sections

BASE: Final = "BASE_CONFIG_PATH"

logger = get_module_logger("qrun")


def read_config(path: str | Path) -> dict[str, Any]:
    """Return the table of a configuration file, merged over the file that its BASE_CONFIG_PATH names.

    Raises ConfigError, which names the file and, where there is one, the line.
    """
    return fill_sections_of(path, read_table(path), whole=False)


def fill_sections_of(path: str | Path, config: Mapping[str, Any], later: Iterable[str] = (), *, whole: bool) -> Any:
    """Return `fill_sections` of a table; ConfigError names the file it is of."""
    try:
        return fill_sections(config, later, whole=whole)
    except ConfigError as error:
        message = f"{Path(path).expanduser()}: {error}"
        raise ConfigError(message) from None


def read_table(path: str | Path, _seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Return what `read_config` returns, with its placeholders as they stand."""
    file = Path(path).expanduser()
    text = render_template(file)
    config = parse_text(text, str(file), as_json=file.suffix.lower() == ".json")
    if not isinstance(config, dict):
        what = "nothing" if config is None else f"a {type(config).__name__}"
        message = f"{file}: a configuration is a table with the keys qlib_init and task; received {what}"
        raise ConfigError(message)
    base = config.pop(BASE, None)
    if base is None:
        return config
    seen = (*_seen, file.resolve())
    base_file = _base_path(str(base), file)
    if base_file.resolve() in seen:
        message = f"{file}: {BASE} {base} leads back to a file that is being read"
        raise ConfigError(message)
    return update_config(read_table(base_file, seen), config)


def _base_path(base: str, file: Path) -> Path:
    candidates = [Path(base).expanduser(), file.resolve().parent / base]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    places = " or ".join(str(candidate.absolute()) for candidate in dict.fromkeys(candidates))
    message = f"{file}: {BASE} {base} is neither {places}"
    raise ConfigError(message)


def render_template(config_path: str | Path) -> str:
    """Return the text of a configuration with its template filled from the environment.

    A variable that the environment does not hold is empty, with a warning.
    """
    import jinja2  # noqa: PLC0415  only who runs a configuration needs templates
    import jinja2.meta  # noqa: PLC0415  only who runs a configuration needs templates
    import jinja2.sandbox  # noqa: PLC0415  only who runs a configuration needs templates

    file = Path(config_path).expanduser()
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text in UTF-8"
        message = f"the configuration {file} cannot be read: {reason}"
        raise ConfigError(message) from error
    environment = jinja2.sandbox.SandboxedEnvironment(keep_trailing_newline=True)
    try:
        asked = jinja2.meta.find_undeclared_variables(environment.parse(text))
        known = {name: os.environ[name] for name in asked if name in os.environ}
        note(known)
        if known:
            logger.debug(f"template variables taken from the environment: {', '.join(sorted(known))}")
        if missing := sorted(asked - known.keys()):
            logger.warning(f"{file}: the environment holds no {', '.join(missing)}; empty in the configuration")
        return environment.from_string(text).render(known)
    except Exception as error:  # an expression of the template may raise anything
        line = getattr(error, "lineno", None)
        message = f"{file}{f', line {line}' if line else ''}: the template cannot be filled: {hide(str(error))}"
        raise ConfigError(message) from error


def parse_text(text: str, name: str, *, as_json: bool = False) -> Any:
    """Return what a text in YAML (of which JSON is a part) says; `name` stands in the messages."""
    if as_json:
        try:
            return json.loads(text, object_pairs_hook=_table_of_pairs)
        except ValueError as error:
            message = f"{name}: this is no JSON: {error}"
            raise ConfigError(message) from error
    import yaml  # noqa: PLC0415  only who runs a configuration needs the parser

    try:
        return yaml.load(text, Loader=_loader())  # noqa: S506  a safe loader, with other rules for plain texts
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        message = f"{name}{where}: {problem}"
        raise ConfigError(message) from error
    except ValueError as error:  # a date such as 2020-13-45
        message = f"{name}: {error}"
        raise ConfigError(message) from error


def _table_of_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for key, value in pairs:
        if key in table:
            message = f"the key {key} stands twice in one table"
            raise ValueError(message)
        table[key] = value
    return table


_TIMESTAMP: Final = (
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt]|[ \t]+)[0-9]{1,2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]*)?"
    r"(?:[ \t]*(?:Z|[-+][0-9]{1,2}(?::[0-9]{2})?))?"
)


@cache
def _loader() -> Any:
    """Return a safe YAML loader with the plain texts of YAML 1.2 and no key twice."""
    import yaml  # noqa: PLC0415  only who runs a configuration needs the parser

    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
        yaml_implicit_resolvers: dict[str, list[Any]] = {}

        def flatten_mapping(self, node: Any) -> None:
            seen = set()
            for key, _ in node.value:
                if key.tag == "tag:yaml.org,2002:merge":
                    continue
                text = (key.tag, key.value) if isinstance(key.value, str) else None
                if text is not None and text in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key.value} stands twice in one table", key.start_mark
                    )
                seen.add(text)
            super().flatten_mapping(node)

        def construct_yaml_int(self, node: Any) -> int:
            text = self.construct_scalar(node).replace("_", "")
            sign, digits = (-1 if text[0] == "-" else 1), text.lstrip("+-")
            base = {"0o": 8, "0x": 16, "0b": 2}.get(digits[:2].lower(), 10)
            return sign * int(digits if base == 10 else digits[2:], base)

    tag = "tag:yaml.org,2002:"
    number = r"[-+]?(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)"
    for kind, pattern, first in (
        ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
        ("int", r"[-+]?[0-9][0-9_]*|0o[0-7_]+|0x[0-9a-fA-F_]+|0b[01_]+", "-+0123456789"),
        ("float", rf"{number}(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", "-+.0123456789"),
        ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
        ("merge", r"<<", "<"),
        ("timestamp", _TIMESTAMP, "0123456789"),
    ):
        Loader.add_implicit_resolver(tag + kind, re.compile(rf"(?:{pattern})\Z"), list(first))
    Loader.add_constructor(tag + "int", Loader.construct_yaml_int)
    return Loader


def get_path_list(path: str | list[str]) -> list[str]:
    """Return one path or several as a list."""
    return [path] if isinstance(path, str) else list(path)


def sys_config(config: Mapping[str, Any], config_path: str | Path) -> None:
    """Append to `sys.path` what the configuration's `sys` table names: `path` as it is, `rel_path` from the file."""
    table = config.get("sys") or {}
    if not isinstance(table, Mapping) or set(table) - {"path", "rel_path"}:
        message = f"{config_path}: sys is a table with the keys path and rel_path; received {table!r}"
        raise ConfigError(message)
    folder = Path(config_path).expanduser().resolve().parent
    wanted = [str(p) for p in get_path_list(table.get("path") or [])]
    wanted += [str((folder / p).resolve()) for p in get_path_list(table.get("rel_path") or [])]
    sys.path += [path for path in wanted if path not in sys.path]
