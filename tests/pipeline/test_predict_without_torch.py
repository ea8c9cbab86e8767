"""`headstart predict` where only the plain installation is: no torch, and none of what comes with it."""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import headstart
from headstart.deployment.backends import OnnxBackend, TorchBackend

pytest.importorskip("onnx")

ABSENT = (
    *("torch", "torchvision", "timm", "scipy", "sklearn", "matplotlib", "jinja2", "filelock", "pandas"),
    *("onnx", "onnxscript", "pyarrow"),
)
PLAIN = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {ABSENT!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
from headstart.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def exported(tiny_run: headstart.Run, shapes_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run with an exported model. Not to be changed."""
    folder = Path(shutil.copytree(tiny_run.path, tmp_path_factory.mktemp("exported") / "run"))
    headstart.export(folder)
    return folder


def plain(surroundings: dict[str, str], *words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PLAIN, *map(str, words)],
        env=surroundings,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
    )


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_predicting_needs_no_torch_and_agrees_with_it(
    exported: Path,
    shapes_folder: Path,
    tmp_path: Path,
    surroundings: dict[str, str],
    command: Callable[..., Any],
) -> None:
    pictures = tmp_path / "pictures"
    shutil.copytree(shapes_folder / "test", pictures)
    (pictures / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    alone = Path(shutil.copy(exported / "model" / "model.onnx", tmp_path / "alone.onnx"))
    for name, model in (("bundle", exported), ("alone", alone)):
        done = plain(surroundings, "predict", model, pictures, "-o", tmp_path / f"{name}.csv")
        assert done.returncode == 0, done.stderr
        assert "computing with onnxruntime " in done.stderr
    assert (tmp_path / "bundle.csv").read_bytes() == (tmp_path / "alone.csv").read_bytes()
    done = command("predict", exported, pictures, "--backend", "torch", "-o", tmp_path / "torch.csv")
    assert done.code == 0
    assert "computing with torch " in done.err
    ours, theirs = rows(tmp_path / "bundle.csv"), rows(tmp_path / "torch.csv")
    assert len(ours) == len(theirs) == 13
    for one, other in zip(ours, theirs, strict=True):
        assert one["path"] == other["path"] and one["status"] == other["status"]
        if one["status"] != "ok":
            continue
        numbers = [name for name in one if name.startswith("prob:")]
        difference = [abs(float(one[name]) - float(other[name])) for name in numbers]
        assert max(difference) < 1e-4
        assert float(one["unknown_score"]) == pytest.approx(float(other["unknown_score"]), rel=1e-3)
        assert one["unknown"] == other["unknown"]


def test_features_and_logits_of_both_agree(exported: Path, shapes_folder: Path) -> None:
    by_onnx, by_torch = headstart.load(exported), headstart.load(exported, backend="torch")
    assert isinstance(by_onnx.backend, OnnxBackend) and isinstance(by_torch.backend, TorchBackend)
    size = by_onnx.preprocess.img_size
    batch = np.random.default_rng(0).normal(size=(5, 3, size, size)).astype(np.float32)
    ours, theirs = by_onnx.backend.answers(batch), by_torch.backend.answers(batch)
    np.testing.assert_allclose(ours.logits, theirs.logits, atol=1e-4)
    np.testing.assert_allclose(ours.features, theirs.features, atol=1e-4)


def test_without_an_export_it_is_said_what_to_do(
    tiny_run: headstart.Run, shapes_folder: Path, surroundings: dict[str, str]
) -> None:
    done = plain(surroundings, "predict", tiny_run.path, shapes_folder / "test")
    assert done.returncode == 1
    assert done.stdout == ""
    assert "error HS-PREDICT-040: There is nothing to compute with: it was not exported, and " in done.stderr
    assert "headstart export RUN" in done.stderr
    assert 'pip install "headstart[train]"' in done.stderr


def test_a_damaged_export_is_said_and_torch_computes(
    exported: Path,
    shapes_folder: Path,
    tmp_path: Path,
    surroundings: dict[str, str],
    command: Callable[..., Any],
) -> None:
    run = Path(shutil.copytree(exported, tmp_path / "run"))
    path = run / "model" / "model.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    done = command("predict", run, shapes_folder / "test", "-o", tmp_path / "t.csv")
    assert done.code == 0
    assert "model.onnx is damaged, or not the one that was exported; torch computes" in done.err
    assert "computing with torch " in done.err
    assert "HS-PREDICT-040" in plain(surroundings, "predict", run, shapes_folder / "test").stderr


def test_a_model_that_was_trained_again_does_not_use_the_old_export(exported: Path, tmp_path: Path) -> None:
    from headstart.model.bundle import load_bundle, save_bundle

    run = Path(shutil.copytree(exported, tmp_path / "run"))
    network, card = load_bundle(run / "model")
    save_bundle(run / "model", network, {"preprocess": card["preprocess"]})
    assert (run / "model" / "model.onnx").is_file()
    assert isinstance(headstart.load(run).backend, TorchBackend)
