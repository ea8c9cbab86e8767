"""A class name is never drawn as empty boxes, in Pillow pictures and in matplotlib figures."""

from __future__ import annotations

import unicodedata
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from headstart import fonts

NAMES = {
    "chinese": "猫",
    "traditional": "熱狗",
    "german": "Käse",
    "kana": "かな",
    "korean": "한국",
    "russian": "кошка",
    "greek": "γάτα",
    "arabic": "قطة",
    "hebrew": "חתול",
    "hindi": "बिल्ली",
    "bengali": "বিড়াল",
    "tamil": "பூனை",
    "thai": "แมว",
    "khmer": "ឆ្មា",
    "burmese": "ကြောင်",
    "amharic": "ድመት",
    "tibetan": "བོད",
    "georgian": "კატა",
    "armenian": "կատու",
    "emoji": "🌭",
}


def drawn(text: str, size: int = 32, *, bold: bool = False) -> np.ndarray:
    line = fonts.Line(text, size, bold=bold)
    picture = Image.new("L", (line.width + 20, 100), "white")
    line.draw(ImageDraw.Draw(picture), 10, 60, "black")
    return np.asarray(picture)


def missing_box(path: Path) -> np.ndarray:
    picture = Image.new("L", (120, 100), "white")
    font = fonts._open(path, 32)
    ImageDraw.Draw(picture).text((10, 60), "\U0010ffff", fill="black", font=font, anchor="ls")
    return np.asarray(picture)


@pytest.mark.parametrize("text", NAMES.values(), ids=NAMES.keys())
def test_every_letter_is_drawn_and_is_no_box(text: str) -> None:
    assert fonts.legible(text) == unicodedata.normalize("NFC", text), "headstart's own fonts have it all"
    assert (drawn(text) < 128).sum() > 20
    for character in text:
        if unicodedata.category(character) not in {"Mn", "Mc"}:
            path = fonts.font_file(character)
            assert path is not None and path.parent == fonts.FONT_FOLDER
            box = missing_box(path)
            alone = drawn(character)
            common = min(alone.shape[1], box.shape[1])
            assert not np.array_equal(alone[:, :common], box[:, :common])


@pytest.mark.parametrize("bold", [False, True])
def test_different_letters_look_different(bold: bool) -> None:
    assert not np.array_equal(drawn("猫", bold=bold), drawn("狗", bold=bold))
    assert not np.array_equal(drawn("한", bold=bold), drawn("국", bold=bold))


def test_bold_is_heavier() -> None:
    assert (drawn("Cracked", bold=True) < 128).sum() > 1.2 * (drawn("Cracked") < 128).sum()


def test_wide_east_asian_coverage() -> None:
    kanji = "".join(
        bytes([a, b]).decode("gb2312", "ignore") for a in range(0xB0, 0xF8) for b in range(0xA1, 0xFF)
    )
    assert len(kanji) == 6763
    assert all(fonts.covers(fonts.CJK, character) for character in kanji)
    assert all(fonts.covers(fonts.CJK, chr(point)) for point in range(0xAC00, 0xD7A4, 7))
    assert all(fonts.covers(fonts.CJK, chr(point)) for point in range(0x3041, 0x3095))


def test_one_line_of_many_scripts_keeps_the_reading_order() -> None:
    pieces = fonts.runs("猫 cat 12")
    assert "".join(piece for _, piece in pieces) == "猫 cat 12"
    assert [path for path, _ in pieces] == [fonts.CJK, fonts.REGULAR]


def test_words_of_one_script_are_shaped_together() -> None:
    assert [piece for _, piece in fonts.runs("قطة سوداء")] == ["قطة سوداء"]


def test_what_no_font_has_is_written_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "system_fonts", lambda: ())
    for cached in (fonts.font_file, fonts._written_out):
        cached.cache_clear()
    assert fonts.legible("𓀀 a") == "[U+13000] a"
    assert fonts.legible("a\udc80b\n") == "a[U+DC80]b[U+000A]", "names that are not UTF-8, and line ends"
    assert fonts.legible("🕱") == "[black skull and crossbones]"
    assert (drawn("𓀀") < 128).sum() > 20
    for cached in (fonts.font_file, fonts._written_out):
        cached.cache_clear()


def test_system_fonts_help_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "bundled", lambda: (fonts.REGULAR,))
    monkeypatch.setattr(fonts, "system_fonts", lambda: (fonts.BOLD, fonts.CJK))
    fonts.font_file.cache_clear()
    assert fonts.font_file("猫") == fonts.CJK
    fonts.font_file.cache_clear()


def test_decomposed_names_are_composed() -> None:
    assert fonts.legible("Ka\u0308se") == "Käse"


def test_long_names_are_cut_in_the_middle() -> None:
    name = "a_very_long_class_name_that_does_not_fit_" + "猫" * 30
    line = fonts.shortened(name, 20, 150)
    assert 75 < line.width <= 150
    assert "…" in "".join(piece for _, piece in line._pieces)
    assert fonts.shortened("short", 20, 150).width == fonts.Line("short", 20).width


def test_without_shaping_right_to_left_letters_keep_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts.features, "check", lambda feature: False)
    assert [piece for _, piece in fonts.Line("חתול", 20)._pieces] == ["לותח"]
    assert [piece for _, piece in fonts.Line("cat", 20)._pieces] == ["cat"]


def test_matplotlib_draws_all_names(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    def ink(name: str) -> np.ndarray:
        with pyplot.rc_context(fonts.matplotlib_style([name])):
            figure = pyplot.figure(figsize=(3, 1))
            figure.text(0.1, 0.3, fonts.legible(name), fontsize=20)
            figure.text(0.1, 0.7, fonts.legible(name), fontsize=20, weight="bold")
            figure.savefig(tmp_path / "name.png")
            pyplot.close(figure)
        return np.asarray(Image.open(tmp_path / "name.png").convert("L"))

    with warnings.catch_warnings():
        warnings.simplefilter("error")  # "Glyph 29483 missing from font(s)"
        pictures = [ink(name) for name in NAMES.values()]
        assert (ink("cost_$5_$10") < 128).sum() > 200, "not mathematics"
    assert all((picture < 128).sum() > 40 for picture in pictures)
    assert len({picture.tobytes() for picture in pictures}) == len(pictures)
    assert "findfont" not in caplog.text


def test_licences_are_shipped() -> None:
    for path in fonts.bundled():
        assert path.is_file()
    assert "SIL OPEN FONT LICENSE" in (fonts.FONT_FOLDER / "OFL-1.1.txt").read_text(encoding="utf-8")
    assert "Apache License" in (fonts.FONT_FOLDER / "Apache-2.0.txt").read_text(encoding="utf-8")
    readme = (fonts.FONT_FOLDER / "README.md").read_text(encoding="utf-8")
    for path in (*fonts.bundled(), fonts.BOLD):
        assert path.name in readme
