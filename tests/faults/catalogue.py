"""What a fault of the catalogue is, and how it is met: in Python and on the command line."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import headstart
from headstart.config import from_mapping, read_yaml
from headstart.data.check import Checked
from shapes import KINDS, draw

Make = Callable[[Path], object]


@dataclass(frozen=True)
class Fault:
    """A bad input, and what is said of it.

    Attributes:
        name: What is wrong, in a few words.
        make: Writes it into an empty folder.
        said: The words, from the code on; ``{here}`` stands for the folder. Of a finding of `check`, its
            whole paragraph.
        exit_code: Of the command line.
        command: Which command meets it.
        given: Its arguments; ``{here}`` as above.
        flags: Its settings.
        unless: Why it cannot be tried on this machine; empty if it can.
    """

    name: str
    make: Make
    said: str
    exit_code: int = 2
    command: str = "show"
    given: Sequence[str] = ("data",)
    flags: Mapping[str, Any] = field(default_factory=dict)
    unless: str = ""

    def __str__(self) -> str:
        return self.name.replace(" ", "-")


def finding(name: str, make: Make, said: str, exit_code: int = 0, **others: Any) -> Fault:
    """A fault that training survives: `headstart check` tells of it."""
    return Fault(name, make, said, exit_code, command="check", **others)


def in_python(fault: Fault) -> str:
    """The words of the exception, or all that a check found."""
    try:
        result = CALLS[fault.command](*fault.given, **fault.flags)
    except headstart.HeadstartError as error:
        assert error.exit_code == fault.exit_code
        assert str(error).startswith(f"{error.code}: ")
        return str(error)
    assert isinstance(result, Checked), "nothing was raised"
    assert (0 if result.usable else 2) == fault.exit_code
    return "\n".join(result.lines())


def evaluated(*given: str, **flags: Any) -> object:
    runs, data = (given, None) if len(given) == 1 else (given[:-1], given[-1])
    return headstart.evaluate(*runs, data=data, **flags)


def predicted(run: str, *pictures: str, **flags: Any) -> object:
    return headstart.load(run, **flags).predict([Path(picture) for picture in pictures])


def trained(*given: str, config: str | None = None, **flags: Any) -> object:
    settings = None if config is None else from_mapping(read_yaml(Path(config)), where=config)
    return headstart.train(*given, config=settings, **flags)


CALLS: dict[str, Callable[..., object]] = {
    "show": headstart.show,
    "check": headstart.check,
    "train": trained,
    "fetch": headstart.fetch,
    "evaluate": evaluated,
    "predict": predicted,
}


def without_hashes(text: str) -> str:
    """The text with `HASH` for each SHA-256, which other versions of a library may give another one."""
    return re.sub(r"\b[0-9a-f]{64}\b", "HASH", text)


def words(fault: Fault) -> list[str]:
    """The same for the command line."""
    flags = [
        word
        for name, value in fault.flags.items()
        for item in (value if isinstance(value, list) else [value])
        for word in (f"--{name.replace('_', '-')}", str(item))
    ]
    page = ["--no-page"] if fault.command == "check" else []
    return [fault.command, *fault.given, *flags, *page]


def tree(folder: Path) -> dict[str, str]:
    """Everything below a folder: hash of each file, target of each link, folders."""
    found = {}
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(place) / name
            key = path.relative_to(folder).as_posix()
            if path.is_symlink():
                found[key] = f"-> {path.readlink()}"
            elif path.is_file():
                try:
                    found[key] = hashlib.sha256(path.read_bytes()).hexdigest()
                except PermissionError:
                    found[key] = "locked"
            else:
                found[key] = "folder" if path.is_dir() else "other"
    return found


# --- what the families write ----------------------------------------------------------------------------


def classes(root: Path, n: int = 5, kinds: Sequence[str] = KINDS[:2], first: int = 0) -> Path:
    """Class folders ``dots`` and ``rings`` with ``n`` small pictures each."""
    for kind in kinds:
        for number in range(n):
            picture(root / kind / f"{number}.png", kind, first + number)
    return root


def split(root: Path, **parts: int) -> Path:
    """The same below ``train/``, ``test/``."""
    first = 0
    for part, n in parts.items():
        classes(root / part, n, first=first)
        first += n
    return root


def picture(path: Path, kind: str = "dots", number: int = 99, **saved: Any) -> Path:
    """One small picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draw(kind, number, 24).save(path, **saved)
    return path


def beside(*made: Callable[[Path], object]) -> Make:
    """Sound class folders with 20 pictures each, and something in them."""

    def make(here: Path) -> None:
        classes(here / "data", 20)
        for one in made:
            one(here / "data")

    return make


def file(name: str, content: bytes | str) -> Callable[[Path], Path]:
    """A file of this content."""

    def make(folder: Path) -> Path:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return make
