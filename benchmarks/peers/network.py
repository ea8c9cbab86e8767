"""The network and the pictures of the peers that are written in torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from common import Picture, Pictures
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

ARCHITECTURE = "tf_efficientnet_lite0"
MEAN = STD = (0.5, 0.5, 0.5)  # of these weights, for every peer
WORKERS = 2


class PictureDataset(Dataset[tuple[Tensor, int]]):
    """Pictures of a list, decoded each time they are asked for."""

    def __init__(
        self, rows: Sequence[Picture], classes: Sequence[str], transform: Callable[[Image.Image], Any]
    ) -> None:
        self.rows = rows
        self.labels = [classes.index(row.label) for row in rows]
        self.transform = transform

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        with Image.open(self.rows[index].path) as image:
            return self.transform(image.convert("RGB")), self.labels[index]


def pretrained(weights: Path, outputs: int) -> nn.Module:
    """timm's network with these weights and a new output layer; none for 0 outputs."""
    overlay = {"file": str(weights)}
    network: nn.Module = timm.create_model(
        ARCHITECTURE, pretrained=True, num_classes=outputs, pretrained_cfg_overlay=overlay
    )
    return network


def to_input() -> list[nn.Module]:
    """The end of every chain of transforms."""
    return [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]


def training_view() -> v2.Compose:
    return v2.Compose([v2.RandomResizedCrop(224), v2.RandomHorizontalFlip(), *to_input()])


def evaluation_view() -> v2.Compose:
    resize = v2.Resize(256, interpolation=v2.InterpolationMode.BICUBIC)
    return v2.Compose([resize, v2.CenterCrop(224), *to_input()])


def copied(network: nn.Module) -> dict[str, Tensor]:
    """The weights as they are now."""
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


def correct(
    network: nn.Module, state: dict[str, Tensor], pictures: Pictures, view: Callable[[Image.Image], Any]
) -> list[bool]:
    """Whether each test picture is named rightly with these weights, in fp32."""
    network.load_state_dict(state)
    network.eval()
    dataset = PictureDataset(pictures.test, pictures.classes, view)
    right: list[bool] = []
    with torch.inference_mode():
        for inputs, labels in DataLoader(dataset, batch_size=32, num_workers=WORKERS):
            right += (network(inputs).argmax(1) == labels).tolist()
    return right
