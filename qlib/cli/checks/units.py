"""Numbers in the unit that is meant: costs are shares of a value, limits shares of a price, years have so many bars.

What cannot be used at all is a problem; what is allowed and hardly meant (a fee of 5, which is 500 %) is a warning.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from qlib.analysis.risk import periods_per_year
from qlib.backtest.rules.market import market_of
from qlib.cli.checks.objects import resolve
from qlib.cli.checks.problem import Problem, is_instance_config, tables
from qlib.cli.checks.times import handler_freq, portfolios
from qlib.config import Settings
from qlib.errors import InputError
from qlib.workflow.record_temp import SigAnaRecord

SHARES: Final = {  # name -> (the most that is hardly surprising, an example)
    "open_cost": (0.05, "0.0005 is 5 basis points"),
    "close_cost": (0.05, "0.0005 is 5 basis points"),
    "impact_cost": (1.0, "0.1 is usual"),
    "limit_threshold": (1.0, "0.095 is 9.5 %"),
    "risk_degree": (10.0, "0.95 invests 95 % of the account"),
}
COSTS: Final = ("open_cost", "close_cost")
RULES: Final = (
    *("deal_price", "limit_threshold", "volume_threshold", "trade_unit", "fills", "short", "carry"),
    *("open_cost", "close_cost", "min_cost", "impact_cost"),
)
DEFAULTS: Final = {"open_cost": 0.0015, "close_cost": 0.0025, "min_cost": 5.0, "impact_cost": 0.0}
NEAR: Final = 0.05  # by which years may differ: 250 trading days are as good as 252


def unit_problems(task: Mapping[str, Any], settings: Settings) -> list[Problem]:
    """Return which numbers of the back-tests cannot be used."""
    problems: list[Problem] = []
    for where, config in portfolios(task):
        arguments = config.get("backtest")
        arguments = arguments if isinstance(arguments, Mapping) else {}
        problems += _account_problems(f"{where}.backtest.account", arguments)
        exchange = arguments.get("exchange_kwargs")
        if isinstance(exchange, Mapping) and "exchange" not in exchange:
            problems += _exchange_problems(f"{where}.backtest.exchange_kwargs", exchange, settings)
    return problems


def _account_problems(where: str, arguments: Mapping[str, Any]) -> Iterator[Problem]:
    account = arguments.get("account", 1e9)
    cash = account.get("cash", 1) if isinstance(account, Mapping) else account
    if isinstance(cash, bool) or not isinstance(cash, int | float) or not cash > 0:
        yield Problem(where, f"received {cash!r}; money above 0 is allowed, as a number")


def _exchange_problems(where: str, given: Mapping[str, Any], settings: Settings) -> Iterator[Problem]:
    for name in COSTS:
        if isinstance(given.get(name), int | float) and given[name] >= 1:
            yield Problem(
                f"{where}.{name}",
                f"received {given[name]}, {given[name]:.0%} of an order's value; costs are shares, {SHARES[name][1]}",
            )
    rules = {**DEFAULTS, **{name: None for name in RULES if name not in DEFAULTS}, "trade_unit": settings.trade_unit}
    rules |= {name: value for name, value in given.items() if name in RULES}
    if rules["deal_price"] is None:
        rules["deal_price"] = settings["deal_price"]
    if isinstance(rules["limit_threshold"], str):  # the region's
        rules["limit_threshold"] = settings.limit_threshold
    try:
        market_of(**rules, compat=settings["compat"])
    except InputError as error:
        yield Problem(where, str(error))
    except TypeError as error:  # a text where a number is needed
        texts = [f"{name}: {given[name]!r}" for name in given if name in DEFAULTS and isinstance(given[name], str)]
        yield Problem(where, f"{', '.join(texts)} is a text; a number is needed" if texts else str(error))


def unit_warnings(task: Mapping[str, Any], settings: Settings, horizon: int | None = None) -> list[Problem]:
    """Return which numbers are hardly meant as they stand; the task must have passed all checks.

    Labels that look `horizon` bars ahead overlap beyond 2 (a bar to act, a bar to earn): their mean is what many bars
    earned, and as many of them make a year as can stand one after the other.
    """
    warnings = [
        Problem(f"{where}.{name}", f"{number} is {number:.0%}; it is a share, {SHARES[name][1]}")
        for where, table in tables(task, "task")
        for name, number in table.items()
        if name in SHARES and isinstance(number, int | float) and number > SHARES[name][0]
    ]
    year = periods_per_year(handler_freq(task.get("dataset")), settings.region)
    for where, table in tables(task.get("record") or [], "task.record"):
        scaler = (table.get("kwargs") or {}).get("ann_scaler") if is_instance_config(table) else None
        if not isinstance(scaler, int | float) or resolve(table, "record", where, []) is not SigAnaRecord:
            continue
        apart = [bars for bars in range(1, (horizon or 1) + 1) if abs(scaler * bars / year - 1) <= NEAR]
        if 1 in apart and (horizon or 0) > 2:
            text = (
                f"labels look {horizon} bars ahead, so those of {scaler:g} bars a year count each move many times; "
                f"{year / ((horizon or 0) - 1):.4g} stand one after the other"
            )
            warnings.append(Problem(f"{where}.kwargs.ann_scaler", text))
        elif not apart:
            freq = handler_freq(task.get("dataset"))
            text = f"{scaler:g} dates make a year; in the region {settings.region.name} {year:g} {freq} bars do"
            warnings.append(Problem(f"{where}.kwargs.ann_scaler", text))
    return warnings
