"""What earlier checks found out about files: by path, size and time of change, so that none is read twice."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from headstart.data.cache import picture_signature
from headstart.data.decoding import Decoded, decode_all
from headstart.data.facts import FACTS_VERSION
from headstart.data.formats import UnreadableImage, read_file
from headstart.data.outcomes import Outcomes
from headstart.data.pictures import Files
from headstart.data.preprocess import Preprocess
from headstart.errors import RunError
from headstart.storage import home, write_atomic

MAY_CHANGE = ("missing", "forbidden", "unsupported")  # without a change of the file
Stamp = tuple[int, int]


class RememberedFacts:
    """The facts of files below one folder, kept in one file of the cache.

    Args:
        root: The data folder.
        preprocess: Decides which pictures are too thin to be read, and how they are decoded.
        folder: Of the cache; None: ``cache/facts`` in `headstart.storage.home`.
    """

    def __init__(self, root: Path, preprocess: Preprocess, folder: Path | None = None) -> None:
        self.preprocess = preprocess
        key = [str(root.absolute()), FACTS_VERSION, picture_signature(preprocess)]
        name = hashlib.sha256(json.dumps(key, sort_keys=True, default=str).encode("utf-8", "replace"))
        folder = home() / "cache" / "facts" if folder is None else folder
        self.path = folder / f"{name.hexdigest()[:32]}.json"
        self._unsaved = False
        self._files: dict[str, list[Any]] = {}
        self._pixels: dict[str, str] = {}
        try:
            stored = json.loads(self.path.read_text(encoding="utf-8"))
            self._files, self._pixels = stored["files"], stored["pixels"]
        except (OSError, ValueError, KeyError, TypeError):
            pass  # nothing is known, or what was known is damaged

    def read(self, files: Files, *, workers: int | None = None) -> Outcomes:
        """What each file gives; those that are new or changed are read."""
        stamps = [_stamp(place) for place in files.places()]
        results = [self._known(name, stamp) for name, stamp in zip(files.names, stamps, strict=True)]
        new = [i for i, result in enumerate(results) if result is None]
        kept = {
            name: self._files[name]
            for name, result in zip(files.names, results, strict=True)
            if result is not None
        }
        decoded: Iterator[Decoded] = decode_all(
            files.of(new),
            self.preprocess,
            workers=workers,
            label="checking pictures",
            pixels=False,
        )
        for i, result in zip(new, decoded, strict=True):
            results[i] = result
        found = [result for result in results if result is not None]
        self._unsaved = bool(new) or len(kept) != len(self._files)
        for i in new:
            name, stamp, result = files.names[i], stamps[i], found[i]
            if stamp is not None and (result.fault is None or result.fault.kind not in MAY_CHANGE):
                kept[name] = [*stamp, *_row(result)]
        self._files = kept
        return Outcomes(found)

    def _known(self, path: str, stamp: Stamp | None) -> Decoded | None:
        row = self._files.get(path)
        try:
            if row is None or stamp is None or (row[0], row[1]) != stamp:
                return None
            if isinstance(row[3], list):
                return Decoded(fault=UnreadableImage(*row[3]))
            return Decoded.read(row[2], row[3])
        except (IndexError, KeyError, TypeError, ValueError):
            return None

    def pixels(self, path: Path, file_hash: str) -> str:
        """SHA-256 of the decoded pixels of a file; empty if it cannot be read any more."""
        if file_hash not in self._pixels:
            try:
                digest = hashlib.sha256(self.preprocess.rgb(read_file(path)).tobytes()).hexdigest()
            except UnreadableImage:
                return ""
            self._pixels[file_hash] = digest
            self._unsaved = True
        return self._pixels[file_hash]

    def save(self) -> None:
        """Writes what is new."""
        if not self._unsaved:
            return
        with contextlib.suppress(RunError):  # a cache that cannot be written is none
            write_atomic(self.path, json.dumps({"files": self._files, "pixels": self._pixels}))


def _stamp(path: str) -> Stamp | None:
    try:
        status = os.stat(path)  # noqa: PTH116 - a tenth of the time of a Path's
    except (OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns


def _row(result: Decoded) -> list[Any]:
    if result.fault is not None:
        return ["", [result.fault.kind, result.fault.reason]]
    return [result.file_hash, result.beside_pixels()]
