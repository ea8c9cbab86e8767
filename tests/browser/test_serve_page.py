"""The page that `headstart serve` shows, in a real browser, against a real server with a trained model."""

from __future__ import annotations

import csv
import io
import json
import os
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

for _name in ("playwright", "fastapi", "uvicorn", "httpx", "torch", "timm"):
    pytest.importorskip(_name)

import httpx  # noqa: E402
from PIL import Image  # noqa: E402
from playwright.sync_api import expect  # noqa: E402

import headstart  # noqa: E402
from browser.contrast import WEAK_TEXTS  # noqa: E402
from headstart.deployment.prediction_table import predict_to_csv  # noqa: E402
from shapes import KINDS, draw, draw_folder  # noqa: E402

PHONE, ZOOMED, DESKTOP = (
    {"width": 360, "height": 740},
    {"width": 640, "height": 450},
    {"width": 1280, "height": 900},
)
TOKEN = "a-token-that-must-not-be-shown"
HTML = "<img src=x onerror=document.title='owned'>"
CLASSES = tuple(sorted(("dots" + HTML.replace("/", ""), "rings", "stripes")))
LIMITS = ("--max-file-mb", "1", "--max-request-mb", "2", "--max-files", "3", "--queue", "1")
NOT_DRAWABLE = """import sys
sys.modules["matplotlib"] = None
from headstart.cli import main
sys.exit(main(sys.argv[1:]))"""
Opened = Callable[..., Any]


