"""Pictures of a data set, drawn on one page: what is in it, and what the network gets to see of it."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from headstart.data.dataset import Dataset
from headstart.data.fit import lost_by_class, lost_share
from headstart.data.pictures import Pictures
from headstart.data.splits import SPLITS
from headstart.data.views import Views
from headstart.fonts import Line, shortened
from headstart.storage import write_atomic

INK = "#1f2328"
QUIET = "#59636e"
TILE = "#f3f4f6"
EDGE = "#d8dce1"

MARGIN = 40  # pixels, as all lengths here
GAP = 10  # between pictures
TITLE, TEXT, SMALL = 30, 19, 14  # font sizes

LESSON_TILE = 176
LESSON_COLUMNS = 8
SAMPLE_TILE = 152
LABEL_COLUMN = 146
CLASS_GAP = 36
CLASSES_PER_BAND = 2


class _Page:
    """A white page that grows downwards; ``y`` is where the next thing goes."""

    def __init__(self, width: int, height: int) -> None:
        self.image = Image.new("RGB", (width, height), "white")
        self.canvas = ImageDraw.Draw(self.image)
        self.y = MARGIN

    def title(self, title: str, subtitle: str) -> None:
        width = self.image.width - 2 * MARGIN
        self.text(title, MARGIN, TITLE, width, bold=True)
        self.y += 6
        self.text(subtitle, MARGIN, TEXT, width, colour=QUIET)
        self.y += 26

    def text(
        self, text: str, x: int, size: int, width: int, *, colour: str = INK, bold: bool = False
    ) -> None:
        """A line of text at ``y``, cut to ``width``; moves ``y`` below it."""
        line = shortened(text, size, width, bold=bold)
        line.draw(self.canvas, x, self.y + round(1.07 * size), colour)
        self.y += round(1.36 * size)

    def tile(self, picture: Image.Image, x: int, y: int, size: int) -> None:
        """A picture in its aspect ratio, fitted into a square."""
        picture = _fitted(picture, size)
        self.canvas.rectangle((x, y, x + size - 1, y + size - 1), fill=TILE)
        left, top = x + (size - picture.width) // 2, y + (size - picture.height) // 2
        self.image.paste(picture, (left, top))
        self.canvas.rectangle((x, y, x + size - 1, y + size - 1), outline=EDGE)

    def save(self, path: Path) -> None:
        """Writes what was used of the page as PNG."""
        page = self.image.crop((0, 0, self.image.width, self.y + MARGIN - GAP))
        data = io.BytesIO()
        page.save(data, format="PNG", compress_level=6)
        write_atomic(path, data.getvalue())


def draw_lesson_grid(dataset: Dataset, pictures: Pictures, path: Path, *, name: str = "") -> None:
    """Draws the first 8 pictures of the first class and the last 8 of the last one, as PNG.

    With a given split they come from the folder that holds the training pictures, otherwise from all; each
    in its own aspect ratio. The last ones begin with the very last, as in the lesson.

    Args:
        dataset: The table.
        pictures: The pictures of that table.
        path: The PNG to write.
        name: Of the data set, for the title; default: its folder's name.

    Raises:
        RunError: HS-RUN-001 to -003, the PNG cannot be written.

    Source: Dive into Deep Learning, "Fine-Tuning", section "Reading the Dataset".
    """
    rows = dataset.indices()
    if dataset.layout != "class-folders":
        rows = dataset.indices("train", "selection", "calibration")
        folders = {str(dataset.paths[i]).split("/")[0] for i in dataset.indices("train")}
        rows = rows[[str(dataset.paths[i]).split("/")[0] in folders for i in rows]]
    first = rows[dataset.labels[rows] == 0]
    last = rows[dataset.labels[rows] == len(dataset.classes) - 1]
    shown = (
        (0, first[:LESSON_COLUMNS], f"the first {{}} of {_counted(len(first))}"),
        (len(dataset.classes) - 1, last[::-1][:LESSON_COLUMNS], f"the last {{}} of {_counted(len(last))}"),
    )
    width = 2 * MARGIN + LESSON_COLUMNS * (LESSON_TILE + GAP) - GAP
    page = _Page(width, 800)
    page.title(name or dataset.root.resolve().name, _summary(dataset))
    for label, chosen, words in shown:
        _class_heading(page, dataset.classes[label], words.format(len(chosen)), MARGIN, width - 2 * MARGIN)
        page.y += 6
        for column, index in enumerate(chosen):
            x = MARGIN + column * (LESSON_TILE + GAP)
            page.tile(pictures.original(int(index)), x, page.y, LESSON_TILE)
        page.y += LESSON_TILE + 24
    page.y -= 14
    page.save(path)


def draw_class_samples(
    views: Views,
    path: Path,
    *,
    per_class: int = 4,
    max_classes: int = 12,
    name: str = "",
) -> None:
    """Draws training pictures of each class, with two views below each, as PNG.

    Below a picture: one random training view, then the evaluation view: the very pixels that the network
    gets, before they are standardised. The choice depends on the pictures' contents and the seed alone.

    Args:
        views: The pictures and what the network sees of them; another seed shows other pictures too.
        path: The PNG to write.
        per_class: Pictures of each class at most.
        max_classes: Further classes are left out, and the page says so.
        name: Of the data set, for the title; default: its folder's name.

    Raises:
        RunError: HS-RUN-001 to -003, the PNG cannot be written.
    """
    dataset = views.dataset
    labels = range(min(len(dataset.classes), max_classes))
    columns = min(CLASSES_PER_BAND, len(labels))
    block = per_class * (SAMPLE_TILE + GAP) - GAP
    width = 2 * MARGIN + LABEL_COLUMN + columns * (block + CLASS_GAP) - CLASS_GAP
    bands = [labels[i : i + columns] for i in range(0, len(labels), columns)]
    page = _Page(width, 200 + len(bands) * (3 * (SAMPLE_TILE + GAP) + 130))
    subtitle = _summary(dataset)
    if len(dataset.classes) > max_classes:
        subtitle += f" · the first {max_classes} classes are shown"
    page.title(name or dataset.root.resolve().name, subtitle)
    for band in bands:
        top = page.y
        for column, label in enumerate(band):
            page.y = top
            x = MARGIN + LABEL_COLUMN + column * (block + CLASS_GAP)
            chosen = sample_of_class(dataset, label, per_class, views.seed)
            _draw_class(page, views, label, chosen, x, block)
        _row_labels(page, views)
        page.y += 30
    page.y -= 20
    page.save(path)


def sample_of_class(dataset: Dataset, label: int, count: int, seed: int) -> list[int]:
    """Rows of ``count`` training pictures of a class, chosen by their contents and the seed.

    Of a data set without a training part: of all its pictures.
    """
    rows = dataset.indices("train")
    if len(rows) == 0:
        rows = dataset.indices()
    rows = rows[dataset.labels[rows] == label]

    def rank(index: int) -> bytes:
        return hashlib.sha256(f"{seed}:{dataset.file_hashes[index]}".encode()).digest()

    # Exact duplicates would show one picture twice.
    unlike = {str(dataset.file_hashes[i]): int(i) for i in reversed(rows)}
    return sorted(unlike.values(), key=rank)[:count]


def _draw_class(page: _Page, views: Views, label: int, chosen: Sequence[int], x: int, width: int) -> None:
    dataset, preprocess = views.dataset, views.pictures.preprocess
    count = int((dataset.labels == label).sum())
    name = dataset.classes[label]
    lost = lost_by_class(dataset.sizes, dataset.labels, dataset.classes, preprocess)[name]
    _class_heading(page, name, _counted(count) + _cut(lost), x, width)
    page.y += 6
    step = SAMPLE_TILE + GAP
    for column, index in enumerate(chosen):
        left = x + column * step
        original = views.pictures.original(index)
        page.tile(original, left, page.y, SAMPLE_TILE)
        for row, view in enumerate((views.random(index, 0), views.evaluation(index)), start=1):
            page.tile(Image.fromarray(view), left, page.y + row * step, SAMPLE_TILE)
        lost = lost_share(original.width, original.height, preprocess)
        caption = f"{original.width} × {original.height}{_cut(lost)}"
        _caption(page, caption, left, page.y + 3 * step - GAP)
    page.y += 3 * step - GAP + 24


def _cut(share: float) -> str:
    """What evaluation does not see of the pixels."""
    return f" · {share:.0%} cut" if share else ""


def _caption(page: _Page, text: str, x: int, y: int) -> None:
    Line(text, SMALL).draw(page.canvas, x + SAMPLE_TILE / 2, y + 19, QUIET, "centre")


def _row_labels(page: _Page, views: Views) -> None:
    """The words left of a band's three rows; ``page.y`` stands below the band."""
    step = SAMPLE_TILE + GAP
    top = page.y - 24 - (3 * step - GAP)
    size = views.pictures.preprocess.img_size
    rows = (
        ("picture", "as it is", ""),
        ("training view", "one of many,", f"augment {views.augmentation.name}"),
        (
            "evaluation view",
            "what the network",
            f"sees: {size} × {size}",
            f"fit {views.pictures.preprocess.fit}",
        ),
    )
    for row, (heading, *notes) in enumerate(rows):
        y = top + row * step + SAMPLE_TILE // 2 - 22
        Line(heading, 16, bold=True).draw(page.canvas, MARGIN, y + 14, INK)
        for i, note in enumerate(notes):
            Line(note, SMALL).draw(page.canvas, MARGIN, y + 36 + 19 * i, QUIET)
    Line("original size", SMALL).draw(page.canvas, MARGIN, top + 3 * step - GAP + 19, QUIET)


def _class_heading(page: _Page, class_name: str, note: str, x: int, width: int) -> None:
    note_line = Line(note, TEXT - 3)
    name = shortened(class_name, TEXT, max(width - note_line.width - 14, width // 3), bold=True)
    baseline = page.y + round(1.07 * TEXT)
    name.draw(page.canvas, x, baseline, INK)
    note_line.draw(page.canvas, x + name.width + 14, baseline, QUIET)
    page.y += round(1.36 * TEXT)


def _summary(dataset: Dataset) -> str:
    present = [split for split in SPLITS if (dataset.splits == split).any()]
    parts = ", ".join(f"{split} {len(dataset.indices(split)):,}" for split in present)
    return f"{len(dataset.classes)} classes · {_counted(len(dataset))} · {parts}"


def _counted(n: int) -> str:
    return f"{n:,} picture{'' if n == 1 else 's'}"


def _fitted(picture: Image.Image, size: int) -> Image.Image:
    scale = size / max(picture.size)
    shape = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    # Enlarged pixels stay visible as such; a smooth enlargement would hide how small a picture is.
    kernel = Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.NEAREST
    return picture.resize(shape, kernel, reducing_gap=3.0 if scale < 1 else None)
