"""From a data folder to a table of readable pictures with classes and splits, and the pictures themselves."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from headstart import console
from headstart.data.audit import audit
from headstart.data.audit_copies import copies_of
from headstart.data.audit_groups import named_groups
from headstart.data.audit_table import AuditTable
from headstart.data.cache import Cache
from headstart.data.findings import Finding, by_severity, worst
from headstart.data.fit import Sizes, long_class
from headstart.data.hash_texts import TEXTS, HashTexts
from headstart.data.images import RANGE_GUESSED, intensity_range
from headstart.data.leaked import Leak, leaks_of
from headstart.data.listing import Entries, Entry, Excluded, Listing
from headstart.data.lock import LockRow, left_out_rows, soft_label, write_lock
from headstart.data.outcomes import Outcomes
from headstart.data.overrides import listing_after, overridden
from headstart.data.pictures import Files, Pictures, available_memory, changed
from headstart.data.preprocess import Preprocess
from headstart.data.reading import read_pictures
from headstart.data.review import (
    LeftOut,
    check_readable,
    class_names,
    notes_on_room,
)
from headstart.data.sources import Data, SourceOptions, list_source
from headstart.data.splits import SPLITS, Assignment, assign_splits
from headstart.errors import nearest
from headstart.storage import write_atomic

SHOWN_CLASSES = 20
BESIDE_CACHE = 128 * 2**20  # bytes in memory, of pictures that find no place in the cache


@dataclass(frozen=True, eq=False)
class Dataset:
    """The table of all readable pictures, sorted by path.

    Attributes:
        root: The data folder; of a list the deepest folder common to all.
        classes: Names in NFC, sorted by code point; a label is an index into them.
        paths: Relative to ``root`` with ``/`` (absolute for lists), object array of str, [n].
        labels: int64 [n].
        splits: ``train``, ``selection``, ``val`` or ``test``, [n].
        file_hashes: SHA-256 of the bytes, hexadecimal, [n].
        groups: Pictures of one group never lie on two sides of a split that headstart makes, [n]. The group
            that a table or `--group-by` names; else the file hash: a set of exact duplicates.
        left_out: Files that are no picture or cannot be read.
        excluded: Files and folders left out on demand.
        notes: What was guessed or decided about layout, split and decoding, for a person.
        findings: What is the matter with the pictures, the worst first.
        layout: ``split-folders``, ``class-folders``, ``list`` or ``table``.
        reported_split: The split that results are reported on and that nothing is chosen on.
        soft: Probabilities that a table gives, float32 [n, len(soft_classes)]; None where there are none. The
            label is the likeliest class. Training learns them, see `targets`; results are of the label.
        soft_classes: Their classes, in the order of the table.
        sizes: Width and height of the pictures, upright, of the part that is used, pixels [n, 2].
        leaks: Reported pictures of which training or choices have an exact copy, a near copy, or another
            picture of the group.
    """

    root: Path
    classes: tuple[str, ...]
    paths: NDArray[np.object_]
    labels: NDArray[np.int64]
    splits: NDArray[np.str_]
    file_hashes: HashTexts | NDArray[np.str_]
    groups: HashTexts | NDArray[np.str_]
    left_out: tuple[LeftOut, ...]
    excluded: Sequence[Excluded]
    notes: tuple[str, ...]
    findings: tuple[Finding, ...]
    layout: str
    reported_split: str
    soft: NDArray[np.float32] | None = None
    soft_classes: tuple[str, ...] = ()
    sizes: Sizes = field(default_factory=lambda: np.zeros((0, 2), np.int32))
    leaks: tuple[Leak, ...] = ()

    def __len__(self) -> int:
        return len(self.paths)

    def indices(self, *splits: str) -> NDArray[np.int64]:
        """Rows of one or several splits, ascending; all rows without arguments.

        Raises:
            ValueError: A name that is no split.
        """
        for name in splits:
            if name not in SPLITS:
                raise ValueError(f"'{name}' is no split.{nearest(name, SPLITS)}")
        wanted = np.zeros(len(self), bool)
        for name in splits or SPLITS:
            wanted |= self.splits == name
        return np.flatnonzero(wanted).astype(np.int64)

    def file(self, index: int) -> Path:
        """Where picture ``index`` lies."""
        return self.root / str(self.paths[index])

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over (content, class, split) of all pictures, and their probabilities where a table gives
        them: names and places of files do not matter."""
        rows = sorted(
            f"{file_hash}\t{self.classes[label]}\t{split}{self._shares(i)}\n"
            for i, (file_hash, label, split) in enumerate(
                zip(self.file_hashes, self.labels, self.splits, strict=True)
            )
        )
        return hashlib.sha256("".join(rows).encode("utf-8", "surrogatepass")).hexdigest()

    def _shares(self, index: int) -> str:
        """The probabilities of a picture, in the order of the classes; empty where there are none."""
        if self.soft is None:
            return ""
        shares = dict(soft_label(self.soft_classes, self.soft[index]))
        return "".join(f"\t{shares.get(name, 0):g}" for name in self.classes)

    def targets(self, indices: NDArray[np.int64]) -> NDArray[np.int64] | NDArray[np.float32]:
        """What training learns of some pictures: probabilities [n, C] where a table gives them, rows that sum
        to 1; else labels [n]."""
        if self.soft is None:
            labels: NDArray[np.int64] = self.labels[indices]
            return labels
        column = {name: c for c, name in enumerate(self.soft_classes)}
        shares = np.zeros((len(indices), len(self.classes)), np.float32)
        for c, name in enumerate(self.classes):
            if name in column:
                shares[:, c] = self.soft[indices, column[name]]
        shares /= shares.sum(1, keepdims=True)
        return shares

    def write_csv(self, path: Path) -> None:
        """Writes the table, with what is left out and why: see `headstart.data.lock`.

        Where a table gave probabilities, they follow as ``prob:CLASS``.

        Raises:
            RunError: HS-RUN-001 to -003.
        """
        write_lock(path, chain(self.rows(), left_out_rows(self.left_out, self.excluded)), self.soft_classes)

    def write_findings(self, path: Path) -> None:
        """Writes all findings as JSON, as `headstart check --json` has them.

        Raises:
            RunError: HS-RUN-001 to -003.
        """
        told = [finding.to_dict() for finding in self.findings]
        write_atomic(path, writable(json.dumps(told, ensure_ascii=False, indent=2)) + "\n")

    def announce(self, more: str) -> None:
        """Says what was decided about the data, and the worst findings; the log has all of them.

        Args:
            more: The command that tells all findings.
        """
        for line in (*self.notes, *worst(self.findings, more)):
            console.say(writable(line))
        with console.quiet():
            for finding in self.findings:
                console.say(f"  {writable(finding.line())}")

    def rows(self) -> Iterator[LockRow]:
        """The rows of ``dataset.csv``, but for what is left out."""
        for i, path in enumerate(self.paths):
            soft = () if self.soft is None else soft_label(self.soft_classes, self.soft[i])
            class_name, split = self.classes[self.labels[i]], str(self.splits[i])
            group, file_hash = str(self.groups[i]), str(self.file_hashes[i])
            yield LockRow(str(path), class_name, split, group, file_hash, soft=soft)

    def tree(self) -> str:
        """The layout as it was understood: pictures of each class in each split."""
        present = [split for split in SPLITS if split in self.splits]
        counts = {split: self._counts(split) for split in present}
        header = [f"{split} (reported)" if split == self.reported_split else split for split in present]
        rows: list[list[object]] = [
            [name, *(int(counts[split][c]) for split in present)]
            for c, name in enumerate(self.classes[:SHOWN_CLASSES])
        ]
        hidden = len(self.classes) - SHOWN_CLASSES
        if hidden > 0:
            rest = [int(counts[split][SHOWN_CLASSES:].sum()) for split in present]
            rows.append([f"... and {hidden} more", *rest])
        rows.append(["all", *(int(counts[split].sum()) for split in present)])
        kind = {
            "split-folders": "split given by folders",
            "class-folders": "class folders, split made here",
            "list": "from a list",
            "table": "from a table",
        }[self.layout]
        if self.layout == "class-folders" and present == ["test"]:
            kind = "class folders"
        total = f"{console.counted(len(self), 'picture', 'pictures')}, {len(self.classes)} classes, {kind}"
        title = "the table" if self.layout == "table" else self.root
        return f"{title}: {total}\n" + console.table(["class", *header], rows)

    def _counts(self, split: str) -> NDArray[np.int64]:
        return np.bincount(self.labels[self.splits == split], minlength=len(self.classes))


