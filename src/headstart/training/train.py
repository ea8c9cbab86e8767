"""From a source model and pictures to a trained model: probe, then fine-tuning, as the plan says."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from headstart import console
from headstart.data.augment import AUGMENTATIONS, augment
from headstart.data.dataset import Dataset
from headstart.data.pictures import Pictures
from headstart.data.preprocess import Pixels
from headstart.model.classifier import HEAD, Classifier
from headstart.model.features import BATCH_SIZE, activations, features_above
from headstart.model.forward import evaluation_mode, prefetched
from headstart.model.transfer import freeze, groups_text, parameter_groups
from headstart.training.batches import Batches, CachedViews, LiveViews
from headstart.training.fit import Epoch, EpochHook, Scores, fit
from headstart.training.plan import Plan
from headstart.training.probe import Probe, fit_probe


@dataclass(frozen=True)
class Trained:
    """A trained model.

    Attributes:
        epochs: Rows of ``results.csv``.
        kept: Number of the epoch whose weights the model has; 0 is the model before the first step.
        interrupted: Whether Ctrl-C ended training early.
        probe: The probe, if one was made.
    """

    epochs: tuple[Epoch, ...]
    kept: int
    interrupted: bool
    probe: Probe | None


class Trainer:
    """Carries out a plan on one model. Made once per run; `train` is the way in."""

    def __init__(
        self, model: Classifier, dataset: Dataset, pictures: Pictures, plan: Plan, on_epoch: EpochHook
    ) -> None:
        self.model = model
        self.dataset = dataset
        self.pictures = pictures
        self.plan = plan
        self.on_epoch = on_epoch
        self.train_ids = dataset.indices("train")
        self.labels = dataset.labels[self.train_ids]
        selects = plan.selection_pictures > 0
        self.watched_ids = dataset.indices("selection" if selects else dataset.reported_split)
        """The pictures of the column val_*: those that choose the epoch, else the reported ones."""
        self.watched_labels = torch.from_numpy(dataset.labels[self.watched_ids]).to(plan.fmt.device)

    def train(self) -> Trained:
        """Probe if the recipe wants one, then the epochs."""
        plan, model = self.plan, self.model
        plan.fmt.network(model)
        probe, before = None, None
        cut = plan.cut or (HEAD if plan.epochs == 0 else None)
        cached = cut is not None and (plan.views > 0 or plan.epochs == 0)
        watched: Tensor | None = None
        if cached and (plan.selection_pictures or plan.epochs):
            assert cut is not None
            watched = self.run_below(cut, self.watched_ids, "reading the network's features")
        if plan.recipe.head_init == "probe":
            centre = self.run_below(cut or HEAD, self.train_ids, "features of the training pictures")
            probe, before = self.probe(cut or HEAD, centre, watched)
        try:
            if before is not None:
                self.on_epoch(before)
            if plan.epochs == 0:
                return Trained((before,) if before else (), 0, False, probe)
            network, batches = self.prepare(cut, cached)
        except KeyboardInterrupt:  # the model is the probe still
            if before is None:
                raise
            return Trained((before,), 0, True, probe)
        groups = parameter_groups(
            network,
            lr_backbone=plan.recipe.lr,
            lr_head=plan.recipe.lr * plan.recipe.head_lr_factor,
            weight_decay=plan.recipe.weight_decay,
            decay_1d=plan.recipe.decay_1d,
        )
        console.say(groups_text(groups))
        fitted = fit(
            network,
            batches,
            plan.recipe,
            groups,
            forward=self.forward_of(network),
            evaluate=lambda: self.scores(network, watched),
            on_epoch=self.on_epoch,
            before=before,
            stage=plan.config.strategy,
        )
        rows = ((before,) if before else ()) + fitted.epochs
        return Trained(rows, fitted.kept, fitted.interrupted, probe)

    def prepare(self, cut: str | None, cached: bool) -> tuple[nn.Module, Batches]:
        """Freezes what does not train; the network that trains, and its batches."""
        plan, model = self.plan, self.model
        if cut is not None:
            freeze(model, cut)
        if not cached or cut is None:
            return model, self.live_batches()
        views = self.run_views(cut)
        batches = CachedViews(views, self.labels, plan.recipe.batch_size, plan.config.seed, plan.fmt)
        return model.above(cut), batches

    def probe(self, cut: str, centre: Tensor, watched: Tensor | None) -> tuple[Probe, Epoch]:
        """Fits the probe, makes it the model's head, and measures it."""
        plan, model = self.plan, self.model
        started = time.perf_counter()
        features = features_above(model, cut, centre, fmt=plan.fmt)
        groups = self.dataset.groups[self.train_ids]
        probe = fit_probe(features, self.labels, len(self.dataset.classes), groups)
        with torch.no_grad():
            model.head.weight.copy_(probe.weight)
            model.head.bias.copy_(probe.bias)
            logits = features @ probe.weight.T + probe.bias
        train_loss, train_accuracy = loss_and_accuracy(logits, torch.from_numpy(self.labels))
        if plan.selection_pictures == 0 and len(probe.out_of_fold):
            # No picture is set aside: the out-of-fold scores are the honest ones.
            out_of_fold = torch.from_numpy(np.log(probe.out_of_fold.clip(1e-12)))
            val_loss, val_accuracy = loss_and_accuracy(out_of_fold, torch.from_numpy(self.labels))
        elif plan.selection_pictures == 0:
            val_loss = val_accuracy = float("nan")
        else:
            network = model.above(cut) if watched is not None else model
            val_loss, val_accuracy = self.scores(network, watched)
        seconds = time.perf_counter() - started
        if probe.note:
            console.warn(probe.note)
        row = Epoch(
            0,
            "probe",
            train_loss,
            train_accuracy,
            val_loss,
            val_accuracy,
            0.0,
            0.0,
            len(centre) / seconds,
            seconds,
        )
        return probe, row

    def evaluation_view(self, index: int) -> Pixels:
        """uint8 [S, S, 3] of a picture, without chance."""
        return self.pictures.preprocess.evaluation_crop(self.pictures[index])

    def run_below(self, cut: str, ids: NDArray[np.int64], label: str) -> Tensor:
        """Activations at ``cut`` of the evaluation view of some pictures, [n, ...]."""
        return self.run(cut, self.evaluation_view, ids, label)

    def run_views(self, cut: str) -> Tensor:
        """Activations at ``cut`` of the plan's random views of the training pictures, [V, n, ...]."""
        n, views = len(self.train_ids), self.plan.views

        def view(item: int) -> Pixels:
            return self.random_view(item % n, item // n)

        flat = self.run(cut, view, np.arange(n * views), f"{views} views of {n} pictures")
        return flat.reshape(views, n, *flat.shape[1:])

    def run(self, cut: str, view: Callable[[int], Pixels], items: NDArray[np.int64], label: str) -> Tensor:
        with console.progress(len(items), label) as advance:
            return activations(
                self.model,
                cut,
                view,
                items,
                preprocess=self.pictures.preprocess,
                fmt=self.plan.fmt,
                workers=self.plan.workers,
                advance=advance,
            )

    def random_view(self, position: int, epoch: int) -> Pixels:
        """A random view of a training picture: uint8 [S, S, 3]; a function of seed, epoch, content."""
        index = int(self.train_ids[position])
        preprocess = self.pictures.preprocess
        augmentation = AUGMENTATIONS[self.plan.recipe.augmentation]
        if preprocess.fit == "pad":
            source = self.evaluation_view(index)
        elif self.plan.recipe.from_originals and augmentation.scale is not None:
            source = np.asarray(self.pictures.original(index))
        else:
            source = self.pictures[index]
        return augment(
            source,
            preprocess.img_size,
            augmentation,
            seed=self.plan.config.seed,
            epoch=epoch,
            sample_id=str(self.dataset.file_hashes[index]),
            interpolation=preprocess.interpolation,
        )

    def live_batches(self) -> LiveViews:
        return LiveViews(
            self.random_view,
            self.labels,
            self.pictures.preprocess,
            self.plan.recipe.batch_size,
            self.plan.config.seed,
            self.plan.fmt,
            self.plan.workers,
        )

    def forward_of(self, network: nn.Module) -> Callable[[Tensor], Tensor]:
        def forward(inputs: Tensor) -> Tensor:
            with self.plan.fmt.autocast():
                logits: Tensor = network(inputs)
            return logits

        return forward

    def scores(self, network: nn.Module, watched: Tensor | None) -> Scores:
        """Loss and accuracy of the network as it is now, in training's format, on the watched pictures.

        Args:
            network: What trains.
            watched: Its inputs, if they are cached.
        """
        forward = self.forward_of(network)
        with evaluation_mode(self.model), torch.inference_mode():
            logits = [forward(inputs).float() for inputs in self.watched_batches(watched)]
            return loss_and_accuracy(torch.cat(logits), self.watched_labels)

    def watched_batches(self, watched: Tensor | None) -> Iterator[Tensor]:
        if watched is not None:
            for start in range(0, len(watched), BATCH_SIZE):
                yield self.plan.fmt.inputs(watched[start : start + BATCH_SIZE])
            return
        preprocess = self.pictures.preprocess

        def batch_of(ids: NDArray[np.int64]) -> NDArray[np.float32]:
            return preprocess.normalize(np.stack([self.evaluation_view(int(i)) for i in ids]))

        batches = [self.watched_ids[i : i + BATCH_SIZE] for i in range(0, len(self.watched_ids), BATCH_SIZE)]
        for batch in prefetched(batch_of, batches, workers=self.plan.workers, ahead=2 * self.plan.workers):
            yield self.plan.fmt.inputs(batch)


def loss_and_accuracy(logits: Tensor, labels: Tensor) -> Scores:
    """Mean cross-entropy (nats) and accuracy (0-1) of logits [n, C] or log-probabilities; nan for n = 0."""
    if len(labels) == 0:
        return float("nan"), float("nan")
    loss = nn.functional.cross_entropy(logits.float(), labels)
    return float(loss), float((logits.argmax(1) == labels).float().mean())
