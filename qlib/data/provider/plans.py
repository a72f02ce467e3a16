"""The plans that a provider made last: asking the same formulas again parses nothing."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

from qlib.data.expression.alike import taken_alike
from qlib.data.expression.node import Operator
from qlib.data.expression.plan import Plan, build_plan
from qlib.data.expression.registry import OPERATORS, Registry

_MOST_PLANS: Final = 32
_MOST_FIELDS: Final = 1_000  # of a plan that is kept: beyond that, parsing is little beside computing


class Plans:
    """Makes plans and keeps the last few. Threads may share one; a copy in another process begins empty."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[tuple[str, ...], str | None, int], tuple[Registry, Plan]] = OrderedDict()
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[Plans], tuple[()]]:
        return Plans, ()

    def of(self, fields: tuple[str, ...], compat: str | None, registry: Mapping[str, type[Operator]] | None) -> Plan:
        """Return the plan of some formulas, as `build_plan` does, those that Qlib takes for one another made one.

        Parameters
        ----------
        registry
            The operators that may be called; those of the package by default. Registering one more is noticed.
        """
        table = OPERATORS if registry is None else registry
        if not isinstance(table, Registry):  # nobody would say that it has changed
            return taken_alike(build_plan(fields, compat=compat, registry=registry))
        key = (fields, compat, table.changes)
        with self._lock:
            known = self._known.get(key)
            if known is not None and known[0] is table:
                self._known.move_to_end(key)
                return known[1]
        plan = taken_alike(build_plan(fields, compat=compat, registry=registry))
        if len(fields) <= _MOST_FIELDS:
            with self._lock:
                self._known[key] = (table, plan)
                if len(self._known) > _MOST_PLANS:
                    self._known.popitem(last=False)
        return plan
