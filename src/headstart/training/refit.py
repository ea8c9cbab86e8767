"""Training once more on pictures that were set aside, with what was chosen on them: epochs, and the mix.

The choice (the probe, the last epoch or a mix) needs pictures that do not train. Once it is made, they do.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from torch import nn

from headstart.data.cache import Cache
from headstart.data.dataset import Dataset
from headstart.data.pictures import Pictures
from headstart.model.classifier import Classifier
from headstart.training.batches import Slices
from headstart.training.budget import Budget
from headstart.training.checkpoint import Checkpoint, Saved, State
from headstart.training.fit import copy_of, mixed
from headstart.training.plan import Plan
from headstart.training.progress import Epoch, EpochHook
from headstart.training.train import Trained, Trainer

STAGE = "refit"


def refit(
    model: Classifier,
    source: State,
    chosen: Trained,
    dataset: Dataset,
    pictures: Pictures,
    plan: Plan,
    splits: Sequence[str],
    *,
    on_epoch: EpochHook,
    cache: Cache | None,
    checkpoint: Checkpoint | None,
    saved: Saved | None,
    budget: Budget | None,
) -> Trained:
    """Leaves ``model`` trained as before on more pictures.

    Args:
        model: Any weights; gets the new ones.
        source: Its weights before training.
        chosen: What was kept: nothing is chosen any more.
        dataset: The pictures with their splits.
        pictures: Their pixels.
        plan: Of the training before.
        splits: Those that train now.
        on_epoch: Called with each row, of stage ``refit``.
        cache: As for `Trainer`.
        checkpoint: As for `Trainer`.
        saved: As for `Trainer`: where it goes on.
        budget: As for `Trainer`.

    Returns:
        How it went; the model is of use only if it was neither interrupted nor stopped.
    """
    model.load_state_dict(source)
    dataset = dataclasses.replace(
        dataset, splits=np.where(np.isin(dataset.splits, list(splits)), "train", dataset.splits)
    )
    n = len(dataset.indices("train"))
    recipe = dataclasses.replace(plan.recipe, selection=0.0, interpolation=())
    if chosen.kept == 0:  # the probe, which nothing surpassed
        recipe = dataclasses.replace(recipe, trains="nothing")
    plan = dataclasses.replace(
        plan,
        recipe=recipe,
        train_pictures=n,
        selection_pictures=0,
        steps_per_epoch=len(Slices(n, recipe.batch_size).bounds()),
    )
    probe: list[State] = [] if saved is None else [saved.state("start") or {}]

    def keep(row: Epoch) -> None:
        if row.epoch == 0:
            probe.append(copy_of(trained_part(model, plan)))

    trained = Trainer(
        model,
        dataset,
        pictures,
        plan,
        on_epoch=on_epoch,
        on_best=keep,
        cache=cache,
        checkpoint=checkpoint,
        saved=saved,
        budget=budget,
        stage=STAGE,
        watch=False,
    ).train()
    if chosen.share < 1 and not (trained.interrupted or trained.stopped):
        network = trained_part(model, plan)
        network.load_state_dict(mixed(probe[0], copy_of(network), chosen.share))
    return dataclasses.replace(trained, share=chosen.share)


def trained_part(model: Classifier, plan: Plan) -> nn.Module:
    """What the optimiser moves."""
    return model if plan.cut is None else model.above(plan.cut)
