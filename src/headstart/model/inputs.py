"""Views on their way to the network, a few batches ahead of it: from threads to the device.

For the processor, threads resize, turn and standardise. To an accelerator, pictures travel as the bytes that
they are, random views as the part that they show, and the rest is done there: fewer bytes, and hardly any
work for the processor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headstart.data.augment import Cut
from headstart.data.prefetch import prefetched
from headstart.data.preprocess import Pixels, Preprocess
from headstart.model.forward import BATCH_SIZE
from headstart.model.precision import Format
from headstart.model.resampling import resized

PACKED_AHEAD = 2  # batches that wait for an accelerator

View = Callable[[int], Pixels | Cut]
Items = Sequence[int] | NDArray[np.int64]


class Loader:
    """Makes the network's inputs, float32 [b, 3, S, S] on the device of ``fmt``.

    Args:
        preprocess: Its size S, interpolation, mean and standard deviation.
        fmt: Where they go, and in which memory format.
        workers: Threads that make views.
        on_device: Whether they travel as bytes and the device does the rest; None: if it is an accelerator.
            It must, where views are a `Cut`.
    """

    def __init__(
        self, preprocess: Preprocess, fmt: Format, workers: int, *, on_device: bool | None = None
    ) -> None:
        self.preprocess = preprocess
        self.fmt = fmt
        self.workers = workers
        self.on_device = fmt.accelerated if on_device is None else on_device

    def batches(self, view: View, groups: Sequence[Items], *, size: int | None = None) -> Iterator[Tensor]:
        """The inputs of each group of items, in order.

        Args:
            view: uint8 [S, S, 3] of an item, or a `Cut`; called from threads.
            groups: Items, such as indices of pictures.
            size: Pictures of a batch; what a group lacks is zero. None: as many as the group has.
        """
        made = self._packed(view, groups) if self.on_device else self._standardised(view, groups)
        for batch in made:
            inputs = self.fmt.inputs(self.finished(batch) if isinstance(batch, Packed) else batch)
            missing = 0 if size is None else size - len(inputs)
            yield self.fmt.inputs(padded(inputs, missing)) if missing > 0 else inputs

    def _standardised(self, view: View, groups: Sequence[Items]) -> Iterator[NDArray[np.float32]]:
        def batch_of(items: Items) -> NDArray[np.float32]:
            return self.preprocess.normalize(np.stack([view(int(i)) for i in items]))  # type: ignore[misc]

        if max(map(len, groups), default=0) <= BATCH_SIZE and all(map(len, groups)):
            yield from prefetched(batch_of, groups, workers=self.workers, ahead=4 * self.workers)
            return
        # A large batch is shared out to all threads: the network waits for the first one.
        ahead = max(2 * max(map(len, groups)), 2 * self.workers)
        singles: Iterator[Items] = ([int(i)] for i in chain.from_iterable(groups))
        pictures = prefetched(batch_of, singles, workers=self.workers, ahead=ahead)
        side = self.preprocess.img_size
        for group in groups:
            parts = list(islice(pictures, len(group)))
            yield np.concatenate(parts) if parts else np.empty((0, 3, side, side), np.float32)

    def _packed(self, view: View, groups: Sequence[Items]) -> Iterator[Packed]:
        ahead = max(2 * max(map(len, groups), default=0), 2 * self.workers)
        items = (int(i) for i in chain.from_iterable(groups))
        cuts = prefetched(lambda i: as_cut(view(i)), items, workers=self.workers, ahead=ahead)
        pinned = torch.device(self.fmt.device).type == "cuda"
        yield from prefetched(
            lambda group: packed(list(islice(cuts, len(group))), pinned=pinned),
            groups,
            workers=1,  # in order
            ahead=PACKED_AHEAD,
        )

    def finished(self, batch: Packed) -> Tensor:
        """Resized, turned and standardised where the batch goes to."""
        preprocess, device = self.preprocess, torch.device(self.fmt.device)
        size = preprocess.img_size
        if not len(batch):
            return torch.empty((0, 3, size, size), device=device)
        pixels = batch.pixels.to(device, non_blocking=batch.pixels.is_pinned())
        if (batch.sides == size).all():
            grey = pixels.permute(0, 3, 1, 2).to(torch.float32)
        else:
            grey = resized(pixels, batch.sides, size, preprocess.interpolation)
        return standardised(turned(grey, batch.mirrored, batch.turns), preprocess)


@dataclass(frozen=True, eq=False)
class Packed:
    """Pictures of several sizes as one block of bytes.

    Attributes:
        pixels: uint8 [b, H, W, 3], each in the upper left corner; what is beside it is undefined.
        sides: Height and width of each, [b, 2].
        mirrored: As of a `Cut`, [b].
        turns: The same.
    """

    pixels: Tensor
    sides: NDArray[np.int64]
    mirrored: NDArray[np.bool_]
    turns: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.sides)


def as_cut(view: Pixels | Cut) -> Cut:
    """A whole view shows all of itself."""
    return view if isinstance(view, Cut) else Cut(np.ascontiguousarray(view))


def packed(cuts: Sequence[Cut], *, pinned: bool = False) -> Packed:
    """Some views as one block; ``pinned``: in memory from which a GPU takes it while others compute."""
    sides = np.array([cut.pixels.shape[:2] for cut in cuts], np.int64).reshape(-1, 2)
    height, width = sides.max(0, initial=0)
    pixels = torch.empty((len(cuts), int(height), int(width), 3), dtype=torch.uint8, pin_memory=pinned)
    for target, cut in zip(pixels.numpy(), cuts, strict=True):
        target[: cut.pixels.shape[0], : cut.pixels.shape[1]] = cut.pixels
    mirrored, turns = [cut.mirrored for cut in cuts], [cut.turns for cut in cuts]
    return Packed(pixels, sides, np.array(mirrored, bool), np.array(turns, np.int64))


def turned(pictures: Tensor, mirrored: NDArray[np.bool_], turns: NDArray[np.int64]) -> Tensor:
    """Squares [b, 3, S, S], mirrored and then rotated as their `Cut` says."""

    def where(chosen: NDArray[np.bool_], change: Callable[[Tensor], Tensor]) -> Tensor:
        if not chosen.any():
            return pictures
        flags = torch.from_numpy(chosen).to(pictures.device)[:, None, None, None]
        return torch.where(flags, change(pictures), pictures)

    pictures = where(mirrored, lambda x: x.flip(-1))
    half, quarter = turns >= 2, turns % 2 == 1
    pictures = where(half, lambda x: x.flip((-1, -2)))
    return where(quarter, lambda x: torch.rot90(x, 1, (-2, -1)))


def standardised(grey: Tensor, preprocess: Preprocess) -> Tensor:
    """``(x / 255 - mean) / std`` of grey levels [b, 3, S, S], rounded as `Preprocess.normalize` rounds.

    All numbers are tensors of the device: torch would multiply by the inverse of a plain number.
    """
    most, mean, std = (
        torch.tensor(values, dtype=torch.float32, device=grey.device)[:, None, None]
        for values in ((255.0,) * 3, preprocess.mean, preprocess.std)
    )
    return (grey / most - mean) / std


def padded(batch: Tensor, missing: int) -> Tensor:
    """A batch with so many further pictures, which are zero."""
    return torch.cat([batch, batch.new_zeros((missing, *batch.shape[1:]))])
