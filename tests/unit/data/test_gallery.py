"""The pages of `headstart show`: the right pictures, the right views, legible names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headstart.data import gallery
from headstart.data.augment import AUGMENTATIONS
from headstart.data.dataset import Dataset, load_dataset
from headstart.data.pictures import Pictures
from headstart.data.preprocess import Preprocess
from headstart.data.views import Views
from headstart.errors import RunError

PREPROCESS = Preprocess(32, 36, "bilinear", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def colour(label: int, number: int) -> tuple[int, int, int]:
    return (20 * number + 10, 200 if label else 40, 90)


def make(root: Path, classes: tuple[str, ...], count: int, size: tuple[int, int] = (60, 30)) -> Path:
    for split in ("train", "test"):
        for label, name in enumerate(classes):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(count if split == "train" else 2):
                picture = Image.new(
                    "RGB", size, colour(label, number) if split == "train" else (0, 0, number)
                )
                picture.putpixel((0, 0), (label, number, 0))
                picture.save(folder / f"{number:02}.png")
    return root


def load(root: Path) -> tuple[Dataset, Pictures]:
    return load_dataset(root, preprocess=PREPROCESS, selection=0.2)


def height(path: Path) -> int:
    with Image.open(path) as page:
        return page.height


def tiles(page: Image.Image) -> np.ndarray:
    """Colours in the middle of the two rows of eight: int [2, 8, 3]."""
    step, half = gallery.LESSON_TILE + gallery.GAP, gallery.LESSON_TILE // 2
    pixels = np.asarray(page)
    column = pixels[:, gallery.MARGIN]
    tops = np.flatnonzero((column[1:] == (0xD8, 0xDC, 0xE1)).all(-1) & (column[:-1] == 255).all(-1)) + 1
    return np.array(
        [[pixels[top + half, gallery.MARGIN + i * step + half] for i in range(8)] for top in tops]
    )


def test_lesson_grid_shows_the_first_and_the_last_of_the_training_folder(tmp_path: Path) -> None:
    dataset, pictures = load(make(tmp_path / "food", ("hotdog", "not-hotdog"), 12))
    assert "selection" in dataset.splits, "what is set aside from train/ is still shown"
    gallery.draw_lesson_grid(dataset, pictures, tmp_path / "grid.png")
    seen = tiles(Image.open(tmp_path / "grid.png"))
    assert seen.tolist() == [
        [list(colour(0, number)) for number in range(8)],
        [list(colour(1, number)) for number in range(11, 3, -1)],
    ]


def test_lesson_grid_keeps_the_aspect_ratio(tmp_path: Path) -> None:
    dataset, pictures = load(make(tmp_path / "food", ("a", "b"), 8, size=(80, 20)))
    gallery.draw_lesson_grid(dataset, pictures, tmp_path / "grid.png")
    page = np.asarray(Image.open(tmp_path / "grid.png"))
    shown = (page == colour(0, 1)).all(-1)
    rows, columns = np.flatnonzero(shown.any(1)), np.flatnonzero(shown.any(0))
    assert np.ptp(columns) + 1 == pytest.approx(gallery.LESSON_TILE, abs=2)
    assert np.ptp(rows) + 1 == pytest.approx(gallery.LESSON_TILE / 4, abs=2)


def test_few_pictures_are_enough(tmp_path: Path) -> None:
    dataset, pictures = load(make(tmp_path / "few", ("a", "b"), 3))
    gallery.draw_lesson_grid(dataset, pictures, tmp_path / "grid.png")
    gallery.draw_class_samples(Views(dataset, pictures, AUGMENTATIONS["flip"]), tmp_path / "samples.png")
    assert tiles(Image.open(tmp_path / "grid.png"))[0, 3:].tolist() == [[255, 255, 255]] * 5


def test_the_sample_is_of_the_class_and_of_training(tmp_path: Path) -> None:
    dataset, _ = load(make(tmp_path / "food", ("a", "b"), 5))
    chosen = gallery.sample_of_class(dataset, 1, 2, seed=3)
    assert all(dataset.splits[i] == "train" and dataset.labels[i] == 1 for i in chosen)


def test_choice_is_deterministic_and_follows_the_seed(tmp_path: Path) -> None:
    dataset, pictures = load(make(tmp_path / "food", ("a", "b"), 12))
    pages = []
    for number, seed in enumerate((0, 0, 1)):
        path = tmp_path / f"{number}.png"
        gallery.draw_class_samples(Views(dataset, pictures, AUGMENTATIONS["d2l"], seed=seed), path)
        pages.append(path.read_bytes())
    assert pages[0] == pages[1] != pages[2]


def test_duplicates_are_shown_once(tmp_path: Path) -> None:
    root = make(tmp_path / "food", ("a", "b"), 6)
    for number in range(1, 6):
        (root / "train/a" / f"{number:02}.png").write_bytes((root / "train/a/00.png").read_bytes())
    dataset, _ = load_dataset(root, preprocess=PREPROCESS, selection=0)
    assert len(gallery.sample_of_class(dataset, 0, 4, seed=0)) == 1
    assert len(gallery.sample_of_class(dataset, 1, 4, seed=0)) == 4


def test_names_in_any_script_are_told_apart(tmp_path: Path) -> None:
    pages = []
    for name in ("猫", "狗", "बिल्ली", "قطة", "𓀀"):
        root = make(tmp_path / f"set-{len(pages)}", (name, "zz"), 4)
        dataset, pictures = load(root)
        path = tmp_path / f"{len(pages)}.png"
        gallery.draw_class_samples(Views(dataset, pictures, AUGMENTATIONS["none"]), path, name="same title")
        label = dataset.classes.index(name)
        page = Image.open(path).convert("L")
        left = gallery.MARGIN + gallery.LABEL_COLUMN
        left += label * (4 * (gallery.SAMPLE_TILE + gallery.GAP) - gallery.GAP + gallery.CLASS_GAP)
        pages.append(np.asarray(page.crop((left, 130, left + 60, 170))))
    assert all((page < 128).sum() > 20 for page in pages)
    assert len({page.tobytes() for page in pages}) == len(pages)


def test_many_classes_are_cut_and_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset, pictures = load(make(tmp_path / "many", tuple("abcdef"), 2))
    said: list[str] = []
    text = gallery._Page.text
    monkeypatch.setattr(
        gallery._Page, "text", lambda page, *a, **k: (said.append(a[0]), text(page, *a, **k))[1]
    )
    path = tmp_path / "page.png"
    gallery.draw_class_samples(Views(dataset, pictures, AUGMENTATIONS["none"]), path, max_classes=4)
    assert said[0] == "many"
    assert said[1] == "6 classes · 24 pictures · train 12, test 12 · the first 4 classes are shown"
    four = height(path)
    gallery.draw_class_samples(Views(dataset, pictures, AUGMENTATIONS["none"]), path)
    assert height(path) > four


def test_unwritable_place(tmp_path: Path) -> None:
    dataset, pictures = load(make(tmp_path / "food", ("a", "b"), 2))
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(RunError):
        gallery.draw_lesson_grid(dataset, pictures, tmp_path / "file" / "grid.png")
