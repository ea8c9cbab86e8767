"""The demo's pictures: the split of the published protocol, and samples of it."""

from __future__ import annotations

import itertools
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import pytest

from headstart import demo
from headstart.data.manifest import list_manifest

pytestmark = pytest.mark.skipif(
    find_spec("elpv_dataset") is None, reason="the package elpv-dataset is not installed"
)


def test_three_quarters_of_each_class_train() -> None:
    counts = Counter(cell[1:] for cell in demo.cells())
    assert sum(counts.values()) == 2624
    for label, pictures in (("defective", 821), ("functional", 1803)):
        assert counts[label, "train"] + counts[label, "test"] == pictures
        assert counts[label, "test"] / pictures == pytest.approx(0.25, abs=0.005)


def test_another_seed_makes_another_split() -> None:
    assert demo.cells(0) == demo.cells(0)
    assert demo.cells(0) != demo.cells(1)


def test_a_sample_keeps_the_split_and_has_equally_many_of_each_class() -> None:
    sample = demo.cells(per_class=24)
    assert Counter(cell[1:] for cell in sample) == {
        ("defective", "train"): 18,
        ("defective", "test"): 6,
        ("functional", "train"): 18,
        ("functional", "test"): 6,
    }
    assert set(sample) <= set(demo.cells())
    assert sample == sorted(sample) == demo.cells(per_class=24)
    assert sample != demo.cells(per_class=24, seed=1)


def test_a_class_with_fewer_pictures_gives_all_it_has() -> None:
    counts = Counter(label for _, label, _ in demo.cells(per_class=1000))
    assert counts == {"defective": 821, "functional": 1000}


def test_the_table_holds_the_probabilities(tmp_path: Path) -> None:
    chosen = demo.cells(per_class=24)
    demo.write_table(tmp_path / "cells.csv", chosen)
    listing = list_manifest(tmp_path / "cells.csv")
    assert [(entry.path, entry.class_name, entry.split) for entry in listing.entries] == chosen
    shares = {round(share[0], 3) for share in listing.soft.values()}
    assert listing.soft_classes == ("defective", "functional") and shares <= {0, 0.333, 0.667, 1}
    assert len(shares) > 2


@pytest.mark.parametrize("seed", [0, 1])
def test_whole_modules_train_or_test(seed: int) -> None:
    split_of = {path: split for path, _, split in demo.cells(seed, split="modules")}
    assert len(split_of) == 2624
    in_order = [split_of[path] for path in sorted(split_of)]  # names are numbers, in the order of the list
    runs = [len(list(group)) for _, group in itertools.groupby(in_order)]
    assert min(runs) >= demo.MODULE // 2
    assert in_order.count("test") / 2624 == pytest.approx(0.25, abs=0.03)
    assert len(runs) > 10


def test_the_modules_of_another_seed_are_others() -> None:
    assert demo.cells(0, split="modules") != demo.cells(1, split="modules")
