"""Draws the pictures of docs/why-transfer-works.md, and prints the numbers that stand in it.

    pip install "headstart[demo]"
    python docs/figures/transfer.py          # all; 5 to 10 minutes on 2 cores
    python docs/figures/transfer.py depth    # one of filters, neighbours, depth, moved

Run by hand: nothing else calls it. Every choice is fixed by a seed. The solar cells come from the package
elpv-dataset (CC BY-NC-SA 4.0, Zentrum für Angewandte Energieforschung Bayern; not for commercial use).
"""

from __future__ import annotations

import io
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor, nn

import headstart
from headstart import console, demo
from headstart.data.dataset import Dataset, load_dataset
from headstart.data.images import read_rgb
from headstart.data.pictures import Pictures
from headstart.evaluation.drawing import DPI, FAINT, GRID, INK, REPORTED, TRAIN
from headstart.fonts import matplotlib_families
from headstart.metrics import wilson_interval
from headstart.model import zoo
from headstart.model.bundle import load_bundle
from headstart.model.classifier import Classifier
from headstart.model.features import FrozenPart
from headstart.model.inputs import Loader
from headstart.model.precision import Format
from headstart.training.probe import fit_probe

HERE = Path(__file__).parent
MODEL = "efficientnet-lite0"
DEFECTIVE = "#d9622b"  # beside the blue of headstart's plots
FP32 = Format("cpu", "fp32")
FAMILIES = matplotlib_families(["0123 abc…"])
CREDIT = "Cells: ELPV, CC BY-NC-SA 4.0"
LARGEST = 200_000  # bytes of a picture


def cells(img_size: int, per_class: int | None = None) -> tuple[Dataset, Pictures]:
    """The demo's pictures, its train and test part."""
    preprocess = zoo.preprocess(MODEL, img_size, fit="pad")
    return load_dataset(demo.cells(per_class=per_class), preprocess=preprocess, selection=0)


def batches(dataset: Dataset, pictures: Pictures, ids: np.ndarray, size: int = 32) -> Iterator[Tensor]:
    """The network's inputs [B, 3, S, S]."""
    preprocess = pictures.preprocess
    for start in range(0, len(ids), size):
        views = [preprocess.evaluation_crop(pictures[int(i)]) for i in ids[start : start + size]]
        yield FP32.inputs(preprocess.normalize(np.stack(views)))


# ---------------------------------------------------------------------------------------- what it looks for


