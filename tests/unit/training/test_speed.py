"""What is timed, what is taken, and what is remembered."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from headstart.config import TrainConfig
from headstart.model import zoo
from headstart.model.classifier import Classifier
from headstart.model.precision import Format
from headstart.model.transfer import transfer
from headstart.training.budget import Pace, Work
from headstart.training.recipes import RECIPES, resolve_recipe
from headstart.training.speed import Memory, Stopwatch, Way, fastest, key_of, processor_threads

USUAL = Way(Format("cpu", "bf16"), threads=4, micro_batch=32)
WORK = Work(frozen=0, step=1000, above=0, exact=0)


@pytest.fixture(scope="module")
def model() -> Classifier:
    return transfer(zoo.create("test_efficientnet", pretrained=False, img_size=64), ("a", "b"))


class Paced(Stopwatch):
    """A stopwatch that knows what each way takes for a step."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self.seconds = seconds
        self.asked: list[str] = []

    def pace(self, way: Way) -> Pace:
        name = f"{way.fmt.precision} {way.fmt.memory_format} {way.threads} {way.micro_batch}"
        self.asked.append(name)
        return Pace(0, self.seconds.get(name, 1.0), 0, 0)


def test_a_clearly_faster_way_is_taken() -> None:
    watch = Paced(
        {"bf16 channels_last 4 16": 0.8, "bf16 channels_last 4 8": 0.7, "fp32 channels_last 2 8": 0.1}
    )
    way, pace = fastest(watch, USUAL, watch.pace(USUAL), frozenset(), WORK)
    assert way == Way(Format("cpu", "bf16"), 4, 8)
    assert pace.step == 0.7
    assert watch.asked == [  # each is compared with the best so far
        "bf16 channels_last 4 32",
        "bf16 channels_last 4 16",
        "bf16 channels_last 4 8",
        "bf16 channels_last 2 8",
        "fp32 channels_last 4 8",
        "bf16 contiguous 4 8",
    ]


def test_a_little_faster_is_not_enough() -> None:
    watch = Paced({"bf16 channels_last 4 16": 0.92})
    assert fastest(watch, USUAL, watch.pace(USUAL), frozenset(), WORK)[0] == USUAL


def test_what_the_user_chose_stays() -> None:
    watch = Paced({"fp32 channels_last 4 32": 0.1, "bf16 channels_last 2 32": 0.1})
    fixed = frozenset({"precision", "threads", "micro_batch", "memory_format"})
    assert fastest(watch, USUAL, watch.pace(USUAL), fixed, WORK)[0] == USUAL
    assert watch.asked == ["bf16 channels_last 4 32"]


@pytest.mark.parametrize(
    ("cut", "strategy"), [("head", "finetune"), ("stage3", "finetune"), (None, "scratch"), (None, "probe")]
)
def test_timing_leaves_the_network_and_the_random_numbers_as_they_are(
    model: Classifier, cut: str | None, strategy: str
) -> None:
    recipe = resolve_recipe(TrainConfig(strategy=strategy))  # type: ignore[arg-type]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    random, threads = torch.get_rng_state(), torch.get_num_threads()
    pace = Stopwatch(model, cut, recipe).pace(Way(Format("cpu", "fp32"), 1, 4))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.get_num_threads() == threads
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    assert pace.exact > 0
    assert pace.above > 0
    assert (pace.step > 0) == (strategy != "probe")
    assert (pace.frozen > 0) == (cut is not None or strategy == "probe")


def test_what_was_found_is_remembered(tmp_path: Path) -> None:
    memory, pace = Memory(tmp_path / "speed.json"), Pace(1, 2, 3, 4)
    assert memory.get("a") is None
    memory.put("a", USUAL, pace)
    memory.put("b", dataclasses.replace(USUAL, threads=1), pace)
    assert Memory(tmp_path / "speed.json").get("a") == (USUAL, pace)
    (tmp_path / "speed.json").write_text("{damaged", encoding="utf-8")
    assert memory.get("a") is None
    Memory(None).put("a", USUAL, pace)
    assert Memory(None).get("a") is None


def test_a_place_that_cannot_be_written_is_no_fault(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    Memory(tmp_path / "file" / "speed.json").put("a", USUAL, Pace(1, 2, 3, 4))


def test_what_a_pace_depends_on(model: Classifier) -> None:
    recipe = RECIPES["default"]
    key = key_of(model, "stage3", recipe, USUAL, frozenset(), tried=True)
    assert key == key_of(model, "stage3", recipe, USUAL, frozenset(), tried=True)
    others = {
        key_of(model, "stage3", recipe, USUAL, frozenset(), tried=False),
        key_of(model, "head", recipe, USUAL, frozenset(), tried=True),
        key_of(model, "stage3", recipe, dataclasses.replace(USUAL, threads=1), frozenset(), tried=True),
        key_of(model, "stage3", recipe, USUAL, frozenset({"threads"}), tried=True),
        key_of(model, "stage3", dataclasses.replace(recipe, batch_size=64), USUAL, frozenset(), tried=True),
    }
    assert key not in others
    assert len(others) == 5


def test_threads_come_back_after_an_error() -> None:
    before = torch.get_num_threads()
    with pytest.raises(ValueError), processor_threads(1):
        assert torch.get_num_threads() == 1
        raise ValueError
    assert torch.get_num_threads() == before
