"""Settings: from flags, YAML and keywords; every fault told, with the nearest name."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml

from headstart.config import TrainConfig, from_mapping, read_yaml, to_mapping, with_absolute_paths
from headstart.errors import ConfigError
from headstart.notation import crop_of


def refused(call: Any, *arguments: Any, **named: Any) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        call(*arguments, **named)
    assert caught.value.exit_code == 2
    return caught.value


CROP = "crop must be LEFT,TOP,WIDTH,HEIGHT in pixels, or in fractions within the picture, but is"
RANGES = [
    ({"epochs": -1}, "epochs must be 0 or more, but is -1"),
    ({"lr": 0.0}, "lr must be above 0, or find, but is 0.0"),
    ({"lr": -1e-3}, "lr must be above 0, or find, but is -0.001"),
    ({"lr": float("nan")}, "lr must be above 0, or find, but is nan"),
    ({"batch_size": 0}, "batch_size must be 1 or more, but is 0"),
    ({"img_size": 31}, "img_size must be 32 or more, or auto, but is 31"),
    *(
        ({"crop": crop}, f"{CROP} {crop!r}")
        for crop in ("1,2,3", "a,0,1,1", "0,0,0,5", "-1,0,5,5", "0.5,0,0.6,1", "0,0,10.5,10", "0,0,nan,1")
    ),
    ({"threads": 0}, "threads must be 1 or more, but is 0"),
    ({"workers": 0}, "workers must be 1 or more, but is 0"),
    ({"gpus": 0}, "gpus must be all, or 1 or more, but is 0"),
    ({"seed": -1}, "seed must be 0 or more, but is -1"),
    ({"name": ""}, "name must be one folder name, but is ''"),
    ({"name": "a/b"}, "name must be one folder name, but is 'a/b'"),
    ({"name": ".."}, "name must be one folder name, but is '..'"),
]


@pytest.mark.parametrize(("values", "text"), RANGES)
def test_ranges(values: dict[str, Any], text: str) -> None:
    error = refused(TrainConfig, **values)
    to_do = "  to do: See `headstart train --help`."
    assert str(error) == f"HS-CONFIG-002: A setting is out of range.\n  - {text}\n{to_do}"
    assert refused(from_mapping, values).details == (text,)


def test_crops() -> None:
    assert crop_of("10, 0,300,200") == (10, 0, 300, 200)
    assert crop_of("0.1,0,.9,1") == (0.1, 0, 0.9, 1)
    assert crop_of("0.7,0,0.3,1") == (0.7, 0, 0.3, 1)  # a sum that rounds to more than 1 in binary


def test_paths_hold_in_every_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    given = TrainConfig(images=Path("pictures"), exclude_list=Path("/a/b.csv"), output=Path("runs"))
    kept = with_absolute_paths(given)
    assert (kept.images, kept.exclude_list) == (tmp_path / "pictures", Path("/a/b.csv"))
    assert (kept.weights, kept.output) == (None, Path("runs"))


def test_all_ranges_at_once() -> None:
    error = refused(TrainConfig, epochs=-1, lr=-1.0, workers=0)
    assert error.details == (
        "epochs must be 0 or more, but is -1",
        "lr must be above 0, or find, but is -1.0",
        "workers must be 1 or more, but is 0",
    )


def test_the_smallest_values_pass() -> None:
    TrainConfig(epochs=1, lr=1e-30, batch_size=1, img_size=32, threads=1, workers=1, seed=0, name="a b.c")


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"epochs": "ten"}, "epochs must be a whole number, but is 'ten'"),
        ({"epochs": 2.0}, "epochs must be a whole number, but is 2.0"),
        ({"epochs": True}, "epochs must be a whole number, but is True"),
        ({"seed": None}, "seed must be a whole number, but is None"),
        ({"gpus": "some"}, "gpus must be all or a whole number, but is 'some'"),
        ({"gpus": True}, "gpus must be all or a whole number, but is True"),
        ({"lr": "fast"}, "lr must be a number or find, but is 'fast'"),
        ({"lr": True}, "lr must be a number or find, but is True"),
        ({"lr": [1]}, "lr must be a number or find, but is [1]"),
        ({"model": 5}, "model must be a text, but is 5"),
        ({"model": None}, "model must be a text, but is None"),
        ({"weights": 5}, "weights must be a path, but is 5"),
        ({"strategy": "prob"}, "strategy must be one of finetune, probe, scratch, but is 'prob'"),
        ({"fit": "stretch"}, "fit must be one of crop, pad, squash, but is 'stretch'"),
        ({"precision": "fp16"}, "precision must be one of fp32, bf16, but is 'fp16'"),
        ({"precision": 32}, "precision must be one of fp32, bf16, but is 32"),
        ({"head_init": "ones"}, "head_init must be one of probe, xavier, zeros, but is 'ones'"),
        ({"head_from": "hotdog"}, "head_from must be a list, but is 'hotdog'"),
        ({"exclude": 3}, "exclude must be a list, but is 3"),
    ],
)
def test_types(values: dict[str, Any], text: str) -> None:
    error = refused(from_mapping, values, where="my.yaml")
    assert str(error) == (
        "HS-CONFIG-003: A setting has the wrong type.\n"
        "  where: my.yaml\n"
        f"  - {text}\n"
        "  to do: See `headstart train --help`."
    )


def test_unknown_names_get_the_nearest() -> None:
    error = refused(from_mapping, {"epoch": 3, "learning_rate": 1, "Batch_Size": 8, 7: 1}, where="my.yaml")
    assert str(error) == (
        "HS-CONFIG-001: There is no such setting.\n"
        "  where: my.yaml\n"
        "  - unknown setting 'epoch'. Did you mean 'epochs'?\n"
        "  - unknown setting 'learning_rate'.\n"
        "  - unknown setting 'Batch_Size'. Did you mean 'batch_size'?\n"
        "  - unknown setting 7.\n"
        "  to do: See `headstart train --help`."
    )


def test_faults_of_all_kinds_at_once() -> None:
    error = refused(from_mapping, {"lr": -1, "epochs": "ten", "sed": 1, "workers": 0})
    assert error.code == "HS-CONFIG-001"
    assert error.what == "Several settings cannot be used."
    assert error.details == (
        "epochs must be a whole number, but is 'ten'",
        "unknown setting 'sed'. Did you mean 'seed'?",
        "lr must be above 0, or find, but is -1.0",
        "workers must be 1 or more, but is 0",
    )


def test_plain_values_become_the_fields_types() -> None:
    config = from_mapping(
        {"lr": 1, "output": "out", "exclude": ["a", 5], "weights": None, "epochs": 3, "fit": None}
    )
    assert config == TrainConfig(lr=1.0, output=Path("out"), exclude=("a", "5"), epochs=3)
    assert isinstance(config.lr, float)


def test_yaml_reads_1e_3_as_text_and_it_is_a_number_all_the_same(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("lr: 1e-3\nepochs: 2\n", encoding="utf-8")
    values = read_yaml(file)
    assert values["lr"] == "1e-3"
    assert from_mapping(values).lr == 0.001


def test_notes_of_a_run_are_left_out(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("data: /x\nseed: 3\nplan:\n  total_steps: 7\nversions: {}\n", encoding="utf-8")
    assert read_yaml(file) == {"seed": 3}


def test_an_empty_file_sets_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("# nothing\n", encoding="utf-8")
    assert read_yaml(tmp_path / "a.yaml") == {}


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "The file of settings cannot be read: No such file or directory."),
        (
            b"a: [1",
            "The file of settings cannot be read: line 1: expected ',' or ']', but got '<stream end>'.",
        ),
        (b"\xff\xfe\x00", "The file of settings cannot be read: it is not UTF-8."),
        (b"- 1\n- 2\n", "The file of settings is no list of `name: value` lines."),
        (b"seed", "The file of settings is no list of `name: value` lines."),
    ],
)
def test_files_that_are_no_settings(tmp_path: Path, content: bytes | None, text: str) -> None:
    file = tmp_path / "a.yaml"
    if content is not None:
        file.write_bytes(content)
    error = refused(read_yaml, file)
    assert error.code == "HS-CONFIG-004"
    assert error.what.startswith(text)
    assert error.where == str(file)


def test_settings_survive_yaml() -> None:
    config = TrainConfig(
        model="torchvision/resnet18",
        weights=Path("w.pth"),
        strategy="scratch",
        freeze="5",
        head_from=("a=1", "b=2"),
        head_init="zeros",
        epochs=3,
        lr=1e-5,
        name="猫 2024",
        seed=7,
        exclude=("*.tif",),
        fit="pad",
        precision="fp32",
        output=Path("some where"),
    )
    text = yaml.safe_dump(to_mapping(config), allow_unicode=True)
    assert from_mapping(yaml.safe_load(text)) == config
    assert from_mapping(yaml.safe_load(yaml.safe_dump(to_mapping(TrainConfig())))) == TrainConfig()


def test_each_field_has_its_help() -> None:
    """The text below a field is its help; a field without one would have no row in the reference."""
    import ast
    import inspect

    (node,) = ast.parse(inspect.getsource(TrainConfig)).body
    assert isinstance(node, ast.ClassDef)
    documented = {
        field.target.id
        for field, text in zip(node.body, node.body[1:], strict=False)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
    }
    assert documented == {field.name for field in dataclasses.fields(TrainConfig)}
