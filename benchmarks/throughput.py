"""The backbone's forward fed from the cache of resized pictures, beside a bare loop on a tensor in memory.

Both have the same network, number format, batch and threads, and take turns in one process: headstart's reads
uint8 pictures from the memory-mapped cache, crops and normalises them, and keeps the features (in memory, not
in the cache); the bare loop does nothing but the forward pass of one batch, again and again.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PICTURES = 512
RUNS = 7
SHAPE = (500, 375)


def throughput(data: Path) -> list[dict[str, Any]]:
    """In a process of its own; ``data`` is not used, as the pictures are drawn."""
    done = subprocess.run([sys.executable, __file__], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return [json.loads(done.stdout)]


def compared(pictures: int, runs: int) -> dict[str, Any]:
    """Pictures per second of both, median of the runs, and their ratio."""
    import torch
    from scale import draw

    from headstart.data.cache import Cache
    from headstart.data.dataset import load_dataset
    from headstart.data.decoding import available_cpus
    from headstart.model import zoo
    from headstart.model.features import FrozenPart
    from headstart.model.forward import evaluation_mode
    from headstart.model.inputs import Loader
    from headstart.model.memory import keep_freed_memory
    from headstart.model.precision import Format, choose_precision

    keep_freed_memory()
    torch.set_num_threads(available_cpus())
    with tempfile.TemporaryDirectory() as folder:
        draw(Path(folder, "data"), pictures, SHAPE)
        preprocess = zoo.preprocess("efficientnet-lite0")
        cache = Cache(2**40, Path(folder, "cache"))
        _, found = load_dataset(Path(folder, "data"), preprocess=preprocess, cache=cache)
        model = zoo.create("efficientnet-lite0")
        fmt = Format("cpu", choose_precision(None, "cpu"), "channels_last")
        fmt.network(model)
        part = FrozenPart(model, "head", loader=Loader(preprocess, fmt, available_cpus()))
        size = part.batch_size
        batch = fmt.inputs(torch.rand(size, 3, preprocess.img_size, preprocess.img_size).numpy())

        def fed() -> None:
            part.activations(lambda i: preprocess.evaluation_crop(found[i]), range(pictures))

        def bare() -> None:
            below = model.below("head")
            with evaluation_mode(model), torch.no_grad(), fmt.autocast():
                for _ in range(pictures // size):
                    below(batch)

        rates: dict[str, list[float]] = {"fed": [], "bare": []}
        for run in range(runs + 1):
            for name, work in (("fed", fed), ("bare", bare)):
                started = time.perf_counter()
                work()
                if run:  # the first one warms up
                    rates[name].append(pictures / (time.perf_counter() - started))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    return {
        "model": "efficientnet-lite0",
        "pictures": pictures,
        "runs": runs,
        "batch_size": size,
        "precision": fmt.precision,
        "memory_format": fmt.memory_format,
        "threads": torch.get_num_threads(),
        "pictures_per_second": {name: round(value, 1) for name, value in medians.items()},
        "spread": {name: [round(min(v), 1), round(max(v), 1)] for name, v in rates.items()},
        "ratio": round(medians["fed"] / medians["bare"], 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--number", type=int, default=PICTURES)
    parser.add_argument("--runs", type=int, default=RUNS)
    arguments = parser.parse_args()
    print(json.dumps(compared(arguments.number, arguments.runs)))


if __name__ == "__main__":
    main()
