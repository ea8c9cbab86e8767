"""Tables whose columns or rows say nothing, or too much."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

from faults.catalogue import Fault, Make, classes, file

ROWS = tuple(f"{kind}/{i}.png,{kind}" for kind in ("dots", "rings") for i in range(5))


def table(*lines: str, rows: Sequence[str] = ROWS, encoding: str = "utf-8", name: str = "t.csv") -> Make:
    """Pictures, and a table that names them; ``lines`` come first."""

    def make(here: Path) -> None:
        classes(here, 5)
        (here / name).write_text("\n".join([*lines, *rows]) + "\n", encoding=encoding)

    return make


def soft(*values: str) -> Make:
    shares = {"dots": "0.75,0.25", "rings": "0.1,0.9"}
    rows = [f"{kind}/{i}.png,{shares[kind]}" for kind in shares for i in range(4)]
    return table("path,dots,rings", *(f"dots/4.png,{value}" for value in values), rows=rows)


def raw(content: bytes, name: str = "t.csv") -> Make:
    def make(here: Path) -> None:
        classes(here, 5)
        (here / name).write_bytes(content)

    return make


def spreadsheet() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
    return out.getvalue()


def several(here: Path) -> None:
    rows = [*ROWS, "dots/9.png,dots", "rings/8.png,rings", ",dots"]
    table("path,label", rows=rows)(here)


def with_split(change: Callable[[list[str]], list[str]]) -> Make:
    rows = [f"{row},{'test' if row[5] == '4' or row[6] == '4' else 'train'}" for row in ROWS]
    return table("path,label,split", rows=change(rows))


def of_table(name: str, make: Make, said: str, **others: object) -> Fault:
    return Fault(name, make, said, given=("t.csv",), **others)  # type: ignore[arg-type]


FAULTS: list[Fault] = [
    of_table(
        "no table",
        lambda here: classes(here, 2),
        "HS-DATA-001: There is no such file.\n"
        "  where: t.csv\n"
        "  to do: Check the spelling, and the folder that the command runs in.",
    ),
    of_table(
        "empty table",
        raw(b""),
        "HS-DATA-050: The table of pictures cannot be read: it has no rows.\n"
        "  where: t.csv\n"
        "  to do: Save it again as CSV in UTF-8.",
    ),
    of_table(
        "header only",
        table("path,label", rows=()),
        "HS-DATA-050: The table of pictures cannot be read: it has no rows.\n"
        "  where: t.csv\n"
        "  to do: Save it again as CSV in UTF-8.",
    ),
    of_table(
        "bytes that are no UTF-8",
        raw("path,label\ndots/0.png,Stra\xdfe\n".encode("latin-1")),
        "HS-DATA-050: The table of pictures cannot be read: it is not UTF-8.\n"
        "  where: t.csv\n"
        "  to do: Save it again as CSV in UTF-8.",
    ),
    of_table(
        "zeros in a table",
        raw(b"path,label\ndots/0.png\0,dots\n"),
        "HS-DATA-002: This file is no table of pictures and no archive.\n"
        "  where: t.csv\n"
        "  to do: Give the folder that holds the class folders, a table (CSV, TSV, JSON Lines, "
        "Parquet), or a zip or tar archive.",
    ),
    of_table(
        "picture named like a table",
        raw(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"),
        "HS-DATA-002: This file is no table of pictures and no archive, but a picture.\n"
        "  where: t.csv\n"
        "  to do: Give the folder that holds the class folders, a table (CSV, TSV, JSON Lines, "
        "Parquet), or a zip or tar archive.",
    ),
    of_table(
        "spreadsheet",
        raw(spreadsheet()),
        "HS-DATA-002: This file is no table of pictures and no archive, but a spreadsheet or "
        "document: save it as CSV in UTF-8.\n"
        "  where: t.csv\n"
        "  to do: Give the folder that holds the class folders, a table (CSV, TSV, JSON Lines, "
        "Parquet), or a zip or tar archive.",
    ),
    of_table(
        "damaged Parquet",
        raw(b"PAR1" + b"x" * 50),
        "HS-DATA-050: The table of pictures cannot be read: a damaged Parquet file.\n"
        "  where: t.csv\n"
        "  to do: Copy or download it again.",
    ),
    of_table(
        "quote that never ends",
        table("path,label", 'dots/0.png,"dots'),
        "HS-DATA-053: 1 row of the table cannot be used.\n"
        "  where: t.csv\n"
        "  - row 2: its class goes on over several lines: is a quote not closed?\n"
        "  to do: Correct them in the table.",
    ),
    of_table(
        "no column of paths",
        table("name,label", rows=[f"{c},dots" for c in "abcde"]),
        "HS-DATA-016: 2 things are wrong with the data.\n"
        "  where: t.csv\n"
        "  - HS-DATA-055: 5 of 5 files that the table names are not there. (a, b, c, ...) Name "
        "the folder that the paths begin in (--images DIR), correct them, or leave them out with "
        "--exclude.\n"
        "  - HS-DATA-004: There is only one class, 'dots'; at least two are needed. Add pictures "
        "of something else (for example 'other').",
    ),
    of_table(
        "no column of classes",
        table("path", rows=[row.split(",")[0] for row in ROWS]),
        "HS-DATA-052: No column of the table holds classes.\n"
        "  where: t.csv\n"
        "  to do: Name it: --columns label=COLUMN. If the folders are the classes: --label-from "
        "parent",
    ),
    of_table(
        "two columns of paths",
        table("a,b,label", rows=[f"{r.split(',')[0]},{r}" for r in ROWS]),
        "HS-DATA-051: Several columns hold paths of pictures: 'a' and 'b'.\n"
        "  where: t.csv\n"
        "  - a: 10 different (dots/0.png, dots/1.png, dots/2.png and 7 more)\n"
        "  - b: 10 different (dots/0.png, dots/1.png, dots/2.png and 7 more)\n"
        "  to do: Name it: --columns path=a",
    ),
    of_table(
        "two columns of classes",
        table("path,label,class", rows=[f"{r},{'ab'[i % 2]}" for i, r in enumerate(ROWS)]),
        "HS-DATA-052: Several columns could be the class: 'label' and 'class'.\n"
        "  where: t.csv\n"
        "  - label: 2 different (dots, rings)\n"
        "  - class: 2 different (a, b)\n"
        "  to do: Name it: --columns label=label",
    ),
    of_table(
        "two columns of one name",
        table("path,label,label", rows=[f"{r},{r.split(',')[1]}" for r in ROWS]),
        "HS-DATA-050: The table of pictures cannot be read: two columns are named 'label'.\n"
        "  where: t.csv\n"
        "  to do: Give each column a name of its own.",
    ),
    of_table(
        "column that is not there",
        table("path,label"),
        "HS-DATA-057: The table has no column 'species'.\n  where: t.csv\n  to do: Its columns: path, label.",
        flags={"columns": ["label=species"]},
    ),
    of_table(
        "row with too few cells",
        table("path,label", "dots/0.png"),
        "HS-DATA-053: 1 row of the table cannot be used.\n"
        "  where: t.csv\n"
        "  - row 2: has 1 cell, not 2\n"
        "  to do: Correct them in the table.",
    ),
    of_table(
        "unquoted comma",
        table("path,label", "dots/0, again.png,dots"),
        "HS-DATA-053: 1 row of the table cannot be used.\n"
        "  where: t.csv\n"
        "  - row 2: has 3 cells, not 2\n"
        "  to do: Correct them in the table.",
    ),
    of_table(
        "row without a picture",
        table("path,label", ",dots"),
        "HS-DATA-053: 1 row of the table cannot be used.\n"
        "  where: t.csv\n"
        "  - row 2: names no picture\n"
        "  to do: Correct them in the table.",
    ),
    of_table(
        "picture under two classes",
        table("path,label", "dots/0.png,rings"),
        "HS-DATA-053: 1 row of the table cannot be used.\n"
        "  where: t.csv\n"
        "  - dots/0.png is listed as dots and as rings\n"
        "  to do: Correct them in the table.",
    ),
    of_table(
        "picture of two classes",
        table("path,label", "dots/0.png,dots;rings", rows=ROWS[1:]),
        "HS-DATA-054: Pictures have several classes at once, which headstart does not train on "
        "yet.\n"
        "  where: t.csv\n"
        "  - dots;rings\n"
        "  to do: Keep one class in each row; or, if the combination is the class, join it with "
        "another character (cat+dog).",
    ),
    of_table(
        "column for each of several classes",
        table(
            "path,dots,rings,dark",
            rows=[f"{r.split(',')[0]},{i % 2},{(i + 1) % 2},{int(i < 3)}" for i, r in enumerate(ROWS)],
        ),
        "HS-DATA-054: Pictures have several classes at once, which headstart does not train on "
        "yet.\n"
        "  where: t.csv\n"
        "  - a column for each of dots, rings, dark; 3 of 10 rows have more than one, such as "
        "dots/0.png, 0, 1, 1\n"
        "  to do: Keep one class in each row; or, if the combination is the class, join it with "
        "another character (cat+dog).",
    ),
    of_table(
        "addresses",
        table("path,label", "https://example.org/1.png,dots"),
        "HS-DATA-053: 1 row of the table cannot be used.\n"
        "  where: t.csv\n"
        "  - row 2: https://example.org/1.png is an address: fetch the pictures, and give their "
        "paths\n"
        "  to do: Correct them in the table.",
    ),
    of_table(
        "split that is none",
        with_split(lambda rows: [rows[0].replace("train", "tarin"), *rows[1:]]),
        "HS-DATA-053: 1 row of the table cannot be used.\n"
        "  where: t.csv\n"
        "  - row 2: 'tarin' is no split. Did you mean 'train'?\n"
        "  to do: Correct them in the table.",
    ),
    of_table(
        "empty split",
        with_split(lambda rows: [rows[0].replace("train", ""), *rows[1:]]),
        "HS-DATA-053: 1 row of the table cannot be used.\n"
        "  where: t.csv\n"
        "  - row 2: has no split\n"
        "  to do: Correct them in the table.",
    ),
    of_table(
        "no training rows",
        with_split(lambda rows: [row.replace("train", "val") for row in rows]),
        "HS-DATA-012: No row is for training.\n  where: t.csv\n  to do: Use the split 'train'.",
    ),
    of_table(
        "class of test rows only",
        with_split(lambda rows: [r.replace("rings,test", "ringz,test") for r in rows]),
        "HS-DATA-008: Classes that no training row has: ringz. Did you mean 'rings'?\n"
        "  where: t.csv\n"
        '  to do: Give them the name of a class that trains, or leave one out: --exclude "ringz"',
    ),
    of_table(
        "one class",
        table("path,label", rows=ROWS[:5]),
        "HS-DATA-004: There is only one class, 'dots'; at least two are needed.\n"
        "  where: t.csv\n"
        "  to do: Add pictures of something else (for example 'other').",
    ),
    of_table(
        "files of another machine",
        table(
            "path,label",
            rows=[f"C:\\Users\\me\\{r}".replace("/", "\\").replace(".png", "x.png") for r in ROWS],
        ),
        "HS-DATA-055: 10 of 10 files that the table names are not there.\n"
        "  where: t.csv\n"
        "  - C:/Users/me/dots/0x.png\n"
        "  - C:/Users/me/dots/1x.png\n"
        "  - C:/Users/me/dots/2x.png\n"
        "  - C:/Users/me/dots/3x.png\n"
        "  - C:/Users/me/dots/4x.png\n"
        "  - C:/Users/me/rings/0x.png\n"
        "  - C:/Users/me/rings/1x.png\n"
        "  - C:/Users/me/rings/2x.png\n"
        "  - C:/Users/me/rings/3x.png\n"
        "  - C:/Users/me/rings/4x.png\n"
        "  to do: Name the folder that the paths begin in (--images DIR), correct them, or leave "
        "them out with --exclude.",
    ),
    of_table(
        "missing files",
        table("path,label", "dots/9.png,dots", "dots/O.png,dots"),
        "HS-DATA-055: 2 of 12 files that the table names are not there.\n"
        "  where: t.csv\n"
        "  - dots/9.png\n"
        "  - dots/O.png\n"
        "  to do: Name the folder that the paths begin in (--images DIR), correct them, or leave "
        "them out with --exclude.",
    ),
    of_table(
        "several faults",
        several,
        "HS-DATA-016: 2 things are wrong with the data.\n"
        "  where: t.csv\n"
        "  - HS-DATA-053: 1 row of the table cannot be used. (row 14: names no picture) Correct "
        "them in the table.\n"
        "  - HS-DATA-055: 2 of 12 files that the table names are not there. (dots/9.png, "
        "rings/8.png) Name the folder that the paths begin in (--images DIR), correct them, or "
        "leave them out with --exclude.",
    ),
    of_table(
        "probabilities of more than one",
        soft("0.7,0.7"),
        "HS-DATA-053: 1 row of the table cannot be used.\n"
        "  where: t.csv\n"
        "  - row 2: the probabilities 0.7 0.7 are not from 0 to 1, or do not sum to 1\n"
        "  to do: Correct them in the table.",
    ),
    of_table(
        "negative probability",
        soft("-0.2,1.2"),
        "HS-DATA-053: 1 row of the table cannot be used.\n"
        "  where: t.csv\n"
        "  - row 2: the probabilities -0.2 1.2 are not from 0 to 1, or do not sum to 1\n"
        "  to do: Correct them in the table.",
    ),
    of_table(
        "probability that is no number",
        soft("nan,1"),
        "HS-DATA-053: 1 row of the table cannot be used.\n"
        "  where: t.csv\n"
        "  - row 2: the probabilities nan 1 are not from 0 to 1, or do not sum to 1\n"
        "  to do: Correct them in the table.",
    ),
    of_table(
        "probability in words",
        soft("high,0.3"),
        "HS-DATA-053: 1 row of the table cannot be used.\n"
        "  where: t.csv\n"
        "  - row 2: high 0.3 are no probabilities\n"
        "  to do: Correct them in the table.",
    ),
    of_table(
        "JSON cut short",
        raw(b'{"path": "dots/0.png", "label": "dots"}\n{"path": "dots/1'),
        "HS-DATA-050: The table of pictures cannot be read: line 2 is no JSON (Unterminated "
        "string starting at: line 1 column 10 (char 9)).\n"
        "  where: t.csv\n"
        "  to do: Save it again as CSV in UTF-8.",
    ),
    of_table(
        "JSON that is no object",
        raw(b'{"path": "dots/0.png", "label": "dots"}\n[1, 2]\n'),
        "HS-DATA-050: The table of pictures cannot be read: line 2 is no JSON object.\n"
        "  where: t.csv\n"
        "  to do: Save it again as CSV in UTF-8.",
    ),
    of_table(
        "one JSON array",
        raw(b'[\n {"path": "dots/0.png", "label": "dots"}\n]\n'),
        "HS-DATA-050: The table of pictures cannot be read: it is one JSON list.\n"
        "  where: t.csv\n"
        "  to do: Write one JSON object in each line, without brackets.",
    ),
    of_table(
        "classes from column and folders",
        table("path,label"),
        "HS-CONFIG-007: These settings contradict each other.\n"
        "  - --label-from takes the class from the paths, --columns label=... from a column\n"
        "  to do: Leave out one of them.",
        flags={"columns": ["label=label"], "label_from": "parent"},
    ),
    of_table(
        "folder of pictures that is not there",
        table("path,label"),
        "HS-DATA-001: There is no such folder. Did you mean 'dots'?\n"
        "  where: dotz\n"
        "  to do: Check the spelling, and the folder that the command runs in.",
        flags={"images": "dotz"},
    ),
    Fault(
        "images of a folder",
        lambda here: classes(here / "data", 3),
        "HS-CONFIG-014: These settings have no meaning where the data are a folder of class "
        "folders.\n"
        "  - --images is given\n"
        "  to do: Leave them out.",
        flags={"images": "data"},
    ),
    of_table(
        "list to leave out that is not there",
        table("path,label"),
        "HS-DATA-075: The list of files to leave out cannot be read: No such file or directory.\n"
        "  where: leave.csv\n"
        "  to do: Check the spelling.",
        flags={"exclude_list": "leave.csv"},
    ),
    of_table(
        "list to leave out without paths",
        lambda here: [table("path,label")(here), file("leave.csv", "file,why\nx,y\n")(here)],
        "HS-DATA-076: The list of files to leave out has no column 'path'.\n"
        "  where: leave.csv\n"
        "  - its columns: file, why\n"
        "  to do: Write `path` into its first line, and a path into each further line.",
        flags={"exclude_list": "leave.csv"},
    ),
]
