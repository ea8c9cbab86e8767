"""Recipe d2l step by step against the book's loop, written out here.

Dive into Deep Learning, chapter "Fine-Tuning": the loss is summed over the batch, also over the smaller last
one; plain SGD; the output layer learns ten times as fast. Only the order of the pictures and their random
views come from headstart, through its public functions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import headstart
from headstart.data.augment import AUGMENTATIONS, augment
from headstart.training import train as train_module
from headstart.training.batches import order
from headstart.training.train import Trainer
from shapes import draw_folder

SIZE, BATCH, EPOCHS = 64, 8, 2
MEAN = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
CLASSES = ("dots", "rings")
STEPS = [8, 8, 4] * EPOCHS


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 pictures to train on: with batches of 8 the last one holds 4."""
    root = tmp_path_factory.mktemp("golden") / "shapes"
    return draw_folder(root, {"train": 10, "test": 3}, kinds=CLASSES, size=80)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ResNet-18 with random weights, as a file."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        network = torchvision.models.resnet18()
    path = tmp_path_factory.mktemp("golden-weights") / "resnet18.safetensors"
    save_file(network.state_dict(), path)
    return path


class Book:
    """The chapter's training loop on the pictures of a folder."""

    def __init__(self, folder: Path, seed: int) -> None:
        files = sorted((folder / "train").glob("*/*.png"))
        self.pictures = [np.asarray(Image.open(file).convert("RGB")) for file in files]
        self.hashes = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
        self.labels = torch.tensor([CLASSES.index(file.parent.name) for file in files])
        self.seed = seed

    def batches(self, epoch: int) -> list[tuple[Tensor, Tensor]]:
        shuffled = order(len(self.pictures), seed=self.seed, epoch=epoch)
        found = []
        for start in range(0, len(shuffled), BATCH):
            chosen = shuffled[start : start + BATCH]
            views = [
                augment(
                    self.pictures[i],
                    SIZE,
                    AUGMENTATIONS["d2l"],
                    seed=self.seed,
                    epoch=epoch,
                    sample_id=self.hashes[i],
                    interpolation="bilinear",
                )
                for i in chosen
            ]
            x = torch.from_numpy(np.stack(views)).permute(0, 3, 1, 2).float() / 255
            found.append(((x - MEAN) / STD, self.labels[torch.from_numpy(chosen)]))
        return found

    def train(self, net: nn.Module, trainer: torch.optim.Optimizer) -> list[float]:
        """Mean loss of every step."""
        loss = nn.CrossEntropyLoss(reduction="none")
        means = []
        net.train()
        for epoch in range(1, EPOCHS + 1):
            for x, y in self.batches(epoch):
                trainer.zero_grad()
                l = loss(net(x), y)  # noqa: E741
                l.sum().backward()
                trainer.step()
                means.append(float(l.detach().mean()))
        return means


class Recorded(Trainer):
    """The trainer of headstart; keeps what its network answers in training, and the labels."""

    steps: list[tuple[Tensor, Tensor]]

    def forward_of(self, network: nn.Module) -> Callable[[Tensor], Tensor]:
        forward = super().forward_of(network)

        def recorded(inputs: Tensor) -> Tensor:
            logits = forward(inputs)
            if torch.is_grad_enabled():
                answers.append(logits.detach().clone())
            return logits

        answers: list[Tensor] = self.answers
        return recorded

    answers: list[Tensor]


def trained(
    monkeypatch: pytest.MonkeyPatch, folder: Path, output: Path, **fields: Any
) -> tuple[headstart.Run, list[Tensor]]:
    """A run, and the logits of its every training step."""
    answers: list[Tensor] = []
    monkeypatch.setattr(Recorded, "answers", answers, raising=False)
    monkeypatch.setattr(train_module, "Trainer", Recorded)
    run = headstart.train(
        folder,
        model="torchvision/resnet18",
        recipe="d2l",
        img_size=SIZE,
        batch_size=BATCH,
        epochs=EPOCHS,
        threads=1,
        workers=2,
        seed=3,
        output=output,
        **fields,
    )
    return run, answers


