"""What a query asked for that the store does not hold, and what a person is told about it.

Several groups of instruments are told of once: a field is absent where no group has it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qlib.data.calendar import Calendar
from qlib.data.expression.operators.pit import PRef
from qlib.data.expression.plan import Plan
from qlib.data.expression.sites import leaves
from qlib.data.provider.pit import Periods, lacking
from qlib.data.provider.store import Store
from qlib.data.provider.traits import elsewhere_of, reports_of
from qlib.errors import did_you_mean
from qlib.log import get_module_logger

if TYPE_CHECKING:
    from qlib.data.provider.features import Loaded

logger = get_module_logger("data")


@dataclass(frozen=True, slots=True)
class Absent:
    """What was not found: instruments that have nothing of what is asked, fields and reports that nobody has."""

    instruments: tuple[str, ...]
    fields: tuple[str, ...]
    reports: tuple[str, ...]

    @classmethod
    def of(cls, loaded: Loaded, plan: Plan) -> Absent:
        """Return what a plan lacks in what was loaded for it."""
        bare = tuple(loaded.instruments[i] for i in loaded.unknown())
        return cls(
            bare, tuple(loaded.missing_fields()), tuple(lacking(loaded.around.periods, plan, loaded.instruments))
        )

    @classmethod
    def of_all(cls, groups: Sequence[Absent]) -> Absent:
        """Return what several groups of instruments lack together."""
        fields, reports = (
            tuple(one for one in getattr(groups[0], name) if all(one in getattr(group, name) for group in groups))
            for name in ("fields", "reports")
        )
        return cls(tuple(name for group in groups for name in group.instruments), fields, reports)


def warn(
    store: Store,
    plan: Plan,
    freq: str,
    calendar: Calendar,
    instruments: Sequence[str],
    absent: Absent,
    optional: Collection[str] = (),
) -> None:
    """Warn of what a query of these instruments lacks; the absence of `optional` fields deserves no warning."""
    unknown = [name for name in absent.instruments if not store.has_instrument(name, freq)]
    _warn_unknown(store, unknown, freq)
    missing = [field for field in absent.fields if field not in optional]
    known = next((name for name in instruments if name not in unknown), None) if missing else None
    if known is not None:
        stored = store.stored_fields(known, freq)
        for field in missing:
            hint = did_you_mean(f"${field}", [f"${name}" for name in stored])
            shown = f"stored for {known}: {', '.join(stored) or 'nothing'}"
            logger.warning(f"no instrument has ${field} at {freq}{hint} ({shown})")
    _warn_elsewhere(store, plan, freq)
    _warn_reports(store, plan, freq, calendar, instruments, absent.reports)


def _warn_elsewhere(store: Store, plan: Plan, freq: str) -> None:
    """Warn of other instruments that a formula names, where they or their fields are not stored."""
    asked = elsewhere_of(plan)
    _warn_unknown(store, [name for name in asked if not store.has_instrument(name, freq)], freq)
    for name, features in asked.items():
        stored = store.stored_fields(name, freq)
        for field in leaves(*features).columns if stored else ():
            if field not in stored:
                hint = did_you_mean(f"${field}", [f"${one}" for one in stored])
                logger.warning(f"{name} has no ${field} at {freq}{hint} (stored: {', '.join(stored)})")


def _warn_reports(
    store: Store, plan: Plan, freq: str, calendar: Calendar, instruments: Sequence[str], missing: Sequence[str]
) -> None:
    """Warn of formulas over periods that see too few of them, and of reports that nobody has."""
    for node in reports_of(plan):
        if isinstance(node, PRef) and node.formula.span.back:
            logger.warning(f"{node}: PRef sees one period only, and {node.formula} reads earlier ones")
    if not missing:
        return
    periods = Periods(store, freq, calendar)
    name = next((name for name in instruments if periods.stored_fields(name)), instruments[0])
    stored = periods.stored_fields(name)
    for field in missing:
        hint = did_you_mean(f"$${field}", [f"$${one}" for one in stored])
        shown = f"stored in {periods.root / 'financial'} for {name}: {', '.join(stored) or 'nothing'}"
        logger.warning(f"no instrument has $${field}{hint} ({shown})")


def _warn_unknown(store: Store, unknown: Sequence[str], freq: str) -> None:
    if unknown:
        stored = store.stored_instruments(freq)
        named = [name + _nearest(name, stored) for name in unknown[:5]]
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        logger.warning(f"no data in {store.where(freq)} for {', '.join(named)}{more}")


def _nearest(name: str, stored: Sequence[str]) -> str:
    hint = did_you_mean(name, [other.upper() if name.isupper() else other for other in stored])
    return f" ({hint.removeprefix('; ')})" if hint else ""
