"""Who computes the shards of a query: processes of this machine (joblib), or those of a cluster (Ray).

    with JoblibExecutor(4) as executor:
        executor.map(function, shards)          -> [function(shard) for shard in shards], by four processes

An executor is anything with `workers`, `threads`, `map` and `close`.  Functions are called with one shard and know
nothing of each other, so an executor may call them again when a worker was lost.  Never more than one thread computes
on a CPU: `workers` times `threads` are at most the CPUs there are.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

from qlib.config import usable_cpus
from qlib.data.distributed.lending import lent, received, shared_folder
from qlib.errors import ConfigError, RunError, did_you_mean
from qlib.log import get_module_logger
from qlib.utils.objects import UnknownModuleError

logger = get_module_logger("distributed")

Shard = TypeVar("Shard")
Result = TypeVar("Result")


class Executor(Protocol):
    """Runs a function over shards; see the module."""

    @property
    def workers(self) -> int:
        """How many shards are computed at a time."""

    @property
    def threads(self) -> int:
        """How many threads each of them may use."""

    def map(self, function: Callable[[Shard], Result], shards: Sequence[Shard]) -> list[Result]:
        """Return the results in the order of the shards, or raise what the function raised."""

    def close(self) -> None:
        """Release what the executor holds; it cannot be used afterwards."""


class _Closing:
    """`close`, and `with`."""

    closed = False

    def close(self) -> None:
        """Release what the executor holds; it cannot be used afterwards."""
        self.closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check_open(self) -> None:
        if self.closed:
            raise RunError(f"this {type(self).__name__} is closed: make a new one")


class JoblibExecutor(_Closing):
    """Processes (or threads) of this machine.

    Parameters
    ----------
    n_jobs
        Workers: None is one for each CPU, -1 too, -2 leaves one CPU free, as in joblib. More than there are CPUs are
        not started. One worker is this process itself.
    threads
        Threads of each worker, of numpy and of the engine; as many as there is room for by default.
    backend
        "loky": processes that joblib starts, reuses for whoever asks next, and ends when nobody has for five minutes.
        "threading": threads of this process, for functions that do not hold the interpreter.

    >>> with JoblibExecutor(1) as executor:
    ...     executor.map(abs, [-1, 2])
    [1, 2]
    """

    BACKENDS = ("loky", "threading")

    def __init__(self, n_jobs: int | None = None, *, threads: int | None = None, backend: str = "loky") -> None:
        if backend not in self.BACKENDS:
            raise ConfigError(
                f"backend: received {backend!r}; allowed are {' and '.join(self.BACKENDS)}"
                f"{did_you_mean(str(backend), self.BACKENDS)} (joblib's multiprocessing waits for ever where a worker "
                "was killed)"
            )
        cpus = usable_cpus()
        asked = cpus if n_jobs is None else _whole("n_jobs", n_jobs)
        if asked == 0:
            raise ConfigError("n_jobs: received 0; a number of workers, or -1 for all CPUs, is allowed")
        self.backend = backend
        self.workers = max(1, min(asked if asked > 0 else cpus + 1 + asked, cpus))
        room = cpus // self.workers
        self.threads = room if threads is None else min(_at_least_one("threads", threads), room)

    def map(self, function: Callable[[Shard], Result], shards: Sequence[Shard]) -> list[Result]:
        """Return the results in the order of the shards.

        Raises
        ------
        RunError
            A worker died, or was killed for using too much memory; the executor goes on with new ones.
        """
        import joblib  # noqa: PLC0415  heavy: only who shards needs it

        self._check_open()
        if self.backend == "threading" or self.workers == 1:
            return joblib.Parallel(self.workers, backend="threading")(joblib.delayed(function)(one) for one in shards)
        limits = joblib.parallel_config("loky", n_jobs=self.workers, inner_max_num_threads=self.threads)
        try:
            with limits, shared_folder() as folder:
                calls = (joblib.delayed(_lending)(function, folder, shard) for shard in shards)
                return [received(result) for result in joblib.Parallel(batch_size=1)(calls)]
        except BrokenExecutor as problem:
            raise RunError(
                f"a worker of {self!r} died ({problem}); where that was for want of memory, use fewer workers"
            ) from problem

    def __repr__(self) -> str:
        return f"JoblibExecutor({self.workers}, threads={self.threads}, backend={self.backend!r})"


class RayExecutor(_Closing):
    """Workers of a Ray cluster: pip install "qlib-crypto[distributed]".

    The machines have this package and see the files of the store under the same path. A task whose worker is lost
    runs again on another one, by Ray's own rules.

    Parameters
    ----------
    address
        Of a running cluster, such as "auto" or "ray://head:10001"; None is that of the environment (RAY_ADDRESS), or
        a cluster of this machine, started now and stopped by `close`. Where this program is connected already, that
        connection is used, and left as it is.
    threads
        CPUs that a task reserves, and threads that it uses.
    **options
        For `ray.init`, such as `num_cpus` and `object_store_memory` of a cluster of this machine.

    Raises
    ------
    UnknownModuleError
        Ray is not installed; the message says how to.
    RunError
        Nobody answers at the address.
    """

    def __init__(self, address: str | None = None, *, threads: int = 1, **options: Any) -> None:
        self.threads = _at_least_one("threads", threads)
        self._ray = _ray()
        self._own = not self._ray.is_initialized()
        if self._own:
            self._connect(address, options)
        elif address not in (None, "auto") or options:
            logger.warning("this program is connected to a Ray cluster already, and that one is used")
        cpus = [int(node["Resources"].get("CPU", 0)) for node in self._ray.nodes() if node["Alive"]]
        self.workers = sum(own // self.threads for own in cpus)
        if not self.workers:  # Ray would wait for such a machine for ever
            self.close()
            raise ConfigError(
                f"threads: received {threads}; the largest machine of the Ray cluster has {max(cpus, default=0)} CPUs"
            )

    def _connect(self, address: str | None, options: dict[str, Any]) -> None:
        if address is None and not os.environ.get("RAY_ADDRESS"):
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a cluster of our own tells nobody about itself
            modules = {"env_vars": {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}}  # what is imported here
            options = {"num_cpus": usable_cpus(), "include_dashboard": False, "runtime_env": modules} | options
        try:
            self._start(address, options)
        except (ConnectionError, TimeoutError) as problem:
            raise RunError(f"address: received {address!r}, where no Ray cluster answers ({problem})") from problem

    def _start(self, address: str | None, options: dict[str, Any]) -> None:
        """Connect; a cluster of our own that a busy machine has not brought up in time is tried once more."""
        try:
            self._ray.init(address=address, **options)
        except RuntimeError as problem:
            if address is not None or "Timed out" not in str(problem):
                raise
            logger.warning("the local Ray cluster did not come up in time; once more")
            self._ray.shutdown()
            self._ray.init(address=address, **options)

    def map(self, function: Callable[[Shard], Result], shards: Sequence[Shard]) -> list[Result]:
        """Return the results in the order of the shards.

        Raises
        ------
        RunError
            A worker died again and again, or the cluster is gone.
        """
        self._check_open()
        ray = self._ray
        task = ray.remote(num_cpus=self.threads)(_apply)
        shared = ray.put(function)
        waiting = [task.remote(shared, shard) for shard in shards]
        try:
            return ray.get(waiting)
        except ray.exceptions.RayTaskError as problem:  # the other tasks end by themselves, and nobody looks at them
            raise problem.cause from problem
        except ray.exceptions.RayError as problem:
            raise RunError(f"the Ray cluster lost a task: {problem}") from problem

    def close(self) -> None:
        """Stop the cluster that this executor started, or leave the one that it connected to."""
        if not self.closed and self._own:
            self._ray.shutdown()
        super().close()

    def __repr__(self) -> str:
        return f"RayExecutor(workers={self.workers}, threads={self.threads})"


def _lending(function: Callable[[Any], Any], folder: Path, shard: Any) -> Any:
    return lent(function(shard), folder)


def _apply(function: Callable[[Any], Any], shard: Any) -> Any:
    return function(shard)


def _ray() -> Any:
    try:
        import ray  # noqa: PLC0415  heavy, and optional
        import ray.exceptions  # noqa: PLC0415
    except ModuleNotFoundError as problem:
        raise UnknownModuleError(
            'RayExecutor needs ray, which is not installed: pip install "qlib-crypto[distributed]"'
        ) from problem
    return ray


def _whole(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigError(f"{name}: received {value!r}; a whole number is allowed")
    return value


def _at_least_one(name: str, value: Any) -> int:
    if _whole(name, value) < 1:
        raise ConfigError(f"{name}: received {value}; a whole number of at least 1 is allowed")
    return value
