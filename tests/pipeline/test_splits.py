"""Splits as a person meets them: groups, leaks with two accuracies, folds."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import headstart
from headstart.data.lock import read_lock
from headstart.errors import ConfigError, DataError
from headstart.launch import place
from shapes import draw, draw_folder


@pytest.fixture
def leaky(tmp_path: Path) -> Path:
    """``train/`` and ``test/``, two classes; of 8 test pictures a copy, nearly one, 2 of a group."""
    root = draw_folder(tmp_path / "leaky", {"train": 10, "test": 4}, kinds=("stripes", "rings"))
    shutil.copy(root / "train/stripes/003.png", root / "test/stripes/000.png")
    (root / "test/rings/003.png").unlink()
    draw("rings", 4).save(root / "test/rings/003.jpg", quality=90)
    for path in (root / "train/stripes/005.png", root / "test/stripes/001.png", root / "test/rings/002.png"):
        path.rename(path.with_name(f"lot7-{path.name}"))
    return root


def test_two_accuracies_of_a_split_that_leaks(
    leaky: Path, tmp_path: Path, tiny: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    run = headstart.train(leaky, output=tmp_path / "runs", group_by=r"lot(\d+)", **{**tiny, "epochs": 0})
    with open(run.path / "leaks.csv", newline="") as file:
        leaks = [tuple(row) for row in csv.reader(file)]
    assert leaks == [
        ("path", "kind", "like"),
        ("test/rings/003.jpg", "near", "train/rings/004.png"),
        ("test/rings/lot7-002.png", "group", "train/stripes/lot7-005.png"),
        ("test/stripes/000.png", "exact", "train/stripes/003.png"),
        ("test/stripes/lot7-001.png", "group", "train/stripes/lot7-005.png"),
    ]
    without = run.metrics["without_leaked"]
    assert without["leaked"] == {"exact": 1, "near": 1, "group": 2}
    assert run.metrics["accuracy"]["n"] == 8 and without["accuracy"]["n"] == 4
    leaked = {row[0] for row in leaks}
    rest = [
        row
        for row in csv.DictReader((run.path / "predictions.csv").read_text().splitlines())
        if row["split"] == "test" and row["path"] not in leaked
    ]
    right = sum(row["truth"] == row["prediction"] for row in rest)
    assert without["accuracy"]["value"] == right / 4 and without["balanced_accuracy"]["n"] == 4
    words = (
        f"accuracy {right / 4:.3f} (",
        "n = 4) without 4 pictures that training or choices know (1 exact copy, 1 near copy, 2 of groups on "
        "both sides)",
    )
    said = capsys.readouterr().err
    assert all(word in said for word in words)
    again = headstart.evaluate(run)
    assert again["runs"][str(run.path)]["without_leaked"] == without
    assert words[1] in capsys.readouterr().err
    assert {row.path: row for row in read_lock(run.path)}["train/stripes/lot7-005.png"].group_name == "7"


def test_other_pictures_of_groups_that_trained(
    leaky: Path, tmp_path: Path, tiny: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    run = headstart.train(leaky, output=tmp_path / "runs", group_by=r"lot(\d+)", **{**tiny, "epochs": 0})
    more = draw_folder(tmp_path / "more", 3, kinds=("stripes", "rings"))
    for number, path in enumerate(sorted(more.rglob("*.png"))):
        draw(path.parent.name, 500 + number).save(path.with_name(f"lot{6 + number % 2}-{path.name}"))
        path.unlink()
    shutil.copy(leaky / "train/stripes/000.png", more / "stripes/seen.png")
    capsys.readouterr()
    found = headstart.evaluate(run, data=more, group_by=r"lot(\d+)")["runs"][str(run.path)]
    said = capsys.readouterr().err
    assert "1 of 7 pictures trained or chose this model: they are left out" in said
    assert found["n"] == 6 and found["without_leaked"]["leaked"] == {"exact": 0, "near": 0, "group": 3}
    assert found["without_leaked"]["accuracy"]["n"] == 3
    assert (Path(found["folder"]) / "leaks.csv").exists()
    plain = headstart.evaluate(run, data=more)["runs"][str(run.path)]
    assert "without_leaked" not in plain and not (Path(plain["folder"]) / "leaks.csv").exists()


def test_nothing_is_left_of_a_test_part_of_copies(
    tmp_path: Path, tiny: dict[str, Any], command: Callable[..., Any], flags_of: Callable[..., list[str]]
) -> None:
    root = draw_folder(tmp_path / "copies", {"train": 6}, kinds=("stripes", "rings"))
    shutil.copytree(root / "train", root / "test")
    outcome = command(
        "train", root, "--output", tmp_path / "runs", *flags_of({**tiny, "epochs": 0}), "--json"
    )
    assert outcome.code == 0
    figures = json.loads(outcome.out)
    assert figures["without_leaked"]["leaked"] == {"exact": 12, "near": 0, "group": 0}
    assert figures["without_leaked"]["accuracy"] == {"value": None, "n": 0, "interval_95": None}
    assert (
        "warning: these are 12 pictures that training or choices know (12 exact copies): no picture is left "
        "to say how good the model is on new ones" in outcome.err
    )


def test_a_run_and_its_check_agree_about_groups(
    tmp_path: Path, tiny: dict[str, Any], command: Callable[..., Any]
) -> None:
    root = draw_folder(tmp_path / "d", 24, kinds=("stripes", "rings"))
    run = headstart.train(root, output=tmp_path / "runs", group_by=r"(\d\d)\.", **{**tiny, "epochs": 0})
    assert command("check", root, "--diff", run.path).out.startswith("no difference; 48 pictures unchanged")
    other = command("check", root, "--diff", run.path, "--group-by", r"(\d)\.").out
    assert "48 regrouped" in other and "(01 -> 1)" in other
    assert "group_by: (\\d\\d)\\." in (run.path / "config.yaml").read_text()


# --- folds ---------------------------------------------------------------------------------------------


@pytest.fixture
def shapes(tmp_path: Path) -> Path:
    return draw_folder(tmp_path / "shapes", 9, kinds=("dots", "rings"))


def test_folds_report_each_picture_once_by_a_model_that_never_saw_it(
    shapes: Path,
    tmp_path: Path,
    tiny: dict[str, Any],
    command: Callable[..., Any],
    flags_of: Callable[..., Any],
) -> None:
    flags = flags_of({**tiny, "epochs": 0, "folds": 3, "output": tmp_path / "runs"})
    outcome = command("train", shapes, *flags, "--group-by", r"(\d)\.png", "--json")
    assert outcome.code == 0, outcome.err
    figures = json.loads(outcome.out)
    run = headstart.Run(Path(figures["run"]))
    assert sorted(run.predictions.paths) == sorted(
        p.relative_to(shapes).as_posix() for p in shapes.rglob("*.png")
    )
    assert figures["accuracy"]["n"] == 18 and len(figures["folds"]) == 3
    assert sum(one["accuracy"]["n"] for one in figures["folds"]) == 18
    right = sum(one["accuracy"]["value"] * one["accuracy"]["n"] for one in figures["folds"])
    assert figures["accuracy"]["value"] == pytest.approx(right / 18)
    values = [one["accuracy"]["value"] for one in figures["folds"]]
    assert (figures["spread"]["lowest"], figures["spread"]["highest"]) == (min(values), max(values))
    reported: dict[str, str] = {}
    for number in ("1", "2", "3"):
        fold = headstart.Run(run.path / "folds" / number)
        rows = read_lock(fold.path)
        held_out = {row.path for row in rows if row.split == "val"}
        assert held_out == set(fold.predictions.of_split("val").paths)
        groups = {row.group for row in rows if row.split == "val"}
        assert groups.isdisjoint(row.group for row in rows if row.split != "val")
        assert (fold.path / "model" / "model.safetensors").exists()
        reported |= dict.fromkeys(held_out, number)
    assert len(reported) == 18
    assert not run.model.exists() and (run.path / "confusion.png").exists()
    assert "n = 18 pictures of 3 folds, each by a model that never saw it" in outcome.err
    assert "accuracy of single folds: mean" in outcome.err
    assert "no model of all pictures was made: train one without --folds" in outcome.err
    refused = command("evaluate", run.path)
    assert f"to do: It holds a run of each fold: give one of them, such as {run.path}/folds/1" in refused.err
    ended = command("train", "--resume", run.path)
    assert ended.code == 1 and "HS-RUN-022" in ended.err


@pytest.mark.parametrize("epochs", [0, 2])  # without and with a checkpoint
def test_folds_go_on_after_a_stop_and_keep_what_has_ended(
    shapes: Path, tmp_path: Path, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch, epochs: int
) -> None:
    import headstart.run

    settings = {**tiny, "epochs": epochs, "folds": 3}
    whole = headstart.train(shapes, output=tmp_path / "whole", **settings)
    evaluate, calls = headstart.run.evaluate_trained, []

    def stops(*arguments: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return evaluate(*arguments, **named)

    monkeypatch.setattr(headstart.run, "evaluate_trained", stops)
    with pytest.raises(KeyboardInterrupt):
        headstart.train(shapes, output=tmp_path / "runs", **settings)
    monkeypatch.undo()
    folder = tmp_path / "runs" / "shapes"
    first = folder / "folds" / "1" / "model" / "model.safetensors"
    before = first.stat().st_mtime_ns
    again = headstart.train(resume=folder)
    assert first.stat().st_mtime_ns == before
    assert again.path == folder and not again.interrupted
    assert again.predictions.paths == whole.predictions.paths
    assert (again.predictions.probabilities == whole.predictions.probabilities).all()
    assert again.metrics["accuracy"] == whole.metrics["accuracy"]


def test_folds_that_cannot_be_had(shapes: Path, tmp_path: Path, command: Callable[..., Any]) -> None:
    runs = tmp_path / "runs"
    both = command(
        "train", shapes, "--folds", 3, "--fold", "1/3", "--budget", "1m", "--refit", "all", "-o", runs
    )
    assert both.code == 2 and not runs.exists()
    for words in ("--fold one of them", "--budget is the time of one training", "--refit all leaves a model"):
        assert words in both.err
    many = command("train", shapes, "--folds", 30, "-o", runs)
    assert many.code == 2 and "HS-DATA-063" in many.err and not runs.exists()
    assert (
        "fold must be one of several, such as 2/5, but is '6/5'"
        in command("train", shapes, "--fold", "6/5", "-o", runs).err
    )
    assert "folds must be 2 or more, but is 1" in command("train", shapes, "--folds", 1, "-o", runs).err
    tune = command("tune", shapes, "--folds", 3, "-o", runs)
    assert "--folds and --fold measure settings, which tune chooses" in tune.err


def test_one_fold_alone_is_that_of_all(
    shapes: Path, tmp_path: Path, tiny: dict[str, Any], command: Callable[..., Any]
) -> None:
    one = headstart.train(shapes, output=tmp_path / "runs", fold="2/3", **{**tiny, "epochs": 0})
    assert "of fold 2/3" in (one.path / "log.txt").read_text()
    assert command("check", shapes, "--diff", one.path).out.startswith("no difference")


def test_folds_of_pictures_that_change_meanwhile(
    shapes: Path, tmp_path: Path, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import headstart.run

    evaluate = headstart.run.evaluate_trained

    def adds_a_picture(*arguments: Any, **named: Any) -> Any:
        draw("dots", 700).save(shapes / "dots" / "late.png")
        return evaluate(*arguments, **named)

    monkeypatch.setattr(headstart.run, "evaluate_trained", adds_a_picture)
    with pytest.raises(DataError) as caught:
        headstart.train(shapes, output=tmp_path / "runs", folds=3, **{**tiny, "epochs": 0})
    assert str(caught.value) == (
        "HS-DATA-018: The pictures are not those that the first fold was trained on.\n"
        f"  where: {tmp_path}/runs/shapes/folds/2\n"
        "  - 1 are new or other, 0 are gone\n"
        "  to do: Put them back and delete this fold's folder, or start a new run."
    )
    assert (tmp_path / "runs/shapes/folds/1/metrics.json").exists()


def test_folds_of_groups_that_change_meanwhile(
    shapes: Path, tmp_path: Path, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a picture could be reported twice, or by a model that saw it."""
    import headstart.run

    table, evaluate = shapes / "labels.csv", headstart.run.evaluate_trained

    def write(together: int) -> None:
        names = sorted(path.relative_to(shapes) for path in shapes.rglob("*.png"))
        rows = [f"{name},{name.parent},lot {int(name.stem) // together}\n" for name in names]
        table.write_text("file,label,lot\n" + "".join(rows))

    def regroups(*arguments: Any, **named: Any) -> Any:
        write(3)
        return evaluate(*arguments, **named)

    write(1)
    monkeypatch.setattr(headstart.run, "evaluate_trained", regroups)
    with pytest.raises(DataError) as caught:
        headstart.train(table, output=tmp_path / "runs", folds=3, group_by="lot", **{**tiny, "epochs": 0})
    assert caught.value.code == "HS-DATA-018"
    assert caught.value.details == ("16 are new or other, 16 are gone",)  # each lot 0 is what it was


