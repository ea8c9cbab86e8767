"""The views of training and evaluation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headstart.data.augment import AUGMENTATIONS, augment
from headstart.data.dataset import Dataset, load_dataset
from headstart.data.pictures import Pictures
from headstart.data.preprocess import Preprocess
from headstart.data.views import Views

SIZE = 32


@pytest.fixture
def wide(tmp_path: Path) -> Path:
    """Two classes of noise, 90 x 60 pixels."""
    random = np.random.default_rng(0)
    for name in ("a", "b"):
        folder = tmp_path / "wide" / name
        folder.mkdir(parents=True)
        for i in range(6):
            Image.fromarray(random.integers(0, 256, (60, 90, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    return tmp_path / "wide"


def loaded(folder: Path, fit: str = "crop") -> tuple[Dataset, Pictures]:
    preprocess = Preprocess(
        img_size=SIZE, resize=36, interpolation="bilinear", mean=(0.5,) * 3, std=(0.5,) * 3, fit=fit
    )
    return load_dataset(folder, preprocess=preprocess, selection=0)


def test_the_evaluation_view_is_that_of_prediction(wide: Path) -> None:
    dataset, pictures = loaded(wide)
    view = Views(dataset, pictures, AUGMENTATIONS["default"]).evaluation(3)
    normalised = pictures.preprocess(pictures.original(3))
    assert np.array_equal(pictures.preprocess.normalize(view), normalised)


@pytest.mark.parametrize("from_originals", [False, True])
def test_random_views_are_cut_where_the_recipe_says(wide: Path, from_originals: bool) -> None:
    dataset, pictures = loaded(wide)
    views = Views(dataset, pictures, AUGMENTATIONS["d2l"], from_originals, seed=7)
    source = np.asarray(pictures.original(2)) if from_originals else pictures[2]
    expected = augment(
        source,
        SIZE,
        AUGMENTATIONS["d2l"],
        seed=7,
        epoch=4,
        sample_id=str(dataset.file_hashes[2]),
        interpolation="bilinear",
    )
    assert np.array_equal(views.random(2, 4), expected)
    assert not np.array_equal(views.random(2, 5), expected)


def test_a_padded_picture_is_turned_with_its_borders(wide: Path) -> None:
    dataset, pictures = loaded(wide, fit="pad")
    view = Views(dataset, pictures, AUGMENTATIONS["none"]).random(0, 1)
    assert np.array_equal(view, pictures.preprocess.evaluation_crop(pictures[0]))
    assert (view[0] == view[0, 0]).all()
