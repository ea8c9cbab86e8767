"""Archives that cannot be unpacked, or must not be."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from faults.catalogue import Fault, Make, classes


def zipped(files: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return out.getvalue()


def tarred(*entries: tarfile.TarInfo, mode: str = "w") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:  # type: ignore[call-overload]
        for entry in entries:
            archive.addfile(entry, io.BytesIO(b"x" * entry.size))
    return out.getvalue()


def entry(name: str, kind: bytes = tarfile.REGTYPE, target: str = "", size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, target, size
    return info


def encrypted() -> bytes:
    """A zip whose first member says that it is encrypted."""
    content = bytearray(zipped({"set/cat/1.png": b"1"}))
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(mark) + offset] |= 1
    return bytes(content)


def damaged() -> bytes:
    """A zip whose member is not what its checksum says."""
    content = bytearray(zipped({"set/cat/1.png": bytes(range(256)) * 8}))
    content[60] ^= 0xFF
    return bytes(content)


def swelling() -> bytes:
    """A zip whose member says that it unpacks to 2 GB."""
    content = bytearray(zipped({"set/cat/1.png": b"\0" * 10_000}))
    for mark, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = content.index(mark) + offset
        content[at : at + 4] = (2**31).to_bytes(4, "little")
    return bytes(content)


def holding(content: bytes, name: str = "set.zip") -> Make:
    def make(here: Path) -> None:
        (here / name).write_bytes(content)

    return make


def pictures(here: Path) -> bytes:
    files = {}
    for path in classes(here / "made", 3).rglob("*.png"):
        files[path.relative_to(here / "made").as_posix()] = path.read_bytes()
    return zipped(files)


def within_another(here: Path) -> None:
    (here / "set.zip").write_bytes(zipped({"set/inner.zip": pictures(here)}))


def of_archive(name: str, content: bytes, said: str, exit_code: int = 1, file: str = "set.zip") -> Fault:
    return Fault(name, holding(content, file), said, exit_code, given=(file,))


GZIPPED = tarred(entry("set/cat/1.png", size=100_000), mode="w:gz")

FAULTS: list[Fault] = [
    of_archive(
        "damaged zip",
        b"PK\x03\x04" + b"x" * 100,
        "HS-DATA-002: This file is no table of pictures and no archive, but a damaged zip "
        "archive: copy or download it again.\n"
        "  where: set.zip\n"
        "  to do: Give the folder that holds the class folders, a table (CSV, TSV, JSON Lines, "
        "Parquet), or a zip or tar archive.",
        2,
    ),
    of_archive(
        "zip cut short",
        zipped({"set/cat/1.png": bytes(range(256)) * 40})[:-40],
        "HS-DATA-002: This file is no table of pictures and no archive, but a damaged zip "
        "archive: copy or download it again.\n"
        "  where: set.zip\n"
        "  to do: Give the folder that holds the class folders, a table (CSV, TSV, JSON Lines, "
        "Parquet), or a zip or tar archive.",
        2,
    ),
    of_archive(
        "zip with a wrong checksum",
        damaged(),
        "HS-FETCH-007: The archive is damaged: Bad CRC-32 for file 'set/cat/1.png'.\n"
        "  where: set.zip\n"
        "  to do: Delete it and fetch it again.",
    ),
    of_archive(
        "encrypted zip",
        encrypted(),
        "HS-FETCH-009: The archive is encrypted.\n"
        "  where: set.zip\n"
        "  to do: Unpack it with its password, then give headstart the folder.",
    ),
    of_archive(
        "zip of nothing",
        zipped({}),
        "HS-FETCH-007: The archive holds no files.\n"
        "  where: set.zip\n"
        "  to do: Fetch it again, or ask its publisher.",
    ),
    of_archive(
        "zip that leads out",
        zipped({"set/cat/1.png": b"1", "../../evil.png": b"2", "/etc/evil": b"3"}),
        "HS-FETCH-008: The archive is not safe to unpack. Nothing was written.\n"
        "  where: set.zip\n"
        "  - '../../evil.png': leads out of the folder\n"
        "  - '/etc/evil': is an absolute path\n"
        "  to do: Ask its publisher, or unpack it yourself if you trust it.",
    ),
    of_archive(
        "zip of one name twice",
        zipped({"set/cat/1.png": b"1", "set/cat/./1.png": b"2"}),
        "HS-FETCH-008: The archive is not safe to unpack. Nothing was written.\n"
        "  where: set.zip\n"
        "  - 'set/cat/1.png': appears twice\n"
        "  to do: Ask its publisher, or unpack it yourself if you trust it.",
    ),
    of_archive(
        "zip that swells",
        swelling(),
        "HS-FETCH-008: The archive is not safe to unpack. Nothing was written.\n"
        "  where: set.zip\n"
        "  - unpacks to more than 100 times its size\n"
        "  to do: Ask its publisher, or unpack it yourself if you trust it.",
    ),
    of_archive(
        "zip without pictures",
        zipped({"set/readme.txt": b"who"}),
        "HS-DATA-003: The folder holds no pictures.\n"
        "  where: {home}/unpacked/set-e4a9fdac7df5c383/set\n"
        "  - ignored: readme.txt\n"
        "  to do: Expected: train/CLASS/*.jpg and test/CLASS/*.jpg (or val/), or CLASS/*.jpg "
        "alone.",
        2,
    ),
    Fault(
        "zip within a zip",
        within_another,
        "HS-DATA-003: The folder holds no pictures.\n"
        "  where: {home}/unpacked/set-69f0664c3986818e/set\n"
        "  - ignored: inner.zip\n"
        "  to do: Unpack inner.zip, and give the folder that comes out. Expected: "
        "train/CLASS/*.jpg and test/CLASS/*.jpg (or val/), or CLASS/*.jpg alone.",
        given=("set.zip",),
    ),
    of_archive(
        "tar of links",
        tarred(
            entry("set/cat/1.png", tarfile.SYMTYPE, "/etc/passwd"),
            entry("set/cat/2.png", tarfile.LNKTYPE, "x"),
        ),
        "HS-FETCH-008: The archive is not safe to unpack. Nothing was written.\n"
        "  where: set.tar\n"
        "  - 'set/cat/1.png': is a link\n"
        "  - 'set/cat/2.png': is a link\n"
        "  to do: Ask its publisher, or unpack it yourself if you trust it.",
        file="set.tar",
    ),
    of_archive(
        "tar of devices",
        tarred(entry("set/null", tarfile.CHRTYPE)),
        "HS-FETCH-008: The archive is not safe to unpack. Nothing was written.\n"
        "  where: set.tar\n"
        "  - 'set/null': is a device\n"
        "  to do: Ask its publisher, or unpack it yourself if you trust it.",
        file="set.tar",
    ),
    of_archive(
        "tar that leads out",
        tarred(entry("../evil.png", size=1)),
        "HS-FETCH-008: The archive is not safe to unpack. Nothing was written.\n"
        "  where: set.tar\n"
        "  - '../evil.png': leads out of the folder\n"
        "  to do: Ask its publisher, or unpack it yourself if you trust it.",
        file="set.tar",
    ),
    of_archive(
        "tar cut short",
        GZIPPED[: len(GZIPPED) // 2],
        "HS-FETCH-007: The archive is damaged: Compressed file ended before the end-of-stream "
        "marker was reached.\n"
        "  where: set.tar.gz\n"
        "  to do: Delete it and fetch it again.",
        file="set.tar.gz",
    ),
    of_archive(
        "text named like an archive",
        b"not yet there\n",
        "HS-DATA-002: This file is no table of pictures and no archive, but a text, as a failed "
        "download leaves behind: download it again.\n"
        "  where: set.zip\n"
        "  to do: Give the folder that holds the class folders, a table (CSV, TSV, JSON Lines, "
        "Parquet), or a zip or tar archive.",
        2,
        file="set.zip",
    ),
    of_archive(
        "archive of another kind",
        b"7z\xbc\xaf\x27\x1c" + b"\0" * 50,
        "HS-DATA-002: This file is no table of pictures and no archive, but a 7z archive: unpack "
        "it, and give the folder.\n"
        "  where: set.7z\n"
        "  to do: Give the folder that holds the class folders, a table (CSV, TSV, JSON Lines, "
        "Parquet), or a zip or tar archive.",
        2,
        file="set.7z",
    ),
    of_archive(
        "RAR",
        b"Rar!\x1a\x07\x01\x00" + b"\0" * 50,
        "HS-DATA-002: This file is no table of pictures and no archive, but a RAR archive: "
        "unpack it, and give the folder.\n"
        "  where: set.rar\n"
        "  to do: Give the folder that holds the class folders, a table (CSV, TSV, JSON Lines, "
        "Parquet), or a zip or tar archive.",
        2,
        file="set.rar",
    ),
]
