"""Whether an exported model answers as the saved weights do: from files to probabilities, side by side.

The reference is the fp32 eager forward of the saved weights, which all published figures come from. The other
side knows nothing but the exported file: preprocessing, temperature and the order of classes come from its
metadata.
"""

from __future__ import annotations

import contextlib
import io
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from headstart.data.images import UnreadableImage
from headstart.data.preprocess import Preprocess
from headstart.deployment.onnx_check import ForeignGraphError
from headstart.deployment.onnx_file import FEATURES, INPUT, LOGITS, card_of
from headstart.errors import ModelError
from headstart.model.card import Card

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

    from headstart.model.classifier import Classifier

BATCHES = (1, 2, 7)
"""Pictures at a time, in turn."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Tolerance:
    """What may differ.

    Attributes:
        probability: Largest difference of a probability, 0-1.
        margin: The most probable class may be another one where the reference puts both closer than this.
        feature: Largest difference of a feature, as a share of the largest feature.
    """

    probability: float
    margin: float
    feature: float


TOLERANCES: Mapping[str, Tolerance] = {
    # Rounding alone: sums in another order, BatchNorm folded in.
    "fp32": Tolerance(1e-4, 2e-4, 1e-3),
    # 11 bits of mantissa: some hundredths in a logit of 10.
    "fp16": Tolerance(2e-2, 4e-2, 5e-2),
}


@dataclass(frozen=True)
class Parity:
    """How far the two sides are apart; stored in the card as ``parity``.

    Attributes:
        pictures: Of the run, from the bytes of their files.
        drawn: Odd pictures that were drawn for this: grey, transparent, a single pixel, hair-thin, ...
        batches: Pictures at a time.
        max_probability_difference: Of any class of any picture, 0-1.
        top1_disagreements: Pictures whose most probable class is another one.
        max_top1_margin: How far the reference puts the two classes apart, at most, in those; 0 without any.
        max_feature_difference: As a share of the largest feature.
    """

    pictures: int
    drawn: int
    batches: tuple[int, ...]
    max_probability_difference: float
    top1_disagreements: int
    max_top1_margin: float
    max_feature_difference: float

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "batches": list(self.batches)}

    def faults(self, tolerance: Tolerance) -> list[str]:
        """What is beyond the tolerance, in words."""
        found = []
        if not self.max_probability_difference <= tolerance.probability:
            found.append(
                f"a probability differs by {self.max_probability_difference:.2g}, "
                f"more than {tolerance.probability:g}"
            )
        if not self.max_top1_margin <= tolerance.margin:
            found.append(
                f"the most probable class of {self.top1_disagreements} of {self.pictures + self.drawn} "
                f"pictures is another one, by up to {self.max_top1_margin:.2g}, "
                f"more than {tolerance.margin:g}"
            )
        if not self.max_feature_difference <= tolerance.feature:
            found.append(
                f"a feature differs by {self.max_feature_difference:.2g} of the largest, "
                f"more than {tolerance.feature:g}"
            )
        return found


def odd_pictures() -> dict[str, bytes]:
    """Files of pictures that are unlike photos, by name: what preprocessing and networks stumble over."""
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (97, 151, 3), dtype=np.uint8))
    rgba = Image.fromarray(rng.integers(0, 256, (40, 60, 4), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    drawn: dict[str, tuple[Image.Image, str, dict[str, Any]]] = {
        "black": (Image.new("RGB", (64, 64)), "PNG", {}),
        "white": (Image.new("RGB", (64, 64), (255, 255, 255)), "PNG", {}),
        "single pixel": (Image.new("RGB", (1, 1), (200, 30, 90)), "PNG", {}),
        "hair-thin": (noise.resize((600, 3)), "PNG", {}),
        "grey": (noise.convert("L"), "PNG", {}),
        "transparent": (rgba, "PNG", {}),
        "palette": (noise.convert("P"), "PNG", {}),
        "turned": (noise, "JPEG", {"exif": exif, "quality": 90}),
        "CMYK": (noise.convert("CMYK"), "JPEG", {"quality": 90}),
    }
    files = {}
    for name, (image, kind, options) in drawn.items():
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        files[name] = buffer.getvalue()
    return files


def input_of(data: bytes, preprocess: Preprocess) -> NDArray[np.float32] | None:
    """The network's input of a file, float32 [3, S, S]; None where it cannot be read."""
    try:
        return preprocess(preprocess.rgb(data))
    except UnreadableImage:
        return None


def inputs(files: Iterable[bytes], preprocess: Preprocess) -> Iterator[NDArray[np.float32]]:
    """Those of all files that can be read, one at a time."""
    for data in files:
        if (picture := input_of(data, preprocess)) is not None:
            yield picture


