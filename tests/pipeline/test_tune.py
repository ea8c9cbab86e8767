"""From a folder of pictures to the best of several trials, trained and evaluated as an ordinary run."""

from __future__ import annotations

import csv
import json
import shutil
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
from headstart import run_training, search, tuning
from headstart.data.views import Views
from headstart.errors import ConfigError, DataError, ModelError, RunError, UsageError
from headstart.training.train import Trainer
from shapes import draw_folder

FIELDS = ("lr", "freeze")
ORDINARY = {
    "config.yaml",
    "confusion.png",
    "curves.png",
    "dataset.csv",
    "findings.json",
    "leaks.csv",
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


def rows_of(run: headstart.Run | Path, name: str = "trials.csv") -> list[dict[str, str]]:
    folder = run.path if isinstance(run, headstart.Run) else run
    with open(folder / name, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def weights(run: headstart.Run) -> dict[str, torch.Tensor]:
    return load_file(run.model / "model.safetensors")


def assert_equal_weights(one: headstart.Run, other: headstart.Run) -> None:
    ours, theirs = weights(one), weights(other)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.fixture(scope="module")
def quick(tiny: dict[str, Any]) -> dict[str, Any]:
    """Settings without a probe, whose cross-validation takes longest here."""
    return {**tiny, "head_init": "xavier"}


@pytest.fixture(scope="module")
def looked_at() -> dict[str, list[Any]]:
    """What the search that `tuned` made looked at."""
    return {"views": [], "predicted": []}


@pytest.fixture(scope="module")
def tuned(
    shapes_folder: Path,
    tiny: dict[str, Any],
    tmp_path_factory: pytest.TempPathFactory,
    looked_at: dict[str, list[Any]],
) -> headstart.Run:
    """Three trials of a small network. Not to be changed."""
    patch = pytest.MonkeyPatch()
    for name in ("evaluation", "random"):
        plain: Callable[..., Any] = getattr(Views, name)

        def seen(self: Views, index: int, *rest: Any, plain: Callable[..., Any] = plain) -> Any:
            looked_at["views"].append(str(self.dataset.splits[index]))
            return plain(self, index, *rest)

        patch.setattr(Views, name, seen)
    table_of = run_training.table_of

    def predicted(model: Any, dataset: Any, ids: Any, *rest: Any, **named: Any) -> Any:
        looked_at["predicted"].append(sorted(set(dataset.splits[np.asarray(ids)])))
        return table_of(model, dataset, ids, *rest, **named)

    patch.setattr(run_training, "table_of", predicted)
    folder = tmp_path_factory.mktemp("tuned")
    patch.setenv("HEADSTART_HOME", str(folder / "home"))  # nothing is known from other tests
    try:
        return headstart.tune(shapes_folder, trials=3, fields=FIELDS, output=folder / "runs", **tiny)
    finally:
        patch.undo()


def test_an_ordinary_run_and_the_record_of_the_search(tuned: headstart.Run) -> None:
    found = {path.relative_to(tuned.path).as_posix() for path in tuned.path.rglob("*") if path.is_file()}
    assert found == ORDINARY | {"study.db", "trials.csv", "tune.yaml"}
    assert [path.name for path in tuned.path.parent.iterdir()] == ["shapes"]
    assert not tuned.interrupted
    assert tuned.metrics["accuracy"]["n"] == 12
    assert tuned.metrics["selected_on"] is False


def test_the_reported_pictures_are_looked_at_once(
    tuned: headstart.Run, looked_at: dict[str, list[Any]]
) -> None:
    """By the evaluation of the run at the end; no trial sees a view of them."""
    assert looked_at["predicted"] == [["selection", "test"]]
    assert set(looked_at["views"]) == {"train", "selection"}


def test_the_first_trial_is_the_settings_as_given(
    tuned: headstart.Run, shapes_folder: Path, tiny: dict[str, Any], tmp_path: Path
) -> None:
    rows = rows_of(tuned)
    assert [row["trial"] for row in rows] == ["1", "2", "3"]
    assert {row["state"] for row in rows} == {"complete"}
    assert (float(rows[0]["lr"]), rows[0]["freeze"]) == (3e-4, "stage4")
    plain = headstart.train(shapes_folder, output=tmp_path, **tiny)
    log = (plain.path / "log.txt").read_text(encoding="utf-8")
    assert f"(accuracy {float(rows[0]['accuracy']):.3f}, loss {float(rows[0]['loss']):.3f} on 6 sel" in log


def test_the_best_is_chosen_by_the_rule_and_is_what_the_run_has(tuned: headstart.Run) -> None:
    rows = rows_of(tuned)
    best = min(rows, key=lambda row: (-int(row["correct"]), float(row["loss"])))
    config = yaml.safe_load((tuned.path / "config.yaml").read_text(encoding="utf-8"))
    assert (config["lr"], config["freeze"]) == (float(best["lr"]), best["freeze"])
    outcome = search.outcome_of(tuned)
    assert (outcome["trials"], outcome["failed"]) == (3, 0)
    assert outcome["best"]["trial"] == int(best["trial"])
    assert outcome["best"]["settings"] == {"lr": float(best["lr"]), "freeze": best["freeze"]}
    assert outcome["best"]["accuracy"] == {
        "value": int(best["correct"]) / 6,
        "n": 6,
        "interval_95": [float(best["low_95"]), float(best["high_95"])],
    }
    assert outcome["best"]["selected_on"] is True
    # the run at the end ended as the trial did
    selection = [row for row in rows_of(tuned, "predictions.csv") if row["split"] == "selection"]
    assert sum(row["truth"] == row["prediction"] for row in selection) == int(best["correct"])
    log = (tuned.path / "log.txt").read_text(encoding="utf-8")
    assert f"loss {float(best['loss']):.3f} on 6 selection pictures)" in log


def test_what_is_said(tuned: headstart.Run) -> None:
    log = (tuned.path / "log.txt").read_text(encoding="utf-8")
    assert "search: 3 trials, each judged on 6 selection pictures" in log
    assert "trial 1 of 3: lr 0.0003, freeze stage4" in log
    assert "The selection accuracy of the best of 3 trials is optimistic" in log
    assert f"The reported one, {tuned.accuracy:.3f} (" in log
    assert "nothing was chosen on its pictures" in log
    assert "1 (as given)" in log
    assert log.count("accuracy (n = 6)") == 1


def test_the_printed_command_repeats_it(
    tuned: headstart.Run, tmp_path: Path, command: Callable[..., Any]
) -> None:
    import shlex

    log = (tuned.path / "log.txt").read_text(encoding="utf-8")
    line = next(line for line in log.splitlines() if line.startswith("the same again: "))
    words = shlex.split(line.removeprefix("the same again: "))
    assert words[:2] == ["headstart", "train"]
    words[words.index("--output") + 1] = str(tmp_path)
    assert command(*words[1:]).code == 0
    assert_equal_weights(tuned, headstart.Run(tmp_path / "shapes"))


# --- going on ---------------------------------------------------------------------------------------------

TUNE_KILLED = textwrap.dedent(
    """
    import json, os, signal, sys
    import headstart
    from headstart.training.train import Trainer

    data, fields, killed_at = json.loads(sys.argv[1])
    numbers = iter(range(1, 100))
    plain = Trainer.train

    def train(self):
        if next(numbers) == killed_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return plain(self)

    Trainer.train = train
    headstart.tune(data, trials=3, fields=["lr", "freeze"], **fields)
    """
)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_killed_search_ends_as_an_uninterrupted_one(
    tuned: headstart.Run,
    shapes_folder: Path,
    tmp_path: Path,
    tiny: dict[str, Any],
    surroundings: dict[str, str],
) -> None:
    words = json.dumps([str(shapes_folder), {**tiny, "output": str(tmp_path / "runs")}, 3])
    done = subprocess.run([sys.executable, "-c", TUNE_KILLED, words], env=surroundings, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    folder = tmp_path / "runs" / "shapes"
    assert len(rows_of(folder)) == 2
    assert not (folder / "config.yaml").exists()
    run = headstart.tune(resume=folder)
    assert run.path == folder
    ours = [{**row, "seconds": ""} for row in rows_of(run)]
    assert ours == [{**row, "seconds": ""} for row in rows_of(tuned)]
    assert_equal_weights(run, tuned)
    assert search.outcome_of(run)["trials"] == 3
    with pytest.raises(RunError) as caught:
        headstart.tune(resume=folder)
    assert caught.value.code == "HS-RUN-022"


def interrupts(patch: pytest.MonkeyPatch, at: int) -> None:
    """Ctrl-C in the trial of that number."""
    plain = Trainer.train
    numbers = iter(range(1, 100))

    def train(self: Trainer) -> Any:
        if next(numbers) == at:
            raise KeyboardInterrupt
        return plain(self)

    patch.setattr(Trainer, "train", train)


def test_ctrl_c_finishes_with_the_best_so_far(
    shapes_folder: Path,
    tmp_path: Path,
    quick: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    command: Callable[..., Any],
    flags_of: Callable[..., list[str]],
) -> None:
    interrupts(monkeypatch, at=2)
    words = flags_of(quick, output=tmp_path, trials=9, fields="lr")
    done = command("tune", shapes_folder, *words, "--json")
    assert done.code == 130
    found = json.loads(done.out)
    assert found["tuning"]["trials"] == 1
    assert found["accuracy"]["n"] == 12
    assert "interrupted: the best settings so far are kept" in done.err


def test_ctrl_c_in_the_first_trial_leaves_nothing(
    shapes_folder: Path, tmp_path: Path, quick: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupts(monkeypatch, at=1)
    with pytest.raises(KeyboardInterrupt):
        headstart.tune(shapes_folder, trials=2, output=tmp_path / "runs", **quick)
    assert not (tmp_path / "runs").exists()


def test_a_list_after_errors_in_a_trial_and_in_the_run_at_the_end(
    shapes_folder: Path, tmp_path: Path, quick: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault of headstart or of the machine ends the search; it goes on, with more trials if asked to."""
    pictures = [
        (str(path), path.parent.name, path.parent.parent.name) for path in sorted(shapes_folder.glob("*/*/*"))
    ]
    plain = Trainer.train
    numbers = iter(range(1, 100))

    def train(self: Trainer) -> Any:
        if next(numbers) in (2, 5):
            raise OSError("the machine is on fire")
        return plain(self)

    monkeypatch.setattr(Trainer, "train", train)
    with pytest.raises(OSError, match="on fire"):
        headstart.tune(pictures, trials=2, fields="lr", output=tmp_path, **quick)
    folder = tmp_path / "pictures"
    with pytest.raises(UsageError, match="begun with a list"):
        headstart.tune(resume=folder)
    with pytest.raises(DataError, match="not those that the run began with"):
        headstart.tune(pictures[1:], resume=folder)
    with pytest.raises(OSError, match="on fire"):
        headstart.tune(pictures, trials=3, resume=folder)
    assert (folder / "config.yaml").exists()
    run = headstart.tune(pictures, resume=folder)
    assert [row["trial"] for row in rows_of(run)] == ["1", "2", "3"]
    assert next(numbers) == 7
    log = (run.path / "log.txt").read_text(encoding="utf-8")
    assert "the same again: headstart.train(data, " in log


def test_a_search_that_goes_on_keeps_its_settings(tuned: headstart.Run, tmp_path: Path) -> None:
    for changed in ({"lr": 1e-3}, {"fields": ["lr"]}):
        with pytest.raises(ConfigError) as caught:
            headstart.tune(resume=tuned.path, **changed)
        assert caught.value.code == "HS-CONFIG-010"
    with pytest.raises(RunError) as missing:
        headstart.tune(resume=tmp_path)
    assert missing.value.code == "HS-RUN-021"
    shutil.copy(tuned.path / "tune.yaml", tmp_path)
    (tmp_path / "tune.yaml").write_text("trials: 3\n", encoding="utf-8")
    with pytest.raises(ConfigError) as damaged:
        headstart.tune(resume=tmp_path)
    assert damaged.value.code == "HS-CONFIG-004"


# --- faults -----------------------------------------------------------------------------------------------


def test_a_trial_that_fails_is_counted(
    shapes_folder: Path, tmp_path: Path, quick: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Trainer.train

    def train(self: Trainer) -> Any:
        if self.plan.recipe.lr == 3e-4:
            raise RunError("HS-RUN-010", "The loss is not finite.")
        return plain(self)

    monkeypatch.setattr(Trainer, "train", train)
    run = headstart.tune(shapes_folder, trials=2, fields=["lr"], output=tmp_path, **quick)
    assert [row["state"] for row in rows_of(run)] == ["failed", "complete"]
    assert rows_of(run)[0]["error"] == "HS-RUN-010: The loss is not finite."
    assert search.outcome_of(run)["failed"] == 1
    assert "1 trial, 1 more failed" in (run.path / "log.txt").read_text(encoding="utf-8")


def test_all_trials_fail(
    shapes_folder: Path, tmp_path: Path, quick: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(self: Trainer) -> Any:
        raise RunError("HS-RUN-011", "The memory does not suffice.")

    monkeypatch.setattr(Trainer, "train", train)
    with pytest.raises(RunError, match="None of 2 trials could be trained") as caught:
        headstart.tune(shapes_folder, trials=2, fields=["lr"], output=tmp_path, **quick)
    assert caught.value.code == "HS-RUN-026"
    assert caught.value.details == ("HS-RUN-011: The memory does not suffice.",)


@pytest.mark.parametrize(
    ("given", "code", "text"),
    [
        ({"trials": 0}, "HS-CONFIG-002", "trials must be 1 or more, but is 0"),
        ({"timeout": "soon"}, "HS-CONFIG-002", "such as 90s, 10m or 1h30m, but is 'soon'"),
        ({"timeout": 0}, "HS-CONFIG-002", "timeout must be a time above 0"),
        ({"fields": "lr,epocs"}, "HS-CONFIG-012", "Did you mean 'epochs'?"),
        ({"fields": ["epochs"]}, "HS-CONFIG-007", "--epochs 2 is given, and --fields asks to search epochs"),
        ({"recipe": "d2l"}, "HS-CONFIG-013", "--recipe d2l trains on all training pictures"),
        ({"strategy": "probe", "epochs": None, "batch_size": None}, "HS-CONFIG-013", "--strategy probe"),
        ({"augment": "dihedrl"}, "HS-CONFIG-006", "dihedral"),
    ],
)
def test_refused_before_anything_is_read(
    tmp_path: Path, tiny: dict[str, Any], given: dict[str, Any], code: str, text: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        headstart.tune(tmp_path / "none", output=tmp_path / "runs", **{**tiny, **given})
    assert caught.value.code == code
    assert text in str(caught.value)
    assert not (tmp_path / "runs").exists()


def test_too_few_pictures_to_choose_on(tmp_path: Path, tiny: dict[str, Any]) -> None:
    data = draw_folder(tmp_path / "few", {"train": 2, "test": 2})
    with pytest.raises(ConfigError, match="no pictures to choose settings on") as caught:
        headstart.tune(data, output=tmp_path / "runs", **tiny)
    assert caught.value.code == "HS-CONFIG-013"
    assert not (tmp_path / "runs").exists()


def test_a_stage_that_does_not_exist(shapes_folder: Path, tmp_path: Path, tiny: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="has no stage 'stage99'"):
        headstart.tune(shapes_folder, output=tmp_path / "runs", freeze="stage99", **tiny)
    assert not (tmp_path / "runs").exists()


# --- the search -------------------------------------------------------------------------------------------


def test_trials_with_the_same_cut_and_views_share_them(
    shapes_folder: Path, tmp_path: Path, quick: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from headstart.model.features import FrozenPart

    computed: list[int] = []
    plain = FrozenPart._computed

    def counted(self: FrozenPart, view: Any, items: Any) -> Any:
        computed.append(len(items))
        return plain(self, view, items)

    monkeypatch.setattr(FrozenPart, "_computed", counted)
    headstart.tune(shapes_folder, trials=3, fields="lr", output=tmp_path, **quick)
    # Once, for three trials and the run at the end; and training pictures as they are and mirrored.
    assert sum(computed) == 6 + 8 * 18 + 2 * 18


def test_input_sizes_and_the_time(
    shapes_folder: Path, tmp_path: Path, quick: dict[str, Any], command: Callable[..., Any]
) -> None:
    size = {name: value for name, value in quick.items() if name != "img_size"}
    run = headstart.tune(shapes_folder, trials=2, fields="img-size", output=tmp_path, freeze="4", **size)
    chosen = [int(row["img_size"]) for row in rows_of(run)]
    assert chosen[0] == 160  # the network's own
    assert len(set(chosen)) == 2
    run = headstart.tune(shapes_folder, timeout=1e-6, fields="lr", output=tmp_path, **quick)
    assert len(rows_of(run)) == 1
    assert "the time is used up after 1 trial" in (run.path / "log.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("10m", 600), ("1h30m", 5400), ("45", 45), (2.5, 2.5), ("0.5", 0.5)]
)
def test_times(text: float | str, seconds: float) -> None:
    assert tuning.timeout_seconds(text) == seconds


def test_tuning_without_optuna(
    shapes_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Callable[..., Any]
) -> None:
    from importlib.util import find_spec

    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "optuna" else find_spec(name)
    )
    done = command("tune", shapes_folder, "--output", tmp_path / "runs")
    assert done.code == 1
    assert "HS-INSTALL-001: Tuning needs packages" in done.err
    assert 'pip install "headstart[tune]"' in done.err
    assert not (tmp_path / "runs").exists()


def test_settings_from_a_file_and_flags(
    command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[Any] = []

    def stop(data: object, config: headstart.TrainConfig, **named: Any) -> None:
        seen.append((config, named))
        raise headstart.HeadstartError("HS-X-001", "stop")

    monkeypatch.setattr(headstart, "tune", stop, raising=False)
    (tmp_path / "my.yaml").write_text("lr: 1e-3\nepochs: 7\n", encoding="utf-8")
    words = "--epochs 2 --trials 5 --fields freeze,augment --timeout 10m"
    command("tune", "x", "--config", tmp_path / "my.yaml", *words.split())
    config, named = seen.pop()
    assert (config.lr, config.epochs) == (0.001, 2)
    assert named == {"trials": 5, "fields": "freeze,augment", "timeout": "10m", "resume": None}
