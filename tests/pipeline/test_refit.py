"""`--refit`: once the choice is made, the pictures that it was made on train too."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

import headstart
from headstart.errors import ConfigError, DataError
from headstart.training import fit as fit_module
from headstart.training import refit as refit_module
from headstart.training.train import Trainer


def weights(run: headstart.Run) -> dict[str, Any]:
    return load_file(run.model / "model.safetensors")


def equal(one: headstart.Run, two: headstart.Run) -> bool:
    other = weights(two)
    return all(bool((tensor == other[name]).all()) for name, tensor in weights(one).items())


@pytest.fixture
def trained_on(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pictures each training had."""
    counts: list[int] = []
    train = Trainer.train

    def counted(trainer: Trainer) -> Any:
        counts.append(len(trainer.train_ids))
        return train(trainer)

    monkeypatch.setattr(Trainer, "train", counted)
    return counts


@pytest.fixture
def last_epoch_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit_module, "is_better", lambda row, best: row.epoch > 0)


@pytest.mark.usefixtures("last_epoch_wins")
def test_the_selection_part_trains_before_the_result_is_measured(
    shapes_folder: Path, tmp_path: Path, tiny: dict[str, Any], trained_on: list[int]
) -> None:
    plain = headstart.train(shapes_folder, output=tmp_path, **tiny)
    run = headstart.train(shapes_folder, output=tmp_path, refit="train", **tiny)
    assert trained_on == [18, 18, 24]
    assert [row["stage"] for row in run.results] == ["probe", "finetune", "finetune"] + ["refit"] * 3
    assert [row["train_loss"] for row in run.results[:3]] == [row["train_loss"] for row in plain.results]
    assert [row["val_accuracy"] for row in run.results[4:]] == ["nan", "nan"]
    assert set(run.predictions.splits) == {"test"}  # nothing that trained is left in the figures
    assert run.metrics["refit"] == "train"
    assert json.loads((run.model / "model.json").read_text("utf-8"))["refit"] == "train"
    assert not equal(run, plain)
    figures = headstart.load(run.path).predict([shapes_folder / path for path in run.predictions.paths])
    kept = run.predictions.probabilities.max(1)
    assert [one.confidence for one in figures] == pytest.approx(kept.tolist(), abs=1e-6)


def test_without_a_clear_win_of_fine_tuning_nothing_trains_again(
    shapes_folder: Path,
    tmp_path: Path,
    tiny: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    trained_on: list[int],
) -> None:
    monkeypatch.setattr(fit_module, "is_better", lambda row, best: False)
    run = headstart.train(shapes_folder, output=tmp_path, refit="train", **tiny)
    assert trained_on == [18]
    assert run.metrics["refit"] == "none"
    assert set(run.predictions.splits) == {"test", "selection"}


def test_everything_trains_after_the_result_was_measured(
    shapes_folder: Path, tmp_path: Path, tiny: dict[str, Any], trained_on: list[int]
) -> None:
    plain = headstart.train(shapes_folder, output=tmp_path, **tiny)
    run = headstart.train(shapes_folder, output=tmp_path, refit="all", **tiny)
    assert trained_on == [18, 18, 36]
    assert run.metrics["accuracy"] == plain.metrics["accuracy"]
    assert run.predictions.probabilities.tolist() == plain.predictions.probabilities.tolist()
    assert run.metrics["refit"] == "all"
    assert not equal(run, plain)
    with pytest.raises(DataError, match="HS-DATA-031"):
        headstart.evaluate(run, data=shapes_folder)


def test_the_mix_that_was_chosen_is_made_again(
    shapes_folder: Path, tmp_path: Path, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[Any, Any, float]] = []
    mixed = refit_module.mixed

    def recorded(start: Any, end: Any, share: float) -> Any:
        seen.append((start, end, share))
        return mixed(start, end, share)

    monkeypatch.setattr(refit_module, "mixed", recorded)
    # the first candidate, a quarter of the last epoch
    monkeypatch.setattr(fit_module, "is_better", lambda row, best: best.epoch == 0)
    run = headstart.train(shapes_folder, output=tmp_path, refit="all", **tiny)
    assert run.metrics["share"] == 0.25
    ((start, end, share),) = seen
    assert share == 0.25
    assert not (start["head.weight"] == end["head.weight"]).all()
    expected = start["head.weight"].lerp(end["head.weight"], 0.25)
    assert (weights(run)["head.weight"] == expected).all()


def test_a_probe_has_no_selection_part(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--strategy probe trains on all training pictures"):
        headstart.train("nowhere", strategy="probe", refit="train")


@pytest.mark.usefixtures("last_epoch_wins")
def test_an_interrupted_refit_keeps_the_model_before_and_goes_on(
    shapes_folder: Path, tmp_path: Path, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = headstart.train(shapes_folder, output=tmp_path / "whole", refit="train", **tiny)
    monkeypatch.setattr("headstart.training.checkpoint.EVERY", 0.0)
    plain = headstart.train(shapes_folder, output=tmp_path / "plain", **tiny)
    whole_forward = Trainer.forward_of

    def stopping(trainer: Trainer, network: Any) -> Callable[..., Any]:
        forward = whole_forward(trainer, network)
        calls = iter(range(5))

        def stopped(inputs: Any) -> Any:
            if trainer.stage == "refit" and next(calls, None) is None:
                raise KeyboardInterrupt
            return forward(inputs)

        return stopped

    monkeypatch.setattr(Trainer, "forward_of", stopping)
    run = headstart.train(shapes_folder, output=tmp_path / "stopped", refit="train", **tiny)
    assert run.interrupted
    assert equal(run, plain)
    monkeypatch.setattr(Trainer, "forward_of", whole_forward)
    done = headstart.train(resume=run.path)
    assert not done.interrupted
    assert all((weights(done)[name] == tensor).all() for name, tensor in weights(whole).items())
    assert [(r["stage"], r["epoch"]) for r in done.results] == [
        (r["stage"], r["epoch"]) for r in whole.results
    ]


@pytest.mark.usefixtures("last_epoch_wins")
@pytest.mark.parametrize("which", ["train", "all"])
def test_the_hook_is_called_for_the_rows_of_a_refit(
    shapes_folder: Path, tmp_path: Path, tiny: dict[str, Any], which: str
) -> None:
    seen: list[tuple[str, str]] = []
    run = headstart.train(
        shapes_folder,
        output=tmp_path,
        hook=lambda row: seen.append((row.stage, str(row.epoch))),
        refit=which,
        **tiny,
    )
    assert seen == [(row["stage"], row["epoch"]) for row in run.results]
    assert [stage for stage, _ in seen] == ["probe", "finetune", "finetune"] + ["refit"] * 3


@pytest.mark.usefixtures("last_epoch_wins")
def test_a_hook_that_raised_once_stays_off_in_the_refit(
    shapes_folder: Path, tmp_path: Path, tiny: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[str] = []

    def hook(row: headstart.Epoch) -> None:
        seen.append(row.stage)
        raise ValueError("no more")

    headstart.train(shapes_folder, output=tmp_path, hook=hook, refit="train", **tiny)
    assert seen == ["probe"]
    assert capsys.readouterr().err.count("the epoch hook raised ValueError: no more") == 1
