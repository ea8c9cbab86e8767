"""How fast this machine computes: timed for about a second on the network at hand, not assumed.

The fastest way of several that differ in rounding only is taken, where that saves a person time; what was
found is kept per machine, network and versions.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from headstart.data.decoding import available_cpus
from headstart.errors import RunError
from headstart.model.classifier import HEAD, Classifier
from headstart.model.depthwise import FastDepthwise
from headstart.model.features import processor
from headstart.model.folding import folded
from headstart.model.forward import BATCH_SIZE, evaluation_mode, logits_of
from headstart.model.precision import Format
from headstart.model.transfer import freeze
from headstart.storage import home, write_atomic
from headstart.training.budget import Pace, Work
from headstart.training.recipes import Recipe
from headstart.versions import versions

REPEATS = 2
LARGEST = 32  # pictures of a timed step
TRYING = 1.5  # seconds of timing other ways than the usual one, at most
CLEARLY = 0.9  # another way must take less than this part of the usual one's time


@dataclass(frozen=True)
class Way:
    """How training computes; another way gives the same up to rounding.

    Attributes:
        fmt: Device, number format, memory format.
        threads: Processor threads of the network.
        micro_batch: Pictures per forward and backward pass.
    """

    fmt: Format
    threads: int
    micro_batch: int


class Stopwatch:
    """Times a network, on a copy of it: the original stays as it is.

    Args:
        model: The target model.
        cut: Where the part that trains begins; ``head``; None: it all trains, or nothing does.
        recipe: Whether anything trains, and how BatchNorm does.
    """

    def __init__(self, model: Classifier, cut: str | None, recipe: Recipe) -> None:
        self._model = copy.deepcopy(model)
        self._recipe = recipe
        trains = recipe.trains != "nothing"
        self._cut = cut if trains else HEAD
        if self._cut is not None:
            freeze(self._model, self._cut)

    def pace(self, way: Way) -> Pace:
        """Seconds per picture of a way."""
        fmt, model, size = way.fmt, self._model, self._model.img_size
        fmt.network(model)
        pictures = fmt.inputs(np.zeros((BATCH_SIZE, 3, size, size), np.float32))
        with processor_threads(way.threads):
            frozen = 0.0
            network: nn.Module = model
            inputs = pictures
            if self._cut is not None:
                below = folded(model).below(self._cut)
                network = model.above(self._cut)
                with evaluation_mode(model), torch.no_grad(), fmt.autocast():
                    inputs = below(pictures).float()
                    frozen = seconds_of(lambda: below(pictures), fmt) / BATCH_SIZE
            with evaluation_mode(model), torch.no_grad(), fmt.autocast(), FastDepthwise():
                above = seconds_of(lambda: network(inputs), fmt) / BATCH_SIZE
            exact = seconds_of(lambda: logits_of(model, pictures.cpu().numpy()), fmt) / BATCH_SIZE
            step = 0.0 if self._recipe.trains == "nothing" else self._step(network, inputs, way)
        return Pace(frozen, step, above, exact)

    def _step(self, network: nn.Module, inputs: Tensor, way: Way) -> float:
        number = min(way.micro_batch, LARGEST)
        inputs = torch.cat([inputs] * -(-number // len(inputs)))[:number].contiguous()
        labels = torch.zeros(number, dtype=torch.int64, device=inputs.device)
        network.train(self._recipe.batch_norm == "train" and number > 1)

        def step() -> None:
            with way.fmt.autocast(), FastDepthwise():
                logits = network(way.fmt.inputs(inputs))
            nn.functional.cross_entropy(logits.float(), labels).backward()  # type: ignore[no-untyped-call]
            network.zero_grad(set_to_none=True)

        with torch.random.fork_rng():  # dropout
            return seconds_of(step, way.fmt) / number


def seconds_of(work: Callable[[], object], fmt: Format) -> float:
    """The shortest of a few runs, after one to warm up; of one alone where that takes long."""
    found: list[float] = []
    for _ in range(1 + REPEATS):
        started = time.perf_counter()
        work()
        if fmt.accelerated:
            torch.accelerator.synchronize(fmt.device)
        found.append(time.perf_counter() - started)
        if found[0] > TRYING:
            return found[0]
    return min(found[1:])


@contextlib.contextmanager
def processor_threads(number: int) -> Iterator[None]:
    """So many threads for torch inside the block; afterwards as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def fastest(watch: Stopwatch, usual: Way, pace: Pace, fixed: frozenset[str], work: Work) -> tuple[Way, Pace]:
    """The usual way, or one that is clearly faster on this network and machine.

    Args:
        watch: Of the network.
        usual: What is known to be fast in general.
        pace: Of the usual way.
        fixed: ``precision``, ``memory_format``, ``threads``, ``micro_batch``: what may not change.
        work: For which the ways are compared.
    """
    best = usual
    started = time.perf_counter()
    for name, change in alternatives(usual):
        if name in fixed:
            continue
        if time.perf_counter() - started > TRYING:
            break
        way = change(best)
        if way is None:
            continue
        found = watch.pace(way)
        if work.seconds(found) < CLEARLY * work.seconds(pace):
            best, pace = way, found
    return best, pace


