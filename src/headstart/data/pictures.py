"""The pictures of a data set at evaluation resolution: decoded once, as far as cache and memory go."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from headstart.data.images import UnreadableImage, read_file
from headstart.data.preprocess import Pixels, Preprocess
from headstart.errors import DataError

FALLBACK_MEMORY = 4 * 2**30  # where the system does not tell


class Files(Sequence[Path]):
    """Paths below one folder, made when they are asked for: a million `Path` objects would take 300 MB.

    Args:
        root: The folder.
        names: Relative to it, or absolute: a list, or an array of str.
    """

    def __init__(self, root: Path, names: Sequence[str] | NDArray[np.object_]) -> None:
        self.root = root
        self.names: Sequence[str] | NDArray[np.object_] = names

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, index: int) -> Path: ...
    @overload
    def __getitem__(self, index: slice) -> Files: ...
    def __getitem__(self, index: int | slice) -> Path | Files:
        if isinstance(index, slice):
            return Files(self.root, self.names[index])
        return self.root / self.names[index]

    def places(self) -> Iterator[str]:
        """The paths as texts, which takes a tenth of the time."""
        root = os.path.join(self.root, "")  # noqa: PTH118
        return (os.path.join(root, name) for name in self.names)  # noqa: PTH118

    def of(self, indices: Sequence[int]) -> Files:
        """Those of some rows."""
        return Files(self.root, [self.names[i] for i in indices])


class Pictures:
    """Random access by index; safe to use from several threads.

    Other pictures are decoded anew at each use, by the same function: bit-identical.

    Args:
        files: The file of each picture.
        preprocess: How they were resized.
        kept: Resized pictures that are in memory or memory-mapped, None for the others.
    """

    def __init__(
        self, files: Sequence[Path], preprocess: Preprocess, kept: Sequence[Pixels | None] | None = None
    ) -> None:
        self.files = files
        self.preprocess = preprocess
        self._kept = list(kept) if kept is not None else [None] * len(self.files)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Pixels:
        """uint8 [h, w, 3] as `Preprocess.resized` gives it, read-only.

        Raises:
            DataError: HS-DATA-017, the file changed since it was first read.
        """
        kept = self._kept[index]
        if kept is not None:
            return kept
        try:
            return self.preprocess.resized(self.original(index))
        except UnreadableImage as error:
            raise changed(self.files[index], error) from error

    def original(self, index: int) -> Image.Image:
        """The picture at its own size (of a fixed camera: its crop), mode RGB, decoded anew.

        Raises:
            DataError: HS-DATA-017, the file changed since it was first read.
        """
        try:
            return self.preprocess.rgb(read_file(self.files[index]))
        except UnreadableImage as error:
            raise changed(self.files[index], error) from error

    @property
    def at_hand(self) -> int:
        """Number of pictures that need no decoding: in memory, or memory-mapped."""
        return sum(picture is not None for picture in self._kept)


def changed(file: Path, fault: UnreadableImage | None) -> DataError:
    """The error for a file that was sound in the first pass and is not any more."""
    return DataError(
        "HS-DATA-017",
        f"A picture that was readable before is not any more: {fault}.",
        where=file,
        fix="Leave the data untouched during a run; start it again.",
    )


def available_memory() -> int:
    """Bytes that can be taken now without swapping, within the limits of a container."""
    return min(_system_available(), _container_available())


def _container_available() -> int:
    """What a Linux control group leaves; pages of files can be given back and count as free."""
    folder = Path("/sys/fs/cgroup")
    try:
        limit = int((folder / "memory.max").read_text("utf-8"))
        used = int((folder / "memory.current").read_text("utf-8"))
        lines = (folder / "memory.stat").read_text("utf-8").splitlines()
        pages = sum(int(n) for key, n in map(str.split, lines) if key in ("active_file", "inactive_file"))
    except (OSError, ValueError):
        return sys.maxsize
    return max(limit - used + pages, 0)


def _system_available() -> int:
    try:
        for line in Path("/proc/meminfo").read_text("utf-8").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    try:
        return int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2)
    except (AttributeError, ValueError, OSError):
        return FALLBACK_MEMORY
