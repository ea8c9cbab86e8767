"""`headstart serve` under load on loopback, by a client in a process of its own on the same processors.

`serve`: the bundled network, drawn JPEGs of 500 x 375, one file a request.
    predict     pictures per second of `Model.predict` on the same files, in a process of its own
    throughput  16 connections that ask again as soon as they are answered, and a queue that takes them all;
                with batches of 8 and of 1
    lone        one connection, one request after another: the latency of a server without load
    overload    60 s of requests at random times (Poisson) at 1.5 times the throughput, whether answered or
                not, at the defaults; latency counts from the time that a request was due
`serve-memory`: timm's test_efficientnet at 64 px, pictures of 90 x 80: resident memory over 20,000 requests.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PICTURES = 256
SHAPE = (500, 375)
CONNECTIONS = 16
LONE = 60
OVERLOAD_SECONDS = 60.0
OVERLOAD = 1.5
REQUESTS = 20_000
Rows = list[dict[str, Any]]


def serve(data: Path) -> Rows:
    """``data`` is not used, as the pictures are drawn."""
    return measured("load")


def serve_memory(data: Path) -> Rows:
    return measured("memory")


def measured(part: str) -> Rows:
    done = subprocess.run([sys.executable, __file__, part], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return json.loads(done.stdout)  # type: ignore[no-any-return]


# --- the server ----------------------------------------------------------------------------------------


def saved_run(folder: Path, model: str, img_size: int | None = None) -> Path:
    """A run with a network whose head knows two classes; what it answers is not measured."""
    import torch

    from headstart.data.preprocess import Preprocess
    from headstart.model import zoo
    from headstart.model.bundle import save_bundle
    from headstart.model.transfer import transfer

    torch.manual_seed(0)
    if img_size is None:
        preprocess = zoo.preprocess(model)
        source = zoo.create(model)
    else:
        preprocess = Preprocess(img_size, img_size, "bilinear", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
        source = zoo.create(model, pretrained=False)
    network = transfer(source, ("a", "b"), seed=0)
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


def predicted(run: Path, pictures: Sequence[Path]) -> float:
    """Pictures per second of `Model.predict`, the better of two times, after a first one."""
    from headstart.deployment.predict import load

    model = load(run)
    model.predict(pictures[:32])
    rates = []
    for _ in range(2):
        started = time.perf_counter()
        model.predict(pictures)
        rates.append(len(pictures) / (time.perf_counter() - started))
    return max(rates)


def load() -> Rows:
    from scale import draw

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        draw(folder / "data", PICTURES, SHAPE)
        files = sorted(path for path in (folder / "data").rglob("*") if path.is_file())
        requests = [request_of(path.read_bytes()) for path in files]
        run = saved_run(folder, "efficientnet-lite0")
        command = [sys.executable, __file__, "predict", str(run), str(folder / "data")]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        rows: Rows = [{"what": "predict", "pictures_per_second": round(float(done.stdout), 1)}]
        rates: dict[int, float] = {}
        for size in (8, 1):
            with served(run, "--batch-size", str(size), "--queue", "1000") as (port, _):
                asyncio.run(closed_loop(port, requests, 64, CONNECTIONS))
                n = 2 * len(requests)
                started = time.perf_counter()
                seconds = asyncio.run(closed_loop(port, requests, n, CONNECTIONS))
                rates[size] = n / (time.perf_counter() - started)
            rows.append(
                {
                    "what": "throughput",
                    "batch_size": size,
                    "requests": n,
                    "connections": CONNECTIONS,
                    "pictures_per_second": round(rates[size], 1),
                    "of_predict": round(rates[size] / float(done.stdout), 3),
                    "ms": percentiles(seconds),
                }
            )
        rows.append({"what": "batching's win", "ratio": round(rates[8] / rates[1], 3)})
        with served(run) as (port, _):
            alone = asyncio.run(closed_loop(port, requests, LONE, 1))[10:]
            rows.append({"what": "lone", "requests": len(alone), "ms": percentiles(alone)})
            found = asyncio.run(open_loop(port, requests, OVERLOAD * rates[8], OVERLOAD_SECONDS))
        lone = statistics.median(alone) * 1000
        rows.append(
            {
                "what": "overload",
                "of_capacity": OVERLOAD,
                **found,
                "p99_of_lone_median": round(found["accepted_ms"]["p99"] / lone, 2),
                "limit": 5,
            }
        )
        return rows


def resident_mb(process: int) -> float:
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def memory() -> Rows:
    from scale import draw

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        draw(folder / "data", PICTURES, (90, 80))
        files = [path for path in (folder / "data").rglob("*") if path.is_file()]
        requests = [request_of(path.read_bytes()) for path in files]
        run = saved_run(folder, "test_efficientnet", 64)
        with served(run, "--queue", "1000") as (port, process):
            asyncio.run(closed_loop(port, requests, 500, 8))
            seen = {500: resident_mb(process)}
            started = time.perf_counter()
            for done in range(2000, REQUESTS + 1, 1500):
                asyncio.run(closed_loop(port, requests, 1500, 8))
                seen[done] = resident_mb(process)
            rate = (REQUESTS - 500) / (time.perf_counter() - started)
        spread = max(seen.values()) - min(seen.values())
        return [
            {
                "what": "memory",
                "requests": REQUESTS,
                "requests_per_second": round(rate, 1),
                "resident_mb": {str(n): round(value, 1) for n, value in seen.items()},
                "spread_mb": round(spread, 1),
                "limit_mb": 50,
            }
        ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=("load", "memory", "predict"))
    parser.add_argument("rest", nargs="*", type=Path)
    arguments = parser.parse_args()
    if arguments.part == "predict":
        run, data = arguments.rest
        print(predicted(run, sorted(path for path in data.rglob("*") if path.is_file())))
    else:
        print(json.dumps(load() if arguments.part == "load" else memory()))


if __name__ == "__main__":
    main()
