"""Several processes, really started: one run, the same table, and a restart that goes on."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

import headstart
from shapes import draw_folder

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="several processes are meant for Linux")

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
COLUMNS = ("train_loss", "val_loss", "train_accuracy", "val_accuracy")

KILLED_ONCE = textwrap.dedent(
    """
    import os, signal, sys
    from headstart.cli import main
    from headstart.model import ranks
    from headstart.training import checkpoint, step

    killed_rank, at = int(sys.argv.pop(1)), int(sys.argv.pop(1))
    checkpoint.EVERY = 0.0
    plain, first_time = step.Stepper.step, os.environ["TORCHELASTIC_RESTART_COUNT"] == "0"

    def killed(self, number, *rest):
        if first_time and ranks.rank() == killed_rank and number == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return plain(self, number, *rest)

    step.Stepper.step = killed
    sys.exit(main())
    """
)
TWO_GPUS = textwrap.dedent(
    """
    import sys
    from headstart import cli, launch

    launch.visible_gpus = lambda: 2
    sys.exit(cli.main())
    """
)


TRAINED_TWICE = textwrap.dedent(
    """
    import json, sys
    import headstart

    data, fields = json.loads(sys.argv[1])
    for name in ("one", "two"):
        rows = []
        run = headstart.train(data, name=name, hook=rows.append, **fields)
        print(json.dumps([run.accuracy, len(rows)]))
    """
)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 pictures to train on, 21 to report on."""
    return draw_folder(tmp_path_factory.mktemp("data") / "shapes", {"train": 8, "test": 7})


@pytest.fixture(scope="module")
def settings(tiny: dict[str, Any]) -> dict[str, Any]:
    return {**tiny, "precision": "fp32", "workers": 1}