def filters() -> None:
    """The first layer's filters, and what some of them answer to one broken cell."""
    model = zoo.create(MODEL)
    layer = model.backbone.get_submodule("conv_stem")
    weight = next(layer.parameters()).detach()  # [32, 3, 3, 3]
    cell = next(Path(path) for path, _, _ in demo.cells() if Path(path).name == SHOWN)
    preprocess = zoo.preprocess(MODEL, 300, fit="pad")
    view = preprocess.evaluation_crop(preprocess.resized(read_rgb(cell)))
    with torch.inference_mode():
        answers = layer(FP32.inputs(preprocess.normalize(view[None])))[0].clone()  # [32, 150, 150]

    # From grey to colourful: what looks for edges comes before what looks for colours.
    colourful = (weight - weight.mean(1, keepdim=True)).flatten(1).norm(dim=1) / weight.flatten(1).norm(dim=1)
    strong = torch.argsort(answers[:, 5:-5, 5:-5].flatten(1).std(1), descending=True)
    told = unlike(strong.tolist(), answers, 5)

    width, height, tile, gap, left, top = 7.0, 3.1, 0.325, 0.055, 0.12, 0.5  # inches
    figure = new_figure(width, height)

    def place(x: float, y: float, side: float) -> Axes:
        return figure.add_axes((x / width, 1 - (y + side) / height, side / width, side / height))

    heading(figure, left / width, "The 32 filters of the first layer", y=1 - 0.33 / height)
    for number, index in enumerate(torch.argsort(colourful).tolist()):
        x, y = left + (tile + gap) * (number % 8), top + (tile + gap) * (number // 8)
        show(place(x, y, tile), enlarged(weight[index]), edge=DEFECTIVE if index in told else None)
    left, side = 3.45, 1.05
    heading(
        figure, left / width, "A broken cell, and what the five marked ones see in it", y=1 - 0.33 / height
    )
    show(place(left, top, side), np.asarray(read_rgb(cell)))
    for number, index in enumerate(told):
        x, y = left + (side + 0.1) * ((number + 1) % 3), top + (side + 0.1) * ((number + 1) // 3)
        axes = place(x, y, side)
        answer = answers[index].numpy()
        low, high = np.quantile(answer[5:-5, 5:-5], (0.003, 0.997))
        axes.imshow(answer, cmap="gray", vmin=low, vmax=high, interpolation="antialiased")
        bare(axes)
        show(place(x, y, 0.25), enlarged(weight[index]), edge=DEFECTIVE)
    credit(figure, 1 - 0.12 / width, 0.1 / height)
    save(figure, "filters.png")


SHOWN = "cell0404.png"


def unlike(order: list[int], answers: Tensor, count: int) -> list[int]:
    """The first answers in ``order`` that do not resemble one chosen before."""
    flat = nn.functional.normalize(answers.flatten(1) - answers.flatten(1).mean(1, keepdim=True), dim=1)
    chosen: list[int] = []
    for index in order:
        if all(abs(float(flat[index] @ flat[other])) < 0.8 for other in chosen):
            chosen.append(index)
        if len(chosen) == count:
            break
    return chosen


def enlarged(filter_: Tensor) -> np.ndarray:
    """A filter [3, 3, 3] as a picture; grey is zero."""
    values = filter_ / filter_.abs().max()
    pixels = ((values.permute(1, 2, 0).numpy() + 1) * 127.5).round().astype(np.uint8)
    return np.asarray(Image.fromarray(pixels).resize((48, 48), Image.Resampling.NEAREST))


# --------------------------------------------------------------------------------------- what it finds alike


def neighbours() -> None:
    """Test cells, and the training cells whose frozen features are nearest."""
    dataset, pictures = cells(224)
    train, test = dataset.indices("train"), dataset.indices("test")
    features = torch.cat([frozen(dataset, pictures, ids) for ids in (train, test)])
    features = nn.functional.normalize(features - features[: len(train)].mean(0), dim=1)
    similarity = features[len(train) :] @ features[: len(train)].T
    nearest = similarity.topk(5, dim=1).indices.numpy()  # [test, 5]
    truth, answers = dataset.labels[test], dataset.labels[train][nearest]
    votes = (answers == truth[:, None]).sum(1)
    majority = int((votes >= 3).sum())
    low, high = wilson_interval(majority, len(test))
    print(f"neighbours: majority of 5 right for {majority} of {len(test)} test cells: "
          f"{majority / len(test):.3f} ({low:.3f} to {high:.3f})")  # fmt: skip
    for label, name in enumerate(dataset.classes):
        part = answers[truth == label] == label
        print(f"  {name}: {part.mean():.3f} of {part.size} neighbours; "
              f"share in train {(dataset.labels[train] == label).mean():.3f}")  # fmt: skip

    # Three broken cells and two sound ones, by chance; the last broken one is where it fails.
    random = np.random.default_rng(0)
    failed = np.flatnonzero((truth == 0) & (votes <= 1))
    broken = np.flatnonzero((truth == 0) & (votes >= 4))
    sound = np.flatnonzero((truth == 1) & (votes >= 4))
    rows = [*random.choice(broken, 2, replace=False), *random.choice(sound, 2, replace=False)]
    rows.append(random.choice(failed))

    side, gap, left, top = 0.84, 0.08, 0.12, 0.42  # inches
    width = left + 6 * side + 5 * gap + 0.35 + 0.12
    height = top + 5 * (side + gap) + 0.36
    figure = new_figure(width, height)
    heading(figure, left / width, "test cell", y=1 - 0.27 / height)
    words = f"the five nearest of {len(train):,} training cells"
    heading(figure, (left + side + gap + 0.35) / width, words, y=1 - 0.27 / height)
    for r, query in enumerate(rows):
        shown = [test[query], *(train[i] for i in nearest[query])]
        for c, index in enumerate(shown):
            x = left + c * (side + gap) + (0.35 if c else 0)
            y = height - top - (r + 1) * side - r * gap
            axes = figure.add_axes((x / width, y / height, side / width, side / height))
            picture = pictures.original(int(index)).convert("L").resize((126, 126), Image.Resampling.LANCZOS)
            colour = REPORTED if dataset.labels[index] else DEFECTIVE
            show(axes, np.stack([np.asarray(picture)] * 3, -1), edge=colour, width=2.2)
    foot = 0.12 / height
    for x, colour, name in ((left, DEFECTIVE, "defective"), (left + 0.95, REPORTED, "functional")):
        axes = figure.add_axes((x / width, foot, 0.11 / width, 0.11 / height))
        show(axes, np.full((2, 2, 3), 255, np.uint8), edge=colour, width=2.2)
        figure.text((x + 0.18) / width, foot, name, color=INK, fontsize=8, family=FAMILIES, va="bottom")
    credit(figure, 1 - 0.12 / width, foot)
    save(figure, "neighbours.png", greys=72)


def frozen(dataset: Dataset, pictures: Pictures, ids: np.ndarray) -> Tensor:
    """Features [n, D] of the frozen network."""
    model = FP32.network(zoo.create(MODEL))
    assert isinstance(model, Classifier)

    def view(index: int) -> np.ndarray:
        return pictures.preprocess.evaluation_crop(pictures[index])

    part = FrozenPart(model, "head", loader=Loader(pictures.preprocess, FP32, 2))
    return part.activations(view, ids).all()


# --------------------------------------------------------------------------------------- how deep it helps


def depth() -> None:
    """A linear probe after each stage, on pretrained and on random weights."""
    dataset, pictures = cells(224, per_class=600)
    train, test = dataset.indices("train"), dataset.indices("test")
    lines: dict[str, list[tuple[float, tuple[float, float]]]] = {}
    names: list[str] = []
    for pretrained in (True, False):
        torch.manual_seed(0)
        model = FP32.network(zoo.create(MODEL, pretrained=pretrained))
        assert isinstance(model, Classifier)
        if not pretrained:
            measure_batch_norm(model, batches(dataset, pictures, train[:: max(1, len(train) // 256)]))
        inside = [pooled_by_stage(model, batches(dataset, pictures, ids)) for ids in (train, test)]
        names = list(inside[0])
        scores = []
        for name in names:
            probe = fit_probe(inside[0][name], dataset.labels[train], 2, dataset.groups[train])
            logits = inside[1][name] @ probe.weight.T + probe.bias
            right = int((logits.argmax(1).numpy() == dataset.labels[test]).sum())
            scores.append((right / len(test), wilson_interval(right, len(test))))
            value, (low, high) = scores[-1]
            width = inside[0][name].shape[1]
            print(f"depth: pretrained={pretrained} {name} ({width} channels): "
                  f"{right} of {len(test)}, {value:.3f} ({low:.3f} to {high:.3f})", flush=True)  # fmt: skip
        lines["pretrained" if pretrained else "random"] = scores

    figure = new_figure(7.0, 3.3)
    words = (
        f"Accuracy of a linear probe after each stage ({len(train)} cells to train, n = {len(test)} to test)"
    )
    heading(figure, 0.075, words, y=0.92)
    axes = figure.add_axes((0.075, 0.15, 0.73, 0.7))
    style(axes)
    places = np.arange(len(names))
    for name, colour, shift in (("random", TRAIN, 0.05), ("pretrained", REPORTED, -0.05)):
        values = [value for value, _ in lines[name]]
        bars = [[v - low for v, (low, _) in lines[name]], [high - v for v, (_, high) in lines[name]]]
        axes.errorbar(places + shift, values, yerr=bars, color=colour, marker="o", markersize=4.5,
                      linewidth=1.9, elinewidth=1.0, capsize=2.5)  # fmt: skip
        label = {"pretrained": "pretrained\non ImageNet", "random": "random\nweights"}[name]
        axes.text(
            places[-1] + 0.25, values[-1], label, color=colour, va="center", fontsize=9, family=FAMILIES
        )
    axes.axhline(0.5, color=FAINT, linewidth=0.9, linestyle=":")
    axes.text(places[-1] + 0.25, 0.5, "guessing", color=FAINT, va="center", fontsize=9, family=FAMILIES)
    axes.set_xticks(places, names, family=FAMILIES)
    axes.set_xlim(-0.35, len(names) - 0.8)
    axes.set_ylim(0.45, 0.95)
    save(figure, "depth.png")


def pooled_by_stage(model: Classifier, inputs: Iterator[Tensor]) -> dict[str, Tensor]:
    """What leaves each stage, averaged over the picture: name -> float32 [n, channels]."""
    parts: dict[str, list[Tensor]] = {}
    with torch.inference_mode():
        for x in inputs:
            for stage in model.stages or ():
                x = stage.forward(x)
                parts.setdefault(stage.name, []).append(x.mean((2, 3)) if x.ndim == 4 else x)
    return {name: torch.cat(tensors).clone() for name, tensors in parts.items()}


def measure_batch_norm(model: nn.Module, inputs: Iterator[Tensor]) -> None:
    """Gives an untrained network the BatchNorm statistics of these pictures: signals keep their size."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain average over all batches
    model.train()
    with torch.no_grad():
        for x in inputs:
            model(x)
    model.eval()


# ----------------------------------------------------------------------------------------------- what moves


def moved() -> None:
    """How far each stage's weights went in the lesson's training of the whole network."""
    data = demo.cells(per_class=800)
    with tempfile.TemporaryDirectory() as folder:
        run = headstart.train(
            data, model=MODEL, recipe="d2l", img_size=160, precision="fp32", output=Path(folder), name="moved"
        )
        tuned, _ = load_bundle(run.model)
        accuracy, (low, high), n = run.accuracy, run.interval, run.metrics["accuracy"]["n"]
    source = zoo.create(MODEL)
    names, values = [], []
    for before, after in zip(source.stages or (), tuned.stages or (), strict=True):
        pairs = [
            (a.detach(), b.detach())
            for a, b in zip(before.all_parameters(), after.all_parameters(), strict=True)
            if a.ndim > 1
        ]
        change = sum(float((b - a).square().sum()) for a, b in pairs) ** 0.5
        size = sum(float(a.square().sum()) for a, _ in pairs) ** 0.5
        names.append(before.name)
        values.append(100 * change / size)
        print(f"moved: {names[-1]} {values[-1]:.3f} %")
    print(f"moved: accuracy {accuracy:.3f} ({low:.3f} to {high:.3f}), n = {n}")
    draw_moved(names, values)


def draw_moved(names: list[str], values: list[float]) -> None:
    figure = new_figure(7.0, 2.6)
    heading(figure, 0.075, "How far the weights of each stage moved, in % of their size", y=0.9)
    axes = figure.add_axes((0.075, 0.14, 0.9, 0.66))
    style(axes)
    axes.bar(names, values, color=REPORTED, width=0.62)
    for place, value in enumerate(values):
        axes.text(
            place, value, f"{value:.2f}", ha="center", va="bottom", color=INK, fontsize=9, family=FAMILIES
        )
    axes.set_ylim(0, 1.15 * max(values))
    save(figure, "moved.png")


# --------------------------------------------------------------------------------------------------- drawing


def new_figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def heading(figure: Figure, x: float, words: str, y: float = 0.9) -> None:
    figure.text(x, y, words, color=INK, fontsize=10, family=FAMILIES)


def credit(figure: Figure, x: float, y: float) -> None:
    figure.text(x, y, CREDIT, color=FAINT, fontsize=6.5, family=FAMILIES, ha="right", va="bottom")


def style(axes: Axes) -> None:
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color("#c3cad1")
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, colors=FAINT, labelsize=9, labelfontfamily=FAMILIES[0])


def bare(axes: Axes, edge: str | None = None, width: float = 1.4) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(edge is not None)
        spine.set_color(edge or INK)
        spine.set_linewidth(width)


def show(axes: Axes, pixels: np.ndarray, *, edge: str | None = None, width: float = 1.4) -> None:
    axes.imshow(pixels, interpolation="antialiased")
    bare(axes, edge, width)


def save(figure: Figure, name: str, greys: int = 0) -> None:
    """As a PNG; with ``greys``, of so many levels and the two classes' colours: a third of the bytes."""
    raw = io.BytesIO()
    figure.savefig(raw, format="png", dpi=DPI)
    with Image.open(raw) as file:
        picture = file.convert("RGB")
    if greys:
        levels: list[tuple[int, ...]] = [(round(255 * i / (greys - 1)),) * 3 for i in range(greys)]
        for colour in (DEFECTIVE, REPORTED):
            r, g, b = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
            levels += [tuple(round(255 + (c - 255) * i / 8) for c in (r, g, b)) for i in range(1, 9)]
        picture = with_palette(picture, np.array(levels))
    picture.save(HERE / name, optimize=True)
    size = (HERE / name).stat().st_size
    print(f"{name}: {size / 1000:.0f} kB")
    if size > LARGEST:
        raise SystemExit(f"{name} is larger than {LARGEST / 1000:.0f} kB")


def with_palette(picture: Image.Image, levels: np.ndarray) -> Image.Image:
    """Each pixel as the nearest of some colours [n, 3]. (Pillow's own mapping leaves white slightly grey.)"""
    pixels = np.asarray(picture, np.int64)
    colours, inverse = np.unique(pixels.reshape(-1, 3), axis=0, return_inverse=True)
    nearest = np.square(colours[:, None] - levels).sum(-1).argmin(1).astype(np.uint8)
    result = Image.fromarray(nearest[inverse].reshape(pixels.shape[:2]), "P")
    result.putpalette([int(value) for value in levels.flatten()])
    return result


FIGURES = {"filters": filters, "neighbours": neighbours, "depth": depth, "moved": moved}

if __name__ == "__main__":
    console.say(demo.LICENCE)
    for wanted in sys.argv[1:] or FIGURES:
        started = time.perf_counter()
        FIGURES[wanted]()
        print(f"{wanted}: {time.perf_counter() - started:.0f} s", flush=True)
