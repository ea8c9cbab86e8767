"""Tables of pictures: columns are found, shown, never guessed between; paths of elsewhere are found again."""

from __future__ import annotations

import csv
import json
import shutil
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from headstart.data.dataset import Dataset, load_dataset
from headstart.data.listing import Listing
from headstart.data.manifest import list_manifest
from headstart.data.preprocess import Preprocess
from headstart.data.sources import SourceOptions
from headstart.errors import ConfigError, DataError

SPEC = Preprocess(16, 20, "bilinear", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def draw(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (24, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, "PNG")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """``imgs/CLASS/NNN.png``: 25 cats, 20 dogs. Listing looks at names only, so a few are drawn."""
    for c, (name, count) in enumerate({"cat": 25, "dog": 20}.items()):
        for i in range(count):
            draw(tmp_path / "imgs" / name / f"{i:03}.png", 100 * c + i)
    return tmp_path


def rows_of(folder: Path) -> list[tuple[str, str]]:
    """Path relative to ``folder``, class; not sorted by class."""
    files = sorted((folder / "imgs").rglob("*.png"), key=lambda path: (path.name, path.parent.name))
    return [(path.relative_to(folder).as_posix(), path.parent.name) for path in files]


def write(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]], delimiter: str = ",") -> Path:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerows([header, *rows] if header else rows)
    return path


def classes(listing: Listing) -> dict[str, str]:
    return {entry.path: entry.class_name for entry in listing.entries}


def fault(path: Path, code: str, **options: object) -> str:
    with pytest.raises(DataError) as caught:
        list_manifest(path, **options)  # type: ignore[arg-type]
    assert caught.value.code == code, str(caught.value)
    assert caught.value.exit_code == 2
    return str(caught.value)


def load(data: object, **options: object) -> Dataset:
    return load_dataset(data, preprocess=SPEC, options=SourceOptions(**options))[0]  # type: ignore[arg-type]


# --- formats -------------------------------------------------------------------------------------------


def as_parquet(path: Path, rows: Sequence[Sequence[object]]) -> Path:
    pyarrow = pytest.importorskip("pyarrow", reason="the extra 'parquet' is not installed")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table({"file": [row[0] for row in rows], "kind": [row[1] for row in rows]})
    parquet.write_table(table, path)
    return path


@pytest.mark.parametrize("kind", ["csv", "tsv", "semicolon", "spaces", "jsonl", "parquet", "utf-16"])
def test_folders_and_tables_of_the_same_pictures_have_one_fingerprint(folder: Path, kind: str) -> None:
    rows = rows_of(folder)
    table = folder / "labels.txt"  # the content decides
    if kind == "jsonl":
        lines = (json.dumps({"file": path, "kind": name}) for path, name in rows)
        table.write_text("\n".join(lines), encoding="utf-8")
    elif kind == "parquet":
        as_parquet(table, rows)
    elif kind == "utf-16":
        table.write_text("\n".join(f"{path}\t{name}" for path, name in rows), encoding="utf-16")
    else:
        delimiter = {"csv": ",", "tsv": "\t", "semicolon": ";", "spaces": " "}[kind]
        write(table, ["file", "kind"], rows, delimiter)
    by_table, by_folder = load(table), load(folder / "imgs")
    assert by_table.fingerprint == by_folder.fingerprint
    assert by_table.classes == ("cat", "dog") and len(by_table) == 45
    assert by_table.layout == "table" and "2 classes, from a table" in by_table.tree()
    assert by_table.root == folder and by_table.paths[0] == "imgs/cat/000.png"
    columns = "path: 1, class: 2" if kind == "utf-16" else "path: file, class: kind"
    assert any(columns in note for note in by_table.notes)


