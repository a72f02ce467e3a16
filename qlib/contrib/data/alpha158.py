"""Alpha158: candle shapes, prices, and rolling statistics of price and volume, as formulas.

    names, formulas = Alpha158DL.get_feature_config()[::-1]

Every family of columns is one line of a table; a rolling family is written with `{d}` for its window.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from qlib.data.dataset.loader import QlibDataLoader
from qlib.errors import ConfigError, did_you_mean

CANDLE: Final = {
    "KMID": "($close-$open)/$open",
    "KLEN": "($high-$low)/$open",
    "KMID2": "($close-$open)/($high-$low+1e-12)",
    "KUP": "($high-Greater($open, $close))/$open",
    "KUP2": "($high-Greater($open, $close))/($high-$low+1e-12)",
    "KLOW": "(Less($open, $close)-$low)/$open",
    "KLOW2": "(Less($open, $close)-$low)/($high-$low+1e-12)",
    "KSFT": "(2*$close-$high-$low)/$open",
    "KSFT2": "(2*$close-$high-$low)/($high-$low+1e-12)",
}

_UP, _DOWN, _MOVE = "Greater({x}-Ref({x}, 1), 0)", "Greater(Ref({x}, 1)-{x}, 0)", "Abs({x}-Ref({x}, 1))"


def _gains(x: str) -> tuple[str, str, str]:
    """Return the share of upward moves, of downward moves, and their difference, in the sum of all moves of `x`."""
    up, down, move = (f"Sum({part.format(x=x)}, {{d}})" for part in (_UP, _DOWN, _MOVE))
    return f"{up}/({move}+1e-12)", f"{down}/({move}+1e-12)", f"({up}-{down})/({move}+1e-12)"


_WEIGHTED_MOVE = "Abs($close/Ref($close, 1)-1)*$volume"
_RISES, _FALLS = "Mean($close>Ref($close, 1), {d})", "Mean($close<Ref($close, 1), {d})"

# Family -> formula. Qlib switches the family MIN by the name LOW; both names are understood here.
ROLLING: Final = {
    "ROC": "Ref($close, {d})/$close",
    "MA": "Mean($close, {d})/$close",
    "STD": "Std($close, {d})/$close",
    "BETA": "Slope($close, {d})/$close",
    "RSQR": "Rsquare($close, {d})",
    "RESI": "Resi($close, {d})/$close",
    "MAX": "Max($high, {d})/$close",
    "MIN": "Min($low, {d})/$close",
    "QTLU": "Quantile($close, {d}, 0.8)/$close",
    "QTLD": "Quantile($close, {d}, 0.2)/$close",
    "RANK": "Rank($close, {d})",
    "RSV": "($close-Min($low, {d}))/(Max($high, {d})-Min($low, {d})+1e-12)",
    "IMAX": "IdxMax($high, {d})/{d}",
    "IMIN": "IdxMin($low, {d})/{d}",
    "IMXD": "(IdxMax($high, {d})-IdxMin($low, {d}))/{d}",
    "CORR": "Corr($close, Log($volume+1), {d})",
    "CORD": "Corr($close/Ref($close,1), Log($volume/Ref($volume, 1)+1), {d})",
    "CNTP": _RISES,
    "CNTN": _FALLS,
    "CNTD": f"{_RISES}-{_FALLS}",
    **dict(zip(("SUMP", "SUMN", "SUMD"), _gains("$close"), strict=True)),
    "VMA": "Mean($volume, {d})/($volume+1e-12)",
    "VSTD": "Std($volume, {d})/($volume+1e-12)",
    "WVMA": f"Std({_WEIGHTED_MOVE}, {{d}})/(Mean({_WEIGHTED_MOVE}, {{d}})+1e-12)",
    **dict(zip(("VSUMP", "VSUMN", "VSUMD"), _gains("$volume"), strict=True)),
}

WINDOWS: Final = (5, 10, 20, 30, 60)
PARTS: Final = {
    "kbar": (),
    "price": ("windows", "feature"),
    "volume": ("windows",),
    "rolling": ("windows", "include", "exclude"),
}
_DEFAULT_CONFIG: Final[dict[str, Any]] = {
    "kbar": {},
    "price": {"windows": [0], "feature": ["OPEN", "HIGH", "LOW", "VWAP"]},
    "rolling": {},
}


class Alpha158DL(QlibDataLoader):
    """Loads Alpha158, or a part of it.

    Parameters
    ----------
    config
        More column groups (such as a label), or another "feature" group.
    kwargs
        As for `QlibDataLoader`.
    """

    def __init__(self, config: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(config={"feature": self.get_feature_config(), **(config or {})}, **kwargs)

    @staticmethod
    def get_feature_config(config: Mapping[str, Any] = _DEFAULT_CONFIG) -> tuple[list[str], list[str]]:
        """Return (formulas, names).

        Parameters
        ----------
        config
            Which parts, by their presence: "kbar" {}, "price" {"windows", "feature"}, "volume" {"windows"}, "rolling"
            {"windows", "include", "exclude"}; the order of the columns is that one. `include` and `exclude` name
            families (ROC, MA, ...).
        """
        _check(config)
        columns: dict[str, str] = {}
        if "kbar" in config:
            columns |= CANDLE
        if "price" in config:
            options = config["price"]
            for field in options.get("feature", ("OPEN", "HIGH", "LOW", "CLOSE", "VWAP")):
                for d in options.get("windows", range(5)):
                    lagged = f"Ref(${field.lower()}, {d})" if d else f"${field.lower()}"
                    columns[f"{field}{d}"] = f"{lagged}/$close"
        if "volume" in config:
            for d in config["volume"].get("windows", range(5)):
                columns[f"VOLUME{d}"] = f"{f'Ref($volume, {d})' if d else '$volume'}/($volume+1e-12)"
        if "rolling" in config:
            columns |= _rolling(**config["rolling"])
        return list(columns.values()), list(columns)


def _rolling(
    windows: Iterable[int] = WINDOWS, include: Iterable[str] | None = None, exclude: Iterable[str] = ()
) -> dict[str, str]:
    included, excluded = None if include is None else _families(include, "include"), _families(exclude, "exclude")
    return {
        f"{family}{d}": formula.format(d=d)
        for family, formula in ROLLING.items()
        if family not in excluded and (included is None or family in included)
        for d in windows
    }


def _families(names: Iterable[str], where: str) -> set[str]:
    """Return the families named, LOW read as MIN."""
    known = {*ROLLING, "LOW"}
    for name in names:
        if name not in known:
            hint = did_you_mean(str(name), known)
            raise ConfigError(f"Alpha158 rolling {where}: received {name!r}; allowed are {', '.join(ROLLING)}{hint}")
    return {"MIN" if name == "LOW" else name for name in names}


def _check(config: Mapping[str, Any]) -> None:
    for part, options in config.items():
        if part not in PARTS:
            hint = did_you_mean(str(part), PARTS)
            raise ConfigError(f"Alpha158 features: received the part {part!r}; allowed are {', '.join(PARTS)}{hint}")
        for option in options or {}:
            if option not in PARTS[part]:
                raise ConfigError(
                    f"Alpha158 {part}: received the option {option!r}; allowed are {', '.join(PARTS[part]) or '(none)'}"
                    f"{did_you_mean(str(option), PARTS[part])}"
                )