@pytest.fixture(scope="module")
def one(pictures: Path, settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> headstart.Run:
    """The same in one process."""
    return headstart.train(pictures, output=tmp_path_factory.mktemp("one") / "runs", **settings)


Torchrun = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def torchrun(surroundings: dict[str, str], tmp_path: Path) -> Torchrun:
    """``torchrun --nproc-per-node N OPTIONS -m headstart WORDS``."""

    def run(
        processes: int, *words: object, options: tuple[str, ...] = (), program: tuple[str, ...] = ()
    ) -> subprocess.CompletedProcess[str]:
        started = [*TORCHRUN, f"--nproc-per-node={processes}", *options, *(program or ("-m", "headstart"))]
        return subprocess.run(
            [*started, *map(str, words)],
            env=surroundings,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    return run


def run_in(output: Path, data: Path) -> headstart.Run:
    """The only run in a folder."""
    assert [path.name for path in output.iterdir()] == [data.name]
    return headstart.Run(output / data.name)


def weights(run: headstart.Run) -> dict[str, torch.Tensor]:
    return load_file(run.model / "model.safetensors")


def same_training(ours: headstart.Run, theirs: headstart.Run) -> None:
    assert len(ours.results) == len(theirs.results)
    for row, other in zip(ours.results, theirs.results, strict=True):
        assert (row["epoch"], row["stage"], row["lr_head"]) == (
            other["epoch"],
            other["stage"],
            other["lr_head"],
        )
        for name in COLUMNS:
            assert float(row[name]) == pytest.approx(float(other[name]), abs=1e-4), (row["epoch"], name)


def reported(run: headstart.Run) -> list[str]:
    return [path for path, split in zip(run.predictions.paths, run.predictions.splits, strict=True)
            if split == "test"]  # fmt: skip


def test_two_processes_make_one_run(
    pictures: Path,
    one: headstart.Run,
    settings: dict[str, Any],
    flags_of: Callable[..., list[str]],
    torchrun: Torchrun,
    tmp_path: Path,
) -> None:
    done = torchrun(2, "train", pictures, "--json", *flags_of(settings, output=tmp_path / "runs"))
    assert done.returncode == 0, done.stderr
    run = run_in(tmp_path / "runs", pictures)
    assert json.loads(done.stdout)["run"] == str(run.path)  # said once
    assert len(reported(run)) == len(set(reported(run))) == 21
    same_training(run, one)
    assert {path.name for path in run.path.iterdir()} == {path.name for path in one.path.iterdir()}
    log = (run.path / "log.txt").read_text(encoding="utf-8")
    assert log.count("trained and evaluated in") == 1
    assert "2 processes, each with cpu, fp32, 1 thread" in log
    assert done.stderr.count("finetune epoch 2:") == 1
    # The tables of equal weights: by two processes after training, by one, by two again.
    table = (run.path / "predictions.csv").read_text(encoding="utf-8").splitlines()
    test = [line for line in table if ",test," in line]
    alone = headstart.evaluate(run, data=copy_of(pictures / "test", tmp_path / "alone"))
    assert rows_of(alone, run) == [values(line) for line in test]
    again = torchrun(2, "evaluate", run.path, copy_of(pictures / "test", tmp_path / "again"), "--json")
    assert again.returncode == 0, again.stderr
    assert rows_of(json.loads(again.stdout), run) == [values(line) for line in test]
    assert sorted(path.name for path in (run.path / "evaluations").iterdir()) == ["again", "alone"]


def copy_of(folder: Path, place: Path) -> Path:
    place.symlink_to(folder)
    return place


def values(line: str) -> str:
    """A row without its path and split."""
    return line.split(",", 2)[2]


def rows_of(found: Mapping[str, Any], run: headstart.Run) -> list[str]:
    folder = Path(found["runs"][str(run.path)]["folder"])
    lines = (folder / "predictions.csv").read_text(encoding="utf-8").splitlines()
    return [values(line) for line in lines[1:]]


@pytest.mark.parametrize("processes", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_equal_weights_give_equal_tables(
    pictures: Path,
    settings: dict[str, Any],
    flags_of: Callable[..., list[str]],
    torchrun: Torchrun,
    tmp_path: Path,
    processes: int,
) -> None:
    """The probe's weights come from features that the processes computed together, without a cache."""
    fields = {**settings, "strategy": "probe", "epochs": None, "batch_size": None, "cache": 0.0}
    alone = headstart.train(
        pictures, output=tmp_path / "one", **{k: v for k, v in fields.items() if v is not None}
    )
    done = torchrun(processes, "train", pictures, *flags_of(fields, output=tmp_path / "runs"))
    assert done.returncode == 0, done.stderr
    run = run_in(tmp_path / "runs", pictures)
    assert all(torch.equal(tensor, weights(run)[name]) for name, tensor in weights(alone).items())
    assert len(reported(run)) == 21
    assert (run.path / "predictions.csv").read_bytes() == (alone.path / "predictions.csv").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("processes", "changed"),
    [
        (4, {}),
        (4, {"batch_size": 2}),  # two processes have no picture
        (2, {"freeze": "head"}),
        (2, {"freeze": "stem", "cache": 0.0}),
    ],
)
def test_losses_are_those_of_one_process(
    pictures: Path,
    settings: dict[str, Any],
    flags_of: Callable[..., list[str]],
    torchrun: Torchrun,
    tmp_path: Path,
    processes: int,
    changed: dict[str, Any],
) -> None:
    fields = {**settings, **changed}
    alone = headstart.train(pictures, output=tmp_path / "one", **fields)
    done = torchrun(processes, "train", pictures, *flags_of(fields, output=tmp_path / "runs"))
    assert done.returncode == 0, done.stderr
    run = run_in(tmp_path / "runs", pictures)
    same_training(run, alone)
    assert len(reported(run)) == 21


@pytest.mark.slow
def test_live_views_and_batch_norm_on_processors(
    pictures: Path,
    settings: dict[str, Any],
    flags_of: Callable[..., list[str]],
    torchrun: Torchrun,
    tmp_path: Path,
) -> None:
    fields = {**settings, "recipe": "d2l", "batch_size": 8}
    done = torchrun(2, "train", pictures, *flags_of(fields, output=tmp_path / "runs"))
    assert done.returncode == 0, done.stderr
    assert "BatchNorm sees each process' part of a batch" in done.stderr
    assert len(reported(run_in(tmp_path / "runs", pictures))) == 21


def test_a_sweep_over_rates_leaves_no_trace_in_any_process(
    pictures: Path,
    settings: dict[str, Any],
    flags_of: Callable[..., list[str]],
    torchrun: Torchrun,
    tmp_path: Path,
) -> None:
    runs = {}
    for name, lr in (("found", "find"), ("given", None)):
        lr = lr or yaml.safe_load((runs["found"].path / "config.yaml").read_text(encoding="utf-8"))["lr"]
        done = torchrun(2, "train", pictures, *flags_of(settings, lr=lr, output=tmp_path / name))
        assert done.returncode == 0, done.stderr
        runs[name] = run_in(tmp_path / name, pictures)
    assert (runs["found"].path / "lr-find.csv").is_file()
    assert not (runs["given"].path / "lr-find.csv").exists()
    ours, theirs = weights(runs["found"]), weights(runs["given"])
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("killed_rank", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_killed_worker_is_restarted_and_the_run_goes_on(
    pictures: Path,
    settings: dict[str, Any],
    flags_of: Callable[..., list[str]],
    torchrun: Torchrun,
    tmp_path: Path,
    one: headstart.Run,
    killed_rank: int,
) -> None:
    program = tmp_path / "killed_once.py"
    program.write_text(KILLED_ONCE, encoding="utf-8")
    done = torchrun(
        2,
        killed_rank,
        4,
        "train",
        pictures,
        *flags_of(settings, output=tmp_path / "runs"),
        options=("--max-restarts=1",),
        program=(str(program),),
    )
    assert done.returncode == 0, done.stderr
    run = run_in(tmp_path / "runs", pictures)
    log = (run.path / "log.txt").read_text(encoding="utf-8")
    assert "goes on in epoch 2 after 1 batches" in log
    same_training(run, one)
    assert not (run.path / "checkpoints").exists()
    assert not (run.path / ".launch").exists()


@pytest.mark.slow
def test_a_plain_call_starts_a_process_for_each_gpu(
    pictures: Path,
    one: headstart.Run,
    settings: dict[str, Any],
    flags_of: Callable[..., list[str]],
    surroundings: dict[str, str],
    tmp_path: Path,
) -> None:
    """Two GPUs are said to be there; what torch's launcher starts then computes on processors."""

    def call(*words: object) -> subprocess.CompletedProcess[str]:
        started = [sys.executable, "-c", TWO_GPUS, *map(str, words)]
        return subprocess.run(
            started, env=surroundings, capture_output=True, text=True, check=False, timeout=300
        )

    done = call("train", pictures, "--json", *flags_of(settings, output=tmp_path / "runs"))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["accuracy"]["n"] == 21
    same_training(run_in(tmp_path / "runs", pictures), one)
    wrong = call("train", tmp_path / "nowhere")
    assert wrong.returncode == 2
    assert wrong.stderr.count("HS-DATA-001") == 1
    assert "Traceback" not in wrong.stderr


@pytest.mark.slow
def test_a_script_that_trains_twice(
    pictures: Path, settings: dict[str, Any], torchrun: Torchrun, tmp_path: Path
) -> None:
    program = tmp_path / "twice.py"
    program.write_text(TRAINED_TWICE, encoding="utf-8")
    fields = {**settings, "output": str(tmp_path / "runs")}
    done = torchrun(2, json.dumps([str(pictures), fields]), program=(str(program),))
    assert done.returncode == 0, done.stderr
    accuracy = headstart.Run(tmp_path / "runs" / "one").accuracy
    lines = sorted(json.loads(line) for line in done.stdout.splitlines())
    assert lines == [[accuracy, 0]] * 2 + [[accuracy, 3]] * 2  # the hook of the first process alone
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["one", "two"]


@pytest.mark.slow
def test_sigterm_to_the_launcher_saves_and_says_how_to_go_on(
    pictures: Path,
    one: headstart.Run,
    settings: dict[str, Any],
    flags_of: Callable[..., list[str]],
    surroundings: dict[str, str],
    tmp_path: Path,
) -> None:
    fields = {**settings, "epochs": 5000}
    words = [*TORCHRUN, "--nproc-per-node=2", "-m", "headstart", "train", str(pictures)]
    words += flags_of(fields, output=tmp_path / "runs")
    with subprocess.Popen(words, env=surroundings, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in lines_until(process.stderr, "finetune epoch 3:"):
            assert "error" not in line
        process.send_signal(signal.SIGTERM)
        rest = process.stderr.read()
    run = run_in(tmp_path / "runs", pictures)
    assert run.metrics["interrupted"], rest
    assert f"to go on: headstart train --resume {run.path}" in rest


def lines_until(stream: Any, text: str) -> Iterator[str]:
    end = time.monotonic() + 120
    for line in stream:
        yield line
        if text in line or time.monotonic() > end:
            return


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


@pytest.mark.slow
@pytest.mark.parametrize("same", [True, False])
def test_two_launchers_that_share_no_cache(
    pictures: Path,
    one: headstart.Run,
    settings: dict[str, Any],
    flags_of: Callable[..., list[str]],
    surroundings: dict[str, str],
    tmp_path: Path,
    same: bool,
) -> None:
    """As on two machines: each has its own launcher, cache and pictures."""
    common = [*TORCHRUN[:-1], "--nnodes=2", "--nproc-per-node=1", "--rdzv-backend=c10d", "--rdzv-id=job"]
    common += [f"--rdzv-endpoint=127.0.0.1:{free_port()}", "-m", "headstart", "train"]
    nodes = []
    for number in range(2):
        data = pictures
        if not same and number:
            data = draw_folder(tmp_path / pictures.name, {"train": 8, "test": 6})
        words = [*common, str(data), *flags_of(settings, output=tmp_path / "runs")]
        env = {**surroundings, "HEADSTART_HOME": str(tmp_path / f"home-{number}")}
        nodes.append(subprocess.Popen(words, env=env, stderr=subprocess.PIPE, text=True))
    said = [node.communicate(timeout=300)[1] for node in nodes]
    if same:
        assert [node.returncode for node in nodes] == [0, 0], said
        run = run_in(tmp_path / "runs", pictures)
        same_training(run, one)
        assert len(reported(run)) == 21
        assert (tmp_path / "home-1" / "cache" / "activations").is_dir()
    else:
        assert all(node.returncode for node in nodes)
        assert sum("HS-DATA-019" in text for text in said) == 1, said
        assert not any((tmp_path / "runs").glob("*"))