def test_parquet_without_its_reader_says_the_pip_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    from headstart.errors import MissingExtraError

    (tmp_path / "a.parquet").write_bytes(b"PAR1" + b"\0" * 50)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r'pip install "headstart\[parquet\]"') as caught:
        list_manifest(tmp_path / "a.parquet")
    assert "Reading Parquet files needs packages" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "it has no rows"),
        (b"path,label\n", "it has no rows"),
        ("path,label\nKäse.png,a\n".encode("latin-1"), "it is not UTF-8"),
        (b'{"path": "a.png", "label": "a"}\n{"path": \n', "line 2 is no JSON"),
        (b'{"path": "a.png", "label": "a"}\n[1, 2]\n', "line 2 is no JSON object"),
        (b"PAR1 and nothing else", "a damaged Parquet file"),
    ],
)
def test_tables_that_cannot_be_read(tmp_path: Path, content: bytes, words: str) -> None:
    if content.startswith(b"PAR1"):
        pytest.importorskip("pyarrow")
    table = tmp_path / "labels.csv"
    table.write_bytes(content)
    assert words in fault(table, "HS-DATA-050")


# --- which column is what ------------------------------------------------------------------------------


def test_a_table_sorted_by_class_without_any_known_name(folder: Path) -> None:
    rows = sorted(rows_of(folder), key=lambda row: row[1])
    listing = list_manifest(
        write(folder / "t.csv", ["x", "z", "q"], [(f"{i}", *r) for i, r in enumerate(rows)])
    )
    assert classes(listing) == dict(rows)
    assert listing.notes[0] == "CSV table, columns path: z, class: q"


def test_split_and_group_are_found_and_shown(folder: Path) -> None:
    rows = [(p, c, "Train" if i % 5 else "valid", f"p{i // 4}") for i, (p, c) in enumerate(rows_of(folder))]
    listing = list_manifest(write(folder / "t.csv", ["img", "label", "part", "patient_id"], rows))
    assert listing.notes[0] == "CSV table, columns path: img, class: label, split: part, group: patient_id"
    assert {entry.split for entry in listing.entries} == {"train", "val"}
    by_path = {entry.path: entry for entry in listing.entries}
    assert all(by_path[path].group == group for path, _, _, group in rows)
    dataset = load(folder / "t.csv")
    assert dataset.reported_split == "val" and len(dataset.indices("val")) == 9
    assert set(dataset.groups.tolist()) == {row[3] for row in rows}


def test_a_group_lies_on_one_side_of_a_split_that_is_made_here(folder: Path) -> None:
    rows = [(p, c, f"patient {i // 3}") for i, (p, c) in enumerate(rows_of(folder))]
    shutil.copy(folder / rows[0][0], folder / "imgs" / "cat" / "copy.png")
    rows.append(("imgs/cat/copy.png", rows[0][1], "patient 14"))  # a copy ties two groups
    dataset = load(write(folder / "t.csv", ["path", "label", "group"], rows))
    sides: dict[str, set[str]] = {}
    for group, split in zip(dataset.groups.tolist(), dataset.splits.tolist(), strict=True):
        sides.setdefault(group.replace("patient 14", "patient 0"), set()).add(split)
    assert {len(parts) for parts in sides.values()} == {1}
    assert len(set.union(*sides.values())) > 1


def test_of_a_number_and_a_name_the_name_is_taken(folder: Path) -> None:
    rows = [(p, int(c == "dog"), c) for p, c in rows_of(folder)]
    listing = list_manifest(write(folder / "t.csv", ["path", "label", "class_name"], rows))
    assert classes(listing) == dict(rows_of(folder))


def test_several_possible_columns_are_an_error_that_shows_them(folder: Path) -> None:
    rows = [(p, c, "red" if i % 3 else "blue") for i, (p, c) in enumerate(rows_of(folder))]
    table = write(folder / "t.csv", ["path", "kind", "hue"], rows)
    text = fault(table, "HS-DATA-052")
    assert "Several columns could be the class: 'kind' and 'hue'." in text
    assert "kind: 2 different (cat, dog)" in text and "to do: Name it: --columns label=kind" in text
    listing = list_manifest(table, columns={"label": "hue"})
    assert set(classes(listing).values()) == {"red", "blue"}


