"""Rows of predictions as CSV, JSON Lines or Parquet, written while they come.

A row is a tuple of cells, one for each `Column`. CSV and JSON Lines are read back row by row, as far as they
are whole, so that a table can be gone on with.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO, Literal, Protocol

from headstart.deployment.decision import SEPARATOR
from headstart.errors import MissingExtraError, UsageError, one_line
from headstart.evaluation.predictions import ENCODING_ERRORS, boolean_cell, number_cell
from headstart.storage import csv_writer

Kind = Literal["text", "number", "flag", "names"]
Cell = str | float | bool | Sequence[str] | None
Cells = tuple[Cell, ...]

ROW_GROUP_ROWS = 10_000  # of Parquet, fewer where there are many columns
ROW_GROUP_CELLS = 1_000_000


@dataclass(frozen=True)
class Column:
    """Name and kind of a column; ``names`` are class names, most probable first."""

    name: str
    kind: Kind


class Format(Protocol):
    """A table that is being written."""

    def header(self) -> None:
        """Writes what stands before the rows."""

    def add(self, cells: Cells) -> None:
        """Writes a row."""

    def flush(self) -> None:
        """Hands what was written to the system."""

    def close(self) -> None:
        """Writes what stands behind the rows; the file stays open."""


class Csv:
    """Commas, names with commas in quotes, empty cells for what is not known."""

    def __init__(self, file: BinaryIO | IO[str], columns: Sequence[Column]) -> None:
        self._columns = columns
        self._file = (
            file
            if isinstance(file, io.TextIOBase)
            else io.TextIOWrapper(file, encoding="utf-8", errors=ENCODING_ERRORS, newline="")  # type: ignore[type-var]
        )
        self._writer = csv_writer(self._file)

    def header(self) -> None:
        self._writer.writerow(column.name for column in self._columns)

    def add(self, cells: Cells) -> None:
        self._writer.writerow(_text(cell) for cell in cells)

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.flush()
        if isinstance(self._file, io.TextIOWrapper):
            self._file.detach()

    @staticmethod
    def rows(file: BinaryIO, columns: Sequence[Column]) -> Iterator[tuple[int, Cells]]:
        """Each whole row, and the place behind it in bytes; the header is the first, as its names.

        What comes behind the first row that is not whole is not looked at.
        """
        place, ended = 0, False

        def lines() -> Iterator[str]:
            nonlocal place, ended
            for line in file:
                place += len(line)
                ended = line.endswith(b"\n")
                yield line.decode("utf-8", ENCODING_ERRORS)

        reader = csv.reader(lines())
        try:
            names = next(reader, [])
            if ended:
                yield place, tuple(names)
            for row in reader:
                if not ended or len(row) != len(columns):
                    return
                yield place, tuple(_cell(c.kind, text) for c, text in zip(columns, row, strict=True))
        except (csv.Error, ValueError):  # not what was written here
            return


class ShownCsv(Csv):
    """For a terminal: names that would steer it are written out, as `ls` does. Not to be read back."""

    def header(self) -> None:
        self._writer.writerow(one_line(column.name) for column in self._columns)

    def add(self, cells: Cells) -> None:
        self._writer.writerow(one_line(_text(cell)) for cell in cells)


class JsonLines:
    """One object per row, the columns of the CSV file as its keys; null for what is not known."""

    def __init__(self, file: BinaryIO, columns: Sequence[Column]) -> None:
        self._file = file
        self._names = [column.name for column in columns]

    def header(self) -> None:
        pass

    def add(self, cells: Cells) -> None:
        text = json.dumps(dict(zip(self._names, cells, strict=True)), ensure_ascii=False, allow_nan=False)
        # Bytes of a file name that are no UTF-8 become \udcXX, which JSON reads back.
        self._file.write(text.encode("utf-8", "backslashreplace") + b"\n")

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.flush()

    @staticmethod
    def rows(file: BinaryIO, columns: Sequence[Column]) -> Iterator[tuple[int, Cells]]:
        """As `Csv.rows`: the names of the first row come first."""
        place = 0
        names: tuple[str, ...] | None = None
        for line in file:
            try:
                row: dict[str, Any] = json.loads(line)
                found = tuple(row)
            except (ValueError, TypeError):
                return
            if not line.endswith(b"\n") or (names is not None and found != names):
                return
            if names is None:
                names = found
                yield 0, names
            place += len(line)
            yield place, tuple(row.values())


class Parquet:
    """Typed columns in row groups; needs pyarrow. Its end tells where all is: it cannot be gone on with.

    Raises:
        MissingExtraError: HS-INSTALL-001.
    """

    def __init__(self, file: BinaryIO, columns: Sequence[Column]) -> None:
        try:
            import pyarrow as pa
            import pyarrow.parquet as pq
        except ImportError as error:
            raise MissingExtraError("parquet", "Writing Parquet") from error
        types = {
            "text": pa.string(),
            "number": pa.float64(),
            "flag": pa.bool_(),
            "names": pa.list_(pa.string()),
        }
        self._columns = columns
        self._schema = pa.schema([(column.name, types[column.kind]) for column in columns])
        self._table = pa.table
        self._writer = pq.ParquetWriter(file, self._schema, compression="zstd")
        self._rows: list[Cells] = []
        self._at_once = min(ROW_GROUP_ROWS, max(1, ROW_GROUP_CELLS // len(columns)))

    def header(self) -> None:
        pass

    def add(self, cells: Cells) -> None:
        self._rows.append(tuple(map(_utf8, cells)))
        if len(self._rows) >= self._at_once:
            self._group()

    def _group(self) -> None:
        columns = [list(column) for column in zip(*self._rows, strict=True)]
        named = dict(zip(self._schema.names, columns, strict=True))
        self._writer.write_table(self._table(named, schema=self._schema))
        self._rows.clear()

    def flush(self) -> None:
        pass

    def close(self) -> None:
        if self._rows:
            self._group()
        self._writer.close()


FORMATS: dict[str, type[Csv] | type[JsonLines] | type[Parquet]] = {
    "": Csv,
    ".csv": Csv,
    ".txt": Csv,
    ".jsonl": JsonLines,
    ".ndjson": JsonLines,
    ".parquet": Parquet,
}


def format_of(output: Path) -> type[Csv] | type[JsonLines] | type[Parquet]:
    """What the name of a table asks for.

    Raises:
        UsageError: HS-PREDICT-047.
    """
    found = FORMATS.get(output.suffix.lower())
    if found is None:
        raise UsageError(
            "HS-PREDICT-047",
            f"No table is written as '{output.suffix}'.",
            where=output,
            fix="Let the name end in .csv, .jsonl or .parquet.",
        )
    return found


def _text(cell: Cell) -> str:
    if cell is None or isinstance(cell, str):
        return cell or ""
    if isinstance(cell, bool):
        return boolean_cell(cell)
    return number_cell(cell) if isinstance(cell, float) else SEPARATOR.join(cell)


def _cell(kind: Kind, text: str) -> Cell:
    if kind == "text" or not text:
        return text or None
    if kind == "names":
        return tuple(text.split(SEPARATOR))
    return float(text) if kind == "number" else text == "true"


def _utf8(cell: Cell) -> Cell:
    """Parquet has UTF-8 only: other bytes of a file name are written out."""
    return cell.encode("utf-8", "backslashreplace").decode() if isinstance(cell, str) else cell
