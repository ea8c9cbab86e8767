"""`headstart predict` on a folder beside bare loops of the same decoder and the same onnxruntime.

All run in turns in one process, with equal threads, on the same pictures: those of `hotdog-small` and
`chairs`, again and again under other names (HEADSTART_BENCHMARK_PICTURES: how many; 1,500). The network is
the bundled one with a probe, exported; HEADSTART_BENCHMARK_RUN names an exported run instead.

    table     `predict_to_table` into a CSV file: what the command does after its start
    threads   a bare loop: each thread decodes a picture and runs the network on it
    batches   a bare loop: threads decode, batches of 8 pass the network on all cores, without spinning

Then the command as a process of its own on all pictures, and its cold start on a single one.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

PICTURES = int(os.environ.get("HEADSTART_BENCHMARK_PICTURES", "1500"))
ROUNDS = 3
STARTS = 7
BATCH = 8
HEADSTART = [sys.executable, "-m", "headstart"]


def predict(data: Path) -> list[dict[str, Any]]:
    """In a process of its own, so that torch is not loaded."""
    found = [
        file for name in ("hotdog-small", "chairs") for file in sorted((data / name).rglob("*.[jp][pn]g"))
    ]
    if not found:
        return [{"not_run": "needs the pictures: --data FOLDER with hotdog-small/ and chairs/"}]
    with tempfile.TemporaryDirectory() as folder:
        pictures = Path(folder, "pictures")
        pictures.mkdir()
        for i in range(PICTURES):
            shutil.copy(found[i % len(found)], pictures / f"{i:06}.jpg")
        run = os.environ.get("HEADSTART_BENCHMARK_RUN") or exported(
            data / "hotdog-small", Path(folder, "runs")
        )
        done = subprocess.run(
            [sys.executable, __file__, run, str(pictures)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(done.stderr[-2000:])
        rows: list[dict[str, Any]] = json.loads(done.stdout)
        command = [*HEADSTART, "predict", run, "-o", str(Path(folder, "names.csv"))]
        seconds = [timed([*command, str(pictures)]) for _ in range(ROUNDS)]
        rates = [round(PICTURES / s, 1) for s in seconds]
        rows.append({"what": "headstart predict, the whole command", **spread(rates)})
        starts = [round(timed([*command, str(pictures / "000000.jpg")]), 3) for _ in range(STARTS + 1)][1:]
        rows.append({"what": "headstart predict on one picture, seconds", **spread(starts)})
    return rows


def exported(data: Path, runs: Path) -> str:
    """A run with an exported model."""
    words = ["train", str(data), "--strategy", "probe", "--output", str(runs), "--name", "run"]
    for command in (words, ["export", str(runs / "run")]):
        subprocess.run([*HEADSTART, *command], capture_output=True, check=True)
    return str(runs / "run")


def timed(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, capture_output=True, check=True)
    return time.perf_counter() - started


def spread(values: list[float]) -> dict[str, Any]:
    return {
        "median": statistics.median(values),
        "minimum": min(values),
        "maximum": max(values),
        "n": len(values),
    }


def compared(run: Path, folder: Path) -> list[dict[str, Any]]:
    """Pictures per second of each."""
    from concurrent.futures import ThreadPoolExecutor

    import numpy as np

    from headstart.console import quiet
    from headstart.data.decoding import available_cpus
    from headstart.data.images import read_file
    from headstart.data.prefetch import prefetched
    from headstart.deployment.onnx_file import FEATURES, INPUT, LOGITS, opened_session
    from headstart.deployment.predict import load
    from headstart.deployment.prediction_table import predict_to_table

    model = load(run, backend="onnx")
    preprocess, threads = model.preprocess, available_cpus() + 1
    files = sorted(folder.iterdir())
    file = run / "model" / "model.onnx"
    one, all_cores = opened_session(file, threads=1), opened_session(file)

    def decoded(path: Path) -> Any:
        return preprocess(preprocess.rgb(read_file(path)))

    def table() -> None:
        with quiet():
            predict_to_table(model, folder, folder.parent / "names.csv")

    def in_threads() -> None:
        def answer(path: Path) -> Any:
            return one.run([LOGITS, FEATURES], {INPUT: decoded(path)[None]})

        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(answer, files))

    def in_batches() -> None:
        arrays = prefetched(decoded, files, workers=threads, ahead=4 * BATCH)
        while group := list(islice(arrays, BATCH)):
            all_cores.run([LOGITS, FEATURES], {INPUT: np.stack(group)})

    ways: dict[str, Callable[[], None]] = {"table": table, "threads": in_threads, "batches": in_batches}
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, work in ways.items():
            started = time.perf_counter()
            work()
            rates[name].append(round(len(files) / (time.perf_counter() - started), 1))
    rows = [{"what": f"{name}, pictures/s", **spread(values)} for name, values in rates.items()]
    best = max(statistics.median(rates["threads"]), statistics.median(rates["batches"]))
    share = statistics.median(rates["table"]) / best
    told = {"pictures": len(files), "threads": threads, "share_of_the_faster_bare_loop": round(share, 3)}
    return [*rows, {**told, "reached": share >= 0.9}]


if __name__ == "__main__":
    print(json.dumps(compared(Path(sys.argv[1]), Path(sys.argv[2]))))
