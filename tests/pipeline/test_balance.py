"""Classes of unequal size, from a folder to the figures."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

import headstart
from headstart.config import read_yaml
from shapes import draw

LARGE, SMALL = 30, 7
BALANCED = ("val_balanced_loss", "val_balanced_accuracy")

KILLED = textwrap.dedent(
    """
    import json, os, signal, sys
    import headstart
    from headstart.training.checkpoint import Checkpoint

    Checkpoint.due = lambda self: True
    save, calls = Checkpoint.save, []

    def save_and_die(self, *rest):
        save(self, *rest)
        calls.append(1)
        if len(calls) == 6:
            os.kill(os.getpid(), signal.SIGKILL)

    Checkpoint.save = save_and_die
    data, fields = json.loads(sys.argv[1])
    headstart.train(data, **fields)
    """
)


@pytest.fixture(scope="module")
def unequal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 pictures of dots and 7 of rings to train and choose with, 6 and 6 to report on."""
    root = tmp_path_factory.mktemp("data") / "unequal"
    for split, first, counts in (("train", 0, (LARGE, SMALL)), ("test", 100, (6, 6))):
        for kind, count in zip(("dots", "rings"), counts, strict=True):
            (root / split / kind).mkdir(parents=True)
            for number in range(count):
                draw(kind, first + number).save(root / split / kind / f"{number:03}.png")
    return root


def weights(run: headstart.Run) -> dict[str, torch.Tensor]:
    return load_file(run.model / "model.safetensors")


def equal(one: headstart.Run, other: headstart.Run) -> bool:
    ours, theirs = weights(one), weights(other)
    return all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.fixture(scope="module")
