"""Paths that were written on another machine, or in another folder: where the files are here.

A change of place is taken only if it is the same for all paths, and no other one that keeps as much of them
finds files.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from headstart.data.columns import looks_like_picture
from headstart.data.formats import PICTURE_SUFFIXES
from headstart.data.listing import is_ignored
from headstart.errors import DataError

TRIED = 20  # paths by which a place is told
TRIED_FOLDERS = 50
TRIED_DEPTH = 12


@dataclass(frozen=True)
class Relocation:
    """A change of all paths.

    Attributes:
        strip: Leading parts that are dropped.
        folder: Where the rest lies, below the pictures' folder.
        suffix: What is appended to names.
    """

    strip: int = 0
    folder: str = ""
    suffix: str = ""

    def __call__(self, path: str) -> str:
        if self.strip:
            path = "/".join(parts_of(path)[self.strip :])
        if self.folder:
            path = f"{self.folder}/{path}"
        return path + self.suffix

    def in_words(self, example: str) -> str:
        return f"{example} as {self(example)}"


def with_slashes(path: str) -> str:
    """A path as it is written here: those of Windows get slashes."""
    path = path.strip()
    if "\\" in path and ("/" not in path or is_of_windows(path)):
        return path.replace("\\", "/")
    return path


def is_of_windows(path: str) -> bool:
    return bool(re.match(r"[A-Za-z]:[\\/]|\\\\", path))


def parts_of(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]


def place(base: Path, path: str) -> str:
    """Where a path of the table leads to, as a text."""
    return path if path.startswith("/") else os.path.join(base, path)  # noqa: PTH118


def is_file(base: Path, path: str) -> bool:
    try:
        return os.path.isfile(place(base, path))  # noqa: PTH113
    except ValueError:  # a name that no system has
        return False


def relocation(base: Path, paths: Sequence[str], where: Path) -> Relocation:
    """How the paths of a table lead to files.

    Args:
        base: The pictures' folder.
        paths: Some of the table's, with slashes.
        where: The table, for the error.

    Returns:
        No change, if that finds some file, or if nothing does.

    Raises:
        DataError: HS-DATA-056, several changes find files that keep equally much of the paths.
    """
    tried = spread(paths, TRIED)
    if any(is_file(base, path) for path in tried) or any(is_file(base, p) for p in spread(paths, 200)):
        return Relocation()
    found: dict[Relocation, int] = {}
    places: set[tuple[str, ...]] = set()
    for change in _changes(base, tried):
        if change.suffix.isupper() and replace(change, suffix=change.suffix.lower()) in found:
            continue  # the same files, on a disk that does not tell them apart
        hits = sum(is_file(base, change(path)) for path in tried)
        if hits and (there := tuple(change(path) for path in tried)) not in places:
            found[change] = hits
            places.add(there)
    # Of those that find the most: what keeps the longest end of each path has the most in its favour.
    best = min(found, key=lambda change: (-found[change], change.strip), default=Relocation())
    found = {change: hits for change, hits in found.items() if change.strip == best.strip}
    if len(found) > 1:
        raise DataError(
            "HS-DATA-056",
            "The paths of the table are of another place, and there is more than one way to find them here.",
            where=where,
            details=[
                f"{hits} of {len(tried)}: {change.in_words(tried[0])}" for change, hits in found.items()
            ],
            fix="Name the folder that they begin in: --images DIR",
        )
    return best


def spread(paths: Sequence[str], count: int) -> list[str]:
    """Some of the paths, from the first to the last."""
    step = max(1, -(-len(paths) // count))
    return list(paths[::step])


def _changes(base: Path, paths: Sequence[str]) -> Iterator[Relocation]:
    depth = min((len(parts_of(path)) for path in paths), default=1) - 1
    folders = [""]
    try:
        with os.scandir(base) as items:
            inside = sorted(i.name for i in items if i.is_dir() and not is_ignored(i.name, True))
            folders += inside[:TRIED_FOLDERS]
    except OSError:
        pass
    bare = not any(looks_like_picture(path) for path in paths)
    suffixes = ["", *sorted(PICTURE_SUFFIXES), *sorted(s.upper() for s in PICTURE_SUFFIXES)] if bare else [""]
    absolute = any(path.startswith("/") or is_of_windows(path) for path in paths)
    for strip, folder, suffix in itertools.product(range(min(depth, TRIED_DEPTH) + 1), folders, suffixes):
        if (strip or folder or suffix) and not (absolute and strip == 0):
            yield Relocation(strip, folder, suffix)
