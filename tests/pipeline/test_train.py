"""From a folder of pictures to a run folder: what stands in it, and that it can be had again."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

import headstart
from headstart import console
from headstart.config import read_yaml
from headstart.epoch_log import EpochLog
from headstart.errors import ConfigError, DataError, HeadstartError, ModelError, RunError
from headstart.model import zoo
from headstart.training.fit import Epoch
from shapes import KINDS, draw, draw_folder

HEADER = (
    "epoch,stage,train_loss,train_accuracy,val_loss,val_accuracy,"
    "lr_backbone,lr_head,images_per_second,seconds"
)
FILES = {
    "config.yaml",
    "confusion.png",
    "curves.png",
    "dataset.csv",
    "findings.json",
    "leaks.csv",  # some of the drawn dots are near copies
    "log.txt",
    "metrics.json",
    "model/model.json",
    "model/model.safetensors",
    "model/unknown.safetensors",
    "out_of_fold.csv",
    "predictions.csv",
    "report.html",
    "report.md",
    "reliability.png",
    "results.csv",
}


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def weights(run: headstart.Run | Path) -> dict[str, torch.Tensor]:
    folder = run.path if isinstance(run, headstart.Run) else run
    return load_file(folder / "model" / "model.safetensors")


def assert_equal_weights(one: headstart.Run | Path, other: headstart.Run | Path) -> None:
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


# --- the run folder ---------------------------------------------------------------------------------------


def test_exactly_the_expected_files(lite0_run: headstart.Run) -> None:
    assert files(lite0_run.path) == FILES
    assert lite0_run.path.name == "shapes"
    assert [p.name for p in lite0_run.path.parent.iterdir()] == ["shapes"]


def test_the_tables(lite0_run: headstart.Run, shapes_folder: Path) -> None:
    lines = (lite0_run.path / "results.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == HEADER
    assert [(row["epoch"], row["stage"]) for row in lite0_run.results] == [
        ("0", "probe"),
        ("1", "finetune"),
        ("2", "finetune"),
    ]
    table = rows_of(lite0_run.path / "dataset.csv")
    assert list(table[0]) == ["path", "class", "split", "group", "file_hash", "status", "reason"]
    assert len(table) == 36
    for row in table[::7]:
        content = (shapes_folder / row["path"]).read_bytes()
        assert row["file_hash"] == hashlib.sha256(content).hexdigest()
    assert {row["split"] for row in table} == {"train", "selection", "test"}
    assert {row["status"] for row in table} == {"ok"}
    header = (lite0_run.path / "predictions.csv").read_text(encoding="utf-8").splitlines()[0]
    assert header == (
        "path,split,truth,prediction,confidence,unknown,unknown_score,prob:dots,prob:rings,prob:stripes"
    )


def test_all_figures_come_from_the_predictions(lite0_run: headstart.Run) -> None:
    metrics = json.loads((lite0_run.path / "metrics.json").read_text(encoding="utf-8"))
    rows = [row for row in rows_of(lite0_run.path / "predictions.csv") if row["split"] == "test"]
    right = sum(row["truth"] == row["prediction"] for row in rows)
    assert metrics["n"] == metrics["accuracy"]["n"] == len(rows) == 12
    assert metrics["accuracy"]["value"] == right / 12
    low, high = metrics["accuracy"]["interval_95"]
    p, z = right / 12, 1.959963984540054  # Wilson
    centre, width = p + z * z / 24, z * math.sqrt(p * (1 - p) / 12 + z * z / 576)
    assert (low, high) == pytest.approx(
        ((centre - width) / (1 + z * z / 12), (centre + width) / (1 + z * z / 12))
    )
    assert metrics["selected_on"] is False
    assert metrics["split"] == "test"
    loss = -np.mean([math.log(float(row[f"prob:{row['truth']}"])) for row in rows])
    assert metrics["nll"]["value"] == pytest.approx(loss, abs=1e-12)
    matrix = np.zeros((3, 3), int)
    for row in rows:
        matrix[KINDS.index(row["truth"]), KINDS.index(row["prediction"])] += 1
    assert metrics["confusion_matrix"] == matrix.tolist()
    assert lite0_run.accuracy == right / 12
    assert lite0_run.interval == (low, high)
    # a pretrained network tells stripes, dots and rings apart
    assert lite0_run.accuracy > 0.8


def test_predictions_are_those_of_the_saved_model(lite0_run: headstart.Run, shapes_folder: Path) -> None:
    table = lite0_run.predictions
    model = headstart.load(lite0_run.path)
    answers = model.predict([shapes_folder / path for path in table.paths], batch_size=5)
    for i, answer in enumerate(answers):
        assert answer.prediction == table.classes[table.prediction[i]]
        ours = [answer.probabilities[name] for name in table.classes]
        assert ours == pytest.approx(table.probabilities[i].tolist(), abs=1e-6)


def test_without_a_selection_part_all_pictures_train_and_the_last_epoch_is_kept(
    shapes_folder: Path, tmp_path: Path, tiny: dict[str, Any]
) -> None:
    run = headstart.train(shapes_folder, output=tmp_path, selection=0, **tiny)
    assert set(run.predictions.splits) == {"test"}
    assert [row["stage"] for row in run.results] == ["probe", "finetune", "finetune"]
    assert run.metrics["epoch"] == 2
    assert run.metrics["share"] == 1.0
    again = headstart.train(shapes_folder, **read_yaml(run.path / "config.yaml"))
    assert (again.model / "model.safetensors").read_bytes() == (run.model / "model.safetensors").read_bytes()


def test_what_is_kept_is_the_best_candidate_on_selection(lite0_run: headstart.Run) -> None:
    """Candidates: the probe, the last epoch, and mixes of both."""
    rows = lite0_run.results
    probe, last = ((float(row["val_accuracy"]), -float(row["val_loss"])) for row in (rows[0], rows[-1]))
    card = json.loads((lite0_run.model / "model.json").read_text(encoding="utf-8"))
    for found in (lite0_run.metrics, card):
        assert found["epoch"] in (0, len(rows) - 1)
        if found["share"] == 1:
            assert (found["epoch"] == 0) == (probe >= last)
    # never worse than its own probe on the pictures that choose
    selection = [row for row in rows_of(lite0_run.path / "predictions.csv") if row["split"] == "selection"]
    right = sum(row["truth"] == row["prediction"] for row in selection)
    assert right / len(selection) >= float(rows[0]["val_accuracy"])


def test_the_log_holds_what_was_said(lite0_run: headstart.Run) -> None:
    log = (lite0_run.path / "log.txt").read_text(encoding="utf-8")
    assert "36 pictures, 3 classes, split given by folders" in log
    assert "probe: logistic regression" in log
    assert "finetune epoch 2:" in log
    assert "accuracy " in log


def test_pictures_of_the_run_are_pictures(lite0_run: headstart.Run) -> None:
    for name in ("curves.png", "confusion.png"):
        with Image.open(lite0_run.path / name) as picture:
            picture.verify()
            assert min(picture.size) > 200


def test_the_run_as_an_object(lite0_run: headstart.Run) -> None:
    assert not lite0_run.interrupted
    assert lite0_run.model == lite0_run.path / "model"
    assert str(lite0_run.path) in repr(lite0_run)
    assert f"accuracy={lite0_run.accuracy:.3f}" in repr(lite0_run)


# --- the same again ---------------------------------------------------------------------------------------


def test_the_saved_configuration_gives_equal_weights_with_other_workers(
    lite0_run: headstart.Run, shapes_folder: Path, tmp_path: Path, command: Callable[..., Any]
) -> None:
    config = lite0_run.path / "config.yaml"
    saved = yaml.safe_load(config.read_text(encoding="utf-8"))
    assert saved["workers"] == 1
    open_fields = {"weights", "name", "budget", "crop", "exclude_list", "fold", "folds", "group_by", "images"}
    open_fields |= {"label_from", "other", "overrides", "track"}
    assert {k for k, v in saved.items() if v is None} == open_fields
    assert saved["data"] == str(shapes_folder)
    done = command("train", shapes_folder, "--config", config, "--output", tmp_path, "--workers", 4)
    assert done.code == 0, done.err
    again = tmp_path / "shapes"
    assert_equal_weights(lite0_run, again)
    assert (again / "predictions.csv").read_bytes() == (lite0_run.path / "predictions.csv").read_bytes()
    assert (again / "dataset.csv").read_bytes() == (lite0_run.path / "dataset.csv").read_bytes()
    resolved = yaml.safe_load((again / "config.yaml").read_text(encoding="utf-8"))
    resolved |= {"workers": 1, "output": saved["output"], "measured": saved["measured"]}
    assert resolved == saved


@pytest.mark.parametrize("workers", [1, 4])
def test_a_run_without_with_and_from_the_cache_ends_in_equal_weights(
    shapes_folder: Path, tmp_path: Path, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path / "home"))
    runs = [
        headstart.train(shapes_folder, output=tmp_path / "runs", **{**tiny, "workers": workers}, cache=cache)
        for cache in (0, 1, 1)
    ]
    assert_equal_weights(runs[0], runs[1])
    assert_equal_weights(runs[0], runs[2])

    def computed(*args: Any, **named: Any) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr("headstart.model.features.FrozenPart._computed", computed)
    monkeypatch.setattr("headstart.data.preprocess.decode", computed)
    assert_equal_weights(
        runs[0], headstart.train(shapes_folder, output=tmp_path / "runs", **{**tiny, "workers": workers})
    )
    assert (tmp_path / "home" / "cache" / "pictures").is_dir()


@pytest.mark.parametrize(
    "fields",
    [
        {"recipe": "d2l"},
        {"recipe": "d2l", "strategy": "scratch", "weights": None},
        {"freeze": "head"},
        {"freeze": "stage2", "fit": "pad", "augment": "dihedral"},
    ],
)
def test_live_and_cached_views_do_not_depend_on_the_workers(
    shapes_folder: Path, tmp_path: Path, tiny: dict[str, Any], fields: dict[str, Any]
) -> None:
    one, four = (
        headstart.train(shapes_folder, output=tmp_path, **{**tiny, **fields, "workers": workers})
        for workers in (1, 4)
    )
    assert_equal_weights(one, four)
    assert one.path.name == "shapes"
    assert four.path.name == "shapes-2"


def test_a_network_of_another_size_runs_again_to_equal_weights(
    shapes_folder: Path, tmp_path: Path, tiny: dict[str, Any], command: Callable[..., Any]
) -> None:
    """Its own input size (160 here) is decided by the plan, and the lesson's resize follows it."""
    fields = {**tiny, "img_size": None, "recipe": "d2l", "epochs": 1}
    run = headstart.train(shapes_folder, output=tmp_path, **fields)
    view = json.loads((run.model / "model.json").read_text(encoding="utf-8"))["preprocess"]
    assert (view["img_size"], view["resize"]) == (160, round(256 * 160 / 224))
    done = command("train", shapes_folder, "--config", run.path / "config.yaml")
    assert done.code == 0
    assert_equal_weights(run, tmp_path / "shapes-2")


