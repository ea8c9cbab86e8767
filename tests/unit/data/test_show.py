"""`headstart.show`: the pages show what training with the same settings would see."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import headstart
from headstart.data import show as page
from headstart.data.preprocess import Preprocess
from headstart.errors import ConfigError
from shapes import draw_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("shapes")
    draw_folder(root, 6, kinds=("dots", "stripes"))
    return root


def test_two_pages_are_drawn(folder: Path, tmp_path: Path) -> None:
    files = headstart.show(folder, tmp_path / "pages", img_size=32, per_class=2)
    assert [file.relative_to(tmp_path).as_posix() for file in files] == [
        "pages/lesson.png",
        "pages/classes.png",
    ]
    for file in files:
        with Image.open(file) as drawn:
            drawn.load()
            assert drawn.format == "PNG"


def test_the_recipe_decides_the_views(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def remember(data: object, output: Path, **settings: Any) -> list[Path]:
        seen.update(settings)
        return []

    monkeypatch.setattr(page, "show", remember)
    headstart.show(folder, tmp_path, recipe="d2l", img_size=112, name="shapes", seed=3)
    preprocess = seen["preprocess"]
    assert isinstance(preprocess, Preprocess)
    assert (preprocess.fit, preprocess.img_size, preprocess.resize) == ("squash", 112, 128)
    assert (seen["augment"], seen["name"], seen["seed"]) == ("d2l", "shapes", 3)

    headstart.show(folder, tmp_path, fit="pad", augment="flip")
    assert (seen["preprocess"].fit, seen["augment"]) == ("pad", "flip")


def test_settings_are_checked_as_in_training(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        headstart.show(folder, tmp_path, augmentt="flip")
    assert raised.value.code == "HS-CONFIG-001"
