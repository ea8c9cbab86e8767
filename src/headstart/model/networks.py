"""Builds the networks of timm and torchvision, with random weights, or with those of a file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from headstart.errors import ModelError
from headstart.model import bundled
from headstart.model.source import SourceModel
from headstart.model.weights import damaged, read_tensors


def build(source: SourceModel, img_size: int | None = None, weights: Path | None = None) -> nn.Module:
    """The network as its library builds it, source head included, in evaluation mode.

    Args:
        source: Which network.
        img_size: Side of the square input, pixels; the weights' own by default.
        weights: File as the library publishes it; random weights without.

    Raises:
        ModelError: HS-MODEL-010 (impossible input size), HS-MODEL-004 (damaged file), HS-MODEL-014
            (the installed library has no such network).
    """
    size = img_size or source.input_size
    network = (
        _timm(source, size, weights) if source.library == "timm" else _torchvision(source, size, weights)
    )
    return network.eval()


def to_load(source: SourceModel, img_size: int | None = None) -> nn.Module:
    """The network whose weights are loaded next: as `build`, without importing timm for a bundled one."""
    package = bundled.package_of(source)
    if package is None:
        return build(source, img_size)
    from headstart.model.efficientnet_lite import EfficientNetLite

    return EfficientNetLite(package.stage_depths, package.stage_widths).eval()


def parameter_count(source: SourceModel) -> int:
    """Number of parameters, head included, without allocating them where the library allows that."""
    if source.parameters is not None:
        return source.parameters
    return sum(parameter.numel() for parameter in skeleton(source).parameters())


def skeleton(source: SourceModel) -> nn.Module:
    """The network without memory behind its tensors, or with, where the library needs it to build."""
    try:
        with torch.device("meta"):
            return build(source)
    except (RuntimeError, NotImplementedError):
        return build(source)


def _timm(source: SourceModel, size: int, weights: Path | None) -> nn.Module:
    import timm

    options: dict[str, Any] = {}
    if source.fixed_input_size and size != source.input_size:
        options["img_size"] = size
    if weights is not None:
        # The file decides: timm's own loader converts it, strictly, and unpickles tensors only.
        # A hub's copy of a foreign format is already converted.
        foreign = weights.suffix == ".npz"
        options["pretrained_cfg_overlay"] = {"file": str(weights), "custom_load": foreign}
    try:
        network: nn.Module = timm.create_model(source.architecture, pretrained=weights is not None, **options)
    except Exception as error:
        if options.get("img_size") and isinstance(error, AssertionError | TypeError | ValueError):
            raise _impossible_size(source, size, error) from error
        if weights is not None:
            raise damaged(weights, error) from error
        if "nknown model" in str(error) or "nvalid pretrained tag" in str(error):
            raise ModelError(
                "HS-MODEL-014",
                f"timm {timm.__version__} has no network '{source.architecture}'.",
                fix="Install the version of timm that the model was made with.",
            ) from error
        raise
    return network


def _torchvision(source: SourceModel, size: int, weights: Path | None) -> nn.Module:
    from torchvision.models import get_model

    options: dict[str, Any] = {}
    resized = source.fixed_input_size and size != source.input_size
    if resized:
        if not source.architecture.startswith("vit_"):
            raise _impossible_size(source, size)
        options["image_size"] = size
    if source.architecture.startswith(("googlenet", "inception")):
        options["init_weights"] = False  # refused later; the default would take seconds
    try:
        network: nn.Module = get_model(source.architecture, weights=None, **options)
    except (AssertionError, RuntimeError) as error:
        if resized:
            raise _impossible_size(source, size, error) from error
        raise
    if weights is not None:
        state = _current_names(read_tensors(weights))
        if resized:
            from torchvision.models.vision_transformer import interpolate_embeddings

            state = dict(interpolate_embeddings(size, network.patch_size, state))  # type: ignore[arg-type]
        try:
            network.load_state_dict(state)
        except RuntimeError as error:
            raise damaged(weights, error) from error
    return network


def _current_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """torchvision's DenseNet files keep names (``norm.1``) that modules may not have any more."""
    old = re.compile(r"(.*denselayer\d+\.(?:norm|conv))\.([12]\.(?:weight|bias|running_mean|running_var))")
    return {old.sub(r"\1\2", name): tensor for name, tensor in state.items()}


def _impossible_size(source: SourceModel, size: int, error: Exception | None = None) -> ModelError:
    reason = f" ({error})" if error and str(error) else ""
    return ModelError(
        "HS-MODEL-010",
        f"{source.name} cannot be built for pictures of {size} x {size} pixels{reason}.",
        fix=f"Use --img-size {source.input_size}, or a convolutional network, which takes any size.",
    )
