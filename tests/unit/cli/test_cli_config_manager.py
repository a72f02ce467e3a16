"""A configuration, part by part: the file and the placeholders of `qrun`; what is wrong has a nearest name."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlib.cli.check import check_config
from qlib.cli.config_file import read_config
from qlib.cli.config_manager import ConfigManager, run
from qlib.crypto.symbols import parse, read_symbols
from qlib.errors import ConfigError, InputError
from qlib.utils.nested import get_item_from_obj
from qlib.utils.sections import fill_sections

ROOT = Path(__file__).resolve().parents[3]
CONFIG = ROOT / "config"
SHARED = ROOT.parent / "shared" / "realdata" / "coingecko_markets_20251103.csv"


def written(tmp_path: Path, table: dict[str, Any]) -> Path:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(table))
    return path


# ---------------------------------------------------------------------- the shipped files
def test_the_shipped_workflow_is_read_part_by_part():
    manager = ConfigManager(CONFIG / "workflow.json")
    table = json.loads((CONFIG / "workflow.json").read_text())
    task = table["task"]
    portfolio = task["record"][2]["kwargs"]["config"]
    assert manager.load_config() == table
    assert manager.get_model_config_full() == task["model"]
    assert manager.get_model_config() == task["model"]["kwargs"]
    assert manager.get_dataset_config() == task["dataset"]
    assert manager.get_data_handler_config() == task["dataset"]["kwargs"]["handler"]["kwargs"]
    assert manager.get_port_analysis_config() == portfolio
    assert manager.get_backtest_config() == portfolio["backtest"]
    assert manager.get_trading_config() == portfolio["backtest"]["exchange_kwargs"]
    assert manager.get_workflow_config() == {
        "experiment_name": "sample_market", "start_time": "2021-01-01", "end_time": "2024-12-31", "instruments": "all",
        "frequency": "day",
    }  # fmt: skip
    assert manager.get_crypto_symbols() == read_symbols(CONFIG / "instruments.json")
    assert manager.get("task.dataset.kwargs.segments.test.0") == "2024-01-01"


@pytest.mark.parametrize("name", ["workflow.json", "workflow.yaml", "workflow_cn_lightgbm_alpha158.yaml"])
def test_every_shipped_configuration_says_the_same_to_qrun_and_to_the_manager(name: str):
    assert ConfigManager(CONFIG / name).get_model_config_full() == read_config(CONFIG / name)["task"]["model"]


@pytest.mark.parametrize(
    ("name", "count"), [("instruments.json", 12), ("test_symbols.json", 2), ("top50_symbols.json", 50)]
)
def test_every_shipped_list_holds_symbols_each_once(name: str, count: int):
    symbols = read_symbols(CONFIG / name)
    assert len({parse(one).venue for one in symbols}) == len(symbols) == count
    assert "about" in json.loads((CONFIG / name).read_text())


def test_the_shipped_top_50_is_what_its_source_says():
    if not SHARED.exists():
        pytest.skip("../shared/realdata is not here")
    from qlib.crypto.mapping import markets_by_name, match
    from qlib.crypto.snapshots import read_snapshots

    coins = read_snapshots(SHARED, "taken")
    found = match(coins, markets_by_name(coins, "{symbol}/USDT"), tolerance=None).dropna(subset="instrument")
    largest = found[found["market_cap"] > 0].nlargest(50, "market_cap")["instrument"]
    table = json.loads((CONFIG / "top50_symbols.json").read_text())
    assert table["symbols"] == largest.tolist()
    assert table["updated_at"] == "2025-11-03T02:05:14Z"
    assert table["count"] == 50


# ---------------------------------------------------------------------- placeholders
SECTIONED: dict[str, Any] = {
    "data": {"symbols": ["BTC/USDT", "ETH/USDT"], "start": "2021-01-01"},
    "workflow": {"start_time": "<data.start>", "frequency": "day"},
    "trading": {"open_cost": 0.001, "close_cost": "<trading.open_cost>"},
    "task": {
        "model": {"class": "LGBModel", "module_path": "m", "kwargs": {"seed": 7}},
        "dataset": {"class": "DatasetH", "kwargs": {"handler": {"kwargs": {"start_time": "<workflow.start_time>"}}}},
        "record": [{"class": "PortAnaRecord", "kwargs": {"config": {"strategy": "<PRED>", "backtest": {"account": 5,
                    "exchange_kwargs": "<trading>"}}}}],
    },
}  # fmt: skip


def test_placeholders_are_filled_wherever_they_stand(tmp_path: Path):
    manager = ConfigManager(written(tmp_path, SECTIONED))
    assert manager.get_data_handler_config() == {"start_time": "2021-01-01"}
    assert manager.get_workflow_config() == {"start_time": "2021-01-01", "frequency": "day"}
    assert manager.get_trading_config() == {"open_cost": 0.001, "close_cost": 0.001}
    assert manager.get_backtest_config()["exchange_kwargs"] == {"open_cost": 0.001, "close_cost": 0.001}
    assert manager.get_port_analysis_config()["strategy"] == "<PRED>"
    assert manager.get_crypto_symbols() == ["BTC/USDT", "ETH/USDT"]


def test_qrun_reads_the_same_values(tmp_path: Path):
    path = written(tmp_path, SECTIONED)
    read, managed = read_config(path), ConfigManager(path).load_config()
    read["task"]["record"][0]["kwargs"]["config"]["backtest"].pop("exchange_kwargs")
    managed["task"]["record"][0]["kwargs"]["config"]["backtest"].pop("exchange_kwargs")
    assert read == managed
    assert not [problem for problem in check_config(read_config(path)) if "no path inside" in str(problem)]


def test_a_path_inside_the_task_counts_before_one_at_the_top_as_before(tmp_path: Path):
    table = {"model": {"seed": 1}, "task": {"model": {"seed": 2}, "x": "<model.seed>"}}
    assert read_config(written(tmp_path, table))["task"]["x"] == "<model.seed>"  # qrun fills it later, from the task
    assert ConfigManager(written(tmp_path, table)).get("task.x") == 2


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"workflow": {"x": "<data.strat>"}}, r"workflow.x: <data.strat> .*did you mean <data.start>"),
        ({"workflow": {"x": "<workflow.y>", "y": "<workflow.x>"}}, "<workflow.x> -> <workflow.y> leads back to itself|"
         "<workflow.y> -> <workflow.x> -> <workflow.y> leads back to itself"),
        ({"workflow": {"x": "<workflow>"}}, "leads back to itself"),
        ({"workflow": {"x": "<PERD>"}}, "did you mean <PRED>"),
        ({"tradign": {}}, "tradign is neither .*did you mean trading"),
        ({"nonsense": 1}, "nonsense is neither a key of qrun nor a section"),
    ],
)  # fmt: skip
def test_what_leads_nowhere_or_is_unknown_is_an_error_with_the_nearest_name(
    change: dict[str, Any], told: str, tmp_path: Path
):
    with pytest.raises(ConfigError, match=told) as caught:
        ConfigManager(written(tmp_path, SECTIONED | change))
    assert str(tmp_path) in str(caught.value)


def test_a_key_of_ones_own_may_stand_where_a_placeholder_names_it(tmp_path: Path):
    table = {"mine": {"x": 3}, "workflow": {"y": "<mine.x>"}}
    assert ConfigManager(written(tmp_path, table)).get_workflow_config() == {"y": 3}


def test_outside_the_task_qrun_refuses_what_leads_nowhere(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"qlib_init.provider_uri: <data.foldr> .*did you mean <data.folder>"):
        read_config(written(tmp_path, {"data": {"folder": "x"}, "qlib_init": {"provider_uri": "<data.foldr>"}}))


leaves = st.integers() | st.text("ab<>", max_size=3) | st.none() | st.booleans()
tables = st.recursive(
    leaves, lambda inside: st.dictionaries(st.sampled_from("abc"), inside, max_size=3) | st.lists(inside, max_size=2)
)


@given(values=st.dictionaries(st.sampled_from(["one", "two"]), tables, min_size=1), data=st.data())
def test_a_placeholder_is_what_lies_at_its_path_and_nothing_else_changes(values: dict[str, Any], data: st.DataObject):
    def paths(node: Any, where: str) -> list[str]:
        pairs = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        return [where, *(path for key, value in pairs for path in paths(value, f"{where}.{key}"))]

    path = data.draw(st.sampled_from([one for key, value in values.items() for one in paths(value, key)]))
    try:
        plain = fill_sections(values)
    except ConfigError:
        return  # a text such as <a> stood in it
    filled = fill_sections({**values, "asked": [f"<{path}>", f"no <{path}>"]})
    assert filled["asked"] == [get_item_from_obj(plain, path), f"no <{path}>"]
    assert {key: filled[key] for key in values} == plain == values


# ---------------------------------------------------------------------- what is not there
def test_what_is_not_there_is_told_with_the_nearest_name(tmp_path: Path):
    manager = ConfigManager(written(tmp_path, {"task": {"model": {"kwarg": {}}, "record": []}}))
    with pytest.raises(ConfigError, match=r"task has no dataset; its keys are model, record"):
        manager.get_dataset_config()
    with pytest.raises(ConfigError, match=r"task.model has no kwargs.*did you mean kwarg"):
        manager.get("task.model.kwargs")
    with pytest.raises(ConfigError, match="neither a section port_analysis nor a PortAnaRecord"):
        manager.get_backtest_config()
    with pytest.raises(InputError, match=r"instruments.json cannot be read"):
        manager.get_crypto_symbols()


def test_what_a_getter_returns_is_a_copy():
    manager = ConfigManager(CONFIG / "workflow.json")
    manager.get_model_config()["seed"] = 1
    manager.load_config()["task"].clear()
    manager.get_backtest_config()["exchange_kwargs"]["open_cost"] = 9
    assert manager.get_model_config()["seed"] == 2026
    assert manager.get_trading_config()["open_cost"] == 0.001


def test_symbols_may_stand_in_a_file_beside_the_configuration(tmp_path: Path):
    (tmp_path / "mine.json").write_text('["BTC/USDT"]')
    assert ConfigManager(written(tmp_path, {"data": {"symbols": "mine.json"}})).get_crypto_symbols() == ["BTC/USDT"]
    with pytest.raises(ConfigError, match=r"data.symbols holds 1"):
        ConfigManager(written(tmp_path, {"data": {"symbols": [1]}})).get_crypto_symbols()


# ---------------------------------------------------------------------- the door
def test_the_script_is_a_door(capsys: pytest.CaptureFixture[str]):
    spec = importlib.util.spec_from_file_location("config_manager", ROOT / "scripts" / "config_manager.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.ConfigManager is ConfigManager
    config = str(CONFIG / "workflow.json")
    assert run(["--config", config, "--get", "trading_config"]) == 0
    assert json.loads(capsys.readouterr().out)["open_cost"] == 0.001
    assert run(["--config", config, "--get", "task.model.kwargs.num_leaves"]) == 0
    assert capsys.readouterr().out == "8\n"
    assert run(["--config", config, "--get", "backtest_confg"]) == 2
    assert "did you mean backtest_config" in capsys.readouterr().err
    assert run(["--config", "absent.json"]) == 2
    assert "absent.json cannot be read" in capsys.readouterr().err
