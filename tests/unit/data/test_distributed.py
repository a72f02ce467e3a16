"""Sharded queries: the frame of D.features, bit for bit, whoever computes; and what is said when it fails."""

from __future__ import annotations

import logging
import os
import pickle
import signal
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import users_operators
from backtest_market import runs_equal_back_tests_alone
from hypothesis import given
from hypothesis import strategies as st

import qlib
from qlib.config import build_settings, usable_cpus
from qlib.data.active import active_provider
from qlib.data.distributed import JoblibExecutor, RayExecutor, distributed_features, executors
from qlib.data.distributed.lending import WORTH_A_FILE, Lent, lent, received, shared_folder
from qlib.data.distributed.shards import balanced, rows_of
from qlib.data.expression.catalogue import OpsWrapper
from qlib.data.expression.node import PanelOperator
from qlib.data.expression.parameters import Series
from qlib.data.inst_processor import InstProcessor
from qlib.data.ops import ElemOperator
from qlib.data.provider import Provider
from qlib.data.storage.pit import pit_path, write_pit
from qlib.data.storage.writer import write_store
from qlib.errors import ConfigError, RunError, StoreError

DAYS = pd.date_range("2024-01-01", periods=90)
NAMES = [f"S{i:02d}" for i in range(9)]
OWN = [
    "$close",
    "Mean($close,5)",
    "EMA($close,5)",
    "Ref($close,-2)/$close-1",
    "DayLast($close)",
    "Corr($close,$open,7)",
]
ACROSS = [
    "CSRank($close)",
    "Mean(CSRank(Mean($close,5)),4)",
    "CSZScore(Mean(CSRank(Delta($close,2)),3))",
    "CSRank(CSZScore($close))",
    'CSNeutralize($close,$open,$volume>1.5,"group")',
    "DayLast($close)-CSQuantile(DayLast($open),0.3)",
    "Ref(CSRank(Delta($close,-2)),-2)",
]
FEWER = [
    "Mean(Select($volume>1.5,$close),3)",
    "CSRank(Select($volume>1.3,Mean($close,3)))",
    "Mean(CSRank(Select($volume>1.3,CSRank($open))),2)",
]
ELSEWHERE = [
    "ChangeInstrument('IDX',EMA($close,5))",
    "Mean($close,3)-Mask($close,'s03')",
    "P(Mean($$roe_q,2))",
    "PRef($$roe_q,202303)",
]
BOTH = [
    "Mean(CSRank($close-ChangeInstrument('IDX',$close)),3)*2",
    "Mean(CSRank(Mean($close,4)),3)-Mask($open,'IDX')",
    "CSRank(P($$roe_q))/$close",
    "$open-CSRank(Mean($close,3)-CSRank(Mean(Mask(Mean($open,2),'S05')-CSRank($volume),2)))",
]
USERS = [
    "Decay($close,4)",
    "Above($close,5)&($close>$open)",
    "TrueRange(3)",
    "Decay(CSRank($close),4)",
    "CSRank(Sem($close,4))",
]
EVERYTHING = [*OWN, *ACROSS, *FEWER, *ELSEWHERE, *BOTH, *USERS]
QUERIES = [OWN, FEWER[1:], [*ACROSS, *FEWER], [*OWN, *BOTH], ["TrueRange(3)"], EVERYTHING]
RULE = {"filter_type": "ExpressionDFilter", "rule_expression": "$close>1.2", "filter_start_time": None}
RULE |= {"filter_end_time": None, "keep": False}
SPANS = {
    name: [(DAYS[5], DAYS[60])] if i % 3 == 0 else [(DAYS[10], DAYS[20]), (DAYS[30], DAYS[85])]
    for i, name in enumerate(NAMES)
}


class Failing(ElemOperator):
    """Fails for one instrument."""

    def _load_internal(self, instrument, start_index, end_index, *args):
        if instrument == "S06":
            raise ZeroDivisionError("no way")
        return self.feature.load(instrument, start_index, end_index, *args)


class Fatal(ElemOperator):
    """Ends the process that computes it, once: `path` tells whether it did; never the process `driver`."""

    def __init__(self, feature, path, driver):
        super().__init__(feature)
        self.path, self.driver = path, driver

    def _load_internal(self, instrument, start_index, end_index, *args):
        if os.getpid() != self.driver and not Path(self.path).exists():
            Path(self.path).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return self.feature.load(instrument, start_index, end_index, *args)


