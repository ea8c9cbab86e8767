"""Resized pictures are the same from the cache, bit for bit, and are decoded once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from headstart.data import dataset as dataset_module
from headstart.data import preprocess as preprocessing
from headstart.data.cache import FOR_PICTURES, Cache
from headstart.data.dataset import Dataset, load_dataset
from headstart.data.pictures import Pictures
from headstart.data.preprocess import Preprocess
from shapes import draw_folder

SPEC = Preprocess(32, 36, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
ROOM = 10**9


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Pictures of all kinds: 8 and 16 bits, turned, palette, several sizes, one of them twice, one broken."""
    folder = tmp_path / "data"
    draw_folder(folder, {"train": 6, "test": 3})
    some = folder / "train" / "dots"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(some / "000.png").convert("RGB").save(some / "turned.jpg", exif=exif)
    Image.open(some / "001.png").convert("P").save(some / "palette.gif")
    grey = np.asarray(Image.open(some / "002.png").convert("L")).astype(np.uint16)
    Image.fromarray(grey * 16).save(some / "deep.png")
    (some / "copy.png").write_bytes((some / "003.png").read_bytes())
    (some / "broken.png").write_bytes((some / "004.png").read_bytes()[:200])
    Image.open(some / "005.png").resize((200, 50)).save(some / "wide.png")
    return folder


def load(data: Path, cache: Cache | None, **named: Any) -> tuple[Dataset, Pictures]:
    return load_dataset(data, preprocess=named.pop("preprocess", SPEC), cache=cache, **named)


def same(one: tuple[Dataset, Pictures], other: tuple[Dataset, Pictures]) -> None:
    assert one[0].notes == other[0].notes and one[0].findings == other[0].findings
    assert one[0].paths.tolist() == other[0].paths.tolist()
    assert one[0].fingerprint == other[0].fingerprint
    assert one[1].preprocess == other[1].preprocess
    for i in range(len(one[0])):
        assert np.array_equal(one[1][i], other[1][i])


def test_pixels_and_findings_are_the_same_without_with_and_from_the_cache(data: Path, tmp_path: Path) -> None:
    plain = load(data, None)
    first = load(data, Cache(ROOM, tmp_path / "cache"))
    second = load(data, Cache(ROOM, tmp_path / "cache"))
    same(plain, first)
    same(plain, second)
    assert "1 picture turned upright" in str(plain[0].findings)
    assert "12-bit" in str(plain[0].notes)
    assert first[1].at_hand == second[1].at_hand == len(plain[0])
    assert not second[1][0].flags.writeable


def test_the_second_run_decodes_nothing_but_what_is_new(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (data / "train" / "dots" / "deep.png").unlink()  # its range is looked for anew in each run
    (data / "train" / "dots" / "broken.png").unlink()
    load(data, Cache(ROOM, tmp_path / "cache"))
    decoded: list[int] = []
    plain = preprocessing.decode

    def counted(content: bytes, *rest: Any, **named: Any) -> Any:
        decoded.append(len(content))
        return plain(content, *rest, **named)

    monkeypatch.setattr(preprocessing, "decode", counted)
    load(data, Cache(ROOM, tmp_path / "cache"))
    assert decoded == []
    Image.new("RGB", (50, 60), "red").save(data / "train" / "dots" / "new.png")
    (data / "test" / "dots" / "000.png").rename(data / "test" / "dots" / "renamed.png")
    load(data, Cache(ROOM, tmp_path / "cache"))
    assert len(decoded) == 1
    load(
        data,
        Cache(ROOM, tmp_path / "cache"),
        preprocess=Preprocess(32, 40, *("bicubic", (0.5,) * 3, (0.5,) * 3)),
    )
    assert len(decoded) > 10


def test_another_picture_under_the_same_name_is_seen(data: Path, tmp_path: Path) -> None:
    before = load(data, Cache(ROOM, tmp_path / "cache"))
    row = before[0].paths.tolist().index("train/dots/005.png")
    Image.new("RGB", (70, 70), "blue").save(data / "train" / "dots" / "005.png")
    dataset, pictures = load(data, Cache(ROOM, tmp_path / "cache"))
    assert dataset.paths[row] == "train/dots/005.png"
    assert (pictures[row] == (0, 0, 255)).all()


@pytest.mark.parametrize("limit", [0, 12_000, 60_000])
def test_what_does_not_fit_is_decoded_at_each_use(data: Path, tmp_path: Path, limit: int) -> None:
    plain = load(data, None)
    for _ in range(2):
        limited = load(data, Cache(limit, tmp_path / "cache"), memory_limit=0)
        assert limited[1].at_hand < len(plain[0])
        assert "fit into cache and memory; the others are decoded at each use" in limited[0].notes[-1]
        for i in range(len(plain[0])):
            assert np.array_equal(plain[1][i], limited[1][i])
    used = sum(path.stat().st_size for path in (tmp_path / "cache").rglob("*.bin"))
    assert used <= limit


def test_beside_a_full_cache_little_stays_in_memory(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit, picture = 60_000, 3 * 36 * 36
    monkeypatch.setattr(dataset_module, "BESIDE_CACHE", 2 * picture)
    _, pictures = load(data, Cache(limit, tmp_path / "cache"))
    used = sum(path.stat().st_size for path in (tmp_path / "cache").rglob("*.bin"))
    assert 0 < used <= FOR_PICTURES * limit  # room is left for activations
    own = [kept for kept in pictures._kept if kept is not None and not isinstance(kept, np.memmap)]
    assert 0 < sum(kept.nbytes for kept in own) <= 2 * 2 * picture  # deep pictures: a pass of their own
    assert pictures.at_hand < len(pictures)


def test_the_size_is_announced(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load(data, Cache(ROOM, tmp_path / "cache"))
    said = capsys.readouterr().err
    assert f"pictures at 36 pixels, about 1 MB ({tmp_path / 'cache'}, at most 1.0 GB)" in said
    (data / "train" / "dots" / "deep.png").unlink()
    load(data, Cache(ROOM, tmp_path / "cache"))
    assert "pictures at 36 pixels" not in capsys.readouterr().err


def test_a_cache_that_cannot_be_written_changes_nothing(data: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    same(load(data, None), load(data, Cache(ROOM, tmp_path / "file" / "cache")))
