"""Tables of predictions: three formats, parts of the pictures, and going on after a stop."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from colours import CLASSES
from headstart.deployment import prediction_table
from headstart.deployment.predict import Model, Prediction, load
from headstart.deployment.prediction_table import COLUMNS, Layout, predict_to_table
from headstart.deployment.sources import Shard
from headstart.deployment.table_formats import ROW_GROUP_CELLS
from headstart.deployment.table_resume import Kept, table_file
from headstart.errors import ConfigError, HeadstartError, RunError, UsageError

PICTURES = 15  # of the fixture `colours`


@pytest.fixture(scope="module")
def model(onnx_run: Path) -> Model:
    return load(onnx_run)


@pytest.fixture(scope="module")
def whole(model: Model, colours: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The bytes of the complete table in each format that can be gone on with."""
    folder = tmp_path_factory.mktemp("whole")
    for suffix in (".csv", ".jsonl"):
        predict_to_table(model, colours, folder / f"t{suffix}")
    return {suffix: (folder / f"t{suffix}").read_bytes() for suffix in (".csv", ".jsonl")}


def csv_rows(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
        return list(csv.DictReader(file))


def json_rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


# --- formats ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("top", [None, 2])
def test_all_formats_hold_the_same_rows(model: Model, colours: Path, tmp_path: Path, top: int | None) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    counts = [
        predict_to_table(model, colours, tmp_path / name, top=top)
        for name in ("t.csv", "t.jsonl", "t.parquet")
    ]
    assert counts[0] == counts[1] == counts[2]
    assert (counts[0].rows, counts[0].ok) == (PICTURES, 13)
    assert counts[0].failed == {"truncated": 1, "empty": 1}
    lines = json_rows(tmp_path / "t.jsonl")
    assert parquet.read_table(tmp_path / "t.parquet").to_pylist() == lines
    texts = csv_rows(tmp_path / "t.csv")
    assert [list(row) for row in texts] == [list(row) for row in lines]
    for text, line in zip(texts, lines, strict=True):
        assert text == {name: "" if value is None else str(value) for name, value in line.items()}
    answers = model.predict(colours)
    for line, answer in zip(lines, answers, strict=True):
        assert (line["path"], line["prediction"]) == (answer.path, answer.prediction)
        if not answer.ok:
            assert line["status"] == f"{answer.status}: {answer.reason}"
            assert {line[name] for name in list(line)[2:]} == {None}
        elif top is None:
            assert {c: line[f"prob:{c}"] for c in CLASSES} == answer.probabilities
        else:
            best = [(line[f"class_{i}"], line[f"probability_{i}"]) for i in (1, 2)]
            assert best == answer.top(2)
            assert "class_3" not in line


def test_parquet_has_row_groups_and_types(model: Model, colours: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    output = tmp_path / "t.parquet"
    patch = pytest.MonkeyPatch()
    patch.setattr("headstart.deployment.table_formats.ROW_GROUP_ROWS", 4)
    try:
        predict_to_table(model, colours, output)
    finally:
        patch.undo()
    file = parquet.ParquetFile(output)
    assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == [4, 4, 4, 3]
    assert [str(field.type) for field in file.schema_arrow][:6] == [
        *["string"] * 3,
        "double",
        "bool",
        "double",
    ]
    assert ROW_GROUP_CELLS >= 1000


def test_parquet_without_pyarrow_names_the_extra(
    model: Model, colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(HeadstartError, match="HS-INSTALL-001") as caught:
        predict_to_table(model, colours, tmp_path / "t.parquet")
    assert "Writing Parquet needs packages that are not installed." in str(caught.value)
    assert 'pip install "headstart[parquet]"' in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are bytes on Linux")
def test_names_that_are_no_utf8_come_back(model: Model, colours: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    picture = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png")
    shutil.copy(colours / "a.png", picture)
    for name in ("t.csv", "t.jsonl", "t.parquet"):
        predict_to_table(model, picture, tmp_path / name)
    assert csv_rows(tmp_path / "t.csv")[0]["path"] == picture
    assert json_rows(tmp_path / "t.jsonl")[0]["path"] == picture
    assert parquet.read_table(tmp_path / "t.parquet")["path"].to_pylist() == [f"{tmp_path}/\\udcff.png"]
    for name in ("t.csv", "t.jsonl"):
        assert predict_to_table(model, picture, tmp_path / name, resume=True).kept == 1


def test_sets_are_lists(make_bundle: Callable[..., Path], colours: Path, tmp_path: Path) -> None:
    kept = {"truth_probabilities": np.linspace(0.2, 1, 60).tolist()}
    model = load(make_bundle(tmp_path / "run", scale=0.5, calibration=kept))
    predict_to_table(model, colours, tmp_path / "t.jsonl", coverage=0.9)
    predict_to_table(model, colours, tmp_path / "t.csv", coverage=0.9)
    for line, text in zip(json_rows(tmp_path / "t.jsonl"), csv_rows(tmp_path / "t.csv"), strict=True):
        assert text["set"] == "|".join(line["set"] or [])
        assert line["set"] is None or line["prediction"] == line["set"][0]
    again = predict_to_table(model, colours, tmp_path / "t.csv", coverage=0.9, resume=True)
    fresh = predict_to_table(model, colours, tmp_path / "u.csv", coverage=0.9)
    assert again.kept == PICTURES and again.sets == fresh.sets


@pytest.mark.parametrize("name", ["t.json", "t.xlsx", "t.tsv"])
def test_other_kinds_of_files_are_refused(model: Model, colours: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="HS-PREDICT-047") as caught:
        predict_to_table(model, colours, tmp_path / name)
    assert f"No table is written as '{Path(name).suffix}'." in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_no_table(model: Model, colours: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="HS-PREDICT-047") as caught:
        predict_to_table(model, colours, tmp_path)
    assert "The table is to be a file, and this is a folder." in str(caught.value)


def test_a_top_of_none_is_refused(model: Model, colours: Path) -> None:
    with pytest.raises(ConfigError, match="HS-PREDICT-049"):
        predict_to_table(model, colours, top=0)


# --- parts ------------------------------------------------------------------------------------------------


def test_parts_together_are_the_whole_table(
    model: Model, colours: Path, tmp_path: Path, whole: dict[str, bytes]
) -> None:
    lines: list[bytes] = []
    for number in (1, 2, 3):
        output = tmp_path / f"{number}.jsonl"
        predict_to_table(model, colours, output, shard=Shard(number, 3))
        lines += output.read_bytes().splitlines(keepends=True)
    assert sorted(lines) == sorted(whole[".jsonl"].splitlines(keepends=True))


def test_a_part_without_pictures_is_an_empty_table(model: Model, colours: Path, tmp_path: Path) -> None:
    counts = [
        predict_to_table(model, colours / "a.png", tmp_path / f"{i}.csv", shard=Shard(i, 2)).rows
        for i in (1, 2)
    ]
    assert sorted(counts) == [0, 1]
    empty = tmp_path / f"{1 + counts.index(0)}.csv"
    assert empty.read_text("utf-8").split(",")[0] == "path"


# --- going on ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_a_table_cut_anywhere_is_completed_to_the_same_bytes(
    model: Model,
    colours: Path,
    whole: dict[str, bytes],
    tmp_path_factory: pytest.TempPathFactory,
    suffix: str,
    data: st.DataObject,
) -> None:
    output = tmp_path_factory.mktemp("cut") / f"t{suffix}"
    cut = data.draw(st.integers(0, len(whole[suffix])), label="cut")
    garbage = data.draw(st.sampled_from([b"", b"\0\0\0", b'"']), label="garbage")
    output.with_name(output.name + ".partial").write_bytes(whole[suffix][:cut] + garbage)
    counts = predict_to_table(model, colours, output, resume=True)
    assert output.read_bytes() == whole[suffix]
    assert [path.name for path in output.parent.iterdir()] == [output.name]
    assert (counts.rows, counts.ok, counts.failed) == (PICTURES, 13, {"truncated": 1, "empty": 1})
    assert counts.kept <= whole[suffix][:cut].count(b"\n")


SLOW = """
import sys, time
import headstart.deployment.prediction_table as table
from headstart.data.preprocess import Preprocess
table.FLUSH_SECONDS = 0
whole = Preprocess.__call__
Preprocess.__call__ = lambda self, image: time.sleep(0.02) or whole(self, image)
from headstart.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_a_killed_command_is_gone_on_with(
    onnx_run: Path,
    tmp_path: Path,
    surroundings: dict[str, str],
    command: Callable[..., Any],
    suffix: str,
) -> None:
    generator = np.random.default_rng(3)
    (tmp_path / "many").mkdir()
    for i in range(120):
        pixels = generator.integers(0, 256, (18, 18, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "many" / f"{i:03}.png")
    output, partial = tmp_path / f"t{suffix}", tmp_path / f"t{suffix}.partial"
    words = ["predict", onnx_run, tmp_path / "many", "-b", "4", "-j", "1", "-o", output]
    process = subprocess.Popen([sys.executable, "-c", SLOW, *map(str, words)], env=surroundings)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if partial.is_file() and partial.read_bytes().count(b"\n") >= 20:
            break
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait(30) == -signal.SIGKILL
    assert not output.exists()
    done = command(*words, "--resume", "--json")
    assert done.code == 0, done.err
    counts = json.loads(done.out)
    assert counts["rows"] == 120 and 19 <= counts["kept"] < 120
    assert f"{counts['kept']} rows were there already and kept" in done.err
    assert command(*words[:-1], tmp_path / f"fresh{suffix}").code == 0
    assert output.read_bytes() == (tmp_path / f"fresh{suffix}").read_bytes()


def interrupted_after(rows: int) -> Callable[..., Iterator[Prediction]]:
    stream = Model.stream

    def stopped(self: Model, *arguments: Any, **named: Any) -> Iterator[Prediction]:
        for i, row in enumerate(stream(self, *arguments, **named)):
            if i == rows:
                raise KeyboardInterrupt
            yield row

    return stopped


def test_an_interrupted_command_says_where_its_rows_are(
    model: Model,
    colours: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    whole: dict[str, bytes],
) -> None:
    output = tmp_path / "t.csv"
    output.write_text("old", encoding="utf-8")
    with monkeypatch.context() as patch:
        patch.setattr(Model, "stream", interrupted_after(6))
        with pytest.raises(KeyboardInterrupt):
            predict_to_table(model, colours, output)
    assert (
        f"what was predicted so far is in {output}.partial: --resume goes on with it"
        in capsys.readouterr().err
    )
    assert output.read_text("utf-8") == "old"
    counts = predict_to_table(model, colours, output, resume=True)
    assert counts.kept == 6
    assert output.read_bytes() == whole[".csv"]


def test_without_resume_a_table_is_begun_anew_and_that_is_said(
    model: Model, colours: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], whole: dict[str, bytes]
) -> None:
    partial = tmp_path / "t.csv.partial"
    partial.write_bytes(whole[".csv"][:400])
    assert predict_to_table(model, colours, tmp_path / "t.csv").kept == 0
    assert f"{partial}, which an interrupted command left, is replaced" in capsys.readouterr().err
    assert (tmp_path / "t.csv").read_bytes() == whole[".csv"]


def test_nothing_is_left_where_no_row_was_made(
    make_bundle: Callable[..., Path], colours: Path, tmp_path: Path
) -> None:
    run = make_bundle(tmp_path / "run", scale=math.inf)
    with pytest.raises(HeadstartError, match="HS-MODEL-050"):
        predict_to_table(load(run), colours, tmp_path / "out" / "t.csv")
    assert not (tmp_path / "out").exists()


def test_a_complete_table_takes_new_pictures(
    model: Model, colours: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(colours, tmp_path / "p"))
    output = tmp_path / "t.csv"
    predict_to_table(model, folder, output)
    assert predict_to_table(model, folder, output, resume=True).kept == PICTURES
    shutil.copy(colours / "a.png", folder / "aa.png")
    (folder / "b,c.png").unlink()
    capsys.readouterr()
    counts = predict_to_table(model, folder, output, resume=True)
    assert (counts.rows, counts.kept) == (PICTURES + 1, PICTURES)
    assert csv_rows(output)[-1]["path"] == str(folder / "aa.png")
    assert "1 of them is of a picture that is not among those given now." in capsys.readouterr().err


def test_a_picture_named_twice_has_two_rows(model: Model, colours: Path, tmp_path: Path) -> None:
    output, twice = tmp_path / "t.csv", [colours / "a.png"] * 2
    predict_to_table(model, twice, output)
    both = output.read_bytes()
    lines = both.splitlines(keepends=True)
    (tmp_path / "t.csv.partial").write_bytes(b"".join(lines[:2]))
    assert predict_to_table(model, twice, output, resume=True).kept == 1
    assert output.read_bytes() == both


def other_columns(model: Model, colours: Path, output: Path, make: Callable[..., Path]) -> None:
    predict_to_table(model, colours, output, resume=True, top=1)


def other_model(model: Model, colours: Path, output: Path, make: Callable[..., Path]) -> None:
    other = load(make(output.parent / "other", temperature=1.5))
    predict_to_table(other, colours, output, resume=True)


def other_pictures(model: Model, colours: Path, output: Path, make: Callable[..., Path]) -> None:
    predict_to_table(model, colours / "deep", output, resume=True)


def other_part(model: Model, colours: Path, output: Path, make: Callable[..., Path]) -> None:
    predict_to_table(model, colours, output, resume=True, shard=Shard(2, 2))


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (other_columns, "its columns are others"),
        (other_model, "the model now answers differently on "),
        (other_pictures, "which is not among these pictures"),
        (other_part, "which is not among these pictures"),
    ],
)
@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_a_table_of_another_command_is_not_gone_on_with(
    model: Model,
    colours: Path,
    tmp_path: Path,
    whole: dict[str, bytes],
    make_bundle: Callable[..., Path],
    suffix: str,
    other: Callable[..., None],
    words: str,
) -> None:
    partial = tmp_path / f"t{suffix}.partial"
    partial.write_bytes(whole[suffix])
    with pytest.raises(RunError, match="HS-PREDICT-046") as caught:
        other(model, colours, tmp_path / f"t{suffix}", make_bundle)
    assert "This table was not begun by the same command: " in str(caught.value)
    assert words in str(caught.value)
    assert partial.read_bytes() == whole[suffix]
    assert not (tmp_path / f"t{suffix}").exists()


@pytest.mark.parametrize("name", [None, "-", "t.parquet"])
def test_what_cannot_be_gone_on_with_says_so(
    model: Model, colours: Path, tmp_path: Path, name: str | None
) -> None:
    output = tmp_path / name if name and name != "-" else name
    with pytest.raises(UsageError, match="HS-PREDICT-045"):
        predict_to_table(model, colours, output, resume=True)


@pytest.mark.skipif(os.name != "posix", reason="needs flock")
def test_two_processes_do_not_write_one_table(model: Model, colours: Path, tmp_path: Path) -> None:
    output = tmp_path / "t.csv"
    with table_file(output) as file:
        file.write(b"first")
        with pytest.raises(RunError, match="HS-PREDICT-048") as caught:
            predict_to_table(model, colours, output)
    assert "Another process writes this table." in str(caught.value)
    assert output.read_bytes() == b"first"


def test_rows_of_before_take_16_bytes_each(tmp_path: Path) -> None:
    columns = Layout(CLASSES).columns()
    path = tmp_path / "t.csv"
    rows = io.StringIO()
    writer = csv.writer(rows, lineterminator="\n")
    writer.writerow(column.name for column in columns)
    for i in range(5000):
        writer.writerow([f"p/{i}.png", "ok", "猫", 0.5, "false", 0.1, 0.2, 0.5, 0.3])
    path.write_text(rows.getvalue(), encoding="utf-8")
    kept = Kept.read(path, columns)
    assert (kept.rows, kept.by_class, len(kept.first)) == (5000, {"猫": 5000}, 8)
    assert kept._hashes.nbytes + kept._left.nbytes == 16 * 5000
    assert all(kept.take(f"p/{i}.png") for i in range(4999))
    assert not kept.take("p/0.png") and not kept.take("q/0.png")
    assert kept.left == 1


def test_columns_are_the_documented_ones() -> None:
    assert tuple(column.name for column in Layout(CLASSES).columns())[: len(COLUMNS)] == COLUMNS
    assert prediction_table.COUNTED_AHEAD >= 1000


def test_more_pictures_than_are_counted_ahead(
    model: Model, colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: dict[str, bytes]
) -> None:
    monkeypatch.setattr(prediction_table, "COUNTED_AHEAD", 4)
    predict_to_table(model, colours, tmp_path / "t.csv", batch_size=3)
    assert (tmp_path / "t.csv").read_bytes() == whole[".csv"]
