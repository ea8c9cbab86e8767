"""Decisions on labels: written, read back, carried out after the split, refused with every fault at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from headstart.data.dataset import Dataset, load_dataset
from headstart.data.lock import read_lock
from headstart.data.overrides import Decision, read_decisions, write_decisions
from headstart.data.preprocess import Preprocess
from headstart.errors import DataError
from shapes import draw_folder

PREPROCESS = Preprocess(32, 32, "bilinear", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_folder(tmp_path_factory.mktemp("decided") / "shapes", 12, size=40)


def loaded(data: Path, overrides: Path | None = None) -> Dataset:
    dataset, pictures = load_dataset(data, preprocess=PREPROCESS, overrides=overrides)
    assert len(dataset) == len(pictures)
    for i in (0, len(dataset) - 1):
        own = PREPROCESS.resized(PREPROCESS.rgb(dataset.file(i).read_bytes()))
        assert (pictures[i] == own).all()
    return dataset


def of_part(dataset: Dataset, split: str, class_name: str) -> list[str]:
    return [
        str(dataset.paths[i])
        for i in dataset.indices(split)
        if dataset.classes[dataset.labels[i]] == class_name
    ]


def refused(data: Path, file: Path, *rows: Decision) -> DataError:
    write_decisions(file, rows)
    with pytest.raises(DataError) as caught:
        loaded(data, file)
    return caught.value


def test_relabelled_and_dropped_and_every_other_picture_stays_where_it_was(
    data: Path, tmp_path: Path
) -> None:
    before = loaded(data)
    first, second, third, *_ = of_part(before, "train", "dots")
    chosen = of_part(before, "selection", "rings")[0]
    file = tmp_path / "decisions.csv"
    decisions = [
        Decision(first, "dots", "stripes", "0.9", "relabel"),
        Decision(second, decision="DROP "),
        Decision(third, "dots", "rings"),
        Decision(str(data / chosen), "rings", "dots", "0.7", "relabel"),
    ]
    write_decisions(file, decisions)
    after = loaded(data, file)
    labels = {str(p): before.classes[label] for p, label in zip(before.paths, before.labels, strict=True)}
    parts = dict(zip(map(str, before.paths), before.splits, strict=True))
    now = {str(p): after.classes[label] for p, label in zip(after.paths, after.labels, strict=True)}
    del labels[second]
    assert now == {**labels, first: "stripes", chosen: "dots"}
    assert {str(p): s for p, s in zip(after.paths, after.splits, strict=True)} == {
        path: part for path, part in parts.items() if path != second
    }
    assert f"--overrides {file}: 2 pictures relabelled, 1 dropped" in after.notes
    assert after.fingerprint != before.fingerprint
    (tmp_path / "run").mkdir()
    after.write_csv(tmp_path / "run" / "dataset.csv")
    rows = {row.path: row for row in read_lock(tmp_path / "run")}
    assert rows[second].status == "excluded" and rows[second].reason == f"--overrides {file}"
    assert rows[first].class_name == "stripes"


def test_nothing_decided_changes_nothing(data: Path, tmp_path: Path) -> None:
    before = loaded(data)
    file = tmp_path / "decisions.csv"
    write_decisions(file, [Decision(str(path), decision="keep") for path in before.paths])
    assert loaded(data, file).fingerprint == before.fingerprint


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    rows = [
        Decision('a, "b".png', "x", "y", "0.5", "drop"),
        Decision("caf\udce9.png", "x", "z", "0.1", "keep"),
    ]
    write_decisions(tmp_path / "d.csv", rows)
    assert read_decisions(tmp_path / "d.csv") == rows


def test_reported_pictures_are_refused_by_name(data: Path, tmp_path: Path) -> None:
    before = loaded(data)
    reported = [str(before.paths[i]) for i in before.indices(before.reported_split)][:2]
    error = refused(data, tmp_path / "d.csv", *(Decision(path, decision="drop") for path in reported))
    assert str(error) == (
        "HS-DATA-083: 2 decisions on pictures that results are reported on: their labels are not changed by "
        f"a model's advice.\n  where: {tmp_path / 'd.csv'}\n  - {reported[0]}\n  - {reported[1]}\n"
        "  to do: Leave these lines out. If such a label is wrong for certain, correct the data themselves."
    )


def test_every_fault_is_named_at_once(data: Path, tmp_path: Path) -> None:
    before = loaded(data)
    one, two, *_ = of_part(before, "train", "dots")
    reported = str(before.paths[before.indices(before.reported_split)[0]])
    error = refused(
        data,
        tmp_path / "d.csv",
        Decision("dots/nowhere.png", decision="drop"),
        Decision("elsewhere.png", decision="drop"),
        Decision(one, suggested="stripe", decision="relabel"),
        Decision(two, decision="drop"),
        Decision(two, suggested="rings", decision="relabel"),
        Decision(reported, decision="drop"),
    )
    assert error.code == "HS-DATA-016" and len(error.details) == 3
    text = "\n".join(error.details)
    assert f"{one}: there is no class 'stripe'. Did you mean 'stripes'?" in text
    assert f"{two}: two decisions" in text
    assert "2 paths of the table of decisions are not among the pictures" in text
    assert "dots/nowhere.png, elsewhere.png" in text
    assert "HS-DATA-083" in text and reported in text


def test_a_class_must_be_left(data: Path, tmp_path: Path) -> None:
    dots = of_part(loaded(data), "train", "dots")
    error = refused(data, tmp_path / "d.csv", *(Decision(path, decision="drop") for path in dots[1:]))
    assert error.code == "HS-DATA-084"
    assert error.what == "The decisions leave 1 class with fewer than 2 pictures to train with ('dots': 1)."


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        (None, "HS-DATA-080", "No such file or directory. Did you mean 'decisions-1.csv'?"),
        ("", "HS-DATA-080", "it has no rows"),
        ("path,class\na,b\n", "HS-DATA-080", "it has no column decision."),
        (
            "path,decision\na.png,dorp\n",
            "HS-DATA-081",
            "has the decision 'dorp'. Did you mean 'drop'?",
        ),
        ("path,decision\n,drop\n", "HS-DATA-081", "line 2 names no path"),
        ("path,decision\na.png,drop,3\nb.png,drop\n", "HS-DATA-081", "line 2 has 3 cells, not 2"),
        (
            "path,suggested,decision\na.png,,relabel\n",
            "HS-DATA-081",
            "line 2 relabels, but names no class in the column suggested",
        ),
    ],
)
def test_tables_that_cannot_be_used(tmp_path: Path, text: str | None, code: str, said: str) -> None:
    (tmp_path / "decisions-1.csv").touch()
    file = tmp_path / "decisions.csv"
    if text is not None:
        file.write_text(text, encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read_decisions(file)
    assert caught.value.code == code
    assert said in str(caught.value)


def test_probabilities_follow_a_new_class(tmp_path: Path) -> None:
    root = draw_folder(tmp_path / "soft", {"train": 4, "val": 2}, kinds=("dots", "rings"), size=40)
    lines = ["path,split,prob:dots,prob:rings"]
    for file in sorted(root.rglob("*.png")):
        path = file.relative_to(root).as_posix()
        lines.append(f"{path},{path.split('/')[0]},{'0.8,0.2' if 'dots' in path else '0.3,0.7'}")
    (root / "table.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    file = tmp_path / "d.csv"
    write_decisions(file, [Decision("train/dots/000.png", "dots", "rings", "1", "relabel")])
    dataset, _ = load_dataset(root / "table.csv", preprocess=PREPROCESS, selection=0, overrides=file)
    i = [str(path) for path in dataset.paths].index("train/dots/000.png")
    assert dataset.classes[dataset.labels[i]] == "rings"
    assert np.allclose(dataset.targets(np.array([i])), [[0, 1]])
