"""The picture sets that `headstart fetch` knows by name.

Each checksum is quoted from a public source, named here; a set without one says so when it is fetched.
All are class folders once extracted.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class NamedSet:
    """A public archive of pictures in class folders."""

    url: str
    """Where its publisher offers it."""
    pictures: str
    """What it holds, a few words."""
    licence: str
    """As its publisher states it."""
    sha1: str | None = None
    """Hex digest of the archive, if published."""
    sha256: str | None = None
    """Hex digest of the archive, if published."""


NAMED_SETS: dict[str, NamedSet] = {
    # Checksum: Dive into Deep Learning, chapter "Fine-Tuning".
    "hotdog": NamedSet(
        url="http://d2l-data.s3-accelerate.amazonaws.com/hotdog.zip",
        pictures="2,800 pictures: hot dogs and other food, in train/ and test/",
        licence="none stated",
        sha1="fba480ffa8aa7e0febbb511d181409f899b9baa5",
    ),
    # Checksum: TensorFlow Datasets, tf_flowers.
    "flowers": NamedSet(
        url="https://storage.googleapis.com/download.tensorflow.org/example_images/flower_photos.tgz",
        pictures="3,670 pictures: daisy, dandelion, roses, sunflowers, tulips",
        licence="CC BY 2.0; the photographers are named in its LICENSE.txt",
        sha256="4c54ace7911aaffe13a365c34f650e71dd5bf1be0a58b464e5a7183e3e595d9c",
    ),
    # Checksum: TensorFlow Datasets, rock_paper_scissors.
    "rock-paper-scissors": NamedSet(
        url="https://storage.googleapis.com/download.tensorflow.org/data/rps.zip",
        pictures="2,520 rendered hands: rock, paper, scissors",
        licence="CC BY 2.0, Laurence Moroney",
        sha256="c2403444395842ad04c53612bad54b574443eae17a0723117a2ff87b9d72194f",
    ),
    # Checksum: TensorFlow Datasets, eurosat (RGB); the same archive as torchvision's EuroSAT.
    "eurosat": NamedSet(
        url="https://huggingface.co/datasets/torchgeo/eurosat/resolve/"
        "c877bcd43f099cd0196738f714544e355477f3fd/EuroSAT.zip",
        pictures="27,000 satellite pictures of 64 x 64 pixels: ten kinds of land use",
        licence="MIT; Copernicus Sentinel data",
        sha256="8ebea626349354c5328b142b96d0430e647051f26efc2dc974c843f25ecf70bd",
    ),
}
