"""What is left out on demand: what patterns match is in test_folders; here, a list of files."""

from __future__ import annotations

import os
import tempfile
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart.data.exclusions import Exclusions, Named, read_list
from headstart.data.folders import list_folder
from headstart.data.listing import Excluded, Listing
from headstart.data.sources import SourceOptions, list_source
from headstart.errors import DataError
from headstart.storage import csv_writer

REASONS = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=20)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name in ("cat", "dog"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(4):
            (tmp_path / "data" / name / f"{i}.jpg").write_bytes(b"x")
    return tmp_path / "data"


def written(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_text(text, encoding=encoding)
    return path


def left_out(listing: Listing) -> list[str]:
    return sorted(item.path for item in listing.excluded)


def fault(file: Path) -> DataError:
    with pytest.raises(DataError) as caught:
        read_list(file)
    return caught.value


def test_the_files_of_a_list_are_left_out_counted_and_kept_with_their_reason(data: Path) -> None:
    file = written(
        data.parent / "out.csv",
        "path,reason,code\ncat/0.jpg,the file is empty (0 bytes),HS-CHECK-001\ndog/3.jpg,,\ncat/gone.jpg,,\n",
    )
    listing = list_folder(data, exclude=["cat/1.jpg", "owl"], exclude_list=file)
    assert len(listing.entries) == 5
    by_list = f"--exclude-list {file}"
    assert set(listing.excluded) == {
        Excluded("cat/0.jpg", by_list, "the file is empty (0 bytes)", "HS-CHECK-001"),
        Excluded("dog/3.jpg", by_list),
        Excluded("cat/1.jpg", "--exclude cat/1.jpg"),
    }
    assert listing.notes == (
        "left out by --exclude cat/1.jpg: 1 file or folder",
        "--exclude owl matched nothing",
        f"left out by --exclude-list {file}: 2 files and folders",
        f"ATTENTION: 1 path of {file} is not among the files of {data} (cat/gone.jpg)",
    )


@pytest.mark.parametrize(
    "text",
    [
        "path\ncat/0.jpg\ndog/1.jpg\n",
        "cat/0.jpg\ndog/1.jpg\n",  # no header
        "﻿path\r\ncat/0.jpg\r\ndog/1.jpg\r\n",
        "who;Path\nme;cat/0.jpg\nme;dog/1.jpg\n",
        '{"path": "cat/0.jpg"}\n{"path": "dog/1.jpg"}\n',
        "path\n./cat//0.jpg\ncat\\..\\dog\\1.jpg\n".replace("cat\\..\\", ""),  # of Windows
        "path\n{root}/cat/0.jpg\n{root}/dog/../dog/1.jpg\n",
        "path\ndata/cat/0.jpg\ndata/dog/1.jpg\n",  # as one sees them from the folder above
    ],
)
def test_lists_that_people_write(data: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(data.parent)
    file = written(data.parent / "list.txt", text.replace("{root}", data.as_posix()))
    assert left_out(list_folder(Path("data"), exclude_list=file)) == ["cat/0.jpg", "dog/1.jpg"]


def test_utf_16_and_folders(data: Path) -> None:
    file = written(data.parent / "list.csv", "path,why\ncat/,blurred\ndog/2.jpg,\n", "utf-16")
    assert left_out(list_folder(data, exclude_list=file, require_split=False)) == ["cat/", "dog/2.jpg"]


def test_a_list_is_no_pattern(data: Path) -> None:
    (data / "cat" / "[0].jpg").write_bytes(b"x")
    file = written(data.parent / "list.csv", "path\ncat/[0].jpg\ndog/*.jpg\n0.jpg\n")
    assert left_out(list_folder(data, exclude_list=file)) == ["cat/[0].jpg"]


def test_tables_lists_and_what_training_refuses(data: Path) -> None:
    file = written(data.parent / "out.csv", "path\ncat/0.jpg\ndog/1.jpg\n")
    options = SourceOptions(exclude_list=file)
    rows = [f"{c}/{i}.jpg,{c}" for c in ("cat", "dog") for i in range(4)]
    table = written(data / "labels.csv", "\n".join(["path,label", *rows]) + "\n")
    assert left_out(list_source(table, options=options)) == ["cat/0.jpg", "dog/1.jpg"]
    pairs = [(data / row.split(",")[0], row.split(",")[1]) for row in rows]
    found = left_out(list_source(pairs, options=options))
    assert found == [str(data / "cat/0.jpg"), str(data / "dog/1.jpg")]
    table.unlink()
    (data / "test").mkdir()
    assert left_out(list_source(data, options=options, anyway=True)) == ["cat/0.jpg", "dog/1.jpg"]


def test_a_list_beside_one_folder_is_not_taken_for_its_table(data: Path) -> None:
    for path in (data / "dog").iterdir():
        path.rename(data / "cat" / f"dog-{path.name}")
    (data / "dog").rmdir()
    file = written(data / "out.csv", "path,reason\ncat/0.jpg,empty\n")
    listing = list_source(data, options=SourceOptions(exclude_list=file), require_split=False)
    assert listing.layout == "class-folders" and left_out(listing) == ["cat/0.jpg"]


@pytest.mark.parametrize(
    ("text", "what", "details"),
    [
        (None, "The list of files to leave out cannot be read: No such file or directory.", ()),
        (b"", "The list of files to leave out cannot be read: it has no rows.", ()),
        (b"path\0\n", "The list of files to leave out cannot be read: it is no text.", ()),
        (
            b"file,reason\ncat/0.jpg,blurred\n",
            "The list of files to leave out has no column 'path'.",
            ("its columns: file, reason",),
        ),
        (
            b"path,reason\ncat/0.jpg,a,b\n,blurred\ndog/0.jpg,ok\n",
            "2 lines of the list of files to leave out cannot be used.",
            ("line 2 has 3 cells, not 2", "line 3 names no path"),
        ),
    ],
)
def test_lists_that_cannot_be_used(
    tmp_path: Path, text: bytes | None, what: str, details: tuple[str, ...]
) -> None:
    file = tmp_path / "out.csv"
    if text is not None:
        file.write_bytes(text)
    error = fault(file)
    assert error.code == ("HS-DATA-075" if "cannot be read" in what else "HS-DATA-076")
    assert (error.what, error.details, error.where) == (what, details, str(file)) and error.fix


def test_a_misspelt_list_gets_the_nearest_name(tmp_path: Path) -> None:
    written(tmp_path / "leave-out.csv", "path\n")
    assert "No such file or directory. Did you mean 'leave-out.csv'?" in fault(tmp_path / "leaveout.csv").what


def test_a_list_without_rows_leaves_nothing_out(data: Path) -> None:
    file = written(data.parent / "out.csv", "path,reason,code\n")
    listing = list_folder(data, exclude_list=file)
    assert len(listing.entries) == 8 and listing.excluded == []
    assert listing.notes == (f"left out by --exclude-list {file}: 0 files and folders",)


@given(
    st.lists(
        st.tuples(NAMES, st.text(st.characters(codec="utf-8", exclude_characters="\0"))),
        min_size=1,
        max_size=5,
    )
)
def test_what_is_written_is_read_and_matches(rows: list[tuple[str, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "out.csv"
        with open(file, "w", encoding="utf-8", newline="") as out:
            writer = csv_writer(out)
            writer.writerow(("path", "reason", "code"))
            for name, reason in rows:
                writer.writerow((f"cat/{name}", reason, ""))
        assert read_list(file) == [Named(f"cat/{name}", reason) for name, reason in rows]
        exclusions = Exclusions((), file, Path(folder))
        for name, _ in rows:
            if name not in (".", "..") and "\\" not in name:
                assert exclusions.leaves_out(f"cat/{name}")
                assert exclusions.leaves_out(unicodedata.normalize("NFD", f"cat/{name}"))


@pytest.mark.skipif(os.name != "posix", reason="names are Unicode there")
def test_names_that_are_no_utf8(tmp_path: Path) -> None:
    (tmp_path / "out.csv").write_bytes(b"path,reason\ncat/\xff\xfe.jpg,empty\n")
    assert Exclusions((), tmp_path / "out.csv", tmp_path).leaves_out(os.fsdecode(b"cat/\xff\xfe.jpg"))
