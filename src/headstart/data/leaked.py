"""Reported pictures that training or choices have seen in some form: found, written, read back."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from headstart.data.audit_copies import Copies, crosses
from headstart.data.audit_table import AuditTable
from headstart.data.duplicates import Groups
from headstart.storage import write_atomic

LEAKS = "leaks.csv"
KINDS = {
    "exact": ("exact copy", "exact copies"),
    "near": ("near copy", "near copies"),
    "group": ("of a group on both sides", "of groups on both sides"),
}


class Leak(NamedTuple):
    """A reported picture that is not new to the model.

    Attributes:
        path: The picture.
        kind: ``exact`` (the same picture), ``near`` (a near copy) or ``group`` (of one group) of
        like: a picture that trains or chooses.
    """

    path: str
    kind: str
    like: str


def leaks_of(table: AuditTable, copies: Copies, groups: Groups) -> tuple[Leak, ...]:
    """Each reported picture that leaked once, by the gravest kind, in order of paths.

    Args:
        table: The data set.
        copies: Of its pictures.
        groups: As `headstart.data.audit_groups.named_groups` gives them.
    """
    found: dict[int, Leak] = {}
    for kind, kept in (("exact", copies.exact), ("near", copies.near_with_exact()), ("group", groups)):
        for group in kept:
            if not crosses(table, group):
                continue
            like = table.paths[next(filter(table.is_used, group))]
            for i in group:
                if table.is_reported(i):
                    found.setdefault(i, Leak(table.paths[i], kind, like))
    return tuple(found[i] for i in sorted(found))


def write_leaks(path: Path, leaks: Iterable[Leak]) -> None:
    """Writes ``leaks.csv``.

    Raises:
        RunError: HS-RUN-001 to -003.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Leak._fields)
    writer.writerows(leaks)
    write_atomic(path, text.getvalue().encode("utf-8", "surrogateescape"))


def read_leaks(folder: Path) -> tuple[Leak, ...]:
    """The leaks of a run; none if it has no such file."""
    try:
        with open(folder / LEAKS, encoding="utf-8", errors="surrogateescape", newline="") as file:
            return tuple(Leak(row["path"], row["kind"], row["like"]) for row in csv.DictReader(file))
    except FileNotFoundError:
        return ()


def in_words(counts: Mapping[str, int]) -> str:
    """How many of each kind: ``3 exact copies, 2 near copies``."""
    return ", ".join(f"{n:,} {KINDS[kind][n > 1]}" for kind, n in counts.items() if n)
