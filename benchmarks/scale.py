"""What a picture costs from 1,000 to 100,000 of them: `headstart train --strategy probe` on drawn pictures.

Each cell is a whole process with an empty cache of the default size: wall and processor seconds, and the peak
of the anonymous memory of the process and its children (pages of mapped files do not count), looked at five
times a second; Linux only. Finished cells are kept in ``benchmarks/.cells``, as those of `peer_cells`.

Some cells alone: ``python benchmarks/scale.py --pictures 64x64 --numbers 1000 3000``
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from machine import machine
from numpy.typing import NDArray
from PIL import Image

HERE = Path(__file__).parent
CELLS = HERE / ".cells"
NUMBERS = (1_000, 3_000, 10_000, 30_000, 100_000)
SHAPES = ((64, 64), (500, 375))
CLASSES = ("across", "along")
FOLDER_OF = 1_000  # pictures; more in one folder slow some file systems down
TEXTURE = 1_536  # pixels
INTERVAL = 0.2  # seconds between two looks at the memory
FLAT = 0.2  # marginal costs differ by this part at most
MEMORY = 2e9  # bytes
Rows = list[dict[str, Any]]


# --- pictures ------------------------------------------------------------------------------------------


def draw(folder: Path, number: int, shape: tuple[int, int]) -> None:
    """JPEG files below ``folder/CLASS``, no two alike; classes differ in the direction of their stripes."""
    textures = {name: texture(name) for name in CLASSES}
    for name in CLASSES:
        for part in range(0, number, FOLDER_OF):
            (folder / name / f"{part // FOLDER_OF:03d}").mkdir(parents=True)

    def one(index: int) -> None:
        name = CLASSES[index % 2]
        path = folder / name / f"{index // FOLDER_OF:03d}" / f"{index:06d}.jpg"
        Image.fromarray(piece(textures[name], index, shape)).save(path, quality=85)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(one, range(number), chunksize=64):
            pass


def texture(name: str) -> NDArray[np.uint8]:
    """Stripes with much noise: [TEXTURE, TEXTURE, 3]."""
    random = np.random.default_rng(CLASSES.index(name))
    position = np.arange(TEXTURE)
    waves = 18 * np.sin(position[:, None] / 7 + 3 * np.sin(position / 90))
    colours = random.normal(0, 25, (TEXTURE // 24, TEXTURE // 24, 3)).repeat(24, 0).repeat(24, 1)
    grain = random.normal(0, 12, (TEXTURE, TEXTURE, 3))
    whole = 128 + (waves if name == CLASSES[0] else waves.T)[..., None] + colours + grain
    return whole.clip(0, 255).astype(np.uint8)


def piece(source: NDArray[np.uint8], index: int, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """A part of a texture with a brightness of its own and a pattern of the index in its corner."""
    random = np.random.default_rng(index)
    width, height = shape
    top, left = random.integers(0, TEXTURE - height), random.integers(0, TEXTURE - width)
    found = source[top : top + height, left : left + width] // 2 + np.uint8(random.integers(0, 128))
    found[:8, :8] = random.integers(0, 256, (8, 8, 3), np.uint8)
    return found


# --- one process -----------------------------------------------------------------------------------------


def measured(command: Sequence[str], environment: dict[str, str]) -> dict[str, Any]:
    """Wall seconds, processor seconds, peak anonymous bytes of a process tree, and its JSON."""
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as messages:
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=output, stderr=messages, env=environment)
        peak, ended = [0], threading.Event()

        def look() -> None:
            while not ended.wait(INTERVAL):
                peak[0] = max(peak[0], anonymous(process.pid))

        watching = threading.Thread(target=look)
        watching.start()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        ended.set()
        watching.join()
        for file in (output, messages):
            file.seek(0)
        if process.returncode:
            raise RuntimeError(f"{' '.join(command)}: {messages.read()[-2000:]}")
        result = json.loads(output.read())
    return {
        "seconds": round(seconds, 2),
        "processor_seconds": round(usage.ru_utime + usage.ru_stime, 2),
        "anonymous_bytes": peak[0],
        "accuracy": result["accuracy"]["value"],
        "n": result["accuracy"]["n"],
    }


def anonymous(pid: int) -> int:
    """Anonymous resident bytes of a process and all below it."""
    total = 0
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                total = 1024 * int(line.split()[1])
        for task in Path(f"/proc/{pid}/task").iterdir():
            total += sum(anonymous(int(child)) for child in (task / "children").read_text().split())
    except OSError:  # it has just ended
        pass
    return total


# --- cells -----------------------------------------------------------------------------------------------


def cell(shape: tuple[int, int], number: int) -> dict[str, Any]:
    """A row: kept from an earlier call, or measured now."""
    row: dict[str, Any] = {"pictures": f"{shape[0]}x{shape[1]}", "number": number}
    path = CELLS / f"scale-{row['pictures']}-{number}.json"
    identity = fingerprint()
    if path.exists():
        kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if kept.pop("identity") == identity:
            return kept
    print(f"  {number} of {row['pictures']} ...", end=" ", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        draw(Path(folder, "data"), number, shape)
        command = [
            sys.executable,
            "-m",
            "headstart",
            "train",
            str(Path(folder, "data")),
            "--strategy",
            "probe",
        ]
        command += ["--output", str(Path(folder, "runs")), "--json"]
        environment = {**os.environ, "HEADSTART_HOME": str(Path(folder, "home")), "CUDA_VISIBLE_DEVICES": ""}
        try:
            row |= measured(command, environment)
        except RuntimeError as error:
            print("failed")
            return {**row, "failed": str(error)}
    CELLS.mkdir(exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps({**row, "identity": identity}), encoding="utf-8")
    temporary.replace(path)
    print(f"{row['seconds']:.0f} s, {row['anonymous_bytes'] / 1e9:.2f} GB")
    return row


def fingerprint() -> str:
    """Changes with whatever could change the result."""
    digest = hashlib.sha256(json.dumps(machine()).encode())
    for file in [Path(__file__), *sorted((HERE.parent / "src").rglob("*.py"))]:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def marginal(rows: Rows) -> Rows:
    """For each size of picture: seconds per further picture between two numbers, and whether it is flat."""
    found: Rows = []
    for pictures in dict.fromkeys(row["pictures"] for row in rows):
        own = sorted(
            (r for r in rows if r["pictures"] == pictures and "seconds" in r), key=lambda r: r["number"]
        )
        if len(own) < 2:
            continue
        summary: dict[str, Any] = {"pictures": pictures}
        for name in ("seconds", "processor_seconds"):
            costs = [
                (large[name] - small[name]) / (large["number"] - small["number"])
                for small, large in itertools.pairwise(own)
            ]
            middle = (max(costs) + min(costs)) / 2
            summary[f"{name}_per_picture"] = [round(cost, 5) for cost in costs]
            summary[f"{name}_flat"] = bool(max(costs) - middle <= FLAT * middle)
        summary["numbers"] = [row["number"] for row in own]
        summary["anonymous_bytes"] = max(row["anonymous_bytes"] for row in own)
        summary["anonymous_below_2_GB"] = summary["anonymous_bytes"] < MEMORY
        found.append(summary)
    return found


def scale(data: Path, shapes: Sequence[tuple[int, int]] = SHAPES, numbers: Sequence[int] = NUMBERS) -> Rows:
    """All cells, the small ones first; ``data`` is not used, as all pictures are drawn."""
    if not Path("/proc/self/status").exists():
        return [{"not_run": "needs Linux: anonymous memory is read from /proc"}]
    rows = [cell(shape, number) for number in sorted(numbers) for shape in shapes]
    return [*rows, *marginal(rows)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pictures", nargs="+", default=["64x64", "500x375"])
    parser.add_argument("--numbers", nargs="+", type=int, default=NUMBERS)
    arguments = parser.parse_args()
    shapes = [(int(width), int(height)) for width, height in (text.split("x") for text in arguments.pictures)]
    for row in scale(Path(), shapes, arguments.numbers):
        print(json.dumps(row))


if __name__ == "__main__":
    main()
