"""qlib.init, sessions side by side, and what `import qlib` loads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import qlib
from qlib.config import C, build_settings
from qlib.data import D
from qlib.data.provider import active_provider
from qlib.data.storage.writer import write_store
from qlib.errors import ConfigError, ExpressionError, MissingDataError
from qlib.session import Session, close

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def closed_session():
    close()
    yield
    close()


def store_of(root: Path, price: float) -> Path:
    times = pd.date_range("2024-01-01", periods=4)
    return write_store({"A": pd.DataFrame({"close": price}, index=times)}, root, "day")


def test_before_init_the_slots_say_what_to_do():
    with pytest.raises(RuntimeError, match="call qlib.init"):
        D.calendar()
    with pytest.raises(RuntimeError, match="call qlib.init"):
        active_provider()


def test_init_fills_the_slots(tmp_path):
    qlib.init(provider_uri=store_of(tmp_path / "s", 5), region="us")
    assert C.registered and C.trade_unit == 1
    assert D.features(["A"], ["$close"])["$close"].tolist() == [5] * 4
    assert active_provider() is D.held()


def test_two_sessions_live_side_by_side(tmp_path):
    one, two = (
        Session(build_settings(provider_uri=store_of(tmp_path / name, price), region=region))
        for name, price, region in (("one", 1, "cn"), ("two", 2, "us"))
    )
    one.activate()
    for _ in range(2):
        assert one.provider.features(["A"], ["$close"]).iloc[0, 0] == 1
        assert two.provider.features(["A"], ["$close"]).iloc[0, 0] == 2
        assert D.features(["A"], ["$close"]).iloc[0, 0] == 1
    assert (C.region, two.settings["region"]) == ("cn", "us")
    two.activate()
    assert D.features(["A"], ["$close"]).iloc[0, 0] == 2 and C.region == "us"
    assert Session.active() is two


def test_a_change_of_the_global_reaches_the_live_session(tmp_path):
    qlib.init(provider_uri=store_of(tmp_path / "s", 5))
    C["compat"] = "qlib"
    assert active_provider().settings["compat"] == "qlib"


def test_skip_if_reg_leaves_an_initialised_qlib_alone(tmp_path):
    qlib.init(provider_uri=store_of(tmp_path / "s", 5), region="us")
    qlib.init(provider_uri=tmp_path / "other", region="tw", skip_if_reg=True, clear_mem_cache=False)
    assert C.region == "us"
    qlib.init(provider_uri=tmp_path / "other", region="tw")
    assert C.region == "tw"


def test_a_folder_that_does_not_exist_is_named_at_first_use_with_what_to_run(tmp_path, capfd):
    qlib.init(provider_uri=tmp_path / "nowhere")
    assert "there is no folder" in capfd.readouterr().err
    with pytest.raises(MissingDataError, match=rf"no folder {tmp_path}/nowhere.*python scripts/get_data.py sample"):
        D.features(["A"], ["$close"])
    (tmp_path / "nowhere").mkdir()
    with pytest.raises(MissingDataError, match="is no store: it has no calendars"):
        D.calendar()


def test_a_session_may_know_operators_of_its_own_and_no_other_session_sees_them(tmp_path):
    from qlib.data.expression.operators.arithmetic import Abs

    class Size(Abs):
        pass

    store = store_of(tmp_path / "s", -5)
    mine, plain = (
        Session(build_settings(provider_uri=store, custom_ops=ops))
        for ops in ([{"class": "Abs", "module_path": "qlib.data.expression.operators.arithmetic"}, Size], [])
    )
    assert mine.provider.features(["A"], ["Size($close) + Abs($close)"]).iloc[0, 0] == 10
    with pytest.raises(ExpressionError, match="no operator is called Size"):
        plain.provider.features(["A"], ["Size($close)"])
    with pytest.raises(ConfigError, match="custom_ops: received 'Size'; subclasses of"):
        Session(build_settings(custom_ops=["Size"]))


def test_settings_come_from_a_yaml_file(tmp_path):
    store = store_of(tmp_path / "s", 5)
    (tmp_path / "conf.yaml").write_text(f"default_conf: client\nprovider_uri: {store}\nregion: us\n")
    qlib.init_from_yaml_conf(tmp_path / "conf.yaml", region="tw")
    assert C.region == "tw" and C.dpm.get_data_uri() == store
    with pytest.raises(ConfigError, match="no configuration file"):
        qlib.init_from_yaml_conf(tmp_path / "absent.yaml")
    (tmp_path / "bad.yaml").write_text("a: [")
    with pytest.raises(ConfigError, match="bad.yaml: is no YAML"):
        qlib.init_from_yaml_conf(tmp_path / "bad.yaml")


def test_auto_init_finds_the_project_above(tmp_path, monkeypatch):
    store = store_of(tmp_path / "s", 5)
    inside = tmp_path / "a" / "b"
    inside.mkdir(parents=True)
    (tmp_path / "qlib.yaml").write_text(f"provider_uri: {store}\nregion: us\n")
    (tmp_path / "config.yaml").write_text("conf_type: ref\nqlib_cfg: qlib.yaml\nqlib_cfg_update: {region: tw}\n")
    assert qlib.get_project_path(cur_path=inside) == tmp_path
    qlib.auto_init(cur_path=inside)
    assert C.region == "tw" and C.dpm.get_data_uri() == store
    qlib.auto_init(cur_path=inside, region="us")  # initialised already
    assert C.region == "tw"
    (tmp_path / "config.yaml").write_text(f"provider_uri: {store}\nregion: us\n")
    monkeypatch.chdir(inside)
    qlib.auto_init(skip_if_reg=False)
    assert C.region == "us"
    (tmp_path / "config.yaml").write_text("conf_type: orign\n")
    with pytest.raises(ConfigError, match="did you mean origin"):
        qlib.auto_init(skip_if_reg=False)


def test_the_version_is_the_projects():
    assert f'version = "{qlib.__version__}"' in (ROOT / "pyproject.toml").read_text()


def loaded_by(code: str) -> set[str]:
    tell = "import sys; print(*(name for name in sys.modules if '.' not in name))"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{tell}"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(done.stdout.split()) - set(sys.stdlib_module_names)


@pytest.mark.parametrize("code", ["import qlib", "from qlib.data import D", "import qlib; qlib.init(logging_level=50)"])
def test_importing_loads_numpy_pandas_and_our_own_alone(code):
    allowed = loaded_by("import numpy, pandas") | {"qlib", "cython_runtime"}
    extra = {name for name in loaded_by(code) - allowed if not name.startswith("_cython")}
    assert extra == set(), "heavy packages are imported where they are used"


def test_reading_a_price_needs_no_recorder(tmp_path):
    store = store_of(tmp_path / "s", 5)
    code = (
        f"import qlib; qlib.init(provider_uri={str(store)!r}); from qlib.data import D; D.features(['A'], ['$close'])"
    )
    assert {"mlflow", "sqlalchemy", "lightgbm", "sklearn", "scipy", "yaml", "joblib"} & loaded_by(code) == set()


def test_initialising_twice_leaves_one_session_and_no_open_files(tmp_path):
    for price in (1, 2):
        qlib.init(provider_uri=store_of(tmp_path / str(price), price))
        np.testing.assert_array_equal(D.features(["A"], ["$close"]).to_numpy()[:, 0], price)
