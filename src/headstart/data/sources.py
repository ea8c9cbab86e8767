"""What kind of source DATA is, decided in one place; each becomes a listing.

    folder            class folders, with or without a split; or a table beside its pictures; or Parquet files
    file              a table (CSV, TSV, JSON Lines, Parquet), or a zip or tar archive of a folder
    http(s), file:    the address of an archive, which is fetched
    sequence          (path, label[, split]) of each picture

Archives, and pictures inside Parquet files, are unpacked once, below `headstart.storage.home`, in a folder
named by the hash of the bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shlex
import shutil
import tarfile
import tempfile
import urllib.parse
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path, PurePosixPath
from typing import Any

from headstart import console
from headstart.config import LabelFrom, TrainConfig
from headstart.data.archive import extract
from headstart.data.fetch import ENDINGS, fetch
from headstart.data.folders import check_is_folder, list_folder, run_folder_fault
from headstart.data.formats import HEAD_BYTES, UnreadableImage, recognise
from headstart.data.grouping import grouped_by_path
from headstart.data.listing import RUN_FILES, SPLIT_NAMES, Listing, is_folder, is_ignored, nfc
from headstart.data.manifest import list_manifest
from headstart.data.named_sets import NAMED_SETS
from headstart.data.pairs import list_pairs
from headstart.data.parquet_pictures import LABELS, unpack_pictures
from headstart.data.tables import PARQUET, SUFFIXES, Table, open_table
from headstart.data.unclear import list_unclear
from headstart.errors import ConfigError, DataError
from headstart.storage import home, storage_errors, write_atomic

Data = str | PathLike[str] | Sequence[Sequence[Any]]
STAMP = ".unpacked.json"
OTHER_ARCHIVES = {b"7z\xbc\xaf\x27\x1c": "a 7z archive", b"Rar!\x1a\x07": "a RAR archive"}
CONTROL = frozenset(range(9))  # bytes that no text holds


@dataclass(frozen=True)
class SourceOptions:
    """What a person says of a source.

    Attributes:
        images: Folder that the paths of a table begin in.
        label_from: Which of nested folders name the class; None: the first, or a table's column.
        columns: ``ROLE=COLUMN`` with role path, label, split or group.
        group_by: A column of the table, or a regular expression over the paths; see
            `headstart.data.grouping`.
        exclude_list: Table of files to leave out.
    """

    images: Path | None = None
    label_from: LabelFrom | None = None
    columns: tuple[str, ...] = ()
    group_by: str | None = None
    exclude_list: Path | None = None

    def by_role(self) -> dict[str, str]:
        """Role -> column."""
        return dict(item.split("=", 1) for item in self.columns)


def options_of(config: TrainConfig) -> SourceOptions:
    """What the settings of a run say of its source."""
    return SourceOptions(
        config.images, config.label_from, config.columns, config.group_by, config.exclude_list
    )


def command_line(command: str, data: Data, options: SourceOptions, exclude: Sequence[str] = ()) -> str:
    """What to type to have the same data again, as in ``headstart check DATA --images DIR``."""
    if not isinstance(data, str | PathLike):
        return f"headstart.{command}(...) with this list"
    given = [
        ("--images", options.images),
        *(("--columns", column) for column in options.columns),
        ("--label-from", options.label_from),
        ("--group-by", options.group_by),
        *(("--exclude", pattern) for pattern in exclude),
        ("--exclude-list", options.exclude_list),
    ]
    flags = [str(word) for flag, value in given if value is not None for word in (flag, value)]
    return shlex.join(["headstart", command, str(data), *flags])


def list_source(
    data: Data,
    *,
    options: SourceOptions | None = None,
    exclude: Sequence[str] = (),
    require_split: bool = True,
    anyway: bool = False,
) -> Listing:
    """The files of a data set, whatever it is given as.

    Args:
        data: See above.
        options: What is said of it.
        exclude: Patterns to leave out.
        require_split: Whether the data are for training.
        anyway: List what can be listed of data that training refuses, for a person to look at. Raised is only
            what leaves nothing to look at.

    Raises:
        DataError: HS-DATA-077, the folder of a run; HS-DATA-002, a file that is neither table nor archive; as
            `headstart.data.folders.list_folder`, `headstart.data.manifest.list_manifest` and
            `headstart.data.pairs.list_pairs`.
        FetchError: as `headstart.data.fetch.fetch` and `headstart.data.archive.extract`.
        ConfigError: HS-CONFIG-014, an option that this kind of source has no use for; HS-CONFIG-007, groups
            both by `--group-by` and by `--columns`; HS-CONFIG-020, as `headstart.data.grouping.compiled`.
    """
    options = options or SourceOptions()
    if options.group_by is not None and "group" in options.by_role():
        raise ConfigError(
            "HS-CONFIG-007",
            "These settings contradict each other.",
            details=["--group-by and --columns group=... both say what a group is"],
        )
    listing = _listing(data, options, exclude, require_split, anyway)
    if options.group_by is None or listing.layout == "table":  # a table may have a column of that name
        return listing
    return grouped_by_path(listing, options.group_by, several=require_split, anyway=anyway)


def _listing(
    data: Data, options: SourceOptions, exclude: Sequence[str], require_split: bool, anyway: bool
) -> Listing:
    """As `list_source`; groups are those of a table."""
    if not isinstance(data, str | PathLike):
        check_options(options, "a list", images=False, label_from=False, columns=False)
        return list_pairs(
            data,
            exclude=exclude,
            exclude_list=options.exclude_list,
            require_split=require_split,
            anyway=anyway,
        )
    if is_address(data):
        path = fetch(str(data))
    else:
        path = Path(data).expanduser()
        if not path.exists() and str(data) in NAMED_SETS:
            raise DataError(
                "HS-DATA-001",
                f"There is no such folder, but a data set of this name: {NAMED_SETS[str(data)].pictures}.",
                where=path,
                fix=f'Fetch it: headstart train "$(headstart fetch {data})"',
            )
    if path.is_file():
        kind = kind_of_file(path)
        if kind == "archive":
            path = unpacked_archive(path)
        elif kind == "parquet" and (table := open_table(path)).pictures:
            return _manifest(*_pictures_inside([table], options), exclude, require_split, anyway)
        else:
            return _manifest(path, options, exclude, require_split, anyway)
    check_is_folder(path)
    if all((path / name).is_file() for name in RUN_FILES):
        raise run_folder_fault(path)
    if files := parquet_files(path):
        tables = [open_table(file) for file in files]
        return _manifest(*_pictures_inside(tables, options), exclude, require_split, anyway)
    if (table_file := table_in(path, exclude, options.exclude_list)) is not None:
        return _manifest(table_file, options, exclude, require_split, anyway)
    check_options(options, "a folder of class folders", images=False, columns=False)
    label_from = options.label_from or "top"
    left_out = options.exclude_list
    if anyway:
        return list_unclear(path, exclude=exclude, exclude_list=left_out, label_from=label_from)
    return list_folder(
        path, exclude=exclude, exclude_list=left_out, require_split=require_split, label_from=label_from
    )


def is_address(data: object) -> bool:
    """Whether data are named by an address to be fetched."""
    return isinstance(data, str) and bool(re.match(r"(https?|file)://", data, re.IGNORECASE))


def source_name(data: str | PathLike[str]) -> str:
    """A name for the data: of their folder, or of the file without its ending."""
    if is_address(data):
        name = PurePosixPath(urllib.parse.unquote(urllib.parse.urlsplit(str(data)).path)).name
    else:
        path = Path(data).expanduser().absolute()
        if not path.is_file():
            return path.name
        name = path.name
    for ending in (*ENDINGS, *SUFFIXES):
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return name


def check_options(options: SourceOptions, kind: str, **usable: bool) -> None:
    """Says which options would be ignored.

    Raises:
        ConfigError: HS-CONFIG-014.
    """
    given = {"images": options.images, "label_from": options.label_from, "columns": options.columns}
    useless = [name for name, value in given.items() if value and not usable.get(name, True)]
    if useless:
        raise ConfigError(
            "HS-CONFIG-014",
            f"These settings have no meaning where the data are {kind}.",
            details=[f"--{name.replace('_', '-')} is given" for name in useless],
            fix="Leave them out.",
        )


def kind_of_file(path: Path) -> str:
    """``archive``, ``parquet`` or ``text`` (a table), by content.

    Raises:
        DataError: HS-DATA-002, something else.
    """
    with open(path, "rb") as file:
        head = file.read(1 << 12)
    if head.startswith(PARQUET):
        return "parquet"
    what = ""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if "[Content_Types].xml" in archive.namelist():
                what = "a spreadsheet or document: save it as CSV in UTF-8"
        if not what:
            return "archive"
    elif tarfile.is_tarfile(path):
        return "archive"
    elif head.startswith(b"version https://git-lfs.github.com/spec/"):
        what = "a Git LFS pointer: run in the clone: git lfs install && git lfs pull"
    elif head.startswith(b"PK\x03\x04"):
        what = "a damaged zip archive: copy or download it again"
    elif other := next((name for start, name in OTHER_ARCHIVES.items() if head.startswith(start)), ""):
        what = f"{other}: unpack it, and give the folder"
    elif head.startswith((b"\xff\xfe", b"\xfe\xff")) or not CONTROL & set(head):
        if not path.name.lower().endswith(ENDINGS):
            return "text"
        what = "a text, as a failed download leaves behind: download it again"
    else:
        with contextlib.suppress(UnreadableImage):
            recognise(head[:HEAD_BYTES])
            what = "a picture"
    raise DataError(
        "HS-DATA-002",
        f"This file is no table of pictures and no archive{f', but {what}' if what else ''}.",
        where=path,
        fix="Give the folder that holds the class folders, a table (CSV, TSV, JSON Lines, Parquet), or a zip "
        "or tar archive.",
    )


def table_in(folder: Path, exclude: Sequence[str] = (), exclude_list: Path | None = None) -> Path | None:
    """The table of a folder whose pictures lie in it, or in one folder that is no part of a split."""
    tables, folders, pictures = [], [], False
    with contextlib.suppress(PermissionError), os.scandir(folder) as items:  # is told when it is listed
        for item in items:
            if is_ignored(item.name, is_folder(item)) or item.name in exclude:
                continue
            suffix = PurePosixPath(item.name).suffix.lower()
            if is_folder(item):
                folders.append(item.name)
            elif suffix in SUFFIXES:
                if exclude_list is None or not is_same_file(item, exclude_list):
                    tables.append(item.name)
            else:
                pictures = pictures or suffix not in ("", ".txt", ".md", ".json", ".yaml")
    lone = len(folders) == 1 and nfc(folders[0]).lower() not in SPLIT_NAMES
    if len(tables) == 1 and (lone or (pictures and not folders)):
        return folder / tables[0]
    return None


def is_same_file(one: os.DirEntry[str], other: Path) -> bool:
    """Whether both are one file; not so where the other is not there, which is told elsewhere."""
    with contextlib.suppress(OSError):
        return Path(one).samefile(other)
    return False


def parquet_files(folder: Path) -> list[Path]:
    """The Parquet files of a folder that holds nothing else to train on, at its top or in ``data/``."""
    for place in (folder, folder / "data"):
        if place.is_dir() and os.access(place, os.R_OK):
            names = [path for path in place.iterdir() if not is_ignored(path.name, path.is_dir())]
            found = sorted(path for path in names if path.suffix.lower() == ".parquet" and path.is_file())
            if found and not any(path.is_dir() for path in names) and _hold_pictures(found):
                return found
    return []


def _hold_pictures(files: Sequence[Path]) -> bool:
    return len(files) > 1 or bool(open_table(files[0]).pictures)


def _manifest(
    path: Path, options: SourceOptions, exclude: Sequence[str], require_split: bool, anyway: bool
) -> Listing:
    return list_manifest(
        path,
        images=None if options.images is None else options.images.expanduser(),
        columns=options.by_role(),
        label_from=options.label_from,
        group_by=options.group_by,
        exclude=exclude,
        exclude_list=options.exclude_list,
        require_split=require_split,
        anyway=anyway,
    )


def _pictures_inside(tables: Sequence[Table], options: SourceOptions) -> tuple[Path, SourceOptions]:
    """The table of pictures that were unpacked from Parquet files, and what is then said of it."""
    check_options(options, "Parquet files that hold the pictures", images=False, label_from=False)
    columns: Mapping[str, str] = options.by_role()
    picture_column = columns.get("path", "")
    first = tables[0].path
    name = first.stem if len(tables) == 1 else first.parent.name
    if name == "data":
        name = first.parent.parent.name

    def write(folder: Path) -> str:
        console.say(
            f"unpacking the pictures of {console.counted(len(tables), 'Parquet file', 'Parquet files')}"
        )
        unpack_pictures(tables, folder, picture_column)
        return ""

    key = picture_column.encode() + b"".join(file_hash(table.path).digest() for table in tables)
    folder = unpacked(name, hashlib.sha256(key).hexdigest(), write)
    others = tuple(f"{role}={column}" for role, column in columns.items() if role != "path")
    named = SourceOptions(
        columns=("path=picture_file", *others), group_by=options.group_by, exclude_list=options.exclude_list
    )
    return folder / LABELS, named


def unpacked_archive(path: Path) -> Path:
    """The folder inside an archive, unpacked once for the same bytes.

    Raises:
        FetchError: as `headstart.data.archive.extract`.
    """
    return unpacked(source_name(path), file_hash(path).hexdigest(), None, path)


def unpacked(
    name: str, digest: str, write: Callable[[Path], str] | None, archive: Path | None = None
) -> Path:
    """A folder of its own for each content, whole or absent; made by ``write`` or from ``archive``."""
    plain = re.sub(r'[\x00-\x1f<>:"/\\|?*]', "-", name).strip(" .") or "data"
    destination = home() / "unpacked" / f"{plain}-{digest[:16]}"
    try:
        stamp = json.loads((destination / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        stamp = None
    if stamp is not None and (destination / stamp["root"]).is_dir():
        console.say(f"already unpacked: {destination / stamp['root']}")
        return destination / str(stamp["root"])
    shutil.rmtree(destination, ignore_errors=True)

    def stamped(folder: Path, root: str) -> None:
        write_atomic(folder / STAMP, json.dumps({"sha256": digest, "root": root}) + "\n")

    if archive is not None:
        root = extract(archive, destination, before_it_stands=stamped)
        console.say(f"unpacked {archive} into {root}")
        return root
    assert write is not None
    with storage_errors(destination):
        destination.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{destination.name}.", dir=destination.parent))
    try:
        stamped(temporary, write(temporary))
        with storage_errors(destination):
            temporary.chmod(0o755)
            temporary.rename(destination)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    console.say(f"unpacked into {destination}")
    return destination


def file_hash(path: Path) -> Any:
    """SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256")
