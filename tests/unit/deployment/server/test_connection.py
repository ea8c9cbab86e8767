"""What a connection does with clients that are slow, or speak no HTTP."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("uvicorn")

import uvicorn

from headstart.deployment.server import connection
from headstart.deployment.server.connection import Connection

HEAD = b"POST /predict HTTP/1.1\r\nHost: localhost\r\n"


async def refusing(scope: Any, receive: Any, send: Any) -> None:
    """Answers at once, without reading the body."""
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 413, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"no"})


def spoken(talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]) -> Any:
    """What comes of a talk with a server of these connections."""

    async def scenario() -> Any:
        config = uvicorn.Config(
            refusing, http=Connection, ws="none", lifespan="off", log_config=None, timeout_keep_alive=30
        )
        config.load()
        state = uvicorn.server.ServerState()
        server = await asyncio.get_running_loop().create_server(
            lambda: Connection(config=config, server_state=state, app_state={}), "127.0.0.1", 0
        )
        async with server, asyncio.timeout(20):
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
            try:
                return await talk(reader, writer)
            finally:
                writer.close()

    return asyncio.run(scenario())


@pytest.fixture(autouse=True)
def quick(monkeypatch) -> None:
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.2)
    monkeypatch.setattr(connection, "REST_SECONDS", 0.2)


@pytest.mark.parametrize("beginning", [b"", b"G", HEAD, HEAD + b"X-Slow: "])
def test_a_head_that_does_not_come_ends_the_connection(beginning) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[bytes, float]:
        started = time.perf_counter()
        writer.write(beginning)
        return await reader.read(), time.perf_counter() - started

    said, seconds = spoken(talk)
    assert said == b"" and seconds < 10


def test_letter_by_letter_is_not_quick_enough() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        for letter in HEAD * 100:
            writer.write(bytes([letter]))
            await asyncio.sleep(0.01)
            if reader.at_eof() or reader.exception() is not None:  # closed, or reset while we write
                return b"closed"
        return b"open"

    assert spoken(talk) == b"closed"


def test_the_second_head_of_a_connection_is_watched_too() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(HEAD + b"Content-Length: 0\r\n\r\n")
        assert b"413" in await reader.readuntil(b"no")
        writer.write(HEAD)
        return await reader.read()

    assert spoken(talk) == b""


def test_a_refused_body_is_read_for_a_while_so_that_the_answer_arrives() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(HEAD + b"Content-Length: 3000000\r\n\r\n")
        assert b"413" in await reader.readuntil(b"no")
        writer.write(bytes(3_000_000))
        await writer.drain()
        writer.write(HEAD + b"Content-Length: 0\r\n\r\n")  # the same connection goes on
        return await reader.readuntil(b"no")

    assert b"413" in spoken(talk)


def test_a_refused_body_without_an_end_ends_the_connection(monkeypatch) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        writer.write(HEAD + b"Content-Length: 3000000000\r\n\r\n")
        await reader.readuntil(b"no")
        try:
            for _ in range(3000):
                writer.write(bytes(100_000))
                await writer.drain()
                await asyncio.sleep(0.001)
        except ConnectionError:
            return True
        return False

    assert spoken(talk)
    monkeypatch.setattr(connection, "REST_SECONDS", 60)
    monkeypatch.setattr(connection, "REST_BYTES", 1_000_000)
    assert spoken(talk)


@pytest.mark.parametrize(
    "nonsense",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",  # without Host
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + bytes(20_000) + b"\r\n\r\n",
    ],
)
def test_what_is_no_http_is_answered_with_a_code(nonsense) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(nonsense)
        return await reader.read()

    head, _, body = spoken(talk).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert json.loads(body)["error"]["code"] == "HS-SERVE-015"


def test_more_connections_than_allowed_are_closed(monkeypatch) -> None:
    monkeypatch.setattr(connection, "MOST_CONNECTIONS", 0)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        try:
            return await reader.read()
        except ConnectionResetError:
            return b""

    assert spoken(talk) == b""
