"""`headstart explain`: drawings of where a model looks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import headstart


def test_each_picture_is_drawn_and_no_file_is_overwritten(
    command: Any, lite0_run: headstart.Run, shapes_folder: Path, tmp_path: Path
) -> None:
    pictures, out = tmp_path / "new", tmp_path / "out"
    pictures.mkdir()
    shutil.copy(shapes_folder / "test" / "dots" / "000.png", pictures / "a.png")
    (pictures / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    out.mkdir()
    (out / "a.heat.png").write_bytes(b"mine")
    done = command("explain", lite0_run.path, pictures, "-o", out, "--json")
    assert done.code == 0, done.err
    good, broken = json.loads(done.out)["pictures"]
    assert good["status"] == "ok" and good["prediction"] == good["explained"]
    assert broken["status"] == "truncated" and broken["reason"] and broken["file"] is None
    assert (out / "a.heat.png").read_bytes() == b"mine" and good["file"] == str(out / "a.heat-2.png")
    sheet = np.asarray(Image.open(out / "a.heat-2.png"))
    assert sheet.shape == (64, 2 * 64 + 8, 3)
    model = headstart.load(lite0_run.path)
    seen = Image.open(pictures / "a.png").convert("RGB")
    view = model.preprocess.evaluation_crop(model.preprocess.resized(seen))
    np.testing.assert_array_equal(sheet[:, :64], view)
    assert (sheet[:, 72:].std(axis=2) > 5).any()  # something is hot
    other = command("explain", lite0_run.path, pictures / "a.png", "-o", out, "--of", "rings")
    assert other.code == 0 and (out / "a.heat-3.png").is_file()


def test_of_many_pictures_only_those_not_drawn_are_named(
    command: Any, lite0_run: headstart.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = [
        {"path": f"{i}.png", "prediction": "dots", "reason": "", "file": f"{i}.heat.png"} for i in range(21)
    ]
    torn = {"path": "torn.png", "prediction": None, "reason": "cut short", "file": None}
    monkeypatch.setattr("headstart.run_explain.explain", lambda *_, **__: [*drawn, torn])
    done = command("explain", lite0_run.path, tmp_path, "-o", "out")
    assert done.code == 0 and "torn.png: cut short, not drawn" in done.err + done.out
    assert "out: 21 heat maps" in done.err + done.out and "0.heat.png" not in done.err + done.out


def test_a_class_that_the_model_does_not_have(
    command: Any, lite0_run: headstart.Run, shapes_folder: Path, tmp_path: Path
) -> None:
    done = command("explain", lite0_run.path, shapes_folder, "-o", tmp_path / "out", "--of", "ring")
    assert done.code == 2 and not (tmp_path / "out").exists()
    assert "HS-EVAL-031: The model has no class 'ring'. Did you mean 'rings'?" in done.err
    assert "It knows: dots, rings, stripes." in done.err
    assert "HS-USAGE-003" in command("explain", lite0_run.path).err
