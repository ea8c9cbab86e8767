"""A server as a process: from a socket to an answer, its limits, and its end."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

for _name in ("fastapi", "uvicorn", "httpx", "torch", "timm"):
    pytest.importorskip(_name)

import httpx  # noqa: E402
from PIL import Image  # noqa: E402

import colours  # noqa: E402
from headstart.deployment.predict import load  # noqa: E402
from headstart.model.bundle import save_bundle  # noqa: E402
from headstart.model.transfer import transfer  # noqa: E402
from headstart.model.zoo import create, preprocess  # noqa: E402

TOKEN = "a-token-that-must-not-be-shown"
POSIX = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run folder with a tiny network of random weights."""
    folder = tmp_path_factory.mktemp("runs") / "served"
    network = transfer(create("test_efficientnet", pretrained=False), ("ant", "bee"), seed=1)
    save_bundle(folder / "model", network, {"preprocess": preprocess("test_efficientnet").to_dict()})
    return folder


def drawn(seed: int, size: int = 90) -> bytes:
    """The bytes of a PNG file."""
    file = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, format="PNG")
    return file.getvalue()


@dataclass
class Started:
    """A server under way."""

    process: subprocess.Popen[bytes]
    url: str
    port: int
    log: Path

    def said(self) -> str:
        return self.log.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def start(run, tmp_path_factory) -> Iterator[Callable[..., Started]]:
    """Starts `headstart serve` in an empty folder, whose temporary files would lie there, too."""
    begun: list[subprocess.Popen[bytes]] = []

    def started(*flags: str, port: int = 0, folder: Path = run, **environment: str) -> Started:
        place = tmp_path_factory.mktemp("place")
        log = tmp_path_factory.mktemp("log") / "stderr"
        empty = {
            "TMPDIR": str(place),
            "HOME": str(place),
            "XDG_CACHE_HOME": str(place),
            "HEADSTART_HOME": str(place),
        }
        with open(log, "wb") as stderr:
            process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "headstart",
                    "serve",
                    str(folder),
                    "--port",
                    str(port),
                    "--json",
                    *flags,
                ],
                stdout=subprocess.PIPE,
                stderr=stderr,
                cwd=place,
                env={**os.environ, "OMP_NUM_THREADS": "1", **empty, **environment},
            )
        begun.append(process)
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, log.read_text(encoding="utf-8")
        told = json.loads(line)
        return Started(process, told["url"], told["port"], log)

    yield started
    for process in begun:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


@pytest.fixture(scope="module")
def server(start) -> Started:
    """With a token and tight limits."""
    limits = ("--max-file-mb", "1", "--max-request-mb", "2", "--max-files", "4", "--upload-timeout", "1.5")
    return start(*limits, HEADSTART_TOKEN=TOKEN)


@pytest.fixture
def client(server) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with httpx.Client(base_url=server.url, headers=headers, trust_env=False, timeout=30) as opened:
        yield opened


def code(response: httpx.Response) -> str:
    return str(response.json()["error"]["code"])


def test_many_clients_get_the_answers_of_predict(server, client, run) -> None:
    files = [drawn(i) for i in range(12)]
    expected = load(run).predict(files)

    def asked(file: bytes) -> dict:
        while True:
            response = client.post("/predict", files={"files": ("a.png", file)})
            if response.status_code != 429:
                assert response.status_code == 200
                return response.json()["predictions"][0]
            time.sleep(0.05)

    with ThreadPoolExecutor(6) as pool:
        rows = list(pool.map(asked, files))
    for row, right in zip(rows, expected, strict=True):
        assert row["prediction"] == right.prediction
        assert row["probabilities"] == pytest.approx(right.probabilities, abs=1e-6)


def test_token_and_host_are_asked_for(server, client) -> None:
    with httpx.Client(base_url=server.url, trust_env=False) as stranger:
        assert code(stranger.get("/metadata")) == "HS-SERVE-012"
        assert stranger.get("/health").json() == {"status": "ready"}
    assert code(client.get("/metadata", headers={"Host": "evil.example"})) == "HS-SERVE-010"
    assert client.get("/metadata").status_code == 200


