"""Who this process is among those started together, and when a plain call starts several."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from headstart import launch
from headstart.launch import Place, place, processes_to_start

STARTED = {
    "TORCHELASTIC_RUN_ID": "job-7",
    "RANK": "3",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
}


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in STARTED.items():
        monkeypatch.setenv(name, value)


def test_without_a_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    assert place() == Place(0, 1, 0, 1, "")
    monkeypatch.setenv("WORLD_SIZE", "4")  # schedulers set it in pods that start a single process
    monkeypatch.setenv("RANK", "2")
    assert place() == Place()


def test_the_place_that_torchrun_gives(started: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert place() == Place(3, 4, 1, 2, "job-7")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    assert place().launch.startswith("none ") and place().launch == place().launch
    launch.leave()
    assert place() == Place()


@pytest.mark.parametrize(
    ("gpus", "device", "visible", "expected"),
    [
        ("all", None, 4, 4),
        ("all", None, 1, 1),
        ("all", None, 0, 1),
        (2, None, 4, 2),
        (8, None, 4, 4),
        (1, None, 4, 1),
        ("all", "cuda", 4, 1),
        ("all", "cuda:1", 4, 1),
        ("all", "cpu", 4, 1),
        (4, "cuda", 4, 4),  # as config.yaml has it after a run on all four
        (4, "cuda:2", 4, 1),
    ],
)
def test_how_many_processes_a_plain_call_starts(
    monkeypatch: pytest.MonkeyPatch, gpus: int | str, device: str | None, visible: int, expected: int
) -> None:
    monkeypatch.setattr(launch, "visible_gpus", lambda: visible)
    assert processes_to_start(gpus, device) == expected


def test_a_started_process_starts_no_others(started: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "visible_gpus", lambda: 4)
    assert processes_to_start("all", None) == 1


def test_the_command_line_of_the_launcher() -> None:
    from torch.distributed.run import parse_args

    words = ["train", "data", "--gpus", "3", "--json"]
    parsed: Any = parse_args(launch.arguments(words, 3))  # type: ignore[no-untyped-call]
    assert (parsed.standalone, parsed.nproc_per_node, parsed.module) == (True, "3", True)
    assert (parsed.training_script, parsed.training_script_args) == ("headstart", words)


def test_train_is_started_on_all_gpus(
    command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    begun: list[tuple[list[str], int]] = []

    def start(words: list[str], processes: int) -> int:
        begun.append((list(words), processes))
        return 7

    monkeypatch.setattr(launch, "visible_gpus", lambda: 4)
    monkeypatch.setattr(launch, "start", start)
    assert command("train", "pictures", "--epochs", 2).code == 7
    assert command("train", "pictures", "--gpus", 2, "--debug").code == 7
    assert begun == [
        (["train", "pictures", "--epochs", "2"], 4),
        (["train", "pictures", "--gpus", "2", "--debug"], 2),
    ]
    assert command("train", tmp_path / "none", "--gpus", 1).code == 2  # it went on itself
    assert len(begun) == 2


def test_other_commands_are_done_by_the_first_process(
    started: None, command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    done = command("models", "--here")
    assert (done.code, done.out) == (0, "")
    monkeypatch.setenv("RANK", "0")
    assert "efficientnet-lite0" in command("models", "--here").out


def test_what_the_first_process_says_is_said_once(
    started: None, command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    done = command("train", "--nonsense")
    assert (done.code, done.err) == (2, "")
    monkeypatch.setenv("LOCAL_RANK", "0")  # the first one of its machine, whose log may be another one
    assert "HS-USAGE-001" in command("train", "--nonsense").err
