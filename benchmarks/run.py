"""Measures the published figures on this machine: ``python benchmarks/run.py [NAME ...] --data FOLDER``.

Each benchmark starts `headstart` as a process of its own, with an empty cache, so that its seconds are those
that a person waits the first time, start-up included. Results are written to
``benchmarks/results/DATE-NAME.json`` with machine and versions; what could not be run is recorded with its
reason. Leave the machine alone while it runs.

    defaults    `headstart train` at its defaults, 5 seeds (ants-bees, hotdog-small, chairs); once more with
                the cache of the first run
    lesson      recipe d2l against scratch, ResNet-18's job on the bundled network (hotdog-small)
    published   the lesson itself: needs the network for its pictures and ResNet-18's weights
    compare     `headstart compare` at its defaults (hotdog-small, 3 seeds): all seconds, and what is said;
                within 15 minutes on 2 cores
    demo        `headstart demo`
    elpv        `headstart demo` on 5 splits by cells, as published, and 3 by modules; goes on where it was
                stopped
    startup     `headstart --help`, 20 runs
    scale       seconds and memory of 1,000 to 100,000 drawn pictures; takes an hour or two, goes on where
                it was stopped
    throughput  the backbone's forward fed from the cache, beside a bare loop
    check       `headstart check` beside bare decoding of the same JPEGs, a second time, and its search for
                near copies among 100,000 (HEADSTART_BENCHMARK_PICTURES: how many JPEGs; 10,000)
    serve       `headstart serve` under load: throughput beside `predict`, what batches win, latency at 1.5
                times its capacity
    serve-memory its memory over 20,000 requests
    labels      5 % flipped labels (chairs, a probe): the share that stands in the first tenth of
                `headstart suspects`, 3 draws
    unknown     pictures of held-out classes and of other data sets told from those of known classes, by
                Mahalanobis distance and k-NN on features (chairs, ants-bees, hotdog-small, brain-mri)
    peers       headstart beside other tools on the same pictures and weights; takes hours, goes on where it
                was stopped; needs the extra `bench`. `python benchmarks/report.py` draws its plot and table
    peers-quick the same on ants-bees alone with one seed; only if it is named
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from check import check
from elpv import elpv
from labels import labels
from machine import PEERS, machine
from peer_cells import peers, peers_quick
from scale import scale
from serve import serve, serve_memory
from throughput import throughput
from unknown import unknown

HERE = Path(__file__).parent
HEADSTART = [sys.executable, "-m", "headstart"]
SEEDS = range(5)
COMPARE_LIMIT = 15 * 60  # seconds
Rows = list[dict[str, Any]]


def timed(arguments: Sequence[str], home: str | None = None) -> tuple[float, dict[str, Any]]:
    """Seconds of a whole `headstart` process, and its JSON.

    Args:
        arguments: Of the command.
        home: Folder of its cache; None: an empty one.
    """
    with tempfile.TemporaryDirectory() as empty:
        environment = {**os.environ, "HEADSTART_HOME": home or empty}
        started = time.perf_counter()
        done = subprocess.run(
            [*HEADSTART, *arguments], capture_output=True, text=True, check=False, env=environment
        )
        seconds = time.perf_counter() - started
    if done.returncode:
        raise RuntimeError(f"headstart {' '.join(arguments)}: {done.stderr[-2000:]}")
    return seconds, json.loads(done.stdout) if "--json" in arguments else {}


def trained(data: Path, output: str, *flags: str, home: str | None = None) -> dict[str, Any]:
    """One training run as a row."""
    seconds, result = timed(["train", str(data), "-o", output, "--json", *flags], home)
    accuracy = result["accuracy"]
    return {
        "data": data.name,
        "flags": " ".join(flags),
        "split": result["split"],
        "accuracy": accuracy["value"],
        "n": accuracy["n"],
        "interval_95": accuracy["interval_95"],
        "kept_epoch": result["epoch"],
        "seconds": round(seconds, 2),
        "run": result["run"],
    }


def defaults(data: Path) -> Rows:
    rows: Rows = []
    for name in ("ants-bees", "hotdog-small", "chairs"):
        if not (data / name).is_dir():
            rows.append({"data": name, "not_run": f"needs the pictures: --data FOLDER with {name}/"})
            continue
        with tempfile.TemporaryDirectory() as output, tempfile.TemporaryDirectory() as home:
            first = trained(data / name, output, "--seed", "0", home=home)
            again = trained(data / name, output, "--seed", "0", home=home)
            rows.append(first)
            rows += [trained(data / name, output, "--seed", str(seed)) for seed in SEEDS[1:]]
            rows.append({**again, "flags": "--seed 0, again, from the cache"})
    return rows


def lesson(data: Path) -> Rows:
    folder = data / "hotdog-small"
    if not folder.is_dir():
        return [{"data": "hotdog-small", "not_run": "needs the pictures: --data FOLDER with hotdog-small/"}]
    rows: Rows = []
    with tempfile.TemporaryDirectory() as output:
        for seed in range(3):
            both = [
                trained(folder, output, "--recipe", "d2l", "--strategy", strategy, "--seed", str(seed))
                for strategy in ("finetune", "scratch")
            ]
            _, compared = timed(["evaluate", "--json", *(row["run"] for row in both)])
            text = json.dumps(compared["comparison"])
            for row, name in zip(both, ("finetune", "scratch"), strict=True):
                text = text.replace(json.dumps(row["run"]), json.dumps(name))
                text = text.replace(f"{row['run']} ", f"{name} ")
            rows += [*both, {"seed": seed, "comparison": json.loads(text)}]
    return rows


def compare(data: Path) -> Rows:
    """Fine-tuning, probe and scratch with 3 seeds: the seconds of the whole command, against 15 minutes."""
    folder = data / "hotdog-small"
    if not folder.is_dir():
        return [{"data": "hotdog-small", "not_run": "needs the pictures: --data FOLDER with hotdog-small/"}]
    with tempfile.TemporaryDirectory() as output:
        seconds, found = timed(["compare", str(folder), "-o", output, "--json"])
    limit = {"seconds": round(seconds, 1), "limit": COMPARE_LIMIT, "within": seconds <= COMPARE_LIMIT}
    rows: Rows = [{"what": "headstart compare, 3 strategies x 3 seeds", "data": folder.name, **limit}]
    kept = ("variant", "accuracies", "accuracy", "n", "interval_95", "epochs", "pictures_seen")
    rows += [
        {**{name: one[name] for name in kept}, "mean_seconds": one["seconds"]} for one in found["variants"]
    ]
    return [*rows, *found["differences"]]


def published(data: Path) -> Rows:
    commands = [
        "headstart fetch hotdog",
        "headstart train HOTDOG --model torchvision/resnet18 --recipe d2l",
        "headstart train HOTDOG --model torchvision/resnet18 --recipe d2l --strategy scratch",
    ]
    return [
        {
            "data": "hotdog (2,800 pictures)",
            "printed": {"finetune": 0.939, "scratch": 0.843},
            "n": 800,
            "not_run": "not run here: needs the network",
            "commands": commands,
        }
    ]


def demo(data: Path) -> Rows:
    with tempfile.TemporaryDirectory() as output:
        seconds, table = timed(["demo", "-o", output, "--json"])
    return [*table["rows"], {"name": "whole command", "seconds": round(seconds, 1)}]


def startup(data: Path) -> Rows:
    seconds = [timed(["--help"])[0] for _ in range(20)]
    return [{"command": "headstart --help", "runs": 20, **spread(seconds)}]


def spread(values: Sequence[float]) -> dict[str, float]:
    return {
        "median": round(statistics.median(values), 4),
        "minimum": round(min(values), 4),
        "maximum": round(max(values), 4),
    }


def summarised(rows: Rows) -> list[str]:
    """Mean accuracy and median seconds of the runs of each data set and set of flags, seeds aside."""
    lines = []
    groups: dict[str, Rows] = {}
    for row in rows:
        if "accuracy" in row and "data" in row:
            again = "from the cache" if row["flags"].endswith("from the cache") else ""
            flags = row["flags"].partition("--seed")[0].strip()
            key = " ".join(filter(None, (row["data"], row.get("peer"), flags, again)))
            groups.setdefault(key, []).append(row)
    for key, group in groups.items():
        values = [row["accuracy"] for row in group]
        seconds = spread([row["seconds"] for row in group])
        lines.append(
            f"{key}: accuracy {statistics.mean(values):.3f} (mean of {len(values)} seeds, "
            f"{min(values):.3f} to {max(values):.3f}), n = {group[0]['n']}, {seconds['median']:.0f} s "
            f"({seconds['minimum']:.0f} to {seconds['maximum']:.0f})"
        )
    return lines


BENCHMARKS: dict[str, Callable[[Path], Rows]] = {
    "defaults": defaults,
    "lesson": lesson,
    "compare": compare,
    "published": published,
    "demo": demo,
    "elpv": elpv,
    "startup": startup,
    "scale": scale,
    "throughput": throughput,
    "check": check,
    "serve": serve,
    "serve-memory": serve_memory,
    "labels": labels,
    "unknown": unknown,
    "peers": peers,
    "peers-quick": peers_quick,
}
ON_REQUEST = {"peers-quick"}  # a part of another


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="which benchmarks; all by default")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("HEADSTART_BENCHMARK_DATA", "data")))
    arguments = parser.parse_args()
    strange = set(arguments.names) - set(BENCHMARKS)
    if strange:
        parser.error(f"no such benchmark: {', '.join(sorted(strange))}")
    for name in arguments.names or [name for name in BENCHMARKS if name not in ON_REQUEST]:
        print(f"{name} ...", flush=True)
        try:
            rows = BENCHMARKS[name](arguments.data)
        except RuntimeError as error:
            rows = [{"not_run": str(error)}]
        for row in rows:
            row.pop("run", None)
        path = HERE / "results" / f"{date.today().isoformat()}-{name}.json"
        path.parent.mkdir(exist_ok=True)
        found = machine(*PEERS) if name.startswith("peers") else machine()
        text = json.dumps({"benchmark": name, "machine": found, "rows": rows}, indent=1, ensure_ascii=False)
        path.write_text(text + "\n", encoding="utf-8")
        for line in summarised(rows):
            print(f"  {line}")
        print(f"  {path}")


if __name__ == "__main__":
    main()
