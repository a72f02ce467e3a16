"""What nautilus_trader says of positions in linear and inverse perpetuals; writes nautilus_accounts.json beside it.

    python -m venv peer && peer/bin/pip install nautilus_trader==1.221.0
    peer/bin/python tests/golden/nautilus_accounts.py

Random fills of contracts, cut at zero as its engine does. After each fill: what it says of the position and of a mark.
Money is rounded there to the digits of its currency (8). Nothing of it is imported by the tests.
"""

import json
import random
from decimal import Decimal
from pathlib import Path

import nautilus_trader
from nautilus_trader.model.currencies import BTC, USD, USDT
from nautilus_trader.model.enums import OrderSide
from nautilus_trader.model.identifiers import InstrumentId, PositionId, Symbol, TradeId, Venue
from nautilus_trader.model.instruments import CryptoPerpetual
from nautilus_trader.model.objects import Price, Quantity
from nautilus_trader.model.position import Position
from nautilus_trader.test_kit.stubs.events import TestEventStubs
from nautilus_trader.test_kit.stubs.execution import TestExecStubs

MAKER, TAKER, INIT, MAINT = "0.0002", "0.0005", "0.01", "0.004"


def perpetual(*, inverse: bool, contract: str) -> CryptoPerpetual:
    return CryptoPerpetual(
        instrument_id=InstrumentId(Symbol("BTCUSD" if inverse else "BTCUSDT"), Venue("SIM")),
        raw_symbol=Symbol("BTC"),
        base_currency=BTC,
        quote_currency=USD if inverse else USDT,
        settlement_currency=BTC if inverse else USDT,
        is_inverse=inverse,
        price_precision=1,
        size_precision=0,
        price_increment=Price.from_str("0.5"),
        size_increment=Quantity.from_str("1"),
        multiplier=Quantity.from_str(contract),
        margin_init=Decimal(INIT),
        margin_maint=Decimal(MAINT),
        maker_fee=Decimal(MAKER),
        taker_fee=Decimal(TAKER),
        ts_event=0,
        ts_init=0,
    )


def answers(*, inverse: bool, contract: str, seed: int, fills: int, adding: bool) -> dict:
    """Random fills: `adding` allows positions to grow, so that entries are means."""
    rng, instrument = random.Random(seed), perpetual(inverse=inverse, contract=contract)
    account = TestExecStubs.margin_account()
    account.set_default_leverage(Decimal(1))
    rows, position, held, done = [], None, 0, 0.0
    for number in range(fills):
        price = Price.from_str(f"{rng.randint(40_000, 180_000) / 2:.1f}")
        change = rng.choice([-1, 1]) * rng.randint(1, 40)
        if not adding and held * change > 0:
            change = -change
        fees = 0.0
        for part in cut(held, change):
            order = TestExecStubs.market_order(
                instrument=instrument,
                order_side=OrderSide.BUY if part > 0 else OrderSide.SELL,
                quantity=Quantity.from_int(abs(part)),
            )
            fill = TestEventStubs.order_filled(
                order, instrument, last_px=price, account=account, position_id=PositionId(f"P{number}"),
                trade_id=TradeId(f"{seed}-{number}-{part}"),
            )  # fmt: skip
            fees += fill.commission.as_double()
            if position is None:
                position = Position(instrument, fill)
            else:
                position.apply(fill)
            held += part
            if not held:
                done += position.realized_pnl.as_double()
                position = None
        mark = Price.from_str(f"{rng.randint(40_000, 180_000) / 2:.1f}")
        row = {"contracts": change, "price": float(price), "mark": float(mark), "held": held, "fee": fees}
        row["realised"] = done + (0.0 if position is None else position.realized_pnl.as_double())
        if position is not None:
            size = Quantity.from_int(abs(held))
            row["entry"] = position.avg_px_open
            row["unrealised"] = position.unrealized_pnl(mark).as_double()
            row["notional"] = instrument.notional_value(size, mark).as_double()
            row["margin"] = account.calculate_margin_init(instrument, size, mark).as_double()
            row["maintenance"] = account.calculate_margin_maint(instrument, position.side, size, mark).as_double()
        rows.append(row)
    return {"inverse": inverse, "contract": float(contract), "adding": adding, "fills": rows}


def cut(held: int, change: int) -> list[int]:
    """The part of a fill that closes, and the part that opens."""
    if held * change >= 0 or abs(change) <= abs(held):
        return [change]
    return [-held, change + held]


def main() -> None:
    cases = [
        answers(inverse=inverse, contract=contract, seed=seed, fills=12, adding=adding)
        for inverse, contract in ((False, "0.01"), (True, "100"))
        for adding in (False, True)
        for seed in range(3)
    ]
    told = {
        "nautilus_trader": nautilus_trader.__version__, "maker": float(MAKER), "taker": float(TAKER),
        "init": float(INIT), "maintenance": float(MAINT), "leverage": 1, "cases": cases,
    }  # fmt: skip
    Path(__file__).with_suffix(".json").write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
