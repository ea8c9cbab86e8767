"""Linear probe: multinomial logistic regression on the frozen backbone's features.

The first model of every run, the head from which fine-tuning starts (LP-FT: Kumar et al., "Fine-Tuning can
Distort Pretrained Features and Underperform Out-of-Distribution", ICLR 2022), and the floor below which no
run may end. The L2 strength is chosen by cross-validation on the training pictures alone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

STRENGTHS = tuple(10.0**k for k in range(1, -5, -1))  # strong to weak, per-picture L2 weights
FOLDS = 5
CLEARLY = 1.1
EPSILON = 1e-12
SMALL = 1_000_000  # numbers; in smaller problems, several threads spend their time waiting for each other


@dataclass(frozen=True)
class Probe:
    """A fitted probe.

    Attributes:
        weight: float32 [C, D], acts on raw (neither centred nor scaled) features.
        bias: float32 [C].
        strength: The chosen L2 strength: the objective is mean cross-entropy + strength / 2 * ||W||^2, on
            centred features of unit mean variance.
        out_of_fold: float64 [n, C]; probabilities of each picture by a probe that did not see it
            (empty where cross-validation was not possible).
        table: (strength, out-of-fold negative log-likelihood, out-of-fold accuracy) per strength tried, from
            strong to weak; it ends where the loss has clearly risen again.
        note: Why cross-validation was not possible, or an empty string.
    """

    weight: torch.Tensor
    bias: torch.Tensor
    strength: float
    out_of_fold: np.ndarray
    table: tuple[tuple[float, float, float], ...]
    note: str = ""


def fit_probe(features: torch.Tensor, labels: np.ndarray, n_classes: int, groups: np.ndarray) -> Probe:
    """Fits the probe; deterministic.

    Args:
        features: float [n, D].
        labels: int64 [n], 0 <= label < n_classes; every class at least once.
        n_classes: C.
        groups: [n]; pictures of one group (copies of each other) stay in one fold.
    """
    with threads_for(features.numel()):
        return _fit(features, labels, n_classes, groups)


@contextlib.contextmanager
def threads_for(numbers: int) -> Iterator[None]:
    """One processor thread inside the block if there is little to compute; a function of the data alone."""
    before = torch.get_num_threads()
    torch.set_num_threads(1 if numbers < SMALL else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _fit(features: torch.Tensor, labels: np.ndarray, n_classes: int, groups: np.ndarray) -> Probe:
    x = features.double()
    # One scale for all features: to divide each by its own deviation makes noise of those that hardly move
    # (decision 5 has the measurement).
    mean, scale = x.mean(0), (x.var(0, correction=0).mean() + EPSILON).sqrt()
    coordinates, basis = rotate((x - mean) / scale)
    targets = torch.nn.functional.one_hot(torch.from_numpy(labels), n_classes).double()
    folds = stratified_folds(labels, groups, FOLDS)

    table: tuple[tuple[float, float, float], ...] = ()
    out_of_fold = np.zeros((0, n_classes))
    strength, note = 1e-1, ""
    if folds is None:
        note = "too few pictures of a class for cross-validation: the strength is the default"
    else:
        paths, losses = cross_validate(coordinates, targets, labels, folds)
        hits = [float((p.argmax(1) == labels).mean()) for p in paths]
        best = int(np.argmin(losses))
        strength, out_of_fold = STRENGTHS[best], paths[best]
        table = tuple(zip(STRENGTHS, losses, hits, strict=False))

    solution = None
    for step in STRENGTHS[: STRENGTHS.index(strength) + 1]:  # warm starts along the path
        solution = minimise(coordinates, targets, step, solution)
    assert solution is not None
    weight = (basis @ solution[:-1]) / scale
    bias = solution[-1] - mean @ weight
    return Probe(weight.T.float(), bias.float(), strength, out_of_fold, table, note)


def rotate(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Coordinates of ``x`` [n, D] along its principal axes [D, r], r = min(n, D).

    An L2 penalty does not see a rotation: with fewer pictures than features the problem shrinks exactly, and
    in these coordinates the solver knows the curvature of each direction.
    """
    n, d = x.shape
    if n < d:
        u, s, vh = torch.linalg.svd(x, full_matrices=False)
        return u * s, vh.T
    axes = torch.linalg.eigh(x.T @ x).eigenvectors
    return x @ axes, axes


