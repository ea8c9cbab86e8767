"""Source models: bundled, timm's, torchvision's, by name.

``efficientnet-lite0`` (the default), ``-lite1`` and ``-lite2`` come as Python packages. Any name of timm
works, with or without a tag (``resnet18``, ``resnet18.a1_in1k``), and any image classifier of torchvision
(``torchvision/resnet18``, ``torchvision/resnet50.IMAGENET1K_V1``). Nothing is downloaded but the weights
of a model that `create` is asked for and that no cache holds.
"""

from __future__ import annotations

import difflib
import fnmatch
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from headstart.errors import ModelError
from headstart.model import bundled, packed
from headstart.model.source import SourceModel

if TYPE_CHECKING:
    from torch import nn

    from headstart.data.preprocess import Preprocess
    from headstart.model.classifier import Classifier
    from headstart.model.weights import Published

SMALLEST_IMAGE = 16  # pixels; below, the networks shrink the picture to nothing
_TORCHVISION = "torchvision/"
_HUB_FILES = ("model.safetensors", "pytorch_model.bin")
_REFUSED_TORCHVISION = ("googlenet", "inception_v3", "squeezenet")


def spec(name: str, img_size: int | None = None) -> SourceModel:
    """What is known about a model, without building it. Imports torch only for models that are not bundled.

    Args:
        name: See the top of this module.
        img_size: Checked, if given: side of the square input, pixels.

    Raises:
        ModelError: HS-MODEL-001 (no such model), HS-MODEL-010 (impossible input size).
    """
    if img_size is not None and img_size < SMALLEST_IMAGE:
        raise ModelError(
            "HS-MODEL-010",
            f"Pictures of {img_size} x {img_size} pixels are too small for a network.",
            fix=f"Use --img-size {SMALLEST_IMAGE} or more.",
        )
    if name in bundled.PACKAGES:
        return bundled.spec(name)
    if name.startswith(_TORCHVISION):
        return _torchvision_spec(name)
    return _timm_spec(name)


def is_model(name: str) -> bool:
    """Whether ``name`` is the whole name of a model."""
    try:
        spec(name)
    except ModelError as error:
        return error.code != "HS-MODEL-001"
    return True


def preprocess(
    name: str, img_size: int | None = None, fit: Literal["crop", "squash", "pad"] = "crop"
) -> Preprocess:
    """How pictures become the input of a model, as its weights want it.

    Args:
        name: As for `spec`.
        img_size: Side of the square input, pixels; the weights' own by default. The share of the picture
            that the centre crop keeps stays that of the weights.
        fit: How a picture that is not square becomes square.

    Raises:
        ModelError: as `spec`.
    """
    from headstart.data.preprocess import Preprocess

    source = spec(name, img_size)
    size = img_size or source.input_size
    return Preprocess(
        img_size=size,
        resize=source.resize_for(size),
        interpolation=source.interpolation,
        mean=source.mean,
        std=source.std,
        fit=fit,
    )


def create(
    name: str, *, weights: Path | None = None, pretrained: bool = True, img_size: int | None = None
) -> Classifier:
    """A source model with its pretrained head, in evaluation mode, float32, on the CPU.

    Args:
        name: As for `spec`.
        weights: A file of the user's own instead of the published weights.
        pretrained: False for random weights.
        img_size: Side of the square input, pixels; matters to networks with position embeddings.

    Raises:
        ModelError: as `spec`; HS-MODEL-002 (cannot be adapted), 003 (weights neither here nor reachable),
            004 (damaged), 005 and 006 (a file that does not fit or cannot be read), 007 (package missing),
            015 (no weights published).
    """
    source = spec(name, img_size)
    if name not in bundled.PACKAGES:
        _refuse_early(source)

    from headstart.model.adapters import detach_head
    from headstart.model.adopt import adopt_weights
    from headstart.model.classifier import Classifier
    from headstart.model.networks import build

    if pretrained and weights is None:
        network = published_network(source, img_size)
    else:
        network = build(source, img_size)
    backbone, head, path = detach_head(network, source)
    model = Classifier(backbone, head, source=source, img_size=img_size or source.input_size)
    if weights is not None:
        adopt_weights(model, path, weights)
    return model.eval()


def published_network(source: SourceModel, img_size: int | None = None) -> nn.Module:
    """The network as its library builds it, with its published weights, source head included.

    Raises:
        ModelError: HS-MODEL-003, 004, 007, 010, 015, as `create`; HS-MODEL-021, an added file is damaged.
    """
    from headstart.model.networks import build, to_load

    if source.name not in bundled.PACKAGES:
        return build(source, img_size, _published_file(source))
    network, added = to_load(source, img_size), packed.added(source.name)
    if added is not None and bundled.PACKAGES[source.name].path() is None:
        network.load_state_dict(packed.read_packed(added))
    else:
        network.load_state_dict(bundled.state_dict(source.name))
    return network


