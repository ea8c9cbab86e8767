"""How pictures become square where nobody says, and what the evaluation view does not show."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import headstart
from headstart.data.check import check
from headstart.data.check_page import write_page
from headstart.data.dataset import load_dataset
from headstart.data.fit import long_class, lost_by_class, lost_share, lost_shares
from headstart.data.preprocess import Preprocess
from headstart.data.show import lost_line

SPEC = Preprocess(32, 36, "bilinear", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def draw(root: Path, name: str, n: int, size: tuple[int, int], first: int = 0) -> None:
    (root / name).mkdir(parents=True, exist_ok=True)
    for number in range(first, first + n):
        random = np.random.default_rng(number)
        coarse = Image.fromarray(random.integers(0, 256, (5, 6, 3), dtype=np.uint8))
        coarse.resize(size, Image.Resampling.BICUBIC).save(root / name / f"{number:03}.png")


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Squares, and strips of 3 : 1."""
    draw(tmp_path / "data", "cups", 24, (60, 60))
    draw(tmp_path / "data", "poles", 24, (40, 120), first=100)
    return tmp_path / "data"


def sizes(*pairs: tuple[int, int]) -> np.ndarray:
    return np.array(pairs, np.int32).reshape(-1, 2)


@pytest.mark.parametrize("size", [(640, 480), (480, 640), (600, 400), (1920, 1080), (400, 200), (7, 7)])
def test_ordinary_photographs_are_cropped(size: tuple[int, int]) -> None:
    assert long_class(sizes(size, size), np.zeros(2, np.int64), ("a",)) is None


def test_the_longest_class_is_named() -> None:
    both = sizes((100, 100), (300, 100), (100, 250), (100, 100))
    found = long_class(both, np.array([0, 1, 1, 0]), ("cups", "poles"))
    assert found is not None
    assert (found.name, found.ratio) == ("poles", 2.75)
    assert found.line("pad") == (
        "fit: pad, as the centre crop would cut away 64% of the median picture of 'poles' "
        "(its sides are 2.8 : 1); --fit crop does so anyway"
    )


def test_a_few_panoramas_decide_nothing() -> None:
    many = sizes(*[(400, 300)] * 5, *[(900, 100)] * 4)
    assert long_class(many, np.zeros(9, np.int64), ("a",)) is None
    assert long_class(sizes(), np.zeros(0, np.int64), ("a",)) is None


@given(st.integers(1, 500), st.integers(1, 500), st.sampled_from(["crop", "squash", "pad"]))
def test_what_is_lost_is_what_the_view_does_not_show(width: int, height: int, fit: str) -> None:
    spec = replace(SPEC, fit=fit)  # type: ignore[arg-type]
    lost = lost_share(width, height, spec)
    assert lost_shares(sizes((width, height), (9, 9)), spec)[0] == lost
    # Each pixel of the resized picture has a colour of its own value; those in the view are counted.
    w, h = spec.resized_size(width, height)
    numbered = np.zeros((h, w, 3), np.uint8)
    index = np.arange(1, w * h + 1).reshape(h, w)
    for channel in range(3):
        numbered[..., channel] = index >> (8 * channel) & 255
    view = spec.evaluation_crop(numbered).astype(np.int64)
    seen = np.unique(view[..., 0] + (view[..., 1] << 8) + (view[..., 2] << 16))
    shown = np.isin(index, seen).sum()
    if fit == "pad":  # the fill may have the colour of a pixel
        assert lost == 0 and shown == w * h
    else:
        assert lost == pytest.approx(1 - shown / (w * h))


def test_training_pads_long_pictures_and_says_why(mixed: Path) -> None:
    dataset, pictures = load_dataset(mixed, preprocess=SPEC, choose_fit=True)
    assert pictures.preprocess == replace(SPEC, fit="pad")
    assert pictures[0].shape[:2] == (32, 32) and pictures[47].shape[:2] == (32, 11)
    assert dataset.notes[0].startswith(
        "fit: pad, as the centre crop would cut away 67% of the median picture"
    )
    assert not any("the crop to" in note for note in dataset.notes)
    given_crop, cropped = load_dataset(mixed, preprocess=SPEC)
    assert cropped.preprocess == SPEC
    assert given_crop.fingerprint == dataset.fingerprint
    assert not any(note.startswith("fit:") for note in given_crop.notes)
    assert dataset.sizes[47].tolist() == [40, 120]


