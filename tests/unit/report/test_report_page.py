"""The page says what its twin says, carries nothing foreign, and is written whole or not at all."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest
import report_runs

from qlib.backtest.indicator import Indicator
from qlib.config import build_settings
from qlib.contrib.report import fills, run_report
from qlib.contrib.report.figures import figures
from qlib.contrib.report.fills import AT_ONCE, COLUMNS
from qlib.contrib.report.page import pointed, render
from qlib.contrib.report.run_report import write_report
from qlib.contrib.report.words import show
from qlib.errors import RunError
from qlib.utils.exceptions import LoadObjectError

VOID = {"meta", "input", "path", "br"}
SETTINGS = build_settings(region="crypto")


class Reader(HTMLParser):
    """A page taken apart: numbers with their pointers, hover data, addresses, ids, texts; and whether tags match."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict]] = []
        self.numbers: list[tuple[str, str, str, str]] = []
        self.hover: dict[str, dict] = {}
        self.texts: list[str] = []
        self._figure = ""
        self._number: dict | None = None
        self._hover = self._cells = False
        self.cells: dict = {}
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        assert len(attributes) == len(attrs), f"an attribute is there twice: {attrs}"
        self.tags.append((tag, attributes))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "figure":
            self._figure = attributes["id"]
        if tag == "data":
            self._number = attributes
        self._hover = tag == "script" and attributes.get("class") == "hover"
        self._cells = attributes.get("id") == "fills-cells"

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        self._number = None
        self._hover = self._cells = False

    def handle_data(self, data):
        if self._number is not None:
            at = self._number
            self.numbers.append((at["data-at"], at["data-kind"], at["value"], data))
        elif self._cells:
            self.cells = json.loads(data)
        elif self._hover:
            self.hover[self._figure] = json.loads(data)
        elif self.open and self.open[-1] not in ("script", "style"):
            self.texts.append(data)


