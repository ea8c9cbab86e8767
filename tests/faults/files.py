"""Single files that are no picture, or not the one that they seem to be."""

from __future__ import annotations

import io
import os
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from faults.catalogue import Fault, beside, classes, file, finding, picture, split
from shapes import draw

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize 12345\n"
NO_PIPES = "" if hasattr(os, "mkfifo") else "there are no pipes in folders here"
NO_LOCKS = "" if hasattr(os, "geteuid") and os.geteuid() else "nothing can be locked for this user"


def encoded(kind: str, number: int = 77, **options: object) -> bytes:
    out = io.BytesIO()
    draw("dots", number, 24).save(out, kind, **options)
    return out.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG that promises this size and holds next to nothing."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    )


def tiff_header(width: int, height: int) -> bytes:
    """A TIFF of one strip that is not there."""
    tags = [(256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 8)]
    tags += [(277, 3, 1), (278, 4, height), (279, 4, width * height % 2**32)]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + b"\0\0\0\0"


def in_every_class(content: bytes) -> Callable[[Path], None]:
    def make(here: Path) -> None:
        split(here / "data", train=3, test=2)
        for path in (here / "data" / "train" / "dots").iterdir():
            path.write_bytes(content)

    return make


def pointers(here: Path) -> None:
    for path in classes(here / "data", 3).rglob("*.png"):
        path.write_text(POINTER.format("ab"))


def unreadable(data: Path) -> None:
    picture(data / "dots" / "locked.png").chmod(0)


def dangling(data: Path) -> None:
    (data / "dots" / "link.png").symlink_to("nowhere.png")


def pipe(data: Path) -> None:
    os.mkfifo(data / "dots" / "pipe.jpg")


def turned(data: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(data / "dots" / "turned.png", exif=exif)


def copies(data: Path) -> None:
    shutil.copy(data / "dots" / "0.png", data / "dots" / "0 (copy).png")


def torn(data: Path) -> None:
    shutil.copy(data / "dots" / "0.png", data / "rings" / "z.png")


def leak(here: Path) -> None:
    split(here / "data", train=4, test=2)
    shutil.copy(here / "data/train/dots/1.png", here / "data/test/dots/again.png")


def deep(data: Path) -> None:
    (data / "dots" / "deep.png").write_bytes(
        # 1 x 1 pixels of 16-bit colour
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
            for name, body in (
                (b"IHDR", struct.pack(">IIBBBBB", 24, 24, 16, 2, 0, 0, 0)),
                (b"IDAT", zlib.compress((b"\0" + bytes(range(144))) * 24)),
                (b"IEND", b""),
            )
        )
    )


