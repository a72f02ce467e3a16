"""Why a golden of the backtest differs by default: each deliberate deviation as a switch that can be put back alone.

    python tests/golden/backtest_rows.py        which row of docs/deviations.md explains which checks, counted; and
                                                backtest_rows.json: the rows that each case needs

The rooms ask for Qlib's numbers in one way only, `compat == "qlib"`, so a text that answers by the place that asks
is as good as a switch for every place: `Switched({"money"})` is "qlib" in the functions of the row `money` and
nowhere else.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import qlib

PACKAGE = Path(qlib.__file__).parent
GOLDENS = PACKAGE.parent.parent / "shared" / "goldens"
NEEDED = Path(__file__).with_suffix(".json")
GROUPS = ("backtest", "nested", "analysis")
ROOMS = (
    "backtest",
    "contrib/strategy",
    "contrib/evaluate.py",
    "contrib/evaluate_portfolio.py",
    "contrib/eva",
    "analysis",
)
Site = tuple[str, str]  # file below the package, function

# row -> (functions that decide it, first cells of its lines in docs/deviations.md)
ROWS: dict[str, tuple[tuple[Site, ...], tuple[str, ...]]] = {
    "slots and money": (
        (
            ("contrib/strategy/signal_strategy.py", "TopkDropoutStrategy.generate_trade_decision"),
            ("contrib/strategy/signal_strategy.py", "TopkDropoutStrategy._choose"),
        ),
        (
            "`TopkDropoutStrategy`: sales that are blocked",
            "`TopkDropoutStrategy`: money for buys",
            "`TopkDropoutStrategy`: buys that cannot be made",
            "`TopkDropoutStrategy`: fewer candidates than slots",
            "`n_drop=0`",
        ),
    ),
    "orders of nothing": (
        (("contrib/strategy/signal_strategy.py", "TopkDropoutStrategy._buy"),),
        ("`TopkDropoutStrategy`: buys too small for a lot",),
    ),
    "random choices": (
        (
            ("contrib/strategy/signal_strategy.py", "TopkDropoutStrategy._pick"),
            ("contrib/strategy/rule_strategy.py", "RandomOrderStrategy.generate_trade_decision"),
        ),
        ("random choices", "`RandomOrderStrategy`"),
    ),
    "useless scores": (
        (("contrib/strategy/signal_strategy.py", "BaseSignalStrategy._check_signal"),),
        ("scores none of which can be used: other dates, no quotes",),
    ),
    "useless orders": (
        (("contrib/strategy/rule_strategy.py", "FileOrderStrategy._check_orders"),),
        ("a list of orders none of which can be given: other times, no quotes",),
    ),
    "order of listed orders": (
        (("contrib/strategy/rule_strategy.py", "FileOrderStrategy.generate_trade_decision"),),
        ("orders of `FileOrderStrategy` for one step",),
    ),
    "first bar of a step": (
        (("contrib/strategy/deciding.py", "first_bar"),),
        ("orders of a step that spans several bars (a day in half-hours)",),
    ),
    "stretched weights": (
        (
            (
                "contrib/strategy/order_generator.py",
                "OrderGenWInteract.generate_order_list_from_target_weight_position",
            ),
        ),
        ("weights that add up to less than 1 with `OrderGenWInteract`", "target amounts of `OrderGenWInteract`"),
    ),
    "beside what cannot be sold": (
        (
            (
                "contrib/strategy/order_generator.py",
                "OrderGenWOInteract.generate_order_list_from_target_weight_position",
            ),
        ),
        ("`OrderGenWOInteract` beside holdings that cannot be sold",),
    ),
    "soft top k": (
        (("contrib/strategy/cost_control.py", "SoftTopkStrategy.generate_target_weight_position"),),
        ("weights of `SoftTopkStrategy`",),
    ),
    "end of a split order": (
        (
            ("contrib/strategy/rule_strategy.py", "SBBStrategyBase._usable"),
            ("contrib/strategy/rule_strategy.py", "SBBStrategyBase.share"),
            ("contrib/strategy/rule_strategy.py", "SBBStrategyBase.waits"),
            ("contrib/strategy/rule_strategy.py", "ACStrategy._usable"),
            ("contrib/strategy/rule_strategy.py", "ACStrategy.share"),
        ),
        (
            "`SBBStrategyEMA` and `ACStrategy` at the end, and inside a trade range",
            "`ACStrategy` when sigma changes, or is large or tiny",
            "`SBBStrategyBase` in a bar at a price limit of the other side",
        ),
    ),
    "memory of a trend": (
        (
            ("contrib/strategy/splitting.py", "FormulaSplitStrategy.reset_level_infra"),
            ("contrib/strategy/splitting.py", "FormulaSplitStrategy.begin_step"),
            ("contrib/strategy/splitting.py", "FormulaSplitStrategy._load"),
            ("data/expression/operators/rolling.py", "EMA.reach"),
        ),
        ("trend of `SBBStrategyEMA`, sigma of `ACStrategy`",),
    ),
    "lots": ((("backtest/rules/market.py", "market_of"),), ("lots",)),
    "no limit": ((("backtest/exchange.py", "Exchange.__init__"),), ("`limit_threshold=None`",)),
    "limit of the price dealt at": (
        (("backtest/loading.py", "_moved"),),
        ("a numeric price limit when dealing at another price than the close",),
    ),
    "absent fields": (
        (("backtest/loading.py", "_fill_absent"),),
        ("a limit where `$change` is not stored", "no `$factor` in a market that never closes"),
    ),
    "absent factors": (
        (("backtest/exchange.py", "Exchange.get_quote_from_qlib"),),
        ("`$factor` missing in some bars",),
    ),
    "odd lots": ((("backtest/dealing.py", "_payable"),), ("selling more of an odd lot than is held",)),
    "last bit of the cash": ((("backtest/dealing.py", "_affordable"),), ("cash after a buy that takes all of it",)),
    "first return": (
        (("backtest/account.py", "Account.update_portfolio_metrics"),),
        ("first return with initial holdings",),
    ),
    "cost of what was traded below": (
        (("backtest/account.py", "Account.update_order"),),
        ("cost and turnover in the report of an outer executor",),
    ),
    "two orders for one name": (
        (("backtest/indicator.py", "Indicator._orders_of"), ("backtest/indicator.py", "Indicator._steps_of")),
        ("two orders for one name in one step",),
    ),
    "sign of nothing": (
        (("backtest/indicator.py", "_step_row"),),
        ("`pos` of price advantages that are 0 but for rounding",),
    ),
    "risk figures": (
        (("analysis/risk.py", "risk_analysis"),),
        (
            "drawdown, in the report and in `risk_analysis`",
            '`information_ratio` of `risk_analysis(mode="product")`',
            "missing returns in `risk_analysis`",
            "`information_ratio` of returns that never vary",
        ),
    ),
    "length of a year": ((("contrib/evaluate.py", "risk_analysis"),), ("length of a year",)),
    "ties": ((("contrib/eva/alpha.py", "_ties"),), ("equal scores at the edge of a group (long-short return)",)),
    "evaluate_portfolio": (
        (("contrib/evaluate_portfolio.py", "_qlib"),),
        ("a year in `evaluate_portfolio`", "`get_beta`, `get_alpha`"),
    ),
    "attribution": ((("backtest/profit_attribution.py", "brinson_pa"),), ("`brinson_pa`",)),
}
# These ask whether the text is one that may be said at all.
CHECKS: frozenset[Site] = frozenset({("config.py", "_checked"), ("data/expression/plan.py", "build_plan")})


class Switched(str):
    """The setting `compat`: "qlib" where a function of the rows asks, something else everywhere."""

    __slots__ = ("asked", "sites")

    def __new__(cls, rows: Collection[str]) -> Switched:
        made = str.__new__(cls, "qlib")
        made.sites = CHECKS.union(*(ROWS[row][0] for row in rows))  # type: ignore[attr-defined]
        made.asked = set()  # type: ignore[attr-defined]
        return made

    def __eq__(self, other: object) -> bool:
        code = sys._getframe(1).f_code
        site = code.co_filename.removeprefix(f"{PACKAGE}/"), code.co_qualname
        self.asked.add(site)  # type: ignore[attr-defined]
        return str.__eq__(self, other) is True and site in self.sites  # type: ignore[attr-defined]

    def __ne__(self, other: object) -> bool:
        code = sys._getframe(1).f_code
        site = code.co_filename.removeprefix(f"{PACKAGE}/"), code.co_qualname
        return not (str.__eq__(self, other) is True and site in self.sites)  # type: ignore[attr-defined]

    __hash__ = str.__hash__

    def __deepcopy__(self, memo: Any) -> Switched:
        return self


def sites_of(folder: Path = PACKAGE, rooms: Collection[str] = ROOMS) -> Iterator[Site]:
    """Yield every function of the rooms that compares something with "qlib"."""
    for room in rooms:
        place = folder / room
        for path in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            yield from _asking(ast.parse(path.read_text(encoding="utf-8")), path.relative_to(folder).as_posix(), "")


def _asking(node: ast.AST, file: str, name: str) -> Iterator[Site]:
    for child in ast.iter_child_nodes(node):
        inner = name
        if isinstance(child, ast.FunctionDef | ast.ClassDef):
            inner = f"{name}.{child.name}" if name else child.name
        elif isinstance(child, ast.Compare):
            words = [part.value for part in (child.left, *child.comparators) if isinstance(part, ast.Constant)]
            if "qlib" in words:
                yield file, name
        yield from _asking(child, file, inner)


class Goldens:
    """The public golden cases of the backtest, run with some deviations put back."""

    def __init__(self) -> None:
        self.checker = _checker()
        self.context = self.checker.Context(GOLDENS / "public")
        self.cases = {
            case["id"]: (case, expect)
            for case, expect in self.checker.load_cases(self.context.folder)
            if case["group"] in GROUPS
        }

    def run(self, compat: str | None, cases: Collection[str] | None = None) -> dict[str, str | None]:
        """Return {check: what differs, or None}."""
        self.context.extra, self.context.state = {"compat": compat}, None  # a session of its own
        found: dict[str, str | None] = {}
        for name in self.cases if cases is None else cases:
            case, expect = self.cases[name]
            found |= {check: message for check, _, message in self.checker.check_case(case, expect, self.context)}
        return found

    def differing(self, rows: Collection[str], cases: Collection[str] | None = None) -> set[str]:
        """Return the checks that are not Qlib's with these rows put back."""
        return {check for check, message in self.run(Switched(rows), cases).items() if message is not None}


