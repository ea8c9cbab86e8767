"""`fetch` against a server on the loopback address that can break off, redirect and lie."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from headstart.data import download as download_module
from headstart.data import fetch as fetch_module
from headstart.data.fetch import fetch
from headstart.data.named_sets import NAMED_SETS, NamedSet
from headstart.errors import FetchError


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


NOISE = bytes(hashlib.sha256(b"picture").digest() * 8000)  # 256 kB, several chunks
ARCHIVE = zipped({"hotdog/train/hotdog/1.png": NOISE, "hotdog/test/not-hotdog/2.png": b"two"})
SHA1 = hashlib.sha1(ARCHIVE).hexdigest()
SHA256 = hashlib.sha256(ARCHIVE).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    files: dict[str, bytes]
    break_after: int | None = None  # bytes of a reply body before the connection drops, once
    ranges = True
    etag = '"one"'
    status: list[int]
    redirect: str = ""
    requests: list[tuple[str, str]]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        server = self.server
        asked = self.headers.get("Range", "")
        server.requests.append((self.path, asked))
        if server.status:
            self.send_error(server.status.pop(0))
            return
        if server.redirect and self.path.startswith("/old"):
            self.send_response(302)
            self.send_header("Location", server.redirect)
            self.end_headers()
            return
        if self.path not in server.files:
            self.send_error(404)
            return
        body = server.files[self.path]
        start = 0
        if asked and server.ranges and self.headers.get("If-Range") == server.etag:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        self.send_header("ETag", server.etag)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        body = body[start:]
        if server.break_after is not None:
            body, server.break_after = body[: server.break_after], None
            self.close_connection = True
        self.wfile.write(body)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "HEADSTART_MIRROR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(download_module, "PAUSE", 0.0)
    with Server(("127.0.0.1", 0), Handler) as running:
        running.files = {"/hotdog.zip": ARCHIVE}
        running.status, running.requests = [], []
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_named_set_is_verified_and_unpacked(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    known = NamedSet(f"{server.url}/hotdog.zip", "hot dogs", "none stated", sha1=SHA1)
    monkeypatch.setitem(NAMED_SETS, "hotdog", known)
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path))
    root = fetch("hotdog")
    assert root == tmp_path / "datasets" / "hotdog" / "hotdog"
    assert (root / "train/hotdog/1.png").read_bytes() == NOISE
    assert (root / "test/not-hotdog/2.png").read_bytes() == b"two"
    assert leftovers(tmp_path / "datasets") == ["hotdog"]
    assert "licence: none stated" in capsys.readouterr().err

    assert fetch("hotdog") == root
    assert len(server.requests) == 1, "a second call must not download"
    assert "already fetched" in capsys.readouterr().err


def test_published_hotdog_checksum() -> None:
    assert NAMED_SETS["hotdog"].url == "http://d2l-data.s3-accelerate.amazonaws.com/hotdog.zip"
    assert NAMED_SETS["hotdog"].sha1 == "fba480ffa8aa7e0febbb511d181409f899b9baa5"


@pytest.mark.parametrize("ranges", [True, False], ids=["server resumes", "server starts anew"])
def test_broken_connection_is_continued(server: Server, tmp_path: Path, ranges: bool) -> None:
    server.break_after, server.ranges = 100_000, ranges
    root = fetch(f"{server.url}/hotdog.zip", folder=tmp_path, sha256=SHA256)
    assert (root / "train/hotdog/1.png").read_bytes() == NOISE
    assert [asked for _, asked in server.requests] == ["", "bytes=100000-"]


def test_next_call_continues_an_interrupted_download(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download_module, "ATTEMPTS", 1)
    server.break_after = 100_000
    with pytest.raises(FetchError) as raised:
        fetch(f"{server.url}/hotdog.zip", folder=tmp_path, sha1=SHA1)
    assert raised.value.code == "HS-FETCH-003"
    assert "100,000 bytes are kept; the next call continues there" in str(raised.value)
    root = fetch(f"{server.url}/hotdog.zip", folder=tmp_path, sha1=SHA1)
    assert server.requests[-1][1] == "bytes=100000-"
    assert (root / "train/hotdog/1.png").read_bytes() == NOISE
    assert leftovers(tmp_path) == ["hotdog"]


def test_file_that_changed_on_the_server_is_not_glued_together(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download_module, "ATTEMPTS", 1)
    server.break_after = 100_000
    with pytest.raises(FetchError):
        fetch(f"{server.url}/hotdog.zip", folder=tmp_path)
    server.etag = '"two"'
    server.files["/hotdog.zip"] = zipped({"hotdog/a.png": NOISE[::-1]})
    assert (fetch(f"{server.url}/hotdog.zip", folder=tmp_path) / "a.png").read_bytes() == NOISE[::-1]


def test_bad_continuation_is_downloaded_anew(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download_module, "ATTEMPTS", 1)
    server.break_after = 100_000
    with pytest.raises(FetchError):
        fetch(f"{server.url}/hotdog.zip", folder=tmp_path, sha1=SHA1)
    part = next(tmp_path.glob("*.part"))
    part.write_bytes(b"\0" * part.stat().st_size)  # a disk that lost what it was given
    root = fetch(f"{server.url}/hotdog.zip", folder=tmp_path, sha1=SHA1)
    assert (root / "train/hotdog/1.png").read_bytes() == NOISE


def test_wrong_checksum_unpacks_nothing(server: Server, tmp_path: Path) -> None:
    with pytest.raises(FetchError) as raised:
        fetch(f"{server.url}/hotdog.zip", folder=tmp_path, sha1="0" * 40)
    assert raised.value.code == "HS-FETCH-005"
    assert "does not match its checksum. Nothing was unpacked." in str(raised.value)
    assert f"SHA-1: expected {'0' * 40}, got {SHA1}" in str(raised.value)
    assert leftovers(tmp_path) == []


def test_checksum_of_an_earlier_call_counts(server: Server, tmp_path: Path) -> None:
    fetch(f"{server.url}/hotdog.zip", folder=tmp_path)
    assert fetch(f"{server.url}/hotdog.zip", folder=tmp_path, sha256=SHA256).is_dir()
    with pytest.raises(FetchError, match="HS-FETCH-005"):
        fetch(f"{server.url}/hotdog.zip", folder=tmp_path, sha1="0" * 40)


def test_without_checksum_the_one_found_is_said(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fetch(f"{server.url}/hotdog.zip", folder=tmp_path)
    said = capsys.readouterr().err
    assert "no checksum is published for hotdog.zip" in said
    assert SHA256 in said


def test_missing_file_names_all_ways_out(server: Server, tmp_path: Path) -> None:
    with pytest.raises(FetchError) as raised:
        fetch(f"{server.url}/other.zip", folder=tmp_path, sha1=SHA1)
    text = str(raised.value)
    assert raised.value.code == "HS-FETCH-004"
    assert "The server answered 404" in text
    assert f"{server.url}/other.zip" in text
    assert f"its checksum: SHA-1 {SHA1}" in text
    assert f"place the archive by hand at {tmp_path / 'other.zip'}" in text
    assert len(server.requests) == 1, "a missing file is not asked for again"


def test_offline_says_where_to_place_the_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download_module, "PAUSE", 0.0)
    for name in ("http_proxy", "HTTP_PROXY", "HEADSTART_MIRROR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setitem(NAMED_SETS, "hotdog", NamedSet("http://127.0.0.1:9/hotdog.zip", "", "", sha1=SHA1))
    with pytest.raises(FetchError) as raised:
        fetch("hotdog", folder=tmp_path)
    text = str(raised.value)
    assert raised.value.code == "HS-FETCH-003"
    assert "http://127.0.0.1:9/hotdog.zip" in text and SHA1 in text
    assert str(tmp_path / "hotdog.zip") in text

    (tmp_path / "hotdog.zip").write_bytes(ARCHIVE)
    assert fetch("hotdog", folder=tmp_path) == tmp_path / "hotdog" / "hotdog"
    assert (tmp_path / "hotdog.zip").exists(), "the user's own file stays"


def test_busy_server_is_asked_again(server: Server, tmp_path: Path) -> None:
    server.status = [503, 429]
    assert fetch(f"{server.url}/hotdog.zip", folder=tmp_path).is_dir()
    assert len(server.requests) == 3


@pytest.mark.parametrize("how", ["argument", "environment"])
def test_mirror_replaces_the_server(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    server.files["/copies/hotdog.zip"] = ARCHIVE
    mirror = f"{server.url}/copies/"
    if how == "environment":
        monkeypatch.setenv("HEADSTART_MIRROR", mirror)
    monkeypatch.setitem(NAMED_SETS, "hotdog", NamedSet("http://far.invalid/x/hotdog.zip", "", "", sha1=SHA1))
    root = fetch("hotdog", folder=tmp_path, mirror=mirror if how == "argument" else None)
    assert (root / "train/hotdog/1.png").is_file()
    assert [path for path, _ in server.requests] == ["/copies/hotdog.zip"]
    stamp = json.loads((tmp_path / "hotdog" / fetch_module.STAMP).read_text(encoding="utf-8"))
    assert stamp["url"] == "http://far.invalid/x/hotdog.zip"


def test_redirect_on_the_web_is_followed(server: Server, tmp_path: Path) -> None:
    server.redirect = f"{server.url}/hotdog.zip"
    assert fetch(f"{server.url}/old.zip", folder=tmp_path, sha1=SHA1).is_dir()


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/hotdog.zip", "data:,x"])
def test_redirect_to_another_scheme_is_refused(server: Server, tmp_path: Path, target: str) -> None:
    server.redirect = target
    with pytest.raises(FetchError) as raised:
        fetch(f"{server.url}/old.zip", folder=tmp_path)
    assert raised.value.code == "HS-FETCH-012"
    assert "The server redirects from http to" in str(raised.value)
    assert leftovers(tmp_path) == []


def test_size_limit(server: Server, tmp_path: Path) -> None:
    with pytest.raises(FetchError) as raised:
        fetch(f"{server.url}/hotdog.zip", folder=tmp_path, max_bytes=100_000)
    assert raised.value.code == "HS-FETCH-006"
    assert "larger than the limit of 0.0001 GB" in str(raised.value)


def test_web_page_instead_of_archive(server: Server, tmp_path: Path) -> None:
    server.files["/hotdog.zip"] = b"<!DOCTYPE html><p>Please log in"
    with pytest.raises(FetchError) as raised:
        fetch(f"{server.url}/hotdog.zip", folder=tmp_path)
    assert raised.value.code == "HS-FETCH-007"
    assert "A web page came instead of an archive." in str(raised.value)
    assert not (tmp_path / "hotdog").exists()


def test_unknown_name_gets_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(FetchError) as raised:
        fetch("hotdgo", folder=tmp_path)
    assert raised.value.code == "HS-FETCH-001"
    assert "No data set is called 'hotdgo'. Did you mean 'hotdog'?" in str(raised.value)


def test_other_schemes_and_bad_checksums(tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="HS-FETCH-002") as raised:
        fetch("ftp://127.0.0.1/hotdog.zip", folder=tmp_path)
    assert "Addresses that begin with 'ftp:' cannot be fetched." in str(raised.value)
    with pytest.raises(FetchError, match="HS-FETCH-002"):
        fetch("http://127.0.0.1/hotdog.zip", folder=tmp_path, mirror="/a/folder")
    with pytest.raises(FetchError) as raised:
        fetch("hotdog", folder=tmp_path, sha1="abc")
    assert raised.value.code == "HS-FETCH-011"
    assert "It has 40 hex digits." in str(raised.value)


def test_archive_on_this_disk(tmp_path: Path) -> None:
    archive = tmp_path / "my pictures.zip"
    archive.write_bytes(zipped({"cat/1.png": b"1", "dog/2.png": b"2"}))
    for given in (str(archive), archive.as_uri()):
        root = fetch(given, folder=tmp_path / "out")
        assert root == tmp_path / "out" / "my pictures" / "my pictures"
        assert sorted(path.name for path in root.iterdir()) == ["cat", "dog"]
    assert archive.exists()


def test_foreign_folder_is_left_alone(server: Server, tmp_path: Path) -> None:
    (tmp_path / "hotdog").mkdir()
    with pytest.raises(FetchError) as raised:
        fetch(f"{server.url}/hotdog.zip", folder=tmp_path)
    assert raised.value.code == "HS-FETCH-010"
    assert "headstart did not fetch it" in str(raised.value)


def test_same_archive_name_from_two_addresses(server: Server, tmp_path: Path) -> None:
    server.files["/b/hotdog.zip"] = zipped({"other/1.png": b"other"})
    first = fetch(f"{server.url}/hotdog.zip", folder=tmp_path)
    second = fetch(f"{server.url}/b/hotdog.zip", folder=tmp_path)
    assert first != second
    assert (second / "1.png").read_bytes() == b"other"
    assert fetch(f"{server.url}/b/hotdog.zip", folder=tmp_path) == second


def test_home_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from headstart.storage import home

    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path / "a"))
    assert home() == tmp_path / "a"
    monkeypatch.delenv("HEADSTART_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
    assert home() == tmp_path / "b" / "headstart"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert home().name == "headstart"
