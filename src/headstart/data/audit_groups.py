"""Findings about groups that were named: they lie on both sides of a split that the data bring."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np

from headstart.console import counted
from headstart.data.audit_copies import crosses
from headstart.data.audit_table import AuditTable
from headstart.data.duplicates import Groups, equal
from headstart.data.findings import Example, Finding

SHOWN_EACH = 2  # pictures of each side, in an example


def named_groups(table: AuditTable) -> Groups:
    """The groups that a table or `--group-by` names, of more than one picture."""
    if not any(entry.group for entry in table.entries):
        return []
    return equal(entry.group or i for i, entry in enumerate(table.entries))


def findings_on_groups(table: AuditTable, groups: Groups) -> Iterator[Finding]:
    """Groups in the reported part and in one that trains or chooses.

    Args:
        groups: What `named_groups` gave.
    """
    torn = [group for group in groups if crosses(table, group)]
    if not torn:
        return
    held_out = sum(table.is_reported(i) for group in torn for i in group)
    total = int(np.sum(table.splits == table.reported))
    belong = "picture belongs" if held_out == 1 else "pictures belong"
    yield Finding(
        "HS-CHECK-060",
        "warning",
        f"{held_out:,} of {total:,} {table.reported} {belong} to "
        f"{counted(len(torn), 'group that lies', 'groups that lie')} on both sides of the split; the "
        "reported figures flatter",
        held_out,
        "Move each group to one side; or give all pictures without a split, and headstart makes one.",
        tuple(_example(table, group) for group in torn),
    )


def _example(table: AuditTable, group: list[int]) -> Example:
    """A few members, some from each side."""
    reported, others = filter(table.is_reported, group), filter(table.is_used, group)
    shown = [*islice(reported, SHOWN_EACH), *islice(others, SHOWN_EACH)]
    return Example(tuple(table.paths[i] for i in shown), f"group '{table.entries[group[0]].group}'")
