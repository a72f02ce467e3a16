"""Formulas over more instruments than one process should compute: sharded by instrument, on this machine or a cluster.

    from qlib.data.distributed import JoblibExecutor, RayExecutor, distributed_features

    with JoblibExecutor(4) as executor:
        frame = distributed_features(D.instruments("all"), fields, "2015-01-01", "2024-12-31", executor=executor)

features.py     the query: cut into shards, computed, put together again
work.py         what a worker does with a shard: it opens the store by itself, and reads its instruments
shards.py       groups of instruments of about the same number of rows
executors.py    who computes them: joblib, Ray, or anything with a `map`
lending.py      how a process of this machine hands over what it computed

Above the provider, whose queries it takes apart, and below whoever asks.  The frame is that of
`D.features`, bit for bit.
"""

from qlib.data.distributed.executors import Executor, JoblibExecutor, RayExecutor
from qlib.data.distributed.features import distributed_features

__all__ = ["Executor", "JoblibExecutor", "RayExecutor", "distributed_features"]
