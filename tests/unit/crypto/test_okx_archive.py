"""OKX's history files from a server on this machine: every day, once, whole, and nothing that does not belong there."""

from __future__ import annotations

import contextlib
import datetime as dt
import io
import json
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pandas as pd
import pytest
from http_server import File, serving

from qlib.cli.main import main
from qlib.collect.bar_store import BarStore
from qlib.collect.collecting import collect
from qlib.collect.server import Patience
from qlib.collect.source import Hole, Page, Series, Source, VenueError
from qlib.collect.trade_bars import bars_of
from qlib.crypto.venues.okx_archive import OkxArchive
from qlib.errors import InputError, RunError

DAY, SHIFT = 86_400_000, 8 * 3_600_000
FIRST = dt.date(2025, 9, 1)
ZERO = (FIRST - dt.date(1970, 1, 1)).days * DAY - SHIFT  # that day begins at 16:00 UTC of the day before
SWAP = Series("BTC-USDT-SWAP", "trades", None)
QUICK = Patience(attempts=3, pause=0.01, longest=0.02, connect=2, read=2)
INSTRUMENTS: dict[str, dict[str, str]] = {
    "BTC-USDT-SWAP": {
        "instType": "SWAP", "instFamily": "BTC-USDT", "uly": "BTC-USDT", "ctVal": "0.1", "ctMult": "1",
        "ctType": "linear", "settleCcy": "USDT", "ctValCcy": "BTC",
    },
    "BTC-USDT": {"instType": "SPOT", "baseCcy": "BTC", "quoteCcy": "USDT"},
}  # fmt: skip


def zipped(files: dict[str, str], encoding: str = "utf-8") -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text.encode(encoding))
    return made.getvalue()


def trades_of(day: int, symbol: str = "BTC-USDT-SWAP", count: int = 50) -> pd.DataFrame:
    rng = np.random.default_rng(day)
    return pd.DataFrame(
        {
            "instrument_name": symbol,
            "trade_id": 1_000 * day + 1 + np.arange(count),
            "side": rng.choice(["buy", "sell"], count),
            "price": np.round(60_000 + rng.normal(0, 10, count), 1),
            "size": rng.integers(1, 90, count),
            "created_time": ZERO + day * DAY + np.sort(rng.integers(0, DAY, count)),
        }
    )


@dataclass
class Venue:
    """Instruments, a clock, and what it lists: day -> name of the file."""

    now: int = ZERO + 60 * DAY
    days: list[int] = field(default_factory=list)
    place: str = ""  # where files lie
    kind: str = "trades"
    symbol: str = "BTC-USDT-SWAP"
    asked: list[dict[str, str]] = field(default_factory=list)
    url: str = ""

    def name(self, day: int) -> str:
        return f"{self.symbol}-{self.kind}-{FIRST + dt.timedelta(days=day)}.zip"

    def answer(self, path: str, query: dict[str, str]) -> list[Any]:
        if path.endswith("/public/time"):
            return [{"ts": str(self.now)}]
        if path.endswith("/public/instruments"):
            blank = dict.fromkeys(("tickSz", "lotSz", "minSz", "listTime", "expTime", "contTdSwTime"), "")
            rows = [{"instId": name, "state": "live", **blank, **row} for name, row in INSTRUMENTS.items()]
            return [row for row in rows if row["instType"] == query["instType"]]
        self.asked.append(query)
        low, high = (int(query[name]) for name in ("begin", "end"))
        assert high - low < 20 * DAY, "OKX lists twenty days at most"
        files = [
            {
                "dateTs": str(ZERO + day * DAY),
                "filename": self.name(day),
                "sizeMB": "1",
                "url": f"{self.place}/{self.name(day)}",
            }
            for day in sorted(self.days, reverse=True)
            if low <= ZERO + day * DAY <= high
        ]
        own = {"instId": "" if "instFamilyList" in query else "BTC-USDT", "instFamily": query.get("instFamilyList", "")}
        other = {
            **dict.fromkeys([name for name in own if own[name]], "ETH-USDT"),
            "groupDetails": [{**one, "url": "x"} for one in files],
        }
        return [{"details": [{**own, "groupDetails": files}, other], "totalSizeMB": "1"}]


