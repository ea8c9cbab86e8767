"""Linear probe: multinomial logistic regression on the frozen backbone's features.

The first model of every run, the head from which fine-tuning starts (LP-FT: Kumar et al., "Fine-Tuning can
Distort Pretrained Features and Underperform Out-of-Distribution", ICLR 2022), and the floor below which no
run may end. The L2 strength is chosen by cross-validation on the training pictures alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from headstart.training.regression import CHUNK, MANY, Weights, loss_and_accuracy, minimise
from headstart.training.speed import processor_threads

STRENGTHS = tuple(10.0**k for k in range(1, -5, -1))  # strong to weak, per-picture L2 weights
FOLDS = 5
CLEARLY = 1.1
EPSILON = 1e-12
SMALL = 1_000_000  # numbers; in smaller problems, several threads spend their time waiting for each other
FEW = 200  # pictures; of fewer, weak strengths have minima so flat that only an exact one tells them apart
LARGE = 20_000_000  # pictures x classes; beyond, or beyond `MANY` features, one fold is held out, in float32

EXACT, CLOSE, ROUGH = 1e-8, 1e-6, 1e-5  # slopes at which a minimum counts as found
STILL = 1e-6  # nats; in large problems a minimum counts as found where a step wins less
COMPARED = 1e-4  # of the loss; the same where strengths are compared


@dataclass(frozen=True)
class Probe:
    """A fitted probe.

    Attributes:
        weight: float32 [C, D], acts on raw (neither centred nor scaled) features.
        bias: float32 [C].
        strength: The chosen L2 strength: the objective is mean cross-entropy + strength / 2 * ||W||^2, on
            centred features of unit mean variance. The mean is weighted if pictures have weights.
        out_of_fold: float64 [n, C]; probabilities of each picture by a probe that did not see it
            (empty where cross-validation was not possible).
        table: (strength, out-of-fold negative log-likelihood, out-of-fold accuracy) per strength tried, from
            strong to weak; it ends where the loss has clearly risen again. Weighted means, too.
        note: Why cross-validation was not possible, or an empty string.
    """

    weight: torch.Tensor
    bias: torch.Tensor
    strength: float
    out_of_fold: np.ndarray
    table: tuple[tuple[float, float, float], ...]
    note: str = ""


def fit_probe(
    features: torch.Tensor,
    labels: np.ndarray,
    n_classes: int,
    groups: np.ndarray,
    weights: np.ndarray | None = None,
    soft: np.ndarray | None = None,
) -> Probe:
    """Fits the probe; deterministic.

    Args:
        features: float [n, D].
        labels: int64 [n], 0 <= label < n_classes; every class at least once.
        n_classes: C.
        groups: [n]; pictures of one group (copies of each other) stay in one fold.
        weights: float64 [n], above 0, of the pictures in every mean loss; None: all the same.
        soft: float [n, C], rows sum to 1: probabilities to learn and to be judged by, instead of the labels,
            which are then the likeliest class.
    """
    targets = torch.from_numpy(labels if soft is None else soft)
    w = None if weights is None else torch.from_numpy(weights)
    with processor_threads(1 if features.numel() < SMALL else torch.get_num_threads()):
        return _fit(features, labels, targets, n_classes, groups, w)


def _fit(
    features: torch.Tensor,
    labels: np.ndarray,
    targets: torch.Tensor,
    n_classes: int,
    groups: np.ndarray,
    weights: Weights,
) -> Probe:
    if len(labels) * n_classes > LARGE or features.numel() > MANY:
        return _fit_large(features.float(), labels, targets, n_classes, groups, weights)
    small = features.numel() < SMALL
    x = features.double()
    # One scale for all features: to divide each by its own deviation makes noise of those that hardly move
    # (decision 5 has the measurement).
    mean, scale = x.mean(0), (x.var(0, correction=0).mean() + EPSILON).sqrt()
    coordinates, basis = rotate((x - mean) / scale)
    del x
    folds = stratified_folds(labels, groups, FOLDS)

    table: tuple[tuple[float, float, float], ...] = ()
    out_of_fold = np.zeros((0, n_classes))
    strength, note = 1e-1, ""
    if folds is None:
        note = "too few pictures of a class for cross-validation: the strength is the default"
    else:
        # A rough minimum chooses the same strength: losses differ by about 1e-5, in a tenth of the time.
        rough = coordinates if small else coordinates.float()
        tolerance = ROUGH if not small else CLOSE if len(labels) >= FEW else EXACT
        paths, losses, fits = cross_validate(rough, targets, n_classes, folds, tolerance, weights)
        hits = [mean_of(p.argmax(1) == labels, weights) for p in paths]
        best = int(np.argmin(losses))
        strength = STRENGTHS[best]
        out_of_fold = paths[best]
        if tolerance == CLOSE:
            out_of_fold, _ = held_out(rough, targets, n_classes, folds, strength, fits[best], EXACT, weights)
        table = tuple(zip(STRENGTHS, losses, hits, strict=False))

    solution = None
    for step in STRENGTHS[: STRENGTHS.index(strength) + 1]:  # warm starts along the path
        tolerance = EXACT if small or step == strength else ROUGH
        solution = minimise(coordinates, targets, n_classes, step, solution, tolerance, weights=weights)
    assert solution is not None
    weight = (basis @ solution[:-1]) / scale
    bias = solution[-1] - mean @ weight
    return Probe(weight.T.float(), bias.float(), strength, out_of_fold, table, note)


def mean_of(values: np.ndarray, weights: Weights) -> float:
    """The mean over the pictures, weighted if they have weights."""
    return float(np.average(values, weights=None if weights is None else weights.numpy()))


def _fit_large(
    features: torch.Tensor,
    labels: np.ndarray,
    targets: torch.Tensor,
    n_classes: int,
    groups: np.ndarray,
    weights: Weights,
) -> Probe:
    """The same in float32, with one fold held out, in little more memory than one copy of the features."""
    folds = stratified_folds(labels, groups, FOLDS)
    trains = np.full(len(labels), True) if folds is None else folds != 0
    order = torch.from_numpy(
        np.argsort(~trains, kind="stable")
    )  # parts of a tensor take no memory of their own
    targets, fitted = targets[order], int(trains.sum())
    w = None if weights is None else weights[order]
    seen, unseen = (None, None) if w is None else (w[:fitted], w[fitted:])
    x, basis, mean, scale = rotated_in_parts(features, order)

    table: list[tuple[float, float, float]] = []
    solution = best = None
    strength, note = 1e-1, ""
    if folds is None:
        note = "too few pictures of a class for cross-validation: the strength is the default"
    else:
        note = "the strength was chosen on one held-out fifth of the pictures, as there are many"
        loss = math.log(n_classes)
        for step in STRENGTHS:
            still = COMPARED * loss
            solution = minimise(x[:fitted], targets[:fitted], n_classes, step, solution, ROUGH, still, seen)
            weight, bias = solution[:-1], solution[-1]
            loss, accuracy = loss_and_accuracy(x[fitted:], targets[fitted:], weight, bias, unseen)
            least = min((row[1] for row in table), default=math.inf)
            table.append((step, loss, accuracy))
            if loss < least:  # of equal ones, the strongest
                strength, best = step, solution
            elif loss > CLEARLY * least:
                break
    solution = minimise(x, targets, n_classes, strength, best, ROUGH, STILL, w)
    weight = (basis @ solution[:-1]) / scale
    bias = solution[-1] - mean @ weight
    return Probe(weight.T.contiguous(), bias, strength, np.zeros((0, n_classes)), tuple(table), note)


def rotated_in_parts(
    features: torch.Tensor, order: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """`rotate` of many features, reordered: coordinates float32 [n, D], axes [D, D], mean [D] and scale."""
    n, d = features.shape
    rows = max(1, CHUNK // d)
    mean = torch.zeros(d, dtype=torch.float64)
    for part in torch.split(features, rows):
        mean += part.sum(0, dtype=torch.float64)
    mean /= n
    products = torch.zeros(d, d, dtype=torch.float64)
    for part in torch.split(features, rows):
        centred = part - mean.float()
        products += centred.T @ centred
    scale = (products.diagonal().mean() / n + EPSILON).sqrt()
    axes = torch.linalg.eigh(products).eigenvectors.float()
    x = torch.empty(n, d)
    for part, indices in zip(torch.split(x, rows), torch.split(order, rows), strict=True):
        torch.mm((features[indices] - mean.float()) / scale.float(), axes, out=part)
    return x, axes, mean.float(), scale.float()


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


Fits = dict[int, torch.Tensor]
"""Weights and bias of each fold's probe."""