def _published_file(source: SourceModel) -> Path:
    from headstart.model.networks import parameter_count
    from headstart.model.weights import find_cached, intact, obtain

    published = where_published(source)
    path = find_cached(published)
    if path is not None and intact(path):
        return path
    if (file := packed.added(source.name)) is not None:
        packed.read_packed(file)  # refuses a damaged one
        return file
    return obtain(published, source.name, parameter_count(source) if published else 0)


def _refuse_early(source: SourceModel) -> None:
    """Refuses before a download what the network without weights shows to be impossible."""
    from headstart.model.adapters import head_path, without_head
    from headstart.model.networks import skeleton

    network = skeleton(source)
    if not without_head(network):
        head_path(network, source)


def where_published(source: SourceModel) -> Published:
    """Where the weights of a model that is not bundled can be had."""
    from headstart.model.weights import Published

    if source.library == "torchvision":
        entry = _torchvision_weights(source.architecture, source.name)
        return Published(url=entry.url if entry else "")
    from timm.models import get_pretrained_cfg

    cfg = get_pretrained_cfg(source.architecture)
    named = cfg.hf_hub_filename
    files = _HUB_FILES if not named else tuple(dict.fromkeys((_safe_twin(named), named)))
    return Published(hub_id=cfg.hf_hub_id or "", hub_files=files, url=cfg.url or "")


def _safe_twin(file: str) -> str:
    """The name that repositories give to the safetensors copy of a torch file."""
    if file == "open_clip_pytorch_model.bin":
        return "open_clip_model.safetensors"
    return file.removesuffix(".bin") + ".safetensors" if file.endswith(".bin") else file


def _timm_spec(name: str) -> SourceModel:
    from timm.models import get_pretrained_cfg, is_model

    plain = name.removeprefix("timm/")
    architecture = plain.partition(".")[0]
    cfg = get_pretrained_cfg(plain, allow_unregistered=False) if _registered(plain) else None
    if not is_model(architecture) or ("." in plain and cfg is None):
        raise _unknown(name)
    if cfg is None:
        raise ModelError("HS-MODEL-002", f"{name} cannot be fine-tuned: timm does not say what it expects.")
    tagged = f"{architecture}.{cfg.tag}" if cfg.tag else architecture
    size, crop = int(cfg.input_size[-1]), float(cfg.crop_pct or 0.875)
    licence = cfg.license or "unknown"
    origin = f"{cfg.hf_hub_id} on the model hub" if cfg.hf_hub_id else cfg.url or "no published weights"
    return SourceModel(
        name=tagged,
        architecture=tagged,
        library="timm",
        input_size=size,
        resize=math.floor(size / crop),
        crop_pct=crop,
        mean=_three(cfg.mean),
        std=_three(cfg.std),
        interpolation="bilinear" if cfg.interpolation == "bilinear" else "bicubic",
        licence=licence,
        notice=f"Weights {tagged}, published by {cfg.hf_hub_id or cfg.url or 'timm'}, licence {licence}.",
        origin=origin,
        source_classes=int(cfg.num_classes or 0),
        fixed_input_size=bool(cfg.fixed_input_size),
    )


def _registered(name: str) -> bool:
    from timm.models import is_model, list_models

    architecture, _, tag = name.partition(".")
    if not is_model(architecture):
        return False
    return not tag or name in list_models(f"{architecture}.*", pretrained=True)


def _three(values: tuple[float, ...]) -> tuple[float, float, float]:
    return (float(values[0]), float(values[1]), float(values[2]))


def _torchvision_spec(name: str) -> SourceModel:
    from torchvision import models

    architecture = name.removeprefix(_TORCHVISION).partition(".")[0]
    if architecture not in models.list_models(models):
        raise _unknown(name)
    weights = _torchvision_weights(architecture, name)
    view = weights.transforms()
    size, resize = int(view.crop_size[0]), int(view.resize_size[0])
    licence = "cc-by-nc-4.0" if "SWAG" in weights.name else "bsd-3-clause"
    return SourceModel(
        name=name,
        architecture=architecture,
        library="torchvision",
        parameters=int(weights.meta["num_params"]),
        input_size=size,
        resize=resize,
        crop_pct=size / resize,
        mean=_three(view.mean),
        std=_three(view.std),
        interpolation="bilinear" if view.interpolation.value == "bilinear" else "bicubic",
        licence=licence,
        notice=f"Weights {weights} of torchvision, licence {licence}.",
        origin=f"{weights.url} (torchvision {weights.name})",
        source_classes=len(weights.meta["categories"]),
        fixed_input_size=architecture.startswith(("vit_", "maxvit")),
    )


def _torchvision_weights(architecture: str, name: str) -> Any:
    """torchvision's entry for a model: the one named after the dot, else its default."""
    from torchvision import models

    entries = models.get_model_weights(architecture)
    tag = name.removeprefix(_TORCHVISION).partition(".")[2]
    if not tag:
        return entries.DEFAULT
    if tag not in entries.__members__:
        raise ModelError(
            "HS-MODEL-001",
            f"torchvision has no weights '{tag}' for {architecture}.",
            fix=f"Choose one of {', '.join(entries.__members__)}.",
        )
    return entries[tag]


