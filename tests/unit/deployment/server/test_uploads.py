"""Bodies of requests, in pieces of any size."""

from __future__ import annotations

import asyncio
import base64
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart.deployment.server.refusals import Refusal
from headstart.deployment.server.settings import MEGABYTE, ServeSettings
from headstart.deployment.server.uploads import HeldBytes, Upload, read_uploads

LIMITS = ServeSettings(max_file_mb=1, max_request_mb=2, max_files=3)


def read(
    headers: dict[str, str], body: bytes, piece: int = 1000, held: HeldBytes | None = None
) -> list[Upload]:
    async def chunks():
        for start in range(0, len(body), piece):
            yield body[start : start + piece]

    async def whole() -> list[Upload]:
        with (held or HeldBytes(10 * MEGABYTE)).share() as add:
            return await read_uploads(headers, chunks(), LIMITS, add)

    return asyncio.run(whole())


def form(*parts: tuple[str, bytes | None, bytes], end: bytes = b"--") -> tuple[dict[str, str], bytes]:
    """Of fields, file names and contents."""
    body = b""
    for field, name, content in parts:
        file = b"" if name is None else b'; filename="' + name + b'"'
        body += b'--BOUND\r\nContent-Disposition: form-data; name="' + field.encode() + b'"' + file
        body += b"\r\nContent-Type: image/png\r\n\r\n" + content + b"\r\n"
    return {"content-type": "multipart/form-data; boundary=BOUND"}, body + b"--BOUND" + end + b"\r\n"


def refused(headers: dict[str, str], body: bytes, **more) -> Refusal:
    with pytest.raises(Refusal) as error:
        read(headers, body, **more)
    return error.value


@settings(max_examples=60, deadline=None)
@given(
    contents=st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=3), piece=st.integers(1, 400)
)
def test_a_form_gives_its_files_byte_for_byte(contents, piece) -> None:
    parts = [("files", f"{i}.png".encode(), content) for i, content in enumerate(contents)]
    found = read(*form(*parts), piece=piece)
    assert [(one.name, one.content) for one in found] == [
        (f"{i}.png", content) for i, content in enumerate(contents)
    ]


@settings(max_examples=60, deadline=None)
@given(contents=st.lists(st.binary(max_size=200), min_size=1, max_size=3))
def test_json_gives_its_pictures(contents) -> None:
    texts = [base64.b64encode(content).decode() for content in contents]
    body = json.dumps({"images": [texts[0], *(f"data:image/png;base64,{text}" for text in texts[1:])]})
    found = read({"content-type": "application/json; charset=utf-8"}, body.encode())
    assert [one.content for one in found] == contents


@settings(max_examples=150, deadline=None)
@given(
    body=st.binary(max_size=300) | st.text(max_size=100).map(str.encode),
    kind=st.sampled_from(
        [
            "application/json",
            "multipart/form-data",
            "multipart/form-data; boundary=B",
            'multipart/form-data; boundary="a b"',
            "multipart/form-data; boundary=" + 500 * "x",
            "image/png",
            "",
            "text/plain",
        ]
    )
    | st.text(max_size=40),
)
def test_any_body_gives_pictures_or_a_refusal(body, kind) -> None:
    for prefix in (b"", b"--B\r\n", b'--B\r\nContent-Disposition: form-data; name="files"\r\n\r\n'):
        try:
            assert all(isinstance(one.content, bytes) for one in read({"content-type": kind}, prefix + body))
        except Refusal as error:
            assert 400 <= error.status < 500
            assert error.code.startswith("HS-SERVE-") and error.fix


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("蜂 🐝.png".encode(), "蜂 🐝.png"),
        (b"../../etc/passwd", "../../etc/passwd"),  # a name in an answer, never a path
        (b"caf\xe9.png", "café.png"),
        (b"x" * 400, "x" * 255),
    ],
)
def test_names_are_given_back(name, said) -> None:
    assert read(*form(("files", name, b"1")))[0].name == said


