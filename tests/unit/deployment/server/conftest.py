"""A run with a tiny network of random weights, without training."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headstart.data.preprocess import Preprocess

CLASSES = ("bee", "猫", "<b>")


@pytest.fixture(scope="session")
def served_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the run. Not to be changed."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("timm")
    from headstart.model.bundle import save_bundle
    from headstart.model.transfer import transfer
    from headstart.model.zoo import create

    folder = tmp_path_factory.mktemp("runs") / "served"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = transfer(create("test_efficientnet", pretrained=False), CLASSES, seed=1)
    with torch.no_grad():  # so that answers differ between pictures
        network.head.weight.mul_(300)
    preprocess = Preprocess(64, 72, "bilinear", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    save_bundle(folder / "model", network, {"preprocess": preprocess.to_dict()})
    return folder


@pytest.fixture(scope="session")
def drawn_picture() -> Callable[[int], bytes]:
    """The bytes of a PNG file, another one for each number."""

    def drawn(seed: int) -> bytes:
        coarse = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
        file = io.BytesIO()
        Image.fromarray(coarse).resize((90, 80), Image.Resampling.BICUBIC).save(file, format="PNG")
        return file.getvalue()

    return drawn
