"""A named or linked archive of pictures, downloaded, verified and unpacked once.

    name or address -> archive -> checksum -> safety -> folder

What stands in a folder under `storage.home` is whole: an archive that is not verified or not safe never
becomes one. A second call finds the folder and downloads nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import urllib.parse
import urllib.request
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from headstart import console
from headstart.data.archive import Limits, extract
from headstart.data.download import download, forget
from headstart.data.named_sets import NAMED_SETS
from headstart.errors import FetchError, nearest
from headstart.storage import home, storage_errors, write_atomic

STAMP = ".fetched.json"
ENDINGS = (".tar.gz", ".tar.bz2", ".tar.xz", ".tgz", ".tbz2", ".txz", ".tar", ".zip")
MAX_BYTES = 200_000_000_000


@dataclass(frozen=True)
class Source:
    """Where an archive comes from, and how it is known to be the right one."""

    name: str
    """Of the folder to be made."""
    url: str
    sha1: str = ""
    """Hex digest, or empty."""
    sha256: str = ""

    @property
    def archive_name(self) -> str:
        """The file name in the address."""
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.url).path)
        return PurePosixPath(path).name or "archive"

    @property
    def checksum(self) -> str:
        """What is known of the archive's bytes, in words."""
        if self.sha256:
            return f"SHA-256 {self.sha256}"
        return f"SHA-1 {self.sha1}" if self.sha1 else "no checksum published"


def fetch(
    name_or_url: str,
    *,
    folder: Path | None = None,
    sha1: str | None = None,
    sha256: str | None = None,
    mirror: str | None = None,
    timeout: float = 30.0,
    max_bytes: int = MAX_BYTES,
) -> Path:
    """Makes sure that a data set is on this machine.

    Args:
        name_or_url: A key of `NAMED_SETS`; an http, https or file address of a zip or tar archive; or the
            path of an archive.
        folder: Where to put it; default ``datasets`` under `headstart.storage.home`.
        sha1: Expected hex digest of the archive; for a named set the published one is known.
        sha256: The same; the archive must match all that are given.
        mirror: Address of a folder with the same archive, in place of the original server; default
            ``$HEADSTART_MIRROR``.
        timeout: Seconds without a byte before the connection counts as broken (it is tried 4 times).
        max_bytes: A larger archive is refused.

    Returns:
        The folder with the pictures: the archive's top folder.

    Raises:
        FetchError: see docs/troubleshooting.md, HS-FETCH-001 to HS-FETCH-012.
        RunError: the disk is full or cannot be written.
    """
    source = _source(name_or_url, sha1, sha256)
    folder = Path(folder or home() / "datasets").expanduser()
    destination = _destination(source, folder)
    if found := _already_there(source, destination):
        return found
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    if name_or_url in NAMED_SETS:
        known = NAMED_SETS[name_or_url]
        console.say(f"{name_or_url}: {known.pictures}; licence: {known.licence}")

    archive, ours = _archive(source, folder, mirror or os.environ.get("HEADSTART_MIRROR"), timeout, max_bytes)
    digests = _verify(archive, source, ours)
    root = _unpack(archive, source, destination, digests)
    if ours:
        with storage_errors(archive):
            archive.unlink()
    console.say(f"fetched: {root}")
    return root


def _source(name_or_url: str, sha1: str | None, sha256: str | None) -> Source:
    if name_or_url in NAMED_SETS:
        known = NAMED_SETS[name_or_url]
        source = Source(name_or_url, known.url, known.sha1 or "", known.sha256 or "")
    elif re.match(r"[A-Za-z][A-Za-z0-9+.-]+:", name_or_url):
        scheme = urllib.parse.urlsplit(name_or_url).scheme.lower()
        if scheme not in {"http", "https", "file"}:
            raise FetchError(
                "HS-FETCH-002",
                f"Addresses that begin with '{scheme}:' cannot be fetched.",
                where=name_or_url,
                fix="Use http, https or file.",
            )
        source = _unnamed(name_or_url)
    elif Path(name_or_url).is_file():
        source = _unnamed(Path(name_or_url).resolve().as_uri())
    else:
        raise FetchError(
            "HS-FETCH-001",
            f"No data set is called '{name_or_url}'.{nearest(name_or_url, NAMED_SETS)}",
            fix=f"Known: {', '.join(NAMED_SETS)}. Or give the address of a zip or tar archive.",
        )
    return replace(
        source,
        sha1=_digest(sha1, 40, "SHA-1") or source.sha1,
        sha256=_digest(sha256, 64, "SHA-256") or source.sha256,
    )


def _unnamed(url: str) -> Source:
    source = Source("", url)
    name = source.archive_name
    stem = next((name[: -len(e)] for e in ENDINGS if name.lower().endswith(e)), name)
    # The name of a folder: no separators or characters that some disk refuses.
    return replace(source, name=re.sub(r'[\x00-\x1f<>:"/\\|?*]', "-", stem).strip(" .") or "dataset")


def _digest(text: str | None, length: int, kind: str) -> str:
    text = (text or "").strip().lower()
    if text and not re.fullmatch(rf"[0-9a-f]{{{length}}}", text):
        raise FetchError(
            "HS-FETCH-011", f"This is not a {kind} checksum: '{text}'.", fix=f"It has {length} hex digits."
        )
    return text


