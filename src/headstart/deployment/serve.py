"""`headstart serve`: a model answers over HTTP."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from os import PathLike
from pathlib import Path

from headstart import console
from headstart.deployment.backends import BackendName
from headstart.deployment.predict import load
from headstart.deployment.server.settings import ServeSettings
from headstart.errors import MissingExtraError

NEEDED = ("fastapi", "uvicorn", "python_multipart", "prometheus_client", "threadpoolctl")


def serve(
    run: str | PathLike[str],
    settings: ServeSettings | None = None,
    *,
    device: str | None = None,
    backend: BackendName = "auto",
    told: Callable[[str], object] = lambda address: console.say(f"listening at {address}"),
) -> bool:
    """Answers requests until the process is asked to end (SIGINT, SIGTERM); then finishes what it has begun.

    Args:
        run: Folder of a run, or of its model.
        settings: Of the server.
        device, backend: Where and with what to compute, as for `headstart.load`.
        told: Called with its address (``http://127.0.0.1:8000``) once it listens.

    Returns:
        Whether all requests under way at the end were finished.

    Raises:
        MissingExtraError: HS-INSTALL-001, the extra `serve` is not installed.
        UsageError: HS-SERVE-002 and -003, of the token.
        RunError: HS-SERVE-001, the address cannot be listened at; HS-PREDICT-001, no such run.
        ModelError: as `headstart.load`.
    """
    if not all(importlib.util.find_spec(name) for name in NEEDED):
        raise MissingExtraError("serve", "Serving")
    from headstart.deployment.server.process import run_server

    return run_server(load(Path(run), device=device, backend=backend), settings or ServeSettings(), told)
