"""Mirrored or turned pictures that look like another class: found where it is so, and not where it is not."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from scipy.stats import binom

import headstart
from headstart.config import read_yaml
from headstart.data.augment import AUGMENTATIONS, Augmentation, Symmetry, augment
from headstart.training.plan import Plan
from headstart.training.train import Trainer
from headstart.training.turned import harmless_views, judged, sample, upper_tail

PICTURE = np.random.default_rng(0).integers(0, 256, (6, 6, 3), dtype=np.uint8)


# --- symmetries ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(8))
def test_the_inverse_undoes_a_symmetry(number: int) -> None:
    symmetry = Symmetry.of(number)
    assert np.array_equal(Symmetry.of(symmetry.inverse)(symmetry(PICTURE)), PICTURE)


def test_what_views_may_show() -> None:
    assert np.array_equal(Symmetry.of(4)(PICTURE), PICTURE[:, ::-1])
    assert np.array_equal(Symmetry.of(6)(PICTURE), PICTURE[::-1])
    turns = {name: sorted(a.turns) for name, a in AUGMENTATIONS.items()}
    assert turns == {
        "none": [],
        "flip": [4],
        "crop": [],
        "default": [4],
        "d2l": [4],
        "dihedral": [1, 2, 3, 4, 5, 6, 7],
        "rotations": [1, 2, 3],
        "mirrors": [2, 4, 6],
    }


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_views_show_just_these(name: str) -> None:
    whole = dataclasses.replace(AUGMENTATIONS[name], scale=None)
    seen = {
        augment(PICTURE, 6, whole, seed=0, epoch=e, sample_id=0, interpolation="bilinear").tobytes()
        for e in range(150)
    }
    assert seen == {Symmetry.of(s)(PICTURE).tobytes() for s in {0, *whole.turns}}


def test_crop_is_the_default_but_never_mirrored() -> None:
    assert AUGMENTATIONS["crop"] == Augmentation("crop", AUGMENTATIONS["default"].scale)


@pytest.mark.parametrize(
    ("asked", "harmful", "left"),
    [
        ("default", {4}, "crop"),
        ("flip", {4}, "crop"),
        ("dihedral", {4}, "rotations"),
        ("dihedral", {1, 3}, "mirrors"),
        ("dihedral", {1, 2, 3}, "default"),
        ("dihedral", {1, 2, 3, 4}, "crop"),
        ("rotations", {1, 3}, "crop"),
        ("mirrors", {2}, "default"),
    ],
)
def test_as_much_is_left_as_does_no_harm(asked: str, harmful: set[int], left: str) -> None:
    assert harmless_views(AUGMENTATIONS[asked], harmful) == left


# --- the test ------------------------------------------------------------------------------------------


def clouds(
    n: int, turned: dict[int, list[int]], *, apart: float = 2.0, seed: int = 0, shift: float = 0.0
) -> tuple[dict[int, torch.Tensor], np.ndarray]:
    """Features of n pictures a class; by symmetry, the class whose cloud each class' turned pictures join."""
    random = np.random.default_rng(seed)
    classes = len(next(iter(turned.values())))
    centres = random.normal(0, 1, (classes, 40)) * apart
    labels = np.repeat(np.arange(classes), n)
    found = {0: centres[labels] + random.normal(0, 1, (len(labels), 40))}
    for symmetry, joined in turned.items():
        found[symmetry] = centres[np.array(joined)[labels]] + random.normal(shift, 1, (len(labels), 40))
    return {k: torch.from_numpy(v).float() for k, v in found.items()}, labels


def found_in(features: dict[int, torch.Tensor], labels: np.ndarray, groups: Any = None) -> list[Any]:
    groups = np.arange(len(labels)).astype(str) if groups is None else groups
    return judged(features, labels, groups, int(labels.max()) + 1)


def test_classes_that_change_places_are_found_with_their_numbers() -> None:
    (harm,) = found_in(*clouds(12, {4: [1, 0, 2]}))
    assert (harm.symmetry, harm.classes) == (4, (0, 1))
    assert (harm.taken, harm.back, harm.plain) == ((12, 12), (12, 12), 0)
    assert harm.p == pytest.approx(3 / 2**24)
    assert harm.text(("left", "right", "up")) == (
        "mirrored, 12 of 12 training pictures of 'left' look like 'right', and 12 of 12 the other way round "
        "(as they are: 0 of both; p = 2e-07)"
    )


