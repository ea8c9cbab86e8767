"""The pass over all files of a data set: what each one is, and its pixels at evaluation resolution.

Pixels lie in the cache on disk, memory-mapped; where there is none, in memory as far as it goes; the rest is
decoded anew at each use. They are the same everywhere, bit for bit.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

from headstart.data.cache import Cache, PictureCache
from headstart.data.decoding import decode_all
from headstart.data.outcomes import Outcomes
from headstart.data.preprocess import Pixels, Preprocess
from headstart.data.store import SegmentWriter


def read_pictures(
    files: Sequence[Path],
    preprocess: Preprocess,
    *,
    workers: int | None,
    memory: int,
    cache: Cache | None = None,
    common_range: bool = True,
    label: str = "reading pictures",
    watch: Callable[[int, int], object] | None = None,
) -> tuple[Outcomes, list[Pixels | None]]:
    """What each file gave, and the pixels that are at hand.

    Args:
        files: In the order of the results.
        preprocess: Makes the pixels.
        workers: Threads.
        memory: Bytes of pixels to keep in memory, of pictures that are not in the cache.
        cache: Disk space for pixels.
        common_range: As for `headstart.data.decoding.decode_files`.
        label: Of the progress display.
        watch: Called with how many files were read, of how many.
    """
    known = None if cache is None else PictureCache(cache, preprocess)
    outcomes = Outcomes()
    held: list[Pixels | None] = []
    stored: list[int] = []
    writer: SegmentWriter | None = None
    passes = decode_all(
        files, preprocess, workers=workers, label=label, common_range=common_range, cache=known
    )
    with contextlib.ExitStack() as stack:
        for i, result in enumerate(passes):
            pixels = result.pixels
            # The guessed range of one picture is not the range that the cache is for.
            storable = result.extremes is None or preprocess.intensity is not None
            if pixels is not None and not result.cached:
                if known is not None and storable and writer is None:
                    new = max(1, len(files) - max(i, len(known.store)))
                    writer = stack.enter_context(known.writer(new))
                if (
                    writer is not None
                    and storable
                    and writer.add(result.file_hash, pixels, result.beside_pixels())
                ):
                    stored.append(i)
                    pixels = None
                else:
                    memory -= pixels.nbytes
                    pixels = pixels if memory >= 0 else None
            held.append(pixels)
            outcomes.append(result)
            if watch is not None:
                watch(i + 1, len(files))
    for i in stored:
        assert known is not None
        entry = known.get(outcomes.file_hash(i))
        held[i] = None if entry is None else entry.array()
    return outcomes, held
