"""Folders whose classes or parts cannot be told."""

from __future__ import annotations

import shutil
import unicodedata
from pathlib import Path

from faults.catalogue import Fault, beside, classes, file, finding, picture, split
from faults.files import NO_LOCKS


def misspelt(here: Path) -> None:
    classes(here / "data", 3)


def single(here: Path) -> None:
    picture(here / "data.png").rename(here / "data")


def forms(here: Path) -> None:
    classes(here / "data", 3)
    for form in ("NFC", "NFD"):
        picture(here / "data" / unicodedata.normalize(form, "café") / "1.png")


def cases(here: Path) -> None:
    classes(here / "data", 4)
    for number in range(2):
        picture(here / "data" / "Rings" / f"{number}.png", "rings", 60 + number)


def loop(here: Path) -> None:
    (here / "data" / "dots").mkdir(parents=True)
    (here / "data" / "dots" / "again").symlink_to(here / "data" / "dots")
    (here / "data" / "self").symlink_to("self")


def classes_within(here: Path) -> None:
    classes(here / "data" / "all", 3)


def locked(here: Path) -> None:
    (classes(here / "data", 3) / "dots").chmod(0)


def renamed(here: Path) -> None:
    split(here / "data", train=3, test=2)
    (here / "data/test/dots").rename(here / "data/test/dost")


def two_faults(here: Path) -> None:
    renamed(here)
    picture(here / "data/train/stray.png")


def run_folder(here: Path) -> None:
    for name in ("config.yaml", "dataset.csv", "metrics.json", "log.txt", "model/model.json"):
        file(name, "x")(here / "data")
    picture(here / "data" / "curves.png")
    picture(here / "data" / "confusion.png")


def run_among_classes(here: Path) -> None:
    classes(here / "data", 3)
    run_folder(here / "data" / "runs")
    (here / "data/runs/data").rename(here / "data/runs/pets")


def data_sets(here: Path) -> None:
    split(here / "data" / "pets", train=3, test=2)
    classes(here / "data" / "flowers", 3)


def two_names(here: Path) -> None:
    split(here / "data", train=3, val=2)
    shutil.copytree(here / "data/val", here / "data/validation")


def stray_test(here: Path) -> None:
    classes(here / "data", 4)
    picture(here / "data/test/one.png")


