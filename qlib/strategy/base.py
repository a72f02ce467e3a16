"""What a strategy is: at every step of its level it makes a trade decision.

    class Mine(BaseStrategy):
        def generate_trade_decision(self, execute_result=None):
            start, end = self.trade_calendar.get_step_time()
            return TradeDecisionWO([...orders...], self)

The backtest gives it, through infrastructure objects, a clock (`trade_calendar`), the position (`trade_position`) and
the exchange (`trade_exchange`). An inner strategy of a nested execution also knows `outer_trade_decision`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from qlib.backtest.decision import BaseTradeDecision
from qlib.backtest.utils import CommonInfrastructure, LevelInfrastructure, TradeCalendarManager
from qlib.errors import ConfigError, InputError
from qlib.utils.objects import init_instance_by_config

if TYPE_CHECKING:
    from qlib.backtest.exchange import Exchange
    from qlib.backtest.executor import BaseExecutor
    from qlib.backtest.position import BasePosition

__all__ = ["BaseStrategy", "RLIntStrategy", "RLStrategy"]


class BaseStrategy:
    """A maker of decisions.

    Parameters
    ----------
    outer_trade_decision
        The decision to split, for an inner strategy.
    level_infra, common_infra
        Clock and executor of the level; account and exchange. The backtest gives them.
    trade_exchange
        An exchange to ask, other than the shared one.
    """

    def __init__(
        self,
        outer_trade_decision: BaseTradeDecision | None = None,
        level_infra: LevelInfrastructure | None = None,
        common_infra: CommonInfrastructure | None = None,
        trade_exchange: Exchange | None = None,
    ) -> None:
        self._trade_exchange = trade_exchange
        self._reset(level_infra=level_infra, common_infra=common_infra, outer_trade_decision=outer_trade_decision)

    @property
    def executor(self) -> BaseExecutor:
        """The executor of this level."""
        executor: BaseExecutor = self.level_infra.get("executor")
        return executor

    @property
    def trade_calendar(self) -> TradeCalendarManager:
        """The clock of this level."""
        return self.level_infra.trade_calendar

    @property
    def trade_position(self) -> BasePosition:
        """The position that is being traded; copy it before changing it."""
        position: BasePosition = self.common_infra.get("trade_account").current_position
        return position

    @property
    def trade_exchange(self) -> Exchange:
        """The exchange to ask for prices and tradability."""
        if self._trade_exchange is not None:
            return self._trade_exchange
        exchange: Exchange = self.common_infra.get("trade_exchange")
        return exchange

    level_infra: LevelInfrastructure
    common_infra: CommonInfrastructure
    outer_trade_decision: BaseTradeDecision

    def reset_level_infra(self, level_infra: LevelInfrastructure) -> None:
        """Take the level's clock and executor."""
        if hasattr(self, "level_infra"):
            self.level_infra.update(level_infra)
        else:
            self.level_infra = level_infra

    def reset_common_infra(self, common_infra: CommonInfrastructure) -> None:
        """Take the shared account and exchange."""
        if hasattr(self, "common_infra"):
            self.common_infra.update(common_infra)
        else:
            self.common_infra = common_infra

    def reset(
        self,
        level_infra: LevelInfrastructure | None = None,
        common_infra: CommonInfrastructure | None = None,
        outer_trade_decision: BaseTradeDecision | None = None,
        **kwargs: Any,  # noqa: ARG002  subclasses take more
    ) -> None:
        """Begin anew with what is given; called before a range of steps."""
        self._reset(level_infra=level_infra, common_infra=common_infra, outer_trade_decision=outer_trade_decision)

    def _reset(
        self,
        level_infra: LevelInfrastructure | None = None,
        common_infra: CommonInfrastructure | None = None,
        outer_trade_decision: BaseTradeDecision | None = None,
    ) -> None:
        if level_infra is not None:
            self.reset_level_infra(level_infra)
        if common_infra is not None:
            self.reset_common_infra(common_infra)
        if outer_trade_decision is not None:
            self.outer_trade_decision = outer_trade_decision

    @abstractmethod
    def generate_trade_decision(
        self, execute_result: list[Any] | None = None
    ) -> BaseTradeDecision | Generator[Any, Any, BaseTradeDecision]:
        """Return the decision of the current step.

        `execute_result` holds the fills (order, value, cost, price) of the step before; None in the first.
        """
        raise NotImplementedError

    @staticmethod
    def update_trade_decision(
        trade_decision: BaseTradeDecision,  # noqa: ARG004
        trade_calendar: TradeCalendarManager,  # noqa: ARG004
    ) -> BaseTradeDecision | None:
        """Return a revised decision while its execution is under way (`trade_calendar`: the inner clock), or None."""
        return None

    def alter_outer_trade_decision(self, outer_trade_decision: BaseTradeDecision) -> BaseTradeDecision:
        """Take a revised outer decision."""
        self.outer_trade_decision = outer_trade_decision
        return outer_trade_decision

    def get_data_cal_avail_range(self, rtype: str = "full") -> tuple[int, int]:
        """Return the bars of the exchange's data, counted from the day's first, in which this level may trade.

        The steps of the level and the trade range of the outer decision together; "full" or "step".
        """
        if rtype not in ("full", "step"):
            raise InputError(f"rtype: received {rtype!r}; allowed are 'full' and 'step'")
        first, last = self.trade_calendar.get_data_cal_range(rtype=rtype)
        outer_first, outer_last = self.outer_trade_decision.get_data_cal_range_limit(rtype=rtype)
        return max(first, outer_first), min(last, outer_last)

    def post_upper_level_exe_step(self) -> None:
        """Do something after the level above finished its step (or the whole backtest); nothing by default."""

    def post_exe_step(self, execute_result: list[Any] | None) -> None:
        """Do something with the fills of the step just executed; nothing by default."""


