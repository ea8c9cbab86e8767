"""The command that lets a model leave: `headstart export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

import headstart
from headstart.cli_input import Json
from headstart.cli_output import print_result, say
from headstart.errors import UsageError


def export(
    run: Path,
    /,
    *,
    precision: Literal["fp32", "fp16", "int8"] = "fp32",
    max_drop: float = 0.01,
    to: Literal["onnx", "timm"] = "onnx",
    output: Annotated[Path | None, Parameter(alias="-o")] = None,
    images: Annotated[Path | None, Parameter(alias="--data")] = None,
    json: Json = False,
) -> int:
    """Write the model of a run as ONNX, if it answers as the trained one does on the run's own pictures.

    Args:
        run: Folder of a run.
        precision: What the file computes in: fp32, fp16 (for GPUs), int8 (calibrated on training pictures,
            measured on held-out ones).
        max_drop: Of int8: how much accuracy it may lose, as a fraction.
        to: onnx: RUN/model/model.onnx. timm: a folder that timm and Hugging Face's transformers load.
        output: Of --to timm: the folder; must not be there, or be empty.
        images: Where the pictures are now, if they have moved since.
        json: Print file and figures as one JSON object.
    """
    if (to == "timm") != (output is not None) or (to == "timm" and precision != "fp32"):
        raise UsageError(
            "HS-EXPORT-009",
            "--to timm and --output FOLDER belong together, without --precision; ONNX goes to RUN/model.",
            fix=f"headstart export {run} --to timm --output FOLDER",
        )
    if output is not None:
        found = headstart.export_to_timm(run, output, images=images)
        print_result(found if json else found["folder"], as_json=json)
        if not json:
            say(f"next: timm.create_model('local-dir:{output}', pretrained=True)")
        return 0
    found = headstart.export(run, precision=precision, max_drop=max_drop, images=images)
    print_result(found if json else found["file"], as_json=json)
    if not json:
        say(f"next: headstart predict {run} PICTURES")
    return 0
