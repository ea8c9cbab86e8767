"""From the body of a request to pictures in memory. Limits act while it streams; no file is ever written.

Starlette's own parser would write parts above 1 MB into temporary files, and has no limit on files.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from headstart.deployment.server.refusals import Refusal, busy
from headstart.deployment.server.settings import MEGABYTE, ServeSettings

NAME_LETTERS = 255
FORMS = "multipart/form-data with one or many fields `files`, JSON, or the bytes of one picture as image/*"

Chunks = AsyncIterator[bytes]


@dataclass(frozen=True)
class Upload:
    """One picture: its name as given ("" for none), which is never used as a path, and its bytes."""

    name: str
    content: bytes = field(repr=False)


class HeldBytes:
    """How much of all requests together is in memory.

    Args:
        most: Bytes; further requests are refused then.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.now = 0

    @contextmanager
    def share(self) -> Iterator[Callable[[int], None]]:
        """For one request; yields ``add(n)``, whose sum is given back at the end.

        Raises:
            Refusal: HS-SERVE-030, by ``add``: it would be too much.
        """
        mine = 0

        def add(n: int) -> None:
            nonlocal mine
            if self.now + n > self.most:
                raise busy("Too many bytes are waiting.")
            mine += n
            self.now += n

        try:
            yield add
        finally:
            self.now -= mine


async def read_uploads(
    headers: Mapping[str, str], chunks: Chunks, settings: ServeSettings, add: Callable[[int], None]
) -> list[Upload]:
    """The pictures in the body of a request, in order.

    Args:
        headers: Of the request, lower case.
        chunks: Its body.
        settings: With the limits.
        add: Told the number of bytes read; may refuse.

    Raises:
        Refusal: HS-SERVE-020 to -025: too large, too many, of an unknown kind, malformed, or no picture.
    """
    kind, options = content_type(headers.get("content-type", ""))
    length = headers.get("content-length", "")
    if length.isdigit() and int(length[:20]) > settings.request_bytes:
        raise request_too_large(settings)
    body = limited(chunks, settings, add)
    if kind == "multipart/form-data":
        boundary = options.get(b"boundary", b"")
        if not boundary:
            raise malformed("the multipart boundary is missing in Content-Type")
        form = Form(boundary, settings)
        async for chunk in body:
            form.write(chunk)
        return form.finished()
    if kind == "application/json":
        text = bytearray()
        async for chunk in body:
            text += chunk
        return await asyncio.to_thread(from_json, bytes(text), settings)
    if kind.startswith("image/") or kind == "application/octet-stream":
        picture = bytearray()
        async for chunk in body:
            picture += chunk
            check_size(len(picture), settings)
        return [Upload("", bytes(picture))]
    raise Refusal(
        415,
        "HS-SERVE-023",
        "The content type of the request is not known." if kind else "The request has no content type.",
        fix=f"Send {FORMS}.",
    )


def content_type(header: str) -> tuple[str, dict[bytes, bytes]]:
    """Kind, lower case, and parameters."""
    kind, options = parse_options_header(header.encode("latin-1", "replace"))
    return kind.decode("latin-1").strip(), options


async def limited(chunks: Chunks, settings: ServeSettings, add: Callable[[int], None]) -> Chunks:
    """The chunks, as long as they are not too much.

    Raises:
        Refusal: HS-SERVE-020; and what ``add`` raises.
    """
    total = 0
    async for chunk in chunks:
        total += len(chunk)
        if total > settings.request_bytes:
            raise request_too_large(settings)
        add(len(chunk))
        yield chunk