def acted(unequal: Path, tiny: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> headstart.Run:
    """The default, which acts."""
    output = tmp_path_factory.mktemp("acted") / "runs"
    return headstart.train(unequal, output=output, precision="fp32", **tiny)  # as the figures are computed


def test_auto_weighs_the_loss_and_says_so(acted: headstart.Run) -> None:
    config = yaml.safe_load((acted.path / "config.yaml").read_text(encoding="utf-8"))
    assert (config["balance"], config["plan"]["recipe"]["balance"]) == ("loss", "loss")
    log = (acted.path / "log.txt").read_text(encoding="utf-8")
    assert "balance: 'dots' has " in log
    assert " times as many training pictures as 'rings' (24 and " in log
    assert "each class has the same weight in the loss (loss)\n" in log
    assert "the highest balanced accuracy on " in log
    assert "(balanced accuracy " in log.partition("\nkept: ")[2]
    figure = acted.metrics["balanced_accuracy"]
    assert acted.metrics["balance"] == "loss"
    low, high = figure["interval_95"]
    assert f"balanced accuracy {figure['value']:.3f} ({low:.3f} to {high:.3f}, n = 12), the mean" in log
    assert log.count("\nbalanced accuracy") == 1


def test_what_chose_are_the_balanced_figures(acted: headstart.Run) -> None:
    rows = acted.results
    assert tuple(rows[0])[-2:] == BALANCED
    for row in rows:
        assert 0 <= float(row["val_balanced_accuracy"]) <= 1
        assert float(row["val_balanced_loss"]) > 0
    chose = acted.predictions.of_split("selection")
    recalls = [(chose.prediction[chose.truth == c] == c).mean() for c in (0, 1)]
    if acted.metrics["share"] == 1.0:
        kept = rows[int(acted.metrics["epoch"])]
        assert float(kept["val_balanced_accuracy"]) == pytest.approx(np.mean(recalls))


def test_the_saved_settings_end_in_equal_weights(
    acted: headstart.Run, unequal: Path, tiny: dict[str, Any], tmp_path: Path
) -> None:
    again = headstart.train(unequal, **read_yaml(acted.path / "config.yaml") | {"output": str(tmp_path)})
    assert equal(acted, again)
    plain = headstart.train(unequal, output=tmp_path / "plain", balance="none", precision="fp32", **tiny)
    assert not equal(acted, plain)
    assert not set(BALANCED) & set(plain.results[0])
    assert "balance" not in (plain.path / "log.txt").read_text(encoding="utf-8").partition("confusion")[
        0
    ].replace("balanced accuracy", "")


def test_without_imbalance_nothing_changes(shapes_folder: Path, tiny: dict[str, Any], tmp_path: Path) -> None:
    auto, none = (
        headstart.train(shapes_folder, output=tmp_path / balance, **tiny, balance=balance)
        for balance in ("auto", "none")
    )
    assert equal(auto, none)
    figures = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")
    assert [[r[name] for name in figures] for r in auto.results] == [
        [r[name] for name in figures] for r in none.results
    ]
    assert auto.results[0].keys() == none.results[0].keys()
    assert read_yaml(auto.path / "config.yaml")["balance"] == "none"


def test_the_lesson_stays_as_it_is(unequal: Path, tiny: dict[str, Any], tmp_path: Path) -> None:
    run = headstart.train(unequal, output=tmp_path, recipe="d2l", **tiny)
    assert read_yaml(run.path / "config.yaml")["balance"] == "none"
    asked = headstart.train(unequal, output=tmp_path / "asked", recipe="d2l", balance="loss", **tiny)
    assert not equal(run, asked)
    assert float(asked.results[-1]["val_balanced_accuracy"]) >= 0


@pytest.mark.parametrize(
    "changed", [{"strategy": "probe", "epochs": None, "batch_size": None}, {"selection": 0.0}]
)
def test_other_ways_to_train(
    unequal: Path, tiny: dict[str, Any], tmp_path: Path, changed: dict[str, Any]
) -> None:
    run = headstart.train(unequal, output=tmp_path, **{**tiny, **changed})
    assert read_yaml(run.path / "config.yaml")["balance"] == "loss"
    assert float(run.results[0]["val_balanced_accuracy"]) >= 0
    assert run.metrics["balanced_accuracy"]["n"] == 12


def test_a_refit_weighs_its_own_pictures(
    unequal: Path, tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from headstart.training import train as train_module

    seen: list[list[float]] = []
    plain = train_module.Trainer.weights_in_loss

    def noted(self: train_module.Trainer) -> torch.Tensor | None:
        found = plain(self)
        assert found is not None
        seen.append(found.tolist())
        return found

    monkeypatch.setattr(train_module.Trainer, "weights_in_loss", noted)
    run = headstart.train(unequal, output=tmp_path, refit="all", **tiny)
    whole = LARGE + SMALL + 12
    if run.metrics["epoch"]:  # else the refit is a probe
        assert seen[-1] == pytest.approx([whole / 2 / (LARGE + 6), whole / 2 / (SMALL + 6)])
    assert seen[0] != seen[-1] or not run.metrics["epoch"]
    assert [row["stage"] for row in run.results].count("refit") >= 1


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
@pytest.mark.parametrize("changed", [{}, {"freeze": "stem"}])
def test_a_killed_run_that_samples_ends_as_an_uninterrupted_one(
    unequal: Path,
    tiny: dict[str, Any],
    tmp_path: Path,
    surroundings: dict[str, str],
    changed: dict[str, Any],
) -> None:
    fields = {**tiny, "balance": "sample", **changed}
    whole = headstart.train(unequal, output=tmp_path / "whole", **fields)
    words = json.dumps([str(unequal), {**fields, "output": str(tmp_path / "killed")}])
    done = subprocess.run(
        [sys.executable, "-c", KILLED, words], env=surroundings, capture_output=True, text=True, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    run = headstart.train(resume=tmp_path / "killed" / "unequal")
    assert "goes on in epoch 2" in (run.path / "log.txt").read_text(encoding="utf-8")
    assert equal(whole, run)
    assert [row["val_balanced_loss"] for row in whole.results] == [
        row["val_balanced_loss"] for row in run.results
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="several processes are meant for Linux")
@pytest.mark.parametrize("balance", ["loss", "sample"])
def test_two_processes_have_the_losses_of_one(
    unequal: Path,
    tiny: dict[str, Any],
    tmp_path: Path,
    surroundings: dict[str, str],
    flags_of: Callable[..., list[str]],
    balance: str,
) -> None:
    settings = {**tiny, "precision": "fp32", "workers": 1, "balance": balance}
    one = headstart.train(unequal, output=tmp_path / "one", **settings)
    started = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    words = ["-m", "headstart", "train", str(unequal), *flags_of(settings, output=tmp_path / "two")]
    done = subprocess.run(
        [*started, *words],
        env=surroundings,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    two = headstart.Run(tmp_path / "two" / "unequal")
    for row, other in zip(one.results, two.results, strict=True):
        for name in ("train_loss", "val_loss", *BALANCED):
            assert float(row[name]) == pytest.approx(float(other[name]), abs=1e-4), (row["epoch"], name)
