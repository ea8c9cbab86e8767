"""One place decides what DATA is: folder, table, archive, Parquet with pictures, address or list."""

from __future__ import annotations

import csv
import json
import shutil
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headstart.data.dataset import Dataset, load_dataset
from headstart.data.folders import label_of, list_folder
from headstart.data.preprocess import Preprocess
from headstart.data.sources import SourceOptions, is_address, list_source, source_name
from headstart.errors import ConfigError, DataError, FetchError, HeadstartError

SPEC = Preprocess(16, 20, "bilinear", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def draw(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (24, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, "PNG")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of six pictures."""
    for c, name in enumerate(("cat", "dog")):
        for i in range(6):
            draw(tmp_path / "pets" / name / f"{i}.png", 10 * c + i)
    return tmp_path / "pets"


def load(data: object, **options: object) -> Dataset:
    return load_dataset(data, preprocess=SPEC, options=SourceOptions(**options))[0]  # type: ignore[arg-type]


def fault(data: object, code: str, kind: type[HeadstartError] = DataError, **options: object) -> str:
    with pytest.raises(kind) as caught:
        list_source(data, options=SourceOptions(**options))  # type: ignore[arg-type]
    assert caught.value.code == code, str(caught.value)
    return str(caught.value)


# --- archives ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["zip", "gztar", "tar"])
def test_an_archive_is_the_folder_in_it(
    folder: Path, home: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = Path(shutil.make_archive(str(folder.parent / "packed"), kind, folder.parent, "pets"))
    renamed = archive.rename(folder.parent / "download")  # the content decides
    before = renamed.read_bytes()
    dataset = load(renamed)
    assert dataset.fingerprint == load(folder).fingerprint
    assert dataset.root.name == "pets" and dataset.root.parent.parent == home / "unpacked"
    assert "unpacked " in capsys.readouterr().err
    assert renamed.read_bytes() == before
    marked = dataset.root / "cat" / "0.png"
    age = marked.stat().st_mtime_ns
    assert load(renamed).fingerprint == dataset.fingerprint
    assert "already unpacked: " in capsys.readouterr().err
    assert marked.stat().st_mtime_ns == age


def test_another_archive_of_the_same_name_is_another_folder(folder: Path) -> None:
    archive = Path(shutil.make_archive(str(folder.parent / "pets"), "zip", folder.parent, "pets"))
    first = load(archive)
    draw(folder / "cat" / "new.png", 99)
    archive.unlink()
    shutil.make_archive(str(folder.parent / "pets"), "zip", folder.parent, "pets")
    assert len(load(archive)) == len(first) + 1


def test_an_unsafe_archive_leaves_nothing_behind(folder: Path, home: Path) -> None:
    archive = folder.parent / "bad.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(folder / "cat" / "0.png", "../0.png")
    assert "leads out of the folder" in fault(archive, "HS-FETCH-008", FetchError)
    assert not list((home / "unpacked").iterdir())


def test_a_table_beside_its_pictures_in_an_archive(folder: Path) -> None:
    flat = folder.parent / "flat"
    rows = [(f"{path.parent.name}-{path.name}", path.parent.name) for path in sorted(folder.rglob("*.png"))]
    for name, label in rows:
        (flat / "images").mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / label / name.split("-")[1], flat / "images" / name)
    with open(flat / "metadata.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("file_name", "label"), *rows])
    archive = shutil.make_archive(str(folder.parent / "flat"), "zip", folder.parent, "flat")
    for data in (flat, flat / "metadata.csv", Path(archive)):
        assert load(data).fingerprint == load(folder).fingerprint
    for path in (flat / "images").iterdir():
        path.rename(flat / path.name)
    (flat / "images").rmdir()
    assert load(flat).fingerprint == load(folder).fingerprint


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 40, "no archive, but a picture."),
        (b"\x00\x01\x02" * 60, "no table of pictures and no archive."),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\n", "git lfs install && git lfs pull"),
    ],
)
def test_other_files(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    text = fault(tmp_path / "a.csv", "HS-DATA-002")
    assert words in text and "a zip or tar archive" in text


def test_a_spreadsheet_is_told_apart_from_an_archive(tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "labels.xlsx", "w") as file:
        file.writestr("[Content_Types].xml", "<Types/>")
    assert "a spreadsheet or document: save it as CSV" in fault(tmp_path / "labels.xlsx", "HS-DATA-002")


# --- addresses -----------------------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *words: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path))) as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{made.server_port}"
        made.shutdown()


def test_an_address_is_fetched_and_said(
    folder: Path, server: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.make_archive(str(folder.parent / "packed"), "zip", folder.parent, "pets")
    dataset = load(f"{server}/packed.zip")
    assert dataset.fingerprint == load(folder).fingerprint
    said = capsys.readouterr().err
    assert f"downloading {server}/packed.zip" in said and "its SHA-256 is " in said
    assert dataset.root == home / "datasets" / "packed" / "pets"


def test_a_named_set_is_not_downloaded_unasked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = fault("flowers", "HS-DATA-001")
    assert "There is no such folder, but a data set of this name: 3,670 pictures" in text
    assert 'headstart train "$(headstart fetch flowers)"' in text


@pytest.mark.parametrize(
    ("data", "address", "name"),
    [
        ("https://example.org/a/pets.tar.gz?x=1", True, "pets"),
        ("HTTP://example.org/pets", True, "pets"),
        ("file:///data/my%20pets.zip", True, "my pets"),
        ("folder/pets.v2", False, "pets.v2"),
        ("C:/pets", False, "pets"),
    ],
)
def test_names_of_sources(data: str, address: bool, name: str) -> None:
    assert is_address(data) == address and source_name(data) == name


# --- Parquet with the pictures inside ------------------------------------------------------------------


def write_parquet(path: Path, files: list[Path], *, names: bool = True, **more: list[object]) -> Path:
    pyarrow = pytest.importorskip("pyarrow", reason="the extra 'parquet' is not installed")
    parquet = pytest.importorskip("pyarrow.parquet")
    path.parent.mkdir(parents=True, exist_ok=True)
    labels = [("cat", "dog").index(file.parent.name) for file in files]
    image = pyarrow.array(
        [{"bytes": file.read_bytes(), "path": f"some/{file.parent.name}-{file.name}"} for file in files],
        pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())]),
    )
    table = pyarrow.table({"image": image, "label": labels, **more})
    features = {"image": {"_type": "Image"}, "label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})} if names else {}
    parquet.write_table(table.replace_schema_metadata(metadata), path)
    return path


def test_parquet_of_hugging_face_is_the_folder_it_was_made_from(
    folder: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = sorted(folder.rglob("*.png"))
    path = write_parquet(folder.parent / "pets.parquet", files)
    dataset = load(path)
    assert dataset.classes == ("cat", "dog") and dataset.fingerprint == load(folder).fingerprint
    assert dataset.file(0).read_bytes() == files[0].read_bytes()
    assert dataset.root.parent == home / "unpacked" and dataset.root.name.startswith("pets-")
    assert "unpacking the pictures of 1 Parquet file" in capsys.readouterr().err
    assert load(path).fingerprint == dataset.fingerprint
    assert "already unpacked" in capsys.readouterr().err


def test_parquet_files_of_a_split(folder: Path) -> None:
    files = sorted(folder.rglob("*.png"))
    place = folder.parent / "hub"
    (place).mkdir()
    (place / "README.md").write_text("a card", encoding="utf-8")
    write_parquet(place / "data" / "train-00000-of-00002.parquet", files[:4])
    write_parquet(place / "data" / "train-00001-of-00002.parquet", files[7:])
    write_parquet(place / "data" / "test-00000-of-00001.parquet", files[4:7])
    dataset = load(place)
    assert len(dataset.indices("test")) == 3 and dataset.reported_split == "test"
    split = folder.parent / "split"
    for i, file in enumerate(files):
        target = split / ("test" if 4 <= i < 7 else "train") / file.parent.name / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
    assert dataset.fingerprint == load(split).fingerprint


def test_parquet_without_names_has_numbers_for_classes(folder: Path) -> None:
    path = write_parquet(folder.parent / "pets.parquet", sorted(folder.rglob("*.png")), names=False)
    assert load(path).classes == ("0", "1")


def test_other_columns_of_parquet_are_kept(folder: Path) -> None:
    files = sorted(folder.rglob("*.png"))
    more = {"patient": [f"p{i // 2}" for i in range(12)], "hue": ["red", "blue"] * 6}
    path = write_parquet(folder.parent / "pets.parquet", files, **more)
    assert set(load(path).groups.tolist()) == {f"p{i}" for i in range(6)}
    assert load(path, columns=("label=hue",)).classes == ("blue", "red")
    assert "no column 'hues'" in fault(path, "HS-DATA-057", columns=("label=hues",))


def test_a_picture_that_is_not_there_is_counted(folder: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="the extra 'parquet' is not installed")
    parquet = pytest.importorskip("pyarrow.parquet")
    images = [file.read_bytes() for file in sorted(folder.rglob("*.png"))] * 4
    rows = pyarrow.table({"image": [*images, None], "label": ["cat"] * 24 + ["dog"] * 25})
    parquet.write_table(rows, folder.parent / "a.parquet")
    dataset = load(folder.parent / "a.parquet")
    assert len(dataset) == 48
    assert "the file does not exist" in str(dataset.findings)


# --- nested folders ------------------------------------------------------------------------------------


@pytest.fixture
def nested(tmp_path: Path) -> Path:
    """``SITE/CLASS/N.jpg``; listing looks at names only."""
    for path in ("north/cat", "north/dog", "south/cat", "south/dog"):
        (tmp_path / "sites" / path).mkdir(parents=True)
        for i in range(3):
            (tmp_path / "sites" / path / f"{i}.jpg").touch()
    return tmp_path / "sites"


@pytest.mark.parametrize(
    ("label_from", "classes"),
    [
        ("top", {"north", "south"}),
        ("parent", {"cat", "dog"}),
        ("path", {"north/cat", "north/dog", "south/cat", "south/dog"}),
    ],
)
def test_which_of_nested_folders_is_the_class(nested: Path, label_from: str, classes: set[str]) -> None:
    listing = list_source(nested, options=SourceOptions(label_from=label_from))  # type: ignore[arg-type]
    assert {entry.class_name for entry in listing.entries} == classes
    assert len(listing.entries) == 12


def test_the_same_inside_a_split(nested: Path) -> None:
    root = nested.parent / "split"
    for part in ("train", "test"):
        shutil.copytree(nested, root / part)
    listing = list_source(root, options=SourceOptions(label_from="parent"))
    assert {(entry.split, entry.class_name) for entry in listing.entries} == {
        ("train", "cat"),
        ("train", "dog"),
        ("test", "cat"),
        ("test", "dog"),
    }
    shutil.rmtree(root / "train" / "south" / "dog")
    shutil.rmtree(root / "train" / "north" / "dog")
    assert "Classes in test/ that train/ does not have: dog." in fault(
        root, "HS-DATA-008", label_from="parent"
    )


def test_equal_folders_in_all_classes_are_pointed_out(nested: Path) -> None:
    (note,) = list_folder(nested).notes
    assert note == (
        "each of 'north' and 'south' holds the folders cat, dog: the class is the first folder; if it is the "
        "inner one, add --label-from parent"
    )
    assert list_folder(nested, label_from="parent").notes == ()


def test_labels_of_paths() -> None:
    assert [label_of("a/b/c.jpg", how) for how in ("top", "parent", "path")] == ["a", "b", "a/b"]  # type: ignore[arg-type]
    assert label_of("c.jpg", "top") == ""


# --- options -------------------------------------------------------------------------------------------


def test_options_without_a_use_are_refused(folder: Path) -> None:
    text = fault(folder, "HS-CONFIG-014", ConfigError, images=folder, columns=("path=x",))
    assert "no meaning where the data are a folder of class folders" in text
    assert "--images is given" in text and "--columns is given" in text
    pairs = [(folder / "cat" / "0.png", "cat")]
    assert "are a list" in fault(pairs, "HS-CONFIG-014", ConfigError, label_from="parent")