def test_only_pictures_that_train_decide(tmp_path: Path) -> None:
    for name in ("a", "b"):
        draw(tmp_path / "data/train", name, 10, (60, 60), first=ord(name))
        draw(tmp_path / "data/test", name, 10, (40, 160), first=10 * ord(name))
    _, pictures = load_dataset(tmp_path / "data", preprocess=SPEC, choose_fit=True)
    assert pictures.preprocess.fit == "crop"


def test_pictures_too_thin_for_the_crop_come_back(mixed: Path) -> None:
    Image.new("RGB", (1, 60_000), "red").save(mixed / "poles/hair.png")
    cropped, _ = load_dataset(mixed, preprocess=replace(SPEC, resize=100_000 // 60))
    padded, _ = load_dataset(mixed, preprocess=replace(SPEC, resize=100_000 // 60), choose_fit=True)
    assert "poles/hair.png" not in cropped.paths
    assert "poles/hair.png" in padded.paths
    checked = check(mixed, preprocess=replace(SPEC, resize=100_000 // 60), choose_fit=True)
    assert "poles/hair.png" in checked.table.paths
    assert checked.notes[0].startswith("fit: pad")


def test_a_check_and_its_page_show_what_the_network_sees(mixed: Path, tmp_path: Path) -> None:
    cropped = check(mixed, preprocess=SPEC)
    assert cropped.to_dict()["fit"] == "crop"
    lost = cropped.to_dict()["pixels_lost"]
    assert lost == {"cups": round(1 - 32**2 / 36**2, 4), "poles": round(1 - 32**2 / (36 * 108), 4)}
    write_page(cropped, tmp_path / "crop.html", name="data")
    text = (tmp_path / "crop.html").read_text(encoding="utf-8")
    assert "poles: 74% of the pixels are cut away" in text
    assert text.index("poles: 74%") < text.index("cups: 21%")
    assert "<td>74%</td>" in text and "<td>21%</td>" in text
    assert text.count('alt="What the network sees of ') == 4
    padded = check(mixed, preprocess=SPEC, choose_fit=True)
    assert padded.to_dict()["fit"] == "pad"
    assert padded.to_dict()["pixels_lost"] == {"cups": 0, "poles": 0}
    assert "HS-CHECK-043" in {f.code for f in cropped.findings}
    assert "HS-CHECK-043" not in {f.code for f in padded.findings}


def test_the_line_of_show() -> None:
    assert lost_line({"cups": 0.2, "poles": 0.75}, SPEC) == (
        "the evaluation view (crop, 32 x 32) cuts away, of the pixels: 75% of 'poles', 20% of 'cups'"
    )
    assert lost_line({"cups": 0.0}, replace(SPEC, fit="pad")) == (
        "the evaluation view (pad, 32 x 32) shows every pixel"
    )


def test_show_draws_the_view_that_training_would_choose(
    mixed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from headstart.data import gallery

    captions: list[str] = []
    caption = gallery._caption
    monkeypatch.setattr(
        gallery, "_caption", lambda page, text, *a: (captions.append(text), caption(page, text, *a))
    )
    headstart.show(mixed, tmp_path / "auto", img_size=32, per_class=1)
    assert "the evaluation view (pad, 32 x 32) shows every pixel" in capsys.readouterr().err
    assert captions == ["60 × 60", "40 × 120"]
    headstart.show(mixed, tmp_path / "crop", img_size=32, per_class=1, fit="crop")
    assert "(crop, 32 x 32) cuts away, of the pixels: " in capsys.readouterr().err
    assert captions[2:] == ["60 × 60 · 21% cut", "40 × 120 · 74% cut"]


def test_shares_of_classes() -> None:
    found = lost_by_class(sizes((10, 10), (10, 30)), np.array([1, 1]), ("none", "some"), SPEC)
    assert list(found) == ["some"]
