"""How many flipped labels `headstart suspects` finds, and how early in its list."""

from __future__ import annotations

import csv
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

FLIPPED = 0.05  # of all pictures
FIRST = 0.10  # of the list
SEEDS = range(3)
SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}


def labels(data: Path) -> list[dict[str, Any]]:
    """A row for each draw of flips on `chairs`: what share of those in the list stands in its first tenth."""
    folder = data / "chairs"
    if not folder.is_dir():
        return [{"data": "chairs", "not_run": "needs the pictures: --data FOLDER with chairs/"}]
    with tempfile.TemporaryDirectory() as place:
        return [flipped(folder, Path(place), seed) for seed in SEEDS]


def flipped(folder: Path, place: Path, seed: int) -> dict[str, Any]:
    """One draw: 5 % of the labels become another class, a probe is trained, its list is looked at."""
    from headstart.run_suspects import ranking_of

    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    truth = {path.relative_to(folder).as_posix(): path.parent.name for path in files}
    classes = sorted(set(truth.values()))
    draw = random.Random(seed)
    chosen = set(draw.sample(sorted(truth), round(FLIPPED * len(truth))))
    given = {
        path: draw.choice([other for other in classes if other != name]) if path in chosen else name
        for path, name in truth.items()
    }
    table = place / f"flipped-{seed}.csv"
    with open(table, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("path", "label"), *given.items()])
    words = ["train", str(table), "--images", str(folder), "--strategy", "probe", "--json", "-o", str(place)]
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "headstart", *words], capture_output=True, text=True, check=False
    )
    seconds = time.perf_counter() - started
    if done.returncode:
        raise RuntimeError(f"headstart {' '.join(words)}: {done.stderr[-2000:]}")
    ranking = ranking_of(Path(json.loads(done.stdout)["run"]))
    rows = ranking.rows
    wrong = [row.path in chosen for row in rows]
    first = round(FIRST * len(rows))
    hits = [row for row in rows[: ranking.suspects] if row.path in chosen]
    return {
        "data": folder.name,
        "seed": seed,
        "pictures": len(rows),
        "flips": sum(wrong),
        "first": first,
        "flips_in_first": sum(wrong[:first]),
        "share_in_first": round(sum(wrong[:first]) / sum(wrong), 4),
        "suspects": ranking.suspects,
        "flips_among_suspects": len(hits),
        "suggested_the_true_class": sum(row.suggested == truth[row.path] for row in hits),
        "seconds": round(seconds, 1),
    }
