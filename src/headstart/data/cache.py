"""The cache of resized pictures: each is decoded once, whatever the number of epochs and runs."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import PIL
from PIL import features

from headstart import console
from headstart.data.facts import FACTS_VERSION
from headstart.data.preprocess import Preprocess
from headstart.data.store import ArrayStore, Entry, SegmentWriter, make_room
from headstart.storage import home

GIGABYTE = 10**9
FOR_PICTURES = 0.9  # of the limit; what the network makes of them is smaller, and dearer to make again
TYPICAL_ASPECT = 4 / 3  # to tell the size before any picture is decoded


class Cache:
    """Disk space for what later runs use again: resized pictures, and activations of frozen layers.

    Args:
        limit: Bytes on disk, of all data sets and models together; what was used longest ago goes first.
        root: Its folder; None: ``cache`` in `headstart.storage.home`.
    """

    def __init__(self, limit: int, root: Path | None = None) -> None:
        self.limit = limit
        self.root = home() / "cache" if root is None else root

    def store(self, kind: str, signature: dict[str, Any]) -> ArrayStore:
        """The arrays of one kind that are functions of one ``signature``; each signature has its own."""
        text = json.dumps(signature, sort_keys=True, default=str)
        return ArrayStore(self.root / kind / hashlib.sha256(text.encode()).hexdigest()[:32])

    @contextlib.contextmanager
    def writer(
        self, store: ArrayStore, dtype: str, expected: int, what: str, share: float = 1.0
    ) -> Iterator[SegmentWriter]:
        """Room for about ``expected`` bytes, announced before anything is written.

        ``share`` of the limit may be full then.
        """
        room = make_room(self.root, expected, int(share * self.limit))
        kept = "" if room >= expected else ", of which not all will fit"
        console.say(
            f"cache: {what}, about {size_text(expected)}{kept} ({self.root}, at most {size_text(self.limit)})"
        )
        with SegmentWriter(store, dtype, room) as writer:
            yield writer


class PictureCache:
    """Resized pictures by the SHA-256 of their files.

    Args:
        cache: The disk space.
        preprocess: Makes the pictures; its ``intensity`` is part of what makes them.
    """

    def __init__(self, cache: Cache, preprocess: Preprocess) -> None:
        self.cache = cache
        self.preprocess = preprocess
        self.store = cache.store("pictures", {**picture_signature(preprocess), "facts": FACTS_VERSION})

    def get(self, file_hash: str) -> Entry | None:
        """A picture as `Preprocess.resized` gives it, with the facts it was stored with."""
        return self.store.get(file_hash)

    def writer(self, pictures: int) -> contextlib.AbstractContextManager[SegmentWriter]:
        """Room for so many more pictures."""
        side = self.preprocess.img_size if self.preprocess.fit == "pad" else self.preprocess.resize
        aspect = TYPICAL_ASPECT if self.preprocess.fit == "crop" else 1.0
        expected = int(pictures * 3 * side * side * aspect)
        what = f"{console.counted(pictures, 'picture', 'pictures')} at {side} pixels"
        return self.cache.writer(self.store, "|u1", expected, what, FOR_PICTURES)


def picture_signature(preprocess: Preprocess) -> dict[str, Any]:
    """All that decides the pixels of a resized picture, beside its file."""
    intensity = preprocess.intensity
    return {
        "decoder": preprocess.decoder,
        "pillow": PIL.__version__,
        "jpeg": features.version("libjpeg_turbo") or features.version("jpg"),
        "colour": features.version("littlecms2"),
        "crop": preprocess.crop,
        "fit": preprocess.fit,
        "size": preprocess.img_size if preprocess.fit == "pad" else preprocess.resize,
        "interpolation": preprocess.interpolation,
        "intensity": None if intensity is None else asdict(intensity),
    }


def size_text(size: int) -> str:
    """Bytes for a person."""
    return f"{size / GIGABYTE:.1f} GB" if size >= GIGABYTE else f"{max(1, round(size / 10**6))} MB"
