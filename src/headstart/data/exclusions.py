"""What is left out of a data set on demand: by pattern, or by a list of files."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from headstart.console import counted
from headstart.data.listing import Excluded, listed, nfc
from headstart.data.relocation import with_slashes
from headstart.data.tables import Row, Table, open_table
from headstart.errors import DataError, HeadstartError, nearest

PATTERN, LIST = "--exclude", "--exclude-list"


class Named(NamedTuple):
    """What a list says of a file: why it is left out, and the code of the finding; both may be empty."""

    path: str
    reason: str = ""
    code: str = ""


class Exclusions:
    """The patterns of ``--exclude`` and the files of ``--exclude-list``, and what each of them matched.

    A pattern is compared with a path, with each folder and file name in it, with the beginnings of the path
    that end at a folder, and with the class; ``*`` and ``?`` as in a shell. A path of the list is compared
    with the whole path, and with the beginnings that end at a folder.

    Args:
        patterns: Of ``--exclude``.
        file: Of ``--exclude-list``, see `read_list`.
        root: Folder of the data, which relative paths of the list begin in.

    Attributes:
        found: All that was left out.

    Raises:
        DataError: HS-DATA-075, -076: the list cannot be used.
    """

    def __init__(self, patterns: Sequence[str], file: Path | None = None, root: Path = Path()) -> None:
        self.found: list[Excluded] = []
        self._file, self._root = file, root
        self._matches = {pattern.rstrip("/"): 0 for pattern in patterns}
        self._plain = {pattern: nfc(pattern) for pattern in self._matches}
        self._named = {} if file is None else _within(read_list(file), root)
        self._met: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self._matches or self._named)

    def leaves_out(self, path: str, class_name: str = "", *, within: str = "") -> bool:
        """Whether something matches; if so, it is noted.

        Args:
            path: Relative to the data, or absolute; a folder may end in ``/``.
            class_name: Of the picture, where it may be meant too.
            within: Absolute folder of the data, which is not compared.
        """
        if not self:
            return False
        pieces = nfc(path.removeprefix(within).strip("/") if within else path.rstrip("/")).split("/")
        beginnings = ["/".join(pieces[: i + 1]) for i in range(len(pieces))]
        for text in beginnings if self._named else ():
            if text in self._named:
                self._met.add(text)
                self.found.append(Excluded(path, f"{LIST} {self._file}", *self._named[text][1:]))
                return True
        texts = {*pieces, *beginnings}
        texts |= {class_name} if class_name else set()
        for pattern, plain in self._plain.items():
            if any(fnmatch.fnmatchcase(text, plain) for text in texts):
                self._matches[pattern] += 1
                self.found.append(Excluded(path, f"{PATTERN} {pattern}"))
                return True
        return False

    def notes(self, one: str, many: str) -> list[str]:
        """What each of them did, for a person; ``one`` and ``many`` are words for what was left out."""
        said = [
            f"left out by {PATTERN} {pattern}: {counted(n, one, many)}"
            if n
            else f"{PATTERN} {pattern} matched nothing"
            for pattern, n in self._matches.items()
        ]
        if self._file is None:
            return said
        by_list = sum(item.by == f"{LIST} {self._file}" for item in self.found)
        said.append(f"left out by {LIST} {self._file}: {counted(by_list, one, many)}")
        astray = [named.path for text, named in self._named.items() if text not in self._met]
        if astray:
            few = counted(len(astray), "path", "paths")
            said.append(
                f"ATTENTION: {few} of {self._file} {'is' if len(astray) == 1 else 'are'} not among the files "
                f"of {self._root} ({listed(astray, 3)})"
            )
        return said


def read_list(path: Path) -> list[Named]:
    """The files that a list names: a table with a column ``path``, as ``check --fix-list`` writes it.

    Its columns ``reason`` and ``code``, if there are any, are kept; others are ignored. A list of nothing but
    paths needs no name of the column.

    Raises:
        DataError: HS-DATA-075, there is no such file, or it cannot be read as a table; HS-DATA-076, it has no
            column of paths, or lines without one.
    """
    try:
        table = open_table(path, errors="surrogateescape")  # names may hold any byte
        rows = list(table.rows())
    except OSError as error:
        folder = [item.name for item in path.parent.iterdir()] if path.parent.is_dir() else []
        guess = nearest(path.name, folder) if isinstance(error, FileNotFoundError) else ""
        raise _unreadable(path, f"{error.strerror}.{guess}", "Check the spelling.") from None
    except HeadstartError as error:
        if error.code == "HS-DATA-050":
            reason = error.what.removeprefix("The table of pictures cannot be read: ")
            fix = "Write it anew: headstart check DATA --fix-list FILE"
            raise _unreadable(path, reason, fix) from None
        raise
    columns = {name.lower(): i for i, name in enumerate(table.names)}
    if not table.has_header and len(table.names) == 1:
        columns = {"path": 0}
    if "path" not in columns:
        raise DataError(
            "HS-DATA-076",
            "The list of files to leave out has no column 'path'.",
            where=path,
            details=[f"its columns: {listed(table.names)}"],
            fix="Write `path` into its first line, and a path into each further line.",
        )
    bad = [f"line {number} {fault}" for number, row in rows if (fault := _fault(table, row, columns["path"]))]
    if bad:
        raise DataError(
            "HS-DATA-076",
            f"{counted(len(bad), 'line', 'lines')} of the list of files to leave out cannot be used.",
            where=path,
            details=bad,
            fix="Correct them; a path with a comma stands in double quotes.",
        )
    order = [columns.get(name) for name in Named._fields]
    return [Named(*("" if i is None else str(row[i]) for i in order)) for _, row in rows]


def _unreadable(path: Path, reason: str, fix: str) -> DataError:
    what = f"The list of files to leave out cannot be read: {reason}"
    return DataError("HS-DATA-075", what, where=path, fix=fix)


def _fault(table: Table, row: Row, path: int) -> str:
    if len(row) != len(table.names):
        return f"has {counted(len(row), 'cell', 'cells')}, not {len(table.names)}"
    return "" if row[path] else "names no path"


def _within(named: Sequence[Named], root: Path) -> dict[str, Named]:
    """The lines by their path relative to the data, absolute where it lies elsewhere."""
    found: dict[str, Named] = {}
    for item in named:
        found.setdefault(nfc(relative_to_data(item.path, root)), item)
    return found


def relative_to_data(path: str, root: Path) -> str:
    """A path as a person writes it: relative to the data, absolute, or relative to the folder one is in."""
    if "\\" in path:
        path = with_slashes(path)
    elsewhere = not os.path.exists(root / path) and os.path.exists(path)  # noqa: PTH110
    if not (elsewhere or path.startswith("/")):
        return PurePosixPath(path).as_posix()
    top, place = (Path(os.path.abspath(p)) for p in (root, path))  # noqa: PTH100
    return (place.relative_to(top) if place.is_relative_to(top) else place).as_posix()
