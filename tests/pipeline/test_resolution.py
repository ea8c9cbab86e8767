"""`--img-size auto`: the size is chosen by the training pictures, before the run, and saved as a number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import headstart
from headstart.config import TrainConfig, read_yaml
from headstart.errors import ConfigError
from headstart.training.recipes import resolve_recipe


def test_the_size_with_the_lowest_loss_trains(
    shapes_folder: Path, tmp_path: Path, tiny: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    run = headstart.train(shapes_folder, output=tmp_path, **{**tiny, "img_size": "auto"})
    said = " ".join(capsys.readouterr().err.split())
    _, _, rest = said.partition("input size: ")
    chosen, losses = int(rest.split()[0]), rest.partition("out of fold: ")[2].partition(" (")[0].split(", ")
    measured = {int(text.split(" at ")[1]): float(text.split(" at ")[0]) for text in losses}
    assert len(measured) >= 2
    assert measured[chosen] == min(measured.values())
    settings = read_yaml(run.path / "config.yaml")
    assert settings["img_size"] == chosen
    again = headstart.train(shapes_folder, **settings)
    assert (again.model / "model.safetensors").read_bytes() == (run.model / "model.safetensors").read_bytes()


def test_from_scratch_there_is_no_probe_to_choose_by() -> None:
    with pytest.raises(ConfigError) as caught:
        resolve_recipe(TrainConfig(strategy="scratch", img_size="auto"))
    assert list(caught.value.details) == [
        "--strategy scratch has no probe to choose a size by: give --img-size in pixels"
    ]


def test_a_search_over_settings_compares_sizes_itself(shapes_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        headstart.tune(shapes_folder, output=tmp_path, img_size="auto")
    assert "write --fields img_size" in str(caught.value)


def test_what_is_no_size() -> None:
    with pytest.raises(ConfigError, match="img_size must be 32 or more, or auto, but is 16"):
        TrainConfig(img_size=16)
    with pytest.raises(ConfigError, match="img_size must be a whole number or auto, but is 'large'"):
        headstart.train("nowhere", img_size="large")
