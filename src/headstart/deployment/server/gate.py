"""What every request passes before the application: the host it was made to, its origin, its token, the end.

Also measures requests, adds the headers that keep a browser safe, and says of a fault where it happened, but
never what was in the request.
"""

from __future__ import annotations

import hmac
import time
import traceback
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headstart import console
from headstart.deployment.server.metrics import ServerMetrics
from headstart.deployment.server.refusals import JSON_TYPE, Refusal, draining, encoded, error_body

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

ALWAYS = frozenset({"/health", "/metrics"})
"""Answered while the server ends."""

HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (
        b"content-security-policy",
        b"default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; "
        b"form-action 'self'; frame-ancestors 'none'",
    ),
)


@dataclass
class ServerState:
    """What the process and the application share.

    Attributes:
        draining: The server ends: it finishes what it has begun.
        in_flight: Requests under way.
    """

    draining: bool = False
    in_flight: int = 0


class Gate:
    """The outermost layer.

    Args:
        app: What answers.
        hosts: Names and addresses that requests may be made to, without port.
        token: What they must carry; None: nothing.
        open_paths: Answered without a token.
        routes: Paths that are told apart in the metrics.
        metrics: Told of every request.
        state: Of the server.
    """

    def __init__(
        self,
        app: Application,
        *,
        hosts: Iterable[str],
        token: str | None,
        open_paths: Iterable[str],
        routes: Iterable[str],
        metrics: ServerMetrics,
        state: ServerState,
    ) -> None:
        self.app = app
        self.state = state
        self._hosts = {without_port(host) for host in hosts}
        self._token = None if token is None else token.encode()
        self._open = frozenset(open_paths)
        self._routes = frozenset(routes)
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request, or hands it on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 0

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *HEADERS]
            await send(message)

        try:
            refusal = self._refusal(scope)
            if refusal is not None:
                await respond(refusal, sent)
            elif scope["path"] in ALWAYS:
                await self.app(scope, receive, sent)
            else:
                self.state.in_flight += 1
                try:
                    await self.app(scope, receive, sent)
                finally:
                    self.state.in_flight -= 1
        except Exception as error:  # the application has sent a 500 then, or nothing
            say_where(error)
            if not status:
                await respond(internal(), sent)
        route = scope["path"] if scope["path"] in self._routes else "other"
        self._metrics.request(route, status, time.perf_counter() - started)

    def _refusal(self, scope: Scope) -> Refusal | None:
        """Why a request is not answered; None if it is."""
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get(b"host", "")
        if without_port(host) not in self._hosts:
            return Refusal(
                400,
                "HS-SERVE-010",
                "The request was made to a name that this server does not answer to.",
                fix="Use the address that the server printed, or start it with --allow-host NAME.",
            )
        if self.state.draining and scope["path"] not in ALWAYS:
            return draining()
        if scope["path"] not in self._open and not self._is_authorised(headers.get(b"authorization", "")):
            return Refusal(
                401,
                "HS-SERVE-012",
                "The token is missing or wrong.",
                fix="Send the header Authorization: Bearer TOKEN, with the token that the server was given.",
                headers={"WWW-Authenticate": "Bearer"},
            )
        origin = headers.get(b"origin")
        if origin is not None and origin.lower().partition("://")[2] != host.lower():
            return Refusal(
                403,
                "HS-SERVE-011",
                "The request comes from a page of another server.",
                fix="Open the page that this server gives, or send the request from a program.",
            )
        return None

    def _is_authorised(self, header: str) -> bool:
        if self._token is None:
            return True
        scheme, _, given = header.partition(" ")
        right = hmac.compare_digest(given.strip().encode("latin-1"), self._token)
        return right and scheme.lower() == "bearer"


def without_port(host: str) -> str:
    """The name or address of a Host header, lower case: ``[::1]:8000`` -> ``::1``."""
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    name = host if host.count(":") > 1 else host.partition(":")[0]
    return name.rstrip(".")


async def respond(refusal: Refusal, send: Send) -> None:
    """Sends an error."""
    body = encoded(error_body(refusal))
    headers = {"Content-Type": JSON_TYPE, "Content-Length": str(len(body)), "Cache-Control": "no-store"}
    headers |= refusal.headers
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": refusal.status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


def internal() -> Refusal:
    """500."""
    return Refusal(
        500,
        "HS-SERVE-034",
        "The server failed.",
        fix="Its standard error says where; report it with these lines.",
    )


def say_where(error: BaseException) -> None:
    """Kind and place of a fault on stderr. Its words are left out: they may quote the request."""
    frames = traceback.extract_tb(error.__traceback__)[-6:]
    places = " < ".join(f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in reversed(frames))
    console.say(f"error HS-SERVE-034: {type(error).__name__} at {places}")
