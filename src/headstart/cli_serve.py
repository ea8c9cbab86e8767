"""The command `headstart serve`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from headstart.cli_input import Json
from headstart.cli_output import say, show_json
from headstart.deployment.server.settings import ServeSettings


def serve(
    run: Path,
    /,
    settings: Annotated[ServeSettings, Parameter(name="*", negative=())] = ServeSettings(),  # noqa: B008
    *,
    device: str | None = None,
    backend: Literal["auto", "onnx", "torch"] = "auto",
    json: Json = False,
) -> int:
    """Answer over HTTP, until Ctrl-C or SIGTERM: POST /predict with pictures.

    Args:
        run: Folder of a run.
        device: cpu, cuda, cuda:1, mps.
        backend: onnx (the exported model), torch, or auto: the exported one if there is one.
        json: Print where it listens as one JSON object.
    """
    from headstart.deployment.serve import serve as answer

    def told(address: str) -> None:
        say(
            f"listening at {address}: open it in a browser, or POST pictures to {address}/predict "
            f"(see {address}/docs)"
        )
        if json:
            host, _, port = address.removeprefix("http://").rpartition(":")
            show_json({"url": address, "host": host.strip("[]"), "port": int(port)})
            sys.stdout.flush()

    finished = answer(run, settings, device=device, backend=backend, told=told)
    say("stopped" if finished else "stopped, with requests unanswered")
    return 0 if finished else 130
