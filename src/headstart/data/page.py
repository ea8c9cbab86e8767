"""HTML pages that stand alone: one file, thumbnails inside, nothing asked of any network.

Templates are filled with autoescape: names of files and classes are other people's text.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from PIL import Image

from headstart.data.formats import UnreadableImage, read_file
from headstart.data.preprocess import Preprocess
from headstart.errors import MissingExtraError

THUMBNAIL = 272  # pixels of the long side: sharp at 136 on fine screens
QUALITY = 80
TEMPLATES = Path(__file__).parent / "templates"


def can_draw() -> bool:
    """Whether the package for pages is installed."""
    return find_spec("jinja2") is not None


def filled(
    template: str,
    content: Mapping[str, Any],
    *,
    what: str,
    folder: Path = TEMPLATES,
    filters: Mapping[str, Callable[..., str]] | None = None,
) -> bytes:
    """A template with its content, as UTF-8; what is no text in it (names may hold any byte) as escapes.

    Args:
        template: Its name in ``folder``; it may include those of `TEMPLATES`.
        content: By name; the template may use nothing else.
        what: The page, as the subject of a sentence.
        folder: Of the template.
        filters: Functions that the template may call.

    Raises:
        MissingExtraError: HS-INSTALL-001.
    """
    if not can_draw():
        raise MissingExtraError("train", what)
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader([folder, TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(filters or {})
    return environment.get_template(template).render(**content).encode("utf-8", "backslashreplace")


def thumbnail(file: Path, preprocess: Preprocess, size: int = THUMBNAIL, quality: int = QUALITY) -> str:
    """A small picture as a ``data:`` address; empty where it cannot be read.

    Args:
        file: The picture.
        preprocess: Its crop and range of intensities are shown.
        size: Of the long side, pixels.
        quality: Of the JPEG.
    """
    try:
        image = preprocess.rgb(read_file(file))
    except (UnreadableImage, ValueError):  # ValueError: a name that no system has
        return ""
    image.thumbnail((size, size), reducing_gap=2.0)
    return address(image, quality)


def address(image: Image.Image, quality: int = QUALITY) -> str:
    """A picture as a ``data:`` address."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
