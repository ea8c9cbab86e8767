"""Which views go through the frozen part, under which names they are kept, and which already are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.data.augment import AUGMENTATIONS
from headstart.data.cache import Cache
from headstart.data.dataset import Dataset
from headstart.data.preprocess import Preprocess
from headstart.data.store import ArrayStore
from headstart.data.views import random_signature
from headstart.model import resampling
from headstart.model.classifier import HEAD, Classifier
from headstart.model.features import FrozenPart
from headstart.model.inputs import Loader
from headstart.training.budget import Kept
from headstart.training.plan import Plan
from headstart.training.speed import processor_threads

EVALUATION = {"view": "evaluation"}

Ids = NDArray[np.int64]


def evaluation_keys(dataset: Dataset, ids: Ids) -> list[str]:
    """Of the evaluation view of some pictures."""
    return [str(dataset.file_hashes[i]) for i in ids]


def random_keys(dataset: Dataset, ids: Ids, views: int) -> list[str]:
    """Of so many random views of some pictures, view after view."""
    return [f"{dataset.file_hashes[i]}:{view}" for view in range(views) for i in ids]


def random_views(plan: Plan) -> dict[str, Any]:
    """All that decides a plan's random views, beside picture and number."""
    recipe = plan.recipe
    made = random_signature(AUGMENTATIONS[recipe.augmentation], recipe.from_originals, plan.config.seed)
    # Pixels that a device makes differ a little.
    return made | ({"resized_on_device": resampling.VERSION} if plan.device_views else {})


class Reuse:
    """Counts what earlier runs left in the cache for a plan; reads each store once.

    Args:
        model: As it will train; stays as it is.
        dataset: The pictures.
        preprocess: Makes their pixels.
        cache: None: nothing is kept.
    """

    def __init__(
        self, model: Classifier, dataset: Dataset, preprocess: Preprocess, cache: Cache | None
    ) -> None:
        self._model = model
        self._dataset = dataset
        self._preprocess = preprocess
        self._cache = cache
        self._stores: dict[str, ArrayStore] = {}

    def of(self, plan: Plan) -> Kept:
        """What the stages of a plan need not compute."""
        if self._cache is None:
            return Kept()
        data = self._dataset
        train, selected = data.indices("train"), data.indices("selection")[: plan.selection_pictures]
        added = np.concatenate(
            [selected, data.indices(data.reported_split)] if plan.refit == "all" else [selected]
        )

        def plain(ids: Ids) -> int:
            return self._count(plan, EVALUATION, evaluation_keys(data, ids))

        def random(ids: Ids) -> int:
            return self._count(plan, random_views(plan), random_keys(data, ids, plan.views))

        again = plain(added) + random(added) if plan.refit != "none" else 0
        return Kept(plain(train) + plain(selected), random(train), again)

    def _count(self, plan: Plan, views: dict[str, Any], keys: Sequence[str]) -> int:
        if not keys:
            return 0
        cut = plan.cut or HEAD
        name = repr((cut, plan.fmt, plan.threads, views))
        if name not in self._stores:
            loader = Loader(self._preprocess, plan.fmt, plan.workers)
            part = FrozenPart(self._model, cut, loader=loader, cache=self._cache)
            with processor_threads(plan.threads):  # on which sums depend
                self._stores[name] = part.store(views)
        store = self._stores[name]
        return sum(store.get(key) is not None for key in keys)
