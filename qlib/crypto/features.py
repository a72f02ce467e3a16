"""Crypto158: Alpha158 for bars around the clock, and what only these markets have, as tables of formulas.

    formulas, names = feature_config("60min")                          158 columns and the groups beside them
    names[13]                                                          ROC_12h: twelve bars of an hour
    feature_config("240min")[0][13]                                    Ref($close,3)/$close: three bars of four hours

A family is one line of a table: name, formula, windows, what it says, where it is from. Windows are said in hours and
days and become bars of the size that is asked for, so a column means the same stretch of time at every size; a gap in
the bars is part of the window, as the exchange's clock goes on. A default window that is no whole number of bars, or
has fewer than `least`, does not exist at that size; one that somebody asks for raises an error.

In a formula {n} is the window in bars, {day} the bars of a day, {7d} the bars of seven days, {lead} the instrument that
beta is measured against, and the others are abbreviations:

    {r}      Log($close/Ref($close,1))                         return of a bar
    {m}      the same return of {lead}
    {fund}   If($funding_count>0,$funding,0*$funding_count)    rates paid in a bar: 0 where it is known that none was,
                                                               NaN where it is not known
    {carry}  the sum of {fund} over {n} bars, NaN as soon as one of them is not known: a hole is not zero

There is nothing that keeps a division by zero small, such as the 1e-12 of Alpha158: a coin may cost less. 0/0 is
missing. So every column but those marked is the same in any unit: prices times 1000, volumes times 1000.
"""

# ruff: noqa: E501  a family is a line of a table

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import pandas as pd

from qlib.errors import ConfigError, InputError, did_you_mean
from qlib.utils.time import Freq

DAY: Final = 86_400  # seconds

SHORT: Final = ("12h", "1d", "3d", "7d", "14d")  # of the rolling part, where bars are at most four hours long
LONG: Final = ("3d", "7d", "14d", "30d", "60d")

_FUND: Final = "If($funding_count>0,$funding,0*$funding_count)"
ABBREVIATIONS: Final = {
    "r": "Log($close/Ref($close,1))",
    "m": 'ChangeInstrument("{lead}",Log($close/Ref($close,1)))',
    "fund": _FUND,
    "carry": f"(Sum({_FUND},{{n}})+0/(Count({_FUND},{{n}})>={{n}}))",
}


