"""How pictures become square where nobody says: by the centre crop, unless it would cut away most of them.

Decision 16 has the measurements.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headstart.data.preprocess import Preprocess

MOST = 0.5
"""Share of a picture, beside its central square, above which the crop loses most of it: longer than 2 : 1."""

Sizes = NDArray[np.int32]
"""Width and height of pictures, upright, of the part that is used: pixels [n, 2]."""


@dataclass(frozen=True)
class LongClass:
    """The class whose pictures the centre crop would hurt most.

    Attributes:
        name: Of the class.
        ratio: Long side / short side of its median picture.
    """

    name: str
    ratio: float

    def line(self, fit: str) -> str:
        """Why they are not cropped, for a person."""
        return (
            f"fit: {fit}, as the centre crop would cut away {1 - 1 / self.ratio:.0%} of the median picture "
            f"of '{self.name}' (its sides are {self.ratio:.1f} : 1); --fit crop does so anyway"
        )


def long_class(sizes: Sizes, labels: NDArray[np.int64], classes: Sequence[str]) -> LongClass | None:
    """The class of the longest median picture, if the crop would cut away more than `MOST` of that.

    Medians, so that a few panoramas among photographs decide nothing.

    Args:
        sizes: Of the n pictures that train.
        labels: Their classes, int64 [n].
        classes: Names.
    """
    ratios = sizes.max(1) / sizes.min(1)
    medians = {c: float(np.median(ratios[labels == c])) for c in np.unique(labels).tolist() if c >= 0}
    longest = max(medians, key=medians.__getitem__, default=-1)
    if longest < 0 or 1 - 1 / medians[longest] <= MOST:
        return None
    return LongClass(classes[longest], medians[longest])


def lost_shares(sizes: Sizes, preprocess: Preprocess) -> NDArray[np.float64]:
    """Share of each picture's pixels that evaluation never shows, 0-1, [n]."""
    if preprocess.fit == "pad" or not len(sizes):
        return np.zeros(len(sizes))
    unlike, where = np.unique(sizes, axis=0, return_inverse=True)
    return np.array([lost_share(int(w), int(h), preprocess) for w, h in unlike])[where.ravel()]


def lost_share(width: int, height: int, preprocess: Preprocess) -> float:
    """The same of one picture of this size."""
    if preprocess.fit == "pad":
        return 0.0
    width, height = preprocess.resized_size(width, height)
    seen = min(preprocess.img_size, width) * min(preprocess.img_size, height)
    return 1 - seen / (width * height)


def lost_by_class(
    sizes: Sizes, labels: NDArray[np.int64], classes: Sequence[str], preprocess: Preprocess
) -> dict[str, float]:
    """The mean of `lost_shares` over the pictures of each class that has some."""
    lost = lost_shares(sizes, preprocess)
    return {name: float(lost[labels == c].mean()) for c, name in enumerate(classes) if np.any(labels == c)}
