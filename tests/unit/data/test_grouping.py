"""`--group-by`: a column, or a regular expression; groups stay together, and what they cannot do is said."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headstart.data.check import check
from headstart.data.dataset import Dataset, load_dataset
from headstart.data.grouping import compiled, group_of
from headstart.data.lock import read_lock
from headstart.data.preprocess import Preprocess
from headstart.data.sources import SourceOptions, list_source
from headstart.errors import ConfigError, DataError, HeadstartError

SPEC = Preprocess(16, 20, "bilinear", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def draw(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (24, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, "PNG")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes, each with 8 patients of 5 pictures, and one picture without a patient."""
    for c, name in enumerate(("ill", "well")):
        for i in range(40):
            draw(tmp_path / "scans" / name / f"patient{i // 5 + 8 * c}_{i % 5}.png", 100 * c + i)
        draw(tmp_path / "scans" / name / "control.png", 100 * c + 50)
    return tmp_path / "scans"


def load(data: object, **options: object) -> Dataset:
    return load_dataset(data, preprocess=SPEC, options=SourceOptions(**options))[0]  # type: ignore[arg-type]


def sides(dataset: Dataset) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for group, split in zip(dataset.groups.tolist(), dataset.splits.tolist(), strict=True):
        found.setdefault(group, set()).add(split)
    return found


