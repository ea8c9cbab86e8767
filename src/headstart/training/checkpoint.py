"""Checkpoints: all that training needs to go on from between two steps, in one file, whole or absent.

Tensors as safetensors, everything else as JSON in their header: reading one runs no code. Order, views and
schedule are functions of seed, epoch and step, so no more is needed to end in the same weights.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from headstart.errors import RunError
from headstart.model import ranks
from headstart.model.tensors import saved_tensors
from headstart.training.progress import Epoch, Progress

EVERY = 10.0  # seconds of training between two checkpoints, at least
RARELY = 20.0  # and at least so many times what writing one takes
FORMAT_VERSION = 1
State = dict[str, Tensor]


class Checkpoint:
    """The last checkpoint of a run.

    Args:
        path: The file; made when first saved.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._saved = time.monotonic()
        self._pause = EVERY

    def due(self) -> bool:
        """Whether it is time for another one. What is computed does not depend on it."""
        return time.monotonic() - self._saved >= self._pause

    def save(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        progress: Progress,
        kept: Mapping[str, State | None],
    ) -> None:
        """Writes it in the place of the one before, which stays whole if this fails.

        Args:
            network: What trains.
            optimizer: Its optimiser.
            progress: The place in training.
            kept: Further weights by name, such as those of the best epoch.

        Raises:
            RunError: HS-RUN-001 to -003.
        """
        started = time.monotonic()
        tensors: State = {"random": torch.get_rng_state()}
        tensors |= {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
        for name, state in kept.items():
            tensors |= {f"{name}.{key}": tensor for key, tensor in (state or {}).items()}
        for number, values in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{key}": torch.as_tensor(value) for key, value in values.items()}
        whole = {"format_version": FORMAT_VERSION, "progress": asdict(progress)}
        with saved_tensors(self.path, tensors, {"headstart": json.dumps(whole)}):
            pass
        self._saved = time.monotonic()
        self._pause = max(EVERY, RARELY * (self._saved - started)) if EVERY else 0.0

    def load(self) -> Saved | None:
        """What was saved; None if there is nothing yet.

        Raises:
            RunError: HS-RUN-023, the file is damaged or of another version.
        """
        from safetensors import SafetensorError, safe_open

        if not self.path.exists():
            return None
        try:
            with safe_open(self.path, framework="pt") as file:
                whole = json.loads(file.metadata()["headstart"])
                if whole["format_version"] != FORMAT_VERSION:
                    raise ValueError(f"format {whole['format_version']}")
                tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
            values = whole["progress"]
            rows = [Epoch(**row) for row in values.pop("rows")]
            before, best = (
                None if row is None else Epoch(**row) for row in (values.pop("before"), values.pop("best"))
            )
            progress = Progress(before=before, rows=rows, best=best, **values)
        except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
            raise RunError(
                "HS-RUN-023",
                f"The checkpoint cannot be used: {error}.",
                where=self.path,
                fix="Delete it: the run then starts anew with the same settings.",
            ) from error
        return Saved(progress, tensors)


class Saved:
    """A checkpoint that was read.

    Attributes:
        progress: The place in training.
    """

    def __init__(self, progress: Progress, tensors: State) -> None:
        self.progress = progress
        self._tensors = tensors

    def state(self, name: str) -> State | None:
        """Weights that were saved under a name; None if there were none."""
        prefix = f"{name}."
        found = {key.removeprefix(prefix): t for key, t in self._tensors.items() if key.startswith(prefix)}
        return found or None

    def restore(self, network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Puts network, optimiser and random numbers where they were."""
        network.load_state_dict(self.state("network") or {})
        if ranks.is_first():  # whose they are
            torch.set_rng_state(self._tensors["random"])
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        state: dict[int, dict[str, Any]] = {}
        for key, tensor in (self.state("optimizer") or {}).items():
            number, _, name = key.partition(".")
            like = parameters[int(number)]
            if tensor.shape == like.shape:  # in the memory layout of the parameter: sums in the same order
                tensor = torch.empty_like(like, dtype=tensor.dtype).copy_(tensor)
            state.setdefault(int(number), {})[name] = tensor
        optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
