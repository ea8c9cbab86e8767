"""`headstart evaluate --corruptions`: from a run to a table, a plot, a sentence, and the report."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import headstart
from headstart.data.corruptions import ALL, CORRUPTIONS, View
from headstart.data.lock import read_lock
from headstart.data.preprocess import Preprocess
from headstart.errors import DataError, RunError
from headstart.model.card import amend_card, read_card
from shapes import draw_folder


@pytest.fixture
def own_run(tiny_run: headstart.Run, tmp_path: Path) -> Path:
    """A run that may be changed, with its pictures where they were."""
    return Path(shutil.copytree(tiny_run.path, tmp_path / "run"))


@pytest.fixture(scope="module")
def measured(
    tiny_run: headstart.Run, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    run = Path(shutil.copytree(tiny_run.path, tmp_path_factory.mktemp("measured") / "run"))
    return run, headstart.evaluate(run, corruptions=True)["runs"][str(run)]


def rows_of(folder: Path) -> list[dict[str, str]]:
    with open(folder / "robustness.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_each_answer_is_that_of_the_model_to_the_corrupted_picture(
    measured: tuple[Path, dict[str, Any]], shapes_folder: Path
) -> None:
    run, result = measured
    model, preprocess = headstart.load(run), Preprocess.from_dict(read_card(run / "model")["preprocess"])
    right = np.zeros(len(ALL), int)
    rows = [row for row in read_lock(run) if row.split == "test"]
    for row in rows:
        pixels = preprocess.resized(Image.open(shapes_folder / row.path).convert("RGB"))
        view = View(pixels, row.file_hash, preprocess.img_size)
        told = model.predict([CORRUPTIONS[name](view, strength) for name, strength in ALL])
        right += [one.prediction == row.class_name for one in told]
    assert [one["correct"] for one in result["robustness"]["rows"]] == right.tolist()
    assert {one["n"] for one in result["robustness"]["rows"]} == {len(rows)} == {12}


def test_table_plot_and_json_say_the_same(
    own_run: Path, measured: tuple[Path, dict[str, Any]], command: Callable[..., Any]
) -> None:
    done = command("evaluate", own_run, "--corruptions", "--json", "--workers", 1)
    assert done.code == 0, done.err
    told = json.loads(done.out)["runs"][str(own_run)]["robustness"]
    assert told == measured[1]["robustness"]  # whatever the number of threads
    assert told["sentence"] in done.err
    assert f"into its report: headstart report {own_run}" in done.err
    for row, one in zip(rows_of(own_run), told["rows"], strict=True):
        assert row == {name: str(value) for name, value in one.items()}
    assert (own_run / "robustness.png").stat().st_size > 1000


def test_nothing_is_corrupted_unless_asked_for(tiny_run: headstart.Run) -> None:
    result = headstart.evaluate(tiny_run)["runs"][str(tiny_run.path)]
    assert "robustness" not in result
    assert not (tiny_run.path / "robustness.csv").exists()


def test_on_other_pictures_it_stands_beside_their_figures(
    own_run: Path, tmp_path: Path, measured: tuple[Path, dict[str, Any]]
) -> None:
    data = draw_folder(tmp_path / "other", {"train": 0, "test": 24})
    result = headstart.evaluate(own_run, data=data, corruptions=True)["runs"][str(own_run)]
    folder = own_run / "evaluations" / "other"
    assert {row["n"] for row in rows_of(folder)} == {str(result["n"])}
    assert not (own_run / "robustness.csv").exists()
    assert "robustness" not in json.loads((folder / "metrics.json").read_text())
    page = headstart.report(folder).read_text(encoding="utf-8")
    assert 'id="robustness"' in page


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_report_has_a_section(measured: tuple[Path, dict[str, Any]], lang: Any) -> None:
    run, result = measured
    page = headstart.report(run, lang=lang)
    html, card = page.read_text(encoding="utf-8"), page.with_suffix(".md").read_text(encoding="utf-8")
    title = {"en": "Corrupted pictures", "zh": "受损的图片"}[lang]
    for text in (html, card):
        assert title in text
        assert {"en": "Worst: ", "zh": "最差："}[lang] in text
        assert {"en": "pixelation", "zh": "像素化"}[lang] in text
    accuracy = next(row for row in result["robustness"]["rows"] if row["corruption"] == "blur")["accuracy"]
    assert f"{100 * accuracy:.1f}\N{NO-BREAK SPACE}%" in html
    assert card.count("\n| ") > 12
    lines = [
        line for line in card.splitlines() if line.startswith(f"| {'noise' if lang == 'en' else '噪声'} |")
    ]
    assert len(lines) == 1 and lines[0].count("|") == 5


def test_a_report_without_it_has_none(tiny_run: headstart.Run) -> None:
    assert 'id="robustness"' not in (tiny_run.path / "report.html").read_text(encoding="utf-8")


def test_pictures_that_have_moved_or_changed_are_all_named(
    own_run: Path, shapes_folder: Path, tmp_path: Path, command: Callable[..., Any]
) -> None:
    moved = Path(shutil.copytree(shapes_folder, tmp_path / "moved"))
    figures = json.loads((own_run / "metrics.json").read_text())
    (own_run / "metrics.json").write_text(json.dumps(figures | {"root": str(tmp_path / "nowhere")}))
    before = sorted(path.name for path in own_run.iterdir())
    gone = command("evaluate", own_run, "--corruptions")
    assert gone.code == 2
    assert "error HS-EVAL-060: 12 of 12 reported pictures are not there as they were." in gone.err
    assert "the file does not exist: test/dots/000.png" in gone.err
    assert "headstart evaluate RUN --corruptions --images FOLDER" in gone.err
    assert command("evaluate", own_run, "--corruptions", "--images", moved).code == 0
    (own_run / "robustness.csv").unlink()
    (own_run / "robustness.png").unlink()

    (moved / "test" / "dots" / "000.png").write_bytes((moved / "test" / "dots" / "001.png").read_bytes())
    (moved / "test" / "rings" / "002.png").unlink()
    with pytest.raises(DataError) as caught:
        headstart.evaluate(own_run, corruptions=True, images=moved)
    assert caught.value.code == "HS-EVAL-060"
    assert caught.value.what == "2 of 12 reported pictures are not there as they were."
    changed, missing = caught.value.details
    assert changed == "changed: test/dots/000.png"
    assert missing.endswith(": test/rings/002.png")
    assert sorted(path.name for path in own_run.iterdir()) == before


def test_a_model_that_knows_the_reported_pictures_is_refused(own_run: Path) -> None:
    amend_card(own_run / "model", {"refit": "all"})
    with pytest.raises(RunError) as caught:
        headstart.evaluate(own_run, corruptions=True)
    assert str(caught.value) == (
        "HS-EVAL-062: The model was trained on its reported pictures in the end (--refit all): corrupted "
        "ones would not be new to it.\n"
        f"  where: {own_run}\n"
        "  to do: Give pictures that it has not seen: headstart evaluate RUN DATA --corruptions"
    )


def test_grey_and_tiny_pictures(tmp_path: Path, tiny: dict[str, Any]) -> None:
    data = draw_folder(tmp_path / "data", {"train": 6, "test": 2})
    for kind in ("dots", "rings"):
        Image.open(data / "test" / kind / "000.png").convert("L").save(data / "test" / kind / "000.png")
        Image.new("RGB", (1, 1), (9, 200, 30)).save(data / "test" / kind / "001.png")
    Image.new("L", (3, 40), 77).save(data / "test" / "stripes" / "001.png")
    fields = {**tiny, "epochs": 1, "fit": "pad"}
    run = headstart.train(data, output=tmp_path / "runs", **fields)
    result = headstart.evaluate(run, corruptions=True)["runs"][str(run.path)]
    assert {row["n"] for row in result["robustness"]["rows"]} == {run.metrics["n"]}
