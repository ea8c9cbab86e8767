"""Heat maps beside the worst mistakes of a report: what they show, how many, and what is said without."""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from headstart.data.images import read_rgb
from headstart.data.page import address
from headstart.data.preprocess import Preprocess
from headstart.evaluation.evaluate import summary
from headstart.evaluation.predictions import Predictions
from headstart.evaluation.report import write_report
from headstart.evaluation.report_heat import AT_ONCE, NUMBER, heat_overlays
from headstart.evaluation.report_pictures import QUALITY
from headstart.evaluation.report_record import Record
from headstart.model.bundle import load_bundle
from headstart.model.card import read_card
from headstart.model.heat_maps import heat_maps, overlaid
from shapes import KINDS, draw

PICTURES = 30


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory, bundle_of: Callable[..., Path]) -> Record:
    """All answers are wrong."""
    root = tmp_path_factory.mktemp("pictures")
    truth = np.arange(PICTURES) % 3
    paths = [f"{i:02}.png" for i in range(PICTURES)]
    for i, path in enumerate(paths):
        draw(KINDS[truth[i]], i).save(root / path)
    probabilities = np.full((PICTURES, 3), 0.1)
    probabilities[np.arange(PICTURES), (truth + 1) % 3] = 0.8
    table = Predictions(KINDS, paths, ["test"] * PICTURES, truth, probabilities)
    model = bundle_of(tmp_path_factory.mktemp("model"), KINDS)
    return Record("wrong", summary(table, "test"), table, card=read_card(model), root=root, model=model)


def asked(record: Record) -> list[tuple[str, str]]:
    table = record.predictions
    told = zip(table.paths, table.prediction.tolist(), strict=True)
    return [(path, KINDS[answer]) for path, answer in told]


def section(record: Record, folder: Path, language: str = "en") -> str:
    page = write_report(record, folder, language)[0].read_text(encoding="utf-8")  # type: ignore[arg-type]
    return page.partition('id="mistakes"')[2].partition("</section>")[0]


def test_the_heat_is_that_of_the_answer(record: Record) -> None:
    found, why = heat_overlays(record, asked(record))
    assert why == "" and list(found) == [f"{i:02}.png" for i in range(NUMBER)]
    network, _ = load_bundle(record.model or Path())
    see = Preprocess.from_dict(record.card["preprocess"])
    views = []
    for path, _ in asked(record)[:NUMBER]:
        views.append(see.evaluation_crop(see.resized(read_rgb((record.root or Path()) / path))))
    told = [KINDS.index(name) for _, name in asked(record)[:NUMBER]]
    maps = heat_maps(network, np.stack([see.normalize(view) for view in views]), told, batch_size=AT_ONCE)
    for address_of, view, heat in zip(found.values(), views, maps, strict=True):
        assert heat.max() == 1
        assert address_of == address(Image.fromarray(overlaid(view, heat)), QUALITY)


def test_a_bounded_number_stands_beside_the_pictures(record: Record, tmp_path: Path) -> None:
    found = section(record, tmp_path)
    assert found.count('<figure class="pair">') == NUMBER < found.count("<figure") == 24
    assert f"On the right of the first {NUMBER}, what the network saw" in found
    assert len(re.findall(r'alt="\d\d.png: where the network looked for rings"', found)) == NUMBER // 3
    assert "网络判断为 rings 时看的地方" in section(record, tmp_path, "zh")
    assert (tmp_path / "report.html").stat().st_size < 1_000_000


def test_a_picture_that_is_gone_has_no_map(record: Record, tmp_path: Path) -> None:
    for path in (record.root or Path()).iterdir():
        if path.name != "00.png":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "01.png").write_bytes(b"\x89PNG no more")
    found, why = heat_overlays(dataclasses.replace(record, root=tmp_path), asked(record))
    assert why == "" and list(found) == [f"{i:02}.png" for i in range(2, NUMBER)]


def without_torch(record: Record, patch: pytest.MonkeyPatch, tmp_path: Path) -> Record:
    for name in ("headstart.model.heat_maps", "headstart.model.bundle"):
        patch.delitem(sys.modules, name, raising=False)
    patch.setitem(sys.modules, "torch", None)
    return record


def without_model(record: Record, patch: pytest.MonkeyPatch, tmp_path: Path) -> Record:
    return dataclasses.replace(record, model=None)


def damaged(record: Record, patch: pytest.MonkeyPatch, tmp_path: Path) -> Record:
    for name in ("model.json", "model.safetensors"):
        (tmp_path / name).write_bytes((record.model or Path()).joinpath(name).read_bytes()[: 10**5 // 2])
    (tmp_path / "model.json").write_bytes((record.model or Path()).joinpath("model.json").read_bytes())
    return dataclasses.replace(record, model=tmp_path)


def out_of_memory(record: Record, patch: pytest.MonkeyPatch, tmp_path: Path) -> Record:
    def full(*_: Any, **__: Any) -> None:
        raise RuntimeError("DefaultCPUAllocator: not enough memory")

    patch.setattr("headstart.model.heat_maps.evidence_of", full)
    return record


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without_torch, "Without heat maps, which need torch: pip install"),
        (without_model, "Without heat maps: this run has no model of its own."),
        (damaged, "Without heat maps: the model could not be run."),
        (out_of_memory, "Without heat maps: the model could not be run."),
    ],
)
def test_the_page_says_why_there_are_none_and_stands(
    record: Record,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Record, pytest.MonkeyPatch, Path], Record],
    words: str,
) -> None:
    (tmp_path / "model").mkdir()
    found = section(change(record, monkeypatch, tmp_path / "model"), tmp_path)
    assert words in found and 'class="pair"' not in found and found.count("<img") == 24


def test_moved_pictures_are_said_once(record: Record, tmp_path: Path) -> None:
    found = section(dataclasses.replace(record, root=tmp_path / "gone"), tmp_path)
    assert "<img" not in found and "eat map" not in found
    assert "cannot be read" in (tmp_path / "report.html").read_text("utf-8")


def test_a_network_without_stages_is_said(
    record: Record, tmp_path: Path, bundle_of: Callable[..., Path]
) -> None:
    model = bundle_of(tmp_path / "model", KINDS, "test_byobnet")
    found = section(dataclasses.replace(record, card=read_card(model), model=model), tmp_path)
    assert "Without heat maps: where the stages of this network lie is not known." in found


def test_a_report_without_mistakes_runs_no_network(record: Record, tmp_path: Path) -> None:
    table = record.predictions
    right = dataclasses.replace(table, probabilities=np.eye(3)[table.truth])
    good = dataclasses.replace(record, predictions=right, figures=summary(right, "test"), model=tmp_path)
    assert "There is no mistake" in section(good, tmp_path) and "heat" not in section(good, tmp_path)
