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


def gap_warnings(task: Mapping[str, Any], provider: Provider) -> list[Problem]:
    """Return which segments the labels of `train` reach into; the task must have passed all checks."""
    dataset = task["dataset"] if isinstance(task.get("dataset"), Mapping) else {}
    kwargs = dataset.get("kwargs") or {}
    config, segments = kwargs.get("handler"), kwargs.get("segments")
    if not isinstance(config, Mapping) or not is_instance_config(config) or not isinstance(segments, Mapping):
        return []
    function = resolve(config, "handler", "task.dataset.kwargs.handler", [])
    if not (isinstance(function, type) and issubclass(function, DataHandler)):
        return []
    bounds = {
        str(name): tuple(None if end is None else pd.Timestamp(end) for end in segment)
        for name, segment in segments.items()
        if isinstance(segment, list | tuple) and len(segment) == 2
    }
    with shown(provider):
        horizon = label_horizon(quiet_instance(config, init_data=False))
    times = provider.locate(handler_freq(dataset)).times
    return [Problem(f"{WHERE}.{gap.segment}", gap.why) for gap in label_gaps(bounds, horizon, times)]  # type: ignore[arg-type]
