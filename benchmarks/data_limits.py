"""Memory of what is large: a table of a million pictures, and a JPEG of 400 million pixels.

    python benchmarks/data_limits.py [--rows 1000000]

Nothing is decoded for the table: a file with as many rows (and links to a few empty files, so that their
places are looked for) becomes a listing, and with invented hashes the table of a data set. Each figure is of
a process of its own that has done the same with something small before: megabytes beyond those before the
call, as the system counts them (VmRSS, VmHWM), and seconds. Freed memory that the C library keeps for later
counts in ``megabytes``, but not in ``megabytes_trimmed``. Linux only.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

from machine import machine

HERE = Path(__file__).parent


def memory(kind: str) -> float:
    """Megabytes of this process: ``VmRSS`` now, ``VmHWM`` at most."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return int(next(line for line in lines if line.startswith(kind)).split()[1]) / 1024


def make(folder: Path, rows: int) -> None:
    """``labels.csv`` and its files, a thousand in each folder."""
    for k in range(40):  # a file takes so many links at most
        (folder / f".file{k}").write_bytes(b"")
    with open(folder / "labels.csv", "w", encoding="utf-8") as table:
        table.write("path,species\n")
        for i in range(rows):
            place = folder / f"images/site{i // 1000:04}/camera{i // 1000 % 10:02}"
            if i % 1000 == 0:
                place.mkdir(parents=True)
            name = f"IMG_{i:08}.jpg"
            os.link(folder / f".file{i // 1000 % 40}", place / name)
            table.write(f"{place.relative_to(folder)}/{name},species {i * 7 % 500:03}\n")


def measure(what: str, path: Path, warm_up: Path) -> dict[str, Any]:
    """One figure, in this process; after the same with something small."""
    from headstart.data import dataset
    from headstart.data.decoding import Decoded
    from headstart.data.facts import PictureFacts
    from headstart.data.images import read_file
    from headstart.data.outcomes import Outcomes
    from headstart.data.preprocess import Preprocess
    from headstart.data.sources import list_source

    preprocess = Preprocess(224, 256, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))

    def invented(files: Any, *rest: Any, **named: Any) -> Any:
        made = (hashlib.sha256(str(i).encode()).hexdigest() for i in range(len(files)))
        kind = ("JPEG", "RGB", 640, 480, (100.0, 110.0, 120.0), 50.0)
        found = (Decoded(None, name, facts=PictureFacts(*kind, name)) for name in made)
        return Outcomes(found), [None] * len(files)

    dataset.read_pictures = invented
    work = {
        "listing": list_source,
        "table": lambda path: dataset.load_dataset(path, preprocess=preprocess, memory_limit=0),
        "giant": lambda path: preprocess.resized(preprocess.rgb(read_file(path))),
    }[what]
    work(warm_up)  # what is imported or set up on the way is not of the data
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # VmHWM begins anew
    before, started = memory("VmRSS"), time.perf_counter()
    held = work(path)
    seconds = time.perf_counter() - started
    gc.collect()
    found = {"megabytes": memory("VmRSS") - before, "megabytes_at_most": memory("VmHWM") - before}
    ctypes.CDLL(None).malloc_trim(0)
    found["megabytes_trimmed"] = memory("VmRSS") - before
    del held
    return {"what": what, "seconds": round(seconds, 1), **{name: round(v) for name, v in found.items()}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure[0], *map(Path, options.measure[1:]))))
        return
    sys.path.insert(0, str(HERE.parent / "tests"))
    from giants import giant_jpeg

    with tempfile.TemporaryDirectory() as folder:
        large, small = Path(folder) / "large", Path(folder) / "small"
        for place, rows_of, side in ((large, options.rows, 20_000), (small, 5000, 500)):
            place.mkdir()
            make(place, rows_of)
            (place / "giant.jpg").write_bytes(giant_jpeg(side, side))
        same = {**os.environ, "PYTHONHASHSEED": "0"}  # sets and dicts of the same size and order
        rows = []
        for what, name in (("listing", "labels.csv"), ("table", "labels.csv"), ("giant", "giant.jpg")):
            words = [sys.executable, __file__, "--measure", what, str(large / name), str(small / name)]
            done = subprocess.run(words, capture_output=True, text=True, check=True, env=same)
            rows.append({"rows": options.rows if what != "giant" else 1, **json.loads(done.stdout)})
            print(rows[-1])
    result = {"benchmark": "data-limits", "machine": machine("pyarrow"), "rows": rows}
    target = HERE / "results" / f"{date.today()}-data-limits.json"
    target.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(target)


if __name__ == "__main__":
    main()
