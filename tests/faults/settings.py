"""Settings that do not exist, are out of range, or contradict each other."""

from __future__ import annotations

from pathlib import Path

from faults.catalogue import Fault, classes, file


def data(here: Path) -> None:
    classes(here / "data", 3)


def setting(name: str, said: str, exit_code: int = 2, command: str = "train", /, **flags: object) -> Fault:
    return Fault(name, data, said, exit_code, command=command, flags=flags)


FAULTS: list[Fault] = [
    setting(
        "recipe that does not exist",
        "HS-CONFIG-005: There is no recipe 'd2'. Did you mean 'd2l'?\n  to do: Recipes: default, d2l.",
        recipe="d2",
    ),
    setting(
        "augmentation that does not exist",
        "HS-CONFIG-006: There is no augmentation 'dihedrl'. Did you mean 'dihedral'?\n"
        "  to do: Augmentations: none, flip, crop, default, d2l, dihedral, rotations, mirrors.",
        augment="dihedrl",
    ),
    setting(
        "model that does not exist",
        "HS-MODEL-001: There is no model called 'torchvision/resnet81'.\n"
        "  to do: Did you mean torchvision/resnet18, torchvision/resnet152, "
        "torchvision/resnet101? `headstart models PATTERN` lists the names that hold a pattern.",
        1,
        model="torchvision/resnet81",
    ),
    setting(
        "stage that does not exist",
        "HS-MODEL-008: efficientnet-lite0 has no stage 'stage77'. Did you mean 'stage6'?\n"
        "  to do: Choose one of stem, stage0, stage1, stage2, stage3, stage4, stage5, stage6, "
        "head.",
        1,
        freeze="stage77",
    ),
    setting(
        "weights that are not there",
        "HS-MODEL-006: The weights file cannot be read: No such file or directory.\n"
        "  where: none.safetensors\n"
        "  to do: Check the path given to --weights.",
        1,
        weights="none.safetensors",
    ),
    setting(
        "several out of range",
        "HS-CONFIG-002: A setting is out of range.\n"
        "  - selection must be from 0 to 0.5, but is 0.7\n"
        "  - workers must be 1 or more, but is 0\n"
        "  - seed must be 0 or more, but is -1\n"
        "  to do: See `headstart train --help`.",
        workers=0,
        seed=-1,
        selection=0.7,
    ),
    setting(
        "crop that is none",
        "HS-CONFIG-002: A setting is out of range.\n"
        "  - crop must be LEFT,TOP,WIDTH,HEIGHT in pixels, or in fractions within the picture, "
        "but is '0,0,2'\n"
        "  to do: See `headstart train --help`.",
        crop="0,0,2",
    ),
    setting(
        "crop beyond the picture",
        "HS-CONFIG-002: A setting is out of range.\n"
        "  - crop must be LEFT,TOP,WIDTH,HEIGHT in pixels, or in fractions within the picture, "
        "but is '0.5,0,0.75,1'\n"
        "  to do: See `headstart train --help`.",
        crop="0.5,0,0.75,1",
    ),
    setting(
        "time that is none",
        "HS-CONFIG-002: A setting is out of range.\n"
        "  - budget must be a time such as 30s, 2m or 1h, but is 'soon'\n"
        "  to do: See `headstart train --help`.",
        budget="soon",
    ),
    setting(
        "name that is a path",
        "HS-CONFIG-002: A setting is out of range.\n"
        "  - name must be one folder name, but is 'a/b'\n"
        "  to do: See `headstart train --help`.",
        name="a/b",
    ),
    setting(
        "columns without a role",
        "HS-CONFIG-002: A setting is out of range.\n"
        "  - columns must be ROLE=COLUMN with the role path, label, split or group, each once, "
        "but is ['species']\n"
        "  to do: See `headstart train --help`.",
        columns=["species"],
    ),
    setting(
        "epochs and a budget",
        "HS-CONFIG-007: These settings contradict each other.\n"
        "  - --budget chooses the epochs: leave out --budget or --epochs\n"
        "  to do: Leave out what is named.",
        epochs=3,
        budget="1m",
    ),
    setting(
        "epochs of a probe",
        "HS-CONFIG-007: These settings contradict each other.\n"
        "  - --strategy probe has no epochs: leave out --epochs\n"
        "  to do: Leave out what is named.",
        strategy="probe",
        epochs=3,
    ),
    setting(
        "columns of a folder",
        "HS-CONFIG-014: These settings have no meaning where the data are a folder of class "
        "folders.\n"
        "  - --columns is given\n"
        "  to do: Leave them out.",
        2,
        "show",
        columns=["label=species"],
    ),
    setting(
        "class that the source does not have",
        "HS-MODEL-009: The new head cannot start from these classes of the source model.\n"
        "  - dots=no such thing: ImageNet has no class 'no such thing'.\n"
        '  to do: Write --head-from "CLASS=INDEX" or "CLASS=IMAGENET NAME".',
        1,
        head_from=["dots=no such thing"],
    ),
    setting(
        "class that the data do not have",
        "HS-MODEL-009: The new head cannot start from these classes of the source model.\n"
        "  - dotz=hotdog: the data has no class 'dotz'. Did you mean 'dots'?\n"
        '  to do: Write --head-from "CLASS=INDEX" or "CLASS=IMAGENET NAME".',
        1,
        head_from=["dotz=hotdog"],
    ),
]
"""Met by flags and by keywords alike."""


