"""What `headstart serve` can be told."""

from __future__ import annotations

import ipaddress
import math
from dataclasses import dataclass
from pathlib import Path

from headstart.errors import ConfigError

MEGABYTE = 2**20
HELD_REQUESTS = 4  # so many requests of the largest size are held in memory at once


@dataclass(frozen=True, kw_only=True)
class ServeSettings:
    """How a model is served."""

    host: str = "127.0.0.1"
    """Address to listen at. Any other than this machine's own (127.0.0.1, ::1) needs a token."""

    port: int = 8000
    """Port to listen at; 0: a free one."""

    token_file: Path | None = None
    """File with the token that requests must carry (Authorization: Bearer TOKEN). Default: the environment
    variable HEADSTART_TOKEN; none without it."""

    allow_host: tuple[str, ...] = ()
    """Name or address that requests may be made to, besides localhost and --host (repeatable)."""

    batch_size: int = 8
    """Pictures per forward pass of torch, at most. onnxruntime takes one at a time on each core."""

    queue: int | None = None
    """Pictures that may be under way before requests are answered with 429. Default: so many that an answer
    takes a few times as long as that to a lone picture. With onnxruntime 2.5 for each core; with torch as
    three lone passes of the network answer, measured at the start, 4 at least."""

    workers: int | None = None
    """Threads that decode, and with onnxruntime compute. Default: one for each core."""

    max_file_mb: int = 32
    """Largest picture file, MB."""

    max_request_mb: int = 128
    """Largest request, MB."""

    max_files: int = 64
    """Pictures per request, at most."""

    timeout: float = 30.0
    """Seconds until an answer is given up."""

    upload_timeout: float = 60.0
    """Seconds in which a request must have arrived."""

    def __post_init__(self) -> None:
        """Checks all values.

        Raises:
            ConfigError: HS-SERVE-004, with every value that is out of range.
        """
        wrong = [
            f"--{name.replace('_', '-')} is {value}, and must be {words}"
            for name, value, low, high, words in (
                ("port", self.port, 0, 65535, "0 to 65535"),
                ("batch_size", self.batch_size, 1, 1024, "1 to 1024"),
                ("queue", self.queue, 1, 1_000_000, "1 or more"),
                ("workers", self.workers, 1, 1024, "1 to 1024"),
                ("max_file_mb", self.max_file_mb, 1, 4096, "1 to 4096"),
                ("max_request_mb", self.max_request_mb, 1, 4096, "1 to 4096"),
                ("max_files", self.max_files, 1, 100_000, "1 to 100000"),
                ("timeout", self.timeout, 0.001, 86_400, "above 0, a day at most"),
                ("upload_timeout", self.upload_timeout, 0.001, 86_400, "above 0, a day at most"),
            )
            if value is not None and not (math.isfinite(value) and low <= value <= high)
        ]
        if wrong:
            raise ConfigError(
                "HS-SERVE-004",
                "The server cannot be set up so.",
                details=wrong,
                fix="Change these, or leave them out.",
            )

    @property
    def file_bytes(self) -> int:
        """Of the largest picture file."""
        return self.max_file_mb * MEGABYTE

    @property
    def request_bytes(self) -> int:
        """Of the largest request."""
        return self.max_request_mb * MEGABYTE

    @property
    def held_bytes(self) -> int:
        """Of all requests in memory."""
        return HELD_REQUESTS * self.request_bytes


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
