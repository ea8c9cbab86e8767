"""What the files of a data set gave, column by column: a million of them take 90 MB, as objects 700."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.data.decoding import Decoded
from headstart.data.facts import FactsColumns, PictureFacts
from headstart.data.formats import UnreadableImage
from headstart.data.images import Extremes

FLAGS = ("animated", "deep_colour", "turned", "profiled", "damaged_profile", "reduced", "cached")
HASH_BYTES = 32
NO_FACTS = PictureFacts("", "", 0, 0, (0.0, 0.0, 0.0), 0.0, "")


def flags_of(result: Decoded) -> int:
    """One bit for each of `FLAGS`."""
    return (
        result.animated
        | result.deep_colour << 1
        | result.turned << 2
        | result.profiled << 3
        | result.damaged_profile << 4
        | result.reduced << 5
        | result.cached << 6
    )


class Outcomes(Sequence[Decoded]):
    """`Decoded` of each file, without pixels, made when asked for.

    Attributes:
        faults: Why there is no picture, by index.
        extremes: Range of values, by index, of pictures with a high bit depth.
        facts: Of each file; without meaning where there is a fault.
    """

    def __init__(self, results: Iterable[Decoded] = ()) -> None:
        self.faults: dict[int, UnreadableImage] = {}
        self.extremes: dict[int, Extremes] = {}
        self.facts = FactsColumns()
        self._hashes = bytearray()
        self._flags = array("B")
        for result in results:
            self.append(result)

    def append(self, result: Decoded) -> None:
        """Adds what one more file gave."""
        index = len(self)
        if result.fault is not None:
            self.faults[index] = result.fault
        if result.extremes is not None:
            self.extremes[index] = result.extremes
        self.facts.append(result.facts or NO_FACTS)
        self._hashes += bytes.fromhex(result.file_hash).ljust(HASH_BYTES, b"\0")
        self._flags.append(flags_of(result))

    def __len__(self) -> int:
        return len(self._flags)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        index = range(len(self))[index]
        flags: dict[str, Any] = {name: bool(self._flags[index] >> bit & 1) for bit, name in enumerate(FLAGS)}
        fault = self.faults.get(index)
        return Decoded(
            file_hash="" if fault else self.file_hash(index),
            fault=fault,
            extremes=self.extremes.get(index),
            facts=None if fault else self.facts[index],
            **flags,
        )

    def file_hash(self, index: int) -> str:
        """SHA-256 of a file without a fault, hexadecimal."""
        return self._hashes[index * HASH_BYTES : (index + 1) * HASH_BYTES].hex()

    def hash_rows(self) -> NDArray[np.uint8]:
        """SHA-256 of each file without a fault, bytes [n, `HASH_BYTES`]."""
        return np.frombuffer(bytes(self._hashes), np.uint8).reshape(len(self), HASH_BYTES)

    def file_hashes(self) -> Iterator[str]:
        """SHA-256 of each file, hexadecimal."""
        return map(self.file_hash, range(len(self)))

    def with_flag(self, name: str) -> list[int]:
        """The files of which one of `FLAGS` is true."""
        bit = 1 << FLAGS.index(name)
        return [i for i, flags in enumerate(self._flags) if flags & bit]

    def sound(self) -> Outcomes:
        """Those without a fault."""
        return self if not self.faults else Outcomes(item for item in self if item.fault is None)
