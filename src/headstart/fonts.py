"""Class names in any script, legible in every picture.

headstart ships its fonts (``assets/fonts``): Noto Sans for the world's living scripts, Droid Sans Fallback
for Chinese, Japanese and Korean, Noto Emoji. So a picture looks the same on every machine. A character
that none of them has is looked up in the fonts of the system, and written as ``[U+XXXX]`` when those lack
it too: never as an empty box.

Shaping (joined Arabic, Indic conjuncts) and the order of right-to-left text need Pillow's ``raqm``
feature; without it each letter stands alone, in the right order. A line that mixes several
right-to-left fonts with left-to-right text is ordered run by run, not by the whole bidi algorithm.
"""

from __future__ import annotations

import dataclasses
import os
import sys
import unicodedata
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import ImageFont, features

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

FONT_FOLDER = Path(__file__).parent / "assets" / "fonts"
REGULAR = FONT_FOLDER / "NotoSans-Regular.ttf"
BOLD = FONT_FOLDER / "NotoSans-Bold.ttf"
CJK = FONT_FOLDER / "DroidSansFallback.ttf"
EMOJI = FONT_FOLDER / "NotoEmoji-Regular.ttf"

PROBE_SIZE = 24  # pixels; large enough that no letter's bitmap equals the box for missing ones
# These answer every character with a box or a blank.
PRETENDERS = ("lastresort", "adobeblank", "fallback-blank")
# Faces of a family that a label should not pick when a plain one exists.
STYLED = ("bold", "italic", "oblique", "black", "light", "thin", "heavy", "condens", "mono", "serif", "math")


@cache
def bundled() -> tuple[Path, ...]:
    """The font files that headstart ships, in the order in which they are tried."""
    first = (REGULAR, CJK)
    rest = sorted(path for path in FONT_FOLDER.glob("*.ttf") if path not in (*first, BOLD, EMOJI))
    return (*first, *rest, EMOJI)


@cache
def system_fonts() -> tuple[Path, ...]:
    """The font files of this machine, plain faces first, in a fixed order."""
    found = {
        path
        for folder in _system_font_folders()
        if folder.is_dir()
        for path in folder.rglob("*")
        if path.suffix.lower() in {".ttf", ".otf", ".ttc"}
        and not any(name in path.name.lower() for name in PRETENDERS)
    }
    return tuple(
        sorted(found, key=lambda path: (any(s in path.name.lower() for s in STYLED), path.name, str(path)))
    )


def _system_font_folders() -> list[Path]:
    home = Path.home()
    if sys.platform == "win32":
        local = Path(os.environ.get("LOCALAPPDATA", home / "AppData" / "Local"))
        return [Path(os.environ.get("WINDIR", r"C:\Windows")) / "Fonts", local / "Microsoft/Windows/Fonts"]
    if sys.platform == "darwin":
        return [Path("/System/Library/Fonts"), Path("/Library/Fonts"), home / "Library" / "Fonts"]
    return [
        Path("/usr/share/fonts"),
        Path("/usr/local/share/fonts"),
        home / ".local" / "share" / "fonts",
        home / ".fonts",
    ]


@cache
def _open(path: Path, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(path), size)


@cache
def _missing_glyph(path: Path) -> tuple[tuple[int, int], bytes] | None:
    """What the font draws for a character that it lacks; None when it cannot be drawn from at all."""
    try:
        mask = _plain(path).getmask("\U0010ffff")
    except (OSError, ValueError):
        return None
    return mask.size, bytes(mask)


@cache
def _plain(path: Path) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(path), PROBE_SIZE, layout_engine=ImageFont.Layout.BASIC)


@cache
def covers(path: Path, character: str) -> bool:
    """Whether the font draws something for this character other than its box for missing ones."""
    missing = _missing_glyph(path)
    if missing is None:
        return False
    mask = _plain(path).getmask(character)
    drawn = bytes(mask)
    if not any(drawn):
        return character.isspace()
    return (mask.size, drawn) != missing


@cache
def font_file(character: str) -> Path | None:
    """The first font that has this character: those of headstart, then those of the system; else None."""
    for path in bundled():
        if covers(path, character):
            return path
    return next((path for path in system_fonts() if covers(path, character)), None)


def legible(text: str) -> str:
    """``text`` in NFC, with what no font can draw written out: ``[U+A9A7]``, or ``[snail]`` for symbols."""
    return "".join(_written_out(character) for character in unicodedata.normalize("NFC", text))


@cache
def _written_out(character: str) -> str:
    category = unicodedata.category(character)
    if category in {"Mn", "Mc", "Me", "Cf"} or character == " ":
        return character  # drawn together with its base, or invisible by design
    if category[0] not in "CZ" and font_file(character) is not None:
        return character
    if category == "Zs":
        return " "
    if category == "So":
        return f"[{unicodedata.name(character, f'U+{ord(character):04X}').lower()}]"
    return f"[U+{ord(character):04X}]"