def stratified_folds(labels: np.ndarray, groups: np.ndarray, k: int) -> np.ndarray | None:
    """Fold of each picture, int64 [n]; None when a class has fewer than two groups.

    Groups of a class are dealt in the order of their names, so that the folds follow the content only.
    """
    folds = np.zeros(len(labels), dtype=np.int64)
    smallest = min(len(np.unique(groups[labels == c])) for c in np.unique(labels))
    if smallest < 2:
        return None
    k = min(k, smallest)
    fold_of: dict[object, int] = {}
    dealt = 0
    for c in np.unique(labels):
        for group in np.unique(groups[labels == c]):
            if group not in fold_of:
                fold_of[group] = dealt % k
                dealt += 1
    folds[:] = [fold_of[group] for group in groups]
    return folds


def cross_validate(
    x: torch.Tensor, targets: torch.Tensor, labels: np.ndarray, folds: np.ndarray
) -> tuple[list[np.ndarray], list[float]]:
    """Out-of-fold probabilities [n, C] and their mean log loss for `STRENGTHS`, from strong to weak.

    Weak strengths cost most and win least: it stops where the loss has risen by `CLEARLY`.
    """
    paths: list[np.ndarray] = []
    losses: list[float] = []
    solutions: dict[int, torch.Tensor] = {}
    for strength in STRENGTHS:
        probabilities = np.zeros(tuple(targets.shape))
        for fold in np.unique(folds).tolist():
            held_out = torch.from_numpy(folds == fold)
            solution = minimise(x[~held_out], targets[~held_out], strength, solutions.get(fold))
            logits = x[held_out] @ solution[:-1] + solution[-1]
            probabilities[folds == fold] = logits.softmax(1).numpy()
            solutions[fold] = solution
        paths.append(probabilities)
        losses.append(
            float(-np.log(np.take_along_axis(probabilities, labels[:, None], 1).clip(1e-12)).mean())
        )
        if losses[-1] > CLEARLY * min(losses):
            break
    return paths, losses


def minimise(
    x: torch.Tensor, targets: torch.Tensor, strength: float, start: torch.Tensor | None
) -> torch.Tensor:
    """Weights and bias [D + 1, C] that minimise mean cross-entropy + strength / 2 * ||W||^2.

    L-BFGS on weights divided by the expected curvature of their direction (a diagonal preconditioner):
    without it, weak strengths take many hundred steps.

    Args:
        x: [n, D], along principal axes.
        targets: Probabilities [n, C].
        strength: L2 strength, above 0.
        start: Where to start, [D + 1, C]; None: at zero.
    """
    curvature = x.new_full((x.shape[1] + 1,), 0.25)  # of the logistic loss at probabilities of one half
    curvature[:-1] = 0.25 * x.square().mean(0) + strength
    step = curvature.rsqrt()[:, None]
    if start is None:
        start = x.new_zeros(x.shape[1] + 1, targets.shape[1])
    scaled = (start / step).requires_grad_()
    optimizer = torch.optim.LBFGS(
        [scaled], max_iter=400, tolerance_grad=1e-8, tolerance_change=1e-14, line_search_fn="strong_wolfe"
    )

    def objective() -> torch.Tensor:
        optimizer.zero_grad()
        solution = scaled * step
        logits = x @ solution[:-1] + solution[-1]
        penalty = strength / 2 * solution[:-1].square().sum()
        loss = torch.nn.functional.cross_entropy(logits, targets) + penalty
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(objective)  # type: ignore[arg-type, no-untyped-call]
    return (scaled * step).detach()
