"""`headstart report` on real runs: at the end of training, again, in Chinese, moved, compared."""

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
def moved(tiny_run: headstart.Run, tmp_path: Path) -> Path:
    """A copy of a run that may be changed."""
    return shutil.copytree(tiny_run.path, tmp_path / "runs" / "shapes")


def test_every_run_ends_with_a_report(tiny_run: headstart.Run) -> None:
    page = (tiny_run.path / "report.html").read_text(encoding="utf-8")
    accuracy = tiny_run.metrics["accuracy"]
    assert f'<p class="big">{100 * accuracy["value"]:.1f}\N{NO-BREAK SPACE}%</p>' in page
    assert page.count("<img") > 3 and "cannot be read" not in page
    assert "12 of" in page or "of 12 pictures of test" in page
    assert tiny_run.metrics["fingerprint"] in page
    assert "train 18, selection 6, test 12" in (tiny_run.path / "report.md").read_text(encoding="utf-8")


def test_written_again_it_is_the_same(moved: Path, command: Callable[..., Any]) -> None:
    before = (moved / "report.html").read_bytes()
    (moved / "report.html").unlink()
    (moved / "report.md").unlink()
    done = command("report", moved)
    assert done.code == 0
    assert done.out.split() == [str(moved / "report.html"), str(moved / "report.md")]
    assert (moved / "report.html").read_bytes() == before
    done = command("report", moved, "--lang", "zh", "--json")
    assert json.loads(done.out) == {"page": str(moved / "report.html"), "card": str(moved / "report.md")}
    assert '<html lang="zh">' in (moved / "report.html").read_text(encoding="utf-8")


def test_pictures_are_found_where_they_are_now(moved: Path, shapes_folder: Path, tmp_path: Path) -> None:
    figures = json.loads((moved / "metrics.json").read_text(encoding="utf-8"))
    figures["root"] = str(tmp_path / "gone")
    (moved / "metrics.json").write_text(json.dumps(figures), encoding="utf-8")
    page = headstart.report(moved).read_text(encoding="utf-8")
    assert "cannot be read" in page and "<img" not in page
    page = headstart.report(moved, images=shapes_folder).read_text(encoding="utf-8")
    assert "cannot be read" not in page and "<img" in page
    del figures["root"]  # a run of before it was noted: its settings name the data
    (moved / "metrics.json").write_text(json.dumps(figures), encoding="utf-8")
    assert "<img" in headstart.report(moved).read_text(encoding="utf-8")


def test_runs_are_compared_on_the_same_pictures(moved: Path) -> None:
    other = shutil.copytree(moved, moved.parent / "other")
    page = headstart.report(moved, against=[other]).read_text(encoding="utf-8")
    assert "The same 12 pictures, answered by several runs" in page
    assert "These pictures cannot tell" in page


def test_a_run_of_a_comparison_stands_beside_the_others_of_its_seed(moved: Path) -> None:
    for name in ("finetune-seed0", "scratch-seed0", "scratch-seed1"):
        shutil.copytree(moved, moved.parent / name)
    run = moved.parent / "finetune-seed0"
    assert "answered by several runs" not in headstart.report(run).read_text(encoding="utf-8")
    (moved.parent / "comparison.json").write_text("{}", encoding="utf-8")
    page = headstart.report(run).read_text(encoding="utf-8")
    assert "These pictures cannot tell finetune-seed0 and scratch-seed0 apart." in page
    assert "scratch-seed1" not in page


def test_an_evaluation_has_its_report(moved: Path, shapes_folder: Path, tmp_path: Path) -> None:
    fresh = tmp_path / "more"
    shutil.copytree(shapes_folder / "test", fresh)
    headstart.evaluate(moved, data=fresh)
    page = headstart.report(moved / "evaluations" / "more", images=fresh).read_text(encoding="utf-8")
    assert "shapes: more" in page and "of 12 pictures" in page


def test_what_cannot_be_reported_is_said(moved: Path, tmp_path: Path, command: Callable[..., Any]) -> None:
    (moved / "predictions.csv").unlink()
    with pytest.raises(HeadstartError) as caught:
        headstart.report(moved)
    assert caught.value.code == "HS-EVAL-001"
    assert command("report", tmp_path / "nothing").code == 1
    assert "HS-EVAL-001" in command("report", tmp_path / "nothing").err
    with pytest.raises(HeadstartError) as caught:
        headstart.report(moved, lang="fr")  # type: ignore[arg-type]
    assert str(caught.value) == (
        "HS-EVAL-040: There are no reports in the language 'fr'.\n  to do: Take one of: en, zh"
    )
    with pytest.raises(HeadstartError) as caught:
        headstart.report(moved, images=tmp_path / "nowhere")
    assert caught.value.code == "HS-DATA-001"


def test_a_report_that_fails_costs_a_warning(
    shapes_folder: Path,
    tiny: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def broken(*_: object) -> None:
        raise OSError("no room")

    monkeypatch.setattr("headstart.run_report.write_report", broken)
    run = headstart.train(shapes_folder, output=tmp_path, **{**tiny, "epochs": 0})
    assert run.accuracy >= 0 and not (run.path / "report.html").exists()
    said = capsys.readouterr().err
    assert "warning: report.html cannot be written: no room. The run is complete without it." in said
