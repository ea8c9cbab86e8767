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


def test_retry_after_is_seconds_or_a_date(open_page: Opened) -> None:
    headers = ["3", " 0 ", "9999999", "soon", None, "Wed, 21 Oct 2015 07:28:00 GMT"]
    told = open_page().evaluate("async all => all.map((await import('/server.js')).secondsOf)", headers)
    assert told == [3, 0, 600, None, None, 0]


def test_five_classes_are_shown_and_the_others_together(open_page: Opened) -> None:
    shares = [0.4, 0.3, 0.1, 0.08, 0.06, 0.0396, 0.0204, 0.0]
    row = {
        "status": "ok", "prediction": "c0", "confidence": 0.4, "unknown": None, "unknown_score": None,
        "probabilities": {f"c{i}": shares[i] for i in reversed(range(8))},
        "reason": "", "note": "<b>noted</b>",
    }  # fmt: skip
    parts = open_page().evaluate(
        """async row => {
            const { Card } = await import('/card.js');
            const { Item } = await import('/queue.js');
            const item = Object.assign(new Item(new File([''], 'a.png'), 'a.png'), { state: 'done', row });
            const { root } = new Card(item, { explains: false }, () => {});
            return [...root.querySelectorAll('.bars li, .hint')].map(one => one.textContent);
        }""",
        row,
    )
    assert parts == [
        "c040.0 %", "c130.0 %", "c210.0 %", "c38.0 %", "c46.0 %", "3 other classes6.0 %", "<b>noted</b>"
    ]  # fmt: skip
