"""What is known about a pretrained network before it is built. Imports neither torch nor timm."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, fields
from typing import Any, Literal

NAME = re.compile(r"[\w.\-]+", re.ASCII)


@dataclass(frozen=True)
class SourceModel:
    """A pretrained network: what its weights expect, and under which terms they come.

    The values are those of the weights themselves (timm's ``pretrained_cfg``, torchvision's
    ``weights.transforms()``), never a guess.
    """

    name: str
    """Name as a user types it: ``efficientnet-lite0``, ``resnet18.a1_in1k``, ``torchvision/resnet18``."""
    architecture: str
    """Name in the library that builds it."""
    library: Literal["timm", "torchvision"]
    input_size: int
    """Side of the square input, pixels."""
    resize: int
    """Side to which a picture is resized before the centre crop of ``input_size``, pixels."""
    crop_pct: float
    """``input_size / resize``, as the weights state it, 0-1."""
    mean: tuple[float, float, float]
    """Per channel (RGB), of pixels scaled to 0-1."""
    std: tuple[float, float, float]
    interpolation: Literal["bilinear", "bicubic"]
    licence: str
    notice: str
    origin: str
    """Where the weights come from, in words."""
    source_classes: int
    """Outputs of the pretrained head; 0 where the weights come without one."""
    fixed_input_size: bool = False
    """Whether the network must be built for its input size (position embeddings)."""
    parameters: int | None = None
    """Number of parameters, head included; None where the network must be built to know."""

    def resize_for(self, img_size: int) -> int:
        """The resize that goes with another input size, at the same share of the picture."""
        return self.resize if img_size == self.input_size else math.floor(img_size / self.crop_pct)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> SourceModel:
        """The inverse of `dataclasses.asdict`, through JSON; fields of later versions are ignored.

        Raises:
            ValueError: The network is none that a library here has by its name: timm would also take an
                address of the model hub, or a folder, and build what is described there.
        """
        known = {field.name: values[field.name] for field in fields(cls) if field.name in values}
        if known["library"] not in ("timm", "torchvision") or not NAME.fullmatch(known["architecture"]):
            raise ValueError("its network has no plain name of timm or torchvision")
        return cls(**{**known, "mean": tuple(known["mean"]), "std": tuple(known["std"])})
