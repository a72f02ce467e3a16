"""Alpha158 as a whole: the unit of prices and volumes, the threads and the instruction set change nothing."""

from __future__ import annotations

import re
from functools import partial

import numpy as np
import pytest
from proof import cases

from qlib.contrib.data.loader import Alpha158DL
from qlib.data.expression import build_plan, engine
from qlib.data.kernels import program
from qlib.data.panel import Panel

FORMULAS, NAMES = Alpha158DL.get_feature_config()
PRICES = ("open", "high", "low", "close", "vwap")
# Formulas that hold an absolute number, and so know the unit.  1e-12 keeps a denominator above 0; Log($volume+1) is
# finite without volume.  All others are ratios.
KNOWS_PRICES = {"KMID2", "KUP2", "KLOW2", "KSFT2", "RSV", "SUMP", "SUMN", "SUMD"}
KNOWS_VOLUMES = {"CORR", "VMA", "VSTD", "VSUMP", "VSUMN", "VSUMD", "WVMA"}


def family(name: str) -> str:
    return name if name in KNOWS_PRICES else re.sub("[0-9]+$", "", name)


def market(seed: int, instruments: int, rows: int) -> Panel:
    """Prices between 1 and 1000 in ticks of 1/64, so that they are short numbers; gaps, halts, late listings."""
    rng = np.random.default_rng(seed)
    lengths = [0, 1, 3, *rng.integers(2, rows, instruments - 4).tolist(), rows]
    total = sum(lengths)
    level = np.repeat(rng.uniform(5, 200, instruments), lengths)
    close = level * np.exp(np.clip(rng.normal(0, 0.02, total).cumsum() % 3 - 1.5, -1.5, 1.5))
    bar = {"close": close, "open": close * np.exp(rng.normal(0, 0.01, total))}
    bar["high"] = np.maximum(*bar.values()) * np.exp(np.abs(rng.normal(0, 0.01, total)))
    bar["low"] = np.minimum(bar["close"], bar["open"]) * np.exp(-np.abs(rng.normal(0, 0.01, total)))
    bar["vwap"] = (bar["high"] + bar["low"] + bar["close"]) / 3
    bar = {name: (64 * values).round() / 64 for name, values in bar.items()}
    bar["volume"] = rng.lognormal(9, 1, total).round()
    halted = rng.random(total) < 0.02
    for name in bar:
        bar[name][rng.random(total) < 0.01] = np.nan
        bar[name][halted] = np.nan
    columns = {name: values.astype("f4") for name, values in bar.items()}
    names = tuple(f"i{k}" for k in range(instruments))
    return Panel(names, np.cumsum([0, *lengths]), rng.integers(0, 50, instruments), columns)


def scaled(panel: Panel, prices: float, volumes: float) -> Panel:
    columns = {
        name: (values.astype("f8") * (volumes if name == "volume" else prices)).astype("f4")
        for name, values in panel.columns.items()
    }
    return Panel(panel.instruments, panel.start, panel.first, columns)


def in_unit(name: str, text: str, prices: float, volumes: float) -> str:
    """Return the formula with its absolute number in the other unit: what scaled data say of the formula, it says."""
    if family(name) in KNOWS_PRICES:
        return text.replace("1e-12", repr(1e-12 / prices))
    if family(name) == "CORR":
        return text.replace("$volume+1", f"$volume+{1 / volumes!r}")
    return text.replace("1e-12", repr(1e-12 / volumes)) if family(name) in KNOWS_VOLUMES else text


def values(texts: list[str], panel: Panel) -> np.ndarray:
    return engine.evaluate_block(build_plan(texts), panel)


def test_the_formulas_that_know_the_unit_are_those_that_hold_an_absolute_number():
    absolute = {
        family(name) for name, text in zip(NAMES, FORMULAS, strict=True) if "1e-12" in text or "$volume+1)" in text
    }
    assert absolute == KNOWS_PRICES | KNOWS_VOLUMES


@pytest.mark.parametrize("volumes", [1.0, 2.0**10])
@pytest.mark.parametrize("prices", [2.0**-30, 2.0**30])
def test_a_unit_of_a_power_of_two_changes_no_bit(prices, volumes):
    """All 158 columns, absolute numbers scaled too: 12 instruments x 200 rows in CI, 60 x 2,000 in `make proof`."""
    panel = market(1, *cases((12, 200), (60, 2000)))
    before = values([in_unit(n, t, prices, volumes) for n, t in zip(NAMES, FORMULAS, strict=True)], panel)
    after = values(FORMULAS, scaled(panel, prices, volumes))
    for name, one, other in zip(NAMES, before, after, strict=True):
        if family(name) not in ("CORR", "CORD") or volumes == 1:  # a logarithm of another number
            np.testing.assert_array_equal(one, other, err_msg=name)


