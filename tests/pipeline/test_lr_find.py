"""`headstart train --lr find`: the rate found is a plain setting, and nothing else differs from giving it."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

import headstart
from headstart.config import from_mapping, read_yaml
from headstart.errors import ConfigError
from headstart.training import lr_find
from headstart.training import train as training
from headstart.training.fit import Epoch
from headstart.training.lr_find import STEPS
from headstart.training.step import Stepper


def weights(run: headstart.Run) -> dict[str, torch.Tensor]:
    return load_file(run.model / "model.safetensors")


def same_weights(one: headstart.Run, other: headstart.Run) -> bool:
    ours, theirs = weights(one), weights(other)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def saved(run: headstart.Run | Path) -> dict[str, Any]:
    folder = run.path if isinstance(run, headstart.Run) else run
    values: dict[str, Any] = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    return values


def no_sweep(*arguments: Any, **named: Any) -> Any:
    raise AssertionError("there must be no sweep")


@pytest.mark.parametrize(
    "changed",
    [
        {"refit": "all"},  # cached activations, AdamW; what trains again has the rate too
        {"freeze": "head"},  # SGD with momentum, no probe
        {"freeze": "stem"},  # new views in each epoch
        {"strategy": "scratch", "weights": None},  # BatchNorm moves
        {"recipe": "d2l", "batch_size": 5, "epochs": 1},  # the loss is a sum, plain SGD
    ],
)
def test_it_ends_in_the_weights_of_a_run_at_that_rate(
    shapes_folder: Path,
    tmp_path: Path,
    tiny: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    changed: dict[str, Any],
) -> None:
    monkeypatch.setattr(lr_find, "FALLS", 100.0)  # what these curves say is not asked here
    fields = {**tiny, "output": tmp_path, **changed}
    found = headstart.train(shapes_folder, lr="find", **fields)
    lr = saved(found)["lr"]
    assert isinstance(lr, float)
    assert saved(found)["plan"]["recipe"]["lr"] == lr
    assert "find" not in [value for value in saved(found).values() if isinstance(value, str)]
    log = (found.path / "log.txt").read_text(encoding="utf-8")
    assert f"learning rate {lr:g}, head " in log
    monkeypatch.setattr(training, "sweep", no_sweep)
    assert same_weights(found, headstart.train(shapes_folder, lr=float(f"{lr:g}"), **fields))
    config = from_mapping(read_yaml(found.path / "config.yaml"))
    assert same_weights(found, headstart.train(shapes_folder, config, name="again"))


def test_what_is_left_in_the_folder(
    shapes_folder: Path, tmp_path: Path, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lr_find, "FALLS", 100.0)
    run = headstart.train(shapes_folder, output=tmp_path, lr="find", **tiny)
    with open(run.path / "lr-find.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["step", "lr", "lr_head", "loss", "smoothed"]
    assert 6 < len(rows) <= STEPS
    lowest = min(rows[5:], key=lambda row: float(row["smoothed"]))
    assert saved(run)["lr"] == pytest.approx(float(lowest["lr"]) / 3, rel=1e-2)
    with Image.open(run.path / "lr-find.png") as picture:
        assert picture.format == "PNG"
    assert saved(run)["measured"]["seconds"]["lr_find"] >= 0
    log = (run.path / "log.txt").read_text(encoding="utf-8")
    assert "learning rate from a sweep before the first step, head 1 times that" in log
    assert ", lr_find " in log


def test_a_killed_run_goes_on_without_another_sweep(
    shapes_folder: Path, tmp_path: Path, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = headstart.train(shapes_folder, output=tmp_path / "whole", lr="find", **tiny)
    epochs: list[int] = []

    def interrupted(row: Any) -> None:
        epochs.append(row.epoch)
        if row.epoch == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr("headstart.training.checkpoint.EVERY", 0.0)
    run = headstart.train(shapes_folder, output=tmp_path / "killed", lr="find", hook=interrupted, **tiny)
    assert run.interrupted
    assert saved(run)["lr"] == saved(whole)["lr"]
    monkeypatch.setattr(training, "sweep", no_sweep)
    again = headstart.train(resume=run)
    assert not again.interrupted
    assert same_weights(again, whole)


def test_ctrl_c_in_the_sweep_leaves_the_probe_and_a_run_that_goes_on(
    shapes_folder: Path, tmp_path: Path, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def keep_probe(row: Epoch) -> None:
        if row.epoch == 0:
            shutil.copytree(tmp_path / "whole" / "shapes" / "model", tmp_path / "probe" / "model")

    whole = headstart.train(shapes_folder, output=tmp_path / "whole", lr="find", hook=keep_probe, **tiny)
    plain = Stepper.step

    def step(self: Stepper, number: int, *rest: Any) -> tuple[float, int]:
        if number == 40:
            raise KeyboardInterrupt
        return plain(self, number, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Stepper, "step", step)
        run = headstart.train(shapes_folder, output=tmp_path / "stopped", lr="find", **tiny)
    assert run.interrupted
    assert saved(run)["lr"] == "find"  # nothing was found yet
    assert same_weights(run, headstart.Run(tmp_path / "probe"))  # forty steps have left no trace
    again = headstart.train(resume=run)
    assert same_weights(again, whole)
    assert saved(again)["lr"] == saved(whole)["lr"]


def test_a_loss_that_never_falls_leaves_the_recipes_rate(
    shapes_folder: Path, tmp_path: Path, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lr_find, "FALLS", 0.0)
    run = headstart.train(shapes_folder, output=tmp_path, lr="find", **tiny)
    assert saved(run)["lr"] == 3e-4
    log = (run.path / "log.txt").read_text(encoding="utf-8")
    assert "warning: the loss of the sweep never falls below " in log
    assert "it tells no rate, and the recipe's 0.0003 stays" in log
    monkeypatch.undo()
    assert same_weights(run, headstart.train(shapes_folder, output=tmp_path, **tiny))


def test_a_picture_that_cannot_be_drawn_costs_a_warning(
    shapes_folder: Path, tmp_path: Path, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: Any, **named: Any) -> None:
        raise ValueError("no ink")

    monkeypatch.setattr("headstart.evaluation.plots.draw_sweep", broken)
    run = headstart.train(shapes_folder, output=tmp_path, lr="find", **tiny)
    log = (run.path / "log.txt").read_text(encoding="utf-8")
    assert "warning: lr-find.png cannot be drawn: no ink. Training goes on without it." in log
    assert (run.path / "lr-find.csv").is_file()
    assert isinstance(saved(run)["lr"], float)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"strategy": "probe"}, "--strategy probe has no learning rate: leave out --lr"),
        ({"epochs": 0}, "--epochs 0 trains nothing, so there is no rate to find: leave out --lr find"),
    ],
)
def test_without_steps_there_is_no_rate_to_find(fields: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        headstart.train("nowhere", lr="find", **fields)
    assert caught.value.code == "HS-CONFIG-007"
    assert text in caught.value.details


def test_a_search_compares_rates_by_itself() -> None:
    pytest.importorskip("optuna")
    with pytest.raises(ConfigError) as caught:
        headstart.tune("nowhere", lr="find", budget="1m")
    assert caught.value.code == "HS-CONFIG-007"
    assert [detail.split(" ")[0] for detail in caught.value.details] == ["--budget", "--lr"]
    assert caught.value.details[1] == (
        "--lr find sweeps over rates in one run, which tune compares by trials: leave out --lr find"
    )


def test_the_flag_takes_a_number_or_find(
    shapes_folder: Path,
    tmp_path: Path,
    tiny: dict[str, Any],
    flags_of: Callable[..., list[str]],
    command: Callable[..., Any],
) -> None:
    done = command("train", shapes_folder, *flags_of(tiny, lr="find", epochs=1, output=tmp_path))
    assert done.code == 0, done.err
    assert (tmp_path / shapes_folder.name / "lr-find.png").is_file()
    config = tmp_path / shapes_folder.name / "config.yaml"
    done = command("train", shapes_folder, "--config", config, "--lr", "2e-3", "--name", "given")
    assert done.code == 0, done.err
    assert saved(tmp_path / "given")["lr"] == 2e-3
    done = command("train", shapes_folder, "--lr", "fast")
    assert done.code == 2
    assert "HS-USAGE-001" in done.err
    assert "fast" in done.err


def test_where_nothing_trains_after_all_nothing_is_swept(
    tmp_path: Path, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch, shapes_folder: Path
) -> None:
    from headstart.training import planning
    from headstart.training.budget import Pace

    monkeypatch.setattr(
        planning.Stopwatch, "pace", lambda watch, way: Pace(frozen=0.0, step=100.0, above=0.0, exact=0.0)
    )
    monkeypatch.setattr(training, "sweep", no_sweep)
    settings = {name: value for name, value in tiny.items() if name != "epochs"}
    run = headstart.train(shapes_folder, output=tmp_path, budget="1m", lr="find", **settings)
    assert [row["stage"] for row in run.results] == ["probe"]
    assert saved(run)["lr"] is None
    assert not (run.path / "lr-find.csv").exists()
