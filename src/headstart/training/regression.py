"""Multinomial logistic regression with an L2 penalty: the solver behind the linear probe.

Targets are labels int64 [n], or probabilities [n, C] to be learnt as they are (soft targets).
"""

from __future__ import annotations

from typing import Any

import torch

MANY = 40_000_000  # numbers; the squares of more are not held at once
CHUNK = 8_000_000  # logits at a time, or features
HISTORY = 20  # steps that L-BFGS remembers in large problems: a hundred of 1,000 classes would take 1 GB


def likeliest(targets: torch.Tensor) -> torch.Tensor:
    """Labels int64 [n] of labels [n] or probabilities [n, C]."""
    return targets if targets.ndim == 1 else targets.argmax(1)


Weights = torch.Tensor | None
"""Of the pictures, [n]; None: all the same."""


def minimise(
    x: torch.Tensor,
    targets: torch.Tensor,
    n_classes: int,
    strength: float,
    start: torch.Tensor | None,
    tolerance: float,
    still: float | None = None,
    weights: Weights = None,
) -> torch.Tensor:
    """Weights and bias [D + 1, C] that minimise mean cross-entropy + strength / 2 * ||W||^2.

    L-BFGS on weights divided by the expected curvature of their direction (a diagonal preconditioner):
    without it, weak strengths take many hundred steps.

    Args:
        x: [n, D], along principal axes.
        targets: int64 [n], or probabilities [n, C].
        n_classes: C.
        strength: L2 strength, above 0.
        start: Where to start, [D + 1, C]; None: at zero.
        tolerance: Largest slope at the end.
        still: The problem is large: it also ends where a step lowers the loss by less, nats.
        weights: Of the pictures in the mean.
    """
    curvature = x.new_full((x.shape[1] + 1,), 0.25)  # of the logistic loss at probabilities of one half
    curvature[:-1] = 0.25 * mean_square(x) + strength
    step = curvature.rsqrt()[:, None]
    if start is None:
        start = x.new_zeros(x.shape[1] + 1, n_classes)
    scaled = start.to(x.dtype) / step
    weights = None if weights is None else weights.to(x.dtype)
    optimizer = Lbfgs(
        [scaled],
        max_iter=400,
        tolerance_grad=tolerance,
        history_size=100 if still is None else HISTORY,
        tolerance_change=still or (1e-14 if x.dtype == torch.float64 else 1e-9),
        line_search_fn="strong_wolfe",
    )

    def objective() -> torch.Tensor:
        solution = scaled * step
        loss, gradient = cross_entropy(x, targets, solution, weights)
        gradient[:-1] += strength * solution[:-1]
        scaled.grad = gradient * step
        return loss + strength / 2 * solution[:-1].square().sum()

    with torch.no_grad():
        optimizer.step(objective)  # type: ignore[arg-type, no-untyped-call]
    return scaled * step


def mean_square(x: torch.Tensor) -> torch.Tensor:
    """Of each column; the squares of many features are not held at once."""
    if x.numel() <= MANY:
        return x.square().mean(0)
    squares: torch.Tensor = torch.linalg.vector_norm(x, dim=0).square()
    return squares / len(x)


class Lbfgs(torch.optim.LBFGS):
    """torch's L-BFGS, without the second that its set-up takes to import torch's compiler."""

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        self.param_groups.append({**self.defaults, **param_group})


def cross_entropy(
    x: torch.Tensor, targets: torch.Tensor, solution: torch.Tensor, weights: Weights = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """(Weighted) mean cross-entropy of a linear classifier and its gradient [D + 1, C], some rows at a time.

    The logits of many pictures and classes together would not fit into memory.
    """
    loss, gradient = x.new_zeros(()), torch.zeros_like(solution)
    rows = max(1, CHUNK // solution.shape[1])
    for start in range(0, len(x), rows):
        part, truth = x[start : start + rows], targets[start : start + rows]
        w = None if weights is None else weights[start : start + rows]
        logs = torch.addmm(solution[-1], part, solution[:-1]).log_softmax(1)
        if truth.ndim == 1:
            index = torch.arange(len(truth))
            own = logs[index, truth]
            error = logs.exp_()
            error[index, truth] -= 1
        else:
            truth = truth.to(logs.dtype)
            own = (logs * truth).sum(1)
            error = logs.exp_().sub_(truth)
        loss -= (own if w is None else own * w).sum()
        if w is not None:
            error *= w[:, None]
        gradient[:-1].addmm_(part.T, error)
        gradient[-1] += error.sum(0)
    total = len(x) if weights is None else weights.sum()
    return loss / total, gradient / total


def loss_and_accuracy(
    x: torch.Tensor,
    targets: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    weights: Weights = None,
) -> tuple[float, float]:
    """Mean log loss (nats) and accuracy (0-1) of a linear classifier, some rows at a time.

    Args:
        x: [n, D].
        targets: int64 [n], or probabilities [n, C].
        weight: [D, C].
        bias: [C].
        weights: Of the rows.
    """
    loss, right = 0.0, 0.0
    rows = max(1, CHUNK // weight.shape[1])
    for start in range(0, len(targets), rows):
        truth = targets[start : start + rows]
        logits = torch.addmm(bias, x[start : start + rows], weight)
        hits = logits.argmax(1) == likeliest(truth)
        if weights is None:
            loss += float(torch.nn.functional.cross_entropy(logits, truth, reduction="sum"))
            right += int(hits.sum())
        else:
            part = weights[start : start + rows]
            losses = torch.nn.functional.cross_entropy(logits, truth, reduction="none")
            loss += float((losses * part).sum())
            right += float(part[hits].sum())
    total = len(targets) if weights is None else float(weights.sum())
    return loss / total, right / total
