"""What leaves answers as what was trained, alone; what does not is not kept."""

from __future__ import annotations

import errno
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
from headstart.deployment.quantise import drops
from headstart.deployment.timm_folder import in_timm
from headstart.errors import HeadstartError
from headstart.evaluation.unknown import FILE, load_detector
from headstart.model import zoo
from headstart.model.answers import softmax
from headstart.model.bundle import load_bundle
from headstart.model.card import exchanged_export, read_card, sha256
from headstart.model.transfer import transfer


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

    def spoilt(model, *arguments, **options):
        with torch.no_grad():
            model.head.bias[0] += 0.05
            graph = graph_of(model, *arguments, **options)
            model.head.bias[0] -= 0.05
        return graph

    before = snapshot(run)
    monkeypatch.setattr(exporter, "graph_of", spoilt)
    with pytest.raises(HeadstartError, match="does not answer as the saved one does") as caught:
        headstart.export(run)
    assert caught.value.code == "HS-EXPORT-003"
    assert caught.value.details[0].startswith("a probability differs by 0.0")
    assert snapshot(run) == before


def test_pictures_that_have_moved(run, shapes_folder, tmp_path, capsys):
    moved = Path(shutil.copytree(shapes_folder, tmp_path / "moved"))
    figures = json.loads((run / "metrics.json").read_text("utf-8"))
    (run / "metrics.json").write_text(json.dumps({**figures, "root": str(tmp_path / "gone")}), "utf-8")
    before = snapshot(run)
    with pytest.raises(HeadstartError, match="None of the run's pictures is where it was") as caught:
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


def test_half_precision_keeps_its_own_tolerance(run):
    entry = headstart.export(run, precision="fp16")
    model = onnx.load(run / "model" / "model.onnx")
    assert {onnx.TensorProto.FLOAT16} == {
        one.data_type for one in model.graph.initializer if len(one.dims) > 1
    }
    assert model.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert entry["precision"] == "fp16"
    assert 0 < entry["parity"]["max_probability_difference"] <= 2e-2


