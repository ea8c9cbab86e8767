"""The report in a real browser: phone and desktop, light and dark, print, keyboard, no network."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from browser.contrast import WEAK_TEXTS
from headstart.evaluation.evaluate import summary
from headstart.evaluation.predictions import Predictions
from headstart.evaluation.report import write_report
from headstart.evaluation.report_record import Record
from headstart.model.card import read_card
from shapes import KINDS, draw

PHONE, DESKTOP = {"width": 360, "height": 740}, {"width": 1280, "height": 900}
LONG = "a class with quite a long name_that_cannot_be_broken_anywhere_at_all"
Opened = Callable[..., Any]


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory, bundle_of: Callable[..., Path]) -> Record:
    root = tmp_path_factory.mktemp("pictures")
    paths, truth = [], []
    for label, kind in enumerate(KINDS):
        for number in range(10):
            draw(kind, number).save(root / f"{kind}-{number}.png")
            paths.append(f"{kind}-{number}.png")
            truth.append(label)
    told = [label if i % 5 else (label + 1) % 3 for i, label in enumerate(truth)]
    probabilities = np.full((30, 3), 0.1)
    probabilities[np.arange(30), told] = 0.8
    table = Predictions(("dots", LONG, "stripes"), paths, ["test"] * 30, np.array(truth), probabilities)
    epochs = [
        {"epoch": str(i), "stage": "finetune", "train_loss": str(1 / (1 + i)), "train_accuracy": "0.8",
         "val_loss": str(1.2 / (1 + i)), "val_accuracy": str(0.5 + i / 20)}
        for i in range(9)
    ]  # fmt: skip
    groups = {path: f"patient {i % 3}" for i, path in enumerate(paths)}
    figures = summary(table, "test") | {
        "calibration": {
            "after": {"ece": {"value": 0.1, "bins": [{"confidence": 0.8, "accuracy": 0.8, "n": 30}]}},
            "reason": "too few pictures",
        }
    }
    model = bundle_of(tmp_path_factory.mktemp("model"), table.classes)
    card = read_card(model)
    return Record("leaves", figures, table, epochs, [], card=card, groups=groups, root=root, model=model)


@pytest.fixture
def opened(browser: Any, record: Record, tmp_path: Path) -> Iterator[Opened]:
    """Opens the page; what it complains of, or asks of anybody, fails the test."""
    said: list[str] = []
    contexts = []

    def open_page(language: str = "en", record: Record = record, **context: Any) -> Any:
        page_file, _ = write_report(record, tmp_path, language)  # type: ignore[arg-type]
        contexts.append(browser.new_context(**context))
        page = contexts[-1].new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda r: said.append(r.url) if not r.url.startswith(("file:", "data:")) else None)
        page.goto(page_file.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not said


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("viewport", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_nothing_runs_out_of_the_page(opened: Opened, viewport: dict[str, int], language: str) -> None:
    page = opened(language, viewport=viewport)
    assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    assert page.evaluate("document.documentElement.lang") == language
    outside = page.evaluate(
        """width => [...document.querySelectorAll('p, h1, h2, h3, li, dd, figure, svg')]
            .filter(e => !e.closest('.scroll') && e.getClientRects().length
                && (e.getBoundingClientRect().right > width + 1 || e.getBoundingClientRect().left < 0))
            .map(e => e.outerHTML.slice(0, 80))""",
        viewport["width"],
    )
    assert outside == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read(opened: Opened, scheme: str) -> None:
    """Contrast of at least 4.5 to 1 (WCAG 2.2, 1.4.3) with what lies behind each text."""
    page = opened(viewport=DESKTOP, color_scheme=scheme)
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(246, 247, 248)") == (scheme == "light")
    assert page.evaluate(WEAK_TEXTS) == []


def test_a_cell_opens_its_pictures_by_keyboard(opened: Opened) -> None:
    page = opened(viewport=DESKTOP)
    assert page.locator(".opened:visible").count() == 0
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('href')") == "#answer"
    for _ in range(60):
        page.keyboard.press("Tab")
        if (
            page.evaluate(
                "document.activeElement.closest('.matrix') !== null && document.activeElement.tagName"
            )
            == "A"
        ):
            break
    title = page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert title == "dots, answered dots: 8"
    page.keyboard.press("Enter")
    opened_cell = page.locator(".opened:visible")
    assert opened_cell.count() == 1 and title in opened_cell.inner_text()
    assert opened_cell.locator("img").count() == 3
    assert opened_cell.locator("img").evaluate_all("all => all.every(i => i.complete && i.naturalWidth > 0)")
    opened_cell.get_by_role("link", name="Close").click()
    assert page.locator(".opened:visible").count() == 0


def test_all_is_named_for_those_who_do_not_see_it(opened: Opened) -> None:
    page = opened(viewport=DESKTOP)
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll('img, svg, [role=img]')]
            .filter(e => !(e.getAttribute('alt') || e.getAttribute('aria-label'))).length"""
    )
    assert unnamed == 0
    assert page.locator("h1").count() == 1 and page.locator("main").count() == 1
    levels = page.eval_on_selector_all("h1, h2, h3", "all => all.map(h => +h.tagName[1])")
    assert all(after <= before + 1 for before, after in pairwise(levels))


@pytest.mark.parametrize("viewport", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_heat_maps_stand_beside_their_pictures(opened: Opened, viewport: dict[str, int]) -> None:
    page = opened(viewport=viewport)
    pairs = page.locator("#mistakes figure.pair")
    assert pairs.count() == 6 == page.locator("#mistakes figure").count()
    for i in range(6):
        one, heat = (pairs.nth(i).locator("img").nth(k) for k in range(2))
        left, right = one.bounding_box(), heat.bounding_box()
        assert left["y"] == right["y"] and left["x"] + left["width"] < right["x"]
        assert left["width"] == pytest.approx(right["width"], abs=1) and left["width"] > 120
        assert right["x"] + right["width"] <= viewport["width"]
        assert heat.evaluate("i => i.complete && i.naturalWidth === 64")
        assert "where the network looked for" in heat.get_attribute("alt")
    assert page.locator("figure.pair").count() == 6  # cells that open show the pictures alone


def test_print_shows_answer_pictures_and_card_but_no_links(opened: Opened, tmp_path: Path) -> None:
    page = opened(viewport={"width": 760, "height": 1000}, color_scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    assert not page.locator("nav").is_visible()
    assert page.locator("#mistakes img").first.is_visible() and page.locator("#card dl").is_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    page.pdf(path=tmp_path / "report.pdf", format="A4")
    assert (tmp_path / "report.pdf").stat().st_size > 10_000


def test_moved_pictures_leave_a_page(opened: Opened, record: Record, tmp_path: Path) -> None:
    page = opened(record=dataclasses.replace(record, root=tmp_path / "gone"), viewport=PHONE)
    assert page.locator("img").count() == 0
    assert page.get_by_text("cannot be read").is_visible()
    assert page.locator(".blank:visible").first.inner_text() == "no picture"