def test_several_columns_of_paths(folder: Path) -> None:
    rows = [(p, p.replace("imgs", "masks"), c) for p, c in rows_of(folder)]
    assert classes(list_manifest(write(folder / "t.csv", ["a", "b", "label"], rows))) == dict(rows_of(folder))
    shutil.copytree(folder / "imgs", folder / "masks")
    text = fault(folder / "t.csv", "HS-DATA-051")
    assert "Several columns hold paths of pictures: 'a' and 'b'." in text
    assert "--columns path=a" in text
    assert list_manifest(folder / "t.csv", columns={"path": "b"}).entries[0].path == "masks/cat/000.png"


def test_no_such_column(folder: Path) -> None:
    table = write(folder / "t.csv", ["path", "species"], rows_of(folder))
    text = fault(table, "HS-DATA-057", columns={"label": "specis"})
    assert "The table has no column 'specis'. Did you mean 'species'?" in text
    assert "Its columns: path, species." in text


def test_faults_of_columns_come_together(folder: Path) -> None:
    shutil.copytree(folder / "imgs", folder / "masks")
    rows = [
        (p, p.replace("imgs", "masks"), c, "red" if i % 3 else "blue")
        for i, (p, c) in enumerate(rows_of(folder))
    ]
    table = write(folder / "t.csv", ["a", "b", "kind", "hue"], rows)
    text = fault(table, "HS-DATA-016")
    assert "HS-DATA-051: Several columns hold paths of pictures: 'a' and 'b'." in text
    assert "HS-DATA-052: Several columns could be the class: 'kind' and 'hue'." in text
    text = fault(table, "HS-DATA-016", columns={"label": "kin", "path": "c"})
    assert "no column 'kin'. Did you mean 'kind'?" in text and "no column 'c'." in text


def test_no_paths_and_no_classes(folder: Path) -> None:
    table = write(folder / "t.csv", ["height", "label"], [(1, "a"), (2, "b"), (1, "a")])
    assert "No column of the table holds paths" in fault(table, "HS-DATA-051")
    table = write(folder / "t.csv", ["path"], [row[:1] for row in rows_of(folder)])
    text = fault(table, "HS-DATA-052")
    assert "No column of the table holds classes." in text and "--label-from parent" in text
    assert classes(list_manifest(table, label_from="parent")) == dict(rows_of(folder))
    assert set(classes(list_manifest(table, label_from="path")).values()) == {"imgs/cat", "imgs/dog"}


def test_folders_win_over_a_column_of_classes_if_asked_for(folder: Path) -> None:
    rows = [(p, "red" if i % 3 else "blue") for i, (p, _) in enumerate(rows_of(folder))]
    table = write(folder / "t.csv", ["path", "label"], rows)
    assert classes(list_manifest(table, label_from="parent")) == dict(rows_of(folder))
    with pytest.raises(ConfigError, match="contradict") as caught:
        list_manifest(table, label_from="parent", columns={"label": "label"})
    assert caught.value.code == "HS-CONFIG-007"


def test_a_table_without_header(folder: Path) -> None:
    assert classes(list_manifest(write(folder / "t.csv", [], rows_of(folder)))) == dict(rows_of(folder))


# --- soft and several labels ---------------------------------------------------------------------------