def written(recorder, **kwargs):
    """(page text, twin) of a run."""
    page = write_report(recorder, settings=SETTINGS, **kwargs)
    return page.read_text(encoding="utf-8"), json.loads((page.parent / "report.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    recorder = report_runs.run(folder)
    (folder / "store" / "truth.json").write_text('{"synthetic": true, "oracle_on_all_days": {"mean_ic": 0.08}}')
    return written(recorder)


def whole(folder):
    return report_runs.run(folder)


def signal_only(folder):
    recorder = report_runs.run(folder)
    recorder.objects = {name: value for name, value in recorder.objects.items() if "portfolio" not in name}
    return recorder


def one_day(folder):
    pred, label = report_runs.signal(days=1)
    recorder = report_runs.run(folder, pred=pred, label=label)
    recorder.objects |= report_runs.portfolio(report_runs.backtest(1))
    return recorder


def no_label(folder):
    return report_runs.run(folder, label=report_runs.signal()[1] * float("nan"))


def no_benchmark(folder):
    recorder = report_runs.run(folder, task=None, config=None)
    recorder.objects |= report_runs.portfolio(report_runs.backtest(bench=False))
    return recorder


def nothing(folder):
    return report_runs.FakeRecorder(folder, {})


def long_and_hourly(folder):
    pred, label = report_runs.signal(days=1700, names=6, freq="h")
    recorder = report_runs.run(folder, pred=pred, label=label)
    recorder.objects = {name: value for name, value in recorder.objects.items() if "1day" not in name}
    recorder.objects |= report_runs.portfolio(report_runs.backtest(1700, freq="h"), "60min")
    return recorder


def never_dealt(folder):
    return report_runs.run(folder, portfolio_analysis__indicators_normal_1day_obj=Indicator())


def no_log(folder):
    recorder = report_runs.run(folder)
    recorder.objects = {name: value for name, value in recorder.objects.items() if "_obj" not in name}
    return recorder


def with_slippage(folder):
    recorder = report_runs.run(folder)
    recorder.objects |= report_runs.portfolio(report_runs.backtest(), fills=1, slippage=0.001)
    return recorder


def with_sides(folder):
    recorder = report_runs.run(folder)
    recorder.objects |= report_runs.sides(report_runs.backtest())
    return recorder


def one_account_for_all(folder):
    pred, label = report_runs.signal(days=1700, names=6, freq="h")
    recorder = report_runs.run(folder, pred=pred, label=label)
    recorder.objects = {name: value for name, value in recorder.objects.items() if "1day" not in name}
    recorder.objects |= report_runs.sides(report_runs.backtest(1700, freq="h"), "60min", own_limits=False)
    return recorder


RUNS = [
    report_runs.everything,
    whole,
    signal_only,
    one_day,
    no_label,
    no_benchmark,
    nothing,
    long_and_hourly,
    never_dealt,
    no_log,
    with_slippage,
    with_sides,
    one_account_for_all,
]


@pytest.mark.parametrize("make", RUNS)
def test_every_number_on_the_page_is_the_twins(tmp_path, make):
    text, twin = written(make(tmp_path))
    page = Reader(text)
    for at, kind, exact, shown in page.numbers:
        value = pointed(twin, at)
        assert shown == show(value, kind), at
        assert exact == ("" if value is None else json.dumps(value)), at
    for figure, hover in page.hover.items():
        assert len(hover["places"]) == len(hover["heads"]), figure
        for readout in hover["readouts"]:
            values = pointed(twin, readout["at"])
            if hover["rows"] is not None:
                values = [values[k] for k in hover["rows"]]
            assert readout["texts"] == [show(value, readout["kind"]) for value in values], (figure, readout["name"])
            assert len(readout["texts"]) == len(hover["places"]), (figure, readout["name"])
    if page.cells:
        rows, kinds = twin["trades"]["rows"], {key: kind for key, _, kind in COLUMNS}
        for key, texts in zip(page.cells["keys"], page.cells["texts"], strict=True):
            assert texts == [show(value, kinds[key]) if kinds[key] else value for value in rows[key]], key
        assert page.cells["largest"] == twin["trades"]["largest"]
    joined = " ".join(page.texts)
    for sentence in [*twin["summary"], *(caveat["text"] for caveat in twin["caveats"])]:
        assert sentence in joined


def test_the_headline_is_there(report):
    at = {number[0] for number in Reader(report[0]).numbers}
    assert {
        "/signal/ic/mean",
        "/signal/ic/ir",
        "/signal/ic/t",
        "/signal/rank_ic/mean",
        "/portfolio/net/annual",
        "/portfolio/gross/annual",
        "/portfolio/excess/annual",
        "/portfolio/net/sharpe",
        "/portfolio/excess/information_ratio",
        "/portfolio/net/max_drawdown",
        "/portfolio/trading/turnover_mean",
        "/portfolio/trading/cost_annual",
    } <= at


def test_a_few_weeks_are_not_stretched_to_a_year_in_the_headline(tmp_path):
    recorder = report_runs.run(tmp_path)
    recorder.objects |= report_runs.portfolio(report_runs.backtest(40))
    text, _ = written(recorder)
    tiles = text[text.index('id="portfolio"') : text.index('id="fig-growth"')]
    assert "/portfolio/net/total" in tiles
    assert "/portfolio/trading/cost_sum" in tiles
    assert "/portfolio/net/annual" not in tiles


def test_every_figure_of_a_whole_run_is_drawn(report):
    assert set(Reader(report[0]).hover) == {
        f"fig-{name}"
        for name in (
            *("ic", "ic_spread", "ic_quantiles", "groups", "groups_time", "decay", "memory", "breadth"),
            *("growth", "drawdown", "turnover", "cost", "rolling_sharpe", "rolling_beta", "exposure", "holdings"),
        )
    }


def test_sides_margin_and_holding_costs_are_drawn_where_the_run_has_them(tmp_path, report):
    text, _ = written(with_sides(tmp_path))
    drawn, plain = Reader(text), Reader(report[0])
    assert set(drawn.hover) - set(plain.hover) == {
        *("fig-sides", "fig-carry", "fig-margin", "fig-distance", "fig-costs", "fig-weights"),
    }
    assert set(plain.hover) - set(drawn.hover) == {"fig-exposure"}, "the net line of fig-sides says it"
    at = {number[0] for number in drawn.numbers} - {number[0] for number in plain.numbers}
    assert {
        "/portfolio/sides/gross/highest",
        "/portfolio/sides/margin/highest",
        "/portfolio/sides/distance/lowest",
        "/portfolio/sides/forced_closes",
        "/portfolio/costs/paid/2",
        "/portfolio/costs/paid/3",
    } <= at
    assert not any("/portfolio/sides" in number[0] or "/carry" in number[0] for number in plain.numbers)
    assert "2 holdings were closed by force because the margin was used up." in drawn.texts
    assert "closed by force" not in report[0]


def test_a_run_that_left_everything_has_every_section_and_figure(tmp_path):
    text, twin = written(report_runs.everything(tmp_path))
    page = Reader(text)
    assert {
        f"fig-{name}" for name in ("importance", "learning_0", "capacity", "holes", "members", "tiers", "costs")
    } <= set(page.hover)
    ids = {a["id"] for _, a in page.tags if "id" in a}
    assert {"signal", "portfolio", "execution", "positions", "luck", "trades", "model", "data", "ran"} <= ids
    joined = " ".join(" ".join(page.texts).split())
    for words in ("5d0c2f71a8", "8edcff7570", "070c9652, with changes that are not in it", "2.3.5", "a processor"):
        assert words in joined
    assert "zict" not in joined, "of the packages only those that decide about numbers"
    codes = {caveat["code"] for caveat in twin["caveats"]}
    assert {"luck", "code_changed", "one_feature"} <= codes
    assert "This was one of 12 trials on these data." in joined


def test_what_an_earlier_report_read_of_the_store_is_not_read_again(tmp_path):
    recorder = report_runs.everything(tmp_path)
    assert written(recorder)[1]["market"] == json.loads(json.dumps(recorder.objects["report/market.json"]))
    assert "was not at hand" in written(report_runs.run(tmp_path / "other"))[1]["market"]["why"]


def test_a_model_that_cannot_be_read_is_said_and_stops_nothing(tmp_path):
    recorder = report_runs.everything(tmp_path)

    def load(name, kept=recorder.load_object):
        if name == "params.pkl":
            raise LoadObjectError("params.pkl of run 1 cannot be loaded: No module named 'mine'")
        return kept(name)

    recorder.load_object = load
    text, twin = written(recorder)
    assert twin["model_numbers"]["importance"] is None
    assert "No module named" in " ".join(Reader(text).texts)


def test_the_growth_of_an_account_that_doubles_can_be_seen_on_a_logarithmic_scale(report):
    assert [plot.name for plot in figures(report[1])["growth"].plots] == ["linear", "logarithmic"]


def test_what_ran_on_what_is_said(report):
    joined = " ".join(Reader(report[0]).texts)
    words = ["Synthetic data", "workflow", "9f0c2ab14d3e4b56", "LGBModel", "num_leaves", "205.6999", "Alpha158"]
    words += ["2020-01-01 to 2022-06-30", "TopkDropoutStrategy", "n_drop", "MARKET", "open_cost", "crypto"]
    for word in words:
        assert word in joined, word


def test_the_page_needs_nothing_from_outside(report):
    text, _ = report
    page = Reader(text)
    addresses = [a[key] for _, a in page.tags for key in ("src", "href", "action", "srcset") if key in a]
    assert all(address.startswith("#") or address == "report.json" for address in addresses)
    assert "http://" not in text
    assert "https://" not in text
    assert "url(" not in text
    assert "@import" not in text


def test_the_content_policy_names_the_one_script(report):
    text, _ = report
    (script,) = re.findall(r"<script>(.*?)</script>", text, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = next(a["content"] for _, a in Reader(text).tags if a.get("http-equiv") == "Content-Security-Policy")
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy


def test_ids_are_unique_and_every_link_inside_leads_somewhere(report):
    page = Reader(report[0])
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    assert {a["href"][1:] for _, a in page.tags if a.get("href", "").startswith("#")} <= set(ids)


def test_every_chart_says_in_words_what_it_shows_and_takes_the_focus(report):
    plots = [a for _, a in Reader(report[0]).tags if a.get("class", "").startswith("plot")]
    assert len(plots) == 17
    assert all(plot["tabindex"] == "0" and plot["role"] == "img" and len(plot["aria-label"]) > 20 for plot in plots)


EVIL = '</script><script>alert(1)</script><img src=x onerror="alert(2)">\' " & {{ 7 * 7 }}'


def test_a_text_from_a_configuration_cannot_become_markup(tmp_path):
    task = json.loads(json.dumps(report_runs.TASK))
    task["model"]["class"] = task["model"]["kwargs"][EVIL] = task["model"]["kwargs"]["loss"] = EVIL
    task["dataset"]["kwargs"]["handler"]["kwargs"]["instruments"] = EVIL
    task["dataset"]["kwargs"]["segments"][EVIL] = [EVIL, EVIL]
    task["record"][1]["kwargs"]["config"]["strategy"]["kwargs"] = {EVIL: {EVIL: [EVIL]}}
    task["record"][1]["kwargs"]["config"]["backtest"]["benchmark"] = EVIL
    recorder = report_runs.run(tmp_path, task=task)
    recorder.name = recorder.id = recorder.experiment_name = recorder.status = EVIL
    recorder.metrics = {EVIL: 1.0, "a/b~c": 2.0}
    log = recorder.objects["portfolio_analysis/indicators_normal_1day_obj.pkl"].trades
    log.names[:] = [EVIL, *log.names[1:]]
    log.reasons[:] = [EVIL, *log.reasons[1:]]
    text, twin = written(recorder)
    page = Reader(text)
    assert twin["model"]["class"] == EVIL
    assert [tag for tag, _ in page.tags].count("img") == 0
    assert sum(tag == "script" and "type" not in a for tag, a in page.tags) == 1
    assert not any(name.startswith("on") for _, a in page.tags for name in a)
    assert "49" not in {text.strip() for text in page.texts}
    assert EVIL in page.texts


def test_the_same_run_gives_the_same_bytes(tmp_path):
    pages = []
    for name in ("first", "second"):
        recorder = report_runs.run(tmp_path / "run")
        page = write_report(recorder, tmp_path / name, settings=SETTINGS)
        pages.append((page.read_bytes(), (page.parent / "report.json").read_bytes()))
    assert pages[0] == pages[1]


def test_a_password_in_the_stores_address_is_not_shown(tmp_path):
    config = {"qlib_init": {"provider_uri": {"day": "nfs://user:secret@host/data"}, "region": "us"}}
    text, twin = written(report_runs.run(tmp_path, config=config))
    assert "secret" not in text + json.dumps(twin)


def test_the_report_lies_among_the_artifacts_of_its_run(tmp_path):
    page = write_report(report_runs.run(tmp_path), settings=SETTINGS)
    assert page == tmp_path / "artifacts" / "report" / "report.html"
    assert sorted(file.name for file in page.parent.iterdir()) == ["report.html", "report.json"]


def test_a_folder_of_yours_gets_the_report_and_the_artifacts_a_copy(tmp_path):
    recorder = report_runs.run(tmp_path / "run")
    page = write_report(recorder, tmp_path / "mine", settings=SETTINGS)
    assert page == tmp_path / "mine" / "report.html"
    copies = recorder.store / "report"
    assert (copies / "report.html").read_bytes() == page.read_bytes()
    assert (copies / "report.json").exists()


def test_artifacts_that_are_kept_elsewhere_are_logged_there(tmp_path):
    recorder = report_runs.run(tmp_path, local=False)
    page = write_report(recorder, settings=SETTINGS)
    assert page.exists()
    assert (recorder.store / "report" / "report.html").read_bytes() == page.read_bytes()


def test_a_folder_that_cannot_be_written_is_named_and_left_as_it_was(tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(RunError, match=r"cannot be written to .*taken.*folder that can be written to"):
        write_report(report_runs.run(tmp_path), tmp_path / "taken", settings=SETTINGS)
    assert (tmp_path / "taken").read_text() == "a file"


def test_a_page_that_could_not_be_finished_leaves_the_earlier_one(tmp_path, monkeypatch):
    recorder = report_runs.run(tmp_path)
    page = write_report(recorder, settings=SETTINGS)
    before = page.read_bytes()

    def full(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(run_report.os, "replace", full)
    with pytest.raises(RunError, match="No space left on device"):
        write_report(recorder, settings=SETTINGS)
    assert page.read_bytes() == before
    assert sorted(file.name for file in page.parent.iterdir()) == ["report.html", "report.json"]


def test_a_years_page_stays_small(report):
    assert len(report[0].encode()) < 700_000


def test_a_year_of_many_fills_stays_below_5_mb_and_says_what_it_leaves_out(tmp_path):
    recorder = report_runs.run(tmp_path)
    recorder.objects |= report_runs.portfolio(report_runs.backtest(365), fills=30)
    text, twin = written(recorder)
    page = Reader(text)
    assert (twin["trades"]["count"], twin["trades"]["shown"]) == (365 * 30, fills.MOST)
    assert {len(texts) for texts in page.cells["texts"]} == {fills.MOST}
    joined = " ".join(" ".join(page.texts).split())
    assert "Only the newest are listed here. The whole log" in joined  # between them the number, which is not a text
    assert "portfolio_analysis/trades.parquet" in joined
    assert max(len(text.encode()), len(json.dumps(twin).encode())) < 2_000_000


def test_without_the_script_the_newest_fills_are_there(report):
    text, twin = report
    shown = {at for at, *_ in Reader(text).numbers if at.startswith("/trades/rows/price/")}
    assert shown == {f"/trades/rows/price/{place}" for place in range(AT_ONCE)}
    part = text[text.index('id="h-trades"') : text.index('id="h-ran"')]
    assert "slippage" not in part.split("<tbody", 1)[0].lower(), "no column of nothing"
    for name, count in twin["trades"]["instruments"]:
        assert f'<option value="{name}" data-count="{count}">' in part
    assert "Only the newest" not in part


def test_a_run_that_never_dealt_says_so_and_one_without_a_log_has_no_section(tmp_path):
    assert "Nothing was dealt." in written(never_dealt(tmp_path / "a"))[0]
    assert 'id="trades"' not in written(no_log(tmp_path / "b"))[0]


def test_a_template_mistake_cannot_pass_as_an_empty_text(report):
    twin = {**report[1], "run": {}}
    with pytest.raises(Exception, match="qlib_version"):
        render(twin)