def table(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> Path:
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def table_of(folder: Path) -> Path:
    """Path, class, camera and day of each picture; no column that is taken for groups by its name."""
    files = sorted(folder.rglob("*.png"))
    rows = [(f, f.parent.name, f"camera {i % 4}", "monday") for i, f in enumerate(files)]
    return table(folder.parent / "scans.csv", ["path", "label", "camera", "day (2024"], rows)


@pytest.mark.parametrize(
    ("pattern", "path", "group"),
    [
        (r"patient(\d+)", "ill/patient12_3.png", "12"),
        (r"patient\d+", "ill/patient12_3.png", "patient12"),
        (r"patient(\d+)", "ill/control.png", ""),
        (r"(?:lot(\d+)|batch(\d+))-", "ill/batch7-1.png", "7"),
        (r"(lot)?-", "ill/a-1.png", ""),
        (r"^([^/]+)/", "ill/a-1.png", "ill"),
        ("é\\d", "ill/e\u03011.png", "é1"),  # the accent may be a letter of its own on the disk
    ],
)
def test_the_first_brackets_or_the_whole_match_name_the_group(pattern: str, path: str, group: str) -> None:
    assert group_of(path, compiled(pattern)) == group


def test_groups_of_a_pattern_stay_on_one_side_and_stand_in_the_table(folder: Path, tmp_path: Path) -> None:
    dataset = load(folder, group_by=r"patient(\d+)")
    by_group = sides(dataset)
    assert len(by_group) == 18 and all(len(parts) == 1 for parts in by_group.values())
    assert {*map(str, range(16))} < set(by_group)
    assert set.union(*by_group.values()) == {"train", "selection", "test"}
    assert (
        "16 groups stay together (of 5 pictures); 2 pictures belong to none and stand alone" in dataset.notes
    )
    dataset.write_csv(tmp_path / "dataset.csv")
    rows = {row.path: row for row in read_lock(tmp_path)}
    assert rows["well/patient8_0.png"].group_name == "8" and rows["ill/control.png"].group_name == ""
    assert any(len(parts) > 1 for parts in by_patient(load(folder)).values())  # else nothing was shown


def by_patient(dataset: Dataset) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for path, split in zip(dataset.paths, dataset.splits.tolist(), strict=True):
        found.setdefault(path.split("_")[0], set()).add(split)
    return found


def test_check_and_training_make_the_same_parts(folder: Path) -> None:
    options = SourceOptions(group_by=r"patient(\d+)")
    checked = check(folder, preprocess=SPEC, options=options)
    dataset = load(folder, group_by=r"patient(\d+)")
    assert checked.table.splits.tolist() == dataset.splits.tolist()
    assert [checked.table.group_of(i) for i in range(len(dataset))] == dataset.groups.tolist()


def test_a_list_is_matched_below_its_common_folder(folder: Path) -> None:
    pairs = [(file, file.parent.name) for file in folder.rglob("*.png")]
    by_list = load(pairs, group_by=r"^\w+/patient(\d+)")
    assert sides(by_list) == sides(load(folder, group_by=r"patient(\d+)"))


def test_a_column_of_that_name_is_taken_else_a_pattern(folder: Path) -> None:
    path = table_of(folder)
    by_column = load(path, group_by="camera")
    assert set(by_column.groups.tolist()) == {f"camera {i}" for i in range(4)}
    assert any("columns path: path, class: label, group: camera" in note for note in by_column.notes)
    by_pattern = load(path, group_by=r"patient(\d+)")
    assert sides(by_pattern) == sides(load(folder, group_by=r"patient(\d+)"))


def test_a_pattern_goes_before_the_column_that_would_have_been_found(folder: Path) -> None:
    files = sorted(folder.rglob("*.png"))
    rows = [(f, f.parent.name, f"lot {i % 9}") for i, f in enumerate(files)]
    path = table(folder.parent / "t.csv", ["path", "label", "lot"], rows)
    assert set(load(path).groups.tolist()) == {f"lot {i}" for i in range(9)}
    listing = list_source(path, options=SourceOptions(group_by=r"patient(\d+)"))
    assert listing.notes[0] == "CSV table, columns path: path, class: label"
    assert {entry.group for entry in listing.entries} == {"", *map(str, range(16))}


def refused(kind: type[HeadstartError], data: object, group_by: str, **options: object) -> str:
    with pytest.raises(kind) as caught:
        load(data, group_by=group_by, **options)
    return str(caught.value)


def test_what_is_no_pattern(folder: Path) -> None:
    assert refused(ConfigError, folder, "patient(") == (
        "HS-CONFIG-020: 'patient(' is no regular expression (missing ), unterminated subpattern).\n"
        "  where: --group-by\n"
        "  to do: Such as --group-by 'patient(\\d+)': what the brackets match names the group."
    )
    text = refused(ConfigError, table_of(folder), "day (2025")
    assert "'day (2025' is no regular expression (missing ), unterminated subpattern), and no column" in text
    assert "of the table. Did you mean 'day (2024'?" in text
    assert "- the table's columns: path, label, camera, day (2024" in text


def test_groups_are_named_once(folder: Path) -> None:
    text = refused(ConfigError, table_of(folder), "camera", columns=("group=camera",))
    assert "HS-CONFIG-007" in text and "--group-by and --columns group=... both say what a group is" in text


def test_a_pattern_that_matches_nothing(folder: Path) -> None:
    assert refused(DataError, folder, r"lot(\d+)") == (
        "HS-DATA-060: --group-by finds no group: 'lot(\\d+)' matches no path.\n"
        f"  where: {folder}\n"
        "  - such as ill/control.png, ill/patient0_0.png, ill/patient0_1.png\n"
        "  to do: Give a regular expression that matches a part of the paths, or the name of a column."
    )
    text = refused(DataError, table_of(folder), "kamera")
    assert "- the table's columns: path, label, camera, day (2024. Did you mean 'camera'?" in text


def test_one_group_for_everything(folder: Path) -> None:
    text = refused(DataError, folder, "t")
    assert "HS-DATA-061: --group-by puts all pictures into one group, 't': nothing is left to split." in text
    assert "to do: Put brackets around what differs from group to group, as in 'patient(\\d+)'." in text
    assert "into one group, 'monday'" in refused(DataError, table_of(folder), "day (2024")


def test_an_empty_column(folder: Path) -> None:
    files = sorted(folder.rglob("*.png"))
    path = table(folder.parent / "t.csv", ["path", "label", "lot"], [(f, f.parent.name, "") for f in files])
    assert "HS-DATA-060: --group-by finds no group: column 'lot' has no value." in refused(
        DataError, path, "lot"
    )


def test_groups_that_are_the_classes_leave_nothing_to_report_on(folder: Path) -> None:
    assert refused(DataError, folder, "^([^/]+)/") == (
        "HS-DATA-062: The groups are so large that no picture is left to report on: each class needs two "
        "groups at least.\n"
        "  - 'ill': 41 pictures in 1 group\n"
        "  - 'well': 41 pictures in 1 group\n"
        "  to do: Name smaller groups, such as days or specimens, or give a split of your own."
    )


@pytest.mark.parametrize(
    ("group_by", "code"), [("lot", "HS-DATA-060"), ("t", "HS-DATA-061"), ("^[^/]+/", "HS-DATA-062")]
)
def test_a_check_looks_at_the_pictures_all_the_same(folder: Path, group_by: str, code: str) -> None:
    checked = check(folder, preprocess=SPEC, options=SourceOptions(group_by=group_by))
    assert not checked.usable and checked.findings[0].code == code
    assert len(checked.table.paths) == 82


def test_a_group_across_a_given_split_is_found(tmp_path: Path) -> None:
    for part, first in (("train", 0), ("test", 3)):
        for c, name in enumerate(("ill", "well")):
            for i in range(20):
                patient = first + i // 5 + 10 * c
                draw(tmp_path / "d" / part / name / f"p{patient}_{i}.png", 1000 * first + 100 * c + i)
    dataset = load(tmp_path / "d", group_by=r"p(\d+)_")
    # Patients 3 and 13 have five pictures on either side.
    assert {(leak.kind, leak.like[:5]) for leak in dataset.leaks} == {("group", "train")}
    assert len(dataset.leaks) == 10 and all("/p3_" in x.path or "/p13_" in x.path for x in dataset.leaks)
    (found,) = [
        finding
        for finding in check(
            tmp_path / "d", preprocess=SPEC, options=SourceOptions(group_by=r"p(\d+)_")
        ).findings
        if finding.code == "HS-CHECK-060"
    ]
    assert found.what == (
        "10 of 40 test pictures belong to 2 groups that lie on both sides of the split; the reported figures "
        "flatter"
    )
    assert found.severity == "warning" and found.count == 10
    assert {example.text for example in found.examples} == {"group '3'", "group '13'"}
    assert {path.split("/")[0] for path in found.examples[0].paths} == {"test", "train"}
    assert load(tmp_path / "d").leaks == ()


def test_evaluation_takes_groups_as_they_are(folder: Path) -> None:
    dataset, _ = load_dataset(
        folder, preprocess=SPEC, options=SourceOptions(group_by="t"), require_split=False
    )
    assert set(dataset.groups.tolist()) == {"t"} and set(dataset.splits.tolist()) == {"test"}
