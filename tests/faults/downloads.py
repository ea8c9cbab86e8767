"""What `fetch` is asked for and cannot give."""

from __future__ import annotations

from pathlib import Path

from faults.archives import zipped
from faults.catalogue import Fault, classes, file

ARCHIVE = zipped({"set/cat/1.png": b"1", "set/dog/1.png": b"2"})
ADDRESS = "file://{here}/set.zip"
PAGE = "<!DOCTYPE html><html><body>Please log in.</body></html>"


def fetched(
    name: str, source: str, said: str, make: object = None, exit_code: int = 1, **flags: object
) -> Fault:
    written = make or file("set.zip", ARCHIVE)
    return Fault(name, written, said, exit_code, command="fetch", given=(source,), flags=flags)  # type: ignore[arg-type]


def taken(here: Path) -> None:
    file("set.zip", ARCHIVE)(here)
    classes(here / "mine" / "set", 1)


FAULTS: list[Fault] = [
    fetched(
        "name of no set",
        "hotdgo",
        "HS-FETCH-001: No data set is called 'hotdgo'. Did you mean 'hotdog'?\n"
        "  to do: Known: hotdog, flowers, rock-paper-scissors, eurosat. Or give the address of a "
        "zip or tar archive.",
    ),
    fetched(
        "file that is not there",
        "sets.zip",
        "HS-FETCH-001: No data set is called 'sets.zip'.\n"
        "  to do: Known: hotdog, flowers, rock-paper-scissors, eurosat. Or give the address of a "
        "zip or tar archive.",
    ),
    fetched(
        "address of no file",
        "file://{here}/none.zip",
        "HS-FETCH-003: There is no such file.\n  where: {here}/none.zip\n  to do: Check the address.",
    ),
    fetched(
        "scheme that is not fetched",
        "ftp://127.0.0.1/set.zip",
        "HS-FETCH-002: Addresses that begin with 'ftp:' cannot be fetched.\n"
        "  where: ftp://127.0.0.1/set.zip\n"
        "  to do: Use http, https or file.",
    ),
    fetched(
        "nobody listens",
        "http://127.0.0.1:9/set.zip",
        "HS-FETCH-003: The download failed: the server refuses the connection.\n"
        "  where: http://127.0.0.1:9/set.zip\n"
        "  - the original address: http://127.0.0.1:9/set.zip\n"
        "  - its checksum: no checksum published\n"
        "  to do: Try again, name another server with --mirror, or place the archive by hand at "
        "{home}/datasets/set.zip",
    ),
    fetched(
        "checksum that is none",
        ADDRESS,
        "HS-FETCH-011: This is not a SHA-1 checksum: 'abc'.\n  to do: It has 40 hex digits.",
        sha1="abc",
    ),
    fetched(
        "wrong SHA-1",
        ADDRESS,
        "HS-FETCH-005: The archive does not match its checksum. Nothing was unpacked.\n"
        "  where: {here}/set.zip\n"
        "  - SHA-1: expected 0000000000000000000000000000000000000000, got "
        "67f1511b86afe3e00b21dc367e522aa40e44bf9e\n"
        "  to do: Try again. If it stays so, the archive was changed: ask its publisher before "
        "you use it.",
        sha1="0" * 40,
    ),
    fetched(
        "wrong SHA-256",
        ADDRESS,
        "HS-FETCH-005: The archive does not match its checksum. Nothing was unpacked.\n"
        "  where: {here}/set.zip\n"
        "  - SHA-256: expected HASH, "
        "got HASH\n"
        "  to do: Try again. If it stays so, the archive was changed: ask its publisher before "
        "you use it.",
        sha256="0" * 64,
    ),
    fetched(
        "web page instead of an archive",
        ADDRESS,
        "HS-FETCH-007: A web page came instead of an archive.\n"
        "  where: {here}/set.zip\n"
        "  to do: Open the address in a browser: it may ask for a login, or have moved.",
        file("set.zip", PAGE),
    ),
    fetched(
        "folder of somebody else",
        ADDRESS,
        "HS-FETCH-010: A folder of this name is there, and headstart did not fetch it.\n"
        "  where: {here}/mine/set\n"
        "  to do: Rename it, or choose another place with --folder.",
        taken,
        folder="{here}/mine",
    ),
    Fault(
        "name of a set that was not fetched",
        file("x", b""),
        "HS-DATA-001: There is no such folder, but a data set of this name: 2,800 pictures: hot "
        "dogs and other food, in train/ and test/.\n"
        "  where: hotdog\n"
        '  to do: Fetch it: headstart train "$(headstart fetch hotdog)"',
        given=("hotdog",),
    ),
    Fault(
        "web page to train on",
        file("set.zip", PAGE),
        "HS-FETCH-007: A web page came instead of an archive.\n"
        "  where: {here}/set.zip\n"
        "  to do: Open the address in a browser: it may ask for a login, or have moved.",
        1,
        given=(ADDRESS,),
    ),
]
