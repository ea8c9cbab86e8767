"""Trackers: TensorBoard's event files, and hooks that hear of a whole run."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

import headstart
from headstart.errors import ConfigError, MissingExtraError
from headstart.event_files import EventFiles
from headstart.training.progress import Epoch

CURVES = {
    "loss/train": "train_loss",
    "loss/val": "val_loss",
    "accuracy/train": "train_accuracy",
    "accuracy/val": "val_accuracy",
    "learning_rate/backbone": "lr_backbone",
    "learning_rate/head": "lr_head",
    "speed/images_per_second": "images_per_second",
    "speed/seconds_per_epoch": "seconds",
}


def shown(folder: Path) -> EventAccumulator:
    """What TensorBoard reads in a folder."""
    found = EventAccumulator(str(folder))
    found.Reload()
    return found


def curve(folder: Path, tag: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in shown(folder).Scalars(tag)]


def text(folder: Path, name: str) -> list[str]:
    events = shown(folder).Tensors(f"{name}/text_summary")
    return [event.tensor_proto.string_val[0].decode() for event in events]


def hyperparameters(folder: Path, tag: str) -> HParamsPluginData:
    content = shown(folder).SummaryMetadata(f"_hparams_/{tag}").plugin_data.content
    return HParamsPluginData.FromString(content)


def event_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*tfevents*"))


# --- TensorBoard ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tracked(
    shapes_folder: Path, tiny: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> headstart.Run:
    output = tmp_path_factory.mktemp("tracked") / "runs"
    return headstart.train(shapes_folder, output=output, track="tensorboard", **tiny)


def test_every_column_of_the_results_is_a_curve(tracked: headstart.Run) -> None:
    assert [row["stage"] for row in tracked.results] == ["probe", "finetune", "finetune"]
    for tag, column in CURVES.items():
        told = [(int(row["epoch"]), float(row[column])) for row in tracked.results]
        assert curve(tracked.path, tag) == [(step, pytest.approx(value)) for step, value in told]
    assert text(tracked.path, "stage") == ["probe", "finetune"]


def test_the_settings_are_text_and_hyperparameters(tracked: headstart.Run) -> None:
    (settings,) = text(tracked.path, "settings")
    assert "    model: test_efficientnet\n" in settings
    assert "    plan:\n" in settings
    start = hyperparameters(tracked.path, "session_start_info").session_start_info.hparams
    assert start["batch_size"].number_value == 8
    assert start["model"].string_value == "test_efficientnet"
    assert start["calibrate"].bool_value is True or start["calibrate"].number_value == 1
    assert not {"output", "name", "data", "track"} & set(start)
    (compared,) = hyperparameters(tracked.path, "experiment").experiment.metric_infos
    assert compared.name.tag == "final/accuracy"
    assert hyperparameters(tracked.path, "session_end_info").session_end_info.status == 1  # success


def test_the_figures_stand_at_the_end_with_their_intervals(tracked: headstart.Run) -> None:
    accuracy = tracked.metrics["accuracy"]
    assert curve(tracked.path, "final/accuracy") == [(2, pytest.approx(accuracy["value"]))]
    (figures,) = text(tracked.path, "figures")
    low, high = accuracy["interval_95"]
    assert f"| accuracy | {accuracy['value']:.3f} ({low:.3f} to {high:.3f}, n = 12) |" in figures
    assert "| nll |" in figures


def test_nothing_else_about_a_run_changes(
    tracked: headstart.Run, shapes_folder: Path, tmp_path: Path, tiny: dict[str, Any]
) -> None:
    plain = headstart.train(shapes_folder, output=tmp_path, **tiny)
    assert not event_files(plain.path)
    weights = "model/model.safetensors"
    assert (plain.path / weights).read_bytes() == (tracked.path / weights).read_bytes()
    (file,) = event_files(tracked.path)
    assert file.name.endswith(".headstart")  # and not the name of this machine


def test_what_is_not_measured_has_no_point(shapes_folder: Path, tmp_path: Path, tiny: dict[str, Any]) -> None:
    run = headstart.train(
        shapes_folder, output=tmp_path, track="tensorboard", refit="all", **{**tiny, "epochs": 1}
    )
    rows = [row for row in run.results if row["stage"] == "refit"]
    assert rows and all(math.isnan(float(row["val_loss"])) for row in rows[1:])
    told = [(int(row["epoch"]), pytest.approx(float(row["train_loss"]))) for row in rows]
    assert curve(run.path, "refit_loss/train") == told
    assert "refit_loss/val" not in shown(run.path).Tags()["scalars"] or len(told) > len(
        curve(run.path, "refit_loss/val")
    )
    assert len(curve(run.path, "loss/train")) == 2  # the first training is as it was


@pytest.mark.parametrize("epoch", [0, 2])
def test_a_run_that_goes_on_has_one_curve(
    shapes_folder: Path, tmp_path: Path, tiny: dict[str, Any], epoch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headstart.training.checkpoint.EVERY", 0.0)

    def interrupt(row: Epoch) -> None:
        if row.epoch == epoch:
            raise KeyboardInterrupt

    fields = {**tiny, "epochs": 4}
    begun = headstart.train(shapes_folder, output=tmp_path, track="tensorboard", hook=interrupt, **fields)
    assert begun.interrupted
    assert "| accuracy |" in text(begun.path, "figures of the best model so far")[0]
    assert "_hparams_/session_end_info" not in shown(begun.path).summary_metadata
    run = headstart.train(resume=begun.path)
    assert len(event_files(run.path)) == 1
    for tag in ("loss/train", "accuracy/val", "learning_rate/head"):
        told = [(int(r["epoch"]), pytest.approx(float(r[CURVES[tag]]))) for r in run.results]
        assert curve(run.path, tag) == told
        assert [step for step, _ in told] == [0, 1, 2, 3, 4]
    assert curve(run.path, "final/accuracy") == [(4, pytest.approx(run.accuracy))]
    for name in ("figures", "settings"):
        assert len(text(run.path, name)) == 1
    assert text(run.path, "stage") == ["probe", "finetune"]
    assert "figures of the best model so far/text_summary" not in shown(run.path).Tags()["tensors"]


def test_each_fold_has_its_own(shapes_folder: Path, tmp_path: Path, tiny: dict[str, Any]) -> None:
    run = headstart.train(
        shapes_folder, output=tmp_path, track="tensorboard", folds=2, strategy="probe",
        **{name: value for name, value in tiny.items() if name not in ("epochs", "batch_size")},
    )  # fmt: skip
    assert [len(event_files(run.path / "folds" / name)) for name in "12"] == [1, 1]


def test_the_flag_and_the_file_name_it(
    shapes_folder: Path, tmp_path: Path, tiny_weights: Path, command: Any
) -> None:
    words = ("--model", "test_efficientnet", "--weights", tiny_weights, "--img-size", 64)
    outcome = command(
        "train", shapes_folder, *words, "--strategy", "probe", "--track", "tensorboard", "-o", tmp_path
    )
    assert outcome.code == 0, outcome.err
    (run,) = tmp_path.iterdir()
    assert len(event_files(run)) == 1
    assert "track: tensorboard" in (run / "config.yaml").read_text()
    again = command("train", shapes_folder, "--config", run / "config.yaml", "--name", "again")
    assert again.code == 0, again.err
    assert len(event_files(tmp_path / "again")) == 1


def test_an_unknown_tracker_is_refused(shapes_folder: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        headstart.train(shapes_folder, track="mlflow")
    assert str(caught.value) == (
        "HS-CONFIG-003: A setting has the wrong type.\n"
        "  - track must be tensorboard, but is 'mlflow'\n"
        "  to do: See `headstart train --help`."
    )


def without_tensorboard(name: str, *rest: Any) -> Any:
    return None if name == "tensorboard" else find_spec(name, *rest)


find_spec = importlib.util.find_spec


@pytest.mark.parametrize("task", [headstart.train, headstart.compare, headstart.tune])
def test_a_missing_package_is_said_before_anything_is_done(
    shapes_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: Any
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", without_tensorboard)
    with pytest.raises(MissingExtraError) as caught:
        task(shapes_folder, output=tmp_path / "runs", track="tensorboard")
    assert str(caught.value) == (
        "HS-INSTALL-001: --track tensorboard needs packages that are not installed.\n"
        '  to do: pip install "headstart[track]"'
    )
    assert not (tmp_path / "runs").exists()


# --- faults -----------------------------------------------------------------------------------------------


def run_to_the_end(
    data: Path, output: Path, tiny: dict[str, Any], capsys: pytest.CaptureFixture[str], **more: Any
) -> tuple[headstart.Run, str]:
    """A run, which must be whole, and the one warning of its trackers."""
    run = headstart.train(data, output=output, **tiny, **more)
    assert [row["epoch"] for row in run.results] == ["0", "1", "2"]
    assert run.metrics["n"] == 12
    said = [line for line in capsys.readouterr().err.splitlines() if "HS-TRACK" in line]
    assert len(said) == 1
    assert said[0] in (run.path / "log.txt").read_text()
    return run, said[0]


def raise_fault(*what: object) -> None:
    raise ConnectionError("the server is down")


@pytest.mark.parametrize("method", ["begin_run", "__call__", "end_run"])
def test_tensorboard_that_raises_is_switched_off(
    shapes_folder: Path,
    tmp_path: Path,
    tiny: dict[str, Any],
    method: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(EventFiles, method, raise_fault)
    run, said = run_to_the_end(shapes_folder, tmp_path, tiny, capsys, track="tensorboard")
    assert said == (
        "warning: HS-TRACK-001: --track tensorboard raised ConnectionError: the server is down. "
        "It is switched off."
    )
    if method == "end_run":
        assert len(curve(run.path, "loss/train")) == 3  # what was written before stays


@pytest.mark.parametrize("epoch", [0, 1, 2])
def test_a_full_disk_costs_the_event_file_only(
    shapes_folder: Path,
    tmp_path: Path,
    tiny: dict[str, Any],
    epoch: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fill(row: Epoch) -> None:
        if row.epoch == epoch:
            (file,) = event_files(tmp_path / "full")
            file.rename(file.with_name("before"))
            file.symlink_to("/dev/full")

    fields = {"track": "tensorboard", "name": "full", "hook": fill}
    _, said = run_to_the_end(shapes_folder, tmp_path, tiny, capsys, **fields)
    assert said.startswith("warning: HS-TRACK-001: --track tensorboard raised OSError: [Errno 28]")


def test_the_users_hook_is_not_switched_off_with_the_tracker(
    shapes_folder: Path,
    tmp_path: Path,
    tiny: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(EventFiles, "__call__", raise_fault)
    rows: list[Epoch] = []
    run_to_the_end(shapes_folder, tmp_path, tiny, capsys, track="tensorboard", hook=rows.append)
    assert [row.epoch for row in rows] == [0, 1, 2]


# --- hooks that hear of more ------------------------------------------------------------------------------


class Diary:
    """Notes all that it is told; raises where asked to."""

    def __init__(self, fault: str = "", row: int = 0) -> None:
        self.notes: list[tuple[str, Any]] = []
        self.fault, self.row = fault, row

    def note(self, name: str, what: Any) -> None:
        self.notes.append((name, what))
        if name == self.fault and (name != "row" or what == self.row):
            raise RuntimeError("no more pages")

    def begin_run(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.note("begin", (folder, settings))

    def known_rows(self, rows: Sequence[Epoch]) -> None:
        self.note("known", [row.epoch for row in rows])

    def __call__(self, row: Epoch) -> None:
        self.note("row", row.epoch)

    def end_run(self, metrics: Mapping[str, Any] | None) -> None:
        self.note("end", metrics)


def test_a_hook_may_hear_of_the_start_and_the_end(
    shapes_folder: Path, tmp_path: Path, tiny: dict[str, Any]
) -> None:
    diary = Diary()
    run = headstart.train(shapes_folder, output=tmp_path, hook=diary, **tiny)
    (_, (folder, settings)), *rows, (_, metrics) = diary.notes
    assert folder == run.path
    assert settings["batch_size"] == 8
    assert settings["plan"]["stages"] == ["probe", "finetune"]
    assert rows == [("row", 0), ("row", 1), ("row", 2)]
    assert metrics["accuracy"]["value"] == run.accuracy


@pytest.mark.parametrize(("fault", "row"), [("begin", 0), ("row", 0), ("row", 2), ("end", 0)])
def test_a_hook_that_raises_hears_no_more(
    shapes_folder: Path,
    tmp_path: Path,
    tiny: dict[str, Any],
    fault: str,
    row: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    diary = Diary(fault, row)
    _, said = run_to_the_end(shapes_folder, tmp_path, tiny, capsys, hook=diary)
    assert said == (
        "warning: HS-TRACK-001: the epoch hook raised RuntimeError: no more pages. It is switched off."
    )
    name, what = diary.notes[-1]
    assert name == fault and (name != "row" or what == row)


def test_a_run_that_fails_ends_without_figures(
    shapes_folder: Path, tmp_path: Path, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*rest: object, **named: object) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr("headstart.run.evaluate_trained", fail)
    diary = Diary()
    with pytest.raises(MemoryError):
        headstart.train(shapes_folder, output=tmp_path, hook=diary, track="tensorboard", **tiny)
    assert [name for name, _ in diary.notes] == ["begin", "row", "row", "row", "end"]
    assert diary.notes[-1] == ("end", None)


def test_a_hook_hears_which_rows_a_run_keeps(
    shapes_folder: Path, tmp_path: Path, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headstart.training.checkpoint.EVERY", 0.0)

    def interrupt(row: Epoch) -> None:
        if row.epoch == 2:
            raise KeyboardInterrupt

    begun = headstart.train(shapes_folder, output=tmp_path, hook=interrupt, **{**tiny, "epochs": 3})
    diary = Diary()
    headstart.train(resume=begun.path, hook=diary)
    names = [name for name, _ in diary.notes]
    assert names[:2] == ["begin", "known"]
    kept = diary.notes[1][1]
    assert kept and [what for name, what in diary.notes if name == "row"] == [
        epoch for epoch in range(4) if epoch not in kept
    ]
