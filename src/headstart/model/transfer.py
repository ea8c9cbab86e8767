"""From a source model to a target: a new head, what is frozen, and which parameters learn how fast."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from headstart.console import table
from headstart.errors import ModelError, nearest
from headstart.model import zoo
from headstart.model.classifier import Classifier
from headstart.model.imagenet import UnknownClassError, class_index

ParameterGroup = dict[str, Any]


def transfer(
    source: Classifier,
    classes: Sequence[str],
    *,
    head_init: Literal["xavier", "zeros"] = "xavier",
    head_from: Sequence[str] = (),
    seed: int = 0,
) -> Classifier:
    """A copy of a source model with a new head; every other tensor keeps its bytes.

    Args:
        source: Stays as it is.
        classes: Names of the new outputs, in order.
        head_init: Weights of the new head: Xavier uniform, as in the d2l.ai chapter "Fine-Tuning", or
            zeros. The bias is zero.
        head_from: Classes that start from the row of the source head that stands for them:
            ``"hotdog=934"`` (index), ``"sausage=hotdog"`` (ImageNet name), ``"hotdog"`` (the same name).
            Only weights are copied; the bias stays zero.
        seed: Of the head's random numbers; the global generator is not touched.

    Raises:
        ModelError: HS-MODEL-009, entries of ``head_from`` that name no class here or no class of the
            source; all of them are listed.
    """
    rows = _source_rows(source, classes, head_from)
    head = nn.Linear(source.num_features, len(classes))
    with torch.no_grad():
        head.bias.zero_()
        if head_init == "zeros":
            head.weight.zero_()
        else:
            nn.init.xavier_uniform_(head.weight, generator=torch.Generator().manual_seed(seed))
        for target, row in rows.items():
            head.weight[target] = source.head.weight[row]
    reference = source.head.weight
    target_model = Classifier(
        copy.deepcopy(source.backbone),
        head.to(device=reference.device, dtype=reference.dtype),
        source=source.source,
        img_size=source.img_size,
        classes=tuple(classes),
    )
    return target_model.requires_grad_(True).train(source.training)


def _source_rows(source: Classifier, classes: Sequence[str], head_from: Sequence[str]) -> dict[int, int]:
    """Index of a new class -> row of the source head."""
    rows: dict[int, int] = {}
    faults: list[str] = []
    width = source.source.source_classes
    if head_from and not width:
        raise ModelError(
            "HS-MODEL-009",
            f"The weights of {source.source.name} come without an output layer to start from.",
            fix="Leave --head-from out, or choose another model.",
        )
    for entry in head_from:
        name, wanted = _parts(entry, classes)
        if name not in classes:
            faults.append(f"{entry}: the data has no class '{name}'.{nearest(name, classes)}")
            continue
        target = list(classes).index(name)
        if target in rows:
            faults.append(f"{entry}: class '{name}' is given twice")
            continue
        try:
            rows[target] = _row(wanted, width)
        except UnknownClassError as error:
            faults.append(f"{entry}: {error}")
    if faults:
        raise ModelError(
            "HS-MODEL-009",
            "The new head cannot start from these classes of the source model.",
            details=faults,
            fix='Write --head-from "CLASS=INDEX" or "CLASS=IMAGENET NAME".',
        )
    return rows


def _parts(entry: str, classes: Sequence[str]) -> tuple[str, str]:
    """``class=source``; a class of the data may itself hold an equals sign."""
    name, equals, wanted = entry.rpartition("=")
    if entry in classes or not equals:
        return entry, entry
    return name.strip(), wanted.strip()


def _row(wanted: str, width: int) -> int:
    if not wanted.lstrip("-").isdecimal():
        return class_index(wanted, width)
    if not 0 <= int(wanted) < width:
        raise UnknownClassError(f"the source head has the indices 0 to {width - 1}")
    return int(wanted)


def reinitialise(model: Classifier, seed: int) -> None:
    """Gives the whole network random weights, as its library initialises it: training from scratch.

    Args:
        model: Changed in place; the head becomes a fresh `torch.nn.Linear` of its width.
        seed: Of all random numbers; the global generator is left where it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = zoo.create(model.source.name, pretrained=False, img_size=model.img_size)
        head = nn.Linear(model.num_features, model.head.out_features)
    model.backbone.load_state_dict(fresh.backbone.state_dict())
    model.head.load_state_dict(head.state_dict())


