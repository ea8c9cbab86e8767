"""Takes the output layer off a network of timm or torchvision; the user never names a layer.

What cannot be written as ``head(backbone(x))`` with a linear head is refused by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

import torch
from torch import nn

from headstart.errors import ModelError
from headstart.model.source import SourceModel
from headstart.model.stages import stages_of

_TORCHVISION_HEADS = ("fc", "classifier", "heads", "head")
_AUXILIARY = ("aux_logits", "aux1", "AuxLogits")


def detach_head(network: nn.Module, source: SourceModel) -> tuple[nn.Module, nn.Linear, str]:
    """Splits a network; the parts keep their tensors.

    Args:
        network: As the library builds it. Changed in place: an identity takes the place of the head.
        source: What is known about it.

    Returns:
        Backbone, head, and the library's name of the head. For a network that is built without an output
        layer (self-supervised weights): the network itself, a linear layer with one output, and ``""``.

    Raises:
        ModelError: HS-MODEL-002, the network cannot be adapted.
    """
    if without_head(network):
        width = getattr(network, "head_hidden_size", None) or getattr(network, "num_features", 0)
        head = nn.Linear(int(width or 0), 1)
        _check(network, head, source)
        return network, head, ""

    path = head_path(network, source)
    layer = network.get_submodule(path)
    assert isinstance(layer, nn.Linear)
    head = layer
    known_family = stages_of(network) is not None
    if not known_family:
        _check_output(network, head, source)
    parent, _, name = path.rpartition(".")
    setattr(network.get_submodule(parent), name, nn.Identity())
    network.get_submodule(path).train(network.training)
    if not known_family:
        _check(network, head, source)
    return network, head, path


def without_head(network: nn.Module) -> bool:
    """Whether the library builds the network without an output layer, as timm does for some weights."""
    return getattr(network, "num_classes", None) == 0


def head_path(network: nn.Module, source: SourceModel) -> str:
    """The library's name of the one linear output layer.

    Raises:
        ModelError: HS-MODEL-002, there are several, there is none, or it is a convolution.
    """
    if isinstance(getattr(network, "head_dist", None), nn.Module):
        _refuse(source, "it has a second, distilled head")
    if any(getattr(network, name, None) for name in _AUXILIARY):
        _refuse(source, "it has auxiliary heads")
    candidates = _timm_head(network) if source.library == "timm" else _torchvision_head(network)
    if len(candidates) != 1:
        _refuse(source, "it has several heads" if candidates else "it has no output layer")
    path = candidates[0]
    module = network.get_submodule(path)
    if isinstance(module, nn.Linear):
        return path
    inner = [name for name, child in module.named_modules() if isinstance(child, nn.Linear)]
    if not inner:
        convolution = any(isinstance(child, nn.Conv2d) for child in module.modules())
        _refuse(source, "its head is a convolution" if convolution else "it has no linear output layer")
    return f"{path}.{inner[-1]}"


def _timm_head(network: nn.Module) -> Sequence[str]:
    named = getattr(network, "pretrained_cfg", {}).get("classifier")
    if named:
        return (named,) if isinstance(named, str) else tuple(named)
    head = network.get_classifier() if hasattr(network, "get_classifier") else None  # type: ignore[operator]
    return [name for name, module in network.named_modules() if module is head and name]


def _torchvision_head(network: nn.Module) -> Sequence[str]:
    return [name for name in _TORCHVISION_HEADS if name in dict(network.named_children())][:1]


def _zeros(network: nn.Module, source: SourceModel) -> torch.Tensor:
    device = next(network.parameters()).device
    return torch.zeros(1, 3, source.input_size, source.input_size, device=device)


def _check_output(network: nn.Module, head: nn.Linear, source: SourceModel) -> None:
    """A network of unknown family must end in its head."""
    seen: list[torch.Tensor] = []
    hook = head.register_forward_hook(lambda module, inputs, output: seen.append(output))
    output = _run(network, source)
    hook.remove()
    same = len(seen) == 1 and isinstance(output, torch.Tensor) and output.shape == seen[0].shape
    if not same or not (output.is_meta or torch.equal(output, seen[0])):
        _refuse(source, "its output is not that of its linear layer")


def _check(network: nn.Module, head: nn.Linear, source: SourceModel) -> None:
    """The headless network must give one vector of the head's width."""
    output = _run(network, source)
    if not isinstance(output, torch.Tensor) or output.shape != (1, head.in_features):
        _refuse(source, "without its head it gives no feature vector")


def _run(network: nn.Module, source: SourceModel) -> torch.Tensor:
    training = network.training
    network.eval()
    with torch.inference_mode():
        output: torch.Tensor = network(_zeros(network, source))
    network.train(training)
    return output


def _refuse(source: SourceModel, reason: str) -> NoReturn:
    raise ModelError(
        "HS-MODEL-002",
        f"{source.name} cannot be fine-tuned by headstart: {reason}.",
        fix="Choose another model: `headstart models` lists them.",
    )
