"""Heat maps: on pictures whose class a planted patch tells, the heat lies in the patch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")

from torch import nn  # noqa: E402
from torch.nn.functional import cross_entropy  # noqa: E402

from headstart.errors import ModelError  # noqa: E402
from headstart.model import zoo  # noqa: E402
from headstart.model.classifier import Classifier  # noqa: E402
from headstart.model.heat_maps import (  # noqa: E402
    alike,
    contrast,
    heat_maps,
    on_grid,
    overlaid,
)
from headstart.model.stages import stages_of  # noqa: E402
from headstart.model.transfer import transfer  # noqa: E402

SIDE, PATCH = 128, 40
COLOURS = np.array([[2.0, -1.0, -1.0], [-1.0, -1.0, 2.0]], np.float32)


def planted(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Noise with a red or a blue square: pictures [n, 3, S, S], classes, and where the squares are."""
    random = np.random.default_rng(seed)
    pictures = random.normal(0, 0.4, (n, 3, SIDE, SIDE)).astype(np.float32)
    classes, where = np.arange(n) % 2, np.zeros((n, SIDE, SIDE), bool)
    for i in range(n):
        top, left = random.integers(0, SIDE - PATCH, 2)
        pictures[i, :, top : top + PATCH, left : left + PATCH] += COLOURS[classes[i]][:, None, None]
        where[i, top : top + PATCH, left : left + PATCH] = True
    return pictures, classes, where


def cnn() -> nn.Module:
    return timm.create_model("test_resnet", num_classes=0)


def vit() -> nn.Module:
    return timm.models.vision_transformer.VisionTransformer(
        img_size=SIDE, patch_size=16, embed_dim=48, depth=3, num_heads=3, num_classes=0
    )


def swin() -> nn.Module:
    return timm.models.swin_transformer.SwinTransformer(
        img_size=SIDE, embed_dim=24, depths=(1, 1, 1, 1), num_heads=(1, 2, 4, 8), window_size=4, num_classes=0
    )


def trained(backbone: Callable[[], nn.Module], steps: int = 60) -> Classifier:
    """A network that has learnt to look at the square."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = backbone()
        model = Classifier(
            network,
            nn.Linear(network.num_features, 2),
            source=zoo.create("test_resnet", pretrained=False).source,
            img_size=SIDE,
            classes=("red", "blue"),
        ).train()
        optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
        for step in range(steps):
            pictures, classes, _ = planted(16, 1000 + step)
            loss = cross_entropy(model(torch.from_numpy(pictures)), torch.from_numpy(classes))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return model.eval()


@pytest.mark.parametrize("backbone", [cnn, vit, swin])
def test_most_of_the_heat_lies_in_the_patch_that_tells_the_class(backbone: Callable[[], nn.Module]) -> None:
    model = trained(backbone)
    pictures, classes, where = planted(40, 1)
    with torch.no_grad():
        right = model(torch.from_numpy(pictures)).argmax(1).numpy() == classes
    assert right.mean() > 0.9  # it uses the patch: nothing else tells
    maps = heat_maps(model, pictures)
    assert maps.shape == (40, SIDE, SIDE) and maps.dtype == np.float32
    assert maps.min() >= 0 and maps.max() == 1
    heat = maps[right]
    shares = (heat * where[right]).sum(axis=(1, 2)) / heat.sum(axis=(1, 2))
    assert np.median(shares) > 0.6
    # A token may tell others what it saw: of a ViT, some maps lie beside the patch, and the mean is 0.59.
    assert shares.mean() > (0.5 if backbone is vit else 0.6)


def test_the_map_depends_on_the_class_and_the_model_stays_as_it_was() -> None:
    model = trained(cnn, steps=2).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    pictures, _, _ = planted(3, 5)
    one, two = (heat_maps(model, pictures, [c] * 3) for c in (0, 1))
    assert not np.allclose(one, two)
    np.testing.assert_allclose(heat_maps(model, pictures, [0] * 3, batch_size=2), one, atol=1e-5)
    assert model.training and all(p.grad is None or p.requires_grad for p in model.parameters())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert heat_maps(model, pictures[:0]).shape == (0, SIDE, SIDE)


def test_a_network_without_stages_is_refused_by_name() -> None:
    model = transfer(zoo.create("test_nfnet", pretrained=False), ("a", "b"))
    with pytest.raises(ModelError) as caught:
        heat_maps(model, np.zeros((1, 3, 64, 64), np.float32))
    assert str(caught.value) == (
        "HS-EVAL-030: No heat maps can be made of test_nfnet.r160_in1k: where its stages lie is not known.\n"
        "  to do: Train a ResNet, RegNet, EfficientNet, MobileNet, ConvNeXt, ViT or Swin."
    )


def test_places_are_found_in_every_layout() -> None:
    grid = torch.arange(9.0).reshape(1, 3, 3)
    assert torch.equal(on_grid(grid[:, None].expand(1, 3, 3, 3) / 3, channels_last=False), grid)
    assert torch.equal(on_grid(grid[..., None].expand(1, 3, 3, 3) / 3, channels_last=True), grid)
    tokens = torch.cat([torch.full((1, 2, 5), 9.0), grid.reshape(1, 9, 1).expand(1, 9, 5) / 5], dim=1)
    torch.testing.assert_close(
        on_grid(tokens, channels_last=False), grid
    )  # class and register token left out


def test_what_is_everywhere_alike_is_no_evidence() -> None:
    tokens = torch.arange(5.0).reshape(1, 5, 1)
    assert alike(tokens, channels_last=False).flatten().tolist() == [
        0,
        2.5,
        2.5,
        2.5,
        2.5,
    ]  # not the class token
    grid = torch.arange(8.0).reshape(1, 2, 2, 2)
    assert alike(grid, channels_last=False)[0, 1].flatten().tolist() == [5.5] * 4
    assert alike(grid, channels_last=True)[0, ..., 1].flatten().tolist() == [4] * 4


def test_only_stages_of_swin_have_their_channels_last() -> None:
    assert [stage.channels_last for stage in stages_of(swin()) or ()] == [False, True, True, True, True]
    assert not any(stage.channels_last for stage in stages_of(cnn()) or ())


def test_what_all_logits_share_is_no_evidence() -> None:
    logits = torch.tensor([[2.0, 0.0, 1.0]])
    assert contrast(logits, torch.tensor([0])) == contrast(logits + 7, torch.tensor([0])) == 1


def test_cold_places_are_grey_and_hot_ones_coloured() -> None:
    view = np.full((2, 2, 3), (200, 100, 50), np.uint8)
    shown = overlaid(view, np.array([[0, 1], [0, 0]], np.float32))
    assert shown.shape == (2, 2, 3) and shown.dtype == np.uint8
    assert len(set(shown[0, 0].tolist())) == 1 and len(set(shown[0, 1].tolist())) == 3