def test_seeds_matter(shapes_folder: Path, tmp_path: Path, tiny: dict[str, Any]) -> None:
    one, other = (
        headstart.train(
            shapes_folder, output=tmp_path, **{**tiny, "recipe": "d2l", "seed": seed, "epochs": 1}
        )
        for seed in (0, 1)
    )
    assert not torch.equal(weights(one)["head.weight"], weights(other)["head.weight"])


# --- strategies -------------------------------------------------------------------------------------------


def test_a_probe_alone(shapes_folder: Path, tmp_path: Path, tiny: dict[str, Any]) -> None:
    fields = {**tiny, "epochs": None, "batch_size": None, "strategy": "probe"}
    run = headstart.train(shapes_folder, output=tmp_path, **fields)
    assert files(run.path) == FILES - {"curves.png"}
    assert [row["stage"] for row in run.results] == ["probe"]
    source = zoo.create("test_efficientnet", weights=Path(tiny["weights"])).state_dict()
    final = weights(run)
    for name in final:
        if not name.startswith("head."):
            assert torch.equal(final[name], source[name]), name
    # all of train is trained on; the figure beside it is out of fold
    assert {row["split"] for row in rows_of(run.path / "dataset.csv")} == {"train", "test"}
    assert "out of fold:" in (run.path / "log.txt").read_text(encoding="utf-8")


