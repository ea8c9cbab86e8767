"""Runs and models that were moved, cut short, edited, or are none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from faults.catalogue import Fault, classes

RUN = ("run", "data")


def edited(name: str, change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    """A JSON file of the run, changed."""

    def make(here: Path) -> None:
        path = here / "run" / name
        values = json.loads(path.read_text(encoding="utf-8"))
        change(values)
        path.write_text(json.dumps(values), encoding="utf-8")

    return make


def cut(name: str, keep: float) -> Callable[[Path], None]:
    def make(here: Path) -> None:
        path = here / "run" / name
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * keep)])

    return make


def flipped(name: str) -> Callable[[Path], None]:
    """One bit of the last byte is another one."""

    def make(here: Path) -> None:
        path = here / "run" / name
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)

    return make


def gone(name: str) -> Callable[[Path], None]:
    return lambda here: (here / "run" / name).unlink()


def replaced(name: str, old: str, new: str) -> Callable[[Path], None]:
    def make(here: Path) -> None:
        path = here / "run" / name
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), encoding="utf-8")

    return make


def used(
    name: str,
    make: Callable[[Path], object],
    said: str,
    exit_code: int = 1,
    *,
    command: str = "predict",
    given: tuple[str, ...] = ("run", "data/test"),
    **flags: object,
) -> Fault:
    """A fault of the finished run ``run`` beside the pictures ``data`` that it was trained on."""
    return Fault(name, make, said, exit_code, command=command, given=given, flags=flags)


FAULTS: list[Fault] = [
    used(
        "no such run",
        lambda here: None,
        "HS-PREDICT-001: There is no such run. Did you mean 'run'?\n"
        "  where: runn\n"
        "  - found beside it: run\n"
        "  to do: Give the folder that training printed at its end.",
        given=("runn", "data/test"),
    ),
    used(
        "pictures instead of a run",
        lambda here: None,
        "HS-PREDICT-001: There is no finished model in this folder.\n"
        "  where: data\n"
        "  to do: Name the folder of a run that holds model/model.json.",
        given=("data", "data/test"),
    ),
    used(
        "weights cut short",
        cut("model/model.safetensors", 0.5),
        "HS-MODEL-012: The weights are not those that were saved: the file is damaged or was "
        "exchanged.\n"
        "  where: run/model/model.safetensors\n"
        "  - expected SHA-256 HASH\n"
        "  - found HASH\n"
        "  to do: Copy the model/ folder again from where it was made.",
    ),
    used(
        "weights with one bit changed",
        flipped("model/model.safetensors"),
        "HS-MODEL-012: The weights are not those that were saved: the file is damaged or was "
        "exchanged.\n"
        "  where: run/model/model.safetensors\n"
        "  - expected SHA-256 HASH\n"
        "  - found HASH\n"
        "  to do: Copy the model/ folder again from where it was made.",
    ),
    used(
        "weights that are gone",
        gone("model/model.safetensors"),
        "HS-MODEL-011: The weights of the model are missing or cannot be read.\n"
        "  where: run/model/model.safetensors\n"
        "  to do: Copy the whole model/ folder.",
    ),
    used(
        "description cut short",
        lambda here: (here / "run/model/model.json").write_text('{"format_version": 1, "classes": ["do'),
        "HS-MODEL-011: The card of the model cannot be read: Unterminated string starting at: line 1 "
        "column 35 (char 34).\n"
        "  where: run/model/model.json\n"
        "  to do: Copy the whole model/ folder again.",
    ),
    used(
        "description that is no object",
        lambda here: (here / "run/model/model.json").write_text("[]"),
        "HS-MODEL-011: The card of the model cannot be read: list indices must be integers or "
        "slices, not str.\n"
        "  where: run/model/model.json\n"
        "  to do: Copy the whole model/ folder again.",
    ),
    used(
        "description of no bytes",
        lambda here: (here / "run/model/model.json").write_bytes(b""),
        "HS-MODEL-011: The card of the model cannot be read: Expecting value: line 1 column 1 "
        "(char 0).\n"
        "  where: run/model/model.json\n"
        "  to do: Copy the whole model/ folder again.",
    ),
    used(
        "one class too few",
        edited("model/model.json", lambda card: card["classes"].pop()),
        "HS-MODEL-011: The card of the model cannot be used: its classes are not the 2 of the weights.\n"
        "  where: run/model/model.json\n"
        "  - the card has: dots\n"
        "  to do: Copy the whole model/ folder again.",
    ),
    used(
        "one class twice",
        edited("model/model.json", lambda card: card.update(classes=["dots", "dots"])),
        "HS-MODEL-011: The card of the model cannot be used: ValueError: a class appears twice.\n"
        "  where: run/model/model.json\n"
        "  to do: Copy the whole model/ folder again.",
    ),
    used(
        "no preprocessing",
        edited("model/model.json", lambda card: card.pop("preprocess")),
        "HS-MODEL-011: The card of the model cannot be used: KeyError: 'preprocess'.\n"
        "  where: run/model/model.json\n"
        "  to do: Copy the whole model/ folder again.",
    ),
    used(
        "later format",
        edited("model/model.json", lambda card: card.update(format_version=99)),
        "HS-MODEL-013: The model has format 99; this version of headstart reads up to 1.\n"
        "  where: run/model/model.json\n"
        "  to do: pip install --upgrade headstart",
    ),
    used(
        "folder without pictures",
        lambda here: (here / "none").mkdir(),
        "HS-PREDICT-004: There are no pictures in the folder.\n"
        "  where: none\n"
        "  to do: Name a folder that holds JPEG, PNG, TIFF, WebP, GIF or BMP files.",
        2,
        given=("run", "none"),
    ),
    used(
        "classes that the model does not know",
        lambda here: (
            classes(here / "other", 2, ["dots"]) and (here / "other/dots").rename(here / "other/cats")
        ),
        "HS-DATA-030: These pictures have classes that the model does not know.\n"
        "  where: run\n"
        "  - unknown class: cats\n"
        "  to do: The model knows: dots, rings. Rename the folders, or leave them out with "
        "--exclude.",
        2,
        command="evaluate",
        given=("run", "other"),
    ),
    used(
        "pictures that trained the model",
        lambda here: None,
        "HS-DATA-031: The model was trained on all of these pictures: nothing is left to measure "
        "it on.\n"
        "  where: data/train\n"
        "  to do: Give pictures that it has not seen.",
        2,
        command="evaluate",
        given=("run", "data/train"),
    ),
    used(
        "no predictions",
        gone("predictions.csv"),
        "HS-EVAL-001: There is no table of predictions.\n"
        "  where: run/predictions.csv\n"
        "  to do: Measure the run on pictures: headstart evaluate RUN DATA",
        command="evaluate",
        given=("run",),
    ),
    used(
        "predictions that were edited",
        replaced("predictions.csv", "path,", "file,"),
        "HS-EVAL-002: The table of predictions cannot be used: its columns are not "
        "path,split,truth,prediction,confidence,unknown,unknown_score,prob:CLASS.\n"
        "  where: run/predictions.csv\n"
        "  to do: It was changed by hand or by another program. Measure the run on pictures: "
        "headstart evaluate RUN DATA",
        command="evaluate",
        given=("run",),
    ),
    used(
        "table of pictures that was edited",
        replaced("dataset.csv", "path,", "file,"),
        "HS-RUN-041: The table of pictures cannot be used: its columns are not "
        "path,class,split,group,file_hash,status,reason.\n"
        "  where: run/dataset.csv\n"
        "  to do: It was changed by hand or by another program. Take that of another run, or "
        "train anew.",
        command="evaluate",
        given=("run",),
    ),
    used(
        "figures that are gone",
        gone("metrics.json"),
        "HS-EVAL-001: The figures of the run are not there.\n"
        "  where: run/metrics.json\n"
        "  to do: Measure the run on pictures: headstart evaluate RUN DATA",
        command="evaluate",
        given=("run",),
    ),
    used(
        "figures cut short",
        cut("metrics.json", 0.3),
        "HS-EVAL-002: The figures of the run cannot be used.\n"
        "  where: run/metrics.json\n"
        "  to do: Measure the run on pictures: headstart evaluate RUN DATA",
        command="evaluate",
        given=("run",),
    ),
    used(
        "run that has ended",
        lambda here: None,
        "HS-RUN-022: This run has ended: nothing is left to do.\n"
        "  where: run\n"
        "  to do: Start a new run with its settings: headstart train DATA --config "
        "run/config.yaml",
        command="train",
        given=(),
        resume="run",
    ),
    used(
        "settings beside a run that goes on",
        lambda here: None,
        "HS-CONFIG-010: A run that goes on keeps its settings.\n"
        "  - --epochs is given\n"
        "  to do: Leave these out, or start a new run without --resume.",
        2,
        command="train",
        given=(),
        resume="run",
        epochs=3,
    ),
    used(
        "folder that is no run to go on with",
        lambda here: None,
        "HS-RUN-021: There is no run to go on with in this folder.\n"
        "  where: data\n"
        "  to do: Give the folder of a run that was interrupted after its plan was printed.",
        command="train",
        given=(),
        resume="data",
    ),
    used(
        "run as pictures",
        lambda here: None,
        "HS-DATA-077: This is the folder of a run of headstart: its plots are no pictures to "
        "train on.\n"
        "  where: run\n"
        "  to do: Give the folder that holds the pictures.",
        2,
        command="show",
        given=("run",),
    ),
]
