"""Activations of the frozen part, computed once: what lies above is trained on them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headstart import console
from headstart.data.cache import Cache, picture_signature
from headstart.data.store import ArrayStore, finish
from headstart.model import ranks
from headstart.model.classifier import HEAD, Classifier
from headstart.model.folding import folded
from headstart.model.forward import BATCH_SIZE, evaluation_mode
from headstart.model.inputs import Loader, View
from headstart.model.precision import Format
from headstart.versions import versions

ACCELERATOR_BATCH_SIZE = 128

Indices = NDArray[np.int64] | Sequence[int]


class Activations:
    """Activations [n, ...] by row: in memory, or memory-mapped.

    Args:
        rows: Each of the same shape; bfloat16 as int16, else float32.
    """

    def __init__(self, rows: Sequence[NDArray[Any]]) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def rows(self, indices: Indices) -> Tensor:
        """Some rows, in that order: a copy, bfloat16 or float32, [b, ...]."""
        rows = [self._rows[int(i)] for i in indices]
        stacked = torch.from_numpy(np.stack(rows) if rows else self._rows[0][None][:0].copy())
        return stacked.view(torch.bfloat16) if stacked.dtype == torch.int16 else stacked

    def batches(self, size: int) -> Iterator[Tensor]:
        """All rows in order, ``size`` at a time."""
        for start in range(0, len(self), size):
            yield self.rows(range(start, min(start + size, len(self))))

    def own_batches(self, size: int) -> Iterator[Tensor]:
        """The batches that are dealt to this process."""
        own = ranks.dealt(len(self), size)
        for start in range(0, len(own), size):
            yield self.rows(own[start : start + size])

    def all(self) -> Tensor:
        """Every row."""
        return self.rows(range(len(self)))


class FrozenPart:
    """What lies below a cut, in evaluation mode, and what is known of its activations from earlier runs.

    Args:
        model: Lies on the device of the loader's format; what lies below the cut stays as it is from now on.
        cut: A stage's name, or ``head``.
        loader: Makes the network's inputs of the views, in the number format.
        cache: Disk space where activations are kept for later runs; None: they stay in memory.
    """

    def __init__(
        self,
        model: Classifier,
        cut: str | int,
        *,
        loader: Loader,
        cache: Cache | None = None,
    ) -> None:
        self.model = model
        self._quick: Classifier | None = None
        self.cut = model.cut_name(cut)
        self.loader = loader
        self.fmt = fmt = loader.fmt
        self.cache = cache
        self.batch_size = ACCELERATOR_BATCH_SIZE if fmt.accelerated else BATCH_SIZE
        self.storage = torch.float32 if self.cut == HEAD else fmt.storage

    def activations(
        self,
        view: View,
        items: Indices,
        *,
        keys: Sequence[str] | None = None,
        views: dict[str, Any] | None = None,
        advance: Callable[[int], object] | None = None,
    ) -> Activations:
        """What leaves the frozen part.

        Args:
            view: uint8 [S, S, 3] of an item, or a `Cut`; called from threads.
            items: n items, such as indices of pictures.
            keys: What tells each item's view from those of others, by its content; None: nothing is cached.
            views: All else that decides what ``view`` makes.
            advance: Called with the number of items just done.

        Returns:
            n >= 1 rows, in the format's storage type (float32 at the head).
        """
        if self.cache is not None and keys is not None:
            return self._cached(self.cache, view, items, keys, views or {}, advance)
        own = ranks.dealt(len(items), self.batch_size)
        rows: list[NDArray[Any]] = []
        for batch in self._computed(view, [int(items[i]) for i in own]):
            rows += list(batch)
            if advance is not None:
                advance(len(batch))
        return Activations(self._of_all(rows, len(items)))

    def _of_all(self, own: list[NDArray[Any]], n: int) -> Sequence[NDArray[Any]]:
        """The n rows that all processes computed together, in order."""
        if ranks.size() == 1:
            return own
        return list(ranks.gathered(np.stack(own) if own else np.empty(0), n, self.batch_size))

    def _cached(
        self,
        cache: Cache,
        view: View,
        items: Indices,
        keys: Sequence[str],
        views: dict[str, Any],
        advance: Callable[[int], object] | None,
    ) -> Activations:
        signature = self.signature() | views
        store = cache.store("activations", signature)
        here = ranks.all_have(np.array([store.get(key) is not None for key in keys], bool))
        missed = {key: i for i, key in enumerate(keys) if not here[i]}
        own = set(ranks.dealt(len(missed), self.batch_size).tolist())
        positions = {key: i for number, (key, i) in enumerate(missed.items()) if number in own}
        rows: dict[str, NDArray[Any]] = {}
        if advance is not None:
            advance(len(items) - len(missed))
        if positions:
            batches = self._computed(view, [int(items[i]) for i in positions.values()])
            first = next(batches)
            what = f"{console.counted(len(positions), 'view', 'views')} below {self.cut}"
            expected = first[0].nbytes * len(positions)
            missing = iter(positions)
            with cache.writer(store, first.dtype.str, expected, what) as writer:
                for batch in chain([first], batches):
                    for row in batch:
                        key = next(missing)
                        if not writer.add(key, row):
                            rows[key] = row
                    if advance is not None:
                        advance(len(batch))
        if ranks.size() > 1 and missed:
            finish()
            ranks.wait()  # then what the others of this machine wrote can be read
            store.add_others(cache.store("activations", signature))
        for key in keys:
            if (entry := store.get(key)) is not None:
                rows[key] = entry.array()
        of_others = missed.keys() - positions.keys()
        gone = [(key, i) for i, key in enumerate(keys) if key not in rows and key not in of_others]
        if lost := dict(gone):  # by the disk that took them
            computed = self._computed(view, [int(items[i]) for i in lost.values()])
            rows |= zip(lost, chain.from_iterable(computed), strict=True)
        if ranks.size() > 1:
            self._complete(rows, list(missed))
        return Activations([rows[key] for key in keys])

    def _complete(self, rows: dict[str, NDArray[Any]], keys: Sequence[str]) -> None:
        """Gets rows that others computed where their disk is not this machine's."""
        if ranks.all_have(np.array([all(key in rows for key in keys)])).all():
            return  # all processes are on one machine
        own = [rows[keys[i]] for i in ranks.dealt(len(keys), self.batch_size)]
        for key, row in zip(keys, self._of_all(own, len(keys)), strict=True):
            rows.setdefault(key, row)

    def _computed(self, view: View, items: Indices) -> Iterator[NDArray[Any]]:
        """Activations of the items, batch by batch; bfloat16 as int16.

        A short last batch is filled up: a row must not depend on how many others there are.
        """
        if self._quick is None:
            self._quick = folded(self.model)
        below = self._quick.below(self.cut)
        size = self.batch_size
        groups = [list(items[i : i + size]) for i in range(0, len(items), size)]
        for group, batch in zip(groups, self.loader.batches(view, groups, size=size), strict=True):
            with evaluation_mode(self._quick), torch.no_grad(), self.fmt.autocast():
                rows = below(batch)[: len(group)].to("cpu", self.storage).contiguous()
            yield (rows.view(torch.int16) if rows.dtype == torch.bfloat16 else rows).numpy()

    def store(self, views: dict[str, Any]) -> ArrayStore:
        """What the cache has of such views."""
        assert self.cache is not None
        return self.cache.store("activations", self.signature() | views)

    def signature(self) -> dict[str, Any]:
        """All that decides an activation, beside the view."""
        preprocess = self.loader.preprocess
        return {
            "weights": self.digest(),
            "batch_norm": "folded",
            "cut": self.cut,
            "format": asdict(self.fmt) | {"device": torch.device(self.fmt.device).type},
            "preprocess": preprocess.to_dict() | picture_signature(preprocess),
            "batch_size": self.batch_size,
            "threads": torch.get_num_threads(),
            "versions": versions(),
            "processor": processor(self.fmt.device),
        }

    def digest(self) -> str:
        """SHA-256 of the architecture and all tensors of the frozen part."""
        source = self.model.source
        digest = hashlib.sha256(f"{source.library} {source.architecture}".encode())
        for tensor in self.model.tensors_below(self.cut):
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        return digest.hexdigest()


def processor(device: str) -> str:
    """What computes: its results may differ from those of another one."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    return f"{device} {torch.backends.cpu.get_cpu_capability()}"


def features_above(model: Classifier, cut: str | int, inputs: Activations, *, fmt: Format) -> Tensor:
    """Features float32 [n, D] of activations at ``cut``, in evaluation mode, on the CPU."""
    above = model.above(cut)
    size = ACCELERATOR_BATCH_SIZE if fmt.accelerated else BATCH_SIZE
    with evaluation_mode(model), torch.no_grad(), fmt.autocast():
        features = torch.empty(len(ranks.dealt(len(inputs), size)), model.num_features)
        start = 0
        for batch in inputs.own_batches(size):  # straight into their place: many take half of the memory so
            features[start : start + len(batch)] = above.features(fmt.inputs(batch)).float()
            start += len(batch)
    return torch.from_numpy(ranks.gathered(features.numpy(), len(inputs), size))
