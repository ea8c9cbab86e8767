"""The page of `headstart check`: one HTML file with thumbnails, which asks nothing of any network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from headstart.console import counted
from headstart.data.check import Checked
from headstart.data.findings import NOUNS, SEVERITIES, Example, Finding
from headstart.data.fit import lost_shares
from headstart.data.formats import UnreadableImage, read_file
from headstart.data.page import address, filled, thumbnail
from headstart.storage import write_atomic
from headstart.versions import versions

GROUPS_SHOWN = 8  # of each finding
PICTURES_SHOWN = 4  # of each group
LINES_SHOWN = 10
SEEN_CLASSES = 12  # whose evaluation view is shown
CLASSES_SHOWN = 60


def write_page(checked: Checked, path: Path, *, name: str) -> None:
    """Writes the page.

    Args:
        name: Of the data set, for the title.

    Raises:
        MissingExtraError: HS-INSTALL-001.
        RunError: HS-RUN-001 to -003.
    """
    write_atomic(path, filled("check.html", _content(checked, name), what="The page of a check"))


def _content(checked: Checked, name: str) -> dict[str, Any]:
    kinds = Counter(finding.severity for finding in checked.findings)
    parts = checked.parts()
    counts = checked.counts()
    largest = max((sum(row.values()) for row in counts.values()), default=0)
    thumbnails = _Thumbnails(checked)
    lost = checked.lost()
    return {
        "name": name,
        "root": str(checked.root),
        "usable": checked.usable,
        "pictures": counted(len(checked.table.paths), "picture", "pictures"),
        "files": counted(len(checked.table.listing.entries), "file", "files"),
        "kinds": [(s, kinds[s], NOUNS[s][kinds[s] > 1]) for s in SEVERITIES if kinds[s]],
        "parts": parts,
        "classes": [
            {
                "name": class_name,
                "counts": [f"{row.get(part, 0):,}" for part in parts],
                "all": f"{sum(row.values()):,}",
                "lost": f"{lost[class_name]:.0%}" if class_name in lost else "",
                "percent": round(100 * sum(row.values()) / max(1, largest), 1),
            }
            for class_name, row in list(counts.items())[:CLASSES_SHOWN]
        ],
        "hidden_classes": max(0, len(counts) - CLASSES_SHOWN),
        "seen": _seen(checked, lost),
        "fit": {
            "crop": "the centre is cropped (--fit crop)",
            "pad": "nothing is cut away (--fit pad)",
            "squash": "squeezed into a square, then its centre (--fit squash)",
        }[checked.preprocess.fit],
        "size": checked.preprocess.img_size,
        "notes": checked.notes,
        "findings": [_card(finding, thumbnails) for finding in checked.findings],
        "version": versions().get("headstart", ""),
    }


class _Thumbnails:
    """Small pictures as ``data:`` addresses, each made once."""

    def __init__(self, checked: Checked) -> None:
        self._root = checked.root
        self._preprocess = checked.preprocess
        self._known = set(checked.table.paths)
        self._made: dict[str, str] = {}

    def of(self, path: str) -> str:
        """A picture of the table; empty for other files, and where it cannot be read any more."""
        if path not in self._known:
            return ""
        if path not in self._made:
            self._made[path] = thumbnail(self._root / path, self._preprocess)
        return self._made[path]


def _seen(checked: Checked, lost: Mapping[str, float]) -> list[dict[str, Any]]:
    """Of some classes the median picture and that which loses most: as it is, and as the network sees it."""
    table, views = checked.table, _EvaluationViews(checked)
    shares = lost_shares(table.facts.sizes(), checked.preprocess)
    found = []
    for name in sorted(lost, key=lambda name: -lost[name])[:SEEN_CLASSES]:
        rows = np.flatnonzero(table.labels == table.classes.index(name))
        rows = rows[np.argsort(shares[rows], kind="stable")]
        shown = dict.fromkeys((int(rows[(len(rows) - 1) // 2]), int(rows[-1])))
        pictures = [
            {
                "path": table.paths[i],
                "picture": views.thumbnails.of(table.paths[i]),
                "view": view,
                "lost": f"{shares[i]:.0%}",
            }
            for i in shown
            if (view := views.of(table.paths[i]))
        ]
        found.append({"name": name, "lost": f"{lost[name]:.0%}", "pictures": pictures})
    return found


class _EvaluationViews:
    """The squares that the network gets, before they are standardised, as ``data:`` addresses."""

    def __init__(self, checked: Checked) -> None:
        self.thumbnails = _Thumbnails(checked)
        self._checked = checked

    def of(self, path: str) -> str:
        """Of a picture; empty where it cannot be read any more."""
        preprocess = self._checked.preprocess
        try:
            pixels = preprocess.resized(preprocess.rgb(read_file(self._checked.root / path)))
        except UnreadableImage:
            return ""
        return address(Image.fromarray(preprocess.evaluation_crop(pixels)))


def _card(finding: Finding, thumbnails: _Thumbnails) -> dict[str, Any]:
    shown = finding.examples[:GROUPS_SHOWN]
    if any(thumbnails.of(path) for example in shown for path in example.paths[:1]):
        groups, lines = [_group(example, thumbnails) for example in shown], []
    else:
        shown = finding.examples[:LINES_SHOWN]
        groups, lines = [], [str(example) for example in shown]
    return {
        "code": finding.code,
        "severity": finding.severity,
        "what": finding.what[:1].upper() + finding.what[1:],
        "mend": finding.mend,
        "groups": groups,
        "lines": lines,
        "more": max(0, len(finding.examples) - len(shown)),
    }


def _group(example: Example, thumbnails: _Thumbnails) -> dict[str, Any]:
    paths: Sequence[str] = example.paths[:PICTURES_SHOWN]
    return {
        "text": example.text,
        "more": len(example.paths) - len(paths),
        "pictures": [
            {"path": path, "image": thumbnails.of(path), "alt": f"Thumbnail of {path}"} for path in paths
        ],
    }
