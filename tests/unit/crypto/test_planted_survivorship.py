"""P23: coins that die at a known rate. What today's list hides is what it has to be, in closed form."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from proof import cases

from qlib.crypto.survivorship import returns_of_close, survivorship
from qlib.crypto.universe import Rule

DAY, DAYS, LOSS = 86_400_000, 3 * 365, 0.95


@pytest.mark.parametrize("seed", range(cases(2, 20)))
def test_survivors_earn_more_by_what_the_dead_lost(seed):
    """30 % of the coins die within three years: hazard h = 1 - 0.7^(1 / 1095) a day, each at -95 % of its value.

    Nobody earns anything else on average, so the survivors are flattered by h * 0.95 * 365 = 11.3 % a year of growth
    (log(1 - 0.95 h) a day), within three standard errors: that of the number of deaths, and of the noise of returns.
    """
    coins, noise = 400, 0.005
    rng = np.random.default_rng(seed)
    hazard = 1 - 0.7 ** (1 / DAYS)
    death = rng.geometric(hazard, coins)  # the day on which it loses 95 %, its last
    moves = rng.normal(0, noise, (DAYS + 1, coins))
    moves[0] = 0.0
    day = np.arange(DAYS + 1)[:, None]
    moves = np.where(day == death, -LOSS, np.where(day > death, np.nan, moves))
    names = [f"C{i:03d}" for i in range(coins)]
    close = pd.DataFrame((1 + moves).cumprod(axis=0), pd.date_range("1970-01-01", periods=DAYS + 1), names)
    snapshots = pd.concat(
        pd.DataFrame({"known": at * DAY, "instrument": np.array(names)[death >= at], "market_cap": 1.0, "price": 1.0})
        for at in [*range(1, DAYS, 30), DAYS]
    )
    found = survivorship(snapshots, Rule(top=coins), returns_of_close(close))
    then, today = found.known_then, found.by_today
    assert then is not None and today is not None
    assert len(found.today) == (death >= DAYS).sum() and found.ever == (death > 0).sum()
    gap = np.log(today.growth / then.growth) / then.years
    deaths, lived = (death < DAYS).sum(), np.minimum(death, DAYS).sum()
    of_deaths = LOSS * np.sqrt(deaths) / lived * 365
    of_noise = noise * np.sqrt(365 / 3 * (1 / len(found.today) - 1 / coins))
    expected = hazard * LOSS * 365
    assert expected == pytest.approx(0.113, abs=5e-4)
    assert abs(gap - expected) < 3 * np.hypot(of_deaths, of_noise)
    assert gap > 6 * of_noise  # and it is no noise
