"""The files of the page that `headstart serve` shows: read here, run in tests/browser."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import headstart

STATIC = Path(headstart.__file__).parent / "deployment" / "static"
SCRIPTS = sorted(STATIC.glob("*.js"))
PAGE = (STATIC / "index.html").read_text(encoding="utf-8")
ENTRY = re.compile(r'^    "?([\w-]+)"?: (.*?),$(?=\n    "?[\w-]+"?: |\n  \})', re.M | re.S)
PARTS_OF_KEYS = ("status_", "about_")  # put together with what the server says


def words(language: str) -> dict[str, str]:
    """Key -> its entry, as written."""
    text = (STATIC / "words.js").read_text(encoding="utf-8")
    block = re.search(rf"^  {language}: {{\n(.*?^  }})", text, re.M | re.S)
    assert block is not None
    return dict(ENTRY.findall(block[1]))


def test_both_languages_have_the_same_words_to_say() -> None:
    english, chinese = words("en"), words("zh")
    assert len(english) > 60
    assert list(english) == list(chinese)
    for key, entry in english.items():
        filled = set(re.findall(r"\{(\w+)\}", entry))
        assert filled - {"n"} == set(re.findall(r"\{(\w+)\}", chinese[key])) - {"n"}, key
        assert re.search(r"[\u4e00-\u9fff]", chinese[key]) or key in ("live_one", "about_version")


def test_every_word_that_is_asked_for_exists_and_none_is_left_over() -> None:
    english = words("en")
    used = set(re.findall(r'data-(?:word|label)="(\w+)"', PAGE))
    code = "\n".join(file.read_text(encoding="utf-8") for file in SCRIPTS if file.name != "words.js")
    used |= {name for name in re.findall(r'"([\w-]+)"', code) if name in english}
    asked = set(re.findall(r'say\("([\w-]+)"', code)) | set(re.findall(r'data-word="(\w+)"', PAGE))
    assert asked <= set(english)
    rest = set(english) - used
    assert {key for key in rest if not key.startswith(PARTS_OF_KEYS)} == set()


def test_every_kind_of_unreadable_picture_has_words() -> None:
    source = Path(headstart.__file__).parent / "data"
    kinds = {
        kind
        for file in source.glob("*.py")
        for kind in re.findall(r'UnreadableImage\(\s*"([a-z-]+)"', file.read_text(encoding="utf-8"))
    }
    assert len(kinds) > 6 and {f"status_{kind}" for kind in kinds} <= set(words("en"))


def test_nothing_is_inline_so_that_a_strict_policy_holds() -> None:
    assert not re.search(r"<style|style=|<script(?![^>]*src=)|\son\w+=|javascript:", PAGE)
    text_between_tags = re.sub(r"<noscript>.*?</noscript>|<title>.*?</title>|<[^>]*>", " ", PAGE, flags=re.S)
    assert re.findall(r"[^\W\d_]+", text_between_tags) == ["English", "中文"]  # all other words: words.js


@pytest.mark.parametrize("file", sorted(STATIC.iterdir()), ids=lambda file: file.name)
def test_no_file_asks_another_server_or_makes_text_to_markup(file: Path) -> None:
    text = file.read_text(encoding="utf-8").replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert not re.search(r"https?://|//[a-z0-9-]+\.[a-z]", text)
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|eval\(|Function\(", text
    )
    assert 'setAttribute("style"' not in text


def test_the_server_gives_every_file() -> None:
    pytest.importorskip("fastapi")
    from headstart.deployment.server.pages import static_files

    given = static_files()
    assert set(given) == {"/"} | {f"/{file.name}" for file in STATIC.iterdir()}
    linked = re.findall(r'(?:href|src)="([^"#]+)"', PAGE)
    imported = [
        name.removeprefix("./")
        for file in SCRIPTS
        for name in re.findall(r'from "([^"]+)"', file.read_text(encoding="utf-8"))
    ]
    assert linked and imported and {f"/{name}" for name in (*linked, *imported)} <= set(given)
