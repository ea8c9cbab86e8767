"""`headstart train --budget`: the plan fits the time, is saved, and can be run again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.torch import load_file

import headstart
from headstart.config import from_mapping, read_yaml
from headstart.errors import ConfigError
from headstart.training import planning
from headstart.training.budget import Budget, Pace


def slow(monkeypatch: pytest.MonkeyPatch, **seconds: float) -> None:
    """A machine on which a picture takes so long."""
    paces = {"frozen": 0.0, "step": 0.0, "above": 0.0, "exact": 0.0, **seconds}
    monkeypatch.setattr(planning.Stopwatch, "pace", lambda watch, way: Pace(**paces))


def test_enough_time_is_the_whole_recipe(shapes_folder: Path, tmp_path: Path, tiny: dict[str, Any]) -> None:
    settings = {name: value for name, value in tiny.items() if name != "epochs"}
    run = headstart.train(shapes_folder, output=tmp_path, budget="10m", **settings)
    saved = yaml.safe_load((run.path / "config.yaml").read_text(encoding="utf-8"))
    assert (saved["epochs"], saved["views"], saved["budget"]) == (12, 8, None)
    assert saved["measured"]["budget"] == "10m"
    assert saved["measured"]["seconds"]["finetune"] > 0
    assert "from here on of 10m: " in (run.path / "log.txt").read_text(encoding="utf-8")


def test_less_time_is_fewer_views_and_epochs_that_can_be_run_again(
    shapes_folder: Path, tmp_path: Path, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {name: value for name, value in tiny.items() if name != "epochs"}
    slow(monkeypatch, step=0.5)  # 18 pictures: 9 seconds per epoch
    run = headstart.train(shapes_folder, output=tmp_path, budget="1m", **settings)
    saved = yaml.safe_load((run.path / "config.yaml").read_text(encoding="utf-8"))
    assert 3 <= saved["epochs"] <= 6
    assert saved["views"] < 8
    assert len(run.results) == 1 + saved["epochs"]
    monkeypatch.undo()
    config = from_mapping(read_yaml(run.path / "config.yaml"))
    again = headstart.train(shapes_folder, config, name="again")
    one, two = (load_file(r.model / "model.safetensors") for r in (run, again))
    assert all((one[name] == two[name]).all() for name in one)


def test_little_time_is_the_probe(
    shapes_folder: Path, tmp_path: Path, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {name: value for name, value in tiny.items() if name != "epochs"}
    slow(monkeypatch, step=100.0)
    run = headstart.train(shapes_folder, output=tmp_path, budget="1m", **settings)
    assert [row["stage"] for row in run.results] == ["probe"]
    assert "kept: the probe, as 1m do not suffice to fine-tune" in (run.path / "log.txt").read_text("utf-8")
    config = from_mapping(read_yaml(run.path / "config.yaml"))
    assert config.epochs == 0
    again = headstart.train(shapes_folder, config, name="again")
    one, two = (load_file(r.model / "model.safetensors") for r in (run, again))
    assert all((one[name] == two[name]).all() for name in one)


def test_too_little_time_even_for_the_probe(
    shapes_folder: Path,
    tmp_path: Path,
    tiny: dict[str, Any],
    flags_of: Callable[..., list[str]],
    command: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slow(monkeypatch, above=1.0)
    output = tmp_path / "runs"
    flags = flags_of(tiny, epochs=None, budget="10s", output=output)
    done = command("train", shapes_folder, *flags)
    assert done.code == 2
    text = "error HS-CONFIG-011: The budget of 10s does not suffice even for a probe: that takes about "
    assert text in done.err
    assert "  to do: Give more time: --budget " in done.err
    assert not output.exists()


def test_training_that_takes_longer_than_it_was_measured_ends_early(
    shapes_folder: Path, tmp_path: Path, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {name: value for name, value in tiny.items() if name != "epochs"}
    budgets: list[Budget] = []
    begin = Budget.__init__

    def begun(budget: Budget, *arguments: Any) -> None:
        begin(budget, *arguments)
        budgets.append(budget)

    def an_hour_passes(row: Any) -> None:
        if row.epoch == 3:
            budgets[0].started -= 3600

    monkeypatch.setattr(Budget, "__init__", begun)
    run = headstart.train(shapes_folder, output=tmp_path, budget="10m", hook=an_hour_passes, **settings)
    assert [row["epoch"] for row in run.results] == ["0", "1", "2", "3"]
    log = (run.path / "log.txt").read_text(encoding="utf-8")
    assert "stopped after 9 of 36 steps: the time is used up" in log
    assert run.metrics["accuracy"]["n"] == 12
    assert run.metrics["refit"] == "none"


def test_epochs_and_a_budget_contradict_each_other() -> None:
    with pytest.raises(ConfigError, match="--budget chooses the epochs: leave out --budget or --epochs"):
        headstart.train("nowhere", budget="10s", epochs=3)
    with pytest.raises(ConfigError, match="--epochs 0 leaves the probe, but there is none"):
        headstart.train("nowhere", strategy="scratch", epochs=0)


def seconds_of(run: headstart.Run) -> dict[str, float]:
    saved = yaml.safe_load((run.path / "config.yaml").read_text(encoding="utf-8"))
    return dict(saved["measured"]["seconds"])


def test_a_second_run_knows_what_the_first_one_left(
    shapes_folder: Path, tmp_path: Path, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """18 pictures train, 6 are selected on, 12 reported; a view takes a second."""
    slow(monkeypatch, frozen=1.0)
    settings = {**tiny, "output": tmp_path}
    first = seconds_of(headstart.train(shapes_folder, **settings))
    assert (round(first["probe"]), first["finetune"]) == (24, 18 * 8)
    second = seconds_of(headstart.train(shapes_folder, **settings))
    assert second == pytest.approx({**first, "probe": first["probe"] - 24, "finetune": 0.0}, abs=0.11)
    other_views = seconds_of(headstart.train(shapes_folder, seed=1, **settings))
    assert other_views == pytest.approx({**second, "finetune": 18 * 8}, abs=0.11)
    more_views = seconds_of(headstart.train(shapes_folder, views=10, **settings))
    assert more_views == pytest.approx({**second, "finetune": 18 * 2}, abs=0.11)
    without = seconds_of(headstart.train(shapes_folder, cache=0, **settings))
    assert without == first
    other_format = seconds_of(headstart.train(shapes_folder, memory_format="contiguous", **settings))
    assert other_format["finetune"] == first["finetune"]


def test_so_does_a_second_refit_and_a_second_budget(
    shapes_folder: Path, tmp_path: Path, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    slow(monkeypatch, frozen=1.0)
    settings = {**tiny, "output": tmp_path, "refit": "all"}
    first = seconds_of(headstart.train(shapes_folder, **settings))
    assert first["refit"] == pytest.approx(18 * 9, abs=1)  # all views of 18 more pictures
    second = seconds_of(headstart.train(shapes_folder, **settings))
    assert second["refit"] == pytest.approx(first["refit"] - 18 * 9, abs=0.11)
    left_open = {name: value for name, value in settings.items() if name not in ("epochs", "refit")}
    run = headstart.train(shapes_folder, budget="30s", **left_open)
    assert len(run.results) > 1  # a probe's views alone would take 24 seconds, and others 144
