"""The routes, asked without a socket."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import re
import struct
import time
import zlib
from collections.abc import Iterator
from typing import Any

import pytest

for _name in ("fastapi", "httpx", "torch", "timm"):
    pytest.importorskip(_name)

import httpx  # noqa: E402
from hypothesis import HealthCheck, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from PIL import Image  # noqa: E402

from headstart.data.images import UnreadableImage  # noqa: E402
from headstart.deployment.predict import load  # noqa: E402
from headstart.deployment.server import answering, saliency  # noqa: E402
from headstart.deployment.server import app as module  # noqa: E402
from headstart.deployment.server.app import Service, application  # noqa: E402
from headstart.deployment.server.gate import Gate, ServerState, without_port  # noqa: E402
from headstart.deployment.server.pages import static_files  # noqa: E402
from headstart.deployment.server.settings import ServeSettings  # noqa: E402

TOKEN = "0123456789abcdef"
LIMITS = ServeSettings(max_file_mb=1, max_request_mb=2, max_files=5, timeout=20)


class Asked:
    """A server without a socket, on an event loop of its own."""

    def __init__(self, run: Any, *, token: str | None = None, limits: ServeSettings = LIMITS) -> None:
        self.runner = asyncio.Runner()
        self.model = load(run)
        self.state = ServerState()
        self.service = Service(self.model, limits, self.state, queue=8, workers=2)
        self.gate = Gate(
            application(self.service),
            hosts=("localhost", "127.0.0.1", "::1"),
            token=token,
            open_paths=("/health", "/docs", "/openapi.json"),
            routes=("/predict", "/health"),
            metrics=self.service.metrics,
            state=self.state,
        )

    def __call__(self, method: str, path: str, **more: Any) -> httpx.Response:
        async def asked() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.gate)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                return await client.request(method, path, **more)

        return self.runner.run(asked())

    def close(self) -> None:
        self.runner.run(self.service.scheduler.close())
        self.runner.close()


@pytest.fixture(scope="module")
def ask(served_run) -> Iterator[Asked]:
    asked = Asked(served_run)
    yield asked
    asked.close()


def code(response: httpx.Response) -> str:
    error = response.json()["error"]
    assert set(error) >= {"code", "message", "fix"}
    return error["code"]


def test_answers_are_those_of_predict(ask, drawn_picture) -> None:
    files = [drawn_picture(i) for i in range(5)]
    response = ask("POST", "/predict", files=[("files", (f"猫{i}.png", f)) for i, f in enumerate(files)])
    assert response.status_code == 200
    answer = response.json()
    assert answer["model"]["classes"] == 3
    expected = ask.model.predict(files)
    assert len({round(row.confidence or 0, 4) for row in expected}) == 5
    for i, (row, right) in enumerate(zip(answer["predictions"], expected, strict=True)):
        assert row["name"] == f"猫{i}.png"
        assert (row["status"], row["prediction"]) == ("ok", right.prediction)
        assert row["probabilities"] == pytest.approx(right.probabilities, abs=1e-6)
        assert row["confidence"] == max(row["probabilities"].values())
        assert (row["unknown"], row["unknown_score"], row["set"]) == (None, None, None)


def test_base64_and_bare_bytes_give_the_same(ask, drawn_picture) -> None:
    text = base64.b64encode(drawn_picture(1)).decode()
    rows = ask("POST", "/predict", json={"images": [text, text]}).json()["predictions"]
    one = ask("POST", "/predict", json={"image": text}).json()["predictions"]
    bare = ask("POST", "/predict", content=drawn_picture(1), headers={"Content-Type": "image/png"})
    assert len(rows) == 2 and len(one) == 1
    for row in (*rows, *one, *bare.json()["predictions"]):
        assert row["name"] == ""
        assert row["probabilities"] == pytest.approx(rows[0]["probabilities"], abs=1e-6)


def test_top_keeps_the_most_probable(ask, drawn_picture) -> None:
    files = {"files": ("a.png", drawn_picture(2))}
    row = ask("POST", "/predict?top=2", files=files).json()["predictions"][0]
    values = list(row["probabilities"].values())
    assert len(values) == 2 and values == sorted(values, reverse=True)
    assert next(iter(row["probabilities"])) == row["prediction"]


def test_one_broken_file_among_several_is_a_row(ask, drawn_picture) -> None:
    good = drawn_picture(3)
    files = [("files", ("a.png", good)), ("files", ("b.png", good[:-300])), ("files", ("c.txt", b"text"))]
    response = ask("POST", "/predict", files=files)
    assert response.status_code == 200
    rows = response.json()["predictions"]
    assert [row["status"] for row in rows] == ["ok", "truncated", "not-an-image"]
    assert rows[1]["reason"] and rows[1]["prediction"] is None and rows[1]["probabilities"] == {}


@pytest.mark.parametrize(
    ("content", "status"), [(b"text", 415), (b"\x89PNG\r\n\x1a\n", 422), (b"", 422), (b"%PDF-1.7", 415)]
)
def test_a_lone_broken_file_is_an_error(ask, content, status) -> None:
    response = ask("POST", "/predict", files={"files": ("a.png", content)})
    assert (response.status_code, code(response)) == (status, "HS-SERVE-026")


def promising(kind: str, side: int = 16_000) -> bytes:
    """A small file whose header promises so many pixels a side."""
    file = io.BytesIO()
    if kind == "TIFF":
        Image.new("L", (side, 2)).save(file, kind, compression="tiff_deflate")
        data = bytearray(file.getvalue())
        start, count = struct.unpack("<I", data[4:8])[0], 2
        for at in range(start + count, start + count + 12 * 30, 12):
            if data[at : at + 2] == b"\x01\x01":  # ImageLength
                data[at + 2 : at + 12] = struct.pack("<HII", 4, 1, side)
                return bytes(data)
        raise AssertionError("no height")
    Image.new("RGB", (16, 16)).save(file, kind, **({"lossless": True} if kind == "WEBP" else {}))
    data = bytearray(file.getvalue())
    if kind == "PNG":
        data[16:24] = struct.pack(">II", side, side)
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    elif kind == "WEBP":
        data[21:25] = struct.pack("<I", (side - 1) | (side - 1) << 14)
    elif kind == "GIF":
        data[6:10] = struct.pack("<HH", side, side)
    elif kind == "BMP":
        data[18:26] = struct.pack("<ii", side, side)
    return bytes(data)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "GIF", "BMP"])
def test_a_giant_is_refused_from_its_header(ask, kind) -> None:
    response = ask("POST", "/predict", files={"files": ("bomb", promising(kind))})
    assert (response.status_code, code(response)) == (413, "HS-SERVE-026")
    assert "(too-large)" in response.json()["error"]["message"]


def test_giants_are_decoded_one_at_a_time(ask, drawn_picture, monkeypatch) -> None:
    together, most = 0, []
    plain = answering.read

    def read(*arguments: Any) -> Any:
        nonlocal together
        together += 1
        most.append(together)
        time.sleep(0.05)
        try:
            return plain(*arguments)
        finally:
            together -= 1

    monkeypatch.setattr(answering, "read", read)
    files = [("files", (f"{i}.png", drawn_picture(i))) for i in range(4)]
    assert ask("POST", "/predict", files=files).status_code == 200
    assert max(most) == 2  # workers
    most.clear()
    monkeypatch.setattr(answering, "GIANT_PIXELS", 90 * 80 - 1)
    assert ask("POST", "/predict", files=files).status_code == 200
    assert most == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("path", "status", "expected"),
    [
        ("/predict?top=0", 422, "HS-SERVE-027"),
        ("/predict?top=many", 422, "HS-SERVE-027"),
        ("/predict?coverage=1.5", 422, "HS-SERVE-027"),
        ("/predict?coverage=nan", 422, "HS-SERVE-027"),
        ("/predict?coverage=0.9", 422, "HS-PREDICT-020"),
        ("/explain?of=wasp", 422, "HS-EVAL-031"),
    ],
)
def test_what_cannot_be_asked_is_said(ask, drawn_picture, path, status, expected) -> None:
    response = ask("POST", path, files={"files": ("a.png", drawn_picture(1))})
    assert (response.status_code, code(response)) == (status, expected)


def test_paths_and_methods(ask) -> None:
    assert code(ask("GET", "/predict")) == "HS-SERVE-014"
    assert ask("GET", "/predict").status_code == 405
    for path in ("/nothing", "/static/../../x", "/%2e%2e/%2e%2e/etc/passwd", "/predict/"):
        response = ask("GET", path)
        assert (response.status_code, code(response)) == (404, "HS-SERVE-013")


def test_metadata_say_all_but_where_things_lie(ask, served_run) -> None:
    response = ask("GET", "/metadata")
    found = response.json()
    assert found["classes"] == list(ask.model.classes)
    assert found["preprocess"] == ask.model.preprocess.to_dict()
    assert found["limits"]["file_bytes"] == 2**20 and found["limits"]["files"] == 5
    assert found["versions"]["server"]["headstart"] and "licence" in found and "temperature" in found
    assert str(served_run.parent) not in response.text


def test_health_says_when_the_server_ends_and_only_that_is_answered(served_run, drawn_picture) -> None:
    ask = Asked(served_run)
    assert ask("GET", "/health").json() == {"status": "ready"}
    ask.state.draining = True
    health = ask("GET", "/health")
    assert (health.status_code, health.json()) == (503, {"status": "draining"})
    refused = ask("POST", "/predict", files={"files": ("a.png", drawn_picture(1))})
    assert (refused.status_code, code(refused)) == (503, "HS-SERVE-031")
    assert refused.headers["Retry-After"]
    assert ask("GET", "/metrics").status_code == 200
    ask.close()


def test_metrics_count_requests_and_pictures(ask, drawn_picture) -> None:
    def value(line: str) -> float:
        found = re.search(rf"^{re.escape(line)} (\S+)$", ask("GET", "/metrics").text, flags=re.M)
        return float(found[1]) if found else 0.0

    answered = 'headstart_requests_total{route="/predict",status="200"}'
    before = value(answered), value('headstart_pictures_total{status="ok"}')
    ask("POST", "/predict", files=[("files", ("secret-name.png", drawn_picture(i))) for i in range(3)])
    assert (value(answered), value('headstart_pictures_total{status="ok"}')) == (before[0] + 1, before[1] + 3)
    assert value('headstart_request_seconds_count{route="/predict"}') >= before[0] + 1
    assert value("headstart_batch_size_count") >= 1
    assert value("headstart_queue_depth") == value("headstart_held_bytes") == 0
    ask("GET", "/some/strange/path")
    text = ask("GET", "/metrics").text
    assert "strange" not in text and "secret-name" not in text


def test_a_browser_is_told_to_load_nothing_from_elsewhere(ask) -> None:
    for path in ("/docs", "/health", "/nothing"):
        headers = ask("GET", path).headers
        assert "default-src 'self'; img-src 'self' blob: data:" in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "Access-Control-Allow-Origin" not in headers
    page = ask("GET", "/docs").text
    for route in ("/predict", "/explain", "/health", "/metadata", "/metrics"):
        assert f"{route}</code>" in page
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", page) and "<script" not in page


@pytest.mark.parametrize(
    ("host", "right"),
    [
        ("localhost", True),
        ("LOCALHOST:8000", True),
        ("127.0.0.1:1", True),
        ("[::1]:8000", True),
        ("localhost.", True),
        ("", False),
        ("evil.example", False),
        ("localhost.evil.example", False),
        ("evil.example:8000", False),
        ("localhost@evil.example", False),
        ("127.0.0.1.nip.io", False),
        ("[::1]evil", True),  # no name that a browser could resolve
    ],
)
def test_only_known_hosts_are_answered(ask, host, right) -> None:
    response = ask("GET", "/health", headers={"Host": host})
    assert response.status_code == (200 if right else 400)
    if not right:
        assert code(response) == "HS-SERVE-010"


def test_host_without_its_port() -> None:
    assert [without_port(h) for h in ("A.b:1", "[::1]:9", "::1", "a.", "1.2.3.4")] == [
        "a.b",
        "::1",
        "::1",
        "a",
        "1.2.3.4",
    ]


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:9999"])
def test_pages_of_other_servers_are_refused(ask, origin) -> None:
    response = ask("GET", "/health", headers={"Host": "localhost:8000", "Origin": origin})
    assert (response.status_code, code(response)) == (403, "HS-SERVE-011")
    own = ask("GET", "/health", headers={"Host": "localhost:8000", "Origin": "http://localhost:8000"})
    assert own.status_code == 200


def test_a_token_is_asked_for(served_run, drawn_picture) -> None:
    ask = Asked(served_run, token=TOKEN)
    for given_ in (None, "", TOKEN, f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer é"):
        headers = {} if given_ is None else {"Authorization": given_.encode("latin-1")}
        for method, path in (("GET", "/metadata"), ("GET", "/metrics"), ("POST", "/predict"), ("GET", "/x")):
            response = ask(method, path, headers=headers)
            assert (response.status_code, code(response)) == (401, "HS-SERVE-012")
            assert response.headers["WWW-Authenticate"] == "Bearer" and TOKEN not in response.text
    for path in ("/health", "/docs", "/openapi.json"):
        assert ask("GET", path).status_code == 200
    files = {"files": ("a.png", drawn_picture(1))}
    assert (
        ask("POST", "/predict", files=files, headers={"Authorization": f"bearer {TOKEN}"}).status_code == 200
    )
    ask.close()


def test_heat_maps_are_drawn_of_one_picture(ask, drawn_picture) -> None:
    pytest.importorskip("matplotlib")
    response = ask("POST", "/explain?of=bee", files={"files": ("a.png", drawn_picture(1))})
    assert response.status_code == 200 and response.headers["Content-Type"] == "image/png"
    with Image.open(io.BytesIO(response.content)) as image:
        assert (image.format, image.size) == ("PNG", (64, 64))
    several = [("files", ("a.png", drawn_picture(i))) for i in range(2)]
    assert code(ask("POST", "/explain", files=several)) == "HS-SERVE-041"
    broken = ask("POST", "/explain", files={"files": ("a.png", b"text")})
    assert (broken.status_code, code(broken)) == (415, "HS-SERVE-026")


def test_heat_maps_say_what_they_lack(ask, drawn_picture, monkeypatch) -> None:
    monkeypatch.setattr(saliency.importlib.util, "find_spec", lambda name: None)
    response = ask("POST", "/explain", files={"files": ("a.png", drawn_picture(1))})
    assert (response.status_code, code(response)) == (501, "HS-SERVE-040")
    assert 'pip install "headstart[train]"' in response.json()["error"]["fix"]
    assert ask("GET", "/metadata").json()["explains"] is False


def test_a_fault_of_the_server_tells_nothing_of_the_request(ask, drawn_picture, monkeypatch, capsys) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError("secret-name.png is strange")

    monkeypatch.setattr(module, "prediction", fails)
    response = ask("POST", "/predict", files={"files": ("secret-name.png", drawn_picture(1))})
    assert (response.status_code, code(response)) == (500, "HS-SERVE-034")
    said = capsys.readouterr()
    assert "RuntimeError at test_app.py" in said.err
    assert "secret" not in said.err + said.out + response.text
    assert ask.service.scheduler.pending == ask.state.in_flight == ask.service.held.now == 0


def test_an_answer_that_takes_too_long_is_given_up(served_run, drawn_picture) -> None:
    ask = Asked(served_run, limits=ServeSettings(timeout=0.001))
    response = ask("POST", "/predict", files={"files": ("a.png", drawn_picture(1))})
    assert (response.status_code, code(response)) == (503, "HS-SERVE-032")
    ask.close()
    assert ask.service.scheduler.pending == 0


def test_pages_are_read_once_and_no_others_exist(tmp_path) -> None:
    (tmp_path / "index.html").write_text("<p>", encoding="utf-8")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.js").write_bytes(b"1")
    (tmp_path / "notes.py").write_bytes(b"1")
    files = static_files(tmp_path)
    assert set(files) == {"/", "/index.html", "/a/x.js"}
    assert files["/"] == (b"<p>", "text/html; charset=utf-8")
    assert static_files(tmp_path / "none") == {}


HEADS = (
    b"",
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff\xe0",
    b"GIF89a",
    b"BM",
    b"II*\x00",
    b"RIFF\x10\0\0\0WEBPVP8 ",
)


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    head=st.sampled_from(HEADS),
    rest=st.binary(max_size=200),
    name=st.text(max_size=30),
    at=st.integers(0, 2000),
    path=st.sampled_from(["/predict", "/explain"]),
)
def test_no_bytes_make_the_server_fail(ask, drawn_picture, head, rest, name, at, path) -> None:
    whole = bytearray(drawn_picture(1))
    whole[at : at + len(rest)] = rest  # a damaged picture, beside one of mere bytes
    for content in (head + rest, bytes(whole)):
        for more in (
            {"files": {"files": (name or "x", content)}},
            {"json": {"image": base64.b64encode(content).decode()}},
            {"content": content, "headers": {"Content-Type": "application/json"}},
            {"content": content, "headers": {"Content-Type": "multipart/form-data; boundary=x"}},
        ):
            response = ask("POST", path, **more)
            assert response.status_code == 200 or 400 <= response.status_code < 500
            if response.status_code != 200:
                json.loads(response.content)["error"]["code"]


def test_nothing_is_sent_to_where_variables_of_opentelemetry_say(ask, monkeypatch) -> None:
    fastapi = pytest.importorskip("fastapi", minversion="0.160")
    monkeypatch.setenv("FASTAPI_OTEL_AUTO_CONFIGURE", "true")
    assert fastapi.FastAPI()._telemetry["auto_configure"] and fastapi.FastAPI()._telemetry["tracing"]
    assert not any(application(ask.service)._telemetry.values())


def test_a_lone_picture_that_cannot_be_read_keeps_its_kind() -> None:
    assert module.unreadable(UnreadableImage("too-small", "tiny")).status == 422
    assert module.unreadable(UnreadableImage("unsupported", "strange")).status == 415
