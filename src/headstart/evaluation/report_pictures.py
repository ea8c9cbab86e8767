"""The thumbnails of a report: the most telling ones first, bounded in number and in bytes."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from headstart.data.page import thumbnail
from headstart.data.preprocess import Preprocess
from headstart.evaluation.report_record import Record

SIZE = 176  # pixels of the long side
QUALITY = 72
NUMBER = 160  # different pictures
BYTES = 3_500_000  # of all thumbnails together: the page stays below 5 MB
AT_ONCE = 16  # decoded between two looks at what is left of these


class Gallery:
    """Pictures that a page wants, and their thumbnails.

    Args:
        root: Folder that relative paths begin in; None: no picture is read.
        preprocess: How the run's model reads pictures; None: no picture is read.
    """

    def __init__(self, root: Path | None, preprocess: Preprocess | None) -> None:
        self._root, self._preprocess = root, preprocess
        self._wanted: Counter[str] = Counter()
        self.missing = 0
        """Pictures that could not be read."""
        self.left_out = 0
        """Pictures that were not even tried, as the page would grow too large."""

    def want(self, paths: Sequence[str]) -> None:
        """Asks for pictures, behind those that were asked for before."""
        self._wanted.update(paths)

    def __len__(self) -> int:
        return len(self._wanted)

    def drawn(self) -> dict[str, str]:
        """``data:`` addresses by path; empty for what cannot be shown."""
        order = list(self._wanted)
        found = dict.fromkeys(order, "")
        if self._root is None or self._preprocess is None:
            self.missing = len(order)
            return found
        left = BYTES
        tried = 0
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
            while tried < min(len(order), NUMBER) and left > 0:
                batch = order[tried : min(tried + AT_ONCE, NUMBER)]
                for path, address in zip(batch, threads.map(self._thumbnail, batch), strict=True):
                    cost = len(address) * self._wanted[path]
                    if not address:
                        self.missing += 1
                    elif cost <= left:
                        found[path] = address
                        left -= cost
                    else:
                        self.left_out += 1
                        left = 0
                tried += len(batch)
        self.left_out += len(order) - tried
        return found

    def _thumbnail(self, path: str) -> str:
        assert self._root is not None and self._preprocess is not None
        return thumbnail(self._root / path, self._preprocess, SIZE, QUALITY)


PLAIN = Preprocess(img_size=224, resize=224, interpolation="bilinear", mean=(0.5,) * 3, std=(0.5,) * 3)
"""How pictures are read where the run has no model that says so."""


def preprocess_of(record: Record) -> Preprocess | None:
    """How the run's model reads pictures; None where that cannot be told."""
    if not record.card:
        return PLAIN
    try:
        return Preprocess.from_dict(record.card["preprocess"])
    except (KeyError, TypeError, ValueError):
        return None
