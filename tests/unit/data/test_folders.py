"""Which layouts are understood, and what a person is told about the others."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from headstart.data.folders import list_folder
from headstart.data.listing import Listing
from headstart.data.pairs import list_pairs
from headstart.data.unclear import list_unclear
from headstart.errors import DataError


def make(root: Path, *names: str) -> Path:
    """Files by relative name; a name that ends in / is an empty folder. Listing never looks inside."""
    for name in names:
        path = root / name
        if name.endswith("/"):
            path.mkdir(parents=True, exist_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("x", encoding="utf-8")
    return root


def pictures(*folders: str, count: int = 2) -> list[str]:
    return [f"{folder}/{i}.jpg" for folder in folders for i in range(count)]


def table(listing: Listing) -> set[tuple[str, str]]:
    return {(entry.split, entry.class_name) for entry in listing.entries}


def fault(root: Path, code: str, **options: object) -> str:
    with pytest.raises(DataError) as caught:
        list_folder(root, **options)  # type: ignore[arg-type]
    assert caught.value.code == code, str(caught.value)
    assert caught.value.exit_code == 2
    return str(caught.value)


# --- accepted ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("train", ["train", "training", "Train"])
@pytest.mark.parametrize(
    ("other", "split"),
    [
        ("val", "val"),
        ("valid", "val"),
        ("validation", "val"),
        ("dev", "val"),
        ("test", "test"),
        ("testing", "test"),
        ("Test", "test"),
    ],
)
def test_split_folders_in_every_usual_spelling(tmp_path: Path, train: str, other: str, split: str) -> None:
    make(tmp_path, *pictures(f"{train}/cat", f"{train}/dog", f"{other}/cat", f"{other}/dog"))
    listing = list_folder(tmp_path)
    assert listing.layout == "split-folders"
    assert len(listing.entries) == 8
    assert table(listing) == {("train", "cat"), ("train", "dog"), (split, "cat"), (split, "dog")}
    assert listing.notes == ()


def test_class_folders_alone(tmp_path: Path) -> None:
    listing = list_folder(make(tmp_path, *pictures("cat", "dog", "10", "2")))
    assert listing.layout == "class-folders"
    assert table(listing) == {("", "cat"), ("", "dog"), ("", "10"), ("", "2")}
    assert [entry.path for entry in listing.entries][:3] == ["10/0.jpg", "10/1.jpg", "2/0.jpg"]


def test_nested_folders_belong_to_the_first_one(tmp_path: Path) -> None:
    make(tmp_path, "cat/site1/a.jpg", "cat/site2/deep/a.jpg", "dog/site1/a.jpg", "dog/b.jpg")
    listing = list_folder(tmp_path)
    assert table(listing) == {("", "cat"), ("", "dog")}
    assert len(listing.entries) == 4


def test_hidden_and_system_names_are_ignored_and_listed(tmp_path: Path) -> None:
    make(tmp_path, *pictures("cat", "dog", ".ipynb_checkpoints", "__MACOSX", "@eaDir", "lost+found", "_old"))
    make(tmp_path, "cat/.DS_Store", "cat/Thumbs.db", "dog/desktop.ini", "dog/._0.jpg", "cat/_DSC0001.jpg")
    listing = list_folder(tmp_path)
    assert table(listing) == {("", "cat"), ("", "dog")}
    assert "cat/_DSC0001.jpg" in [entry.path for entry in listing.entries]  # a camera's name
    assert len(listing.entries) == 5
    assert listing.notes == ()
    assert len(listing.ignored) == 9
    assert {"cat/.DS_Store", "__MACOSX/"} <= set(listing.ignored)


def test_what_is_left_out_on_demand_is_listed_with_its_pattern(tmp_path: Path) -> None:
    make(tmp_path, *pictures("cat", "dog", "old"), "cat/1.jpg")
    listing = list_folder(tmp_path, exclude=["old", "cat/1.jpg"])
    left_out = {("old/", "--exclude old"), ("cat/1.jpg", "--exclude cat/1.jpg")}
    assert {(item.path, item.by) for item in listing.excluded} == left_out


def test_other_files_and_folders_without_pictures_are_noted(tmp_path: Path) -> None:
    make(tmp_path, *pictures("train/cat", "train/dog", "test/cat", "test/dog"))
    make(tmp_path, "readme.txt", "train/labels.csv", "docs/paper.pdf")
    notes = "\n".join(list_folder(tmp_path).notes)
    assert "ignored: the folder docs/, it holds no pictures" in notes
    assert "2 files that are no pictures, beside the class folders (readme.txt, train/labels.csv)" in notes


def test_unicode_names_are_compared_and_sorted_as_nfc(tmp_path: Path) -> None:
    make(tmp_path, "train/Käse/a.jpg", "train/猫 🐈 100 %/a.jpg", "test/Käse/a.jpg")
    assert table(list_folder(tmp_path)) == {("train", "Käse"), ("train", "猫 🐈 100 %"), ("test", "Käse")}


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    make(tmp_path / "store", "x.jpg", "more/y.jpg")
    root = make(tmp_path / "data", *pictures("cat", "dog"))
    (root / "cat" / "link.jpg").symlink_to(tmp_path / "store" / "x.jpg")
    (root / "cat" / "linked").symlink_to(tmp_path / "store" / "more")
    (root / "dog" / "circle").symlink_to(root / "dog")
    (root / "dog" / "broken.jpg").symlink_to(tmp_path / "nothing.jpg")
    listing = list_folder(root)
    paths = [entry.path for entry in listing.entries]
    assert "cat/link.jpg" in paths and "cat/linked/y.jpg" in paths and "dog/broken.jpg" in paths
    assert len(paths) == 7
    assert "not followed: links that lead in a circle (dog/circle)" in listing.notes


def test_exclude_takes_names_paths_and_patterns(tmp_path: Path) -> None:
    make(tmp_path, *pictures("cat", "dog", "Test"), "dog/bad.jpg", "cat/x.tmp", "dog/y.tmp")
    listing = list_folder(tmp_path, exclude=["Test/", "dog/bad.jpg", "*.tmp", "nothing"])
    assert len(listing.entries) == 4
    assert listing.notes == (
        "left out by --exclude Test: 1 file or folder",
        "left out by --exclude dog/bad.jpg: 1 file or folder",
        "left out by --exclude *.tmp: 2 files and folders",
        "--exclude nothing matched nothing",
    )


def test_evaluation_accepts_one_class_and_a_lone_test_part(tmp_path: Path) -> None:
    make(tmp_path, *pictures("test/cat"))
    assert table(list_folder(tmp_path, require_split=False)) == {("test", "cat")}


# --- refused -------------------------------------------------------------------------------------------


def test_no_such_folder_names_the_nearest(tmp_path: Path) -> None:
    make(tmp_path, "pictures/")
    text = fault(tmp_path / "pictuers", "HS-DATA-001")
    assert "There is no such folder. Did you mean 'pictures'?" in text
    assert str(tmp_path / "pictuers") in text
    fault(tmp_path / "a" / "b", "HS-DATA-001")


def test_a_file_instead_of_a_folder(tmp_path: Path) -> None:
    make(tmp_path, "data.zip")
    text = fault(tmp_path / "data.zip", "HS-DATA-002")
    assert "This is a file, a folder of pictures is needed." in text
    assert "Give the folder that holds the pictures." in text


def test_an_empty_folder(tmp_path: Path) -> None:
    make(tmp_path, ".DS_Store", "readme.txt")
    text = fault(tmp_path, "HS-DATA-003")
    assert "The folder holds no pictures." in text
    assert "ignored: .DS_Store" in text and "ignored: readme.txt" in text
    assert "train/CLASS/*.jpg and test/CLASS/*.jpg" in text


def test_empty_class_folders(tmp_path: Path) -> None:
    fault(make(tmp_path, "cat/", "dog/"), "HS-DATA-003")


def test_one_class_only(tmp_path: Path) -> None:
    text = fault(make(tmp_path, *pictures("cat")), "HS-DATA-004")
    assert "There is only one class, 'cat'; at least two are needed." in text
    assert "Add a folder with pictures of something else" in text


def test_one_folder_around_the_classes(tmp_path: Path) -> None:
    text = fault(make(tmp_path, *pictures("all/cat", "all/dog")), "HS-DATA-004")
    assert f"If the classes are inside (cat, dog), give the folder {tmp_path / 'all'}" in text


def test_pictures_beside_class_folders_are_named(tmp_path: Path) -> None:
    make(tmp_path, *pictures("cat", "dog"), "stray.jpg", "other.PNG")
    (tmp_path / "by-content").write_bytes(b"\xff\xd8\xff\xe0")
    text = fault(tmp_path, "HS-DATA-006")
    assert "3 pictures lie directly in the data folder, beside the class folders." in text
    assert "- stray.jpg" in text and "- other.PNG" in text and "- by-content" in text


def test_pictures_beside_class_folders_of_a_split(tmp_path: Path) -> None:
    make(tmp_path, *pictures("train/cat", "train/dog", "test/cat"), "train/stray.jpg")
    assert "1 picture lies directly in train/, beside" in fault(tmp_path, "HS-DATA-006")


def test_pictures_without_class_folders(tmp_path: Path) -> None:
    text = fault(make(tmp_path, "a.jpg", "b.jpg"), "HS-DATA-006")
    assert "without class folders nobody knows their classes" in text


@pytest.mark.parametrize("name", ["Test", "val", "train"])
def test_split_named_folder_beside_class_folders(tmp_path: Path, name: str) -> None:
    text = fault(make(tmp_path, *pictures("Hemlock", "Cherry"), f"{name}/a.jpg"), "HS-DATA-007")
    assert f"'{name}' looks like a part of a split, but lies beside class folders: Cherry, Hemlock." in text
    excluded = "Cherry" if name == "train" else name
    assert f'--exclude "{excluded}"' in text
    assert f"If '{name}' is a class, give the folder another name." in text


def test_class_that_training_does_not_have(tmp_path: Path) -> None:
    make(tmp_path, *pictures("train/cat", "train/dog", "test/cat", "test/dogs", "test/cow"))
    text = fault(tmp_path, "HS-DATA-008")
    assert "Classes in test/ that train/ does not have: cow, dogs. Did you mean 'dog'?" in text
    assert "- test/: cat, cow, dogs" in text and "- train/: cat, dog" in text


@pytest.mark.skipif(os.name != "posix", reason="the file system may unify the names")
def test_two_folders_with_the_same_unicode_name(tmp_path: Path) -> None:
    make(tmp_path, "K\u00e4se/a.jpg", "Ka\u0308se/a.jpg", "dog/a.jpg")
    if len(list(tmp_path.iterdir())) < 3:
        pytest.skip("this file system unifies Unicode names")
    text = fault(tmp_path, "HS-DATA-009")
    assert "2 folders are named 'Käse', in different Unicode forms." in text
    assert "'K\\xe4se'" in text and "'Ka\\u0308se'" in text


def test_no_training_part(tmp_path: Path) -> None:
    text = fault(make(tmp_path, *pictures("val/cat", "val/dog", "test/cat")), "HS-DATA-012")
    assert "There is no training part, only 'test' and 'val'." in text


def test_two_spellings_of_one_part(tmp_path: Path) -> None:
    make(tmp_path, *pictures("train/cat", "train/dog", "val/cat", "validation/cat"))
    text = fault(tmp_path, "HS-DATA-013")
    assert "Two folders name the same part of the data: 'val' and 'validation'." in text
    assert "--exclude validation" in text


def test_a_folder_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, *pictures("cat", "dog", "secret"))
    scan = os.scandir

    def denied(path: Path):
        if Path(path).name == "secret":
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", denied)
    assert str(tmp_path / "secret") in fault(tmp_path, "HS-DATA-015")


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    make(tmp_path, *pictures("train/cat", "train/dog", "val/cat", "valid/cat", "test/cow"), "a.jpg")
    text = fault(tmp_path, "HS-DATA-016")
    assert "3 things are wrong with the data." in text
    for code in ("HS-DATA-006", "HS-DATA-008", "HS-DATA-013"):
        assert code in text


# --- lists ---------------------------------------------------------------------------------------------


def test_list_of_paths_and_labels(tmp_path: Path) -> None:
    listing = list_pairs([(tmp_path / "b" / "1.jpg", "cat"), (str(tmp_path / "a" / "2.jpg"), 7)])
    assert listing.layout == "list" and listing.root == tmp_path
    assert [(entry.path, entry.class_name) for entry in listing.entries] == [
        (str(tmp_path / "a" / "2.jpg"), "7"),
        (str(tmp_path / "b" / "1.jpg"), "cat"),
    ]


def test_list_with_splits() -> None:
    listing = list_pairs(
        [("a", "x", "training"), ("b", "y", "Train"), ("c", "x", "valid"), ("d", "y", "test")]
    )
    assert [entry.split for entry in listing.entries] == ["train", "train", "val", "test"]


def test_rows_that_cannot_be_used_are_all_named() -> None:
    rows = [("a.jpg", "x", "train"), ("b.jpg", " ", "train"), ("c.jpg", "y"), ("d.jpg", "y", "tset")]
    with pytest.raises(DataError) as caught:
        list_pairs([*rows, ("a.jpg", "y", "train"), ("e.jpg", "y", "train"), "f.jpg"])
    text = str(caught.value)
    assert caught.value.code == "HS-DATA-014"
    assert "5 rows of the list cannot be used." in text
    assert "row 1: b.jpg has an empty label" in text
    assert "row 2: c.jpg has no split" in text
    assert "row 3: 'tset' is no split. Did you mean 'test'?" in text
    assert "row 4: a.jpg is listed before, in row 0" in text
    assert "row 6: 'f.jpg' is not (path, label)" in text


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        ([], "HS-DATA-003"),
        ([("a", "x"), ("b", "x")], "HS-DATA-004"),
        ([("a", "x", "train"), ("b", "y", "train"), ("c", "z", "test")], "HS-DATA-008"),
        ([("a", "x", "val"), ("b", "y", "test")], "HS-DATA-012"),
    ],
)
def test_lists_that_cannot_train(rows: list[tuple[str, ...]], code: str) -> None:
    with pytest.raises(DataError) as caught:
        list_pairs(rows)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("train", "other", "split"),
    [
        ("training_set", "test_set", "test"),
        ("seg_train", "seg_test", "test"),
        ("Train Images", "Validation Images", "val"),
        ("trainset", "testset", "test"),
        ("1-train", "1-dev", "val"),
    ],
)
def test_split_folders_whose_names_differ_in_the_part_only(
    tmp_path: Path, train: str, other: str, split: str
) -> None:
    make(tmp_path, *pictures(f"{train}/cat", f"{train}/dog", f"{other}/cat", f"{other}/dog"))
    listing = list_folder(tmp_path)
    assert listing.layout == "split-folders"
    assert table(listing) == {("train", "cat"), ("train", "dog"), (split, "cat"), (split, "dog")}
    assert listing.notes[:2] == (f"{train}/ is read as train/", f"{other}/ is read as {split}/")
    unclear = list_unclear(tmp_path)
    assert table(unclear) == table(listing)


@pytest.mark.parametrize(
    "names",
    [
        ("bullet_train", "steam_train"),  # one part only
        ("train_station", "test_tube"),  # more differs
        ("trainer", "tester"),
        ("restrain", "contest"),
        ("a_test", "b_test"),
    ],
)
def test_classes_that_only_sound_like_parts(tmp_path: Path, names: tuple[str, str]) -> None:
    make(tmp_path, *pictures(*names))
    listing = list_folder(tmp_path)
    assert table(listing) == {("", name) for name in names}
    assert table(list_unclear(tmp_path)) == table(listing)


def test_a_folder_beside_parts_of_long_names_is_no_class(tmp_path: Path) -> None:
    make(tmp_path, *pictures("seg_train/sea", "seg_train/ice", "seg_test/sea", "seg_test/ice", "seg_pred"))
    text = fault(tmp_path, "HS-DATA-007")
    assert "'seg_test' and 'seg_train' look like parts of a split" in text
    assert '--exclude "seg_pred"' in text


@pytest.mark.parametrize("name", ["train", "seg_train"])
def test_a_part_inside_a_folder_of_its_name(tmp_path: Path, name: str) -> None:
    other = name.replace("train", "test")
    for part in (name, other):
        make(tmp_path, *pictures(f"{part}/{part}/sea", f"{part}/{part}/ice"), f"{part}/notes.txt")
    listing = list_folder(tmp_path)
    assert table(listing) == {("train", "sea"), ("train", "ice"), ("test", "sea"), ("test", "ice")}
    assert any(f"{name}/notes.txt" in note for note in listing.notes)
    assert table(list_unclear(tmp_path)) >= table(listing)
    make(tmp_path, *pictures(f"{other}/{other}/fog"))
    assert f'--exclude "{other}/{other}/fog"' in fault(tmp_path, "HS-DATA-008")


def test_a_class_that_is_named_like_its_part_stays_one(tmp_path: Path) -> None:
    make(tmp_path, *pictures("train/train", "train/car", "test/train"))
    assert table(list_folder(tmp_path)) == {("train", "train"), ("train", "car"), ("test", "train")}
