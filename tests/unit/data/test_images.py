"""Every kind of file becomes the same RGB picture, or is refused with a reason that a person understands."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import threading
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile, features

from headstart.data.images import (
    IntensityRange,
    UnreadableImage,
    decode,
    intensity_of,
    intensity_range,
    read_rgb,
    to_rgb,
)


def photo(width: int = 48, height: int = 32) -> Image.Image:
    """A smooth picture without any symmetry."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    red, green, blue = 255 * x / width, 255 * y / height, 127 + 60 * np.sin(x / 9) * np.cos(y / 7)
    return Image.fromarray(np.stack([red, green, blue], -1).astype(np.uint8))


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def distance(a: Image.Image, b: Image.Image) -> int:
    assert a.mode == b.mode == "RGB" and a.size == b.size
    return int(np.abs(np.asarray(a).astype(int) - np.asarray(b).astype(int)).max())


def refused(source: bytes | Path) -> UnreadableImage:
    with pytest.raises(UnreadableImage) as caught:
        read_rgb(source)
    assert str(caught.value) == caught.value.reason
    return caught.value


# --- modes ---------------------------------------------------------------------------------------------


def grey_modes() -> dict[str, bytes]:
    grey = photo().convert("L")
    deep = np.asarray(grey).astype(np.uint16) * 257
    alpha = Image.new("L", grey.size, 255)
    cmyk = Image.merge("CMYK", [Image.new("L", grey.size)] * 3 + [grey.point(lambda v: 255 - v)])
    return {
        "L": encoded(grey),
        "RGB": encoded(grey.convert("RGB")),
        "RGBA": encoded(Image.merge("RGBA", [grey, grey, grey, alpha])),
        "LA": encoded(Image.merge("LA", [grey, alpha])),
        "P": encoded(grey.convert("P")),
        "PA": encoded(grey.convert("P"), transparency=b"\xff" * 256),
        "CMYK": encoded(cmyk, "TIFF"),
        "I;16": encoded(Image.fromarray(deep)),
        "I": encoded(Image.fromarray(deep.astype(np.int32)), "TIFF"),
        "F": encoded(Image.fromarray(np.asarray(grey).astype(np.float32) / 255), "TIFF"),
    }


def test_ten_modes_of_one_picture_agree() -> None:
    reference = photo().convert("L").convert("RGB")
    modes = grey_modes()
    assert len(modes) == 10
    for mode, data in modes.items():
        assert distance(read_rgb(data), reference) <= 2, mode


def test_one_bit_pictures_are_black_and_white() -> None:
    picture = photo().convert("1")
    assert np.array_equal(np.asarray(read_rgb(encoded(picture))), np.asarray(picture.convert("RGB")))


def test_adobe_cmyk_jpeg_is_not_inverted() -> None:
    white = Image.new("CMYK", (16, 16), (0, 0, 0, 0))
    assert np.asarray(read_rgb(encoded(white, "JPEG", quality=95))).min() > 250


def test_cmyk_jpeg_without_adobes_mark_holds_plain_values() -> None:
    ink = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    marked = encoded(ink, "JPEG", quality=95)
    at = marked.index(b"\xff\xee")
    plain = marked[:at] + marked[at + 2 + int.from_bytes(marked[at + 2 : at + 4], "big") :]
    assert b"Adobe" not in plain
    # Values that Pillow wrote inverted, and that nothing says are inverted.
    turned = Image.new("CMYK", (16, 16), (255, 0, 0, 255)).convert("RGB")
    assert distance(read_rgb(plain), turned) <= 3
    assert distance(read_rgb(marked), ink.convert("RGB")) <= 3
    assert np.array_equal(np.asarray(to_rgb(decode(plain, version=1))), np.asarray(read_rgb(marked)))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB", "L"])
