"""A graph in 8-bit integers, and what that costs in accuracy.

Static quantisation of onnxruntime: weights per channel in int8, activations in uint8, with the extremes of
training pictures as their range; written as QDQ (QuantizeLinear, DequantizeLinear), which onnxruntime fuses
into integer operators. The head stays in fp32: it takes less than a hundredth of the time.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from headstart import metrics
from headstart.deployment.onnx_file import INPUT, LOGITS
from headstart.errors import ModelError

if TYPE_CHECKING:
    from onnx import ModelProto

HEAD = "model.head."
"""How the exporter names the tensors of the output layer."""

CALIBRATION = 64
"""Training pictures whose activations set the ranges."""

Bools = NDArray[np.bool_]


def quantised(graph: ModelProto, pictures: Iterable[NDArray[np.float32]]) -> ModelProto:
    """The graph in 8-bit integers; its input and outputs stay float32.

    Args:
        graph: In float32. Left as it is.
        pictures: Float32 [3, S, S], which set the ranges of the activations.
    """
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    copied = onnx.ModelProto()
    copied.CopyFrom(graph)
    head = [
        node.name
        for node in graph.graph.node
        if LOGITS in node.output or any(name.startswith(HEAD) for name in node.input)
    ]
    with tempfile.TemporaryDirectory() as folder, quiet():
        path = Path(folder) / "int8.onnx"
        quantize_static(
            copied,
            path,
            Reader(pictures),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=head,
        )
        found: ModelProto = onnx.load(path)
    return found


class Reader:
    """Pictures for onnxruntime's calibration, one at a time."""

    def __init__(self, pictures: Iterable[NDArray[np.float32]]) -> None:
        self._left = iter(pictures)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        """The next input, None at the end; the name is onnxruntime's."""
        picture = next(self._left, None)
        return None if picture is None else {INPUT: picture[None]}


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the advice that onnxruntime logs at the root: the graph has its shapes already."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


@dataclass(frozen=True)
class Drop:
    """Accuracy of one side minus accuracy of the other on the same pictures.

    Attributes:
        name: Of the class; empty for all pictures.
        n: Pictures.
        before, after: Accuracy of the saved weights, and of the exported model, 0-1.
        drop: ``before - after``.
        interval_95: Of the drop.
    """

    name: str
    n: int
    before: float
    after: float
    drop: float
    interval_95: tuple[float, float]

    @classmethod
    def of(cls, before: Bools, after: Bools, name: str = "") -> Drop:
        """From which pictures each side has right, bool [n], n >= 1."""
        drop, interval = metrics.paired_difference(before, after)
        return cls(name, len(before), float(before.mean()), float(after.mean()), drop, interval)

    def beyond(self, limit: float) -> bool:
        """Whether the drop is too large: of all pictures by itself, of a class if it is no chance, too."""
        return self.drop > limit + 1e-12 and (not self.name or self.interval_95[0] > 0)

    def row(self) -> tuple[str, str, str, str]:
        """For a person: name and n, both accuracies, the drop with its interval."""
        low, high = self.interval_95
        drop = f"{self.drop:+.3f} ({low:+.3f} to {high:+.3f})"
        return f"{self.name or 'all'} (n = {self.n:,})", f"{self.before:.3f}", f"{self.after:.3f}", drop

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "n": self.n,
            "before": self.before,
            "after": self.after,
            "drop": self.drop,
            "interval_95": list(self.interval_95),
        }


def drops(truth: Sequence[str], before: Sequence[str], after: Sequence[str]) -> list[Drop]:
    """The drop on all pictures, then that of each class that has some.

    Args:
        truth: The class of each picture.
        before: What the saved weights answer.
        after: What the exported model answers.
    """
    classes = np.array(truth, dtype=object)
    right_before = np.asarray(np.array(before, dtype=object) == classes, dtype=bool)
    right_after = np.asarray(np.array(after, dtype=object) == classes, dtype=bool)
    found = [Drop.of(right_before, right_after)]
    for name in sorted(set(truth)):
        own = np.asarray(classes == name, dtype=bool)
        found.append(Drop.of(right_before[own], right_after[own], name))
    return found


def check(found: Sequence[Drop], limit: float) -> None:
    """Refuses what costs too much.

    Raises:
        ModelError: HS-EXPORT-005.
    """
    if faults := [drop for drop in found if drop.beyond(limit)]:
        raise ModelError(
            "HS-EXPORT-005",
            f"In 8-bit integers the model loses more than {limit:g} of its accuracy: it was not kept.",
            details=[f"{name}: {a} to {b}, drop {drop}" for name, a, b, drop in map(Drop.row, faults)],
            fix="Export in --precision fp32, or allow more with --max-drop.",
        )
