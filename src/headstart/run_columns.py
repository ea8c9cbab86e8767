"""What a column of a table says of the pictures of a run: site, camera, lot."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path

import yaml

from headstart.config import from_mapping, read_yaml
from headstart.data.manifest import list_manifest
from headstart.data.sources import Data, SourceOptions, is_address, options_of, table_in
from headstart.data.tables import open_table
from headstart.errors import ConfigError, DataError, nearest
from headstart.run_folder import CONFIG, data_of


def column_values(
    column: str,
    paths: Iterable[str],
    *,
    data: Data | None,
    options: SourceOptions,
    table: str | PathLike[str] | None = None,
) -> Mapping[str, str]:
    """The value of each picture that has one, by path.

    Args:
        column: Its name in the table.
        paths: Of the pictures, as in ``predictions.csv``.
        data: Where the pictures came from: the table itself, or a folder that holds one.
        options: What was said of it.
        table: The table, where the data are none.

    Raises:
        ConfigError: HS-EVAL-074, no such column; HS-EVAL-075, there is no table.
        DataError: HS-EVAL-076, it names none of these pictures; and as
            `headstart.data.manifest.list_manifest`.
    """
    place = table_of(data, options) if table is None else Path(table).expanduser()
    if place is None or not place.is_file():
        raise ConfigError(
            "HS-EVAL-075",
            f"There is no table that the column '{column}' could be taken from.",
            where=place or data or "",
            fix="Name it, such as --table pictures.csv: with the paths of the pictures, and this column.",
        )
    names = open_table(place, errors="surrogateescape").names
    if column not in names:
        raise ConfigError(
            "HS-EVAL-074",
            f"The table has no column '{column}'.{nearest(column, names)}",
            where=place,
            fix=f"It has: {', '.join(names)}.",
        )
    roles = {role: name for role, name in options.by_role().items() if role == "path"}
    listing = list_manifest(
        place,
        images=None if options.images is None else options.images.expanduser(),
        columns={**roles, "label": column},
        require_split=False,
        anyway=True,
    )
    wanted = set(paths)
    found = {entry.path: entry.class_name for entry in listing.entries if entry.path in wanted}
    if not found:
        raise DataError(
            "HS-EVAL-076",
            "The table names none of the pictures that are reported on.",
            where=place,
            details=[f"in the table: {entry.path}" for entry in listing.entries[:1]]
            + [f"in the predictions: {path}" for path in sorted(wanted)[:1]],
            fix="Give the table of these pictures, and with --images the folder that its paths begin in.",
        )
    return found


def own_column(
    folder: Path,
    column: str,
    paths: Iterable[str],
    *,
    table: str | PathLike[str] | None = None,
    images: str | PathLike[str] | None = None,
    root: str | PathLike[str] | None = None,
) -> Mapping[str, str]:
    """`column_values` of the pictures of a run, from the table that it was begun with or another one.

    Args:
        folder: Of the run.
        column, paths, table: As for `column_values`.
        images: Where the pictures are now.
        root: The folder that the paths begin in, as far as it is known: that of another table.
    """
    data, options = None, SourceOptions()
    if (folder / CONFIG).is_file():
        values = yaml.safe_load((folder / CONFIG).read_text(encoding="utf-8")) or {}
        data = data_of(values)
        options = options_of(from_mapping(read_yaml(folder / CONFIG), where=folder / CONFIG))
    if images is not None or (table is not None and root is not None):
        options = dataclasses.replace(options, images=Path(images or root or ""))
    return column_values(column, paths, data=data, options=options, table=table)


def table_of(data: Data | None, options: SourceOptions) -> Path | None:
    """The table that pictures came from; None where they did not."""
    if not isinstance(data, str | PathLike) or is_address(data):
        return None
    place = Path(data).expanduser()
    return table_in(place) if place.is_dir() else place