FAULTS: list[Fault] = [
    Fault(
        "misspelt folder",
        misspelt,
        "HS-DATA-001: There is no such folder. Did you mean 'data'?\n"
        "  where: date\n"
        "  to do: Check the spelling, and the folder that the command runs in.",
        given=("date",),
    ),
    Fault(
        "picture instead of a folder",
        single,
        "HS-DATA-002: This file is no table of pictures and no archive, but a picture.\n"
        "  where: data\n"
        "  to do: Give the folder that holds the class folders, a table (CSV, TSV, JSON Lines, "
        "Parquet), or a zip or tar archive.",
    ),
    Fault(
        "empty folder",
        lambda here: (here / "data").mkdir(),
        "HS-DATA-003: The folder holds no pictures.\n"
        "  where: data\n"
        "  to do: Expected: train/CLASS/*.jpg and test/CLASS/*.jpg (or val/), or CLASS/*.jpg "
        "alone.",
    ),
    Fault(
        "hidden files only",
        lambda here: file("data/.DS_Store", b"x")(here),
        "HS-DATA-003: The folder holds no pictures.\n"
        "  where: data\n"
        "  - ignored: .DS_Store\n"
        "  to do: Expected: train/CLASS/*.jpg and test/CLASS/*.jpg (or val/), or CLASS/*.jpg "
        "alone.",
    ),
    Fault(
        "empty class folders",
        lambda here: [(here / "data" / n).mkdir(parents=True) for n in ("a", "b")],
        "HS-DATA-003: The folder holds no pictures.\n"
        "  where: data\n"
        "  to do: Expected: train/CLASS/*.jpg and test/CLASS/*.jpg (or val/), or CLASS/*.jpg "
        "alone.",
    ),
    Fault(
        "one class",
        lambda here: classes(here / "data", 3, ["dots"]),
        "HS-DATA-004: There is only one class, 'dots'; at least two are needed.\n"
        "  where: data\n"
        "  to do: Add a folder with pictures of something else (for example 'other').",
    ),
    Fault(
        "classes one level deeper",
        classes_within,
        "HS-DATA-004: There is only one class, 'all'; at least two are needed.\n"
        "  where: data\n"
        "  to do: If the classes are inside (dots, rings), give the folder data/all, or add "
        "--label-from parent",
    ),
    Fault(
        "one picture",
        lambda here: picture(here / "data/dots/1.png"),
        "HS-DATA-004: There is only one class, 'dots'; at least two are needed.\n"
        "  where: data\n"
        "  to do: Add a folder with pictures of something else (for example 'other').",
    ),
    Fault(
        "one empty class",
        lambda here: [classes(here / "data", 4), (here / "data/new").mkdir()],
        "HS-DATA-005: 1 class has too few readable pictures; each needs at least 3.\n"
        "  where: data\n"
        "  - 'new': 0 readable\n"
        '  to do: Add pictures, or leave the folder out: --exclude "new"',
    ),
    Fault(
        "too few pictures",
        lambda here: [classes(here / "data", 4), picture(here / "data/new/1.png")],
        "HS-DATA-005: 1 class has too few readable pictures; each needs at least 3.\n"
        "  where: data\n"
        "  - 'new': 1 readable\n"
        '  to do: Add pictures, or leave the folder out: --exclude "new"',
    ),
    Fault(
        "classes that differ in case",
        cases,
        "HS-DATA-005: 1 class has too few readable pictures; each needs at least 3.\n"
        "  where: data\n"
        "  - 'Rings': 2 readable; did you mean 'rings'?\n"
        '  to do: Add pictures, or leave the folder out: --exclude "Rings"',
    ),
    Fault(
        "picture beside the class folders",
        lambda here: picture(classes(here / "data", 3) / "stray.png"),
        "HS-DATA-006: 1 picture lies directly in the data folder, beside the class folders.\n"
        "  where: data\n"
        "  - stray.png\n"
        '  to do: Move each into a class folder, or leave them out: --exclude "stray.png"',
    ),
    Fault(
        "pictures without class folders",
        lambda here: [picture(here / f"data/{i}.png", number=i) for i in range(3)],
        "HS-DATA-006: 3 pictures lie directly in the data folder; without class folders nobody "
        "knows their classes.\n"
        "  where: data\n"
        "  - 0.png\n"
        "  - 1.png\n"
        "  - 2.png\n"
        "  to do: Make a folder per class: train/CLASS/*.jpg and test/CLASS/*.jpg (or val/), or "
        "CLASS/*.jpg alone.",
    ),
    Fault(
        "test folder beside class folders",
        stray_test,
        "HS-DATA-007: 'test' looks like a part of a split, but lies beside class folders: dots, "
        "rings.\n"
        "  where: data\n"
        "  to do: Leave out what is no class: --exclude \"test\". If 'test' is a class, give the "
        "folder another name.",
    ),
    Fault(
        "class in test only",
        renamed,
        "HS-DATA-008: Classes in test/ that train/ does not have: dost. Did you mean 'dots'?\n"
        "  where: data/test\n"
        "  - test/: dost, rings\n"
        "  - train/: dots, rings\n"
        '  to do: Rename the folders so that they agree, or leave one out: --exclude "test/dost"',
    ),
    Fault(
        "class of the name of a line break",
        lambda here: [split(here / "data", train=3, test=2), picture(here / "data/test/a\nb/1.png")],
        "HS-DATA-008: Classes in test/ that train/ does not have: a\\nb.\n"
        "  where: data/test\n"
        "  - test/: a\\nb, dots, rings\n"
        "  - train/: dots, rings\n"
        '  to do: Rename the folders so that they agree, or leave one out: --exclude "test/a\\nb"',
    ),
    Fault(
        "no training part",
        lambda here: split(here / "data", val=3, test=2),
        "HS-DATA-012: There is no training part, only 'test' and 'val'.\n"
        "  where: data\n"
        "  to do: Add a folder train/ with the same class folders.",
    ),
    Fault(
        "two names of one part",
        two_names,
        "HS-DATA-013: Two folders name the same part of the data: 'val' and 'validation'.\n"
        "  where: data\n"
        "  to do: Merge them, or leave one out: --exclude validation",
    ),
    Fault(
        "equal names in two Unicode forms",
        forms,
        "HS-DATA-009: 2 folders are named 'café', in different Unicode forms.\n"
        "  where: data\n"
        "  - 'cafe\\u0301'\n"
        "  - 'caf\\xe9'\n"
        "  to do: Merge them into one folder.",
    ),
    Fault(
        "links in a circle",
        loop,
        "HS-DATA-003: The folder holds no pictures.\n"
        "  where: data\n"
        "  - ignored: self\n"
        "  to do: Expected: train/CLASS/*.jpg and test/CLASS/*.jpg (or val/), or CLASS/*.jpg "
        "alone.",
    ),
    Fault(
        "locked folder",
        locked,
        "HS-DATA-015: A folder may not be read.\n"
        "  where: data/dots\n"
        "  to do: Change its permissions, or leave it out with --exclude.",
        unless=NO_LOCKS,
    ),
    Fault(
        "two faults at once",
        two_faults,
        "HS-DATA-016: 2 things are wrong with the data.\n"
        "  where: data\n"
        "  - HS-DATA-006: 1 picture lies directly in train/, beside the class folders. "
        '(stray.png) Move each into a class folder, or leave them out: --exclude "stray.png"\n'
        "  - HS-DATA-008: Classes in test/ that train/ does not have: dost. Did you mean 'dots'? "
        "(test/: dost, rings, train/: dots, rings) Rename the folders so that they agree, or "
        'leave one out: --exclude "test/dost"',
    ),
    Fault(
        "folder of a run",
        run_folder,
        "HS-DATA-077: This is the folder of a run of headstart: its plots are no pictures to "
        "train on.\n"
        "  where: data\n"
        "  to do: Give the folder that holds the pictures.",
    ),
    Fault(
        "run among the classes",
        run_among_classes,
        "HS-DATA-077: This is the folder of a run of headstart: its plots are no pictures to "
        "train on.\n"
        "  where: data/runs/pets\n"
        '  to do: Leave it out: --exclude "runs/pets"',
    ),
    Fault(
        "folder of data sets",
        data_sets,
        "HS-DATA-078: 'pets' is no class, but a data set of its own: it holds test, train with "
        "classes.\n"
        "  where: data\n"
        '  to do: Give one data set, such as data/pets, or leave this one out: --exclude "pets"',
    ),
    finding(
        "folder of data sets, checked",
        data_sets,
        "ERROR    'pets' is no class, but a data set of its own: it holds test, train with "
        "classes (data)   [HS-DATA-078]\n"
        "         > Give one data set, such as data/pets, or leave this one out: --exclude "
        '"pets"',
        2,
    ),
    finding(
        "parts within a class",
        beside(lambda d: picture(d / "dots/train/1.png")),
        "WARNING  1 folder inside a class folder is named like a part of a split, but read as a "
        "part of its class   [HS-CHECK-014]\n"
        "           dots/train/\n"
        "         > For a split of your own, put train/ and val/ outside of the class folders.",
    ),
    finding(
        "folder of a copy",
        beside(lambda d: picture(d / "dots/old - Copy/1.png")),
        "WARNING  1 folder is named as copies are   [HS-CHECK-012]\n"
        "           old - Copy/\n"
        "         > Compare them with their originals, and delete what is a copy.",
    ),
    finding(
        "folder of masks",
        beside(lambda d: picture(d / "rings/masks/1.png", "rings")),
        "WARNING  1 folder is named as masks or annotations are, not pictures   [HS-CHECK-013]\n"
        "           masks/\n"
        "         > If they are masks, move them out of the class folders or leave them out with "
        "--exclude.",
    ),
    finding(
        "class that test lacks",
        lambda here: [split(here / "data", train=3, test=2), shutil.rmtree(here / "data/test/dots")],
        "WARNING  1 class has no pictures in test, their figures there are n/a (dots)   "
        "[HS-CHECK-040]\n"
        "         > Add pictures of dots to test.",
    ),
    Fault(
        "output into the data folder",
        misspelt,
        "HS-CONFIG-009: The output folder is the data folder: the runs would be taken for "
        "classes.\n"
        "  where: data\n"
        "  to do: Choose another folder with --output.",
        command="train",
        flags={"output": "data"},
    ),
]
