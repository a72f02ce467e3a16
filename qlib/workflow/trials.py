"""Every run is a try, and the best of many tries looks good by luck: trials are counted, and what follows is said.

    begin_trial(recorder, task)      one line in the ledger, before anything is computed
    end_trial(recorder, task)        what came of it: one line more, and trial.json in the run
    standing(recorder)               the same numbers as trial.json, counted anew

A trial is what was tried: the task and the code of the user's own modules. The same again is the same trial, and is
said to be. A run that failed or was killed counts, for somebody may have seen a number of it. Trials are counted among
those on the same data and universe (the `Scope`): the store, the market, the bar size, whatever fields they read.

    {"number": 7, "trials": 12, "again": false, "scope": {"data": [...], "universe": "all", "freq": "day"},
     "returns": "excess", "freq": "1day", "bars": 363, "sharpe": 0.07, "sharpe_annual": 1.34, "psr": 0.91,
     "best_of_noise": 0.086, "dsr": 0.38, "min_track_record": 560.0, ...}

`returns` are those the ratio is of: the account's after costs, less the benchmark's where there is one ("excess"; else
"net"). `sharpe`, `best_of_noise` are per bar, `..._annual` per year. `deviation` is that of the trials' ratios
(`deviation_of` "trials"), or, while fewer than two are known, what noise shows over as many bars ("noise").
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from qlib.analysis.bootstrap import Interval, bootstrap_interval, mean_test
from qlib.analysis.risk import periods_per_year
from qlib.analysis.significance import (
    Moments,
    deflated_sharpe,
    expected_best_sharpe,
    minimum_track_record,
    moments,
    probabilistic_sharpe,
)
from qlib.config import Settings, active_settings
from qlib.errors import InputError
from qlib.log import get_module_logger
from qlib.utils.time import Freq
from qlib.workflow.code import modules_of, sources_of
from qlib.workflow.ledger import Ledger, Line, ledger_of
from qlib.workflow.recorder import Recorder

ARTIFACT: Final = "trial.json"
BEGUN: Final = "begun"
ENDED: Final = "ended"

_PACKAGE = Path(__file__).resolve().parents[1]
_REPORT, _PKL = "portfolio_analysis/report_normal_", ".pkl"

logger = get_module_logger("workflow")


@dataclass(frozen=True, slots=True)
class Scope:
    """What trials have in common when they are counted together."""

    data: tuple[str, ...]
    universe: str
    freq: str

    @classmethod
    def of(cls, task: Mapping[str, Any], settings: Settings) -> Scope:
        """Return the store, market and bar size of a task.

        A universe that is a list is its sorted names. Without one it is the handler's class, or the file of a saved
        one: whatever else is said of the handler makes another trial, not other data.
        """
        dataset = task.get("dataset") or {}
        if settings.get("data") is not None:
            data: tuple[str, ...] = ("data brought as frames",)
        else:
            data = tuple(sorted(str(Path(uri).expanduser()) for uri in settings["provider_uri"].values()))
        universe = _named(dataset, "instruments")
        if universe is None:  # what the handler takes by itself
            handler = _named(dataset, "handler")
            universe = handler.get("class") if isinstance(handler, Mapping) else handler
            universe = universe if isinstance(universe, str) else "all"
        return cls(data, _short(universe), _freq(_named(dataset, "freq") or "day"))


def begin_trial(recorder: Recorder, task: Mapping[str, Any], *, content: str | None = None) -> str | None:
    """Write down that a task is tried in this run, and return the trial's key.

    Parameters
    ----------
    content
        What was tried, in place of the task and its code.

    None is returned, and nothing written, for a store that keeps no ledger.
    """
    ledger = ledger_of(recorder)
    if ledger is None:
        return None
    key = trial_key(task) if content is None else _digest(content)
    begun = _begun(ledger, recorder)
    if begun is None or begun["trial"] != key:  # a run that is resumed has begun; changed meanwhile, it is a new trial
        ledger.add(_line(BEGUN, recorder, key, Scope.of(task, active_settings())))
    return key


def end_trial(
    recorder: Recorder, task: Mapping[str, Any], *, snapshot: str | None = None, content: str | None = None
) -> dict[str, Any] | None:
    """Write down what came of it, keep `trial.json` in the run, and return its content.

    What was tried is what was written down when it began (`task` and `content` then say nothing new); a trial without a
    beginning is begun now. `snapshot` is the id of the data that were read.
    """
    ledger = ledger_of(recorder)
    if ledger is None:
        return None
    begun = _begun(ledger, recorder)
    if begun is None:
        begin_trial(recorder, task, content=content)
        begun = _begun(ledger, recorder)
        assert begun is not None
    result = _result(recorder)
    line = begun | {"event": ENDED, "time": _now(), "snapshot": snapshot, "result": result}
    ledger.add(_plain(line))
    facts = _facts(ledger, line)
    text = json.dumps(facts, indent=2, allow_nan=False)
    recorder.save_file(ARTIFACT, lambda path: path.write_text(text, encoding="utf-8"))
    logger.info(words(facts))
    return facts


def standing(recorder: Recorder) -> dict[str, Any] | None:
    """Return what trial.json says, counted among the trials made until now; None for a run that is in no ledger."""
    ledger = ledger_of(recorder)
    own = ledger.lines_of(recorder) if ledger is not None else []
    if not own or ledger is None:
        return None
    return _facts(ledger, own[-1])


def words(facts: Mapping[str, Any]) -> str:
    """Say in one line what the numbers of a trial mean.

    >>> words({"number": 3, "trials": 9, "again": True, "scope": {"universe": "all", "freq": "day"}, "sharpe": None})
    'trial 3 (made before) of 9 on the universe all, day'
    """
    scope = facts["scope"]
    text = f"trial {facts['number']}{' (made before)' if facts['again'] else ''} of {facts['trials']}"
    text += f" on the universe {scope['universe']}, {scope['freq']}"
    if facts.get("sharpe") is None or facts.get("dsr") is None:
        return text
    kind = "excess return" if facts["returns"] == "excess" else "net return"
    text += f": Sharpe ratio of the {kind} {facts['sharpe_annual']:.2f} a year"
    if facts["trials"] == 1:
        return f"{text}; that the true one is above 0 has a probability of {_chance(facts['dsr'])}"
    return (
        f"{text}; the best of {facts['trials']} worthless tries would show {facts['best_of_noise_annual']:.2f}; "
        f"that the true one is above that has a probability of {_chance(facts['dsr'])}"
    )


def _chance(share: float) -> str:
    return "more than 0.99" if share > 0.99 else "less than 0.01" if share < 0.01 else f"{share:.2f}"


def trial_key(task: Mapping[str, Any]) -> str:
    """Return what makes a trial the same as another: the task, and the sources of the user's modules that it names.

    Modules of this package and of installed ones do not count: a new release is no new idea.

    >>> trial_key({"model": {"class": "A"}}) == trial_key({"model": {"class": "A"}})
    True
    """
    own = [name for name in modules_of(task) if name.partition(".")[0] != _PACKAGE.name]
    found = sources_of(own) if own else {}
    code = sorted(digest for path, digest in found.items() if not Path(path).is_relative_to(_PACKAGE))
    return _digest(json.dumps([_sorted(task), code]))


# ------------------------------------------------------------------------------------------------------- counting
def _begun(ledger: Ledger, recorder: Recorder) -> Line | None:
    """Return the line of the trial that a run makes now."""
    return next((line for line in reversed(ledger.lines_of(recorder)) if line["event"] == BEGUN), None)


def _facts(ledger: Ledger, own: Line) -> dict[str, Any]:
    """Return the content of trial.json for the run that `own` tells of."""
    among = [line for line in ledger.lines() if line["scope"] == own["scope"]]
    numbers: dict[str, int] = {}
    for line in among:
        if line["event"] == BEGUN:
            numbers.setdefault(line["trial"], len(numbers) + 1)
    earlier = next(line["run"] for line in among if line["trial"] == own["trial"])
    result = own.get("result") or {}
    facts: dict[str, Any] = {
        "number": numbers[own["trial"]],
        "trials": len(numbers),
        "again": earlier != own["run"],
        "first_run": earlier,
        "run": own["run"],
        "trial": own["trial"],
        "scope": own["scope"],
        "snapshot": own.get("snapshot"),
        "time": own["time"],
        **result,
    }
    if result.get("sharpe") is not None:
        facts |= _certainty(result, len(numbers), _ratios(among, result))
    return _plain(facts)


def _ratios(among: list[Line], result: Mapping[str, Any]) -> list[float]:
    """Return the latest ratio of each trial that has one of the same kind, per bar."""
    latest = {}
    for line in among:
        other = line.get("result") or {}
        if other.get("sharpe") is not None and all(other[key] == result[key] for key in ("freq", "returns")):
            latest[line["trial"]] = float(other["sharpe"])
    return list(latest.values())


def _certainty(result: Mapping[str, Any], trials: int, ratios: list[float]) -> dict[str, Any]:
    seen = Moments(result["sharpe"], result["bars"], result["skew"], result["kurtosis"])
    known = len(ratios) > 1
    deviation = float(np.std(ratios, ddof=1)) if known else 1 / math.sqrt(seen.bars - 1)
    best = expected_best_sharpe(trials, deviation)
    year = math.sqrt(result["bars_in_a_year"])
    return {
        "sharpe_annual": seen.sharpe * year,
        "psr": probabilistic_sharpe(seen),
        "deviation": deviation,
        "deviation_of": "trials" if known else "noise",
        "best_of_noise": best,
        "best_of_noise_annual": best * year,
        "dsr": deflated_sharpe(seen, trials, deviation),
        "min_track_record": minimum_track_record(seen),
        "min_track_record_deflated": minimum_track_record(seen, best),
    }


# -------------------------------------------------------------------------------------------------------- results
def _result(recorder: Recorder) -> dict[str, Any]:
    """Return the numbers of a run that trials are judged by; empty for a run that has none."""
    result: dict[str, Any] = {}
    folders = recorder.list_artifacts()
    if "portfolio_analysis" in folders:
        names = [name for name in recorder.list_artifacts("portfolio_analysis") if name.startswith(_REPORT)]
        freqs = sorted((name.removeprefix(_REPORT).removesuffix(_PKL) for name in names), key=_bars_in_a_year)
        if freqs:  # the outermost level is the one whose decisions are the strategy's
            result |= _of_returns(recorder.load_object(f"{_REPORT}{freqs[0]}{_PKL}"), freqs[0])
    if "sig_analysis" in folders and "sig_analysis/ic.pkl" in recorder.list_artifacts("sig_analysis"):
        result |= _of_ic(recorder.load_object("sig_analysis/ic.pkl"))
    return result


def _of_returns(report: pd.DataFrame, freq: str) -> dict[str, Any]:
    net = report["return"].fillna(0.0) - report["cost"].fillna(0.0)
    bench = report["bench"].fillna(0.0) if "bench" in report else 0.0 * net
    seen = moments(net - bench)
    if not math.isfinite(seen.sharpe):
        return {}
    return {
        "returns": "excess" if (bench != 0).any() else "net",
        "freq": freq,
        "bars_in_a_year": _bars_in_a_year(freq),
        **asdict(seen),
        "sharpe_interval": _interval(bootstrap_interval(net - bench, "sharpe")),
    }


def _bars_in_a_year(freq: str) -> float:
    settings = active_settings()
    return periods_per_year(freq, None if settings.get("compat") == "qlib" else settings.region)


def _of_ic(ic: pd.Series) -> dict[str, Any]:
    test = mean_test(ic)
    return {"ic": {**asdict(test), "interval": _interval(bootstrap_interval(ic))}}


def _interval(found: Interval) -> dict[str, Any]:
    return {"low": found.low, "high": found.high, "level": found.level, "block": found.block, "draws": found.draws}


# ----------------------------------------------------------------------------------------------------------- keys
def _line(event: str, recorder: Recorder, key: str, scope: Scope) -> Line:
    return {
        "event": event,
        "trial": key,
        "scope": asdict(scope) | {"data": list(scope.data)},
        "run": recorder.id,
        "experiment": recorder.experiment_id,
        "time": _now(),
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _digest(content: str | bytes) -> str:
    data = content.encode() if isinstance(content, str) else content
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _plain(thing: Any) -> Any:
    """Return plain data for JSON: what is no number is None."""
    if isinstance(thing, dict):
        return {key: _plain(value) for key, value in thing.items()}
    if isinstance(thing, list | tuple):
        return [_plain(value) for value in thing]
    if isinstance(thing, float | np.floating):
        return float(thing) if math.isfinite(thing) else None
    return int(thing) if isinstance(thing, np.integer) else thing


def _sorted(thing: Any) -> Any:
    """Return a configuration as lists in which the order of keys does not matter; objects by what they print."""
    if isinstance(thing, Mapping):
        return sorted([[str(key), _sorted(value)] for key, value in thing.items()], key=lambda pair: pair[0])
    if isinstance(thing, list | tuple):
        return [_sorted(value) for value in thing]
    return thing if isinstance(thing, str | int | float | bool | None) else repr(thing)


def _named(config: Any, name: str) -> Any:
    """Return the value of the first key `name` in nested configurations, the outermost first."""
    level = [config]
    while level:
        for one in level:
            if isinstance(one, Mapping) and one.get(name) is not None:
                return one[name]
        level = [value for one in level for value in _inside(one)]
    return None


def _inside(config: Any) -> list[Any]:
    if isinstance(config, Mapping):
        return list(config.values())
    return list(config) if isinstance(config, list | tuple) else []


def _freq(named: Any) -> str:
    try:
        return str(Freq(named))
    except InputError:  # several, or a word of the user's own loader
        return str(named)


def _short(universe: Any) -> str:
    if isinstance(universe, str):
        return universe
    if isinstance(universe, list | tuple | set) and all(isinstance(name, str) for name in universe):
        universe = sorted(universe)
        text = ", ".join(universe)
        return text if len(text) <= 100 else f"{len(universe)} names {_digest(text)[:12]}"
    if isinstance(universe, Mapping) and isinstance(universe.get("market"), str) and not universe.get("filter_pipe"):
        return str(universe["market"])
    return _digest(json.dumps(_sorted(universe)))[:12]
