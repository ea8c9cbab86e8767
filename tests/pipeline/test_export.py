"""What leaves answers as what was trained, alone; what does not is not kept."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import headstart
from headstart.data.preprocess import Preprocess
from headstart.deployment import export as exporter
from headstart.deployment.onnx_file import FEATURES, INPUT, KEY, LOGITS, card_of, opened_session
from headstart.evaluation.unknown import load_detector
from headstart.model.bundle import load_bundle
from headstart.model.card import read_card, sha256
from headstart.model.forward import softmax


@pytest.fixture
def run(tiny_run, tmp_path) -> Path:
    """A copy that may be changed; its pictures stay where they are."""
    return Path(shutil.copytree(tiny_run.path, tmp_path / "run"))


@pytest.fixture(scope="session")
def exported_run(tiny_run, tmp_path_factory) -> Path:
    """A run with an exported model. Not to be changed."""
    folder = Path(shutil.copytree(tiny_run.path, tmp_path_factory.mktemp("exported") / "run"))
    headstart.export(folder)
    return folder


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def pictures(folder: Path) -> list[Path]:
    return sorted((folder / "test").rglob("*.png"))


def test_the_lone_file_answers_as_the_run(exported_run, shapes_folder, tmp_path):
    file = Path(shutil.copy(exported_run / "model" / "model.onnx", tmp_path / "alone.onnx"))
    session = opened_session(file)
    card = card_of(session)
    preprocess = Preprocess.from_dict(card["preprocess"])
    detector = load_detector(tmp_path, card)
    files = pictures(shapes_folder)
    assert len(files) == 12
    pixels = np.stack([preprocess(preprocess.rgb(path.read_bytes())) for path in files])
    logits, features = session.run([LOGITS, FEATURES], {INPUT: pixels})
    probabilities = softmax(logits, card["temperature"])
    scores = detector.scores(features)
    shutil.copytree(exported_run / "model", tmp_path / "torch" / "model")
    (tmp_path / "torch" / "model" / "model.onnx").unlink()
    for row, score, expected in zip(
        probabilities, scores, headstart.load(tmp_path / "torch").predict(files), strict=True
    ):
        named = dict(zip(card["classes"], row.tolist(), strict=True))
        assert named == pytest.approx(dict(expected.probabilities), abs=1e-5)
        assert score == pytest.approx(expected.unknown_score, rel=1e-3)


def test_the_graph_is_as_agreed(exported_run):
    model = onnx.load(exported_run / "model" / "model.onnx")
    onnx.checker.check_model(model)

    def shape(value) -> list[int | str]:
        return [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]

    assert [(v.name, shape(v)) for v in model.graph.input] == [(INPUT, ["N", 3, 64, 64])]
    card = read_card(exported_run / "model")
    width = load_bundle(exported_run / "model")[0].num_features
    assert [(v.name, shape(v)) for v in model.graph.output] == [(LOGITS, ["N", 3]), (FEATURES, ["N", width])]
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}
    assert not any(node.metadata_props for node in model.graph.node)
    assert str(Path(torch.__file__).parent) not in str(model.SerializeToString())
    own = json.loads({p.key: p.value for p in model.metadata_props}[KEY])
    assert {name: own[name] for name in card if name not in ("unknown", "onnx")} == {
        name: value for name, value in card.items() if name not in ("unknown", "onnx")
    }
    assert own["unknown"].items() > card["unknown"].items()
    assert own["onnx"]["parity"] == card["onnx"]["parity"]


def test_the_card_tells_what_admitted_it(exported_run):
    entry = read_card(exported_run / "model")["onnx"]
    file = exported_run / "model" / "model.onnx"
    assert entry["file"] == "model.onnx"
    assert entry["sha256"] == sha256(file)
    assert entry["bytes"] == file.stat().st_size
    assert entry["opset"] >= 18
    assert entry["precision"] == "fp32"
    assert entry["weights"] == read_card(exported_run / "model")["weights"]["sha256"]
    parity = entry["parity"]
    assert parity["pictures"] == 36
    assert parity["drawn"] >= 8
    assert parity["batches"] == [1, 2, 7]
    assert 0 <= parity["max_probability_difference"] < 1e-4
    assert parity["top1_disagreements"] == 0


def test_an_exported_model_is_replaced(run):
    (run / "model" / "model.onnx").write_bytes(b"an earlier one")
    before = snapshot(run)
    first = headstart.export(run)
    assert headstart.export(run)["parity"] == first["parity"]
    after = snapshot(run)
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed == {"model/model.onnx", "model/model.json"}
    assert set(after) == set(before)
    load_bundle(run / "model")


def test_a_model_that_answers_otherwise_is_not_kept(run, monkeypatch):
    graph_of = exporter.graph_of

    def spoilt(model, *arguments):
        with torch.no_grad():
            model.head.bias[0] += 0.05
            graph = graph_of(model, *arguments)
            model.head.bias[0] -= 0.05
        return graph

    before = snapshot(run)
    monkeypatch.setattr(exporter, "graph_of", spoilt)
    with pytest.raises(headstart.HeadstartError, match="does not answer as the saved one does") as caught:
        headstart.export(run)
    assert caught.value.code == "HS-EXPORT-003"
    assert caught.value.details[0].startswith("a probability differs by 0.0")
    assert snapshot(run) == before


def test_pictures_that_have_moved(run, shapes_folder, tmp_path, capsys):
    moved = Path(shutil.copytree(shapes_folder, tmp_path / "moved"))
    figures = json.loads((run / "metrics.json").read_text("utf-8"))
    (run / "metrics.json").write_text(json.dumps({**figures, "root": str(tmp_path / "gone")}), "utf-8")
    before = snapshot(run)
    with pytest.raises(
        headstart.HeadstartError, match="None of the run's pictures is where it was"
    ) as caught:
        headstart.export(run)
    assert caught.value.code == "HS-EXPORT-004"
    assert caught.value.details == ("36 pictures are not there any more",)
    assert snapshot(run) == before
    files = sorted(moved.rglob("*.png"))
    files[0].unlink()
    shutil.copy(files[2], files[1])
    assert headstart.export(run, images=moved)["parity"]["pictures"] == 34
    said = capsys.readouterr().err
    assert (
        "1 picture is not there any more and 1 picture is of another content now: compared on the 34 others"
        in said
    )


def test_the_command(run, command):
    told = command("export", run, "--json")
    assert told.code == 0
    found = json.loads(told.out)
    assert found["file"] == str(run / "model" / "model.onnx")
    assert onnxruntime.InferenceSession(found["file"]).get_modelmeta().custom_metadata_map[KEY]
    assert command("export", run / "nothing").code == 1
