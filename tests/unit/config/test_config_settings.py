"""Settings: defaults, environment, regions, precedence, and errors that say what is allowed."""

from __future__ import annotations

import logging
import pickle

import pytest

from qlib.config import (
    QSETTINGS,
    REGIONS,
    C,
    Config,
    DataPathManager,
    MLflowSettings,
    QlibConfig,
    QSettings,
    Region,
    active_settings,
    build_settings,
)
from qlib.constant import SESSIONS
from qlib.errors import ConfigError
from qlib.session import close
from qlib.workflow.store import place_of


@pytest.fixture(autouse=True)
def closed_session():
    close()
    yield
    close()


@pytest.fixture
def qlib_log():
    """Messages of the logger `qlib`, whatever state earlier tests left it in."""
    messages: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())
    logging.getLogger("qlib").addHandler(handler)
    yield messages
    logging.getLogger("qlib").removeHandler(handler)


def test_every_key_of_qlib_has_its_default():
    settings = build_settings(environ={})
    expected = {
        "auto_mount": False, "calendar_cache": None, "calendar_provider": "LocalCalendarProvider", "custom_ops": [],
        "dataset_cache": None, "dataset_cache_dir_name": "dataset_cache", "dataset_provider": "LocalDatasetProvider",
        "deal_price": "close", "default_disk_cache": 1, "dump_protocol_version": 4, "expression_cache": None,
        "expression_provider": "LocalExpressionProvider", "feature_provider": "LocalFeatureProvider",
        "features_cache_dir_name": "features_cache", "instrument_provider": "LocalInstrumentProvider",
        "joblib_backend": "multiprocessing", "limit_threshold": 0.095, "logging_level": 20,
        "local_cache_path": "~/.cache/qlib_simple_cache", "maxtasksperchild": None, "mem_cache_expire": 3600,
        "mem_cache_limit_type": "length", "mem_cache_size_limit": 500, "min_data_shift": 0, "mount_path": None,
        "pit_provider": "LocalPITProvider", "provider": "LocalProvider", "redis_host": "127.0.0.1",
        "redis_password": None, "redis_port": 6379, "redis_task_db": 1, "region": "cn", "timeout": 100,
        "trade_unit": 100, "mongo": {"task_url": "mongodb://localhost:27017/", "task_db_name": "default_task_db"},
    }  # fmt: skip
    assert {key: settings[key] for key in expected} == expected
    assert settings["provider_uri"][DataPathManager.DEFAULT_FREQ].endswith("/.qlib/qlib_data/cn_data")


def test_the_environment_moves_the_data_and_the_runs_and_arguments_win_over_it(tmp_path):
    environ = {
        "QLIB_PROVIDER_URI": str(tmp_path / "env"),
        "QLIB_MLFLOW_URI": "sqlite:///env.db",
        "QLIB_MLFLOW_DEFAULT_EXP_NAME": "mine",
    }
    settings = build_settings(environ=environ)
    assert settings.dpm.get_data_uri("day") == tmp_path / "env"
    assert settings["exp_manager"]["kwargs"] == {"uri": "sqlite:///env.db", "default_exp_name": "mine"}
    told = build_settings(environ=environ, provider_uri=tmp_path / "told")
    assert told.dpm.get_data_uri("day") == tmp_path / "told"


def test_runs_are_kept_in_a_database_below_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    manager = build_settings(environ={})["exp_manager"]
    assert manager["class"] == "MLflowExpManager" and manager["module_path"] == "qlib.workflow.expm"
    assert manager["kwargs"]["uri"] == f"{tmp_path.as_uri()}/mlruns"
    assert place_of(manager["kwargs"]["uri"]).database == tmp_path / "mlruns" / "mlflow.db"


def test_the_settings_of_the_environment_have_qlibs_names(monkeypatch):
    monkeypatch.setenv("QLIB_MLFLOW_URI", "http://host:5000")
    monkeypatch.setenv("QLIB_PROVIDER_URI", "/data")
    read = QSettings()
    assert (read.mlflow.uri, read.mlflow.default_exp_name, read.provider_uri) == (
        "http://host:5000",
        "Experiment",
        "/data",
    )
    assert QSettings(mlflow=MLflowSettings(uri="runs", default_exp_name="mine")).mlflow.default_exp_name == "mine"
    assert isinstance(QSETTINGS, QSettings)


@pytest.mark.parametrize(
    ("name", "unit", "limit", "days", "minutes"),
    [
        ("cn", 100, 0.095, 238, 240),
        ("us", 1, None, 252, 390),
        ("tw", 1000, 0.1, 245, 270),
        ("crypto", None, None, 365, 1440),
    ],
)
def test_a_region_brings_its_lot_its_limit_and_its_year(name, unit, limit, days, minutes):
    settings = build_settings(region=name)
    assert (settings["trade_unit"], settings["limit_threshold"], settings["deal_price"]) == (unit, limit, "close")
    assert (settings.region.days_per_year, settings.region.minutes_per_day) == (days, minutes)
    assert settings["region"] == name and settings.region is REGIONS[name]
    assert settings.region.sessions == SESSIONS[name]


