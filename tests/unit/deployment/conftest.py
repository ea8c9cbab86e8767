"""A bundle that answers without torch, and pictures for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from colours import card, graph


@pytest.fixture(scope="session")
def make_bundle() -> Callable[..., Path]:
    """``make_bundle(folder, scale=3.0, **entries)``: a run's folder with an exported model and no weights."""
    import hashlib

    def make(folder: Path, scale: float = 3.0, **entries: Any) -> Path:
        own = card(**entries)
        data = graph(scale, own)
        (folder / "model").mkdir(parents=True)
        (folder / "model" / "model.onnx").write_bytes(data)
        own["onnx"] = {"file": "model.onnx", "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        (folder / "model" / "model.json").write_text(json.dumps(own), encoding="utf-8")
        return folder

    return make


@pytest.fixture(scope="session")
def onnx_run(make_bundle: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder as `make_bundle` writes it. Not to be changed."""
    return make_bundle(tmp_path_factory.mktemp("onnx") / "colours")


@pytest.fixture(scope="session")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """13 pictures in folders, two that are broken, names that tables stumble over. Not to be changed."""
    root = tmp_path_factory.mktemp("pictures") / "colours"
    generator = np.random.default_rng(1)
    names = ["a.png", "b,c.png", 'quo"te.png', "line\nbreak.png", "return\r.png", "猫.png", "|.png"]
    names += [f"deep/{i}/x.png" for i in range(6)]
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(root / name)
    (root / "cut.png").write_bytes((root / "a.png").read_bytes()[:-40])
    (root / "deep" / "empty.png").write_bytes(b"")
    (root / "notes.txt").write_text("no picture", encoding="utf-8")
    return root