def _checker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_goldens", GOLDENS / "check_goldens.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def explain(goldens: Goldens) -> Mapping[str, frozenset[str]]:
    """Return {check that differs by default: rows that must be put back}: each of them, and no other one."""
    everything = set(ROWS)
    needed: defaultdict[str, set[str]] = defaultdict(set)
    for row in ROWS:
        for check in goldens.differing(everything - {row}):
            needed[check].add(row)
    return {check: frozenset(needed[check]) for check in goldens.differing(())}


def main() -> None:
    goldens = Goldens()
    rows = explain(goldens)
    together: defaultdict[frozenset[str], list[str]] = defaultdict(list)
    for check, needed in rows.items():
        together[needed].append(check)
    needing = Counter(row for needed in rows.values() for row in needed)
    left: list[str] = []
    for needed, checks in sorted(together.items(), key=lambda one: -len(one[1])):
        wrong = goldens.differing(needed, {check.split("/")[0] for check in checks}).intersection(checks)
        left += wrong
        print(
            f"{len(checks):4d} checks: {' + '.join(sorted(needed)) or 'no row'}" + (f"  NOT: {wrong}" if wrong else "")
        )
    print(f"{len(rows)} checks differ by default, {len(left)} of them are not explained")
    for row, count in needing.most_common():
        print(f"{count:4d} need {row}, {sum(needed == {row} for needed in rows.values())} of them nothing else")
    by_case: defaultdict[str, set[str]] = defaultdict(set)
    for check, needed in rows.items():
        by_case[check.split("/")[0]] |= needed
    lines = (f"  {json.dumps(case)}: {json.dumps(sorted(by_case[case]))}" for case in sorted(by_case))
    NEEDED.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
