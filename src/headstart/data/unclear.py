"""All files of a folder whose layout training refuses, with what their place tells of class and part."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from headstart.config import LabelFrom
from headstart.data.exclusions import Exclusions
from headstart.data.folders import label_of
from headstart.data.listing import Entry, Listing, is_ignored, nfc, path_order
from headstart.data.split_folders import parts_of


def list_unclear(
    root: Path,
    *,
    exclude: Sequence[str] = (),
    exclude_list: Path | None = None,
    label_from: LabelFrom = "top",
) -> Listing:
    """Every file that is neither hidden nor left out; class and part are empty where nobody knows.

    Args:
        exclude, exclude_list, label_from: As for `headstart.data.folders.list_folder`.
    """
    exclusions = Exclusions(exclude, exclude_list, root)
    entries: list[Entry] = []
    parts: dict[str, str] = {}
    ignored: list[str] = []
    for folder, folders, files in os.walk(root):
        place = Path(folder).relative_to(root)
        kept = []
        for name in [*folders, *files]:
            is_folder = name in folders
            relative = (place / name).as_posix() + "/" * is_folder
            if exclusions.leaves_out(relative):
                continue
            if is_ignored(name, is_folder):
                ignored.append(relative)
            elif is_folder:
                kept.append(name)
            else:
                entries.append(_entry(relative, label_from, parts))
        folders[:] = kept
        if place == Path():
            parts = parts_of(kept)
    entries.sort(key=lambda entry: path_order(entry.path))
    return Listing(root, tuple(entries), "unclear", ignored=tuple(sorted(ignored)), excluded=exclusions.found)


def _entry(path: str, label_from: LabelFrom, parts: Mapping[str, str]) -> Entry:
    first, _, inside = path.partition("/")
    split = parts.get(first, "") if inside else ""
    while split and inside.count("/") > 1 and nfc(inside).lower().startswith(f"{nfc(first).lower()}/"):
        inside = inside.partition("/")[2]
    return Entry(path, label_of(inside if split else path, label_from), split)
