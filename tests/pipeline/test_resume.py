"""A run that was killed goes on to the weights that it would have had."""

from __future__ import annotations

import errno
import json
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import filelock
import pytest
import safetensors.torch
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file

import headstart
from headstart import run as run_module
from headstart.errors import ConfigError, DataError, RunError, UsageError
from headstart.training import checkpoint as module
from headstart.training.progress import Epoch, Progress
from headstart.training.train import Trainer

RUN_KILLED = textwrap.dedent(
    """
    import json, os, signal, sys
    import headstart
    from headstart.training import checkpoint

    data, fields, killed_at = json.loads(sys.argv[1])
    checkpoint.EVERY = 0.0
    saves = iter(range(1000))
    plain = checkpoint.Checkpoint.save

    def save(self, *args):
        plain(self, *args)
        if next(saves) == killed_at:
            os.kill(os.getpid(), signal.SIGKILL)

    checkpoint.Checkpoint.save = save
    headstart.train(data, **fields)
    """
)

RUN_THAT_WAITS = textwrap.dedent(
    """
    import json, sys
    import headstart

    def hook(row):
        if row.epoch == 1:
            print("waiting", flush=True)
            sys.stdin.readline()

    data, fields = json.loads(sys.argv[1])
    headstart.train(data, hook=hook, **fields)
    """
)


