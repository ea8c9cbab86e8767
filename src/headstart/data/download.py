"""One file from a web server to the disk: with progress, resumed where it broke off, and bounded in size."""

from __future__ import annotations

import contextlib
import http.client
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headstart import console
from headstart.errors import FetchError
from headstart.storage import storage_errors, write_atomic

CHUNK = 1 << 16
ATTEMPTS = 4
PAUSE = 1.0  # seconds before the second attempt; doubles each time
PASSING = {408, 425, 429, 500, 502, 503, 504}  # answers after which trying again may help
BROKEN = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError)


class _BrokenOffError(Exception):
    """The connection ended early; what came so far is kept."""


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to http and https only, and never from https to http."""

    def http_error_302(self, req: Any, fp: Any, code: int, msg: str, headers: Any) -> Any:
        target = urllib.parse.urljoin(req.full_url, headers.get("Location") or "")
        before, after = urllib.parse.urlsplit(req.full_url).scheme, urllib.parse.urlsplit(target).scheme
        if after not in {"http", "https"} or (before == "https" and after == "http"):
            fp.close()
            raise FetchError(
                "HS-FETCH-012",
                f"The server redirects from {before} to {after}, which is not followed.",
                where=f"{req.full_url} -> {target}",
                fix="Ask its publisher for another address.",
            )
        return super().http_error_302(req, fp, code, msg, headers)

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


def _opener() -> urllib.request.OpenerDirector:
    # build_opener would also add file:, ftp: and data:, which a redirect must not reach.
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _SafeRedirects(),
    ):
        opener.add_handler(handler)
    return opener


@dataclass(frozen=True)
class Reply:
    """What the server said about the file before sending it."""

    start: int
    """Offset of the first byte that follows."""
    size: int | None
    """Bytes of the whole file, if the server says."""
    validator: str
    """ETag or date that names this version of the file, for If-Range; empty if there is none."""


def download(url: str, target: Path, *, timeout: float, max_bytes: int) -> bool:
    """Downloads ``url`` to ``target``; ``target.part`` holds what came so far and is continued.

    Args:
        url: http or https. Proxies are taken from the environment.
        target: The file to make; its folder exists.
        timeout: Seconds without a byte before the connection counts as broken.
        max_bytes: More than this is refused.

    Returns:
        Whether bytes of an earlier call were used.

    Raises:
        FetchError: HS-FETCH-003 no connection, HS-FETCH-004 refused by the server, HS-FETCH-006 too
            large, HS-FETCH-012 unsafe redirect.
        RunError: the disk is full or cannot be written.
    """
    part = target.with_name(f"{target.name}.part")
    resumed = part.exists()
    for attempt in range(ATTEMPTS):
        try:
            _continue(url, part, timeout, max_bytes)
            break
        except urllib.error.HTTPError as error:
            error.close()
            if error.code not in PASSING or attempt == ATTEMPTS - 1:
                raise _refused(url, error) from error
            cause: Exception = error
        except (*BROKEN, _BrokenOffError) as error:
            if attempt == ATTEMPTS - 1:
                raise _unreachable(url, part, error) from error
            cause = error
        console.warn(f"{_reason(cause)}; trying again ({attempt + 2} of {ATTEMPTS})")
        time.sleep(PAUSE * 2**attempt)
    with storage_errors(target):
        part.replace(target)
        _note(part).unlink(missing_ok=True)
    return resumed


def _continue(url: str, part: Path, timeout: float, max_bytes: int) -> None:
    """One connection: asks for what is missing and appends it."""
    validator = _resumable(url, part)
    have = part.stat().st_size if validator else 0
    request = urllib.request.Request(url, headers={"User-Agent": "headstart", "Accept-Encoding": "identity"})
    if have:
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", validator)
    try:
        response = _opener().open(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing after `have`: it was complete, or is another file now
            complete = error.headers.get("Content-Range", "") == f"bytes */{have}"
            if not complete:
                forget(part)
                raise _BrokenOffError("the file changed on the server") from error
            return
        raise
    with response:
        reply = _understood(response, have)
        if reply.start == 0:
            forget(part)
        if reply.size is not None and reply.size > max_bytes:
            raise _too_large(url, max_bytes)
        with storage_errors(part):
            write_atomic(_note(part), json.dumps({"url": url, "validator": reply.validator}))
        _append(response, part, reply, url, max_bytes)


def _understood(response: Any, have: int) -> Reply:
    validator = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
    if validator.startswith("W/"):
        validator = response.headers.get("Last-Modified") or ""  # a weak ETag does not promise equal bytes
    if response.status == 206:
        start, _, size = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
        if start.split("-")[0] != str(have):
            raise _BrokenOffError("the server sent another part than the one asked for")
        return Reply(have, int(size) if size.isdigit() else None, validator)
    length = response.headers.get("Content-Length", "")
    return Reply(0, int(length) if length.isdigit() else None, validator)


def _append(response: Any, part: Path, reply: Reply, url: str, max_bytes: int) -> None:
    done = reply.start
    shown = done // 1000
    to_come = (reply.size // 1000 - shown) if reply.size else 0
    with (
        storage_errors(part),
        open(part, "ab") as file,
        console.progress(to_come, "Downloading", "kB") as advance,
    ):
        while True:
            try:
                chunk = response.read(CHUNK)
            except (http.client.HTTPException, OSError) as error:
                raise _BrokenOffError(_reason(error)) from error
            if not chunk:
                break
            file.write(chunk)
            done += len(chunk)
            if done > max_bytes:
                raise _too_large(url, max_bytes)
            advance(done // 1000 - shown)
            shown = done // 1000
    if reply.size is not None and done != reply.size:
        raise _BrokenOffError(f"the connection ended after {done:,} of {reply.size:,} bytes")


def _resumable(url: str, part: Path) -> str:
    """The validator of what an earlier call left, or an empty string to start anew."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        note = json.loads(_note(part).read_text(encoding="utf-8"))
        if note["url"] == url and part.stat().st_size > 0:
            return str(note["validator"])
    return ""


def _note(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def forget(part: Path) -> None:
    """Removes what came so far."""
    with storage_errors(part):
        part.unlink(missing_ok=True)
        _note(part).unlink(missing_ok=True)


def _reason(error: BaseException) -> str:
    reason = getattr(error, "reason", None) or error
    if isinstance(reason, TimeoutError):
        return "the server does not answer"
    if isinstance(reason, ConnectionRefusedError):
        return "the server refuses the connection"
    return str(reason) or type(error).__name__


def _unreachable(url: str, part: Path, error: BaseException) -> FetchError:
    have = part.stat().st_size if part.exists() else 0
    kept = f" {have:,} bytes are kept; the next call continues there." if have else ""
    return FetchError("HS-FETCH-003", f"The download failed: {_reason(error)}.{kept}", where=url)


def _refused(url: str, error: urllib.error.HTTPError) -> FetchError:
    return FetchError(
        "HS-FETCH-004",
        f"The server answered {error.code} {error.reason}.",
        where=url,
        fix="Check the address, or name another server with --mirror.",
    )


def _too_large(url: str, max_bytes: int) -> FetchError:
    return FetchError(
        "HS-FETCH-006",
        f"The file is larger than the limit of {max_bytes / 1e9:,.3g} GB.",
        where=url,
        fix="Download and unpack it yourself if it is what you want.",
    )
