"""`headstart explain`: heat maps of a run's model on pictures, as files."""

from __future__ import annotations

from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from headstart import console
from headstart.data.images import UnreadableImage
from headstart.deployment.predict import Model, load
from headstart.deployment.sources import Inputs, Source, listed, read
from headstart.errors import UsageError, nearest
from headstart.storage import atomic_path, storage_errors

GAP = 8  # pixels between the view and its heat map


def explain(
    run: str | PathLike[str],
    inputs: Inputs,
    output: str | PathLike[str],
    *,
    of: str | None = None,
    batch_size: int = 8,
    device: str | None = None,
) -> list[dict[str, Any]]:
    """Draws where the model of a run looks: what the network sees of each picture, and the same under heat.

    Args:
        run: Folder of a run, or of its model.
        inputs: Paths, folders, or pictures in memory, as for `Model.predict`.
        output: Folder of the drawings; made if absent. No file in it is overwritten.
        of: Class that the heat speaks for; None: the one that the model names.
        batch_size: Pictures per pass.
        device: Where to compute; None: the first accelerator, else the CPU.

    Returns:
        Of each picture ``path``, ``status`` and ``reason`` as in a `Prediction`, ``prediction``,
        ``explained`` (a class) and ``file``; the last three are None without an answer.

    Raises:
        UsageError: HS-EVAL-031, no such class.
        ModelError: HS-EVAL-030, a network without stages; and as `headstart.load`.
        RunError: HS-PREDICT-001, no such run; HS-RUN-001 to -003.
    """
    model, folder = load(Path(run), device=device, backend="torch"), Path(output)
    if of is not None and of not in model.classes:
        raise UsageError(
            "HS-EVAL-031",
            f"The model has no class '{of}'.{nearest(of, model.classes)}",
            where=run,
            fix=f"It knows: {', '.join(model.classes)}.",
        )
    sources = listed(inputs).sources
    rows: list[dict[str, Any]] = []
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with console.progress(len(sources), "heat maps") as advance:
        for start in range(0, len(sources), batch_size):
            group = sources[start : start + batch_size]
            rows += _drawn(model, group, folder, of)
            advance(len(group))
    return rows


def _drawn(model: Model, group: tuple[Source, ...], folder: Path, of: str | None) -> Iterator[dict[str, Any]]:
    """Rows of some pictures, whose drawings are written."""
    from headstart.model.heat_maps import heat_maps, overlaid

    views = []
    faults: list[UnreadableImage | None] = []
    for source in group:
        try:
            image, _ = read(source, model.preprocess)
            views.append(model.preprocess.evaluation_crop(model.preprocess.resized(image)))
            faults.append(None)
        except UnreadableImage as error:
            faults.append(error)
    maps: Iterator[Any] = iter(())
    if views:
        normalised = np.stack([model.preprocess.normalize(view) for view in views])
        answers = model.probabilities(normalised).argmax(axis=1)
        asked = answers if of is None else np.full(len(views), model.classes.index(of))
        maps = zip(views, heat_maps(model.network, normalised, asked), answers, asked, strict=True)
    for source, fault in zip(group, faults, strict=True):
        row: dict[str, Any] = {"path": source.path, "status": "ok" if fault is None else fault.kind}
        row |= {"reason": str(fault or "")} | dict.fromkeys(("prediction", "explained", "file"))
        if fault is None:
            view, heat, answer, explained = next(maps)
            side = len(view)
            sheet = np.full((side, 2 * side + GAP, 3), 255, np.uint8)
            sheet[:, :side], sheet[:, side + GAP :] = view, overlaid(view, heat)
            row["prediction"], row["explained"] = model.classes[answer], model.classes[explained]
            row["file"] = str(_saved(Image.fromarray(sheet), folder, Path(source.path).stem or "picture"))
        yield row


def _saved(image: Image.Image, folder: Path, name: str) -> Path:
    """The file, under a name that was free."""
    number, path = 1, folder / f"{name}.heat.png"
    while path.exists():
        number += 1
        path = folder / f"{name}.heat-{number}.png"
    with atomic_path(path) as temporary:
        image.save(temporary, format="PNG")
    return path
