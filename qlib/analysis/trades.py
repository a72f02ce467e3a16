"""How well orders were executed: fill rate (ffr), price advantage (pa) and its share above zero (pos)."""

from __future__ import annotations

import pandas as pd

from qlib.errors import InputError, did_you_mean

WEIGHTS = {"mean": "count", "amount_weighted": "deal_amount", "value_weighted": "value"}


def indicator_analysis(df: pd.DataFrame, method: str = "mean") -> pd.DataFrame:
    """Return one column `value` with rows ffr, pa and pos: the steps of `df` weighted.

    Parameters
    ----------
    df
        One row per step with columns ffr, pa, pos, count, deal_amount, value (`indicators_normal` of a backtest).
    method
        Weight of a step in ffr and pa: "mean" by number of orders, "amount_weighted" by |deal_amount|,
        "value_weighted" by |value|. pos is always weighted by the number of orders.
    """
    if method not in WEIGHTS:
        raise InputError(
            f"indicator_analysis method: received {method!r}; allowed are {', '.join(WEIGHTS)}"
            f"{did_you_mean(str(method), WEIGHTS)}"
        )
    weight = df[WEIGHTS[method]].abs()
    count = df["count"].abs()
    mean = {
        "ffr": (df["ffr"] * weight).sum() / weight.sum(),
        "pa": (df["pa"] * weight).sum() / weight.sum(),
        "pos": (df["pos"] * count).sum() / count.sum(),
    }
    return pd.Series(mean).to_frame("value")