def test_a_class_of_many_kinds_takes_the_other_in_whole_and_gives_a_part_back() -> None:
    features, labels = clouds(15, {4: [1, 1]})
    back = torch.from_numpy(np.flatnonzero(labels == 1)[:5])
    features[4][back] = features[0][torch.arange(5)]
    (harm,) = found_in(features, labels)
    assert (harm.taken, harm.back) == ((15, 15), (5, 15))


def test_turns_that_lead_on_from_class_to_class() -> None:
    harms = found_in(*clouds(12, {1: [1, 2, 3, 0], 2: [2, 3, 0, 1], 3: [3, 0, 1, 2]}))
    assert {harm.symmetry for harm in harms} == {1, 2}  # 3 undoes 1: the same exchange
    assert {frozenset(harm.classes) for harm in harms if harm.symmetry == 2} == {
        frozenset((0, 2)),
        frozenset((1, 3)),
    }


def test_turned_pictures_that_all_look_like_one_class_are_only_strange() -> None:
    assert found_in(*clouds(30, {4: [1, 1, 1]})) == []


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10_000),
    st.integers(6, 40),
    st.integers(2, 4),
    st.sampled_from([0.0, 0.05, 0.2, 1.0]),
    st.sampled_from([0.0, 0.3]),
)
def test_no_alarm_where_classes_stay(seed: int, n: int, classes: int, apart: float, shift: float) -> None:
    stays = list(range(classes))
    features, labels = clouds(n, {4: stays, 6: stays}, apart=apart, seed=seed, shift=shift)
    assert found_in(features, labels) == []


def test_false_alarms_are_as_rare_as_promised() -> None:
    """Classes that nothing tells apart, mirrored at random: the worst there is."""
    alarms = sum(bool(found_in(*clouds(20, {4: [0, 1]}, apart=0.0, seed=seed))) for seed in range(200))
    assert alarms <= 6  # of 200 at 1 %, more come up once in 300 times


def test_too_few_pictures_to_judge() -> None:
    features, labels = clouds(3, {4: [1, 0]})
    assert found_in(features, labels) == []  # 6 of 6 is p = 0.016
    assert found_in(features, labels, np.array(list("aaabcd"))) == []  # one group: no fold to leave out
    assert len(found_in(*clouds(5, {4: [1, 0]}))) == 1


@given(st.integers(0, 60), st.integers(0, 60))
def test_the_tail_of_a_fair_coin(heads: int, more: int) -> None:
    assert upper_tail(heads, heads + more) == pytest.approx(float(binom.sf(heads - 1, heads + more, 0.5)))


# --- a whole run ---------------------------------------------------------------------------------------


def sign(kind: str, number: int, size: int = 72) -> Image.Image:
    """An arrow, or a ring, of changing colour, size and place."""
    random = np.random.default_rng([sum(kind.encode()), number])
    ground, ink = random.integers(150, 256, 3), random.integers(0, 90, 3)
    image = Image.new("RGB", (size, size), tuple(int(v) for v in ground))
    draw = ImageDraw.Draw(image)
    x, y, r = *(size / 2 + random.uniform(-5, 5, 2)), size * random.uniform(0.3, 0.38)
    colour = tuple(int(v) for v in ink)
    if kind in ("left", "right"):
        way = 1 if kind == "right" else -1
        draw.polygon([(x + way * r, y), (x, y - r * 0.7), (x, y + r * 0.7)], fill=colour)
        draw.rectangle(sorted_box(x - way * r, y - r * 0.2, x, y + r * 0.2), fill=colour)
    elif kind == "ring":
        draw.ellipse((x - r, y - r, x + r, y + r), outline=colour, width=8)
    else:
        draw.rectangle((x - r, y - r * 0.2, x + r, y + r * 0.2), fill=colour)
        draw.rectangle((x - r * 0.2, y - r, x + r * 0.2, y + r), fill=colour)
    return image


def sorted_box(x0: float, y0: float, x1: float, y1: float) -> tuple[float, float, float, float]:
    return min(x0, x1), y0, max(x0, x1), y1


def folder(root: Path, kinds: tuple[str, ...], train: int = 20) -> Path:
    for kind in kinds:
        for split, first, n in (("train", 0, train), ("test", 500, 4)):
            (root / split / kind).mkdir(parents=True)
            for number in range(first, first + n):
                sign(kind, number).save(root / split / kind / f"{number:03}.png")
    return root


FAST: dict[str, Any] = {"img_size": 96, "epochs": 1, "batch_size": 16, "threads": 1, "workers": 2}


