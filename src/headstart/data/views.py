"""What the network sees of each picture: one view without chance, and random ones to train on."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from headstart.data.augment import Augmentation, Cut, augment, cut
from headstart.data.dataset import Dataset
from headstart.data.pictures import Pictures
from headstart.data.preprocess import Pixels


@dataclass(frozen=True, eq=False)
class Views:
    """Views uint8 [S, S, 3] of the pictures of a data set, by row; safe to use from several threads.

    Attributes:
        dataset: The table.
        pictures: Its pictures; their ``preprocess`` has the size S.
        augmentation: Makes the random views.
        from_originals: Random crops are cut from the picture as it is, not from its evaluation resize.
        seed: Of the random views.
    """

    dataset: Dataset
    pictures: Pictures
    augmentation: Augmentation
    from_originals: bool = False
    seed: int = 0

    def signature(self) -> dict[str, Any]:
        """All that decides a random view, beside the picture and the epoch."""
        return random_signature(self.augmentation, self.from_originals, self.seed)

    def evaluation(self, index: int) -> Pixels:
        """The view of evaluation and prediction."""
        return self.pictures.preprocess.evaluation_crop(self.pictures[index])

    def random(self, index: int, epoch: int) -> Pixels:
        """A view to train on: a function of seed, epoch and the picture's content alone."""
        preprocess = self.pictures.preprocess
        return augment(
            self._source(index),
            preprocess.img_size,
            self.augmentation,
            interpolation=preprocess.interpolation,
            **self._chance(index, epoch),
        )

    def cut(self, index: int, epoch: int) -> Cut:
        """The same view before it is resized and turned."""
        size = self.pictures.preprocess.img_size
        return cut(self._source(index), size, self.augmentation, **self._chance(index, epoch))

    def _source(self, index: int) -> Pixels:
        """What random views are cut from."""
        if self.pictures.preprocess.fit == "pad":
            return self.evaluation(index)
        if self.from_originals and self.augmentation.scale is not None:
            return np.asarray(self.pictures.original(index))
        return self.pictures[index]

    def _chance(self, index: int, epoch: int) -> dict[str, Any]:
        """What decides a random view, beside the picture."""
        return {"seed": self.seed, "epoch": epoch, "sample_id": str(self.dataset.file_hashes[index])}


def random_signature(augmentation: Augmentation, from_originals: bool, seed: int) -> dict[str, Any]:
    """All that decides a random view, beside the picture and the epoch."""
    return {"augmentation": asdict(augmentation), "from_originals": from_originals, "seed": seed}
