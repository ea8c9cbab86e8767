"""Unpacks an archive from somewhere else: all of it or nothing, and nothing outside its folder.

The whole table of contents is checked before the first byte is written, and all faults are named at once.
Links, devices, absolute names, names that climb out, encrypted and exploding archives are refused.
"""

from __future__ import annotations

import contextlib
import lzma
import re
import shutil
import stat
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from headstart import console
from headstart.errors import FetchError
from headstart.storage import storage_errors

GIB = 1 << 30
CHUNK = 1 << 20
DAMAGED = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, NotImplementedError)
WINDOWS_DEVICES = {"con", "prn", "aux", "nul", *(f"{d}{i}" for d in ("com", "lpt") for i in range(1, 10))}


@dataclass(frozen=True)
class Limits:
    """What an archive may hold at most."""

    files: int = 2_000_000
    bytes: int = 500 * GIB
    """Sum of the unpacked sizes."""
    ratio: float = 100.0
    """Unpacked size over archive size; looked at only above ``ratio_from`` bytes."""
    ratio_from: int = GIB


@dataclass(frozen=True)
class Member:
    """One file of an archive."""

    name: str
    """Relative posix path."""
    size: int
    """Unpacked bytes, as declared."""
    open: Callable[[], IO[bytes]]


def extract(
    archive: Path,
    destination: Path,
    limits: Limits | None = None,
    *,
    before_it_stands: Callable[[Path, str], None] = lambda unpacked, root: None,
) -> Path:
    """Unpacks a zip or tar (plain, gz, bz2, xz) into the new folder ``destination``.

    Args:
        archive: The archive; its kind is told from its bytes.
        destination: The folder to make; it appears when all of it is there.
        limits: What is refused as too much.
        before_it_stands: Called with the unpacked folder, before it gets its name, and with the name of
            the data folder inside it.

    Returns:
        The folder that holds the data: the archive's only top folder, now inside ``destination``. Files
        without a common top folder come into a folder with the name of ``destination``.

    Raises:
        FetchError: HS-FETCH-007 not an archive, or damaged; HS-FETCH-008 unsafe contents, all named;
            HS-FETCH-009 encrypted.
        RunError: the disk is full or cannot be written. Nothing is left behind in any case.
    """
    with storage_errors(destination):
        destination.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{destination.name}.", dir=destination.parent))
    try:
        with _opened(archive, limits or Limits()) as members:
            top = _only_top_folder([member.name for member in members])
            content = temporary if top else temporary / destination.name
            _write(members, content, archive)
        before_it_stands(temporary, top or destination.name)
        with storage_errors(destination):
            temporary.chmod(0o755)
            temporary.rename(destination)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return destination / (top or destination.name)


@contextlib.contextmanager
def _opened(archive: Path, limits: Limits) -> Iterator[list[Member]]:
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as file:
                yield _zip_members(file, archive, limits)
        elif tarfile.is_tarfile(archive):
            with tarfile.open(archive) as tar:
                yield _tar_members(tar, archive, limits)
        else:
            raise _not_an_archive(archive)
    except DAMAGED as error:
        raise _damaged(archive, str(error) or type(error).__name__) from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise _damaged(archive, str(error)) from error  # as bz2 and gzip report it


def _damaged(archive: Path, how: str) -> FetchError:
    return FetchError(
        "HS-FETCH-007",
        f"The archive is damaged: {how.rstrip('.')}.",
        where=archive,
        fix="Delete it and fetch it again.",
    )


def _not_an_archive(archive: Path) -> FetchError:
    with open(archive, "rb") as file:
        start = file.read(512).lstrip().lower()
    page = start.startswith((b"<!doctype", b"<html", b"<?xml"))
    return FetchError(
        "HS-FETCH-007",
        "A web page came instead of an archive." if page else "This is not a zip or tar archive.",
        where=archive,
        fix="Open the address in a browser: it may ask for a login, or have moved."
        if page
        else "headstart unpacks .zip, .tar, .tar.gz, .tar.bz2 and .tar.xz.",
    )


class _Checks:
    """Collects the faults of a table of contents, entry by entry."""

    def __init__(self, archive: Path, limits: Limits) -> None:
        self.archive, self.limits = archive, limits
        self.packed = archive.stat().st_size
        self.faults: list[str] = []
        self.total = 0
        self.names: set[str] = set()

    def entry(self, name: str, size: int, kind: str) -> None:
        """Checks one entry; ``kind`` is ``file``, ``folder`` or the word for what it is instead."""
        if fault := unsafe_name(name):
            self.faults.append(f"{name!r}: {fault}")
        elif kind not in {"file", "folder"}:
            self.faults.append(f"{name!r}: is {kind}")
        elif kind == "file":
            if name in self.names:
                self.faults.append(f"{name!r}: appears twice")
            self.names.add(name)
            self.total += size
        self._within_limits()

    def _within_limits(self) -> None:
        limits = self.limits
        if len(self.names) > limits.files:
            self._stop(f"more than {limits.files:,} files")
        if self.total > limits.bytes:
            self._stop(f"more than {limits.bytes / GIB:,.1f} GiB when unpacked")
        if self.total > limits.ratio_from and self.total > limits.ratio * self.packed:
            self._stop(f"unpacks to more than {limits.ratio:.0f} times its size")

    def _stop(self, fault: str) -> None:
        # Reading on would be what such an archive wants.
        self.faults.insert(0, fault)
        self.finish()

    def finish(self) -> None:
        folders = {str(parent) for name in self.names for parent in PurePosixPath(name).parents}
        self.faults += [f"{name!r}: is a file and a folder" for name in sorted(self.names & folders)]
        if self.faults:
            raise FetchError(
                "HS-FETCH-008",
                "The archive is not safe to unpack. Nothing was written.",
                where=self.archive,
                details=self.faults,
                fix="Ask its publisher, or unpack it yourself if you trust it.",
            )
        if not self.names:
            raise FetchError(
                "HS-FETCH-007",
                "The archive holds no files.",
                where=self.archive,
                fix="Fetch it again, or ask its publisher.",
            )


