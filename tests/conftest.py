"""What holds for every test: no network, caches in a temporary folder, one thread for torch."""

from __future__ import annotations

import ipaddress
import itertools
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Before any library reads them.
CACHES = Path(tempfile.mkdtemp(prefix="headstart-tests-"))
os.environ["XDG_CACHE_HOME"] = str(CACHES)
os.environ["HF_HOME"] = str(CACHES / "hub")
os.environ["TORCH_HOME"] = str(CACHES / "torch")
os.environ["HEADSTART_HOME"] = str(CACHES / "headstart")
for _name in ("HF_HUB_CACHE", "HF_ENDPOINT", "HF_HUB_OFFLINE", "HEADSTART_MIRROR"):
    os.environ.pop(_name, None)

import pytest  # noqa: E402

from shapes import draw_folder  # noqa: E402

_numbers = itertools.count()


def pytest_unconfigure() -> None:
    shutil.rmtree(CACHES, ignore_errors=True)


# --- no network ----------------------------------------------------------------------------------------


class NetworkBlockedError(OSError):
    """A test tried to reach another machine."""


_attempts: list[str] = []


def refuse(host: object) -> None:
    """Raises if ``host`` is not this machine."""
    name = host.decode() if isinstance(host, bytes) else str(host)
    if host in (None, "", b"") or name == "localhost":
        return
    try:
        if ipaddress.ip_address(name.partition("%")[0]).is_loopback:
            return
    except ValueError:
        pass
    _attempts.append(name)
    raise NetworkBlockedError(f"tests must not reach the network: {name}")


@pytest.fixture(scope="session", autouse=True)
def loopback_only() -> Iterator[None]:
    """Connections and look-ups of names reach this machine only."""
    patch = pytest.MonkeyPatch()
    getaddrinfo = socket.getaddrinfo

    def looked_up(host: Any, *rest: Any, **named: Any) -> Any:
        refuse(host)
        return getaddrinfo(host, *rest, **named)

    def guarded(connect: Callable[..., Any]) -> Callable[..., Any]:
        def connected(self: socket.socket, address: Any) -> Any:
            if self.family in (socket.AF_INET, socket.AF_INET6):
                refuse(address[0])
            return connect(self, address)

        return connected

    patch.setattr(socket, "getaddrinfo", looked_up)
    patch.setattr(socket.socket, "connect", guarded(socket.socket.connect))
    patch.setattr(socket.socket, "connect_ex", guarded(socket.socket.connect_ex))
    yield
    patch.undo()


@pytest.fixture(autouse=True)
def no_attempt_to_reach_the_network() -> Iterator[None]:
    """Fails a test whose attempt was swallowed by the code under test."""
    _attempts.clear()
    yield
    assert not _attempts, f"tests must not reach the network: {_attempts}"


# --- surroundings --------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of headstart's own for each test; made when something is put there."""
    folder = CACHES / f"home-{next(_numbers)}"
    monkeypatch.setenv("HEADSTART_HOME", str(folder))
    return folder


@pytest.fixture(autouse=True)
def one_torch_thread() -> Iterator[None]:
    """Small networks are fastest so, and tests share the machine."""
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def surroundings(home: Path) -> dict[str, str]:
    """Environment variables for another process: offline, one thread, caches as here."""
    dead = "http://127.0.0.1:9"
    return {
        **os.environ,
        "HEADSTART_HOME": str(home),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "http_proxy": dead,
        "https_proxy": dead,
    }


# --- the command line ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """What a command did."""

    code: int
    out: str
    err: str


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Outcome]]:
    """Runs the command line in this process: ``command("train", folder, "--epochs", 1)``."""
    from headstart.cli import main

    before = signal.getsignal(signal.SIGTERM)

    def run(*words: object) -> Outcome:
        capsys.readouterr()
        code = main([str(word) for word in words])
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    yield run
    signal.signal(signal.SIGTERM, before)


# --- pictures and networks -----------------------------------------------------------------------------


@pytest.fixture(scope="session")
def shapes_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``train/`` (8 pictures a class) and ``test/`` (4), three classes. Not to be changed."""
    return draw_folder(tmp_path_factory.mktemp("data") / "shapes", {"train": 8, "test": 4})


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of timm's smallest EfficientNet, with its head of 1000 classes."""
    import timm
    import torch
    from safetensors.torch import save_file

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = timm.create_model("test_efficientnet", num_classes=1000)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_file(network.state_dict(), path)
    return path


@pytest.fixture(scope="session")
def bundle_of() -> Callable[..., Path]:
    """Saves a small network with random weights for some classes: ``bundle_of(folder, classes)``."""
    import torch

    from headstart.data.preprocess import Preprocess
    from headstart.model import zoo
    from headstart.model.bundle import save_bundle
    from headstart.model.transfer import transfer

    def save(folder: Path, classes: Sequence[str], model: str = "test_resnet") -> Path:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = transfer(zoo.create(model, pretrained=False), classes)
        see = Preprocess(img_size=64, resize=64, interpolation="bicubic", mean=(0.5,) * 3, std=(0.5,) * 3)
        save_bundle(folder, network, {"preprocess": see.to_dict()})
        return folder

    return save


@pytest.fixture(scope="session")
def tiny(tiny_weights: Path) -> dict[str, Any]:
    """Settings of a network that trains within a second."""
    return {
        "model": "test_efficientnet",
        "weights": str(tiny_weights),
        "img_size": 64,
        "epochs": 2,
        "threads": 1,
        "workers": 2,
        "batch_size": 8,
    }


@pytest.fixture(scope="session")
def flags_of() -> Callable[..., list[str]]:
    """Settings as words of the command line; those that are None are left out."""

    def flags(settings: Mapping[str, Any], **others: Any) -> list[str]:
        return [
            word
            for name, value in {**settings, **others}.items()
            if value is not None
            for word in (f"--{name.replace('_', '-')}", str(value))
        ]

    return flags
