"""Requests that are not answered as asked: a status, and the words and code of every other error."""

from __future__ import annotations

import json
from typing import Any

from headstart.errors import HeadstartError

JSON_TYPE = "application/json"
RETRY_SECONDS = 1


class Refusal(HeadstartError):  # noqa: N818 - mostly the client's
    """A request that cannot be answered as asked.

    Args:
        status: Of HTTP, 400 to 599.
        code: ``HS-SERVE-NNN``.
        what: What is wrong, one sentence.
        fix: What to do, one sentence.
        details: All single faults.
        headers: Of the response.
    """

    def __init__(
        self,
        status: int,
        code: str,
        what: str,
        *,
        fix: str = "",
        details: tuple[str, ...] = (),
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(code, what, fix=fix, details=details)
        self.status = status
        self.headers = headers or {}


def error_body(error: HeadstartError) -> dict[str, Any]:
    """``{"error": {"code", "message", "fix"}}``, with ``details`` where there are any."""
    entry: dict[str, Any] = {"code": error.code, "message": error.what, "fix": error.fix}
    if error.details:
        entry["details"] = list(error.details)
    return {"error": entry}


def encoded(value: object) -> bytes:
    """JSON; class names and file names may hold what UTF-8 cannot say, which is escaped."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    try:
        return text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, allow_nan=False, separators=(",", ":")).encode()


def busy(what: str) -> Refusal:
    """429: later, it may be answered."""
    return Refusal(
        429,
        "HS-SERVE-030",
        what,
        fix=f"Try again after {RETRY_SECONDS} s, as the header Retry-After says; send several pictures in "
        "one request.",
        headers={"Retry-After": str(RETRY_SECONDS)},
    )


def draining() -> Refusal:
    """503: the server ends."""
    return Refusal(
        503,
        "HS-SERVE-031",
        "The server is shutting down, and finishes only what it has begun.",
        fix="Send the request to another server, or again after the restart.",
        headers={"Retry-After": "5"},
    )


def too_late(seconds: float) -> Refusal:
    """503: no answer in time."""
    return Refusal(
        503,
        "HS-SERVE-032",
        f"There was no answer within {seconds:g} s.",
        fix="Send fewer or smaller pictures in one request, or start the server with a longer --timeout.",
        headers={"Retry-After": "5"},
    )
