"""From files to predictions with a saved model."""

from __future__ import annotations

import csv
import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("timm")

from PIL import Image  # noqa: E402

from headstart.data.images import (  # noqa: E402
    RANGE_GUESSED,
    IntensityRange,
    read_rgb,
)
from headstart.data.prefetch import prefetched  # noqa: E402
from headstart.data.preprocess import Preprocess  # noqa: E402
from headstart.deployment import predict, prediction_table  # noqa: E402
from headstart.deployment.predict import load  # noqa: E402
from headstart.deployment.prediction_table import predict_to_table  # noqa: E402
from headstart.deployment.sources import CLIPPED, Source  # noqa: E402
from headstart.errors import DataError, ModelError, RunError  # noqa: E402
from headstart.model import forward  # noqa: E402
from headstart.model.answers import softmax  # noqa: E402
from headstart.model.bundle import save_bundle  # noqa: E402
from headstart.model.transfer import transfer  # noqa: E402
from headstart.model.zoo import create  # noqa: E402

CLASSES = ("a,b", "猫", 'say "x"')
SIZE = 64


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run folder with a tiny network of random weights."""
    folder = tmp_path_factory.mktemp("runs") / "bees"
    torch.manual_seed(0)
    network = transfer(create("test_efficientnet", pretrained=False), CLASSES, seed=1)
    with torch.no_grad():  # so that answers differ between pictures
        network.head.weight.mul_(300)
    preprocess = Preprocess(SIZE, 72, "bilinear", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    save_bundle(folder / "model", network, {"preprocess": preprocess.to_dict()})
    return folder


@pytest.fixture(scope="module")
def model(run):
    return load(run)


def picture(seed: int, size=(80, 90)) -> Image.Image:
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


@pytest.fixture
def folder(tmp_path) -> Path:
    """Nine readable pictures in nested folders, faults, and what is no picture."""
    root = tmp_path / "new pictures"
    (root / "sub" / "deeper").mkdir(parents=True)
    (root / ".hidden").mkdir()
    (root / "__MACOSX").mkdir()
    for i in range(9):
        place = root / ("sub/deeper" if i % 3 else "sub") / f"猫 {i}.png"
        picture(i).save(place)
    shutil.copy(root / "sub" / "猫 0.png", root / "no-suffix")
    shutil.copy(root / "sub" / "猫 0.png", root / ".hidden" / "x.png")
    shutil.copy(root / "sub" / "猫 0.png", root / "__MACOSX" / "x.png")
    (root / "cut.png").write_bytes((root / "sub" / "猫 0.png").read_bytes()[:-200])
    (root / "empty.jpg").write_bytes(b"")
    (root / "index.txt").write_text("not a picture", encoding="utf-8")
    return root


def test_model_knows_classes_and_preprocessing_before_its_network_is_loaded(run) -> None:
    code = (
        "import sys; from headstart.deployment.predict import load; m = load(sys.argv[1]);"
        "print(len(m.classes), m.preprocess.img_size, m.card['architecture'], 'torch' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", code, str(run)], capture_output=True, text=True, check=True)
    assert said.stdout.split() == [
        "3",
        "64",
        json.loads((run / "model" / "model.json").read_text("utf-8"))["architecture"],
        "False",
    ]


def test_bundle_folder_itself_can_be_loaded(run) -> None:
    assert load(run / "model").classes == load(str(run)).classes == CLASSES


def test_answers_are_those_of_the_network_on_the_evaluation_view(model, folder) -> None:
    path = folder / "sub" / "猫 0.png"
    x = torch.from_numpy(model.preprocess(read_rgb(path)))[None]
    with torch.inference_mode():
        expected = model.network(x).double().softmax(1)[0].numpy()
    answer = model.predict(path)[0]
    np.testing.assert_allclose(list(answer.probabilities.values()), expected, atol=1e-6)
    assert tuple(answer.probabilities) == CLASSES
    assert answer.prediction == CLASSES[expected.argmax()]
    assert answer.confidence == max(answer.probabilities.values())
    assert math.isclose(sum(answer.probabilities.values()), 1, abs_tol=1e-12)
    assert answer.ok and answer.unknown is None and answer.path == str(path)


def test_folders_are_walked_in_order_and_every_picture_has_a_row(model, folder) -> None:
    rows = model.predict(folder)
    names = [Path(row.path).relative_to(folder).as_posix() for row in rows]
    deeper = [f"sub/deeper/猫 {i}.png" for i in (1, 2, 4, 5, 7, 8)]
    assert names == ["cut.png", "empty.jpg", "no-suffix", *deeper, *(f"sub/猫 {i}.png" for i in (0, 3, 6))]
    assert {row.path.rsplit(os.sep)[-1]: row.status for row in rows if not row.ok} == {
        "cut.png": "truncated",
        "empty.jpg": "empty",
    }
    bad = rows[1]
    assert (bad.prediction, bad.confidence, dict(bad.probabilities)) == (None, None, {})
    assert bad.reason == "the file is empty (0 bytes)"


def test_named_files_always_have_a_row(model, folder) -> None:
    rows = model.predict([folder / "index.txt", str(folder / "absent.png"), folder / "no-suffix"])
    assert [row.status for row in rows] == ["not-an-image", "missing", "ok"]


def test_batch_size_order_and_threads_do_not_change_answers(model, folder) -> None:
    paths = sorted(folder.rglob("猫*.png"))
    by_one = model.predict(paths, batch_size=1, workers=0)
    by_four = model.predict(paths, batch_size=4, workers=3)
    backwards = model.predict(paths[::-1], batch_size=4, workers=1)[::-1]
    for one, four, back in zip(by_one, by_four, backwards, strict=True):
        assert one.path == four.path == back.path
        np.testing.assert_allclose(
            list(one.probabilities.values()), list(four.probabilities.values()), rtol=0, atol=1e-6
        )
        assert four == back  # to the last bit
    assert len({row.confidence for row in by_one}) == len(paths)


def test_faults_anywhere_in_a_batch_keep_their_place(model, folder) -> None:
    good, bad = folder / "no-suffix", folder / "empty.jpg"
    for order in ([bad, good], [good, bad], [bad, bad, good, good, bad, good], [bad, bad]):
        rows = model.predict(order, batch_size=2)
        assert [row.path for row in rows] == [str(path) for path in order]
        assert [row.ok for row in rows] == [path == good for path in order]


def test_rows_of_unreadable_files_do_not_wait_for_a_readable_one(model, folder, monkeypatch) -> None:
    monkeypatch.setattr(predict, "MOST_WAITING", 5)
    good, bad = folder / "no-suffix", folder / "empty.jpg"
    taken = []

    def sources():
        for i in range(200):
            taken.append(i)
            yield Source(str(i), good if i % 50 == 7 else bad)

    rows = model.stream(sources(), batch_size=1, workers=0)
    assert [next(rows).path for _ in range(5)] == ["0", "1", "2", "3", "4"]
    assert len(taken) == 5
    rest = list(rows)
    assert [row.path for row in rest] == [str(i) for i in range(5, 200)]
    assert [row.path for row in rest if row.ok] == ["7", "57", "107", "157"]


def test_pictures_arrays_and_bytes_give_the_answer_of_the_file(model, folder) -> None:
    path = folder / "no-suffix"
    expected = model.predict(path)[0].probabilities
    opened = Image.open(path)
    array = np.asarray(Image.open(path))
    for one in (path.read_bytes(), opened, array, np.stack([array])):
        rows = model.predict(one)
        assert [(row.probabilities, row.path) for row in rows] == [(expected, "")]
    assert len(model.predict([opened, array, path])) == 3


def test_pictures_in_memory_are_turned_upright_and_left_as_they_were(model) -> None:
    upright = picture(1)
    turned = upright.transpose(Image.Transpose.ROTATE_90)
    turned.getexif()[274] = 6  # shown after a quarter turn clockwise
    exif = turned.getexif().tobytes()
    assert model.predict(turned)[0].probabilities == model.predict(upright)[0].probabilities
    assert turned.getexif().tobytes() == exif and turned.size == upright.size[::-1]


def test_a_picture_in_memory_that_cannot_be_read_has_a_row(model, folder) -> None:
    with Image.open(folder / "cut.png") as image:
        row = model.predict(image)[0]
    assert row.status == "truncated"


@pytest.mark.parametrize("wrong", [3, [None], np.zeros((4, 4, 7), np.uint8), np.zeros((4, 4, 3), np.float32)])
def test_inputs_of_another_kind_are_named(model, wrong) -> None:
    with pytest.raises(DataError, match="HS-PREDICT-003"):
        model.predict(wrong)


def test_top_limits_and_orders(model) -> None:
    row = model.predict(picture(2))[0]
    assert row.top(2) == sorted(row.probabilities.items(), key=lambda item: -item[1])[:2]
    limited = model.predict(picture(2), top=2)[0]
    assert list(limited.probabilities.items()) == row.top(2)
    assert limited.prediction == row.prediction


def test_probabilities_of_batches(model) -> None:
    pixels = np.stack([np.asarray(picture(i, (SIZE, SIZE))) for i in range(3)])
    from_pixels = model.probabilities(pixels)
    assert from_pixels.shape == (3, 3) and from_pixels.dtype == np.float64
    np.testing.assert_array_equal(from_pixels, model.probabilities(model.preprocess.normalize(pixels)))
    assert model.probabilities(pixels[:0]).shape == (0, 3)
    with pytest.raises(DataError, match=r"\[n, 64, 64, 3\]"):
        model.probabilities(pixels[:, :10])


def test_temperature_of_the_card_is_applied(run, tmp_path) -> None:
    shutil.copytree(run, tmp_path / "hot")
    card_path = tmp_path / "hot" / "model" / "model.json"
    card = json.loads(card_path.read_text(encoding="utf-8"))
    card_path.write_text(json.dumps({**card, "temperature": 2.0}), encoding="utf-8")
    one, two = (load(path).predict(picture(3))[0] for path in (run, tmp_path / "hot"))
    p = np.array(list(one.probabilities.values()))
    np.testing.assert_allclose(list(two.probabilities.values()), np.sqrt(p) / np.sqrt(p).sum(), atol=1e-9)


def test_table_has_every_input_and_round_trips(model, folder, tmp_path, capsys) -> None:
    output = tmp_path / "out" / "table.csv"
    counts = predict_to_table(model, folder, output)
    with open(output, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        "path",
        "status",
        "prediction",
        "confidence",
        "unknown",
        "unknown_score",
        *(f"prob:{c}" for c in CLASSES),
    ]
    expected = model.predict(folder)
    assert [row["path"] for row in rows] == [row.path for row in expected]
    for row, answer in zip(rows, expected, strict=True):
        if answer.ok:
            assert row["status"] == "ok" and row["prediction"] == answer.prediction
            assert float(row["confidence"]) == answer.confidence
            assert {c: float(row[f"prob:{c}"]) for c in CLASSES} == answer.probabilities
        else:
            assert row["status"] == f"{answer.status}: {answer.reason}"
            assert row["prediction"] == row["confidence"] == row["prob:猫"] == ""
    assert (counts.rows, counts.ok, counts.failed) == (12, 10, {"truncated": 1, "empty": 1})
    assert sum(counts.by_class.values()) == 10 and counts.passed_over == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "2 of 12 inputs could not be read: 1 empty, 1 truncated." in said.err
    assert "1 file in the folders is no picture: passed over" in said.err
    assert [path.name for path in output.parent.iterdir()] == ["table.csv"]
    json.dumps(counts.to_dict())


@pytest.mark.parametrize("output", [None, "-"])
def test_table_goes_to_standard_output(model, folder, capsys, output) -> None:
    predict_to_table(model, folder / "no-suffix", output)
    lines = capsys.readouterr().out.split("\n")
    assert lines[0].startswith('path,status,prediction,confidence,unknown,unknown_score,"prob:a,b"')
    assert len(lines) == 3 and ",ok," in lines[1]
    print("still open")
    assert capsys.readouterr().out == "still open\n"


def test_an_interrupted_table_leaves_the_old_one(model, folder, tmp_path, monkeypatch) -> None:
    output = tmp_path / "table.csv"
    output.write_text("old", encoding="utf-8")

    def broken(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(prediction_table.Layout, "cells", broken)
    with pytest.raises(KeyboardInterrupt):
        predict_to_table(model, folder, output)
    assert output.read_text(encoding="utf-8") == "old"
    assert [path.name for path in tmp_path.glob("*.csv")] == ["table.csv"]


def test_intensities_outside_the_range_of_training_are_counted(run, tmp_path, capsys) -> None:
    deep = load(run)
    Image.fromarray(np.full((80, 80), 3000, np.uint16)).save(tmp_path / "inside.png")
    Image.fromarray(np.full((80, 80), 9000, np.uint16)).save(tmp_path / "outside.png")
    files = [tmp_path / "inside.png", tmp_path / "outside.png"]
    assert [row.note for row in deep.predict(files)] == [RANGE_GUESSED, RANGE_GUESSED]
    deep.preprocess = Preprocess.from_dict(
        {**deep.preprocess.to_dict(), "intensity": {"black": 0.0, "white": 4095.0}}
    )
    assert deep.preprocess.intensity == IntensityRange(0.0, 4095.0)
    capsys.readouterr()
    counts = predict_to_table(deep, files, tmp_path / "t.csv")
    assert (counts.ok, counts.clipped, counts.depth_guessed) == (2, 1, 0)
    assert f"1 pictures: {CLIPPED}" in capsys.readouterr().err


def test_folders_without_pictures_are_an_error(model, tmp_path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="HS-PREDICT-004"):
        model.predict(tmp_path / "empty")
    assert model.predict([]) == []


def test_links_that_lead_back_are_not_followed(model, folder) -> None:
    (folder / "sub" / "back").symlink_to(folder, target_is_directory=True)
    assert len(model.predict(folder)) == 12


def test_a_missing_run_is_answered_with_those_beside_it(run) -> None:
    with pytest.raises(RunError, match="HS-PREDICT-001") as caught:
        load(run.parent / "beess")
    assert "Did you mean 'bees'?" in str(caught.value)
    assert "found beside it: bees" in str(caught.value)


def test_unfinished_and_damaged_runs_are_named(run, tmp_path) -> None:
    (tmp_path / "unfinished").mkdir()
    with pytest.raises(RunError, match="HS-PREDICT-001") as caught:
        load(tmp_path / "unfinished")
    assert "no finished model" in str(caught.value)
    shutil.copytree(run, tmp_path / "damaged")
    card = tmp_path / "damaged" / "model" / "model.json"
    whole = card.read_text(encoding="utf-8")
    for content in ("{", "[]", '{"format_version": 1}', whole.replace('"bilinear"', '"cubic"')):
        card.write_text(content, encoding="utf-8")
        with pytest.raises(ModelError, match="HS-MODEL-011"):
            load(tmp_path / "damaged")
    card.write_text(whole.replace('"format_version": 1', '"format_version": 99'), encoding="utf-8")
    with pytest.raises(ModelError, match="HS-MODEL-013"):
        load(tmp_path / "damaged")


def test_damaged_weights_are_named_at_the_first_prediction(run, tmp_path) -> None:
    shutil.copytree(run, tmp_path / "r")
    weights = tmp_path / "r" / "model" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(ModelError, match="HS-MODEL-012"):
        load(tmp_path / "r").predict(picture(0))


class TestForward:
    """The forward pass that evaluation and prediction share."""

    def test_evaluation_and_prediction_agree_to_the_bit(self, model, folder) -> None:
        paths = sorted(folder.rglob("猫*.png"))
        pictures = [model.preprocess.resized(read_rgb(path)) for path in paths]
        done = []
        table = forward.predict_probabilities(
            model.network, pictures, [8, 0, 3], model.preprocess, advance=done.append
        )
        rows = model.predict([paths[8], paths[0], paths[3]])
        np.testing.assert_array_equal(table, [list(row.probabilities.values()) for row in rows])
        assert sum(done) == 3
        assert forward.predict_probabilities(model.network, pictures, [], model.preprocess).shape == (0, 3)

    def test_training_state_survives(self, run) -> None:
        network = load(run).network.train()
        frozen = next(m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)).eval()
        before = {name: value.clone() for name, value in network.state_dict().items()}
        forward.logits_of(network, np.zeros((2, 3, SIZE, SIZE), np.float32))
        assert network.training and not frozen.training
        assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())

    def test_settings_of_training_do_not_leak_in(self, model) -> None:
        x = np.random.default_rng(0).normal(size=(3, 3, SIZE, SIZE)).astype(np.float32)
        plain = forward.logits_of(model.network, x)
        owner = torch.backends.mkldnn.matmul
        before = owner.fp32_precision
        try:
            owner.fp32_precision = "bf16"
            with torch.autocast("cpu", torch.bfloat16):
                inside = forward.logits_of(model.network, x)
            assert owner.fp32_precision == "bf16"
        finally:
            owner.fp32_precision = before
        np.testing.assert_array_equal(inside, plain)

    def test_values_that_are_not_finite_are_an_error(self, run) -> None:
        network = load(run).network
        with torch.no_grad():
            network.head.bias[1] = float("nan")
        with pytest.raises(ModelError, match="HS-MODEL-050"):
            forward.logits_of(network, np.zeros((1, 3, SIZE, SIZE), np.float32))

    def test_a_short_last_batch_is_filled_up(self) -> None:
        seen = []

        class Sum(torch.nn.Module):
            def forward(self, x):
                seen.append(len(x))
                return x.sum((2, 3))

        arrays = [np.full((3, 2, 2), i, np.float32) for i in range(5)]
        parts = [a.logits for a in forward.batched_answers(Sum(), iter(arrays), batch_size=2)]
        assert seen == [2, 2, 2]
        np.testing.assert_array_equal(np.concatenate(parts)[:, 0], [0, 4, 8, 12, 16])
        seen.clear()
        assert len(next(forward.batched_answers(Sum(), iter(arrays[:1]), batch_size=8)).logits) == 1
        assert seen == [1]

    @pytest.mark.parametrize("workers", [0, 1, 4])
    def test_prefetch_keeps_order_raises_in_place_and_reads_no_further_than_asked(self, workers) -> None:
        taken = []

        def items():
            for i in range(100):
                taken.append(i)
                yield i

        def work(i: int) -> int:
            if i == 6:
                raise ValueError("six")
            return i * i

        results = prefetched(work, items(), workers=workers, ahead=4)
        assert [next(results) for _ in range(3)] == [0, 1, 4]
        assert len(taken) <= 3 + 4
        with pytest.raises(ValueError, match="six"):
            list(results)

    def test_softmax_is_stable(self) -> None:
        table = softmax(np.array([[1e4, 0.0], [0.0, 0.0]], np.float32))
        np.testing.assert_array_equal(table, [[1.0, 0.0], [0.5, 0.5]])