def test_what_a_browser_sends_where_nothing_was_chosen_is_no_file() -> None:
    assert [one.name for one in read(*form(("files", b"", b""), ("files", b"a", b"")))] == ["a"]
    assert refused(*form(("files", b"", b""))).code == "HS-SERVE-025"


def test_the_bytes_alone_are_a_picture() -> None:
    assert read({"content-type": "image/jpeg"}, b"abc") == [Upload("", b"abc")]


@pytest.mark.parametrize(
    ("request_", "status", "code", "words"),
    [
        (form(("files", b"a", bytes(MEGABYTE + 1))), 413, "HS-SERVE-021", "more than 1 MB"),
        (({"content-type": "image/png"}, bytes(MEGABYTE + 1)), 413, "HS-SERVE-021", "more than 1 MB"),
        (form(*[("files", b"a", bytes(900_000))] * 3), 413, "HS-SERVE-020", "more than 2 MB"),
        (form(*[("files", b"a", b"1")] * 4), 413, "HS-SERVE-022", "more than 3 files"),
        (form(*[("x", None, b"1")] * 4), 413, "HS-SERVE-022", "more than 3 files"),
        (form(("files", b"a", b"1"), end=b""), 400, "HS-SERVE-024", "cut short"),
        (({"content-type": "multipart/form-data"}, b""), 400, "HS-SERVE-024", "boundary is missing"),
        (({"content-type": "application/json"}, b"[" * 100_000), 400, "HS-SERVE-024", "no JSON"),
        (({"content-type": "application/json"}, b"\xff"), 400, "HS-SERVE-024", "no JSON"),
        (({"content-type": "application/json"}, b'{"images": [[], []]}'), 400, "HS-SERVE-024", "one list"),
        (({"content-type": "application/json"}, b'{"image": {"a": 1}}'), 400, "HS-SERVE-024", "one list"),
        (
            ({"content-type": "application/json"}, b'{"images": [%s1]}' % (b"1," * 9)),
            413,
            "HS-SERVE-022",
            "3",
        ),
        (({"content-type": "application/json"}, b'{"image": "%"}'), 400, "HS-SERVE-024", "no base64"),
        (({"content-type": "application/json"}, b'{"image": 3}'), 400, "HS-SERVE-024", "no text"),
        (({"content-type": "application/json"}, b'{"picture": ""}'), 422, "HS-SERVE-025", "must be"),
        (({"content-type": "application/json"}, b'{"images": []}'), 422, "HS-SERVE-025", "no picture"),
        (
            ({"content-type": "application/json"}, b'{"images": ["", "", "", ""]}'),
            413,
            "HS-SERVE-022",
            "more than 3 files",
        ),
        (form(("threshold", None, b"1")), 422, "HS-SERVE-025", "no file"),
        (({"content-type": "text/plain"}, b""), 415, "HS-SERVE-023", "not known"),
        (({}, b"x"), 415, "HS-SERVE-023", "no content type"),
    ],
)
def test_what_is_refused_says_why(request_, status, code, words) -> None:
    error = refused(*request_)
    assert (error.status, error.code) == (status, code)
    assert words in error.what


def test_an_announced_length_is_refused_before_the_first_byte() -> None:
    headers, body = form(("files", b"a", b"1"))
    read_bytes = []

    async def chunks():
        read_bytes.append(body)
        yield body

    async def whole() -> None:
        await read_uploads({**headers, "content-length": "9" * 40}, chunks(), LIMITS, lambda n: None)

    with pytest.raises(Refusal, match="more than 2 MB"):
        asyncio.run(whole())
    assert not read_bytes


def test_all_requests_together_hold_so_many_bytes_at_most() -> None:
    held = HeldBytes(5000)
    with held.share() as add:
        add(4000)
        error = refused({"content-type": "image/png"}, bytes(3000), held=held)
        assert (error.status, error.code) == (429, "HS-SERVE-030")
        assert held.now == 4000  # what was refused is given back
    assert held.now == 0
    assert read({"content-type": "image/png"}, bytes(3000), held=held)