def test_integers_are_measured_on_held_out_pictures(run, capsys):
    entry = headstart.export(run, precision="int8", max_drop=0.9)
    said = capsys.readouterr().err
    kinds = {node.op_type for node in onnx.load(run / "model" / "model.onnx").graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds
    assert entry["calibrated_on"] == 18  # of 24, six choose
    assert entry["max_drop"] == 0.9
    drop = entry["drop"]
    assert drop["n"] == 12
    assert {name: one["n"] for name, one in drop["classes"].items()} == {"dots": 4, "rings": 4, "stripes": 4}
    assert drop["before"] == pytest.approx(headstart.Run(run).metrics["accuracy"]["value"])
    assert drop["drop"] == pytest.approx(drop["before"] - drop["after"])
    assert drop["interval_95"][0] <= drop["drop"] <= drop["interval_95"][1]
    assert "dots (n = 4)" in said
    assert entry["unknown"]["n"] == 12
    assert read_card(run / "model")["onnx"]["drop"] == drop
    assert card_of(opened_session(run / "model" / "model.onnx"))["onnx"]["drop"] == drop


def test_a_graph_that_does_not_run_is_not_kept(run, monkeypatch):
    graph_of = exporter.graph_of

    def broken(model, *arguments, **options):
        graph = graph_of(model, *arguments, **options)
        bias = next(one for one in graph.graph.initializer if one.name == "model.head.bias")
        bias.CopyFrom(onnx.numpy_helper.from_array(np.zeros(5, np.float32), bias.name))
        return graph

    monkeypatch.setattr(exporter, "graph_of", broken)
    before = snapshot(run)
    with pytest.raises(HeadstartError, match="does not answer as the saved one does") as caught:
        headstart.export(run)
    assert caught.value.code == "HS-EXPORT-003"
    assert caught.value.details[0].startswith("onnxruntime: ")
    assert snapshot(run) == before


def test_integers_that_lose_too_much_are_not_kept(run, monkeypatch):
    def spoilt(graph, pictures):
        for tensor in graph.graph.initializer:
            if tensor.name == "model.head.bias":
                tensor.CopyFrom(onnx.numpy_helper.from_array(np.array([99, 0, 0], np.float32), tensor.name))
        return graph

    monkeypatch.setattr("headstart.deployment.quantise.quantised", spoilt)
    before = snapshot(run)
    with pytest.raises(HeadstartError, match=r"loses more than 0\.01 of its accuracy") as caught:
        headstart.export(run, precision="int8")
    assert caught.value.code == "HS-EXPORT-005"
    assert caught.value.details[0].startswith("all (n = 12): ")
    assert snapshot(run) == before


def test_a_class_counts_if_its_pictures_tell_the_loss_from_chance():
    truth = ["a"] * 200 + ["b"] * 200
    after = ["b"] * 4 + ["a"] * 196 + ["b"] * 200
    every, of_a, of_b = drops(truth, truth, after)
    assert (every.drop, of_a.drop, of_b.drop) == (0.01, 0.02, 0.0)
    assert not every.beyond(0.01)
    assert of_a.beyond(0.01)
    assert not drops(["a"] * 20, ["a"] * 20, ["b"] + ["a"] * 19)[1].beyond(0.01)


@pytest.mark.parametrize("options", [{"precision": "bf8"}, {"max_drop": 1}, {"max_drop": -0.1}])
def test_impossible_options(run, options):
    with pytest.raises(HeadstartError) as caught:
        headstart.export(run, **options)
    assert caught.value.code == "HS-EXPORT-006"
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("file", ["model.safetensors", FILE])
def test_a_damaged_bundle_is_refused(run, file):
    data = bytearray((run / "model" / file).read_bytes())
    data[-1] ^= 1
    (run / "model" / file).write_bytes(data)
    before = snapshot(run)
    with pytest.raises(HeadstartError) as caught:
        headstart.export(run)
    assert caught.value.code == {"model.safetensors": "HS-MODEL-012", FILE: "HS-PREDICT-030"}[file]
    assert snapshot(run) == before


def test_a_full_disk_leaves_the_earlier_one(exported_run, tmp_path, monkeypatch):
    run = Path(shutil.copytree(exported_run, tmp_path / "run"))
    before = snapshot(run)
    write_bytes = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        if "model.onnx" in path.name:
            write_bytes(path, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        return write_bytes(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(HeadstartError) as caught:
        headstart.export(run)
    assert caught.value.code == "HS-RUN-002"
    monkeypatch.undo()
    assert snapshot(run) == before


def test_whenever_the_process_ends_the_card_names_the_file_that_is_there(exported_run, tmp_path):
    bundle = Path(shutil.copytree(exported_run / "model", tmp_path / "model"))
    old = read_card(bundle)["onnx"]
    with exchanged_export(bundle) as (file, entry):
        file.write_bytes(b"another")
        entry["precision"] = "fp32"
    new = read_card(bundle)["onnx"]
    assert new == {
        "file": "model.onnx",
        "sha256": sha256(bundle / "model.onnx"),
        "bytes": 7,
        "precision": "fp32",
    }
    # As after the exchange of the files, before that of the cards.
    (bundle / "model.json").rename(bundle / "model.json.next")
    (bundle / "model.json").write_text(json.dumps({**read_card(bundle), "onnx": old}), "utf-8")
    assert read_card(bundle)["onnx"] == new
    # As before the exchange of the files.
    shutil.copy(exported_run / "model" / "model.onnx", bundle / "model.onnx")
    assert read_card(bundle)["onnx"] == old


def test_a_threshold_after_the_export_is_said_to_be_missing_there(exported_run, tmp_path, capsys):
    run = Path(shutil.copytree(exported_run, tmp_path / "run"))
    headstart.threshold(run, None)
    assert (
        f"the exported model still has what was there before: headstart export {run}"
        in capsys.readouterr().err
    )


def test_timm_and_transformers_load_the_folder(run, shapes_folder, tmp_path):
    import timm
    from PIL import Image
    from timm.data import create_transform, resolve_data_config
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    card = run / "model" / "model.json"
    card.write_text(json.dumps({**json.loads(card.read_text("utf-8")), "temperature": 1.7}), "utf-8")
    folder = tmp_path / "out" / "shapes"
    told = headstart.export_to_timm(run, folder)
    assert told["max_probability_difference"] < 1e-4
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    files = pictures(shapes_folder)
    expected = [list(row.probabilities.values()) for row in headstart.load(run).predict(files)]
    network = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    view = create_transform(**resolve_data_config({}, model=network))
    other = AutoModelForImageClassification.from_pretrained(folder).eval()
    processor = AutoImageProcessor.from_pretrained(folder)
    images = [Image.open(path).convert("RGB") for path in files]
    with torch.inference_mode():
        by_timm = network(torch.stack([view(image) for image in images]))
        by_transformers = other(**processor(images, return_tensors="pt")).logits
    np.testing.assert_allclose(by_timm.softmax(1).numpy(), expected, atol=1e-5)
    np.testing.assert_allclose(by_transformers.numpy(), by_timm.numpy(), atol=1e-5)
    assert other.config.id2label == dict(enumerate(read_card(run / "model")["classes"]))
    text = (folder / "README.md").read_text("utf-8")
    assert text.startswith("---\nlibrary_name: timm\n")
    assert "Accuracy" in text


def test_a_folder_that_holds_something_is_left_alone(run, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(HeadstartError, match="is not empty") as caught:
        headstart.export_to_timm(run, tmp_path / "out")
    assert caught.value.code == "HS-EXPORT-008"
    assert snapshot(tmp_path / "out") == {"mine.txt": b"mine"}


def test_what_timm_does_not_have_is_refused_by_name():
    for name, known in (("torchvision/resnet18", True), ("torchvision/mobilenet_v2", False)):
        model = transfer(zoo.create(name, pretrained=False), ("a", "b"))
        if known:
            assert in_timm(model) == ("resnet18", {}, "fc")
        else:
            with pytest.raises(HeadstartError, match=name) as caught:
                in_timm(model)
            assert caught.value.code == "HS-EXPORT-007"


def test_flags_that_do_not_go_together(run, command):
    for words in (("--to", "timm"), ("-o", "x"), ("--to", "timm", "-o", "x", "--precision", "int8")):
        told = command("export", run, *words)
        assert told.code == 2
        assert "HS-EXPORT-009" in told.err


def test_the_command(run, command, tmp_path):
    told = command("export", run, "--json")
    assert told.code == 0
    found = json.loads(told.out)
    assert found["file"] == str(run / "model" / "model.onnx")
    assert onnxruntime.InferenceSession(found["file"]).get_modelmeta().custom_metadata_map[KEY]
    assert command("export", run / "nothing").code == 1
    told = command("export", run, "--to", "timm", "-o", tmp_path / "timm", "--json")
    assert told.code == 0
    assert json.loads(told.out)["architecture"] == "test_efficientnet"