def test_transparency_lies_on_white(mode: str) -> None:
    dark = Image.new("RGB", (8, 8), (10, 10, 10))
    if mode in ("RGBA", "LA"):
        picture = dark.convert(mode)
        picture.putalpha(0)
        data = encoded(picture)
    elif mode == "P":
        data = encoded(dark.convert("P", palette=Image.Palette.ADAPTIVE), transparency=b"\0" * 256)
    else:
        data = encoded(dark.convert(mode), transparency=(10, 10, 10) if mode == "RGB" else 10)
    assert np.asarray(read_rgb(data)).min() == 255


def test_half_transparent_black_is_middle_grey() -> None:
    picture = Image.new("RGBA", (4, 4), (0, 0, 0, 128))
    assert np.asarray(read_rgb(encoded(picture))).tolist()[0][0] == [127, 127, 127]


def test_opaque_colours_are_untouched() -> None:
    picture = photo()
    rgba = picture.convert("RGBA")
    assert distance(read_rgb(encoded(rgba)), picture) == 0


def test_first_frame_of_an_animation() -> None:
    red, blue = Image.new("RGB", (9, 9), "red"), Image.new("RGB", (9, 9), "blue")
    for kind in ("GIF", "PNG", "TIFF", "WEBP"):
        data = encoded(red, kind, save_all=True, append_images=[blue])
        assert decode(data).animated, kind
        assert distance(read_rgb(data), red) <= 3, kind
    assert not decode(encoded(red, "GIF")).animated


def test_16_bit_colour_keeps_the_upper_byte_and_says_so() -> None:
    row = b"\0" + struct.pack(">6H", 0, 0x8000, 0xFFFF, 0x1234, 0x10FF, 0xABCD)

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(row))
    data += chunk(b"IEND", b"")
    assert decode(data).deep_colour
    assert np.asarray(read_rgb(data)).tolist() == [[[0, 0x80, 0xFF], [0x12, 0x10, 0xAB]]]
    assert not decode(encoded(photo())).deep_colour


# --- orientation ---------------------------------------------------------------------------------------

TURNED_BACK = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_eight_orientations_of_one_picture_agree(kind: str, orientation: int) -> None:
    upright = photo()
    how = TURNED_BACK[orientation]
    stored = upright.transpose(how) if how is not None else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}.get(kind, {})
    data = encoded(stored, kind, exif=exif, **options)
    assert distance(read_rgb(data), upright) <= (6 if kind == "JPEG" else 0)
    assert decode(data).turned == (orientation != 1)


def test_high_bit_depth_is_turned_too() -> None:
    deep = np.arange(6, dtype=np.uint16).reshape(2, 3) * 10_000
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = read_rgb(encoded(Image.fromarray(deep), "PNG", exif=exif), IntensityRange(0, 50_000))
    assert turned.size == (2, 3)
    assert np.asarray(turned)[..., 0].tolist() == [[153, 0], [204, 51], [255, 102]]


def test_damaged_exif_does_not_hurt() -> None:
    picture = photo()
    data = encoded(picture, "JPEG", quality=95, exif=b"Exif\0\0II*\0\xff\xff\xff\xff broken")
    assert read_rgb(data).size == picture.size


# --- high bit depth ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_gradient_equals_its_8_bit_version(kind: str) -> None:
    grey = np.arange(256, dtype=np.uint16).reshape(16, 16)
    data = encoded(Image.fromarray(grey * 257), kind)
    assert np.array_equal(np.asarray(read_rgb(data))[..., 0], grey)


def test_12_bit_pictures_do_not_turn_black() -> None:
    values = np.linspace(0, 4095, 256).astype(np.uint16).reshape(16, 16)
    data = encoded(Image.fromarray(values), "TIFF")
    assert intensity_of(data) == (0, 4095, False)
    shown = np.asarray(read_rgb(data, IntensityRange(0, 4095)))
    assert shown.min() == 0 and shown.max() == 255
    assert abs(shown.mean() - 127.5) < 1


