"""What a file is, told by its first bytes and never by its name."""

from __future__ import annotations

import os
import stat
from pathlib import Path

HEAD_BYTES = 512
"""How much of a file `recognise` wants to see."""

PICTURE_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".webp", ".bmp", ".dib", ".tif", ".tiff", ".avif")
) | {".heic", ".heif"}
"""Names that promise a picture. Only for messages: the content decides."""

SIGNATURES: dict[str, tuple[bytes, ...]] = {
    "JPEG": (b"\xff\xd8\xff",),
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "GIF": (b"GIF87a", b"GIF89a"),
    "BMP": (b"BM",),
    "TIFF": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
}
OTHER_SIGNATURES: dict[str, tuple[bytes, ...]] = {
    "JPEG 2000": (b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51"),
    "JPEG XL": (b"\xff\x0a", b"\0\0\0\x0cJXL "),
    "PDF": (b"%PDF",),
    "Photoshop": (b"8BPS",),
    "SVG": (b"<svg",),
}
HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})


class UnreadableImage(Exception):  # noqa: N818 - a fact about a file, mostly a row of a table
    """A file that gives no picture.

    Attributes:
        kind: ``empty``, ``lfs-pointer``, ``not-an-image``, ``truncated`` (or damaged), ``too-large``,
            ``too-small``, ``unsupported``, ``missing`` or ``forbidden``.
        reason: The same in words, for a person.
    """

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason


def read_file(path: Path) -> bytes:
    """The bytes of a file that looks like a picture; a file that does not is not read to its end.

    Raises:
        UnreadableImage: Missing, not permitted, or as `recognise`.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116 - a tenth of the time of a Path's
            raise UnreadableImage("not-an-image", "not a regular file")
        with open(path, "rb", buffering=0) as file:
            head = file.read(HEAD_BYTES)
            recognise(head)
            file.seek(0)
            return file.read()  # in one piece: `head + rest` would hold a giant twice
    except FileNotFoundError:
        raise UnreadableImage("missing", "the file does not exist") from None
    except PermissionError:
        raise UnreadableImage("forbidden", "no permission to read the file") from None
    except OSError as error:
        raise UnreadableImage("forbidden", f"the file cannot be read: {error.strerror or error}") from None


def recognise(head: bytes) -> str:
    """Name of the format that a file starts like: ``JPEG``, ``PNG``, ``GIF``, ``WebP``, ``BMP``, ...

    Args:
        head: The first `HEAD_BYTES` bytes, fewer if the file is shorter.

    Raises:
        UnreadableImage: Empty, a Git LFS pointer, no picture, or a format that is not read.
    """
    if not head:
        raise UnreadableImage("empty", "the file is empty (0 bytes)")
    for name, starts in SIGNATURES.items():
        if head.startswith(starts):
            return name
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    if head[4:8] == b"ftyp":
        return _recognise_iso_media(head)
    if head.startswith(b"version https://git-lfs.github.com/spec/"):
        raise UnreadableImage("lfs-pointer", "a Git LFS pointer, not the picture itself")
    for name, starts in OTHER_SIGNATURES.items():
        if head.startswith(starts):
            raise UnreadableImage("unsupported", f"{name} is not read; save it as PNG, TIFF or JPEG")
    if head[128:132] == b"DICM":
        raise UnreadableImage("unsupported", "DICOM is not read; save it as 16-bit PNG or TIFF")
    if not head.strip(b"\0"):
        raise UnreadableImage("truncated", "only zero bytes, as an interrupted copy leaves behind")
    raise UnreadableImage("not-an-image", f"not an image: {_described_text(head) or 'unknown content'}")


def _recognise_iso_media(head: bytes) -> str:
    """AVIF and HEIC share their container with films: the brands in the first box tell which it is."""
    length = min(int.from_bytes(head[:4], "big"), len(head))
    brands = {head[8:12]} | {head[i : i + 4] for i in range(16, length - 3, 4)}
    if brands & {b"avif", b"avis"}:
        return "AVIF"
    if brands & HEIF_BRANDS:
        return "HEIC"
    raise UnreadableImage("not-an-image", "not an image: a film")


def _described_text(head: bytes) -> str:
    """What a text file seems to be; empty for binary data."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head")):
        return "a web page, as a failed download leaves behind"
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:  # else only the last letter is cut
            return ""
    return "" if b"\0" in head else "text"
