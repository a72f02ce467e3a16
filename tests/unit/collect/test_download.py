"""fetch: the right file comes whole, through all that servers and networks do, or an error says why it did not."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import signal
import socket
import sys
import time
from pathlib import Path

import pytest
from http_server import File, serving

from qlib.collect.download import available, fetch, sha256_of
from qlib.collect.server import Patience, checked_url
from qlib.errors import InputError, RunError

CONTENT = os.urandom(1 << 20) + bytes(range(256))
PIECE = 1 << 16
SHA = hashlib.sha256(CONTENT).hexdigest()
HASTE = Patience(pause=0.01, longest=0.02, connect=2, read=2, attempts=3)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_good_file_comes_and_nothing_else_stays(tmp_path):
    with serving({"/a.zip": File(CONTENT)}) as (url, asked):
        assert fetch(f"{url}/a.zip", tmp_path / "deep" / "a.zip", sha256=SHA.upper(), patience=HASTE) == SHA
    assert (tmp_path / "deep" / "a.zip").read_bytes() == CONTENT
    assert names(tmp_path / "deep") == ["a.zip"]
    assert len(asked) == 1


def test_without_a_hash_the_hash_of_what_came_is_told(tmp_path):
    with serving({"/a.zip": File(CONTENT)}) as (url, _):
        assert fetch(f"{url}/a.zip", tmp_path / "a.zip", sha256=None, patience=HASTE) == SHA


def test_a_file_that_is_there_and_right_is_not_asked_for_again(tmp_path):
    (tmp_path / "a.zip").write_bytes(CONTENT)
    with serving({}) as (url, asked):
        assert fetch(f"{url}/a.zip", tmp_path / "a.zip", sha256=SHA) == SHA
    assert asked == []


def test_a_wrong_file_is_thrown_away_and_the_one_there_stays(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"old")
    with (
        serving({"/a.zip": File(CONTENT + b"x")}) as (url, asked),
        pytest.raises(RunError, match=rf"its SHA-256 is \w{{64}}, but must be {SHA}; the file was thrown away"),
    ):
        fetch(f"{url}/a.zip", tmp_path / "a.zip", sha256=SHA, patience=HASTE)
    assert (tmp_path / "a.zip").read_bytes() == b"old"
    assert names(tmp_path) == ["a.zip"]
    assert len(asked) == 1, "another attempt would bring the same file"


def test_a_connection_that_breaks_is_gone_on_with(tmp_path):
    with serving({"/a.zip": File(CONTENT, dies_after=[300_000, 400_000])}) as (url, asked):
        assert fetch(f"{url}/a.zip", tmp_path / "a.zip", sha256=SHA, patience=HASTE) == SHA
    wanted = [headers.get("Range") for _, headers in asked]
    assert wanted == [None, f"bytes={4 * PIECE}-", f"bytes={10 * PIECE}-"], "less than a piece is lost each time"
    assert asked[1][1]["If-Range"] == '"v1"'
    assert names(tmp_path) == ["a.zip"]


def test_patience_is_renewed_by_every_piece_that_comes(tmp_path):
    with serving({"/a.zip": File(CONTENT, dies_after=[100_000] * 8)}) as (url, asked):
        assert fetch(f"{url}/a.zip", tmp_path / "a.zip", sha256=SHA, patience=HASTE) == SHA
    assert len(asked) == 9 > HASTE.attempts


def test_the_next_run_goes_on_where_the_last_one_gave_up(tmp_path):
    with serving({"/a.zip": File(CONTENT, dies_after=[500_000, 0, 0])}) as (url, asked):
        with pytest.raises(RunError, match=r"the connection .* given up after 3 attempts; what has come is kept"):
            fetch(f"{url}/a.zip", tmp_path / "a.zip", sha256=SHA, patience=HASTE)
        assert names(tmp_path) == ["a.zip.part", "a.zip.part.json"]
        assert fetch(f"{url}/a.zip", tmp_path / "a.zip", sha256=SHA, patience=HASTE) == SHA
    assert asked[-1][1]["Range"] == f"bytes={7 * PIECE}-"
    assert names(tmp_path) == ["a.zip"]


def test_a_part_of_another_version_is_not_gone_on_with(tmp_path):
    other = bytes(len(CONTENT))
    files = {"/a.zip": File(other, etag='"v0"', dies_after=[500_000, 0, 0])}
    with serving(files) as (url, _):
        with pytest.raises(RunError):
            fetch(f"{url}/a.zip", tmp_path / "a.zip", sha256=SHA, patience=HASTE)
        files["/a.zip"] = File(CONTENT)
        assert fetch(f"{url}/a.zip", tmp_path / "a.zip", sha256=SHA, patience=HASTE) == SHA


def test_a_part_of_another_address_is_not_gone_on_with(tmp_path):
    with serving({"/a.zip": File(bytes(len(CONTENT)), dies_after=[500_000, 0, 0]), "/b.zip": File(CONTENT)}) as (
        url,
        asked,
    ):
        with pytest.raises(RunError):
            fetch(f"{url}/a.zip", tmp_path / "a.zip", sha256=SHA, patience=HASTE)
        assert fetch(f"{url}/b.zip", tmp_path / "a.zip", sha256=SHA, patience=HASTE) == SHA
    assert "Range" not in asked[-1][1]


@pytest.mark.parametrize(
    "damage",
    [
        lambda part, note: note.write_text("{"),
        lambda part, note: note.unlink(),
        lambda part, note: part.unlink(),
        lambda part, note: part.write_bytes(bytes(len(CONTENT) + 5)),
        lambda part, note: note.write_text(json.dumps({"url": 1})),
        lambda part, note: note.write_text("[]"),
    ],
)
def test_a_part_that_is_damaged_begins_anew(tmp_path, damage):
    with serving({"/a.zip": File(CONTENT, dies_after=[500_000, 0, 0])}) as (url, _):
        with pytest.raises(RunError):
            fetch(f"{url}/a.zip", tmp_path / "a.zip", sha256=SHA, patience=HASTE)
        damage(tmp_path / "a.zip.part", tmp_path / "a.zip.part.json")
        assert fetch(f"{url}/a.zip", tmp_path / "a.zip", sha256=SHA, patience=HASTE) == SHA
    assert names(tmp_path) == ["a.zip"]


def test_a_server_without_ranges_begins_anew(tmp_path):
    with serving({"/a.zip": File(CONTENT, ranges=False, dies_after=[500_000])}) as (url, asked):
        assert fetch(f"{url}/a.zip", tmp_path / "a.zip", sha256=SHA, patience=HASTE) == SHA
    assert len(asked) == 2


def test_a_server_without_any_mark_is_asked_for_the_whole_again(tmp_path):
    with serving({"/a.zip": File(CONTENT, etag=None, dies_after=[500_000])}) as (url, asked):
        assert fetch(f"{url}/a.zip", tmp_path / "a.zip", sha256=SHA, patience=HASTE) == SHA
    assert "Range" not in asked[1][1]


def test_a_weak_mark_vouches_for_no_part_and_a_date_only_together_with_a_hash(tmp_path):
    date = "Wed, 21 Oct 2015 07:28:00 GMT"
    for sha256, etag, wanted in ((SHA, None, f"bytes={7 * PIECE}-"), (None, None, None), (None, 'W/"v1"', None)):
        with serving({"/a.zip": File(CONTENT, etag=etag, date=date, dies_after=[500_000])}) as (url, asked):
            assert fetch(f"{url}/a.zip", tmp_path / f"{wanted}.zip", sha256=sha256, patience=HASTE) == SHA
        assert asked[1][1].get("Range") == wanted


def test_a_server_that_sends_another_part_is_not_believed(tmp_path):
    files = {"/a.zip": File(CONTENT, dies_after=[500_000], sends_range="bytes 400000-500000/1048832")}
    with serving(files) as (url, _):
        assert fetch(f"{url}/a.zip", tmp_path / "a.zip", sha256=SHA, patience=HASTE) == SHA


def test_a_file_without_a_length_needs_a_hash(tmp_path):
    with serving({"/a.zip": File(CONTENT, length=False)}) as (url, _):
        assert fetch(f"{url}/a.zip", tmp_path / "a.zip", sha256=SHA, patience=HASTE) == SHA
        with pytest.raises(RunError, match="does not say how long the file is, and no SHA-256 is given"):
            fetch(f"{url}/a.zip", tmp_path / "b.zip", sha256=None, patience=HASTE)
    with (
        serving({"/a.zip": File(CONTENT, length=False, dies_after=[1000])}) as (url, _),
        pytest.raises(RunError, match="its SHA-256 is"),
    ):
        fetch(f"{url}/a.zip", tmp_path / "c.zip", sha256=SHA, patience=HASTE)
    assert names(tmp_path) == ["a.zip"]


@pytest.mark.parametrize("length", [True, False])
def test_a_file_may_not_be_larger_than_allowed(tmp_path, length):
    with (
        serving({"/a.zip": File(CONTENT, length=length)}) as (url, _),
        pytest.raises(RunError, match=r"1,048,832 bytes; at most 1,000,000|more came than the 1,000,000 bytes"),
    ):
        fetch(f"{url}/a.zip", tmp_path / "a.zip", sha256=SHA, limit=1_000_000, patience=HASTE)
    assert names(tmp_path) == []


def test_a_server_that_packs_the_file_once_more_is_refused(tmp_path):
    with (
        serving({"/a.zip": File(CONTENT, encoding="gzip")}) as (url, _),
        pytest.raises(RunError, match="packs the file once more"),
    ):
        fetch(f"{url}/a.zip", tmp_path / "a.zip", sha256=SHA, patience=HASTE)


def test_a_server_that_is_tired_is_asked_again_and_one_that_refuses_is_not(tmp_path):
    files = {
        "/a.zip": File(CONTENT, codes=[503, 429]),
        "/b.zip": File(CONTENT, codes=[403]),
        "/c.zip": File(codes=[500] * 9),
    }
    with serving(files) as (url, asked):
        assert fetch(f"{url}/a.zip", tmp_path / "a.zip", sha256=SHA, patience=HASTE) == SHA
        with pytest.raises(RunError, match="b.zip: the server answers 403 Forbidden"):
            fetch(f"{url}/b.zip", tmp_path / "b.zip", sha256=SHA, patience=HASTE)
        with pytest.raises(RunError, match="c.zip: the server answers 500 .*; given up after 3 attempts$"):
            fetch(f"{url}/c.zip", tmp_path / "c.zip", sha256=SHA, patience=HASTE)
        with pytest.raises(InputError, match=r"d.zip: the server has no such file \(404\)"):
            fetch(f"{url}/d.zip", tmp_path / "d.zip", sha256=SHA, patience=HASTE)
    assert [path for path, _ in asked] == ["/a.zip"] * 3 + ["/b.zip"] + ["/c.zip"] * 3 + ["/d.zip"]
    assert names(tmp_path) == ["a.zip"]


def test_redirects_are_followed_but_not_in_circles_nor_for_ever(tmp_path):
    files = {
        "/a": File(location="/b?key=secret"),
        "/b?key=secret": File(CONTENT),
        "/1": File(location="/2"),
        "/2": File(location="/1"),
    }
    files |= {f"/far{i}": File(location=f"/far{i + 1}") for i in range(20)}
    with serving(files) as (url, asked):
        assert fetch(f"{url}/a", tmp_path / "a.zip", sha256=SHA, patience=HASTE) == SHA
        with pytest.raises(RunError, match="the server leads in a circle"):
            fetch(f"{url}/1", tmp_path / "b.zip", sha256=SHA, patience=HASTE)
        before = len(asked)
        with pytest.raises(RunError, match="the server leads elsewhere more than 5 times"):
            fetch(f"{url}/far0", tmp_path / "b.zip", sha256=SHA, patience=HASTE)
        assert len(asked) - before == 6


@pytest.mark.parametrize("place", ["http://example.invalid/a.zip", "file:///etc/passwd", "ftp://127.0.0.1/a.zip"])
def test_without_a_hash_no_redirect_leads_to_where_anybody_could_change_the_file(tmp_path, place):
    with (
        serving({"/a": File(location=place)}) as (url, _),
        pytest.raises(RunError, match="leads to another place: .*(is not encrypted|https://example.org)"),
    ):
        fetch(f"{url}/a", tmp_path / "a.zip", sha256=None, patience=HASTE)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("example.org/a.zip", "one such as https://"),
        ("file:///etc/passwd", "one such as https://"),
        ("https://", "one such as https://"),
        ("http://[::1/a", "one such as https://"),
        ("https://me:secret@example.org/a.zip", "https://example.org/a.zip carries a user or a password"),
        ("http://example.org/a.zip?key=secret", "http://example.org/a.zip is not encrypted"),
        ("http://127.0.0.1.example.org/a.zip", "is not encrypted"),
    ],
)
def test_addresses_that_are_not_asked(tmp_path, url, said):
    with pytest.raises(InputError, match=said) as caught:
        fetch(url, tmp_path / "a.zip", sha256=None)
    assert "secret" not in str(caught.value)
    assert names(tmp_path) == []


def test_with_a_hash_the_way_may_be_open():
    assert checked_url("http://example.org/a.zip", trusted=True)


def test_a_hash_is_64_digits(tmp_path):
    with pytest.raises(InputError, match="sha256: received 'abc'; 64 hexadecimal digits"):
        fetch("https://example.org/a.zip", tmp_path / "a.zip", sha256="abc")


def test_nobody_answers(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        patience = Patience(pause=0.01, longest=0.01, connect=0.2, read=0.2, attempts=2)
        with pytest.raises(RunError, match="the server does not answer in time; given up after 2 attempts"):
            fetch(f"http://127.0.0.1:{port}/a.zip?key=secret", tmp_path / "a.zip", sha256=SHA, patience=patience)
    with pytest.raises(RunError, match=rf"http://127.0.0.1:{port}/a.zip: .*Connection refused; given up") as caught:
        fetch(f"http://127.0.0.1:{port}/a.zip?key=secret", tmp_path / "a.zip", sha256=SHA, patience=patience)
    assert "secret" not in str(caught.value)


def test_two_at_once_do_not_mix(tmp_path):
    import filelock

    with serving({"/a.zip": File(CONTENT)}) as (url, asked):
        with (
            filelock.FileLock(tmp_path / "a.zip.lock"),
            pytest.raises(RunError, match="is being downloaded by another process"),
        ):
            fetch(f"{url}/a.zip", tmp_path / "a.zip", sha256=SHA, patience=HASTE)
        assert fetch(f"{url}/a.zip", tmp_path / "a.zip", sha256=SHA, patience=HASTE) == SHA
    assert len(asked) == 1


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        serving({"/a.zip": File(CONTENT)}) as (url, _),
        pytest.raises(RunError, match="file/a.zip cannot be written: "),
    ):
        fetch(f"{url}/a.zip", tmp_path / "file" / "a.zip", sha256=SHA, patience=HASTE)


def test_a_full_disk_is_said_and_what_came_is_gone_on_with(tmp_path):
    with serving({"/a.zip": File(CONTENT)}) as (url, asked):
        reader, writer = os.pipe()
        if not (child := os.fork()):
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            sys.dont_write_bytecode = True  # a module cut short would stay: Python 3.11 writes it without a look
            resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))
            try:
                fetch(f"{url}/a.zip", tmp_path / "a.zip", sha256=SHA, patience=HASTE)
            except RunError as error:
                os.write(writer, str(error).encode())
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        os.close(writer)
        with os.fdopen(reader) as said:
            assert said.read() == f"{tmp_path / 'a.zip'} cannot be written: File too large"
        assert fetch(f"{url}/a.zip", tmp_path / "a.zip", sha256=SHA, patience=HASTE) == SHA
    assert asked[1][1]["Range"].startswith("bytes=")


def test_a_download_that_is_killed_is_gone_on_with(tmp_path):
    """kill -9 in the middle: the next run asks for what is missing only, and the file is the right one."""
    with socket.create_server(("127.0.0.1", 0)) as slow:
        url = f"http://127.0.0.1:{slow.getsockname()[1]}/a.zip"
        if not (child := os.fork()):
            try:
                fetch(url, tmp_path / "a.zip", sha256=SHA)
            finally:
                os._exit(1)
        connection, _ = slow.accept()
        head = f'HTTP/1.1 200 OK\r\nETag: "v1"\r\nContent-Length: {len(CONTENT)}\r\n\r\n'
        connection.recv(1 << 16)
        connection.sendall(head.encode() + CONTENT[: 8 * PIECE])  # and no end
        part = tmp_path / "a.zip.part"
        until = time.monotonic() + 20
        while not (part.exists() and part.stat().st_size) and time.monotonic() < until:
            time.sleep(0.01)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        connection.close()
    assert not (tmp_path / "a.zip").exists()
    size = part.stat().st_size
    assert CONTENT.startswith(part.read_bytes()) and size
    with serving({"/a.zip": File(CONTENT)}) as (there, asked):
        note = json.loads((tmp_path / "a.zip.part.json").read_text())
        note["url"] = hashlib.sha256(f"{there}/a.zip".encode()).hexdigest()  # the same file at the other port
        (tmp_path / "a.zip.part.json").write_text(json.dumps(note))
        assert fetch(f"{there}/a.zip", tmp_path / "a.zip", sha256=SHA, patience=HASTE) == SHA
    assert asked[0][1]["Range"] == f"bytes={size}-"
    assert sha256_of(tmp_path / "a.zip") == SHA


def test_whether_a_server_has_a_file():
    with serving({"/a.zip": File(CONTENT), "/b": File(codes=[503] * 9)}) as (url, _):
        assert available(f"{url}/a.zip", HASTE) is True
        assert available(f"{url}/x.zip", HASTE) is False
        with pytest.raises(RunError, match="503"):
            available(f"{url}/b", HASTE)
