"""The rows of a CSV, TSV, JSON Lines or Parquet file, told by its content; nothing is held in memory.

A cell is a text (numbers as they are written, nothing as the empty text) or, from JSON Lines and Parquet, a
list of texts.
"""

from __future__ import annotations

import csv
import itertools
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from headstart.data.formats import PICTURE_SUFFIXES
from headstart.errors import DataError, MissingExtraError

Cell = str | list[str]
Row = Sequence[Cell]

PARQUET = b"PAR1"
DELIMITERS = "\t,;|"
SNIFFED_LINES = 50
HEADER_NAMES = {"path", "file", "filename", "file_name", "image", "label", "labels", "class"}
SUFFIXES = frozenset((".csv", ".tsv", ".jsonl", ".ndjson", ".parquet"))
"""Names of tables. Only to find one in a folder: the content decides."""


@dataclass(frozen=True)
class Table:
    """A file of rows.

    Attributes:
        path: The file.
        kind: ``CSV``, ``JSON Lines`` or ``Parquet``.
        names: Of the columns; ``1``, ``2``, ... where the file has no header.
        encoding, delimiter, errors, has_header: Of CSV; ``errors`` as for `open`.
        pictures: Columns of Parquet that hold the pictures themselves.
        label_names: Column -> names that its numbers stand for, as Hugging Face writes them.
    """

    path: Path
    kind: str
    names: tuple[str, ...]
    encoding: str = "utf-8-sig"
    delimiter: str = ","
    errors: str = "strict"
    has_header: bool = True
    pictures: tuple[str, ...] = ()
    label_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def rows(self) -> Iterator[tuple[int, Row]]:
        """The number of each row in the file, from 1, and its cells.

        Raises:
            DataError: HS-DATA-050, the file is damaged.
        """
        if self.kind == "Parquet":
            yield from _parquet_rows(self)
            return
        try:
            with open(self.path, encoding=self.encoding, errors=self.errors, newline="") as file:
                yield from _csv_rows(self, file) if self.kind == "CSV" else _json_rows(self, file)
        except UnicodeDecodeError:
            raise unreadable(self.path, "it is not UTF-8") from None
        except csv.Error as error:
            raise unreadable(self.path, str(error)) from None


def open_table(path: Path, *, errors: str = "strict") -> Table:
    """Looks into a file and tells how its rows are to be read.

    Args:
        errors: What happens to bytes that are no UTF-8, as for `open`.

    Raises:
        DataError: HS-DATA-050, it cannot be read as a table.
        MissingExtraError: HS-INSTALL-001, it is a Parquet file and pyarrow is not installed.
    """
    with open(path, "rb") as file:
        head = file.read(1 << 16)
    if head.startswith(PARQUET):
        return _open_parquet(path)
    encoding = "utf-16" if head.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    if encoding != "utf-16" and b"\0" in head:
        raise unreadable(path, "it is no text")
    try:
        with open(path, encoding=encoding, errors=errors, newline="") as file:
            lines = [line for line in itertools.islice(file, SNIFFED_LINES) if line.strip()]
    except UnicodeDecodeError:
        raise unreadable(path, "it is not UTF-8") from None
    if not lines:
        raise unreadable(path, "it has no rows")
    if lines[0].lstrip().startswith("{"):
        table = Table(path, "JSON Lines", ("",), encoding)
        names: dict[str, None] = {}
        for _, values in itertools.islice(_json_objects(table, lines), SNIFFED_LINES):
            names.update(dict.fromkeys(values))
        return Table(path, "JSON Lines", tuple(names), encoding)
    if lines[0].strip().startswith("[") and "".join(lines).lstrip("[ \t\r\n").startswith("{"):
        raise unreadable(path, "it is one JSON list", "Write one JSON object in each line, without brackets.")
    delimiter = _delimiter(lines)
    first = next(_cells(lines, delimiter), [])
    has_header = _is_header(first)
    if twice := _repeated(first):
        raise unreadable(path, f"two columns are named '{twice}'", "Give each column a name of its own.")
    names_of = tuple(name.strip() for name in first) if has_header else _numbers(len(first))
    return Table(path, "CSV", names_of, encoding, delimiter, errors, has_header)


def unreadable(path: Path, reason: str, fix: str = "Save it again as CSV in UTF-8.") -> DataError:
    return DataError("HS-DATA-050", f"The table of pictures cannot be read: {reason}.", where=path, fix=fix)


def damaged_parquet(path: Path) -> DataError:
    return unreadable(path, "a damaged Parquet file", "Copy or download it again.")


def _delimiter(lines: Sequence[str]) -> str:
    """The character that cuts most lines into the same number of cells, at least two; else a space."""
    best, most = "", 1
    for delimiter in DELIMITERS:
        try:
            counts = Counter(len(row) for row in csv.reader(lines, delimiter=delimiter) if row)
        except csv.Error:
            continue
        width, times = counts.most_common(1)[0]
        if width > 1 and times >= 0.9 * counts.total() and width > most:
            best, most = delimiter, width
    if best:
        return best
    widths = {len(line.split()) for line in lines}
    return " " if len(widths) == 1 and widths.pop() > 1 else ","


