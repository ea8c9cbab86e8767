"""Groups that nobody named, told from the names of the pictures: patients, lots, dates, series, frames.

Only what a person would want to know is suggested: most names carry it, it has several pictures, every class
has more than one of it, and it does lie on both sides of the split.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart.console import counted
from headstart.data.audit_copies import EVEN, crosses
from headstart.data.audit_table import AuditTable
from headstart.data.duplicates import LOOK_DISTANCE, equal
from headstart.data.findings import Example, Finding
from headstart.data.grouping import compiled, group_of, root_of

WORDS = (
    *(
        "patient",
        "subject",
        "sub",
        "case",
        "donor",
        "animal",
        "mouse",
        "rat",
        "specimen",
        "person",
        "volunteer",
    ),
    *("lot", "batch", "wafer", "panel", "plate", "slide", "tray", "plot", "tree", "plant"),
    *(
        "series",
        "session",
        "visit",
        "study",
        "scan",
        "exam",
        "video",
        "clip",
        "scene",
        "sequence",
        "seq",
        "burst",
    ),
)
WORD = re.compile(rf"(?<![a-z])({'|'.join(sorted(WORDS, key=len, reverse=True))})([-_ ]?)\d+", re.I)
DAY = r"(?:0[1-9]|[12]\d|3[01])"
MONTH = r"(?:0[1-9]|1[0-2])"
FIXED = (
    (re.compile(r"\.rf\.[0-9a-f]{16,}\."), r"([^/]+)\.rf\.", "the name of its original"),  # Roboflow's copies
    (re.compile(rf"(?<!\d)20\d\d-{MONTH}-{DAY}(?!\d)"), r"(20\d\d-\d\d-\d\d)", "a date"),
    (re.compile(rf"(?<!\d)20\d\d_{MONTH}_{DAY}(?!\d)"), r"(20\d\d_\d\d_\d\d)", "a date"),
    (re.compile(rf"(?<!\d)20\d\d{MONTH}{DAY}(?!\d)"), r"(20\d\d[01]\d[0-3]\d)", "a date"),
    (re.compile(r"\d[-_ .]\d+\.\w+$"), r"([^/]*\d)[-_ .]\d+\.\w+$", "the number of a series"),
)
NUMBERED = re.compile(r"(\d+)\.\w+$")
SAMPLE = 400  # paths that are looked at first
MOST = 0.8  # of the pictures carry it
GROUPS = 5  # fewer are cameras or folders rather than things to keep together
FOLLOWERS = 50  # pairs of neighbours that it takes to speak of frames
FRAMES_ALIKE = 0.5  # of these pairs are near copies by their looks
OTHERS_ALIKE = 0.1  # of random pairs of the class, at most
LISTED = 50_000  # paths among which neighbours are looked for
LOOKED_AT = 2000  # pairs
SHOWN_MEMBERS = 3  # of a group, in an example
RUNS = (2, 1)  # last digits of the number that a run of frames shares


@dataclass(frozen=True)
class Suggestion:
    """A ``--group-by`` to type.

    Attributes:
        pattern: The regular expression.
        what: What the names carry.
    """

    pattern: str
    what: str


def findings_on_names(table: AuditTable) -> Iterator[Finding]:
    """What may belong together, if no groups were named and a part is reported."""
    if not table.reported or any(entry.group for entry in table.entries):
        return
    root = root_of(table.listing)
    paths = [path.removeprefix(root) for path in table.paths]
    for code, suggestions in (("HS-CHECK-061", _by_names(paths)), ("HS-CHECK-062", _by_frames(table, paths))):
        if found := next(filter(None, (_finding(table, paths, one, code) for one in suggestions)), None):
            yield found
            return


def _by_names(paths: Sequence[str]) -> Iterator[Suggestion]:
    """Patterns that most names match, the most telling first."""
    sample = paths[:: max(1, len(paths) // SAMPLE)]
    words = Counter((match[1], match[2]) for path in sample for match in WORD.finditer(path))
    if words:
        (word, separator), _ = words.most_common(1)[0]
        several = len({key for key in words if key[0].lower() == word.lower()}) > 1
        text = f"(?i){word.lower()}[-_ ]?" if several else f"{word}{separator}"
        yield Suggestion(rf"{text}(\d+)", f"'{word}' and a number")
    for known, pattern, what in FIXED:
        if sum(known.search(path) is not None for path in sample) >= MOST * len(sample):
            yield Suggestion(pattern, what)


def _by_frames(table: AuditTable, paths: Sequence[str]) -> Iterator[Suggestion]:
    """Runs of consecutive numbers, where a picture looks like the next one and not like any other."""
    place: dict[tuple[int, str, int], int] = {}
    has_a_look = (table.facts.contrasts() >= EVEN).tolist()
    for i, path in enumerate(paths[:LISTED]):
        if has_a_look[i] and (match := NUMBERED.search(path)) is not None:
            stem = path[: match.start()].rpartition("/")[2]
            place[int(table.labels[i]), stem, int(match[1])] = i
    pairs = [(i, place.get((c, stem, number + 1), -1)) for (c, stem, number), i in place.items()]
    pairs = [pair for pair in pairs if pair[1] >= 0]
    if len(pairs) < FOLLOWERS:
        return
    followed = np.array(pairs[:: max(1, len(pairs) // LOOKED_AT)], np.int64)
    random = np.random.default_rng(0)
    of_class = {c: np.flatnonzero(table.labels == c) for c in set(table.labels.tolist())}
    others = [int(random.choice(of_class[int(table.labels[i])])) for i in followed[:, 0]]
    any_two = np.stack([followed[:, 0], np.array(others)], axis=1)
    looks = table.facts.looks()
    if _alike(looks, followed) >= FRAMES_ALIKE and _alike(looks, any_two) <= OTHERS_ALIKE:
        for digits in RUNS:
            what = f"numbers in a row, of which neighbours look alike (taken in runs of {10**digits})"
            yield Suggestion("([^/]*)" + digits * r"\d" + r"\.\w+$", what)


def _alike(looks: NDArray[np.uint8], pairs: NDArray[np.int64]) -> float:
    """Share of pairs that look like copies."""
    differing = np.bitwise_count(looks[pairs[:, 0]] ^ looks[pairs[:, 1]]).sum(axis=1)
    return float(np.mean(differing <= LOOK_DISTANCE))


def _finding(table: AuditTable, paths: Sequence[str], suggestion: Suggestion, code: str) -> Finding | None:
    """The suggestion, if keeping its groups together would change something and can be done."""
    expression = compiled(suggestion.pattern)
    groups = [group_of(path, expression) for path in paths]
    sizes = Counter(filter(None, groups))
    together = sum(n for n in sizes.values() if n > 1)
    if len(sizes) < GROUPS or sizes.total() < MOST * len(groups) or 2 * together < len(groups):
        return None
    keys = [name or i for i, name in enumerate(groups)]
    if any(len({keys[i] for i in np.flatnonzero(table.labels == c)}) < 2 for c in range(len(table.classes))):
        return None
    torn = [group for group in equal(keys) if crosses(table, group)]
    if not torn:
        return None
    held_out = sum(table.is_reported(i) for group in torn for i in group)
    least, most = min(sizes.values()), max(sizes.values())
    each = f"{least:,} to {most:,}" if least < most else f"{most:,}"
    flag = f"--group-by '{suggestion.pattern}'"
    lie = counted(len(torn), "of them lies", "of them lie")
    return Finding(
        code,
        "note",
        f"the names carry {suggestion.what}: {len(sizes):,} groups of {each} pictures; {lie} on both sides "
        f"of the split ({held_out:,} {table.reported} pictures). To keep each on one side: {flag}",
        len(torn),
        f"If pictures of one group resemble each other, the figures flatter: add {flag}",
        tuple(
            Example(tuple(table.paths[i] for i in group[:SHOWN_MEMBERS]), f"'{groups[group[0]]}'")
            for group in torn
        ),
    )
