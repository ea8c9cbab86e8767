"""`headstart check` from the command line, in training, and against a run."""

from __future__ import annotations

import csv
import json
import shlex
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
    assert "page: check/data.html" in done.err and "out.csv: 1 file to leave out" in done.err
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
    assert "  WARNING  HS-CHECK-001  left out: 1 empty file (train/dots/empty.jpg)\n" in trained.err
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


def test_from_check_to_train_in_one_step(command: Command, data: Path) -> None:
    """What a fix list names is left out by the command that the check prints; nothing is found any more."""
    (data / "train/dots/empty, once.jpg").write_bytes(b"")
    shutil.copy(data / "train/rings/000.png", data / "train/rings/000 (copy).png")
    shutil.copy(data / "test/rings/001.png", data / "train/rings/leak.png")
    checked = command("check", data, "--no-page", "--fix-list", "leave out.csv", "--exclude", "*/005.png")
    assert checked.code == 0
    (following,) = (line for line in checked.err.splitlines() if line.startswith("next: "))
    words = shlex.split(following.removeprefix("next: headstart "))
    assert words == ["train", str(data), "--exclude", "*/005.png", "--exclude-list", "leave out.csv"]
    trained = command(*words, "--strategy", "probe", "--name", "run", "--json")
    assert trained.code == 0, trained.err
    assert "left out by --exclude-list leave out.csv: 3 files and folders" in trained.err
    codes = {finding["code"] for finding in json.loads(trained.out)["findings"]}
    assert not codes & {"HS-CHECK-001", "HS-CHECK-030", "HS-CHECK-036"}
    with open("runs/run/dataset.csv", encoding="utf-8", newline="") as file:
        rows = {row["path"]: row for row in csv.DictReader(file)}
    reason = "--exclude-list leave out.csv: the file is empty (0 bytes)"
    assert rows["train/dots/empty, once.jpg"]["status"] == "excluded"
    assert rows["train/dots/empty, once.jpg"]["reason"] == reason
    assert rows["train/rings/leak.png"]["reason"].endswith("its copy is in test: test/rings/001.png")
    assert rows["train/rings/000.png"]["status"] == "ok"
    same = command("check", data, "--diff", "runs/run")  # with the list of the run
    assert same.out.startswith("no difference; ")
    # The list may be written over: it still names what it left out.
    draw("dots", 88).resize((4, 4)).save(data / "train/dots/tiny.png")
    again = command("check", *words[1:], "--no-page", "--fix-list", "leave out.csv")
    assert "leave out.csv: 4 files to leave out" in again.err
    with open("leave out.csv", encoding="utf-8", newline="") as file:
        named = {row["path"]: row["code"] for row in csv.DictReader(file)}
    assert named["train/dots/empty, once.jpg"] == "HS-CHECK-001"
    assert named["train/dots/tiny.png"] == "HS-CHECK-010"


def test_every_command_takes_the_list(command: Command, data: Path) -> None:
    Path("mine.txt").write_text("test/dots/000.png\n")
    assert command("train", data, "--strategy", "probe", "--name", "run").code == 0
    for words in (("check", data, "--no-page"), ("show", data), ("evaluate", "runs/run", data)):
        done = command(*words, "--exclude-list", "mine.txt")
        assert done.code == 0, done.err
        assert "left out by --exclude-list mine.txt: 1 file or folder" in done.out + done.err
    done = command("train", data, "--exclude-list", "mime.txt")
    assert done.code == 2 and "error HS-DATA-075: The list of files to leave out cannot be read" in done.err
    assert "Did you mean 'mine.txt'?" in done.err


def test_training_says_the_worst_in_a_few_lines_and_the_log_has_all(command: Command, data: Path) -> None:
    for i, content in enumerate((b"", b"version https://git-lfs.github.com/spec/v1\noid", b"<html>", b"")):
        (data / "train/dots" / f"odd{i}.jpg").write_bytes(content)
    for i in range(3):
        Image.open(data / f"train/rings/00{i}.png").save(data / "train/rings" / f"{i} (copy).gif")
    trained = command("train", data, "--strategy", "probe", "--name", "run", "--json")
    assert trained.code == 0, trained.err
    said = trained.err[trained.err.index("found in the pictures: ") :].splitlines()
    findings = json.loads(trained.out)["findings"]
    assert [line.split()[:2] for line in said[1:5]] == [["WARNING", item["code"]] for item in findings[:4]]
    assert said[5].endswith(f" more: headstart check {data}") and said[6].startswith("run: ")
    assert "train/dots/odd0.jpg, ..." in "\n".join(said[:6])
    log = Path("runs/run/log.txt").read_text(encoding="utf-8")
    assert all(log.count(f"  {item['code']}  {item['what']}") >= 1 for item in findings) and len(findings) > 4
    assert json.loads(Path("runs/run/findings.json").read_text(encoding="utf-8")) == findings
