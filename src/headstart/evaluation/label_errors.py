"""Which labels are probably wrong: confident learning on out-of-fold probabilities. Arrays in, arrays out.

C. G. Northcutt, L. Jiang, I. L. Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels",
Journal of Artificial Intelligence Research 70 (2021) 1373-1411. Written after the paper.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LabelErrors:
    """What confident learning says of each of n pictures.

    Attributes:
        suggested: The likeliest other class, int64 [n].
        score: How far it is above the label, float64 [n]: 0 (the label is certain) to 1 (the other is); at
            0.5 both are equally likely.
        suspected: Whether the picture is counted, confidently, for another class than its label, bool [n].
        order: Rows from the most to the least doubtful, int64 [n]: suspects first, then by score.
        joint: Counts of pictures by label and by the class that they are confidently of, int64 [C, C]: the
            confident joint.
    """

    suggested: Ints
    score: Floats
    suspected: NDArray[np.bool_]
    order: Ints
    joint: Ints


def label_errors(labels: Ints, probabilities: Floats) -> LabelErrors:
    """Finds labels that the other pictures contradict.

    A picture is confidently of a class where its probability reaches the mean probability of that class among
    the pictures that bear its name (equation 2 of the paper); of several such classes, of the likeliest. It
    is suspected where that class is not its label. Suspects are ranked by the normalised
    margin (section 4.1).

    Args:
        labels: int64 [n], 0 <= label < C.
        probabilities: float64 [n, C], of models that did not see the picture; rows sum to 1.

    Raises:
        ValueError: The shapes do not fit together, or a label is out of range.
    """
    n, classes = probabilities.shape
    if labels.shape != (n,) or (n and not 0 <= labels.min() <= labels.max() < classes):
        raise ValueError(f"labels {labels.shape} do not fit probabilities {probabilities.shape}")
    rows = np.arange(n)
    counts = np.bincount(labels, minlength=classes)
    own = probabilities[rows, labels]
    sums = np.bincount(labels, weights=own, minlength=classes)
    thresholds = np.divide(sums, counts, out=np.full(classes, np.inf), where=counts > 0)
    confident = np.where(probabilities >= thresholds, probabilities, -1.0)
    told = confident.argmax(1)
    is_confident = confident[rows, told] >= 0
    joint = np.zeros((classes, classes), np.int64)
    np.add.at(joint, (labels[is_confident], told[is_confident]), 1)
    others = probabilities.copy()
    others[rows, labels] = -1.0
    suggested = others.argmax(1)
    score = (others[rows, suggested].clip(0) - own + 1) / 2
    suspected = is_confident & (told != labels)
    suggested = np.where(suspected, told, suggested)
    order = np.lexsort((rows, -score, ~suspected))
    return LabelErrors(suggested.astype(np.int64), score, suspected, order.astype(np.int64), joint)
