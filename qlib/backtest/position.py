"""What an account holds: cash and, per instrument, an amount and the last price it was valued at.

position.position = {
    "cash": 1000.0, "now_account_value": 3050.0,                     ("cash_delay" while a sale is not settled)
    "A": {"amount": 100.0, "price": 20.5, "weight": 0.67, "count_day": 3},
}

Position            the real thing
InfPosition         never runs out of anything; for executing given orders without an account
PositionHistory     the positions after every step, kept as arrays and rebuilt as Position when asked for
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from itertools import chain, filterfalse
from struct import iter_unpack, pack
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from qlib.backtest import holdings as native
from qlib.data.provider import active_provider
from qlib.errors import ConfigError, InputError, MissingDataError, RunError

if TYPE_CHECKING:
    from qlib.backtest.decision import Order

OWN_NUMBERS = ("cash", "now_account_value", "cash_delay")
SPECIAL = frozenset(OWN_NUMBERS)
ROUNDING = 1e-12  # of an amount: what value / price leaves of it
OVERSOLD = -1e-5  # an amount below this means that more was sold than was held


def nearly_equal(a: float, b: float) -> bool:
    """Equal up to rounding: relative 1e-5, absolute 1e-8 (infinity equals infinity only)."""
    return a == b or (math.isfinite(b) and abs(a - b) <= 1e-8 + 1e-5 * abs(b))


class BasePosition:
    """What the account and the executors ask of a position."""

    ST_CASH = "cash"
    ST_NO = "None"
    short = False  # amounts below 0 are allowed

    def __init__(self, *args: Any, cash: float = 0.0, **kwargs: Any) -> None:  # noqa: ARG002  Qlib's signature
        self._settle_type = self.ST_NO
        self.position: dict[str, Any] = {}

    def fill_stock_value(
        self, start_time: str | pd.Timestamp, freq: str, last_days: int = 30, *, provider: Any = None
    ) -> None:
        """Give a price to the instruments that have none (nothing to do where there are no prices)."""

    def skip_update(self) -> bool:
        """Return True when trades do not change this position."""
        return False

    def check_stock(self, stock_id: str) -> bool:
        raise NotImplementedError

    def update_order(self, order: Order, trade_val: float, cost: float, trade_price: float) -> None:
        raise NotImplementedError

    def update_stock_price(self, stock_id: str, price: float) -> None:
        raise NotImplementedError

    def mark(self, prices: Iterable[tuple[str, float | None]]) -> float:
        """Value holdings at new prices (None: as before) and return what that earned."""
        earned = 0.0
        for stock, price in prices:
            if price is not None:
                earned += self.get_stock_amount(stock) * (price - self.position[stock].get("price", price))
                self.update_stock_price(stock, price)
        return earned

    def calculate_stock_value(self) -> float:
        raise NotImplementedError

    def calculate_value(self) -> float:
        raise NotImplementedError

    def get_stock_list(self) -> list[str]:
        raise NotImplementedError

    def get_stock_price(self, code: str) -> float:
        raise NotImplementedError

    def get_stock_amount(self, code: str) -> float:
        raise NotImplementedError

    def get_cash(self, include_settle: bool = False) -> float:
        raise NotImplementedError

    def get_stock_amount_dict(self) -> dict[str, float]:
        raise NotImplementedError

    def get_stock_weight_dict(self, only_stock: bool = False) -> dict[str, float]:
        raise NotImplementedError

    def add_count_all(self, bar: str) -> None:
        raise NotImplementedError

    def update_weight_all(self) -> None:
        raise NotImplementedError

    def settle_start(self, settle_type: str) -> None:
        raise NotImplementedError

    def settle_commit(self) -> None:
        raise NotImplementedError


class Position(BasePosition):
    """Cash and holdings.

    Parameters
    ----------
    cash
        Money at the start.
    position_dict
        instrument -> amount, or instrument -> {"amount": a, "price": p}; a holding without a price must be priced by
        `fill_stock_value` before it can be valued.
    short
        Allow amounts below 0: selling more than is held opens a short position. Off, it is refused.

    >>> p = Position(cash=100.0, position_dict={"A": {"amount": 2.0, "price": 10.0}})
    >>> p.calculate_value(), p.get_stock_weight_dict()
    (120.0, {'A': 0.16666666666666666})
    """

    _sums: tuple[float, float] | None = None  # what `sums` knows since the last marks

    def __init__(self, cash: float = 0, position_dict: Mapping[str, Any] = {}, *, short: bool = False) -> None:
        super().__init__()
        self.init_cash = cash
        self.short = short
        holdings: dict[str, dict[str, float]] = {}
        for stock, holding in position_dict.items():
            if stock in SPECIAL:
                raise ConfigError(f"an instrument cannot be called {stock!r}: the position keeps its own number there")
            fields = dict(holding) if isinstance(holding, Mapping) else {"amount": holding}
            if "amount" not in fields:
                raise ConfigError(f"initial holding {stock}: received {dict(fields)!r}; the key 'amount' is needed")
            if not (fields["amount"] >= 0 or (short and math.isfinite(fields["amount"]))):
                raise ConfigError(
                    f"initial holding {stock}: received the amount {fields['amount']!r}; at least 0 is allowed"
                )
            holdings[stock] = fields
        self.position = {"cash": cash, "now_account_value": cash, **holdings}
        if all("price" in holding for holding in holdings.values()):
            self.position["now_account_value"] = self.calculate_value()

    def __deepcopy__(self, memo: dict[int, Any]) -> Position:
        other = copy.copy(self)
        other.position = {
            key: dict(value) if isinstance(value, dict) else value for key, value in self.position.items()
        }
        for name, value in self.__dict__.items():  # what a subclass added
            if name not in _OWN:
                setattr(other, name, copy.deepcopy(value, memo))
        return other

    def __repr__(self) -> str:
        return f"{type(self).__name__}(cash={self.position['cash']:.2f}, {len(self.get_stock_list())} instruments)"

    def fill_stock_value(
        self, start_time: str | pd.Timestamp, freq: str, last_days: int = 30, *, provider: Any = None
    ) -> None:
        """Price the holdings that have no price at their last close before `start_time`.

        The last `last_days` calendar days are searched. Raises MissingDataError naming the instruments without one.
        """
        wanted = [stock for stock in self.get_stock_list() if "price" not in self.position[stock]]
        if not wanted:
            return
        provider = active_provider() if provider is None else provider
        before = pd.Timestamp(start_time) - pd.Timedelta(seconds=1)
        closes = provider.features(wanted, ["$close"], before - pd.Timedelta(days=last_days), before, freq=freq)
        found = closes.iloc[:, 0].dropna()
        last = found[~found.index.get_level_values("instrument").duplicated(keep="last")]
        prices = dict(zip(last.index.get_level_values("instrument"), last.to_numpy(dtype=float).tolist(), strict=True))
        missing = [stock for stock in wanted if stock not in prices]
        if missing:
            raise MissingDataError(
                f"no {freq} close of {', '.join(missing)} in the {last_days} days before {start_time}: "
                "give the initial holding a price, as {'amount': ..., 'price': ...}"
            )
        for stock in wanted:
            self.position[stock]["price"] = prices[stock]
        self._sums = None
        self.position["now_account_value"] = self.calculate_value()

    # ------------------------------------------------------------------------------------------------------- trades
    def update_order(self, order: Order, trade_val: float, cost: float, trade_price: float) -> None:
        """Book an executed order: `trade_val` is its value, `cost` its cost (money, both)."""
        amount, sums = trade_val / trade_price, self._sums
        before = self._worth(order.stock_id) if sums is not None else 0.0
        if order.direction == order.BUY:
            self._buy(order.stock_id, amount, trade_val, cost, trade_price)
        else:
            self._sell(order.stock_id, amount, trade_val, cost)
        if sums is not None:
            after = self._worth(order.stock_id)
            self._sums = sums[0] + after - before, sums[1] + abs(after) - abs(before)

    def _buy(self, stock: str, amount: float, trade_val: float, cost: float, price: float) -> None:
        held = self.position.get(stock)
        if held is None:
            self.position[stock] = {"amount": amount, "price": price, "weight": 0.0}
        elif held["amount"] < 0:
            self._through(stock, held, amount)
        else:
            held["amount"] += amount
        self.position["cash"] -= trade_val + cost

    def adjust(self, stock: str, change: float, earned: float) -> None:
        """Change an amount and, by itself, the cash: for a contract that is not paid for when it is opened.

        A new holding has the price 0; whoever opens it knows what it is worth.
        """
        held = self.position.get(stock)
        if held is None:
            self.position[stock] = {"amount": change, "price": 0.0, "weight": 0.0}
        else:
            self._through(stock, held, change)
        self.position["cash"] += earned
        self._sums = None

    def _through(self, stock: str, held: dict[str, float], change: float) -> None:
        """Change an amount that may become 0, which is exact, or pass through it, which begins a new holding."""
        before = held["amount"]
        left = before + change
        if abs(left) <= ROUNDING * abs(before):  # a part that money did not reach for is more than that, and stays
            del self.position[stock]
            return
        held["amount"] = left
        if (before < 0) != (held["amount"] < 0):
            for name in [name for name in held if name.startswith("count_")]:
                del held[name]

    def _sell(self, stock: str, amount: float, trade_val: float, cost: float) -> None:
        held = self.position.get(stock)
        if held is None and self.short:
            self.position[stock] = {"amount": -amount, "price": trade_val / amount, "weight": 0.0}
        elif held is None:
            raise MissingDataError(f"{stock} cannot be sold: the position does not hold it")
        elif self.short:
            self._through(stock, held, -amount)
        elif nearly_equal(held["amount"], amount):
            del self.position[stock]
        elif held["amount"] - amount < OVERSOLD:
            raise InputError(f"{stock}: {amount} cannot be sold, the position holds {held['amount']}")
        else:
            held["amount"] -= amount
        earned = trade_val - cost
        if self._settle_type == self.ST_CASH:  # what is earned waits; a cost above the proceeds is owed at once
            self.position["cash_delay" if earned > 0 else "cash"] += earned
        elif self._settle_type == self.ST_NO:
            self.position["cash"] += earned
        else:
            raise ConfigError(f"settle_type: received {self._settle_type!r}; allowed are 'None' and 'cash'")

    def settle_start(self, settle_type: str) -> None:
        """From now on, with `settle_type` "cash", keep the proceeds of sales aside until `settle_commit`."""
        if settle_type not in (self.ST_CASH, self.ST_NO):
            raise ConfigError(f"settle_type: received {settle_type!r}; allowed are 'None' and 'cash'")
        if self._settle_type != self.ST_NO:
            raise RunError("a settlement is already open")
        self._settle_type = settle_type
        if settle_type == self.ST_CASH:
            self.position["cash_delay"] = 0.0

    def settle_commit(self) -> None:
        """Credit what was kept aside."""
        if self._settle_type == self.ST_CASH:
            self.position["cash"] += self.position.pop("cash_delay")
        self._settle_type = self.ST_NO

    # ----------------------------------------------------------------------------------------------------- questions
    def check_stock(self, stock_id: str) -> bool:
        """Return True when the instrument is held."""
        return stock_id in self.position and stock_id not in SPECIAL

    def get_stock_list(self) -> list[str]:
        """Return the instruments held, in the order they were bought."""
        return [*filterfalse(SPECIAL.__contains__, self.position)]

    def get_stock_price(self, code: str) -> float:
        return self.position[code]["price"]

    def get_stock_amount(self, code: str) -> float:
        """Return the amount held, 0.0 for an instrument that is not."""
        held = self.position.get(code)
        return held["amount"] if held is not None else 0.0

    def get_stock_count(self, code: str, bar: str) -> int:
        """Return for how many bars of size `bar` the instrument has been held."""
        return self.position[code].get(f"count_{bar}", 0)

    def get_stock_weight(self, code: str) -> float:
        return self.position[code]["weight"]

    def get_cash(self, include_settle: bool = False) -> float:
        """Return the cash; `include_settle` adds what is waiting for settlement."""
        cash = self.position["cash"]
        return cash + self.position.get("cash_delay", 0.0) if include_settle else cash

    def get_stock_amount_dict(self) -> dict[str, float]:
        return {key: held["amount"] for key, held in self.position.items() if key not in SPECIAL}

    def get_stock_weight_dict(self, only_stock: bool = False) -> dict[str, float]:
        """Return value / account value per instrument (with `only_stock`: / value of all holdings)."""
        total = self.calculate_stock_value() if only_stock else self.calculate_value()
        return {
            key: held["amount"] * held["price"] / total if total else 0.0
            for key, held in self.position.items()
            if key not in SPECIAL
        }

    def calculate_stock_value(self) -> float:
        """Return the value of the holdings at their last prices."""
        value = 0.0
        for key, held in self.position.items():
            if key not in SPECIAL:
                value += held["amount"] * held["price"]
        return value

    def calculate_value(self) -> float:
        """Return holdings + cash + cash waiting for settlement."""
        return self.calculate_stock_value() + self.position["cash"] + self.position.get("cash_delay", 0.0)

    def sums(self) -> tuple[float, float]:
        """Return the value of the holdings and their value without signs, for a margin that asks at every order.

        Both are added up once after holdings were marked; from then on every trade changes them by its own part.
        """
        if self._sums is None:
            values = [held["amount"] * held["price"] for held in self.holdings()]
            self._sums = sum(values), sum(map(abs, values))
        return self._sums

    def _worth(self, stock: str) -> float:
        """Value of a holding, 0 without one."""
        held = self.position.get(stock)
        return 0.0 if held is None else held["amount"] * held["price"]

    # ------------------------------------------------------------------------------------------------------- marking
    def update_stock_price(self, stock_id: str, price: float) -> None:
        self.position[stock_id]["price"] = price
        self._sums = None

    def mark(self, prices: Iterable[tuple[str, float | None]]) -> float:
        """Value holdings at new prices (None: as before) and return what that earned."""
        position, earned = self.position, 0.0
        self._sums = None
        for stock, price in prices:
            if price is not None:
                held = position[stock]
                earned += held["amount"] * (price - held.get("price", price))
                held["price"] = price
        return earned

    def close_bar(self, prices: list[float | None], bar: str) -> tuple[float, float]:
        """`mark` the holdings, in the order of `get_stock_list`, and `add_count_all`, in one pass.

        Return what the new prices earned, and `calculate_stock_value` at them.
        """
        self._sums = None
        return native.close_bar(self.position, SPECIAL, prices, f"count_{bar}")

    def close_at(self, column: dict[str, int], row: np.ndarray[Any, Any], bar: str) -> tuple[float, float, int, float]:
        """Do what `close_bar` does with the prices row[column[name]], where NaN is none.

        Return besides how many holdings have no price, and what they are worth.
        """
        self._sums = None
        return native.close_at(self.position, SPECIAL, column, row, f"count_{bar}")

    def holdings(self) -> list[dict[str, Any]]:
        """Return what is kept per instrument, in the order of `get_stock_list`; not to be changed."""
        position = self.position
        return [position[key] for key in filterfalse(SPECIAL.__contains__, position)]

    def weigh(self, total: float) -> None:
        """Set every weight to value / `total`."""
        native.weigh(self.position, SPECIAL, total)

    def update_stock_count(self, stock_id: str, bar: str, count: float) -> None:
        self.position[stock_id][f"count_{bar}"] = count

    def update_stock_weight(self, stock_id: str, weight: float) -> None:
        self.position[stock_id]["weight"] = weight

    def add_count_all(self, bar: str) -> None:
        """Every holding has been held for one more bar of size `bar`."""
        name = f"count_{bar}"
        for key, held in self.position.items():
            if key not in SPECIAL:
                held[name] = held.get(name, 0) + 1

    def update_weight_all(self) -> None:
        """Recompute every weight from the last prices."""
        for stock, weight in self.get_stock_weight_dict().items():
            self.position[stock]["weight"] = weight


_OWN = frozenset({"_settle_type", "_sums", "position", "init_cash", "short"})


class InfPosition(BasePosition):
    """Endless cash and endless amounts of everything; trades leave it as it is.

    For executing orders that somebody else decided. It has no value, so portfolio metrics need a Position.
    """

    def skip_update(self) -> bool:
        return True

    def check_stock(self, stock_id: str) -> bool:  # noqa: ARG002
        return True

    def update_order(self, order: Order, trade_val: float, cost: float, trade_price: float) -> None:
        """Nothing changes."""

    def update_stock_price(self, stock_id: str, price: float) -> None:
        """Nothing changes."""

    def calculate_stock_value(self) -> float:
        """Return infinity."""
        return np.inf

    def calculate_value(self) -> float:
        raise NotImplementedError(_NO_VALUE)

    def get_stock_list(self) -> list[str]:
        raise NotImplementedError(_NO_VALUE)

    def get_stock_price(self, code: str) -> float:  # noqa: ARG002
        """Return NaN."""
        return np.nan

    def get_stock_amount(self, code: str) -> float:  # noqa: ARG002
        """Return infinity."""
        return np.inf

    def get_cash(self, include_settle: bool = False) -> float:  # noqa: ARG002
        """Return infinity."""
        return np.inf

    def get_stock_amount_dict(self) -> dict[str, float]:
        raise NotImplementedError(_NO_VALUE)

    def get_stock_weight_dict(self, only_stock: bool = False) -> dict[str, float]:  # noqa: ARG002
        raise NotImplementedError(_NO_VALUE)

    def add_count_all(self, bar: str) -> None:  # noqa: ARG002
        raise NotImplementedError(_NO_VALUE)

    def update_weight_all(self) -> None:
        raise NotImplementedError(_NO_VALUE)

    def settle_start(self, settle_type: str) -> None:
        """Nothing to settle."""

    def settle_commit(self) -> None:
        """Nothing to settle."""


_NO_VALUE = "an InfPosition holds everything without end, so it has no list, value or weights; use pos_type='Position'"


class PositionHistory(MutableMapping[pd.Timestamp, Any]):
    """Positions by time, like a dict, at a tenth of the memory.

    A plain Position is stored as its numbers, packed, per step and built anew each time it is asked for (changing what
    one received changes nothing here); any other object is stored as it is.
    """

    def __init__(self) -> None:
        self._kept: dict[pd.Timestamp, Any] = {}
        self._names: tuple[str, ...] = ()
        self._keys: tuple[str, ...] = ()

    def __getstate__(self) -> dict[str, Any]:
        return {"_kept": self._kept}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__()  # type: ignore[misc]
        self._kept = state["_kept"]

    def record(self, time: pd.Timestamp, position: BasePosition) -> None:
        """Remember what `position` is at `time`."""
        packed = self._pack(position) if type(position) is Position else None
        self._kept[time] = copy.deepcopy(position) if packed is None else packed

    def _pack(self, position: Position) -> tuple[Any, ...] | None:
        table = position.position
        names = tuple(filterfalse(SPECIAL.__contains__, table))
        if names == self._names:
            names = self._names  # one tuple for as long as the same names are held
        self._names = names
        if names and len(self._keys) != len(table[names[0]]):
            self._keys = tuple(table[names[0]])
        numbers = native.pack(table, SPECIAL, self._keys)
        if numbers is None:
            return None  # holdings of unequal kinds: keep them as they are
        special = {key: table[key] for key in OWN_NUMBERS if key in table}
        own = position.init_cash, position._settle_type, position.short
        return own, special, names, self._keys, numbers

    def _unpack(self, packed: tuple[Any, ...]) -> Position:
        (init_cash, settle_type, short), special, names, keys, numbers = packed
        position = Position(cash=init_cash, short=short)
        position._settle_type = settle_type
        kinds = [int if key.startswith("count_") else float for key in keys]
        position.position = dict(special)
        for name, row in zip(names, iter_unpack(f"{len(keys)}d", numbers) if names else (), strict=True):
            position.position[name] = {key: kind(number) for key, kind, number in zip(keys, kinds, row, strict=True)}
        return position

    def columns(self, *names: str) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return every holding of every step at once, packed ones without building a Position.

        Parameters
        ----------
        names
            What is kept per instrument: "amount", "price", or a number that a market added.

        Returns
        -------
        steps, values
            Per holding, in the order of the steps: the number of its step (0 is the first), and by name its numbers;
            NaN where a holding has none of that name. An object that is no Position counts as one without holdings.

        >>> history = PositionHistory()
        >>> for day, amount in enumerate([0.0, 2.0, -3.0]):
        ...     held = {"A": {"amount": amount, "price": 10.0}} if amount else {}
        ...     history.record(pd.Timestamp(2024, 1, 1 + day), Position(cash=5.0, position_dict=held, short=True))
        >>> steps, values = history.columns("amount", "limit")
        >>> steps.tolist(), values["amount"].tolist(), values["limit"].tolist()
        ([1, 2], [2.0, -3.0], [nan, nan])
        """
        packs: dict[tuple[str, ...], tuple[list[int], list[int], list[bytes]]] = {}  # steps, holdings and numbers
        for step, kept in enumerate(self._kept.values()):
            if isinstance(kept, tuple):
                _, _, held, keys, numbers = kept
                parts = [(keys, len(held), numbers)]
            else:
                table = getattr(kept, "position", {})
                rows = [one for key, one in table.items() if key not in SPECIAL] if isinstance(table, Mapping) else []
                parts = [(names, 1, pack(f"{len(names)}d", *(one.get(name, np.nan) for name in names))) for one in rows]
            for keys, count, numbers in parts:
                if not count:
                    continue
                steps, counts, texts = packs.setdefault(keys, ([], [], []))
                steps.append(step)
                counts.append(count)
                texts.append(numbers)
        tables = []
        for keys, (steps, counts, texts) in packs.items():
            found = np.frombuffer(b"".join(texts)).reshape(-1, len(keys))
            picked = [found[:, keys.index(name)] if name in keys else np.full(len(found), np.nan) for name in names]
            tables.append(np.column_stack([np.repeat(steps, counts), *picked]))
        table = np.concatenate([np.empty((0, 1 + len(names))), *tables])
        table = table[np.argsort(table[:, 0], kind="stable")]
        return table[:, 0].astype(np.int64), {name: table[:, 1 + k] for k, name in enumerate(names)}

    def instruments(self) -> np.ndarray:
        """Return the instrument (object) of every holding of every step, in the order of `columns`.

        >>> history = PositionHistory()
        >>> history.record(pd.Timestamp("2024-01-01"), Position(position_dict={"A": {"amount": 2.0, "price": 10.0}}))
        >>> history.instruments().tolist()
        ['A']
        """
        found: list[Iterable[str]] = []
        for kept in self._kept.values():
            table = getattr(kept, "position", {})
            names = filterfalse(SPECIAL.__contains__, table) if isinstance(table, Mapping) else ()
            found.append(kept[2] if isinstance(kept, tuple) else names)
        return np.array([*chain.from_iterable(found)], dtype=object)

    def __getitem__(self, time: Any) -> Any:
        kept = self._kept[time if isinstance(time, pd.Timestamp) else pd.Timestamp(time)]
        return self._unpack(kept) if isinstance(kept, tuple) else kept

    def __setitem__(self, time: Any, position: Any) -> None:
        self._kept[pd.Timestamp(time)] = position

    def __delitem__(self, time: Any) -> None:
        del self._kept[pd.Timestamp(time)]

    def __contains__(self, time: object) -> bool:
        return time in self._kept

    def __iter__(self) -> Iterator[pd.Timestamp]:
        return iter(self._kept)

    def __len__(self) -> int:
        return len(self._kept)

    def __repr__(self) -> str:
        times: Iterable[pd.Timestamp] = list(self._kept)
        span = f"{min(times)} to {max(times)}" if self._kept else "empty"
        return f"PositionHistory({len(self._kept)} positions, {span})"
