"""All files of a folder whose layout training refuses, with what their place tells of class and part."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from headstart.config import LabelFrom
from headstart.data.exclusions import Exclusions
from headstart.data.folders import label_of
from headstart.data.listing import SPLIT_NAMES, Entry, Listing, is_ignored, nfc, path_order


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
                entries.append(_entry(relative, label_from))
        folders[:] = kept
    entries.sort(key=lambda entry: path_order(entry.path))
    return Listing(root, tuple(entries), "unclear", ignored=tuple(sorted(ignored)), excluded=exclusions.found)


def _entry(path: str, label_from: LabelFrom) -> Entry:
    first, _, inside = path.partition("/")
    split = SPLIT_NAMES.get(nfc(first).lower(), "") if inside else ""
    return Entry(path, label_of(inside if split else path, label_from), split)
