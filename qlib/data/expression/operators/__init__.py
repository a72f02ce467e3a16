"""The operators that come with the package; importing this room fills the table.

elementwise.py   what operators on single rows share
arithmetic.py    Abs Log Sign Add Sub Mul Div Power FloorDiv Mod Greater Less
comparison.py    Gt Ge Lt Le Eq Ne And Or Not If
rolling.py       Mean Sum Std Var Skew Kurt Max Min Med Mad Quantile Rank Count IdxMax IdxMin WMA EMA
                 Slope Rsquare Resi
named.py         Rolling
pairwise.py      Corr Cov
shift.py         Ref Delta
crosssection.py  CSRank CSZScore CSDemean CSScale CSQuantile CSCorr CSNeutralize
pit.py           P PRef
elsewhere.py     ChangeInstrument Mask
days.py          Date DayLast DayCumsum
gaps.py          IsNull IsInf FFillNan BFillNan
resample.py      TResample
select.py        Select Cut, and fewer_rows.py: what is built on rows left out
"""

from qlib.data.expression.operators import (
    arithmetic,
    comparison,
    crosssection,
    days,
    elsewhere,
    fewer_rows,
    gaps,
    named,
    pairwise,
    pit,
    resample,
    rolling,
    select,
    shift,
)

__all__ = [
    "arithmetic",
    "comparison",
    "crosssection",
    "days",
    "elsewhere",
    "fewer_rows",
    "gaps",
    "named",
    "pairwise",
    "pit",
    "resample",
    "rolling",
    "select",
    "shift",
]
