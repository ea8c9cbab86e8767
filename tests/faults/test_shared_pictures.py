"""Real pictures with known traps, where they are at hand: every trap is found.

They lie in the folder that HEADSTART_SHARED_DATA names, by default ``shared/data`` beside this checkout.
Without them, these tests are skipped.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import headstart
from headstart.data.check import Checked
from headstart.data.findings import Finding

SHARED = Path(
    os.environ.get("HEADSTART_SHARED_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data"
)


def checked(name: str, **fields: object) -> Checked:
    if not (SHARED / name).is_dir():
        pytest.skip(f"the development pictures '{name}' are not at hand (HEADSTART_SHARED_DATA)")
    return headstart.check(SHARED / name, **fields)  # type: ignore[arg-type]


def found(result: Checked, code: str) -> Finding:
    (finding,) = (item for item in result.findings if item.code == code)
    return finding


def first_paths(finding: Finding) -> set[str]:
    return {example.paths[0] for example in finding.examples}


def test_scans_of_brains() -> None:
    result = checked("brain-mri")
    assert result.usable
    assert {name: sum(parts.values()) for name, parts in result.counts().items()} == {"no": 98, "yes": 155}
    assert len(found(result, "HS-CHECK-030").examples) == 22  # groups of exact duplicates
    assert "no/No15.jpg" in first_paths(found(result, "HS-CHECK-024"))  # PNG bytes named .jpg
    modes = found(result, "HS-CHECK-023").what
    assert all(mode in modes for mode in ("PNG RGBA", "PNG P", "PNG L"))


def test_scraped_thumbnails() -> None:
    result = checked("hotdog-messy")
    assert result.usable
    assert {name: sum(parts.values()) for name, parts in result.counts().items()} == {
        "hotdog": 144,
        "nothotdog": 101,
    }
    tiny = found(result, "HS-CHECK-010")
    assert [example.text for example in tiny.examples] == ["1 x 1 pixels"] * 2
    assert first_paths(tiny) <= first_paths(found(result, "HS-CHECK-024"))  # GIFs named .jpg
    assert found(result, "HS-CHECK-030").count == 23
    assert "(.DS_Store)" in found(result, "HS-CHECK-008").what
    assert "PNG" in str([example.text for example in found(result, "HS-CHECK-024").examples])


def test_a_few_trees() -> None:
    result = checked("trees-tiny")
    stray = found(result, "HS-DATA-007")
    assert not result.usable and stray.severity == "error" and '--exclude "Test"' in stray.mend
    assert found(result, "HS-CHECK-020").count == 1  # turned by EXIF
    without = checked("trees-tiny", exclude=["Test"])
    assert without.usable and sum(sum(parts.values()) for parts in without.counts().values()) == 20


def test_a_clone_without_lfs() -> None:
    result = checked("git-lfs-pointers")
    pointers = found(result, "HS-DATA-011")
    assert not result.usable and pointers.count == 12
    assert pointers.mend == "Run in the clone: git lfs install && git lfs pull"
    assert [item.code for item in result.findings] == ["HS-DATA-011"] and len(result.excluded()) == 12
