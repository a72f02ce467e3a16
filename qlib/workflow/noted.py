"""What is logged to runs, noted while it is logged: so that a stage of a run can be told again without running it.

with noted() as log:
    recorder.log_metrics(IC=0.05)
log.metrics         [("IC", 0.05, 0)]
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final


@dataclass(slots=True)
class Log:
    """Parameters, metrics (name, value, step) and tags."""

    params: dict[str, str] = field(default_factory=dict)
    metrics: list[tuple[str, float, int]] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)

    def tell(self, recorder: Any) -> None:
        """Log the same to a run."""
        if self.params:
            recorder.log_params(**self.params)
        if self.tags:
            recorder.set_tags(**self.tags)
        by_name: dict[str, list[tuple[int, float]]] = {}
        for name, value, step in self.metrics:
            by_name.setdefault(name, []).append((step, value))
        whole = {name: [v for _, v in rows] for name, rows in by_name.items() if _counts_up(rows)}
        if whole:
            recorder.log_metric_history(whole)
        for name, rows in by_name.items():
            for step, value in rows if name not in whole else ():
                recorder.log_metrics(step, **{name: value})

    def plain(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {"params": self.params, "metrics": [list(row) for row in self.metrics], "tags": self.tags}

    @classmethod
    def from_plain(cls, content: Mapping[str, Any]) -> Log:
        """Return what `plain` wrote down."""
        return cls(dict(content["params"]), [tuple(row) for row in content["metrics"]], dict(content["tags"]))


_listening: Final[list[Log]] = []


@contextmanager
def noted() -> Iterator[Log]:
    """Note what is logged inside the block."""
    log = Log()
    _listening.append(log)
    try:
        yield log
    finally:
        _listening.remove(log)


def note(params: Sequence[Any] = (), metrics: Sequence[Any] = (), tags: Sequence[Any] = ()) -> None:
    """Tell whoever listens what is logged: objects with key and value, metrics with a step too."""
    for log in _listening:
        log.params |= {one.key: one.value for one in params}
        log.metrics += [(one.key, one.value, one.step) for one in metrics]
        log.tags |= {one.key: one.value for one in tags}


def _counts_up(rows: list[tuple[int, float]]) -> bool:
    return [step for step, _ in rows] == list(range(len(rows)))