@dataclass(frozen=True, slots=True)
class Family:
    """A family of columns, one for each window.

    Parameters
    ----------
    name
        A column is called name_window, or just so where there are no windows.
    formula
        See the module for what stands in braces.
    says, source
        What it measures, and who wrote about it.
    windows
        The default ones.
    least
        The fewest bars a window may have.
    scale_free
        Whether it is the same when all prices, or all volumes, are multiplied by a number.
    """

    name: str
    formula: str
    says: str
    source: str
    windows: tuple[str, ...] = ()
    least: int = 3
    scale_free: bool = True


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its formula in the language of the engine, the family, the group, the window and the leader or ""."""

    formula: str
    family: Family
    group: str
    window: str
    leader: str


ROLLING: Final = ("rolling",)  # stands for SHORT or LONG
_QLIB: Final = "Alpha158"
_QLIB_NO_EPS: Final = "Alpha158, without its 1e-12"

CANDLE: Final = (
    Family("KMID", "($close-$open)/$open", "body of the bar", _QLIB),
    Family("KLEN", "($high-$low)/$open", "range of the bar", _QLIB),
    Family("KMID2", "($close-$open)/($high-$low)", "body, of the range", _QLIB_NO_EPS),
    Family("KUP", "($high-Greater($open,$close))/$open", "upper wick", _QLIB),
    Family("KUP2", "($high-Greater($open,$close))/($high-$low)", "upper wick, of the range", _QLIB_NO_EPS),
    Family("KLOW", "(Less($open,$close)-$low)/$open", "lower wick", _QLIB),
    Family("KLOW2", "(Less($open,$close)-$low)/($high-$low)", "lower wick, of the range", _QLIB_NO_EPS),
    Family("KSFT", "(2*$close-$high-$low)/$open", "close against the middle of the range", _QLIB),
    Family("KSFT2", "(2*$close-$high-$low)/($high-$low)", "the same, of the range", _QLIB_NO_EPS),
)
PRICE: Final = (
    Family("OPEN0", "$open/$close", "open, of the close", _QLIB),
    Family("HIGH0", "$high/$close", "high, of the close", _QLIB),
    Family("LOW0", "$low/$close", "low, of the close", _QLIB),
    Family("VWAP0", "$vwap/$close", "average price of the bar's trades, of the close", _QLIB),
)

_UP, _DOWN, _MOVE = (
    "Sum(Greater({x}-Ref({x},1),0),{n})",
    "Sum(Greater(Ref({x},1)-{x},0),{n})",
    "Sum(Abs({x}-Ref({x},1)),{n})",
)
_RISES, _FALLS = "Mean($close>Ref($close,1),{n})", "Mean($close<Ref($close,1),{n})"
_EFFORT = "Abs($close/Ref($close,1)-1)*$volume"


def _gains(column: str) -> tuple[str, str, str]:
    up, down, move = (part.replace("{x}", column) for part in (_UP, _DOWN, _MOVE))
    return f"{up}/{move}", f"{down}/{move}", f"({up}-{down})/{move}"


_PRICE_GAINS, _VOLUME_GAINS = _gains("$close"), _gains("$volume")


def _rolling(name: str, formula: str, says: str, source: str = _QLIB) -> Family:
    return Family(name, formula, says, source, ROLLING)


PAST: Final = (
    _rolling("ROC", "Ref($close,{n})/$close", "close then, of now"),
    _rolling("MA", "Mean($close,{n})/$close", "mean close"),
    _rolling("STD", "Std($close,{n})/$close", "deviation of closes"),
    _rolling("BETA", "Slope($close,{n})*{day}/$close", "slope of the close, per day", "Alpha158, where it is per bar"),
    _rolling("RSQR", "Rsquare($close,{n})", "how straight the path is"),
    _rolling("RESI", "Resi($close,{n})/$close", "distance from that line"),
    _rolling("MAX", "Max($high,{n})/$close", "highest price"),
    _rolling("MIN", "Min($low,{n})/$close", "lowest price"),
    _rolling("QTLU", "Quantile($close,{n},0.8)/$close", "80 % of closes lie below"),
    _rolling("QTLD", "Quantile($close,{n},0.2)/$close", "20 % of closes lie below"),
    _rolling("RANK", "Rank($close,{n})", "place of the close among those of the window"),
    _rolling("RSV", "($close-Min($low,{n}))/(Max($high,{n})-Min($low,{n}))", "place in the range", _QLIB_NO_EPS),
    _rolling("IMAX", "IdxMax($high,{n})/{n}", "how recent the high is"),
    _rolling("IMIN", "IdxMin($low,{n})/{n}", "how recent the low is"),
    _rolling("IMXD", "(IdxMax($high,{n})-IdxMin($low,{n}))/{n}", "the high after the low, or before"),
    _rolling("CORR", "Corr($close,Log($volume),{n})", "price with volume", "Alpha158, without its + 1: bars without trades are left out"),
    _rolling("CORD", "Corr($close/Ref($close,1),Log($volume/Ref($volume,1)+1),{n})", "price change with volume change"),
    _rolling("CNTP", _RISES, "share of rising bars"),
    _rolling("CNTN", _FALLS, "share of falling bars"),
    _rolling("CNTD", f"{_RISES}-{_FALLS}", "rising less falling"),
    _rolling("SUMP", _PRICE_GAINS[0], "rises, of all moves (as RSI)", _QLIB_NO_EPS),
    _rolling("SUMN", _PRICE_GAINS[1], "falls, of all moves", _QLIB_NO_EPS),
    _rolling("SUMD", _PRICE_GAINS[2], "rises less falls, of all moves", _QLIB_NO_EPS),
    _rolling("VMA", "$volume/Mean($volume,{n})", "volume, of its mean", "Alpha158 upside down: an outage is 0, not 1e12"),
    _rolling("VSTD", "Std($volume,{n})/Mean($volume,{n})", "deviation of volume", "Alpha158, of the mean volume instead of the bar's"),
    _rolling("WVMA", f"Std({_EFFORT},{{n}})/Mean({_EFFORT},{{n}})", "how uneven price moves times volume are", _QLIB_NO_EPS),
    _rolling("VSUMP", _VOLUME_GAINS[0], "rises of volume, of all its changes", _QLIB_NO_EPS),
    _rolling("VSUMN", _VOLUME_GAINS[1], "falls of volume, of all its changes", _QLIB_NO_EPS),
    _rolling("VSUMD", _VOLUME_GAINS[2], "rises less falls of volume", _QLIB_NO_EPS),
)  # fmt: skip

_RV = "Power(Mean(Power({r},2),{n})*{day},0.5)"
_GK = "0.5*Power(Log($high/$low),2)-0.38629436*Power(Log($close/$open),2)"
VOLATILITY: Final = (
    Family("RV", _RV, "realised volatility, per day", "Andersen, Bollerslev, Diebold, Labys 2003", ("6h", "1d", "3d", "7d", "30d")),
    Family("PKV", "Power(Mean(Power(Log($high/$low),2),{n})*{day}/2.77258872,0.5)", "volatility from ranges, per day", "Parkinson 1980", ("1d", "7d", "30d")),
    Family("GKV", f"Power(Mean({_GK},{{n}})*{{day}},0.5)", "volatility from ranges and bodies, per day", "Garman, Klass 1980", ("1d", "7d", "30d")),
    Family("RVT", "Power(Mean(Power({r},2),{n})/Mean(Power({r},2),{30d}),0.5)", "volatility, of that of 30 days", "term structure of RV", ("1d", "3d", "7d")),
    Family("JUMP", "1-1.57079633*Mean(Abs({r})*Abs(Ref({r},1)),{n})/Mean(Power({r},2),{n})", "share of jumps in the variance", "Barndorff-Nielsen, Shephard 2004", ("1d", "7d", "30d"), 5),
    Family("DNV", "Sum(Power(Less({r},0),2),{n})/Sum(Power({r},2),{n})", "share of falls in the variance", "Barndorff-Nielsen, Kinnebrock, Shephard 2010", ("1d", "7d", "30d")),
    Family("SKEW", "Skew({r},{n})", "skewness of returns", "Amaya, Christoffersen, Jacobs, Vasquez 2015", ("7d", "30d"), 5),
    Family("KURT", "Kurt({r},{n})", "excess kurtosis of returns", "Amaya, Christoffersen, Jacobs, Vasquez 2015", ("7d", "30d"), 5),
    Family("VOV", "Std(Log($high/$low),{n})/Mean(Log($high/$low),{n})", "volatility of volatility", "Baltussen, van Bekkum, van der Grient 2018, of ranges", ("7d", "30d"), 5),
    Family("MAXR", "Max({r},{n})", "largest return of a bar", "Bali, Cakici, Whitelaw 2011", ("1d", "7d", "30d")),
    Family("MINR", "Min({r},{n})", "smallest return of a bar", "Bali, Cakici, Whitelaw 2011", ("1d", "7d", "30d")),
)  # fmt: skip

_ILLIQ = "Abs({r})/($close*$volume)"
LIQUIDITY: Final = (
    Family("AMIHUD", f"Log(Mean({_ILLIQ},{{n}}))", "log of return per money traded", "Amihud 2002", ("1d", "7d", "30d"), scale_free=False),
    Family("AMIHUDR", f"Mean({_ILLIQ},{{n}})/Mean({_ILLIQ},{{30d}})", "illiquidity, of that of 30 days", "Amihud 2002", ("1d", "7d")),
    Family("MONEY", "Log(Mean($close*$volume,{n}))", "log of money traded in a bar", "Brennan, Chordia, Subrahmanyam 1998", ("1d", "7d", "30d"), scale_free=False),
    Family("MONEYR", "Mean($close*$volume,{n})/Mean($close*$volume,{30d})", "money traded, of that of 30 days", "Gervais, Kaniel, Mingelgrin 2001", ("1d", "7d")),
    Family("ROLL", "2*Power(Greater(0-Cov({r},Ref({r},1),{n}),0),0.5)", "spread that bounces of the price imply", "Roll 1984", ("1d", "7d", "30d"), 5),
    Family("IDLE", "1-Mean(Sign($volume),{n})", "share of bars without a trade", "Lesmond, Ogden, Trzcinka 1999, of volume", ("1d", "7d", "30d")),
    Family("VWAPD", "$close/(Sum($vwap*$volume,{n})/Sum($volume,{n}))-1", "close against the average price of all trades", "Berkowitz, Logue, Noser 1988", ("6h", "1d", "7d")),
    Family("SPIKE", "Log($high/$low)/Mean(Log($high/$low),{n})*$volume/Mean($volume,{n})", "range times volume, each of its mean", "liquidation proxy without open interest", ("7d",)),
)  # fmt: skip

FUNDING: Final = (
    Family("FUND", "{carry}", "rates paid by longs over the window", "Koijen, Moskowitz, Pedersen, Vrugt 2018: carry", ("8h", "1d", "3d", "7d", "30d"), 1),
    Family("FUNDC", "{carry}-Ref({carry},{n})", "and how they have changed", "change of carry", ("1d", "7d"), 1),
    Family("FUNDV", "{carry}/Power(Sum(Power({r},2),{n}),0.5)", "carry, of the volatility of the window", "Koijen, Moskowitz, Pedersen, Vrugt 2018", ("7d", "30d")),
    Family("FRATE", "Mean($funding,{n})", "mean of the bars with a payment", "He, Manela, Ross, von Wachter 2022", ("1d", "7d", "30d"), 1),
    Family("FRATEZ", "(Mean($funding,{1d})-Mean($funding,{n}))/Std($funding,{n})", "rates of a day against their own past", "z-score of the rate", ("7d", "30d"), 5),
    Family("FSIGN", "Mean(Sign($funding),{n})", "payments by longs less those by shorts, of all", "sign of the rate", ("7d", "30d")),
)  # fmt: skip

BASIS: Final = (
    Family("BASIS", "$mark/$close-1", "mark price above the last trade", "He, Manela, Ross, von Wachter 2022: deviation of the perpetual"),
    Family("BASISM", "Mean($mark/$close-1,{n})", "its mean", "as BASIS", ("8h", "1d", "7d")),
    Family("BASISZ", "($mark/$close-1-Mean($mark/$close-1,{n}))/Std($mark/$close-1,{n})", "against its own past", "z-score of BASIS", ("1d", "7d"), 5),
    Family("PREM", "$mark/$index-1", "mark price above the index of spot markets", "He, Manela, Ross, von Wachter 2022"),
    Family("PREMM", "Mean($mark/$index-1,{n})", "its mean", "as PREM", ("8h", "1d", "7d")),
    Family("SBASIS", "$close/$spot-1", "perpetual above its spot market", "Alexander, Choi, Park, Sohn 2020: basis; $spot by qlib.crypto.spot"),
    Family("SBASISM", "Mean($close/$spot-1,{n})", "its mean", "as SBASIS", ("8h", "1d", "7d")),
    Family("SBASISZ", "($close/$spot-1-Mean($close/$spot-1,{n}))/Std($close/$spot-1,{n})", "against its own past", "z-score of SBASIS", ("1d", "7d"), 5),
)  # fmt: skip

INTEREST: Final = (
    Family("OICH", "$oi/Ref($oi,{n})-1", "change of open interest", "Hong, Yogo 2012", ("8h", "1d", "7d"), 1),
    Family("OIVOL", "$oi/Sum($volume,{n})", "open interest, of the volume of the window", "Bessembinder, Seguin 1993", ("1d", "7d"), 1),
    Family("OIZ", "($oi-Mean($oi,{n}))/Std($oi,{n})", "open interest against its own past", "z-score of open interest", ("7d", "30d"), 5),
    Family("OICORR", "Corr($oi/Ref($oi,1),$close/Ref($close,1),{n})", "new positions with rising prices, or falling ones", "Hong, Yogo 2012", ("1d", "7d"), 5),
)  # fmt: skip

_FORCED = "Log($high/$low)/Mean(Log($high/$low),{7d})*$volume/Mean($volume,{7d})*Greater(1-$oi/Ref($oi,1),0)"
LIQUIDATION: Final = (
    Family("LIQL", f"Sum(({_FORCED})*($close<$open),{{n}})", "longs closed by force: range and volume of their means, times the fall of open interest, in falling bars", "own proxy; Brunnermeier, Pedersen 2009 on spirals", ("8h", "1d", "3d"), 1),
    Family("LIQS", f"Sum(({_FORCED})*($close>$open),{{n}})", "shorts closed by force: the same in rising bars", "own proxy; Brunnermeier, Pedersen 2009 on spirals", ("8h", "1d", "3d"), 1),
)  # fmt: skip

_MBETA = "Cov({r},{m},{n})/Var({m}+0*{r},{n})"
LEADERS: Final = (
    Family("MBETA", _MBETA, "beta to the leader", "Liu, Tsyvinski, Wu 2022: CMKT", ("1d", "7d", "30d"), 5),
    Family("MCORR", "Corr({r},{m},{n})", "correlation with the leader", "Liu, Tsyvinski, Wu 2022", ("1d", "7d", "30d"), 5),
    Family("RMOM", f"Sum({{r}}+0*{{m}},{{n}})-{_MBETA}*Sum({{m}}+0*{{r}},{{n}})", "momentum that the leader does not explain", "Blitz, Huij, Martens 2011", ("1d", "7d", "30d"), 5),
    Family("IVOL", "Power(Var({r}+0*{m},{n})*Greater(1-Power(Corr({r},{m},{n}),2),0)*{day},0.5)", "volatility that the leader does not explain, per day", "Ang, Hodrick, Xing, Zhang 2006", ("7d", "30d"), 5),
    Family("LAG", "Corr({r},Ref({m},1),{n})", "how much the coin follows the leader's bar before", "Hou, Moskowitz 2005", ("1d", "7d"), 5),
)  # fmt: skip

RANKS: Final = (
    Family("RKMOM", 'CSRank($close/Ref($close,{n})-1,"centre")', "rank of the return", "Liu, Tsyvinski, Wu 2022: momentum; Bianchi, Babiak 2022: reversal in small coins", ("4h", "1d", "3d", "7d", "14d", "30d"), 1),
    Family("RKVOL", f'CSRank({_RV},"centre")', "rank of realised volatility", "Ang, Hodrick, Xing, Zhang 2006", ("1d", "7d", "30d")),
    Family("RKMON", 'CSRank(Mean($close*$volume,{n}),"centre")', "rank of money traded: liquidity tier", "Liu, Tsyvinski, Wu 2022: volume", ("1d", "7d", "30d"), 1),
    Family("RKILL", f'CSRank(Mean({_ILLIQ},{{n}}),"centre")', "rank of illiquidity", "Amihud 2002", ("7d", "30d")),
    Family("RKHI", 'CSRank($close/Max($high,{n}),"centre")', "rank of nearness to the high", "George, Hwang 2004", ("7d", "30d")),
    Family("RKMAX", 'CSRank(Max({r},{n}),"centre")', "rank of the largest return of a bar", "Bali, Cakici, Whitelaw 2011", ("1d", "7d", "30d")),
    Family("RKVMA", 'CSRank($volume/Mean($volume,{n}),"centre")', "rank of the volume, of its mean", "Gervais, Kaniel, Mingelgrin 2001", ("7d",)),
)  # fmt: skip
FUNDING_RANKS: Final = (
    Family("RKFUND", 'CSRank({carry},"centre")', "rank of the rates paid", "Koijen, Moskowitz, Pedersen, Vrugt 2018", ("1d", "7d"), 1),
    Family("RKRATE", 'CSRank(Mean($funding,{n}),"centre")', "rank of the mean rate", "He, Manela, Ross, von Wachter 2022", ("1d", "7d"), 1),
)  # fmt: skip

# Since the day, the week (Monday), the month began, up to the bar itself: what is shown of a bar that is not over.
_SPAN = '(TResample($high,"{size}","max")-TResample($low,"{size}","min"))'
RUNNING: Final = (
    Family("TRET", '$close/TResample($open,"{size}","first")-1', "return since the size's bar opened", "multi-time-frame", ("day", "week"), 2),
    Family("TPOS", f'($close-TResample($low,"{{size}}","min"))/{_SPAN}', "place in its range so far", "multi-time-frame", ("day", "week"), 2),
    Family("TRNG", f"{_SPAN}/$close", "its range so far", "multi-time-frame", ("day", "week"), 2),
)  # fmt: skip

# Group -> families. "leaders" has its families once for each leader.
GROUPS: Final[dict[str, tuple[Family, ...]]] = {
    "candle": CANDLE,
    "price": PRICE,
    "rolling": PAST,
    "volatility": VOLATILITY,
    "liquidity": LIQUIDITY,
    "ranks": RANKS,
    "running": RUNNING,
    "leaders": LEADERS,
    "funding": FUNDING,
    "funding_ranks": FUNDING_RANKS,
    "basis": BASIS,
    "interest": INTEREST,
    "liquidation": LIQUIDATION,
}
ALPHA158: Final = ("candle", "price", "rolling")


def bars_of(window: str, freq: str) -> int:
    """Return how many bars of `freq` a window said in minutes, hours or days has.

    Raises ConfigError for one that is no whole number of bars, or no time at all.

    >>> bars_of("3d", "60min"), bars_of("72h", "240min"), bars_of("3d", "day")
    (72, 18, 3)
    """
    seconds, bar = _seconds(window), bar_seconds(freq)
    if seconds % bar:
        raise ConfigError(f"window: received {window!r}, which is no whole number of bars of {freq}")
    return seconds // bar


def bar_seconds(freq: str) -> int:
    """Return the length of a bar; raise ConfigError for those that do not divide a day (week, month, 7h)."""
    seconds = Freq(freq).seconds
    if DAY % seconds:
        raise ConfigError(f"freq: received {freq!r}; bar sizes that divide a day are allowed, such as 60min, 4h, day")
    return seconds


def _seconds(window: str) -> int:
    example = "minutes, hours and days are allowed, such as '30min', '12h', '7d'"
    try:
        size = Freq(window)
    except InputError:
        raise ConfigError(f"window: received {window!r}; {example}") from None
    if size.base not in ("min", "day"):
        raise ConfigError(f"window: received {window!r}; {example}")
    return size.seconds


def window_name(window: str) -> str:
    """Return the one spelling of a window.

    >>> window_name("24h"), window_name("90min"), window_name("12hour")
    ('1d', '90min', '12h')
    """
    seconds = _seconds(window)
    for unit, length in (("d", DAY), ("h", 3600)):
        if seconds % length == 0:
            return f"{seconds // length}{unit}"
    return f"{seconds // 60}min"


def columns(
    freq: str,
    *,
    groups: Sequence[str] | None = None,
    windows: Mapping[str, Sequence[str]] | None = None,
    leaders: Mapping[str, str] | None = None,
    exclude: Iterable[str] = (),
) -> dict[str, Column]:
    """Return the columns by name, in the order of `GROUPS`.

    Parameters
    ----------
    freq
        Size of the bars: one that divides a day.
    groups
        Which of `GROUPS`; by default all.
    windows
        Group or family -> windows in the place of the default ones, such as {"rolling": ["6h", "2d"], "RV": ["1d"]}.
        The family's own entry counts before that of its group.
    leaders
        Short name -> instrument, such as {"BTC": "BTC-USDT-SWAP"}; without any there are no columns of that group.
    exclude
        Families that are left out.

    Raises
    ------
    ConfigError
        An unknown group or family, or a window that does not fit the bars.

    >>> columns("4h", groups=["volatility"])["RV_1d"].formula
    'Power(Mean(Power(Log($close/Ref($close,1)),2),6)*6,0.5)'
    """
    bar_seconds(freq)
    named = {family.name for families in GROUPS.values() for family in families}
    left_out = set(exclude)
    _known(groups or (), GROUPS, "groups")
    _known(left_out, named, "exclude")
    _known(windows or {}, {*GROUPS, *named}, "windows")
    if "leaders" in (groups or ()) and not leaders:
        raise ConfigError("groups: leaders needs `leaders`, such as {'BTC': 'BTC-USDT-SWAP'}")
    found: dict[str, Column] = {}
    for group, families in GROUPS.items():
        if groups is not None and group not in groups:
            continue
        for family in families:
            if family.name in left_out:
                continue
            asked = (windows or {}).get(family.name, (windows or {}).get(group) if family.windows else None)
            if asked is not None and not family.windows:
                raise ConfigError(f"windows: {family.name} has none, received {list(asked)}")
            for lead, instrument in (leaders or {}).items() if group == "leaders" else [("", "")]:
                for column in _of_family(family, group, freq, asked, instrument):
                    found["_".join(part for part in (family.name, lead, column.window) if part)] = column
    return found


def feature_config(freq: str = "60min", **options: object) -> tuple[list[str], list[str]]:
    """Return (formulas, names) as a loader wants them; the options are those of `columns`.

    >>> feature_config("day", groups=["rolling"], windows={"rolling": ["7d"]})[1][:3]
    ['ROC_7d', 'MA_7d', 'STD_7d']
    """
    made = columns(freq, **options)  # type: ignore[arg-type]
    return [column.formula for column in made.values()], list(made)


def label_config(
    freq: str = "60min", horizon: str | int = 1, *, carry: bool = False, counted: bool = True
) -> tuple[list[str], list[str]]:
    """Return (formulas, names) of the label: the return from the next bar's close on, over `horizon`.

    A decision at the close of a bar is dealt at the next one, so the label looks one bar farther than its horizon.

    Parameters
    ----------
    horizon
        A number of bars, or a time such as "4h" or "1d".
    carry
        Less what a long position pays for funding meanwhile: each rate on the price at its moment, as a share of the
        price that was paid. Who buys at a close pays what is due then; who sells does not. Missing where a rate is.
    counted
        False: the store has no $funding_count, and a bar without a rate counts as one without a payment.

    >>> label_config("60min", "4h")
    (['Ref($close,-5)/Ref($close,-1)-1'], ['LABEL_4h'])
    """
    if isinstance(horizon, bool) or not isinstance(horizon, int | str):
        raise ConfigError(f"horizon: received {horizon!r}; a number of bars, or a time such as '4h', is allowed")
    bars = bars_of(horizon, freq) if isinstance(horizon, str) else horizon
    if bars < 1:
        raise ConfigError(f"horizon: received {horizon!r}; at least one bar is needed")
    name = "LABEL0" if bars == 1 else f"LABEL_{window_name(f'{bars * bar_seconds(freq) // 60}min')}"
    formula = f"Ref($close,-{bars + 1})/Ref($close,-1)-1"
    if carry:
        due = "If($funding_count>0,$funding*Ref($close,1),0*$funding_count)"
        due = due if counted else "If(IsNull($funding),0*IsNull($funding),$funding*Ref($close,1))"
        formula += f"-Ref(Sum({due},{bars})+0/(Count({due},{bars})>={bars}),-{bars + 1})/Ref($close,-1)"
        name += "_CARRY"
    return [formula], [name]


def feature_table(freq: str = "60min", **options: object) -> pd.DataFrame:
    """Return what there is, a row for each family: group, formula as in the table, windows at `freq`, says, source."""
    made: dict[str, list[str]] = {}
    for column in columns(freq, leaders={"BTC": "BTC"}, **options).values():  # type: ignore[arg-type]
        made.setdefault(column.family.name, []).append(column.window)
    rows = [
        {
            "group": group,
            "family": family.name,
            "formula": family.formula,
            "windows": " ".join(filter(None, made[family.name])),
            "says": family.says + ("" if family.scale_free else " (depends on the unit)"),
            "source": family.source,
        }
        for group, families in GROUPS.items()
        for family in families
        if family.name in made
    ]
    return pd.DataFrame(rows)


def feature_markdown(freq: str = "60min") -> str:
    """Return the table as the documentation shows it."""
    head = ["group", "family", "formula", "windows", "says", "source"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in feature_table(freq).to_dict("records"):
        cells = [f"`{row[name]}`" if name in ("family", "formula") else str(row[name]) for name in head]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _of_family(family: Family, group: str, freq: str, asked: Sequence[str] | None, leader: str) -> Iterable[Column]:
    if not family.windows:
        yield Column(_written(family.formula, freq, 0, leader), family, group, "", leader)
    elif group == "running":
        for size in family.windows if asked is None else asked:
            if bar_seconds(freq) * family.least <= Freq(size).seconds:
                yield Column(_written(family.formula, freq, 0, leader, size), family, group, size, leader)
            elif asked is not None:
                raise ConfigError(f"windows: {family.name} needs {family.least} bars of {freq} in {size!r}")
    else:
        default = (SHORT if bar_seconds(freq) <= 4 * 3600 else LONG) if family.windows == ROLLING else family.windows
        for window in default if asked is None else asked:
            if asked is None and (_seconds(window) % bar_seconds(freq) or bars_of(window, freq) < family.least):
                continue
            n = bars_of(window, freq)
            if n < family.least:
                raise ConfigError(
                    f"windows: {family.name} needs at least {family.least} bars, {window!r} has {n} of {freq}"
                )
            yield Column(_written(family.formula, freq, n, leader), family, group, window_name(window), leader)


_TOKEN = re.compile(r"\{(\w+)\}")


def _written(formula: str, freq: str, n: int, leader: str, size: str = "") -> str:
    """Return a formula with what stands in braces written out."""

    def meaning(match: re.Match[str]) -> str:
        token = match.group(1)
        if token in ABBREVIATIONS:
            return _TOKEN.sub(meaning, ABBREVIATIONS[token])
        said = {"n": str(n), "day": str(DAY // bar_seconds(freq)), "lead": leader, "size": size}
        return said[token] if token in said else str(bars_of(token, freq))

    return _TOKEN.sub(meaning, formula)


def _known(names: Iterable[str], allowed: Iterable[str], where: str) -> None:
    allowed = list(allowed)
    for name in names:
        if name not in allowed:
            hint = did_you_mean(str(name), allowed)
            raise ConfigError(f"Crypto158 {where}: received {name!r}; allowed are {', '.join(allowed)}{hint}")