def yaml(name: str, text: str | bytes, said: str) -> Fault:
    def make(here: Path) -> None:
        data(here)
        file("my.yaml", text)(here)

    return Fault(name, make, said, command="train", flags={"config": "my.yaml"})


FILES: list[Fault] = [
    yaml(
        "setting that does not exist",
        "epoch: 3\n",
        "HS-CONFIG-001: There is no such setting.\n"
        "  where: my.yaml\n"
        "  - unknown setting 'epoch'. Did you mean 'epochs'?\n"
        "  to do: See `headstart train --help`.",
    ),
    yaml(
        "settings of the wrong type",
        "epochs: many\nlr: [1]\ncompile: 3\n",
        "HS-CONFIG-003: A setting has the wrong type.\n"
        "  where: my.yaml\n"
        "  - epochs must be a whole number, but is 'many'\n"
        "  - lr must be a number or find, but is [1]\n"
        "  - compile must be true or false, but is 3\n"
        "  to do: See `headstart train --help`.",
    ),
    yaml(
        "faults of three kinds",
        "epoch: 3\nlr: fast\nworkers: 0\n",
        "HS-CONFIG-001: Several settings cannot be used.\n"
        "  where: my.yaml\n"
        "  - unknown setting 'epoch'. Did you mean 'epochs'?\n"
        "  - lr must be a number or find, but is 'fast'\n"
        "  - workers must be 1 or more, but is 0\n"
        "  to do: See `headstart train --help`.",
    ),
    yaml(
        "tab in YAML",
        "epochs:\t3\n\tlr: 1\n",
        "HS-CONFIG-004: The file of settings cannot be read: line 1: found character '\\t' that "
        "cannot start any token.\n"
        "  where: my.yaml\n"
        "  to do: Correct it; the config.yaml of any run is an example.",
    ),
    yaml(
        "YAML cut short",
        "exclude: [a, b\n",
        "HS-CONFIG-004: The file of settings cannot be read: line 2: expected ',' or ']', but "
        "got '<stream end>'.\n"
        "  where: my.yaml\n"
        "  to do: Correct it; the config.yaml of any run is an example.",
    ),
    yaml(
        "list instead of settings",
        "- epochs\n- lr\n",
        "HS-CONFIG-004: The file of settings is no list of `name: value` lines.\n"
        "  where: my.yaml\n"
        "  to do: Correct it; the config.yaml of any run is an example.",
    ),
    yaml(
        "text instead of settings",
        "epochs=3\n",
        "HS-CONFIG-004: The file of settings is no list of `name: value` lines.\n"
        "  where: my.yaml\n"
        "  to do: Correct it; the config.yaml of any run is an example.",
    ),
    yaml(
        "bytes that are no UTF-8",
        b"name: Stra\xdfe\n",
        "HS-CONFIG-004: The file of settings cannot be read: it is not UTF-8.\n"
        "  where: my.yaml\n"
        "  to do: Correct it; the config.yaml of any run is an example.",
    ),
    Fault(
        "file that is not there",
        data,
        "HS-CONFIG-004: The file of settings cannot be read: No such file or directory.\n"
        "  where: my.yml\n"
        "  to do: Correct it; the config.yaml of any run is an example.",
        command="train",
        flags={"config": "my.yml"},
    ),
    Fault(
        "folder instead of a file",
        data,
        "HS-CONFIG-004: The file of settings cannot be read: Is a directory.\n"
        "  where: data\n"
        "  to do: Correct it; the config.yaml of any run is an example.",
        command="train",
        flags={"config": "data"},
    ),
]
"""Met by the command line alone, which reads files of settings."""