def test_one_column_of_probabilities_per_class(folder: Path) -> None:
    rows = [(p, *((0.8, 0.15, 0.05) if c == "cat" else (0.25, 0.7, 0.05))) for p, c in rows_of(folder)]
    dataset = load(write(folder / "t.csv", ["path", "prob:cat", "prob:dog", "prob:owl"], rows))
    assert dataset.classes == ("cat", "dog") and dataset.soft_classes == ("cat", "dog", "owl")
    assert dataset.soft is not None and dataset.soft.shape == (45, 3)
    assert dataset.soft[0].tolist() == pytest.approx([0.8, 0.15, 0.05])
    assert dataset.targets(np.arange(2)) == pytest.approx(
        np.array([[16 / 19, 3 / 19]] * 2)
    )  # without the owl
    changed = [(p, *((0.8, 0.2, 0) if c == "cat" else (0.25, 0.75, 0))) for p, c in rows_of(folder)]
    other = load(write(folder / "u.csv", ["path", "prob:cat", "prob:dog", "prob:owl"], changed))
    plain = load(folder / "imgs")
    assert len({dataset.fingerprint, other.fingerprint, plain.fingerprint}) == 3  # they learn other things
    assert plain.targets(np.array([44, 0])).tolist() == [1, 0]
    notes = "\n".join(dataset.notes)
    assert "class: the likeliest of cat, dog, owl" in notes
    assert "training learns them, and the likeliest class is the label that results are of" in notes
    assert "never the likeliest, so not a class: owl" in notes
    dataset.write_csv(folder / "out.csv")
    with open(folder / "out.csv", encoding="utf-8") as file:
        written = list(csv.DictReader(file))
    assert float(written[0]["prob:dog"]) == pytest.approx(0.15) and written[0]["status"] == "ok"


def test_columns_of_ones_are_classes_without_probabilities(folder: Path) -> None:
    rows = [(Path(p).name[:-4] + c, int(c == "cat"), int(c == "dog")) for p, c in rows_of(folder)]
    for path, name in rows_of(folder):
        shutil.copy(folder / path, folder / "imgs" / f"{Path(path).name[:-4]}{name}.png")
    listing = list_manifest(write(folder / "t.csv", ["image_id", "CAT", "DOG"], rows), images=folder / "imgs")
    assert set(classes(listing).values()) == {"CAT", "DOG"} and not listing.soft
    assert "are read as they lie here: 000cat as 000cat.png" in listing.notes[1]


def test_one_probability(folder: Path) -> None:
    rows = [(p, (0, 1 / 3, 2 / 3, 1, 0.5)[i % 5]) for i, (p, _) in enumerate(rows_of(folder))]
    listing = list_manifest(write(folder / "t.csv", ["path", "defective"], rows))
    assert classes(listing)[rows[1][0]] == "not defective" and classes(listing)[rows[2][0]] == "defective"
    assert listing.soft_classes == ("not defective", "defective")
    assert listing.soft[rows[2][0]] == pytest.approx((1 / 3, 2 / 3))
    assert "9 pictures have several likeliest classes: the first column counts" in listing.notes


def test_probabilities_that_are_none(tmp_path: Path) -> None:
    rows: list[tuple[object, ...]] = [(f"{i}.png", 0.4 + i % 2 / 5, 0.6 - i % 2 / 5) for i in range(1000)]
    for name, *_ in rows:
        (tmp_path / str(name)).touch()
    rows[1] = ("1.png", 0.4, 0.4)  # not among those that are looked at together
    rows[2] = ("2.png", 0.4, "n/a")
    rows[3] = ("3.png", "", "")
    table = write(tmp_path / "t.csv", ["path", "a", "b"], rows[:2] + rows[4:])
    text = fault(table, "HS-DATA-053")
    assert "row 3: the probabilities 0.4 0.4 are not from 0 to 1, or do not sum to 1" in text
    rows[1] = ("1.png", 0.4, 0.6)
    write(table, ["path", "a", "b"], rows[:2] + rows[3:])
    assert "left out: 1 row without a class" in list_manifest(table).notes
    text = fault(write(table, ["path", "a", "b"], rows), "HS-DATA-053")
    assert "row 4: 0.4 n/a are no probabilities" in text


