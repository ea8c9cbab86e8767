"""`headstart check`: a data set looked at before it is trained on, or compared with that of a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from headstart.config import LabelFrom, TrainConfig, from_mapping, read_yaml
from headstart.data.check import Checked
from headstart.data.check import check as look_at
from headstart.data.lock import Difference, LockRow, difference, left_out_rows, read_lock, soft_label
from headstart.data.sources import Data, options_of
from headstart.errors import RunError
from headstart.notation import fold_of
from headstart.run_folder import CONFIG, Run, one_of_folds, output_in_data
from headstart.run_setup import recipe_and_preprocess, settings
from headstart.training.recipes import chooses_fit


def check(data: Data, config: TrainConfig | None = None, *, features: bool = False, **fields: Any) -> Checked:
    """Looks at every file of a data set; nothing in it is changed.

    Args:
        data: As for `headstart.train`.
        config: All settings at once, as for `headstart.train`: they decide what the network would see.
        features: Also compare what the source model's network makes of the pictures.
        fields: Single settings.

    Returns:
        The findings, and the table of pictures that they are about.

    Raises:
        DataError: as `headstart.data.check.check`: there is nothing to look at. Other faults become findings.
        ConfigError, ModelError, MissingExtraError: with a stable code and what to do.
    """
    config = settings(config, fields)
    recipe, preprocess = recipe_and_preprocess(config)
    checked = look_at(
        data,
        preprocess=preprocess,
        options=options_of(config),
        exclude=(*config.exclude, *output_in_data(config.output, data)),
        selection=recipe.selection,
        workers=config.workers,
        choose_fit=chooses_fit(config, recipe),
        fold=None if config.fold is None else fold_of(config.fold),
    )
    if not features:
        return checked
    from headstart.evaluation.leaks import findings_by_features

    return checked.with_findings(findings_by_features(checked, config))


def compare_with_run(
    data: Data,
    run: Run | str | PathLike[str],
    *,
    exclude: Sequence[str] = (),
    exclude_list: str | PathLike[str] | None = None,
    workers: int | None = None,
    images: str | PathLike[str] | None = None,
    columns: Sequence[str] = (),
    label_from: LabelFrom | None = None,
    group_by: str | None = None,
) -> tuple[Checked, Difference]:
    """What is different from the pictures of a run, with that run's settings.

    Args:
        data: As for `headstart.train`.
        run: A run or its folder.
        exclude: Patterns to leave out, beside those of the run.
        workers: Threads that read pictures.
        exclude_list, images, columns, label_from, group_by: Of ``data``, as the settings of
            `headstart.train` of the same names; what is not given is as in the run.

    Raises:
        RunError: HS-RUN-040 or -026, the run has no table of pictures.
        ConfigError: HS-CONFIG-004, its settings cannot be read.
        DataError: as `check`.
    """
    folder = run.path if isinstance(run, Run) else Path(run)
    if fix := one_of_folds(folder):
        raise RunError("HS-RUN-040", "There is no table of pictures in this folder.", where=folder, fix=fix)
    before = read_lock(folder)
    config = from_mapping(read_yaml(folder / CONFIG), where=folder / CONFIG)
    if group_by and not columns:  # says anew what a group is
        columns = [item for item in config.columns if not item.startswith("group=")]
        config = dataclasses.replace(config, columns=())
    named = any(item.startswith("group=") for item in columns)
    config = dataclasses.replace(
        config,
        exclude=(*config.exclude, *exclude),
        exclude_list=config.exclude_list if exclude_list is None else Path(exclude_list),
        workers=workers,
        output=folder.parent,
        images=config.images if images is None else Path(images),
        columns=tuple(columns) or config.columns,
        label_from=label_from or config.label_from,
        group_by=group_by or (None if named else config.group_by),
    )
    checked = check(data, config)
    return checked, difference(before, lock_rows(checked))


def lock_rows(checked: Checked) -> list[LockRow]:
    """The rows that a run on these pictures would write."""
    table, listing = checked.table, checked.table.listing
    rows = [
        LockRow(
            path,
            table.class_of(i),
            str(table.splits[i]),
            table.group_of(i),
            table.read.file_hash(i),
            soft=soft_label(listing.soft_classes, listing.soft[path]) if listing.soft else (),
        )
        for i, path in enumerate(table.paths)
    ]
    return [*rows, *left_out_rows(table.left_out, listing.excluded)]