def load_dataset(
    data: Data,
    *,
    preprocess: Preprocess,
    options: SourceOptions | None = None,
    exclude: Sequence[str] = (),
    selection: float = 0.2,
    workers: int | None = None,
    memory_limit: int | None = None,
    cache: Cache | None = None,
    require_split: bool = True,
    fold: tuple[int, int] | None = None,
    calibrate: bool = True,
    watch: Callable[[int, int], object] | None = None,
    choose_fit: bool = False,
    overrides: Path | None = None,
    why: str = "",
) -> tuple[Dataset, Pictures]:
    """Reads every file once: hashed, decoded to its end, resized, kept in memory.

    Args:
        data: A folder, a table, an archive or its address (see `headstart.data.sources`), or (path, label[,
            split]) of each picture.
        preprocess: Its ``intensity`` is decided here from the training pictures if it is None and there are
            pictures with a high bit depth; read it from ``pictures.preprocess``.
        options: What is said of the source: its images, columns, nested folders.
        exclude: Names or relative paths to leave out, with ``*`` and ``?``.
        selection: Part of train that is set aside for choices where the data bring none; 0: nothing is.
        workers: Threads; the result does not depend on them. None: one per processor.
        memory_limit: Bytes of resized pictures to keep in memory, of those that are not in the cache; None:
            half of the free memory. Beside a cache, `BESIDE_CACHE` at most.
        cache: Disk space where resized pictures are kept for later runs; None: nothing is written.
        require_split: False to evaluate a finished model: one class is enough, classes come from all parts,
            nothing is carved, class folders alone are all ``test``, and without ``preprocess.intensity``
            the range of a picture with a high bit depth is guessed from it alone, as in prediction.
        fold: Number, from 1, and count: as for `headstart.data.splits.assign_splits`.
        calibrate: As for `headstart.data.splits.assign_splits`.
        watch: Called with how many files were read, of how many.
        choose_fit: Whether pictures are padded instead of cropped where `headstart.data.fit` says so of those
            that train; read it from ``pictures.preprocess``.
        overrides: Table of decisions on labels, see `headstart.data.overrides`.
        why: Said first of all notes.

    Returns:
        The table and its pictures; same order, same length.

    Raises:
        DataError: HS-DATA-001 to -017, -050 to -057, -060 to -063 and -080 to -084, with all
            faults of the data at once.
    """
    memory = available_memory() // 2 if memory_limit is None else memory_limit
    if cache is not None:
        memory = min(memory, BESIDE_CACHE)
    listing = list_source(data, options=options, exclude=exclude, require_split=require_split)
    files = Files(listing.root, [entry.path for entry in listing.entries])
    results, held = read_pictures(
        files,
        preprocess,
        workers=workers,
        memory=memory,
        cache=cache,
        common_range=require_split,
        watch=watch,
    )
    entries, left_out = told_apart(listing, results)
    ok = [i for i in range(len(results)) if i not in results.faults]
    classes = class_names(listing, require_split)
    check_readable(listing, entries, left_out, classes, require_split)
    index = {name: c for c, name in enumerate(classes)}
    labels = np.array([index[entry.class_name] for entry in entries], np.int64)
    read = results.sound()
    groups = [entry.group for entry in entries]
    assignment = assign_splits(
        [entry.split for entry in entries],
        labels,
        read.hash_rows(),
        classes,
        groups=groups,
        selection=selection,
        split_needed=require_split,
        fold=fold,
        calibrate=calibrate,
    )
    decided: tuple[str, ...] = ()
    if overrides is not None:
        names = [entry.path for entry in entries]
        done = overridden(overrides, listing.root, names, labels, classes, assignment)
        rows, decided = np.flatnonzero(done.kept).tolist(), done.notes
        listing = listing_after(listing, entries, done, classes, overrides)
        entries = Entries.of(replace(entries[i], class_name=classes[done.labels[i]]) for i in rows)
        labels = done.labels[rows]
        assignment = replace(assignment, splits=assignment.splits[rows])
        read, ok = Outcomes(read[i] for i in rows), [ok[i] for i in rows]
        groups = [groups[i] for i in rows]
    if choose_fit and preprocess.fit == "crop":
        train = assignment.splits == "train"
        long = long_class(read.facts.sizes()[train], labels[train], classes)
        if long is not None:  # read again: rare, and what most data sets need not wait for
            return load_dataset(
                data,
                preprocess=replace(preprocess, fit="pad"),
                options=options,
                exclude=exclude,
                selection=selection,
                workers=workers,
                memory_limit=memory_limit,
                cache=cache,
                require_split=require_split,
                fold=fold,
                calibrate=calibrate,
                watch=watch,
                overrides=overrides,
                why=long.line("pad"),
            )
    kept = held if len(ok) == len(held) else [held[i] for i in ok]
    files = files if len(ok) == len(files) else files.of(ok)
    wait_for_range = require_split and preprocess.intensity is None
    preprocess, depth_notes = _with_intensity(preprocess, read, assignment, decide=require_split)
    if depth_notes and wait_for_range:
        late = sorted(read.extremes)
        again, pixels = read_pictures(
            files.of(late),
            preprocess,
            workers=workers,
            memory=memory,
            cache=cache,
            label="scaling intensities",
        )
        for k, (i, scaled) in enumerate(zip(late, pixels, strict=True)):
            if k in again.faults:
                raise changed(files[i], again.faults[k])
            kept[i] = scaled
    pictures = Pictures(files, preprocess, kept)
    table = AuditTable(
        listing, classes, entries, labels, assignment.splits, assignment.reported, read, left_out
    )
    copies, named = copies_of(table), named_groups(table)
    notes = (
        *filter(None, (why,)),
        *listing.notes,
        *assignment.notes,
        *decided,
        *depth_notes,
        *notes_on_room(len(pictures), pictures.at_hand),
    )
    paths, file_hashes = np.array(files.names, dtype=object), HashTexts(read.hash_rows())
    files.names = paths  # one column of both
    dataset = Dataset(
        root=listing.root,
        classes=classes,
        paths=paths,
        labels=labels,
        splits=assignment.splits,
        file_hashes=file_hashes,
        groups=(
            np.array([name or own for name, own in zip(groups, file_hashes, strict=True)], TEXTS)
            if any(groups)
            else file_hashes
        ),
        left_out=left_out,
        excluded=listing.excluded,
        notes=tuple(map(writable, notes)),
        findings=by_severity(audit(table, preprocess, copies, named, training=require_split)),
        layout=listing.layout,
        reported_split=assignment.reported,
        soft=_soft(listing, paths),
        soft_classes=listing.soft_classes,
        sizes=read.facts.sizes(),
        leaks=leaks_of(table, copies, named),
    )
    return dataset, pictures


