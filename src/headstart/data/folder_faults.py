"""What can be wrong with a data folder as a whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from headstart.data.listing import listed, quoted
from headstart.errors import DataError

PACKED = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")
LAYOUTS = "train/CLASS/*.jpg and test/CLASS/*.jpg (or val/), or CLASS/*.jpg alone"


def split_beside_classes(
    root: Path, by_split: Mapping[str, Sequence[str]], others: Sequence[str]
) -> DataError:
    """Folders that look like parts of a split beside such that do not.

    Args:
        root: The data folder.
        by_split: The first, by part.
        others: The second.
    """
    splits = [name for names in by_split.values() for name in names]
    out = splits if "train" not in by_split else others
    plural = len(splits) > 1
    return DataError(
        "HS-DATA-007",
        f"{quoted(splits)} look{'' if plural else 's'} like {'parts' if plural else 'a part'} of a "
        f"split, but lie{'' if plural else 's'} beside class folders: {listed(others)}.",
        where=root,
        fix="Leave out what is no class: "
        + " ".join(f'--exclude "{name}"' for name in out[:3])
        + f". If {quoted(splits[:1])} is a class, give the folder another name.",
    )


def no_pictures(root: Path, ignored: Sequence[str]) -> DataError:
    """Nothing but files that were ignored."""
    packed = [name for name in ignored if name.lower().endswith(PACKED)]
    unpack = f"Unpack {listed(packed, 3)}, and give the folder that comes out. " if packed else ""
    return DataError(
        "HS-DATA-003",
        "The folder holds no pictures.",
        where=root,
        details=[f"ignored: {path}" for path in ignored],
        fix=f"{unpack}Expected: {LAYOUTS}.",
    )


def one_class(root: Path, name: str, inside: Sequence[str]) -> DataError:
    """A single class; the folders inside it may be the classes."""
    if len(inside) > 1:
        fix = (
            f"If the classes are inside ({listed(inside)}), give the folder {root / name}, or add "
            "--label-from parent"
        )
    else:
        fix = "Add a folder with pictures of something else (for example 'other')."
    return DataError(
        "HS-DATA-004", f"There is only one class, '{name}'; at least two are needed.", where=root, fix=fix
    )