def alternatives(usual: Way) -> list[tuple[str, Callable[[Way], Way | None]]]:
    """Other ways by what they change, the likeliest first; None where there is nothing to change."""

    def micro_batch(divisor: int) -> Callable[[Way], Way | None]:
        number = usual.micro_batch // divisor
        return lambda way: dataclasses.replace(way, micro_batch=number) if number >= 4 else None

    def fmt(**fields: Any) -> Callable[[Way], Way | None]:
        if all(getattr(usual.fmt, name) == value for name, value in fields.items()):
            return lambda way: None
        return lambda way: dataclasses.replace(way, fmt=dataclasses.replace(way.fmt, **fields))

    def half_the_threads(way: Way) -> Way | None:
        # two threads of one core share its arithmetic
        return dataclasses.replace(way, threads=way.threads // 2) if way.threads >= 4 else None

    return [
        ("micro_batch", micro_batch(2)),
        ("micro_batch", micro_batch(4)),
        ("threads", half_the_threads),
        ("precision", fmt(precision="fp32")),
        ("memory_format", fmt(memory_format="contiguous")),
    ]


class Memory:
    """What was found earlier, in a file: ways and paces by all that they depend on.

    Args:
        path: Of the file; None: nothing is remembered.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path

    @classmethod
    def of_this_machine(cls) -> Memory:
        return cls(home() / "speed.json")

    def get(self, key: str) -> tuple[Way, Pace] | None:
        """What was found; None where there is nothing that can be read."""
        try:
            found = self._all()[key]
            way = found["way"]
            return Way(**{**way, "fmt": Format(**way["fmt"])}), Pace(**found["pace"])
        except (KeyError, TypeError):
            return None

    def put(self, key: str, way: Way, pace: Pace) -> None:
        """Keeps it, where the disk takes it."""
        if self.path is not None:
            values = {**self._all(), key: {"way": asdict(way), "pace": asdict(pace)}}
            with contextlib.suppress(RunError):
                write_atomic(self.path, json.dumps(values, indent=1) + "\n")

    def _all(self) -> dict[str, Any]:
        if self.path is None:
            return {}
        try:
            values = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return values if isinstance(values, dict) else {}


def key_of(
    model: Classifier, cut: str | None, recipe: Recipe, usual: Way, fixed: frozenset[str], *, tried: bool
) -> str:
    """All that a pace depends on, and whether other ways were tried."""
    facts = {
        "network": (model.source.library, model.source.architecture, model.img_size, cut, recipe.trains),
        "training": (recipe.batch_norm, recipe.batch_size),
        "usual": asdict(usual),
        "fixed": sorted(fixed),
        "tried": tried,
        "machine": (processor(usual.fmt.device), available_cpus()),
        "versions": versions(),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
