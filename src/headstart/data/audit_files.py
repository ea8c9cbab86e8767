"""Findings about single files: what cannot be read, what its name says, and of which kind it is."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from headstart.console import counted
from headstart.data.audit_table import AuditTable
from headstart.data.findings import Example, Finding
from headstart.data.limits import GIANT_PIXELS
from headstart.data.listing import SPLIT_NAMES, listed, nfc
from headstart.data.preprocess import Preprocess
from headstart.data.review import LeftOut

BAD_SHARE = 0.05  # of a class; more unreadable pictures are pointed out
TINY = 16  # pixels of the short side
RARE = 0.02  # of all pictures

SUFFIXES = {
    "JPEG": {".jpg", ".jpeg", ".jpe", ".jfif"},
    "PNG": {".png"},
    "GIF": {".gif"},
    "WebP": {".webp"},
    "BMP": {".bmp", ".dib"},
    "TIFF": {".tif", ".tiff"},
    "AVIF": {".avif"},
    "HEIC": {".heic", ".heif"},
}
COPY_NAME = re.compile(
    r"\(copy(?: \d+)?\)|\bcopy of\b|[ _-]copy(?: ?\(?\d+\)?)?$|^kopie von\b|的副本|- 副本", re.I
)
MASK_NAME = re.compile(
    r"(?:^|[ _-])(?:masks?|segmentation|segmented|annotations?|ground[ _-]?truth)(?:[ _-]?\d+)?$", re.I
)

UNREADABLE: tuple[tuple[str, tuple[str, ...], str, str, str], ...] = (
    ("HS-CHECK-001", ("empty",), "empty file", "empty files", "Copy them again from where they came from."),
    (
        "HS-CHECK-002",
        ("lfs-pointer",),
        "Git LFS pointer instead of a picture",
        "Git LFS pointers instead of pictures",
        "Run in the clone: git lfs install && git lfs pull",
    ),
    (
        "HS-CHECK-003",
        ("truncated",),
        "truncated or damaged picture",
        "truncated or damaged pictures",
        "Copy or download them again; delete what stays broken.",
    ),
    (
        "HS-CHECK-004",
        ("missing", "forbidden"),
        "file that is missing or may not be read",
        "files that are missing or may not be read",
        "Bring them back, or change their permissions.",
    ),
    (
        "HS-CHECK-005",
        ("unsupported", "too-large", "not-an-image"),
        "file that is named like a picture but cannot be read as one",
        "files that are named like pictures but cannot be read as such",
        "Convert them to JPEG or PNG.",
    ),
    (
        "HS-CHECK-015",
        ("too-small",),
        "picture that is smaller than the crop",
        "pictures that are smaller than the crop",
        "Leave them out, or choose a --crop that all pictures have.",
    ),
)
"""Code, kinds of `LeftOut`, one, many, mend."""


def findings_on_files(table: AuditTable, preprocess: Preprocess) -> list[Finding]:
    """Files that give no picture, are ignored, too small, or named like something else."""
    return [
        *_unreadable(table.left_out),
        *_strays(table.left_out),
        *_lost_by_class(table),
        *_ignored(table),
        *_small(table, preprocess),
        *_names(table),
    ]


def _unreadable(left_out: Sequence[LeftOut]) -> Iterable[Finding]:
    lost = [item for item in left_out if item.was_meant_as_picture]
    for code, kinds, one, many, mend in UNREADABLE:
        items = [item for item in lost if item.kind in kinds]
        if items:
            yield Finding(
                code,
                "warning",
                f"left out: {counted(len(items), one, many)}",
                len(items),
                mend,
                tuple(Example((item.path,), item.reason) for item in items),
                tuple((item.path, item.reason) for item in items),
            )


def _strays(left_out: Sequence[LeftOut]) -> Iterable[Finding]:
    strays = [item for item in left_out if not item.was_meant_as_picture]
    if strays:
        text = counted(len(strays), "file that is not an image", "files that are not images")
        yield Finding(
            "HS-CHECK-006",
            "note",
            f"left out: {text}",
            len(strays),
            "Nothing need be done; move them out of the class folders if they are in the way.",
            tuple(Example((item.path,)) for item in strays),
            tuple((item.path, item.reason) for item in strays),
        )


def _lost_by_class(table: AuditTable) -> Iterable[Finding]:
    if not table.entries:  # training refuses that, in the same words
        return
    totals = Counter(entry.class_name for entry in table.listing.entries)
    totals.subtract(item.class_name for item in table.left_out if not item.was_meant_as_picture)
    broken = (item for item in table.left_out if item.was_meant_as_picture and item.kind != "too-small")
    lost = Counter(item.class_name for item in broken)
    many = {name: n for name, n in sorted(lost.items()) if n > BAD_SHARE * totals[name]}
    if many:
        shown = [
            f"{n} of {totals[name]} pictures of class '{name}' ({n / totals[name]:.0%})"
            for name, n in many.items()
        ]
        yield Finding(
            "HS-CHECK-007",
            "warning",
            f"cannot be read: {listed(shown)}; look at them before trusting the result",
            sum(many.values()),
            f"Replace the pictures of {listed([repr(name) for name in many])} that cannot be read.",
        )


def _ignored(table: AuditTable) -> Iterable[Finding]:
    if ignored := table.listing.ignored:
        names = sorted({path.rstrip("/").split("/")[-1] + "/" * path.endswith("/") for path in ignored})
        text = counted(len(ignored), "hidden or system file or folder", "hidden or system files and folders")
        yield Finding(
            "HS-CHECK-008",
            "note",
            f"ignored: {text} ({listed(names)})",
            len(ignored),
            "Nothing need be done; rename what is a picture or a class of yours.",
        )
    if empty := table.listing.empty_classes:
        yield Finding(
            "HS-CHECK-009",
            "note",
            f"ignored: empty class folders ({listed(empty)})",
            len(empty),
            "Delete the folders, or put pictures into them.",
        )


def _small(table: AuditTable, preprocess: Preprocess) -> Iterable[Finding]:
    def example(i: int) -> Example:
        return Example((table.paths[i],), f"{table.facts[i].width} x {table.facts[i].height} pixels")

    short = table.facts.sizes().min(axis=1)
    if tiny := np.flatnonzero(short < TINY).tolist():
        yield Finding(
            "HS-CHECK-010",
            "warning",
            f"{counted(len(tiny), 'picture is', 'pictures are')} tiny: fewer than {TINY} pixels wide or high",
            len(tiny),
            "Leave them out: they are placeholders or icons rather than photos.",
            tuple(map(example, tiny)),
            tuple((table.paths[i], example(i).text) for i in tiny),
        )
    if small := np.flatnonzero((short >= TINY) & (short < preprocess.img_size / 2)).tolist():
        size = preprocess.img_size
        yield Finding(
            "HS-CHECK-011",
            "note",
            f"{counted(len(small), 'picture is', 'pictures are')} enlarged more than twice: the network sees "
            f"{size} x {size} pixels",
            len(small),
            "Take larger originals if there are any, or try a smaller --img-size.",
            tuple(map(example, sorted(small, key=lambda i: short[i]))),
        )


def _names(table: AuditTable) -> Iterable[Finding]:
    entries = [entry.path for entry in table.listing.entries]
    folders_of = [path.split("/") for path in {path.rpartition("/")[0] for path in entries}]
    names = {name for parts in folders_of for name in parts}
    for code, pattern, what, mend in (
        (
            "HS-CHECK-012",
            COPY_NAME,
            "named as copies are",
            "Compare them with their originals, and delete what is a copy.",
        ),
        (
            "HS-CHECK-013",
            MASK_NAME,
            "named as masks or annotations are, not pictures",
            "If they are masks, move them out of the class folders or leave them out with --exclude.",
        ),
    ):
        if folders := sorted(name for name in names if pattern.search(name)):
            yield Finding(
                code,
                "warning",
                f"{counted(len(folders), 'folder is', 'folders are')} {what}",
                len(folders),
                mend,
                tuple(Example((f"{name}/",)) for name in folders),
            )
        if files := [path for path in entries if pattern.search(stem_and_suffix(path)[0])]:
            yield Finding(
                code,
                "note",
                f"{counted(len(files), 'file is', 'files are')} {what}",
                len(files),
                mend,
                tuple(Example((path,)) for path in files),
            )
    depth = 2 if table.listing.layout == "split-folders" else 1
    inner = sorted(
        {
            "/".join(parts[: i + 1])
            for parts in folders_of
            for i, part in enumerate(parts)
            if table.listing.layout not in ("list", "table")
            and i >= depth
            and nfc(part).lower() in SPLIT_NAMES
        }
    )
    if inner:
        text = counted(len(inner), "folder inside a class folder is", "folders inside class folders are")
        yield Finding(
            "HS-CHECK-014",
            "warning",
            f"{text} named like a part of a split, but read as a part of its class",
            len(inner),
            "For a split of your own, put train/ and val/ outside of the class folders.",
            tuple(Example((f"{name}/",)) for name in inner),
        )


def stem_and_suffix(path: str) -> tuple[str, str]:
    """As `PurePosixPath` has them, in a tenth of its time."""
    name = path.rpartition("/")[2]
    dot = name.rfind(".")
    return (name[:dot], name[dot:]) if 0 < dot < len(name) - 1 else (name, "")


def findings_on_kinds(table: AuditTable) -> list[Finding]:
    """What was done to pictures beyond plain decoding, and kinds that stand out."""
    found = []
    for code, flag, one, many, rest, mend in DONE_IN_DECODING:
        if concerned := table.read.with_flag(flag):
            found.append(
                Finding(
                    code,
                    "note",
                    f"{counted(len(concerned), one, many)} {rest}",
                    len(concerned),
                    mend,
                    tuple(Example((table.paths[i],)) for i in concerned),
                )
            )
    return [*found, *_unusual(table), *_misnamed(table)]


DONE_IN_DECODING: tuple[tuple[str, str, str, str, str, str], ...] = (
    (
        "HS-CHECK-020",
        "turned",
        "picture",
        "pictures",
        "turned upright as its EXIF data say",
        "Nothing need be done: headstart turns them everywhere; other tools may not.",
    ),
    (
        "HS-CHECK-021",
        "animated",
        "file",
        "files",
        "with several frames: the first is used",
        "Save the frames that you want as single pictures.",
    ),
    (
        "HS-CHECK-022",
        "deep_colour",
        "picture",
        "pictures",
        "in 16-bit colour: the upper 8 bits of each channel are used",
        "Nothing need be done, unless differences finer than 1 in 256 matter.",
    ),
    (
        "HS-CHECK-025",
        "profiled",
        "picture",
        "pictures",
        "with a colour profile, converted to sRGB",
        "Nothing need be done: headstart converts them everywhere; other tools may not.",
    ),
    (
        "HS-CHECK-026",
        "damaged_profile",
        "picture",
        "pictures",
        "with a damaged colour profile, which is not applied",
        "Look at their colours; if they are wrong, save the pictures anew as sRGB.",
    ),
    (
        "HS-CHECK-027",
        "reduced",
        "giant JPEG",
        "giant JPEGs",
        f"(more than {GIANT_PIXELS // 1_000_000} million pixels) decoded at a reduced scale",
        "Nothing need be done; cut out the part that matters if it is small.",
    ),
)
"""Code, flag of `Decoded`, one, many, what, mend."""


def _unusual(table: AuditTable) -> Iterable[Finding]:
    kinds, of = table.facts.kinds()
    counts = np.bincount(of, minlength=len(kinds)).tolist()
    rare = RARE * len(table.facts)
    odd = {kind: n for kind, n in zip(kinds, counts, strict=True) if kind[1] not in ("RGB", "L") or n < rare}
    if odd and len(kinds) > 1:
        shown = [f"{n:,} {name} {mode}" for (name, mode), n in sorted(odd.items(), key=lambda k: -k[1])]
        concerned = np.flatnonzero(np.isin(of, [kinds.index(kind) for kind in odd])).tolist()
        yield Finding(
            "HS-CHECK-023",
            "note",
            f"{counted(len(concerned), 'picture is', 'pictures are')} of a kind that is unusual here "
            f"({listed(shown)})",
            len(concerned),
            "Look at them: odd ones are often drawings, screenshots or placeholders.",
            tuple(
                Example((table.paths[i],), f"{table.facts[i].format}, mode {table.facts[i].mode}")
                for i in concerned
            ),
        )


def _misnamed(table: AuditTable) -> Iterable[Finding]:
    wrong = []
    kinds, of = table.facts.kinds()
    for path, kind in zip(table.paths, of.tolist(), strict=True):
        suffix, name = stem_and_suffix(path)[1].lower(), kinds[kind][0]
        if suffix and suffix not in SUFFIXES.get(name, {suffix}):
            wrong.append(Example((path,), f"{name} inside"))
    if wrong:
        yield Finding(
            "HS-CHECK-024",
            "note",
            f"{counted(len(wrong), 'file holds', 'files hold')} another format than the name says",
            len(wrong),
            "Nothing need be done: the content counts here; other tools may stumble over them.",
            tuple(wrong),
        )
