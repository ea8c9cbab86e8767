"""What is the matter with a data set, told from its table, its files' facts and their names. Pixels only."""

from __future__ import annotations

from collections import Counter

import numpy as np

from headstart.console import counted
from headstart.data.audit_copies import Copies, findings_on_copies
from headstart.data.audit_files import findings_on_files, findings_on_kinds
from headstart.data.audit_groups import findings_on_groups
from headstart.data.audit_names import findings_on_names
from headstart.data.audit_table import AuditTable
from headstart.data.duplicates import Groups
from headstart.data.facts import FactsColumns
from headstart.data.findings import Example, Finding
from headstart.data.fit import lost_by_class, lost_shares
from headstart.data.listing import listed
from headstart.data.preprocess import Preprocess
from headstart.data.shortcuts import Shortcut, shortcuts
from headstart.data.splits import TEST_MINIMUM

IMBALANCED, VERY_IMBALANCED = 3, 10  # pictures of the largest class per one of the smallest
CUT_MUCH = 0.5  # of a class's pixels, on average
CUT_UNEQUALLY = 0.1  # between two classes


def audit(
    table: AuditTable, preprocess: Preprocess, copies: Copies, groups: Groups, *, training: bool = True
) -> tuple[Finding, ...]:
    """All findings, in a fixed order.

    Args:
        table: The data set.
        preprocess: What the network sees of a picture.
        copies: Among its pictures.
        groups: That were named, as `headstart.data.audit_groups.named_groups` gives them.
        training: False for pictures that a finished model is measured on: what only matters to one who
            trains with them is left out.
    """
    found = [*findings_on_files(table, preprocess), *findings_on_copies(table, copies)]
    found += findings_on_groups(table, groups)
    if training:
        found += [*findings_on_classes(table), *findings_on_the_crop(table, preprocess)]
    found += findings_on_kinds(table)
    if training:
        found += findings_on_names(table)
        found += findings_on_shortcuts(table)
    return tuple(found)


def findings_on_classes(table: AuditTable) -> list[Finding]:
    """Classes that a part lacks, that are small, or much smaller than others."""
    found = []
    for split in ("selection", "calibration", "val", "test"):
        present = set(table.labels[table.splits == split].tolist()) - {-1}
        absent = [name for c, name in enumerate(table.classes) if c not in present]
        if present and absent:
            few = counted(len(absent), "class has", "classes have")
            found.append(
                Finding(
                    "HS-CHECK-040",
                    "warning",
                    f"{few} no pictures in {split}, their figures there are n/a ({listed(absent)})",
                    len(absent),
                    f"Add pictures of {listed(absent, 3)} to {split}.",
                )
            )
    folded = Counter("".join(name.casefold().split()) for name in table.classes)
    if alike := [repr(name) for name in table.classes if folded["".join(name.casefold().split())] > 1]:
        found.append(
            Finding(
                "HS-CHECK-070",
                "warning",
                f"{len(alike)} classes differ in capitals or spaces only ({listed(alike)})",
                len(alike),
                "Give them one name, unless they are different things.",
            )
        )
    training = np.isin(table.splits, ("train", "selection", "calibration", ""))
    counts = np.bincount(table.labels[training & (table.labels >= 0)], minlength=len(table.classes))
    small = [f"{table.classes[c]}: {counts[c]}" for c in np.argsort(counts, kind="stable")]
    small = small[int(np.sum(counts == 0)) : int(np.sum(counts < TEST_MINIMUM))]
    if small and counts.any():
        few = counted(len(small), "class has", "classes have")
        found.append(
            Finding(
                "HS-CHECK-041",
                "note",
                f"{few} fewer than {TEST_MINIMUM} pictures to train and choose with ({listed(small)})",
                len(small),
                "Add pictures: a few dozen in each class make a large difference.",
            )
        )
    if len(counts) > 1 and counts.min() > 0 and (ratio := counts.max() / counts.min()) > IMBALANCED:
        largest, smallest = table.classes[int(counts.argmax())], table.classes[int(counts.argmin())]
        found.append(
            Finding(
                "HS-CHECK-042",
                "warning" if ratio > VERY_IMBALANCED else "note",
                f"the classes differ in size: '{largest}' has {ratio:.1f} times as many training pictures as "
                f"'{smallest}' ({counts.max():,} and {counts.min():,})",
                len(table.classes),
                f"Add pictures of '{smallest}', and look at balanced accuracy rather than accuracy.",
            )
        )
    return found


def findings_on_the_crop(table: AuditTable, preprocess: Preprocess) -> list[Finding]:
    """Pixels that lie outside of the square that the network sees."""
    sizes = table.facts.sizes()
    lost = lost_shares(sizes, preprocess)
    by_class = lost_by_class(sizes, table.labels, table.classes, preprocess)
    if not by_class:
        return []
    most, least = max(by_class, key=by_class.__getitem__), min(by_class, key=by_class.__getitem__)
    if by_class[most] <= CUT_MUCH and by_class[most] - by_class[least] <= CUT_UNEQUALLY:
        return []
    size, margin = preprocess.img_size, 1 - (preprocess.img_size / preprocess.resize) ** 2
    worst = np.argsort(-lost, kind="stable")[:12]
    return [
        Finding(
            "HS-CHECK-043",
            "warning" if by_class[most] - by_class[least] > CUT_UNEQUALLY else "note",
            f"the crop to {size} x {size} cuts {by_class[most]:.0%} of the pixels of '{most}'"
            + (f", {by_class[least]:.0%} of '{least}'" if most != least else "")
            + f" (a square picture loses {margin:.0%})",
            int(np.sum(lost > CUT_MUCH)),
            "Keep whole pictures with --fit pad, or --fit squash, and compare.",
            tuple(
                Example((table.paths[i],), f"{fact.width} x {fact.height}, {lost[i]:.0%} cut")
                for i in worst.tolist()
                for fact in (table.facts[i],)
            ),
        )
    ]


def findings_on_shortcuts(table: AuditTable) -> list[Finding]:
    """Facts beside the content that give the class away."""
    known = np.flatnonzero(table.labels >= 0)
    facts = table.facts if len(known) == len(table.facts) else FactsColumns(table.facts[i] for i in known)
    return [_shortcut(s) for s in shortcuts(facts, table.labels[known])]


def _shortcut(found: Shortcut) -> Finding:
    low, high = found.interval
    may_be_content = found.by == "mean colour"
    return Finding(
        "HS-CHECK-050",
        "note" if may_be_content and not found.strong else "warning",
        f"the {found.by} alone names the class of {found.correct / found.n:.0%} of the pictures "
        f"({low:.0%} to {high:.0%}, n = {found.n:,}); always naming the most frequent class, "
        f"{found.majority:.0%}",
        found.correct,
        "Nothing need be done if the colour belongs to the matter (ripe, unripe); if light or background "
        "differ by class, take all pictures in the same light."
        if may_be_content
        else "Collect the pictures of all classes in the same way, or a model may learn this instead.",
    )
