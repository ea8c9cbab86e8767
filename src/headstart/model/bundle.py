"""A trained model as two files that hold all there is to know: ``model.safetensors`` and ``model.json``.

No pickle: tensors are stored as safetensors, everything else as JSON. Loading needs no network.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
import re
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from headstart.errors import ModelError
from headstart.model.classifier import Classifier
from headstart.model.source import SourceModel
from headstart.storage import atomic_path, write_atomic

FORMAT_VERSION = 1
WEIGHTS = "model.safetensors"
CARD = "model.json"
_PACKAGES = ("headstart", "torch", "torchvision", "timm", "numpy", "pillow")

Card = dict[str, Any]

MIGRATIONS: dict[int, Callable[[Card], Card]] = {}
"""Format version -> a function that turns a card of that version into one of the next."""


def save_bundle(folder: Path, model: Classifier, card: Card) -> None:
    """Writes a model, weights first, so that an interrupted call is noticed by its hash.

    Args:
        folder: Made if absent.
        model: With ``classes``; stored in float32.
        card: What else belongs to the model: ``preprocess`` (a dict), ``temperature``, ``fingerprint``
            of the data, ... JSON-able. Format version, classes, backbone, licence, notice, versions and
            hash are filled in here.

    Raises:
        RunError: The folder cannot be written (HS-RUN-001 to 003).
        ValueError: A model without class names, or a card that is not JSON-able.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    if len(model.classes) != model.head.out_features:
        raise ValueError(f"{model.head.out_features} outputs, but {len(model.classes)} class names")
    folder = Path(folder)
    tensors = {
        name: (tensor.float() if tensor.is_floating_point() else tensor).detach().cpu().contiguous().clone()
        for name, tensor in model.state_dict().items()
    }
    source = model.source
    with atomic_path(folder / WEIGHTS) as temporary:
        try:
            save_file(tensors, temporary, metadata={"format": "pt"})
        except SafetensorError as error:  # it wraps the system's errors: "... (os error 28)"
            number = re.search(r"\(os error (\d+)\)", str(error))
            raise OSError(int(number[1]) if number else 0, str(error)) from error
        digest = _sha256(temporary)
        size = temporary.stat().st_size
    whole = {
        "temperature": 1.0,
        **card,
        "format_version": FORMAT_VERSION,
        "classes": list(model.classes),
        "library": source.library,
        "architecture": source.architecture,
        "licence": source.licence,
        "notice": source.notice,
        "backbone": {**asdict(source), "img_size": model.img_size},
        "versions": {**_versions(), **card.get("versions", {})},
        "weights": {"file": WEIGHTS, "sha256": digest, "bytes": size},
    }
    text = json.dumps(whole, ensure_ascii=False, indent=2, allow_nan=False)
    write_atomic(folder / CARD, text + "\n")


def read_card(folder: Path) -> Card:
    """The card of a bundle, brought to the present format; needs no weights.

    Raises:
        ModelError: HS-MODEL-011 (no bundle here, or its card is no JSON), HS-MODEL-013 (made by a later
            version).
    """
    path = Path(folder) / CARD
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        version = int(card["format_version"])
    except FileNotFoundError as error:
        raise ModelError(
            "HS-MODEL-011",
            "There is no model here.",
            where=path,
            fix="Give the folder of a run that has ended, or its model/ folder.",
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            "HS-MODEL-011", f"The card of the model cannot be read: {error}.", where=path
        ) from error
    if version > FORMAT_VERSION:
        raise ModelError(
            "HS-MODEL-013",
            f"The model has format {version}; this version of headstart reads up to {FORMAT_VERSION}.",
            where=path,
            fix="pip install --upgrade headstart",
        )
    while version < FORMAT_VERSION:
        if version not in MIGRATIONS:
            raise ModelError("HS-MODEL-011", f"The model has an unknown format, {version}.", where=path)
        card = MIGRATIONS[version](card)
        version += 1
    return dict(card)


def load_bundle(folder: Path) -> tuple[Classifier, Card]:
    """The model of a bundle: evaluation mode, float32, on the CPU; and its card.

    Raises:
        ModelError: HS-MODEL-011 (a file is missing or unreadable), HS-MODEL-012 (the weights are not those
            that were saved), HS-MODEL-013 (made by a later version), HS-MODEL-014 (the installed libraries
            build another network).
    """
    from safetensors.torch import load_file
    from torch import nn

    from headstart.model.adapters import detach_head
    from headstart.model.networks import build

    folder = Path(folder)
    card = read_card(folder)
    path = folder / WEIGHTS
    try:
        digest = _sha256(path)
    except OSError as error:
        raise ModelError(
            "HS-MODEL-011",
            "The weights of the model are missing or cannot be read.",
            where=path,
            fix="Copy the whole model/ folder.",
        ) from error
    try:
        expected, backbone_card, classes = card["weights"]["sha256"], card["backbone"], tuple(card["classes"])
        source, img_size = SourceModel.from_dict(backbone_card), int(backbone_card["img_size"])
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            "HS-MODEL-011", f"The card of the model lacks an entry: {error}.", where=folder / CARD
        ) from error
    if digest != expected:
        raise ModelError(
            "HS-MODEL-012",
            "The weights are not those that were saved: the file is damaged or was exchanged.",
            where=path,
            details=[f"expected SHA-256 {expected}", f"found {digest}"],
            fix="Copy the model/ folder again from where it was made.",
        )
    tensors = load_file(path)
    backbone, head, _ = detach_head(build(source, img_size), source)
    model = Classifier(
        backbone,
        nn.Linear(head.in_features, len(classes)),
        source=source,
        img_size=img_size,
        classes=classes,
    )
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise ModelError(
            "HS-MODEL-014",
            f"The installed {source.library} builds {source.architecture} differently from the one that "
            "the model was made with.",
            where=path,
            details=str(error).splitlines()[1:],
            fix=f"Install {source.library} {card.get('versions', {}).get(source.library, '')}.",
        ) from error
    return model.eval(), card


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
