"""`headstart check` from the command line, in training, and against a run."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

import headstart
from headstart.evaluation.leaks import features_of
from shapes import draw, draw_folder

Command = Callable[..., Any]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    draw_folder(tmp_path / "data", {"train": 6, "test": 4})
    return tmp_path / "data"


def test_the_table_the_page_and_the_fix_list(command: Command, data: Path) -> None:
    (data / "train/dots/empty.jpg").write_bytes(b"")
    done = command("check", data, "--fix-list", "out.csv")
    assert done.code == 0, done.err
    assert "WARNING  left out: 1 empty file   [HS-CHECK-001]" in done.out
    assert "page: check/data.html" in done.err and "out.csv: 1 files to leave out" in done.err
    assert Path("check/data.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    with open("out.csv", encoding="utf-8", newline="") as file:
        assert [row["path"] for row in csv.DictReader(file)] == ["train/dots/empty.jpg"]
    assert command("check", data, "--no-page", "-o", "other").code == 0
    assert not Path("other").exists()


def test_json_and_a_page_elsewhere(command: Command, data: Path) -> None:
    done = command("check", data, "--json", "--html", "here.html")
    told = json.loads(done.out)
    assert told["usable"] and told["page"] == "here.html" and Path("here.html").is_file()


def test_unusable_data_end_with_two(command: Command, data: Path) -> None:
    shutil.copytree(data / "train/dots", data / "loose")
    done = command("check", data, "--json", "--no-page")
    assert done.code == 2
    assert json.loads(done.out)["findings"][0]["code"] == "HS-DATA-007"


def test_the_page_in_the_data_folder_is_no_class(command: Command, data: Path) -> None:
    for _ in range(2):
        done = command("check", data / "train", "-o", data / "train" / "pages")
        assert done.code == 0, done.out
    assert (data / "train/pages/train.html").is_file()


def test_training_says_the_same_and_a_run_is_compared_with(command: Command, data: Path) -> None:
    (data / "train/dots/empty.jpg").write_bytes(b"")
    trained = command("train", data, "--strategy", "probe", "--name", "run", "--exclude", "*/000.png")
    assert trained.code == 0, trained.err
    assert "ATTENTION: left out: 1 empty file (train/dots/empty.jpg: the file is empty" in trained.err
    with open("runs/run/dataset.csv", encoding="utf-8", newline="") as file:
        rows = {row["path"]: row for row in csv.DictReader(file)}
    assert rows["train/dots/empty.jpg"]["reason"] == "the file is empty (0 bytes)"
    assert rows["test/dots/000.png"]["status"] == "excluded"
    assert rows["test/dots/000.png"]["reason"] == "--exclude */000.png"
    same = command("check", data, "--diff", "runs/run")
    assert same.out.startswith("no difference; ") and same.code == 0
    draw("dots", 77).save(data / "test/dots/new.png")
    other = next(path for path in sorted((data / "test").iterdir()) if path.name != "dots")
    (data / "test/dots/001.png").rename(other / "other.png")
    told = json.loads(command("check", data, "--diff", "runs/run", "--json").out)
    assert told["summary"] == "1 added, 1 relabelled"
    assert told["added"] == [{"path": "test/dots/new.png"}]
    assert told["relabelled"][0]["before"] == "dots"


def test_a_table_of_groups_and_probabilities_is_compared_too(command: Command, data: Path) -> None:
    rows = ["path,prob:dots,prob:rest,patient_id"]
    for i, path in enumerate(sorted(data.rglob("*.png"))):
        dots = 0.9 if path.parent.name == "dots" else 0.2
        rows.append(f"{path.relative_to(data)},{dots},{1 - dots:.1f},patient {i // 2}")
    Path("cases.csv").write_text("\n".join(rows) + "\n")
    trained = command("train", "cases.csv", "--images", data, "--strategy", "probe", "--name", "run")
    assert trained.code == 0, trained.err
    with open("runs/run/dataset.csv", encoding="utf-8", newline="") as file:
        first = next(csv.DictReader(file))
    assert first["group"] == "patient 0" and (first["prob:dots"], first["prob:rest"]) == ("0.9", "0.1")
    same = command("check", "cases.csv", "--diff", "runs/run")
    assert same.out.startswith("no difference; ") and same.code == 0
    Path("cases.csv").write_text("\n".join(rows).replace("0.9,0.1", "0.7,0.3", 1) + "\n")
    told = command("check", "cases.csv", "--images", data, "--columns", "path=path", "--diff", "runs/run")
    assert "(dots (dots 0.9, rest 0.1) -> dots (dots 0.7, rest 0.3))" in told.out
    done = command("check", "cases.csv", "--images", data, "--crop", "0,0,0.5,1", "--no-page")
    assert done.code == 0 and done.out.startswith("the table: 30 pictures in 30 files")


def test_a_folder_that_is_no_run(command: Command, data: Path) -> None:
    done = command("check", data, "--diff", data)
    assert done.code == 1 and "error HS-RUN-040: There is no table of pictures" in done.err


def test_features_find_mirrored_copies(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Image.open(data / "train/dots/001.png") as picture:
        ImageOps.mirror(picture.convert("RGB")).save(data / "test/dots/mirrored.png")
    plain = headstart.check(data)
    names = list(plain.table.paths)
    features = features_of(plain, headstart.TrainConfig(), range(len(names)))
    unit = features - features.mean(axis=0)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    cosines = unit @ unit[names.index("test/dots/mirrored.png")]
    nearest = [names[i] for i in np.argsort(-cosines)[:2]]
    assert nearest == ["test/dots/mirrored.png", "train/dots/001.png"]
    # at a limit that these drawings reach, it is in a finding
    monkeypatch.setattr("headstart.evaluation.leaks.SIMILARITY", 0.3)
    found = headstart.check(data, features=True)
    groups = [e.paths for f in found.findings if f.code == "HS-CHECK-032" for e in f.examples]
    assert any("test/dots/mirrored.png" in group for group in groups)