def test_big_endian_tiff_reads_the_same() -> None:
    values = np.array([[0, 100, 1000, 4095]], ">u2")
    tags = [(256, 4, 1, 4), (257, 4, 1, 1), (258, 3, 1, 16 << 16), (259, 3, 1, 1 << 16)]
    tags += [(262, 3, 1, 1 << 16), (273, 4, 1, 8 + 2 + 8 * 12 + 4), (277, 3, 1, 1 << 16), (279, 4, 1, 8)]
    body = b"MM\0*" + struct.pack(">I", 8) + struct.pack(">H", len(tags))
    body += b"".join(struct.pack(">HHII", *tag) for tag in tags) + struct.pack(">I", 0) + values.tobytes()
    assert intensity_of(body) == (0, 4095, False)
    assert np.asarray(read_rgb(body))[0, :, 0].tolist() == [0, 6, 62, 255]


def test_white_is_zero_tiff_is_not_a_negative() -> None:
    values = np.array([[0, 65535]], np.uint16)
    data = encoded(Image.fromarray(values), "TIFF", tiffinfo={262: 0})
    assert np.asarray(read_rgb(data))[0, :, 0].tolist() == [255, 0]


def test_a_signalling_not_a_number_is_black() -> None:
    values = np.array([[0x7F800001, 0x3F800000]], np.uint32).view(np.float32)
    assert np.asarray(read_rgb(encoded(Image.fromarray(values), "TIFF")))[0, :, 0].tolist() == [0, 255]


def test_intensities_are_clipped_and_not_a_number_is_black() -> None:
    values = np.array([[-1.0, 0.0, 0.5, 1.0, 2.0, np.nan, np.inf]], np.float32)
    data = encoded(Image.fromarray(values), "TIFF")
    assert intensity_of(data) == (-1.0, 2.0, True)
    shown = np.asarray(read_rgb(data, IntensityRange(0, 1)))[0, :, 0]
    assert shown.tolist() == [0, 0, 128, 255, 255, 0, 255]


@pytest.mark.parametrize(
    ("extremes", "expected"),
    [
        ([(0, 200, False)], (0, 255)),
        ([(3, 256, False)], (0, 1023)),
        ([(0, 900, False), (0, 4000, False)], (0, 4095)),
        ([(0, 4096, False)], (0, 16383)),
        ([(0, 65535, False)], (0, 65535)),
        ([(0, 70000, False)], (0, 2**32 - 1)),
        ([(-1000, 3000, False)], (-1000, 3000)),
        ([(0.1, 0.9, True)], (0, 1)),
        ([(0.0, 40.5, True)], (0, 40.5)),
        ([(5.0, 5.0, True)], (5, 6)),
    ],
)
def test_range_is_the_smallest_depth_that_holds_all(
    extremes: list[tuple[float, float, bool]], expected: tuple[float, float]
) -> None:
    assert intensity_range(extremes) == IntensityRange(*expected)


def test_eight_bit_pictures_have_no_range() -> None:
    assert intensity_of(encoded(photo())) is None
    assert intensity_of(encoded(photo().convert("CMYK"), "TIFF")) is None


# --- formats and faults --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF"])
@pytest.mark.parametrize("name", ["a.jpg", "a.PNG", "a.txt", "a"])
def test_formats_are_recognised_by_content(tmp_path: Path, kind: str, name: str) -> None:
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow reads no AVIF")
    path = tmp_path / name
    path.write_bytes(encoded(photo(), kind))
    assert read_rgb(path).size == (48, 32)


