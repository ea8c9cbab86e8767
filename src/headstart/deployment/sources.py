"""What a person hands over to be predicted: files, folders, pictures in memory; one entry for each.

Folders are read as they come, and of one folder at a time the names are held: millions of files take no more
memory than the fullest folder has names.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
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
from headstart.data.listing import is_folder, is_ignored, nfc, path_order
from headstart.data.preprocess import Preprocess
from headstart.errors import DataError, UsageError

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


@dataclass(frozen=True)
class Shard:
    """One of several parts of the same pictures, which are disjoint and together complete.

    A picture's part is decided by its name below the folder that was given, not by its place: each machine
    finds its own part alone, wherever the folder is mounted, and files that are added move no other one.

    Attributes:
        number: From 1.
        count: How many parts there are.
    """

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Reads ``3/8``.

        Raises:
            UsageError: HS-PREDICT-044.
        """
        number, slash, count = text.partition("/")
        if slash and number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count):
            return cls(int(number), int(count))
        raise UsageError(
            "HS-PREDICT-044",
            f"'{text}' is no part of the pictures.",
            fix="Number and count, such as --shard 3/8: the third of eight parts.",
        )

    def holds(self, name: str) -> bool:
        """Whether a picture of this name, with ``/`` between folders, belongs to the part."""
        digest = hashlib.blake2b(nfc(name).encode("utf-8", "surrogateescape"), digest_size=8).digest()
        return int.from_bytes(digest, "big") % self.count == self.number - 1


class Walk:
    """One `Source` for each picture, found while they are asked for; see `listed`.

    Args:
        inputs: As for `listed`. Those that can be looked at twice are checked at once.
        shard: Only these.

    Attributes:
        passed_over: How many files of the folders were no pictures so far.

    Raises:
        DataError: as `listed`.
    """

    def __init__(self, inputs: Inputs, shard: Shard | None = None) -> None:
        self.passed_over = 0
        self._inputs = inputs
        self._shard = shard
        if isinstance(inputs, os.PathLike | Sequence):
            empty = [os.fspath(one) for one in _folders(inputs) if not any(map(_is_picture, _files(one)))]
            if empty:
                raise _without_pictures(empty)

    def __iter__(self) -> Iterator[Source]:
        self.passed_over = 0
        for one in _several(self._inputs):
            if not isinstance(one, str | os.PathLike):
                yield Source("", one if isinstance(one, bytes) else _picture(one))
            elif not Path(one).is_dir():
                if self._holds(os.fspath(one).replace(os.sep, "/")):
                    yield Source(os.fspath(one), Path(one))
            else:
                yield from self._below(one)

    def covers(self, path: str) -> bool:
        """Whether a picture of this path may be among the inputs; nothing is looked up."""
        for one in _several(self._inputs):
            if isinstance(one, str | os.PathLike):
                if path == os.fspath(one) and self._holds(path.replace(os.sep, "/")):
                    return True
                before = _before_names(one)
                name = path.removeprefix(before)
                if (name != path or not before) and self._holds(name.replace(os.sep, "/")):
                    return True
        return False

    def _below(self, folder: str | os.PathLike[str]) -> Iterator[Source]:
        found = False
        for file in _files(folder):
            if not self._holds(file.name):
                found = True  # or its part would say that there are none
            elif _is_picture(file):
                found = True
                yield Source(file.path, Path(file.path))
            else:
                self.passed_over += 1
        if not found:
            raise _without_pictures([os.fspath(folder)])

    def _holds(self, name: str) -> bool:
        return self._shard is None or self._shard.holds(name)


def listed(inputs: Inputs) -> Listing:
    """One `Source` for each picture: folders are walked recursively, in order of names.

    A file named explicitly always gives an entry, readable or not. Of a folder, the files that are
    pictures by content or by name do; hidden and system names are skipped as in training.

    Args:
        inputs: A path, encoded bytes, a PIL picture, an array, or several of them. Arrays: uint8
            [H, W], [H, W, 3] or [H, W, 4]; uint16, int32 or float32 [H, W]; uint8 [n, H, W, 3].

    Raises:
        DataError: HS-PREDICT-003, an input of another kind; HS-PREDICT-004, folders without pictures;
            HS-PREDICT-005, a folder cannot be read.
    """
    walk = Walk(inputs)
    return Listing(tuple(walk), walk.passed_over)


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


@dataclass(frozen=True, slots=True)
class _File:
    """``path`` as a person would give it; ``name`` below the folder that was given, with ``/``."""

    path: str
    name: str


def _folders(inputs: Inputs) -> Iterator[str | os.PathLike[str]]:
    for one in _several(inputs):
        if isinstance(one, str | os.PathLike) and Path(one).is_dir():
            yield one


def _files(folder: str | os.PathLike[str]) -> Iterator[_File]:
    """All files below, in order of names; links that lead back up are not followed.

    Raises:
        DataError: HS-PREDICT-005.
    """
    yield from _files_below(str(Path(folder)), _before_names(folder), "", ())


def _before_names(folder: str | os.PathLike[str]) -> str:
    """What stands before the names below a folder: ``photos/``; nothing for the folder that one is in."""
    path = str(Path(folder))
    return "" if path == os.curdir else path if path.endswith(os.sep) else path + os.sep


def _files_below(folder: str, path: str, name: str, above: tuple[str, ...]) -> Iterator[_File]:
    """As `_files`; ``path`` and ``name`` are what stands before the names in this folder."""
    real = os.path.realpath(folder)
    if real in above:
        return
    names: list[str] = []
    folders: set[str] = set()
    try:
        with os.scandir(folder) as items:
            for item in items:
                deeper = is_folder(item)
                if not is_ignored(item.name, deeper):
                    names.append(item.name)
                    if deeper:
                        folders.add(item.name)
    except OSError as error:
        raise DataError(
            "HS-PREDICT-005", f"The folder cannot be read: {error.strerror or error}.", where=folder
        ) from error
    names.sort(key=None if all(map(str.isascii, names)) else path_order, reverse=True)
    while names:
        own = names.pop()
        if own in folders:
            yield from _files_below(path + own, f"{path}{own}{os.sep}", f"{name}{own}/", (*above, real))
        else:
            yield _File(path + own, name + own)


def _is_picture(file: _File) -> bool:
    """By name, or by content."""
    if Path(file.name).suffix.lower() in PICTURE_SUFFIXES:
        return True
    try:
        with open(file.path, "rb") as opened:
            recognise(opened.read(HEAD_BYTES))
    except UnreadableImage as error:
        return error.kind == "unsupported"
    except OSError:
        return True  # it gets a row that says why it cannot be read
    return True


def _without_pictures(folders: list[str]) -> DataError:
    one = len(folders) == 1
    return DataError(
        "HS-PREDICT-004",
        "There are no pictures in the folder." if one else "Folders without pictures.",
        where=folders[0] if one else "",
        details=() if one else folders,
        fix="Name a folder that holds JPEG, PNG, TIFF, WebP, GIF or BMP files.",
    )