def runs(text: str) -> list[tuple[Path, str]]:
    """``text`` cut into pieces that one font can draw: ``[(font file, piece)]``, in reading order.

    Marks, spaces, digits and punctuation stay with the letters before them where that font has them,
    so that shaping sees whole words.
    """
    pieces: list[tuple[Path, str]] = []
    for character in legible(text):
        path = _font_after(pieces[-1][0] if pieces else None, character)
        if pieces and pieces[-1][0] == path:
            pieces[-1] = (path, pieces[-1][1] + character)
        else:
            pieces.append((path, character))
    return pieces


def _font_after(current: Path | None, character: str) -> Path:
    category = unicodedata.category(character)
    if current is not None:
        if category in {"Mn", "Mc", "Me", "Cf"}:
            return current
        if category[0] in "ZPN" and current != EMOJI and covers(current, character):
            return current
    return font_file(character) or REGULAR


class Line:
    """One line of text, ready to be drawn at a size.

    Args:
        text: Any text; what no font has is written out (see `legible`).
        size: Font size in pixels.
        bold: Bold for the letters that the bold face has.
    """

    def __init__(self, text: str, size: int, *, bold: bool = False) -> None:
        shaped = features.check("raqm")
        pieces = [(BOLD if bold and path == REGULAR else path, piece) for path, piece in runs(text)]
        if not shaped:
            pieces = [(path, _without_shaping(piece)) for path, piece in pieces]
        if _reads_right_to_left(text):
            pieces.reverse()
        self._pieces = [(_open(path, size), piece) for path, piece in pieces]
        metrics = [font.getmetrics() for font, _ in self._pieces] or [_open(REGULAR, size).getmetrics()]
        self.width: int = round(sum(font.getlength(piece) for font, piece in self._pieces))
        """Advance width in pixels."""
        self.ascent: int = max(ascent for ascent, _ in metrics)
        """Pixels above the base line."""
        self.descent: int = max(descent for _, descent in metrics)
        """Pixels below the base line."""

    def draw(self, canvas: ImageDraw, x: float, baseline: float, colour: str, align: str = "left") -> None:
        """Draws the line at ``x`` (its left edge, centre or right edge) on a base line, in pixels."""
        x -= {"left": 0.0, "centre": self.width / 2, "right": float(self.width)}[align]
        for font, piece in self._pieces:
            canvas.text((x, baseline), piece, fill=colour, font=font, anchor="ls")
            x += font.getlength(piece)


def _without_shaping(piece: str) -> str:
    visible = "".join(c for c in piece if unicodedata.category(c) != "Cf" and not 0xFE00 <= ord(c) <= 0xFE0F)
    return visible[::-1] if _reads_right_to_left(visible) else visible


def _reads_right_to_left(text: str) -> bool:
    for character in text:
        direction = unicodedata.bidirectional(character)
        if direction in {"L", "R", "AL"}:
            return direction != "L"
    return False


def shortened(text: str, size: int, width: int, *, bold: bool = False) -> Line:
    """``text`` as a `Line` of at most ``width`` pixels; cut in the middle with ``…`` where it is longer."""
    line = Line(text, size, bold=bold)
    kept = len(text)
    while line.width > width and kept > 1:
        kept = min(kept - 1, max(1, int(kept * width / line.width)))
        tail = kept // 3
        line = Line(f"{text[: kept - tail]}…{text[len(text) - tail :]}", size, bold=bold)
    return line


def matplotlib_families(texts: Iterable[str]) -> list[str]:
    """Font families for matplotlib that together draw all ``texts``, first choice first.

    Registers the font files with matplotlib. Give the result as ``font.family``; matplotlib then falls
    back glyph by glyph. Pass `legible` texts to matplotlib, or use `matplotlib_style`.
    """
    from matplotlib import font_manager

    needed = dict.fromkeys([REGULAR])
    for text in texts:
        needed.update(dict.fromkeys(path for path, _ in runs(text)))
    _register_with_matplotlib((*needed, BOLD))
    names = [font_manager.FontProperties(fname=str(path)).get_name() for path in needed]
    return list(dict.fromkeys([*names, "DejaVu Sans"]))


def _register_with_matplotlib(paths: Iterable[Path]) -> None:
    from matplotlib.font_manager import fontManager

    known = {entry.fname for entry in fontManager.ttflist}
    for path in paths:
        if str(path) in known:
            continue
        fontManager.addfont(str(path))
        if path != REGULAR:
            # Families without a bold face: the plain one stands in, without a line in the log each time.
            fontManager.ttflist.append(dataclasses.replace(fontManager.ttflist[-1], weight=700))


def matplotlib_style(texts: Iterable[str]) -> dict[str, Any]:
    """Settings for ``matplotlib.rc_context`` under which names are drawn as they are.

    The fonts of `matplotlib_families`, and no mathematics: a class ``cost_$5_$10`` is a name.
    """
    return {"font.family": matplotlib_families(texts), "text.parse_math": False}