def unsafe_name(name: str, *, windows: bool = sys.platform == "win32") -> str:
    """Why a name in an archive must not become a path, or an empty string."""
    parts = name.rstrip("/").split("/")
    if not name.strip("/"):
        return "has no name"
    if name.startswith("/") or re.match(r"[A-Za-z]:", name):
        return "is an absolute path"
    if ".." in parts:
        return "leads out of the folder"
    if "\\" in name:
        return "has a backslash in its name"
    if any(ord(character) < 32 for character in name):
        return "has a control character in its name"
    if windows:
        for part in parts:
            stem = part.split(".")[0].strip().lower()
            if re.search(r'[<>:"|?*]', part) or part.endswith((" ", ".")) or stem in WINDOWS_DEVICES:
                return "has a name that Windows does not allow"
    return ""


def _normal(name: str) -> str:
    """The same name without ``./`` parts and doubled separators; a leading ``/`` is kept to be seen."""
    parts = [part for part in name.split("/") if part not in {"", "."}]
    return ("/" if name.startswith("/") else "") + "/".join(parts)


def _zip_members(file: zipfile.ZipFile, archive: Path, limits: Limits) -> list[Member]:
    entries = file.infolist()
    if any(entry.flag_bits & 0x1 for entry in entries):
        raise FetchError(
            "HS-FETCH-009",
            "The archive is encrypted.",
            where=archive,
            fix="Unpack it with its password, then give headstart the folder.",
        )
    checks = _Checks(archive, limits)
    members = []
    for entry in entries:
        name = _normal(_zip_name(entry))
        kind = _zip_kind(entry)
        if kind == "folder" and not name:
            continue
        checks.entry(name, entry.file_size, kind)
        if kind == "file":
            members.append(Member(name, entry.file_size, lambda entry=entry: file.open(entry)))  # type: ignore[misc]
    checks.finish()
    return members


def _zip_name(entry: zipfile.ZipInfo) -> str:
    # zipfile itself turns os.sep into "/" and cuts at NUL; the name as stored tells more.
    name = entry.orig_filename
    if entry.flag_bits & 0x800:
        return name
    # Archives of macOS hold UTF-8 names without saying so.
    with contextlib.suppress(UnicodeError):
        return name.encode("cp437").decode("utf-8")
    return name


def _zip_kind(entry: zipfile.ZipInfo) -> str:
    mode = stat.S_IFMT(entry.external_attr >> 16)
    if mode == stat.S_IFLNK:
        return "a link"
    if mode not in {0, stat.S_IFREG, stat.S_IFDIR}:
        return "a device"
    return "folder" if entry.is_dir() else "file"


def _tar_members(tar: tarfile.TarFile, archive: Path, limits: Limits) -> list[Member]:
    checks = _Checks(archive, limits)
    members = []
    for entry in tar:
        name = _normal(entry.name)
        kind = _tar_kind(entry)
        if kind == "folder" and not name:
            continue
        checks.entry(name, entry.size, kind)
        if kind == "file":
            members.append(Member(name, entry.size, lambda entry=entry: _tar_stream(tar, entry)))  # type: ignore[misc]
    checks.finish()
    return members


def _tar_stream(tar: tarfile.TarFile, entry: tarfile.TarInfo) -> IO[bytes]:
    stream = tar.extractfile(entry)
    assert stream is not None  # only regular files become members
    return stream


def _tar_kind(entry: tarfile.TarInfo) -> str:
    if entry.issym() or entry.islnk():
        return "a link"
    if entry.isdir():
        return "folder"
    if entry.isreg() and not entry.issparse():
        return "file"
    return "a sparse file" if entry.isreg() else "a device"


def _only_top_folder(names: list[str]) -> str | None:
    visible = [name for name in names if not name.startswith((".", "__MACOSX"))]
    tops = {name.split("/")[0] for name in visible}
    return tops.pop() if len(tops) == 1 and all("/" in name for name in visible) else None


def _write(members: list[Member], folder: Path, archive: Path) -> None:
    with console.progress(len(members), "Unpacking", "files") as advance:
        for member in members:
            target = folder / member.name
            with member.open() as source, storage_errors(target):
                target.parent.mkdir(parents=True, exist_ok=True)
                try:
                    written = _copy(source, target)
                except FileExistsError:
                    raise FetchError(
                        "HS-FETCH-008",
                        "The archive holds two names that this disk cannot tell apart. Nothing was written.",
                        where=archive,
                        details=[member.name],
                    ) from None
            if written != member.size:
                raise _damaged(archive, f"{member.name} has {written} of {member.size} bytes")
            advance(1)


def _copy(source: IO[bytes], target: Path) -> int:
    with open(target, "xb") as file:
        while chunk := _read(source):
            file.write(chunk)
        return file.tell()


def _read(source: IO[bytes]) -> bytes:
    try:
        return source.read(CHUNK)
    except OSError as error:
        if error.errno is not None:
            raise
        raise EOFError(str(error)) from error  # bad compressed data, not a bad disk
