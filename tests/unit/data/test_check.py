"""`headstart check` finds what is the matter, says what to do, and changes nothing."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import os
import re
import shutil
from collections import defaultdict
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from headstart.data import decoding, images
from headstart.data.audit_files import UNREADABLE, stem_and_suffix
from headstart.data.check import Checked, check
from headstart.data.check_page import write_page
from headstart.data.facts import facts_of, sample_of
from headstart.data.findings import Finding
from headstart.data.images import read_rgb
from headstart.data.preprocess import Preprocess
from headstart.data.sources import SourceOptions
from headstart.errors import DataError
from icc import WIDE, profile

SPEC = Preprocess(32, 36, "bilinear", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize 12345\n"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def photo(seed: int, size: tuple[int, int] = (60, 48)) -> Image.Image:
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 6, 3), dtype=np.uint8))
    return coarse.resize(size, Image.Resampling.BICUBIC)


def draw(path: Path, seed: int, size: tuple[int, int] = (60, 48)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    photo(seed, size).save(path)
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """24 pictures in each of two classes."""
    for c, name in enumerate(("cat", "dog")):
        for i in range(24):
            draw(tmp_path / "data" / name / f"{i:02}.png", 100 * c + i)
    return tmp_path / "data"


def looked_at(data: Path, **options: object) -> Checked:
    return check(data, preprocess=SPEC, **options)  # type: ignore[arg-type]


def finding(checked: Checked, code: str) -> Finding:
    found = [f for f in checked.findings if f.code == code]
    assert len(found) == 1, [f.code for f in checked.findings]
    return found[0]


def paths(found: Finding) -> list[tuple[str, ...]]:
    return [example.paths for example in found.examples]


def test_nothing_is_found_in_sound_pictures(data: Path) -> None:
    checked = looked_at(data)
    assert checked.findings == () and checked.usable and checked.excluded() == []
    assert checked.lines() == [
        f"{data}: 48 pictures in 48 files, 2 classes: nothing found",
        "  split made by content: 70 % train, 15 % selection (for choices), 15 % test (reported)",
    ]
    assert checked.counts() == {name: {"train": 16, "selection": 4, "test": 4} for name in ("cat", "dog")}


def test_files_that_give_no_picture(data: Path) -> None:
    (data / "cat/empty.jpg").write_bytes(b"")
    (data / "cat/pointer.jpg").write_text(POINTER.format("ab"))
    cut = draw(data / "dog/cut.png", 7)
    cut.write_bytes(cut.read_bytes()[:-300])
    (data / "dog/page.jpg").write_text("<!doctype html>")
    (data / "dog/notes.txt").write_text("notes")
    (data / "dog/.DS_Store").write_text("x")
    checked = looked_at(data)
    for code, path in {
        "HS-CHECK-001": "cat/empty.jpg",
        "HS-CHECK-002": "cat/pointer.jpg",
        "HS-CHECK-003": "dog/cut.png",
        "HS-CHECK-005": "dog/page.jpg",
        "HS-CHECK-006": "dog/notes.txt",
    }.items():
        assert paths(finding(checked, code)) == [(path,)]
        assert finding(checked, code).mend
    assert finding(checked, "HS-CHECK-007").count == 4
    assert "ignored: 1 hidden or system file or folder (.DS_Store)" in finding(checked, "HS-CHECK-008").what
    assert len(checked.excluded()) == 5


def test_copies_of_all_kinds(data: Path) -> None:
    shutil.copy(data / "cat/03.png", data / "cat/03 (copy).png")
    photo(4).save(data / "cat/04.bmp")  # other bytes, equal pixels
    photo(105).save(data / "dog/05.jpg", quality=80)
    photo(6).save(data / "dog/like-a-cat.bmp")
    checked = looked_at(data)
    assert paths(finding(checked, "HS-CHECK-030")) == [
        ("cat/03.png", "cat/03 (copy).png"),
        ("cat/04.bmp", "cat/04.png"),
        ("cat/06.png", "dog/like-a-cat.bmp"),
    ]
    assert paths(finding(checked, "HS-CHECK-012")) == [("cat/03 (copy).png",)]
    near = finding(checked, "HS-CHECK-031")
    assert [set(group) for group in paths(near)] == [{"dog/05.png", "dog/05.jpg"}]
    torn = finding(checked, "HS-CHECK-033")
    assert torn.severity == "warning" and torn.examples[0].text == "cat, dog"
    left_out = {path: code for path, _, code in checked.excluded()}
    assert left_out["cat/03 (copy).png"] == "HS-CHECK-030"
    assert left_out["cat/06.png"] == left_out["dog/like-a-cat.bmp"] == "HS-CHECK-033"
    assert "cat/03.png" not in left_out


def test_leaks_of_a_given_split(tmp_path: Path) -> None:
    for part, first, n in (("train", 0, 12), ("test", 50, 4)):
        for c, name in enumerate(("cat", "dog")):
            for i in range(n):
                draw(tmp_path / "data" / part / name / f"{i:02}.png", 100 * c + first + i)
    root = tmp_path / "data"
    photo(3).save(root / "test/cat/leak.bmp")
    photo(104).resize((90, 72), Image.Resampling.BICUBIC).save(root / "test/dog/larger.png")
    checked = looked_at(root)
    exact, near = finding(checked, "HS-CHECK-036"), finding(checked, "HS-CHECK-037")
    assert "1 of 10 test pictures are exact copies of pictures used for training or choices" in exact.what
    assert set(paths(near)[0]) == {"test/dog/larger.png", "train/dog/04.png"}
    left_out = {path for path, _, _ in checked.excluded()}
    assert left_out == {"train/cat/03.png", "train/dog/04.png"}  # what is reported on stays


def test_even_pictures_are_no_near_copies(data: Path) -> None:
    for i, colour in enumerate(("black", "white", "gray")):
        Image.new("RGB", (60, 48), colour).save(data / "cat" / f"even{i}.png")
    assert "HS-CHECK-031" not in {f.code for f in looked_at(data).findings}


def test_sizes_names_and_kinds(data: Path) -> None:
    draw(data / "cat/dot.png", 1, (1, 1))
    draw(data / "cat/mask_01.png", 55)
    draw(data / "dog/train/x.png", 56)
    photo(57).save(data / "dog/really.jpg", "PNG")
    photo(58).convert("CMYK").save(data / "dog/print.jpg")
    turned = Image.Exif()
    turned[0x0112] = 6
    photo(59).save(data / "dog/turned.png", exif=turned)
    checked = looked_at(data)
    assert paths(finding(checked, "HS-CHECK-010")) == [("cat/dot.png",)]
    assert ("cat/dot.png", "1 x 1 pixels", "HS-CHECK-010") in checked.excluded()
    assert paths(finding(checked, "HS-CHECK-013")) == [("cat/mask_01.png",)]
    assert paths(finding(checked, "HS-CHECK-014")) == [("dog/train/",)]
    assert paths(finding(checked, "HS-CHECK-020")) == [("dog/turned.png",)]
    assert finding(checked, "HS-CHECK-023").examples[0].text == "JPEG, mode CMYK"
    assert paths(finding(checked, "HS-CHECK-024")) == [("dog/really.jpg",)]


def test_classes_of_unlike_size_and_shape(data: Path) -> None:
    for i in range(8, 24):
        (data / "dog" / f"{i:02}.png").unlink()
    for i in range(8):
        draw(data / "dog" / f"{i:02}.png", 300 + i, (160, 40))
    checked = looked_at(data)
    assert "'cat' has 2.8 times" not in str(checked.findings)
    for i in range(60):
        draw(data / "cat" / f"more{i:02}.png", 400 + i)
    checked = looked_at(data)
    imbalance = finding(checked, "HS-CHECK-042")
    assert imbalance.severity == "note" and "'cat' has" in imbalance.what
    crop = finding(checked, "HS-CHECK-043")
    assert "the crop to 32 x 32 cuts 80% of the pixels of 'dog', 37% of 'cat'" in crop.what
    padded = check(data, preprocess=replace(SPEC, fit="pad"))
    assert "HS-CHECK-043" not in {f.code for f in padded.findings}


def test_a_shortcut_is_told_with_its_interval(data: Path) -> None:
    for path in (data / "dog").iterdir():
        Image.open(path).save(path.with_suffix(".bmp"))
        path.unlink()
    found = finding(looked_at(data), "HS-CHECK-050")
    assert found.what == (
        "the file format alone names the class of 100% of the pictures (93% to 100%, n = 48); "
        "always naming the most frequent class, 50%"
    )


def test_what_training_refuses_is_an_error_and_the_rest_is_looked_at(data: Path) -> None:
    draw(data / "Test/one.png", 70)
    draw(data / "Test/same.png", 3)
    checked = looked_at(data)
    assert not checked.usable and checked.findings[0].code == "HS-DATA-007"
    assert '--exclude "Test"' in checked.findings[0].mend
    assert paths(finding(checked, "HS-CHECK-036")) == [("Test/same.png", "cat/03.png")]
    assert looked_at(data, exclude=["Test"]).findings == ()


def test_only_pointers(tmp_path: Path) -> None:
    for name in ("paper", "rock"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(3):
            (tmp_path / "data" / name / f"{i}.jpg").write_text(POINTER.format(i))
    checked = looked_at(tmp_path / "data")
    assert [f.code for f in checked.findings if f.severity == "error"] == ["HS-DATA-011"]
    assert [f.code for f in checked.findings] == ["HS-DATA-011"]  # told once
    assert "git lfs pull" in checked.findings[0].mend and len(checked.excluded()) == 6


def test_classes_that_differ_in_capitals_or_spaces_only(data: Path) -> None:
    for name in ("Dog", "do g"):
        for i in range(3):
            draw(data / name / f"{i}.png", 500 + i)
    found = finding(looked_at(data), "HS-CHECK-070")
    assert found.severity == "warning"
    assert found.what == "3 classes differ in capitals or spaces only ('Dog', 'do g', 'dog')"


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        looked_at(tmp_path / "none")
    assert caught.value.code == "HS-DATA-001"


def table_of(data: Path, *more: str) -> Path:
    rows = [f"{p.relative_to(data)},{p.parent.name},{p.stem[0]}" for p in sorted(data.rglob("*.png"))]
    table = data.parent / "table.csv"
    table.write_text("\n".join(["path,label,group", *rows, *more]) + "\n")
    return table


def test_a_table_is_checked_as_it_would_train(data: Path) -> None:
    shutil.copy(data / "cat/03.png", data / "cat/03 (copy).png")
    checked = looked_at(table_of(data), options=SourceOptions(images=data), exclude=["cat/23.png"])
    assert checked.usable and checked.root == data
    assert paths(finding(checked, "HS-CHECK-030")) == [("cat/03.png", "cat/03 (copy).png")]
    (left_out,) = checked.table.listing.excluded
    assert left_out[:2] == ("cat/23.png", "--exclude cat/23.png")
    groups: dict[str, set[str]] = defaultdict(set)
    for i, split in enumerate(checked.table.splits):
        groups[checked.table.group_of(i)].add(str(split))
    assert set(groups) == {"0", "1", "2"} and all(len(parts) == 1 for parts in groups.values())


def test_a_table_that_training_refuses_is_looked_at(data: Path) -> None:
    (data / "cat/empty.jpg").write_bytes(b"")
    table = table_of(data, "cat/empty.jpg,cat,9", "cat/none.png,cat,9", ",cat,9", "cat/00.png,dog,0")
    checked = looked_at(table, options=SourceOptions(images=data))
    assert [f.code for f in checked.findings if f.severity == "error"] == ["HS-DATA-053"]
    assert "2 rows of the table cannot be used" in checked.findings[0].what
    assert paths(finding(checked, "HS-CHECK-001")) == [("cat/empty.jpg",)]
    assert paths(finding(checked, "HS-CHECK-004")) == [("cat/none.png",)]
    assert len(checked.table.paths) == 48
    with pytest.raises(DataError) as caught:
        looked_at(table, options=SourceOptions(images=data, columns=("label=species",)))
    assert caught.value.code == "HS-DATA-057"


def test_a_list_is_looked_at_without_what_is_left_out(data: Path) -> None:
    pairs = [(path, path.parent.name) for path in sorted(data.rglob("*.png"))]
    checked = looked_at([*pairs, (data / "cat/00.png", "")], exclude=["dog/2*"])
    assert [f.code for f in checked.findings] == ["HS-DATA-014"] and len(checked.table.paths) == 44
    left_out = {Path(item.path).name for item in checked.table.listing.excluded}
    assert left_out == {"20.png", "21.png", "22.png", "23.png"}


def test_only_the_part_that_is_used_is_looked_at(data: Path, tmp_path: Path) -> None:
    image = photo(4)
    image.paste("red", (50, 0, 60, 48))  # outside of the crop
    image.save(data / "cat/04 again.png")
    draw(data / "dog/small.png", 70, (20, 48))
    assert "HS-CHECK-030" not in {f.code for f in looked_at(data).findings}
    checked = check(data, preprocess=replace(SPEC, crop=(0, 0, 40, 40)))
    assert set(paths(finding(checked, "HS-CHECK-030"))[0]) == {"cat/04.png", "cat/04 again.png"}
    assert paths(finding(checked, "HS-CHECK-015")) == [("dog/small.png",)]
    assert {(fact.width, fact.height) for fact in checked.table.facts} == {(40, 40)}
    write_page(checked, tmp_path / "page.html", name="data")
    (shown, *_) = re.findall(r"data:image/jpeg;base64,([^\"]+)", (tmp_path / "page.html").read_text())
    assert Image.open(io.BytesIO(base64.b64decode(shown))).size == (40, 40)


def test_colour_profiles_are_told(data: Path) -> None:
    photo(70).save(data / "cat/wide.png", icc_profile=profile(WIDE))
    photo(71).save(data / "dog/odd.png", icc_profile=b"no profile")
    checked = looked_at(data)
    for _ in range(2):  # read, then remembered
        assert paths(finding(checked, "HS-CHECK-025")) == [("cat/wide.png",)]
        assert paths(finding(checked, "HS-CHECK-026")) == [("dog/odd.png",)]
        checked = looked_at(data)


def test_giant_jpegs_are_told(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photo(70, (384, 320)).save(data / "dog/giant.jpg")
    monkeypatch.setattr("headstart.data.limits.GIANT_PIXELS", 100_000)
    checked = looked_at(data)
    assert paths(finding(checked, "HS-CHECK-027")) == [("dog/giant.jpg",)]
    (fact,) = (f for f in checked.table.facts if f.format == "JPEG")
    assert (fact.width, fact.height) == (384, 320)


def test_every_kind_of_fault_has_a_finding() -> None:
    source = "".join(path.read_text("utf-8") for path in Path(images.__file__).parent.glob("*.py"))
    kinds = set(re.findall(r'UnreadableImage\(\s*"([a-z-]+)"', source))
    assert kinds == {kind for _, kinds, *_ in UNREADABLE for kind in kinds} and "too-small" in kinds


def state(data: Path) -> dict[Path, tuple[bytes, int]]:
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in data.rglob("*.*")}


def test_originals_are_untouched(data: Path, tmp_path: Path) -> None:
    (data / "cat/empty.jpg").write_bytes(b"")
    before = state(data)
    checked = looked_at(data)
    checked.write_fix_list(tmp_path / "fix.csv")
    write_page(checked, tmp_path / "page.html", name="data")
    assert state(data) == before


# --- again -----------------------------------------------------------------------------------------------


def test_unchanged_files_are_not_read_again(data: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (data / "cat/empty.jpg").write_bytes(b"")
    photo(4).save(data / "cat/04.bmp")
    first = looked_at(data)
    decoded: list[Path] = []
    plain = decoding.read_file

    def counted(path: Path) -> bytes:
        decoded.append(path)
        return plain(path)

    monkeypatch.setattr(decoding, "read_file", counted)
    again = looked_at(data)
    assert decoded == [] and again.findings == first.findings
    draw(data / "dog/00.png", 999)
    (data / "cat/empty.jpg").unlink()
    assert "HS-CHECK-001" not in {f.code for f in looked_at(data).findings}
    assert decoded == [data / "dog/00.png"]
    (stored,) = (home / "cache" / "facts").iterdir()
    stored.write_text('{"files": {"x": 3}, "pix')
    assert looked_at(data).findings == looked_at(data).findings
    assert len(decoded) == 1 + 49


def test_only_what_changed_is_remembered_anew(data: Path, home: Path) -> None:
    photo(4).save(data / "cat/04.bmp")
    looked_at(data)

    def remembered() -> dict[str, list[Any]]:
        (stored,) = (home / "cache" / "facts").iterdir()
        return dict(json.loads(stored.read_text("utf-8"))["files"])

    before = remembered()
    changed = data / "cat/04.bmp"
    size = changed.stat().st_size
    photo(5).save(changed)  # as many bytes
    os.utime(changed, ns=(0, 1))
    (data / "dog/00.png").unlink()
    looked_at(data)
    after = remembered()
    assert changed.stat().st_size == size and before.keys() - after.keys() == {"dog/00.png"}
    assert {name for name in after if after[name] != before[name]} == {"cat/04.bmp"}
    assert after["cat/04.bmp"][2] == hashlib.sha256(changed.read_bytes()).hexdigest()


def test_facts_belong_to_their_files(data: Path) -> None:
    for i in range(0, 20, 3):
        (data / "cat" / f"{i:02}-broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    table = looked_at(data).table
    assert len(table.left_out) == 7
    for i, path in enumerate(table.paths):
        assert table.facts[i] == facts_of([sample_of(read_rgb(data / path), "PNG", "RGB")])[0]


@given(st.text("a./-_ 1Ä", min_size=1).filter(lambda name: not name.rstrip("/").endswith(".")))
def test_stems_and_suffixes_are_those_of_paths(name: str) -> None:
    path = PurePosixPath(f"folder/{name.strip('/') or 'a'}")
    assert stem_and_suffix(str(path)) == (path.stem, path.suffix)


@pytest.mark.skipif(os.name != "posix", reason="permissions")
def test_without_a_cache_the_findings_are_the_same(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo(4).save(data / "cat/04.bmp")
    first = looked_at(data)
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path / "file"))
    assert looked_at(data).findings == first.findings


# --- what is written -------------------------------------------------------------------------------------


def test_the_fix_list(data: Path, tmp_path: Path) -> None:
    names = ["an, empty.jpg", 'say "no".jpg']
    names += ["Icon\r", "two\nlines.jpg"] if os.name == "posix" else []  # the first is of macOS
    for name in names:
        (data / "cat" / name).write_bytes(b"")
    assert looked_at(data).write_fix_list(tmp_path / "out.csv") == len(names)
    with open(tmp_path / "out.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["path", "reason", "code"]
    assert sorted(rows[1:]) == [
        [f"cat/{name}", "the file is empty (0 bytes)", "HS-CHECK-001"] for name in sorted(names)
    ]
    left = looked_at(data, options=SourceOptions(exclude_list=tmp_path / "out.csv"))
    assert len(left.table.listing.excluded) == len(names) and left.findings == ()


def test_the_page_is_whole_safe_and_alone(data: Path, tmp_path: Path) -> None:
    shutil.copy(data / "cat/03.png", data / "cat/<script>alert(1)<.png")
    (data / "dog/empty.jpg").write_bytes(b"")
    draw(data / "Test/one.png", 70)
    write_page(looked_at(data), tmp_path / "page.html", name="<b>pets</b>")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<script>" not in text and "&lt;b&gt;pets&lt;/b&gt;" in text
    assert not re.search(r"""(?:src|href)=["'](?!data:)|url\(|https?:|@import""", text)
    images = re.findall(r"<img [^>]*>", text.partition('id="finding-1"')[2])
    assert len(images) == 2 and all('alt="Thumbnail of cat/' in tag for tag in images)
    assert "prefers-color-scheme: dark" in text and 'name="viewport"' in text
    for shown in ("HS-DATA-007", "HS-CHECK-030", "HS-CHECK-001", "headstart train refuses"):
        assert shown in text


def test_json_has_every_finding(data: Path) -> None:
    (data / "cat/empty.jpg").write_bytes(b"")
    told = looked_at(data).to_dict()
    assert told["usable"] is True and told["pictures"] == 48 and told["files"] == 49
    assert told["findings"][0] == {
        "code": "HS-CHECK-001",
        "severity": "warning",
        "what": "left out: 1 empty file",
        "count": 1,
        "mend": "Copy them again from where they came from.",
        "examples": [{"paths": ["cat/empty.jpg"], "text": "the file is empty (0 bytes)"}],
    }
