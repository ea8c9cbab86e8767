"""Files are whole or absent, and a disk that refuses is told in words."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from headstart import storage
from headstart.errors import RunError
from headstart.storage import atomic_path, home, storage_errors, write_atomic


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_writes_text_and_bytes_and_makes_the_folder(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a" / "b.txt", "grün 猫\n")
    assert (tmp_path / "a" / "b.txt").read_bytes() == "grün 猫\n".encode()
    write_atomic(tmp_path / "a" / "b.txt", b"\x00\xff")
    assert (tmp_path / "a" / "b.txt").read_bytes() == b"\x00\xff"
    assert names(tmp_path / "a") == ["b.txt"]


def test_bytes_of_a_file_name_that_are_no_utf8(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a.json", '"caf\udce9"')
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == '"caf\\udce9"'


def test_a_crash_inside_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_atomic(path, "old")
    for crash in (ValueError, KeyboardInterrupt, SystemExit):
        with pytest.raises(crash), atomic_path(path) as temporary:
            temporary.write_text("half of the n")
            assert temporary.parent == tmp_path
            assert temporary.suffix == ".txt"
            assert path.read_text() == "old"
            raise crash
        assert path.read_text() == "old"
        assert names(tmp_path) == ["a.txt"]


def test_a_crash_inside_leaves_no_file_where_none_was(tmp_path: Path) -> None:
    with pytest.raises(ValueError), atomic_path(tmp_path / "a.txt") as temporary:
        temporary.write_text("half")
        raise ValueError
    assert names(tmp_path) == []


def test_it_is_flushed_to_the_disk_before_it_is_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (done.append("fsync"), fsync(fd)))
    monkeypatch.setattr(Path, "replace", lambda self, to: (done.append("replace"), replace(self, to)))
    write_atomic(tmp_path / "a.txt", "x")
    assert done == ["fsync", "replace"]


def test_permissions_are_those_of_any_new_file(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_atomic(tmp_path / "a.txt", "x")
        assert storage.current_umask() == 0o027
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o640


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (
            errno.ENOSPC,
            "HS-RUN-002: The disk is full. What was saved before is intact.\n"
            "  where: {path}\n"
            "  to do: Free some space, or choose another disk with --output.",
        ),
        (
            errno.EDQUOT,
            "HS-RUN-002: The disk is full. What was saved before is intact.\n"
            "  where: {path}\n"
            "  to do: Free some space, or choose another disk with --output.",
        ),
        (
            errno.EROFS,
            "HS-RUN-001: The output folder cannot be written.\n"
            "  where: {path}\n"
            "  to do: Choose another folder with --output, or change its permissions.",
        ),
        (
            errno.EACCES,
            "HS-RUN-001: The output folder cannot be written.\n"
            "  where: {path}\n"
            "  to do: Choose another folder with --output, or change its permissions.",
        ),
        (
            errno.EIO,
            "HS-RUN-003: A file could not be written: Input/output error.\n  where: {path}",
        ),
    ],
)
@pytest.mark.parametrize("place", ["os.fsync", "tempfile.mkstemp"])
def test_errors_of_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, text: str, place: str
) -> None:
    path = tmp_path / "a.txt"
    write_atomic(path, "old")

    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(place, refuse)
    with pytest.raises(RunError) as caught:
        write_atomic(path, "new")
    assert str(caught.value) == text.format(path=path)
    assert caught.value.exit_code == 1
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_folder_stands_where_the_file_belongs(tmp_path: Path) -> None:
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(RunError, match="HS-RUN-003: A file could not be written: Is a directory"):
        write_atomic(tmp_path / "a.txt", "x")
    assert names(tmp_path) == ["a.txt"]


def test_a_file_stands_where_the_folder_belongs(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    with pytest.raises(RunError, match="HS-RUN-003"):
        write_atomic(tmp_path / "a" / "b.txt", "x")


def test_other_errors_pass_through() -> None:
    with pytest.raises(ValueError, match="mine"), storage_errors(Path("x")):
        raise ValueError("mine")


def test_where_downloads_are_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(storage.sys, "platform", "linux")
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path))
    assert home() == tmp_path
    monkeypatch.delenv("HEADSTART_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert home() == Path("/caches/headstart")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/somebody")
    assert home() == Path("/somebody/.cache/headstart")
    monkeypatch.setattr(storage.sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", "/local")
    assert home() == Path("/local/headstart")
