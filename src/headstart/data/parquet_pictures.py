"""Pictures that lie inside Parquet files, as Hugging Face saves them: unpacked, with a table beside them.

``{"bytes": ..., "path": ...}`` structs, or columns of bytes. The files are written as they were; the other
columns become ``labels.csv``, which is read like any other table.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from headstart.data.formats import HEAD_BYTES, UnreadableImage, recognise
from headstart.data.listing import SPLIT_NAMES, quoted
from headstart.data.tables import Table, named, parquet_batches, unreadable
from headstart.errors import DataError
from headstart.storage import csv_writer, storage_errors

LABELS = "labels.csv"
BATCH = 200  # pictures in memory at once
SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "WebP": ".webp", "GIF": ".gif", "BMP": ".bmp", "TIFF": ".tif"}


def unpack_pictures(tables: Sequence[Table], folder: Path, picture_column: str = "") -> int:
    """Writes the pictures and ``labels.csv`` into an empty folder.

    Args:
        tables: Parquet files of one data set; the part of the split is in their names, if anywhere.
        folder: Where to write.
        picture_column: Which column; empty: the only one.

    Returns:
        How many rows there were; those without a picture are in the table too, and so are missing.

    Raises:
        DataError: HS-DATA-050 (no pictures, damaged), -051 (several columns of pictures).
        RunError: the disk is full or cannot be written.
    """
    column = picture_column or _picture_column(tables)
    others = [name for name in tables[0].names if name not in tables[0].pictures]
    splits = [split_in_name(table.path) for table in tables]
    with_split = all(splits) and not any(name.casefold() == "split" for name in others)
    count = 0
    with (
        storage_errors(folder),
        open(folder / LABELS, "w", encoding="utf-8", newline="") as file,
    ):
        writer = csv_writer(file)
        # `picture_file` names no column of a table that people make.
        writer.writerow(["picture_file", *others, *(["split"] if with_split else [])])
        for table, split in zip(tables, splits, strict=True):
            place = folder / (table.path.stem if len(tables) > 1 else "pictures")
            place.mkdir()
            for batch in parquet_batches(table, [column, *others], BATCH):
                cells = {name: batch.column(name).to_pylist() for name in [column, *others]}
                for i in range(batch.num_rows):
                    content, name = _content(cells[column][i])
                    target = place / _file_name(count, content, name)
                    if content is not None:
                        target.write_bytes(content)
                    values = [named(cells[other][i], table.label_names.get(other)) for other in others]
                    texts = [";".join(value) if isinstance(value, list) else value for value in values]
                    relative = target.relative_to(folder).as_posix()
                    writer.writerow([relative, *texts, *([split] if with_split else [])])
                    count += 1
    return count


def _picture_column(tables: Sequence[Table]) -> str:
    names = tables[0].pictures
    if any(table.names != tables[0].names for table in tables):
        other = next(table for table in tables if table.names != tables[0].names)
        raise unreadable(other.path, f"its columns are not those of {tables[0].path.name}")
    if not names:
        raise unreadable(tables[0].path, "no column holds pictures")
    if len(names) > 1:
        raise DataError(
            "HS-DATA-051",
            f"Several columns hold pictures: {quoted(names)}.",
            where=tables[0].path,
            fix=f"Name it: --columns path={names[0]}",
        )
    return names[0]


def split_in_name(path: Path) -> str:
    """The part that a file's name begins with (``train-00000-of-00002``), or that its folder is named."""
    for text in (re.split(r"[-_.]", path.stem)[0], path.parent.name):
        if split := SPLIT_NAMES.get(text.casefold()):
            return split
    return ""


def _content(cell: Any) -> tuple[bytes | None, str]:
    if isinstance(cell, dict):
        return cell.get("bytes"), str(cell.get("path") or "")
    return cell, ""


def _file_name(number: int, content: bytes | None, name: str) -> str:
    plain = re.sub(r"[^\w.-]", "-", PurePosixPath(name.replace("\\", "/")).name)[-80:]
    if plain:
        return f"{number:07}-{plain}"
    try:
        suffix = SUFFIXES.get(recognise((content or b"")[:HEAD_BYTES]), ".img")
    except UnreadableImage:
        suffix = ".img"
    return f"{number:07}{suffix}"
