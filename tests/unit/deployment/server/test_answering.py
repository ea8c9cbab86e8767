"""How a model is put to work by the server."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

for _name in ("fastapi", "prometheus_client", "threadpoolctl"):
    pytest.importorskip(_name)

from threadpoolctl import ThreadpoolController  # noqa: E402

from headstart.data.images import UnreadableImage  # noqa: E402
from headstart.deployment.predict import load  # noqa: E402
from headstart.deployment.server import answering  # noqa: E402
from headstart.deployment.server.app import Service  # noqa: E402
from headstart.deployment.server.batcher import Batcher  # noqa: E402
from headstart.deployment.server.gate import ServerState  # noqa: E402
from headstart.deployment.server.pool import Pool  # noqa: E402
from headstart.deployment.server.process import one_thread_for_numpy  # noqa: E402
from headstart.deployment.server.settings import ServeSettings  # noqa: E402
from headstart.errors import HeadstartError  # noqa: E402
from headstart.model.answers import Answers  # noqa: E402


def service(run: Path) -> Service:
    return Service(load(run), ServeSettings(), ServerState(), queue=8, workers=2)


def test_an_answer_in_one_thread_has_every_bit_of_predict(onnx_run: Path, colours: Path) -> None:
    model = load(onnx_run)
    files = [path.read_bytes() for path in sorted(colours.rglob("*.png"))]
    for content, right in zip(files, model.predict(files), strict=True):
        if right.status == "ok":
            row = answering.prediction(model, right.path, answering.at_once(model, content))
            assert row == right
        else:
            with pytest.raises(UnreadableImage) as fault:
                answering.at_once(model, content)
            assert fault.value.kind == right.status


def test_each_backend_is_used_as_it_is_best_used(onnx_run: Path, served_run: Path) -> None:
    for run, kind, size in ((onnx_run, Pool, 1), (served_run, Batcher, 8)):
        found = service(run)
        assert isinstance(found.scheduler, kind)
        assert found.metadata()["limits"]["batch_size"] == size
        asyncio.run(found.scheduler.close())


@pytest.mark.parametrize(("cores", "expected"), [(1, 2), (2, 5), (16, 40)])
def test_side_by_side_so_many_pictures_for_each_core_may_be_under_way(
    onnx_run: Path, monkeypatch, cores: int, expected: int
) -> None:
    monkeypatch.setattr(answering, "available_cpus", lambda: cores)
    assert answering.queue_length(load(onnx_run), batch_size=8) == expected


class Timed:
    """A network whose passes take known times, of a clock that only they move."""

    side_by_side = False

    def __init__(self, lone: float, more: float) -> None:
        self.now, self.lone, self.more = 0.0, lone, more

    def answers(self, batch: np.ndarray) -> Answers:
        self.now += self.lone + self.more * (len(batch) - 1)
        return Answers(np.zeros((len(batch), 2), np.float32), np.zeros((len(batch), 3), np.float32))


@pytest.mark.parametrize(("more", "expected"), [(1.0, 4), (0.25, 6), (0.0625, 10)])
def test_in_batches_as_many_as_three_lone_passes_answer(monkeypatch, more: float, expected: int) -> None:
    backend = Timed(1.0, more)
    model = SimpleNamespace(
        backend=backend, preprocess=SimpleNamespace(img_size=8), temperature=1.0, detector=None
    )
    monkeypatch.setattr(answering.time, "perf_counter", lambda: backend.now)
    assert answering.queue_length(model, batch_size=8) == expected


def test_a_model_that_cannot_answer_is_found_before_it_is_served(onnx_run: Path, monkeypatch) -> None:
    model = load(onnx_run)

    def run(*_: object) -> list[np.ndarray]:
        return [np.full((1, 3), np.nan, np.float32), np.zeros((1, 3), np.float32)]

    model.backend.session = SimpleNamespace(run=run)
    with pytest.raises(HeadstartError) as error:
        answering.queue_length(model, batch_size=8)
    assert error.value.code == "HS-MODEL-050"


def test_numpy_keeps_to_one_thread() -> None:
    openblas = ThreadpoolController().select(internal_api="openblas")
    if not openblas.lib_controllers:
        pytest.skip("numpy has another BLAS here")
    with openblas.limit(limits=2):  # as it was before, afterwards
        one_thread_for_numpy()
        assert {lib.num_threads for lib in openblas.lib_controllers} == {1}