def cross_validate(
    x: torch.Tensor,
    targets: torch.Tensor,
    n_classes: int,
    folds: np.ndarray,
    tolerance: float,
    weights: Weights = None,
) -> tuple[list[np.ndarray], list[float], list[Fits]]:
    """Out-of-fold probabilities and their mean log loss for `STRENGTHS`, from strong to weak.

    Weak strengths cost most and win least: it stops where the loss has risen by `CLEARLY`.

    Args:
        x, targets, n_classes, folds, tolerance, weights: As for `held_out`.

    Returns:
        What `held_out` returns for each strength, and the losses between.
    """
    paths: list[np.ndarray] = []
    losses: list[float] = []
    fits: list[Fits] = []
    for strength in STRENGTHS:
        starts = fits[-1] if fits else {}
        probabilities, found = held_out(x, targets, n_classes, folds, strength, starts, tolerance, weights)
        paths.append(probabilities)
        fits.append(found)
        losses.append(mean_of(log_losses(probabilities, targets.numpy()), weights))
        if losses[-1] > CLEARLY * min(losses):
            break
    return paths, losses, fits


def log_losses(probabilities: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Nats, of each row: [n], by labels [n] or probabilities [n, C]."""
    if targets.ndim == 1:
        right = np.take_along_axis(probabilities, targets[:, None], 1)
        return np.asarray(-np.log(right.clip(1e-12))[:, 0])
    return np.asarray(-(targets * np.log(probabilities.clip(1e-12))).sum(1))


def held_out(
    x: torch.Tensor,
    targets: torch.Tensor,
    n_classes: int,
    folds: np.ndarray,
    strength: float,
    starts: Fits,
    tolerance: float,
    weights: Weights = None,
) -> tuple[np.ndarray, Fits]:
    """Probabilities of each picture by the probe of the other folds, float64 [n, C], and these probes.

    Args:
        x: [n, D], along principal axes.
        targets: int64 [n], or probabilities [n, C].
        n_classes: C.
        folds: Fold of each picture, [n].
        strength: L2 strength.
        starts: Where to start; empty: at zero.
        tolerance: As for `minimise`.
        weights: Of the pictures.
    """
    probabilities = np.zeros((len(targets), n_classes))
    found: Fits = {}
    for fold in np.unique(folds).tolist():
        out = torch.from_numpy(folds == fold)
        w = None if weights is None else weights[~out]
        solution = minimise(
            x[~out], targets[~out], n_classes, strength, starts.get(fold), tolerance, weights=w
        )
        logits = x[out] @ solution[:-1] + solution[-1]
        probabilities[folds == fold] = logits.double().softmax(1).numpy()
        found[fold] = solution
    return probabilities, found