def test_an_argument_overrides_what_the_region_brings():
    assert build_settings(region="us", trade_unit=10, limit_threshold=None)["trade_unit"] == 10
    assert build_settings(region="cn", limit_threshold=None)["limit_threshold"] is None


def test_a_region_of_ones_own_is_welcome():
    mine = Region("mars", 7, None, "open", 668, 1477, (("00:00", "24:00"),), None, always_open=True)
    settings = pickle.loads(pickle.dumps(build_settings(region=mine)))
    assert (settings["region"], settings["trade_unit"], settings["deal_price"]) == ("mars", 7, "open")
    assert settings.region == mine and settings.replace(kernels=1).region == mine


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"region": "cnn"}, "'cnn'; allowed are cn, us, tw, crypto.*did you mean cn"),
        ({"compat": "Qlib"}, "'Qlib'; allowed are None .* and 'qlib'"),
        ({"kernels": 0}, "0; a whole number of at least 1"),
        ({"kernels": "2"}, "'2'; a whole number"),
        ({"provider_uri": 7}, "7 .int.; a path, or a dict"),
        ({"provider_uri": {"day": None}}, "for freq day; a path"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_with_what_is_allowed(arguments, said):
    with pytest.raises(ConfigError, match=said):
        build_settings(**arguments)


def test_an_unknown_mode_is_refused_and_an_unknown_key_warned_of_with_the_nearest(qlib_log):
    with pytest.raises(ConfigError, match="'cliet'; allowed are client, server; did you mean client"):
        build_settings("cliet")
    assert build_settings(provdier_uri="x")["provdier_uri"] == "x"
    assert qlib_log == ["Unrecognized config provdier_uri; did you mean provider_uri?"]


def test_settings_cannot_be_changed_but_replaced():
    settings = build_settings(region="us")
    with pytest.raises(AttributeError, match=r"settings.replace\(kernels=...\)"):
        settings.kernels = 3
    with pytest.raises(KeyError, match="kernel; did you mean kernels"):
        settings["kernel"]
    assert settings.replace(region="tw")["trade_unit"] == 1000
    assert settings["trade_unit"] == 1


def test_threads_never_exceed_the_processors():
    assert build_settings(kernels=10_000).n_threads <= 10_000
    assert build_settings(kernels=lambda freq: 1 if freq == "day" else 2).threads("day") == 1
    assert build_settings(kernels=1).n_threads == 1


def test_paths_are_kept_by_frequency(tmp_path):
    paths = build_settings(provider_uri={"day": tmp_path / "d", "1min": f"{tmp_path}/m"}).dpm
    assert (paths.get_data_uri("day"), paths.get_data_uri("1min")) == (tmp_path / "d", tmp_path / "m")
    with pytest.raises(ConfigError, match=r"'5min'; it has folders for \['1min', 'day'\]"):
        paths.get_data_uri("5min")


def test_a_path_on_another_host_needs_its_mount(tmp_path):
    assert DataPathManager.get_uri_type("nas:/store") == "nfs"
    assert DataPathManager.get_uri_type(r"C:\store") == DataPathManager.get_uri_type("/store") == "local"
    with pytest.raises(ConfigError, match="mount_path"):
        build_settings(provider_uri="nas:/store").dpm.get_data_uri("day")
    assert build_settings(provider_uri="nas:/store", mount_path=tmp_path).dpm.get_data_uri() == tmp_path


def test_the_global_shows_the_defaults_before_init_and_can_be_changed():
    assert not C.registered and C["region"] == C.region == "cn" and "kernels" in C
    C["kernels"] = 1
    C.region = "us"
    assert (C.kernels, C.trade_unit, active_settings()["trade_unit"]) == (1, 1, 1)
    C.set(region="tw")
    assert C.get("trade_unit") == 1000 and C.get("nothing", 5) == 5
    C.reset()
    assert C.region == "cn"
    with pytest.raises(AttributeError, match="did you mean kernels"):
        C.kernesl  # noqa: B018


def test_a_config_of_any_table_works_alone():
    table = Config({"a": 1})
    table["b"] = 2
    table.update({"a": 3})
    assert (table.a, table["b"], "c" in table) == (3, 2, False)
    table.reset()
    assert "b" not in table


def test_the_global_travels_to_another_process_as_its_settings(tmp_path):
    C.set(region="us", provider_uri=tmp_path)
    there = pickle.loads(pickle.dumps(C))
    assert isinstance(there, QlibConfig) and there.trade_unit == 1
    C.reset()
    QlibConfig.register_from_C(there)
    assert C.registered and C.dpm.get_data_uri() == tmp_path
    QlibConfig.register_from_C(QlibConfig(build_settings))  # registered already: stays
    assert C.region == "us"
