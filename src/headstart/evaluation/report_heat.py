"""The heat maps of a report: where the network looked when it answered wrongly, few and small."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

from headstart.data.formats import UnreadableImage, read_file
from headstart.data.page import address
from headstart.data.preprocess import Pixels, Preprocess
from headstart.errors import HeadstartError, ModelError
from headstart.evaluation.report_pictures import QUALITY, SIZE, preprocess_of
from headstart.evaluation.report_record import Record

NUMBER = 12  # half a second for the bundled network on two cores, beside importing torch; 0.1 MB
AT_ONCE = 4  # of high inputs, more would need much memory


def heat_overlays(record: Record, asked: Sequence[tuple[str, str]]) -> tuple[dict[str, str], str]:
    """What the network sees of some pictures, under the heat of a class.

    Computed on the CPU, so that a report takes nothing from a GPU and is the same without one.

    Args:
        record: Its model and where the pictures are.
        asked: Path, and the class that the heat speaks for; the first `NUMBER` are drawn.

    Returns:
        ``data:`` addresses by path, only of what could be drawn; and why there are none: the key of its words
        in `headstart.evaluation.report_words`, empty where there are some, where none was asked for, or
        where the pictures cannot be read.
    """
    if not asked:
        return {}, ""
    if record.model is None:
        return {}, "heat_no_model"
    if find_spec("torch") is None or find_spec("matplotlib") is None:
        return {}, "heat_no_torch"
    preprocess = preprocess_of(record)
    views: dict[str, Pixels] = {}
    for path, _ in asked[:NUMBER]:
        if (view := _view(record.root, path, preprocess)) is not None:
            views[path] = view
    if preprocess is None or not views:
        return {}, ""  # the page says already that they cannot be read
    try:
        return _drawn(record.model, views, dict(asked), preprocess), ""
    except ModelError as error:
        return {}, "heat_no_stages" if error.code == "HS-EVAL-030" else "heat_failed"
    except (HeadstartError, ImportError, RuntimeError, OSError, ValueError):
        return {}, "heat_failed"  # such as too little memory: the page stands without


def _view(root: Path | None, path: str, preprocess: Preprocess | None) -> Pixels | None:
    """What the network sees, uint8 [S, S, 3]; None where the picture cannot be read."""
    if root is None or preprocess is None:
        return None
    try:
        return preprocess.evaluation_crop(preprocess.resized(preprocess.rgb(read_file(root / path))))
    except (UnreadableImage, ValueError):  # ValueError: a name that no system has
        return None


def _drawn(
    model: Path, views: dict[str, Pixels], classes: dict[str, str], preprocess: Preprocess
) -> dict[str, str]:
    from headstart.model.bundle import load_bundle
    from headstart.model.heat_maps import heat_maps, overlaid

    network, _ = load_bundle(model)
    normalised = np.stack([preprocess.normalize(view) for view in views.values()])
    index = [network.classes.index(classes[path]) for path in views]
    maps = heat_maps(network, normalised, index, batch_size=AT_ONCE)
    found = {}
    for (path, view), heat in zip(views.items(), maps, strict=True):
        image = Image.fromarray(overlaid(view, heat))
        image.thumbnail((SIZE, SIZE), reducing_gap=2.0)
        found[path] = address(image, QUALITY)
    return found
