"""Whether a market's price limits know what nobody knows yet when an order is dealt.

    doubt(market)      None, or one sentence

At the close everything of a bar is known; at any other price its close, high, low, change and volume are not. Formulas
of the user are obeyed all the same, so this is said, not forbidden. A number needs no such care: it is held against the
price dealt at.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qlib.backtest.rules.market import Market
from qlib.data.expression.node import Column, Node
from qlib.data.expression.operators.shift import Ref
from qlib.data.expression.plan import build_plan

CLOSE = "close"
ONLY_AT_THE_CLOSE = frozenset({CLOSE, "high", "low", "change", "volume", "amount", "money", "turnover", "vwap"})


def newest_reads(formula: str, registry: Mapping[str, Any] | None = None) -> dict[str, int]:
    """Return for each field that a formula reads how many bars ago the newest row is; below 0 it lies ahead.

    >>> newest_reads("$open/Ref($close,1)-1"), newest_reads("Mean($close,5)>Ref($close,-2)")
    ({'open': 0, 'close': 1}, {'close': -2})
    """
    found: dict[str, int] = {}
    _read(build_plan([formula], registry=registry).roots[0], 0, found)
    return found


def _read(node: Node, ago: int, found: dict[str, int]) -> None:
    if isinstance(node, Column):
        found[node.name] = min(ago, found.get(node.name, ago))
        return
    shift = node.rows if isinstance(node, Ref) else 0  # a window holds the row itself
    for child in node.children:
        _read(child, ago + shift, found)


def doubt(market: Market, registry: Mapping[str, Any] | None = None) -> str | None:
    """Return what a limit of formulas knows too early; None where it knows nothing too early."""
    early: dict[str, None] = {}
    prices: dict[str, None] = {}
    for formula, price in ((market.limit.buy, market.buy_price), (market.limit.sell, market.sell_price)):
        if formula is None:
            continue
        dealt_at = {field for field, ago in newest_reads(price, registry).items() if ago <= 0}
        if CLOSE in dealt_at:
            continue
        for field, ago in newest_reads(formula, registry).items():
            if ago < 0 or (ago == 0 and field in ONLY_AT_THE_CLOSE - dealt_at):
                early[f"${field}"] = prices[price] = None
    if not early:
        return None
    return (
        f"limit_threshold ({market.limit.buy}, {market.limit.sell}) reads {', '.join(early)} of the bar it blocks, but "
        f"orders are dealt at {', '.join(prices)}, before anybody knows that: the result peeks into the future; a "
        "number such as 0.095 is held against the price dealt at, and Ref(..., 1) reads the bar before"
    )
