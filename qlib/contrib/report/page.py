"""The page: one HTML file with everything inside, drawn from the JSON twin.

    render(twin) -> str

No address is ever opened: style, script and drawings are in the file, and its content policy forbids the rest (the one
script is named by its hash, so that a text smuggled in through a configuration could not run either). Every number is
written by `number`, which keeps the pointer to its place in the twin:

    <data value="0.0312" data-at="/signal/ic/mean" data-kind="coefficient">0.0312</data>
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qlib.contrib.report.figures import Figure, figures
from qlib.contrib.report.fills import AT_ONCE, COLUMNS
from qlib.contrib.report.words import TERMS, show

if TYPE_CHECKING:
    import jinja2
    from markupsafe import Markup

HERE = Path(__file__).parent / "templates"

# The tiles at the top: term, where its number stands.
SIGNAL_TILES = (
    ("ic", "/signal/ic/mean"),
    ("ic_t", "/signal/ic/t"),
    ("icir", "/signal/ic/ir"),
    ("rank_ic", "/signal/rank_ic/mean"),
)
PORTFOLIO_TILES = (
    ("annual_net", "/portfolio/net/annual"),
    ("annual_gross", "/portfolio/gross/annual"),
    ("annual_excess", "/portfolio/excess/annual"),
    ("sharpe", "/portfolio/net/sharpe"),
    ("information_ratio", "/portfolio/excess/information_ratio"),
    ("max_drawdown", "/portfolio/net/max_drawdown"),
    ("turnover", "/portfolio/trading/turnover_mean"),
    ("cost", "/portfolio/trading/cost_annual"),
)
# Those of a run with shorts or margin.
SIDE_TILES = (
    ("leverage", "/portfolio/sides/gross/highest"),
    ("margin", "/portfolio/sides/margin/highest"),
    ("distance", "/portfolio/sides/distance/lowest"),
    ("forced_closes", "/portfolio/sides/forced_closes"),
)
LUCK_TILES = (
    ("trials", "/trials/ledger/trials"),
    ("dsr", "/trials/ledger/dsr"),
    ("psr", "/trials/ledger/psr"),
    ("track_record", "/trials/ledger/min_track_record_deflated"),
)
# What takes the place of a yearly figure that would be stretched from less than half a year.
WHOLE_PERIOD = {
    "annual_net": ("total_net", "/portfolio/net/total"),
    "annual_gross": ("total_gross", "/portfolio/gross/total"),
    "annual_excess": ("total_excess", "/portfolio/excess/total"),
    "cost": ("total_cost", "/portfolio/trading/cost_sum"),
}
HALF_A_YEAR = 0.5
# The table of returns: words, key (and the excess's own name for it), kind.
RETURN_ROWS = (
    ("Whole period", "total", "change"),
    ("A year", "annual", "change"),
    ("Volatility a year", "volatility", "percent"),
    ("Sharpe or information ratio", "sharpe information_ratio", "ratio"),
    ("t of the mean", "t", "ratio"),
    ("Deepest drawdown", "max_drawdown", "change"),
    ("Sortino ratio", "sortino", "ratio"),
    ("Gains over losses", "gain_to_loss", "ratio"),
    ("Best period", "best", "change"),
    ("Worst period", "worst", "change"),
    ("Periods above zero", "positive_share", "percent"),
    ("One period in twenty is worse than", "value_at_risk", "change"),
    ("Mean of those", "expected_shortfall", "change"),
    ("Skew", "skew", "ratio"),
    ("Kurtosis (normal: 3)", "kurtosis", "ratio"),
)
RETURN_COLUMNS = (
    ("Net", "net"),
    ("Before costs", "gross"),
    ("Benchmark", "benchmark"),
    ("Excess, net", "excess"),
    ("Excess, before costs", "excess_gross"),
)
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
LEVEL_WORDS = {"alarm": "Important", "caution": "Caution", "note": "Note"}
STRONGEST_HEAT = 0.62


def pointed(twin: Any, at: str) -> Any:
    """Follow a JSON pointer (RFC 6901); a step into None gives None.

    >>> pointed({"a": [{"b/c": 1}]}, "/a/0/b~1c"), pointed({"a": None}, "/a/b")
    (1, None)
    """
    for step in at.split("/")[1:]:
        if twin is None:
            return None
        twin = twin[int(step)] if isinstance(twin, list) else twin.get(step.replace("~1", "/").replace("~0", "~"))
    return twin


@cache
def _environment() -> jinja2.Environment:
    """Return what compiles the templates, each once."""
    import jinja2  # noqa: PLC0415  only a report needs it

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip


class Pages:
    """A twin and its figures, ready for the templates.

    Parameters
    ----------
    twin
        What every number on the page points into.
    drawn
        Figures by name.
    """

    def __init__(self, twin: dict[str, Any], drawn: dict[str, Figure]) -> None:
        self.twin = twin
        self.drawn = drawn

    def render(self, template: str, **more: Any) -> str:
        """Return the page that a template makes of it; `more` is what it needs besides."""
        from markupsafe import Markup  # noqa: PLC0415  comes with jinja2

        script = (HERE / "page.js").read_text(encoding="utf-8").strip()
        return (
            _environment()
            .get_template(template)
            .render(
                twin=self.twin,
                figures=self.drawn,
                number=self._number,
                value=lambda at: pointed(self.twin, at),
                hover=lambda figure: Markup(_script_json(_hover(figure))),  # noqa: S704  no "<" is left in it
                heat=_heat,
                said=_said,
                terms=TERMS,
                month_names=MONTHS,
                style=Markup((HERE / "page.css").read_text(encoding="utf-8").strip()),  # noqa: S704  our own file
                script=Markup(script),  # noqa: S704  our own file
                script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
                **more,
            )
        )

    def _number(self, at: str, kind: str) -> Markup:
        """Return a number with its pointer and its full value."""
        from markupsafe import Markup  # noqa: PLC0415  comes with jinja2

        value = pointed(self.twin, at)
        shown = Markup.escape(show(value, kind))
        exact = "" if value is None else Markup.escape(json.dumps(value))
        style = Markup(' class="none"') if value is None else ""
        return Markup('<data value="{}" data-at="{}" data-kind="{}"{}>{}</data>').format(exact, at, kind, style, shown)


def render(twin: dict[str, Any]) -> str:
    """Return the whole page of a run."""
    from markupsafe import Markup  # noqa: PLC0415  comes with jinja2

    short = bool(twin["portfolio"]) and twin["portfolio"]["years"] < HALF_A_YEAR
    return Pages(twin, figures(twin)).render(
        "page.html",
        fill_columns=_fill_columns(twin["trades"]),
        fills_at_once=AT_ONCE,
        fill_cells=lambda: Markup(_script_json(_fill_cells(twin["trades"]))),  # noqa: S704  no "<" is left in it
        signal_tiles=SIGNAL_TILES,
        portfolio_tiles=[WHOLE_PERIOD.get(tile[0], tile) if short else tile for tile in PORTFOLIO_TILES]
        + [tile for tile in SIDE_TILES if pointed(twin, tile[1]) is not None],
        luck_tiles=[tile for tile in LUCK_TILES if pointed(twin, tile[1]) is not None],
        return_rows=RETURN_ROWS,
        return_columns=[column for column in RETURN_COLUMNS if (twin["portfolio"] or {}).get(column[1])],
        level_words=LEVEL_WORDS,
    )


def _hover(figure: Figure) -> dict[str, Any]:
    return {
        "places": figure.places,
        "heads": figure.heads,
        "rows": figure.rows,
        "readouts": [asdict(readout) for readout in figure.readouts],
    }


def _fill_columns(trades: dict[str, Any] | None) -> list[tuple[str, str, str]]:
    """Columns of the table of fills; slippage where there is any."""
    return [column for column in COLUMNS if trades and (column[0] != "slippage" or trades["slippage"])]


def _fill_cells(trades: dict[str, Any]) -> dict[str, Any]:
    """The rows as they are written, for the script that turns the pages."""
    columns = _fill_columns(trades)
    return {
        "keys": [key for key, _, _ in columns],
        "texts": [[show(value, kind) if kind else value for value in trades["rows"][key]] for key, _, kind in columns],
        "largest": trades["largest"],
        "atOnce": AT_ONCE,
    }


def _script_json(value: Any) -> str:
    """JSON that can stand inside a script element: no "<" can end the element."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _heat(rows: list[dict[str, Any]]) -> Callable[[float], str]:
    """Strength of a month's colour, relative to the largest month."""
    largest = max((abs(month) for row in rows for month in row["months"] if month is not None), default=0.0)
    return lambda month: f"{STRONGEST_HEAT * abs(month) / largest:.2f}" if month and largest else "0"


def _said(value: Any) -> str:
    """A configuration's value as its author would write it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
