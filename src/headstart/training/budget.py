"""Training in a given time: what is worth doing first, and what it takes on this machine."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from dataclasses import dataclass

from headstart.config import Refit
from headstart.errors import ConfigError
from headstart.training.recipes import Recipe

PLANNED = 0.9  # of the time left: measured for a second, a pace is that of other seconds to a tenth
LATEST = 1.05  # of the budget: training ends early rather than later than this
OVERHEAD = 2.0  # seconds: curves, tables, bundles
SHORTER = ((8, 12), (6, 10), (4, 8), (4, 6), (3, 4), (2, 3))
"""Views and epochs, from the recipe's own down; a guess (decision 11)."""
FAMILIAR, FAMILIAR_PER_CLASS = 500, 4
READING = 2.0  # seconds after which the pace of reading says how long it takes


@dataclass(frozen=True)
class Pace:
    """Seconds per picture.

    Attributes:
        frozen: One view through the frozen part.
        step: Its share of a training step.
        above: What trains, forward only.
        exact: The whole network in fp32, as figures are measured.
    """

    frozen: float
    step: float
    above: float
    exact: float


@dataclass(frozen=True)
class Work:
    """What there is to compute: pictures that go each way, all in all."""

    frozen: int
    step: int
    above: int
    exact: int

    def seconds(self, pace: Pace) -> float:
        """At this pace."""
        return (
            self.frozen * pace.frozen
            + self.step * pace.step
            + self.above * pace.above
            + self.exact * pace.exact
        )


@dataclass(frozen=True)
class Pictures:
    """How many pictures are trained on, selected on and reported on."""

    train: int
    selection: int
    reported: int


@dataclass(frozen=True)
class Kept:
    """Views that earlier runs have put through the frozen part.

    Attributes:
        plain: Evaluation views of the pictures that train and that are selected on.
        random: Random views of those that train.
        added: Both, of the pictures that a refit adds.
    """

    plain: int = 0
    random: int = 0
    added: int = 0


@dataclass(frozen=True)
class Forecast:
    """Seconds that the stages of a run take."""

    probe: float
    finetune: float
    evaluation: float
    refit: float = 0.0
    lr_find: float = 0.0

    @property
    def total(self) -> float:
        return self.probe + self.finetune + self.evaluation + self.refit + self.lr_find + OVERHEAD


def forecast(
    recipe: Recipe,
    pace: Pace,
    pictures: Pictures,
    *,
    cached_views: int,
    features: int,
    classes: int,
    refit: Refit = "none",
    sweep: int = 0,
    kept: Kept | None = None,
) -> Forecast:
    """What the stages take at this pace.

    Args:
        recipe: Epochs, interpolations, whether there is a probe.
        pace: Of this machine.
        pictures: Their numbers.
        cached_views: Per picture; 0 where every epoch runs through the whole network.
        features: Width of the features.
        classes: How many.
        refit: What trains once more.
        sweep: Pictures, with repetition, of the sweep over learning rates.
        kept: What need not be computed again; None: nothing.
    """
    kept = kept or Kept()
    n, selected = pictures.train, pictures.selection
    probe = 0.0
    if recipe.head_init == "probe":
        below = Work(frozen=n + selected - kept.plain, step=0, above=n + selected, exact=0).seconds(pace)
        probe = below + solving(n, features, classes)
    finetune = 0.0
    if recipe.trains != "nothing":
        evaluations = recipe.epochs + (len(recipe.interpolation) if selected else 0)
        live = 0 if cached_views else n * recipe.epochs
        work = Work(
            frozen=cached_views * n + live - kept.random,
            step=n * recipe.epochs,
            above=selected * evaluations,
            exact=0,
        )
        finetune = work.seconds(pace)
    evaluation = (selected + pictures.reported + familiar_pictures(n, classes)) * pace.exact
    again = 0.0
    if refit != "none":
        added = selected + (pictures.reported if refit == "all" else 0)
        more = Pictures(n + added, 0, 0)
        whole = forecast(recipe, pace, more, cached_views=cached_views, features=features, classes=classes)
        known = n * (cached_views + 1) + kept.added  # activations that are cached by now
        again = whole.probe + whole.finetune - known * pace.frozen
        if refit == "all":  # whose model is measured no more, but learns once more what is familiar
            again += familiar_pictures(n + added, classes) * pace.exact
    found = Work(frozen=0 if cached_views else sweep, step=sweep, above=0, exact=0).seconds(pace)
    return Forecast(probe, finetune, evaluation, again, found)


def familiar_pictures(trained: int, classes: int) -> int:
    """How many training pictures tell the saved weights what is familiar (decision 19)."""
    return min(trained, max(FAMILIAR, FAMILIAR_PER_CLASS * classes))


def solving(pictures: int, features: int, classes: int) -> float:
    """Seconds of the probe's solver; its work grows with each of the three (decision 11)."""
    return 0.5 + 1.2e-7 * pictures * min(pictures, features) * max(2, classes)


def shorter(recipe: Recipe) -> Iterator[tuple[int, Recipe]]:
    """Fewer views and epochs of a recipe, from the longest plan to the shortest."""
    yield recipe.views, recipe
    for views, epochs in SHORTER:
        if epochs < recipe.epochs:
            yield min(views, recipe.views), dataclasses.replace(recipe, epochs=epochs)


class Budget:
    """The time that a run may take, from a moment on.

    Args:
        text: As the user wrote it.
        seconds: In all.
        started: When it began, by `time.perf_counter`.
    """

    def __init__(self, text: str, seconds: float, started: float) -> None:
        self.text = text
        self.seconds = seconds
        self.started = started
        self._reserve = 0.0
        self._reading = started

    @property
    def left(self) -> float:
        """Seconds."""
        return self.started + self.seconds - time.perf_counter()

    def reserve(self, seconds: float) -> None:
        """Keeps time for what comes after training."""
        self._reserve = seconds

    def used_up(self) -> bool:
        """Whether training must end now."""
        return self.left < self._reserve - (LATEST - 1) * self.seconds

    def check_reading(self, done: int, total: int) -> None:
        """Called after each picture that is read, from the first one of a reading on.

        Raises:
            ConfigError: HS-CONFIG-011, what is still to be read takes longer than what is left.
        """
        now = time.perf_counter()
        if done == 1:  # what came before was something else
            self._reading = now
            return
        lasted = now - self._reading
        missing = lasted / (done - 1) * (total - done)
        if lasted > READING and missing > self.left:
            raise self.too_small(now - self.started + missing + OVERHEAD, "to read the pictures")

    def too_small(self, seconds: float, what: str) -> ConfigError:
        """What to say where the budget does not suffice even for the least."""
        return ConfigError(
            "HS-CONFIG-011",
            f"The budget of {self.text} does not suffice {what}: that takes about {lasting(seconds)}.",
            fix=f"Give more time: --budget {lasting(1.2 * seconds)}",
        )


def lasting(seconds: float) -> str:
    """A time as `--budget` takes it: ``45s``, ``3m``, ``1.5h``."""
    if seconds < 100:
        return f"{max(1, round(seconds))}s"
    if seconds < 100 * 60:
        return f"{seconds / 60:.0f}m"
    return f"{seconds / 3600:.1f}h"
