"""What a person hands over to be predicted: files, folders, pictures in memory; one entry for each."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from headstart.data.images import (
    HEAD_BYTES,
    PICTURE_SUFFIXES,
    RANGE_GUESSED,
    IntensityRange,
    Picture,
    UnreadableImage,
    fault_of,
    pillow_set_up,
    read_file,
    recognise,
    to_rgb,
    with_profile,
)
from headstart.data.listing import is_ignored, path_order
from headstart.data.preprocess import Preprocess
from headstart.errors import DataError

Pixels = NDArray[np.generic]
Input = str | os.PathLike[str] | bytes | Image.Image | Pixels
Inputs = Input | Iterable[Input]

CLIPPED = "intensities outside the model's range were clipped"


@dataclass(frozen=True)
class Source:
    """One input. ``path`` is as given (files of a folder: folder/name), "" for pictures in memory."""

    path: str
    content: Path | bytes | Image.Image


@dataclass(frozen=True)
class Listing:
    """All inputs in order; ``passed_over`` counts the files of folders that are no pictures."""

    sources: tuple[Source, ...]
    passed_over: int = 0


def listed(inputs: Inputs) -> Listing:
    """One `Source` for each picture: folders are walked recursively, in order of names.

    A file named explicitly always gives an entry, readable or not. Of a folder, the files that are
    pictures by content or by name do; hidden and system names are skipped as in training.

    Args:
        inputs: A path, encoded bytes, a PIL picture, an array, or several of them. Arrays: uint8
            [H, W], [H, W, 3] or [H, W, 4]; uint16, int32 or float32 [H, W]; uint8 [n, H, W, 3].

    Raises:
        DataError: HS-PREDICT-003, an input of another kind; HS-PREDICT-004, folders without pictures.
    """
    sources: list[Source] = []
    empty: list[str] = []
    passed_over = 0
    for one in _several(inputs):
        if not isinstance(one, str | os.PathLike):
            sources.append(Source("", one if isinstance(one, bytes) else _picture(one)))
        elif not Path(one).is_dir():
            sources.append(Source(os.fspath(one), Path(one)))
        else:
            before = len(sources)
            for path in _files(Path(one), ()):
                if _looks_like_a_picture(path):
                    sources.append(Source(str(path), path))
                else:
                    passed_over += 1
            if len(sources) == before:
                empty.append(os.fspath(one))
    if empty:
        raise DataError(
            "HS-PREDICT-004",
            "There are no pictures in the folder." if len(empty) == 1 else "Folders without pictures.",
            where=empty[0] if len(empty) == 1 else "",
            details=empty if len(empty) > 1 else (),
            fix="Name a folder that holds JPEG, PNG, TIFF, WebP, GIF or BMP files.",
        )
    return Listing(tuple(sources), passed_over)


def read(source: Source, preprocess: Preprocess) -> tuple[Image.Image, str]:
    """The picture as RGB (its part, where the model has a crop), and a note on its intensities ("" for none).

    Raises:
        UnreadableImage: as `headstart.data.preprocess.Preprocess.rgb`.
    """
    content = source.content
    if isinstance(content, Image.Image):
        picture = Picture(_upright(content))
        if preprocess.decoder > 1:
            picture = with_profile(picture)
        picture = preprocess.cropped(picture)
    else:
        picture = preprocess.decoded(content if isinstance(content, bytes) else read_file(content))
    return to_rgb(picture, preprocess.intensity), _note(picture, preprocess.intensity)


def _upright(image: Image.Image) -> Image.Image:
    """The picture as a person holds it; the one given stays as it is."""
    with pillow_set_up():
        try:
            image.load()
        except Exception as error:  # opened from a file, but not read until now
            raise fault_of(image.format or "picture", error) from None
        try:
            return ImageOps.exif_transpose(image)
        except Exception:  # damaged metadata beside sound pixels
            return image


def _note(picture: Picture, intensity: IntensityRange | None) -> str:
    extremes = picture.extremes()
    if extremes is None:
        return ""
    if intensity is None:
        return RANGE_GUESSED
    return CLIPPED if extremes.low < intensity.black or extremes.high > intensity.white else ""


def _several(inputs: Inputs) -> Iterator[Input]:
    if isinstance(inputs, str | os.PathLike | bytes | Image.Image):
        yield inputs
    elif isinstance(inputs, np.ndarray):
        yield from inputs if inputs.ndim == 4 else (inputs,)
    elif isinstance(inputs, Iterable):
        yield from inputs
    else:
        raise _wrong_kind(inputs)


def _picture(one: object) -> Image.Image:
    if isinstance(one, Image.Image):
        return one
    if isinstance(one, np.ndarray) and one.size:
        colour = one.ndim == 3 and one.shape[2] in (3, 4) and one.dtype == np.uint8
        grey = one.ndim == 2 and one.dtype in (np.uint8, np.uint16, np.int32, np.float32)
        if colour or grey:
            return Image.fromarray(np.ascontiguousarray(one))
    raise _wrong_kind(one)


def _wrong_kind(one: object) -> DataError:
    kind = f"an array {one.dtype} {list(one.shape)}" if isinstance(one, np.ndarray) else type(one).__name__
    return DataError(
        "HS-PREDICT-003",
        f"This cannot be predicted: {kind}.",
        fix="Give paths, encoded bytes, PIL pictures, or arrays: uint8 [H, W, 3], or [H, W] of uint8, "
        "uint16, int32 or float32.",
    )


def _files(folder: Path, above: tuple[str, ...]) -> Iterator[Path]:
    """All files below, in order of names; links that lead back up are not followed."""
    real = os.path.realpath(folder)
    if real in above:
        return
    try:
        paths = sorted(folder.iterdir(), key=lambda path: path_order(path.name))
    except OSError as error:
        raise DataError(
            "HS-PREDICT-005", f"The folder cannot be read: {error.strerror or error}.", where=folder
        ) from error
    for path in paths:
        is_folder = path.is_dir()
        if is_ignored(path.name, is_folder):
            continue
        if is_folder:
            yield from _files(path, (*above, real))
        else:
            yield path


def _looks_like_a_picture(path: Path) -> bool:
    if path.suffix.lower() in PICTURE_SUFFIXES:
        return True
    try:
        with open(path, "rb") as file:
            recognise(file.read(HEAD_BYTES))
    except UnreadableImage as error:
        return error.kind == "unsupported"
    except OSError:
        return True  # it gets a row that says why it cannot be read
    return True
