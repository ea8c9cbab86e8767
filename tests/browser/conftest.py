"""A real browser, offline, and real servers with a trained model; tests skip where there is no browser."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import headstart
from browser.driving import CLASSES, TOKEN, Opened, given
from shapes import draw_folder

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",  # a camera
)
LIMITS = ("--max-file-mb", "1", "--max-request-mb", "2", "--max-files", "3", "--queue", "1")
NOT_DRAWABLE = """import sys
sys.modules["matplotlib"] = None
from headstart.cli import main
sys.exit(main(sys.argv[1:]))"""
NAMES = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium without a window."""
    playwright = pytest.importorskip("playwright.sync_api", reason="the package playwright is not installed")
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip("there is no Chromium: apt-get install chromium")
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=found, args=FLAGS, headless=True)
        yield chromium
        chromium.close()


# --- servers -------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def served_run(tiny: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> headstart.Run:
    """Three classes, one of them with markup in its name."""
    root = tmp_path_factory.mktemp("served")
    draw_folder(root / "shapes", {"train": 24, "test": 4}, names={"dots": CLASSES[0]})
    return headstart.train(root / "shapes", output=root / "runs", **tiny)


def started(run: Path, place: Path, program: tuple[str, ...], *flags: str, **variables: str) -> Iterator[str]:
    """The address of a server, until the test ends; what it prints must be no fault."""
    words = [sys.executable, *program, "serve", str(run), "--port", "0", "--json", *flags]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HEADSTART_HOME": str(place), **variables}
    with open(place / "log", "wb") as log:
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=log, env=environment)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, (place / "log").read_text(encoding="utf-8")
        yield json.loads(line)["url"]
    finally:
        process.terminate()
        process.wait(60)
        if process.stdout is not None:
            process.stdout.close()
    assert "HS-SERVE-034" not in (place / "log").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def server(served_run: headstart.Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """With tight limits."""
    yield from started(served_run.path, tmp_path_factory.mktemp("place"), ("-m", "headstart"), *LIMITS)


@pytest.fixture(scope="session")
def poor_server(served_run: headstart.Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """With a token, a class that must not be missed, and without the package that draws heat maps."""
    place = tmp_path_factory.mktemp("place")
    card = shutil.copytree(served_run.path, place / "run") / "model" / "model.json"
    favoured = {"class": "rings", "recall": 0.9, "threshold": 0.0, "n": 50, "interval_95": [0.8, 1.0]}
    card.write_text(json.dumps({**json.loads(card.read_bytes()), "min_recall": favoured}), encoding="utf-8")
    yield from started(place / "run", place, ("-c", NOT_DRAWABLE), HEADSTART_TOKEN=TOKEN)


@pytest.fixture(scope="session")
def asking_server(served_run: headstart.Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """With a table of costs by which a person is always asked."""
    place = tmp_path_factory.mktemp("place")
    card = shutil.copytree(served_run.path, place / "run") / "model" / "model.json"
    entries = json.loads(card.read_bytes())
    table = [[0.0 if i == j else 100.0 for j in range(3)] + [0.0] for i in range(3)]
    entries["costs"] = {"answers": [*entries["classes"], "ask"], "table": table}
    card.write_text(json.dumps(entries), encoding="utf-8")
    yield from started(place / "run", place, ("-m", "headstart"))


@pytest.fixture
def open_page(browser: Any, server: str) -> Iterator[Opened]:
    """Opens the page. What it complains of, or asks of any other server, fails the test.

    ``forgiven``: words of complaints that the test provokes: Chromium reports every status above 399.
    """
    said: list[str] = []
    contexts = []

    def opened(
        address: str = server, forgiven: tuple[str, ...] = (), ready: bool = True, **context: Any
    ) -> Any:
        contexts.append(browser.new_context(**{"locale": "en-GB", **context}))
        page = contexts[-1].new_page()

        def note(text: str) -> None:
            if not any(words in text for words in forgiven):
                said.append(text)

        page.on("console", lambda message: note(message.text))
        page.on("pageerror", lambda error: note(str(error)))
        page.on("request", lambda r: None if r.url.startswith((address, "blob:", "data:")) else note(r.url))
        page.goto(address)
        if ready:
            page.wait_for_selector("#classes li:nth-child(3)")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not said


@pytest.fixture(scope="session")
def strange(served_run: headstart.Run, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A picture that the model takes for something else."""
    file = tmp_path_factory.mktemp("strange") / "strange.png"
    model = headstart.load(served_run.path)
    random = np.random.default_rng(0)
    for attempt in range(200):
        low = random.integers(0, 256, (1 + attempt % 8, 1 + attempt % 5, 3), dtype=np.uint8)
        Image.fromarray(low).resize((72, 72), Image.Resampling.NEAREST).save(file)
        if model.predict([file])[0].unknown:
            return given(file.name, file.read_bytes())
    pytest.fail("the model knows everything")