def _unknown(name: str) -> ModelError:
    close = _nearest_names(name)
    return ModelError(
        "HS-MODEL-001",
        f"There is no model called '{name}'.",
        fix=(f"Did you mean {', '.join(close)}? " if close else "")
        + "`headstart models PATTERN` lists the names that hold a pattern.",
    )


def _nearest_names(name: str) -> list[str]:
    import timm
    from torchvision import models

    names = [*bundled.PACKAGES, *timm.list_models()]
    names += [_TORCHVISION + other for other in models.list_models(models)]
    if "." in name:
        names += timm.list_models(f"{name.partition('.')[0]}.*", pretrained=True)
    return difflib.get_close_matches(name, names, n=3, cutoff=0.6)


@dataclass(frozen=True)
class Listed:
    """One line of ``headstart models``."""

    name: str
    library: str
    """``bundled``, ``timm`` or ``torchvision``."""
    input_size: int
    """Pixels."""
    licence: str
    available: bool
    """Whether the weights are on this machine now."""


def list_models(pattern: str = "") -> list[Listed]:
    """All models with published weights, bundled ones first, then by name.

    Args:
        pattern: Part of a name, or a pattern with ``*`` and ``?``; upper and lower case are the same.
    """
    wanted = pattern.lower() if any(sign in pattern for sign in "*?") else f"*{pattern.lower()}*"
    entries = [*_bundled_list(), *_timm_list(), *_torchvision_list()]
    return [entry for entry in entries if fnmatch.fnmatchcase(entry.name.lower(), wanted)]


def _bundled_list() -> Iterator[Listed]:
    for name, package in bundled.PACKAGES.items():
        here = package.path() is not None or packed.added(name) is not None
        yield Listed(name, "bundled", package.input_size, "apache-2.0", here)


def _timm_list() -> Iterator[Listed]:
    import timm

    from headstart.model.weights import hub_cache, torch_cache

    repositories = {path.name for path in hub_cache().glob("models--*") if any(path.glob("snapshots/*/*"))}
    files = {path.name for path in torch_cache().glob("*")}
    for name in timm.list_models(pretrained=True):
        cfg = timm.models.get_pretrained_cfg(name)
        if isinstance(cfg.classifier, tuple | list):
            continue  # several heads
        here = f"models--{(cfg.hf_hub_id or '').replace('/', '--')}" in repositories
        here = here or (bool(cfg.url) and str(cfg.url).rpartition("/")[2] in files)
        here = here or packed.added(name) is not None
        yield Listed(name, "timm", int(cfg.input_size[-1]), cfg.license or "unknown", here)


def _torchvision_list() -> Iterator[Listed]:
    from torchvision import models

    from headstart.model.weights import torch_cache

    for name in models.list_models(models):
        if name.startswith(_REFUSED_TORCHVISION):
            continue
        source = _torchvision_spec(_TORCHVISION + name)
        here = (torch_cache() / where_published(source).url_file).is_file()
        here = here or packed.added(source.name) is not None
        yield Listed(source.name, "torchvision", source.input_size, source.licence, here)


def describe(name: str) -> dict[str, Any]:
    """Everything that ``headstart models NAME`` shows; JSON-able.

    Returns:
        name, library, architecture, parameters (number), input_size (pixels), resize (pixels), mean, std,
        interpolation, licence, notice, output_layer (as torch prints it), features (width), stages (names
        for ``--freeze``), origin, available (bool), file (path or "").

    Raises:
        ModelError: HS-MODEL-001, HS-MODEL-002.
    """
    source = spec(name)

    from headstart.model.networks import build, skeleton
    from headstart.model.weights import find_cached

    package = bundled.PACKAGES.get(name)
    file = package.path() if package else find_cached(where_published(source))
    file = file or packed.added(source.name)
    try:
        network = skeleton(source)
        model = _headless(network, source)
    except (RuntimeError, NotImplementedError):  # a forward pass that needs real numbers
        network = build(source)
        model = _headless(network, source)
    stages = model.stages
    parts = (model.backbone, model.head) if source.source_classes else (model.backbone,)
    return {
        "name": source.name,
        "library": source.library,
        "architecture": source.architecture,
        "parameters": sum(p.numel() for part in parts for p in part.parameters()),
        "input_size": source.input_size,
        "resize": source.resize,
        "mean": list(source.mean),
        "std": list(source.std),
        "interpolation": source.interpolation,
        "licence": source.licence,
        "notice": source.notice,
        "output_layer": repr(model.head) if source.source_classes else "none",
        "features": model.num_features,
        "stages": [stage.name for stage in stages] if stages else [],
        "origin": source.origin,
        "available": file is not None,
        "file": str(file or ""),
    }


def _headless(network: nn.Module, source: SourceModel) -> Classifier:
    from headstart.model.adapters import detach_head
    from headstart.model.classifier import Classifier

    backbone, head, _ = detach_head(network, source)
    return Classifier(backbone, head, source=source, img_size=source.input_size)
