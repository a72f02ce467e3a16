"""Holdings of contracts that are not paid for: inverse ones, and those settled in another currency than the account's.

    position.position["BTC-USD-SWAP"] = {
        "amount": 3000.0,       face with its sign (linear: coins)
        "price": 0.25,          what one unit has earned so far, in money of the account: amount x price is unrealised
        "entry": 60000.0, "mark": 65000.0, "limit": 55276.4,         prices at the market; limit: closed by force there
        "pocket": 0.005,        margin of the position, in what it is settled in
        "margin": 325.0,        the same in money of the account, at "rate"
        "rate": 65000.0, "exposure": 3000.0,                          amount x worth of a unit x rate, with its sign
        "mmr": 0.005,
    }

Only what is realised is booked as cash, converted at the rate of its moment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qlib.backtest.position import Position
from qlib.crypto.currencies import Leg

if TYPE_CHECKING:
    from qlib.backtest.account import Account


def value(leg: Leg, held: dict[str, Any], mark: float, rate: float) -> float:
    """Write what a holding is worth at a mark price and a rate; return its new "price", which is not written."""
    held["mark"], held["rate"] = mark, rate
    held["exposure"] = held["amount"] * leg.worth(mark) * rate
    held["margin"] = held["pocket"] * rate
    return leg.profit(1.0, held["entry"], mark) * rate


def book(
    leg: Leg,
    position: Position,
    account: Account | None,
    change: float,
    price: float,
    rate: float,
    *,
    cost: float,
    slippage: float = 0.0,
    leverage: float,
) -> float:
    """Change the amount of a contract at a price; return the settle money that this realised, before its cost.

    Parameters
    ----------
    leg, position, account
        What, whose, and where sums of money are kept (None: nowhere).
    change
        Amount with its sign: below 0 it is sold.
    price, rate
        Of the fill; a unit of settle money in money of the account then.
    cost, slippage
        Money of the account.
    leverage
        Value / margin of what is opened.
    """
    held = position.position.get(leg.name)
    before, entry, pocket, worth = 0.0, price, 0.0, 0.0
    if held is not None:
        before, entry, pocket = held["amount"], held["entry"], held["pocket"]
        worth = before * held["price"]
    closed = 0.0
    if before * change < 0:
        closed = before if abs(change) >= abs(before) else -change
    realised = leg.profit(closed, entry, price) if closed else 0.0
    position.adjust(leg.name, change, realised * rate - cost)
    held, after = position.position.get(leg.name), 0.0
    if held is not None:
        after = held["amount"]
        opened = leg.worth(price) / leverage
        if not before or (before < 0) != (after < 0):
            held["entry"], held["pocket"] = price, abs(after) * opened
        elif closed:
            held["pocket"] = pocket * after / before
        else:
            held["entry"], held["pocket"] = leg.entry(before, entry, change, price), pocket + abs(change) * opened
        held["price"] = value(leg, held, price, rate)
    if account is not None:
        sums = account.accum_info
        sums.to += abs(change) * leg.worth(price) * rate
        sums.cost += cost
        sums.slippage += slippage
        sums.rtn += realised * rate + (after * held["price"] if held is not None else 0.0) - worth + slippage
    return realised
