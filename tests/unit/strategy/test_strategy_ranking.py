"""Names in the order of their scores, beside pandas, which sorts all of them."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from qlib.contrib.strategy.ranking import Ranking

scores = st.sampled_from([math.nan, math.inf, -math.inf, 0.0, -0.0]) | st.integers(-3, 3).map(float) | st.floats()


@st.composite
def rankings(draw) -> tuple[pd.Series, list[str], list[str]]:
    """Scores by name, what is held, and names that are not."""
    names = draw(st.permutations([f"N{i}" for i in range(draw(st.integers(0, 40)))]))
    values = draw(st.lists(scores, min_size=len(names), max_size=len(names)))
    known = draw(st.permutations([*names, "X", "Y"]))
    cut = draw(st.integers(0, len(known)))
    return pd.Series(values, names, dtype=float), known[:cut], known[cut:]


def made(series: pd.Series, held: list[str]) -> Ranking:
    names = series.index.tolist()
    return Ranking(names, {name: i for i, name in enumerate(names)}, series.to_numpy(), held)


def in_order(series: pd.Series) -> list[str]:
    return series.dropna().sort_values(ascending=False, kind="stable").index.tolist()


@given(rankings(), st.integers(-2, 45))
def test_the_best_come_first_and_equal_ones_in_their_order(given_ranking, count):
    series, held, _ = given_ranking
    ranking = made(series, held)
    assert ranking.all() == in_order(series)
    others = in_order(series[~series.index.isin(held)])
    assert ranking.others() == others
    assert ranking.others(count) == (others[:count] if count > 0 else others)


@given(rankings())
def test_what_is_held_and_new_is_put_into_one_order_with_the_unscored_last_by_name(given_ranking):
    series, held, new = given_ranking
    names = held + new
    wanted = in_order(series.reindex(names))
    assert made(series, held).sort(held, new) == wanted + sorted(set(names) - set(wanted))


def test_a_row_of_a_table_is_read_where_it_lies():
    table = np.array([[1.0, 9.0], [3.0, 9.0], [2.0, 9.0]])
    assert Ranking("abc", {"a": 0, "b": 1, "c": 2}, table[:, 0], []).all() == ["b", "c", "a"]


def test_every_name_has_a_score():
    with pytest.raises(ValueError, match="received 2 scores for 3 names"):
        Ranking("abc", {"a": 0, "b": 1, "c": 2}, np.zeros(2), [])


@pytest.mark.parametrize("place", [3, -1, 10**9])
def test_a_place_that_is_none_is_refused_and_nothing_is_read_there(place):
    ranking = Ranking("abc", {"a": 0, "b": 1, "c": place}, np.zeros(3), ["c"])
    for asked in (ranking.others, lambda: ranking.sort(["c"], ["a"])):
        with pytest.raises(ValueError, match=f"'c' is at place {place} of 3 scores"):
            asked()
