"""What tests do with the page that a server shows."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from typing import Any

from shapes import draw

PHONE, DESKTOP = {"width": 360, "height": 740}, {"width": 1280, "height": 900}
TOKEN = "a-token-that-must-not-be-shown"
MARKUP = "<img src=x onerror=document.title='owned'>"
CLASSES = (f"dots{MARKUP}", "rings", "stripes")
Opened = Callable[..., Any]


def small(kind: str = "rings", number: int = 50) -> bytes:
    file = io.BytesIO()
    draw(kind, number).save(file, format="PNG")
    return file.getvalue()


def given(name: str, content: bytes) -> dict[str, Any]:
    return {"name": name, "mimeType": "image/png", "buffer": content}


def choose(page: Any, *files: Any) -> None:
    page.set_input_files("#files", list(files))


def finished(page: Any, n: int) -> Any:
    """The cards, once all have an answer."""
    from playwright.sync_api import expect

    cards = page.locator(".card[aria-busy=false]")
    expect(cards).to_have_count(n, timeout=60_000)
    expect(page.locator("#clear")).to_be_visible()
    return cards


def table(page: Any) -> list[dict[str, str]]:
    """What the button for CSV gives."""
    with page.expect_download() as download:
        page.get_by_role("button", name="Download as CSV").click()
    assert download.value.suggested_filename == "predictions.csv"
    return list(csv.DictReader(io.StringIO(download.value.path().read_bytes().decode(), newline="")))
