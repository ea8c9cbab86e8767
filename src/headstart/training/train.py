"""From a source model and pictures to a trained model: probe, then fine-tuning, as the plan says."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from headstart import console
from headstart.config import Refit
from headstart.data.augment import AUGMENTATIONS, Cut
from headstart.data.cache import Cache
from headstart.data.dataset import Dataset
from headstart.data.pictures import Pictures
from headstart.data.preprocess import Pixels
from headstart.data.views import Views
from headstart.model import ranks
from headstart.model.classifier import HEAD, Classifier
from headstart.model.depthwise import FastDepthwise
from headstart.model.features import Activations, FrozenPart, features_above
from headstart.model.forward import BATCH_SIZE, evaluation_mode
from headstart.model.inputs import Loader, View
from headstart.model.transfer import ParameterGroup, freeze, groups_text, parameter_groups
from headstart.training.balance import class_weights
from headstart.training.batches import Batches, CachedViews, LiveViews
from headstart.training.budget import OVERHEAD, Budget
from headstart.training.checkpoint import Checkpoint, Saved
from headstart.training.fit import Epoch, EpochHook, Scores, TrainingLoop
from headstart.training.frozen_views import EVALUATION, evaluation_keys, random_keys, random_views
from headstart.training.lr_find import Sweep, chosen, sweep
from headstart.training.plan import Plan
from headstart.training.probe import fit_probe
from headstart.training.rehearsal import compiled
from headstart.training.scores import NOT_MEASURED, probe_scores, scores_of
from headstart.training.turned import without_harm


@dataclass(frozen=True)
class Trained:
    """A trained model.

    Attributes:
        epochs: Rows of ``results.csv``.
        best: The row of the epoch whose weights the model has; None where nothing was trained or measured.
        share: Of these weights in the model's; below 1, the rest is the probe's.
        interrupted: Whether Ctrl-C ended training early.
        stopped: Whether the end of the time did.
        refit: Whether it was trained once more after the choice, and on what.
    """

    epochs: tuple[Epoch, ...]
    best: Epoch | None
    interrupted: bool
    share: float = 1.0
    stopped: bool = False
    refit: Refit = "none"

    @property
    def won(self) -> bool:
        """Whether an epoch's weights were kept as they are: neither the probe, nor a mix with it."""
        return self.kept > 0 and self.share == 1.0

    @property
    def kept(self) -> int:
        """Number of that epoch; 0 is the model before the first step."""
        return 0 if self.best is None else self.best.epoch


