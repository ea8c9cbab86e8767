"""Bad input gets one clear message with a code; nothing is lost, and nothing is left behind."""

from __future__ import annotations

import csv
import errno
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import headstart
from shapes import draw, draw_folder

LFS_POINTER = (
    b"version https://git-lfs.github.com/spec/v1\n"
    b"oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"
)


def snapshot(folder: Path) -> dict[str, str]:
    """Hash of each file, and each folder, below ``folder``."""
    return {
        path.relative_to(folder).as_posix(): (
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        )
        for path in sorted(folder.rglob("*"))
    }


Flags = Callable[..., list[str]]


@pytest.fixture
def probe(tiny: dict[str, Any], flags_of: Flags, tmp_path: Path) -> Flags:
    """Words for a probe of the smallest network: ``probe(workers=3)``."""
    settings = {**tiny, "epochs": None, "batch_size": None, "strategy": "probe", "output": tmp_path / "runs"}
    return lambda **others: flags_of(settings, **others)


@pytest.fixture
def flags(probe: Flags) -> list[str]:
    return probe()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def refused(command: Callable[..., Any], data: Path, flags: list[str], code: str, exit_code: int = 2) -> str:
    """Runs the command; checks the form of the message, and that nothing changed on the disk."""
    before = snapshot(data.parent)
    done = command("train", data, *flags, "--json")
    assert done.code == exit_code, done.err
    (error,) = re.findall(r"^error (HS-[A-Z]+-\d{3}): ", done.err, flags=re.M)
    assert error == code, done.err
    assert "Traceback" not in done.err
    assert "to do: " in done.err or code == "HS-DATA-016"  # there, each fault says it
    assert json.loads(done.out)["error"]["code"] == code
    assert snapshot(data.parent) == before
    return str(done.err[done.err.index("error HS-") :])


def accepted(command: Callable[..., Any], data: Path, flags: list[str]) -> tuple[str, Path]:
    """Runs the command to its end; what it said, and the run folder. The data are as they were."""
    before = snapshot(data)
    done = command("train", data, *flags)
    assert done.code == 0, done.err
    assert "Traceback" not in done.err
    assert snapshot(data) == before
    run = Path(re.findall(r"^run: (.*)$", done.err, flags=re.M)[0])
    return done.err, run