def killed(data: Path, fields: dict[str, Any], killed_at: int, surroundings: dict[str, str]) -> None:
    """A run in a process of its own that is killed behind its checkpoint number ``killed_at``."""
    words = json.dumps([str(data), {**fields, "output": str(fields["output"])}, killed_at])
    done = subprocess.run(
        [sys.executable, "-c", RUN_KILLED, words],
        env=surroundings,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


def weights(run: headstart.Run) -> dict[str, torch.Tensor]:
    return load_file(run.model / "model.safetensors")


def same_outcome(one: headstart.Run, other: headstart.Run) -> None:
    ours, theirs = weights(one), weights(other)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    for mine, yours in zip(one.results, other.results, strict=True):
        for name in ("epoch", "stage", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "lr_head"):
            assert mine[name] == yours[name], name
    assert one.metrics["accuracy"] == other.metrics["accuracy"]
    assert (one.metrics["epoch"], one.metrics["share"]) == (other.metrics["epoch"], other.metrics["share"])


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
@pytest.mark.parametrize(
    ("changed", "killed_at"),
    [
        ({}, 0),  # after the first step
        ({}, 2),  # after the last step of the first epoch, before it is measured
        ({}, 4),  # in the middle of the second epoch
        (
            {"recipe": "d2l", "batch_size": 5},
            5,
        ),  # the whole network, new views in each epoch, BatchNorm moves
        ({"freeze": "head"}, 4),  # SGD with momentum
        ({"strategy": "scratch", "weights": None}, 4),  # AdamW on all kinds of convolutions
        ({"freeze": "stem"}, 4),
    ],
)
def test_a_killed_run_ends_in_the_weights_of_an_uninterrupted_one(
    shapes_folder: Path,
    tmp_path: Path,
    tiny: dict[str, Any],
    surroundings: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    changed: dict[str, Any],
    killed_at: int,
) -> None:
    fields = {**tiny, "epochs": 3, **changed}
    whole = headstart.train(shapes_folder, output=tmp_path / "whole", **fields)
    killed(shapes_folder, {**fields, "output": tmp_path / "killed"}, killed_at, surroundings)
    folder = tmp_path / "killed" / shapes_folder.name
    assert not (folder / "metrics.json").exists()
    seen: list[Epoch] = []
    run = headstart.train(resume=folder, hook=seen.append)
    assert run.path == folder
    same_outcome(whole, run)
    assert 0 not in [row.epoch for row in seen]
    assert not (folder / "checkpoints").exists()
    log = (folder / "log.txt").read_text(encoding="utf-8")
    assert "goes on in epoch" in log


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_run_killed_twice(
    shapes_folder: Path, tmp_path: Path, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = {**tiny, "epochs": 3}
    whole = headstart.train(shapes_folder, output=tmp_path / "whole", **fields)
    monkeypatch.setattr(module, "EVERY", 0.0)
    plain = module.Checkpoint.save
    left = [2, 3]

    class Killed(BaseException):
        pass

    def save(self: module.Checkpoint, *args: Any) -> None:
        plain(self, *args)
        if left:
            left[0] -= 1
            if left[0] == 0:
                left.pop(0)
                raise Killed

    monkeypatch.setattr(module.Checkpoint, "save", save)
    with pytest.raises(Killed):
        headstart.train(shapes_folder, output=tmp_path / "killed", **fields)
    folder = tmp_path / "killed" / shapes_folder.name
    with pytest.raises(Killed):
        headstart.train(resume=folder)
    same_outcome(whole, headstart.train(resume=folder))


def interrupted(data: Path, output: Path, tiny: dict[str, Any], epoch: int = 1) -> headstart.Run:
    def hook(row: Epoch) -> None:
        if row.epoch == epoch:
            raise KeyboardInterrupt

    return headstart.train(data, output=output, hook=hook, **{**tiny, "epochs": 3})


def test_an_interrupted_run_says_how_to_go_on_and_does(
    shapes_folder: Path,
    tmp_path: Path,
    tiny: dict[str, Any],
    command: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = headstart.train(shapes_folder, output=tmp_path / "whole", **{**tiny, "epochs": 3})
    monkeypatch.setattr(module, "EVERY", 0.0)
    run = interrupted(shapes_folder, tmp_path / "runs", tiny)
    assert run.metrics["interrupted"]
    assert f"to go on: headstart train --resume {run.path}" in (run.path / "log.txt").read_text("utf-8")
    done = command("train", "--resume", run.path, "--json")
    assert done.code == 0
    assert "goes on in epoch 1 after 3 batches" in done.err
    found = json.loads(done.out)
    assert found["run"] == str(run.path)
    assert "interrupted" not in found
    same_outcome(whole, headstart.Run(run.path))


def test_an_early_interrupt_of_a_continued_run_leaves_its_model_alone(
    shapes_folder: Path, tmp_path: Path, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before training goes on, the network is neither the probe nor anything else worth keeping."""
    whole = headstart.train(shapes_folder, output=tmp_path / "whole", **{**tiny, "epochs": 3})
    monkeypatch.setattr(module, "EVERY", 0.0)
    run = interrupted(shapes_folder, tmp_path / "runs", tiny, epoch=2)
    before = {path: path.read_bytes() for path in sorted((run.path / "model").iterdir())}
    rows = (run.path / "results.csv").read_bytes()

    def views(self: Trainer, cut: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "run_views", views)
        with pytest.raises(KeyboardInterrupt):
            headstart.train(resume=run)
    assert {path: path.read_bytes() for path in sorted((run.path / "model").iterdir())} == before
    assert (run.path / "results.csv").read_bytes() == rows
    same_outcome(whole, headstart.train(resume=run))


def test_an_interrupt_before_the_first_model_keeps_the_checkpoint(
    shapes_folder: Path,
    tmp_path: Path,
    tiny: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fields = {**tiny, "recipe": "d2l", "batch_size": 5}
    whole = headstart.train(shapes_folder, output=tmp_path / "whole", **fields)
    plain = module.Checkpoint.save

    def save(self: module.Checkpoint, *args: Any) -> None:
        plain(self, *args)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(module, "EVERY", 0.0)
        patched.setattr(module.Checkpoint, "save", save)
        with pytest.raises(KeyboardInterrupt):
            headstart.train(shapes_folder, output=tmp_path / "runs", **fields)
    folder = tmp_path / "runs" / shapes_folder.name
    assert f"to go on: headstart train --resume {folder}" in capsys.readouterr().err
    same_outcome(whole, headstart.train(resume=folder))


def test_when_a_checkpoint_is_due(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    network = torch.nn.Linear(2, 2)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    checkpoint = module.Checkpoint(tmp_path / "last.safetensors")

    def after(seconds: float) -> bool:
        now[0] += seconds
        return checkpoint.due()

    assert (after(9), after(2)) == (False, True)
    plain = module.saved_tensors

    def slow(*args: Any) -> Any:
        now[0] += 3
        return plain(*args)

    monkeypatch.setattr(module, "saved_tensors", slow)
    checkpoint.save(network, optimizer, Progress(), {})
    assert (after(59), after(2)) == (False, True)  # twenty times what writing took


@pytest.mark.parametrize("place", ["moved", "inside"])
def test_a_run_goes_on_from_anywhere(
    shapes_folder: Path, tmp_path: Path, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """Its data folder may have moved, or hold the run; the working directory may be another one."""
    data, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    shutil.copytree(shapes_folder, data)
    elsewhere.mkdir()
    monkeypatch.chdir(data if place == "inside" else tmp_path)
    run = interrupted(Path("." if place == "inside" else "data"), Path("runs"), tiny)
    folder = run.path.absolute()
    monkeypatch.chdir(elsewhere)
    if place == "moved":
        data.rename(elsewhere / "photos")
        assert not headstart.train("photos", resume=folder).interrupted
    else:
        assert not headstart.train(resume=folder).interrupted


def test_a_disk_that_fills_up_leaves_the_checkpoint_before(
    shapes_folder: Path, tmp_path: Path, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = {**tiny, "epochs": 3}
    whole = headstart.train(shapes_folder, output=tmp_path / "whole", **fields)
    monkeypatch.setattr(module, "EVERY", 0.0)
    calls = iter(range(1000))
    write = safetensors.torch.save_file

    def save_file(tensors: Any, path: Path, **named: Any) -> None:
        if "checkpoints" in str(path) and next(calls) == 3:
            Path(path).write_bytes(b"half")
            raise SafetensorError("I/O error: No space left on device (os error 28)")
        write(tensors, path, **named)

    monkeypatch.setattr(safetensors.torch, "save_file", save_file)
    with pytest.raises(RunError, match="HS-RUN-002"):
        headstart.train(shapes_folder, output=tmp_path / "runs", **fields)
    monkeypatch.undo()
    folder = tmp_path / "runs" / shapes_folder.name
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["last.safetensors"]
    same_outcome(whole, headstart.train(resume=folder))


def test_what_cannot_go_on_says_why(shapes_folder: Path, tmp_path: Path, tiny: dict[str, Any]) -> None:
    done = headstart.train(shapes_folder, output=tmp_path / "runs", **tiny)
    with pytest.raises(RunError, match="HS-RUN-022"):
        headstart.train(resume=done)
    with pytest.raises(RunError, match="HS-RUN-021") as caught:
        headstart.train(resume=tmp_path / "runs" / (done.path.name + "x"))
    assert f"Did you mean '{done.path.name}'?" in str(caught.value)
    run = interrupted(shapes_folder, tmp_path / "more", tiny)
    with pytest.raises(ConfigError, match="HS-CONFIG-010") as refused:
        headstart.train(resume=run, epochs=7, seed=3)
    assert "--epochs is given" in str(refused.value) and "--seed is given" in str(refused.value)
    with pytest.raises(UsageError, match="HS-USAGE-005"):
        headstart.train()


def test_a_list_is_given_again(shapes_folder: Path, tmp_path: Path, tiny: dict[str, Any]) -> None:
    pairs = [
        (path, path.parent.name, path.parent.parent.name) for path in sorted(shapes_folder.rglob("*.png"))
    ]
    run = interrupted(pairs, tmp_path / "runs", tiny)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="begun with a list"):
        headstart.train(resume=run)
    assert not headstart.train(pairs, resume=run).interrupted


def test_other_probabilities_are_refused(shapes_folder: Path, tmp_path: Path, tiny: dict[str, Any]) -> None:
    table = tmp_path / "table.csv"

    def write(share: float) -> None:
        rows = ["path,dots,rings"]
        for path in sorted(shapes_folder.glob("train/[dr]*/*.png")):
            shares = (share, 1 - share) if path.parent.name == "dots" else (1 - share, share)
            rows.append(f"{path},{shares[0]:.2f},{shares[1]:.2f}")
        table.write_text("\n".join(rows) + "\n")

    write(0.9)
    run = interrupted(table, tmp_path / "runs", tiny)
    write(0.7)
    with pytest.raises(DataError, match="16 with other content, class, part or group"):
        headstart.train(resume=run)
    write(0.9)
    assert not headstart.train(resume=run).interrupted


@pytest.mark.parametrize("change", ["new", "gone", "content"])
def test_other_pictures_are_refused(
    shapes_folder: Path, tmp_path: Path, tiny: dict[str, Any], change: str
) -> None:
    data = tmp_path / "data"
    shutil.copytree(shapes_folder, data)
    run = interrupted(data, tmp_path / "runs", tiny)
    target = data / "train" / "dots" / "000.png"
    if change == "gone":
        target.unlink()
    else:
        Image.new("RGB", (40, 40), "red").save(target.with_stem("999") if change == "new" else target)
    with pytest.raises(DataError, match="HS-DATA-018") as caught:
        headstart.train(resume=run)
    word = {"new": "1 new", "gone": "1 gone", "content": "1 with other content"}[change]
    assert word in str(caught.value)
    assert (run.path / "model" / "model.json").exists()


def test_another_plan_or_a_damaged_checkpoint_is_refused(
    shapes_folder: Path, tmp_path: Path, tiny: dict[str, Any]
) -> None:
    run = interrupted(shapes_folder, tmp_path / "runs", tiny)
    config = run.path / "config.yaml"
    plain = config.read_text(encoding="utf-8")
    config.write_text(plain.replace("cached_views: 8", "cached_views: 7"), encoding="utf-8")
    with pytest.raises(RunError, match="HS-RUN-024") as caught:
        headstart.train(resume=run)
    assert "differs: cached_views" in str(caught.value)
    config.write_text(plain, encoding="utf-8")
    (run.path / "checkpoints").mkdir(exist_ok=True)
    (run.path / "checkpoints" / "last.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{}")
    with pytest.raises(RunError, match="HS-RUN-023"):
        headstart.train(resume=run)


def test_two_processes_never_work_on_one_run(
    shapes_folder: Path,
    tmp_path: Path,
    tiny: dict[str, Any],
    surroundings: dict[str, str],
    command: Callable[..., Any],
) -> None:
    whole = headstart.train(shapes_folder, output=tmp_path / "whole", **{**tiny, "epochs": 3})
    folder = tmp_path / "runs" / shapes_folder.name
    words = json.dumps([str(shapes_folder), {**tiny, "epochs": 3, "output": str(folder.parent)}])
    with subprocess.Popen(
        [sys.executable, "-c", RUN_THAT_WAITS, words],
        env=surroundings,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as first:
        assert first.stdin is not None and first.stdout is not None
        assert first.stdout.readline() == "waiting\n"
        before = {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
        done = command("train", "--resume", folder)
        assert done.code == 1
        name = socket.gethostname()
        assert (
            f"error HS-RUN-027: Another process works on this run: process {first.pid} on {name}, since 20"
            in done.err
        )
        assert "  to do: Wait until it has ended, or end it first." in done.err
        assert {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()} == before
        first.communicate("go on\n")
    assert first.returncode == 0
    same_outcome(whole, headstart.Run(folder))
    assert not [path.name for path in folder.iterdir() if path.name.startswith(".")]
    with pytest.raises(RunError, match="HS-RUN-022"):
        headstart.train(resume=folder)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_killed_process_leaves_no_lock_behind(
    shapes_folder: Path, tmp_path: Path, tiny: dict[str, Any], surroundings: dict[str, str]
) -> None:
    killed(shapes_folder, {**tiny, "output": tmp_path}, 1, surroundings)
    folder = tmp_path / shapes_folder.name
    assert "process" in (folder / ".holder").read_text(encoding="utf-8")  # it could not remove it
    assert not headstart.train(resume=folder).interrupted


def test_a_run_that_another_process_has_just_ended_is_not_begun_again(
    shapes_folder: Path, tmp_path: Path, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = interrupted(shapes_folder, tmp_path / "runs", tiny)
    plain = run_module.continued

    def continued(*args: Any) -> Any:  # the other one is done between the look and the lock
        found = plain(*args)
        with monkeypatch.context() as patched:
            patched.setattr(run_module, "continued", plain)
            headstart.train(resume=run)
        return found

    monkeypatch.setattr(run_module, "continued", continued)
    with pytest.raises(RunError, match="HS-RUN-022"):
        headstart.train(resume=run)


def test_a_file_system_without_locks_is_said(
    shapes_folder: Path,
    tmp_path: Path,
    tiny: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def acquire(self: filelock.BaseFileLock) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(filelock.FileLock, "acquire", acquire)
    run = headstart.train(shapes_folder, output=tmp_path, **tiny)
    assert not run.interrupted
    assert f"{run.path}: cannot be locked (No locks available); start no second" in capsys.readouterr().err
