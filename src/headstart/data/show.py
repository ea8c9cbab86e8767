"""`headstart show`: the pages that show a data folder's pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from headstart import console
from headstart.data.augment import AUGMENTATIONS
from headstart.data.dataset import load_dataset
from headstart.data.fit import lost_by_class
from headstart.data.gallery import draw_class_samples, draw_lesson_grid
from headstart.data.listing import listed
from headstart.data.preprocess import Preprocess
from headstart.data.sources import SourceOptions, command_line
from headstart.data.views import Views
from headstart.errors import ConfigError, nearest

SHOWN_CLASSES = 12


def show(
    data: str | PathLike[str] | Sequence[Sequence[Any]],
    output: Path,
    *,
    preprocess: Preprocess,
    augment: str = "default",
    from_originals: bool = False,
    per_class: int = 4,
    seed: int = 0,
    selection: float = 0.2,
    exclude: Sequence[str] = (),
    options: SourceOptions | None = None,
    name: str = "",
    choose_fit: bool = False,
) -> list[Path]:
    """Draws ``lesson.png`` and ``classes.png``; returns their paths.

    Args:
        data: As for training.
        output: Folder for the pages; made if absent.
        preprocess: What the network sees.
        augment: Name of the random views to show.
        from_originals: They are cut from the originals.
        per_class: Pictures of each class on the second page.
        seed: Of the sample and the views.
        selection: Part of train that training would set aside.
        exclude: Patterns to leave out.
        options: What is said of the source.
        name: Of the data set, for the titles; default: its folder's name.
        choose_fit: As for `load_dataset`.

    Raises:
        ConfigError: HS-CONFIG-006, no such augmentation.
        DataError: as `load_dataset`.
    """
    if augment not in AUGMENTATIONS:
        raise ConfigError(
            "HS-CONFIG-006",
            f"There is no augmentation {augment!r}.{nearest(augment, AUGMENTATIONS)}",
            fix="Augmentations: " + ", ".join(AUGMENTATIONS) + ".",
        )
    dataset, pictures = load_dataset(
        data,
        preprocess=preprocess,
        options=options,
        exclude=exclude,
        selection=selection,
        choose_fit=choose_fit,
    )
    lost = lost_by_class(dataset.sizes, dataset.labels, dataset.classes, pictures.preprocess)
    console.say(dataset.tree())
    dataset.announce(command_line("check", data, options or SourceOptions(), exclude))
    console.say(lost_line(lost, pictures.preprocess))
    lesson, classes = output / "lesson.png", output / "classes.png"
    draw_lesson_grid(dataset, pictures, lesson, name=name)
    views = Views(dataset, pictures, AUGMENTATIONS[augment], from_originals, seed)
    draw_class_samples(views, classes, per_class=per_class, name=name)
    return [lesson, classes]


def lost_line(lost: Mapping[str, float], preprocess: Preprocess) -> str:
    """What the network does not see of each class, for a person; the classes that lose most first."""
    size = f"{preprocess.img_size} x {preprocess.img_size}"
    if not any(lost.values()):
        return f"the evaluation view ({preprocess.fit}, {size}) shows every pixel"
    order = sorted(lost, key=lambda name: -lost[name])
    shares = listed([f"{lost[name]:.0%} of '{name}'" for name in order], SHOWN_CLASSES)
    return f"the evaluation view ({preprocess.fit}, {size}) cuts away, of the pixels: {shares}"
