"""What a configuration says, part by part: for scripts that are not `qrun`.

    manager = ConfigManager("config/workflow.json")
    manager.get_backtest_config()["account"]             1000000
    manager.get_crypto_symbols()                         ["BTC-USDT-SWAP", ...]
    manager.get("task.model.kwargs.num_leaves")          8

    python scripts/config_manager.py --config config/workflow.json --get trading

It reads the files that `qrun` runs, by the same code: templates, BASE_CONFIG_PATH, `<section.key>` placeholders. Beside
the keys of `qrun` a file may have sections of its own, which win over what is derived from the task:

    section          the getter                    without the section
    workflow         get_workflow_config           experiment_name, and times, frequency and instruments of the handler
    data             get_crypto_symbols (symbols)  config/instruments.json beside the file
    model            get_model_config(_full)       task.model
    data_handler     get_data_handler_config       task.dataset.kwargs.handler.kwargs
    dataset          get_dataset_config            task.dataset
    trading          get_trading_config            exchange_kwargs of the backtest
    backtest         get_backtest_config           backtest of PortAnaRecord's config
    port_analysis    get_port_analysis_config      PortAnaRecord's config

A key that nobody knows, a placeholder that leads nowhere or in a circle, and a part that is not there are errors with
the nearest right name. Any other key may stand at the top if a placeholder names it, or, in YAML, if it is not near
to a known one: there, tables at the top are anchors.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, Final

from qlib.cli.check import CONFIG_KEYS
from qlib.cli.config_file import fill_sections_of, read_table
from qlib.crypto.symbols import read_symbols
from qlib.errors import ConfigError, InputError, QlibError, did_you_mean
from qlib.utils.nested import placeholders
from qlib.workflow.train import LATER

__all__ = ["ConfigManager", "run"]

SECTIONS: Final = (
    "workflow", "data", "model", "data_handler", "dataset", "trading", "backtest", "port_analysis",
)  # fmt: skip
CUSTOMS: Final = ("market", "benchmark", "data_handler_config", "port_analysis_config")  # anchors of Qlib's YAML files
INSTRUMENTS: Final = "instruments.json"


class ConfigManager:
    """The parts of one configuration file.

    Parameters
    ----------
    config_path
        A JSON or YAML file. It is read at once; what the getters return are copies.

    Raises
    ------
    ConfigError
        The file cannot be read, has a key that nobody knows, or a placeholder that cannot be filled.
    """

    def __init__(self, config_path: str | Path = "config/workflow.json") -> None:
        self.path = Path(config_path).expanduser()
        table = read_table(self.path)
        self._refuse_strangers(table)
        self._config: dict[str, Any] = fill_sections_of(self.path, table, LATER, whole=True)

    def __repr__(self) -> str:
        return f"ConfigManager({str(self.path)!r})"

    # ------------------------------------------------------------------ the whole, and any part
    def load_config(self) -> dict[str, Any]:
        """Return the whole table with its placeholders filled (but for <MODEL>, <DATASET> and <PRED>)."""
        return deepcopy(self._config)

    def get(self, path: str) -> Any:
        """Return what lies at a dotted path; ConfigError names the nearest path."""
        found: Any = self._config
        for number, step in enumerate(steps := path.split(".")):
            keys = (
                found.keys()
                if isinstance(found, Mapping)
                else map(str, range(len(found) if isinstance(found, list) else 0))
            )
            known = list(map(str, keys))
            if step not in known:
                inside = f"{self.path}: {'.'.join(steps[:number]) or 'the configuration'}"
                there = f"its keys are {', '.join(known)}" if known else "it is no table"
                raise ConfigError(f"{inside} has no {step}; {there}{did_you_mean(step, known)}")
            found = found[int(step)] if isinstance(found, list) else found[step]
        return deepcopy(found)

    # ------------------------------------------------------------------ the parts that have a name
    def get_workflow_config(self) -> dict[str, Any]:
        """Return experiment_name, start_time, end_time, frequency and instruments, as far as they are said."""
        if "workflow" in self._config:
            return self._table("workflow")
        handler = self._at("task.dataset.kwargs.handler.kwargs", {})
        found = {"experiment_name": self._config.get("experiment_name")}
        found |= {key: handler.get(key) for key in ("start_time", "end_time", "instruments")}
        found["frequency"] = handler.get("freq", "day")
        return {key: deepcopy(value) for key, value in found.items() if value is not None}

    def get_model_config(self) -> dict[str, Any]:
        """Return the arguments of the model."""
        kwargs = self.get_model_config_full().get("kwargs") or {}
        return dict(kwargs)

    def get_model_config_full(self) -> dict[str, Any]:
        """Return class, module_path and kwargs of the model."""
        return self._table("model", "task.model")

    def get_data_handler_config(self) -> dict[str, Any]:
        """Return the arguments of the data handler."""
        return self._table("data_handler", "task.dataset.kwargs.handler.kwargs")

    def get_dataset_config(self) -> dict[str, Any]:
        """Return class, module_path and kwargs of the dataset."""
        return self._table("dataset", "task.dataset")

    def get_trading_config(self) -> dict[str, Any]:
        """Return prices, costs and limits of dealing."""
        if "trading" in self._config:
            return self._table("trading")
        return self._inside(self.get_backtest_config(), "exchange_kwargs", "the backtest")

    def get_backtest_config(self) -> dict[str, Any]:
        """Return start_time, end_time, account, benchmark and exchange_kwargs of the backtest."""
        if "backtest" in self._config:
            return self._table("backtest")
        return self._inside(self.get_port_analysis_config(), "backtest", "the config of PortAnaRecord")

    def get_port_analysis_config(self) -> dict[str, Any]:
        """Return strategy, executor and backtest."""
        if "port_analysis" in self._config:
            return self._table("port_analysis")
        records = self._at("task.record", [])
        for one in [records] if isinstance(records, Mapping) else records:
            if isinstance(one, Mapping) and str(one.get("class", "")).endswith("PortAnaRecord"):
                return self._inside(one.get("kwargs") or {}, "config", "PortAnaRecord's kwargs")
        raise ConfigError(f"{self.path}: there is neither a section port_analysis nor a PortAnaRecord in task.record")

    def get_crypto_symbols(self) -> list[str]:
        """Return the symbols: of the section `data` (a list, or the name of a file), else of instruments.json."""
        symbols = self._table("data").get("symbols") if "data" in self._config else None
        if isinstance(symbols, list):
            if wrong := [one for one in symbols if not isinstance(one, str)]:
                raise ConfigError(f"{self.path}: data.symbols holds {wrong[0]!r}; texts are allowed")
            return list(symbols)
        if symbols is not None and not isinstance(symbols, str):
            raise ConfigError(f"{self.path}: data.symbols is {symbols!r}; a list or the name of a file is allowed")
        return read_symbols(self._file(symbols or INSTRUMENTS))

    # ------------------------------------------------------------------ how they are found
    def _file(self, name: str) -> Path:
        """Return a file named in the configuration: as it is, or beside the configuration."""
        path = Path(name).expanduser()
        beside = self.path.parent / name
        return path if path.is_absolute() or (path.is_file() and not beside.is_file()) else beside

    def _at(self, path: str, default: Any) -> Any:
        try:
            found = self.get(path)
        except ConfigError:
            return default
        return default if found is None else found

    def _table(self, section: str, otherwise: str | None = None) -> dict[str, Any]:
        path = section if section in self._config or otherwise is None else otherwise
        found = self.get(path)
        if not isinstance(found, Mapping):
            raise ConfigError(f"{self.path}: {path} is {found!r}; a table is needed")
        return dict(found)

    def _inside(self, table: Mapping[str, Any], key: str, name: str) -> dict[str, Any]:
        found = table.get(key)
        if not isinstance(found, Mapping):
            raise ConfigError(
                f"{self.path}: {name} has no table {key}; its keys are {', '.join(map(str, table)) or 'none'}"
                f"{did_you_mean(key, map(str, table))}"
            )
        return dict(found)

    def _refuse_strangers(self, table: Mapping[str, Any]) -> None:
        known = (*CONFIG_KEYS, *SECTIONS, *CUSTOMS)
        named = {re.split(r"[.>]", text[1:], maxsplit=1)[0] for _, text in placeholders(table)}
        anchors = self.path.suffix.lower() != ".json"  # a YAML file may keep tables at the top that it refers to
        for key in table:
            near = did_you_mean(str(key), known)
            if key not in known and key not in named and (near or not anchors):
                raise ConfigError(
                    f"{self.path}: {key} is neither a key of qrun nor a section, and no placeholder names it; "
                    f"known are {', '.join(known)}{near}"
                )


# ---------------------------------------------------------------------- the door
PARTS: Final = tuple(name.removeprefix("get_") for name in vars(ConfigManager) if name.startswith("get_"))


def run(arguments: Sequence[str] | None = None) -> int:
    """Print a part of a configuration as JSON, and return the exit code."""
    parser = argparse.ArgumentParser(
        prog=Path(sys.argv[0]).name, description="Show what a configuration says, its placeholders filled.",
        epilog="Exit codes: 0 done, 2 the configuration is wrong.", allow_abbrev=False,
    )  # fmt: skip
    parser.add_argument("--config", default="config/workflow.json", help="default: config/workflow.json")
    parser.add_argument(
        "--get", help="a path such as task.model.kwargs, or a part such as backtest_config (default: all)"
    )
    asked = parser.parse_args(arguments)
    try:
        manager = ConfigManager(asked.config)
        if asked.get is None:
            found: Any = manager.load_config()
        elif asked.get in PARTS:
            found = getattr(manager, f"get_{asked.get}")()
        elif near := did_you_mean(asked.get, PARTS) if asked.get not in manager.load_config() else "":
            raise InputError(f"get: received {asked.get}; parts are {', '.join(PARTS)}{near}")
        else:
            found = manager.get(asked.get)
    except QlibError as error:
        print(f"config_manager: {error}", file=sys.stderr)
        return 2 if isinstance(error, InputError) else 1
    print(json.dumps(found, indent=2, ensure_ascii=False, default=str))
    return 0
