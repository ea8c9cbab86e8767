"""The command that makes a model leave: `headstart export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

import headstart
from headstart.cli_input import Json
from headstart.cli_output import print_result, say


def export(
    run: Path,
    /,
    *,
    precision: Literal["fp32"] = "fp32",
    images: Annotated[Path | None, Parameter(alias="--data")] = None,
    json: Json = False,
) -> int:
    """Write the model of a run as ONNX, if it answers as the trained one on the run's own pictures.

    Args:
        run: Folder of a run.
        precision: What the file computes in.
        images: Where the pictures are now, if they have moved since.
        json: Print file and figures as one JSON object.
    """
    found = headstart.export(run, precision=precision, images=images)
    print_result(found if json else found["file"], as_json=json)
    if not json:
        say(f"next: headstart predict {run} PICTURES")
    return 0
