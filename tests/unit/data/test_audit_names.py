"""Groups that names carry are suggested with the flag to type; names that carry none are left in peace."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headstart.data.check import Checked, check
from headstart.data.dataset import load_dataset
from headstart.data.findings import Finding
from headstart.data.preprocess import Preprocess
from headstart.data.sources import SourceOptions

SPEC = Preprocess(16, 20, "bilinear", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def draw(path: Path, seed: int, shift: int = 0) -> None:
    """A coarse pattern, moved by some pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (7, 7, 3), dtype=np.uint8)
    whole = Image.fromarray(coarse).resize((160, 160), Image.Resampling.BICUBIC)
    whole.crop((shift, shift, shift + 96, shift + 96)).save(path, "PNG")


def folder(root: Path, names: Iterable[str]) -> Path:
    """The names in turn under two classes, all pictures different."""
    for i, name in enumerate(names):
        draw(root / ("a", "b")[i // 2 % 2] / name, i)
    return root


def suggestions(checked: Checked) -> list[Finding]:
    return [found for found in checked.findings if found.code in ("HS-CHECK-061", "HS-CHECK-062")]


def looked_at(root: Path, **options: str) -> Checked:
    return check(root, preprocess=SPEC, options=SourceOptions(**options))  # type: ignore[arg-type]


NAMED: dict[str, tuple[Callable[[int], str], str]] = {
    "patient": (lambda i: f"patient{i // 6}_{i:03}.png", r"patient(\d+)"),
    "lot": (lambda i: f"LOT{10 + i // 6}-{i}.png", r"LOT(\d+)"),
    "mixed spelling": (lambda i: f"{('Lot_', 'lot ')[i % 2]}{i // 6}x{i}.png", r"(?i)lot[-_ ]?(\d+)"),
    "folder": (lambda i: f"subject-{i // 6}/{i:03}.png", r"subject-(\d+)"),
    "date": (lambda i: f"2024-03-{1 + i // 6:02}_cam2_{i:04}.png", r"(20\d\d-\d\d-\d\d)"),
    "date without dashes": (lambda i: f"IMG_202403{1 + i // 6:02}_{i:06}.png", r"(20\d\d[01]\d[0-3]\d)"),
    "series": (lambda i: f"cell{i // 6:02}-{i % 6}.png", r"([^/]*\d)[-_ .]\d+\.\w+$"),
    "augmented": (lambda i: f"photo{i // 3}_png.rf.{i:032x}.png", r"([^/]+)\.rf\."),
}


@pytest.mark.parametrize("kind", NAMED)
def test_what_the_names_carry_is_suggested_as_a_flag(tmp_path: Path, kind: str) -> None:
    name, pattern = NAMED[kind]
    root = folder(tmp_path / "d", map(name, range(96)))
    (found,) = suggestions(looked_at(root))
    assert found.code == "HS-CHECK-061" and found.severity == "note"
    assert f"To keep each on one side: --group-by '{pattern}'" in found.what
    size = 3 if kind == "augmented" else 6
    assert f"{96 // size} groups of {size} pictures" in found.what
    assert found.mend == (
        f"If pictures of one group resemble each other, the figures flatter: add --group-by '{pattern}'"
    )
    # As said, it mends what was found.
    assert suggestions(looked_at(root, group_by=pattern)) == []
    dataset, _ = load_dataset(root, preprocess=SPEC, options=SourceOptions(group_by=pattern))
    assert len(set(dataset.groups.tolist())) == 96 // size
    # Training says it, too.
    plain, _ = load_dataset(root, preprocess=SPEC)
    assert any(f"--group-by '{pattern}'" in finding.what for finding in plain.findings)


@pytest.mark.parametrize(
    "name",
    [
        lambda i: f"{i:03}.png",
        lambda i: f"IMG_{i:04}.png",
        lambda i: f"{2467959963 + 7919 * i}_{i * 7919:010x}.png",  # of a photo site
        lambda i: f"{10000000 + 999983 * i}.png",  # eight digits, few of which are dates
        lambda i: f"hemlock_{i}.png",
        lambda i: f"images ({i}).png",
        lambda i: f"scan{i}.png",  # one picture each
        lambda i: f"patient{i % 2}_{i}.png",  # two of them cannot be split
        lambda i: f"{('a', 'b')[i // 2 % 2]}/plant{i // 2 % 2}_{i}.png",  # the class itself
        lambda i: f"slot{i // 6}-{'abcdefghij'[i % 10]}.png",  # not every 'lot' is one
        lambda i: f"patient{i // 6}_{i}.png" if i % 2 else f"{i}.png",  # half of them only
    ],
)
def test_other_names_suggest_nothing(tmp_path: Path, name: Callable[[int], str]) -> None:
    assert suggestions(looked_at(folder(tmp_path / "d", map(name, range(96))))) == []


def test_a_split_that_keeps_them_apart_needs_no_flag(tmp_path: Path) -> None:
    for i in range(96):
        part = "test" if i // 6 >= 12 else "train"
        draw(tmp_path / "d" / part / ("a", "b")[i % 2] / f"patient{i // 6}_{i}.png", i)
    assert suggestions(looked_at(tmp_path / "d")) == []
    for file in (tmp_path / "d/test/a").iterdir():
        file.rename(tmp_path / "d/test/a" / re.sub(r"patient\d+", "patient1", file.name))
    (found,) = suggestions(looked_at(tmp_path / "d"))
    assert "1 of them lies on both sides of the split (12 test pictures)" in found.what


def test_frames_of_a_film_are_suggested_in_runs(tmp_path: Path) -> None:
    for c, name in enumerate(("a", "b")):
        for i in range(120):  # a new scene after every 30 frames; each frame moved by a pixel
            draw(tmp_path / "d" / name / f"IMG_{i:04}.png", 100 * c + i // 30, i % 30)
    (found,) = suggestions(looked_at(tmp_path / "d"))
    assert found.code == "HS-CHECK-062"
    assert "numbers in a row, of which neighbours look alike (taken in runs of 10)" in found.what
    assert r"--group-by '([^/]*)\d\.\w+$'" in found.what
    assert suggestions(looked_at(tmp_path / "d", group_by=r"([^/]*)\d\.\w+$")) == []


def test_equal_looks_everywhere_are_no_film(tmp_path: Path) -> None:
    """Where any two pictures look alike, being neighbours says nothing."""
    for c, name in enumerate(("a", "b")):
        for i in range(60):
            draw(tmp_path / "d" / name / f"IMG_{i:04}.png", c, i % 3)
    assert suggestions(looked_at(tmp_path / "d")) == []
