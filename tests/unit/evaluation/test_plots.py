"""The pictures of a run."""

from __future__ import annotations

import sys
import types
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from PIL import Image

from headstart.evaluation import plots
from headstart.evaluation.evaluate import summary
from headstart.evaluation.predictions import Predictions


def result_of(classes, n=60, wrong=6) -> dict:
    truth = np.arange(n) % len(classes)
    prediction = truth.copy()
    prediction[:wrong] = (prediction[:wrong] + 1) % len(classes)
    probabilities = np.eye(len(classes))[prediction]
    table = Predictions(tuple(classes), tuple(map(str, range(n))), ("val",) * n, truth, probabilities)
    return summary(table, "val")


def rows(n=4, stage="fine-tune") -> list[dict]:
    return [
        {"epoch": i + 1, "stage": stage, "train_loss": 1 / (i + 1), "train_accuracy": 1 - 0.4 / (i + 1),
         "val_loss": 0.9 / (i + 1), "val_accuracy": 1 - 0.5 / (i + 1)}
        for i in range(n)
    ]  # fmt: skip


def share_of(path, colour) -> float:
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    return float((np.abs(pixels - np.array(colour)).max(axis=2) < 12).mean())


@pytest.mark.parametrize(
    "classes",
    [
        ("ants", "bees"),
        ("健康", "锈病", "$5 and $10", "x" * 200),
        [f"c{i}" for i in range(30)],
        [str(i) for i in range(70)],
    ],
)
def test_confusion_is_drawn_for_any_number_and_script_of_classes(tmp_path, classes) -> None:
    path = tmp_path / "new" / "confusion.png"
    plots.draw_confusion(result_of(classes, n=210), path)
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        assert 300 < picture.width < 2500 and 200 < picture.height < 2500
    assert [p.name for p in path.parent.iterdir()] == ["confusion.png"]


def test_right_and_wrong_answers_differ_in_colour(tmp_path) -> None:
    plots.draw_confusion(result_of(("a", "b"), wrong=0), tmp_path / "right.png")
    plots.draw_confusion(result_of(("a", "b"), wrong=60), tmp_path / "wrong.png")
    right = np.asarray(Image.open(tmp_path / "right.png").convert("RGB")).astype(int)
    wrong = np.asarray(Image.open(tmp_path / "wrong.png").convert("RGB")).astype(int)
    assert ((right[..., 2] - right[..., 0]) > 80).mean() > 0.05  # blue
    assert ((wrong[..., 0] - wrong[..., 2]) > 80).mean() > 0.05  # orange
    assert ((right[..., 0] - right[..., 2]) > 80).mean() < 0.001


def test_confusion_of_an_absent_class_and_of_no_pictures(tmp_path) -> None:
    absent = result_of(("a", "b"))
    absent["classes"] = ["a", "b", "c"]
    absent["confusion_matrix"] = [[30, 0, 0], [0, 30, 0], [0, 0, 0]]
    plots.draw_confusion(absent, tmp_path / "absent.png")
    assert share_of(tmp_path / "absent.png", (240, 240, 240)) > 0.02
    nothing = summary(Predictions(("a", "b"), (), (), np.zeros(0), np.zeros((0, 2))), "val")
    plots.draw_confusion(nothing, tmp_path / "nothing.png")
    assert (tmp_path / "nothing.png").stat().st_size > 1000


def test_curves_show_the_reported_split(tmp_path) -> None:
    plots.draw_curves(rows(), tmp_path / "with.png", reported="test")
    without = [{**row, "val_loss": "", "val_accuracy": None} for row in rows()]
    plots.draw_curves(without, tmp_path / "without.png", reported="test")
    blue = tuple(int(plots.REPORTED[i : i + 2], 16) for i in (1, 3, 5))
    assert share_of(tmp_path / "with.png", blue) > 0.002
    assert share_of(tmp_path / "without.png", blue) == 0


def test_curves_take_rows_as_read_from_csv(tmp_path) -> None:
    as_text = [{key: str(value) for key, value in row.items()} for row in rows()]
    plots.draw_curves(rows(), tmp_path / "numbers.png", reported="val")
    plots.draw_curves(as_text, tmp_path / "text.png", reported="val")
    assert (tmp_path / "numbers.png").read_bytes() == (tmp_path / "text.png").read_bytes()


@pytest.mark.parametrize("n", [0, 1, 100])
def test_curves_of_any_length(tmp_path, n) -> None:
    plots.draw_curves(rows(n), tmp_path / "curves.png", reported="val")
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.size == (1050, 525)


def test_stages_whose_epochs_start_again_follow_each_other(tmp_path) -> None:
    several = rows(3, "probe") + rows(3, "微调")
    assert plots._steps(several) == [1, 2, 3, 4, 5, 6]
    assert plots._steps([{**row, "epoch": i} for i, row in enumerate(several)]) == [0, 1, 2, 3, 4, 5]
    plots.draw_curves(several, tmp_path / "several.png", reported="val")
    plots.draw_curves([{**row, "stage": "one"} for row in several], tmp_path / "one.png", reported="val")
    assert (tmp_path / "several.png").read_bytes() != (tmp_path / "one.png").read_bytes()


@pytest.mark.parametrize(("epochs", "names"), [(8, ["probe", "finetune"]), (60, ["finetune"])])
def test_a_stage_without_room_for_its_name_has_none(epochs: int, names: list[str]) -> None:
    from matplotlib.figure import Figure

    axes = Figure().add_subplot()
    axes.set_xlim(0, epochs)
    plots._mark_stages(axes, range(epochs + 1), ["probe"] + ["finetune"] * epochs, ["DejaVu Sans"])
    assert [text.get_text() for text in axes.texts] == names


def test_threads_can_draw_and_pyplot_is_never_loaded(tmp_path) -> None:
    sys.modules.pop("matplotlib.pyplot", None)
    paths = [tmp_path / f"{i}.png" for i in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda path: plots.draw_curves(rows(), path, reported="val"), paths))
    assert len({path.read_bytes() for path in paths}) == 1
    assert "matplotlib.pyplot" not in sys.modules


def test_live_display_outside_of_a_notebook_does_nothing(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "IPython", None)
    assert plots.show_live(tmp_path / "absent.png") is False


def test_live_display_updates_what_it_showed(tmp_path, monkeypatch) -> None:
    shell = types.SimpleNamespace(kernel=object(), execution_count=3)
    calls = []
    notebook = types.ModuleType("IPython")
    notebook.get_ipython = lambda: shell
    display = types.ModuleType("IPython.display")
    display.Image = lambda data, format, width: data
    display.display = lambda picture, display_id, update: calls.append((picture, display_id, update))
    monkeypatch.setitem(sys.modules, "IPython", notebook)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    path = tmp_path / "curves.png"
    for content in (b"first", b"second"):
        path.write_bytes(content)
        assert plots.show_live(path) is True
    shell.execution_count = 4  # the cell is run again: a new output
    plots.show_live(path)
    assert [(c[0], c[2]) for c in calls] == [(b"first", False), (b"second", True), (b"second", False)]
    assert calls[0][1] == calls[1][1] != calls[2][1]
