"""Connections: what uvicorn leaves open, closed after a while, and its own refusals with a code."""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from headstart.deployment.server.refusals import JSON_TYPE, Refusal, encoded, error_body

HEAD_SECONDS = 10.0  # in which the head of a request must have arrived
REST_SECONDS = 10.0  # in which the body of a request that is answered already must have arrived
REST_BYTES = 2**28  # of such a body
MOST_CONNECTIONS = 512


class Connection(H11Protocol):
    """One connection.

    A head that does not arrive in time, and a body that goes on long after its request has been refused, end
    it. (That such a body is read for a while lets the client see the answer instead of a reset.)
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._timer: asyncio.TimerHandle | None = None
        self._rest = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.abort()
            return
        self._time(HEAD_SECONDS)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self.conn.their_state is h11.IDLE:  # a part of a head, or nothing
            if self._timer is None:
                self._time(HEAD_SECONDS)
        elif self.conn.their_state is h11.SEND_BODY and self.conn.our_state is h11.DONE:
            self._rest += len(data)
            if self._rest > REST_BYTES:
                self.transport.abort()
        else:
            self._untime()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._rest = 0
        if self.conn.their_state is h11.SEND_BODY:
            self._time(REST_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        self._untime()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP; ``msg`` is not repeated."""
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):  # in the middle of an answer
            self.transport.close()
            return
        refusal = Refusal(
            400, "HS-SERVE-015", "This is no valid HTTP request.", fix="Use an HTTP client; see /docs."
        )
        body = encoded(error_body(refusal))
        headers = [
            ("content-type", JSON_TYPE),
            ("content-length", str(len(body))),
            ("connection", "close"),
        ]
        for event in (
            h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
            h11.Data(data=body),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _time(self, seconds: float) -> None:
        self._untime()
        self._timer = self.loop.call_later(seconds, self.transport.close)

    def _untime(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