def _cells(lines: Any, delimiter: str) -> Iterator[list[str]]:
    if delimiter == " ":
        return (line.split() for line in lines)
    return csv.reader(lines, delimiter=delimiter)


def _is_header(cells: Sequence[str]) -> bool:
    """A row of names: none is empty, a number or the name of a picture, and all are different."""
    if len({cell.strip() for cell in cells}) != len(cells):
        return False
    return (
        not any(
            not cell.strip() or is_number(cell) or PurePosixPath(cell).suffix.lower() in PICTURE_SUFFIXES
            for cell in cells[1:] or cells
        )
        and PurePosixPath(cells[0]).suffix.lower() not in PICTURE_SUFFIXES
    )


def _repeated(cells: Sequence[str]) -> str:
    """A name that two columns have, if this is a header: nothing in it looks like data."""
    names = [cell.strip() for cell in cells]
    twice = next((name for i, name in enumerate(names) if name and name in names[:i]), "")
    return twice if twice and {name.casefold() for name in names} & HEADER_NAMES else ""


def _numbers(count: int) -> tuple[str, ...]:
    return tuple(str(i + 1) for i in range(count))


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _csv_rows(table: Table, file: Any) -> Iterator[tuple[int, Row]]:
    for number, row in enumerate(_cells(file, table.delimiter), start=1):
        if row and (number > 1 or not table.has_header):
            yield number, row


def _json_rows(table: Table, file: Any) -> Iterator[tuple[int, Row]]:
    for number, values in _json_objects(table, file):
        yield number, [_text(values.get(name)) for name in table.names]


def _json_objects(table: Table, lines: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except ValueError as error:
            raise unreadable(table.path, f"line {number} is no JSON ({error})") from None
        if not isinstance(values, dict):
            raise unreadable(table.path, f"line {number} is no JSON object")
        yield number, values


def _text(value: Any) -> Cell:
    if value is None or value != value:  # nothing, or not a number
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return [str(_text(item)) for item in value]
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else str(value)


def parquet() -> Any:
    """pyarrow's reader.

    Raises:
        MissingExtraError: HS-INSTALL-001.
    """
    try:
        import pyarrow.parquet
    except ImportError:
        raise MissingExtraError("parquet", "Reading Parquet files") from None
    return pyarrow.parquet


def _open_parquet(path: Path) -> Table:
    reader = parquet()
    import pyarrow

    try:
        schema = reader.read_schema(path)
    except (pyarrow.ArrowException, OSError):
        raise damaged_parquet(path) from None
    pictures = []
    for column in schema:
        kind = column.type
        is_struct = pyarrow.types.is_struct(kind) and any(
            kind.field(i).name == "bytes" for i in range(kind.num_fields)
        )
        if is_struct or pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind):
            pictures.append(column.name)
    names = _huggingface_names(schema.metadata or {})
    return Table(path, "Parquet", tuple(schema.names), pictures=tuple(pictures), label_names=names)


def _huggingface_names(metadata: Mapping[bytes, bytes]) -> dict[str, tuple[str, ...]]:
    """Names of the classes in the columns that Hugging Face's ``datasets`` declares as ClassLabel."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError):
        return {}
    found = {}
    for column, feature in features.items() if isinstance(features, dict) else ():
        inner = feature.get("feature", feature) if isinstance(feature, dict) else feature
        names = inner.get("names") if isinstance(inner, dict) else None
        if isinstance(names, list) and all(isinstance(name, str) for name in names):
            found[column] = tuple(names)
    return found


def named(value: Any, names: Sequence[str] | None) -> Cell:
    """A cell of Parquet as text; numbers of classes by their names, -1 (not labelled) as nothing."""
    if names is None or value is None:
        return _text(value)
    if isinstance(value, list):
        return [str(named(item, names)) for item in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return names[value] if 0 <= value < len(names) else ""
    return _text(value)


def _parquet_rows(table: Table) -> Iterator[tuple[int, Row]]:
    columns = [name for name in table.names if name not in table.pictures]
    number = 0
    for batch in parquet_batches(table, columns):
        by_name = {name: batch.column(name).to_pylist() for name in columns}
        for i in range(batch.num_rows):
            number += 1
            yield (
                number,
                [
                    named(by_name[name][i], table.label_names.get(name)) if name in by_name else ""
                    for name in table.names
                ],
            )


def parquet_batches(table: Table, columns: Sequence[str], size: int = 10_000) -> Iterator[Any]:
    """pyarrow's record batches.

    Raises:
        DataError: HS-DATA-050, the file is damaged.
    """
    reader = parquet()
    import pyarrow

    try:
        with reader.ParquetFile(table.path) as file:
            yield from file.iter_batches(batch_size=size, columns=list(columns))
    except (pyarrow.ArrowException, OSError):
        raise damaged_parquet(table.path) from None
