"""Qlib's public names: what exists here must match, what is missing is listed, and the list may only shrink."""

from __future__ import annotations

import ledger
from conftest import shared


def test_missing_public_names_are_exactly_the_listed_ones():
    shared("contract/api.json")
    percent, count, names = ledger.measure()
    before, known = ledger.recorded()
    newly = sorted(set(names) - set(known))
    assert not newly, f"these public names of Qlib no longer match ({percent:.2f} % present): {newly[:20]}"
    built = sorted(set(known) - set(names))
    assert not built, f"built meanwhile; run `python tests/compat/ledger.py --update`: {built[:20]}"
    assert count == before


def test_no_existing_function_lacks_a_parameter_of_qlib_without_being_listed():
    shared("contract/api.json")
    _, known = ledger.recorded()
    lacking = [name for name in known if name.endswith("[parameter]")]
    assert lacking == sorted(lacking)
    assert len(lacking) == len(set(lacking))
