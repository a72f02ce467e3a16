"""Labels of the training segment end before the next segment begins; where they do not, that is a warning.

The configuration that most of Qlib's users run has no gap, so this stops nobody: the model has seen the first returns
that it is judged on, a few bars of many.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import pandas as pd

from qlib.cli.checks.objects import quiet_instance, resolve
from qlib.cli.checks.problem import Problem, is_instance_config
from qlib.cli.checks.times import handler_freq
from qlib.data.active import shown
from qlib.data.dataset.handler import DataHandler
from qlib.data.provider import Provider
from qlib.workflow.leakage import label_gaps, label_horizon

WHERE: Final = "task.dataset.kwargs.segments"


def horizon_of(task: Mapping[str, Any], provider: Provider) -> int | None:
    """Return how many bars ahead the labels look; None where they are not those of a handler's formulas."""
    config = (_dataset(task).get("kwargs") or {}).get("handler")
    if not isinstance(config, Mapping) or not is_instance_config(config):
        return None
    function = resolve(config, "handler", "task.dataset.kwargs.handler", [])
    if not (isinstance(function, type) and issubclass(function, DataHandler)):
        return None
    with shown(provider):
        return label_horizon(quiet_instance(config, init_data=False))


def _dataset(task: Mapping[str, Any]) -> Mapping[str, Any]:
    return task["dataset"] if isinstance(task.get("dataset"), Mapping) else {}


def gap_warnings(task: Mapping[str, Any], provider: Provider, horizon: int | None) -> list[Problem]:
    """Return which segments the labels of `train` reach into; the task must have passed all checks."""
    dataset = _dataset(task)
    segments = (dataset.get("kwargs") or {}).get("segments")
    if horizon is None or not isinstance(segments, Mapping):
        return []
    bounds = {
        str(name): tuple(None if end is None else pd.Timestamp(end) for end in segment)
        for name, segment in segments.items()
        if isinstance(segment, list | tuple) and len(segment) == 2
    }
    times = provider.locate(handler_freq(dataset)).times
    return [Problem(f"{WHERE}.{gap.segment}", gap.why) for gap in label_gaps(bounds, horizon, times)]  # type: ignore[arg-type]
