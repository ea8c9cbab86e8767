"""Where training batches come from: cached activations of a few views, or new views in each epoch.

Order and views are functions of (seed, epoch, picture) alone, whatever the number of threads. Of several
processes, each gets its part of every batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headstart.data.augment import Cut
from headstart.data.preprocess import Pixels
from headstart.model import ranks
from headstart.model.features import Activations
from headstart.model.inputs import Loader
from headstart.model.precision import Format
from headstart.training.balance import Draws, balanced_draws

REPEAT = 1_000_000
"""So many epochs apart are the random views of a picture that comes again within one."""

Batch = tuple[Tensor, Tensor]


class Batches(Protocol):
    """An epoch's batches: (network input [B, ...], labels int64 [B] or probabilities [B, C]).

    Each picture once in one process, unless classes are balanced by how often they come.
    """

    @property
    def steps(self) -> int:
        """Batches per epoch."""
        ...

    def epoch(self, number: int, done: int = 0) -> Iterator[Batch]:
        """The batches of epoch ``number``, counted from 1, without the first ``done`` ones."""
        ...

    def pictures(self, batch: int) -> int:
        """How many pictures batch ``batch`` (from 0) has, in all processes together."""
        ...

    def positions(self, number: int, batch: int) -> NDArray[np.int64]:
        """Which of the n pictures batch ``batch`` (from 0) of epoch ``number`` holds."""
        ...


@dataclass(frozen=True)
class Slices:
    """How n pictures fall into batches: the last one is smaller, but not a single picture.

    A BatchNorm layer cannot learn from one picture, so a last batch of one joins the batch before.
    """

    n: int
    batch_size: int

    def bounds(self) -> list[tuple[int, int]]:
        starts = list(range(0, self.n, self.batch_size))
        if len(starts) > 1 and self.n - starts[-1] == 1:
            starts.pop()
        return list(zip(starts, [*starts[1:], self.n], strict=True))


def order(n: int, *, seed: int, epoch: int) -> NDArray[np.int64]:
    """A permutation of n pictures."""
    return np.random.default_rng((seed, epoch, 0x0DE4)).permutation(n)


class Shuffled:
    """Which pictures each batch of an epoch holds: the same wherever their inputs come from."""

    targets: NDArray[np.int64] | NDArray[np.float32]
    batch_size: int
    seed: int
    balanced: bool

    @property
    def steps(self) -> int:
        return len(self._bounds())

    def _bounds(self) -> list[tuple[int, int]]:
        return Slices(len(self.targets), self.batch_size).bounds()

    def pictures(self, batch: int) -> int:
        start, stop = self._bounds()[batch]
        return stop - start

    def positions(self, number: int, batch: int) -> NDArray[np.int64]:
        start, stop = self._bounds()[batch]
        return self.draws(number).positions[start:stop]

    def draws(self, number: int) -> Draws:
        """The pictures of epoch ``number``."""
        if self.balanced:
            labels = (self.targets if self.targets.ndim == 1 else self.targets.argmax(1)).astype(np.int64)
            return balanced_draws(labels, seed=self.seed, epoch=number)
        n = len(self.targets)
        return Draws(order(n, seed=self.seed, epoch=number), np.zeros(n, np.int64))


@dataclass(frozen=True)
class CachedViews(Shuffled):
    """Batches of cached activations; each epoch draws one of the views of each picture.

    Attributes:
        activations: Row v * n + i is view v of picture i.
        targets: Labels int64 [n], or probabilities float32 [n, C].
        balanced: Whether each class comes equally often, some pictures in several views.
    """

    activations: Activations
    targets: NDArray[np.int64] | NDArray[np.float32]
    batch_size: int
    seed: int
    fmt: Format
    balanced: bool = False

    def epoch(self, number: int, done: int = 0) -> Iterator[Batch]:
        n = len(self.targets)
        views = len(self.activations) // n
        draws = self.draws(number)
        # Each picture goes through all its views before one comes again, starting anywhere.
        first = np.random.default_rng((self.seed, 0x71E3)).integers(0, views, n)
        for bounds in self._bounds()[done:]:
            start, stop = ranks.own_part(*bounds)
            chosen, again = draws.positions[start:stop], draws.repeats[start:stop]
            inputs = self.activations.rows((first[chosen] + number + again) % views * n + chosen)
            yield self.fmt.inputs(inputs), torch.from_numpy(self.targets[chosen]).to(self.fmt.device)


@dataclass(frozen=True)
class LiveViews(Shuffled):
    """Batches of new views, made by threads while the network trains.

    Attributes:
        view: uint8 [S, S, 3] of (picture's position 0..n-1, epoch), or a `Cut`; called from threads.
        targets: Labels int64 [n], or probabilities float32 [n, C].
        loader: Makes the network's inputs of the views.
        balanced: As for `CachedViews`.
    """

    view: Callable[[int, int], Pixels | Cut]
    targets: NDArray[np.int64] | NDArray[np.float32]
    loader: Loader
    batch_size: int
    seed: int
    balanced: bool = False

    def epoch(self, number: int, done: int = 0) -> Iterator[Batch]:
        draws = self.draws(number)
        bounds = [ranks.own_part(*whole) for whole in self._bounds()[done:]]

        def view(place: int) -> Pixels | Cut:
            return self.view(int(draws.positions[place]), number + REPEAT * int(draws.repeats[place]))

        inputs = self.loader.batches(view, [np.arange(start, stop) for start, stop in bounds])
        for (start, stop), batch in zip(bounds, inputs, strict=True):
            targets = self.targets[draws.positions[start:stop]]
            yield batch, torch.from_numpy(targets).to(batch.device)