@pytest.fixture(scope="module")
def arrows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder(tmp_path_factory.mktemp("data") / "arrows", ("left", "right"))


def test_arrows_are_not_mirrored_and_it_is_said(arrows: Path, tmp_path: Path) -> None:
    run = headstart.train(arrows, output=tmp_path / "runs", **FAST)
    config = read_yaml(run.path / "config.yaml")
    assert config["augment"] == "crop"
    log = (run.path / "log.txt").read_text(encoding="utf-8")
    (said,) = [
        line for line in log.splitlines() if line.startswith("views: crop instead of default, as mirrored")
    ]
    assert "of 16 training pictures of 'left' look like 'right'" in said
    assert "after the probe: do mirrored or turned pictures look like another class?" in log
    again = headstart.train(arrows, **config | {"output": str(tmp_path / "again")})
    assert [r["train_loss"] for r in again.results] == [r["train_loss"] for r in run.results]
    assert "instead of default" not in (again.path / "log.txt").read_text(encoding="utf-8")


def test_there_is_a_model_before_views_are_judged_and_a_run_that_ends_there_goes_on(
    arrows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = headstart.train(arrows, output=tmp_path / "whole", **FAST)
    output = tmp_path / "runs"
    with monkeypatch.context() as patch:

        def interrupted(plan: Plan, *_: object) -> Plan:
            (run,) = output.iterdir()
            assert (run / "model" / "model.json").is_file()
            raise KeyboardInterrupt

        patch.setattr("headstart.training.train.without_harm", interrupted)
        run = headstart.train(arrows, output=output, **FAST)
    assert run.interrupted
    assert read_yaml(run.path / "config.yaml")["augment"] is None
    again = headstart.train(resume=run)
    assert read_yaml(again.path / "config.yaml")["augment"] == "crop"
    assert [r["train_loss"] for r in again.results] == [r["train_loss"] for r in whole.results]


@pytest.mark.parametrize("fields", ["lr", "augment"])
def test_no_trial_mirrors_arrows(
    arrows: Path, tmp_path: Path, fields: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("optuna", reason="the extra 'tune' is not installed")
    views: list[str] = []
    train = Trainer.train

    def noted(self: Trainer) -> Any:
        views.append(self.plan.recipe.augmentation)
        return train(self)

    monkeypatch.setattr(Trainer, "train", noted)
    run = headstart.tune(arrows, output=tmp_path / "runs", trials=2, fields=fields, **FAST)
    lines = (run.path / "log.txt").read_text(encoding="utf-8").splitlines()
    assert any(line.startswith("views: crop instead of default, as mirrored") for line in lines)
    assert read_yaml(run.path / "config.yaml")["augment"] in ("crop", "none", "rotations")
    assert len(views) == 3 and views[0] == "crop" and set(views) <= {"crop", "none", "rotations"}
    if fields == "augment":
        assert any(line.split() == ["augment", "none,", "crop,", "rotations"] for line in lines)


def test_what_is_asked_for_is_warned_of_and_done(
    arrows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = headstart.train(arrows, output=tmp_path / "runs", augment="dihedral", **FAST)
    warned = capsys.readouterr().err
    assert "warning: HS-CONFIG-025: --augment dihedral teaches what is wrong: mirrored, " in warned
    assert "Try --augment crop." in warned or "Try --augment mirrors." in warned
    assert read_yaml(run.path / "config.yaml")["augment"] == "dihedral"


def test_shapes_that_a_mirror_leaves_as_they_are_go_on_being_mirrored(tmp_path: Path) -> None:
    run = headstart.train(folder(tmp_path / "signs", ("ring", "plus")), output=tmp_path / "runs", **FAST)
    assert read_yaml(run.path / "config.yaml")["augment"] == "default"
    assert "instead of default" not in (run.path / "log.txt").read_text(encoding="utf-8")


def test_the_sample_is_bounded_and_does_not_depend_on_names(arrows: Path, tmp_path: Path) -> None:
    from headstart.data.dataset import load_dataset
    from headstart.data.preprocess import Preprocess

    spec = Preprocess(32, 36, "bilinear", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    data, _ = load_dataset(folder(tmp_path / "many", ("left", "ring"), train=80), preprocess=spec)
    ids = sample(data)
    assert np.bincount(data.labels[ids]).tolist() == [30, 30]
    assert set(data.splits[ids]) == {"train"}
    few, _ = load_dataset(arrows, preprocess=spec)
    assert len(sample(few)) == len(few.indices("train"))
