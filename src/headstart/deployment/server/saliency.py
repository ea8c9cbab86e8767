"""Where a model looks in one picture, as a PNG."""

from __future__ import annotations

import importlib.util
import io

from PIL import Image

from headstart.deployment.predict import Model
from headstart.deployment.server.answering import giants_one_by_one
from headstart.deployment.server.refusals import Refusal
from headstart.deployment.sources import Source, read
from headstart.errors import UsageError, nearest


def can_explain(model: Model) -> bool:
    """Whether heat maps can be computed and drawn: they need the weights, gradients, and colours."""
    return model.folder.is_dir() and all(importlib.util.find_spec(name) for name in ("torch", "matplotlib"))


def check_can_explain(model: Model) -> None:
    """
    Raises:
        Refusal: HS-SERVE-040, torch is not installed where the server runs.
    """
    if not can_explain(model):
        raise Refusal(
            501,
            "HS-SERVE-040",
            "Heat maps need packages that are not installed where the server runs.",
            fix='There: pip install "headstart[train]"',
        )


def heat_map_png(model: Model, content: bytes, of: str | None) -> tuple[bytes, str]:
    """The picture as the network sees it, under its heat map.

    Args:
        model: With stages.
        content: The bytes of a picture.
        of: Class that the heat speaks for; None: the most probable one.

    Returns:
        A PNG, S x S pixels, and the class.

    Raises:
        UnreadableImage: The bytes give no picture.
        UsageError: HS-EVAL-031, no such class.
        ModelError: HS-EVAL-030, a network without stages.
    """
    from headstart.model.heat_maps import heat_maps, overlaid

    if of is not None and of not in model.classes:
        raise UsageError(
            "HS-EVAL-031",
            f"The model has no class '{of}'.{nearest(of, model.classes)}",
            fix=f"It knows: {', '.join(model.classes)}.",
        )
    with giants_one_by_one(content):
        image, _ = read(Source("", content), model.preprocess)
        view = model.preprocess.evaluation_crop(model.preprocess.resized(image))
    normalised = model.preprocess.normalize(view)[None]
    asked = int(model.probabilities(normalised)[0].argmax()) if of is None else model.classes.index(of)
    heat = heat_maps(model.network, normalised, [asked])[0]
    file = io.BytesIO()
    Image.fromarray(overlaid(view, heat)).save(file, format="PNG")
    return file.getvalue(), model.classes[asked]
