"""What computes: onnxruntime on the exported model that the card tells of, else torch."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from colours import CLASSES, SIZE, card, graph
from headstart.deployment.backends import OnnxBackend
from headstart.deployment.predict import load
from headstart.errors import ConfigError, HeadstartError, ModelError


@pytest.fixture
def run(onnx_run: Path, tmp_path: Path) -> Path:
    """A copy that may be changed."""
    return Path(shutil.copytree(onnx_run, tmp_path / "run"))


def amend(run: Path, **entries: Any) -> None:
    path = run / "model" / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **entries}), encoding="utf-8")


def pictures(n: int) -> np.ndarray:
    return np.random.default_rng(2).normal(size=(n, 3, SIZE, SIZE)).astype(np.float32)


def test_an_exported_model_computes_and_its_numbers_are_those_of_the_graph(onnx_run: Path) -> None:
    model = load(onnx_run)
    batch = pictures(5)
    weights = np.random.default_rng(0).normal(size=(3, 3)).astype(np.float32) * np.float32(3)
    found = model.backend.answers(batch)
    assert isinstance(model.backend, OnnxBackend)
    assert model.backend.described().startswith("onnxruntime 1.")
    assert OnnxBackend(model.backend.session, "int8").described().endswith(" on cpu, int8")
    np.testing.assert_allclose(found.features, batch.mean(axis=(2, 3)), atol=1e-5)
    np.testing.assert_allclose(found.logits, batch.mean(axis=(2, 3)) @ weights, atol=1e-4)
    assert found.logits.dtype == found.features.dtype == np.float32


def test_no_bit_of_an_answer_depends_on_the_pictures_beside_it(onnx_run: Path) -> None:
    backend, batch = load(onnx_run).backend, pictures(9)
    together = backend.answers(batch)
    alone = [backend.answers(batch[i : i + 1]) for i in range(9)]
    np.testing.assert_array_equal(together.logits, np.concatenate([one.logits for one in alone]))
    np.testing.assert_array_equal(together.features, np.concatenate([one.features for one in alone]))


def test_the_file_alone_predicts_as_its_bundle_does(onnx_run: Path, colours: Path) -> None:
    alone = load(onnx_run / "model" / "model.onnx")
    assert alone.classes == CLASSES
    assert alone.predict(colours) == load(onnx_run).predict(colours)


@pytest.mark.parametrize("named", [{"backend": "torch"}, {"device": "cuda"}])
def test_the_file_alone_has_no_weights_for_torch(onnx_run: Path, named: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="HS-PREDICT-050"):
        _ = load(onnx_run / "model" / "model.onnx", **named).backend


def changed_byte(run: Path) -> None:
    path = run / "model" / "model.onnx"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def not_named(run: Path) -> None:
    amend(run, onnx=None)


def absent(run: Path) -> None:
    (run / "model" / "model.onnx").unlink()


def not_onnx(run: Path) -> None:
    exchange(run, b"no graph")


def impossible(run: Path) -> None:
    """A graph that an export could have written, but for a tensor that nothing gives."""
    import onnx

    model = onnx.load(run / "model" / "model.onnx")
    model.graph.node[0].input[0] = "nowhere"
    exchange(run, model.SerializeToString())


def exchange(run: Path, data: bytes) -> None:
    (run / "model" / "model.onnx").write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    amend(run, onnx={"file": "model.onnx", "sha256": digest, "bytes": len(data)})


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (changed_byte, "model.onnx is damaged, or not the one that was exported"),
        (not_named, "the card does not tell of this model.onnx"),
        (absent, "model.onnx cannot be read: No such file or directory"),
        (not_onnx, "model.onnx is not used: it is damaged, or no ONNX file"),
        (impossible, "onnxruntime cannot use model.onnx: "),
    ],
)
def test_an_exported_model_that_is_not_the_right_one_is_not_used(
    run: Path, spoil: Callable[[Path], None], words: str
) -> None:
    spoil(run)
    with pytest.raises(ModelError, match="HS-PREDICT-041") as caught:
        _ = load(run, backend="onnx").backend
    assert f"The model cannot be run with onnxruntime: {words}" in str(caught.value)
    assert "headstart export RUN" in str(caught.value)


def test_without_an_export_and_without_torch_both_ways_out_are_said(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent(run)
    amend(run, onnx=None)
    monkeypatch.setitem(__import__("sys").modules, "headstart.model.bundle", None)
    with pytest.raises(ModelError, match="HS-PREDICT-040") as caught:
        _ = load(run).backend
    assert "There is nothing to compute with: it was not exported, and " in str(caught.value)
    assert "headstart export RUN" in str(caught.value)
    assert 'pip install "headstart[train]"' in str(caught.value)


def test_other_devices_are_torchs(onnx_run: Path) -> None:
    with pytest.raises(ConfigError, match="HS-PREDICT-043") as caught:
        load(onnx_run, backend="onnx", device="cuda")
    assert "onnxruntime computes on the processor here, not on 'cuda'." in str(caught.value)
    assert isinstance(load(onnx_run, device="cpu").backend, OnnxBackend)
    with pytest.raises(HeadstartError):  # there are no weights in this bundle
        _ = load(onnx_run, device="cuda").backend


@pytest.mark.parametrize("kind", ["text", "no card", "no JSON", "list"])
def test_files_that_are_no_exported_models_are_refused(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "other.onnx"
    file.write_bytes(b"text" if kind == "text" else graph(card=[1] if kind == "list" else None))  # type: ignore[arg-type]
    if kind == "no JSON":
        import onnx

        model = onnx.load(file)
        model.metadata_props.add(key="headstart", value="{")
        onnx.save(model, file)
    with pytest.raises(ModelError, match="HS-PREDICT-042") as caught:
        load(file)
    assert "This file cannot be predicted with: " in str(caught.value)


def test_a_file_of_a_later_headstart_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "later.onnx"
    file.write_bytes(graph(card=card(format_version=99)))
    with pytest.raises(ModelError, match="HS-MODEL-013"):
        load(file)


def test_values_that_are_not_finite_are_an_error(make_bundle: Callable[..., Path], tmp_path: Path) -> None:
    model = load(make_bundle(tmp_path / "bad", scale=float("inf")))
    with pytest.raises(ModelError, match="HS-MODEL-050"):
        model.probabilities(pictures(2))
