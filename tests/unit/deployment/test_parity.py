"""How an exported model is compared, and how timm reads pictures as headstart does."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from headstart.data.preprocess import Preprocess
from headstart.deployment.onnx_check import ForeignGraphError
from headstart.deployment.parity import (
    TOLERANCES,
    Parity,
    in_turns,
    input_of,
    margins,
    odd_pictures,
    running,
)
from headstart.deployment.timm_folder import CROPS, crop_share
from headstart.errors import ModelError


def preprocess(img_size: int, resize: int, fit: str = "crop") -> Preprocess:
    return Preprocess(img_size, resize, "bicubic", (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), fit=fit)


@given(st.integers(1, 100))
def test_each_picture_and_each_batch_size_has_its_turn(count):
    batches = list(in_turns(count))
    assert {len(batch) for batch in batches} == {1, 2, 7}
    assert {number for batch in batches for number in batch} == set(range(count))
    assert len(batches) == 3 or sum(map(len, batches[:-1])) < count


def test_margins_are_those_of_the_reference():
    reference = np.array([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.4, 0.35, 0.25]])
    found = np.array([[0.5, 0.4, 0.1], [0.2, 0.3, 0.5], [0.3, 0.4, 0.3]])
    assert margins(reference, found) == [None, pytest.approx(0.2), pytest.approx(0.05)]


@pytest.mark.parametrize(
    ("difference", "margin", "feature", "faults"),
    [
        (1e-4, 2e-4, 1e-3, 0),
        (1.01e-4, 0.0, 0.0, 1),
        (0.0, 2.1e-4, 0.0, 1),
        (0.0, 0.0, 1.1e-3, 1),
        (math.nan, math.nan, math.nan, 3),
    ],
)
def test_what_is_refused_in_fp32(difference, margin, feature, faults):
    parity = Parity(64, 9, (1, 2, 7), difference, int(margin > 0), margin, feature)
    assert len(parity.faults(TOLERANCES["fp32"])) == faults


@pytest.mark.parametrize("fit", ["crop", "squash", "pad"])
def test_drawn_pictures_can_be_read(fit):
    read = {
        name for name, data in odd_pictures().items() if input_of(data, preprocess(64, 73, fit)) is not None
    }
    assert read == set(odd_pictures())


@given(st.integers(16, 1100), st.floats(0.5, 1))
def test_timm_resizes_to_the_same_size(img_size, share):
    see = preprocess(img_size, math.floor(img_size / share))
    assert math.floor(img_size / crop_share(see)) == see.resize


@pytest.mark.parametrize("fit", ["crop", "squash", "pad"])
@pytest.mark.parametrize("size", [(151, 97), (90, 200), (64, 64)])
def test_timm_sees_the_same_pixels(fit, size):
    from timm.data import create_transform

    see = preprocess(64, 73, fit)
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), dtype=np.uint8))
    view = create_transform(
        (3, 64, 64),
        interpolation="bicubic",
        mean=see.mean,
        std=see.std,
        crop_pct=crop_share(see),
        crop_mode=CROPS[fit],
    )
    np.testing.assert_allclose(view(image).numpy(), see(image), atol=1e-5)


def test_an_export_that_predict_would_refuse_is_refused_here() -> None:
    with pytest.raises(ModelError, match="HS-EXPORT-003") as caught, running():
        raise ForeignGraphError(["it has the operator 'Loop', which no export has"])
    assert "it has the operator 'Loop'" in str(caught.value)
