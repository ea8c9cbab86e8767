"""The lesson's whole path once: fetch the archive, fine-tune ResNet-18, train from scratch, compare.

A server on the loopback address stands for the real one; the weights lie in torch's cache, as a download
would leave them. (They are random here: the figures say nothing.)
"""

from __future__ import annotations

import functools
import hashlib
import http.server
import io
import json
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision

import headstart
from headstart.data import named_sets
from headstart.model import weights
from shapes import draw


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, str]]:
    """A folder, and the address of a server that offers it."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "server"
    folder.mkdir()
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def hotdog_archive() -> bytes:
    """Laid out like the lesson's: hotdog/train/hotdog, hotdog/train/not-hotdog, hotdog/test/..."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for split, first, count in (("train", 0, 10), ("test", 10, 4)):
            for name, kind in (("hotdog", "rings"), ("not-hotdog", "stripes")):
                for number in range(first, first + count):
                    picture = io.BytesIO()
                    draw(kind, number, 80 + number).save(picture, format="PNG")
                    archive.writestr(f"hotdog/{split}/{name}/{number}.png", picture.getvalue())
    return buffer.getvalue()


@pytest.fixture
def cached_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """ResNet-18 in torch's cache, under the name that torchvision gives it.

    The name announces the first digits of its SHA-256, which random weights cannot have.
    """
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    path = tmp_path / "torch" / "hub" / "checkpoints" / "resnet18-f37072fd.pth"
    path.parent.mkdir(parents=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        torch.save(torchvision.models.resnet18().state_dict(), path)
    assert not weights.intact(path)
    intact = weights.intact
    monkeypatch.setattr(weights, "intact", lambda file: file == path or intact(file))
    return path


def test_the_whole_path(
    served: tuple[Path, str],
    cached_weights: Path,
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: Callable[..., Any],
) -> None:
    folder, address = served
    archive = hotdog_archive()
    (folder / "hotdog.zip").write_bytes(archive)
    known = named_sets.NamedSet(
        url="http://d2l-data.s3-accelerate.amazonaws.com/hotdog.zip",
        pictures=named_sets.NAMED_SETS["hotdog"].pictures,
        licence="none stated",
        sha1=hashlib.sha1(archive).hexdigest(),
    )
    monkeypatch.setitem(named_sets.NAMED_SETS, "hotdog", known)

    done = command("fetch", "hotdog", "--mirror", address)
    assert done.code == 0, done.err
    data = Path(done.out.strip())
    assert data.is_relative_to(home)
    assert sorted(p.name for p in data.iterdir() if not p.name.startswith(".")) == ["test", "train"]
    assert "already fetched" in command("fetch", "hotdog", "--mirror", address).err

    done = command("show", data, "-o", tmp_path / "show", "-m", "torchvision/resnet18")
    assert done.code == 0, done.err
    assert (tmp_path / "show" / "lesson.png").stat().st_size > 1000

    done = command("models", "torchvision/resnet18")
    assert "Linear(in_features=512, out_features=1000, bias=True)" in done.out
    assert str(cached_weights) in done.out

    common = ["-m", "torchvision/resnet18", "--recipe", "d2l", "--img-size", 64, "--epochs", 1]
    common += ["--threads", 1, "--output", tmp_path / "runs"]
    tuned = command("train", data, *common, "--name", "fine-tuned")
    assert tuned.code == 0, tuned.err
    assert "finetune: the whole network, 1 epochs x 1 steps of 20 pictures, new views every epoch (d2l)" in (
        tuned.err
    )
    assert "learning rate 5e-05, head 0.0005, constant, weight decay 0.001, loss summed over" in tuned.err
    assert "test, not selected on: loss" in tuned.err
    scratch = command("train", data, *common, "--name", "scratch", "--strategy", "scratch")
    assert scratch.code == 0, scratch.err
    assert "the whole network from random weights" in scratch.err

    runs = [tmp_path / "runs" / name for name in ("fine-tuned", "scratch")]
    done = command("evaluate", *runs, "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert set(found["runs"]) == {str(run) for run in runs}
    assert found["comparison"]["n"] == 8
    for run in runs:
        result = found["runs"][str(run)]
        assert (result["n"], result["split"], result["selected_on"]) == (8, "test", False)
        assert list(result["per_class"]) == ["hotdog", "not-hotdog"]

    done = command("predict", runs[0], data / "test", "-o", tmp_path / "out.csv")
    assert done.code == 0, done.err
    assert (tmp_path / "out.csv").read_text(encoding="utf-8").count("\n") == 9


def test_the_exercises(
    served: tuple[Path, str], cached_weights: Path, tmp_path: Path, command: Callable[..., Any]
) -> None:
    """Freeze everything but the output layer; start it from the row of a matching source class."""
    folder, address = served
    (folder / "hotdog.zip").write_bytes(hotdog_archive())
    done = command("fetch", f"{address}/hotdog.zip", "--folder", tmp_path / "sets")
    assert done.code == 0, done.err
    data = Path(done.out.strip())
    words = ["--model", "torchvision/resnet18", "--recipe", "d2l", "--img-size", 64, "--epochs", 1]
    words += ["--threads", 1, "--output", tmp_path / "runs"]
    frozen = command(
        "train", data, *words, "--freeze", "head", "--head-from", "hotdog=934", "--name", "frozen"
    )
    assert frozen.code == 0, frozen.err
    assert "the head of the frozen network" in frozen.err
    from safetensors.torch import load_file

    source = torch.load(cached_weights, weights_only=True)
    final = load_file(tmp_path / "runs" / "frozen" / "model" / "model.safetensors")
    for name, tensor in source.items():
        if not name.startswith("fc."):
            assert torch.equal(final[f"backbone.{name}"], tensor), name
    row, start = final["head.weight"][0], source["fc.weight"][934]
    assert torch.nn.functional.cosine_similarity(row, start, dim=0) > 0.99
    assert not torch.equal(row, start)
    assert headstart.load(tmp_path / "runs" / "frozen").classes == ("hotdog", "not-hotdog")
