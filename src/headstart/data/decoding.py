"""The one parallel pass over the files: read, hash, decode, resize. Results come in the files' order."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from headstart import console
from headstart.data.formats import UnreadableImage, read_file
from headstart.data.images import Extremes, decode, to_rgb
from headstart.data.preprocess import Pixels, Preprocess

AHEAD = 4  # files per thread that may be decoded before their turn


@dataclass(frozen=True)
class Decoded:
    """What one file gave.

    Attributes:
        pixels: uint8 [h, w, 3] at evaluation resolution. None if the file has a fault, or if it has a high
            bit depth and ``preprocess.intensity`` is not known yet.
        file_hash: SHA-256 of the bytes, hexadecimal; empty if the file has a fault.
        fault: Why there is no picture.
        extremes: Range of values of a high-bit-depth picture.
        animated, deep_colour, turned: as in `headstart.data.images.Picture`.
    """

    pixels: Pixels | None = None
    file_hash: str = ""
    fault: UnreadableImage | None = None
    extremes: Extremes | None = None
    animated: bool = False
    deep_colour: bool = False
    turned: bool = False


def decode_file(path: Path, preprocess: Preprocess) -> Decoded:
    """Reads a file once and does everything that needs its bytes."""
    try:
        data = read_file(path)
        picture = decode(data)
        extremes = picture.extremes()
        pixels = None
        if extremes is None or preprocess.intensity is not None:
            pixels = preprocess.resized(to_rgb(picture, preprocess.intensity))
        else:
            preprocess.resized_size(*picture.image.size)  # finds a fault of the size now
    except UnreadableImage as fault:
        return Decoded(fault=fault)
    return Decoded(
        pixels,
        hashlib.sha256(data).hexdigest(),
        None,
        extremes,
        picture.animated,
        picture.deep_colour,
        picture.turned,
    )


def decode_all(
    files: Sequence[Path], preprocess: Preprocess, *, workers: int | None = None, label: str = "reading"
) -> Iterator[Decoded]:
    """Decodes files in threads; yields their results in order, with a progress display.

    Args:
        workers: Threads; None: one per processor that this process may use. The result is the same.
    """
    threads = max(1, workers if workers is not None else available_cpus())
    waiting: deque[Future[Decoded]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
    try:
        with console.progress(len(files), label) as advance:
            for path in files:
                waiting.append(pool.submit(decode_file, path, preprocess))
                if len(waiting) >= threads * AHEAD:
                    yield waiting.popleft().result()
                    advance(1)
            while waiting:
                yield waiting.popleft().result()
                advance(1)
    finally:
        pool.shutdown(cancel_futures=True)


def available_cpus() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
