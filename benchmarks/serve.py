"""`headstart serve` under load on loopback, by a client in a process of its own on the same processors.

The bundled network with a probe, exported (HEADSTART_BENCHMARK_RUN names an exported run instead), with
onnxruntime and with torch; drawn JPEGs of 500 x 375, one file a request. Each part is also a command of its
own, of at most four minutes: ``python benchmarks/serve.py PART RUN PICTURES onnx|torch``.

    predict     pictures per second of `Model.predict` on the same files, in a process of its own
    throughput  16 connections that ask again as soon as they are answered, and a queue that takes them all;
                with torch also in batches of 1. Processor time of server and client for a picture
    overload    60 s of requests at random times (Poisson) at 1.5 times the throughput measured before,
                whether answered or not, at the defaults; latency counts from the time that a request was due,
                and is compared to that of one request after another without load
    start       seconds from the command to the first answer of `/health`
    memory      resident memory over 20,000 requests; with torch of timm's test_efficientnet at 64 px,
                pictures of 90 x 80

``python benchmarks/serve.py pictures FOLDER`` draws them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from predict import exported

PICTURES = 256
SHAPE = (500, 375)
CONNECTIONS = 16
ROUNDS = 3
STARTS = 5
LONE = 110
OVERLOAD_SECONDS = 60.0
OVERLOAD = 1.5
REQUESTS = 20_000
Rows = list[dict[str, Any]]


def serve(data: Path) -> Rows:
    return measured(data, ("predict", "throughput", "overload", "start"))


def serve_memory(data: Path) -> Rows:
    return measured(data, ("memory",))


def measured(data: Path, parts: Sequence[str]) -> Rows:
    """Each part with both backends, in a process of its own."""
    given = os.environ.get("HEADSTART_BENCHMARK_RUN")
    if given is None and not (data / "ants-bees").is_dir():
        return [{"not_run": "needs the pictures: --data FOLDER with ants-bees/"}]
    rows: Rows = []
    with tempfile.TemporaryDirectory() as place:
        drawn = str(Path(place, "pictures"))
        pictures(Path(drawn))
        run = given or exported(data / "ants-bees", Path(place, "runs"))
        for backend in ("onnx", "torch"):
            for part in parts:
                command = [sys.executable, __file__, part, run, drawn, backend]
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                if done.returncode:
                    raise RuntimeError(done.stderr[-2000:])
                rows += json.loads(done.stdout)
    return rows


# --- the server ----------------------------------------------------------------------------------------


def tiny_run(folder: Path) -> Path:
    """A run with a tiny network of random weights; what it answers is not measured."""
    import torch

    from headstart.data.preprocess import Preprocess
    from headstart.model import zoo
    from headstart.model.bundle import save_bundle
    from headstart.model.transfer import transfer

    torch.manual_seed(0)
    preprocess = Preprocess(64, 64, "bilinear", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    network = transfer(zoo.create("test_efficientnet", pretrained=False), ("a", "b"), seed=0)
    save_bundle(folder / "run" / "model", network, {"preprocess": preprocess.to_dict()})
    return folder / "run"


@contextmanager
def served(run: Path, *flags: str) -> Iterator[tuple[int, int]]:
    """Port and process of a server."""
    command = [sys.executable, "-m", "headstart", "serve", str(run), "--port", "0", "--json", *flags]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["port"], process.pid
    finally:
        process.terminate()
        process.wait(30)


# --- the client ----------------------------------------------------------------------------------------


def request_of(picture: bytes) -> bytes:
    """As `curl -F files=@FILE` writes it."""
    head = b'--B\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\n\r\n'
    body = head + picture + b"\r\n--B--\r\n"
    return (
        b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=B\r\n"
        b"Content-Length: %d\r\n\r\n" % len(body)
    ) + body


Connected = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def asked(connection: Connected, request: bytes) -> int:
    """Sends a request and reads the answer; its status."""
    reader, writer = connection
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    lines = [line.lower() for line in head.split(b"\r\n")]
    length = next(int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length:"))
    body = await reader.readexactly(length)
    status = int(head[9:12])
    if status == 200 and b'"status":"ok"' not in body:
        raise RuntimeError(body.decode())
    return status


async def closed_loop(port: int, requests: Sequence[bytes], n: int, connections: int) -> list[float]:
    """Seconds of each of n requests, all answered with 200."""
    seconds: list[float] = []
    turns = iter(range(n))

    async def client() -> None:
        connection = await asyncio.open_connection("127.0.0.1", port)
        for turn in turns:
            started = time.perf_counter()
            status = await asked(connection, requests[turn % len(requests)])
            if status != 200:
                raise RuntimeError(f"status {status}")
            seconds.append(time.perf_counter() - started)
        connection[1].close()

    await asyncio.gather(*(client() for _ in range(connections)))
    return seconds


async def open_loop(port: int, requests: Sequence[bytes], rate: float, seconds: float) -> dict[str, Any]:
    """Requests at random times, on as many connections as are needed."""
    chance = random.Random(0)
    idle: list[Connected] = []
    statuses: Counter[str] = Counter()
    latencies: dict[int, list[float]] = {200: [], 429: []}

    async def one(due: float, request: bytes) -> None:
        try:
            while idle and idle[-1][0].at_eof():  # closed by the server after a time without requests
                idle.pop()[1].close()
            connection = idle.pop() if idle else await asyncio.open_connection("127.0.0.1", port)
            status = await asked(connection, request)
            idle.append(connection)
        except (OSError, asyncio.IncompleteReadError) as error:
            statuses[type(error).__name__] += 1
            return
        statuses[str(status)] += 1
        latencies.setdefault(status, []).append(time.perf_counter() - due)

    started = due = time.perf_counter()
    tasks: list[asyncio.Task[None]] = []
    late: list[float] = []
    while due < started + seconds:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        late.append(time.perf_counter() - due)
        tasks.append(asyncio.ensure_future(one(due, requests[len(tasks) % len(requests)])))
        due += chance.expovariate(rate)
    await asyncio.gather(*tasks)
    return {
        "seconds": seconds,
        "offered_per_second": round(len(tasks) / seconds, 1),
        "statuses": dict(sorted(statuses.items())),
        "accepted_per_second": round(len(latencies[200]) / seconds, 1),
        "accepted_ms": percentiles(latencies[200]),
        "refused_ms": percentiles(latencies[429]),
        "client_late_ms": percentiles(late),
        "connections": len(idle),
    }


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    if len(seconds) < 2:
        return {}
    cuts = statistics.quantiles(seconds, n=1000, method="inclusive")
    named = {"p50": cuts[499], "p90": cuts[899], "p99": cuts[989], "p99.9": cuts[998], "max": max(seconds)}
    return {name: round(value * 1000, 1) for name, value in named.items()}


# --- what is measured ----------------------------------------------------------------------------------


def spread(values: Sequence[float], digits: int = 1) -> dict[str, Any]:
    return {
        "median": round(statistics.median(values), digits),
        "range": [round(min(values), digits), round(max(values), digits)],
        "n": len(values),
    }


def predict(run: Path, files: Sequence[Path], backend: Any) -> Rows:
    """Pictures per second of `Model.predict` on all files, after a first time on some."""
    from headstart.deployment.predict import load

    model = load(run, backend=backend)
    model.predict(files[:32])
    rates = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        model.predict(files)
        rates.append(len(files) / (time.perf_counter() - started))
    return [{"what": "predict", "pictures_per_second": spread(rates), "computes": model.backend.described()}]


def processor_seconds(process: int | None = None) -> float:
    """Of another process, or of this one."""
    if process is None:
        used = resource.getrusage(resource.RUSAGE_SELF)
        return used.ru_utime + used.ru_stime
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def throughput(run: Path, files: Sequence[Path], backend: str) -> Rows:
    requests = [request_of(path.read_bytes()) for path in files]
    rows: Rows = []
    for size in (8, 1) if backend == "torch" else (None,):
        flags = () if size is None else ("--batch-size", str(size))
        with served(run, "--backend", backend, "--queue", "1000", *flags) as (port, process):
            asyncio.run(closed_loop(port, requests, 64, CONNECTIONS))
            rates, seconds = [], []
            before = processor_seconds(process), processor_seconds()
            for _ in range(ROUNDS):
                started = time.perf_counter()
                seconds += asyncio.run(closed_loop(port, requests, len(requests), CONNECTIONS))
                rates.append(len(requests) / (time.perf_counter() - started))
            after = processor_seconds(process), processor_seconds()
        rows.append(
            {
                "what": "throughput",
                "batch_size": size or 1,
                "connections": CONNECTIONS,
                "requests": len(seconds),
                "pictures_per_second": spread(rates),
                "ms": percentiles(seconds),
                "processor_ms_per_picture": {
                    name: round(1000 * (after[i] - before[i]) / len(seconds), 2)
                    for i, name in enumerate(("server", "client"))
                },
            }
        )
    return rows


def overload(run: Path, files: Sequence[Path], backend: str) -> Rows:
    requests = [request_of(path.read_bytes()) for path in files]
    with served(run, "--backend", backend, "--queue", "1000") as (port, _):
        asyncio.run(closed_loop(port, requests, 64, CONNECTIONS))
        started = time.perf_counter()
        asyncio.run(closed_loop(port, requests, 2 * len(requests), CONNECTIONS))
        capacity = 2 * len(requests) / (time.perf_counter() - started)
    with served(run, "--backend", backend) as (port, _):
        alone = asyncio.run(closed_loop(port, requests, LONE, 1))[10:]
        found = asyncio.run(open_loop(port, requests, OVERLOAD * capacity, OVERLOAD_SECONDS))
        asked = urllib.request.urlopen(f"http://127.0.0.1:{port}/metadata")
        queue = json.load(asked)["limits"]["queue"]
        batch = mean_batch(port)
    lone = statistics.median(alone) * 1000
    return [
        {"what": "lone", "requests": len(alone), "ms": percentiles(alone)},
        {
            "what": "overload",
            "capacity": round(capacity, 1),
            "of_capacity": OVERLOAD,
            "queue": queue,
            "mean_batch": batch,
            **found,
            "p99_of_lone_median": round(found["accepted_ms"]["p99"] / lone, 2),
            "limit": 5,
        },
    ]


def mean_batch(port: int) -> float:
    """Pictures per forward pass since the start of a server; 1 where it makes no batches."""
    text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read().decode()
    found = dict(
        line.split()
        for line in text.splitlines()
        if "batch_size_" in line and "{" not in line and "#" not in line
    )
    count = float(found["headstart_batch_size_count"])
    return round(float(found["headstart_batch_size_sum"]) / count, 2) if count else 1.0


def start(run: Path, files: Sequence[Path], backend: str) -> Rows:
    seconds = []
    for _ in range(1 + STARTS):
        started = time.perf_counter()
        with served(run, "--backend", backend) as (port, _):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health").read()
            seconds.append(time.perf_counter() - started)
    return [{"what": "start", "seconds": spread(seconds[1:], 2)}]


def resident_mb(process: int) -> float:
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def memory(run: Path, files: Sequence[Path], backend: str) -> Rows:
    from scale import draw

    with tempfile.TemporaryDirectory() as place:
        if backend == "torch":
            run = tiny_run(Path(place))
            draw(Path(place, "small"), PICTURES, (90, 80))
            files = files_in(Path(place, "small"))
        requests = [request_of(path.read_bytes()) for path in files]
        with served(run, "--backend", backend, "--queue", "1000") as (port, process):
            asyncio.run(closed_loop(port, requests, 500, 8))
            seen = {500: resident_mb(process)}
            started = time.perf_counter()
            for done in range(2000, REQUESTS + 1, 1500):
                asyncio.run(closed_loop(port, requests, 1500, 8))
                seen[done] = resident_mb(process)
            rate = (REQUESTS - 500) / (time.perf_counter() - started)
    spread_mb = max(seen.values()) - min(seen.values())
    return [
        {
            "what": "memory",
            "network": "test_efficientnet, 64 px" if backend == "torch" else "the run's",
            "requests": REQUESTS,
            "requests_per_second": round(rate, 1),
            "resident_mb": {str(n): round(value, 1) for n, value in seen.items()},
            "spread_mb": round(spread_mb, 1),
            "limit_mb": 50,
        }
    ]


def pictures(folder: Path) -> None:
    from scale import draw

    draw(folder, PICTURES, SHAPE)


def files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


PARTS: dict[str, Callable[[Path, Sequence[Path], str], Rows]] = {
    "predict": predict,
    "throughput": throughput,
    "overload": overload,
    "start": start,
    "memory": memory,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=("pictures", *PARTS))
    parser.add_argument("run", type=Path)
    parser.add_argument("pictures", type=Path, nargs="?")
    parser.add_argument("backend", choices=("onnx", "torch"), nargs="?")
    arguments = parser.parse_args()
    if arguments.part == "pictures":
        pictures(arguments.run)
        return
    rows = PARTS[arguments.part](arguments.run, files_in(arguments.pictures), arguments.backend)
    print(json.dumps([{"backend": arguments.backend, **row} for row in rows]))


if __name__ == "__main__":
    main()
