"""The one parallel pass over the files: read, hash, decode, resize. Results come in the files' order."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from headstart import console
from headstart.data.cache import PictureCache
from headstart.data.facts import PictureFacts, Sample, facts_of, sample_of
from headstart.data.formats import HEAD_BYTES, UnreadableImage, read_file, recognise
from headstart.data.images import Extremes, to_rgb
from headstart.data.preprocess import Pixels, Preprocess

AHEAD = 4  # files per thread that may be decoded before their turn
FACTS_AT_ONCE = (
    16  # files per task where no pixels are kept: a task, and facts of one picture, cost a fifth of a picture
)


@dataclass(frozen=True, slots=True)
class Decoded:
    """What one file gave.

    Attributes:
        pixels: uint8 [h, w, 3] at evaluation resolution. None if the file has a fault, or if it has a high
            bit depth and waits for ``preprocess.intensity``.
        file_hash: SHA-256 of the bytes, hexadecimal; empty if the file has a fault.
        fault: Why there is no picture.
        extremes: Range of values of a high-bit-depth picture.
        animated, deep_colour, turned, damaged_profile: as in `headstart.data.images.Picture`.
        profiled: Its colours were converted to sRGB.
        reduced: It is a giant JPEG, decoded at a reduced scale.
        facts: What the picture is; None if the file has a fault.
        cached: The pixels come from the cache.
    """

    pixels: Pixels | None = None
    file_hash: str = ""
    fault: UnreadableImage | None = None
    extremes: Extremes | None = None
    animated: bool = False
    deep_colour: bool = False
    turned: bool = False
    profiled: bool = False
    damaged_profile: bool = False
    reduced: bool = False
    facts: PictureFacts | None = None
    cached: bool = False

    def beside_pixels(self) -> dict[str, Any]:
        """What else caches store of the picture, for JSON; `Decoded.read` reads it."""
        return {
            "facts": self.facts,
            "animated": self.animated,
            "deep_colour": self.deep_colour,
            "turned": self.turned,
            "profiled": self.profiled,
            "damaged_profile": self.damaged_profile,
            "reduced": self.reduced,
            "extremes": self.extremes,
        }

    @classmethod
    def read(cls, file_hash: str, stored: Mapping[str, Any], pixels: Pixels | None = None) -> Decoded:
        """What was stored of a picture."""
        values = dict(stored)
        extremes = values.pop("extremes")
        return cls(
            pixels,
            file_hash,
            None,
            None if extremes is None else Extremes(*extremes),
            facts=PictureFacts.from_list(values.pop("facts")),
            **values,
            cached=True,
        )


def decode_files(
    paths: Sequence[Path],
    preprocess: Preprocess,
    *,
    pixels: bool = True,
    common_range: bool = True,
    cache: PictureCache | None = None,
) -> list[Decoded]:
    """Reads each file once and does everything that needs its bytes.

    Args:
        pixels: False to leave out the resized picture.
        common_range: A picture of high bit depth waits until ``preprocess.intensity``, the range of all, is
            known; otherwise its own range is guessed, as in prediction.
    """
    found: list[Decoded | None] = []
    without_facts: list[Callable[[PictureFacts], Decoded]] = []
    samples: list[Sample] = []
    for path in paths:
        try:
            data = read_file(path)
            file_hash = hashlib.sha256(data).hexdigest()
            if cache is not None and (entry := cache.get(file_hash)) is not None:
                found.append(Decoded.read(file_hash, entry.facts, entry.array()))
                continue
            picture = preprocess.decoded(data)
            extremes = picture.extremes()
            # Until the range of all is known, the picture's own will do for its facts.
            rgb = to_rgb(picture, preprocess.intensity)
            resized = None
            if pixels and (extremes is None or preprocess.intensity is not None or not common_range):
                resized = preprocess.resized(rgb)
            else:
                preprocess.resized_size(*picture.image.size)  # finds a fault of the size now
            samples.append(sample_of(rgb, recognise(data[:HEAD_BYTES]), picture.image.mode, picture.scale))
        except UnreadableImage as fault:
            found.append(Decoded(fault=fault))
            continue
        found.append(None)
        without_facts.append(
            partial(
                Decoded,
                resized,
                file_hash,
                None,
                extremes,
                picture.animated,
                picture.deep_colour,
                picture.turned,
                bool(picture.profile),
                picture.damaged_profile,
                picture.scale > 1,
            )
        )
    waiting = (decoded(facts) for decoded, facts in zip(without_facts, facts_of(samples), strict=True))
    return [next(waiting) if item is None else item for item in found]


def decode_all(
    files: Sequence[Path],
    preprocess: Preprocess,
    *,
    workers: int | None = None,
    label: str = "reading",
    pixels: bool = True,
    common_range: bool = True,
    cache: PictureCache | None = None,
) -> Iterator[Decoded]:
    """Decodes files in threads; yields their results in order, with a progress display.

    Args:
        workers: Threads; None: one per processor that this process may use. The result is the same.
        pixels, common_range: As for `decode_files`.
        cache: Pictures that were decoded before.
    """
    threads = max(1, workers if workers is not None else available_cpus())
    step = 1 if pixels else FACTS_AT_ONCE

    def some(start: int) -> list[Decoded]:
        paths = files[start : start + step]
        return decode_files(paths, preprocess, pixels=pixels, common_range=common_range, cache=cache)

    waiting: deque[Future[list[Decoded]]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
    try:
        with console.progress(len(files), label) as advance:
            for start in range(0, len(files), step):
                waiting.append(pool.submit(some, start))
                if len(waiting) >= threads * AHEAD:
                    yield from (done := waiting.popleft().result())
                    advance(len(done))
            while waiting:
                yield from (done := waiting.popleft().result())
                advance(len(done))
    finally:
        pool.shutdown(cancel_futures=True)


def available_cpus() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
