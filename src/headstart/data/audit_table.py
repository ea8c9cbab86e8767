"""What an audit looks at: the readable pictures with class, part and facts, and the files that give none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from headstart.data.facts import FactsColumns
from headstart.data.listing import Entry, Listing
from headstart.data.outcomes import Outcomes
from headstart.data.review import LeftOut


@dataclass(frozen=True, eq=False)
class AuditTable:
    """A data set that was read.

    Attributes:
        listing: All files.
        classes: Names, sorted.
        entries: The n readable pictures.
        labels: Class indices, int64 [n]; -1 where the class is not known.
        splits: ``train``, ``selection``, ``calibration``, ``val``, ``test``; empty where nobody knows, [n].
        reported: The part that is reported.
        read: What each of them gave.
        left_out: The other files.
    """

    listing: Listing
    classes: tuple[str, ...]
    entries: Sequence[Entry]
    labels: NDArray[np.int64]
    splits: NDArray[np.str_]
    reported: str
    read: Outcomes
    left_out: Sequence[LeftOut]

    @cached_property
    def paths(self) -> list[str]:
        """Of each picture, as in its entry."""
        return [entry.path for entry in self.entries]

    @property
    def facts(self) -> FactsColumns:
        """Of each picture."""
        return self.read.facts

    @cached_property
    def split_is_given(self) -> bool:
        """Whether the data bring a part to report on."""
        return any(entry.split in ("val", "test") for entry in self.listing.entries)

    def is_reported(self, index: int) -> bool:
        """Whether a picture lies in the part that is reported."""
        return str(self.splits[index]) == self.reported

    def is_used(self, index: int) -> bool:
        """Whether a picture trains or chooses; a test part that is not reported is left alone."""
        return str(self.splits[index]) not in (self.reported, "test")

    def class_of(self, index: int) -> str:
        """Name of a picture's class; empty if nobody knows."""
        label = int(self.labels[index])
        return self.classes[label] if label >= 0 else ""

    def group_of(self, index: int) -> str:
        """What a picture must stay together with: the group that a table names, else its content."""
        return str(self.entries[index].group or self.read.file_hash(index))
