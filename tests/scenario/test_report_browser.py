"""A person opens the report: in Debian's chromium, from the disk, without a network."""

from __future__ import annotations

import chromium
import pytest
import report_runs

from qlib.config import build_settings
from qlib.contrib.report import fills
from qlib.contrib.report.comparison import write_comparison
from qlib.contrib.report.run_report import write_report

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(chromium.find() is None, reason="no chromium here (apt-get install chromium)"),
]

WIDTHS = {"phone": 360, "tablet": 768, "screen": 1280}

# WCAG's contrast of every text with what lies behind it; heat and badge colours are mixed as the browser mixes them.
POOR_CONTRAST = """(() => {
  const channels = (text) => { const c = text.match(/[\\d.]+/g).map(Number); return c.length > 3 ? c : [...c, 1]; };
  const linear = (v) => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const light = (c) => [.2126, .7152, .0722].reduce((sum, share, k) => sum + share * linear(c[k] / 255), 0);
  const behind = (e) => {
    const layers = [];
    for (; e; e = e.parentElement) {
      const c = channels(getComputedStyle(e).backgroundColor);
      layers.push(c);
      if (c[3] === 1) break;
    }
    return layers.reduceRight((under, c) => under.map((v, k) => c[k] * c[3] + v * (1 - c[3])), [255, 255, 255]);
  };
  const poor = [];
  for (const e of document.querySelectorAll("body *")) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || e.closest("script, style, .unseen, .skip, .void, svg") || !e.getClientRects().length) continue;
    const a = light(channels(getComputedStyle(e).color)), b = light(behind(e));
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5) poor.push(`${ratio.toFixed(2)} ${e.tagName}.${e.className} ${e.textContent.slice(0, 30)}`);
  }
  return poor;
})()"""

OVERLAPPING_LABELS = """(() => {
  const meet = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
  const found = [];
  for (const box of document.querySelectorAll(".box")) for (const kind of [".x", ".y"]) {
    const all = [...box.querySelectorAll(kind)].map((e) => e.getBoundingClientRect()).filter((r) => r.width);
    if (all.some((a, i) => all.some((b, j) => i < j && meet(a, b)))) found.push(box.closest("figure").id + kind);
  }
  return found;
})()"""

NARROWEST_DRAWING = """Math.min(...[...document.querySelectorAll(".plot svg")]
  .map((e) => e.getBoundingClientRect().width).filter((width) => width))"""
BROKEN_PATHS = """[...document.querySelectorAll("svg path")]
  .map((e) => e.getAttribute("d")).filter((d) => !d || /NaN|inf/.test(d))"""
FRAME = """(({left, top, right, height}) => [left, top, right, height])(
  document.querySelector("%s").getBoundingClientRect())"""


@pytest.fixture(scope="module")
def browser():
    with chromium.Chromium() as started:
        yield started


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    pred, label = report_runs.signal(strength=0.01, days=200)
    recorder = report_runs.run(folder, pred=pred, label=label)
    recorder.objects |= report_runs.portfolio(report_runs.backtest(200, cost=0.006))
    (folder / "store" / "truth.json").write_text('{"synthetic": true, "planted": {"ic": 0.08}}')
    return write_report(recorder, settings=build_settings(region="crypto")).as_uri()


@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_page_opens_without_an_error_fits_the_screen_and_can_be_read(browser, address, width, dark):
    page = browser.open(address, width=width, dark=dark)
    assert page.problems == []
    assert page.requests == [address]
    assert page.run("document.documentElement.dataset.errors") == ""
    assert page.run("document.documentElement.dataset.charts") == "16"
    assert page.run(NARROWEST_DRAWING) > 150
    assert page.run(BROKEN_PATHS) == []
    assert page.run("document.documentElement.scrollWidth") <= width, "nothing makes the page wider than the screen"
    assert page.run(POOR_CONTRAST) == []
    back = page.run("getComputedStyle(document.body).backgroundColor")
    assert (back == "rgb(17, 20, 23)") is dark


