"""Whether mirrored or turned pictures of one class look like another: arrows, letters, left and right hands.

Random views that do so teach what is wrong. Judged is by the frozen network's features of training pictures
as evaluation sees them, turned and not, with a logistic regression that saw neither (decision 16).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from headstart import console
from headstart.data.augment import AUGMENTATIONS, MIRROR, Augmentation, Symmetry
from headstart.data.cache import Cache
from headstart.data.dataset import Dataset
from headstart.data.pictures import Pictures
from headstart.data.preprocess import Pixels
from headstart.data.views import Views
from headstart.model import ranks
from headstart.model.classifier import HEAD, Classifier
from headstart.model.features import FrozenPart, features_above
from headstart.model.inputs import Loader
from headstart.training.frozen_views import EVALUATION, Ids, evaluation_keys
from headstart.training.plan import Plan
from headstart.training.probe import EPSILON, FOLDS, rotate, stratified_folds
from headstart.training.regression import minimise
from headstart.training.speed import processor_threads

HARMFUL = "HS-CONFIG-025"
PER_CLASS = 30  # pictures that are looked at: evidence enough, and less than a second of a usual start
ALL = 2000  # of all classes, but at least
LEAST = 6  # of each
STRENGTH = 1e-2  # of the regression's L2 penalty
MOST = 0.5  # of a class's turned pictures, taken for another class
BACK = 0.2  # of that one's, taken for the first, more than of those that are not turned
CHANCE = 0.01  # of a false alarm among all pairs of classes and symmetries
SAFE = ("dihedral", "rotations", "mirrors", "default", "crop")  # what may be offered instead, the most first
WORDS = {
    1: "turned to the left",
    2: "turned upside down",
    3: "turned to the right",
    4: "mirrored",
    5: "mirrored along a diagonal",
    6: "mirrored upside down",
    7: "mirrored along a diagonal",
}


@dataclass(frozen=True)
class Harm:
    """A symmetry under which pictures of two classes change places.

    Attributes:
        symmetry: As `headstart.data.augment.Symmetry` numbers them.
        classes: The two, indices; turned pictures of the first are taken for the second.
        taken: Turned pictures of the first that are taken for the second, and pictures of it.
        back: The same from the second to the first, turned the other way.
        plain: How many of both are so mistaken as they are.
        p: Probability of as much, were it chance; after correction for the number of pairs.
    """

    symmetry: int
    classes: tuple[int, int]
    taken: tuple[int, int]
    back: tuple[int, int]
    plain: int
    p: float

    def text(self, names: tuple[str, ...]) -> str:
        """For a person."""
        one, other = (f"'{names[c]}'" for c in self.classes)
        return (
            f"{WORDS[self.symmetry]}, {self.taken[0]} of {self.taken[1]} training pictures of {one} look "
            f"like {other}, and {self.back[0]} of {self.back[1]} the other way round (as they are: "
            f"{self.plain} of both; p = {self.p:.1g})"
        )


def without_harm(
    plan: Plan,
    model: Classifier,
    dataset: Dataset,
    pictures: Pictures,
    cache: Cache | None,
    part: FrozenPart | None = None,
) -> Plan:
    """The plan with its random views settled: without mirrored ones where they would exchange classes.

    Args:
        plan: Before the first step, as it is where its views are the user's choice.
        model: Still untrained, but for its head.
        dataset: The pictures.
        pictures: Their pixels.
        cache: Keeps activations, which the probe uses, too.
        part: Of the model, below what trains; made if absent.
    """
    if not plan.judges_views:
        return plan
    now = plan.recipe.augmentation
    harmless, what = found_harm(plan, model, dataset, pictures, cache, part)
    if not what:
        return plan.with_views(now, "")
    return plan.with_views(harmless, f"views: {harmless} instead of {now}, as {what}")


def warn_of_harm(
    plan: Plan,
    model: Classifier,
    dataset: Dataset,
    pictures: Pictures,
    cache: Cache | None,
) -> None:
    """Says where the random views that the user asked for would exchange classes; they stay.

    Args:
        plan, model, dataset, pictures, cache: As for `without_harm`.
    """
    asked = plan.recipe.augmentation
    if not (AUGMENTATIONS[asked].turns and plan.epochs and plan.recipe.pretrained):
        return
    harmless, what = found_harm(plan, model, dataset, pictures, cache)
    if what:
        console.warn(f"{HARMFUL}: --augment {asked} teaches what is wrong: {what}. Try --augment {harmless}.")


def found_harm(
    plan: Plan,
    model: Classifier,
    dataset: Dataset,
    pictures: Pictures,
    cache: Cache | None,
    part: FrozenPart | None = None,
) -> tuple[str, str]:
    """Which random views are harmless, and what the others do, "" if nothing; the same in all processes."""
    augmentation = AUGMENTATIONS[plan.recipe.augmentation]
    found = harms(augmentation.turns, plan, model, dataset, pictures, cache, part)
    harmless = harmless_views(augmentation, {harm.symmetry for harm in found})
    what = "" if not found else found[0].text(dataset.classes)
    if len(found) > 1:
        what += f"; {console.counted(len(found) - 1, 'other such exchange', 'other such exchanges')}"
    agreed: tuple[str, str] = ranks.agreed((harmless, what))
    return agreed


def harmful_turns(before: Plan, after: Plan) -> frozenset[int]:
    """Symmetries that the first plan shows and the second does not any more."""
    first, second = (AUGMENTATIONS[plan.recipe.augmentation].turns for plan in (before, after))
    return frozenset(first - second)


def harmless_views(augmentation: Augmentation, harmful: set[int]) -> str:
    """The name of random views that show as many of the symmetries as are harmless."""
    for name in SAFE:
        turns = AUGMENTATIONS[name].turns
        if turns <= augmentation.turns and not turns & harmful:
            return name
    raise AssertionError("a crop turns nothing")


def harms(
    turns: Iterable[int],
    plan: Plan,
    model: Classifier,
    dataset: Dataset,
    pictures: Pictures,
    cache: Cache | None,
    part: FrozenPart | None = None,
) -> list[Harm]:
    """What `judged` says of the training pictures; with several processes each computes its part.

    Args:
        turns: Symmetries that training would show.
        plan, model, dataset, pictures, cache, part: As for `without_harm`.
    """
    ids = sample(dataset)
    views = Views(dataset, pictures, AUGMENTATIONS["none"])
    cut = plan.cut or HEAD
    if part is None:
        plan.fmt.network(model)
        on_device = plan.fmt.accelerated or plan.device_views
        loader = Loader(pictures.preprocess, plan.fmt, plan.workers, on_device=on_device)
        part = FrozenPart(model, cut, loader=loader, cache=cache)
    keys = evaluation_keys(dataset, ids)

    def features(number: int) -> torch.Tensor:
        symmetry = Symmetry.of(number)

        def view(index: int) -> Pixels:
            return symmetry(views.evaluation(index))

        kind = EVALUATION | ({"symmetry": number} if number else {})
        label = f"{len(ids)} pictures {WORDS[number]}" if number else "features of training pictures"
        with console.progress(len(ids), label) as advance:
            rows = part.activations(view, ids, keys=keys, views=kind, advance=advance)
        return features_above(model, cut, rows, fmt=plan.fmt)

    needed = sorted({s for turn in turns for s in (turn, Symmetry.of(turn).inverse)})
    with processor_threads(plan.threads):  # on which sums depend
        found = {number: features(number) for number in (0, *needed)}
    return judged(found, dataset.labels[ids], dataset.groups[ids], len(dataset.classes))


def sample(dataset: Dataset) -> Ids:
    """Training pictures to look at: of each class the first by content, at most `PER_CLASS`."""
    ids = dataset.indices("train")
    labels = dataset.labels[ids]
    each = max(LEAST, min(PER_CLASS, ALL // max(1, len(np.unique(labels)))))
    order = np.argsort(dataset.file_hashes[ids], kind="stable")
    chosen = [order[labels[order] == label][:each] for label in np.unique(labels)]
    return np.sort(ids[np.concatenate(chosen)])


def judged(
    features: Mapping[int, torch.Tensor],
    labels: NDArray[np.int64],
    groups: NDArray[np.str_],
    n_classes: int,
) -> list[Harm]:
    """Pairs of classes that change places, the surest first.

    Args:
        features: By symmetry, float [n, D]; 0: as the pictures are. With each its inverse.
        labels: int64 [n].
        groups: [n]; pictures of one group stay in one fold.
        n_classes: C.
    """
    answers = out_of_fold(features, labels, groups, n_classes)
    if answers is None:
        return []
    plain = answers[0]
    present = np.unique(labels).tolist()
    tests = len(present) * (len(present) - 1) // 2 * (len(answers) - 1)
    found = []
    for symmetry in sorted(answers):
        if symmetry == 0:
            continue
        undone = answers[Symmetry.of(symmetry).inverse]
        for a in present:
            b, taken = commonest_other(answers[symmetry][labels == a], a)
            if taken <= MOST * np.sum(labels == a):
                continue
            first, second = labels == a, labels == b
            back = int(np.sum(undone[second] == a))
            mistaken = int(np.sum(plain[first] == b)), int(np.sum(plain[second] == a))
            if back - mistaken[1] < BACK * second.sum():  # turned pictures look strange, and all like b
                continue
            out = int(np.sum((plain == a) & (answers[symmetry] == b) & first))
            out += int(np.sum((plain == b) & (undone == a) & second))
            home = int(np.sum((plain == b) & (answers[symmetry] == a) & first))
            home += int(np.sum((plain == a) & (undone == b) & second))
            p = min(1.0, tests * upper_tail(out, out + home))
            if p < CHANCE:
                sizes = int(first.sum()), int(second.sum())
                found.append(Harm(symmetry, (a, b), (taken, sizes[0]), (back, sizes[1]), sum(mistaken), p))
    found.sort(key=lambda harm: (harm.symmetry != MIRROR, harm.p, harm.symmetry, harm.classes))
    return once_each(found)


def once_each(found: list[Harm]) -> list[Harm]:
    """The same without the second direction of a pair that changes places."""
    seen: set[tuple[int, frozenset[int]]] = set()
    kept = []
    for harm in found:
        pair = (min(harm.symmetry, Symmetry.of(harm.symmetry).inverse), frozenset(harm.classes))
        if pair not in seen:
            seen.add(pair)
            kept.append(harm)
    return kept


def commonest_other(answers: NDArray[np.int64], own: int) -> tuple[int, int]:
    """The class other than their own that most are taken for, and how many."""
    counts = np.bincount(answers[answers != own], minlength=own + 1)
    return int(counts.argmax()), int(counts.max())


def upper_tail(heads: int, throws: int) -> float:
    """Probability of at least so many heads of a fair coin."""
    ways = sum(math.comb(throws, k) for k in range(heads, throws + 1))
    return float(ways / 2**throws)


def out_of_fold(
    features: Mapping[int, torch.Tensor],
    labels: NDArray[np.int64],
    groups: NDArray[np.str_],
    n_classes: int,
) -> dict[int, NDArray[np.int64]] | None:
    """Class that each picture is taken for, int64 [n], by symmetry; None: there are too few to judge.

    Each by the regression of the other folds, which saw these pictures neither turned nor as they are.
    """
    folds = stratified_folds(labels, groups, FOLDS)
    if folds is None:
        return None
    x = features[0].double()
    mean, scale = x.mean(0), (x.var(0, correction=0).mean() + EPSILON).sqrt()
    coordinates, basis = rotate((x - mean) / scale)
    seen = {0: coordinates} | {
        number: (found.double() - mean) / scale @ basis for number, found in features.items() if number
    }
    targets = torch.from_numpy(labels)
    answers = {number: np.zeros(len(labels), np.int64) for number in seen}
    for fold in np.unique(folds).tolist():
        out = torch.from_numpy(folds == fold)
        solution = minimise(coordinates[~out], targets[~out], n_classes, STRENGTH, None, 1e-5)
        for number, rows in seen.items():
            logits = rows[out] @ solution[:-1] + solution[-1]
            answers[number][folds == fold] = logits.argmax(1).numpy()
    return answers
