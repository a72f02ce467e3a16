"""Work that goes on beside other work, where there is a thread for it.

with meanwhile(lambda: index_of(...), threads=2) as index:
    block = compute(...)
return block, index()
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

Result = TypeVar("Result")


@contextmanager
def meanwhile(work: Callable[[], Result], *, threads: int) -> Iterator[Callable[[], Result]]:
    """Give what returns `work()`, done in a thread of its own while the block runs.

    With one thread it is done when it is asked for, by whoever asks.  An error of `work` is raised to whoever asks.

    >>> with meanwhile(lambda: 6 * 7, threads=2) as answer:
    ...     print("the block")
    the block
    >>> answer()
    42
    """
    if threads < 2:
        yield work
        return
    with ThreadPoolExecutor(1, thread_name_prefix="qlib-meanwhile") as pool:
        yield pool.submit(work).result
