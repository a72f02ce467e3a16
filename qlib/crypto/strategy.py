"""Strategies that hold weights with a sign: long what is good, short what is bad, and little of the rest.

LongShortStrategy         the k best scores long, the k worst short; neutral to money, beta, funding, whatever formula
FormulaLongShortStrategy  the same, by a formula instead of a model: momentum, or with sign=-1 reversal
FundingCarryStrategy      a coin bought and its perpetual sold while the perpetual's longs pay

    LongShortStrategy(signal=scores, topk=10, gross=1.0, neutral=["beta"], formulas={"beta": "..."}, turnover=0.2)

Everything a strategy looks at was known when the bar before its step ended: scores of the bar before, formulas of the
bar before, prices of the bar before, by which orders are sized. What a holding is reduced by is ordered before what
another is increased by. All weights are shares of the account's value; `gross` is the sum of their sizes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from qlib.backtest.decision import BaseTradeDecision, Order, TradeDecisionWO
from qlib.backtest.position import Position
from qlib.backtest.signal import create_signal_from
from qlib.crypto.cash_market import Spot
from qlib.errors import ConfigError, did_you_mean
from qlib.strategy.base import BaseStrategy

if TYPE_CHECKING:
    from qlib.backtest.exchange import Exchange

Array = np.ndarray[Any, Any]
PRICE: Final = "$close"
RETURN: Final = "$close/Ref($close,1)-1"
NO_CHANGE: Final = 1e-12  # of a weight
REST: Final = 0.005  # of gross: a holding of no more, which is to be closed, is closed at once


class SignedWeightStrategy(BaseStrategy):
    """A strategy that says target weights with a sign; subclasses write `target_weights`.

    Parameters
    ----------
    formulas
        What it wants to know, by name; `target_weights` receives the values of the bar before.
    gross
        Largest sum of the sizes of all weights.
    max_weight
        Largest size of one weight; what is cut is not given to others.
    turnover
        Largest sum of the changes of all weights in a step: beyond it the changes are cut in proportion, but small
        rests of holdings that are given up go first.
    every
        Steps between two decisions.

    Raises ConfigError for a number that cannot be used, naming it.
    """

    def __init__(
        self,
        *,
        formulas: Mapping[str, str] = {},
        gross: float = 1.0,
        max_weight: float | None = None,
        turnover: float | None = None,
        every: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        for name, number in (("gross", gross), ("max_weight", max_weight), ("turnover", turnover), ("every", every)):
            if number is not None and not number > 0:
                raise ConfigError(f"{name}: received {number!r}; a number above 0 is allowed")
        self.formulas = dict(formulas)
        self.gross, self.max_weight, self.turnover, self.every = gross, max_weight, turnover, int(every)
        self._known: tuple[Exchange, dict[str, Array]] | None = None

    def target_weights(self, step: int, known: Mapping[str, Array]) -> Array:
        """Return a weight per instrument of `trade_exchange.quote.instruments`; NaN leaves what is held.

        Parameters
        ----------
        step
            Number of the step, from 0.
        known
            The value of each formula, and `"price"`, per instrument, as of the end of the bar before.
        """
        raise NotImplementedError

    def generate_trade_decision(self, execute_result: list[Any] | None = None) -> BaseTradeDecision:  # noqa: ARG002
        """Return the orders from what is held to the target weights: reductions, then increases."""
        exchange, calendar = self.trade_exchange, self.trade_calendar
        step = calendar.get_trade_step()
        start, end = calendar.get_step_time(step)
        bar = exchange.bar(start, end)
        if step % self.every or bar.hi <= bar.lo:
            return TradeDecisionWO([], self)
        tables = self._tables(exchange)
        known = {name: table[bar.lo] for name, table in tables.items()}
        position = self.trade_position
        if not isinstance(position, Position):
            raise ConfigError(f"{type(self).__name__} needs an account with a Position, received {position!r}")
        price, equity = known["price"].astype(np.float64), position.calculate_value()
        if isinstance(exchange, Spot):  # inverse contracts, other currencies: what a unit is worth, not its price
            price = exchange.unit_worth(price, bar.lo)
        if not equity > 0:
            return TradeDecisionWO([], self)
        names, column = exchange.quote.instruments, exchange.quote.column
        held = np.zeros(len(names))
        for name, amount in position.get_stock_amount_dict().items():
            if name in column:
                held[column[name]] = amount
        wanted = np.asarray(self.target_weights(step, known), dtype=np.float64)
        if wanted.shape != held.shape:
            raise ConfigError(
                f"{type(self).__name__}.target_weights returned {wanted.shape} weights for {len(names)} instruments"
            )
        now = held * price / equity
        movable = np.isfinite(wanted) & (price > 0)
        target = np.where(movable, self._bounded(np.where(movable, wanted, 0.0)), now)
        change = np.where(movable, target - now, 0.0)
        change = self._limited(change, now, target)
        delta = np.zeros(len(names))
        moved = np.abs(change) > NO_CHANGE
        delta[moved] = change[moved] * equity / price[moved]
        closing = moved & (target == 0) & (change == -now)
        delta[closing] = -held[closing]  # all of it, to the last digit
        return TradeDecisionWO(_orders(names, held, delta, start, end), self)

    def _limited(self, change: Array, now: Array, target: Array) -> Array:
        """Return the changes within `turnover`: what is left of old holdings goes first, the rest in proportion."""
        if self.turnover is None or np.abs(change).sum() <= self.turnover:
            return change
        rest = (target == 0) & (np.abs(now) <= REST * self.gross)
        room = self.turnover - float(np.abs(change[rest]).sum())
        if room <= 0:
            rest, room = np.zeros(len(change), dtype=bool), self.turnover
        share = min(room / max(float(np.abs(change[~rest]).sum()), 1e-300), 1.0)
        return np.where(rest, change, change * share)

    def _bounded(self, weights: Array) -> Array:
        """Return weights within max_weight and gross."""
        if self.max_weight is not None:
            weights = np.clip(weights, -self.max_weight, self.max_weight)
        size = float(np.abs(weights).sum())
        return weights * (self.gross / size) if size > self.gross else weights

    def _tables(self, exchange: Exchange) -> dict[str, Array]:
        """Load every formula once, each value in the row of the bar that comes after it."""
        if self._known is None or self._known[0] is not exchange:
            quote = exchange.quote
            asked = {"price": PRICE, **self.formulas}
            shifted = {name: f"Ref({formula},1)" for name, formula in asked.items()}
            fields = list(dict.fromkeys(shifted.values()))
            panel, times = exchange.provider.panel(
                list(quote.instruments), fields, quote.times[0], quote.times[-1], exchange.freq
            )
            count, length = len(panel.instruments), np.diff(panel.start)
            place = panel.positions() * count + np.repeat(np.arange(count), length)
            order = [panel.instruments.index(name) if name in panel.instruments else -1 for name in quote.instruments]
            tables = {}
            for name, field in shifted.items():
                table = np.full(len(times) * count, np.nan, dtype=np.float32)
                table[place] = panel.columns[field]
                own = np.concatenate([table.reshape(len(times), count), np.full((len(times), 1), np.nan, "f4")], axis=1)
                tables[name] = own[:, order]
            self._known = exchange, tables
        return self._known[1]


def _orders(names: Sequence[str], held: Array, delta: Array, start: Any, end: Any) -> list[Order]:
    places = np.flatnonzero(delta)
    shrinks = np.sign(delta[places]) != np.sign(held[places])
    shrinks &= held[places] != 0
    made = []
    for place in [*places[shrinks].tolist(), *places[~shrinks].tolist()]:
        side = Order.BUY if delta[place] > 0 else Order.SELL
        made.append(Order(names[place], abs(float(delta[place])), side, start, end))
    return made


class LongShortStrategy(SignedWeightStrategy):
    """The best scores long, the worst short, half of `gross` each.

    Parameters
    ----------
    signal
        Scores, as those of `TopkDropoutStrategy`; the ones of the bar before count.
    topk, bottomk
        How many are held long and short; bottomk None: as many. Never more than half of the names that have a score.
    neutral
        Names of formulas whose weighted sum is to be 0, as the sum of the weights then is: "beta" for the market,
        "funding" for what is paid. What is left is scaled to `gross` again.
    liquidity, tier
        A formula, and the ranks by it (0: the largest) that may be held, as (0, 50).
    volatility, window, periods
        Target volatility a year: weights are scaled by target / volatility of these weights over the last `window`
        bars, never above `gross`. `periods` are the bars of a year.
    kwargs
        Those of `SignedWeightStrategy`.
    """

    def __init__(
        self,
        *,
        signal: Any = None,
        topk: int,
        bottomk: int | None = None,
        neutral: Sequence[str] = (),
        liquidity: str | None = None,
        tier: Sequence[int] | None = None,
        volatility: float | None = None,
        window: int = 168,
        periods: float = 24 * 365,
        formulas: Mapping[str, str] = {},
        **kwargs: Any,
    ) -> None:
        own = {
            **formulas,
            **({"liquidity": liquidity} if liquidity else {}),
            **({"return": RETURN} if volatility else {}),
        }
        super().__init__(formulas=own, **kwargs)
        self.topk, self.bottomk = int(topk), int(topk if bottomk is None else bottomk)
        if self.topk < 0 or self.bottomk < 0 or not self.topk + self.bottomk:
            raise ConfigError(f"topk {topk!r} and bottomk {bottomk!r}: whole numbers of at least 0, not both 0")
        for name in neutral:
            if name not in own:
                raise ConfigError(f"neutral: received {name!r}; its formula is needed{did_you_mean(name, own)}")
        if tier is not None and (liquidity is None or len(tier) != 2 or not 0 <= tier[0] < tier[1]):
            raise ConfigError(f"tier: received {tier!r}; two ascending ranks, and a formula as liquidity, are needed")
        if volatility is not None and not (volatility > 0 and window > 1 and periods > 0):
            raise ConfigError(f"volatility {volatility!r}, window {window!r}, periods {periods!r}: must be above 0")
        self.neutral, self.tier = tuple(neutral), tier
        self.volatility, self.window, self.periods = volatility, int(window), periods
        self.signal = None if signal is None else create_signal_from(signal)
        if signal is None and type(self).scores is LongShortStrategy.scores:
            raise ConfigError(f"{type(self).__name__} needs a signal: scores, or signal=(model, dataset)")

    def scores(self, step: int, known: Mapping[str, Array]) -> Array | None:  # noqa: ARG002
        """Return a score per instrument; None: there is none in this step, and nothing is done."""
        calendar, exchange = self.trade_calendar, self.trade_exchange
        assert self.signal is not None
        found = self.signal.get_scores(*calendar.get_step_time(step, shift=1))
        if found is None:
            return None
        place = np.array([found.column.get(name, -1) for name in exchange.quote.instruments], dtype=np.int64)
        return np.where(place >= 0, np.append(found.values, np.nan)[place], np.nan)

    def target_weights(self, step: int, known: Mapping[str, Array]) -> Array:
        scores = self.scores(step, known)
        count = len(self.trade_exchange.quote.instruments)
        if scores is None:
            return np.full(count, np.nan)
        able = np.isfinite(scores) & (known["price"] > 0)
        for name in self.neutral:
            able &= np.isfinite(known[name])
        if self.tier is not None:
            size = np.where(able, known["liquidity"], np.nan)
            ranked = np.argsort(-np.nan_to_num(size, nan=-np.inf), kind="stable")
            inside = np.zeros(count, dtype=bool)
            inside[ranked[self.tier[0] : self.tier[1]]] = True
            able &= inside & np.isfinite(size)
        places = np.flatnonzero(able)
        order = places[np.argsort(-scores[places], kind="stable")]
        most = len(order) // 2 if self.topk and self.bottomk else len(order)
        long, short = order[: min(self.topk, most)], order[len(order) - min(self.bottomk, most) :]
        weights = np.zeros(count)
        half = self.gross / 2 if self.topk and self.bottomk else self.gross
        if len(long):
            weights[long] = half / len(long)
        if self.bottomk and len(short):
            weights[short] = -half / len(short)
        chosen = np.flatnonzero(weights)
        if self.neutral and len(chosen):
            weights[chosen] = self._neutral(weights[chosen], [known[name][chosen] for name in self.neutral])
        return weights * self._scale(weights)

    def _neutral(self, weights: Array, exposures: Sequence[Array]) -> Array:
        """Return the nearest weights without exposure, and without money: their sum is 0."""
        columns = np.column_stack([np.ones(len(weights)), *(np.asarray(one, dtype=np.float64) for one in exposures)])
        columns /= np.maximum(np.abs(columns).max(axis=0), 1e-300)
        left = weights - columns @ np.linalg.lstsq(columns, weights, rcond=None)[0]
        size = np.abs(left).sum()
        if size < 1e-9 * np.abs(weights).sum():  # nothing is left: as many conditions as names
            return np.zeros(len(weights))
        scaled: Array = left * (self.gross / size)
        return scaled

    def _scale(self, weights: Array) -> float:
        if self.volatility is None:
            return 1.0
        exchange, calendar = self.trade_exchange, self.trade_calendar
        row = exchange.bar(*calendar.get_step_time()).lo
        moves = self._tables(exchange)["return"][max(row - self.window + 1, 0) : row + 1]
        if len(moves) < 2:
            return 1.0
        earned = np.nan_to_num(moves, nan=0.0).astype(np.float64) @ weights
        spread = float(earned.std(ddof=1)) * self.periods**0.5
        return min(self.volatility / spread, 1.0) if spread > 0 else 1.0


class FormulaLongShortStrategy(LongShortStrategy):
    """Long and short by a formula of the bars: cross-section momentum, or reversal with sign=-1.

    Parameters
    ----------
    score
        The formula, such as "$close/Ref($close,168)-1".
    sign
        1: the largest are bought; -1: the smallest.
    kwargs
        Those of `LongShortStrategy`.
    """

    def __init__(self, *, score: str, sign: int = 1, formulas: Mapping[str, str] = {}, **kwargs: Any) -> None:
        if sign not in (1, -1):
            raise ConfigError(f"sign: received {sign!r}; allowed are 1 and -1")
        self.sign = sign
        super().__init__(formulas={**formulas, "score": score}, **kwargs)

    def scores(self, step: int, known: Mapping[str, Array]) -> Array | None:  # noqa: ARG002
        return self.sign * known["score"].astype(np.float64)


class FundingCarryStrategy(SignedWeightStrategy):
    """Coins bought, and as many sold as perpetuals, while the perpetual's longs pay: earns funding, whatever the price.

    Parameters
    ----------
    pairs
        Perpetual -> spot, both instruments of the exchange.
    rate
        Formula over a perpetual's fields that says what it pays.
    enter, leave
        A pair is opened where the rate is above `enter`, and closed where it is below `leave`.
    weight
        Share of the account in each leg of a pair; `gross` bounds the sum of both legs of all.
    kwargs
        Those of `SignedWeightStrategy`.
    """

    def __init__(
        self,
        *,
        pairs: Mapping[str, str],
        rate: str = "Mean($funding,21)",
        enter: float = 0.0001,
        leave: float = 0.0,
        weight: float = 0.1,
        gross: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(formulas={"rate": rate}, gross=gross, **kwargs)
        if not pairs:
            raise ConfigError("pairs: received none; {'BTC-USDT-SWAP': 'BTC-USDT'} is a pair")
        if not (enter >= leave and weight > 0):
            raise ConfigError(f"enter {enter!r} must not be below leave {leave!r}, and weight {weight!r} above 0")
        self.pairs, self.enter, self.leave, self.weight = dict(pairs), enter, leave, weight

    def target_weights(self, step: int, known: Mapping[str, Array]) -> Array:  # noqa: ARG002
        exchange, position = self.trade_exchange, self.trade_position
        held: dict[str, float] = position.get_stock_amount_dict()
        column, price = exchange.quote.column, known["price"].astype(np.float64)
        weights = np.full(len(column), np.nan)
        fresh = np.zeros(len(column))
        for perpetual, spot in self.pairs.items():
            for name in (perpetual, spot):
                if name not in column:
                    raise ConfigError(f"pairs: {name} has no quotes here{did_you_mean(name, column)}")
            p, s, rate = column[perpetual], column[spot], float(known["rate"][column[perpetual]])
            if not (price[p] > 0 and price[s] > 0):
                continue
            if rate < self.leave:
                weights[p] = weights[s] = 0.0
            elif rate > self.enter and perpetual not in held:
                fresh[s], fresh[p] = self.weight, -self.weight * price[p] / price[s]  # as many coins
        bound = sum(abs(held.get(name, 0.0)) * price[column[name]] for pair in self.pairs.items() for name in pair)
        room, asked = self.gross - bound / position.calculate_value(), float(np.abs(fresh).sum())
        if asked and room > 0:
            opened = fresh != 0
            weights[opened] = fresh[opened] * min(room / asked, 1.0)
        return weights