def table(run: Path) -> list[dict[str, str]]:
    with open(run / "dataset.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


# --- layouts ----------------------------------------------------------------------------------------------


def test_no_such_folder(command: Any, data: Path, flags: list[str]) -> None:
    draw_folder(data.parent / "date", 3)
    text = refused(command, data, flags, "HS-DATA-001")
    assert text.startswith("error HS-DATA-001: There is no such folder. Did you mean 'date'?\n  where: ")


def test_a_file_instead_of_a_folder(command: Any, data: Path, flags: list[str]) -> None:
    data.write_bytes(b"PK\x03\x04")
    text = refused(command, data, flags, "HS-DATA-002")
    assert "This file is no table of pictures and no archive, but a damaged zip archive: copy or" in text


def test_an_empty_folder(command: Any, data: Path, flags: list[str]) -> None:
    data.mkdir()
    assert "The folder holds no pictures." in refused(command, data, flags, "HS-DATA-003")


def test_empty_class_folders(command: Any, data: Path, flags: list[str]) -> None:
    for name in ("cat", "dog"):
        (data / name).mkdir(parents=True)
    refused(command, data, flags, "HS-DATA-003")


def test_one_class(command: Any, data: Path, flags: list[str]) -> None:
    draw_folder(data, 5, kinds=["dots"])
    text = refused(command, data, flags, "HS-DATA-004")
    assert "There is only one class, 'dots'; at least two are needed." in text


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_class_with_fewer_pictures_than_the_split_needs(
    command: Any, data: Path, flags: list[str], count: int
) -> None:
    draw_folder(data, 8, kinds=["dots", "rings"])
    (data / "stripes").mkdir()
    for number in range(count):
        draw("stripes", number).save(data / "stripes" / f"{number}.png")
    text = refused(command, data, flags, "HS-DATA-005")
    assert "1 class has too few readable pictures; each needs at least 3." in text
    assert f"  - 'stripes': {count} readable" in text
    assert '--exclude "stripes"' in text


def test_images_beside_the_class_folders(command: Any, data: Path, flags: list[str]) -> None:
    draw_folder(data, 5)
    draw("dots", 99).save(data / "stray.png")
    text = refused(command, data, flags, "HS-DATA-006")
    assert "1 picture lies directly in the data folder, beside the class folders." in text
    assert "  - stray.png" in text
    accepted(command, data, [*flags, "--exclude", "stray.png"])


def test_images_without_class_folders(command: Any, data: Path, flags: list[str]) -> None:
    data.mkdir()
    draw("dots", 99).save(data / "stray.png")
    assert "nobody knows their classes" in refused(command, data, flags, "HS-DATA-006")


def test_a_split_named_folder_beside_class_folders(command: Any, data: Path, flags: list[str]) -> None:
    draw_folder(data, 5)
    shutil.copytree(data / "dots", data / "test" / "dots")
    text = refused(command, data, flags, "HS-DATA-007")
    assert "'test' looks like a part of a split, but lies beside class folders: dots, rings, stripes." in text
    assert '--exclude "test"' in text
    accepted(command, data, [*flags, "--exclude", "test"])


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_class_in_evaluation_but_not_in_training(
    command: Any, data: Path, flags: list[str], split: str
) -> None:
    draw_folder(data, {"train": 5, split: 3})
    (data / split / "dots").rename(data / split / "dost")
    text = refused(command, data, flags, "HS-DATA-008")
    assert f"Classes in {split}/ that train/ does not have: dost. Did you mean 'dots'?" in text


def test_a_class_in_training_but_not_in_evaluation(command: Any, data: Path, flags: list[str]) -> None:
    draw_folder(data, {"train": 5, "test": 3})
    shutil.rmtree(data / "test" / "dots")
    said, run = accepted(command, data, flags)
    assert "1 class has no pictures in test, their figures there are n/a (dots)" in said
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["classes"] == ["dots", "rings", "stripes"]
    assert metrics["per_class"]["dots"]["recall"] is None


def test_no_training_part(command: Any, data: Path, flags: list[str]) -> None:
    draw_folder(data, {"val": 3, "test": 3})
    assert "There is no training part" in refused(command, data, flags, "HS-DATA-012")


def test_several_faults_at_once(command: Any, data: Path, flags: list[str]) -> None:
    draw_folder(data, {"train": 5, "test": 3})
    (data / "test" / "dots").rename(data / "test" / "cats")
    draw("dots", 99).save(data / "train" / "stray.png")
    text = refused(command, data, flags, "HS-DATA-016")
    assert "2 things are wrong with the data." in text
    assert "  - HS-DATA-006: 1 picture lies directly in train/" in text
    assert "  - HS-DATA-008: Classes in test/ that train/ does not have: cats." in text


# --- files ------------------------------------------------------------------------------------------------


def truncated(path: Path) -> bytes:
    content = path.read_bytes()
    return content[: len(content) // 2]


BROKEN: dict[str, tuple[Callable[[Path], bytes], str, str]] = {
    "unreadable": (lambda path: b"no picture at all " * 20, "not-an-image", "not an image"),
    "truncated": (truncated, "truncated", "cut short"),
    "zero-byte": (lambda path: b"", "empty", "empty"),
    "pointer": (lambda path: LFS_POINTER, "lfs-pointer", "Git LFS pointer"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_files_are_named_counted_and_left_out(
    command: Any, data: Path, flags: list[str], kind: str
) -> None:
    content, status, words = BROKEN[kind]
    draw_folder(data, {"train": 6, "test": 3})
    broken = data / "train" / "dots" / "001.png"
    broken.write_bytes(content(broken))
    said, run = accepted(command, data, flags)
    assert re.search(
        r"^  WARNING  HS-CHECK-\d+  left out: 1 [\w ]+ \(train/dots/001\.png\)$", said, flags=re.M
    )
    assert words.lower() in (run / "log.txt").read_text(encoding="utf-8").lower()
    assert "WARNING  HS-CHECK-007  cannot be read: 1 of 9 pictures of class 'dots'" in said
    (row,) = [row for row in table(run) if row["status"] != "ok"]
    assert (row["path"], row["status"], row["split"]) == ("train/dots/001.png", status, "")


@pytest.mark.parametrize("kind", BROKEN)
def test_a_class_that_loses_all_its_pictures(command: Any, data: Path, flags: list[str], kind: str) -> None:
    draw_folder(data, {"train": 4, "test": 3})
    for path in (data / "train" / "dots").iterdir():
        path.write_bytes(BROKEN[kind][0](path))
    text = refused(command, data, flags, "HS-DATA-010")
    assert "Class 'dots' loses all its 4 pictures: none can be read." in text
    if kind == "pointer":
        assert "git lfs pull" in text


def test_nothing_but_pointers(command: Any, data: Path, flags: list[str]) -> None:
    draw_folder(data, {"train": 4, "test": 3})
    for path in data.rglob("*.png"):
        path.write_bytes(LFS_POINTER)
    text = refused(command, data, flags, "HS-DATA-011")
    assert "git lfs install && git lfs pull" in text


def test_other_formats_under_wrong_names_are_read_by_content(
    command: Any, data: Path, flags: list[str]
) -> None:
    draw_folder(data, {"train": 6, "test": 3})
    for number, kind in enumerate(("GIF", "PNG", "WEBP", "BMP", "TIFF")):
        path = data / "train" / "dots" / f"{number:03}.png"
        path.unlink()
        draw("dots", number).save(path.with_suffix(".jpg"), format=kind)
    draw("dots", 50).save(data / "train" / "dots" / "no_suffix", format="PNG")
    said, run = accepted(command, data, flags)
    assert "left out" not in said
    assert len(table(run)) == 28
    assert {row["status"] for row in table(run)} == {"ok"}


def test_every_kind_of_pixels(command: Any, data: Path, flags: list[str]) -> None:
    draw_folder(data, {"train": 8, "test": 3})
    folder = data / "train" / "dots"
    for number, mode in enumerate(("L", "LA", "P", "RGBA", "CMYK", "1")):
        (folder / f"{number:03}.png").unlink()
        suffix = "tif" if mode == "CMYK" else "png"
        picture = draw("dots", number)
        if mode == "LA":
            picture = picture.convert("L").convert("LA")
        picture.convert(mode).save(folder / f"{number:03}.{suffix}")
    turned = draw("dots", 60).resize((90, 50))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(folder / "turned.jpg", exif=exif)
    said, run = accepted(command, data, flags)
    assert "1 picture turned upright as its EXIF data say" in said
    assert {row["status"] for row in table(run)} == {"ok"}
    out = run.parent / "out.csv"
    assert command("predict", run, folder, "-o", out, "--strict").code == 0


def test_the_depth_of_16_bit_pictures_is_decided_once_and_announced(
    command: Any, data: Path, flags: list[str]
) -> None:
    """12 bits in files of 16: 4095 is white, in training and in prediction."""
    draw_folder(data, {"train": 6, "test": 3})
    for path in sorted(data.rglob("*.png")):
        grey = np.asarray(Image.open(path).convert("L")).astype(np.uint16)
        grey = grey * 16 + 15
        grey[0, 0], grey[0, 1] = 0, 4095
        Image.fromarray(grey).save(path)
    said, run = accepted(command, data, flags)
    assert "27 12-bit grey pictures: 0..4095 shown as black..white, the same for all" in said
    card = json.loads((run / "model" / "model.json").read_text(encoding="utf-8"))
    assert card["preprocess"]["intensity"]["white"] == 4095
    brighter = data.parent / "brighter.png"
    Image.fromarray(np.full((72, 72), 60000, np.uint16)).save(brighter)
    done = command("predict", run, brighter, "-o", data.parent / "out.csv")
    assert done.code == 0
    assert "1 pictures: intensities outside the model's range were clipped." in done.err


def test_evaluation_and_prediction_see_the_same_in_16_bit_pictures(
    command: Any, data: Path, flags: list[str]
) -> None:
    """Given to a model that was trained on 8 bits, each picture's range is guessed, in both alike."""
    draw_folder(data, {"train": 6, "test": 3})
    _, run = accepted(command, data, flags)
    other = data.parent / "other"
    draw_folder(other, {"test": 4})
    for number, path in enumerate(sorted(other.rglob("*.png"))):
        grey = np.asarray(Image.open(path).convert("L")).astype(np.uint16)
        Image.fromarray(grey * (4 if number % 2 else 250)).save(path.with_stem(f"{number:02}"))
        path.unlink()
    evaluated = command("evaluate", run, other)
    assert evaluated.code == 0
    assert "12 pictures: more than 8 bits, but the model was trained on 8-bit pictures" in evaluated.err
    answers = command("predict", run, other / "test", "-o", data.parent / "out.csv")
    assert answers.code == 0

    def confidences(file: Path) -> dict[str, float]:
        with open(file, encoding="utf-8", newline="") as rows:
            return {Path(row["path"]).name: float(row["confidence"]) for row in csv.DictReader(rows)}

    found = confidences(data.parent / "out.csv")
    assert len(found) == 12
    expected = confidences(run / "evaluations" / "other" / "predictions.csv")
    assert found == pytest.approx(expected, abs=1e-6)


def test_hidden_and_system_files_are_no_pictures(command: Any, data: Path, flags: list[str]) -> None:
    draw_folder(data, {"train": 5, "test": 3})
    (data / ".DS_Store").write_bytes(b"x")
    (data / "train" / "dots" / "._000.png").write_bytes(b"x")
    (data / "train" / "dots" / "Thumbs.db").write_bytes(b"x")
    (data / "train" / ".ipynb_checkpoints").mkdir()
    draw("dots", 70).save(data / "train" / ".ipynb_checkpoints" / "a.png")
    (data / "train" / "__MACOSX").mkdir()
    said, run = accepted(command, data, flags)
    assert "ignored: 5 hidden or system files and folders" in said
    assert len(table(run)) == 24
    assert "3 classes" in said


def test_unicode_names(command: Any, data: Path, flags: list[str]) -> None:
    names = {"dots": "Straße", "rings": "ねこ", "stripes": "кот 🐈"}
    draw_folder(data / "Bilder «neu»", {"train": 5, "test": 3}, names=names)
    said, run = accepted(command, data / "Bilder «neu»", flags)
    assert run.name == "Bilder «neu»"
    for name in names.values():
        assert name in said
    saved = json.loads((run / "model" / "model.json").read_text(encoding="utf-8"))
    assert saved["classes"] == sorted(names.values())


# --- names of models and settings ---------------------------------------------------------------------------


def test_an_unknown_model_gets_the_nearest(command: Any, data: Path, probe: Flags) -> None:
    draw_folder(data, 4)
    wanted = probe(model="efficientnet-lite00")
    text = refused(command, data, wanted, "HS-MODEL-001", exit_code=1)
    assert "There is no model called 'efficientnet-lite00'." in text
    assert "Did you mean efficientnet-lite0" in text
    text = refused(command, data, probe(model="torchvision/resnet81"), "HS-MODEL-001", exit_code=1)
    assert "torchvision/resnet18" in text


@pytest.mark.parametrize(
    ("changed", "code", "text"),
    [
        ({"epoch": 3}, "HS-USAGE-001", "Unknown option: --epoch. Did you mean --epochs?"),
        ({"img_szie": 64}, "HS-USAGE-001", "Did you mean --img-size?"),
        ({"strategy": "prob"}, "HS-USAGE-001", 'Did you mean "probe"?'),
        ({"recipe": "d2"}, "HS-CONFIG-005", "There is no recipe 'd2'. Did you mean 'd2l'?"),
        ({"strategy": "finetune", "augment": "dihedrl"}, "HS-CONFIG-006", "Did you mean 'dihedral'?"),
        ({"device": "cuda:99"}, "HS-CONFIG-008", "There is no device 'cuda:99' on this machine."),
        ({"workers": 0}, "HS-CONFIG-002", "workers must be 1 or more, but is 0"),
        ({"epochs": 3}, "HS-CONFIG-007", "--strategy probe has no epochs: leave out --epochs"),
        ({"config": "none.yaml"}, "HS-CONFIG-004", "The file of settings cannot be read: No such file"),
    ],
)
def test_unknown_flags_and_values(
    command: Any, data: Path, probe: Flags, changed: dict[str, Any], code: str, text: str
) -> None:
    draw_folder(data, 4)
    before = snapshot(data.parent)
    done = command("train", data, *probe(**changed))
    assert done.code == 2, done.err
    assert f"error {code}: " in done.err
    assert text in done.err
    assert "Traceback" not in done.err
    assert snapshot(data.parent) == before


def test_a_configuration_with_a_misspelt_field(command: Any, data: Path, flags: list[str]) -> None:
    draw_folder(data, 4)
    (data.parent / "my.yaml").write_text("epoch: 3\nimg_sizes: 64\n", encoding="utf-8")
    text = refused(command, data, [*flags, "--config", str(data.parent / "my.yaml")], "HS-CONFIG-001")
    assert "  - unknown setting 'epoch'. Did you mean 'epochs'?\n" in text
    assert "  - unknown setting 'img_sizes'. Did you mean 'img_size'?\n" in text


def test_an_unknown_stage(command: Any, data: Path, probe: Flags) -> None:
    draw_folder(data, 6)
    flags = probe(strategy="finetune", freeze="stage77")
    assert "has no stage 'stage77'" in refused(command, data, flags, "HS-MODEL-008", exit_code=1)


def test_weights_that_are_not_there(command: Any, data: Path, probe: Flags) -> None:
    draw_folder(data, 6)
    wanted = probe(weights="none.safetensors")
    assert "cannot be read" in refused(command, data, wanted, "HS-MODEL-006", exit_code=1)


# --- the disk ---------------------------------------------------------------------------------------------


def full_at(monkeypatch: pytest.MonkeyPatch, name: str, number: int) -> None:
    """The disk refuses the file of that name, once."""
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("names of open files are asked of Linux")
    fsync = os.fsync
    refused: list[str] = []

    def flushed(descriptor: int) -> None:
        # by its name: the number of a file that is gone may be that of another thread's file by now
        file = os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}"))  # noqa: PTH115, PTH119
        if file.startswith(f".{name}.") and not refused:
            refused.append(file)
            raise OSError(number, os.strerror(number))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", flushed)


@pytest.mark.parametrize("name", ["dataset.csv", "config.yaml", "model.safetensors"])
def test_a_full_disk(
    command: Any, data: Path, flags: list[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    draw_folder(data, {"train": 5, "test": 3})
    full_at(monkeypatch, name, errno.ENOSPC)
    text = refused(command, data, flags, "HS-RUN-002", exit_code=1)
    assert text.startswith("error HS-RUN-002: The disk is full. What was saved before is intact.\n  where: ")
    assert ("model/model." if name == "model.safetensors" else name) in text


@pytest.mark.parametrize("name", ["results.csv", "metrics.json"])
def test_a_full_disk_after_the_model_was_saved_keeps_the_model(
    command: Any, data: Path, flags: list[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    draw_folder(data, {"train": 5, "test": 3})
    full_at(monkeypatch, name, errno.ENOSPC)
    done = command("train", data, *flags)
    assert done.code == 1
    assert "error HS-RUN-002: The disk is full." in done.err
    assert "the model is saved, but it was not measured to the end" in done.err
    monkeypatch.undo()
    run = data.parent / "runs" / "data"
    assert headstart.load(run).predict(data / "test" / "dots")[0].ok


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts a file system in memory, where that is allowed."""
    mounted: list[Path] = []

    def mount(options: str) -> Path:
        place = tmp_path / "disk"
        place.mkdir()
        if sys.platform != "linux" or shutil.which("mount") is None:
            pytest.skip("needs Linux")
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "none", str(place)], capture_output=True, check=False
        )
        if done.returncode:
            pytest.skip("file systems cannot be mounted here")
        mounted.append(place)
        return place

    yield mount
    for place in mounted:
        subprocess.run(["umount", str(place)], check=False)


@pytest.mark.parametrize("size", ["4k", "16k", "120k", "300k"])
def test_a_disk_that_is_really_full(
    command: Any, data: Path, probe: Flags, small_disk: Callable[[str], Path], size: str
) -> None:
    """It fills up at the log, the first table, the pictures or the weights."""
    disk = small_disk(f"size={size}")
    draw_folder(data, {"train": 5, "test": 3})
    before = snapshot(data)
    done = command("train", data, *probe(output=disk / "runs"))
    assert done.code == 1
    assert "error HS-RUN-002: The disk is full." in done.err
    assert "Traceback" not in done.err
    assert list(disk.iterdir()) == []
    assert snapshot(data) == before


def test_a_disk_that_is_really_read_only(
    command: Any, data: Path, probe: Flags, small_disk: Callable[[str], Path]
) -> None:
    disk = small_disk("ro")
    draw_folder(data, {"train": 5, "test": 3})
    done = command("train", data, *probe(output=disk / "runs"))
    assert done.code == 1
    assert "error HS-RUN-001: The output folder cannot be written." in done.err
    assert "Choose another folder with --output" in done.err


def test_a_read_only_output_folder(
    command: Any, data: Path, flags: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_folder(data, {"train": 5, "test": 3})
    mkdir = Path.mkdir

    def refusing(self: Path, *rest: Any, **named: Any) -> None:
        if "runs" in self.parts:
            raise PermissionError(errno.EACCES, "Permission denied")
        mkdir(self, *rest, **named)

    monkeypatch.setattr(Path, "mkdir", refusing)
    text = refused(command, data, flags, "HS-RUN-001", exit_code=1)
    assert "The output folder cannot be written." in text


def test_the_output_is_a_file(command: Any, data: Path, flags: list[str]) -> None:
    draw_folder(data, {"train": 5, "test": 3})
    (data.parent / "runs").write_text("mine")
    done = command("train", data, *flags)
    assert done.code == 1
    assert "error HS-RUN-003: A file could not be written" in done.err
    assert (data.parent / "runs").read_text() == "mine"


def test_predictions_on_a_full_disk_keep_the_old_table_and_go_on(
    command: Any,
    tiny_run: headstart.Run,
    shapes_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "out.csv"
    out.write_text("old")
    fsync = os.fsync

    def full(handle: int) -> None:
        if os.path.samestat(os.fstat(handle), (tmp_path / "out.csv.partial").stat()):
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(handle)

    words = ("predict", tiny_run.path, shapes_folder / "test", "-o", out)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        done = command(*words)
    assert done.code == 1
    assert "error HS-RUN-002" in done.err
    assert f"what was predicted so far is in {out}.partial: --resume goes on with it" in done.err
    assert out.read_text() == "old"
    done = command(*words, "--resume")
    assert done.code == 0
    assert "12 rows were there already and kept" in done.err
    assert out.read_text().count("\n") == 13
    assert list(tmp_path.iterdir()) == [out]


# --- interrupts -------------------------------------------------------------------------------------------


def test_ctrl_c_while_pictures_are_read(
    command: Any, data: Path, flags: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_folder(data, {"train": 5, "test": 3})
    before = snapshot(data.parent)

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("headstart.run.load_dataset", interrupted)
    done = command("train", data, *flags)
    assert done.code == 130
    assert done.err.rstrip().endswith("interrupted")
    assert "Traceback" not in done.err
    assert snapshot(data.parent) == before
