"""What is said, where it goes, and how progress looks without a terminal."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from headstart import console
from headstart.errors import RunError


def test_everything_goes_to_stderr_and_the_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "log.txt"
    console.say("before")
    with console.logged_to(log):
        console.say("猫 inside")
        with console.quiet():
            console.warn("not shown")
    console.say("after")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "before\n猫 inside\nafter\n"
    assert log.read_text(encoding="utf-8") == "猫 inside\nwarning: not shown\n"


def test_logs_nest_and_are_closed_after_an_error(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    with console.quiet(), console.logged_to(one):
        console.say("1")
        with pytest.raises(ValueError), console.logged_to(two):
            console.say("2")
            raise ValueError
        console.say("3")
    console.say("4")
    assert one.read_text() == "1\n3\n"
    assert two.read_text() == "2\n"


def test_the_log_takes_names_that_are_no_utf8(tmp_path: Path) -> None:
    with console.quiet(), console.logged_to(tmp_path / "log"):
        console.say("caf\udce9")
    assert (tmp_path / "log").read_text(encoding="utf-8") == "caf\\udce9\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_log_on_a_full_disk_is_told_in_words() -> None:
    full = Path("/dev/full")
    with (
        pytest.raises(RunError, match="HS-RUN-002: The disk is full"),
        console.quiet(),
        console.logged_to(full),
    ):
        console.say("x")
    console.say("it is closed")


def test_a_log_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="HS-RUN-003"), console.logged_to(tmp_path):
        pass


def test_plain_lines_of_progress(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    now = [100.0]
    monkeypatch.setattr(console.time, "perf_counter", lambda: now[0])
    with console.progress(300, "reading pictures") as advance:
        for _ in range(6):
            now[0] += 4
            advance(50)
    # a line at most every ten seconds, none at the end
    assert capsys.readouterr().err == ("reading pictures: 150 of 300 pictures, 12/s, 12 s left\n")


def test_no_progress_for_nothing_and_little_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    with console.progress(0, "nothing") as advance:
        advance(1)
    with console.progress(3, "little") as advance:
        advance(3)
    assert capsys.readouterr().err == ""


def test_the_bar_of_a_terminal_counts_from_several_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    import rich.progress

    made: list[rich.progress.Progress] = []

    class Recorded(rich.progress.Progress):
        def __init__(self, *columns: object, **options: object) -> None:
            super().__init__(*columns, **options)  # type: ignore[arg-type]
            made.append(self)

    monkeypatch.setattr(rich.progress, "Progress", Recorded)
    monkeypatch.setattr(console, "on_terminal", lambda: True)
    with console.progress(400, "reading", "batches") as advance:
        threads = [threading.Thread(target=lambda: [advance(1) for _ in range(100)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        (task,) = made[0].tasks
        assert task.completed == 400
        assert task.total == 400
        assert task.description == "reading"
        assert task.fields["rate"].endswith(" batches/s")


def test_quiet_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "isatty", lambda fd: True)
    monkeypatch.setattr(console.sys.stderr, "isatty", lambda: True, raising=False)
    assert console.on_terminal()
    with console.quiet():
        assert not console.on_terminal()


def test_a_table() -> None:
    text = console.table(("class", "train", "note"), [("cat", 12, "x"), ("crocodile", 3, "")])
    assert text == ("  class      train  note\n  cat           12  x\n  crocodile      3")


def test_wide_letters_and_combining_marks_line_up() -> None:
    text = console.table(("class", "n"), [("猫", 1), ("é", 2), ("ab", 3)], indent="")
    assert text.splitlines() == ["class  n", "猫     1", "é      2", "ab     3"]


def test_a_table_without_rows() -> None:
    assert console.table(("a", "b"), []) == "  a  b"


def test_counted() -> None:
    assert console.counted(1, "picture", "pictures") == "1 picture"
    assert console.counted(12345, "picture", "pictures") == "12,345 pictures"


def test_names_do_not_steer_the_terminal_or_the_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with console.logged_to(tmp_path / "log"):
        console.say("a\x1b[2Jb\rc\x9b1m\nbelow")
    assert capsys.readouterr().err == "a\\x1b[2Jb\\rc\\x9b1m\nbelow\n"
    assert (tmp_path / "log").read_text(encoding="utf-8") == "a\\x1b[2Jb\\rc\\x9b1m\nbelow\n"
