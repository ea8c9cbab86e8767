"""JPEG files with very many pixels and few bytes, made without that much memory."""

from __future__ import annotations

import io
import struct

from PIL import Image

BLOCK = b"\x28\xa2\x8a"
"""Four blocks of 8 x 8 pixels, as the standard Huffman tables code them: the grey before, no detail."""


def giant_jpeg(width: int, height: int, *, progressive: bool = False, whole: bool = True) -> bytes:
    """A grey JPEG of this size; ``whole=False``: its header alone promises the pixels."""
    buffer = io.BytesIO()
    Image.new("L", (16, 16), 128).save(buffer, "JPEG", progressive=progressive)
    small = buffer.getvalue()
    frame = small.index(b"\xff\xc2" if progressive else b"\xff\xc0")
    head = small[: frame + 5] + struct.pack(">HH", height, width) + small[frame + 9 :]
    if not whole:
        return head
    scan = head.index(b"\xff\xda")
    start = scan + 2 + int.from_bytes(head[scan + 2 : scan + 4], "big")
    blocks = -(-width // 8) * -(-height // 8)
    return head[:start] + BLOCK * (-(-blocks // 4)) + b"\xff\xd9"
