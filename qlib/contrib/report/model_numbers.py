"""What the model learned: which features count, and how it became better round by round.

importance   feature -> how much it counts, the largest first (trees: splits and gain; linear: coefficients)
learning     the metrics that were logged round by round, by name, such as "l2.train" and "l2.valid"
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from qlib.contrib.model.linear import LinearModel
from qlib.model.interpret.base import FeatureInt, LightGBMFInt


def model_numbers(model: Any, why: str | None, history: Mapping[str, list[float]]) -> dict[str, Any]:
    """Return the model's part of the twin.

    Parameters
    ----------
    model
        As it was fitted; None where it was not kept or cannot be read.
    why
        Why it cannot be read.
    history
        Metric -> its values, one a round.
    """
    return {"importance": importance(model), "importance_why": why, "learning": learning(history)}


def importance(model: Any) -> dict[str, Any] | None:
    """How much each feature counts; None for a model that does not say.

    `share` is the part of the sum of all (of their sizes, for coefficients).
    """
    kind, found, gain = "importance", None, None
    if isinstance(model, LightGBMFInt):
        kind, found = "splits", model.get_feature_importance()
        gain = model.get_feature_importance(importance_type="gain")
    elif isinstance(model, FeatureInt):
        found = model.get_feature_importance()
    elif isinstance(model, LinearModel) and model.coef_ is not None:
        names = model.feature_names or [str(k) for k in range(len(model.coef_))]
        coefficients = pd.Series(np.asarray(model.coef_, dtype=float), index=names)
        kind, found = "coefficients", coefficients.iloc[np.argsort(-coefficients.abs().to_numpy(), kind="stable")]
    if found is None or not len(found):
        return None
    values = found.to_numpy(float)
    size = float(np.abs(values).sum())
    return {
        "kind": kind,
        "features": [_name(name) for name in found.index],
        "value": values.tolist(),
        "share": (np.abs(values) / size).tolist() if size > 0 else None,
        "gain": None if gain is None else gain.reindex(found.index).to_numpy(float).tolist(),
        "used": int((values != 0).sum()),
        "count": len(values),
        "half": int(np.searchsorted(np.abs(values).cumsum(), size / 2) + 1) if size > 0 else None,
    }


def _name(name: Any) -> str:
    return str(name[-1]) if isinstance(name, tuple) else str(name)


def learning(history: Mapping[str, list[float]]) -> list[dict[str, Any]]:
    """Curves of the metrics with more than one round, those of one metric together.

    `best` is the round (from 1) at which the curve on unseen rows ("valid") was best: lowest, as losses are, unless the
    curve of the rows learned from climbs.
    """
    metrics: dict[str, dict[str, list[float]]] = {}
    for name in sorted(history):
        metric, _, segment = name.rpartition(".")
        if len(history[name]) > 1:
            metrics.setdefault(metric or name, {})[segment if metric else "run"] = list(history[name])
    found = []
    for metric, curves in metrics.items():
        unseen = curves.get("valid")
        seen = curves.get("train")
        climbs = seen is not None and seen[-1] > seen[0]
        best = None
        if unseen is not None and np.isfinite(unseen).any():
            best = int(np.nanargmax(unseen) if climbs else np.nanargmin(unseen)) + 1
        found.append(
            {
                "metric": metric,
                "rounds": max(map(len, curves.values())),
                "best": best,
                "segments": list(curves),
                "values": [curves[segment] for segment in curves],
            }
        )
    return found