def movement(panel: Panel, prices: float, volumes: float) -> dict[str, float]:
    """Return how far each family moves at most, relative to 1, or to the value where that is larger."""
    before = values([in_unit(n, t, prices, volumes) for n, t in zip(NAMES, FORMULAS, strict=True)], panel)
    worst: dict[str, float] = {}
    for name, one, two in zip(NAMES, before, values(FORMULAS, scaled(panel, prices, volumes)), strict=True):
        np.testing.assert_array_equal(np.isnan(one), np.isnan(two), err_msg=name)
        moved = np.abs(one.astype("f8") - two) / np.maximum(1, np.abs(one))
        worst[family(name)] = max(worst.get(family(name), 0), float(np.nanmax(moved, initial=0)))
    ranked = sorted(worst.items(), key=lambda item: -item[1])
    print(f"prices x {prices:g}, volumes x {volumes:g}:", *(f"{name} {most:.0e}" for name, most in ranked[:16]))
    return worst


@pytest.mark.parametrize("volumes", [1.0, 1e3])
@pytest.mark.parametrize("prices", [5 * 2.0**-32, 3 * 2.0**28])
def test_a_unit_changes_no_column_by_a_millionth(prices, volumes):
    """Prices times 1.2e-9 and 8e8, exactly: 12 instruments x 200 rows in CI, 60 x 2,000 in `make proof`."""
    panel = market(2, *cases((12, 200), (60, 2000)))
    close = panel.columns["close"].astype("f8") * prices
    np.testing.assert_array_equal(close.astype("f4").astype("f8"), close)
    worst = movement(panel, prices, volumes)
    if volumes != 1:  # the logarithm of a larger volume is rounded to float32 elsewhere
        assert worst.pop("CORR") <= 5e-5
    assert max(worst.values()) <= 1e-6


# Families that divide a difference of prices by another one.  Where prices in another unit are rounded to float32
# again, by a hundred-millionth each, their small differences move by more, and so does Qlib's.
DIFFERENCES = {"KMID2", "KUP2", "KLOW2", "KSFT2", "RSV", "RSQR", "CORR", "CORD", "SUMP", "SUMN", "SUMD", "WVMA"}


@pytest.mark.parametrize("prices", [1e-9, 1e9])
def test_a_unit_that_rounds_the_prices_again_moves_differences_alone(prices):
    """Prices times 1e-9 and 1e9, volumes times 1e3: 12 instruments x 200 rows in CI, 60 x 2,000 in `make proof`."""
    worst = movement(market(2, *cases((12, 200), (60, 2000))), prices, 1e3)
    assert max(most for name, most in worst.items() if name not in DIFFERENCES) <= 1e-6
    assert max(worst[name] for name in DIFFERENCES) <= 5e-3


@pytest.mark.parametrize(("unit", "share"), [(2.0**-20, 1e-4), (2.0**-30, 0.1)])
def test_what_an_absolute_number_does_is_bounded(unit, share):
    """The formulas as they are, of coins of about 1e-4 and 1e-7: 12 instruments x 200 rows in CI, 60 x 2,000.

    The least difference of prices is a tick, unit / 64.  1e-12 beside it makes every share smaller, by no more than
    1e-12 / tick, and changes no sign.
    """
    panel = market(5, *cases((12, 200), (60, 2000)))
    assert 1e-12 / (unit / 64) < share
    names = [name for name in NAMES if family(name) in KNOWS_PRICES]
    texts = [text for name, text in zip(NAMES, FORMULAS, strict=True) if name in names]
    ideal, real = values(texts, scaled(panel, 2.0**20, 1.0)), values(texts, scaled(panel, unit, 1.0))
    np.testing.assert_array_equal(np.isnan(ideal), np.isnan(real))
    seen = ~np.isnan(ideal)
    ideal, real = ideal[seen].astype("f8"), real[seen].astype("f8")
    assert (np.abs(real) <= np.abs(ideal) + 2e-6).all() and (ideal * real >= 0).all()
    assert (np.abs(real - ideal) <= share * np.abs(ideal) + 2e-6).all()


@pytest.mark.parametrize("compat", [None, "qlib"])
def test_threads_change_no_bit_of_alpha158(monkeypatch, compat):
    """1, 2 and 8 threads over a ragged panel: 20 instruments x 300 rows in CI, 300 x 2,000 in `make proof`."""
    panel, plan = market(3, *cases((20, 300), (300, 2000))), build_plan(FORMULAS, compat=compat)
    one = engine.evaluate_block(plan, panel).view(np.uint32)
    monkeypatch.setattr(engine, "_WORTH_A_THREAD", 1)
    for threads in (2, 8):
        np.testing.assert_array_equal(engine.evaluate_block(plan, panel, n_threads=threads).view(np.uint32), one)


def test_instruction_sets_change_no_bit_of_alpha158(monkeypatch):
    """Every set that the machine has: 20 instruments x 300 rows in CI, 100 x 2,000 in `make proof`."""
    panel, plan = market(4, *cases((20, 300), (100, 2000))), build_plan(FORMULAS)
    one = engine.evaluate_block(plan, panel).view(np.uint32)
    for name in program.instruction_sets():
        monkeypatch.setattr(engine, "run", partial(program.run, isa=name))
        np.testing.assert_array_equal(engine.evaluate_block(plan, panel).view(np.uint32), one, err_msg=name)
    print(*program.instruction_sets())
