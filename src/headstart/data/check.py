"""`headstart check`: everything that is the matter with a data set, whether or not training would take it."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from headstart import console
from headstart.data.audit import audit
from headstart.data.audit_copies import copies_of
from headstart.data.audit_groups import named_groups
from headstart.data.audit_table import AuditTable
from headstart.data.dataset import told_apart
from headstart.data.duplicates import same_pixels, same_rows
from headstart.data.exclusions import LIST
from headstart.data.findings import MARKS, Example, Finding, by_severity, tally
from headstart.data.fit import long_class, lost_by_class
from headstart.data.hash_texts import TEXTS
from headstart.data.listing import Listing, path_order
from headstart.data.pictures import Files
from headstart.data.preprocess import Preprocess
from headstart.data.remembered import RememberedFacts
from headstart.data.review import check_readable, class_names
from headstart.data.sources import Data, SourceOptions, list_source
from headstart.data.splits import SPLITS, assign_splits
from headstart.errors import DataError, one_line
from headstart.storage import csv_writer, write_atomic

FIX_LIST_COLUMNS = ("path", "reason", "code")


@dataclass(frozen=True, eq=False)
class Checked:
    """What a check found.

    Attributes:
        table: The pictures.
        findings: Errors first, then warnings, then notes.
        notes: What was decided about layout and split.
        preprocess: What the network would see.
    """

    table: AuditTable
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    preprocess: Preprocess

    @property
    def root(self) -> Path:
        """The data folder."""
        return self.table.listing.root

    @property
    def usable(self) -> bool:
        """Whether training takes the data as they are."""
        return all(finding.severity != "error" for finding in self.findings)

    def with_findings(self, more: Sequence[Finding]) -> Checked:
        """The same with further findings."""
        return replace(self, findings=by_severity([*self.findings, *more]))

    def counts(self) -> dict[str, dict[str, int]]:
        """Readable pictures by class and part."""
        found: dict[str, dict[str, int]] = {name: {} for name in self.table.classes}
        keys = Counter((int(c), str(s)) for c, s in zip(self.table.labels, self.table.splits, strict=True))
        for (label, split), n in sorted(keys.items()):
            if label >= 0:
                found[self.table.classes[label]][split] = n
        return found

    def lost(self) -> dict[str, float]:
        """Share of the pixels of each class that the network never sees, 0-1."""
        table = self.table
        return lost_by_class(table.facts.sizes(), table.labels, table.classes, self.preprocess)

    def parts(self) -> list[str]:
        """The parts that there are, in order."""
        return [split for split in SPLITS if np.any(self.table.splits == split)]

    def summary(self) -> str:
        """Numbers of pictures, files, classes and findings."""
        pictures = console.counted(len(self.table.paths), "picture", "pictures")
        files = console.counted(len(self.table.listing.entries), "file", "files")
        classes = console.counted(len(self.table.classes), "class", "classes")
        return f"{pictures} in {files}, {classes}: {tally(self.findings) or 'nothing found'}"

    def to_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "data": str(self.root),
            "usable": self.usable,
            "files": len(self.table.listing.entries),
            "pictures": len(self.table.paths),
            "classes": self.counts(),
            "fit": self.preprocess.fit,
            "pixels_lost": {name: round(share, 4) for name, share in self.lost().items()},
            "findings": [finding.to_dict() for finding in self.findings],
            "notes": list(self.notes),
        }

    def lines(self) -> list[str]:
        """For the terminal."""
        title = "the table" if self.table.listing.layout == "table" else self.root
        lines = [f"{title}: {self.summary()}", *(f"  {note}" for note in self.notes)]
        for finding in self.findings:
            lines += ["", f"{MARKS[finding.severity]}  {one_line(finding.what)}   [{finding.code}]"]
            lines += [f"           {example}" for example in finding.examples[:SHOWN]]
            if (more := len(finding.examples) - SHOWN) > 0:
                lines.append(f"           and {more:,} more")
            lines.append(f"         > {one_line(finding.mend)}")
        return lines

    def excluded(self) -> list[tuple[str, str, str]]:
        """Path, reason and code of each file to leave out; a file once, for its gravest reason.

        What a list of files left out already is named again, so that one list has all.
        """
        rows = {
            item.path: (item.path, item.reason, item.code)
            for item in self.table.listing.excluded
            if item.by.startswith(f"{LIST} ")
        }
        for finding in self.findings:
            for path, reason in finding.excluded:
                rows.setdefault(path, (path, reason, finding.code))
        return [rows[path] for path in sorted(rows, key=path_order)]

    def write_fix_list(self, path: Path) -> int:
        """Writes `excluded` as CSV with `FIX_LIST_COLUMNS`; returns the number of rows.

        Raises:
            RunError: HS-RUN-001 to -003.
        """
        text = io.StringIO()
        writer = csv_writer(text)
        writer.writerow(FIX_LIST_COLUMNS)
        rows = self.excluded()
        for row in rows:
            writer.writerow(row)
        write_atomic(path, text.getvalue().encode("utf-8", "surrogateescape"))
        return len(rows)


SHOWN = 3  # examples on the terminal
TOLD_BY = {
    "HS-CHECK-007": {"HS-DATA-003", "HS-DATA-010", "HS-DATA-011"},
    "HS-CHECK-014": {"HS-DATA-078"},
}
"""Findings that say less than these errors, where training stops with one."""


def check(
    data: Data,
    *,
    preprocess: Preprocess,
    options: SourceOptions | None = None,
    exclude: Sequence[str] = (),
    selection: float = 0.2,
    workers: int | None = None,
    choose_fit: bool = False,
    fold: tuple[int, int] | None = None,
) -> Checked:
    """Looks at every file of a data set. Nothing in it is changed.

    Args:
        data: As for `headstart.data.dataset.load_dataset`.
        preprocess: What the network would see.
        options: What is said of the source.
        exclude: Patterns to leave out.
        selection: Part of train that training would set aside.
        workers: Threads that read pictures.
        choose_fit: As for `headstart.data.dataset.load_dataset`.
        fold: Of which training the parts are, as for `headstart.data.splits.assign_splits`.

    Raises:
        DataError: HS-DATA-001, -002: there is nothing to look at; -050 to -052, -056, -057: nobody knows what
            a table says. Other faults become findings.
        FetchError, ConfigError: as `headstart.data.sources.list_source`.
    """
    listing, errors = _listed(data, options, exclude)
    remembered = RememberedFacts(listing.root, preprocess)
    files = Files(listing.root, [entry.path for entry in listing.entries])
    results = remembered.read(files, workers=workers)
    entries, left_out = told_apart(listing, results)
    read = results.sound()
    classes = tuple(name for name in class_names(listing, not errors) if name)
    if not errors:
        try:
            check_readable(listing, entries, left_out, classes, True)
        except DataError as error:
            errors.append(error)
    index = {name: c for c, name in enumerate(classes)}
    labels = np.array([index.get(entry.class_name, -1) for entry in entries], np.int64)
    given = [entry.split for entry in entries]
    splits, reported, notes = (
        np.array(given, dtype=TEXTS),
        "test" if "test" in given else "val",
        listing.notes,
    )
    if not errors:
        try:
            assignment = assign_splits(
                given,
                labels,
                read.hash_rows(),
                classes,
                groups=[entry.group for entry in entries],
                selection=selection,
                fold=fold,
            )
        except DataError as error:
            errors.append(error)
        else:
            splits, reported = assignment.splits, assignment.reported
            notes = (*notes, *assignment.notes)
    if not errors and choose_fit and preprocess.fit == "crop":
        train = splits == "train"
        long = long_class(read.facts.sizes()[train], labels[train], classes)
        if long is not None:
            padded = replace(preprocess, fit="pad")
            if any(fault.kind == "too-large" for fault in results.faults.values()):  # for the crop only
                checked = check(
                    data,
                    preprocess=padded,
                    options=options,
                    exclude=exclude,
                    selection=selection,
                    workers=workers,
                    fold=fold,
                )
                return replace(checked, notes=(long.line("pad"), *checked.notes))
            preprocess, notes = padded, (long.line("pad"), *notes)
    if errors and not any(given):
        reported = ""
    table = AuditTable(listing, classes, entries, labels, splits, reported, read, left_out)
    identical = same_pixels(
        same_rows(table.facts.looks()),
        lambda i: (table.facts[i].width, table.facts[i].height),
        lambda i: remembered.pixels(listing.root / table.paths[i], read.file_hash(i)),
    )
    remembered.save()
    found = audit(table, preprocess, copies_of(table, identical), named_groups(table))
    findings = _told_once([_as_finding(error) for error in errors], found)
    return Checked(table, by_severity(findings), notes, preprocess)


def _listed(
    data: Data, options: SourceOptions | None, exclude: Sequence[str]
) -> tuple[Listing, list[DataError]]:
    """The files, and what training would stop with."""
    try:
        return list_source(data, options=options, exclude=exclude), []
    except DataError as error:
        fault = error
    return list_source(data, options=options, exclude=exclude, anyway=True), [fault]


def _told_once(faults: Sequence[Finding], found: Sequence[Finding]) -> list[Finding]:
    """All findings, without those on files that an error names; it takes over what they leave out."""
    if not faults:
        return list(found)
    told = {str(example) for fault in faults for example in fault.examples}
    codes = {fault.code for fault in faults}
    kept: list[Finding] = []
    excluded: list[tuple[str, str]] = []
    for finding in found:
        if finding.excluded and told >= {str(example) for example in finding.examples}:
            excluded += finding.excluded
        elif not codes & TOLD_BY.get(finding.code, set()):
            kept.append(finding)
    return [*(replace(fault, excluded=tuple(excluded)) for fault in faults), *kept]


def _as_finding(error: DataError) -> Finding:
    """What training would stop with."""
    where = f" ({error.where})" if error.where else ""
    return Finding(
        error.code,
        "error",
        error.what.rstrip(".") + where,
        max(1, len(error.details)),
        error.fix or "See the details.",
        tuple(Example((), detail) for detail in error.details),
    )
