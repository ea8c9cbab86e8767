"""The process that serves: socket, token, signals, the end."""

from __future__ import annotations

import errno
import logging
import os
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import FrameType

import uvicorn
from threadpoolctl import ThreadpoolController

from headstart.data.decoding import available_cpus
from headstart.deployment.predict import Model
from headstart.deployment.server.answering import queue_length
from headstart.deployment.server.app import Service, application
from headstart.deployment.server.connection import Connection
from headstart.deployment.server.gate import Gate, ServerState
from headstart.deployment.server.pages import static_files
from headstart.deployment.server.settings import ServeSettings, is_loopback
from headstart.errors import RunError, UsageError

TOKEN_VARIABLE = "HEADSTART_TOKEN"
TOKEN_LETTERS = 16
LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
ROUTES = ("/predict", "/explain", "/health", "/metadata", "/metrics")
HEAD_BYTES = 16_384  # of a request
KEEP_ALIVE_SECONDS = 30  # that a connection may be idle


class Server(uvicorn.Server):
    """Ends when what it has begun is finished; until then, further requests are answered with 503.

    Args:
        config: Of uvicorn.
        state: Shared with the application.
        patience: Seconds after which requests under way are given up.
        on_start: Called once it listens.
    """

    def __init__(
        self, config: uvicorn.Config, state: ServerState, patience: float, on_start: Callable[[], object]
    ) -> None:
        super().__init__(config)
        self.interrupted = False
        self._state = state
        self._patience = patience
        self._on_start = on_start
        self._last = float("inf")

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_start()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal drains, the second one ends at once."""
        if self._state.draining:
            self.interrupted = self.force_exit = self.should_exit = True
        self._state.draining = True
        self._last = time.monotonic() + self._patience

    async def on_tick(self, counter: int) -> bool:
        ended = await super().on_tick(counter)
        if self._state.draining and (not self._state.in_flight or time.monotonic() > self._last):
            return True
        return ended


def token_of(settings: ServeSettings) -> str | None:
    """What requests must carry; None: nothing.

    Raises:
        UsageError: HS-SERVE-002, other machines could ask without a token; HS-SERVE-003, it cannot be used.
    """
    source = settings.token_file
    if source is not None:
        try:
            token = source.read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "no text"
            raise UsageError(
                "HS-SERVE-003",
                f"The file with the token cannot be read: {reason}.",
                where=source,
                fix="Name a file that holds the token, and nothing else.",
            ) from None
    else:
        token = os.environ.get(TOKEN_VARIABLE, "").strip()
        if not token:
            if is_loopback(settings.host):
                return None
            raise UsageError(
                "HS-SERVE-002",
                "Other machines reach this address, and there is no token.",
                where=settings.host,
                fix="Put a long random text into a file (openssl rand -hex 32) and name it with "
                f"--token-file, or set {TOKEN_VARIABLE}; or listen at 127.0.0.1.",
            )
    if len(token) < TOKEN_LETTERS or not token.isascii() or not token.isprintable() or " " in token:
        raise UsageError(
            "HS-SERVE-003",
            f"The token must have {TOKEN_LETTERS} or more ASCII letters and digits, without spaces.",
            where=source or TOKEN_VARIABLE,
            fix="Make one: openssl rand -hex 32",
        )
    return token


def listening(host: str, port: int) -> socket.socket:
    """A bound socket.

    Raises:
        RunError: HS-SERVE-001, the port is taken, or the address is not one of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        found = socket.socket(family, kind, protocol)
        try:
            if os.name == "posix":
                found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            found.bind(address)
            found.listen(128)  # now: on Linux, two sockets can be bound to one port until one listens
        except OSError:
            found.close()
            raise
        return found
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        raise RunError(
            "HS-SERVE-001",
            f"The port {port} is taken."
            if taken
            else f"This address cannot be listened at: {error.strerror or error}.",
            where=f"{host}:{port}",
            fix="Choose another port with --port, or --port 0 for a free one."
            if taken
            else "Choose an address of this machine, and a port above 1023.",
        ) from error


def one_thread_for_numpy() -> None:
    """Keeps numpy's products in the thread that asks.

    OpenBLAS shares even a small one among all cores, whose threads wait in a loop for the next one then. They
    took half of the processor from the threads that decode and run the network.
    """
    ThreadpoolController().select(internal_api="openblas").limit(limits=1)


def run_server(model: Model, settings: ServeSettings, told: Callable[[str], object]) -> bool:
    """Serves until SIGINT or SIGTERM.

    Args:
        model: What answers; its network is loaded here.
        settings: Of the server.
        told: Called with its address once it listens.

    Returns:
        Whether all requests under way were finished.

    Raises:
        UsageError: HS-SERVE-002 and -003, of the token.
        RunError: HS-SERVE-001, the address cannot be listened at.
        ModelError: The weights are damaged or missing.
    """
    token = token_of(settings)
    taken = listening(settings.host, settings.port)
    with taken:
        host, port = taken.getsockname()[:2]
        one_thread_for_numpy()
        with ThreadPoolExecutor(
            1
        ) as passing:  # with it torch's threads end; two sets of them hinder each other
            measured = passing.submit(queue_length, model, settings.batch_size).result()
        state = ServerState()
        service = Service(
            model,
            settings,
            state,
            queue=measured if settings.queue is None else settings.queue,
            workers=settings.workers or available_cpus(),
        )
        pages = static_files()
        gate = Gate(
            application(service),
            hosts=(*LOCAL_NAMES, host, settings.host, *settings.allow_host),
            token=token,
            open_paths=(*pages, "/health", "/docs", "/openapi.json"),
            routes=ROUTES,
            metrics=service.metrics,
            state=state,
        )
        config = uvicorn.Config(
            gate,
            loop="asyncio",
            http=Connection,
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=5,
            h11_max_incomplete_event_size=HEAD_BYTES,
        )
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
        shown = f"[{host}]" if ":" in host else host
        server = Server(
            config,
            state,
            settings.timeout + settings.upload_timeout,
            lambda: told(f"http://{shown}:{port}"),
        )
        server.run([taken])
        return not server.interrupted and not state.in_flight
