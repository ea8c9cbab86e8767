"""Where a network looks: heat maps of the evidence for a class, for every backbone with stages.

Grad-CAM (Selvaraju et al. 2017): activations, weighted with the gradient of the class' logit averaged over
places, and summed over channels; what speaks against the class is left out. Their mean over places is taken
from them first: what is everywhere alike is no evidence, and would be a part of the heat of tokens. The
activations are those that enter a stage: the last one that is entered with places fine enough.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from headstart.errors import ModelError
from headstart.model.classifier import Classifier
from headstart.model.forward import BATCH_SIZE, evaluation_mode, full_precision
from headstart.model.stages import Stage

FINE = 12  # places along each side
STRENGTH = 0.65  # of the colour where the heat is 1
COLOURS = "turbo"

Maps = NDArray[np.float32]


def heat_maps(
    model: Classifier,
    pictures: NDArray[np.float32],
    classes: Sequence[int] | NDArray[np.int64] | None = None,
    *,
    batch_size: int = BATCH_SIZE,
) -> Maps:
    """How much each place of the evaluation view speaks for a class.

    Args:
        model: Left as it is; computes on its own device, in fp32.
        pictures: Normalised evaluation views, float32 [n, 3, S, S].
        classes: Output to be explained of each picture, n of them; None: the most probable one.
        batch_size: Pictures per pass.

    Returns:
        float32 [n, S, S], 0-1: the hottest place of each map is 1; all 0 where nothing speaks for the class.

    Raises:
        ModelError: HS-EVAL-030, a network that is cut at the head only.
    """
    stages = model.stages
    if stages is None:
        raise ModelError(
            "HS-EVAL-030",
            f"No heat maps can be made of {model.source.name}: where its stages lie is not known.",
            fix="Train a ResNet, RegNet, EfficientNet, MobileNet, ConvNeXt, ViT or Swin.",
        )
    device = next(model.parameters()).device
    parts = [np.zeros((0, *pictures.shape[2:]), np.float32)]
    for start in range(0, len(pictures), batch_size):
        batch = torch.from_numpy(np.ascontiguousarray(pictures[start : start + batch_size]))
        wanted = None if classes is None else torch.as_tensor(classes[start : start + batch_size])
        with evaluation_mode(model), full_precision(), torch.autocast(device.type, enabled=False):
            evidence = evidence_of(model, batch.to(device, torch.float32), wanted).relu()
        heat = interpolate(evidence[:, None], size=batch.shape[2:], mode="bilinear", align_corners=False)[
            :, 0
        ]
        most = heat.amax(dim=(1, 2), keepdim=True)
        parts.append((heat / most.clamp_min(torch.finfo(heat.dtype).tiny)).cpu().numpy())
    return np.concatenate(parts)


def evidence_of(model: Classifier, batch: Tensor, classes: Tensor | None) -> Tensor:
    """How much each place speaks for a class [n, h, w]; None: for the most probable one."""
    stage, activations = entering(model.stages or (), batch)
    above = model.above(stage.name)
    point = activations.detach().requires_grad_()
    with torch.enable_grad():
        logits = above(point.clone())  # a copy: the next module may work in place
        asked = logits.argmax(1) if classes is None else classes.to(logits.device)
        (gradient,) = torch.autograd.grad(contrast(logits, asked).sum(), point)
    places = {3: (1,), 4: (1, 2) if stage.channels_last else (2, 3)}[point.ndim]
    weights = gradient.mean(dim=places, keepdim=True)
    return on_grid(
        (activations - alike(activations, channels_last=stage.channels_last)) * weights,
        channels_last=stage.channels_last,
    )


@torch.no_grad()
def entering(stages: Sequence[Stage], batch: Tensor) -> tuple[Stage, Tensor]:
    """The deepest stage entered with at least `FINE` places a side, else the last one; and what enters it."""
    found: list[tuple[Stage, Tensor]] = []
    for before, stage in pairwise(stages):
        batch = before.forward(batch)
        found.append((stage, batch.clone()))
    sides = [x.shape[2] if x.ndim == 4 else math.isqrt(x.shape[1]) for _, x in found]
    fine = [one for one, side in zip(found, sides, strict=True) if side >= FINE]
    return (fine or found)[-1]


def alike(activations: Tensor, *, channels_last: bool) -> Tensor:
    """Every place has the mean of all; tokens that stand for no place stay as they are."""
    if activations.ndim == 4:
        return activations.mean(dim=(1, 2) if channels_last else (2, 3), keepdim=True).expand_as(activations)
    others = activations.shape[1] - math.isqrt(activations.shape[1]) ** 2
    places = activations[:, others:]
    return torch.cat((activations[:, :others], places.mean(dim=1, keepdim=True).expand_as(places)), dim=1)


def contrast(logits: Tensor, classes: Tensor) -> Tensor:
    """Logit of a class above the mean of all [n]: what is added to every logit decides nothing."""
    return logits.gather(1, classes[:, None])[:, 0] - logits.mean(dim=1)


def on_grid(values: Tensor, *, channels_last: bool) -> Tensor:
    """Sums over channels, [n, h, w], of [n, C, h, w], of [n, h, w, C], or of tokens [n, N, C].

    Tokens that stand for no place (class, registers) come first and are left out.
    """
    if values.ndim == 4:
        return values.sum(dim=3 if channels_last else 1)
    tokens = values.sum(dim=2)
    side = math.isqrt(tokens.shape[1])
    return tokens[:, tokens.shape[1] - side**2 :].reshape(len(tokens), side, side)


def overlaid(view: NDArray[np.uint8], heat: Maps) -> NDArray[np.uint8]:
    """A picture under its heat map.

    Args:
        view: uint8 [H, W, 3], the evaluation view.
        heat: float32 [H, W], 0-1.

    Returns:
        uint8 [H, W, 3]: grey where it is cold, coloured where it is hot.
    """
    from matplotlib import colormaps

    colours = np.asarray(colormaps[COLOURS](heat))[..., :3] * 255
    grey = view.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
    share = STRENGTH * heat[..., None].astype(np.float64)
    return np.asarray(np.rint(grey[..., None] * (1 - share) + colours * share), dtype=np.uint8)
