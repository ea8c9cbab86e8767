"""A bundle with a changed byte, or a card that says something else, is not taken for the saved model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import headstart

pytest.importorskip("onnx")


@pytest.fixture(scope="module")
def exported(tiny_run: headstart.Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run with an exported model. Not to be changed."""
    folder = Path(shutil.copytree(tiny_run.path, tmp_path_factory.mktemp("changed") / "run"))
    headstart.export(folder)
    return folder


@pytest.fixture
def run(exported: Path, tmp_path: Path) -> Path:
    """A copy that may be changed."""
    return Path(shutil.copytree(exported, tmp_path / "run"))


def amend(run: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = run / "model" / "model.json"
    card = json.loads(path.read_text("utf-8"))
    change(card)
    path.write_text(json.dumps(card), "utf-8")


def spoil(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


COMMANDS = {
    "predict": ("predict", "RUN", "PICTURES", "-o", "OUT.csv"),
    "predict torch": ("predict", "RUN", "PICTURES", "-o", "OUT.csv", "--backend", "torch"),
    "evaluate": ("evaluate", "RUN", "PICTURES"),
    "explain": ("explain", "RUN", "PICTURES", "-o", "OUT"),
    "export": ("export", "RUN"),
    "timm": ("export", "RUN", "--to", "timm", "-o", "OUT"),
    "serve": ("serve", "RUN", "--port", "0"),
    "serve torch": ("serve", "RUN", "--port", "0", "--backend", "torch"),
}


def foreign_network(card: dict[str, Any]) -> None:
    """timm would fetch this and build what is described there."""
    card["backbone"]["architecture"] = "hf-hub:someone/something"


def local_network(card: dict[str, Any]) -> None:
    card["backbone"]["architecture"] = "local-dir:/etc"


def fewer_classes(card: dict[str, Any]) -> None:
    card["classes"] = card["classes"][:2]


WEIGHTS = ("predict torch", "evaluate", "explain", "export", "timm", "serve torch")


@pytest.mark.parametrize(
    ("what", "code", "names"),
    [
        ("model.safetensors", "HS-MODEL-012", WEIGHTS),
        (
            "unknown.safetensors",
            "HS-PREDICT-030",
            ("predict", "predict torch", "evaluate", "explain", "export", "serve", "serve torch"),
        ),
        (foreign_network, "HS-MODEL-011", WEIGHTS),
        (local_network, "HS-MODEL-011", WEIGHTS),
        (fewer_classes, "HS-MODEL-011", ("predict torch", "evaluate", "explain", "export", "timm")),
    ],
    ids=lambda value: getattr(value, "__name__", value if isinstance(value, str) else ""),
)
def test_no_command_takes_a_changed_model(
    run: Path,
    shapes_folder: Path,
    tmp_path: Path,
    command: Callable[..., Any],
    what: str | Callable[[dict[str, Any]], None],
    code: str,
    names: tuple[str, ...],
) -> None:
    if isinstance(what, str):
        spoil(run / "model" / what)
    else:
        amend(run, what)
    places = {
        "RUN": run,
        "PICTURES": shapes_folder / "test",
        "OUT": tmp_path / "out",
        "OUT.csv": tmp_path / "o.csv",
    }
    before = {path: path.read_bytes() for path in (run / "model").iterdir()}
    for name in names:
        done = command(*(places.get(word, word) for word in COMMANDS[name]))
        assert (done.code, done.err.splitlines()[-1:] != []) == (1, True), name
        assert f"error {code}: " in done.err, (name, done.err)
    assert {path: path.read_bytes() for path in (run / "model").iterdir()} == before


def test_an_exported_model_that_was_changed_is_said_and_not_run(
    run: Path, shapes_folder: Path, tmp_path: Path, command: Callable[..., Any]
) -> None:
    spoil(run / "model" / "model.onnx")
    for words in (("predict", run, shapes_folder / "test", "-o", tmp_path / "o.csv"), ("serve", run)):
        done = command(*words, "--backend", "onnx")
        assert done.code == 1 and "error HS-PREDICT-041: " in done.err
        assert "damaged, or not the one that was exported" in done.err


def test_a_card_names_no_other_file_for_an_export_to_carry_away(
    run: Path, tmp_path: Path, command: Callable[..., Any]
) -> None:
    """The statistics of unknown pictures go into the file: the own ones, wherever a card points."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"nobody's business")
    amend(run, lambda card: card["unknown"].update(file=str(secret)))
    assert command("export", run).code == 0
    import base64

    data = (run / "model" / "model.onnx").read_bytes()
    assert base64.b64encode(secret.read_bytes()) not in data
    assert headstart.load(run / "model" / "model.onnx").detector is not None
