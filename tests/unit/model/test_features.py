"""Activations of the frozen part: computed once, the same from the cache, one picture at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from headstart.data.cache import Cache
from headstart.data.preprocess import Preprocess
from headstart.model import zoo
from headstart.model.classifier import Classifier
from headstart.model.features import Activations, FrozenPart, features_above
from headstart.model.forward import BATCH_SIZE
from headstart.model.inputs import Loader
from headstart.model.precision import Format

SIZE = 64
SPEC = Preprocess(SIZE, 72, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
BF16, FP32 = Format("cpu", "bf16"), Format("cpu", "fp32")
PIXELS = np.random.default_rng(0).integers(0, 256, (30, SIZE, SIZE, 3), dtype=np.uint8)


def network(name: str = "test_efficientnet") -> Classifier:
    torch.manual_seed(0)
    return zoo.create(name, pretrained=name == "efficientnet-lite0", img_size=SIZE).eval()


class Counted(FrozenPart):
    """Counts the pictures that go through the network."""

    def __init__(self, *args: Any, fmt: Format, **named: Any) -> None:
        super().__init__(*args, loader=Loader(SPEC, fmt, 1), **named)
        self.seen = 0

    def rows(self, items: list[int], views: dict[str, Any] | None = None) -> Tensor:
        def view(item: int) -> np.ndarray:
            self.seen += 1
            return PIXELS[item]

        return self.activations(view, items, keys=[f"picture {i}" for i in items], views=views).all()


@pytest.mark.parametrize("name", ["test_efficientnet", "test_vit", "test_resnet", "efficientnet-lite0"])
@pytest.mark.parametrize("fmt", [BF16, FP32], ids=["bf16", "fp32"])
def test_a_row_does_not_depend_on_its_neighbours_or_on_the_cache(
    tmp_path: Path, name: str, fmt: Format
) -> None:
    """Otherwise a run that finds some activations in the cache would end in other weights."""
    model = fmt.network(network(name))
    assert isinstance(model, Classifier)
    cut = "stage1"
    plain = Counted(model, cut, fmt=fmt).rows(list(range(21)))
    shuffled = [7, 3, 20, 11, 0]
    assert torch.equal(Counted(model, cut, fmt=fmt).rows(shuffled), plain[shuffled])
    cache = Cache(10**9, tmp_path)
    assert torch.equal(Counted(model, cut, fmt=fmt, cache=cache).rows(list(range(0, 21, 2))), plain[::2])
    part = Counted(model, cut, fmt=fmt, cache=cache)
    assert torch.equal(part.rows(list(range(21))), plain)
    assert part.seen == 10


def test_unchanged_pictures_cost_nothing_and_a_new_one_costs_one(tmp_path: Path) -> None:
    model, cache = network(), Cache(10**9, tmp_path)
    first = Counted(model, "stage1", fmt=BF16, cache=cache)
    rows = first.rows(list(range(20)))
    assert first.seen == 20
    second = Counted(model, "stage1", fmt=BF16, cache=cache)
    assert torch.equal(second.rows(list(range(20))), rows)
    assert second.seen == 0
    third = Counted(model, "stage1", fmt=BF16, cache=cache)
    assert torch.equal(third.rows([*range(10), 25, *range(10, 20)])[[*range(10), *range(11, 21)]], rows)
    assert third.seen == 1


@pytest.mark.parametrize("change", ["weights", "buffers", "cut", "format", "views", "preprocess"])
def test_whatever_decides_an_activation_is_in_its_signature(tmp_path: Path, change: str) -> None:
    model, cache = network(), Cache(10**9, tmp_path)
    Counted(model, "stage2", fmt=BF16, cache=cache).rows([0, 1])
    named: dict[str, Any] = {"fmt": FP32 if change == "format" else BF16, "cache": cache}
    tensors = dict(
        model.backbone.named_parameters() if change == "weights" else model.backbone.named_buffers()
    )
    with torch.no_grad():
        if change in ("weights", "buffers"):
            next(iter(tensors.values())).add_(0.5)
    part = Counted(model, "stage1" if change == "cut" else "stage2", **named)
    if change == "preprocess":
        other = Preprocess(SIZE, 72, "bicubic", (0.4, 0.5, 0.5), (0.5, 0.5, 0.5))
        part.loader = Loader(other, BF16, 1)
    part.rows([0, 1], {"seed": 1} if change == "views" else None)
    assert part.seen == 2


def test_what_lies_above_the_cut_does_not_matter(tmp_path: Path) -> None:
    model, cache = network(), Cache(10**9, tmp_path)
    Counted(model, "stage2", fmt=BF16, cache=cache).rows([0, 1])
    with torch.no_grad():
        model.head.weight.add_(1)
        for parameter in model.above("stage2").parameters():
            parameter.add_(0.1)
    part = Counted(model, "stage2", fmt=BF16, cache=cache)
    part.rows([0, 1])
    assert part.seen == 0


def test_what_does_not_fit_into_the_cache_stays_in_memory(tmp_path: Path) -> None:
    model = network()
    plain = Counted(model, "stage1", fmt=BF16).rows(list(range(20)))
    small = Cache(3 * plain[0].numel() * 2, tmp_path)
    assert torch.equal(Counted(model, "stage1", fmt=BF16, cache=small).rows(list(range(20))), plain)
    again = Counted(model, "stage1", fmt=BF16, cache=small)
    assert torch.equal(again.rows(list(range(20))), plain)
    assert again.seen == 17


def test_what_the_disk_took_and_lost_is_computed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path) -> None:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr("headstart.data.store.mapped", refused)
    model = network()
    plain = Counted(model, "stage1", fmt=BF16).rows(list(range(11)))
    part = Counted(model, "stage1", fmt=BF16, cache=Cache(10**9, tmp_path))
    assert torch.equal(part.rows(list(range(11))), plain)
    assert not list(tmp_path.rglob("*.bin"))


def test_rows_are_those_of_the_network(tmp_path: Path) -> None:
    model = network()
    part = Counted(model, "stage1", fmt=FP32, cache=Cache(10**9, tmp_path))
    x = torch.from_numpy(SPEC.normalize(PIXELS[: BATCH_SIZE + 3]))
    with torch.inference_mode():
        expected = model.below("stage1")(x)
        features = model.backbone(x)
    rows = part.rows(list(range(BATCH_SIZE + 3)))
    assert torch.allclose(rows, expected, atol=1e-5)
    assert rows.dtype == torch.float32
    held = Activations(list(rows.numpy()))
    assert torch.allclose(features_above(model, "stage1", held, fmt=FP32), features, atol=1e-4)
    assert Counted(model, "stage1", fmt=BF16).rows([0]).dtype == torch.bfloat16
    assert Counted(model, "head", fmt=BF16).rows([0]).dtype == torch.float32
