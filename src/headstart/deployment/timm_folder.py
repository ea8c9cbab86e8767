"""A model as timm and Hugging Face's transformers load it: a folder of weights, ``config.json`` and a card.

    timm.create_model("local-dir:FOLDER", pretrained=True)
    transformers.AutoModelForImageClassification.from_pretrained("FOLDER")

The temperature is divided into the output layer, so that the softmax of these gives the probabilities of
`headstart predict`. What only headstart knows (unknown pictures, thresholds, sets) stays behind.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable
from html import escape
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from headstart.data.preprocess import Preprocess
from headstart.deployment.decision import Decision
from headstart.errors import ModelError
from headstart.evaluation.report import markdown
from headstart.model.adapters import head_path
from headstart.model.answers import softmax
from headstart.model.card import Card
from headstart.model.classifier import Classifier
from headstart.model.forward import BATCH_SIZE, logits_of
from headstart.model.tensors import saved_tensors
from headstart.storage import write_atomic

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
CARD = "README.md"
CLOSE = 1e-4  # of a probability
CROPS = {"crop": "center", "squash": "squash", "pad": "border"}


def in_timm(model: Classifier) -> tuple[str, dict[str, Any], str]:
    """The name that timm has for a network, what it is built with, and the name of its output layer.

    A network of torchvision is possible where timm has one of the same name with the same tensors, which then
    computes the same: the ResNets, Wide ResNets and some others.

    Raises:
        ModelError: HS-EXPORT-007, timm has no such network.
    """
    import timm

    source = model.source
    name = source.architecture.split(".")[0]
    options: dict[str, Any] = {}
    if source.library == "timm" and source.fixed_input_size and model.img_size != source.input_size:
        options["img_size"] = model.img_size
    if not timm.is_model(name):
        raise foreign(model, f"timm has no network of the name '{name}'")
    try:
        network = timm.create_model(name, pretrained=False, num_classes=len(model.classes), **options).eval()
        path = head_path(network, dataclasses.replace(source, library="timm"))
        network.load_state_dict(renamed(model, path))
    except (RuntimeError, ModelError) as error:
        raise foreign(model, "timm's network of this name has other tensors") from error
    return name, options, path


def renamed(model: Classifier, head: str) -> dict[str, Tensor]:
    """The tensors of a model under the names of the whole network.

    Args:
        head: The library's name of the output layer.
    """
    tensors = model.state_dict()
    own = {name: tensor for name, tensor in tensors.items() if name.startswith("head.")}
    rest = {name.removeprefix("backbone."): tensor for name, tensor in tensors.items() if name not in own}
    return rest | {name.replace("head.", f"{head}.", 1): tensor for name, tensor in own.items()}


def foreign(model: Classifier, reason: str) -> ModelError:
    """The refusal of a network that timm does not have."""
    return ModelError(
        "HS-EXPORT-007",
        f"{model.source.name} cannot be loaded by timm: {reason}.",
        fix="Export to ONNX instead: headstart export RUN. All of timm's networks are possible, and "
        "torchvision's ResNets.",
    )


def compared(
    model: Classifier, network: nn.Module, pictures: Iterable[NDArray[np.float32]], temperature: float
) -> float:
    """The largest difference of a probability between a model and what timm has loaded.

    Args:
        model: Of the bundle.
        network: Of timm, which has the temperature in it.
        pictures: Float32 [3, S, S].
        temperature: Of the bundle.
    """
    worst = 0.0
    left = iter(pictures)
    while some := list(islice(left, BATCH_SIZE)):
        batch = np.stack(some)
        expected = softmax(logits_of(model, batch), temperature)
        worst = max(worst, float(np.abs(softmax(logits_of(network, batch)) - expected).max()))
    return worst


def config_of(name: str, options: dict[str, Any], model: Classifier, card: Card) -> dict[str, Any]:
    """``config.json``: what timm builds, the names of the classes, how pictures are read."""
    preprocess = Preprocess.from_dict(card["preprocess"])
    side = preprocess.img_size
    return {
        "architecture": name,
        "num_classes": len(model.classes),
        "num_features": model.num_features,
        "label_names": list(model.classes),
        **({"model_args": options} if options else {}),
        "pretrained_cfg": {
            "tag": "headstart",
            "custom_load": False,
            "input_size": [3, side, side],
            "fixed_input_size": model.source.fixed_input_size,
            "interpolation": preprocess.interpolation,
            "crop_pct": crop_share(preprocess),
            "crop_mode": CROPS[preprocess.fit],
            "mean": list(preprocess.mean),
            "std": list(preprocess.std),
            "num_classes": len(model.classes),
            "license": model.source.licence,
        },
        "headstart": {
            key: card.get(key) for key in ("fingerprint", "versions", "strategy", "recipe", "temperature")
        },
    }


def crop_share(preprocess: Preprocess) -> float:
    """``crop_pct`` of timm, which makes the resize of it: ``floor(img_size / crop_pct)``."""
    if preprocess.fit == "pad":
        return 1.0
    share = preprocess.img_size / preprocess.resize
    if math.floor(preprocess.img_size / share) != preprocess.resize:
        share = preprocess.img_size / (preprocess.resize + 0.5)
    return share


def limits_of(card: Card) -> list[str]:
    """What the folder cannot say of how pictures are read, and answers given, in words."""
    preprocess = Preprocess.from_dict(card["preprocess"])
    found = []
    if Decision.from_card(card).line():
        found.append("answers follow a rule of `headstart threshold`, not always the most probable class")
    if preprocess.crop is not None:
        found.append(f"pictures must be cropped to {list(preprocess.crop)} (left, top, width, height) first")
    if preprocess.intensity is not None:
        black, white = preprocess.intensity.black, preprocess.intensity.white
        found.append(
            f"pictures of more than 8 bits must be scaled so that {black:g} is black, {white:g} white"
        )
    return found


def write_folder(folder: Path, model: Classifier, card: Card, report: str) -> str:
    """Writes weights, ``config.json`` and ``README.md``; gives timm's name of the network.

    Args:
        folder: Is there, and empty.
        model: Of the bundle.
        card: Of the bundle.
        report: The model card of the run; empty if there is none.

    Raises:
        ModelError: HS-EXPORT-007.
        RunError: HS-RUN-001 to -003.
    """
    name, options, head = in_timm(model)
    temperature = float(card.get("temperature", 1.0))
    tensors = {
        key: tensor / temperature if key in (f"{head}.weight", f"{head}.bias") else tensor
        for key, tensor in renamed(model, head).items()
    }
    with saved_tensors(folder / WEIGHTS, tensors, {"format": "pt"}):
        pass
    config = config_of(name, options, model, card)
    write_atomic(folder / CONFIG, json.dumps(config, ensure_ascii=False, indent=2) + "\n")
    write_atomic(folder / CARD, readme(model, card, report))
    return name


def readme(model: Classifier, card: Card, report: str) -> str:
    """The model card of the folder: the report's, with how to load it and the terms of the weights."""
    head = "---\nlibrary_name: timm\npipeline_tag: image-classification\ntags:\n- image-classification\n"
    head += f"- transfer-learning\nlicense: {licence_of(card)}\n---\n"
    body = report.split("---\n", 2)[2] if report.startswith("---\n") and report.count("---\n") > 1 else report
    limits = [f"- {line}" for line in limits_of(card)]
    notice = str(card.get("notice") or "")
    names = ", ".join(escape(markdown(name), quote=False) for name in model.classes)
    return "\n".join(
        (
            head,
            "## How to load it",
            "",
            "```python",
            "import timm",
            'model = timm.create_model("local-dir:FOLDER", pretrained=True).eval()',
            "",
            "from transformers import AutoImageProcessor, AutoModelForImageClassification",
            'model = AutoModelForImageClassification.from_pretrained("FOLDER")',
            'processor = AutoImageProcessor.from_pretrained("FOLDER")',
            "```",
            "",
            f"Classes, in the order of the outputs: {names}.",
            *(["", "What it cannot say:", *limits] if limits else []),
            *(["", body.strip()] if body.strip() else []),
            "",
            "## Terms of the source weights",
            "",
            f"{model.source.name}: {card.get('licence') or 'not known'}",
            *(["", "```text", notice.strip(), "```"] if notice.strip() else []),
            "",
        )
    )


def licence_of(card: Card) -> str:
    """The identifier that the front matter takes: one word, or ``other``."""
    licence = str(card.get("licence") or "other").strip().lower()
    return licence if licence.replace("-", "").replace(".", "").isalnum() else "other"