@pytest.mark.parametrize(
    ("freq", "periods"), [("D", 9), ("D", 31), ("D", 100), ("D", 364), ("D", 1100), ("h", 40), ("30min", 1000)]
)
def test_labels_of_an_axis_do_not_lie_upon_each_other(browser, tmp_path, freq, periods):
    pred, label = report_runs.signal(days=periods, names=10, freq=freq)
    recorder = report_runs.run(tmp_path, pred=pred, label=label)
    recorder.objects |= report_runs.portfolio(report_runs.backtest(periods, freq=freq))
    address = write_report(recorder, settings=build_settings(region="crypto")).as_uri()
    for width in WIDTHS.values():
        page = browser.open(address, width=width)
        assert page.run(OVERLAPPING_LABELS) == [], width
        assert page.run("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("own_limits", [True, False])
def test_sides_and_margin_fit_the_screen_and_can_be_read(browser, tmp_path, own_limits):
    recorder = report_runs.run(tmp_path)
    recorder.objects |= report_runs.sides(report_runs.backtest(), own_limits=own_limits)
    address = write_report(recorder, settings=build_settings(region="crypto")).as_uri()
    for width in WIDTHS.values():
        for dark in (False, True):
            page = browser.open(address, width=width, dark=dark)
            assert page.problems == []
            assert page.run("document.documentElement.dataset.charts") == "21"
            assert page.run(BROKEN_PATHS) == []
            assert page.run(POOR_CONTRAST) == []
            assert page.run(OVERLAPPING_LABELS) == []
            assert page.run("document.documentElement.scrollWidth") <= width


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    recorder = report_runs.everything(tmp_path_factory.mktemp("everything"))
    return write_report(recorder, settings=build_settings(region="crypto")).as_uri()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_a_run_that_left_everything_fits_the_screen_and_can_be_read(browser, everything, dark):
    for width in (390, 1280):
        page = browser.open(everything, width=width, dark=dark)
        assert page.problems == []
        assert page.run("document.documentElement.dataset.errors") == ""
        assert page.run("document.documentElement.dataset.charts") == "27"
        assert page.run(BROKEN_PATHS) == []
        assert page.run(POOR_CONTRAST) == []
        assert page.run(OVERLAPPING_LABELS) == []
        assert page.run("document.documentElement.scrollWidth") <= width


def test_every_chart_is_reached_with_the_keyboard_and_every_part_from_the_top(browser, everything):
    page = browser.open(everything)
    charts = "[...document.querySelectorAll('.plot')].filter((plot) => plot.tabIndex === 0).length"
    assert page.run(charts) == page.run("document.querySelectorAll('.plot').length")
    parts = page.run("[...document.querySelectorAll('nav a')].map((link) => link.getAttribute('href'))")
    assert parts[:9] == [f"#{name}" for name in PARTS]
    for name in PARTS:
        page.run(f"document.querySelector('nav a[href=\"#{name}\"]').click()")
        assert page.run("location.hash") == f"#{name}"


PARTS = ("signal", "portfolio", "execution", "positions", "luck", "trades", "model", "data", "ran")


def test_a_comparison_fits_the_screen_and_can_be_read(browser, tmp_path):
    runs = [report_runs.everything(tmp_path / "a"), report_runs.run(tmp_path / "b"), report_runs.run(tmp_path / "c")]
    address = write_comparison(runs, tmp_path / "out", settings=build_settings(region="crypto")).as_uri()
    for width in (390, 1280):
        for dark in (False, True):
            page = browser.open(address, width=width, dark=dark)
            assert page.problems == []
            assert page.requests == [address]
            assert page.run("document.documentElement.dataset.charts") == "3"
            assert page.run(BROKEN_PATHS) == []
            assert page.run(POOR_CONTRAST) == []
            assert page.run(OVERLAPPING_LABELS) == []
            assert page.run("document.documentElement.scrollWidth") <= width
    assert browser.open(address, media="print").pdf().startswith(b"%PDF")


def test_the_warnings_stand_before_the_first_figure(browser, address):
    page = browser.open(address)
    codes = page.run("[...document.querySelectorAll('.caveats li')].map(e => e.dataset.code)")
    assert codes[0] == "synthetic"
    assert {"ic_uncertain", "short_history", "costs_eat_the_gain"} <= set(codes)
    order = "document.querySelector('.caveats').compareDocumentPosition(document.querySelector('main')) & 4"
    assert page.run(order) == 4


def test_the_pointer_reads_out_the_moment_under_it(browser, address):
    page = browser.open(address)
    page.run("document.querySelector('#fig-growth').scrollIntoView({behavior: 'instant', block: 'center'})")
    _, top, right, height = page.run(FRAME % "#fig-growth .box")
    page.point(right - 1, top + height / 2)
    tip = page.run("document.querySelector('#fig-growth .tip').innerText")
    assert "2023-07-19" in tip
    assert page.run("document.querySelector('#fig-growth .legend b').textContent") in tip
    left, _, right, _ = page.run(FRAME % "#fig-growth .tip")
    assert 0 <= left < right <= 1200, "the readout stays on the screen"


def test_the_keyboard_walks_through_a_chart_and_a_reader_hears_it(browser, address):
    page = browser.open(address)
    page.run("document.querySelector('#fig-drawdown .plot').focus()")
    page.press("Home")
    first = page.run("document.getElementById('spoken').textContent")
    page.press("ArrowRight")
    second = page.run("document.getElementById('spoken').textContent")
    assert first.startswith("2023-01-01: ")
    assert second.startswith("2023-01-02: ")
    page.press("Escape")
    assert page.run("document.querySelector('#fig-drawdown .tip').hidden")


def test_tab_leads_from_the_top_into_the_figures(browser, address):
    page = browser.open(address)
    seen = []
    for _ in range(12):
        page.press("Tab")
        seen.append(page.run("document.activeElement.className || document.activeElement.tagName"))
    assert seen[0] == "skip"
    assert "plot " in seen


def test_the_scale_of_the_growth_can_be_changed(browser, tmp_path):
    address = write_report(report_runs.run(tmp_path), settings=build_settings(region="crypto")).as_uri()
    page = browser.open(address)
    shown = "[...document.querySelectorAll('#fig-growth .plot')].map(e => e.clientHeight > 0)"
    assert page.run(shown) == [True, False]
    page.run("document.querySelector('#fig-growth input[value=logarithmic]').click()")
    assert page.run(shown) == [False, True]


ROWS = "[...document.querySelectorAll('.fills tbody tr')].map((row) => [...row.cells].map((cell) => cell.textContent))"
WHERE = "document.getElementById('fills-where').textContent"


def choose(page, control: str, value: str) -> None:
    page.run(f"(({{e}}) => {{ e.value = '{value}'; e.dispatchEvent(new Event('change')); }})"
             f"({{e: document.getElementById('{control}')}})")  # fmt: skip


def test_the_pages_of_the_trade_log_can_be_turned_chosen_and_put_in_order(browser, tmp_path):
    recorder = report_runs.run(tmp_path)
    log = recorder.objects["portfolio_analysis/indicators_normal_1day_obj.pkl"].trades.frame()[::-1]
    page = browser.open(write_report(recorder, settings=build_settings(region="crypto")).as_uri())

    def shown(part):
        return [[f"{row.time:%Y-%m-%d}", row.instrument, row.side] for row in part.itertuples()]

    def seen():
        return [row[:3] for row in page.run(ROWS)]

    assert seen() == shown(log[:25])
    assert page.run(WHERE) == "1 to 25 of 1,200, newest first"
    assert page.run("document.getElementById('fills-back').disabled")
    page.run("document.getElementById('fills-on').click()")
    assert seen() == shown(log[25:50])
    choose(page, "fills-of", "C07")
    of_one = log[log["instrument"] == "C07"]
    assert seen() == shown(of_one[:25])
    assert page.run(WHERE) == f"1 to 25 of {len(of_one)}, newest first"
    page.run("document.getElementById('fills-on').click()")
    assert seen() == shown(of_one[25:50])
    choose(page, "fills-by", "largest")
    assert seen() == shown(of_one.sort_values("value", ascending=False, kind="stable")[:25])
    choose(page, "fills-of", "")
    for _ in range(60):
        page.run("document.getElementById('fills-on').click()")
    assert page.run(WHERE) == "1,176 to 1,200 of 1,200, largest value first"
    assert page.run("document.getElementById('fills-on').disabled")
    assert page.problems == []


def test_what_the_page_does_not_list_is_said_by_name(browser, tmp_path, monkeypatch):
    monkeypatch.setattr(fills, "MOST", 40)
    recorder = report_runs.run(tmp_path)
    log = recorder.objects["portfolio_analysis/indicators_normal_1day_obj.pkl"].trades.frame()
    page = browser.open(write_report(recorder, settings=build_settings(region="crypto")).as_uri(), width=360)
    listed = log[-40:]["instrument"].value_counts()
    name, absent = listed.index[0], sorted(set(log["instrument"]) - set(listed.index))[0]
    whole = log["instrument"].value_counts()
    choose(page, "fills-of", name)
    assert f"of {listed[name]} listed here ({whole[name]} in all), newest first" in page.run(WHERE)
    choose(page, "fills-of", absent)
    assert page.run(WHERE) == f"none of its {whole[absent]} fills is listed here"
    assert page.run(ROWS) == []
    assert page.run("document.documentElement.scrollWidth") <= 360


def test_on_paper_the_trade_log_says_which_rows_are_there(browser, address):
    page = browser.open(address, media="print")
    display = "getComputedStyle(document.getElementById('%s')).display"
    assert page.run(display % "fills-on") == "none"
    assert page.run(display % "fills-where") != "none"
    assert len(page.run(ROWS)) == 25


def test_paper_gets_dark_ink_on_white_and_every_table(browser, address):
    page = browser.open(address, dark=True, media="print")
    assert page.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.run("getComputedStyle(document.querySelector('nav')).display") == "none"
    pdf = page.pdf()
    assert pdf.startswith(b"%PDF")
    assert page.run("[...document.querySelectorAll('details')].every(e => e.open)")


def test_a_script_smuggled_in_through_a_configuration_does_not_run(browser, tmp_path):
    evil = "</script><script>document.documentElement.dataset.evil=1</script><img src=x onerror=document.title=1>"
    recorder = report_runs.run(tmp_path)
    recorder.experiment_name = recorder.name = evil
    recorder.metrics = {evil: 1.0}
    page = browser.open(write_report(recorder, settings=build_settings(region="crypto")).as_uri())
    assert page.run("document.documentElement.dataset.evil") is None
    assert page.problems == []
