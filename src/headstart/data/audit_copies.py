"""Findings about copies: exact and near ones, under several classes, in several parts of a split."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from headstart.console import counted
from headstart.data.audit_files import COPY_NAME
from headstart.data.audit_table import AuditTable
from headstart.data.duplicates import Groups, alike, same_rows
from headstart.data.findings import Example, Finding

EVEN = 3.0  # grey values: standard deviation below which a picture has no look to speak of
KEPT_FIRST = ("test", "val", "calibration", "selection", "train", "")

LEAVE_OUT = "Leave out all copies but one: --fix-list FILE writes which."
DECIDE = "Look at each group, decide on its class, and delete the others."


@dataclass(frozen=True)
class Manner:
    """A way in which pictures are copies of each other, in words and codes.

    Attributes:
        noun: What they are.
        codes: For the copies themselves, those under several classes, those across parts.
    """

    noun: str
    codes: tuple[str, str, str]


EXACT = Manner("exact copies", ("HS-CHECK-030", "HS-CHECK-033", "HS-CHECK-036"))
NEAR = Manner("near copies", ("HS-CHECK-031", "HS-CHECK-034", "HS-CHECK-037"))
SIMILAR = Manner("look-alikes by the network's features", ("HS-CHECK-032", "HS-CHECK-035", "HS-CHECK-038"))


@dataclass(frozen=True)
class Copies:
    """Copies among the pictures of a table.

    Attributes:
        exact: Groups of pictures that are the same.
        near: Groups of pictures that look alike, with one picture for all of its exact copies.
    """

    exact: Groups
    near: Groups

    def near_with_exact(self) -> Groups:
        """`near`, with all exact copies of its members."""
        of = {i: group for group in self.exact for i in group}
        return [[k for i in group for k in of.get(i, [i])] for group in self.near]


def copies_of(table: AuditTable, identical: Groups | None = None) -> Copies:
    """Finds copies.

    Args:
        identical: Groups of pictures with equal pixels; None: those with equal files.
    """
    exact = same_rows(table.read.hash_rows()) if identical is None else identical
    return Copies(exact, near_groups(table, exact))


def findings_on_copies(table: AuditTable, copies: Copies) -> list[Finding]:
    """That there are copies, and where they lie."""
    return [
        *_exact(table, copies.exact),
        *_where_they_lie(table, copies.exact, EXACT),
        *findings_on_alike(table, copies.near, NEAR),
    ]


def findings_on_alike(table: AuditTable, groups: Groups, manner: Manner) -> list[Finding]:
    """Pictures that resemble each other: that they do, under several classes, in several parts."""
    if not groups:
        return []
    pictures = sum(len(group) for group in groups)
    return [
        Finding(
            manner.codes[0],
            "note",
            f"{pictures:,} pictures in {counted(len(groups), 'group', 'groups')} are {manner.noun}"
            + (" of each other" if manner is NEAR else ""),
            pictures,
            "Look at them; pictures of one scene belong on one side of a split.",
            _examples(table, groups),
        ),
        *_where_they_lie(table, groups, manner),
    ]


def near_groups(table: AuditTable, exact: Groups) -> Groups:
    """Groups that look alike, with one picture for all of its exact copies."""
    kept = table.facts.contrasts() >= EVEN
    kept[[i for group in exact for i in sorted(group, key=_preferred(table))[1:]]] = False
    rows = np.flatnonzero(kept)
    return [rows[group].tolist() for group in alike(table.facts.looks()[rows])]


def _preferred(table: AuditTable) -> Callable[[int], tuple[int, bool, int, str]]:
    """Sort key of the picture to keep: of the reported part first, plain names before names of copies."""

    def key(i: int) -> tuple[int, bool, int, str]:
        path = table.paths[i]
        named_copy = COPY_NAME.search(path.rsplit("/", 1)[-1].rsplit(".", 1)[0]) is not None
        return KEPT_FIRST.index(str(table.splits[i])), named_copy, len(path), path

    return key


def _examples(table: AuditTable, groups: Groups) -> tuple[Example, ...]:
    return tuple(Example(tuple(table.paths[i] for i in group)) for group in groups)


def _exact(table: AuditTable, exact: Groups) -> list[Finding]:
    if not exact:
        return []
    groups = [sorted(group, key=_preferred(table)) for group in exact]
    copies = sum(len(group) - 1 for group in groups)
    what = f"{counted(copies, 'exact duplicate', 'exact duplicates')} of other pictures"
    if table.reported and not any(crosses(table, group) for group in groups):
        what += ", kept on one side of the split"
    return [
        Finding(
            "HS-CHECK-030",
            "note",
            what,
            copies,
            LEAVE_OUT,
            _examples(table, groups),
            tuple(
                (table.paths[i], f"the same picture as {table.paths[group[0]]}")
                for group in groups
                for i in group[1:]
            ),
        )
    ]


def crosses(table: AuditTable, group: Iterable[int]) -> bool:
    """Whether pictures lie on both sides: in the reported part, and in one that trains or chooses."""
    members = list(group)
    return any(map(table.is_reported, members)) and any(map(table.is_used, members))


def _where_they_lie(table: AuditTable, groups: Groups, manner: Manner) -> Iterable[Finding]:
    """Copies under several classes, and on both sides of the split."""
    torn = [group for group in groups if len({table.class_of(i) for i in group} - {""}) > 1]
    if torn:
        if manner is EXACT:
            text = (
                f"{counted(len(torn), 'picture lies', 'pictures lie')} under more than one class, "
                "exactly the same"
            )
        else:
            text = f"{counted(len(torn), 'group', 'groups')} of {manner.noun} lie under several classes"
        yield Finding(
            manner.codes[1],
            "warning",
            text,
            len(torn),
            DECIDE,
            tuple(
                Example(
                    tuple(table.paths[i] for i in group),
                    ", ".join(sorted({table.class_of(i) for i in group})),
                )
                for group in torn
            ),
            tuple(
                (table.paths[i], "the same picture lies under another class")
                for group in torn
                for i in group
                if manner is EXACT
            ),
        )
    leaked = [group for group in groups if crosses(table, group)]
    if leaked:
        held_out = [i for group in leaked for i in group if table.is_reported(i)]
        others = [(i, group) for group in leaked for i in group if table.is_used(i)]
        total = int(np.sum(table.splits == table.reported))
        yield Finding(
            manner.codes[2],
            "warning",
            f"{len(held_out)} of {total} {table.reported} pictures are {manner.noun} of pictures "
            "used for training or choices; the reported figures flatter",
            len(held_out),
            LEAVE_OUT,
            _examples(table, leaked),
            tuple(
                (table.paths[i], f"its copy is in {table.reported}: {table.paths[_held_out(table, group)]}")
                for i, group in others
                if manner is not SIMILAR
            ),
        )


def _held_out(table: AuditTable, group: Iterable[int]) -> int:
    return next(i for i in group if table.is_reported(i))
