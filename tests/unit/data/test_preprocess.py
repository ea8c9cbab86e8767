"""Preprocessing equals torchvision's transforms on Pillow pictures, to the last bit."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from headstart.data.images import IntensityRange, UnreadableImage
from headstart.data.preprocess import Preprocess

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5)
PLAIN = Preprocess(32, 36, "bilinear", MEAN, STD)


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def torchvision_pipeline(spec: Preprocess, image: Image.Image) -> np.ndarray:
    from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Normalize, Resize, ToTensor

    size = spec.resize if spec.fit == "crop" else (spec.resize, spec.resize)
    steps = [Resize(size, InterpolationMode(spec.interpolation)), CenterCrop(spec.img_size)]
    return Compose([*steps, ToTensor(), Normalize(spec.mean, spec.std)])(image).numpy()


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("fit", ["crop", "squash"])
def test_equals_torchvision_bit_for_bit(interpolation: str, fit: str) -> None:
    random = np.random.default_rng(7)
    for case in range(40):
        width, height = (int(v) for v in random.integers(1, 300, 2))
        if fit == "crop" and max(width, height) > 12 * min(width, height):
            continue  # torchvision would make huge pictures of these
        img_size = int(random.integers(1, 130))
        resize = int(random.integers(max(1, img_size - 20), img_size + 60))
        mean, std = ((MEAN, STD), (HALF, HALF))[case % 2]
        spec = Preprocess(img_size, resize, interpolation, mean, std, fit)
        image = noise(width, height, case)
        ours = spec(image)
        assert ours.dtype == np.float32 and ours.shape == (3, img_size, img_size)
        assert np.array_equal(ours, torchvision_pipeline(spec, image)), (width, height, spec)


@pytest.mark.parametrize(("width", "height"), [(36, 36), (36, 80), (224, 224), (500, 375), (375, 500)])
@pytest.mark.parametrize(("img_size", "resize"), [(32, 36), (224, 256), (224, 224), (224, 200), (299, 342)])
def test_usual_sizes_equal_torchvision(width: int, height: int, img_size: int, resize: int) -> None:
    spec = Preprocess(img_size, resize, "bicubic", MEAN, STD)
    image = noise(width, height)
    assert np.array_equal(spec(image), torchvision_pipeline(spec, image))


def test_every_byte_value_is_standardised_as_torch_does() -> None:
    from torchvision.transforms import Compose, Normalize, ToTensor

    every = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, 2)
    for mean, std in ((MEAN, STD), (HALF, HALF), ((0.1, 0.2, 0.3), (1.0, 0.7, 0.011))):
        ours = replace(PLAIN, mean=mean, std=std).normalize(every)
        assert np.array_equal(ours, Compose([ToTensor(), Normalize(mean, std)])(every).numpy())


def test_batches_equal_single_pictures() -> None:
    batch = np.stack([np.asarray(noise(20, 18, seed)) for seed in range(5)])
    together = PLAIN.normalize(batch)
    assert together.shape == (5, 3, 18, 20) and together.dtype == np.float32
    assert together.flags.c_contiguous
    assert np.array_equal(together, np.stack([PLAIN.normalize(pixels) for pixels in batch]))
    assert PLAIN.normalize(batch[None]).shape == (1, 5, 3, 18, 20)


def test_resized_then_cropped_is_the_whole_path() -> None:
    image = noise(90, 61)
    pixels = PLAIN.resized(image)
    assert pixels.shape == (36, int(36 * 90 / 61), 3) and pixels.dtype == np.uint8
    assert np.array_equal(PLAIN.normalize(PLAIN.evaluation_crop(pixels)), PLAIN(image))


@pytest.mark.parametrize(("width", "height"), [(100, 40), (40, 100), (33, 33), (300, 2)])
def test_pad_keeps_the_whole_picture_on_the_mean_colour(width: int, height: int) -> None:
    spec = replace(PLAIN, fit="pad", resize=999)
    white = Image.new("RGB", (width, height), "white")
    assert max(spec.resized(white).shape[:2]) == 32
    seen = spec.evaluation_crop(spec.resized(white))
    assert seen.shape == (32, 32, 3)
    whole = (seen == 255).all(-1)
    share = min(width, height) / max(width, height)
    assert whole.sum() == pytest.approx(32 * max(1, round(32 * share)), abs=0)
    assert {tuple(colour) for colour in seen[~whole].tolist()} <= {(124, 116, 104)}
    assert np.abs(spec(white)[:, ~whole]).max(initial=0.0) < 0.02


def test_hair_thin_pictures_do_not_fill_the_memory() -> None:
    image = Image.new("RGB", (1, 60_000))
    with pytest.raises(UnreadableImage, match="too thin to be cropped") as caught:
        Preprocess(224, 256, "bilinear", MEAN, STD)(image)
    assert caught.value.kind == "too-large"
    assert Preprocess(224, 256, "bilinear", MEAN, STD, fit="pad")(image).shape == (3, 224, 224)


def test_json_round_trip() -> None:
    spec = replace(PLAIN, fit="squash", intensity=IntensityRange(0.0, 4095.0), crop=(0.1, 0.0, 0.5, 1.0))
    for value in (PLAIN, spec):
        assert Preprocess.from_dict(json.loads(json.dumps(value.to_dict()))) == value


def test_a_model_of_the_first_decoder_keeps_it() -> None:
    old = {**PLAIN.to_dict(), "decoder": 1}
    del old["crop"]
    assert Preprocess.from_dict(old) == replace(PLAIN, decoder=1)
    assert Preprocess.from_dict(Preprocess.from_dict(old).to_dict()).decoder == 1


def test_from_dict_refuses_what_it_does_not_know() -> None:
    values = PLAIN.to_dict()
    with pytest.raises(ValueError, match=r"unknown \['colour'\]"):
        Preprocess.from_dict({**values, "colour": "bgr"})
    with pytest.raises(ValueError, match=r"missing \['mean'\]"):
        Preprocess.from_dict({key: value for key, value in values.items() if key != "mean"})
    with pytest.raises(ValueError, match="decoder 99"):
        Preprocess.from_dict({**values, "decoder": 99})


@pytest.mark.parametrize(
    "wrong",
    [
        {"img_size": 0},
        {"interpolation": "nearest"},
        {"fit": "stretch"},
        {"std": (1.0, 0.0, 1.0)},
        {"crop": (0, 0, 5)},
        {"crop": (0, 0, 5, 0)},
        {"crop": (-1, 0, 5, 5)},
        {"decoder": 0},
    ],
)
def test_impossible_values_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        Preprocess.from_dict({**PLAIN.to_dict(), **wrong})