@pytest.mark.parametrize(
    ("content", "kind", "word"),
    [
        (b"", "empty", "0 bytes"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 3\n", "lfs-pointer", "Git LFS"),
        (b"hello", "not-an-image", "text"),
        ("Käse".encode(), "not-an-image", "text"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "not-an-image", "web page"),
        (b"\x00\x01\x02\xff\xfe" * 40, "not-an-image", "unknown content"),
        (b"\0\0\0\x20ftypisom" + b"\0" * 40, "not-an-image", "film"),
        (b"\0" * 900, "truncated", "zero bytes"),
        (b"%PDF-1.7 ...", "unsupported", "PDF"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "unsupported", "JPEG 2000"),
        (b"\0" * 128 + b"DICM" + b"\1" * 40, "unsupported", "DICOM"),
        (b"\xff\xd8\xff\xe0" + b"\0" * 60, "truncated", "JPEG"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 60, "truncated", "PNG"),
    ],
)
def test_what_is_no_picture_is_named(tmp_path: Path, content: bytes, kind: str, word: str) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    for source in (content, path):
        fault = refused(source)
        assert fault.kind == kind
        assert word in fault.reason


def test_heic_without_its_reader_says_the_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    fault = refused(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 64)
    assert fault.kind == "unsupported"
    assert 'pip install "headstart[heic]"' in fault.reason


def test_heic_is_read_where_its_reader_is_installed() -> None:
    heif = pytest.importorskip("pillow_heif", reason="the extra 'heic' is not installed")
    buffer = io.BytesIO()
    heif.from_pillow(photo(96, 64)).save(buffer, quality=95)
    assert distance(read_rgb(buffer.getvalue()), photo(96, 64)) < 40


def test_phone_files_with_several_pictures_give_the_first_one() -> None:
    data = encoded(photo(), "MPO", save_all=True, append_images=[Image.new("RGB", (8, 8))], quality=95)
    assert read_rgb(data).size == (48, 32)
    assert not decode(data).animated


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"])
@pytest.mark.parametrize("part", [0.5, 0.9])
def test_truncated_files_are_refused(kind: str, part: float) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    data = encoded(noise, kind)
    fault = refused(data[: int(len(data) * part)])
    assert fault.kind == "truncated"
    assert fault.reason.lower().startswith(kind.lower())
    assert "cut short" in fault.reason or "damaged" in fault.reason


def test_truncated_files_are_refused_whatever_the_process_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    data = encoded(photo(), "JPEG")
    assert refused(data[: len(data) - 200]).kind == "truncated"
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True


def test_too_large_pictures_are_refused_from_the_header() -> None:
    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 0, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    idat = struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    fault = refused(b"\x89PNG\r\n\x1a\n" + chunk + idat)
    assert fault.kind == "too-large"
    assert fault.reason == "20000 x 20000 pixels, more than 200 million"


@pytest.mark.parametrize(
    ("kind", "limit"), [("PNG", 100), ("JPEG", 100), ("BMP", 100), ("TIFF", 1000), ("WEBP", 1000)]
)
def test_large_pictures_pass_pillows_own_limit_without_a_warning(
    monkeypatch: pytest.MonkeyPatch, kind: str, limit: int
) -> None:
    data = encoded(photo(), kind)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)  # its warning would be an error here
    assert read_rgb(data).size == (48, 32)
    assert limit == Image.MAX_IMAGE_PIXELS


def test_missing_folders_and_forbidden_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refused(tmp_path / "none.jpg").kind == "missing"
    assert refused(tmp_path).kind == "not-an-image"
    path = tmp_path / "a.png"
    path.write_bytes(encoded(photo()))

    def denied(*args: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", denied)
    assert refused(path).kind == "forbidden"


def test_metadata_warnings_stay_inside_and_filters_come_back() -> None:
    tiff = bytearray(encoded(photo(), "TIFF"))
    # A count that is no single value: Pillow remarks on it.
    offset = struct.unpack_from("<I", tiff, 4)[0]
    for i in range(struct.unpack_from("<H", tiff, offset)[0]):
        place = offset + 2 + 12 * i
        if struct.unpack_from("<H", tiff, place)[0] == 284:  # PlanarConfiguration
            struct.pack_into("<I", tiff, place + 4, 2)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Image.open(io.BytesIO(bytes(tiff))).load()
    assert caught, "the file must be one that Pillow warns about"
    before = list(warnings.filters)
    threads = [threading.Thread(target=read_rgb, args=(bytes(tiff),)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read_rgb(bytes(tiff)).size == (48, 32)
    assert warnings.filters == before


def test_data_modules_do_not_import_torch() -> None:
    code = (
        "import sys, headstart.data.dataset, headstart.data.augment; "
        "sys.exit(any(name in sys.modules for name in ('torch', 'torchvision', 'timm')))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
