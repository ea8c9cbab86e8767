"""What every peer shares, without torch: its arguments, the pictures, the clock and the result."""

from __future__ import annotations

import argparse
import csv
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STARTED = "BENCHMARK_STARTED"  # time.time() of the harness, just before it starts the process


@dataclass(frozen=True)
class Picture:
    """A row of the list of pictures."""

    path: str
    label: str
    split: str


@dataclass(frozen=True)
class Pictures:
    """The pictures that train, and those that are only reported on."""

    train: tuple[Picture, ...]
    test: tuple[Picture, ...]
    classes: tuple[str, ...]


def parser(description: str | None, epochs: int) -> argparse.ArgumentParser:
    """The arguments of every peer.

    Args:
        description: What the peer is.
        epochs: Its default.
    """
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--data", type=Path, required=True, help="list of pictures: path,label,split")
    made.add_argument("--weights", type=Path, required=True, help="the backbone's, under timm's names")
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--epochs", type=int, default=epochs)
    made.add_argument("--out", type=Path, required=True, help="result, JSON")
    return made


def read_pictures(path: Path) -> Pictures:
    """The list that the harness wrote."""
    with open(path, encoding="utf-8", newline="") as file:
        rows = [Picture(**row) for row in csv.DictReader(file)]
    return Pictures(
        train=tuple(row for row in rows if row.split == "train"),
        test=tuple(row for row in rows if row.split == "test"),
        classes=tuple(sorted({row.label for row in rows})),
    )


def peak_memory() -> float:
    """Most memory that this process has held so far, GB; its worker processes are not counted."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would also count what the harness held when it started the process
        lines = status.read_text(encoding="utf-8").splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024 / 1e9
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e9


class Cell:
    """One peer, data set and seed: the models that it went through and when each was complete.

    Args:
        out: File for the result.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.started = float(os.environ.get(STARTED, time.time()))
        self.paused = 0.0
        self.checkpoints: list[tuple[str, float, Any]] = []

    def checkpoint(self, name: str, copy: Callable[[], Any]) -> None:
        """Notes that a model is complete now, and keeps a copy of it; the clock stands still meanwhile."""
        now = time.time()
        self.checkpoints.append((name, now - self.started - self.paused, copy()))
        self.paused += time.time() - now

    def finish(self, correct: Callable[[Any], Sequence[bool]]) -> None:
        """Measures every checkpoint, outside of the clock, and writes the result.

        Args:
            correct: From a copy to whether each test picture, in the order of the list, is named rightly.
        """
        memory = peak_memory()
        rows: list[dict[str, Any]] = []
        for name, seconds, copy in self.checkpoints:
            right = [bool(value) for value in correct(copy)]
            rows.append(
                {
                    "name": name,
                    "seconds": round(seconds, 3),
                    "accuracy": sum(right) / len(right),
                    "correct": "".join("01"[value] for value in right),
                }
            )
        result = {"memory_gb": round(memory, 3), "checkpoints": rows}
        self.out.write_text(json.dumps(result), encoding="utf-8")