def in_turns(count: int, sizes: Sequence[int] = BATCHES) -> Iterator[list[int]]:
    """The numbers below ``count`` in batches of these sizes in turn; each size comes at least once.

    The first numbers come again where they are too few.
    """
    done = 0
    for turn, size in enumerate(itertools.cycle(sizes)):
        if done >= count and turn >= len(sizes):
            return
        yield [i % count for i in range(done, done + size)]
        done += size


def compare(
    model: Classifier,
    card: Card,
    session: InferenceSession,
    files: Sequence[bytes],
    drawn: Sequence[bytes],
    *,
    advance: Callable[[int], object] | None = None,
) -> Parity:
    """Both sides on the same files.

    Args:
        model: The saved weights, fp32.
        card: Of the bundle.
        session: The exported file.
        files: Pictures of the run.
        drawn: Others; those that the model cannot read are left out.
        advance: Called with the number of pictures just compared.

    Raises:
        ModelError: HS-EXPORT-003, the exported file gives values that are not finite, or of another shape;
            HS-MODEL-050, the saved weights do.
    """
    from headstart.model.answers import softmax
    from headstart.model.forward import answers_of

    own = card_of(session)
    here, there = Preprocess.from_dict(card["preprocess"]), Preprocess.from_dict(own["preprocess"])
    order = [own["classes"].index(name) for name in card["classes"]]
    readable = [[data for data in part if input_of(data, here) is not None] for part in (files, drawn)]
    every = [*readable[0], *readable[1]]
    probability = feature = largest = 0.0
    apart: dict[int, float] = {}  # number of a picture with another class -> margin of the reference
    for numbers in in_turns(len(every)):
        pixels, own_pixels = (
            [picture for i in numbers if (picture := input_of(every[i], side)) is not None]
            for side in (here, there)
        )
        if len(own_pixels) != len(numbers):
            raise failed(["it does not read the files that the saved model reads"])
        expected = answers_of(model, np.stack(pixels))
        logits, features = answers(session, np.stack(own_pixels))
        if logits.shape != expected.logits.shape or features.shape != expected.features.shape:
            raise failed([f"its outputs are {logits.shape} and {features.shape}"])
        if not (np.isfinite(logits).all() and np.isfinite(features).all()):
            raise failed(["it answers with values that are not finite"])
        p = softmax(expected.logits, float(card.get("temperature", 1.0)))
        q = softmax(logits[:, order], float(own.get("temperature", 1.0)))
        probability = max(probability, float(np.abs(p - q).max()))
        feature = max(feature, float(np.abs(features - expected.features).max()))
        largest = max(largest, float(np.abs(expected.features).max()))
        for number, margin in zip(numbers, margins(p, q), strict=True):
            if margin is not None:
                apart[number] = max(margin, apart.get(number, 0.0))
        if advance is not None:
            advance(len(numbers))
    return Parity(
        pictures=len(readable[0]),
        drawn=len(readable[1]),
        batches=BATCHES,
        max_probability_difference=probability,
        top1_disagreements=len(apart),
        max_top1_margin=max(apart.values(), default=0.0),
        max_feature_difference=feature / largest if largest else 0.0,
    )


def margins(reference: Floats, found: Floats) -> list[float | None]:
    """Of each picture whose most probable class is another one: how far the reference puts both apart.

    Args:
        reference: Probabilities [n, C].
        found: The same of the other side.
    """
    first, second = reference.argmax(axis=1), found.argmax(axis=1)
    rows = zip(reference, first, second, strict=True)
    return [None if a == b else float(row[a] - row[b]) for row, a, b in rows]


def answers(
    session: InferenceSession, pixels: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Logits [n, C] and features [n, D] of pictures float32 [n, 3, S, S]."""
    logits, features = session.run([LOGITS, FEATURES], {INPUT: pixels})
    return logits, features


@contextlib.contextmanager
def running() -> Iterator[None]:
    """Around what is done with an exported file: what onnxruntime or `onnx_check` refuses is none.

    Raises:
        ModelError: HS-EXPORT-003.
    """
    try:
        yield
    except ForeignGraphError as error:
        raise failed(error.faults) from error
    except Exception as error:
        if not type(error).__module__.startswith("onnxruntime"):
            raise
        raise failed([f"onnxruntime: {str(error).splitlines()[0]}"]) from error


def failed(faults: Sequence[str]) -> ModelError:
    """The refusal of an exported model."""
    return ModelError(
        "HS-EXPORT-003",
        "The exported model does not answer as the saved one does: it was not kept.",
        details=faults,
        fix="Predict with torch, as before. Report it with the name of the network and the versions.",
    )
