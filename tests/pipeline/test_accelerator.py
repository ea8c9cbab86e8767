"""A whole run by an accelerator's way: bytes travel, the device makes the views, the first step is checked.

The device is the CPU, which passes for an accelerator: all is really computed, only not fast.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import headstart
from headstart.model.inputs import Loader
from headstart.model.precision import Format


@pytest.fixture
def accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU is called one where its memory format is the usual one, as it is in all but the reference."""
    monkeypatch.setattr(Format, "accelerated", property(lambda fmt: fmt.memory_format == "contiguous"))
    monkeypatch.setattr(torch.accelerator, "synchronize", lambda device: None)


@pytest.fixture
def fields(tiny: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    return {**tiny, "precision": "fp32", "memory_format": "contiguous", "micro_batch": 8, "output": tmp_path}


@pytest.mark.parametrize(
    "more",
    [{}, {"views": 0}, {"recipe": "d2l"}, {"fit": "pad", "augment": "dihedral", "views": 0}],
    ids=["cached", "live", "originals", "padded"],
)
def test_a_run_ends_as_on_the_processor_up_to_rounding(
    shapes_folder: Path,
    fields: dict[str, Any],
    more: dict[str, Any],
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = headstart.train(shapes_folder, **fields, **more)
    request.getfixturevalue("accelerator")
    ways: set[bool] = set()
    batches = Loader.batches

    def noted(loader: Loader, *args: Any, **named: Any) -> Any:
        ways.add(loader.on_device)
        return batches(loader, *args, **named)

    monkeypatch.setattr(Loader, "batches", noted)
    run = headstart.train(shapes_folder, **fields, **more)
    assert ways == {True}
    saved, before = (
        yaml.safe_load((one.path / "config.yaml").read_text(encoding="utf-8")) for one in (run, plain)
    )
    on_device = "recipe" not in more
    assert saved["plan"].pop("random_views_by") == ("cpu" if on_device else "pillow")
    assert before["plan"].pop("random_views_by") == "pillow"
    assert saved["plan"] == before["plan"]
    agrees = "the first step on cpu in fp32 agrees with the CPU's"
    assert saved["measured"]["first_step"] == [agrees]
    log = (run.path / "log.txt").read_text(encoding="utf-8")
    assert agrees in log
    assert (", made on cpu (" in log) == on_device
    assert len(run.results) == len(plain.results)
    for ours, theirs in zip(run.results, plain.results, strict=True):
        assert ours["stage"] == theirs["stage"]
        for name in ("train_loss", "val_loss"):
            assert float(ours[name]) == pytest.approx(float(theirs[name]), rel=0.03)


def test_views_of_both_ways_are_kept_apart(
    shapes_folder: Path, fields: dict[str, Any], home: Path, request: pytest.FixtureRequest
) -> None:
    """Activations of views that differ in some pixels are those of other views."""

    def folders() -> int:
        return len(list((home / "cache" / "activations").iterdir()))

    headstart.train(shapes_folder, **fields)
    assert folders() == 3  # of the evaluation view, plain and mirrored, and of random ones
    headstart.train(shapes_folder, **fields)
    assert folders() == 3
    request.getfixturevalue("accelerator")
    headstart.train(shapes_folder, **fields)
    assert folders() == 6


def test_the_signature_names_the_way_of_random_views_alone(
    shapes_folder: Path, fields: dict[str, Any], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from headstart.training import planning

    headstart.train(shapes_folder, **fields)
    draft = planning.Plan

    def by_device(**named: Any) -> Any:
        return draft(**{**named, "device_views": True})

    monkeypatch.setattr(planning, "Plan", by_device)
    headstart.train(shapes_folder, **fields)
    assert len(list((home / "cache" / "activations").iterdir())) == 4
