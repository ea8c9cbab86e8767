"""The page of `headstart serve` for everybody: keyboard, screen readers, phones, contrast, languages."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

for _name in ("playwright", "fastapi", "uvicorn", "torch", "timm"):
    pytest.importorskip(_name)

from playwright.sync_api import expect  # noqa: E402

from browser.contrast import WEAK_TEXTS  # noqa: E402
from browser.driving import DESKTOP, PHONE, Opened, choose, finished, given, small  # noqa: E402

ZOOMED = {"width": 640, "height": 450}  # a desktop at 200 %


def test_everything_goes_by_keyboard_in_the_order_of_reading(open_page: Opened) -> None:
    page = open_page(viewport=DESKTOP)
    page.on("filechooser", lambda chooser: None)  # a key would come before Playwright looks out for it
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


def test_both_languages_are_spoken_and_the_choice_is_kept(open_page: Opened) -> None:
    page = open_page(locale="zh-CN")
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
    other = open_page(locale="fr-FR")
    assert other.evaluate("document.documentElement.lang") == "en"


@pytest.mark.parametrize("language", ["en-GB", "zh-CN"])
@pytest.mark.parametrize("viewport", [PHONE, ZOOMED, DESKTOP], ids=["phone", "zoomed", "desktop"])
def test_nothing_runs_out_of_the_page(
    open_page: Opened, strange: dict[str, Any], viewport: dict[str, int], language: str
) -> None:
    page = open_page(viewport=viewport, locale=language)
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
            .map(e => e.outerMARKUP.slice(0, 80))""",
        viewport["width"],
    )
    assert outside == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read(open_page: Opened, strange: dict[str, Any], scheme: str) -> None:
    page = open_page(color_scheme=scheme)
    choose(page, strange, given("one.png", small()), given("x.png", b"words, words"))
    finished(page, 3)
    page.locator("#about summary").click()
    page.evaluate("document.getElementById('token').showModal()")
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(246, 247, 248)") == (scheme == "light")
    assert page.evaluate(WEAK_TEXTS) == []


def test_all_is_named_for_those_who_do_not_see_it(open_page: Opened, strange: dict[str, Any]) -> None:
    page = open_page()
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
            .map(e => e.outerMARKUP.slice(0, 80))"""
    )
    assert unnamed == []
    assert page.locator("h1").count() == 1 and page.locator("main").count() == 1
    levels = page.eval_on_selector_all("main h1, main h2, main h3", "all => all.map(h => +h.tagName[1])")
    assert all(after <= before + 1 for before, after in pairwise(levels))
    ids = page.eval_on_selector_all("[id]", "all => all.map(e => e.id)")
    assert len(ids) == len(set(ids))


def test_reduced_motion_stops_what_turns(open_page: Opened) -> None:
    style = (
        "() => { const s = document.createElement('span'); s.className = 'turning'; document.body.append(s); "
        "return getComputedStyle(s).animationName; }"
    )
    assert open_page().evaluate(style) == "turn"
    assert open_page(reduced_motion="reduce").evaluate(style) == "none"
