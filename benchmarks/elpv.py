"""`headstart demo` on several splits of the solar cells: by cells, as published, and by modules.

Every run is a process of its own, kept in ``benchmarks/.cells`` and not measured again unless the
code, the machine or a version changed.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from scale import fingerprint

HERE = Path(__file__).parent
CELLS = HERE / ".cells"
SEEDS = {"cells": range(5), "modules": range(3)}
Rows = list[dict[str, Any]]


def elpv(data: Path) -> Rows:
    """A row of each run, then the means."""
    CELLS.mkdir(exist_ok=True)
    rows = [cell(split, seed) for seed in range(5) for split, seeds in SEEDS.items() if seed in seeds]
    return [*rows, *means_of(rows)]


def cell(split: str, seed: int) -> dict[str, Any]:
    """One run, from its process' start; its first row is the probe with which it begins."""
    identity = fingerprint()
    path = CELLS / f"elpv-{split}-{seed}.json"
    if path.exists():
        kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if kept.pop("identity") == identity:
            return kept
    print(f"  {split}, seed {seed} ...", end=" ", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-m",
            "headstart",
            "demo",
            "-o",
            folder,
            "--split",
            split,
            "--seed",
            str(seed),
        ]
        command += ["--strategies", "finetune", "--json"]
        started = time.perf_counter()
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "HEADSTART_HOME": folder},  # an empty cache
        )
        seconds = time.perf_counter() - started
        if done.returncode:
            raise RuntimeError(f"headstart demo: {done.stderr[-2000:]}")
        found = json.loads(done.stdout)["rows"][-1]
    row = {
        "split": split,
        "seed": seed,
        "accuracy": found["accuracy"],
        "n": found["n"],
        "interval_95": found["interval_95"],
        "seconds": round(seconds, 1),
    }
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps({**row, "identity": identity}), encoding="utf-8")
    temporary.replace(path)
    print(f"accuracy {row['accuracy']:.3f} after {seconds:.0f} s")
    return row


def means_of(rows: Rows) -> Rows:
    """Mean and range over the seeds, for each kind of split."""
    means: Rows = []
    for split in SEEDS:
        own = [row for row in rows if row["split"] == split]
        accuracies = [row["accuracy"] for row in own]
        seconds = [row["seconds"] for row in own]
        means.append(
            {
                "mean_over_seeds": split,
                "seeds": len(own),
                "mean_accuracy": round(statistics.mean(accuracies), 4),
                "lowest": min(accuracies),
                "highest": max(accuracies),
                "median_seconds": statistics.median(seconds),
                "longest_seconds": max(seconds),
            }
        )
    return means
