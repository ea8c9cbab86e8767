"""What is found below folders, while it is asked for; and the parts that several machines share."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart.deployment import sources
from headstart.deployment.sources import Shard, Walk, listed
from headstart.errors import DataError, UsageError

names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1)


@given(st.lists(names, unique=True), st.integers(1, 9))
def test_each_picture_belongs_to_exactly_one_part(found: list[str], count: int) -> None:
    shards = [Shard(number, count) for number in range(1, count + 1)]
    assert all([shard.holds(name) for shard in shards].count(True) == 1 for name in found)


def test_parts_are_about_equal_and_always_the_same() -> None:
    held = [sum(Shard(number, 8).holds(f"IMG_{i:05}.jpg") for i in range(8000)) for number in range(1, 9)]
    assert sum(held) == 8000
    assert all(900 < n < 1100 for n in held)
    # Stable over processes, machines and versions: a part is gone on with elsewhere.
    assert [i for i in range(20) if Shard(3, 8).holds(f"IMG_{i:05}.jpg")] == [8, 11]


def test_parts_are_those_of_the_names_below_the_folder(colours: Path, tmp_path: Path) -> None:
    elsewhere = Path(shutil.copytree(colours, tmp_path / "mounted" / "elsewhere"))
    whole = [source.path for source in Walk(colours)]
    parts = [[s.path for s in Walk(colours, Shard(number, 3))] for number in (1, 2, 3)]
    assert sorted(path for part in parts for path in part) == sorted(whole)
    for number, part in enumerate(parts, start=1):
        there = [os.path.relpath(s.path, elsewhere) for s in Walk(elsewhere, Shard(number, 3))]
        assert there == [os.path.relpath(path, colours) for path in part]


@pytest.mark.parametrize("text", ["", "3", "0/8", "9/8", "a/b", "-1/2", "1/0", "3/8/2"])
def test_parts_that_there_are_not(text: str) -> None:
    with pytest.raises(UsageError, match="HS-PREDICT-044") as caught:
        Shard.parse(text)
    assert f"'{text}' is no part of the pictures." in str(caught.value)
    assert Shard.parse("3/8") == Shard(3, 8)


def test_folders_are_read_when_it_is_their_turn(colours: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    scandir = os.scandir
    monkeypatch.setattr(sources.os, "scandir", lambda path: read.append(str(path)) or scandir(path))
    walk = iter(Walk(colours))
    read.clear()  # it was looked whether there are any
    found = [next(walk).path for _ in range(3)]
    assert found == [str(colours / name) for name in ("a.png", "b,c.png", "cut.png")]
    assert read == [str(colours)]
    assert len(list(walk)) == 12
    assert str(colours / "deep" / "5") in read


def test_a_walk_covers_what_it_finds_and_nothing_else(colours: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(colours)
    for inputs in (colours, f"{colours}/", ".", ["deep", "a.png"], Path("deep/1")):
        for shard in (None, Shard(1, 2)):
            walk = Walk(inputs, shard)
            found = [source.path for source in walk]
            assert all(walk.covers(path) for path in found)
            other = Walk(inputs, Shard(2, 2))
            assert shard is None or not any(other.covers(path) for path in found)
    assert not Walk("deep").covers("a.png")


def test_all_folders_without_pictures_are_named_before_anything_is_done(
    colours: Path, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    (tmp_path / "two" / "notes.txt").write_text("x", encoding="utf-8")
    with pytest.raises(DataError, match="HS-PREDICT-004") as caught:
        Walk([colours, tmp_path / "one", tmp_path / "two"])
    assert caught.value.details == (str(tmp_path / "one"), str(tmp_path / "two"))
    with pytest.raises(DataError, match="HS-PREDICT-004"):
        listed(path for path in [tmp_path / "one"])
