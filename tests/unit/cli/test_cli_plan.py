"""qrun --plan and --dry-run: what they say is what happens, and nothing is left behind; --check's units and holes."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from qrun_job import DATES, HANDLER, NAMES, changed, config, here, market, tree, written  # noqa: F401  fixtures

import qlib
from qlib.cli.job import Job
from qlib.cli.plan import planned
from qlib.cli.run import main
from qlib.data.provider import Provider
from qlib.data.storage.writer import write_store
from qlib.utils.objects import init_instance_by_config

EXCHANGE = "task.record.2.kwargs.config.backtest.exchange_kwargs"


def test_a_plan_tells_the_rows_that_the_loader_will_give(here, config, market):
    before = tree(here, market)
    plan = planned(Job(written(config, here)))
    qlib.init(**config["qlib_init"])
    dataset = init_instance_by_config(config["task"]["dataset"])
    parts = {part.name: part for part in plan.parts}
    raw = dataset.handler.fetch(data_key="raw", col_set="__raw")
    assert parts["loaded"].rows == len(raw) and parts["loaded"].columns == raw.shape[1] == 3
    for name in ("train", "test"):
        frame = dataset.prepare(name, data_key="raw", col_set="__raw")
        dates = frame.index.get_level_values("datetime")
        part = parts[name]
        assert (part.rows, part.bars, part.instruments) == (len(frame), dates.nunique(), len(NAMES))
        assert (part.start, part.end) == (str(dates.min().date()), str(dates.max().date()))
        assert part.megabytes * 1e6 == frame.memory_usage(index=False).sum()
    assert set(plan.reads) == {"close", "volume"} and (plan.back, plan.ahead) == (4, 2)
    (backtest,) = plan.backtests
    assert (backtest.bars, backtest.instruments, backtest.freq) == (45, len(NAMES), "day")
    assert {path: at for path, at in tree(here, market).items() if path in before} == before


def test_a_plan_counts_bars_that_are_stored_inside_the_spans_of_the_universe(here, config, tmp_path):
    frames = {}
    for number, name in enumerate(["A", "B", "C"]):
        frame = pd.DataFrame({"close": 1.0, "volume": 1.0, "open": 1.0, "high": 1.0, "low": 1.0}, index=DATES[number:])
        frames[name] = frame.iloc[: 60 + 40 * number]
    universe = {"all": {"A": [(DATES[0], DATES[20]), (DATES[30], DATES[-1])], "B": None, "C": None}}
    spans = pd.DataFrame(
        [
            ("A", DATES[0], DATES[20]),
            ("A", DATES[30], DATES[-1]),
            ("B", DATES[0], DATES[-1]),
            ("C", DATES[0], DATES[-1]),
        ]
    )
    store = write_store(frames, tmp_path / "store", "day", instruments={"all": list(universe["all"])})
    rows = ("\t".join([name, str(a.date()), str(b.date())]) for name, a, b in spans.itertuples(index=False))
    (store / "instruments" / "all.txt").write_text("\n".join(rows) + "\n")
    config = changed(config, "qlib_init.provider_uri", str(store))
    config = changed(config, "task.record", [])
    config = changed(config, f"{HANDLER}.end_time", None)
    segments = {"train": [str(DATES[2].date()), str(DATES[80].date())], "test": [str(DATES[101].date()), None]}
    config = changed(config, "task.dataset.kwargs.segments", segments)
    plan = planned(Job(written(config, here)))
    provider = Provider(qlib.config.build_settings(**config["qlib_init"]))
    frame = provider.features(provider.instruments("all"), ["$close", "$volume"], "2020-01-01", None)
    dates = frame.index.get_level_values("datetime")
    assert {part.name: part.rows for part in plan.parts} == {
        "loaded": len(frame),
        "train": ((dates >= DATES[2]) & (dates <= DATES[80])).sum(),
        "test": (dates >= DATES[101]).sum(),
    }
    assert {part.name: part.instruments for part in plan.parts} == {"loaded": 3, "train": 3, "test": 1}


def test_a_plan_is_readable_and_complete_for_programs(here, config, capsys):
    file = written(config, here)
    before = tree(here)
    assert main([file, "--plan", "alpha=0.5"]) == 0
    said = capsys.readouterr().out
    assert "alpha: 0.5" in said and "formulas: 2 features and 1 label" in said
    assert "Mean($volume,5)" in said and "train" in said and "MB" in said
    assert main([file, "--plan", "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    told = json.loads(line)
    assert told["event"] == "plan" and {part["name"] for part in told["parts"]} == {"loaded", "train", "test"}
    assert len(told["formulas"]) == 3 and told["config"]["task"]["model"]["class"] == "LinearModel"
    assert tree(here) == before


def test_values_of_the_environment_are_not_planned_aloud(here, config, capsys, monkeypatch, market):
    monkeypatch.setenv("MY_STORE", str(market))
    monkeypatch.setenv("MY_ACCOUNT", "1234567")
    config = changed(config, "qlib_init.provider_uri", "{{ MY_STORE }}")
    file = written(config, here)
    text = (here / "c.yaml").read_text()
    (here / "c.yaml").write_text(text.replace("account: 1000000.0", "account: {{ MY_ACCOUNT }}"))
    for arguments in (["--plan"], ["--plan", "--json"], ["--dry-run"], ["--check", f"{HANDLER}.instruments=nobody"]):
        main([file, *arguments])
        said = capsys.readouterr()
        assert str(market) not in said.out + said.err and "1234567" not in said.out + said.err
    assert "{{ MY_STORE }}" in said.err


def test_a_dry_run_makes_everything_but_the_fit_and_keeps_nothing(here, config, capsys, market):
    (here / "models.py").write_text(
        "from qlib.contrib.model.linear import LinearModel\n"
        "class NeverFits(LinearModel):\n    def fit(self, *_, **__):\n        raise AssertionError('it was fitted')\n"
    )
    model = {"class": "NeverFits", "module_path": str(here / "models.py")}
    file = written(changed(config, "task.model", model), here)
    main([file, "--check"])  # imports what writes bytecode
    before = tree(here, market)
    assert main([file, "--dry-run"]) == 0
    said = capsys.readouterr()
    for stage in ("dataset", "model", "segment train", "segment test", "record PortAnaRecord"):
        assert f"INFO qlib.workflow: {stage} " in said.err
    assert "(rows 792, columns 3, missing " in said.err
    assert said.out.splitlines()[-1].startswith("dry run  everything short of the fit")
    assert tree(here, market) == before


def test_a_dry_run_finds_what_no_check_can(here, config, capsys):
    (here / "odd.py").write_text(
        "from qlib.data.dataset.processor import Processor\n"
        "class Odd(Processor):\n    def __call__(self, df):\n        raise ArithmeticError('odd data')\n"
    )
    config = changed(config, f"{HANDLER}.infer_processors", [{"class": "Odd", "module_path": str(here / "odd.py")}])
    file = written(config, here)
    assert main([file, "--check"]) == 0
    assert main([file, "--dry-run"]) == 1
    assert "the run failed in the stage dataset: ArithmeticError: odd data" in capsys.readouterr().err
    assert not (here / "mlruns").exists()


def test_a_dry_run_makes_the_exchange_with_the_files_it_reads(here, config, capsys):
    market = {"class": "Spot", "module_path": "qlib.crypto.market", "kwargs": {
        "freq": "day", "codes": "all", "deal_price": "close", "fees": 0.001, "contracts": str(here / "nowhere"),
    }}  # fmt: skip
    file = written(changed(config, EXCHANGE, {"exchange": market}), here)
    assert main([file, "--check"]) == 0, "no check opens files that an exchange is told of"
    assert main([file, "--dry-run"]) == 2
    assert f"{here / 'nowhere'} does not exist: nothing was collected there yet" in capsys.readouterr().err
    assert not (here / "mlruns").exists()


# ------------------------------------------------------------------------------------------------- units and holes
@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (f"{EXCHANGE}.open_cost", 5, "open_cost: received 5, 500% of an order's value; costs are shares"),
        (f"{EXCHANGE}.close_cost", -0.1, "close_cost: received -0.1; a number of at least 0"),
        (f"{EXCHANGE}.open_cost", "cheap", "open_cost: 'cheap' is a text; a number is needed"),
        (f"{EXCHANGE}.limit_threshold", -1, "limit_threshold: received -1; a number above 0"),
        ("task.record.2.kwargs.config.backtest.account", 0, "received 0; money above 0"),
        ("task.record.2.kwargs.config.backtest.account", "much", "received 'much'; money above 0"),
    ],
)
def test_a_number_that_cannot_be_used_is_a_problem(here, config, capsys, path, value, said):
    assert main([written(changed(config, path, value), here), "--check"]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (f"{EXCHANGE}.open_cost", 0.15, "open_cost: 0.15 is 15%; it is a share, 0.0005 is 5 basis points"),
        (f"{EXCHANGE}.limit_threshold", 9.5, "limit_threshold: 9.5 is 950%"),
        ("task.record.2.kwargs.config.strategy.kwargs.risk_degree", 95, "risk_degree: 95 is 9500%"),
        ("task.record.1.kwargs.ann_scaler", 365, "365 dates make a year; in the region us 252 day bars do"),
        ("task.dataset.kwargs.segments.valid", ["2020-08-05", "2020-08-11"], None),
        (f"{EXCHANGE}.open_cost", 0.001, None),
    ],
)
def test_a_number_that_is_hardly_meant_is_a_warning(here, config, capsys, path, value, said):
    assert main([written(changed(config, path, value), here), "--check"]) == 0
    warned = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning: ")]
    assert [said in line for line in warned] == ([] if said is None else [True])


@pytest.mark.parametrize(
    ("scaler", "said"), [(252, "count each move many times; 50.4 stand"), (50.4, None), (30, "30")]
)
def test_labels_of_many_bars_overlap_and_a_year_has_fewer_of_them(here, config, capsys, scaler, said):
    label = "task.dataset.kwargs.handler.kwargs.data_loader.kwargs.config.label"
    handler = changed(config, label, [["Ref($close,-6)/Ref($close,-1)-1"], ["LABEL0"]])
    handler = changed(handler, "task.dataset.kwargs.segments.train", ["2020-01-10", "2020-04-30"])
    handler = changed(handler, "task.dataset.kwargs.segments.valid", ["2020-05-11", "2020-05-20"])
    assert main([written(changed(handler, "task.record.1.kwargs.ann_scaler", scaler), here), "--check"]) == 0
    warned = [line for line in capsys.readouterr().out.splitlines() if "ann_scaler" in line]
    assert [said in line for line in warned] == ([] if said is None else [True])


def test_bars_that_nobody_has_and_a_benchmark_that_begins_later_are_warned_of(here, config, capsys, tmp_path):
    frame = pd.DataFrame({"close": 1.0, "volume": 1.0, "open": 1.0, "high": 1.0, "low": 1.0}, index=DATES)
    short = frame[frame.index < "2020-05-01"]
    frames = {"A": short, "B": short, "INDEX": frame[frame.index >= "2020-06-15"], "OTHER": frame}
    store = write_store(frames, tmp_path / "store", "day", instruments={"all": ["A", "B"]})
    config = changed(changed(config, "qlib_init.provider_uri", str(store)), f"{EXCHANGE}.codes", ["OTHER"])
    assert main([written(config, here), "--check"]) == 0
    said = capsys.readouterr().out
    assert "segments.train: nobody in the universe has a bar on 2020-05-27" in said
    assert "segments.test: nobody in the universe has a bar on 2020-06-01, 2020-06-16" in said
    assert "benchmark: INDEX has no close on 2020-06-01, the first bar of the back-test" in said
    assert main([written(changed(config, f"{HANDLER}.instruments", ["OTHER"]), here), "--check"]) == 0
    assert "nobody" not in capsys.readouterr().out
