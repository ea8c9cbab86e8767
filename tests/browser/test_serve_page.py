"""The page that `headstart serve` shows, from pictures to answers: a real browser, a real server."""

from __future__ import annotations

import csv
import struct
import threading
import time
from pathlib import Path
from typing import Any

import pytest

for _name in ("playwright", "fastapi", "uvicorn", "httpx", "torch", "timm"):
    pytest.importorskip(_name)

import httpx  # noqa: E402
from playwright.sync_api import expect  # noqa: E402

import headstart  # noqa: E402
from browser.driving import (  # noqa: E402
    CLASSES,
    DESKTOP,
    MARKUP,
    PHONE,
    TOKEN,
    Opened,
    choose,
    finished,
    given,
    small,
    table,
)
from headstart.deployment.prediction_table import predict_to_table  # noqa: E402
from shapes import KINDS, draw  # noqa: E402


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Seven good pictures of 0.6 MB, a broken one between them, and a file of words at the end."""
    root = tmp_path_factory.mktemp("new")
    files = []
    for number in range(7):
        files.append(root / f"{number}.png")
        draw(KINDS[number % 3], 100 + number, size=520).save(files[-1])
        assert 500_000 < files[-1].stat().st_size < 1_000_000
    broken = root / "2-broken.png"
    broken.write_bytes(files[0].read_bytes()[:5000])
    words = root / "words.png"
    words.write_text("no picture", encoding="utf-8")
    return [*files[:3], broken, *files[3:], words]


def test_chosen_pictures_get_the_answers_of_predict(
    open_page: Opened, served_run: headstart.Run, pictures: list[Path], tmp_path: Path
) -> None:
    page = open_page(viewport=DESKTOP)
    statuses: list[int] = []
    page.on("response", lambda r: statuses.append(r.status) if r.url.endswith("/predict") else None)
    choose(page, *pictures)
    cards = finished(page, len(pictures))
    assert len(statuses) >= 3 and set(statuses) == {200}  # groups within the limits on files and bytes
    model = headstart.load(served_run.path)
    predict_to_table(model, pictures, tmp_path / "expected.csv")
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
    open_page: Opened, pictures: list[Path], tmp_path: Path
) -> None:
    page = open_page(viewport=DESKTOP)
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


def test_a_picture_is_pasted_from_the_clipboard(open_page: Opened, server: str) -> None:
    page = open_page()
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


def test_the_camera_gives_photos_or_says_why_not(open_page: Opened, server: str) -> None:
    page = open_page(viewport=DESKTOP)
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
    refused = open_page(viewport=DESKTOP)
    refused.get_by_role("button", name="Take a photo").click()
    expect(refused.get_by_text("The browser may not use the camera.")).to_be_visible()
    refused.get_by_role("button", name="Close").click()
    phone = open_page(viewport=PHONE, has_touch=True, is_mobile=True)
    expect(phone.get_by_role("heading", name="Choose pictures or take a photo")).to_be_visible()
    with phone.expect_file_chooser() as chooser:
        phone.get_by_role("button", name="Take a photo").click()
    assert chooser.value.element.get_attribute("capture") == "environment"


def test_unknown_pictures_are_marked(open_page: Opened, strange: dict[str, Any]) -> None:
    page = open_page()
    choose(page, strange)
    card = finished(page, 1)
    expect(card.locator(".pill")).to_have_text("unknown")
    expect(card).to_contain_text("it may be none of its classes.")
    expect(page.locator("#live")).to_contain_text("strange.png: ")
    expect(page.locator("#live")).to_contain_text("unknown")


def test_a_heat_map_is_drawn_on_request(open_page: Opened) -> None:
    page = open_page()
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


def test_names_are_text_whatever_they_hold(open_page: Opened) -> None:
    page = open_page()
    name = f"{MARKUP}.png"
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


def test_what_is_too_large_is_refused_before_it_is_sent(open_page: Opened) -> None:
    page = open_page()
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


def test_a_lone_broken_picture_is_a_card_too(open_page: Opened) -> None:
    page = open_page(forgiven=("status of 415",))
    choose(page, given("words.png", b"these are words and no picture"))
    expect(finished(page, 1)).to_contain_text("This is no picture")
    assert table(page)[0]["status"].startswith("not-an-image: ")
    expect(page.locator("#again")).to_be_hidden()


def test_a_busy_server_is_asked_again_when_it_says(open_page: Opened, server: str) -> None:
    page = open_page(forgiven=("status of 429",))
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


def test_a_cancelled_upload_can_be_taken_up_again_and_cleared(
    open_page: Opened, pictures: list[Path], tmp_path: Path
) -> None:
    page = open_page(forgiven=("ERR_INTERNET_DISCONNECTED",))
    page.context.set_offline(True)
    gone = tmp_path / "gone.png"
    gone.write_bytes(small())
    choose(page, gone, *pictures[:2])
    expect(page.get_by_role("alert").first).to_contain_text("The server does not answer.")
    assert page.locator(".card.error").count() == 3
    page.context.set_offline(False)
    gone.unlink()
    page.get_by_role("button", name="Try again", exact=True).click()
    finished(page, 3)
    expect(page.locator(".card.error")).to_have_count(1)
    expect(page.locator(".card.error")).to_contain_text("The browser cannot read the file")
    page.evaluate(
        """() => { const cancel = document.getElementById('cancel');
        new MutationObserver(() => { if (!cancel.hidden) cancel.click(); })
            .observe(cancel, {attributes: true}); }"""
    )
    choose(page, *pictures[4:6])
    expect(page.locator(".card.error")).to_have_count(3)
    expect(page.locator(".card.error").last).to_contain_text("Not sent")
    expect(page.get_by_role("button", name="Try 2 pictures again")).to_be_visible()
    assert [row["status"] for row in table(page)][3:] == ["not-sent: Cancelled."] * 2
    page.get_by_role("button", name="Clear").click()
    expect(page.locator(".card")).to_have_count(0)
    expect(page.get_by_role("button", name="Choose pictures")).to_be_focused()


def test_a_picture_that_is_left_to_a_person_is_said_to_be(open_page: Opened, asking_server: str) -> None:
    page = open_page(asking_server)
    choose(page, given("one.png", small("dots")))
    card = finished(page, 1)
    expect(card.get_by_role("heading")).to_have_text("A person should look")
    expect(card).to_contain_text("By this model's table of costs, any answer of its own would cost more.")
    expect(card).not_to_contain_text("must not be missed")
    likeliest = card.locator(".bars .name").first.inner_text()
    card.get_by_role("button", name="Where does it look?").click()
    expect(card).to_contain_text(f"what spoke most for “{likeliest}”")


def test_a_token_is_asked_for_and_kept_in_memory_only(open_page: Opened, poor_server: str) -> None:
    page = open_page(poor_server, forgiven=("status of 401",), ready=False)
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
    choose(page, given("one.png", small("dots")))
    card = finished(page, 1)
    assert card.locator(".bars li").count() == 3
    assert card.locator(".bars .name").first.inner_text() == CLASSES[0]
    expect(card.get_by_role("heading")).to_have_text("rings")
    expect(card).to_contain_text("“rings” must not be missed")
    assert card.get_by_role("button").count() == 0  # this server draws no heat maps, and says so
    expect(page.locator("#limits")).to_contain_text("Heat maps of where the model looks are not available")
    kept = page.evaluate(
        "JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, location.href])"
    )
    assert TOKEN not in kept and TOKEN not in page.content()
    page.reload()
    expect(dialog).to_be_visible()
