"""Fuzz target of the decoder: whatever bytes come, a picture or an `UnreadableImage`, and nothing else.

    python tests/fuzz/decoder.py [CORPUS_FOLDER] [-max_total_time=60]     with atheris, guided by coverage
    python tests/fuzz/decoder.py --random SECONDS [SEED]                  without it: changed pictures

tests/unit/data/test_decoder_properties.py runs the same target in every test run.
"""

from __future__ import annotations

import io
import random
import sys
import time
import warnings

import numpy as np
from PIL import Image

from headstart.data.formats import UnreadableImage
from headstart.data.images import decode, to_rgb
from headstart.data.limits import MAX_PIXELS
from headstart.data.preprocess import Preprocess

TARGET = Preprocess(16, 20, "bilinear", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
KINDS = frozenset(
    {"empty", "lfs-pointer", "not-an-image", "truncated", "too-large", "too-small", "unsupported"}
)


def check(data: bytes) -> bool:
    """Decodes the bytes; whether they are a picture.

    Raises:
        AssertionError: The picture is not what the decoder promises.
        Exception: Anything else than `UnreadableImage` came out of the decoder.
    """
    try:
        picture = decode(data, TARGET.shrinkable)
        image = to_rgb(picture)
        pixels = TARGET.resized(image)
    except UnreadableImage as fault:
        assert fault.kind in KINDS, fault.kind
        assert fault.reason.isprintable(), repr(fault.reason)
        return False
    assert image.mode == "RGB" and image.size == picture.image.size
    assert image.width * image.height <= MAX_PIXELS
    assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3
    return True


def seeds() -> list[bytes]:
    """Small pictures of all formats that Pillow writes, to begin with."""
    values = np.random.default_rng(0).integers(0, 256, (9, 12, 4), dtype=np.uint8)
    rgba = Image.fromarray(values)
    rgb, grey = rgba.convert("RGB"), rgba.convert("L")
    deep = Image.fromarray(values[..., 0].astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[0x0112] = 6
    files: list[tuple[Image.Image, str, dict[str, object]]] = [
        (rgb, "JPEG", {"exif": exif}),
        (rgb, "JPEG", {"progressive": True, "icc_profile": b"damaged"}),
        (rgb.convert("CMYK"), "JPEG", {}),
        (rgba, "PNG", {}),
        (deep, "PNG", {}),
        (rgb.convert("P"), "PNG", {"transparency": 0}),
        (rgb, "GIF", {"save_all": True, "append_images": [grey.convert("RGB")]}),
        (rgb, "BMP", {}),
        (rgb, "TIFF", {"compression": "tiff_lzw"}),
        (Image.fromarray(values[..., 0].astype(np.float32)), "TIFF", {}),
        (rgba, "WEBP", {"lossless": True}),
        (rgb, "WEBP", {"save_all": True, "append_images": [grey.convert("RGB")]}),
    ]
    made = []
    for image, kind, options in files:
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        made.append(buffer.getvalue())
    return made


def changed(data: bytes, chance: random.Random) -> bytes:
    """A damaged copy: some bytes replaced, a piece cut out or doubled, the end cut off."""
    content = bytearray(data)
    for _ in range(chance.randint(1, 6)):
        if not content:
            break
        at = chance.randrange(len(content))
        length = chance.randint(1, 8)
        what = chance.randrange(4)
        if what == 0:
            content[at] = chance.randrange(256)
        elif what == 1:
            content[at : at + length] = bytes(chance.choice((0, 255, 127)) for _ in range(length))
        elif what == 2:
            del content[at : at + length]
        else:
            content[at:at] = content[at : at + length]
    return bytes(content[: chance.randint(0, len(content))] if chance.random() < 0.1 else content)


def run_at_random(seconds: float, seed: int) -> None:
    """Changed pictures until the time is up; the bytes that fail are written to ``failed.bin``."""
    chance, first = random.Random(seed), seeds()
    end, tries, pictures = time.monotonic() + seconds, 0, 0
    while time.monotonic() < end:
        data = changed(chance.choice(first), chance)
        try:
            pictures += check(data)
        except BaseException:
            with open("failed.bin", "wb") as file:
                file.write(data)
            raise
        tries += 1
    print(f"{tries} files, {pictures} of them pictures: no fault (seed {seed})")


def main(words: list[str]) -> None:
    warnings.simplefilter("error")
    if "--random" in words:
        numbers = words[words.index("--random") + 1 :]
        run_at_random(float(numbers[0]) if numbers else 60, int(numbers[1]) if len(numbers) > 1 else 0)
        return
    try:
        import atheris
    except ImportError:
        sys.exit("pip install atheris, or give --random SECONDS")
    atheris.instrument_all()
    atheris.Setup(sys.argv, lambda data: check(bytes(data)) and None)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