class RLStrategy(BaseStrategy):
    """A strategy with a policy that was learned.

    Parameters
    ----------
    policy
        The policy.

    The others are those of `BaseStrategy`.
    """

    def __init__(
        self,
        policy: Any,
        outer_trade_decision: BaseTradeDecision | None = None,
        level_infra: LevelInfrastructure | None = None,
        common_infra: CommonInfrastructure | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(outer_trade_decision, level_infra, common_infra, **kwargs)
        self.policy = policy


class RLIntStrategy(RLStrategy):
    """A policy between two interpreters: fills become a state, the policy's action becomes a decision.

    Parameters
    ----------
    policy
        Has `step(state)`; an object, or the configuration of one, as the interpreters.
    state_interpreter
        Has `interpret(execute_result=...)`.
    action_interpreter
        Has `interpret(action=...)`, which returns the decision.

    Raises ConfigError for a part without its method.
    """

    def __init__(
        self,
        policy: Any,
        state_interpreter: Any,
        action_interpreter: Any,
        outer_trade_decision: BaseTradeDecision | None = None,
        level_infra: LevelInfrastructure | None = None,
        common_infra: CommonInfrastructure | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(_part("policy", policy, "step"), outer_trade_decision, level_infra, common_infra, **kwargs)
        self.state_interpreter = _part("state_interpreter", state_interpreter, "interpret")
        self.action_interpreter = _part("action_interpreter", action_interpreter, "interpret")

    def generate_trade_decision(self, execute_result: list[Any] | None = None) -> BaseTradeDecision:
        """Return what the policy decides."""
        state = self.state_interpreter.interpret(execute_result=execute_result)
        decision: BaseTradeDecision = self.action_interpreter.interpret(action=self.policy.step(state))
        return decision


def _part(name: str, given: Any, method: str) -> Any:
    made = init_instance_by_config(given) if isinstance(given, dict | str) else given
    if not callable(getattr(made, method, None)):
        raise ConfigError(f"{name}: received {type(made).__name__}; an object with the method {method} is needed")
    return made
