"""A folder becomes a table and its pictures: nothing silent, the same whatever the threads and the memory."""

from __future__ import annotations

import csv
import hashlib
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headstart.data.dataset import Dataset, load_dataset
from headstart.data.images import IntensityRange
from headstart.data.pictures import Pictures
from headstart.data.preprocess import Preprocess
from headstart.errors import DataError

SPEC = Preprocess(16, 20, "bilinear", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
SHARED = Path(
    os.environ.get("HEADSTART_SHARED_DATA") or Path(__file__).resolve().parents[4] / "shared" / "data"
)
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize 12345\n"


def draw(path: Path, seed: int, size: tuple[int, int] = (30, 24)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, "PNG")
    return path


def draw_classes(root: Path, **counts: int) -> Path:
    for c, (name, count) in enumerate(counts.items()):
        for i in range(count):
            draw(root / name.replace("__", "/") / f"{i:03}.png", 1000 * c + i)
    return root


def load(data: object, **options: object) -> tuple[Dataset, Pictures]:
    return load_dataset(data, preprocess=SPEC, **options)  # type: ignore[arg-type]


def fault(data: object, code: str, **options: object) -> str:
    with pytest.raises(DataError) as caught:
        load(data, **options)
    assert caught.value.code == code, str(caught.value)
    return str(caught.value)


def notes(dataset: Dataset) -> str:
    return "\n".join((*dataset.notes, *(finding.line() for finding in dataset.findings)))


# --- the table -----------------------------------------------------------------------------------------


def test_table_of_class_folders(tmp_path: Path) -> None:
    dataset, pictures = load(draw_classes(tmp_path, dog=20, cat=30))
    assert dataset.classes == ("cat", "dog")
    assert len(dataset) == len(pictures) == 50
    assert dataset.paths[0] == "cat/000.png" and dataset.file(0) == tmp_path / "cat" / "000.png"
    assert dataset.labels.dtype == np.int64 and np.bincount(dataset.labels).tolist() == [30, 20]
    assert dataset.splits.dtype == np.dtypes.StringDType()
    assert dataset.reported_split == "test"
    assert len(dataset.indices("test")) == 4 + 3
    assert len(dataset.indices("train", "selection")) == 43 and len(dataset.indices()) == 50
    digest = hashlib.sha256(dataset.file(7).read_bytes()).hexdigest()
    assert dataset.file_hashes[7] == digest
    with pytest.raises(ValueError, match=r"'tset' is no split\. Did you mean 'test'\?"):
        dataset.indices("tset")


def test_pictures_are_the_preprocessed_files(tmp_path: Path) -> None:
    dataset, pictures = load(draw_classes(tmp_path, a=3, b=3))
    for i in range(len(dataset)):
        image = Image.open(dataset.file(i)).convert("RGB")
        assert np.array_equal(pictures[i], SPEC.resized(image))
        assert np.array_equal(np.asarray(pictures.original(i)), np.asarray(image))
    assert pictures[0].shape == (20, 25, 3) and pictures[0].dtype == np.uint8


def test_the_result_does_not_depend_on_threads(tmp_path: Path) -> None:
    draw_classes(tmp_path, a=25, b=25)
    (tmp_path / "a" / "bad.jpg").write_bytes(b"")
    one, pictures_of_one = load(tmp_path, workers=1)
    many, pictures_of_many = load(tmp_path, workers=5)
    assert one.fingerprint == many.fingerprint
    assert one.notes == many.notes and one.findings == many.findings and one.left_out == many.left_out
    assert one.paths.tolist() == many.paths.tolist() and one.splits.tolist() == many.splits.tolist()
    for i in range(len(one)):
        assert np.array_equal(pictures_of_one[i], pictures_of_many[i])


def test_pictures_beyond_the_memory_limit_are_identical(tmp_path: Path) -> None:
    draw_classes(tmp_path, a=6, b=6)
    _, kept = load(tmp_path)
    dataset, some = load(tmp_path, memory_limit=3 * 20 * 25 * 3)
    _, none = load(tmp_path, memory_limit=0)
    assert (kept.at_hand, some.at_hand, none.at_hand) == (12, 3, 0)
    for i in range(12):
        assert np.array_equal(kept[i], some[i]) and np.array_equal(kept[i], none[i])
    assert "3 of 12 pictures fit into cache and memory; the others are decoded" in notes(dataset)


def test_a_picture_that_vanishes_is_named(tmp_path: Path) -> None:
    dataset, pictures = load(draw_classes(tmp_path, a=3, b=3), memory_limit=0)
    dataset.file(2).unlink()
    for read in (pictures.__getitem__, pictures.original):
        with pytest.raises(DataError) as caught:
            read(2)
        assert caught.value.code == "HS-DATA-017"
        assert "a/002.png" in str(caught.value).replace(os.sep, "/")
        assert "the file does not exist" in str(caught.value)


def test_fingerprint_sees_content_class_and_split_but_no_names(tmp_path: Path) -> None:
    first, _ = load(draw_classes(tmp_path / "one", a=25, b=25))
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    for path in sorted((tmp_path / "two" / "a").iterdir()):
        path.rename(path.with_name(f"renamed-{hashlib.md5(path.name.encode()).hexdigest()}.jpg"))
    renamed, _ = load(tmp_path / "two")
    assert renamed.fingerprint == first.fingerprint
    (tmp_path / "two" / "a").rename(tmp_path / "two" / "c")
    assert load(tmp_path / "two")[0].fingerprint != first.fingerprint
    draw(tmp_path / "one" / "a" / "000.png", 99)
    assert load(tmp_path / "one")[0].fingerprint != first.fingerprint


def test_csv_holds_every_file(tmp_path: Path) -> None:
    draw_classes(tmp_path / "data", Käse=3, 猫=3)
    (tmp_path / "data" / "猫" / "broken, really.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    dataset, _ = load(tmp_path / "data")
    dataset.write_csv(tmp_path / "dataset.csv")
    with open(tmp_path / "dataset.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["path", "class", "split", "group", "file_hash", "status", "reason"]
    assert len(rows) == 7
    assert [row["status"] for row in rows] == ["ok"] * 6 + ["truncated"]
    assert rows[0]["path"] == "Käse/000.png" and rows[0]["class"] == "Käse"
    assert rows[0]["file_hash"] == dataset.file_hashes[0] and rows[0]["split"] in ("train", "val")
    assert rows[6]["path"] == "猫/broken, really.jpg" and rows[6]["split"] == ""


def test_tree_shows_the_layout_as_understood(tmp_path: Path) -> None:
    draw_classes(tmp_path, train__cat=5, train__dog=6, test__cat=2, test__dog=3)
    dataset, _ = load(tmp_path)
    assert dataset.tree().splitlines() == [
        f"{tmp_path}: 16 pictures, 2 classes, split given by folders",
        "  class  train  selection  test (reported)",
        "  cat        4          1                2",
        "  dog        5          1                3",
        "  all        9          2                5",
    ]


def test_tree_of_many_classes_stays_short(tmp_path: Path) -> None:
    draw_classes(tmp_path, **{f"c{i:02}": 3 for i in range(25)})
    lines = load(tmp_path)[0].tree().splitlines()
    assert len(lines) == 24
    assert "... and 5 more" in lines[22]


def test_list_of_paths(tmp_path: Path) -> None:
    draw_classes(tmp_path, x=6)
    rows = [(tmp_path / "x" / f"{i:03}.png", "ab"[i % 2]) for i in range(6)]
    dataset, _ = load([*rows, (tmp_path / "none.png", "a")])
    assert dataset.layout == "list" and dataset.classes == ("a", "b")
    assert dataset.file(0) == tmp_path / "x" / "000.png"
    assert [(item.kind, item.class_name) for item in dataset.left_out] == [("missing", "a")]


# --- splits in notes -----------------------------------------------------------------------------------


def test_copies_across_a_given_split_are_pointed_out(tmp_path: Path) -> None:
    draw_classes(tmp_path, train__cat=6, train__dog=6, test__cat=2, test__dog=2)
    shutil.copy(tmp_path / "train/cat/000.png", tmp_path / "test/cat/copy.png")
    dataset, _ = load(tmp_path)
    assert "1 exact duplicate of other pictures" in notes(dataset)
    assert "1 of 5 test pictures are exact copies of pictures used for training" in notes(dataset)


def test_duplicates_of_a_free_split_share_a_side_and_a_group(tmp_path: Path) -> None:
    draw_classes(tmp_path, cat=30, dog=30)
    for i in range(10):
        shutil.copy(tmp_path / f"cat/{i:03}.png", tmp_path / f"cat/{i:03} (copy).png")
    dataset, _ = load(tmp_path)
    for group in np.unique(dataset.groups):
        assert len(set(dataset.splits[dataset.groups == group])) == 1
    assert "10 exact duplicates of other pictures, kept on one side of the split" in notes(dataset)


def test_one_picture_under_two_labels_is_pointed_out(tmp_path: Path) -> None:
    draw_classes(tmp_path, cat=5, dog=5)
    shutil.copy(tmp_path / "cat/000.png", tmp_path / "dog/same.png")
    told = notes(load(tmp_path)[0])
    assert (
        "WARNING  HS-CHECK-033  1 picture lies under more than one class, exactly the same (cat/000.png = dog"
        in told
    )


def test_class_missing_in_the_reported_part(tmp_path: Path) -> None:
    draw_classes(tmp_path, train__cat=5, train__dog=5, val__cat=3)
    dataset, _ = load(tmp_path)
    assert dataset.classes == ("cat", "dog")
    assert "1 class has no pictures in val, their figures there are n/a (dog)" in notes(dataset)
    assert set(dataset.labels[dataset.indices("val")]) == {0}


def test_evaluation_takes_a_folder_as_it_is(tmp_path: Path) -> None:
    draw_classes(tmp_path, cat=2)
    dataset, _ = load(tmp_path, require_split=False)
    assert dataset.reported_split == "test" and set(dataset.splits) == {"test"}
    assert dataset.classes == ("cat",)


# --- files that are no pictures ------------------------------------------------------------------------


def test_bad_files_are_named_counted_and_left_out(tmp_path: Path) -> None:
    draw_classes(tmp_path, cat=40, dog=40)
    (tmp_path / "cat" / "empty.jpg").write_bytes(b"")
    (tmp_path / "cat" / "pointer.jpg").write_text(POINTER.format("ab"), encoding="utf-8")
    whole = draw(tmp_path / "cat" / "cut.png", 5, (90, 90))
    whole.write_bytes(whole.read_bytes()[:-300])
    (tmp_path / "dog" / "labels.txt").write_text("a b c", encoding="utf-8")
    (tmp_path / "dog" / "thumbs.json").write_text("{}", encoding="utf-8")
    dataset, _ = load(tmp_path)
    assert len(dataset) == 80
    assert {(item.path, item.kind) for item in dataset.left_out} == {
        ("cat/empty.jpg", "empty"),
        ("cat/pointer.jpg", "lfs-pointer"),
        ("cat/cut.png", "truncated"),
        ("dog/labels.txt", "not-an-image"),
        ("dog/thumbs.json", "not-an-image"),
    }
    text = notes(dataset)
    assert "left out: 2 files that are not images (dog/labels.txt, dog/thumbs.json)" in text
    assert "left out: 1 empty file (cat/empty.jpg: the file is empty (0 bytes))" in text
    assert "left out: 1 Git LFS pointer instead of a picture (cat/pointer.jpg: " in text
    assert "left out: 1 truncated or damaged picture (cat/cut.png: PNG, cut short)" in text
    assert "WARNING  HS-CHECK-007  cannot be read: 3 of 43 pictures of class 'cat' (7%); look at them" in text
    assert "class 'dog'" not in text


@pytest.mark.skipif(os.name != "posix", reason="names are Unicode there")
def test_names_that_are_no_utf8_survive(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw_classes(tmp_path / "data", a=4, b=4)
    odd = os.fsencode(tmp_path / "data" / "a") + b"/\xff\xfe.png"
    try:
        (tmp_path / "data/a/000.png").rename(os.fsdecode(odd))
        Path(os.fsdecode(odd + b".jpg")).write_bytes(b"")
    except OSError:
        pytest.skip("this file system takes Unicode names only")
    dataset, pictures = load(tmp_path / "data", memory_limit=0)
    assert len(dataset) == 8 and all(pictures[i].shape == (20, 25, 3) for i in range(8))
    dataset.announce("headstart check data")
    assert r"left out: 1 empty file (a/\udcff\udcfe.png.jpg)" in capsys.readouterr().err
    dataset.write_findings(tmp_path / "findings.json")
    assert r"\udcff" in (tmp_path / "findings.json").read_text(encoding="utf-8")
    dataset.write_csv(tmp_path / "dataset.csv")
    assert b"a/\xff\xfe.png," in (tmp_path / "dataset.csv").read_bytes()


def test_a_class_that_loses_all_its_pictures(tmp_path: Path) -> None:
    draw_classes(tmp_path, cat=5, dog=5)
    for i in range(3):
        path = tmp_path / "fox" / f"{i}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_text(POINTER.format(i), encoding="utf-8")
    text = fault(tmp_path, "HS-DATA-010")
    assert "Class 'fox' loses all its 3 pictures: none can be read." in text
    assert "fox/0.jpg: a Git LFS pointer, not the picture itself" in text
    assert "git lfs pull" in text


def test_only_pointers_ask_for_git_lfs_pull(tmp_path: Path) -> None:
    for name in ("rock", "paper"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.jpg").write_text(POINTER.format(name), encoding="utf-8")
    text = fault(tmp_path, "HS-DATA-011")
    assert "All 2 files are Git LFS pointers, not pictures: the folder was cloned without git-lfs." in text
    assert "git lfs pull" in text


def test_nothing_readable_at_all(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.jpg").write_bytes(b"")
    text = fault(tmp_path, "HS-DATA-003")
    assert "None of 2 files is a picture that can be read." in text
    assert "a/x.jpg: the file is empty (0 bytes)" in text


def test_too_few_pictures_are_listed_by_class(tmp_path: Path) -> None:
    draw_classes(tmp_path, cat=5, dog=2, fox=1)
    (tmp_path / "empty").mkdir()
    (tmp_path / "fox" / "bad.jpg").write_bytes(b"")
    text = fault(tmp_path, "HS-DATA-005")
    assert "3 classes have too few readable pictures; each needs at least 3." in text
    assert "'dog': 2 readable" in text and "'empty': 0 readable" in text
    assert "'fox': 1 readable, 1 not readable" in text


def test_a_given_split_needs_two_training_pictures(tmp_path: Path) -> None:
    draw_classes(tmp_path, train__cat=2, train__dog=1, test__cat=2, test__dog=2)
    text = fault(tmp_path, "HS-DATA-005")
    assert "1 class has too few readable training pictures; each needs at least 2." in text
    draw(tmp_path / "train/dog/more.png", 77)
    dataset, _ = load(tmp_path)
    assert "no selection part: class 'cat' has 2 training pictures, fewer than 5" in notes(dataset)


def test_a_folder_without_pictures_among_classes(tmp_path: Path) -> None:
    draw_classes(tmp_path, cat=5, dog=5)
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "0.xml").write_text("<a/>", encoding="utf-8")
    text = fault(tmp_path, "HS-DATA-005")
    assert "'annotations': 0 readable" in text and '--exclude "annotations"' in text
    assert load(tmp_path, exclude=["annotations"])[0].classes == ("cat", "dog")


def test_faults_of_the_content_are_told_at_once(tmp_path: Path) -> None:
    draw_classes(tmp_path, cat=5, dog=1)
    (tmp_path / "fox").mkdir()
    (tmp_path / "fox" / "x.jpg").write_bytes(b"")
    text = fault(tmp_path, "HS-DATA-016")
    assert "HS-DATA-005" in text and "HS-DATA-010" in text


# --- depth, orientation, frames ------------------------------------------------------------------------


def deep_classes(root: Path, highest: dict[str, int]) -> Path:
    for c, (folder, high) in enumerate(highest.items()):
        for i in range(6):
            path = root / folder / f"{i}.tif"
            path.parent.mkdir(parents=True, exist_ok=True)
            values = np.random.default_rng(10 * c + i).integers(0, high, (24, 30))
            values[0, 0] = high
            Image.fromarray(values.astype(np.uint16)).save(path)
    return root


def test_depth_is_decided_once_from_training(tmp_path: Path) -> None:
    deep_classes(tmp_path, {"train/a": 900, "train/b": 4000, "test/a": 800, "test/b": 30_000})
    draw(tmp_path / "train/a/plain.png", 1)
    dataset, pictures = load(tmp_path)
    assert pictures.preprocess.intensity == IntensityRange(0, 4095)
    assert "24 12-bit grey pictures: 0..4095 shown as black..white, the same for all" in notes(dataset)
    assert "6 of them hold values outside of this range, which are clipped" in notes(dataset)
    dark = dataset.paths.tolist().index("train/a/0.tif")
    assert np.asarray(pictures.original(dark)).max() == round(900 / 4095 * 255)
    _, live = load(tmp_path, memory_limit=0, workers=3)
    for i in range(len(dataset)):
        assert np.array_equal(pictures[i], live[i])


def test_a_known_range_is_kept(tmp_path: Path) -> None:
    deep_classes(tmp_path, {"a": 900, "b": 1000})
    spec = Preprocess.from_dict({**SPEC.to_dict(), "intensity": {"black": 0.0, "white": 65535.0}})
    dataset, pictures = load_dataset(tmp_path, preprocess=spec, require_split=False)
    assert pictures.preprocess == spec
    assert "16-bit grey pictures: 0..65535" in notes(dataset)
    assert pictures.at_hand == len(dataset) and pictures[0].max() <= 4


def test_eight_bit_data_have_no_range(tmp_path: Path) -> None:
    _, pictures = load(draw_classes(tmp_path, a=3, b=3))
    assert pictures.preprocess is SPEC


def test_turned_and_animated_pictures_are_counted(tmp_path: Path) -> None:
    draw_classes(tmp_path, a=3, b=3)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(tmp_path / "a/000.png").save(tmp_path / "a/turned.jpg", exif=exif)
    frames = [Image.new("RGB", (9, 9), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "b/moving.gif", save_all=True, append_images=frames[1:])
    dataset, pictures = load(tmp_path)
    assert "1 picture turned upright as its EXIF data say" in notes(dataset)
    assert "1 file with several frames: the first is used" in notes(dataset)
    assert pictures[dataset.paths.tolist().index("a/turned.jpg")].shape == (25, 20, 3)


def test_thin_pictures_are_left_out_with_the_remedy(tmp_path: Path) -> None:
    draw_classes(tmp_path, a=4, b=4)
    Image.new("L", (1, 50_000)).resize((1, 65_000)).save(tmp_path / "a/thin.png")
    spec = Preprocess.from_dict({**SPEC.to_dict(), "resize": 256, "img_size": 224})
    dataset, _ = load_dataset(tmp_path, preprocess=spec)
    assert [item.kind for item in dataset.left_out] == ["too-large"]
    assert "--fit pad reads it" in notes(dataset)


# --- real pictures -------------------------------------------------------------------------------------


def shared(name: str) -> Path:
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"the development pictures '{name}' are not beside this checkout")
    return folder


def test_ants_and_bees() -> None:
    dataset, pictures = load(shared("ants-bees"))
    assert dataset.classes == ("ants", "bees") and len(dataset) == 398
    assert dataset.reported_split == "val" and len(dataset.indices("val")) == 153
    assert dataset.left_out == () and "train/ants/imageNotFound.gif" in dataset.paths.tolist()
    assert pictures.at_hand == 398