def test_two_sets_of_probabilities_of_one_picture(folder: Path) -> None:
    rows = [(p, 0.9, 0.1) if c == "cat" else (p, 0.2, 0.8) for p, c in rows_of(folder)]
    table = write(folder / "t.csv", ["path", "cat", "dog"], [*rows, rows[0]])
    assert "left out: 1 row that say the same again" in list_manifest(table).notes
    more = (rows[0][0], 0.7, 0.3) if rows[0][1] == 0.9 else (rows[0][0], 0.3, 0.7)
    text = fault(write(table, ["path", "cat", "dog"], [*rows, more]), "HS-DATA-053")
    assert f"row {len(rows) + 2}: {more[0]} was listed before with other probabilities" in text


@pytest.mark.parametrize("separator", [";", "|", ","])
def test_several_classes_in_a_cell_are_refused(folder: Path, separator: str) -> None:
    rows = [(p, c if i else f"cat{separator}dog") for i, (p, c) in enumerate(rows_of(folder))]
    text = fault(write(folder / "t.csv", ["path", "label"], rows, "\t"), "HS-DATA-054")
    assert "Pictures have several classes at once" in text and f"cat{separator}dog" in text
    assert "(cat+dog)" in text


def test_several_classes_as_lists_or_flags(folder: Path) -> None:
    rows = rows_of(folder)
    lines = [json.dumps({"path": p, "label": [c] if i else ["cat", "dog"]}) for i, (p, c) in enumerate(rows)]
    (folder / "t.jsonl").write_text("\n".join(lines), encoding="utf-8")
    assert "row 1: cat;dog" in fault(folder / "t.jsonl", "HS-DATA-054")
    (folder / "t.jsonl").write_text("\n".join(lines[1:]), encoding="utf-8")
    assert classes(list_manifest(folder / "t.jsonl")) == dict(rows[1:])
    flags = [(p, 1, int(c == "cat"), 0) for p, c in rows]
    text = fault(write(folder / "t.csv", ["path", "a", "b", "c"], flags), "HS-DATA-054")
    assert "a column for each of a, b, c; 25 of 45 rows have more than one" in text


def test_a_comma_in_a_name_is_no_list(folder: Path) -> None:
    rows = [(p, "Washington, DC" if c == "cat" else "Washington") for p, c in rows_of(folder)]
    listing = list_manifest(write(folder / "t.csv", ["path", "label"], rows))
    assert set(classes(listing).values()) == {"Washington, DC", "Washington"}


# --- paths of elsewhere --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "elsewhere",
    [
        "/home/anna/project/{}",
        "C:\\Users\\anna\\project\\{}",
        "\\\\server\\share\\{}",
        "project/{}",
        "./{}",
        "imgs/../{}",
    ],
)
def test_paths_of_another_machine(folder: Path, elsewhere: str) -> None:
    windows = "\\" in elsewhere
    rows = [(elsewhere.format(p.replace("/", "\\") if windows else p), c) for p, c in rows_of(folder)]
    listing = list_manifest(write(folder / "t.csv", ["path", "label"], rows))
    assert classes(listing) == dict(rows_of(folder))
    changed = not elsewhere.startswith((".", "imgs"))
    assert any("are read as they lie here: " in note for note in listing.notes) == changed


def test_pictures_in_a_folder_beside_the_table(folder: Path) -> None:
    rows = [(p.removeprefix("imgs/"), c) for p, c in rows_of(folder)]
    table = write(folder / "t.csv", ["path", "label"], rows)
    by_itself, by_name = list_manifest(table), list_manifest(table, images=folder / "imgs")
    assert classes(by_itself) == dict(rows_of(folder)) and classes(by_name) == dict(rows)
    assert "cat/000.png as imgs/cat/000.png" in by_itself.notes[1]


