"""How work is dealt out: every row once, in the batch that it would have in one process."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from headstart.model import ranks


@pytest.mark.parametrize("processes", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("n", [0, 1, 7, 8, 9, 21, 64, 65])
def test_every_row_is_computed_once(monkeypatch: pytest.MonkeyPatch, n: int, processes: int) -> None:
    monkeypatch.setattr(ranks, "size", lambda: processes)
    parts = [ranks.dealt(n, 8, of_rank) for of_rank in range(processes)]
    assert sorted(np.concatenate(parts).tolist()) == list(range(n))
    assert len(parts[0]) == max(map(len, parts))
    whole = [tuple(range(start, min(start + 8, n))) for start in range(0, n, 8)]
    for part in parts:  # in its own order, eight at a time, come the batches that one process has
        own = [tuple(part[start : start + 8].tolist()) for start in range(0, len(part), 8)]
        assert set(own) <= set(whole)


@pytest.mark.parametrize("processes", [1, 2, 4, 8])
@pytest.mark.parametrize("bounds", [(0, 8), (8, 13), (13, 14), (0, 1), (40, 128)])
def test_a_batch_falls_into_parts(
    monkeypatch: pytest.MonkeyPatch, bounds: tuple[int, int], processes: int
) -> None:
    monkeypatch.setattr(ranks, "size", lambda: processes)
    parts = []
    for number in range(processes):
        monkeypatch.setattr(ranks, "rank", lambda number=number: number)
        parts.append(ranks.own_part(*bounds))
    assert [i for start, stop in parts for i in range(start, stop)] == list(range(*bounds))
    sizes = [stop - start for start, stop in parts]
    assert max(sizes) - min(sizes) <= 1
    assert sizes == sorted(sizes, reverse=True)


def test_alone_nothing_changes() -> None:
    rows = np.arange(6.0).reshape(3, 2)
    assert ranks.gathered(rows, 3, 8) is rows
    flags = np.array([True, False])
    assert ranks.all_have(flags) is flags
    value = ("any", "value")
    assert ranks.agreed(value) is value
    assert ranks.summed(1.5, 2) == (1.5, 2)
    assert ranks.any_says(True) and not ranks.any_says(False)
    assert ranks.is_first() and not ranks.active()
    ranks.wait()
    with ranks.first_of_node(), ranks.stops_together():
        pass


def test_a_process_without_pictures_takes_part_with_a_gradient_of_zero() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    network[0].bias.requires_grad_(False)
    share = ranks.Share(network)
    inputs, labels = torch.ones(0, 3), torch.zeros(0, dtype=torch.int64)
    loss = nn.functional.cross_entropy(share(inputs), labels, reduction="none").sum()
    loss.backward()
    gradients = [p.grad for p in network.parameters() if p.requires_grad]
    assert all(gradient is not None and not gradient.any() for gradient in gradients)
    assert torch.equal(share(torch.ones(2, 3)), network(torch.ones(2, 3)))


def test_where_batches_have_statistics_the_network_sees_the_empty_part() -> None:
    seen = []

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.SyncBatchNorm(3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(len(x))
            return x

    ranks.Share(Network())(torch.ones(0, 3))
    assert seen == [0]