class AsksTheSession(ElemOperator):
    """Reads the session's data."""

    def _load_internal(self, instrument, start_index, end_index, *args):
        series = self.feature.load(instrument, start_index, end_index, *args)
        return series * active_provider().features([instrument], ["$close"])["$close"].iloc[0]


class Meets(PanelOperator):
    """Compares instruments in a way of its own."""

    __slots__ = ()
    across = True
    parameters = (Series("feature"),)

    def result_dtype(self) -> str:
        return "float64"

    def compute(self, arguments, panel):
        return np.full(panel.rows, np.nanmax(panel.columns["close"], initial=0), dtype=np.float64)


OPERATORS = [*users_operators.OPS, Failing, Fatal, AsksTheSession, Meets]


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    rng = np.random.default_rng(5)
    frames = {}
    for name in [*NAMES, "IDX"]:
        first, last = (0, 90) if name == "IDX" else sorted(rng.choice(91, 2, replace=False))
        frame = pd.DataFrame(rng.uniform(1, 2, (90, 5)), DAYS, ["close", "open", "high", "low", "volume"]).iloc[
            first:last
        ]
        frames[name] = frame.astype("f4").mask(rng.random(frame.shape) < 0.1).fillna({"high": 1.5})
    root = write_store(frames, tmp_path_factory.mktemp("d") / "s", "day")
    for name in NAMES[::2]:
        periods = [(f"2024-0{m}-1{k}", 202300 + m, float(rng.uniform())) for m in (1, 2, 3) for k in (0, 5)]
        write_pit(pit_path(root, name, "roe_q"), periods)
    return root


def provider(root: Path, **kwargs) -> Provider:
    operators = OpsWrapper()
    operators.register(OPERATORS)
    return Provider(build_settings(provider_uri=root, custom_ops=OPERATORS, kernels=2, **kwargs), operators.registry)


@pytest.fixture
def p(root) -> Provider:
    return provider(root)


@pytest.fixture
def told():
    messages: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())
    logging.getLogger("qlib").addHandler(handler)
    yield messages
    logging.getLogger("qlib").removeHandler(handler)


class Copying:
    """Runs shards here, as copies: what another process would be given, and would give back."""

    workers, threads = 3, 1

    def map(self, function, shards):
        function = pickle.loads(pickle.dumps(function))
        return [pickle.loads(pickle.dumps(function(pickle.loads(pickle.dumps(shard))))) for shard in shards]

    def close(self):
        pass


def same(got: pd.DataFrame, wanted: pd.DataFrame) -> None:
    pd.testing.assert_index_equal(got.index, wanted.index, exact=True)
    assert list(got.columns) == list(wanted.columns)
    assert list(got.dtypes) == list(wanted.dtypes)
    different = [
        field
        for i, field in enumerate(got.columns)
        if got.iloc[:, i].to_numpy().tobytes() != wanted.iloc[:, i].to_numpy().tobytes()
    ]
    assert different == []


# ------------------------------------------------------------------------------------------------ the same frame
@pytest.mark.parametrize("compat", [None, "qlib"])
@pytest.mark.parametrize("who", ["names", "spans", "market"])
def test_a_sharded_query_returns_the_frame_of_the_local_one(root, compat, who):
    p, range_ = provider(root, compat=compat), (None, None) if who == "names" else (DAYS[40], DAYS[60])
    asked = {"names": [*NAMES, "NOBODY"], "spans": SPANS, "market": p.instruments("all")}[who]
    for fields in QUERIES:
        wanted = p.features(asked, fields, *range_)
        assert len(wanted)
        same(distributed_features(asked, fields, *range_, executor=Copying(), provider=p), wanted)


def test_a_filtered_universe_is_found_before_it_is_sharded(p):
    universe = p.instruments("all", [RULE])
    wanted = p.features(universe, ACROSS, DAYS[20], DAYS[50])
    same(distributed_features(universe, ACROSS, DAYS[20], DAYS[50], executor=Copying(), provider=p), wanted)


