"""`--compile`: what trains goes through torch.compile, or as it is where that fails."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

import headstart
from headstart import console
from headstart.config import TrainConfig
from headstart.errors import ConfigError
from headstart.training import rehearsal
from headstart.training.recipes import resolve_recipe
from headstart.training.rehearsal import compiled, pass_sizes


class Data:
    """Twenty inputs in batches of eight, eight and four."""

    steps = 3

    def epoch(self, number: int, done: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        inputs = torch.linspace(-1, 1, 80).reshape(20, 4)
        yield from zip(inputs.split(8), torch.zeros(20, dtype=torch.int64).split(8), strict=True)

    def pictures(self, batch: int) -> int:
        return (8, 8, 4)[batch]

    def positions(self, number: int, batch: int) -> NDArray[np.int64]:
        return np.arange(8 * batch, 8 * batch + self.pictures(batch))


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Linear(6, 2)).eval()


def made(net: nn.Module, sizes: list[int], micro_batch: int = 8) -> nn.Module:
    def forward_of(module: nn.Module) -> Callable[[Tensor], Tensor]:
        def forward(inputs: Tensor) -> Tensor:
            sizes.append(len(inputs))
            logits: Tensor = module(inputs)
            return logits

        return forward

    return compiled(net, Data(), forward_of=forward_of, micro_batch=micro_batch, training=True)


@pytest.mark.parametrize(("micro_batch", "sizes"), [(8, [8, 4]), (32, [8, 4]), (3, [3, 2, 1]), (1, [1])])
def test_the_sizes_of_an_epochs_passes(micro_batch: int, sizes: list[int]) -> None:
    assert pass_sizes(Data(), micro_batch) == sizes


def test_a_compiled_network_has_the_same_parameters_and_leaves_no_trace(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    net, sizes = network(), []
    before = {name: tensor.numpy().tobytes() for name, tensor in net.state_dict().items()}
    state = torch.get_rng_state()
    fast = made(net, sizes)
    assert fast is not net
    assert sizes == [8, 4]
    assert {id(p) for p in fast.parameters()} == {id(p) for p in net.parameters()}
    assert {name: tensor.numpy().tobytes() for name, tensor in net.state_dict().items()} == before
    assert torch.equal(torch.get_rng_state(), state)
    assert not net.training
    assert all(parameter.grad is None for parameter in net.parameters())
    inputs, _ = next(Data().epoch(1))
    torch.testing.assert_close(fast(inputs), net(inputs))
    text = capsys.readouterr().err
    assert "compiled in " in text
    assert "warning" not in text


def refuses(*arguments: Any, **named: Any) -> Any:
    raise RuntimeError("no working C++ compiler\nmany more lines")


def fails_when_called(network: nn.Module) -> nn.Module:
    class Broken(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            raise OSError("no space left")

    return Broken()


def fails_backwards(network: nn.Module) -> nn.Module:
    class Broken(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            out: Tensor = network(inputs)
            out.register_hook(lambda gradient: refuses())
            return out

    return Broken()


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        (refuses, "RuntimeError: no working C++ compiler"),
        (fails_when_called, "OSError: no space left"),
        (fails_backwards, "RuntimeError: no working C++ compiler"),
    ],
)
def test_where_compiling_fails_training_goes_on_without_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], fault: Any, why: str
) -> None:
    monkeypatch.setattr(torch, "compile", fault)
    net = network()
    before = {name: tensor.numpy().tobytes() for name, tensor in net.state_dict().items()}
    assert made(net, []) is net
    assert {name: tensor.numpy().tobytes() for name, tensor in net.state_dict().items()} == before
    text = capsys.readouterr().err
    assert text.count("warning") == 1
    assert f"warning: torch.compile failed: training goes on without it ({why})" in text


def test_ctrl_c_while_it_compiles_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(network: nn.Module) -> nn.Module:
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "compile", stopped)
    with contextlib.suppress(KeyboardInterrupt), console.quiet():
        made(network(), [])
        raise AssertionError("it must not go on")


def test_a_run_that_cannot_compile_is_the_run_without(
    shapes_folder: Path, tmp_path: Path, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = headstart.train(shapes_folder, output=tmp_path / "plain", **tiny)
    monkeypatch.setattr(torch, "compile", refuses)
    run = headstart.train(shapes_folder, output=tmp_path / "compiled", compile=True, **tiny)
    log = (run.path / "log.txt").read_text(encoding="utf-8")
    assert log.count("warning: torch.compile failed: training goes on without it (RuntimeError: no") == 1
    ours, theirs = (load_file(one.model / "model.safetensors") for one in (run, plain))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_only_steps_run_through_what_was_compiled(
    shapes_folder: Path, tmp_path: Path, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A compiler that makes another network: scores and figures are those of the real one."""
    passes: list[bool] = []

    class Wrapped(nn.Module):
        def __init__(self, network: nn.Module) -> None:
            super().__init__()
            self.network = network

        def forward(self, inputs: Tensor) -> Tensor:
            passes.append(torch.is_grad_enabled())
            logits: Tensor = self.network(inputs)
            return logits

    plain = headstart.train(shapes_folder, output=tmp_path / "plain", **tiny)
    monkeypatch.setattr(torch, "compile", Wrapped)
    run = headstart.train(shapes_folder, output=tmp_path / "wrapped", compile=True, **tiny)
    assert len(passes) == 2 + 3 * 2  # two sizes, then three steps in each of two epochs
    assert all(passes)  # none of them was an evaluation
    ours, theirs = (load_file(one.model / "model.safetensors") for one in (run, plain))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.slow
def test_the_real_compiler(shapes_folder: Path, tmp_path: Path, tiny: dict[str, Any]) -> None:
    run = headstart.train(shapes_folder, output=tmp_path / "compiled", compile=True, **tiny)
    plain = headstart.train(shapes_folder, output=tmp_path / "plain", **tiny)
    log = (run.path / "log.txt").read_text(encoding="utf-8")
    assert "compiled in " in log
    assert "torch.compile failed" not in log
    for ours, theirs in zip(run.results, plain.results, strict=True):
        assert float(ours["train_loss"]) == pytest.approx(float(theirs["train_loss"]), rel=0.05)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"strategy": "probe"}, "--strategy probe has no part that trains to compile: leave out --compile"),
        ({"epochs": 0}, "--epochs 0 trains nothing, so there is nothing to compile: leave out --compile"),
        ({"budget": "1m"}, "--compile takes a time that --budget cannot foresee: leave out one of them"),
    ],
)
def test_what_cannot_go_together(fields: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve_recipe(TrainConfig(compile=True, **fields))
    assert caught.value.code == "HS-CONFIG-007"
    assert caught.value.details == (text,)


def test_a_long_reason_is_cut(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def wordy(network: nn.Module) -> nn.Module:
        raise RuntimeError("x" * 10_000)

    monkeypatch.setattr(torch, "compile", wordy)
    made(network(), [])
    assert len(capsys.readouterr().err) < 2 * rehearsal.REASON_WIDTH + 200
