"""From a folder of pictures to what is better, by how much, and how sure that is."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import headstart
from headstart import comparing, metrics
from headstart.errors import ConfigError, DataError, RunError, UsageError
from headstart.run_evaluation import identified
from shapes import draw_folder


@pytest.fixture(scope="module")
def quick(tiny: dict[str, Any]) -> dict[str, Any]:
    """Settings of trainings of a moment; random weights need no file."""
    return {**tiny, "weights": None, "epochs": 1}


@pytest.fixture(scope="module")
def compared(
    shapes_folder: Path, tiny: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> headstart.Compared:
    """The three strategies with two seeds each. Not to be changed."""
    output = tmp_path_factory.mktemp("compared") / "runs"
    return headstart.compare(shapes_folder, seeds=2, output=output, **{**tiny, "epochs": 1})


def rows_of(found: headstart.Compared) -> list[dict[str, str]]:
    with open(found.path / "comparison.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


CELLS = [f"{name}-seed{seed}" for seed in (0, 1) for name in ("finetune", "probe", "scratch")]


def test_a_folder_with_a_run_for_each_cell(compared: headstart.Compared) -> None:
    assert compared.path.name == "compare-shapes"
    found = sorted(path.name for path in compared.path.iterdir())
    files = ["compare.yaml", "comparison.csv", "comparison.json", "comparison.png", "log.txt"]
    assert found == sorted([*CELLS, *files])
    for cell in CELLS:
        assert headstart.Run(compared.path / cell).metrics["accuracy"]["n"] == 12
        assert (compared.path / cell / "model" / "model.safetensors").is_file()


def test_the_figures_are_those_of_the_runs(compared: headstart.Compared) -> None:
    result = compared.result
    assert (result["n"], result["seeds"], result["equal"]) == (12, 2, "pictures")
    for row in rows_of(compared):
        run = headstart.Run(compared.path / row["run"])
        assert float(row["accuracy"]) == run.accuracy
        assert (row["state"], row["seed"]) == ("complete", row["run"][-1])
    for variant in result["variants"]:
        each = [headstart.Run(compared.path / f"{variant['variant']}-seed{s}").accuracy for s in (0, 1)]
        assert variant["accuracies"] == pytest.approx(each)
        assert variant["accuracy"] == pytest.approx(np.mean(each))
        assert variant["n"] == 12
    assert len(result["differences"]) == 3
    for pair in result["differences"]:
        by_name = {one["variant"]: one["accuracy"] for one in result["variants"]}
        assert pair["value"] == pytest.approx(by_name[pair["a"]] - by_name[pair["b"]])
        assert pair["interval_95"][0] <= pair["value"] <= pair["interval_95"][1]


def test_the_same_pictures_are_reported_and_as_many_seen(compared: headstart.Compared) -> None:
    reported = set()
    for cell in CELLS:
        run = headstart.Run(compared.path / cell)
        reported.add(frozenset(identified(run.predictions.of_split("test"), run.path).paths))
    assert len(reported) == 1
    assert {row["epochs"] for row in rows_of(compared) if row["strategy"] != "probe"} == {"1"}
    seen = {row["strategy"]: row["pictures_seen"] for row in rows_of(compared)}
    assert seen["finetune"] == seen["scratch"] == "18"


def test_the_log_says_it_for_a_person(compared: headstart.Compared) -> None:
    log = (compared.path / "log.txt").read_text(encoding="utf-8")
    assert "all have the same number of pictures: 1 epoch; a probe sees each training picture once" in log
    assert "probe: without --epochs, --batch-size" in log
    assert "scratch: without --weights" in log
    assert compared.result["differences"][0]["sentence"] in log
    assert "probe, seed 1 (5 of 6)" in log


def test_ended_runs_are_kept_and_more_seeds_added(
    compared: headstart.Compared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stop after four runs: the others are trained, and with another seed two sets more."""
    folder = tmp_path / "compare-shapes"
    shutil.copytree(compared.path, folder)
    shutil.rmtree(folder / "scratch-seed1")
    (folder / "comparison.json").unlink()
    trained = []
    train = comparing.train

    def counted(data: Any, config: Any, **named: Any) -> headstart.Run:
        trained.append(config.name)
        return train(data, config, **named)

    monkeypatch.setattr(comparing, "train", counted)
    again = headstart.compare(resume=folder)
    assert trained == ["scratch-seed1"]
    assert again.path == folder
    ours, theirs = again.result, compared.result
    assert ours["differences"] == theirs["differences"]
    more = headstart.compare(resume=again, seeds=3)
    assert trained[1:] == ["finetune-seed2", "probe-seed2", "scratch-seed2"]
    assert (more.result["seeds"], len(rows_of(more))) == (3, 9)
    with pytest.raises(ConfigError) as raised:
        headstart.compare(resume=folder, lr="0.1", epochs=3)
    assert raised.value.code == "HS-CONFIG-010"
    assert raised.value.details == ("--epochs is given", "--lr is given")