def freeze(model: Classifier, cut: str | int) -> None:
    """Freezes everything below a cut and lets everything else train; replaces an earlier freeze.

    Frozen parameters get no gradient, and frozen modules stay in evaluation mode through ``train()``, so
    that the bytes of their parameters and buffers (BatchNorm statistics) never change.

    Args:
        model: Changed in place.
        cut: ``"head"`` freezes the whole backbone. A stage (``"stage6"``, ``6``, or the library's own
            ``"blocks.6"``) is the first that trains; ``"stem"`` freezes nothing.

    Raises:
        ModelError: HS-MODEL-008, no such stage, or a network that can be cut at the head only.
    """
    name = model.cut_name(cut)
    unfreeze(model)
    model.frozen_below = name
    if name == "head":
        model.backbone.requires_grad_(False)
    for stage in model.stages or ():
        if stage.name == name:
            break
        for parameter in stage.all_parameters():
            parameter.requires_grad_(False)
    model.train(model.training)


def unfreeze(model: Classifier) -> None:
    """Lets every parameter train again."""
    model.frozen_below = None
    model.requires_grad_(True)
    model.train(model.training)


def frozen_tensors(model: Classifier) -> Iterator[tuple[str, Tensor]]:
    """Names and tensors, buffers included, that must keep their bytes during training."""
    frozen = {id(tensor) for module in model.frozen_modules() for tensor in _tensors(module)}
    frozen |= {id(parameter) for parameter in model.parameters() if not parameter.requires_grad}
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if id(tensor) in frozen:
            yield name, tensor


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    yield from module.parameters()
    yield from module.buffers()


def parameter_groups(
    model: nn.Module, *, lr_backbone: float, lr_head: float, weight_decay: float, decay_1d: bool = False
) -> list[ParameterGroup]:
    """Parameter groups for an optimiser; each trainable parameter is in exactly one.

    Args:
        model: A `Classifier`, or the part above a cut.
        lr_backbone: Learning rate of everything but the head.
        lr_head: Learning rate of the head.
        weight_decay: Of weights. Biases, norms and other one-dimensional parameters, and those that the
            network itself exempts (position embeddings), have none.
        decay_1d: Decays all parameters alike, as plain SGD does.

    Returns:
        Groups ``backbone``, ``backbone, no decay``, ``head``, ``head, no decay`` (empty ones left out),
        each with ``name``, ``params``, ``lr``, ``weight_decay``.
    """
    head = {id(parameter) for parameter in model.head.parameters()}  # type: ignore[union-attr]
    exempt = _exempt(model)
    groups: dict[str, ParameterGroup] = {}
    for part, lr in (("backbone", lr_backbone), ("head", lr_head)):
        for suffix, decay in (("", weight_decay), (", no decay", 0.0)):
            groups[part + suffix] = {"name": part + suffix, "params": [], "lr": lr, "weight_decay": decay}
    for parameter in model.parameters():
        if parameter.requires_grad:
            part = "head" if id(parameter) in head else "backbone"
            plain = not decay_1d and (parameter.ndim <= 1 or id(parameter) in exempt)
            groups[part + (", no decay" if plain else "")]["params"].append(parameter)
    return [group for group in groups.values() if group["params"]]


def _exempt(model: nn.Module) -> set[int]:
    """Parameters that the library's network asks not to decay (timm's ``no_weight_decay``)."""
    whole = model if isinstance(model, Classifier) else model.__dict__.get("model", model)
    backbone = getattr(whole, "backbone", None)
    if backbone is None or not hasattr(backbone, "no_weight_decay"):
        return set()
    names = set(backbone.no_weight_decay())
    return {
        id(parameter)
        for name, parameter in backbone.named_parameters()
        if name in names or any(name.endswith(f".{exempt}") for exempt in names)
    }


def groups_text(groups: Sequence[ParameterGroup]) -> str:
    """The groups as a table for a person: what trains, how many numbers, at which rates."""
    rows = [(*row[:3], f"{row[3]:g}", f"{row[4]:g}") for row in groups_table(groups)]
    return table(("trains", "tensors", "numbers", "learning rate", "weight decay"), rows)


def groups_table(groups: Sequence[ParameterGroup]) -> list[tuple[str, int, int, float, float]]:
    """One row per group: name, tensors, numbers in them, learning rate, weight decay."""
    return [
        (
            group["name"],
            len(group["params"]),
            sum(parameter.numel() for parameter in group["params"]),
            group["lr"],
            group["weight_decay"],
        )
        for group in groups
    ]
