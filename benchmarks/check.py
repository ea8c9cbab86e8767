"""What `headstart check` costs: beside decoding alone, a second time, and the search for near copies.

Ratios are of the same round. CPU seconds are disturbed less than seconds by other work on the machine.
"""

from __future__ import annotations

import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

PICTURES = int(os.environ.get("HEADSTART_BENCHMARK_PICTURES", "10000"))
SIZE = (500, 375)
ROUNDS = 5
LOOKS = 100_000


def check(data: Path) -> list[dict[str, Any]]:
    """Rows: near copies among 100,000; bare decoding and checking of the same JPEGs, checking again."""
    from headstart.data.check import check as look_at
    from headstart.data.duplicates import alike
    from headstart.data.preprocess import Preprocess

    preprocess = Preprocess(224, 256, "bicubic", (0.5,) * 3, (0.5,) * 3)
    rows: list[dict[str, Any]] = []
    looks = np.random.default_rng(0).integers(0, 256, (LOOKS, 32), dtype=np.uint8)
    before = peak()
    seconds, cpu = timed(lambda: alike(looks))
    rows.append(
        {
            "what": "near copies by perceptual hash",
            "pictures": LOOKS,
            "seconds": round(seconds, 2),
            "cpu_seconds": round(cpu, 2),
            "megabytes": round(peak() - before),
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        files = written(Path(folder), data)
        threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        times: dict[str, list[tuple[float, float]]] = {"bare": [], "check": [], "again": []}
        for number in range(ROUNDS):
            os.environ["HEADSTART_HOME"] = str(Path(folder) / f"home{number}")
            times["bare"].append(timed(lambda: decoded(files, threads)))
            for name in ("check", "again"):
                times[name].append(
                    timed(lambda: look_at(Path(folder) / "data", preprocess=preprocess, workers=threads))
                )
        for name, found in times.items():
            seconds, cpu = (round(statistics.median(values), 3) for values in zip(*found, strict=True))
            rows.append({"what": name, "pictures": len(files), "seconds": seconds, "cpu_seconds": cpu})
        for clock, unit in enumerate(("seconds", "CPU seconds")):
            pairs = zip(times["bare"], times["check"], strict=True)
            ratios = [bare[clock] / checked[clock] for bare, checked in pairs]
            rows.append(
                {
                    "what": f"speed of the check, of bare decoding ({unit})",
                    "rounds": ROUNDS,
                    "ratio": round(statistics.median(ratios), 3),
                    "smallest": round(min(ratios), 3),
                    "largest": round(max(ratios), 3),
                }
            )
    return rows


def written(folder: Path, data: Path) -> list[Path]:
    """`PICTURES` different JPEGs of `SIZE` in two classes, cut from the pictures that there are."""
    sources = list(photos(data))
    files = []
    for i in range(PICTURES):
        path = folder / "data" / ("even", "odd")[i % 2] / f"{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = sources[i % len(sources)]
        shift = 1 + i // len(sources)
        picture.crop((shift, shift, shift + SIZE[0], shift + SIZE[1])).save(path, quality=90)
        files.append(path)
    return files


def photos(data: Path) -> Iterator[Image.Image]:
    """A hundred photos of ants-bees, or drawn noise where they are not at hand."""
    names = sorted((data / "ants-bees").rglob("*.jpg"))[:100]
    for name in names:
        yield Image.open(name).convert("RGB").resize((SIZE[0] + 120, SIZE[1] + 120))
    for i in range(0 if names else 50):
        values = np.random.default_rng(i).integers(0, 256, (30, 40, 3), dtype=np.uint8)
        yield Image.fromarray(values).resize((SIZE[0] + 120, SIZE[1] + 120), Image.Resampling.BICUBIC)


def decoded(files: list[Path], threads: int) -> None:
    """Nothing but Pillow, in threads."""

    def load(path: Path) -> None:
        with Image.open(path) as picture:
            picture.load()

    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(load, files):
            pass


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds and CPU seconds."""
    started, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - started, time.process_time() - cpu


def peak() -> float:
    """Largest memory so far, MB (Linux)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