def test_ctrl_c_keeps_what_has_ended(
    shapes_folder: Path, quick: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    train, done = comparing.train, []

    def stopped(data: Any, config: Any, **named: Any) -> headstart.Run:
        if done:
            raise KeyboardInterrupt
        done.append(config.name)
        return train(data, config, **named)

    monkeypatch.setattr(comparing, "train", stopped)
    found = headstart.compare(
        shapes_folder, strategies="scratch", lr=(1e-3, 1e-2), seeds=1, output=tmp_path / "runs", **quick
    )
    assert found.interrupted
    assert f"to go on: headstart compare --resume {found.path}" in capsys.readouterr().err
    assert not (found.path / "comparison.json").exists()
    monkeypatch.setattr(comparing, "train", train)
    whole = headstart.compare(resume=found)
    assert not whole.interrupted
    assert [one["variant"] for one in whole.result["variants"]] != []
    assert whole.result["seeds"] == 1


def test_single_seeds_are_compared_by_mcnemar_on_the_command_line(
    shapes_folder: Path, quick: dict[str, Any], tmp_path: Path, command: Any, flags_of: Any
) -> None:
    """Exercise 1 in one command."""
    flags = flags_of(quick, recipe="d2l", strategy="scratch", output=tmp_path / "runs", name="rates")
    done = command("compare", shapes_folder, "--lr", "1e-4,1e-3", "--seeds", 1, "--json", *flags)
    assert done.code == 0, done.err
    told = json.loads(done.out)
    folder = Path(told["comparison"])
    assert folder == tmp_path / "runs" / "compare-rates"
    right = [
        headstart.Run(folder / f"lr-{rate}-seed0").predictions.of_split("test").correct
        for rate in ("0.0001", "0.001")
    ]
    (pair,) = told["differences"]
    assert pair["p_value"] == metrics.mcnemar(*right)
    assert "One seed each" in done.err


def test_seeds_differ_in_the_seed_alone(compared: headstart.Compared) -> None:
    for name in ("finetune", "probe", "scratch"):
        one, other = (
            yaml.safe_load((compared.path / f"{name}-seed{seed}" / "config.yaml").read_text(encoding="utf-8"))
            for seed in (0, 1)
        )
        different = {key for key in one if one[key] != other.get(key)} - {"measured"}
        assert different == {"seed", "name"}


def test_a_variant_that_fails_is_left_out_and_said(
    shapes_folder: Path, quick: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = comparing.train

    def failing(data: Any, config: Any, **named: Any) -> headstart.Run:
        if config.lr == 9.0:
            raise RunError("HS-RUN-040", "The loss is not finite.")
        return train(data, config, **named)

    monkeypatch.setattr(comparing, "train", failing)
    settings = {**quick, "strategies": "scratch", "seeds": 1, "output": tmp_path}
    found = headstart.compare(shapes_folder, lr=(1e-3, 1e-2, 9.0), **settings)
    assert len(found.result["variants"]) == 2
    assert found.result["notes"] == [
        "lr-9.0-seed0 could not be trained (HS-RUN-040: The loss is not finite.): its variant is left out"
    ]
    assert [row["state"] for row in rows_of(found)] == ["complete", "complete", "failed"]
    with pytest.raises(RunError) as raised:
        headstart.compare(shapes_folder, lr=(1e-3, 9.0), **settings)
    assert raised.value.code == "HS-EVAL-020"
    assert raised.value.what == "Fewer than two variants could be trained: there is nothing to compare."


def test_pictures_that_change_between_runs_are_refused(quick: dict[str, Any], tmp_path: Path) -> None:
    data = draw_folder(tmp_path / "shapes", {"train": 4, "test": 3})
    settings = {"strategies": "scratch", "lr": (1e-3, 1e-2), "seeds": 1, "output": tmp_path / "runs"}
    found = headstart.compare(data, **settings, **quick)
    shutil.copy(data / "train" / "dots" / "000.png", data / "train" / "rings" / "new.png")
    with pytest.raises(DataError) as raised:
        headstart.compare(resume=found, seeds=2)
    assert raised.value.code == "HS-DATA-018"
    assert raised.value.what == "The pictures are not those that the first run was trained on."


def test_wrong_usage_is_refused_before_anything_is_made(shapes_folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "runs"
    with pytest.raises(UsageError) as nothing:
        headstart.compare(output=output)
    assert nothing.value.code == "HS-USAGE-005"
    for lists, code in (
        ({"recipes": "none"}, "HS-CONFIG-045"),
        ({"img_size": "auto"}, "HS-CONFIG-046"),
        ({"seeds": 0}, "HS-CONFIG-002"),
        ({"folds": 3}, "HS-CONFIG-007"),
        ({"draws": 3}, "HS-CONFIG-007"),
        ({"learning_curve": True, "seeds": 3, "epochs": 2}, "HS-CONFIG-047"),
    ):
        with pytest.raises(ConfigError) as raised:
            headstart.compare(shapes_folder, output=output, **lists)
        assert raised.value.code == code
    assert raised.value.details == (
        "--seeds compares, and --learning-curve does not",
        "--epochs is of a training, and a probe has none",
    )
    assert not output.exists()


def test_a_learning_curve(tmp_path: Path, tiny: dict[str, Any], command: Any, flags_of: Any) -> None:
    data = draw_folder(tmp_path / "shapes", {"train": 24, "test": 12})
    settings = {name: tiny[name] for name in ("model", "weights", "img_size", "threads", "workers")}
    flags = flags_of(settings, output=tmp_path / "runs")
    done = command("compare", data, "--learning-curve", "--draws", 3, "--json", *flags)
    assert done.code == 0, done.err
    told = json.loads(done.out)
    folder = Path(told["comparison"])
    assert sorted(path.name for path in folder.iterdir()) == [
        f"learning-curve.{kind}" for kind in ("csv", "json", "png")
    ]
    assert told["sizes"][-1]["train_pictures"] == 72
    assert (told["split"], told["twice"]["n"], told["draws"]) == ("test", 36, 3)
    low, high = told["twice"]["interval_95"]
    assert low < high
    assert told["twice"]["sentence"] in done.err
    probe = headstart.train(data, strategy="probe", output=tmp_path / "runs", **settings)
    # Features in the training's number format here, fp32 there: single pictures may differ.
    assert told["sizes"][-1]["accuracy"] == pytest.approx(probe.accuracy, abs=0.06)


def test_a_learning_curve_of_few_pictures_is_refused(
    shapes_folder: Path, tmp_path: Path, tiny: dict[str, Any]
) -> None:
    settings = {name: tiny[name] for name in ("model", "weights", "img_size")}
    with pytest.raises(DataError) as raised:
        headstart.compare(shapes_folder, learning_curve=True, output=tmp_path / "runs", **settings)
    assert raised.value.code == "HS-EVAL-021"
    assert not (tmp_path / "runs").exists()


def test_with_a_budget_further_seeds_repeat_the_plan(
    shapes_folder: Path, tiny: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {**tiny, "epochs": None, "budget": "60s", "threads": None}
    found = headstart.compare(
        shapes_folder, strategies="finetune,probe", seeds=2, output=tmp_path / "runs", **settings
    )
    assert found.result["equal"] == "time"
    assert "all have the same time: 60s for each run" in capsys.readouterr().err
    for name in ("finetune", "probe"):
        one, other = (
            yaml.safe_load((found.path / f"{name}-seed{seed}" / "config.yaml").read_text(encoding="utf-8"))
            for seed in (0, 1)
        )
        names = one["plan"] if name == "finetune" else ("stages", "trains_from", "train_pictures")
        assert [one["plan"][key] for key in names] == [other["plan"][key] for key in names]
        assert [one[way] for way in comparing.WAYS] == [other[way] for way in comparing.WAYS]
