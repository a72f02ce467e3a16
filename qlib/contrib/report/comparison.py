"""Several runs on one page: `comparison.html`, and `comparison.json` beside it.

    page = write_comparison([recorder, other], "comparison")

Like the report of one run it needs no network; both files are complete or absent.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qlib.config import Settings, active_settings
from qlib.contrib.report.artifacts import read_artifacts
from qlib.contrib.report.comparison_numbers import build_comparison
from qlib.contrib.report.figures.comparison import comparison_figures
from qlib.contrib.report.numbers import build_twin, dump
from qlib.contrib.report.page import LEVEL_WORDS, Pages
from qlib.contrib.report.run_report import PAGE as RUN_PAGE
from qlib.contrib.report.run_report import artifact_folder, installed_version, kept_market, write_file

PAGE = "comparison.html"
TWIN = "comparison.json"


def write_comparison(
    recorders: Sequence[Any], folder: str | os.PathLike[str], *, settings: Settings | Sequence[Settings] | None = None
) -> Path:
    """Write the comparison of two to eight runs into `folder` and return the path of its page.

    Parameters
    ----------
    recorders
        Finished runs; the first is "A".
    folder
        Made where there is none.
    settings
        Where the region of a run without a `config` is looked up, one for all or one each; None: the live session's.

    Raises
    ------
    InputError
        Fewer than two runs, or more than eight.
    RunError
        The folder cannot be written to.
    """
    if settings is None or isinstance(settings, Settings):
        settings = [active_settings() if settings is None else settings] * len(recorders)
    artifacts = [read_artifacts(recorder) for recorder in recorders]
    version = installed_version()
    twins = [
        build_twin(own, its, version, kept=kept_market(recorder))
        for recorder, own, its in zip(recorders, artifacts, settings, strict=True)
    ]
    twin = build_comparison(twins, artifacts)
    place = Path(folder)
    for run, recorder in zip(twin["runs"], recorders, strict=True):
        run["page"] = _page_of(recorder, place)
    write_file(place / TWIN, dump(twin))
    write_file(place / PAGE, render_comparison(twin))
    return place / PAGE


def _page_of(recorder: Any, place: Path) -> str | None:
    """Where the run's own report lies, seen from the comparison; None where it is not on this machine."""
    home = artifact_folder(recorder)
    if home is None or not (home / RUN_PAGE).exists():
        return None
    return Path(os.path.relpath(home / RUN_PAGE, place)).as_posix()


def render_comparison(twin: dict[str, Any]) -> str:
    """Return the whole page."""
    return Pages(twin, comparison_figures(twin)).render("comparison.html", level_words=LEVEL_WORDS)