FAULTS: list[Fault] = [
    finding(
        "empty file",
        beside(file("dots/a.jpg", b"")),
        "WARNING  left out: 1 empty file   [HS-CHECK-001]\n"
        "           dots/a.jpg: the file is empty (0 bytes)\n"
        "         > Copy them again from where they came from.",
    ),
    finding(
        "pointer of Git LFS",
        beside(file("dots/a.jpg", POINTER.format("ab"))),
        "WARNING  left out: 1 Git LFS pointer instead of a picture   [HS-CHECK-002]\n"
        "           dots/a.jpg: a Git LFS pointer, not the picture itself\n"
        "         > Run in the clone: git lfs install && git lfs pull",
    ),
    finding(
        "JPEG cut short",
        beside(file("dots/a.jpg", encoded("JPEG")[:-200])),
        "WARNING  left out: 1 truncated or damaged picture   [HS-CHECK-003]\n"
        "           dots/a.jpg: JPEG, cut short\n"
        "         > Copy or download them again; delete what stays broken.",
    ),
    finding(
        "PNG cut short",
        beside(file("dots/a.png", encoded("PNG")[:-200])),
        "WARNING  left out: 1 truncated or damaged picture   [HS-CHECK-003]\n"
        "           dots/a.png: PNG, cut short\n"
        "         > Copy or download them again; delete what stays broken.",
    ),
    finding(
        "zero bytes only",
        beside(file("dots/a.jpg", b"\0" * 3000)),
        "WARNING  left out: 1 truncated or damaged picture   [HS-CHECK-003]\n"
        "           dots/a.jpg: only zero bytes, as an interrupted copy leaves behind\n"
        "         > Copy or download them again; delete what stays broken.",
    ),
    finding(
        "web page as JPEG",
        beside(file("dots/a.jpg", "<!DOCTYPE html><html>404</html>")),
        "WARNING  left out: 1 file that is named like a picture but cannot be read as one   "
        "[HS-CHECK-005]\n"
        "           dots/a.jpg: not an image: a web page, as a failed download leaves behind\n"
        "         > Convert them to JPEG or PNG.",
    ),
    finding(
        "PDF as JPEG",
        beside(file("dots/a.jpg", b"%PDF-1.7\n")),
        "WARNING  left out: 1 file that is named like a picture but cannot be read as one   "
        "[HS-CHECK-005]\n"
        "           dots/a.jpg: PDF is not read; save it as PNG, TIFF or JPEG\n"
        "         > Convert them to JPEG or PNG.",
    ),
    finding(
        "drawing as JPEG",
        beside(file("dots/a.jpg", "<svg xmlns='http://www.w3.org/2000/svg'/>")),
        "WARNING  left out: 1 file that is named like a picture but cannot be read as one   "
        "[HS-CHECK-005]\n"
        "           dots/a.jpg: SVG is not read; save it as PNG, TIFF or JPEG\n"
        "         > Convert them to JPEG or PNG.",
    ),
    finding(
        "film as JPEG",
        beside(file("dots/a.jpg", b"\0\0\0\x18ftypisom\0\0\0\0isommp42")),
        "WARNING  left out: 1 file that is named like a picture but cannot be read as one   "
        "[HS-CHECK-005]\n"
        "           dots/a.jpg: not an image: a film\n"
        "         > Convert them to JPEG or PNG.",
    ),
    finding(
        "text beside pictures",
        beside(file("dots/notes.txt", "who took them")),
        "note     left out: 1 file that is not an image   [HS-CHECK-006]\n"
        "           dots/notes.txt\n"
        "         > Nothing need be done; move them out of the class folders if they are in the "
        "way.",
    ),
    finding(
        "PNG bomb",
        beside(file("dots/bomb.png", png_header(60_000, 60_000))),
        "WARNING  left out: 1 file that is named like a picture but cannot be read as one   "
        "[HS-CHECK-005]\n"
        "           dots/bomb.png: 60000 x 60000 pixels, more than 200 million\n"
        "         > Convert them to JPEG or PNG.",
    ),
    finding(
        "TIFF bomb",
        beside(file("dots/bomb.tif", tiff_header(65_000, 65_000))),
        "WARNING  left out: 1 file that is named like a picture but cannot be read as one   "
        "[HS-CHECK-005]\n"
        "           dots/bomb.tif: 65000 x 65000 pixels, more than 200 million\n"
        "         > Convert them to JPEG or PNG.",
    ),
    finding(
        "system files",
        beside(file("dots/.DS_Store", b"x"), file("rings/Thumbs.db", b"x")),
        "note     ignored: 2 hidden or system files and folders (.DS_Store, Thumbs.db)   "
        "[HS-CHECK-008]\n"
        "         > Nothing need be done; rename what is a picture or a class of yours.",
    ),
    finding(
        "tiny picture",
        beside(
            file("dots/a.gif", encoded("GIF")), lambda d: Image.new("RGB", (1, 1)).save(d / "dots/dot.png")
        ),
        "WARNING  1 picture is tiny: fewer than 16 pixels wide or high   [HS-CHECK-010]\n"
        "           dots/dot.png: 1 x 1 pixels\n"
        "         > Leave them out: they are placeholders or icons rather than photos.",
    ),
    finding(
        "another format than the name says",
        beside(file("dots/a.jpg", encoded("PNG"))),
        "note     1 file holds another format than the name says   [HS-CHECK-024]\n"
        "           dots/a.jpg: PNG inside\n"
        "         > Nothing need be done: the content counts here; other tools may stumble over "
        "them.",
    ),
    finding(
        "damaged colour profile",
        beside(file("dots/a.png", encoded("PNG", icc_profile=b"no profile"))),
        "note     1 picture with a damaged colour profile, which is not applied   [HS-CHECK-026]\n"
        "           dots/a.png\n"
        "         > Look at their colours; if they are wrong, save the pictures anew as sRGB.",
    ),
    finding(
        "CMYK",
        beside(lambda d: draw("dots", 70, 24).convert("CMYK").save(d / "dots/print.jpg")),
        "note     1 picture is of a kind that is unusual here (1 JPEG CMYK)   [HS-CHECK-023]\n"
        "           dots/print.jpg: JPEG, mode CMYK\n"
        "         > Look at them: odd ones are often drawings, screenshots or placeholders.",
    ),
    finding(
        "colour of 16 bits",
        beside(deep),
        "note     1 picture in 16-bit colour: the upper 8 bits of each channel are used   "
        "[HS-CHECK-022]\n"
        "           dots/deep.png\n"
        "         > Nothing need be done, unless differences finer than 1 in 256 matter.",
    ),
    finding(
        "animation",
        beside(file("dots/a.gif", encoded("GIF", save_all=True, append_images=[draw("dots", 3, 24)]))),
        "note     1 file with several frames: the first is used   [HS-CHECK-021]\n"
        "           dots/a.gif\n"
        "         > Save the frames that you want as single pictures.",
    ),
    finding(
        "turned by EXIF",
        beside(turned),
        "note     1 picture turned upright as its EXIF data say   [HS-CHECK-020]\n"
        "           dots/turned.png\n"
        "         > Nothing need be done: headstart turns them everywhere; other tools may not.",
    ),
    finding(
        "copy",
        beside(copies),
        "note     1 file is named as copies are   [HS-CHECK-012]\n"
        "           dots/0 (copy).png\n"
        "         > Compare them with their originals, and delete what is a copy.",
    ),
    finding(
        "under two classes",
        beside(torn),
        "WARNING  1 picture lies under more than one class, exactly the same   [HS-CHECK-033]\n"
        "           dots/0.png = rings/z.png: dots, rings\n"
        "         > Look at each group, decide on its class, and delete the others.",
    ),
    finding(
        "copy in training and test",
        leak,
        "WARNING  1 of 5 test pictures are exact copies of pictures used for training or "
        "choices; the reported figures flatter   [HS-CHECK-036]\n"
        "           test/dots/again.png = train/dots/1.png\n"
        "         > Leave out all copies but one: --fix-list FILE writes which.",
    ),
    finding(
        "link that leads nowhere",
        beside(dangling),
        "WARNING  left out: 1 file that is missing or may not be read   [HS-CHECK-004]\n"
        "           dots/link.png: the file does not exist\n"
        "         > Bring them back, or change their permissions.",
    ),
    finding(
        "pipe as JPEG",
        beside(pipe),
        "WARNING  left out: 1 file that is named like a picture but cannot be read as one   "
        "[HS-CHECK-005]\n"
        "           dots/pipe.jpg: not a regular file\n"
        "         > Convert them to JPEG or PNG.",
        unless=NO_PIPES,
    ),
    finding(
        "smaller than the crop",
        beside(file("dots/a.png", encoded("PNG"))),
        "ERROR    None of 41 files is a picture that can be read (data)   [HS-DATA-003]\n"
        "           dots/0.png: 24 x 24 pixels, and the crop reaches to 24 x 30\n"
        "           dots/1.png: 24 x 24 pixels, and the crop reaches to 24 x 30\n"
        "           dots/10.png: 24 x 24 pixels, and the crop reaches to 24 x 30\n"
        "           and 38 more\n"
        "         > Choose a --crop that all pictures have.",
        flags={"crop": "0,0,24,30"},
        exit_code=2,
    ),
    finding(
        "locked file",
        beside(unreadable),
        "WARNING  left out: 1 file that is missing or may not be read   [HS-CHECK-004]\n"
        "           dots/locked.png: no permission to read the file\n"
        "         > Bring them back, or change their permissions.",
        unless=NO_LOCKS,
    ),
    Fault(
        "class of empty files",
        in_every_class(b""),
        "HS-DATA-010: Class 'dots' loses all its 3 pictures: none can be read.\n"
        "  where: data\n"
        "  - train/dots/0.png: the file is empty (0 bytes)\n"
        "  - train/dots/1.png: the file is empty (0 bytes)\n"
        "  - train/dots/2.png: the file is empty (0 bytes)\n"
        '  to do: Replace them, or leave the class out: --exclude "dots"',
    ),
    Fault(
        "class of web pages",
        in_every_class(b"<html>"),
        "HS-DATA-010: Class 'dots' loses all its 3 pictures: none can be read.\n"
        "  where: data\n"
        "  - train/dots/0.png: not an image: a web page, as a failed download leaves behind\n"
        "  - train/dots/1.png: not an image: a web page, as a failed download leaves behind\n"
        "  - train/dots/2.png: not an image: a web page, as a failed download leaves behind\n"
        '  to do: Replace them, or leave the class out: --exclude "dots"',
    ),
    Fault(
        "nothing but pointers",
        pointers,
        "HS-DATA-011: All 6 files are Git LFS pointers, not pictures: the folder was cloned "
        "without git-lfs.\n"
        "  where: data\n"
        "  - dots/0.png: a Git LFS pointer, not the picture itself\n"
        "  - dots/1.png: a Git LFS pointer, not the picture itself\n"
        "  - dots/2.png: a Git LFS pointer, not the picture itself\n"
        "  - rings/0.png: a Git LFS pointer, not the picture itself\n"
        "  - rings/1.png: a Git LFS pointer, not the picture itself\n"
        "  - rings/2.png: a Git LFS pointer, not the picture itself\n"
        "  to do: Run in the clone: git lfs install && git lfs pull",
    ),
    Fault(
        "nothing but broken files",
        lambda here: [p.write_bytes(b"") for p in classes(here / "data", 3).rglob("*.png")],
        "HS-DATA-003: None of 6 files is a picture that can be read.\n"
        "  where: data\n"
        "  - dots/0.png: the file is empty (0 bytes)\n"
        "  - dots/1.png: the file is empty (0 bytes)\n"
        "  - dots/2.png: the file is empty (0 bytes)\n"
        "  - rings/0.png: the file is empty (0 bytes)\n"
        "  - rings/1.png: the file is empty (0 bytes)\n"
        "  - rings/2.png: the file is empty (0 bytes)\n"
        "  to do: Replace them; what is the matter with each is said above.",
    ),
]
