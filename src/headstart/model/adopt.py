"""A weights file of the user's own: names translated, then loaded strictly, the head's width excepted."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from headstart.console import say
from headstart.errors import ModelError
from headstart.model import bundled
from headstart.model.classifier import Classifier
from headstart.model.weights import read_tensors

# torch fills in a missing counter itself; files of old versions have none.
_OPTIONAL = ".num_batches_tracked"


def adopt_weights(model: Classifier, head_path: str, path: Path) -> None:
    """Loads a file into a source model, in place.

    Every tensor of the backbone must be there, with its shape, and nothing else. An output layer of
    another width replaces that of the model; a file without one leaves the model without a source head.
    Both are said.

    Args:
        model: Network of the architecture that the file was made with.
        head_path: The library's name of the output layer, ``fc``.
        path: safetensors or torch file with the names of timm, torchvision or headstart.

    Raises:
        ModelError: HS-MODEL-004, HS-MODEL-006 (unreadable), HS-MODEL-005 (another architecture; every
            difference is listed).
    """
    path = Path(path)
    state = _own_names(read_tensors(path), head_path, model.source.architecture)
    head = {name: state.pop(name) for name in ("head.weight", "head.bias") if name in state}
    expected = {f"backbone.{name}": tensor for name, tensor in model.backbone.state_dict().items()}
    faults = _differences(expected, state)
    weight = head.get("head.weight")
    if weight is not None and (weight.ndim != 2 or weight.shape[1] != model.num_features):
        faults.append(f"output layer: shape {_shape(weight)}, not (classes, {model.num_features})")
    if faults:
        raise ModelError(
            "HS-MODEL-005",
            f"The weights do not fit {model.source.architecture}: {len(faults)} tensors differ.",
            where=path,
            details=faults,
            fix="Give the architecture that the file was made with as --model.",
        )

    model.backbone.load_state_dict(
        {name.removeprefix("backbone."): tensor for name, tensor in state.items()}, strict=False
    )
    before = model.source.source_classes
    classes = 0 if weight is None else len(weight)
    if weight is None:
        say(f"{path.name} has no output layer; --head-from cannot be used with it")
    else:
        if classes != model.head.out_features:
            say(f"{path.name}: its output layer has {classes} classes instead of {before}; taken as it is")
        model.head = nn.Linear(model.num_features, classes, bias="head.bias" in head)
        model.head.load_state_dict({name.removeprefix("head."): tensor for name, tensor in head.items()})
    model.source = dataclasses.replace(
        model.source,
        source_classes=classes,
        origin=f"file {path.name}",
        licence="unknown (file of the user)",
        notice="",
    )


def _own_names(state: Mapping[str, Tensor], head_path: str, architecture: str) -> dict[str, Tensor]:
    """Names as in ``Classifier.state_dict()``."""
    if any(name.startswith("backbone.") for name in state):
        return dict(state)
    if "_conv_stem.weight" in state:
        depths = {package.architecture: package.stage_depths for package in bundled.PACKAGES.values()}
        architecture = architecture.partition(".")[0]
        if architecture in depths:
            with contextlib.suppress(KeyError):  # another family after all: the differences are listed
                state = {bundled.timm_name(name, depths[architecture]): t for name, t in state.items()}

    def own(name: str) -> str:
        if head_path and name.startswith(f"{head_path}."):
            return f"head.{name.removeprefix(f'{head_path}.')}"
        return f"backbone.{name}"

    return {own(name): tensor for name, tensor in state.items()}


def _differences(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> list[str]:
    def short(name: str) -> str:
        return name.removeprefix("backbone.")

    missing = [
        f"{short(name)}: missing" for name in expected if name not in found and not name.endswith(_OPTIONAL)
    ]
    unexpected = [f"{short(name)}: unexpected" for name in found if name not in expected]
    shapes = [
        f"{short(name)}: shape {_shape(found[name])}, not {_shape(tensor)}"
        for name, tensor in expected.items()
        if name in found and found[name].shape != tensor.shape
    ]
    return shapes + missing + unexpected


def _shape(tensor: Tensor) -> str:
    return str(tuple(tensor.shape))