@pytest.mark.parametrize("asked", [["NOBODY"], [], {}])
def test_a_query_of_nobody_is_the_empty_frame(p, asked):
    same(distributed_features(asked, OWN, executor=Copying(), provider=p), p.features(asked, OWN))


def test_a_range_without_bars_is_the_empty_frame_with_one_warning(p, told):
    got = distributed_features(NAMES, OWN, "2030-01-01", executor=Copying(), provider=p)
    assert len(told) == 1
    same(got, p.features(NAMES, OWN, "2030-01-01"))


def test_a_formula_of_any_depth_travels(p):
    deep = "+".join(["$close"] * 3_000)
    same(distributed_features(NAMES, [deep], executor=Copying(), provider=p), p.features(NAMES, [deep]))


def test_a_person_is_told_the_same_and_once(p, told):
    asked = [*NAMES, "S0X", "NOBODY"]
    fields = ["$close", "$clos", "CSRank($opn)", "P($$roe_q)", "P($$eps_q)", "Mask($nix,'IDX')", "Mask($close,'NIX')"]
    p.features(asked, fields)
    local = told.copy()
    told.clear()
    distributed_features(asked, fields, executor=Copying(), provider=p)
    assert sorted(told) == sorted(local)
    assert len(told) >= 6


def test_processors_see_each_instrument_once(p):
    seen = []

    class Double(InstProcessor):
        def __call__(self, df, instrument):
            seen.append(instrument)
            return df * 2

    wanted = p.features(NAMES, OWN) * 2
    got = distributed_features(NAMES, OWN, executor=Copying(), provider=p, inst_processors=[Double()])
    pd.testing.assert_frame_equal(got, wanted)
    assert seen == list(wanted.index.unique(0))


def test_what_cannot_be_sharded_is_computed_here_and_the_log_says_why(p, told):
    class Nobody(Copying):
        def map(self, function, shards):
            raise AssertionError("nothing is sharded")

    got = distributed_features(NAMES, ["Meets($close)+$open"], executor=Nobody(), provider=p)
    assert told == [
        "computed in this process alone: Meets($close) may read more of the other instruments than its arguments"
    ]
    same(got, p.features(NAMES, ["Meets($close)+$open"]))