def _destination(source: Source, folder: Path) -> Path:
    """``folder/NAME``, or ``folder/NAME-HASH`` where another address has taken the name."""
    plain = folder / source.name
    stamp = _stamp(plain)
    if stamp is not None and stamp.get("url") != source.url:
        return folder / f"{source.name}-{hashlib.sha256(source.url.encode()).hexdigest()[:8]}"
    return plain


def _stamp(destination: Path) -> dict[str, object] | None:
    try:
        stamp = json.loads((destination / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return stamp if isinstance(stamp, dict) else None


def _already_there(source: Source, destination: Path) -> Path | None:
    stamp = _stamp(destination)
    if stamp is None:
        if destination.exists():
            raise FetchError(
                "HS-FETCH-010",
                "A folder of this name is there, and headstart did not fetch it.",
                where=destination,
                fix="Rename it, or choose another place with --folder.",
            )
        return None
    root = destination / str(stamp.get("root", ""))
    for kind, expected in (("sha1", source.sha1), ("sha256", source.sha256)):
        if expected and stamp.get(kind) != expected:
            raise FetchError(
                "HS-FETCH-005",
                "What was fetched before has another checksum.",
                where=destination,
                details=[f"expected {expected}", f"there is {stamp.get(kind)}"],
                fix="Delete that folder to fetch it again.",
            )
    if not root.is_dir():
        raise FetchError(
            "HS-FETCH-010",
            "The fetched folder was moved or removed.",
            where=root,
            fix=f"Delete {destination} to fetch it again.",
        )
    console.say(f"already fetched: {root}")
    return root


def _archive(
    source: Source, folder: Path, mirror: str | None, timeout: float, max_bytes: int
) -> tuple[Path, bool]:
    """The archive on this disk, and whether it was downloaded for this call."""
    by_hand = folder / source.archive_name
    parts = urllib.parse.urlsplit(source.url)
    if parts.scheme == "file":
        by_hand = Path(urllib.request.url2pathname(parts.path))
        if not by_hand.is_file():
            raise FetchError(
                "HS-FETCH-003", "There is no such file.", where=by_hand, fix="Check the address."
            )
    if by_hand.is_file():
        console.say(f"using {by_hand}")
        return by_hand, False

    url = source.url
    if mirror:
        if urllib.parse.urlsplit(mirror).scheme not in {"http", "https"}:
            raise FetchError(
                "HS-FETCH-002",
                "The mirror is not an http or https address.",
                where=mirror,
                fix="Give the folder that holds the archive, as in https://mirror.example/data.",
            )
        url = f"{mirror.rstrip('/')}/{urllib.parse.quote(source.archive_name)}"
    # Named after the whole address, so that two archives of one name never continue each other.
    downloaded = folder / f".{hashlib.sha256(url.encode()).hexdigest()[:8]}-{source.archive_name}"
    console.say(f"downloading {url}")
    try:
        resumed = download(url, downloaded, timeout=timeout, max_bytes=max_bytes)
        if resumed and not _matches(downloaded, source):
            console.warn("the continued download does not match its checksum; downloading it anew")
            forget(downloaded)
            download(url, downloaded, timeout=timeout, max_bytes=max_bytes)
    except FetchError as error:
        raise _with_a_way_out(error, source, by_hand) from error
    return downloaded, True


def _with_a_way_out(error: FetchError, source: Source, by_hand: Path) -> FetchError:
    if error.code not in {"HS-FETCH-003", "HS-FETCH-004"}:
        return error
    return FetchError(
        error.code,
        error.what,
        where=error.where,
        details=[f"the original address: {source.url}", f"its checksum: {source.checksum}"],
        fix=f"Try again, name another server with --mirror, or place the archive by hand at {by_hand}",
    )


def _digests(archive: Path) -> dict[str, str]:
    sha1, sha256 = hashlib.sha1(usedforsecurity=False), hashlib.sha256()
    with open(archive, "rb") as file:
        while chunk := file.read(1 << 20):
            sha1.update(chunk)
            sha256.update(chunk)
    return {"sha1": sha1.hexdigest(), "sha256": sha256.hexdigest()}


def _matches(archive: Path, source: Source) -> bool:
    digests = _digests(archive)
    return source.sha1 in {"", digests["sha1"]} and source.sha256 in {"", digests["sha256"]}


def _verify(archive: Path, source: Source, ours: bool) -> dict[str, str]:
    digests = _digests(archive)
    wrong = [
        f"{words}: expected {expected}, got {digests[kind]}"
        for kind, words, expected in (("sha1", "SHA-1", source.sha1), ("sha256", "SHA-256", source.sha256))
        if expected and expected != digests[kind]
    ]
    if wrong:
        if ours:
            archive.unlink()
        raise FetchError(
            "HS-FETCH-005",
            "The archive does not match its checksum. Nothing was unpacked.",
            where=source.url if ours else archive,
            details=wrong,
            fix="Try again. If it stays so, the archive was changed: ask its publisher before you use it.",
        )
    if not (source.sha1 or source.sha256):
        console.warn(f"no checksum is published for {source.archive_name}, so it is taken as it came")
        console.say(f"its SHA-256 is {digests['sha256']}; give it as --sha256 to be sure the next time")
    return digests


def _unpack(archive: Path, source: Source, destination: Path, digests: dict[str, str]) -> Path:
    def stamp(unpacked: Path, root: str) -> None:
        facts = {"format": 1, "url": source.url, **digests, "root": root}
        write_atomic(unpacked / STAMP, json.dumps(facts, indent=1) + "\n")

    return extract(archive, destination, Limits(), before_it_stands=stamp)
