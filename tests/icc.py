"""Small ICC profiles, written byte by byte."""

from __future__ import annotations

import struct

WIDE = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
"""Adobe RGB's primaries, XYZ of D50."""
D50 = (0.9642, 1.0, 0.8249)


def fixed(value: float) -> bytes:
    return struct.pack(">i", round(value * 65536))


def xyz(values: tuple[float, float, float]) -> bytes:
    return b"XYZ \0\0\0\0" + b"".join(map(fixed, values))


def profile(
    primaries: tuple[tuple[float, float, float], ...] = WIDE, gamma: float = 2.2, space: bytes = b"RGB "
) -> bytes:
    """A display profile, version 2.4: of a matrix and a gamma, or (``space=b"GRAY"``) of a gamma alone."""
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + b"\0" * 78,
        b"wtpt": xyz(D50),
        b"cprt": b"text\0\0\0\0none\0",
    }
    if space == b"RGB ":
        for letter, values in zip((b"r", b"g", b"b"), primaries, strict=True):
            tags[letter + b"XYZ"], tags[letter + b"TRC"] = xyz(values), curve
    else:
        tags[b"kTRC"] = curve
    table, body = b"", b""
    for name, content in tags.items():
        content += b"\0" * (-len(content) % 4)
        table += name + struct.pack(">II", 132 + 12 * len(tags) + len(body), len(content))
        body += content
    head = struct.pack(
        ">I4sI4s4s4s", 132 + len(table) + len(body), b"lcms", 0x02400000, b"mntr", space, b"XYZ "
    )
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + b"\0" * 28 + b"".join(map(fixed, D50))
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body