def writable(text: str) -> str:
    """The text in letters that every terminal and file takes: a file name may hold any byte."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def told_apart(listing: Listing, results: Outcomes) -> tuple[Sequence[Entry], tuple[LeftOut, ...]]:
    """The pictures, and the files that give none."""
    if not results.faults:
        return listing.entries, ()
    entries = Entries.of(entry for i, entry in enumerate(listing.entries) if i not in results.faults)
    bad = [(listing.entries[i], fault) for i, fault in sorted(results.faults.items())]
    left_out = (LeftOut(entry.path, entry.class_name, fault.kind, fault.reason) for entry, fault in bad)
    return entries, tuple(left_out)


def _soft(listing: Listing, paths: Iterable[str]) -> NDArray[np.float32] | None:
    if not listing.soft:
        return None
    return np.array([listing.soft[path] for path in paths], np.float32)


def _with_intensity(
    preprocess: Preprocess, read: Outcomes, assignment: Assignment, *, decide: bool
) -> tuple[Preprocess, list[str]]:
    """What is black and white in pictures of high bit depth: the model's range, else from the training part.

    A finished model without a range (``decide`` is False) was trained on 8-bit pictures: each picture's own
    range is guessed, as prediction does.
    """
    deep = sorted(read.extremes.items())
    if not deep:
        return preprocess, []
    decided = preprocess.intensity
    if decided is None and not decide:
        return preprocess, [f"{console.counted(len(deep), 'picture', 'pictures')}: {RANGE_GUESSED}"]
    if decided is None:
        trained = [extremes for i, extremes in deep if assignment.splits[i] == "train"]
        decided = intensity_range(trained or [extremes for _, extremes in deep])
        preprocess = replace(preprocess, intensity=decided)
    bits = np.log2(decided.white + 1)
    depth = f"{int(bits)}-bit " if decided.black == 0 and bits == int(bits) and bits > 1 else ""
    pictures = console.counted(len(deep), "picture", "pictures").replace(" ", f" {depth}grey ", 1)
    notes = [f"{pictures}: {decided.black:g}..{decided.white:g} shown as black..white, the same for all"]
    beyond = sum(e.low < decided.black or e.high > decided.white for _, e in deep)
    if beyond:
        notes.append(f"{beyond} of them hold values outside of this range, which are clipped")
    return preprocess, notes