def line(name: str, words: str, said: str) -> Fault:
    return Fault(name, data, said, command=words)


LINES: list[Fault] = [
    line(
        "option that does not exist",
        "train data --epoch 3",
        "HS-USAGE-001: Unknown option: --epoch. Did you mean --epochs?\n"
        "  to do: See `headstart train --help`.",
    ),
    line(
        "option of one letter too much",
        "check data --fixlist out.csv",
        "HS-USAGE-001: Unknown option: --fixlist. Did you mean --fix-list?\n"
        "  to do: See `headstart check --help`.",
    ),
    line(
        "word that is no choice",
        "train data --strategy prob",
        'HS-USAGE-001: Invalid value "prob" for --strategy. Choose from: "finetune", "probe", '
        '"scratch". Did you mean "probe"?\n'
        "  to do: See `headstart train --help`.",
    ),
    line(
        "text for a number",
        "train data --epochs many",
        'HS-USAGE-001: Invalid value for --epochs: unable to convert "many" into int.\n'
        "  to do: See `headstart train --help`.",
    ),
    line(
        "fraction for a whole number",
        "train data --epochs 1.5",
        "HS-USAGE-001: Invalid value for --epochs: 1.5 is no whole number\n"
        "  to do: See `headstart train --help`.",
    ),
    line(
        "value that is missing",
        "train data --epochs",
        'HS-USAGE-001: Command "train" parameter --epochs requires an argument.\n'
        "  to do: See `headstart train --help`.",
    ),
    line(
        "command that does not exist",
        "trian data",
        'HS-USAGE-001: Unknown command "trian". Did you mean "train"? Available commands: train, '
        "tune, compare, evaluate, val, report, suspects, predict, ...\n"
        "  to do: See `headstart --help`.",
    ),
    line(
        "one argument too many",
        "train data more",
        "HS-USAGE-001: This is too much: more\n  to do: See `headstart train --help`.",
    ),
    line(
        "no data",
        "train",
        "HS-USAGE-005: No pictures were given.\n  to do: headstart train DATA. See `headstart train --help`.",
    ),
    line(
        "no data to check",
        "check",
        'HS-USAGE-001: Command "check" parameter DATA requires an argument.\n'
        "  to do: See `headstart check --help`.",
    ),
    line("no run", "evaluate", "HS-USAGE-002: No run was given.\n  to do: headstart evaluate RUN [DATA]"),
    line(
        "no pictures",
        "predict data",
        "HS-USAGE-003: No pictures were given.\n  to do: headstart predict RUN PICTURE_OR_FOLDER...",
    ),
    line(
        "table and JSON on one output",
        "predict data data --json",
        "HS-USAGE-004: --json and the table would both go to stdout.\n  to do: Add --output out.csv",
    ),
]
"""Command lines that are wrong before anything is looked at."""