def test_folds_go_on_in_another_folder(
    shapes: Path, tmp_path: Path, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a list of files to leave out, and the runs among the pictures, both named from where one was."""
    import headstart.run

    evaluate, calls = headstart.run.evaluate_trained, []

    def stops(*arguments: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return evaluate(*arguments, **named)

    (shapes / "out.csv").write_text("path\ndots/000.png\n")
    monkeypatch.chdir(shapes)
    monkeypatch.setattr(headstart.run, "evaluate_trained", stops)
    with pytest.raises(KeyboardInterrupt):
        headstart.train(".", exclude_list="out.csv", folds=3, **{**tiny, "epochs": 0})
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    run = headstart.train(resume=shapes / "runs" / "shapes")
    assert len(run.predictions.paths) == 17 and "dots/000.png" not in run.predictions.paths


def test_a_cross_validation_has_the_findings_of_its_folds(
    leaky: Path, tmp_path: Path, tiny: dict[str, Any], command: Callable[..., Any]
) -> None:
    for number in range(5, 10):
        (leaky / "train/rings" / f"{number:03}.png").unlink()
    settings = {**tiny, "epochs": 0, "folds": 2, "balance": "loss"}
    run = headstart.train(leaky / "train", output=tmp_path / "runs", **settings)
    folds = [headstart.Run(run.path / "folds" / number).findings for number in ("1", "2")]
    assert folds[0] and all(run.findings.count(finding) == 1 for fold in folds for finding in fold)
    assert run.metrics["balance"] == "loss"
    refused = command("check", leaky / "train", "--diff", run.path)
    assert refused.code == 1 and "HS-RUN-040" in refused.err
    assert f"to do: It holds a run of each fold: give one of them, such as {run.path}/folds/1" in refused.err


def test_folds_are_trained_in_one_process(shapes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    two = dataclasses.replace(place(), size=2)
    monkeypatch.setattr("headstart.run_folds.place", lambda: two)
    with pytest.raises(ConfigError) as caught:
        headstart.train(shapes, folds=5)
    assert str(caught.value) == (
        "HS-CONFIG-021: Folds are trained one after the other, in one process.\n"
        "  to do: Start one process; or give each machine folds of its own: --fold 1/5"
    )
