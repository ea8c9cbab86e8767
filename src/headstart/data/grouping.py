"""What must stay on one side of a split, told by a regular expression over the paths (`--group-by`)."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from headstart.data.listing import Entries, Listing, nfc
from headstart.errors import ConfigError, DataError, nearest

SHOWN_PATHS = 3


def group_of(path: str, pattern: re.Pattern[str]) -> str:
    """The group that a path names: the first capture group that took part, else the whole match.

    Returns:
        Its name in NFC; empty if the pattern does not match, or matches nothing but an empty text.
    """
    match = pattern.search(nfc(path))
    if match is None:
        return ""
    return next(filter(None, match.groups()), "") if pattern.groups else match.group()


def root_of(listing: Listing) -> str:
    """What begins the absolute paths of a list or table, so that patterns see relative ones."""
    return listing.root.as_posix().rstrip("/") + "/"


def compiled(group_by: str, columns: Sequence[str] = ()) -> re.Pattern[str]:
    """``--group-by`` as a regular expression.

    Args:
        group_by: What was given.
        columns: Of the table, if the data are one: none of them has this name.

    Raises:
        ConfigError: HS-CONFIG-020, it is none.
    """
    try:
        return re.compile(nfc(group_by))
    except re.error as error:
        neither = ", and no column of the table" if columns else ""
        raise ConfigError(
            "HS-CONFIG-020",
            f"'{group_by}' is no regular expression ({error.msg}){neither}.{nearest(group_by, columns)}",
            where="--group-by",
            details=[f"the table's columns: {', '.join(columns)}"] if columns else [],
            fix=r"Such as --group-by 'patient(\d+)': what the brackets match names the group.",
        ) from error


def grouped_by_path(
    listing: Listing,
    group_by: str,
    *,
    columns: Sequence[str] = (),
    several: bool = True,
    anyway: bool = False,
) -> Listing:
    """The listing with the groups that the paths name; a picture that does not match stands alone.

    Args:
        listing: The files; groups that it has are replaced.
        group_by: A regular expression, searched in the path relative to the root, with ``/``.
        columns: As for `compiled`.
        several: Whether there must be more than one group: to split by them.
        anyway: Raise nothing about what matches.

    Raises:
        ConfigError: HS-CONFIG-020.
        DataError: HS-DATA-060, nothing matches; HS-DATA-061, one group holds everything.
    """
    pattern = compiled(group_by, columns)
    entries = listing.entries
    root = root_of(listing)
    groups = [group_of(entry.path.removeprefix(root), pattern) for entry in entries]
    if not anyway:
        paths = [entry.path.removeprefix(root) for entry in entries[:SHOWN_PATHS]]
        details = [f"such as {', '.join(paths)}"]
        if columns:
            details.append(f"the table's columns: {', '.join(columns)}.{nearest(group_by, columns)}")
        check_groups(groups, f"'{group_by}' matches no path", listing.root, details, several=several)
    names: dict[str, str] = {}  # of equal names one object
    return dataclasses.replace(
        listing,
        entries=Entries(
            [entry.path for entry in entries],
            [entry.class_name for entry in entries],
            [entry.split for entry in entries],
            [names.setdefault(group, group) for group in groups],
        ),
    )


def check_groups(
    groups: Iterable[str], nothing: str, where: Path, details: Sequence[str], *, several: bool = True
) -> None:
    """Refuses groups that keep nothing together, or everything.

    Args:
        groups: Of each file; empty where it has none.
        nothing: What is the matter if all are empty.
        where: The data.
        details: What could have been meant.
        several: As for `grouped_by_path`.

    Raises:
        DataError: HS-DATA-060, HS-DATA-061.
    """
    names = set(groups)
    if names <= {""}:
        raise DataError(
            "HS-DATA-060",
            f"--group-by finds no group: {nothing}.",
            where=where,
            details=details,
            fix="Give a regular expression that matches a part of the paths, or the name of a column.",
        )
    if several and len(names) == 1:
        raise DataError(
            "HS-DATA-061",
            f"--group-by puts all pictures into one group, '{names.pop()}': nothing is left to split.",
            where=where,
            details=details,
            fix=r"Put brackets around what differs from group to group, as in 'patient(\d+)'.",
        )
