"""Forward passes of a trained run's model on the processor: by torch, and from `headstart export`.

Each contender runs in a process of its own (the threads of torch and of onnxruntime would wait for each
other), in turn, several rounds; the input is a batch of noise in memory, at batch sizes of 1, 8 and 32.
BatchNorm is folded in on both sides; torch has channels_last. The figure of a contender is that of its best
batch size.
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
from collections.abc import Callable
from pathlib import Path
from typing import Any

DATA = "ants-bees"
BATCHES = (1, 8, 32)
PICTURES = 64  # a measurement
ROUNDS = 3
CONTENDERS = ("torch-fp32", "torch-bf16", "onnxruntime-fp32", "onnxruntime-int8")


def export(data: Path) -> list[dict[str, Any]]:
    """A probe on ants and bees, exported in fp32 and int8, and the pictures per second of each."""
    if not (data / DATA).is_dir():
        return [{"data": DATA, "not_run": f"needs the pictures: --data FOLDER with {DATA}/"}]
    with tempfile.TemporaryDirectory() as folder:
        told = _headstart("train", str(data / DATA), "--strategy", "probe", "-o", folder, "--seed", "0")
        run = Path(told["run"])
        bundle = run / "model"
        exports = {}
        for precision in ("fp32", "int8"):
            exports[precision] = _headstart("export", str(run), "--precision", precision)
            exports[precision].pop("file")
            (bundle / "model.onnx").rename(bundle / f"{precision}.onnx")
        return [{"data": DATA, "exports": exports, **compared(bundle)}]


def compared(bundle: Path) -> dict[str, Any]:
    """Pictures per second of all contenders: median of the rounds, lowest and highest."""
    rates: dict[str, dict[int, list[float]]] = {name: {size: [] for size in BATCHES} for name in CONTENDERS}
    for _ in range(ROUNDS):
        for name in CONTENDERS:
            arguments = [sys.executable, __file__, name, str(bundle)]
            done = subprocess.run(arguments, capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(done.stderr[-2000:])
            for size, rate in json.loads(done.stdout).items():
                rates[name][int(size)].append(rate)
    contenders = {}
    for name, by_size in rates.items():
        medians = {size: statistics.median(found) for size, found in by_size.items()}
        best = max(medians, key=medians.__getitem__)
        contenders[name] = {
            "pictures_per_second": round(medians[best], 1),
            "spread": [round(min(by_size[best]), 1), round(max(by_size[best]), 1)],
            "batch_size": best,
            "by_batch_size": {str(size): round(value, 1) for size, value in medians.items()},
        }
    speed = {name: row["pictures_per_second"] for name, row in contenders.items()}
    quickest = max(speed["torch-fp32"], speed["torch-bf16"])
    return {
        "rounds": ROUNDS,
        "pictures": PICTURES,
        "contenders": contenders,
        "int8_to_fp32": round(speed["onnxruntime-int8"] / speed["onnxruntime-fp32"], 2),
        "onnxruntime_fp32_to_best_torch": round(speed["onnxruntime-fp32"] / quickest, 2),
        "onnxruntime_int8_to_best_torch": round(speed["onnxruntime-int8"] / quickest, 2),
    }


def rates_of(name: str, bundle: Path) -> dict[int, float]:
    """Pictures per second of one contender in this process, by batch size."""
    import numpy as np

    forward, side = _forward(name, bundle)
    noise = np.random.default_rng(0).standard_normal((max(BATCHES), 3, side, side), dtype=np.float32)
    found = {}
    for size in BATCHES:
        batch = noise[:size]
        forward(batch)  # warms up
        started = time.perf_counter()
        for _ in range(PICTURES // size):
            forward(batch)
        found[size] = PICTURES / (time.perf_counter() - started)
    return found


def _forward(name: str, bundle: Path) -> tuple[Callable[[Any], object], int]:
    library, precision = name.split("-")
    if library == "onnxruntime":
        from headstart.deployment.onnx_file import INPUT, opened_session

        session = opened_session(bundle / f"{precision}.onnx")
        return lambda batch: session.run(None, {INPUT: batch}), session.get_inputs()[0].shape[2]
    import torch

    from headstart.data.decoding import available_cpus
    from headstart.model.bundle import load_bundle
    from headstart.model.folding import folded
    from headstart.model.memory import keep_freed_memory

    keep_freed_memory()
    torch.set_num_threads(available_cpus())
    model, card = load_bundle(bundle)
    quick = folded(model).to(memory_format=torch.channels_last)

    def forward(batch: Any) -> object:
        x = torch.from_numpy(batch).contiguous(memory_format=torch.channels_last)
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            return quick(x)

    return forward, int(card["preprocess"]["img_size"])


def _headstart(*words: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as home:
        done = subprocess.run(
            [sys.executable, "-m", "headstart", *words, "--json"],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "HEADSTART_HOME": home},
        )
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("contender", choices=CONTENDERS)
    parser.add_argument("bundle", type=Path)
    arguments = parser.parse_args()
    print(json.dumps(rates_of(arguments.contender, arguments.bundle)))


if __name__ == "__main__":
    main()
