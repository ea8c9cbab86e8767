"""Giants: baseline JPEGs are decoded at a reduced scale, others refused from the header."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from giants import giant_jpeg
from headstart.data import limits
from headstart.data.images import UnreadableImage, decode, read_rgb
from headstart.data.limits import GIANT_PIXELS, MAX_JPEG_PIXELS, reduction
from headstart.data.preprocess import Preprocess

PLAIN = Preprocess(32, 40, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def refused(data: bytes) -> str:
    with pytest.raises(UnreadableImage) as caught:
        read_rgb(data)
    assert caught.value.kind == "too-large"
    return caught.value.reason


def photo(width: int, height: int) -> Image.Image:
    y, x = np.mgrid[:height, :width].astype(np.float64)
    red, green, blue = 255 * x / width, 255 * y / height, 127 + 60 * np.sin(x / 90) * np.cos(y / 70)
    return Image.fromarray(np.stack([red, green, blue], -1).astype(np.uint8))


def jpeg(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=95, **options)
    return buffer.getvalue()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_400_megapixels_within_500_megabytes(tmp_path: Path) -> None:
    path = tmp_path / "giant.jpg"
    path.write_bytes(giant_jpeg(20_000, 20_000))
    code = (
        "import sys; from pathlib import Path\n"
        "from headstart.data.images import read_file\n"
        "from headstart.data.preprocess import Preprocess\n"
        "seen = Preprocess(224, 256, 'bicubic', (0.5,) * 3, (0.5,) * 3)\n"
        "pixels = seen.resized(seen.rgb(read_file(Path(sys.argv[1]))))\n"
        "assert pixels.shape == (256, 256, 3) and pixels.min() == pixels.max() == 128\n"
        "print([line for line in open('/proc/self/status') if line.startswith('VmHWM')][0].split()[1])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=True, capture_output=True, text=True)
    assert int(done.stdout) < 500_000  # kB


def test_other_giants_are_refused_from_the_header() -> None:
    assert refused(giant_jpeg(40_000, 40_000, whole=False)) == "40000 x 40000 pixels, more than 1000 million"
    # All of a progressive picture is held in memory at full scale.
    progressive = giant_jpeg(20_000, 20_000, progressive=True, whole=False)
    assert refused(progressive) == "20000 x 20000 pixels, more than 200 million"
    webp = b"RIFF\x1a\0\0\0WEBPVP8X\x0a\0\0\0\x10\0\0\0" + b"\xff\x3f\0" * 2
    assert refused(webp + b"\0" * 30) == "16384 x 16384 pixels, more than 200 million"


def test_a_reduced_picture_is_that_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    data = jpeg(photo(1600, 1200))
    whole = PLAIN.resized(PLAIN.rgb(data)).astype(int)
    monkeypatch.setattr(limits, "GIANT_PIXELS", 500_000)
    picture = decode(data, PLAIN.shrinkable)
    assert picture.scale == 8 and picture.image.size == (200, 150)
    reduced = PLAIN.resized(PLAIN.rgb(data)).astype(int)
    assert reduced.shape == whole.shape and np.abs(reduced - whole).max() <= 3
    assert decode(data).scale == 2  # nothing is known of the target


@pytest.mark.parametrize("turn", [1, 6])
def test_a_crop_in_pixels_counts_those_of_the_whole_picture(
    monkeypatch: pytest.MonkeyPatch, turn: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = turn
    data = jpeg(photo(1600, 1200), exif=exif)
    cropped = Preprocess(32, 40, *("bicubic", (0.5,) * 3, (0.5,) * 3), crop=(200, 400, 640, 800))
    whole = cropped.resized(cropped.rgb(data)).astype(int)
    monkeypatch.setattr(limits, "GIANT_PIXELS", 500_000)
    picture = cropped.decoded(data)
    assert picture.scale == 8 and picture.image.size == (80, 100)
    assert np.abs(cropped.resized(cropped.rgb(data)).astype(int) - whole).max() <= 5
    with pytest.raises(UnreadableImage, match="the crop reaches to 1900 x 800"):
        Preprocess(32, 40, *("bicubic", (0.5,) * 3, (0.5,) * 3), crop=(1700, 0, 200, 800)).decoded(data)


def test_pictures_in_several_scans_are_not_reduced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "GIANT_PIXELS", 1000)
    assert decode(jpeg(photo(160, 120), progressive=True)).scale == 1
    assert decode(jpeg(photo(160, 120))).scale > 1
    assert decode(jpeg(photo(160, 120)), version=1).scale == 1
    assert decode(jpeg(photo(160, 120).convert("L"))).scale > 1


def test_ordinary_pictures_are_decoded_whole() -> None:
    assert decode(jpeg(photo(1600, 1200)), PLAIN.shrinkable).scale == 1


@given(st.integers(1, 65_500), st.integers(1, 65_500), st.integers(16, 2000))
def test_the_scale_never_falls_below_the_target(width: int, height: int, side: int) -> None:
    if not GIANT_PIXELS < width * height <= MAX_JPEG_PIXELS:
        return
    target = Preprocess(side, side, *("bicubic", (0.5,) * 3, (0.5,) * 3), fit="squash")
    scale = reduction(width, height, target.shrinkable)
    assert scale in (2, 4, 8)
    assert width * height <= GIANT_PIXELS * scale**2
    if width * height <= GIANT_PIXELS * 4:  # memory leaves the choice
        assert scale == 2 or min(width, height) / scale >= 2 * side