def test_limits_are_kept(server, client) -> None:
    big = {"files": ("a.png", bytes(2**20 + 1))}
    response = client.post("/predict", files=big)
    assert (response.status_code, code(response)) == (413, "HS-SERVE-021")
    response = client.post("/predict", files=[("files", ("a.png", b"x"))] * 5)
    assert (response.status_code, code(response)) == (413, "HS-SERVE-022")
    response = client.post("/predict", files=[("files", ("a.png", bytes(2**20)))] * 3)
    assert (response.status_code, code(response)) == (413, "HS-SERVE-020")
    assert code(client.post("/predict", content=b"x", headers={"Content-Type": "text/x"})) == "HS-SERVE-023"
    assert client.get("/health").status_code == 200


def test_a_body_without_length_is_limited_while_it_streams(server, client) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(400):
            sent += 2**20
            yield bytes(2**20)

    with contextlib.suppress(httpx.WriteError):
        response = client.post("/predict", content=endless(), headers={"Content-Type": "image/png"})
        assert code(response) == "HS-SERVE-021"
    assert sent < 400 * 2**20
    assert client.get("/health").status_code == 200


def test_a_slow_body_is_given_up(server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as slow:
        slow.sendall(
            f"POST /predict HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n"
            "Content-Type: image/png\r\nContent-Length: 1000\r\n\r\nabc".encode()
        )
        said = b""
        while piece := slow.recv(4096):  # until the server closes
            said += piece
    assert said.startswith(b"HTTP/1.1 408") and b"HS-SERVE-033" in said


def test_nothing_is_written_or_told(server, client) -> None:
    for content in (drawn(1, 400), drawn(2)[:-200], b"text"):
        client.post("/predict", files={"files": ("secret-name.png", content)})
    client.post("/predict?secret=query", content=drawn(3), headers={"Content-Type": "image/png"})
    client.post("/predict", content=b'{"image": "secret"}', headers={"Content-Type": "application/json"})
    place = Path(f"/proc/{server.process.pid}/cwd")
    if place.exists():
        assert list(place.resolve().iterdir()) == []
        opened = [str(f.readlink()) for f in Path(f"/proc/{server.process.pid}/fd").iterdir()]
        assert not [f for f in opened if "deleted" in f or str(place.resolve()) in f]
    said = server.said()
    assert "listening at" in said
    assert TOKEN not in said and "secret" not in said and len(said.splitlines()) == 1
    assert TOKEN not in client.get("/metadata").text and "secret" not in client.get("/metrics").text


def test_malformed_uploads_leave_the_server_as_it_was(server, client) -> None:
    """Names that lead elsewhere, wrong lengths, wrong forms, many tiny files: 4xx, and it goes on."""
    form = b'--B\r\nContent-Disposition: form-data; name="files"; filename="%s"\r\n\r\n%s\r\n--B--\r\n'
    kind = {"Content-Type": "multipart/form-data; boundary=B"}
    for name in (b"../../../etc/passwd", b"C:\\x\\y.png", b"\xff\xfe", b"a\0b.png", b"%2e%2e/", b"x" * 3000):
        for content in (b"", b"text", drawn(4)[:100]):
            response = client.post("/predict", content=form % (name, content), headers=kind)
            assert 400 <= response.status_code < 500, (name, content)
    for body in (
        b"",
        b"--B",
        b"--B\r\n\r\n",
        b"--B\r\nA: B\r\n\r\nx",
        form[:-8],
        b"\r\n" * 1000,
        b"--B--\r\n",
    ):
        assert 400 <= client.post("/predict", content=body, headers=kind).status_code < 500
    tiny = [("files", (f"{i}.png", b"x")) for i in range(10_000)]
    assert client.post("/predict", files=tiny).status_code == 413
    row = client.post("/predict", files={"files": ("a.png", drawn(1))}).json()["predictions"][0]
    assert row["status"] == "ok"
    metrics = client.get("/metrics").text
    assert 'status="5' not in metrics
    assert "headstart_held_bytes 0.0" in metrics and "headstart_queue_depth 0.0" in metrics


@POSIX
def test_an_exported_model_answers_many_clients_without_torch(start, tmp_path) -> None:
    """The same numbers as `predict`, an entry for a broken picture, and an end that loses nothing."""
    own, folder = colours.card(), tmp_path / "run"
    exported = colours.graph(3.0, own)
    own["onnx"] = {"sha256": hashlib.sha256(exported).hexdigest()}
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "model.onnx").write_bytes(exported)
    (folder / "model" / "model.json").write_text(json.dumps(own), encoding="utf-8")
    server = start("--queue", "100", folder=folder)
    files = [*(drawn(i) for i in range(12)), drawn(12)[:-300]]
    expected = load(folder).predict(files)

    def asked(place: int) -> list[dict]:
        forms = [("files", (f"{i}.png", files[i])) for i in (place, len(files) - 1)]
        response = httpx.post(f"{server.url}/predict", files=forms, trust_env=False, timeout=30)
        assert response.status_code == 200
        return response.json()["predictions"]

    with ThreadPoolExecutor(6) as pool:
        for place, (row, broken) in enumerate(pool.map(asked, range(12))):
            assert row["probabilities"] == expected[place].probabilities
            assert broken["status"] == expected[-1].status != "ok"
    with httpx.Client(base_url=server.url, trust_env=False, timeout=30) as client:
        assert client.get("/metadata").json()["backend"].startswith("onnxruntime ")
        assert "headstart_queue_depth 0.0" in client.get("/metrics").text
        with ThreadPoolExecutor(1) as pool:
            last = pool.submit(asked, 0)
            server.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(httpx.HTTPError, AssertionError):  # asked too late
                assert last.result()[0]["probabilities"] == expected[0].probabilities
    assert server.process.wait(30) == 0
    assert server.said().splitlines()[-1] == "stopped"


