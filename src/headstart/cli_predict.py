"""The command `headstart predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from headstart.cli_input import Json
from headstart.cli_output import say, show_json
from headstart.errors import UsageError, one_line


def predict(
    run: Path,
    /,
    *paths: Path,
    output: Annotated[Path | None, Parameter(alias="-o")] = None,
    top: int | None = None,
    coverage: float | None = None,
    shard: str | None = None,
    resume: Annotated[bool, Parameter(negative=())] = False,
    backend: Literal["auto", "onnx", "torch"] = "auto",
    device: str | None = None,
    batch_size: Annotated[int, Parameter(alias=["-b", "--batch"])] = 32,
    workers: Annotated[int | None, Parameter(alias="-j")] = None,
    strict: Annotated[bool, Parameter(negative=())] = False,
    json: Json = False,
) -> int:
    """Name pictures: one row per file, unreadable ones included with their error.

    Args:
        run: Folder of a run, or an exported model.onnx.
        paths: Pictures, and folders to go through recursively.
        output: Write a file: .csv, .jsonl (JSON Lines) or .parquet; without it, CSV goes to stdout.
        top: Only so many of the most probable classes, instead of a column for each class.
        coverage: Add a set of classes to each picture, which holds the true one for such a share of pictures:
            0.95. Needs a run with calibration pictures.
        shard: Only a part of the pictures, such as 3/8, the third of eight; decided by their names.
        resume: Keep the rows that an interrupted command left (or a complete table has), and add the others.
        backend: onnx (onnxruntime, on an exported model), torch, or auto: onnx where there is an exported
            model.
        device: cpu, cuda, cuda:1, mps: all but cpu are torch's.
        batch_size: Pictures per forward pass of torch.
        workers: Threads that read pictures; with onnxruntime they also run the network.
        strict: Exit with 1 if a picture cannot be read, not only if none can.
        json: Print counts as one JSON object (needs --output).
    """
    from headstart.deployment.predict import load
    from headstart.deployment.prediction_table import predict_to_table
    from headstart.deployment.sources import Shard

    if not paths:
        raise UsageError(
            "HS-USAGE-003", "No pictures were given.", fix="headstart predict RUN PICTURE_OR_FOLDER..."
        )
    if json and output in (None, Path("-")):
        raise UsageError(
            "HS-USAGE-004", "--json and the table would both go to stdout.", fix="Add --output out.csv"
        )
    part = None if shard is None else Shard.parse(shard)
    model = load(run, device=device, backend=backend)
    counts = predict_to_table(
        model,
        paths,
        output,
        batch_size=batch_size,
        workers=workers,
        coverage=coverage,
        top=top,
        shard=part,
        resume=resume,
    )
    if json:
        show_json({"output": str(output), **counts.to_dict()})
    elif output is not None:
        flagged = f"; {counts.unknown} flagged as unknown" * (model.detector is not None)
        named = ", ".join(f"{n} {one_line(name)}" for name, n in counts.by_class.items())
        say(f"{output}: {counts.rows} rows, {named}{flagged}")
    return 1 if counts.failed and (strict or not counts.ok) else 0
