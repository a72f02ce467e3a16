"""Risk models in files, one folder a day.

    <root>/20240105/factor_exp.pkl        exposure of each name to the factors: index names, one column per factor
                    factor_cov.pkl        covariance of the factors
                    specific_risk.pkl     risk of each name beyond the factors, as a standard deviation
                    blacklist.pkl         names that must be sold; may be absent

Files may be .pkl, .parquet, .csv or .h5. Pickles are read by the restricted reader, which runs no code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from qlib.errors import ConfigError, MissingDataError, did_you_mean
from qlib.utils.pickle_utils import restricted_pickle_load

NAMES: Final = {
    "factor_exp": "factor_exp.pkl",
    "factor_cov": "factor_cov.pkl",
    "specific_risk": "specific_risk.pkl",
    "blacklist": "blacklist.pkl",
}


@dataclass(frozen=True)
class RiskData:
    """The risk model of one day; every array is in the order of `universe`."""

    factor_exp: np.ndarray[Any, np.dtype[np.float64]]
    factor_cov: np.ndarray[Any, np.dtype[np.float64]]
    specific_risk: np.ndarray[Any, np.dtype[np.float64]]
    universe: list[str]
    blacklist: list[str]


def file_names(mapping: Mapping[str, str]) -> dict[str, str]:
    """Return the names of the files, with those of `mapping` instead of the usual ones."""
    for key in mapping:
        if key not in NAMES:
            raise ConfigError(
                f"name_mapping: received the key {key!r}; allowed are {', '.join(NAMES)}{did_you_mean(key, NAMES)}"
            )
    return {**NAMES, **mapping}


def read_risk_data(folder: Path, names: Mapping[str, str]) -> RiskData | None:
    """Return the risk model in a folder, or None where there is no such folder.

    Raises MissingDataError naming the file that is missing, or that does not fit the others.
    """
    if not folder.is_dir():
        return None
    exposure = pd.DataFrame(_read(folder / names["factor_exp"]))
    cov = np.asarray(_read(folder / names["factor_cov"]), dtype=np.float64)
    universe = [str(name) for name in exposure.index]
    if cov.shape != (exposure.shape[1],) * 2:
        raise MissingDataError(
            f"{folder / names['factor_cov']}: its shape is {cov.shape}, and {names['factor_exp']} has "
            f"{exposure.shape[1]} factors"
        )
    specific = _column(_read(folder / names["specific_risk"]))
    if isinstance(specific, pd.Series):
        specific = specific.set_axis([str(name) for name in specific.index]).reindex(universe)
    risk = np.asarray(specific, dtype=np.float64)
    if risk.shape != (len(universe),) or not np.isfinite(risk).all():
        raise MissingDataError(
            f"{folder / names['specific_risk']}: {len(universe)} names have exposures, and not each has a specific risk"
        )
    banned = folder / names["blacklist"]
    blacklist = [str(name) for name in np.ravel(_column(_read(banned)))] if banned.exists() else []
    return RiskData(exposure.to_numpy(np.float64), cov, risk, universe, blacklist)


def _column(data: Any) -> Any:
    return data.iloc[:, 0] if isinstance(data, pd.DataFrame) else data


def _read(path: Path) -> Any:
    if not path.exists():
        raise MissingDataError(f"risk model: {path} is missing")
    if path.suffix == ".csv":
        return pd.read_csv(path, index_col=0)
    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    if path.suffix in (".h5", ".hdf"):
        return pd.read_hdf(path)
    if path.suffix != ".pkl":
        raise MissingDataError(f"risk model: {path} is no .pkl, .parquet, .csv or .h5 file")
    with path.open("rb") as file:
        return restricted_pickle_load(file)