@contextlib.contextmanager
def running(venue: Venue) -> Iterator[Venue]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            data = venue.answer(parts.path, {name: values[0] for name, values in parse_qs(parts.query).items()})
            body = json.dumps({"code": "0", "msg": "", "data": data}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    venue.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield venue
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def archive(
    tmp_path: Path, contents: dict[int, bytes], venue: Venue | None = None, **how: Any
) -> Iterator[tuple[OkxArchive, Venue, list[tuple[str, dict[str, str]]], dict[str, File]]]:
    venue = venue or Venue(days=list(contents))
    files = {f"/{venue.name(day)}": File(content, **how) for day, content in contents.items()}
    with serving(files) as (place, asked), running(venue):
        venue.place = place
        yield OkxArchive(tmp_path / "files", venue.url, speed=None, patience=QUICK), venue, asked, files


def file_of(day: int, **changes: Any) -> bytes:
    return zipped({f"trades-{day}.csv": trades_of(day).assign(**changes).to_csv(index=False)})


# ---------------------------------------------------------------------- what comes
def test_days_begin_at_sixteen_hours_utc_and_come_newest_first(tmp_path: Path) -> None:
    with archive(tmp_path, {day: file_of(day) for day in (0, 1, 2)}) as (source, _, _, _):
        assert isinstance(source, Source)
        pages = list(source.walk(SWAP, ZERO + DAY // 2, ZERO + 3 * DAY))
    assert [(page.start, page.end) for page in pages] == [
        (ZERO + 2 * DAY, ZERO + 3 * DAY), (ZERO + DAY, ZERO + 2 * DAY), (ZERO + DAY // 2, ZERO + DAY),
    ]  # fmt: skip
    assert dt.datetime.fromtimestamp(ZERO / 1000, dt.UTC).isoformat() == "2025-08-31T16:00:00+00:00"
    for page, day in zip(pages, (2, 1, 0), strict=True):
        assert isinstance(page, Page)
        truth = trades_of(day)
        truth = truth[truth["created_time"] >= page.start]
        assert page.rows["trade_id"].tolist() == truth["trade_id"].tolist()
        assert page.rows["ts"].tolist() == truth["created_time"].tolist()
        assert page.rows["price"].tolist() == truth["price"].tolist()
        assert page.rows["size"].tolist() == [size / 10 for size in truth["size"]]  # a contract is 0.1 coins, exactly
        assert page.rows["side"].tolist() == truth["side"].tolist()


def test_what_the_collector_stores_is_what_the_files_hold(tmp_path: Path) -> None:
    days = range(45)
    with archive(tmp_path, {day: file_of(day) for day in days}) as (source, venue, _, _):
        store = BarStore(tmp_path / "klines")
        with store.lock():
            summary = collect(source, store, [SWAP], ZERO, ZERO + 45 * DAY, workers=2)
    assert not summary.failed
    stored = store.read(SWAP)
    truth = pd.concat([trades_of(day) for day in days], ignore_index=True)
    assert stored["trade_id"].tolist() == truth["trade_id"].tolist()
    bars = bars_of(stored, "time:1day")
    assert bars["trades"].sum() == len(truth)
    assert {one["module"] for one in venue.asked} == {"1"}


def test_a_day_without_a_file_is_a_hole_and_the_newest_days_are_not_final(tmp_path: Path) -> None:
    venue = Venue(days=[0, 2], now=ZERO + 12 * DAY)
    with archive(tmp_path, {0: file_of(0), 2: file_of(2)}, venue) as (source, _, _, _):
        told = list(source.walk(SWAP, ZERO, ZERO + 12 * DAY))
    days = [((one.start - ZERO) // DAY, type(one)) for one in told]
    # Of day 5 and earlier a file would be there by now; those after it may still come.
    assert days == [(5, Hole), (4, Hole), (3, Hole), (2, Page), (1, Hole), (0, Page)]


def test_funding_of_years_ago_is_read(tmp_path: Path) -> None:
    venue = Venue(days=[0, 1], kind="fundingrates")
    rows = "instrument_name,funding_rate,funding_time\n"
    made = {
        day: zipped({"f.csv": rows + "".join(f"{name},{0.0001 * (day + 1)},{ZERO + day * DAY + hour * DAY // 24}\n"
                                             for hour in (0, 8, 16) for name in ("BTC-USDT-SWAP", "ETH-USDT-SWAP"))})
        for day in (0, 1)
    }  # fmt: skip
    with archive(tmp_path, made, venue) as (source, _, _, _):
        pages = list(source.walk(Series("BTC-USDT-SWAP", "funding", None), ZERO, ZERO + 2 * DAY))
    assert [page.rows["rate"].tolist() for page in pages if isinstance(page, Page)] == [[0.0002] * 3, [0.0001] * 3]
    assert venue.asked[0]["module"] == "3"
    assert venue.asked[0]["instFamilyList"] == "BTC-USDT"


def test_old_files_with_columns_in_two_languages_are_read(tmp_path: Path) -> None:
    old = trades_of(0).rename(
        columns={"trade_id": "trade_id/撮合id", "side": "side/交易方向", "size": "size/数量", "price": "price/价格",
                 "created_time": "created_time/成交时间"}
    ).drop(columns="instrument_name")  # fmt: skip
    venue = Venue(days=[0], symbol="BTC-USDT")
    with archive(tmp_path, {0: zipped({"a.csv": old.to_csv(index=False)}, "gbk")}, venue) as (source, _, _, _):
        (page,) = source.walk(Series("BTC-USDT", "trades", None), ZERO, ZERO + DAY)
    assert isinstance(page, Page)
    assert page.rows["size"].tolist() == trades_of(0)["size"].tolist()
    assert venue.asked[0]["instIdList"] == "BTC-USDT"


# ---------------------------------------------------------------------- once, and whole
def test_a_file_is_fetched_once_and_a_broken_connection_is_gone_on_with(tmp_path: Path) -> None:
    truth = trades_of(0, count=40_000)
    content = zipped({"a.csv": truth.to_csv(index=False)})
    with archive(tmp_path, {0: content}, dies_after=[len(content) // 2]) as (source, _, asked, _):
        first = [one for one in source.walk(SWAP, ZERO, ZERO + DAY)]
        again = [one for one in source.walk(SWAP, ZERO, ZERO + DAY)]
    assert len(asked) == 2
    had = len(content) // 2 // (1 << 16) * (1 << 16)  # what came in whole pieces
    assert asked[1][1]["Range"] == f"bytes={had}-" != "bytes=0-"
    for one, two in zip(first, again, strict=True):
        assert isinstance(one, Page)
        assert isinstance(two, Page)
        assert one.rows["trade_id"].tolist() == two.rows["trade_id"].tolist() == truth["trade_id"].tolist()


def test_a_damaged_file_on_the_disk_is_fetched_again(tmp_path: Path) -> None:
    with archive(tmp_path, {0: file_of(0)}) as (source, venue, asked, _):
        list(source.walk(SWAP, ZERO, ZERO + DAY))
        path = tmp_path / "files" / venue.name(0)
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 0xFF
        path.write_bytes(content)
        list(source.walk(SWAP, ZERO, ZERO + DAY))
        assert path.read_bytes() == file_of(0)
    assert len(asked) == 2


@pytest.mark.parametrize("content", [b"<html>busy</html>", file_of(0)[:-30]])
def test_what_is_no_whole_archive_is_thrown_away(tmp_path: Path, content: bytes) -> None:
    with (
        archive(tmp_path, {0: content}) as (source, venue, _, _),
        pytest.raises(RunError, match="no whole zip archive"),
    ):
        list(source.walk(SWAP, ZERO, ZERO + DAY))
    assert not (tmp_path / "files" / venue.name(0)).exists()


@pytest.mark.parametrize("name", ["../evil.csv", "/etc/evil.csv", "a/../../evil.csv"])
def test_members_that_lead_out_of_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    with (
        archive(tmp_path, {0: zipped({name: "x"})}) as (source, _, _, _),
        pytest.raises(RunError, match="nothing was unpacked"),
    ):
        list(source.walk(SWAP, ZERO, ZERO + DAY))
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {Venue().name(0)}


def test_a_bomb_is_refused(tmp_path: Path) -> None:
    bomb = zipped({"a.csv": "0" * (40 << 20)})
    with archive(tmp_path, {0: bomb}) as (source, _, _, _), pytest.raises(RunError, match="times as many are allowed"):
        list(source.walk(SWAP, ZERO, ZERO + DAY))


# ---------------------------------------------------------------------- what cannot be right is said
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (file_of(0, created_time=trades_of(0)["created_time"] + SHIFT), "outside of its day"),
        (zipped({"a.csv": "price,qty\n1,2\n"}), "no column trade_id or tradeid among price, qty"),
        (zipped({"a.txt": "x"}), "holds no CSV file"),
        (file_of(0, side="up"), "the side 'up'"),
        (file_of(0, price="x"), "cannot be read"),
        (file_of(0, trade_id=7), "two rows of 7 that differ"),
    ],
)
def test_files_that_cannot_be_right_are_errors(tmp_path: Path, content: bytes, words: str) -> None:
    with archive(tmp_path, {0: content}) as (source, _, _, _), pytest.raises(VenueError, match=words):
        list(source.walk(SWAP, ZERO, ZERO + DAY))


def test_a_file_on_a_strange_host_is_not_fetched(tmp_path: Path) -> None:
    venue = Venue(days=[0])
    with running(venue):
        venue.place = "https://evil.example"
        source = OkxArchive(tmp_path, venue.url, speed=None, patience=QUICK)
        with pytest.raises(VenueError, match="evil.example, which is not one of okx.com"):
            list(source.walk(SWAP, ZERO, ZERO + DAY))


def test_other_kinds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="trades and funding"):
        OkxArchive(tmp_path, "http://127.0.0.1:9").files(Series("BTC-USDT-SWAP", "candles", "1m"), 0, 1)


def test_files_fill_on_the_command_line_what_the_api_could_not_give(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    klines = tmp_path / "klines"
    store = BarStore(klines)
    with store.lock():
        store.add(SWAP, Hole(ZERO, ZERO + 2 * DAY, "OKX keeps only the last three months of trades here"))
        store.seal(SWAP)
    words = ["--symbols", SWAP.symbol, "--start", str(ZERO), "--end", str(ZERO + 2 * DAY), "--out", str(klines)]
    with archive(tmp_path, {day: file_of(day) for day in (0, 1)}) as (_, venue, _, _):
        words += ["--kind", "trades", "--archive", str(tmp_path / "files"), "--base_url", venue.url]
        assert main(["collect", "okx", *words]) == 0
    assert "100 new rows" in capsys.readouterr().out
    assert len(BarStore(klines).read(SWAP)) == 100
    assert not BarStore(klines).gaps(SWAP)