@POSIX
def test_sigterm_finishes_what_was_begun(start) -> None:
    server = start()
    picture = drawn(1)
    head = (
        "POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
        f"Content-Length: {len(picture)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as begun:
        begun.sendall(head.encode() + picture[:100])
        with httpx.Client(base_url=server.url, trust_env=False, timeout=30) as other:
            while "headstart_held_bytes 0.0" in other.get("/metrics").text:
                time.sleep(0.02)
            server.process.send_signal(signal.SIGTERM)
            while other.get("/health").status_code == 200:
                time.sleep(0.02)
            assert other.get("/health").json() == {"status": "draining"}
            refused = other.post("/predict", files={"files": ("a.png", picture)})
            assert (refused.status_code, code(refused)) == (503, "HS-SERVE-031")
        begun.sendall(picture[100:])
        said = b"".join(iter(lambda: begun.recv(65_536), b""))  # until the server closes
    assert said.startswith(b"HTTP/1.1 200") and b'"status":"ok"' in said
    assert server.process.wait(30) == 0
    assert server.said().splitlines()[-1] == "stopped"


@POSIX
def test_a_second_signal_ends_at_once_and_a_killed_server_starts_again(start) -> None:
    server = start()
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as begun:
        begun.sendall(
            b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
            b"Content-Length: 9\r\n\r\n"
        )
        time.sleep(0.3)
        server.process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert server.process.poll() is None
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(30) == 130
    again = start(port=server.port)
    assert again.port == server.port
    again.process.send_signal(signal.SIGKILL)
    again.process.wait(30)
    assert start(port=server.port).port == server.port


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (("--host", "0.0.0.0"), "HS-SERVE-002"),
        (("--token-file", "none"), "HS-SERVE-003"),
        (("--max-files", "0"), "HS-SERVE-004"),
    ],
)
def test_what_cannot_be_served_is_said(command, run, monkeypatch, flags, expected) -> None:
    monkeypatch.delenv("HEADSTART_TOKEN", raising=False)
    outcome = command("serve", run, *flags)
    assert outcome.code == 2 and outcome.err.startswith(f"error {expected}: ")


def test_the_extra_is_named_where_it_is_missing(command, run, monkeypatch) -> None:
    from headstart.deployment import serve

    monkeypatch.setattr(serve.importlib.util, "find_spec", lambda name: None)
    outcome = command("serve", run)
    assert outcome.code == 1 and 'pip install "headstart[serve]"' in outcome.err
