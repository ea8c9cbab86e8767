"""Runs that several tests look at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import headstart


@pytest.fixture(scope="session")
def lite0_run(shapes_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> headstart.Run:
    """The bundled backbone, the default recipe, two epochs. Not to be changed."""
    output = tmp_path_factory.mktemp("lite0") / "runs"
    return headstart.train(
        shapes_folder, img_size=64, epochs=2, batch_size=8, threads=1, workers=1, output=output
    )


@pytest.fixture(scope="session")
def tiny_run(
    shapes_folder: Path, tiny: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> headstart.Run:
    """A small network with random weights, the default recipe. Not to be changed."""
    return headstart.train(shapes_folder, output=tmp_path_factory.mktemp("tiny") / "runs", **tiny)
