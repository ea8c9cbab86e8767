"""From flipped labels to a table of decisions and a run without them."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import headstart
from headstart.data.lock import read_lock
from headstart.errors import HeadstartError
from headstart.evaluation.predictions import Predictions
from headstart.run_suspects import ranking_of
from shapes import draw_folder

FLIPPED = ("train/dots/003.png", "train/stripes/005.png")


@pytest.fixture(scope="module")
def flipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pictures lie in a wrong folder."""
    root = draw_folder(tmp_path_factory.mktemp("flipped") / "shapes", {"train": 16, "test": 3})
    for path, kind in zip(FLIPPED, ("rings", "dots"), strict=True):
        (root / path).unlink()
        source = root / "train" / kind / "009.png"
        source.rename(root / path)
    return root


@pytest.fixture(scope="module")
def run(flipped: Path, tmp_path_factory: pytest.TempPathFactory) -> headstart.Run:
    output = tmp_path_factory.mktemp("suspects") / "runs"
    return headstart.train(flipped, strategy="probe", img_size=64, threads=1, workers=1, output=output)


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_keeps_what_probes_say_that_did_not_see_the_picture(run: headstart.Run) -> None:
    table = Predictions.read_csv(run.path / "out_of_fold.csv")
    trained = [row for row in read_lock(run.path) if row.split == "train"]
    assert list(table.paths) == [row.path for row in trained]
    assert [table.classes[t] for t in table.truth] == [row.class_name for row in trained]
    loss, accuracy = (float(run.results[0][key]) for key in ("val_loss", "val_accuracy"))
    assert table.correct.mean() == pytest.approx(accuracy)
    assert loss > 0


def test_flipped_labels_come_first_and_are_dropped(
    run: headstart.Run, flipped: Path, tmp_path: Path, command: Callable[..., Any]
) -> None:
    assert set(FLIPPED) <= {row.path for row in ranking_of(run.path).rows[:5]}
    place = tmp_path / "suspects.csv"
    done = command("suspects", run.path, "--output", place, "--json")
    told = json.loads(done.out)
    rows = rows_of(place)
    assert told == {"table": str(place), "page": str(place.with_suffix(".html")), "suspects": len(rows)}
    assert list(rows[0]) == ["path", "class", "suggested", "score", "decision"]
    assert set(FLIPPED) <= {row["path"] for row in rows}
    assert {row["decision"] for row in rows} == {"keep"}
    scores = [float(row["score"]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    page = place.with_suffix(".html").read_text(encoding="utf-8")
    assert page.count("<img") == len(rows) and "https:" not in page
    decided = place.read_text(encoding="utf-8").splitlines()
    decided = [line.removesuffix("keep") + "drop" if line.startswith(FLIPPED) else line for line in decided]
    place.write_text("\n".join(decided) + "\n", encoding="utf-8")
    again = headstart.train(
        flipped, strategy="probe", img_size=64, threads=1, workers=1, output=tmp_path, overrides=place
    )
    states = {row.path: row.status for row in read_lock(again.path)}
    assert [states[path] for path in FLIPPED] == ["excluded", "excluded"]
    assert [
        p for p, s in zip(again.predictions.paths, again.predictions.splits, strict=True) if s == "test"
    ] == [p for p, s in zip(run.predictions.paths, run.predictions.splits, strict=True) if s == "test"]
    assert "2 dropped" in (again.path / "log.txt").read_text(encoding="utf-8")


def test_decisions_that_were_made_are_kept(
    run: headstart.Run, tmp_path: Path, command: Callable[..., Any]
) -> None:
    place = tmp_path / "suspects.csv"
    place.write_text(
        f"path,class,suggested,score,decision\n{FLIPPED[0]},dots,rings,0.9,relabel\nother.png,dots,,,drop\n",
        encoding="utf-8",
    )
    command("suspects", run.path, "--output", place)
    rows = {row["path"]: row["decision"] for row in rows_of(place)}
    assert rows[FLIPPED[0]] == "relabel" and rows["other.png"] == "drop" and rows[FLIPPED[1]] == "keep"
    place.write_text("path,decision\na.png,no\n", encoding="utf-8")
    done = command("suspects", run.path, "--output", place)
    assert done.code == 2 and "HS-DATA-081" in done.err
    assert place.read_text(encoding="utf-8") == "path,decision\na.png,no\n"


def test_columns_of_a_person_are_not_lost(
    run: headstart.Run, tmp_path: Path, command: Callable[..., Any]
) -> None:
    place = tmp_path / "suspects.csv"
    place.write_text("path,decision,remark\na.png,keep,mine\n", encoding="utf-8")
    done = command("suspects", run.path, "--output", place)
    assert done.code == 1
    assert "HS-EVAL-043: The table has columns that would be lost: remark." in done.err
    assert place.read_text(encoding="utf-8").endswith("a.png,keep,mine\n")


def test_the_report_shows_suspects(run: headstart.Run) -> None:
    page = (run.path / "report.html").read_text(encoding="utf-8")
    section = page.partition('id="suspects"')[2].partition("</section>")[0]
    assert all(path in section for path in FLIPPED) and "Decide on them with headstart suspects" in section


def test_a_run_without_such_probabilities(
    run: headstart.Run, tmp_path: Path, command: Callable[..., Any]
) -> None:
    copy = shutil.copytree(run.path, tmp_path / "copy")
    (copy / "out_of_fold.csv").unlink()
    done = command("suspects", copy)
    assert done.code == 1
    assert "HS-EVAL-042: This run has no probabilities of its training pictures" in done.err
    assert 'id="suspects"' not in headstart.report(copy).read_text(encoding="utf-8")


def test_folds_report_every_picture(flipped: Path, tmp_path: Path) -> None:
    for fields in ({"folds": 3}, {"fold": "1/3"}):
        with pytest.raises(HeadstartError) as caught:
            headstart.train(flipped, overrides=tmp_path / "d.csv", output=tmp_path / "runs", **fields)
        assert caught.value.code == "HS-CONFIG-007"
        assert "--overrides changes no reported label" in caught.value.details[0]
    assert not (tmp_path / "runs").exists()
