"""What a reader must know before believing the numbers, in plain words.

    caveats(twin) -> [{"code": "short_history", "level": "caution", "text": "..."}]

Levels: "alarm" (the numbers say nothing about a real market, or speak against the run), "caution" (read with care),
"note" (good to know). Worst first.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from qlib.contrib.report.words import plural, show

LEVELS = ("alarm", "caution", "note")
FEW_ROWS = 1000
FEW_PERIODS = 30
SHORT_PERIODS = 250
A_YEAR = 0.99  # 365 days are one
TOO_GOOD = 0.25
MOST_NAMES = 5
SURE = 2.0
SKILL = 0.95  # deflated Sharpe ratio
MANY_HOLES = 0.01
FEW_ROUNDS = 5
DOMINANT = 0.5
OVERLAP = 0.5  # correlation of neighbours: labels of two periods and more have it

Caveat = tuple[str, str, str]


def caveats(twin: dict[str, Any]) -> list[dict[str, str]]:
    """Every warning that applies to this run, worst first."""
    parts = (_of_data, _of_market, _of_signal, _of_portfolio, _of_trials, _of_model, _of_capacity)
    found = [one for part in parts for one in part(twin)]
    found.sort(key=lambda caveat: LEVELS.index(caveat[1]))
    return [{"code": code, "level": level, "text": text} for code, level, text in found]


def _of_data(twin: dict[str, Any]) -> Iterator[Caveat]:
    truth = twin["data"]["truth"]
    if truth:
        made = "a program made them"
        if truth.get("null_twin"):
            made += ", and nothing in them can be predicted (the null twin): an honest IC is zero within its error"
        elif truth.get("planted_ic"):
            made += ", with a pattern planted to be found"
        yield (
            "synthetic",
            "alarm",
            f"These prices are synthetic: {made}. "
            "The figures show that the machinery works; they say nothing about any real market.",
        )
    segments = twin["dataset"]["segments"]
    train, test = segments.get("train"), segments.get("test")
    if train and test and train[1] and test[0] and train[1] >= test[0]:
        yield (
            "overlap",
            "alarm",
            f"The model was fitted on data up to {train[1]}, and the test begins on {test[0]}: "
            "the model has seen what it is tested on.",
        )


def _of_market(twin: dict[str, Any]) -> Iterator[Caveat]:
    market, origin = twin["market"], twin["origin"]
    if "why" not in market:
        share = market["holes_share"]
        if share is not None and share > MANY_HOLES:
            yield (
                "holes",
                "caution",
                f"{show(share, 'percent')} of the bars of the universe have no close "
                f"({plural(market['instruments_with_holes'], 'instrument')}). What is missing may be what mattered.",
            )
        if market["bars_without_any"]:
            yield (
                "empty_bars",
                "caution",
                f"At {plural(market['bars_without_any'], 'time')} no instrument of the universe has a price.",
            )
        yield from _of_tiers(market["tiers"])
    if origin and any(one["changed"] for one in origin["repositories"]):
        yield (
            "code_changed",
            "note",
            "The code was not that of a commit: what was changed is kept in the run as code.diff.",
        )


def _of_tiers(tiers: dict[str, Any] | None) -> Iterator[Caveat]:
    if not tiers:
        return
    most, least = tiers["ic"][0], tiers["ic"][-1]
    sure = [t is not None and abs(t) >= SURE for t in tiers["ic_t"]]
    if most is not None and least is not None and sure[-1] and least > 0 and (most <= 0 or not sure[0]):
        yield (
            "illiquid_signal",
            "caution",
            f"The signal lives among the least traded instruments (IC {show(least, 'coefficient')}); among the most "
            f"traded it is {show(most, 'coefficient')}, which cannot be told from zero. It is hard to trade.",
        )


def _of_trials(twin: dict[str, Any]) -> Iterator[Caveat]:
    trials = twin["trials"]
    ledger, returns = trials["ledger"] or {}, trials["excess"] or trials["net"]
    dsr, count = ledger.get("dsr"), ledger.get("trials", 1)
    if dsr is not None and dsr < SKILL and (ledger.get("sharpe") or 0) > 0:
        yield (
            "luck",
            "caution",
            f"This was one of {plural(count, 'trial')} on these data. The best of so many worthless ones would show a "
            f"ratio of {show(ledger.get('best_of_noise_annual'), 'ratio')}; that this one is better than luck has a "
            f"probability of {show(dsr, 'percent')} (deflated Sharpe ratio; 95 % is asked for).",
        )
    elif returns and not returns["never"] and returns["track_record"] > returns["periods"]:
        yield (
            "track_record",
            "caution",
            f"Too short to be sure: a result like this one needs {show(returns['track_record'], 'count')} periods, and "
            f"there are {show(returns['periods'], 'count')}.",
        )
    ic = trials["ic"]
    if ic and ic["low"] is not None and ic["low"] <= 0 <= ic["high"] and not _uncertain(twin):
        yield (
            "ic_interval",
            "caution",
            f"The interval of the IC holds zero: it reaches from {show(ic['low'], 'coefficient')} to "
            f"{show(ic['high'], 'coefficient')}.",
        )


def _uncertain(twin: dict[str, Any]) -> bool:
    ic = (twin["signal"] or {}).get("ic")
    return not ic or ic["t"] is None or abs(ic["t"]) < SURE


def _of_model(twin: dict[str, Any]) -> Iterator[Caveat]:
    for curve in twin["model_numbers"]["learning"]:
        if curve["best"] == 1 and curve["rounds"] > FEW_ROUNDS:
            yield (
                "nothing_learned",
                "caution",
                f"On unseen rows the model was best after its first of {curve['rounds']} rounds ({curve['metric']}): "
                "it learned nothing that lasts.",
            )
            return
    found = twin["model_numbers"]["importance"]
    if found and found["share"] and found["count"] > MOST_NAMES and found["share"][0] > DOMINANT:
        yield (
            "one_feature",
            "note",
            f"One feature of {found['count']}, {found['features'][0]}, makes {show(found['share'][0], 'percent')} "
            "of the model. Look at it first when something seems too good.",
        )


def _of_capacity(twin: dict[str, Any]) -> Iterator[Caveat]:
    found = twin["capacity"]
    if not found:
        return
    if found["best"] is not None and found["best"] < found["capital"]:
        yield (
            "over_capacity",
            "caution",
            f"Were orders to move prices by the square-root law, this capital ({show(found['capital'], 'money')}) "
            f"would be more than the strategy can carry: most is earned with {show(found['best'], 'money')}.",
        )


def _of_signal(twin: dict[str, Any]) -> Iterator[Caveat]:
    signal = twin["signal"]
    if signal is None:
        yield "no_prediction", "caution", "The run left no prediction (pred.pkl): there is no signal to judge."
        return
    covered, ic = signal["coverage"], signal["ic"]
    missing = covered["missing_predictions"]
    if missing:
        level = "caution" if missing > 0.01 else "note"
        text = f"{show(missing, 'percent')} of the rows with a label have no prediction; they are left out."
        yield "missing_predictions", level, text
    if ic is None:
        yield (
            "no_label",
            "caution",
            "The test rows have no usable label, so nothing can be said about the quality of the scores.",
        )
        return
    if 0 < covered["rows_used"] < FEW_ROWS or ic["periods"] < FEW_PERIODS:
        yield (
            "few_rows",
            "caution",
            f"Few test rows: {plural(covered['rows_used'], 'row')} over {plural(ic['periods'], 'period')}. "
            "A handful of moves decides every figure.",
        )
    yield from _certainty(ic)
    overlap = (signal["groups"] or {}).get("overlap")
    if overlap is not None and overlap > OVERLAP:
        yield (
            "labels_overlap",
            "caution",
            f"Labels of neighbouring periods overlap (their means correlate with {show(overlap, 'ratio')}): each looks "
            "over several periods. What groups earned, added up period by period, counts a move several times.",
        )


def _certainty(ic: dict[str, Any]) -> Iterator[Caveat]:
    if ic["t"] is None:
        yield "ic_unknown", "caution", "One period has an IC: how far it lies from chance cannot be told."
        return
    said = (
        f"mean {show(ic['mean'], 'coefficient')}, standard error {show(ic['standard_error'], 'coefficient')}, "
        f"t = {show(ic['t'], 'ratio')}"
    )
    if abs(ic["t"]) < SURE:
        yield (
            "ic_uncertain",
            "caution",
            f"The IC cannot be told from zero: {said}. "
            "Chance alone gives a t between \u22122 and 2 nineteen times in twenty.",
        )
    elif ic["mean"] < 0:
        yield "ic_negative", "alarm", f"The scores point the wrong way: {said}."
    if ic["mean"] > TOO_GOOD and abs(ic["t"]) >= SURE:
        yield (
            "ic_too_good",
            "alarm",
            f"An IC of {show(ic['mean'], 'coefficient')} is rarely real. "
            "Look for a label that leaks into the features.",
        )


def _of_portfolio(twin: dict[str, Any]) -> Iterator[Caveat]:
    held = twin["portfolio"]
    if held is None:
        yield "no_portfolio", "note", "The run made no backtest: the report ends with the signal."
        return
    yield from _length(held)
    yield from _gain(held)
    if held["benchmark"] is None:
        text = "There is no benchmark, so nothing tells what part of the return the market gave to everybody."
        yield "no_benchmark", "caution", text
    trading = held["trading"]
    if not trading["turnover_highest"]:
        yield "no_trades", "caution", "The backtest never traded: its figures are those of cash."
    elif not trading["cost_total"]:
        yield "no_cost", "caution", "Trading was free in this backtest. No real market is."
    forced = (held["sides"] or {}).get("forced_closes")
    if forced:
        closed = plural(forced, "holding was", "holdings were")
        yield "forced_closes", "caution", f"{closed} closed by force because the margin was used up."
    yield from _stuck(held["stuck"])
    yield from _other_year(twin, held)
    if held["returns_missing"]:
        text = f"{plural(held['returns_missing'], 'step')} of the backtest have no return and are counted as zero."
        yield "missing_returns", "caution", text
    if held["account_differs"] > 1e-6:
        yield (
            "account_differs",
            "alarm",
            f"Account and returns disagree by up to {show(held['account_differs'], 'percent')} in one step: "
            "money entered or left the account, or the accounting is wrong.",
        )


def _length(held: dict[str, Any]) -> Iterator[Caveat]:
    if held["periods"] < SHORT_PERIODS or held["years"] < A_YEAR:
        yield (
            "short_history",
            "caution",
            f"Short history: the backtest covers {plural(held['periods'], 'period')}, {show(held['years'], 'ratio')} "
            "years. Yearly figures are stretched from it and can be far off.",
        )


def _stuck(stuck: list[dict[str, Any]]) -> Iterator[Caveat]:
    if stuck:
        names = ", ".join(f"{one['instrument']} (since {one['since']})" for one in stuck[:MOST_NAMES])
        more = f" and {len(stuck) - MOST_NAMES} more" if len(stuck) > MOST_NAMES else ""
        one, they = ("holding", "It counts") if len(stuck) == 1 else ("holdings", "They count")
        yield (
            "stuck_holdings",
            "caution",
            f"The backtest ends with {len(stuck)} {one} that no score was given for any more: {names}{more}. "
            f"{they} at the last price known; a delisted instrument may be worth nothing.",
        )


def _other_year(twin: dict[str, Any], held: dict[str, Any]) -> Iterator[Caveat]:
    logged = twin["logged"].get(f"{held['freq']}.excess_return_with_cost.annualized_return")
    above = held["excess"]
    if logged is None or above is None or abs(logged - above["annual"]) <= 1e-6 * max(1.0, abs(logged)):
        return
    yield (
        "other_year",
        "note",
        f"The recorder holds a yearly excess return of {show(logged, 'change')}; with the {held['periods_per_year']:g} "
        f"periods a year of this region it is {show(above['annual'], 'change')}.",
    )


def _gain(held: dict[str, Any]) -> Iterator[Caveat]:
    net, gross, above = held["net"], held["gross"], held["excess"]
    if net["total"] < 0 <= gross["total"]:
        yield (
            "costs_eat_the_gain",
            "alarm",
            f"Costs eat the gain: {show(gross['total'], 'change')} before costs, {show(net['total'], 'change')} after.",
        )
    elif net["total"] < 0:
        yield "loss", "alarm", f"The portfolio lost money after costs: {show(net['total'], 'change')}."
    if above is None:
        return
    if net["total"] >= 0 and net["total"] < held["benchmark"]["total"]:
        yield (
            "behind_benchmark",
            "caution",
            f"The benchmark did better: {show(held['benchmark']['total'], 'change')} against "
            f"{show(net['total'], 'change')} for the portfolio after costs.",
        )
    if above["t"] is not None and abs(above["t"]) < SURE:
        yield (
            "excess_uncertain",
            "caution",
            f"The excess over the benchmark cannot be told from luck: t = {show(above['t'], 'ratio')}.",
        )