def test_two_places_that_fit_are_not_chosen_between(folder: Path) -> None:
    shutil.copytree(folder / "imgs", folder / "copy")
    rows = [(p.replace("imgs", "/data/lost"), c) for p, c in rows_of(folder)]
    text = fault(write(folder / "t.csv", ["path", "label"], rows), "HS-DATA-056")
    assert "more than one way to find them here" in text
    assert "/data/lost/cat/000.png as copy/cat/000.png" in text
    assert "/data/lost/cat/000.png as imgs/cat/000.png" in text and "--images DIR" in text


def test_the_longest_end_of_a_path_tells_the_place(folder: Path) -> None:
    shutil.copytree(folder / "imgs", folder / "more" / "imgs")
    shutil.copytree(folder / "imgs" / "cat", folder / "cat")
    shutil.copytree(folder / "imgs" / "dog", folder / "dog")
    rows = [(f"/data/more/{p}", c) for p, c in rows_of(folder)]
    listing = list_manifest(write(folder / "t.csv", ["path", "label"], rows))
    assert listing.entries[0].path == "more/imgs/cat/000.png"
    rows = [(f"/data/{p}", c) for p, c in rows_of(folder)]
    fault(write(folder / "t.csv", ["path", "label"], rows), "HS-DATA-056")


