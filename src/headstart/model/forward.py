"""The one forward pass behind every published figure: fp32, eager, of the weights as saved.

Final metrics, batch prediction and single predictions all come through `answers_of`, so they agree
whatever format trained the network. Pictures are decoded by threads while the network computes.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from headstart.data.prefetch import prefetched
from headstart.data.preprocess import Preprocess
from headstart.model.answers import Answers, batched, finite, softmax
from headstart.model.classifier import Classifier

BATCH_SIZE = 8  # on a CPU, activations that fit into its cache; measured in decision 7

Floats = NDArray[np.float64]


class PixelSource(Protocol):
    """Pictures by index: uint8 [h, w, 3] at the evaluation resize (`headstart.data.dataset.Pictures`)."""

    def __getitem__(self, index: int, /) -> NDArray[np.uint8]: ...


def predict_probabilities(
    classifier: nn.Module,
    pictures: PixelSource,
    indices: Sequence[int] | NDArray[np.int64],
    preprocess: Preprocess,
    *,
    temperature: float = 1.0,
    batch_size: int = BATCH_SIZE,
    workers: int = 2,
    device: torch.device | str | None = None,
    always_full: bool = False,
    advance: Callable[[int], object] | None = None,
) -> Floats:
    """Class probabilities of some pictures, by the evaluation view.

    Args:
        classifier: Network; its mode, weights and requires_grad are left as they were.
        pictures: uint8 [h, w, 3] by index, at the evaluation resize.
        indices: Which pictures, n of them.
        preprocess: The preprocessing stored with the model.
        temperature: Divides the logits.
        batch_size: Pictures per forward pass; probabilities depend on it by less than 1e-6.
        workers: Threads that fetch and normalise pictures.
        device: Where to compute; by default where the classifier is.
        always_full: As for `batched_answers`.
        advance: Called with the number of pictures just done.

    Returns:
        float64 [n, C], in the order of ``indices``; rows sum to 1.

    Raises:
        ModelError: HS-MODEL-050, the network answers with values that are not finite.
    """

    answers = predict_answers(
        classifier,
        pictures,
        indices,
        preprocess,
        batch_size=batch_size,
        workers=workers,
        device=device,
        always_full=always_full,
        advance=advance,
    )
    return softmax(answers.logits, temperature) if len(answers.logits) else answers.logits.astype(np.float64)


def predict_answers(
    classifier: nn.Module,
    pictures: PixelSource,
    indices: Sequence[int] | NDArray[np.int64],
    preprocess: Preprocess,
    *,
    batch_size: int = BATCH_SIZE,
    workers: int = 2,
    device: torch.device | str | None = None,
    always_full: bool = False,
    advance: Callable[[int], object] | None = None,
) -> Answers:
    """Logits and features of some pictures, by the evaluation view, in the order of ``indices``.

    Arguments and errors are those of `predict_probabilities`.
    """

    def view(index: int) -> NDArray[np.float32]:
        return preprocess.normalize(preprocess.evaluation_crop(pictures[index]))

    arrays = prefetched(view, (int(i) for i in indices), workers=workers, ahead=2 * batch_size)
    parts = []
    for answers in batched_answers(
        classifier, arrays, batch_size=batch_size, device=device, always_full=always_full
    ):
        parts.append(answers)
        if advance is not None:
            advance(len(answers.logits))
    if parts:
        return Answers(*(np.concatenate(column) for column in zip(*parts, strict=True)))
    return Answers(np.zeros((0, _outputs(classifier)), np.float32), np.zeros((0, 0), np.float32))


def batched_answers(
    classifier: nn.Module,
    arrays: Iterable[NDArray[np.float32]],
    *,
    batch_size: int = BATCH_SIZE,
    device: torch.device | str | None = None,
    always_full: bool = False,
) -> Iterator[Answers]:
    """What the network makes of normalised pictures float32 [3, S, S], as `batched` says."""

    def answer(batch: NDArray[np.float32]) -> Answers:
        return answers_of(classifier, batch, device=device)

    return batched(answer, arrays, batch_size=batch_size, always_full=always_full)


def logits_of(
    classifier: nn.Module, batch: NDArray[np.float32], *, device: torch.device | str | None = None
) -> NDArray[np.float32]:
    """The logits of `answers_of`."""
    return answers_of(classifier, batch, device=device).logits


def answers_of(
    classifier: nn.Module, batch: NDArray[np.float32], *, device: torch.device | str | None = None
) -> Answers:
    """Logits and features of normalised pictures float32 [b, 3, S, S]: fp32, eager, evaluation mode.

    Neither autocast nor TF32 nor bf16 matrix products of the caller's settings act here. A network that is
    no `Classifier` has features of width 0.

    Raises:
        ModelError: HS-MODEL-050, a logit is not finite.
    """
    where = torch.device(device) if device is not None else _device_of(classifier)
    with (
        evaluation_mode(classifier),
        torch.inference_mode(),
        torch.autocast(where.type, enabled=False),
        full_precision(),
    ):
        x = torch.from_numpy(np.ascontiguousarray(batch, dtype=np.float32)).to(where)
        # channels last: 1.2 to 3 times as fast on CPUs for convolutions, the same arithmetic in fp32
        x = x.contiguous(memory_format=torch.channels_last)
        if isinstance(classifier, Classifier):
            features = classifier.backbone(x)
            outputs = classifier.head(features)
        else:
            outputs = classifier(x)
            features = outputs.new_zeros(len(x), 0)
        logits: NDArray[np.float32] = outputs.float().cpu().numpy()
        found = Answers(logits, features.float().cpu().numpy())
    return finite(found)


@contextlib.contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Every module in evaluation mode inside the block; each one's own mode afterwards."""
    modes = [(module, module.training) for module in model.modules() if module.training]
    for module, _ in modes:
        module.training = False
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


_precision_lock = threading.Lock()
_precision_depth = 0
_precision_before: list[str] = []


@contextlib.contextmanager
def full_precision() -> Iterator[None]:
    """fp32 means IEEE fp32 inside the block: cuDNN's convolutions use TF32 by default.

    The settings are the process's. Threads share one block: the first one in makes them, the last one
    out takes them back.
    """
    global _precision_depth, _precision_before
    backends: Any = torch.backends  # whose stubs lack these settings
    owners = (backends.cuda.matmul, backends.cudnn.conv, backends.mkldnn.matmul, backends.mkldnn.conv)
    with _precision_lock:
        _precision_depth += 1
        if _precision_depth == 1:
            _precision_before = [owner.fp32_precision for owner in owners]
            for owner in owners:
                owner.fp32_precision = "ieee"
    try:
        yield
    finally:
        with _precision_lock:
            _precision_depth -= 1
            if _precision_depth == 0:
                for owner, value in zip(owners, _precision_before, strict=True):
                    owner.fp32_precision = value


def _device_of(model: nn.Module) -> torch.device:
    parameter = next(model.parameters(), None)
    return parameter.device if parameter is not None else torch.device("cpu")


def _outputs(model: nn.Module) -> int:
    head = getattr(model, "head", None)
    return int(getattr(head, "out_features", 0))
