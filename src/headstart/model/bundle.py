"""A trained model as two files that hold all there is to know: ``model.safetensors`` and ``model.json``.

No pickle: tensors are stored as safetensors, everything else as JSON. Loading needs no network.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from headstart.errors import ModelError
from headstart.model.card import (
    CARD,
    FORMAT_VERSION,
    NEXT,
    WEIGHTS,
    Card,
    card_entries,
    card_text,
    class_names,
    read_card,
    sha256,
)
from headstart.model.classifier import Classifier
from headstart.model.source import SourceModel
from headstart.model.tensors import saved_tensors
from headstart.storage import storage_errors, write_atomic
from headstart.versions import versions


def save_bundle(folder: Path, model: Classifier, card: Card) -> None:
    """Writes a model, or puts it in the place of the one that is there.

    The new card is written beside the old one before the weights are exchanged: whenever the process ends,
    the folder holds one whole model, the old or the new one.

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
    if len(model.classes) != model.head.out_features:
        raise ValueError(f"{model.head.out_features} outputs, but {len(model.classes)} class names")
    folder = Path(folder)
    tensors = {
        name: tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in model.state_dict().items()
    }
    source = model.source
    with saved_tensors(folder / WEIGHTS, tensors, {"format": "pt"}) as temporary:
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
            "versions": {**versions(), **card.get("versions", {})},
            "weights": {
                "file": WEIGHTS,
                "sha256": sha256(temporary),
                "bytes": temporary.stat().st_size,
            },
        }
        write_atomic(folder / NEXT, card_text(whole))
    with storage_errors(folder / CARD):
        (folder / NEXT).replace(folder / CARD)


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
    from headstart.model.networks import to_load

    folder = Path(folder)
    card = read_card(folder)
    path = folder / WEIGHTS
    try:
        digest = sha256(path)
    except OSError as error:
        raise ModelError(
            "HS-MODEL-011",
            "The weights of the model are missing or cannot be read.",
            where=path,
            fix="Copy the whole model/ folder.",
        ) from error
    with card_entries(folder):
        expected, backbone_card, classes = card["weights"]["sha256"], card["backbone"], class_names(card)
        source, img_size = SourceModel.from_dict(backbone_card), int(backbone_card["img_size"])
    if digest != expected:
        raise ModelError(
            "HS-MODEL-012",
            "The weights are not those that were saved: the file is damaged or was exchanged.",
            where=path,
            details=[f"expected SHA-256 {expected}", f"found {digest}"],
            fix="Copy the model/ folder again from where it was made.",
        )
    tensors = load_file(path)
    rows = len(tensors["head.bias"]) if "head.bias" in tensors else len(classes)
    if len(classes) != rows:
        raise ModelError(
            "HS-MODEL-011",
            f"The card of the model cannot be used: its classes are not the {rows} of the weights.",
            where=folder / CARD,
            details=[f"the card has: {', '.join(classes)}"],
            fix="Copy the whole model/ folder again.",
        )
    backbone, head, _ = detach_head(to_load(source, img_size), source)
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
            details=[line.strip() for line in str(error).splitlines()[1:]],
            fix=f"Install {source.library} {card.get('versions', {}).get(source.library, '')}.",
        ) from error
    return model.eval(), card
