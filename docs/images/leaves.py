"""The drawn leaves of the documentation, healthy and spotted: pictures that nobody has to license.

python docs/images/leaves.py             draw, train, and renew the figures beside this file
python docs/images/leaves.py report      renew the picture of a report alone; needs Chromium
python docs/images/leaves.py page        renew that of the page of `headstart serve` alone; needs Chromium
python docs/images/leaves.py draw DIR N  only draw: DIR/healthy and DIR/spotted, N pictures each
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

CLASSES = ("healthy", "spotted")
SIZES = ((160, 120), (120, 160), (150, 150))
HERE = Path(__file__).parent
FONTS = """<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd"><fontconfig>
<include ignore_missing="yes">/etc/fonts/fonts.conf</include><dir>{folder}</dir></fontconfig>"""


def draw(folder: Path, classes: tuple[str, ...] = CLASSES, n: int = 12, first: int = 1) -> None:
    """Draws ``folder/CLASS/001.jpg`` and so on: of two classes, the second one has the spots."""
    for kind, name in enumerate(classes):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(first, first + n):
            leaf(bool(kind % 2), number).save(folder / name / f"{number:03}.jpg", quality=92)


def leaf(spotted: bool, number: int) -> Image.Image:
    """A leaf on some ground, RGB, in one of three formats. Healthy ones may carry pale drops of dew."""
    random = np.random.default_rng((int(spotted), number))
    width, height = SIZES[int(random.integers(len(SIZES)))]
    canvas = Image.new("RGB", (2 * width, 2 * height), colour(random, (150, 140, 120), (235, 225, 210)))
    x, y = width + random.integers(-25, 26), height + random.integers(-20, 21)
    length, breadth = random.integers(65, 105), random.integers(28, 48)

    layer = Image.new("RGBA", canvas.size, (0, 0, 0, 0))
    pen = ImageDraw.Draw(layer)
    angles = np.linspace(0, np.pi, 40)
    outline = [(x - length * np.cos(a), y - breadth * np.sin(a)) for a in angles]
    outline += [(x + length * np.cos(a), y + breadth * np.sin(a)) for a in angles]
    green = colour(random, (40, 105, 30), (110, 165, 85))
    pen.polygon(outline, fill=(*green, 255))
    vein = tuple(int(0.75 * c) for c in green)
    pen.line([(x - length - 12, y), (x + length, y)], fill=(*vein, 255), width=3)
    for along in np.linspace(-0.7, 0.7, 6):
        side = 0.7 * breadth * np.sqrt(1 - along**2)
        for sign in (-1, 1):
            end = (x + (along + 0.12) * length, y + sign * side)
            pen.line([(x + along * length, y), end], fill=(*vein, 255), width=2)
    for _ in range(int(random.integers(1, 5)) if spotted else int(random.integers(0, 4))):
        along, across = random.uniform(-0.75, 0.75), random.uniform(-0.6, 0.6)
        radius = random.uniform(2, 7)
        dot_x, dot_y = x + along * length, y + across * breadth * np.sqrt(1 - along**2)
        low, high = ((95, 80, 30), (135, 115, 60)) if spotted else ((95, 135, 80), (150, 180, 130))
        box = [dot_x - radius, dot_y - radius, dot_x + radius, dot_y + radius]
        pen.ellipse(box, fill=(*colour(random, low, high), 255))
    centre = (float(x), float(y))
    turned = layer.rotate(float(random.uniform(0, 360)), Image.Resampling.BICUBIC, center=centre)
    canvas.paste(turned, (0, 0), turned)
    pixels = np.asarray(canvas.resize((width, height), Image.Resampling.LANCZOS), np.float64)
    grain = random.normal(0, 7, pixels.shape)
    return Image.fromarray(np.clip(pixels + grain, 0, 255).astype(np.uint8))


def colour(
    random: np.random.Generator, low: tuple[int, int, int], high: tuple[int, int, int]
) -> tuple[int, int, int]:
    """A colour between two others."""
    red, green, blue = (int(c) for c in random.integers(low, high))
    return red, green, blue


def renew_figures() -> None:
    """Trains on drawn leaves; copies what headstart drew into this folder."""
    import headstart

    with tempfile.TemporaryDirectory() as work:
        leaves = Path(work) / "leaves"
        draw(leaves, n=120)
        run = headstart.train(leaves, output=Path(work) / "runs")
        pages = headstart.show(leaves, Path(work) / "show", per_class=3)
        for figure in (run.path / "curves.png", run.path / "confusion.png", pages[1]):
            shrink(figure, HERE / f"leaves-{figure.name}")


def renew_report() -> None:
    """Trains a probe on small pictures, so that there are mistakes to show; photographs its report."""
    from playwright.sync_api import sync_playwright

    import headstart

    with tempfile.TemporaryDirectory() as work, sync_playwright() as started:
        leaves, picture = Path(work) / "leaves", Path(work) / "report.png"
        draw(leaves, n=150)
        run = headstart.train(leaves, strategy="probe", img_size=128, output=Path(work) / "runs")
        browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 900, "height": 1160}, color_scheme="light")
        page.goto((run.path / "report.html").as_uri())
        page.screenshot(path=picture)
        browser.close()
        shrink(picture, HERE / "leaves-report.png")


def renew_page() -> None:
    """Serves a probe; photographs the page with new leaves, and something else, on it."""
    from playwright.sync_api import sync_playwright

    import headstart

    with tempfile.TemporaryDirectory() as work, sync_playwright() as started:
        leaves, new, picture = Path(work) / "leaves", Path(work) / "new", Path(work) / "page.png"
        draw(leaves, n=150)
        run = headstart.train(leaves, strategy="probe", output=Path(work) / "runs")
        new.mkdir()
        for number, spotted in enumerate((True, False, True), start=1):
            leaf(spotted, 900 + number).save(new / f"leaf-{number}.jpg", quality=92)
        ball = Image.new("RGB", (160, 120), (40, 60, 150))
        ImageDraw.Draw(ball).ellipse((45, 25, 115, 95), fill=(240, 120, 30))
        ball.save(new / "something-else.jpg", quality=92)
        fonts = Path(work) / "fonts.conf"  # with the Chinese letters that headstart has
        fonts.write_text(FONTS.format(folder=Path(headstart.__file__).parent / "assets" / "fonts"))
        command = [sys.executable, "-m", "headstart", "serve", str(run.path), "--port", "0", "--json"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            browser = started.chromium.launch(
                executable_path=shutil.which("chromium"),
                args=["--no-sandbox"],
                env={**os.environ, "FONTCONFIG_FILE": str(fonts)},
            )
            page = browser.new_page(viewport={"width": 1040, "height": 700}, color_scheme="light")
            page.goto(json.loads(server.stdout.readline())["url"])
            page.set_input_files("#files", sorted(new.iterdir()))
            page.locator(".heat button").first.click()
            page.wait_for_selector(".heat .hint:not(:empty)")
            page.mouse.move(0, 0)
            page.screenshot(path=picture, full_page=True)
            browser.close()
            server.terminate()
        shrink(picture, HERE / "leaves-page.png", colours=256)


def shrink(source: Path, target: Path, colours: int = 128) -> None:
    """A picture at most 900 pixels wide, in few colours: the pages load quickly."""
    picture = Image.open(source).convert("RGB")
    picture.thumbnail((900, 1200), Image.Resampling.LANCZOS)
    picture.quantize(colours, dither=Image.Dither.NONE).save(target, optimize=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["draw"]:
        draw(Path(sys.argv[2]), n=int(sys.argv[3]))
    elif sys.argv[1:2] == ["report"]:
        renew_report()
    elif sys.argv[1:2] == ["page"]:
        renew_page()
    else:
        renew_figures()