class Form:
    """A multipart form, as it arrives."""

    def __init__(self, boundary: bytes, settings: ServeSettings) -> None:
        self._settings = settings
        self._uploads: list[Upload] = []
        self._strange: list[str] = []
        self._ended = False
        self._start()
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._start,
                    "on_header_field": self._header_name,
                    "on_header_value": self._header_value,
                    "on_header_end": self._header_end,
                    "on_headers_finished": self._headers_end,
                    "on_part_data": self._data,
                    "on_part_end": self._part_end,
                    "on_end": self._end,
                },
            )
        except (FormParserError, ValueError) as error:
            raise malformed("the multipart boundary cannot be used") from error

    def write(self, chunk: bytes) -> None:
        """The next bytes.

        Raises:
            Refusal: HS-SERVE-021 and -022, a file too large, or too many; HS-SERVE-024, malformed.
        """
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise malformed("the parts of the multipart form cannot be told apart") from error

    def finished(self) -> list[Upload]:
        """All pictures.

        Raises:
            Refusal: HS-SERVE-024, the form is cut short; HS-SERVE-025, a field is no file, or there is none.
        """
        if not self._ended:
            raise malformed("the multipart form is cut short")
        if self._strange:
            raise no_pictures(
                "A field of the form is no file.", tuple(f"field {name!r}" for name in self._strange)
            )
        if not self._uploads:
            raise no_pictures("There is no picture in the form.")
        return self._uploads

    def _start(self) -> None:
        self._name, self._value = bytearray(), bytearray()
        self._disposition = b""
        self._content = bytearray()

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if bytes(self._name).strip().lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._name, self._value = bytearray(), bytearray()

    def _headers_end(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._field, self._file = options.get(b"name", b""), options.get(b"filename")
        if len(self._uploads) + len(self._strange) >= self._settings.max_files:
            raise too_many(self._settings)

    def _data(self, data: bytes, start: int, end: int) -> None:
        check_size(len(self._content) + end - start, self._settings)
        self._content += data[start:end]

    def _part_end(self) -> None:
        if self._file is None and self._field != b"files":
            self._strange.append(as_name(self._field))
        elif self._file or self._content:  # a browser sends an empty part where nothing was chosen
            self._uploads.append(Upload(as_name(self._file or b""), bytes(self._content)))
        self._content = bytearray()

    def _end(self) -> None:
        self._ended = True


def from_json(text: bytes, settings: ServeSettings) -> list[Upload]:
    """The pictures of ``{"images": [base64, ...]}`` or ``{"image": base64}``, with or without ``data:...,``.

    Raises:
        Refusal: HS-SERVE-021 and -022, a file too large, or too many; HS-SERVE-024, no such JSON;
            HS-SERVE-025, no picture in it.
    """
    # Base64 has none of these letters: many of them would only take memory, fifty bytes for each.
    if text.count(b"{") > 1 or text.count(b"[") > 1:
        raise malformed("the body is no JSON object with one picture or one list of them")
    if text.count(b",") > 2 * settings.max_files + 1:  # one within each data: address
        raise too_many(settings)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise malformed("the body is no JSON") from None
    if not isinstance(found, dict) or not found or set(found) - {"image", "images"}:
        raise no_pictures('The JSON must be {"image": BASE64} or {"images": [BASE64, ...]}.')
    images = found.get("images", [])
    if not isinstance(images, list):
        raise no_pictures('"images" must be a list of base64 texts.')
    images = [*images, *([found["image"]] if "image" in found else [])]
    if not images:
        raise no_pictures("There is no picture in the JSON.")
    if len(images) > settings.max_files:
        raise too_many(settings)
    return [Upload("", from_base64(image, place, settings)) for place, image in enumerate(images)]


def from_base64(text: object, place: int, settings: ServeSettings) -> bytes:
    """The bytes of one picture.

    Raises:
        Refusal: HS-SERVE-021, too large; HS-SERVE-024, no base64.
    """
    if not isinstance(text, str):
        raise malformed(f"image {place} is no text")
    if text.startswith("data:"):
        text = text.partition(",")[2]
    check_size(len(text) * 3 // 4 - 2, settings)
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise malformed(f"image {place} is no base64") from None


def as_name(raw: bytes) -> str:
    """What a client calls a file, for the answer only."""
    try:
        return raw.decode()[:NAME_LETTERS]
    except UnicodeDecodeError:
        return raw.decode("latin-1")[:NAME_LETTERS]


def check_size(n: int, settings: ServeSettings) -> None:
    """Whether a file has at most the bytes that are allowed.

    Raises:
        Refusal: HS-SERVE-021.
    """
    if n > settings.file_bytes:
        raise Refusal(
            413,
            "HS-SERVE-021",
            f"A file has more than {settings.file_bytes // MEGABYTE} MB.",
            fix="Send a smaller picture, or start the server with a higher --max-file-mb.",
        )


def request_too_large(settings: ServeSettings) -> Refusal:
    return Refusal(
        413,
        "HS-SERVE-020",
        f"The request has more than {settings.request_bytes // MEGABYTE} MB.",
        fix="Send fewer pictures at once, or start the server with a higher --max-request-mb.",
    )


def too_many(settings: ServeSettings) -> Refusal:
    return Refusal(
        413,
        "HS-SERVE-022",
        f"The request has more than {settings.max_files} files.",
        fix="Send several requests, or start the server with a higher --max-files.",
    )


def malformed(what: str) -> Refusal:
    return Refusal(
        400, "HS-SERVE-024", f"The request cannot be read: {what}.", fix=f"Send {FORMS}, whole and as it is."
    )


def no_pictures(what: str, details: tuple[str, ...] = ()) -> Refusal:
    return Refusal(422, "HS-SERVE-025", what, details=details, fix=f"Send {FORMS}.")