@pytest.fixture(scope="module")
def run(tiny: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> headstart.Run:
    """Three classes, one of them with markup in its name."""
    root = tmp_path_factory.mktemp("served")
    draw_folder(root / "shapes", {"train": 24, "test": 4}, names={"dots": CLASSES[0]})
    return headstart.train(root / "shapes", output=root / "runs", **tiny)


def started(
    run: headstart.Run, place: Path, program: tuple[str, ...], *flags: str, **variables: str
) -> Iterator[str]:
    """The address of a server, until the test ends; what it prints must be no fault."""
    words = [sys.executable, *program, "serve", str(run.path), "--port", "0", "--json", *flags]
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


@pytest.fixture(scope="module")
def server(run: headstart.Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """With tight limits."""
    yield from started(run, tmp_path_factory.mktemp("place"), ("-m", "headstart"), *LIMITS)


@pytest.fixture(scope="module")
def poor_server(run: headstart.Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """With a token, and without the package that draws heat maps."""
    place = tmp_path_factory.mktemp("place")
    yield from started(run, place, ("-c", NOT_DRAWABLE), HEADSTART_TOKEN=TOKEN)


@pytest.fixture
def opened(browser: Any, server: str) -> Iterator[Opened]:
    """Opens the page. What it complains of, or asks of any other server, fails the test.

    ``forgiven``: words of complaints that the test provokes: Chromium reports every status above 399.
    """
    said: list[str] = []
    contexts = []

    def open_page(
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
            expect(page.locator("#classes li")).to_have_count(3)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not said


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Seven good pictures of 0.6 MB, and a broken one between them."""
    root = tmp_path_factory.mktemp("new")
    files = []
    for number in range(7):
        files.append(root / f"{number}.png")
        draw(KINDS[number % 3], 100 + number, size=450).save(files[-1])
        assert 500_000 < files[-1].stat().st_size < 1_000_000
    broken = root / "2-broken.png"
    broken.write_bytes(files[0].read_bytes()[:5000])
    return [*files[:3], broken, *files[3:]]


@pytest.fixture(scope="module")
def strange(run: headstart.Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture that the model takes for something else."""
    file = tmp_path_factory.mktemp("strange") / "strange.png"
    model = headstart.load(run.path)
    random = np.random.default_rng(0)
    for attempt in range(200):
        low = random.integers(0, 256, (1 + attempt % 8, 1 + attempt % 5, 3), dtype=np.uint8)
        Image.fromarray(low).resize((72, 72), Image.Resampling.NEAREST).save(file)
        if model.predict([file])[0].unknown:
            return file
    pytest.fail("the model knows everything")


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


def test_chosen_pictures_get_the_answers_of_predict(
    opened: Opened, run: headstart.Run, pictures: list[Path], tmp_path: Path
) -> None:
    page = opened(viewport=DESKTOP)
    statuses: list[int] = []
    page.on("response", lambda r: statuses.append(r.status) if r.url.endswith("/predict") else None)
    choose(page, *pictures)
    cards = finished(page, len(pictures))
    assert len(statuses) >= 3 and set(statuses) == {200}  # groups within the limits on files and bytes
    model = headstart.load(run.path)
    predict_to_csv(model, pictures, tmp_path / "expected.csv")
    with open(tmp_path / "expected.csv", encoding="utf-8", newline="") as file:
        expected = list(csv.DictReader(file))
    rows = table(page)
    assert list(rows[0]) == list(expected[0])
    for row, right, card in zip(rows, expected, cards.all(), strict=True):
        assert row["path"] == Path(right["path"]).name == card.locator("figcaption").inner_text()
        for name in ("status", "prediction", "unknown"):
            assert row[name] == right[name]
        numbers = [
            name for name in row if name.startswith("prob:") or name in ("confidence", "unknown_score")
        ]
        for name in numbers:
            if right[name]:
                assert float(row[name]) == pytest.approx(float(right[name]), abs=1e-5)
                assert row[name] == repr(float(row[name]))
            else:
                assert row[name] == ""
        if right["prediction"]:
            assert card.get_by_role("heading", level=3).inner_text() == right["prediction"]
            shares = card.locator(".bars li").all()
            assert shares[0].locator(".name").inner_text() == max(
                CLASSES, key=lambda c: float(right[f"prob:{c}"])
            )
            told = [float(s.locator(".share").inner_text().strip("<>% ")) for s in shares]
            assert told == sorted(told, reverse=True) and sum(told) == pytest.approx(100, abs=0.3)
    broken = cards.nth(3)
    assert "The picture is damaged" in broken.inner_text() and "cut short" in broken.inner_text()


def test_a_dropped_folder_and_file_are_taken_from_anywhere_on_the_window(
    opened: Opened, pictures: list[Path], tmp_path: Path
) -> None:
    page = opened(viewport=DESKTOP)
    inner = tmp_path / "garden" / "inner"
    inner.mkdir(parents=True)
    (inner / "b.png").write_bytes(small())
    (tmp_path / "garden" / "a.png").write_bytes(small("dots"))
    (tmp_path / "garden" / "notes.txt").write_text("no picture")
    (tmp_path / "garden" / ".hidden.png").write_bytes(small())
    session = page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(tmp_path / "garden"), str(pictures[0])], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver"):
        session.send("Input.dispatchDragEvent", {"type": kind, "x": 20, "y": 850, "data": data})
    expect(page.locator("#over")).to_be_visible()
    session.send("Input.dispatchDragEvent", {"type": "drop", "x": 20, "y": 850, "data": data})
    cards = finished(page, 3)
    expect(page.locator("#over")).to_be_hidden()
    assert cards.locator("figcaption").all_inner_texts() == ["0.png", "garden/a.png", "garden/inner/b.png"]
    expect(page.get_by_role("alert").first).to_contain_text(
        "2 files in the folder are no pictures: passed over."
    )
    assert page.url.endswith("/")


def test_a_picture_is_pasted_from_the_clipboard(opened: Opened, server: str) -> None:
    page = opened()
    page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=server)
    page.evaluate(
        """async bytes => navigator.clipboard.write([new ClipboardItem({
            'image/png': new Blob([new Uint8Array(bytes)], {type: 'image/png'})})])""",
        list(small()),
    )
    for n in (1, 2):
        page.keyboard.press("Control+V")
        finished(page, n)
    assert page.locator("figcaption").all_inner_texts() == ["pasted-1.png", "pasted-2.png"]
    page.evaluate("navigator.clipboard.writeText('words')")
    page.keyboard.press("Control+V")
    expect(page.get_by_text("There was no picture in that.")).to_be_visible()


def test_the_camera_gives_photos_or_says_why_not(opened: Opened, server: str) -> None:
    page = opened(viewport=DESKTOP)
    page.context.grant_permissions(["camera"], origin=server)
    page.get_by_role("button", name="Take a photo").click()
    dialog = page.get_by_role("dialog", name="Take a photo")
    shutter = dialog.get_by_role("button", name="Take the photo")
    expect(shutter).to_be_focused()
    shutter.click()
    expect(dialog.get_by_text("One photo taken.")).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    assert page.locator("#video").evaluate("video => video.srcObject") is None
    assert finished(page, 1).locator("figcaption").inner_text() == "photo-1.jpg"
    assert page.locator(".card.error").count() == 0
    refused = opened(viewport=DESKTOP)
    refused.get_by_role("button", name="Take a photo").click()
    expect(refused.get_by_text("The browser may not use the camera.")).to_be_visible()
    refused.get_by_role("button", name="Close").click()
    phone = opened(viewport=PHONE, has_touch=True, is_mobile=True)
    expect(phone.get_by_role("heading", name="Choose pictures or take a photo")).to_be_visible()
    with phone.expect_file_chooser() as chooser:
        phone.get_by_role("button", name="Take a photo").click()
    assert chooser.value.element.get_attribute("capture") == "environment"


def test_unknown_pictures_are_marked(opened: Opened, strange: Path) -> None:
    page = opened()
    choose(page, strange)
    card = finished(page, 1)
    expect(card.locator(".pill")).to_have_text("unknown")
    expect(card).to_contain_text("it may be none of its classes.")
    expect(page.locator("#live")).to_contain_text("strange.png: ")
    expect(page.locator("#live")).to_contain_text("unknown")


def test_a_heat_map_is_drawn_on_request(opened: Opened) -> None:
    page = opened()
    choose(page, given("one.png", small()))
    card = finished(page, 1)
    plain = card.locator("img").get_attribute("src")
    card.get_by_role("button", name="Where does it look?").click()
    hide = card.get_by_role("button", name="Hide the heat map")
    expect(hide).to_be_focused(timeout=30_000)
    image = card.get_by_role("img")
    assert "as the model sees it" in image.get_attribute("alt")
    expect(image).to_have_js_property("naturalWidth", 64)  # of the network, not of the file
    hide.click()
    assert card.locator("img").get_attribute("src") == plain


def test_names_are_text_whatever_they_hold(opened: Opened) -> None:
    page = opened()
    name = f"{HTML}.png"
    choose(page, given(name, small("dots")), given(f"broken{name}", b"no picture at all, but some words"))
    cards = finished(page, 2)
    assert cards.locator("figcaption").all_inner_texts() == [name, f"broken{name}"]
    assert page.locator("#classes li").all_inner_texts() == list(CLASSES)
    page.locator("#about summary").click()
    assert CLASSES[0] in page.locator("#facts").inner_text()
    sources = page.eval_on_selector_all("img", "all => all.map(one => one.getAttribute('src'))")
    assert sources and all(source.startswith("blob:") for source in sources)
    assert page.locator("[onerror]").count() == 0 and "owned" not in page.title()
    assert [row["path"] for row in table(page)] == [name, f"broken{name}"]


def test_what_is_too_large_is_refused_before_it_is_sent(opened: Opened) -> None:
    page = opened()
    asked: list[str] = []
    page.on("request", lambda r: asked.append(r.url) if r.method == "POST" else None)
    header = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII5s", 13, b"IHDR", 20_000, 20_000, b"\x08\x02\0\0\0")
    choose(page, given("wide.png", header + b"\0" * 400), given("heavy.png", b"\0" * (2**20 + 1)))
    cards = finished(page, 2)
    expect(cards.nth(0)).to_contain_text("20000 × 20000 pixels, and the server takes 200 million at most.")
    expect(cards.nth(1)).to_contain_text("1.0 MB, and the server takes 1 MB at most.")
    assert not asked
    assert [row["status"].split(":")[0] for row in table(page)] == ["too-large", "too-large"]
    page.get_by_role("button", name="中文").click()
    expect(cards.nth(0)).to_contain_text("20000 × 20000 像素，而服务器最多接受 2 亿像素。")


def test_a_lone_broken_picture_is_a_card_too(opened: Opened) -> None:
    page = opened(forgiven=("status of 415",))
    choose(page, given("words.png", b"these are words and no picture"))
    expect(finished(page, 1)).to_contain_text("This is no picture")
    assert table(page)[0]["status"].startswith("not-an-image: ")
    expect(page.locator("#again")).to_be_hidden()


def test_a_busy_server_is_asked_again_when_it_says(opened: Opened, server: str) -> None:
    page = opened(forgiven=("status of 429",))
    times: list[tuple[int, float]] = []
    busy = threading.Event()

    def note(response: Any) -> None:
        if response.url.endswith("/predict"):
            times.append((response.status, time.monotonic()))
            if response.status == 429:
                busy.set()

    def hammer() -> None:
        with httpx.Client(base_url=server, trust_env=False, timeout=60) as client:
            while not busy.is_set():
                client.post("/predict", files=[("files", (f"{i}.png", small())) for i in range(3)])

    page.on("response", note)
    others = [threading.Thread(target=hammer) for _ in range(3)]
    for other in others:
        other.start()
    try:
        n = 0
        while not busy.is_set() and n < 60:
            n += 1
            choose(page, given(f"{n}.png", small()))
            page.wait_for_timeout(200)
        if busy.is_set():
            expect(page.get_by_text("The server is busy: trying again in one second.")).to_be_visible()
    finally:
        busy.set()
        for other in others:
            other.join()
    finished(page, n)
    assert page.locator(".card.error").count() == 0
    refused = next(at for at, (status, _) in enumerate(times) if status == 429)
    assert times[refused + 1][1] - times[refused][1] > 0.9  # Retry-After: 1


def test_a_cancelled_upload_can_be_taken_up_again_and_cleared(opened: Opened, pictures: list[Path]) -> None:
    page = opened(forgiven=("ERR_INTERNET_DISCONNECTED",))
    page.context.set_offline(True)
    choose(page, *pictures[:3])
    expect(page.get_by_role("alert").first).to_contain_text("The server does not answer.")
    assert page.locator(".card.error").count() == 3
    page.context.set_offline(False)
    page.get_by_role("button", name="Try again", exact=True).click()
    finished(page, 3)
    assert page.locator(".card.error").count() == 0
    page.evaluate(
        """() => { const cancel = document.getElementById('cancel');
        new MutationObserver(() => { if (!cancel.hidden) cancel.click(); })
            .observe(cancel, {attributes: true}); }"""
    )
    choose(page, *pictures[4:6])
    expect(page.locator(".card.error")).to_have_count(2)
    expect(page.locator(".card.error").first).to_contain_text("Not sent")
    expect(page.get_by_role("button", name="Try 2 pictures again")).to_be_visible()
    assert [row["status"] for row in table(page)][3:] == ["not-sent: Cancelled."] * 2
    page.get_by_role("button", name="Clear").click()
    expect(page.locator(".card")).to_have_count(0)
    expect(page.get_by_role("button", name="Choose pictures")).to_be_focused()


def test_a_token_is_asked_for_and_kept_in_memory_only(opened: Opened, poor_server: str) -> None:
    page = opened(poor_server, forgiven=("status of 401",), ready=False)
    dialog = page.get_by_role("dialog", name="A token, please")
    field = dialog.get_by_label("Token")
    expect(field).to_be_focused()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Enter the token").click()
    field.fill("wrong-token-of-some-length")
    page.keyboard.press("Enter")
    expect(dialog.get_by_role("alert")).to_have_text("The server did not accept this token.")
    field.fill(TOKEN)
    dialog.get_by_role("button", name="Go on").click()
    expect(page.locator("#classes li")).to_have_count(3)
    choose(page, given("one.png", small()))
    card = finished(page, 1)
    assert card.locator(".bars li").count() == 3
    assert card.get_by_role("button").count() == 0  # this server draws no heat maps, and says so
    expect(page.locator("#limits")).to_contain_text("Heat maps of where the model looks are not available")
    kept = page.evaluate(
        "JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, location.href])"
    )
    assert TOKEN not in kept and TOKEN not in page.content()
    page.reload()
    expect(dialog).to_be_visible()


def test_everything_goes_by_keyboard_in_the_order_of_reading(opened: Opened) -> None:
    page = opened(viewport=DESKTOP)
    focused = "document.activeElement.innerText || document.activeElement.id"

    def tabs(n: int) -> list[str]:
        order = []
        for _ in range(n):
            page.keyboard.press("Tab")
            order.append(page.evaluate(focused))
        return order

    assert tabs(4) == ["Skip to the results", "English", "中文", "Choose pictures"]
    outline = page.evaluate(
        "(s => s.outlineStyle + s.outlineWidth)(getComputedStyle(document.activeElement))"
    )
    assert outline == "solid3px"
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files([given("one.png", small())])
    finished(page, 1)
    page.get_by_role("button", name="Choose pictures").focus()
    assert tabs(5) == ["Take a photo", "Download as CSV", "Clear", "Where does it look?", "About this model"]
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Space")
    expect(page.get_by_role("button", name="Hide the heat map")).to_be_focused(timeout=30_000)
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    expect(page.locator(".card")).to_have_count(0)


def test_both_languages_are_spoken_and_the_choice_is_kept(opened: Opened) -> None:
    page = opened(locale="zh-CN")
    assert page.evaluate("document.documentElement.lang") == "zh"
    expect(page.get_by_role("heading", level=1)).to_have_text("这是哪一类？")
    choose(page, given("one.png", small()))
    card = finished(page, 1)
    expect(card.get_by_role("button")).to_have_text("它在看哪里？")
    assert card.locator("img").get_attribute("alt") == "one.png 的预览"
    english = page.get_by_role("button", name="English")
    english.click()
    expect(card.get_by_role("button")).to_have_text("Where does it look?")
    expect(english).to_be_focused()
    assert english.get_attribute("aria-pressed") == "true"
    page.reload()
    expect(page.get_by_role("heading", level=1)).to_have_text("Which one is it?")
    other = opened(locale="fr-FR")
    assert other.evaluate("document.documentElement.lang") == "en"


@pytest.mark.parametrize("language", ["en-GB", "zh-CN"])
@pytest.mark.parametrize("viewport", [PHONE, ZOOMED, DESKTOP], ids=["phone", "zoomed", "desktop"])
def test_nothing_runs_out_of_the_page(
    opened: Opened, strange: Path, viewport: dict[str, int], language: str
) -> None:
    page = opened(viewport=viewport, locale=language)
    choose(
        page,
        strange,
        given("a_name_that_cannot_be_broken_" * 8 + ".png", small()),
        given("x.png", b"words, words"),
    )
    finished(page, 3)
    page.locator("#about summary").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    outside = page.evaluate(
        """width => [...document.querySelectorAll('#page *')].filter(e => e.checkVisibility()
            && !e.closest('.unseen') && e.getBoundingClientRect().right > width + 1)
            .map(e => e.outerHTML.slice(0, 80))""",
        viewport["width"],
    )
    assert outside == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read(opened: Opened, strange: Path, scheme: str) -> None:
    page = opened(color_scheme=scheme)
    choose(page, strange, given("one.png", small()), given("x.png", b"words, words"))
    finished(page, 3)
    page.locator("#about summary").click()
    page.evaluate("document.getElementById('token').showModal()")
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(246, 247, 248)") == (scheme == "light")
    assert page.evaluate(WEAK_TEXTS) == []


def test_all_is_named_for_those_who_do_not_see_it(opened: Opened, strange: Path) -> None:
    page = opened()
    choose(page, strange, given("x.png", b"words, words"))
    finished(page, 2)
    tree = page.locator("main").aria_snapshot()
    assert 'heading "Which one is it?" [level=1]' in tree
    assert 'region "Drop pictures anywhere on this page"' in tree and 'region "Results"' in tree
    assert 'list "Probability of each class"' in tree and 'img "Preview of strange.png"' in tree
    assert 'listitem "strange.png ' in tree and 'listitem "x.png This is no picture"' in tree
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll('button, img, input:not([hidden]), dialog, video, summary')]
            .filter(e => !(e.innerText || e.textContent || e.alt || e.getAttribute('aria-label')
                || e.getAttribute('aria-labelledby') || e.labels?.length) && !e.hidden)
            .map(e => e.outerHTML.slice(0, 80))"""
    )
    assert unnamed == []
    assert page.locator("h1").count() == 1 and page.locator("main").count() == 1
    levels = page.eval_on_selector_all("main h1, main h2, main h3", "all => all.map(h => +h.tagName[1])")
    assert all(after <= before + 1 for before, after in pairwise(levels))
    ids = page.eval_on_selector_all("[id]", "all => all.map(e => e.id)")
    assert len(ids) == len(set(ids))


def test_reduced_motion_stops_what_turns(opened: Opened) -> None:
    style = (
        "() => { const s = document.createElement('span'); s.className = 'turning'; document.body.append(s); "
        "return getComputedStyle(s).animationName; }"
    )
    assert opened().evaluate(style) == "turn"
    assert opened(reduced_motion="reduce").evaluate(style) == "none"


def test_numbers_are_written_as_python_writes_them(opened: Opened) -> None:
    page = opened()
    random = np.random.default_rng(1)
    numbers = [
        *(10.0 ** random.uniform(-30, 20, 300)),
        *random.uniform(size=300),
        0.0,
        1.0,
        1e-4,
        1e-5,
        1e-6,
        1e16,
        123456.0,
    ]
    written = page.evaluate(
        "async all => (await import('/csv.js')).table && all.map((await import('/csv.js')).float)", numbers
    )
    assert written == [repr(float(number)) for number in numbers]


def test_sizes_are_read_from_the_first_bytes(opened: Opened) -> None:
    page = opened()
    picture = draw("rings", 3).resize((90, 40))
    for kind, options in (
        ("PNG", {}), ("GIF", {}), ("BMP", {}), ("JPEG", {}), ("JPEG", {"progressive": True}),
        ("JPEG", {"exif": b"Exif\0\0" + b"\0" * 60_000}), ("WEBP", {"exif": b"Exif\0\0"}), ("TIFF", {}),
    ):  # fmt: skip
        file = io.BytesIO()
        picture.save(file, format=kind, **options)
        for content in (file.getvalue(), file.getvalue()[:9]):
            told = page.evaluate(
                "async all => (await import('/sizes.js')).sizeOf(new DataView(new Uint8Array(all).buffer))",
                list(content),
            )
            if kind == "TIFF" or len(content) < 20:
                assert told is None or kind == "GIF"
            else:
                plain = kind == "JPEG" and "progressive" not in options
                assert told == {"width": 90, "height": 40, "plainJpeg": plain}, kind
