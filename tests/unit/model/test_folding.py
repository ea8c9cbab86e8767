"""BatchNorm folded into convolutions: only where one alone feeds it, and only if it comes out equal."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from headstart.model import folding, zoo
from headstart.model.classifier import Classifier
from headstart.model.folding import folded


class Net(nn.Module):
    """Two convolutions; ``order`` says what lies between pictures and features."""

    def __init__(self, order: str) -> None:
        super().__init__()
        self.order = order
        self.one, self.two = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(3)
        nn.init.uniform_(self.norm.running_var, 0.5, 2)  # type: ignore[arg-type]
        nn.init.uniform_(self.norm.running_mean, -1, 1)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        x = {
            "behind a convolution": lambda: self.norm(self.two(self.one(x))),
            "behind a sum": lambda: self.norm(self.one(x) + self.two(x)),
            "before a convolution": lambda: self.two(self.norm(x)),
            "a convolution that runs twice": lambda: self.norm(self.two(self.two(x))),
            "behind a convolution that is used elsewhere": lambda: (y := self.two(x)) + self.norm(y),
        }[self.order]()
        return x.mean((2, 3))


def model_of(order: str) -> Classifier:
    torch.manual_seed(0)
    source: Any = zoo.spec("efficientnet-lite0")
    return Classifier(Net(order), nn.Linear(3, 2), source=source, img_size=8)


def test_behind_a_convolution() -> None:
    model = model_of("behind a convolution").train()
    quick = folded(model)
    assert isinstance(quick.backbone.norm, nn.Identity) and isinstance(model.backbone.norm, nn.BatchNorm2d)
    x = torch.randn(4, 3, 8, 8)
    torch.testing.assert_close(quick.eval()(x), model.eval()(x), rtol=1e-5, atol=1e-6)
    assert folded(model.train()) is not model and model.training


@pytest.mark.parametrize(
    "order",
    [
        "behind a sum",
        "before a convolution",
        "a convolution that runs twice",
        "behind a convolution that is used elsewhere",  # it pairs, and the trial finds the difference
    ],
)
def test_what_cannot_be_folded_stays(order: str) -> None:
    model = model_of(order)
    assert folded(model) is model


def test_a_copy_that_computes_otherwise_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folding, "fuse_conv_bn_eval", lambda convolution, norm: convolution)
    model = model_of("behind a convolution")
    assert folded(model) is model