# ------------------------------------------------------------------------------------------------ who computes
@pytest.fixture(scope="module")
def home_of_its_own(tmp_path_factory):
    """A HOME for Ray, which leaves a token there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="module", params=["joblib", "ray"])
def executor(request, home_of_its_own):
    if request.param == "joblib":
        made = JoblibExecutor(2)
    else:
        pytest.importorskip("ray", reason='Ray is not installed: pip install "qlib-crypto[distributed]"')
        made = RayExecutor(num_cpus=2, object_store_memory=100 * 2**20, log_to_driver=False)
    with made:
        yield made


def needs_processes(executor) -> None:
    if isinstance(executor, JoblibExecutor) and executor.workers == 1:
        pytest.skip("a machine of one CPU: joblib computes in this process")


def test_other_processes_return_the_frame_of_this_one(executor, p):
    wanted = p.features(NAMES, EVERYTHING)
    same(distributed_features(NAMES, EVERYTHING, executor=executor, provider=p), wanted)
    long = [f"CSRank(Mean($close,{n}))" for n in range(2, 90)]
    same(distributed_features(NAMES, long, executor=executor, provider=p), p.features(NAMES, long))


def test_an_error_in_a_worker_names_instrument_and_formula(executor, p):
    with pytest.raises(Exception) as local:
        p.features(NAMES, ["Failing($close)*2"])
    with pytest.raises(type(local.value), match=r"Failing failed for S06 in Failing\(\$close\)") as there:
        distributed_features(NAMES, ["$open", "Failing($close)*2"], executor=executor, provider=p)
    assert str(there.value) == str(local.value)


def test_a_worker_that_is_killed_gives_no_wrong_result(executor, p, tmp_path):
    needs_processes(executor)
    field = f"Fatal($close,'{tmp_path / 'killed'}',{os.getpid()})"
    wanted = p.features(NAMES, [field])
    if isinstance(executor, JoblibExecutor):
        with pytest.raises(RunError, match="a worker of JoblibExecutor.* died"):
            distributed_features(NAMES, [field], executor=executor, provider=p)
    same(distributed_features(NAMES, [field], executor=executor, provider=p), wanted)
    assert (tmp_path / "killed").exists()


def test_a_worker_has_as_many_threads_as_it_is_given(executor):
    needs_processes(executor)
    assert executor.map(os.getenv, ["OMP_NUM_THREADS"] * 3) == [str(executor.threads)] * 3
    assert executor.workers * executor.threads <= max(usable_cpus(), 2)


@pytest.mark.parametrize("executor", ["ray"], indirect=True)
def test_a_second_ray_executor_uses_the_cluster_and_leaves_it(executor, p, told):
    with RayExecutor("ray://elsewhere:10001") as second:
        assert second.workers == executor.workers
        same(distributed_features(NAMES, OWN, executor=second, provider=p), p.features(NAMES, OWN))
    assert told == ["this program is connected to a Ray cluster already, and that one is used"]
    with pytest.raises(ConfigError, match="threads: received 99; the largest machine of the Ray cluster has 2 CPUs"):
        RayExecutor(threads=99)
    assert executor.map(abs, [-3]) == [3]


def test_every_run_of_a_sweep_equals_the_back_test_alone(executor):
    runs_equal_back_tests_alone(executor)


def test_an_operator_that_asks_the_session_finds_it_in_a_worker(executor, root):
    qlib.init(provider_uri=str(root), custom_ops=[AsksTheSession], logging_level=logging.WARNING)
    wanted = active_provider().features(NAMES, ["AsksTheSession($open)"])
    same(distributed_features(NAMES, ["AsksTheSession($open)"], executor=executor), wanted)


def test_settings_are_enough_and_processes_of_this_machine_the_default(root):
    settings = build_settings(provider_uri=root)
    same(distributed_features(NAMES, ACROSS, provider=settings), Provider(settings).features(NAMES, ACROSS))


@pytest.mark.parametrize("make", [lambda: JoblibExecutor(1), lambda: JoblibExecutor(2, backend="threading")])
def test_this_process_alone_computes_the_same(make, p):
    with make() as executor:
        same(distributed_features(NAMES, EVERYTHING, executor=executor, provider=p), p.features(NAMES, EVERYTHING))
    with pytest.raises(RunError, match="JoblibExecutor is closed"):
        distributed_features(NAMES, OWN, executor=executor, provider=p)


def test_what_is_no_number_of_workers_is_refused():
    with pytest.raises(ConfigError, match="n_jobs: received 0; "):
        JoblibExecutor(0)
    with pytest.raises(ConfigError, match="n_jobs: received 2.5; a whole number"):
        JoblibExecutor(2.5)
    with pytest.raises(ConfigError, match="threads: received -1; "):
        JoblibExecutor(1, threads=-1)
    with pytest.raises(ConfigError, match="received 'lokky'; allowed are loky and threading; did you mean loky"):
        JoblibExecutor(1, backend="lokky")


@pytest.mark.parametrize(
    ("n_jobs", "threads", "wanted"),
    [
        (None, None, (8, 1)), (-1, None, (8, 1)), (-2, None, (7, 1)), (-20, None, (1, 8)), (3, None, (3, 2)),
        (2, 3, (2, 3)), (2, 9, (2, 4)), (99, 2, (8, 1)), (1, None, (1, 8)),
    ],
)  # fmt: skip
def test_workers_and_threads_fit_the_cpus(monkeypatch, n_jobs, threads, wanted):
    monkeypatch.setattr(executors, "usable_cpus", lambda: 8)
    made = JoblibExecutor(n_jobs, threads=threads)
    assert (made.workers, made.threads) == wanted


def test_without_ray_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r'pip install "qlib-crypto\[distributed\]"'):
        RayExecutor()


# ------------------------------------------------------------------------------------------------ faults
def test_a_damaged_file_is_named(p, root, tmp_path):
    damaged = provider(_copy(root, tmp_path))
    path = tmp_path / "s" / "features" / "s04" / "close.day.bin"
    path.write_bytes(path.read_bytes()[:-2])
    for fields in (OWN, ACROSS):
        with pytest.raises(StoreError, match="s04/close.day.bin"):
            distributed_features(NAMES, fields, executor=Copying(), provider=damaged)


def _copy(root: Path, to: Path) -> Path:
    for path in root.rglob("*"):
        if path.is_file():
            copy = to / "s" / path.relative_to(root)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    return to / "s"


class Meddling(Copying):
    """Changes the store when the first round is done."""

    def __init__(self, meddle):
        self.meddle, self.rounds = meddle, 0

    def map(self, function, shards):
        self.rounds += 1
        results = super().map(function, shards)
        if self.rounds == 1:
            self.meddle()
        return results


def test_a_store_that_changes_between_two_rounds_is_an_error(root, tmp_path):
    store = _copy(root, tmp_path)
    p = provider(store)

    def longer():
        for path in (store / "features" / "s02").glob("*.bin"):
            path.write_bytes(path.read_bytes()[:-4])

    with pytest.raises(RunError, match="the store changed while the query was computed; ask again"):
        distributed_features(NAMES, ACROSS, executor=Meddling(longer), provider=p)

    def other_calendar():
        path = store / "calendars" / "day.txt"
        path.write_text("2023-12-31\n" + path.read_text())

    with pytest.raises(RunError, match="is not the calendar that the query began with"):
        distributed_features(NAMES, ACROSS, executor=Meddling(other_calendar), provider=p)


def test_any_other_fault_names_fields_and_instruments(p, monkeypatch):
    def lost(*_, **__):
        raise OSError("the disk is gone")

    monkeypatch.setattr("qlib.data.provider.store.read_many", lost)
    with pytest.raises(RunError, match=r"OSError: the disk is gone; while \$close, .*, \.\.\. were computed for S00"):
        distributed_features(NAMES, OWN, executor=Copying(), provider=p)


# ------------------------------------------------------------------------------------------------ shards, loans
@given(st.lists(st.integers(0, 1_000), min_size=1, max_size=60), st.integers(1, 20))
def test_shards_are_neighbours_and_about_equal(rows, shards):
    bounds = balanced(np.array(rows), shards)
    assert [low for low, _ in bounds] == [0, *(high for _, high in bounds[:-1])]
    assert bounds[-1][1] == len(rows)
    assert all(low < high for low, high in bounds)
    assert len(bounds) <= shards
    fair = 1.001 * (sum(rows) + len(rows)) / min(shards, len(rows))
    assert max(sum(rows[low:high]) for low, high in bounds) <= fair + max(rows) + 1


def test_rows_are_counted_without_reading(p):
    stored = p.features(NAMES, ["$close"]).groupby(level=0).size().reindex(NAMES, fill_value=0).to_numpy()
    counted = rows_of(p.query(NAMES, ["$close"]), p.store)
    assert ((counted >= stored) & (counted <= stored + 1)).all()
    some = rows_of(p.query(SPANS, ["$close"], DAYS[12], DAYS[33]), p.store)
    assert (some <= [22 if i % 3 == 0 else 13 for i in range(len(NAMES))]).all()
    assert rows_of(p.query(["NOBODY"], ["$close"]), p.store).tolist() == [0]


@given(st.lists(st.integers(0, 60_000), max_size=6), st.randoms())
def test_what_is_lent_comes_back_as_it_was(sizes, rng):
    kinds = [rng.choice(["f4", "f8", "i8", "?"]) for _ in sizes]
    arrays = [np.random.default_rng(n).integers(0, 9, n).astype(kind) for n, kind in zip(sizes, kinds, strict=True)]
    arrays.append(np.arange(WORTH_A_FILE // 8 + 24, dtype="f8").reshape(8, -1).T)
    with shared_folder() as folder:
        came = lent({"arrays": arrays, "name": "x"}, folder)
        assert isinstance(came, Lent)
        back = received(pickle.loads(pickle.dumps(came)))
        assert list(folder.iterdir()) == []
    assert back["name"] == "x"
    for one, other in zip(arrays, back["arrays"], strict=True):
        assert one.dtype == other.dtype
        assert other.flags.aligned
        np.testing.assert_array_equal(one, other)


def test_small_results_and_those_without_room_go_through_the_pipe(tmp_path):
    small, large = [np.zeros(3)], [np.zeros(WORTH_A_FILE)]
    assert lent(small, tmp_path) is small
    assert lent(large, tmp_path / "no such folder") is large
    assert received(large) is large