class Trainer:
    """Carries out a plan on one model. Made once per run; `train` is the way in.

    ``on_epoch`` is called with each row, ``on_best`` before it while the model is the best so far. ``cache``
    keeps activations of the frozen part for later runs; training saves its place in ``checkpoint``
    and goes on where it was ``saved``; it ends when the ``budget`` does. ``on_plan`` is called with the plan,
    which is `plan` from then on, when what it left to the first model was settled: random views, a learning
    rate; before it ``on_sweep`` with what a sweep over learning rates found.
    ``on_out_of_fold`` is called with the probabilities [n, C] of the training pictures by probes that did not
    see them. ``stage`` names all rows; without ``watch`` nothing is measured on pictures that do not train.
    """

    def __init__(
        self,
        model: Classifier,
        dataset: Dataset,
        pictures: Pictures,
        plan: Plan,
        *,
        on_epoch: EpochHook,
        on_best: EpochHook,
        cache: Cache | None = None,
        checkpoint: Checkpoint | None = None,
        saved: Saved | None = None,
        budget: Budget | None = None,
        on_plan: Callable[[Plan], object] = lambda plan: None,
        on_sweep: Callable[[Sweep, Plan], object] = lambda found, plan: None,
        on_out_of_fold: Callable[[NDArray[np.float64]], object] = lambda probabilities: None,
        stage: str | None = None,
        watch: bool = True,
    ) -> None:
        self.model = model
        self.dataset = dataset
        self.pictures = pictures
        self.plan = plan
        self.views = views_of(plan, dataset, pictures)
        self.loader = Loader(
            pictures.preprocess,
            plan.fmt,
            plan.workers,
            on_device=plan.fmt.accelerated or plan.device_views,
        )
        self.on_epoch = on_epoch
        self.on_best = on_best
        self.cache = cache
        self.checkpoint = checkpoint
        self.saved = saved
        self.budget = budget
        self.on_plan = on_plan
        self.on_sweep = on_sweep
        self.on_out_of_fold = on_out_of_fold
        self.stage = stage
        self.frozen_parts: dict[str, FrozenPart] = {}
        self.train_ids = dataset.indices("train")
        self.labels = dataset.labels[self.train_ids]
        self.targets = dataset.targets(self.train_ids)
        self.balance = plan.recipe.balance
        self.weight_of_class = class_weights(self.labels, len(dataset.classes))
        selects = plan.selection_pictures > 0
        self.watched_ids = dataset.indices("selection" if selects else dataset.reported_split)
        """The pictures of the column val_*: those that choose the epoch, else the reported ones."""
        if not watch:
            self.watched_ids = self.watched_ids[:0]
        self.watched_targets = torch.from_numpy(dataset.targets(self.watched_ids)).to(plan.fmt.device)

    def train(self) -> Trained:
        """Probe if the recipe wants one, then the epochs; or what is left of them behind a checkpoint."""
        plan, model = self.plan, self.model
        plan.fmt.network(model)
        if ranks.size() > 1 and plan.recipe.batch_norm == "train" and plan.fmt.device.startswith("cuda"):
            from timm.layers import convert_sync_batchnorm

            convert_sync_batchnorm(model)
        saved = self.saved
        before = None if saved is None else saved.progress.before
        cut = plan.cut or (HEAD if plan.epochs == 0 else None)
        cached = cut is not None and (plan.views > 0 or plan.epochs == 0)
        watched: Activations | None = None
        if cached and len(self.watched_ids) and (plan.selection_pictures or plan.epochs):
            assert cut is not None
            watched = self.run_below(cut, self.watched_ids, "reading the network's features")
        if plan.recipe.head_init == "probe" and saved is None:
            before = self.probe(cut or HEAD, watched)
        try:
            if before is not None and saved is None:
                self.on_best(before)
                self.on_epoch(before)
            if plan.epochs == 0:
                return Trained((before,) if before else (), before, False)
            if plan.judges_views and saved is None:
                plan = self.settle_views(cut or HEAD)
            network, batches = self.prepare(cut, cached)
            stepped = self.compiled(network, batches) if plan.config.compile else network
            if plan.finds_rate:
                plan = self.plan = self.find_rate(network, stepped, batches)
        except KeyboardInterrupt:  # the model is the probe still; behind a checkpoint it is not yet anything
            if before is None or saved is not None:
                raise
            return Trained((before,), before, True)
        groups = self.groups(network)
        console.say(groups_text(groups))
        together = ranks.Together(stepped) if ranks.size() > 1 else None
        with ranks.stops_together():
            fitted = TrainingLoop(
                network=network,
                batches=batches,
                recipe=plan.recipe,
                groups=groups,
                forward=self.forward_of(together or stepped),
                alone=together.alone if together else contextlib.nullcontext,
                evaluate=lambda: self.scores(network, watched),
                on_epoch=self.on_epoch,
                on_best=self.on_best,
                before=before,
                stage=self.stage or plan.config.strategy,
                checkpoint=self.checkpoint,
                saved=saved,
                micro_batch=plan.micro_batch,
                out_of_time=self.out_of_time(),
                class_weights=self.weights_in_loss(),
                picture_names=lambda epoch, batch: [
                    str(self.dataset.paths[self.train_ids[i]]) for i in batches.positions(epoch, batch)
                ],
            ).run()
        rows = ((before,) if before else ()) + fitted.epochs
        return Trained(rows, fitted.best, fitted.interrupted, fitted.share, fitted.stopped)

    def out_of_time(self) -> Callable[[], bool]:
        """Whether no more is left of the budget than what comes after training takes."""
        if self.budget is None or (seconds := self.plan.forecast) is None:
            return lambda: False
        self.budget.reserve(seconds.evaluation + OVERHEAD)
        return self.budget.used_up

    def prepare(self, cut: str | None, cached: bool) -> tuple[nn.Module, Batches]:
        """Freezes what does not train; the network that trains, and its batches."""
        plan, model = self.plan, self.model
        if cut is not None:
            freeze(model, cut)
        if not cached or cut is None:
            return model, self.live_batches()
        views = self.run_views(cut)
        sampled = self.balance == "sample"
        size, seed = plan.recipe.batch_size, plan.config.seed
        return model.above(cut), CachedViews(views, self.targets, size, seed, plan.fmt, sampled)

    def settle_views(self, cut: str) -> Plan:
        """The plan, without random views that the pictures say are harmful."""
        parts = self.model, self.dataset, self.pictures, self.cache
        plan = self.plan = without_harm(self.plan, *parts, self.frozen_part(cut))
        self.views = views_of(plan, self.dataset, self.pictures)
        if plan.turned:
            console.say(plan.turned)
        self.on_plan(plan)
        return plan

    def weights_in_loss(self) -> Tensor | None:
        """As for `Stepper`."""
        if self.balance != "loss":
            return None
        return torch.from_numpy(self.weight_of_class).float().to(self.plan.fmt.device)

    def groups(self, network: nn.Module) -> list[ParameterGroup]:
        """The parameters that train, at the plan's rates."""
        recipe = self.plan.recipe
        return parameter_groups(
            network,
            lr_backbone=recipe.lr,
            lr_head=recipe.lr * recipe.head_lr_factor,
            weight_decay=recipe.weight_decay,
            decay_1d=recipe.decay_1d,
        )

    def compiled(self, network: nn.Module, batches: Batches) -> nn.Module:
        """What the steps run through, compiled; scores come from ``network`` itself."""
        if ranks.size() > 1 and self.plan.recipe.batch_norm == "train":
            console.warn(
                "--compile is left out: BatchNorm that trains in several processes exchanges in every pass"
            )
            return network
        return compiled(
            network,
            batches,
            forward_of=self.forward_of,
            micro_batch=self.plan.micro_batch,
            training=self.plan.recipe.batch_norm == "train",
        )

    def find_rate(self, network: nn.Module, stepped: nn.Module, batches: Batches) -> Plan:
        """The plan at the rate that a sweep finds, or at the recipe's where it finds none.

        Args:
            network: What trains.
            stepped: The same, or compiled: what the steps run through.
            batches: Of the training.
        """
        plan = self.plan
        together = ranks.Together(stepped) if ranks.size() > 1 else None
        with ranks.stops_together():
            points = sweep(
                network,
                batches,
                plan.recipe,
                self.groups(network),
                forward=self.forward_of(together or stepped),
                alone=together.alone if together else contextlib.nullcontext,
                micro_batch=plan.micro_batch,
                class_weights=self.weights_in_loss(),
            )
        found = chosen(points, plan.recipe, batches.steps)
        plan = plan.with_rate(found.lr or plan.recipe.lr)
        self.on_sweep(found, plan)
        self.on_plan(plan)
        return plan

    def probe(self, cut: str, watched: Activations | None) -> Epoch:
        """Fits the probe, makes it the model's head, and measures it."""
        plan, model = self.plan, self.model
        inputs = self.run_below(cut, self.train_ids, "features of the training pictures")
        started = time.perf_counter()
        features = features_above(model, cut, inputs, fmt=plan.fmt)
        del inputs  # what found no place on the disk takes memory
        groups = self.dataset.groups[self.train_ids]
        weights = None if self.balance == "none" else self.weight_of_class[self.labels]
        soft = None if self.dataset.soft is None else self.targets
        probe = fit_probe(
            features, self.labels, len(self.dataset.classes), groups, weights=weights, soft=soft
        )
        self.on_out_of_fold(probe.out_of_fold)
        targets = torch.from_numpy(self.targets)
        with torch.no_grad():
            model.head.weight.copy_(probe.weight)
            model.head.bias.copy_(probe.bias)
            in_loss = None if weights is None else torch.from_numpy(weights)
            train = probe_scores(features, probe, targets, in_loss)
            del features
        measured = (
            plan.selection_pictures > 0 or plan.epochs > 0
        )  # on the pictures that epochs are measured on
        if not measured and len(probe.out_of_fold):
            # No picture is set aside: the out-of-fold scores are the honest ones.
            out_of_fold = torch.from_numpy(np.log(probe.out_of_fold.clip(1e-12)))
            scores = scores_of(out_of_fold, targets, balanced=self.balance != "none")
        elif not measured:
            scores = NOT_MEASURED
        else:
            network = model.above(cut) if watched is not None else model
            scores = self.scores(network, watched)
        ranks.agree_tensors(model.head)
        (train_loss, train_accuracy), scores = ranks.agreed((train, scores))
        val_loss, val_accuracy, *balanced = scores
        seconds = time.perf_counter() - started
        if probe.note:
            console.warn(probe.note)
        return Epoch(
            0,
            self.stage or "probe",
            train_loss,
            train_accuracy,
            val_loss,
            val_accuracy,
            0.0,
            0.0,
            len(self.train_ids) / seconds,
            seconds,
            *balanced,
        )

    def run_below(self, cut: str, ids: NDArray[np.int64], label: str) -> Activations:
        """Activations at ``cut`` of the evaluation view of some pictures, in their order."""
        keys = evaluation_keys(self.dataset, ids)
        return self.run(cut, self.views.evaluation, ids, keys, EVALUATION, label)

    def run_views(self, cut: str) -> Activations:
        """Activations at ``cut`` of the plan's random views of the training pictures, view after view."""
        n, number = len(self.train_ids), self.plan.views

        def view(item: int) -> Pixels | Cut:
            return self.random_view(item % n, item // n)

        keys = random_keys(self.dataset, self.train_ids, number)
        label = f"{number} views of {n} pictures"
        return self.run(cut, view, np.arange(n * number), keys, random_views(self.plan), label)

    def random_view(self, position: int, epoch: int) -> Pixels | Cut:
        """A view to train on, by the picture's place among those that train."""
        return random_view(self.plan, self.views, int(self.train_ids[position]), epoch)

    def run(
        self,
        cut: str,
        view: View,
        items: NDArray[np.int64],
        keys: Sequence[str],
        views: dict[str, Any],
        label: str,
    ) -> Activations:
        with console.progress(len(items), label) as advance:
            return self.frozen_part(cut).activations(view, items, keys=keys, views=views, advance=advance)

    def frozen_part(self, cut: str) -> FrozenPart:
        """The network below a cut: one for each, which folds and hashes it once."""
        part = self.frozen_parts.get(cut)
        if part is None:
            part = self.frozen_parts[cut] = FrozenPart(self.model, cut, loader=self.loader, cache=self.cache)
        return part

    def live_batches(self) -> LiveViews:
        recipe, seed = self.plan.recipe, self.plan.config.seed
        sampled = self.balance == "sample"
        return LiveViews(self.random_view, self.targets, self.loader, recipe.batch_size, seed, sampled)

    def forward_of(self, network: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        def forward(inputs: Tensor) -> Tensor:
            with self.plan.fmt.autocast(), FastDepthwise():
                return network(inputs)

        return forward

    def scores(self, network: nn.Module, watched: Activations | None) -> Scores:
        """Scores of the network as it is now, in training's format, on the watched pictures.

        Args:
            network: What trains.
            watched: Its inputs, if they are cached.
        """
        if not len(self.watched_ids):
            return NOT_MEASURED
        forward = self.forward_of(network)
        if self.plan.recipe.batch_norm == "train":
            ranks.agree_tensors(network, buffers_only=True)
        with evaluation_mode(self.model), torch.inference_mode():
            logits = [forward(inputs).float() for inputs in self.watched_batches(watched)]
            found = torch.cat(logits) if logits else torch.empty(0)
            if ranks.size() > 1:
                all_of_them = ranks.gathered(found.cpu().numpy(), len(self.watched_ids), BATCH_SIZE)
                found = torch.from_numpy(all_of_them).to(self.plan.fmt.device)
            scores = scores_of(found, self.watched_targets, balanced=self.balance != "none")
            return Scores(*ranks.agreed(scores))

    def watched_batches(self, watched: Activations | None) -> Iterator[Tensor]:
        if watched is not None:
            for batch in watched.own_batches(BATCH_SIZE):
                yield self.plan.fmt.inputs(batch)
            return
        own = self.watched_ids[ranks.dealt(len(self.watched_ids), BATCH_SIZE)]
        groups = [own[i : i + BATCH_SIZE] for i in range(0, len(own), BATCH_SIZE)]
        yield from self.loader.batches(self.views.evaluation, groups)


def views_of(plan: Plan, dataset: Dataset, pictures: Pictures) -> Views:
    """The views that a plan trains on."""
    recipe = plan.recipe
    return Views(
        dataset, pictures, AUGMENTATIONS[recipe.augmentation], recipe.from_originals, plan.config.seed
    )


def random_view(plan: Plan, views: Views, index: int, epoch: int) -> Pixels | Cut:
    """A view to train on, as far as the plan leaves it to the processor."""
    return (views.cut if plan.device_views else views.random)(index, epoch)
