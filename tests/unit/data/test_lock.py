"""The table of a run's pictures is read back as it was, and differences are told by kind."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart.data.lock import LockRow, difference, read_lock, soft_label, write_lock
from headstart.errors import RunError

TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=8)


def row(path: str, split: str = "train", content: str = "", class_name: str = "") -> LockRow:
    return LockRow(path, class_name or path.split("/")[0], split, "", content or path)


SOFT_CLASSES = ("cat", "a, dog")
SHARES = st.just(()) | st.tuples(st.floats(0, 1, width=32), st.floats(0, 1, width=32)).map(
    lambda shares: soft_label(SOFT_CLASSES, shares)
)


@given(st.lists(st.builds(LockRow, TEXT, TEXT, TEXT, TEXT, TEXT, TEXT, TEXT, SHARES), max_size=5))
def test_rows_come_back(tmp_path_factory: pytest.TempPathFactory, rows: list[LockRow]) -> None:
    folder = tmp_path_factory.mktemp("run")
    write_lock(folder / "dataset.csv", iter(rows), SOFT_CLASSES)
    assert read_lock(folder) == rows


def test_probabilities_follow_the_reason(tmp_path: Path) -> None:
    soft = soft_label(("cat", "dog"), (0.1, 0.9))
    write_lock(
        tmp_path / "dataset.csv",
        [LockRow("a", "dog", soft=soft), LockRow("b", status="empty")],
        ("cat", "dog"),
    )
    assert (tmp_path / "dataset.csv").read_text().splitlines() == [
        "path,class,split,group,file_hash,status,reason,prob:cat,prob:dog",
        "a,dog,,,,ok,,0.1,0.9",
        "b,,,,,empty,,,",
    ]
    other = [LockRow("a", "dog", soft=soft_label(("cat", "dog"), (0.4, 0.6)))]
    (change,) = difference(read_lock(tmp_path), other).of("relabelled")
    assert (change.before, change.after) == ("dog (cat 0.1, dog 0.9)", "dog (cat 0.4, dog 0.6)")


def test_tables_of_earlier_runs_are_read(tmp_path: Path) -> None:
    (tmp_path / "dataset.csv").write_text(
        "path,class,split,group,file_hash,status\na/1,a,train,h,h,ok\na/2,a,,,,empty\n"
    )
    sound, left_out = LockRow("a/1", "a", "train", "h", "h"), LockRow("a/2", "a", status="empty")
    assert read_lock(tmp_path) == [sound, left_out]


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        (None, "HS-RUN-040", "There is no table of pictures in this folder."),
        ("path,label\n", "HS-RUN-041", "its columns are not path,class,"),
        (
            "path,class,split,group,file_hash,status,reason\na,b\n",
            "HS-RUN-041",
            "line 2 has 2 cells, the header 7",
        ),
        (
            "path,class,split,group,file_hash,status,reason,prob:a\nx,a,,,,ok,,much\n",
            "HS-RUN-041",
            "could not convert string to float: 'much'",
        ),
    ],
)
def test_what_is_no_table(tmp_path: Path, content: str | None, code: str, words: str) -> None:
    if content is not None:
        (tmp_path / "dataset.csv").write_text(content)
    with pytest.raises(RunError) as caught:
        read_lock(tmp_path)
    assert caught.value.code == code and words in str(caught.value)


def test_every_kind_of_change() -> None:
    before = [
        row("cat/same"),
        row("cat/gone"),
        row("cat/relabelled", content="r"),
        row("train/cat/moved", content="m", class_name="cat"),
        row("cat/edited", content="old"),
        row("cat/old-name", content="n"),
        LockRow("cat/broken", "cat", status="truncated", reason="cut"),
        LockRow("cat/excluded", status="excluded"),
    ]
    now = [
        row("cat/same"),
        row("dog/relabelled", content="r"),
        row("val/cat/moved", "val", "m", "cat"),
        row("cat/edited", content="new"),
        row("cat/new-name", content="n"),
        row("cat/broken"),
        row("cat/excluded"),
        row("dog/new"),
    ]
    found = difference(before, now)
    moved = "1 moved from train to val"
    assert found.summary() == f"2 added, 1 removed, 1 relabelled, {moved}, 2 changed, 1 renamed"
    assert found.unchanged == 1
    told = found.to_dict()
    assert [change["path"] for change in told["added"]] == ["cat/excluded", "dog/new"]
    assert told["relabelled"] == [{"path": "dog/relabelled", "before": "cat", "after": "dog"}]
    assert told["moved"] == [{"path": "val/cat/moved", "before": "train", "after": "val"}]
    assert told["renamed"] == [{"path": "cat/new-name", "before": "cat/old-name", "after": "cat/new-name"}]
    assert "  removed: cat/gone" in found.lines()


def test_copies_are_matched_with_their_like() -> None:
    before = [row("cat/1", content="x"), row("dog/1", content="x")]
    now = [row("dog/2", content="x"), row("cat/2", content="x")]
    assert difference(before, now).summary() == "2 renamed"
    assert difference(before, [*now, row("cat/3", content="x")]).summary() == "1 added, 2 renamed"


@given(
    st.lists(
        st.builds(row, TEXT, st.sampled_from(("train", "test")), TEXT), max_size=8, unique_by=lambda r: r.path
    )
)
def test_no_difference_from_itself(rows: list[LockRow]) -> None:
    found = difference(rows, rows)
    assert found.changes == () and found.unchanged == len(rows) and found.summary() == "no difference"