def compare(
    run: headstart.Run, answers: list[Tensor], book: Book, expected: list[float], net: nn.Module
) -> None:
    labels = [y for epoch in range(1, EPOCHS + 1) for _, y in book.batches(epoch)]
    assert [len(y) for y in labels] == [len(logits) for logits in answers] == STEPS
    losses = [
        nn.functional.cross_entropy(logits, y).item() for logits, y in zip(answers, labels, strict=True)
    ]
    assert losses == pytest.approx(expected, rel=1e-5)
    assert len(set(np.round(losses, 4))) > 3  # something happens

    rows = run.results
    for epoch, row in enumerate(rows):
        part = slice(3 * epoch, 3 * epoch + 3)
        mean = sum(n * loss for n, loss in zip(STEPS[part], expected[part], strict=True)) / 20
        assert float(row["train_loss"]) == pytest.approx(mean, rel=1e-5)
    assert [row["epoch"] for row in rows] == ["1", "2"]

    final = load_file(run.model / "model.safetensors")
    for name, tensor in net.state_dict().items():
        ours = final[f"head.{name.removeprefix('fc.')}" if name.startswith("fc.") else f"backbone.{name}"]
        torch.testing.assert_close(ours, tensor, rtol=1e-4, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


def test_fine_tuning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folder: Path, source: Path) -> None:
    run, answers = trained(monkeypatch, folder, tmp_path, weights=source)

    net = torchvision.models.resnet18()
    net.load_state_dict(load_file(source))
    net.fc = nn.Linear(512, 2)
    nn.init.zeros_(net.fc.bias)
    nn.init.xavier_uniform_(net.fc.weight, generator=torch.Generator().manual_seed(3))
    lr = 5e-5
    params_1x = [p for name, p in net.named_parameters() if name not in ("fc.weight", "fc.bias")]
    trainer = torch.optim.SGD(
        [{"params": params_1x}, {"params": net.fc.parameters(), "lr": lr * 10}], lr=lr, weight_decay=0.001
    )
    book = Book(folder, seed=3)
    compare(run, answers, book, book.train(net, trainer), net)
    assert [(row["lr_backbone"], row["lr_head"]) for row in run.results] == [("5e-05", "0.0005")] * 2


def test_from_scratch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folder: Path) -> None:
    run, answers = trained(monkeypatch, folder, tmp_path, strategy="scratch")

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        net = torchvision.models.resnet18()
        net.fc = nn.Linear(512, 2)
    trainer = torch.optim.SGD(net.parameters(), lr=5e-4, weight_decay=0.001)
    book = Book(folder, seed=3)
    compare(run, answers, book, book.train(net, trainer), net)
    assert [(row["lr_backbone"], row["lr_head"]) for row in run.results] == [("0.0005", "0.0005")] * 2
    assert run.metrics["epoch"] == EPOCHS  # the last one


def test_the_views_are_evaluated_as_in_the_chapter(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folder: Path, source: Path
) -> None:
    """Resize to 256 x 256, the middle 224 x 224; here in proportion to the smaller input."""
    import json

    run, _ = trained(monkeypatch, folder, tmp_path, weights=source)
    view = json.loads((run.model / "model.json").read_text(encoding="utf-8"))["preprocess"]
    assert (view["fit"], view["resize"], view["img_size"]) == ("squash", round(256 * SIZE / 224), SIZE)
    assert view["mean"] == pytest.approx(MEAN.flatten().tolist())
    assert view["std"] == pytest.approx(STD.flatten().tolist())

    model = headstart.load(run.path)
    file = folder / "test" / "dots" / "000.png"
    picture = Image.open(file).convert("RGB").resize((73, 73), Image.Resampling.BILINEAR)
    box = round((73 - SIZE) / 2)
    x = torch.from_numpy(np.asarray(picture)[box : box + SIZE, box : box + SIZE].copy())
    x = (x.permute(2, 0, 1)[None].float() / 255 - MEAN) / STD
    net = torchvision.models.resnet18(num_classes=2).eval()
    tensors = load_file(run.model / "model.safetensors")
    net.load_state_dict({k.removeprefix("backbone.").replace("head.", "fc."): v for k, v in tensors.items()})
    with torch.inference_mode():
        expected = net(x).softmax(1)[0]
    (answer,) = model.predict(file)
    assert [answer.probabilities[name] for name in CLASSES] == pytest.approx(expected.tolist(), abs=1e-5)