def test_from_scratch(shapes_folder: Path, tmp_path: Path, tiny: dict[str, Any]) -> None:
    fields = {**tiny, "weights": None, "strategy": "scratch"}
    run = headstart.train(shapes_folder, output=tmp_path, **fields)
    assert files(run.path) == FILES - {"out_of_fold.csv"}  # there is no probe
    assert [row["stage"] for row in run.results] == ["scratch", "scratch"]
    source = zoo.create("test_efficientnet", weights=Path(tiny["weights"])).state_dict()
    assert not torch.equal(weights(run)["backbone.conv_stem.weight"], source["backbone.conv_stem.weight"])


@pytest.mark.parametrize(
    ("fields", "first"),
    [
        ({}, None),  # the default: the top quarter
        ({"freeze": "stage2"}, "stage2"),
        ({"freeze": "stage2", "recipe": "d2l"}, "stage2"),  # where BatchNorm above trains
        ({"freeze": "head"}, "head"),
        ({"freeze": "head", "recipe": "d2l"}, "head"),
    ],
)
def test_frozen_means_identical_bytes(
    shapes_folder: Path, tmp_path: Path, tiny: dict[str, Any], fields: dict[str, Any], first: str | None
) -> None:
    source = zoo.create("test_efficientnet", weights=Path(tiny["weights"]))
    settings = {**tiny, "lr": 1e-2, "precision": "fp32", **fields}
    # the last epoch is kept, so that something has moved for certain
    table = [
        (str(path), path.parent.name, path.parent.parent.name)
        for path in sorted(shapes_folder.rglob("*.png"))
    ]
    run = headstart.train(table, output=tmp_path, name="frozen", **settings)
    saved = yaml.safe_load((run.path / "config.yaml").read_text(encoding="utf-8"))
    stages = source.stages
    assert stages is not None
    names = [stage.name for stage in stages]
    cut = saved["plan"]["trains_from"]
    assert cut == (first or names[-max(1, len(names) // 4)])
    above = names[names.index(cut) :] if cut != "head" else []
    moving = {
        f"backbone.{name}"
        for stage in stages
        if stage.name in above
        for path in stage.paths
        for name in source.backbone.state_dict()
        if name.startswith(f"{path}.")
    }
    before, after = source.state_dict(), weights(run)
    for name, tensor in after.items():
        if name.startswith("backbone.") and name not in moving:
            assert tensor.numpy().tobytes() == before[name].numpy().tobytes(), name
    moved = {name for name in moving if not torch.equal(after[name], before[name])}
    if run.metrics["epoch"] > 0 and cut != "head":
        assert any(name.endswith(".weight") for name in moved)
        statistics = any("running_mean" in name for name in moved)
        assert statistics == (fields.get("recipe") == "d2l")
    if cut == "head":
        assert not moved
    if "recipe" in fields:
        assert run.metrics["epoch"] == 2


def test_a_head_from_source_classes(shapes_folder: Path, tmp_path: Path, tiny: dict[str, Any]) -> None:
    fields = {**tiny, "recipe": "d2l", "lr": 1e-12, "epochs": 1, "head_from": ["dots=934", "rings=hotdog"]}
    run = headstart.train(shapes_folder, output=tmp_path, **fields)
    source = zoo.create("test_efficientnet", weights=Path(tiny["weights"])).head.weight
    head = weights(run)["head.weight"]
    torch.testing.assert_close(head[0], source[934], rtol=0, atol=1e-7)
    torch.testing.assert_close(head[1], source[934], rtol=0, atol=1e-7)
    assert not torch.equal(head[2], source[934])


def test_a_weights_file_of_torch(shapes_folder: Path, tmp_path: Path, tiny: dict[str, Any]) -> None:
    torch.save(load_file(tiny["weights"]), tmp_path / "net.pth")
    fields = {
        **tiny,
        "weights": tmp_path / "net.pth",
        "strategy": "probe",
        "epochs": None,
        "batch_size": None,
    }
    run = headstart.train(shapes_folder, output=tmp_path / "a", **fields)
    fields["weights"] = Path(tiny["weights"])
    assert_equal_weights(run, headstart.train(shapes_folder, output=tmp_path / "b", **fields))


# --- interrupts and hooks ---------------------------------------------------------------------------------


def test_the_hook_sees_every_epoch(shapes_folder: Path, tmp_path: Path, tiny: dict[str, Any]) -> None:
    seen: list[Epoch] = []
    run = headstart.train(shapes_folder, output=tmp_path, hook=seen.append, **tiny)
    assert [row.epoch for row in seen] == [0, 1, 2]
    for row, line in zip(seen, run.results, strict=True):
        told = {k: str(v) for k, v in dataclasses.asdict(row).items() if not k.startswith("val_balanced")}
        assert told == line


def test_a_hook_that_raises_is_switched_off(
    shapes_folder: Path, tmp_path: Path, tiny: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[int] = []

    def hook(row: Epoch) -> None:
        calls.append(row.epoch)
        raise ValueError("the tracker is down")

    run = headstart.train(shapes_folder, output=tmp_path, hook=hook, **tiny)
    assert calls == [0]
    assert len(run.results) == 3
    fault = "the epoch hook raised ValueError: the tracker is down"
    warning = f"warning: HS-TRACK-001: {fault}. It is switched off.\n"
    assert capsys.readouterr().err.count(warning) == 1


def interrupt(epoch: int) -> Callable[[Epoch], None]:
    def hook(row: Epoch) -> None:
        if row.epoch == epoch:
            raise KeyboardInterrupt

    return hook


@pytest.mark.parametrize("epoch", [0, 1])
def test_an_interrupted_run_is_saved_and_evaluated(
    shapes_folder: Path, tmp_path: Path, tiny: dict[str, Any], epoch: int
) -> None:
    run = headstart.train(shapes_folder, output=tmp_path, hook=interrupt(epoch), **{**tiny, "epochs": 50})
    assert run.interrupted
    assert len(run.results) == epoch + 1
    kept = FILES | {".lock"}  # for the process that goes on with it
    assert files(run.path) == (kept if epoch else kept - {"curves.png"})
    assert 0 <= run.accuracy <= 1
    assert headstart.load(run.path).predict(shapes_folder / "test" / "dots" / "000.png")[0].ok


def test_an_interrupt_while_views_are_made_keeps_the_probe(
    shapes_folder: Path, tmp_path: Path, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from headstart.training.train import Trainer

    def interrupted(self: Trainer, cut: str) -> torch.Tensor:
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "run_views", interrupted)
    run = headstart.train(shapes_folder, output=tmp_path, **tiny)
    assert run.interrupted
    assert run.metrics["epoch"] == 0
    probe = headstart.train(
        shapes_folder, output=tmp_path, **{**tiny, "strategy": "probe", "epochs": None, "batch_size": None}
    )
    assert weights(run)["head.weight"].shape == weights(probe)["head.weight"].shape


@pytest.mark.parametrize("recipe", ["default", "d2l"])
def test_a_fault_in_the_third_epoch_leaves_the_best_model_of_the_first_two(
    shapes_folder: Path, tmp_path: Path, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch, recipe: str
) -> None:
    """Whatever happens after an epoch, its model is on disk if it is the best so far."""
    plain = EpochLog.__call__
    best: list[int] = []

    def broken(self: EpochLog, row: Epoch) -> None:
        best.append(headstart.load(self.folder).card["epoch"])
        if row.epoch == 3:
            raise RuntimeError("the machine is on fire")
        plain(self, row)

    monkeypatch.setattr(EpochLog, "__call__", broken)
    with pytest.raises(RuntimeError, match="on fire"):
        headstart.train(shapes_folder, output=tmp_path, **{**tiny, "recipe": recipe, "epochs": 3})
    (folder,) = tmp_path.iterdir()
    with open(folder / "results.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if recipe == "d2l":
        assert best == [1, 2, 3]
    else:
        assert best[:3] == [best_of(rows[: n + 1]) for n in range(3)]
    assert headstart.load(folder).predict(shapes_folder / "test" / "dots" / "000.png")[0].ok


def best_of(rows: list[dict[str, str]]) -> int:
    """The epoch that the documented rule keeps."""
    first = max(
        rows, key=lambda row: (float(row["val_accuracy"]), -float(row["val_loss"]), -int(row["epoch"]))
    )
    return int(first["epoch"])


def test_curves_that_cannot_be_drawn_cost_a_warning(
    shapes_folder: Path,
    tmp_path: Path,
    tiny: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def broken(*args: Any, **named: Any) -> None:
        raise ValueError("no such font")

    monkeypatch.setattr("headstart.evaluation.plots.draw_curves", broken)
    run = headstart.train(shapes_folder, output=tmp_path, **tiny)
    assert len(run.results) == 3
    warning = "warning: curves.png cannot be drawn: no such font. Training goes on without it.\n"
    assert capsys.readouterr().err.count(warning) == 1


@pytest.mark.parametrize(
    ("settings", "code"),
    [({"freeze": "stage99"}, "HS-MODEL-008"), ({"device": "cuda:99"}, "HS-CONFIG-008")],
)
def test_settings_that_only_the_network_can_refuse_are_refused_before_pictures_are_read(
    shapes_folder: Path,
    tmp_path: Path,
    tiny: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, str],
    code: str,
) -> None:
    def read(*args: Any, **named: Any) -> None:
        raise AssertionError("pictures are read")

    monkeypatch.setattr("headstart.run.load_dataset", read)
    with pytest.raises(HeadstartError, match=code):
        headstart.train(shapes_folder, output=tmp_path / "runs", **{**tiny, **settings})
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_before_there_is_a_model_leaves_nothing(
    shapes_folder: Path, tmp_path: Path, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from headstart.training.train import Trainer

    def interrupted(self: Trainer) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        headstart.train(shapes_folder, output=tmp_path / "runs", **tiny)
    assert list(tmp_path.iterdir()) == []


def test_the_command_line_exits_with_130(
    shapes_folder: Path,
    tmp_path: Path,
    tiny: dict[str, Any],
    flags_of: Callable[..., list[str]],
    command: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = EpochLog.call_hook

    def call_hook(self: EpochLog, row: Epoch) -> None:
        plain(self, row)
        interrupt(1)(row)

    monkeypatch.setattr(EpochLog, "call_hook", call_hook)
    done = command("train", shapes_folder, *flags_of(tiny, output=tmp_path), "--json")
    assert done.code == 130
    assert json.loads(done.out)["n"] == 12
    assert "warning: interrupted: the best model so far is saved and evaluated" in done.err
    assert "Traceback" not in done.err


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals(
    shapes_folder: Path,
    tmp_path: Path,
    tiny: dict[str, Any],
    flags_of: Callable[..., list[str]],
    surroundings: dict[str, str],
    number: signal.Signals,
) -> None:
    flags = flags_of(tiny, epochs=5000, output=tmp_path)
    words = [sys.executable, "-m", "headstart", "train", str(shapes_folder), *flags]
    said = []
    with subprocess.Popen(
        words, env=surroundings, stderr=subprocess.PIPE, text=True, encoding="utf-8"
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            said.append(line)
            if line.startswith("finetune epoch 1:"):
                process.send_signal(number)
                break
        said += process.stderr.readlines()
        assert process.wait(timeout=60) == 130, "".join(said)
    assert files(tmp_path / "shapes") == FILES
    assert not any("Traceback" in line for line in said)


# --- a run that fails leaves nothing ----------------------------------------------------------------------


def test_divergence_leaves_nothing(
    shapes_folder: Path,
    tmp_path: Path,
    tiny: dict[str, Any],
    flags_of: Callable[..., list[str]],
    command: Callable[..., Any],
) -> None:
    flags = flags_of(tiny, recipe="d2l", lr=1e30, output=tmp_path / "runs")
    done = command("train", shapes_folder, *flags)
    assert done.code == 1
    assert "error HS-RUN-010: The loss is not finite at step " in done.err
    assert "Train again with a smaller --lr." in done.err
    assert list(tmp_path.iterdir()) == []


def test_divergence_after_a_probe_keeps_the_probe(
    shapes_folder: Path, tmp_path: Path, tiny: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    run = headstart.train(shapes_folder, output=tmp_path, **{**tiny, "lr": 1e20, "precision": "fp32"})
    assert run.metrics["epoch"] == 0
    assert "is not finite at step" in capsys.readouterr().err


def test_other_folders_of_the_output_are_left_alone(
    shapes_folder: Path, tmp_path: Path, tiny: dict[str, Any]
) -> None:
    (tmp_path / "runs" / "shapes").mkdir(parents=True)
    (tmp_path / "runs" / "shapes" / "mine.txt").write_text("mine")
    with pytest.raises(ModelError):
        headstart.train(shapes_folder, output=tmp_path / "runs", **{**tiny, "freeze": "stage77"})
    assert files(tmp_path) == {"runs/shapes/mine.txt"}
    run = headstart.train(
        shapes_folder,
        output=tmp_path / "runs",
        **{**tiny, "strategy": "probe", "epochs": None, "batch_size": None},
    )
    assert run.path.name == "shapes-2"


def test_output_inside_the_data_folder_is_no_class(
    tmp_path: Path, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`cd photos; headstart train .`, twice."""
    draw_folder(tmp_path / "photos", 6)
    monkeypatch.chdir(tmp_path / "photos")
    fields = {**tiny, "strategy": "probe", "epochs": None, "batch_size": None}
    one, two = (headstart.train(".", **fields) for _ in range(2))
    assert [one.path.as_posix(), two.path.as_posix()] == ["runs/photos", "runs/photos-2"]
    assert two.metrics["classes"] == list(KINDS)
    assert_equal_weights(one, two)
    assert "left out by --exclude runs" in (two.path / "log.txt").read_text(encoding="utf-8")


def test_the_data_folder_as_output_is_refused(tmp_path: Path, tiny: dict[str, Any]) -> None:
    draw_folder(tmp_path / "photos", 4)
    before = files(tmp_path)
    with pytest.raises(ConfigError) as caught:
        headstart.train(tmp_path / "photos", output=tmp_path / "photos", **tiny)
    assert caught.value.code == "HS-CONFIG-009"
    assert files(tmp_path) == before


# --- evaluate ---------------------------------------------------------------------------------------------


def test_evaluate_gives_the_figures_of_the_run_again(tiny_run: headstart.Run, shapes_folder: Path) -> None:
    before = files(tiny_run.path)
    found = headstart.evaluate(tiny_run)
    result = found["runs"][str(tiny_run.path)]
    assert result["accuracy"] == tiny_run.metrics["accuracy"]
    assert result["confusion_matrix"] == tiny_run.metrics["confusion_matrix"]
    assert "comparison" not in found
    assert files(tiny_run.path) == before

    measured = headstart.evaluate(tiny_run.path, data=shapes_folder)["runs"][str(tiny_run.path)]
    assert measured["accuracy"] == tiny_run.metrics["accuracy"]
    folder = Path(measured["folder"])
    assert folder.parent == tiny_run.path / "evaluations"
    assert files(folder) == {
        "predictions.csv",
        "metrics.json",
        "confusion.png",
        "leaks.csv",
        "reliability.png",
    }


def test_pictures_of_training_are_not_measured_on(
    tiny_run: headstart.Run, shapes_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(DataError) as caught:
        headstart.evaluate(tiny_run, data=shapes_folder / "train")
    assert caught.value.code == "HS-DATA-031"
    mixed = tmp_path / "mixed"
    for kind in KINDS:
        (mixed / kind).mkdir(parents=True)
        (mixed / kind / "seen.png").write_bytes((shapes_folder / "train" / kind / "000.png").read_bytes())
        draw(kind, 100).save(mixed / kind / "new.png")
    found = headstart.evaluate(tiny_run, data=mixed)["runs"][str(tiny_run.path)]
    assert found["n"] == 3
    assert "3 of 6 pictures trained or chose this model: they are left out" in capsys.readouterr().err


def test_unknown_classes_in_the_data(
    tiny_run: headstart.Run, tmp_path: Path, command: Callable[..., Any]
) -> None:
    draw_folder(tmp_path / "data", 2, names={"dots": "points"})
    before = files(tiny_run.path)
    done = command("evaluate", tiny_run.path, tmp_path / "data")
    assert done.code == 2
    assert "error HS-DATA-030: These pictures have classes that the model does not know." in done.err
    assert "  - unknown class: points\n" in done.err
    assert "The model knows: dots, rings, stripes." in done.err
    assert files(tiny_run.path) == before


def test_some_of_the_classes_are_enough_to_evaluate(tiny_run: headstart.Run, tmp_path: Path) -> None:
    draw_folder(tmp_path / "data", {"": 0})
    (tmp_path / "data" / "rings").mkdir(exist_ok=True)
    for number in range(3):
        draw("rings", 200 + number).save(tmp_path / "data" / "rings" / f"{number}.png")
    for kind in ("dots", "stripes"):
        (tmp_path / "data" / kind).rmdir()
    found = headstart.evaluate(tiny_run, data=tmp_path / "data")["runs"][str(tiny_run.path)]
    assert found["n"] == 3
    assert found["per_class"]["rings"]["support"] == 3
    assert found["per_class"]["dots"]["recall"] is None


def test_several_runs_are_compared_on_the_same_pictures(
    tiny_run: headstart.Run, lite0_run: headstart.Run, tmp_path: Path, command: Callable[..., Any]
) -> None:
    done = command("evaluate", tiny_run.path, lite0_run.path, "--json")
    assert done.code == 0
    found = json.loads(done.out)
    assert found["comparison"]["n"] == 12
    assert {run["run"] for run in found["comparison"]["runs"]} == {str(tiny_run.path), str(lite0_run.path)}
    (pair,) = found["comparison"]["differences"]
    assert pair["a"] == str(lite0_run.path)
    assert pair["difference"] == pytest.approx(lite0_run.accuracy - tiny_run.accuracy)

    draw_folder(tmp_path / "new", 3, size=90)
    done = command("evaluate", tiny_run.path, lite0_run.path, tmp_path / "new")
    assert done.code == 0
    assert "(McNemar)" in done.err
    assert "n = 9 pictures" in done.err


def test_no_such_run_gets_the_nearest(tiny_run: headstart.Run, command: Callable[..., Any]) -> None:
    done = command("evaluate", tiny_run.path.parent / "shape")
    assert done.code == 1
    assert "error HS-RUN-020: There is no finished run in this folder. Did you mean 'shapes'?" in done.err


# --- predict ----------------------------------------------------------------------------------------------


def test_predict_writes_a_row_for_each_picture(
    lite0_run: headstart.Run, tmp_path: Path, command: Callable[..., Any]
) -> None:
    new = tmp_path / "new"
    (new / "deep").mkdir(parents=True)
    draw("dots", 300).save(new / "a.png")
    draw("rings", 301).save(new / "deep" / "b.jpg")
    (new / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    (new / "notes.txt").write_text("no picture")
    out = tmp_path / "out.csv"
    done = command("predict", lite0_run.path, new, new / "missing.png", "-o", out, "--json")
    assert done.code == 0, done.err
    counts = json.loads(done.out)
    assert (counts["rows"], counts["ok"], counts["passed_over"]) == (4, 2, 1)
    rows = rows_of(out)
    assert list(rows[0])[:6] == ["path", "status", "prediction", "confidence", "unknown", "unknown_score"]
    assert list(rows[0])[6:] == [f"prob:{name}" for name in KINDS]
    by_name = {Path(row["path"]).name: row for row in rows}
    assert by_name["a.png"]["status"] == by_name["b.jpg"]["status"] == "ok"
    assert by_name["a.png"]["prediction"] == "dots"
    assert sum(float(by_name["a.png"][f"prob:{name}"]) for name in KINDS) == pytest.approx(1)
    assert by_name["broken.png"]["status"].startswith("truncated: ")
    assert by_name["broken.png"]["prediction"] == by_name["broken.png"]["prob:dots"] == ""
    assert by_name["missing.png"]["status"].startswith("missing: ")
    assert command("predict", lite0_run.path, new, "-o", out, "--strict").code == 1


def test_predict_without_a_file_prints_the_table(
    tiny_run: headstart.Run, shapes_folder: Path, surroundings: dict[str, str]
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "headstart", "predict", str(tiny_run.path), str(shapes_folder / "test")],
        env=surroundings,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert len(list(csv.DictReader(done.stdout.splitlines()))) == 12


# --- names ------------------------------------------------------------------------------------------------

ODD_NAMES = {
    "dots": "猫, «chat» 🐈‍⬛",
    "rings": "x" * 200,
    "stripes": 'Ärger = "=SUM(A1)"; a\tb',
}


def test_odd_names_from_folder_to_prediction(
    tmp_path: Path, tiny: dict[str, Any], command: Callable[..., Any]
) -> None:
    data = draw_folder(tmp_path / "数据 set", {"train": 7, "test": 2}, names=ODD_NAMES)
    run = headstart.train(data, output=tmp_path / "ru ns", **{**tiny, "epochs": 1})
    classes = sorted(ODD_NAMES.values())
    assert run.path.name == "数据 set"
    assert run.metrics["classes"] == classes
    assert sorted(run.metrics["per_class"]) == classes
    assert list(run.predictions.classes) == classes
    assert {row["class"] for row in rows_of(run.path / "dataset.csv")} == set(classes)
    model = headstart.load(run.path)
    assert list(model.classes) == classes
    out = tmp_path / "out.csv"
    done = command("predict", run.path, data / "test", "-o", out)
    assert done.code == 0
    rows = rows_of(out)
    assert list(rows[0])[6:] == [f"prob:{name}" for name in classes]
    assert {row["prediction"] for row in rows} <= set(classes)
    assert {Path(row["path"]).parent.name for row in rows} == set(classes)


def test_names_that_are_numbers_keep_one_order_everywhere(tmp_path: Path, tiny: dict[str, Any]) -> None:
    """As text, 10 comes before 2; every output must agree on it."""
    data = tmp_path / "digits"
    for number in range(12):
        kind = KINDS[number % 3]
        for split, count in (("train", 3), ("test", 1)):
            folder = data / split / str(number)
            folder.mkdir(parents=True)
            for i in range(count):
                draw(kind, 1000 * number + 10 * i + len(split)).save(folder / f"{i}.png")
    run = headstart.train(
        data, output=tmp_path / "runs", **{**tiny, "strategy": "probe", "epochs": None, "batch_size": None}
    )
    expected = ["0", "1", "10", "11", "2", "3", "4", "5", "6", "7", "8", "9"]
    assert run.metrics["classes"] == expected
    assert list(run.metrics["per_class"]) == expected
    assert list(run.predictions.classes) == expected
    assert json.loads((run.model / "model.json").read_text(encoding="utf-8"))["classes"] == expected
    assert weights(run)["head.weight"].shape[0] == 12
    for row in rows_of(run.path / "dataset.csv"):
        assert row["path"].split("/")[1] == row["class"]
    for row in rows_of(run.path / "predictions.csv"):
        assert row["path"].split("/")[1] == row["truth"]
        best = max(expected, key=lambda name: float(row[f"prob:{name}"]))
        assert row["prediction"] == best
    for answer in headstart.load(run.path).predict(data / "train"):
        assert list(answer.probabilities) == expected


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux only")
def test_names_that_are_no_utf8(tmp_path: Path, tiny: dict[str, Any]) -> None:
    data = draw_folder(tmp_path / "data", 6)
    name = os.fsdecode(b"caf\xe9")
    try:
        (data / "dots").rename(data / name)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    fields = {**tiny, "strategy": "probe", "epochs": None, "batch_size": None}
    with console.quiet():
        run = headstart.train(data, output=tmp_path / "runs", **fields)
    assert run.metrics["classes"] == [name, "rings", "stripes"]
    assert list(run.predictions.classes) == [name, "rings", "stripes"]


# --- the Python interface ---------------------------------------------------------------------------------


def test_a_list_of_pictures(shapes_folder: Path, tmp_path: Path, tiny: dict[str, Any]) -> None:
    pairs = [(path, path.parent.name) for path in sorted((shapes_folder / "train").rglob("*.png"))]
    run = headstart.train(
        pairs, output=tmp_path, **{**tiny, "strategy": "probe", "epochs": None, "batch_size": None}
    )
    assert run.path.name == "pictures"
    assert run.metrics["classes"] == list(KINDS)
    assert yaml.safe_load((run.path / "config.yaml").read_text())["data"] == "a list"


def test_settings_may_come_as_an_object_with_single_ones_over_it(
    shapes_folder: Path, tmp_path: Path, tiny: dict[str, Any]
) -> None:
    config = headstart.TrainConfig(
        model="test_efficientnet", weights=Path(tiny["weights"]), img_size=64, threads=1, strategy="probe"
    )
    run = headstart.train(shapes_folder, config, output=tmp_path, name="mine", seed=4)
    saved = yaml.safe_load((run.path / "config.yaml").read_text(encoding="utf-8"))
    assert run.path == tmp_path / "mine"
    assert (saved["seed"], saved["strategy"], saved["model"]) == (4, "probe", "test_efficientnet")
    with pytest.raises(ConfigError, match="HS-CONFIG-001"):
        headstart.train(shapes_folder, config, epoch=3)


def test_a_script_needs_no_main_guard(
    shapes_folder: Path, tmp_path: Path, tiny: dict[str, Any], surroundings: dict[str, str]
) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(f"""
            import headstart
            run = headstart.train({str(shapes_folder)!r}, output={str(tmp_path / "runs")!r}, **{tiny!r})
            print(run.accuracy)
            print(headstart.load(run.path).predict({str(shapes_folder / "test")!r})[0].prediction)
        """),
        encoding="utf-8",
    )
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, str(script)],
        env=surroundings,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    accuracy, prediction = done.stdout.split()
    assert 0 <= float(accuracy) <= 1
    assert prediction in KINDS
    assert time.perf_counter() - started < 300


def test_a_run_without_its_table(tiny_run: headstart.Run, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(tiny_run.path, tmp_path / "copy", ignore=shutil.ignore_patterns("predictions.csv"))
    with pytest.raises(RunError, match="HS-EVAL-001"):
        headstart.evaluate(tmp_path / "copy")


def test_runs_on_other_pictures_of_the_same_names_are_not_compared(
    tiny: dict[str, Any], tiny_run: headstart.Run, tmp_path: Path
) -> None:
    other = draw_folder(tmp_path / "shapes", {"train": 8, "test": 4}, size=56)
    another = headstart.train(other, output=tmp_path / "runs", **tiny)
    with pytest.raises(headstart.HeadstartError) as caught:
        headstart.evaluate(tiny_run, another)
    assert caught.value.code == "HS-EVAL-003"


def test_too_few_pictures_to_choose_on_keep_the_probe(
    command: Callable[..., Any], flags_of: Callable[..., list[str]], tiny: dict[str, Any], tmp_path: Path
) -> None:
    few = draw_folder(tmp_path / "few", {"train": 4, "test": 4})
    done = command("train", few, *flags_of(tiny, epochs=None), "--output", tmp_path / "runs", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["epoch"] == 0
    assert "kept: the probe, as there are too few pictures to choose an epoch on" in done.err


def test_dropout_follows_the_seed(shapes_folder: Path, tmp_path: Path) -> None:
    """torchvision's MobileNet has dropout before its head, which draws from the global generator."""
    settings = {
        "strategy": "scratch",
        "recipe": "d2l",
        "model": "torchvision/mobilenet_v3_small",
        "img_size": 32,
        "batch_size": 8,
        "epochs": 1,
        "threads": 1,
        "output": tmp_path,
    }
    first, second = (headstart.train(shapes_folder, **settings) for _ in range(2))
    one, two = (load_file(run.model / "model.safetensors") for run in (first, second))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_crop_is_part_of_the_model(
    shapes_folder: Path, tmp_path: Path, tiny: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    data = shutil.copytree(shapes_folder, tmp_path / "data")
    small = data / "train" / "dots" / "small.png"
    Image.new("RGB", (30, 30)).save(small)
    settings = {**tiny, "epochs": None, "batch_size": None, "strategy": "probe", "crop": "8,0,40,40"}
    run = headstart.train(data, output=tmp_path / "runs", **settings)
    (left_out,) = (found["code"] for found in run.findings if "small.png" in str(found))
    assert left_out in capsys.readouterr().err
    said = (run.path / "log.txt").read_text(encoding="utf-8")
    assert "train/dots/small.png: 30 x 30 pixels, and the crop reaches to 48 x 40" in said
    card = json.loads((run.model / "model.json").read_text(encoding="utf-8"))
    assert card["preprocess"]["crop"] == [8, 0, 40, 40]

    model = headstart.load(run.path)
    table = run.predictions.of_split("test")
    for path, row in zip(table.paths, table.probabilities, strict=True):
        picture = Image.open(data / path).convert("RGB")
        # the file, the picture in memory, and what the crop leaves of it in another one
        outside = np.asarray(picture).copy()
        outside[40:], outside[:, :8], outside[:, 48:] = 255, 255, 255
        answers = model.predict([data / path, picture, outside])
        for answer in answers:
            assert list(answer.probabilities.values()) == pytest.approx(row.tolist(), abs=1e-6)
    (answer,) = model.predict([small])
    assert answer.status == "too-small" and "the crop reaches to 48 x 40" in answer.reason

    seen = headstart.show(data, tmp_path / "seen", model="test_efficientnet", img_size=64, crop="0,0,1,0.5")
    assert all(file.is_file() for file in seen)
    evaluated = headstart.evaluate(run, data=data)["runs"][str(run.path)]
    assert evaluated["accuracy"]["value"] == run.accuracy


def test_a_table_trains_as_its_folders_do(
    shapes_folder: Path, tmp_path: Path, tiny: dict[str, Any], command: Callable[..., Any], flags_of: Any
) -> None:
    table = tmp_path / "shapes.csv"
    files = sorted(shapes_folder.rglob("*.png"))
    with open(table, "w", encoding="utf-8", newline="") as file:
        rows = [("\\".join(("D:", "scans", *path.parts[-3:])), *path.parts[-3:-1]) for path in files]
        csv.writer(file).writerows([("file", "part", "kind"), *rows])
    settings = {**tiny, "epochs": None, "batch_size": None, "strategy": "probe", "output": tmp_path / "runs"}
    done = command("train", table, "--images", shapes_folder, *flags_of(settings))
    assert done.code == 0, done.err
    assert "CSV table, columns path: file, class: kind, split: part" in done.err
    run = headstart.Run(tmp_path / "runs" / "shapes")
    saved = yaml.safe_load((run.path / "config.yaml").read_text(encoding="utf-8"))
    assert saved["data"] == str(table) and saved["images"] == str(shapes_folder)
    by_folder = headstart.train(shapes_folder, **settings)
    assert run.metrics["fingerprint"] == by_folder.metrics["fingerprint"]
    assert_equal_weights(run, by_folder)
    archive = shutil.make_archive(str(tmp_path / "packed"), "zip", shapes_folder.parent, shapes_folder.name)
    for data, words in ((table, ("--images", shapes_folder)), (Path(archive).as_uri(), ())):
        done = command("evaluate", run.path, data, *words, "--json")
        assert done.code == 0, done.err
        assert json.loads(done.out)["runs"][str(run.path)]["accuracy"]["value"] == run.accuracy
    refused = command("train", shapes_folder, "--images", shapes_folder, *flags_of(settings))
    assert refused.code == 2 and "HS-CONFIG-014" in refused.err


def test_probabilities_of_a_table_train(shapes_folder: Path, tmp_path: Path, tiny: dict[str, Any]) -> None:
    """Soft targets move the probe and the trained weights; ones and zeros train as their folders do."""
    files = sorted(shapes_folder.rglob("*.png"))
    names = sorted({path.parts[-2] for path in files})

    def table(sure: float) -> Path:
        rows = [("path", "split", *names)]
        for path in files:
            shares = [
                f"{sure if name == path.parts[-2] else (1 - sure) / (len(names) - 1):g}" for name in names
            ]
            rows.append((str(path), path.parts[-3], *shares))
        written = tmp_path / f"sure-{sure}.csv"
        with open(written, "w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(rows)
        return written

    settings = {**tiny, "output": tmp_path / "runs"}
    folders, ones, soft = (
        headstart.train(data, **settings) for data in (shapes_folder, table(1), table(0.7))
    )
    assert_equal_weights(folders, ones)
    hard_loss, soft_loss = (float(run.results[0]["train_loss"]) for run in (folders, soft))
    assert soft_loss > hard_loss + 0.1
    entropy = -0.7 * np.log(0.7) - 0.3 * np.log(0.3 / (len(names) - 1))  # of the targets: no loss is lower
    assert all(float(row["train_loss"]) > entropy for row in soft.results)
    assert soft.metrics["fingerprint"] != folders.metrics["fingerprint"]
