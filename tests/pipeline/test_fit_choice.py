"""Long pictures are padded in the whole run, and a saved run does the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

import headstart
from headstart.config import read_yaml
from headstart.model.card import read_card
from shapes import draw


@pytest.fixture(scope="module")
def strips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of 3 : 1 in which a different third shows each kind."""
    root = tmp_path_factory.mktemp("data") / "strips"
    for kind in ("dots", "rings"):
        for split, first, n in (("train", 0, 10), ("test", 50, 4)):
            (root / split / kind).mkdir(parents=True)
            for number in range(first, first + n):
                whole = Image.new("RGB", (144, 48), "grey")
                whole.paste(draw(kind, number, 48), (48 * (number % 3), 0))
                whole.save(root / split / kind / f"{number:03}.png")
    return root


def test_chosen_said_saved_and_repeated(strips: Path, tiny: dict[str, Any], tmp_path: Path) -> None:
    run = headstart.train(strips, output=tmp_path / "runs", **tiny)
    log = (run.path / "log.txt").read_text(encoding="utf-8")
    assert "fit: pad, as the centre crop would cut away 67% of the median picture of 'dots'" in log
    config = yaml.safe_load((run.path / "config.yaml").read_text(encoding="utf-8"))
    assert (config["fit"], config["plan"]["recipe"]["fit"]) == ("pad", "pad")
    assert read_card(run.model)["preprocess"]["fit"] == "pad"
    again = headstart.train(
        strips, **read_yaml(run.path / "config.yaml") | {"output": str(tmp_path / "again")}
    )
    assert again.metrics["accuracy"] == run.metrics["accuracy"]
    assert [r["train_loss"] for r in again.results] == [r["train_loss"] for r in run.results]
    assert "fit: pad, as" not in (again.path / "log.txt").read_text(encoding="utf-8")


def test_folds_of_long_pictures_are_folds(strips: Path, tiny: dict[str, Any], tmp_path: Path) -> None:
    run = headstart.train(strips / "train", output=tmp_path / "runs", folds=2, **{**tiny, "epochs": 0})
    pictures = sorted(p.relative_to(strips / "train").as_posix() for p in strips.glob("train/*/*.png"))
    assert list(run.predictions.paths) == pictures
    for number in (1, 2):
        fold = run.path / "folds" / str(number)
        assert read_card(fold / "model")["preprocess"]["fit"] == "pad"
        assert f"fold {number} of 2: 10 of 20 pictures are reported" in (fold / "log.txt").read_text()


def test_the_user_and_the_lesson_decide_for_themselves(
    strips: Path, tiny: dict[str, Any], tmp_path: Path
) -> None:
    for number, (fields, fit) in enumerate((({"fit": "crop"}, "crop"), ({"recipe": "d2l"}, "squash"))):
        run = headstart.train(strips, output=tmp_path / str(number), **{**tiny, "epochs": 1, **fields})
        assert read_yaml(run.path / "config.yaml")["fit"] == fit
