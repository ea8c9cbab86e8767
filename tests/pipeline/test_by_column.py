"""`--by COLUMN` of the user's own table: figures of evaluate and report."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import headstart
from headstart.errors import HeadstartError


@pytest.fixture
def run(tiny_run: headstart.Run, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_run.path, tmp_path / "run")


@pytest.fixture
def sites(tiny_run: headstart.Run, tmp_path: Path) -> Path:
    """A table beside a run on folders: path and camera, no class; one picture has none."""
    paths = tiny_run.predictions.of_split("test").paths
    lines = [f"{path},{'old' if i % 3 else 'new'}" for i, path in enumerate(paths)]
    lines[-1] = f"{paths[-1]},"
    table = tmp_path / "sites.csv"
    table.write_text("path,camera\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return table


def test_figures_of_a_column(run: Path, sites: Path, command: Callable[..., Any]) -> None:
    done = command("evaluate", run, "--by", "camera", "--table", sites, "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)["runs"][str(run)]["by"]
    assert found["column"] == "camera" and found["without_value"] == 1
    assert {one["value"]: one["accuracy"]["n"] for one in found["values"]} == {"old": 7, "new": 4}
    assert "1 picture has no value in 'camera'" in done.err and "too few to compare" in done.err
    done = command("report", run, "--by", "camera", "--table", sites)
    assert done.code == 0, done.err
    page = (run / "report.html").read_text("utf-8")
    assert "By camera" in page and "by their value in the column “camera”" in page
    assert "1 pictures have no value" in page and "None has 20 pictures beside 20 others" in page
    assert "## By camera" in (run / "report.md").read_text("utf-8")


def test_a_run_on_a_table_needs_no_other(tiny: dict[str, Any], shapes_folder: Path, tmp_path: Path) -> None:
    lines = [
        f"{path.relative_to(shapes_folder).as_posix()},{path.parent.name},{path.parts[-3]},lot {i % 2}"
        for i, path in enumerate(sorted(shapes_folder.rglob("*.png")))
    ]
    table = tmp_path / "pictures.csv"
    table.write_text("path,label,split,lot\n" + "\n".join(lines) + "\n", encoding="utf-8")
    settings = {**tiny, "epochs": 0, "images": shapes_folder}
    run = headstart.train(table, output=tmp_path / "runs", **settings)
    found = headstart.evaluate(run, by="lot")["runs"][str(run.path)]["by"]
    assert {one["value"] for one in found["values"]} == {"lot 0", "lot 1"} and found["n"] == 12


@pytest.mark.parametrize(
    ("by", "table", "code", "words"),
    [
        ("camra", "sites.csv", "HS-EVAL-074", "The table has no column 'camra'. Did you mean 'camera'?"),
        ("camera", None, "HS-EVAL-075", "There is no table that the column 'camera' could be taken from."),
        ("camera", "gone.csv", "HS-EVAL-075", "There is no table that the column 'camera'"),
        ("camera", "other.csv", "HS-EVAL-076", "The table names none of the pictures that are reported on."),
    ],
)
def test_what_cannot_be_grouped_by_is_said(
    run: Path, sites: Path, by: str, table: str | None, code: str, words: str
) -> None:
    train = sites.read_text("utf-8").replace("test/", "train/")
    (sites.parent / "other.csv").write_text(train, "utf-8")
    for ask in (headstart.evaluate, headstart.report):
        with pytest.raises(HeadstartError) as caught:
            ask(run, by=by, table=None if table is None else sites.parent / table)
        assert caught.value.code == code and words in caught.value.what