def test_absolute_paths_are_taken_as_they_are(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    rows = [(str(folder / p), c) for p, c in rows_of(folder)]
    listing = list_manifest(write(other / "t.csv", ["path", "label"], rows))
    assert listing.entries[0].path == str(folder / "imgs" / "cat" / "000.png")
    assert load(other / "t.csv").fingerprint == load(folder / "imgs").fingerprint


def test_missing_files(folder: Path) -> None:
    rows = rows_of(folder)
    (folder / rows[0][0]).rename(folder / "imgs" / "cat" / "00O.png")
    table = write(folder / "t.csv", ["path", "label"], rows)
    dataset = load(table)  # 1 of 45 is left out and named
    assert len(dataset) == 44
    assert any(f"{rows[0][0]}: the file does not exist" in item.line() for item in dataset.findings)
    for path, _ in rows[10:20]:
        (folder / path).unlink()
    text = fault(table, "HS-DATA-055")
    assert "11 of 45 files that the table names are not there." in text
    assert "imgs/cat/000.png Did you mean '00O.png'?" in text


def test_images_must_be_a_folder(folder: Path) -> None:
    table = write(folder / "t.csv", ["path", "label"], rows_of(folder))
    assert "Did you mean 'imgs'?" in fault(table, "HS-DATA-001", images=folder / "imgz")


# --- rows ----------------------------------------------------------------------------------------------


def test_all_faults_at_once(folder: Path) -> None:
    rows: list[tuple[object, ...]] = [(p, c, "train") for p, c in rows_of(folder)]
    rows[3] = (rows[3][0], "cta", "test")
    rows[4] = (rows[4][0], "cat", "trian")
    rows[5] = ("", "cat", "train")
    rows[6] = (rows[6][0], "cat")
    rows[7] = ("https://example.org/a.png", "cat", "train")
    rows.append((rows[0][0], "dog", "train"))
    table = write(folder / "t.csv", ["path", "label", "split"], rows)
    text = fault(table, "HS-DATA-016", columns={"split": "split"})
    assert "HS-DATA-053: 5 rows of the table cannot be used." in text
    assert "row 6: 'trian' is no split. Did you mean 'train'?" in text
    assert "row 7: names no picture" in text and "row 8: has 2 cells, not 3" in text
    assert "HS-DATA-008: Classes that no training row has: cta. Did you mean 'cat'?" in text
    with pytest.raises(DataError) as caught:
        list_manifest(write(folder / "t.csv", ["path", "label"], [*rows_of(folder), (rows[0][0], "dog")]))
    assert "imgs/cat/000.png is listed as cat and as dog" in str(caught.value)


def test_rows_that_say_nothing_new_are_left_out_and_counted(folder: Path) -> None:
    rows = [*rows_of(folder), rows_of(folder)[0], ("imgs/cat/001.png", " cat ")]
    rows[20] = (rows[20][0], "")
    listing = list_manifest(write(folder / "t.csv", ["path", "label"], rows))
    assert len(listing.entries) == 44
    notes = "\n".join(listing.notes)
    assert "left out: 1 row without a class" in notes
    assert "left out: 2 rows that say the same again" in notes
    assert "spaces around the class are dropped in 1 row" in notes


def test_exclude_names_paths_folders_and_classes(folder: Path) -> None:
    table = write(folder / "t.csv", ["path", "label"], rows_of(folder))
    listing = list_manifest(table, exclude=("imgs/*/00[12].png", "004.png", "nothing"))
    assert len(listing.entries) == 45 - 4 - 2
    assert "left out by --exclude imgs/*/00[12].png: 4 rows" in listing.notes
    assert "--exclude nothing matched nothing" in listing.notes
    assert "only one class, 'cat'" in fault(table, "HS-DATA-004", exclude=("dog",))
    assert len(list_manifest(table, exclude=("dog",), require_split=False).entries) == 25
    assert "names no picture with a class" in fault(table, "HS-DATA-003", exclude=("imgs",))


NAMES = st.text(
    st.characters(blacklist_categories=("Cs", "Cc", "Zl", "Zp", "Zs", "Cf"), blacklist_characters="/\\:;|,"),
    min_size=1,
    max_size=12,
).filter(lambda text: not text.startswith((".", "_")) and len(text.encode()) < 60)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(NAMES, st.sampled_from(["ä b", "猫", '"quoted"', "plain"])), min_size=6, max_size=20),
    st.sampled_from([",", "\t", ";"]),
    st.randoms(use_true_random=False),
)
def test_any_names_in_any_order_give_the_same_table(
    tmp_path_factory: pytest.TempPathFactory, files: list[tuple[str, str]], delimiter: str, chance: object
) -> None:
    folder = tmp_path_factory.mktemp("names")
    rows = []
    for i, (name, label) in enumerate(files):
        path = folder / f"{i}-{name}.png"
        path.touch()
        rows.append((path.name, label))
    if len({label for _, label in rows}) < 2:
        return
    table = write(folder / "t.csv", ["file", "label"], rows, delimiter)
    first = list_manifest(table)
    import unicodedata

    assert classes(first) == {path: unicodedata.normalize("NFC", label) for path, label in rows}
    chance.shuffle(rows)  # type: ignore[attr-defined]
    again = list_manifest(write(folder / "t.csv", ["file", "label"], rows, delimiter))
    assert list(again.entries) == list(first.entries)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_a_table_or_an_error_with_a_code(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    folder = tmp_path_factory.mktemp("bytes")
    if content.startswith(b"PAR1"):
        return
    (folder / "t.csv").write_bytes(content)
    try:
        list_manifest(folder / "t.csv")
    except DataError as error:
        assert error.code.startswith("HS-DATA-")


def test_rows_take_little_memory(tmp_path: Path) -> None:
    """300 MB for a million pictures, 300 bytes for one: its path takes 90 of them."""
    rows = 20_000
    (tmp_path / "site").mkdir()
    (tmp_path / "a.jpg").touch()
    for i in range(rows):
        (tmp_path / "site" / f"camera-IMG_{i:08}.jpg").hardlink_to(tmp_path / "a.jpg")
    table = tmp_path / "t.csv"
    write(table, ["path", "label"], [(f"site/camera-IMG_{i:08}.jpg", f"kind {i % 50}") for i in range(rows)])
    list_manifest(table)  # imports
    tracemalloc.start()
    try:
        listing = list_manifest(table)
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(listing.entries) == rows
    few = 4_000_000  # values that are told apart to find the columns, however many rows there are
    assert kept / rows < 150 and (peak - few) / rows < 300
