"""What a network makes of pictures whose classes are known: loss and accuracy, plain and balanced."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from headstart.training.probe import Probe
from headstart.training.progress import Scores
from headstart.training.regression import CHUNK, likeliest, loss_and_accuracy

NOT_MEASURED = Scores(float("nan"), float("nan"))


def probe_scores(
    features: Tensor, probe: Probe, targets: Tensor, weights: Tensor | None
) -> tuple[float, float]:
    """Loss and accuracy on the features that it was fitted on; logits in parts where they are many.

    Args:
        features: [n, D].
        probe: Fitted.
        targets: int64 [n], or probabilities [n, C].
        weights: Of the pictures in the loss, [n]; None: all the same.
    """
    if weights is None and len(targets) * len(probe.bias) <= CHUNK:
        scores = scores_of(features @ probe.weight.T + probe.bias, targets)
        return scores.loss, scores.accuracy
    loss, accuracy = loss_and_accuracy(features, targets, probe.weight.T, probe.bias)
    if weights is not None:
        loss, _ = loss_and_accuracy(features, targets, probe.weight.T, probe.bias, weights)
    return loss, accuracy


def scores_of(logits: Tensor, targets: Tensor, *, balanced: bool = False) -> Scores:
    """Mean cross-entropy (nats) and accuracy (0-1) of logits [n, C] or log-probabilities; nan for n = 0.

    Args:
        logits: float [n, C].
        targets: Labels int64 [n], or probabilities [n, C], of which the likeliest class is the right one.
        balanced: Whether to give also the mean over the classes that have pictures.
    """
    if len(targets) == 0:
        return NOT_MEASURED
    logits = logits.float()
    loss = float(nn.functional.cross_entropy(logits, targets))
    labels = likeliest(targets)
    right = logits.argmax(1) == labels
    plain = Scores(loss, float(right.float().mean()))
    if not balanced:
        return plain
    losses = nn.functional.cross_entropy(logits, targets, reduction="none").double().cpu()
    classes = labels.cpu()
    counts = torch.bincount(classes)
    present = counts > 0

    def mean(values: Tensor) -> float:
        sums = torch.zeros(len(counts), dtype=torch.float64).index_add_(0, classes, values)
        return float((sums[present] / counts[present]).mean())

    return Scores(*plain[:2], mean(losses), mean(right.double().cpu()))
