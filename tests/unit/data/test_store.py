"""Arrays on disk: what was written is read, what was not finished is not, and the room is bounded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headstart.data import store as module
from headstart.data.store import ArrayStore, SegmentWriter, finish, make_room

ROOM = 10**9


def row(number: int, shape: tuple[int, ...] = (4, 5, 3)) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, shape, dtype=np.uint8)


def filled(folder: Path, *numbers: int, room: int = ROOM) -> ArrayStore:
    store = ArrayStore(folder)
    with SegmentWriter(store, "|u1", room) as writer:
        for number in numbers:
            writer.add(str(number), row(number), {"number": number})
    finish()
    return store


def holds(store: ArrayStore, number: int) -> bool:
    entry = store.get(str(number))
    return entry is not None and np.array_equal(entry.array(), row(number))


@pytest.mark.parametrize("again", [False, True])
def test_what_was_added_is_found(tmp_path: Path, again: bool) -> None:
    store = filled(tmp_path / "s", 1, 2, 3)
    if again:
        store = ArrayStore(tmp_path / "s")
    assert len(store) == 3
    assert all(holds(store, number) for number in (1, 2, 3))
    entry = store.get("2")
    assert entry is not None and entry.facts == {"number": 2}
    assert not entry.array().flags.writeable
    assert store.get("4") is None


@pytest.mark.parametrize("dtype", ["<i2", "<f4"])
def test_other_types_and_shapes(tmp_path: Path, dtype: str) -> None:
    arrays = {str(i): np.arange(i * 6, dtype=dtype).reshape(i, 2, 3) for i in range(1, 5)}
    with SegmentWriter(ArrayStore(tmp_path), dtype, ROOM) as writer:
        for key, array in arrays.items():
            assert writer.add(key, array.transpose(0, 2, 1))
    store = ArrayStore(tmp_path)
    for key, array in arrays.items():
        entry = store.get(key)
        assert entry is not None
        assert entry.array().dtype == np.dtype(dtype)
        assert np.array_equal(entry.array(), array.transpose(0, 2, 1))


def test_a_key_is_written_once(tmp_path: Path) -> None:
    store = filled(tmp_path, 1, 1, 1)
    (data,) = tmp_path.glob("*.bin")
    assert data.stat().st_size == row(1).nbytes
    assert holds(store, 1)


def test_later_segments_add_to_earlier_ones(tmp_path: Path) -> None:
    filled(tmp_path, 1, 2)
    filled(tmp_path, 3)
    store = ArrayStore(tmp_path)
    assert all(holds(store, number) for number in (1, 2, 3))


@pytest.mark.parametrize("damage", ["no index", "short data", "broken index", "foreign index", "no data"])
def test_what_was_not_finished_is_not_there(tmp_path: Path, damage: str) -> None:
    filled(tmp_path, 1)
    filled(tmp_path, 2)
    index, _ = sorted(tmp_path.glob("*.json"), key=lambda path: '"1"' not in path.read_text())
    data = index.with_suffix(".bin")
    if damage == "no index":
        index.unlink()
    elif damage == "short data":
        data.write_bytes(data.read_bytes()[:-1])
    elif damage == "no data":
        data.unlink()
    else:
        index.write_text("{" if damage == "broken index" else json.dumps({"bytes": "many"}))
    store = ArrayStore(tmp_path)
    assert not holds(store, 1)
    assert holds(store, 2)


def test_the_room_ends_quietly(tmp_path: Path) -> None:
    store = ArrayStore(tmp_path)
    with SegmentWriter(store, "|u1", 2 * row(0).nbytes) as writer:
        assert [writer.add(str(number), row(number)) for number in range(4)] == [True, True, False, False]
    assert writer.full
    assert [holds(store, number) for number in range(4)] == [True, True, False, False]


def test_a_full_disk_ends_quietly_and_keeps_what_was_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ArrayStore(tmp_path)
    with SegmentWriter(store, "|u1", ROOM) as writer:
        assert writer.add("1", row(1))
        plain = writer._file

        class Full:
            def write(self, data: Any) -> int:
                plain.write(bytes(data)[:7])
                raise OSError(28, "No space left on device")

            def __getattr__(self, name: str) -> Any:
                return getattr(plain, name)

        monkeypatch.setattr(writer, "_file", Full())
        assert not writer.add("2", row(2))
        assert not writer.add("3", row(3))
    for one in (store, ArrayStore(tmp_path)):
        assert holds(one, 1)
        assert one.get("2") is None


def test_a_folder_that_cannot_be_made_is_an_empty_store(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    store = filled(tmp_path / "file" / "store", 1)
    assert len(store) == 0


def test_an_index_appears_only_when_the_bytes_are_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(descriptor: int) -> None:
        assert not list(tmp_path.glob("*.json"))
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(module.os, "fsync", refused)
    filled(tmp_path, 1)
    assert len(ArrayStore(tmp_path)) == 0
    monkeypatch.undo()
    assert list(tmp_path.glob("*.bin")) and not list(tmp_path.glob("*.json"))
    assert len(ArrayStore(tmp_path)) == 0


def test_processes_write_side_by_side(tmp_path: Path) -> None:
    program = (
        "import sys, numpy as np\n"
        "from pathlib import Path\n"
        "from headstart.data.store import ArrayStore, SegmentWriter\n"
        "first = int(sys.argv[2])\n"
        "with SegmentWriter(ArrayStore(Path(sys.argv[1])), '|u1', 10**9) as writer:\n"
        "    for i in range(first, first + 50):\n"
        "        array = np.random.default_rng(i).integers(0, 256, (4, 5, 3), dtype=np.uint8)\n"
        "        assert writer.add(str(i), array)\n"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", program, str(tmp_path), str(first)]) for first in (0, 25, 50)
    ]
    assert [one.wait(timeout=60) for one in running] == [0, 0, 0]
    store = ArrayStore(tmp_path)
    assert len(store) == 100
    assert all(holds(store, number) for number in range(100))


def test_what_was_used_longest_ago_makes_room(tmp_path: Path) -> None:
    size = row(0).nbytes
    for number in range(3):
        filled(tmp_path / f"store{number}", number)
        (index,) = (tmp_path / f"store{number}").glob("*.json")
        os.utime(index, (1000 + number, 1000 + number))
    ArrayStore(tmp_path / "store0")  # used now
    assert make_room(tmp_path, size, 3 * size) == size
    left = [holds(ArrayStore(tmp_path / f"store{number}"), number) for number in range(3)]
    assert left == [True, False, True]
    assert make_room(tmp_path, 100 * size, 2 * size) == 2 * size
    assert not list(tmp_path.rglob("*.bin")) and not list(tmp_path.rglob("*.json"))


def test_what_is_in_use_or_being_written_stays(tmp_path: Path) -> None:
    size = row(0).nbytes
    store = filled(tmp_path / "used", 1)
    (tmp_path / "other.bin").write_bytes(bytes(size))  # another process writes it
    assert make_room(tmp_path, size, 2 * size) == 0
    assert holds(store, 1) and holds(ArrayStore(tmp_path / "used"), 1)
    del store
    assert make_room(tmp_path, size, 2 * size) == size
    assert not holds(ArrayStore(tmp_path / "used"), 1)


def test_a_cache_that_may_only_be_read_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(tmp_path, 1)

    def refused(path: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(module.os, "utime", refused)
    assert holds(ArrayStore(tmp_path), 1)


def test_bytes_of_a_process_that_died_are_removed_after_a_day(tmp_path: Path) -> None:
    young, old = tmp_path / "young.bin", tmp_path / "old.bin"
    for path in (young, old):
        path.write_bytes(b"x" * 100)
    past = time.time() - module.ORPHAN_AGE - 10
    os.utime(old, (past, past))
    assert make_room(tmp_path, 10, 1000) == 900
    assert young.exists() and not old.exists()
