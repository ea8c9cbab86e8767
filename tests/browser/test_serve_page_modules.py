"""Parts of the page that compute something, in the browser that runs them."""

from __future__ import annotations

import io

import numpy as np
import pytest

for _name in ("playwright", "fastapi", "uvicorn", "torch", "timm"):
    pytest.importorskip(_name)

from browser.driving import Opened  # noqa: E402
from shapes import draw  # noqa: E402


def test_numbers_are_written_as_python_writes_them(open_page: Opened) -> None:
    page = open_page()
    random = np.random.default_rng(1)
    numbers = [
        *(10.0 ** random.uniform(-30, 20, 300)),
        *random.uniform(size=300),
        0.0,
        1.0,
        1e-4,
        1e-5,
        1e-6,
        1e16,
        123456.0,
    ]
    written = page.evaluate(
        "async all => (await import('/csv.js')).table && all.map((await import('/csv.js')).float)", numbers
    )
    assert written == [repr(float(number)) for number in numbers]


def test_sizes_are_read_from_the_first_bytes(open_page: Opened) -> None:
    page = open_page()
    picture = draw("rings", 3).resize((90, 40))
    for kind, options in (
        ("PNG", {}), ("GIF", {}), ("BMP", {}), ("JPEG", {}), ("JPEG", {"progressive": True}),
        ("JPEG", {"exif": b"Exif\0\0" + b"\0" * 60_000}), ("WEBP", {}),
        ("WEBP", {"lossless": True}), ("WEBP", {"icc_profile": b"any"}), ("TIFF", {}),
    ):  # fmt: skip
        file = io.BytesIO()
        picture.save(file, format=kind, **options)
        for content in (file.getvalue(), file.getvalue()[:9]):
            told = page.evaluate(
                "async all => (await import('/sizes.js')).sizeOf(new DataView(new Uint8Array(all).buffer))",
                list(content),
            )
            if kind == "TIFF" or len(content) < 20:
                assert told is None or kind == "GIF"
            else:
                plain = kind == "JPEG" and "progressive" not in options
                assert told == {"width": 90, "height": 40, "plainJpeg": plain}, kind
