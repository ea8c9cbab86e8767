"""The command line: help, JSON, misspelt words, and how fast it answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import headstart
from headstart.cli import app
from headstart.data.views import Views

COMMANDS = ("train", "tune", "evaluate", "val", "predict", "show", "check", "models", "fetch", "demo")
COMMANDS += ("report", "suspects", "threshold", "compare", "explain", "export", "serve")


def python(surroundings: dict[str, str], *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        env={**surroundings, **more},
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        timeout=120,
    )


# --- help -------------------------------------------------------------------------------------------------


def test_the_commands_are_these() -> None:
    assert {name for name in app if not name.startswith("-")} == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(command: Callable[..., Any], name: str) -> None:
    done = command(name, "--help")
    assert done.code == 0
    assert f"Usage: headstart {name} " in done.out
    assert done.err == ""


def test_the_help_of_training_names_every_setting(command: Callable[..., Any]) -> None:
    import dataclasses

    text = command("train", "--help").out
    for field in dataclasses.fields(headstart.TrainConfig):
        assert f"--{field.name.replace('_', '-')}" in text, field.name
    for hidden in ("--imgsz", "--batch"):
        assert hidden in text


def test_version(command: Callable[..., Any]) -> None:
    done = command("--version")
    assert (done.code, done.out.strip()) == (0, headstart.__version__)


def test_no_command_shows_the_help(command: Callable[..., Any]) -> None:
    done = command()
    assert done.code == 0
    assert "Usage: headstart COMMAND" in done.out


# --- nothing slow is imported before it is needed -----------------------------------------------------------

SLOW = ("torch", "torchvision", "timm", "matplotlib", "sklearn", "huggingface_hub", "optuna")


@pytest.mark.parametrize(
    "code",
    [
        "import headstart",
        "import headstart; headstart.Model; headstart.load; headstart.Run; headstart.TrainConfig",
        "from headstart.cli import main; main(['--help'])",
        "from headstart.cli import main; main(['train', '--help'])",
        "from headstart.cli import main; main(['tune', '--help'])",
        "from headstart.cli import main; main(['train', 'x', '--epoch', '3'])",
        "import headstart.data.dataset, headstart.metrics, headstart.evaluation.predictions",
    ],
)
def test_imports_are_lazy(surroundings: dict[str, str], code: str) -> None:
    check = f"{code}\nimport sys\nprint('LOADED', [m for m in {SLOW!r} if m in sys.modules])"
    done = python(surroundings, "-c", check)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "LOADED []"


def test_public_names() -> None:
    assert set(headstart.__all__) <= set(dir(headstart))
    for name in headstart.__all__:
        assert getattr(headstart, name) is not None
    with pytest.raises(AttributeError, match="module 'headstart' has no attribute 'trian'"):
        headstart.trian  # noqa: B018


def test_as_a_module(surroundings: dict[str, str]) -> None:
    done = python(surroundings, "-m", "headstart", "trian")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith('error HS-USAGE-001: Unknown command "trian". Did you mean "train"?')


# --- JSON -------------------------------------------------------------------------------------------------


def only_object(text: str) -> dict[str, Any]:
    """Standard output is exactly one JSON object on one line."""
    assert text.count("\n") == 1
    value = json.loads(text)
    assert isinstance(value, dict)
    return value


def test_json_of_training(
    command: Callable[..., Any],
    shapes_folder: Path,
    tmp_path: Path,
    tiny: dict[str, Any],
    flags_of: Callable[..., list[str]],
) -> None:
    done = command("train", shapes_folder, *flags_of(tiny, output=tmp_path), "--json")
    assert done.code == 0
    found = only_object(done.out)
    assert found["run"] == str(tmp_path / "shapes")
    metrics = json.loads((tmp_path / "shapes" / "metrics.json").read_text(encoding="utf-8"))
    assert {key: found[key] for key in metrics} == metrics
    assert "finetune epoch 2:" in done.err


def test_json_of_the_other_commands(
    command: Callable[..., Any], tiny_run: headstart.Run, shapes_folder: Path, tmp_path: Path
) -> None:
    test = shapes_folder / "test"
    assert set(only_object(command("evaluate", tiny_run.path, "--json").out)) == {"runs"}
    found = only_object(command("predict", tiny_run.path, test, "-o", tmp_path / "a.csv", "--json").out)
    assert found["rows"] == found["ok"] == 12
    found = only_object(command("show", shapes_folder, "-o", tmp_path / "show", "--json").out)
    assert [Path(file).name for file in found["files"]] == ["lesson.png", "classes.png"]
    found = only_object(command("models", "efficientnet-lite0", "--json").out)
    assert found["name"] == "efficientnet-lite0"
    listed = json.loads(command("models", "*lite*", "--json").out)
    assert "efficientnet-lite0" in {model["name"] for model in listed}


@pytest.mark.parametrize(("recipe", "from_originals"), [("default", False), ("d2l", True)])
def test_show_draws_the_views_of_the_recipe(
    command: Callable[..., Any],
    shapes_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    recipe: str,
    from_originals: bool,
) -> None:
    drawn: list[Views] = []

    def draw(views: Views, path: Path, **named: Any) -> None:
        drawn.append(views)

    monkeypatch.setattr("headstart.data.show.draw_class_samples", draw)
    assert command("show", shapes_folder, "-o", tmp_path, "--recipe", recipe).code == 0
    assert [(views.augmentation.name, views.from_originals) for views in drawn] == [(recipe, from_originals)]


def test_json_of_an_error(command: Callable[..., Any], tmp_path: Path) -> None:
    done = command("train", tmp_path / "none", "--json")
    assert done.code == 2
    error = only_object(done.out)["error"]
    assert error["code"] == "HS-DATA-001"
    assert set(error) == {"code", "what", "where", "details", "fix"}
    assert "error HS-DATA-001" in done.err


def test_json_where_standard_output_has_few_letters(
    surroundings: dict[str, str], tiny_run: headstart.Run, tmp_path: Path
) -> None:
    """A pipe on Windows, an old locale."""
    import shutil

    run = tmp_path / "猫"
    shutil.copytree(tiny_run.path, run)
    done = python(surroundings, "-m", "headstart", "evaluate", str(run), "--json", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert list(only_object(done.stdout)["runs"]) == [str(run)]


def test_a_table_and_json_cannot_share_standard_output(
    command: Callable[..., Any], tiny_run: headstart.Run, shapes_folder: Path
) -> None:
    done = command("predict", tiny_run.path, shapes_folder, "--json")
    assert done.code == 2
    assert "error HS-USAGE-004" in done.err


# --- wrong words ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["trian", "x"], 'Unknown command "trian". Did you mean "train"?'),
        (["predct"], 'Did you mean "predict"?'),
        (["train"], "No pictures were given."),
        (["tune"], "No pictures were given."),
        (["train", "x", "--batchsize", "3"], "Unknown option: --batchsize. Did you mean --batch-size?"),
        (
            ["train", "x", "--epochs", "many"],
            'Invalid value for --epochs: unable to convert "many" into int.',
        ),
        (["train", "x", "--epochs"], "--epochs"),
        (["evaluate"], "No run was given."),
        (["predict", "run"], "No pictures were given."),
        (["show", "x", "--fit", "stretch"], "--fit"),
        (["demo", "--strategies", "everything"], "everything"),
    ],
)
def test_wrong_usage(command: Callable[..., Any], words: list[str], text: str) -> None:
    done = command(*words)
    assert done.code == 2
    assert done.out == ""
    assert done.err.startswith("error HS-USAGE-00")
    assert text in done.err
    assert "  to do: " in done.err
    assert "Traceback" not in done.err


def test_the_help_that_is_pointed_to_exists(command: Callable[..., Any]) -> None:
    assert "See `headstart --help`." in command("trian").err
    assert "See `headstart train --help`." in command("train").err
    assert "See `headstart --help`." in command("--nonsense").err


def test_debug_shows_where_an_error_comes_from(command: Callable[..., Any], tmp_path: Path) -> None:
    for words in (["train", tmp_path / "none", "--debug"], ["--debug", "train", tmp_path / "none"]):
        done = command(*words)
        assert done.code == 2
        assert "Traceback (most recent call last)" in done.err
        assert "error HS-DATA-001" in done.err


# --- settings from a file ---------------------------------------------------------------------------------


def test_flags_win_over_the_file_and_the_file_over_defaults(
    command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[headstart.TrainConfig] = []

    def stop(data: object, config: headstart.TrainConfig, resume: object) -> None:
        seen.append(config)
        raise headstart.HeadstartError("HS-X-001", "stop")

    monkeypatch.setattr(headstart, "train", stop, raising=False)
    file = tmp_path / "my.yaml"
    file.write_text("lr: 1e-3\nepochs: 7\nmodel: resnet18\nexclude: [a]\nseed: 5\n", encoding="utf-8")
    for words in (["--config", file], [f"--config={file}"], ["-c", file]):
        command("train", "x", *words, "--epochs", "2", "--seed", "0")
        config = seen.pop()
        assert (config.lr, config.epochs, config.model, config.seed) == (0.001, 2, "resnet18", 0)
        assert config.exclude == ("a",)
    command("train", "x", "--config", file, "--exclude", "b", "--exclude", "c")
    assert seen.pop().exclude == ("b", "c")
    # and the next call knows nothing of the file
    command("train", "x")
    assert seen.pop() == headstart.TrainConfig()


def test_short_and_hidden_names_of_flags(
    command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[headstart.TrainConfig] = []

    def stop(data: object, config: headstart.TrainConfig, resume: object) -> None:
        seen.append(config)
        raise headstart.HeadstartError("HS-X-001", "stop")

    monkeypatch.setattr(headstart, "train", stop, raising=False)
    words = "-m resnet18 -e 3 --batch 8 --imgsz 96 -o out -j 2"
    command("train", "x", *words.split())
    config = seen.pop()
    assert (config.model, config.epochs, config.batch_size) == ("resnet18", 3, 8)
    assert (config.img_size, str(config.output), config.workers) == (96, "out", 2)


def test_a_reader_that_leaves(surroundings: dict[str, str]) -> None:
    """`headstart models | head -1`."""
    if os.name != "posix":
        pytest.skip("needs a shell")
    done = subprocess.run(
        ["bash", "-c", f"'{sys.executable}' -m headstart models lite | head -1"],
        env=surroundings,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr
