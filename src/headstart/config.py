"""The settings of headstart: one frozen dataclass per command, the one source of flags, YAML and docs.

The text below each field is its help on the command line and its row in the reference.
A value of None means: the recipe or the machine decides; what was decided is printed, and saved in the
run's ``config.yaml``. Precedence: defaults < ``--config FILE`` < flags.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from cyclopts import Parameter

from headstart.errors import ConfigError, nearest
from headstart.notation import are_columns, crop_of, fold_of, seconds_of

Strategy = Literal["finetune", "probe", "scratch"]
Fit = Literal["crop", "pad", "squash"]
Precision = Literal["fp32", "bf16"]
MemoryFormat = Literal["channels_last", "contiguous"]
Refit = Literal["none", "train", "all"]
LabelFrom = Literal["top", "parent", "path"]
HeadInit = Literal["probe", "xavier", "zeros"]
Balance = Literal["auto", "none", "loss", "sample"]
Gpus = Literal["all"] | int
Rate = float | Literal["find"]
ImgSize = int | Literal["auto"]
Track = Literal["tensorboard"]
NOTES = ("data", "plan", "measured", "versions")  # in a run's config.yaml, beside the settings
DEFAULT_MODEL = "efficientnet-lite0"
SEE_HELP = "See `headstart train --help`."
AN_EXAMPLE = "Correct it; the config.yaml of any run is an example."
WHAT = {
    "HS-CONFIG-001": "There is no such setting.",
    "HS-CONFIG-002": "A setting is out of range.",
    "HS-CONFIG-003": "A setting has the wrong type.",
}


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Settings of `headstart train`."""

    model: Annotated[str, Parameter(alias="-m")] = DEFAULT_MODEL
    """Source model: efficientnet-lite0 (bundled), a timm name, torchvision/NAME. See `headstart models`."""

    weights: Path | None = None
    """Weights of the source model from a file: safetensors, or a torch file (read without running code)."""

    strategy: Strategy = "finetune"
    """finetune: adapt pretrained weights. probe: only a linear head. scratch: the same network, untrained."""

    recipe: str = "default"
    """How to train: default (probe, then fine-tune the top), or d2l (the lesson's settings to the letter)."""

    freeze: str | None = None
    """Freeze everything below this stage (such as stage5), or everything but the output layer: head."""

    head_from: Annotated[tuple[str, ...], Parameter(negative=())] = ()
    """Start a class's output row from a source class: "hotdog=934", or "my_class=hotdog" by ImageNet name."""

    head_init: HeadInit | None = None
    """Start of the new output layer: probe, xavier or zeros. Default: the recipe's."""

    epochs: Annotated[int | None, Parameter(alias="-e")] = None
    """Passes over the training pictures; 0: the probe alone. Default: the recipe's."""

    budget: str | None = None
    """Time for the whole run, such as 30s, 2m, 1h: views and epochs are chosen to fit."""

    lr: Rate | None = None
    """Learning rate of the backbone; the head's follows by the recipe's factor. find: what a short sweep over
    rates finds before the first step. Default: the recipe's."""

    batch_size: Annotated[int | None, Parameter(alias=["-b", "--batch"])] = None
    """Pictures per step. Default: the recipe's."""

    img_size: Annotated[ImgSize | None, Parameter(alias="--imgsz")] = None
    """Input size in pixels, square. auto: that of several at which the linear probe answers best. Default:
    what the source model was trained with."""

    fit: Fit | None = None
    """How a picture becomes square: crop the centre, pad, or squash. Default: the recipe's (crop), or pad
    where most pictures of a class are longer than 2 : 1."""

    crop: str | None = None
    """Use only this part of each picture, for a camera that does not move: LEFT,TOP,WIDTH,HEIGHT, in pixels,
    or in fractions of the picture if none is above 1. Stored with the model."""

    augment: str | None = None
    """Random views in training: none, flip, crop, default, d2l, dihedral, rotations, mirrors. Default: the
    recipe's (default), or crop where mirrored pictures of one class look like another."""

    balance: Balance | None = None
    """Where classes differ in size: loss gives them the same weight, sample shows them equally often; both
    choose by balanced accuracy. auto: loss where they differ by more than 3 to 1. Default: the recipe's
    (auto)."""

    views: int | None = None
    """Random views per picture that run through the frozen part once; 0: new ones every epoch. Default: 8."""

    selection: float | None = None
    """Part of the training pictures that is set aside to choose with, 0-0.5; 0: all train, and the last epoch
    is kept. Default: the recipe's, 0.2."""

    calibrate: bool = True
    """Set half of 200 or more selection pictures aside, which choose nothing, and fit with them how sure the
    model is (temperature). What `predict --coverage` and `headstart threshold` need."""

    folds: int | None = None
    """Cross-validation: train this many times, each time measured on another part of the pictures, so that
    each is reported once by a model that never saw it; no model of all pictures is made."""

    fold: str | None = None
    """One of these trainings alone, such as 2/5: the second of five."""

    refit: Refit | None = None
    """Train once more after the choice: train, with the selection part too, where fine-tuning won; all, with
    every picture, after the result was measured. Default: none, or train where a budget allows."""

    false_rejects: float = 0.05
    """Share of pictures of your classes that may be flagged as unknown, above 0, up to 0.5: less of it lets
    more pictures of other things pass."""

    other: Path | None = None
    """Folder with pictures of none of your classes: how many of them are flagged as unknown is reported. They
    neither train nor decide anything."""

    precision: Precision | None = None
    """Number format of training: fp32 or bf16. Default: bf16 where this processor computes in it."""

    memory_format: MemoryFormat | None = None
    """Memory format of activations. Default: channels_last, or what was measured to be faster."""

    micro_batch: int | None = None
    """Pictures per forward and backward pass. Default: all of a step's, or what was measured to be faster."""

    compile: bool = False
    """Compile what trains with torch.compile: takes a while, and other rounding; pays for long trainings."""

    threads: int | None = None
    """Processor threads of the network. Default: all cores, or fewer if that was measured to be faster."""

    output: Annotated[Path, Parameter(alias="-o")] = Path("runs")
    """Folder in which the run's own folder is made."""

    name: str | None = None
    """Name of the run's folder; a number is added rather than overwriting one. Default: the data folder's."""

    seed: int = 0
    """Seed of everything random: order, views, a new head. The split follows the pictures alone."""

    device: str | None = None
    """cpu, cuda, cuda:1, mps. Default: the first accelerator found, else cpu."""

    gpus: Gpus = "all"
    """GPUs of this machine that train together, a process for each: all, or how many. --device: that one."""

    workers: Annotated[int | None, Parameter(alias="-j")] = None
    """Threads that read pictures. Results do not depend on it. Default: the number of cores."""

    track: Track | None = None
    """Show the run in a viewer, too, as it goes: tensorboard (event files in the run's folder; needs the
    extra track)."""

    cache: float = 10.0
    """Disk space for resized pictures and activations that later runs use again, GB. 0: none is used."""

    images: Path | None = None
    """Where DATA is a table: the folder that its paths begin in. Default: the table's own folder."""

    columns: Annotated[tuple[str, ...], Parameter(negative=())] = ()
    """Where DATA is a table: which column holds what, such as label=species; path, label, split and group are
    found by content otherwise (repeatable)."""

    label_from: LabelFrom | None = None
    """Which of nested folders name the class: top (the first one), parent (the last one), path (all of them).
    Default: top; in a table, its column of classes."""

    group_by: str | None = None
    """Pictures of one group (a patient, a lot, a day) stay on one side of the split: a column of the table of
    that name; otherwise a regular expression, searched in the relative path, whose first brackets (or whole
    match) name the group, such as 'patient(\\d+)'. Default: a table's column of groups."""

    exclude: Annotated[tuple[str, ...], Parameter(negative=())] = ()
    """Leave out files and folders whose relative path matches this pattern (repeatable)."""

    exclude_list: Path | None = None
    """Leave out the files that this table names: what `headstart check --fix-list` wrote, or your own with a
    column path. Relative paths begin in the data folder."""

    overrides: Path | None = None
    """Decisions on labels: the table that `headstart suspects` wrote, its column decision edited: keep,
    relabel (to the class in the column suggested) or drop. They act on what trains or chooses only."""

    @property
    def pixels(self) -> int | None:
        """``img_size`` where it is a number."""
        return None if isinstance(self.img_size, str) else self.img_size

    def __post_init__(self) -> None:
        faults = [
            f"{field} must be {allowed}, but is {value!r}"
            for field, allowed, value, good in (
                ("epochs", "0 or more", self.epochs, self.epochs is None or self.epochs >= 0),
                ("lr", "above 0, or find", self.lr, is_rate(self.lr)),
                ("batch_size", "1 or more", self.batch_size, self.batch_size is None or self.batch_size >= 1),
                (
                    "micro_batch",
                    "1 or more",
                    self.micro_batch,
                    self.micro_batch is None or self.micro_batch >= 1,
                ),
                (
                    "budget",
                    "a time such as 30s, 2m or 1h",
                    self.budget,
                    self.budget is None or seconds_of(self.budget) is not None,
                ),
                (
                    "crop",
                    "LEFT,TOP,WIDTH,HEIGHT in pixels, or in fractions within the picture",
                    self.crop,
                    self.crop is None or crop_of(self.crop) is not None,
                ),
                ("img_size", "32 or more, or auto", self.img_size, is_size(self.img_size)),
                ("views", "0 or more", self.views, self.views is None or self.views >= 0),
                (
                    "selection",
                    "from 0 to 0.5",
                    self.selection,
                    self.selection is None or 0 <= self.selection <= 0.5,
                ),
                ("folds", "2 or more", self.folds, self.folds is None or self.folds >= 2),
                (
                    "fold",
                    "one of several, such as 2/5",
                    self.fold,
                    self.fold is None or fold_of(self.fold) is not None,
                ),
                ("false_rejects", "above 0, up to 0.5", self.false_rejects, 0 < self.false_rejects <= 0.5),
                ("threads", "1 or more", self.threads, self.threads is None or self.threads >= 1),
                ("workers", "1 or more", self.workers, self.workers is None or self.workers >= 1),
                ("seed", "0 or more", self.seed, self.seed >= 0),
                ("gpus", "all, or 1 or more", self.gpus, self.gpus == "all" or self.gpus >= 1),
                ("cache", "0 or more", self.cache, self.cache >= 0),
                (
                    "columns",
                    "ROLE=COLUMN with the role path, label, split or group, each once",
                    list(self.columns),
                    are_columns(self.columns),
                ),
                (
                    "name",
                    "one folder name",
                    self.name,
                    self.name is None or (self.name not in ("", ".", "..") and "/" not in self.name),
                ),
            )
            if not good
        ]
        if faults:
            raise ConfigError("HS-CONFIG-002", WHAT["HS-CONFIG-002"], details=faults, fix=SEE_HELP)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class CommonConfig(TrainConfig):
    """What all trainings of `headstart compare` have in common: there, ``--lr`` is a list of its own."""

    lr: Annotated[Rate | None, Parameter(name="--common-lr", show=False)] = None
    """Learning rate of all of them."""


def with_absolute_paths(config: TrainConfig) -> TrainConfig:
    """The settings as they hold in every folder, for a file that is read again from another one."""
    names = ("weights", "images", "exclude_list")
    given = {name: path for name in names if (path := getattr(config, name)) is not None}
    return dataclasses.replace(config, **{name: path.expanduser().absolute() for name, path in given.items()})


def is_rate(lr: Rate | None) -> bool:
    """Whether this is a learning rate, or says where one comes from."""
    return lr is None or (lr == "find" if isinstance(lr, str) else lr > 0)


def is_size(size: ImgSize | None) -> bool:
    """Whether this is an input size, or says where one comes from."""
    return size is None or (size == "auto" if isinstance(size, str) else size >= 32)


def from_mapping(values: Mapping[str, Any], *, where: object = "") -> TrainConfig:
    """A configuration from plain values, as YAML or keyword arguments give them; lists all faults at once.

    Raises:
        ConfigError: HS-CONFIG-001 unknown setting (with the nearest one), HS-CONFIG-002 out of range,
            HS-CONFIG-003 wrong type; of several kinds, the first of these.
    """
    hints = typing.get_type_hints(TrainConfig)
    converted: dict[str, Any] = {}
    faults: list[tuple[str, str]] = []  # code, what
    for key, value in values.items():
        if key not in hints:
            faults.append(("HS-CONFIG-001", f"unknown setting {key!r}.{nearest(str(key), hints)}"))
            continue
        try:
            converted[key] = convert(value, hints[key])
        except (TypeError, ValueError):
            faults.append(("HS-CONFIG-003", f"{key} must be {describe(hints[key])}, but is {value!r}"))
    try:
        config = TrainConfig(**converted)
    except ConfigError as error:
        faults += [(error.code, detail) for detail in error.details]
    if not faults:
        return config
    codes = sorted({code for code, _ in faults})
    raise ConfigError(
        codes[0],
        WHAT[codes[0]] if len(codes) == 1 else "Several settings cannot be used.",
        where=where,
        details=[text for _, text in faults],
        fix=SEE_HELP,
    )


def options_of(hint: Any) -> tuple[Any, ...]:
    """The types that a field may have; unions with a Literal are `typing.Union`, others `types.UnionType`."""
    return typing.get_args(hint) if typing.get_origin(hint) in (types.UnionType, typing.Union) else (hint,)


def convert(value: Any, hint: Any) -> Any:
    """``value`` as the annotated type of a field; raises TypeError or ValueError."""
    options = options_of(hint)
    if value is None and type(None) in options:
        return None
    kind = next(option for option in options if option is not type(None))
    if len(choices := [o for o in options if o is not type(None)]) > 1:
        words = next(o for o in choices if typing.get_origin(o) is Literal)
        kind = words if value in typing.get_args(words) else next(o for o in choices if o is not words)
    if typing.get_origin(kind) is Literal:
        if value not in typing.get_args(kind):
            raise ValueError(value)
        return value
    if typing.get_origin(kind) is tuple:
        if isinstance(value, str) or not isinstance(value, Iterable):
            raise TypeError(value)
        return tuple(str(item) for item in value)
    if kind is Path:
        return Path(value)
    if kind is float and isinstance(value, int | float | str) and not isinstance(value, bool):
        return float(value)  # YAML reads 1e-3 as text
    if isinstance(value, bool) != (kind is bool) or not isinstance(value, kind):
        raise TypeError(value)
    return value


def describe(hint: Any) -> str:
    """A field's type in words."""
    options = [option for option in options_of(hint) if option is not type(None)]
    if len(options) > 1:
        return " or ".join(describe(option) for option in options)
    kind = options[0]
    if typing.get_origin(kind) is Literal:
        words = typing.get_args(kind)
        return words[0] if len(words) == 1 else "one of " + ", ".join(words)
    if typing.get_origin(kind) is tuple:
        return "a list"
    return {
        bool: "true or false",
        int: "a whole number",
        float: "a number",
        str: "a text",
        Path: "a path",
    }[kind]


def read_yaml(path: Path) -> dict[str, Any]:
    """The settings in a YAML file, such as a run's ``config.yaml``; its notes on the plan are left out.

    Raises:
        ConfigError: HS-CONFIG-004 when the file cannot be read or is no mapping.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        what = f"The file of settings cannot be read: {_reason(error)}."
        raise ConfigError("HS-CONFIG-004", what, where=path, fix=AN_EXAMPLE) from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        what = "The file of settings is no list of `name: value` lines."
        raise ConfigError("HS-CONFIG-004", what, where=path, fix=AN_EXAMPLE)
    return {key: value for key, value in values.items() if key not in NOTES}


def _reason(error: OSError | UnicodeDecodeError | yaml.YAMLError) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    problem, mark = getattr(error, "problem", None), getattr(error, "problem_mark", None)
    return f"line {mark.line + 1}: {problem}" if problem and mark else str(error)


def to_mapping(config: TrainConfig) -> dict[str, Any]:
    """Plain values for YAML and JSON."""
    return {field.name: plain(getattr(config, field.name)) for field in dataclasses.fields(TrainConfig)}


def plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value
