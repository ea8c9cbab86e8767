"""Pictures of none of the classes, from training to prediction."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import headstart
from headstart.errors import ConfigError
from headstart.evaluation.unknown import FILE
from headstart.metrics import wilson_interval
from headstart.run_unknown import sampled
from shapes import draw_folder


def card_of(run: headstart.Run) -> dict[str, Any]:
    card: dict[str, Any] = json.loads((run.model / "model.json").read_text("utf-8"))
    return card


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of none of the classes."""
    folder = tmp_path_factory.mktemp("noise") / "noise"
    folder.mkdir()
    for number in range(6):
        pixels = np.random.default_rng(number).integers(0, 256, (72, 72, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def test_every_prediction_has_a_flag_and_a_score(lite0_run: headstart.Run) -> None:
    facts = card_of(lite0_run)["unknown"]
    assert facts["file"] == FILE and facts["bytes"] == (lite0_run.model / FILE).stat().st_size
    # 6 selection pictures cannot promise 5 %: all 24 decide, out of fold
    assert (facts["fitted_on"], facts["pictures"], facts["false_rejects"]) == ("out of fold", 24, 0.05)
    table = lite0_run.predictions
    assert table.unknown is not None and table.unknown_score is not None
    np.testing.assert_array_equal(table.unknown, table.unknown_score > 1)
    test = table.of_split("test")
    figure = lite0_run.metrics["false_rejects"]
    assert test.unknown is not None
    assert figure["value"] == test.unknown.mean() and figure["n"] == 12
    assert figure["interval_95"] == list(wilson_interval(int(test.unknown.sum()), 12))
    log = (lite0_run.path / "log.txt").read_text("utf-8")
    assert f"flagged as unknown, though of a known class: {figure['value']:.3f}" in log


def test_prediction_and_evaluation_give_the_scores_of_the_run(
    lite0_run: headstart.Run, shapes_folder: Path, noise: Path
) -> None:
    test = lite0_run.predictions.of_split("test")
    model = headstart.load(lite0_run.path)
    rows = model.predict([shapes_folder / path for path in test.paths], batch_size=8)
    assert test.unknown_score is not None
    np.testing.assert_allclose([row.unknown_score for row in rows], test.unknown_score, rtol=1e-4)
    found = headstart.evaluate(lite0_run, data=shapes_folder)["runs"][str(lite0_run.path)]
    assert found["false_rejects"] == lite0_run.metrics["false_rejects"]
    strange = model.predict(noise)
    assert all(row.unknown and row.unknown_score > 1 for row in strange)


def test_the_table_of_predict_says_it(
    command: Any, lite0_run: headstart.Run, noise: Path, tmp_path: Path
) -> None:
    (tmp_path / "new").mkdir()
    shutil.copy(noise / "0.png", tmp_path / "new")
    (tmp_path / "new" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    done = command("predict", lite0_run.path, tmp_path / "new", "-o", tmp_path / "o.csv")
    assert "; 1 flagged as unknown" in done.err
    with open(tmp_path / "o.csv", encoding="utf-8", newline="") as file:
        strange, broken = csv.DictReader(file)
    assert strange["unknown"] == "true" and float(strange["unknown_score"]) > 1
    assert broken["unknown"] == broken["unknown_score"] == ""


def test_a_model_of_before_says_nothing(
    lite0_run: headstart.Run, shapes_folder: Path, tmp_path: Path
) -> None:
    old = tmp_path / "old"
    shutil.copytree(lite0_run.path, old)
    card = card_of(lite0_run)
    del card["unknown"]
    (old / "model" / "model.json").write_text(json.dumps(card), "utf-8")
    (old / "model" / FILE).unlink()
    row = headstart.load(old).predict(next((shapes_folder / "test" / "dots").iterdir()))[0]
    assert row.ok and row.unknown is None and row.unknown_score is None


def test_other_pictures_are_reported_and_take_no_part(
    shapes_folder: Path, noise: Path, tiny: dict[str, Any], tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(shapes_folder, data)
    inside = data / "train" / "noise"  # would be taken for a class
    shutil.copytree(noise, inside)
    (inside / "broken.png").write_bytes(b"nothing")
    shutil.copy(data / "train" / "dots" / "000.png", inside / "known.png")
    plain = headstart.train(shapes_folder, output=tmp_path, **tiny)
    run = headstart.train(data, output=tmp_path, other=inside, **tiny)
    other = run.metrics["unknown"]["other"]
    assert (other["n"], other["unread"], other["in_the_data"]) == (6, 1, 1)
    assert 0 <= other["flagged"] <= 6 and 0 <= other["auroc"] <= 1
    assert "flagged as unknown of --other: " in (run.path / "log.txt").read_text("utf-8")
    assert run.predictions.classes == plain.predictions.classes
    assert card_of(run)["unknown"]["threshold"] == card_of(plain)["unknown"]["threshold"]


def test_a_folder_without_other_pictures_is_refused_before_training(
    shapes_folder: Path, tiny: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        headstart.train(shapes_folder, output=tmp_path / "runs", other=tmp_path / "none", **tiny)
    assert str(caught.value) == (
        "HS-CONFIG-050: The other pictures cannot be read: There is no such folder.\n"
        f"  where: {tmp_path / 'none'}\n"
        "  to do: Name a folder with pictures of none of the classes."
    )
    with pytest.raises(ConfigError, match="HS-CONFIG-051"):
        headstart.train(shapes_folder, output=tmp_path / "runs", other=shapes_folder, **tiny)
    assert not (tmp_path / "runs").exists()


def test_a_higher_rate_means_a_lower_threshold(
    shapes_folder: Path, tiny: dict[str, Any], tmp_path: Path, tiny_run: headstart.Run
) -> None:
    run = headstart.train(shapes_folder, output=tmp_path, false_rejects=0.3, **tiny)
    facts, before = card_of(run)["unknown"], card_of(tiny_run)["unknown"]
    assert facts["false_rejects"] == 0.3 and facts["fitted_on"] == "selection"  # 6 are enough for 0.3
    assert facts["threshold"] < before["threshold"]


def test_a_refit_on_everything_learns_anew_what_is_familiar(
    shapes_folder: Path, tiny: dict[str, Any], tmp_path: Path
) -> None:
    run = headstart.train(shapes_folder, output=tmp_path, refit="all", **tiny)
    facts = card_of(run)["unknown"]
    assert run.metrics["unknown"]["statistics_of"] == 24  # of the model that was measured
    assert (facts["statistics_of"], facts["pictures"], facts["fitted_on"]) == (36, 36, "out of fold")
    assert headstart.load(run.path).predict(shapes_folder / "test" / "dots")[0].unknown_score is not None


def test_folds_report_the_flags_of_all(shapes_folder: Path, tiny: dict[str, Any], tmp_path: Path) -> None:
    data = draw_folder(tmp_path / "plain", 8)
    run = headstart.train(data, output=tmp_path, folds=2, **{**tiny, "epochs": 1})
    assert run.predictions.unknown is not None and run.metrics["false_rejects"]["n"] == 24
    assert run.metrics["unknown"]["false_rejects"] == 0.05


def test_a_sample_takes_as_many_of_each_class_as_it_can() -> None:
    labels = np.repeat([0, 1, 2], [50, 5, 20])
    ids = sampled(labels, np.arange(75), 24)
    assert np.bincount(labels[ids]).tolist() == [10, 5, 9] or np.bincount(labels[ids]).tolist() == [9, 5, 10]
    assert sampled(labels, np.arange(75), 75).tolist() == list(range(75))
    np.testing.assert_array_equal(ids, sampled(labels, np.arange(75), 24))
    assert (np.diff(ids) > 0).all()
