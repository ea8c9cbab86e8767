"""What was left open is decided before the first step, shown and saved."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from headstart.config import TrainConfig, to_mapping
from headstart.data.dataset import Dataset, load_dataset
from headstart.data.decoding import available_cpus
from headstart.data.preprocess import Preprocess
from headstart.errors import ConfigError, ModelError
from headstart.model import zoo
from headstart.model.classifier import Classifier
from headstart.model.transfer import transfer
from headstart.training import planning
from headstart.training.plan import Plan
from headstart.training.planning import make_plan
from headstart.training.recipes import RECIPES, resolve_recipe

PREPROCESS = zoo.preprocess("efficientnet-lite0", 64)


@pytest.fixture(scope="module")
def dataset(shapes_folder: Path) -> Dataset:
    return load_dataset(shapes_folder, preprocess=PREPROCESS, selection=0.2, workers=1)[0]


@pytest.fixture(scope="module")
def model(dataset: Dataset) -> Classifier:
    return transfer(zoo.create("test_efficientnet", pretrained=False), dataset.classes)


DATA = ("crop", "exclude_list", "fold", "folds", "group_by", "images", "label_from", "other", "overrides")
"""Settings that say what the pictures are: not for a plan to decide."""


def planned(model: Classifier, dataset: Dataset, preprocess: Preprocess = PREPROCESS, **fields: Any) -> Plan:
    return make_plan(TrainConfig(model="test_efficientnet", **fields), model, dataset, preprocess)


def test_nothing_that_the_plan_decides_stays_open(model: Classifier, dataset: Dataset) -> None:
    plan = planned(model, dataset, weights=Path("a.safetensors"))
    assert plan.judges_views and plan.config.augment is None  # the pictures say, after the probe
    plan = plan.with_views(plan.recipe.augmentation, "")
    assert not plan.judges_views
    settings = to_mapping(plan.config)
    open_still = {name for name, value in settings.items() if value is None}
    assert open_still == {"name", "budget", "track", *DATA}
    assert "auto" not in str(settings).lower()
    assert settings["img_size"] == 64
    assert settings["freeze"] == plan.cut
    assert settings["head_init"] == "probe"
    assert settings["threads"] == settings["workers"] == available_cpus()
    assert settings["weights"] == str(Path("a.safetensors").absolute())  # wherever it is run again


def test_a_probe_has_no_epochs_to_decide(model: Classifier, dataset: Dataset) -> None:
    plan = planned(model, dataset, strategy="probe")
    settings = to_mapping(plan.config)
    assert {k for k, v in settings.items() if v is None} == {
        "weights",
        "freeze",
        "head_init",
        "epochs",
        "lr",
        "batch_size",
        "augment",
        "views",
        "budget",
        "track",
        "name",
        *DATA,
    }
    assert (plan.epochs, plan.views, plan.cut, plan.stage_names()) == (0, 0, None, ["probe"])


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"strategy": "probe"},
        {"strategy": "scratch"},
        {"freeze": "head"},
        {"freeze": "2"},
        {"head_from": ("dots=1",)},
        {"head_init": "zeros", "augment": "flip", "fit": "pad", "epochs": 3, "lr": 0.1},
        {"epochs": 0},
        {"freeze": "head", "epochs": 0},
        {"selection": 0},
    ],
)
def test_a_saved_plan_plans_the_same_again(
    model: Classifier, dataset: Dataset, recipe: str, fields: dict[str, Any]
) -> None:
    plan = planned(model, dataset, recipe=recipe, **fields)
    again = make_plan(plan.config, model, dataset, PREPROCESS)
    assert again == plan
    assert resolve_recipe(plan.config).resize == plan.recipe.resize


@pytest.mark.parametrize(
    "fields",
    [{}, {"freeze": "head", "head_init": "probe"}, {"recipe": "d2l", "head_init": "probe", "selection": 0.2}],
)
def test_a_saved_plan_of_too_few_pictures_is_the_probe_again(
    shapes_folder: Path, model: Classifier, fields: dict[str, Any]
) -> None:
    dataset, _ = load_dataset(shapes_folder, preprocess=PREPROCESS, selection=0, workers=1)
    plan = planned(model, dataset, **fields)
    assert (plan.epochs, plan.views, plan.recipe.head_init) == (0, 0, "probe")
    assert make_plan(plan.config, model, dataset, PREPROCESS) == plan


def test_what_a_probe_alone_is_kept_for(model: Classifier, dataset: Dataset) -> None:
    assert "kept: the probe, as no epochs are asked for" in planned(model, dataset, epochs=0).lines()


def test_the_top_is_a_quarter_of_the_stages(model: Classifier, dataset: Dataset) -> None:
    stages = model.stages
    assert stages is not None
    plan = planned(model, dataset)
    assert plan.cut == stages[-max(1, len(stages) // 4)].name
    assert plan.recipe.trains == "top"


@pytest.mark.parametrize("count", range(1, 13))
def test_a_quarter_of_any_number_of_stages(
    model: Classifier, dataset: Dataset, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    @dataclasses.dataclass
    class Stage:
        name: str

    class Staged:
        stages = tuple(Stage(f"stage{i}") for i in range(count))

    recipe = RECIPES["default"]
    cut = planning.first_trainable(recipe, Staged(), None)  # type: ignore[arg-type]
    trained = [stage.name for stage in Staged.stages].index(cut or "")
    assert count - trained == max(1, count // 4)


def test_a_network_without_stages_trains_as_a_whole(dataset: Dataset) -> None:
    whole = transfer(zoo.create("test_mambaout", pretrained=False), dataset.classes)
    assert whole.stages is None
    plan = planned(whole, dataset)
    assert (plan.cut, plan.recipe.trains, plan.views) == (None, "all", 0)
    assert "the whole network" in plan.lines()[1]


@pytest.mark.parametrize(
    ("freeze", "cut"), [("head", "head"), ("stage2", "stage2"), ("2", "stage2"), ("blocks.2", "stage2")]
)
def test_the_users_cut(model: Classifier, dataset: Dataset, freeze: str, cut: str) -> None:
    assert planned(model, dataset, freeze=freeze).cut == cut


def test_an_unknown_stage_gets_the_nearest(model: Classifier, dataset: Dataset) -> None:
    with pytest.raises(ModelError, match="Did you mean 'stage3'") as caught:
        planned(model, dataset, freeze="stag3")
    assert caught.value.code == "HS-MODEL-008"


def bytes_of_a_view(model: Classifier, cut: str, precision: str) -> int:
    with torch.inference_mode():
        values = model.below(cut)(torch.zeros(1, 3, 64, 64)).numel()
    return values * (4 if cut == "head" or precision == "fp32" else 2)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("cut", ["stage2", "head"])
def test_views_are_limited_by_the_cache(
    model: Classifier, dataset: Dataset, monkeypatch: pytest.MonkeyPatch, precision: Any, cut: str
) -> None:
    wanted = RECIPES["default"].views
    pictures = len(dataset.indices("train"))
    one = bytes_of_a_view(model, cut, precision) * pictures

    def views(limit: int) -> int:
        monkeypatch.setattr(planning, "CACHE_LIMIT", limit)
        return planned(model, dataset, freeze=cut, precision=precision).views

    assert views(one * wanted) == wanted
    assert views(one * wanted - 1) == wanted - 1
    assert views(one * 3 + one // 2) == 3
    assert views(one * 2) == 2
    assert views(one * 2 - 1) == 0  # a single view would never change
    assert views(one * 1000) == wanted


def test_live_recipes_cache_nothing(model: Classifier, dataset: Dataset) -> None:
    plan = planned(model, dataset, recipe="d2l", freeze="head")
    assert plan.views == 0
    assert "new views every epoch" in "\n".join(plan.lines())


def test_the_plan_does_not_depend_on_free_memory(
    model: Classifier, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = planned(model, dataset)
    monkeypatch.setattr("headstart.data.pictures.available_memory", lambda: 1)
    assert planned(model, dataset) == before


def test_steps_count_the_smaller_last_batch(model: Classifier, dataset: Dataset) -> None:
    pictures = len(dataset.indices("train"))
    assert pictures == 18
    plan = planned(model, dataset, batch_size=8, epochs=3)
    saved = plan.to_dict()
    assert (plan.steps_per_epoch, saved["total_steps"]) == (3, 9)
    assert planned(model, dataset, batch_size=17).steps_per_epoch == 1  # a single picture joins
    assert saved["train_pictures"] == 18
    assert saved["selection_pictures"] == 6
    assert saved["recipe"] == {**dataclasses.asdict(plan.recipe), "interpolation": [0.25, 0.5, 0.75, 1.0]}


def test_the_lines_of_the_default_recipe(model: Classifier, dataset: Dataset) -> None:
    plan = planned(model, dataset, batch_size=8, epochs=3, lr=1e-4, threads=1, workers=2, precision="fp32")
    factor = plan.recipe.head_lr_factor
    assert plan.lines()[:-1] == [
        "probe: logistic regression on the frozen features of 18 pictures, "
        "strength by 5-fold cross-validation",
        f"finetune: the top of the network (from {plan.cut}) and the head, 3 epochs x 3 steps of 8 pictures, "
        f"{plan.views} cached views per picture ({plan.recipe.augmentation})",
        "after the probe: do mirrored or turned pictures look like another class?",
        f"AdamW, learning rate 0.0001, head {1e-4 * factor:g}, cosine, "
        f"weight decay {plan.recipe.weight_decay:g}, loss averaged over the batch",
        "kept: the probe, the last epoch or a mix of both, whichever has the highest accuracy on 6 selection "
        "pictures (equal: the lower loss, then the nearer to the probe)",
        "cpu, fp32, 1 thread, 2 readers, seed 0",
    ]


def test_the_lines_of_the_lesson(model: Classifier, dataset: Dataset) -> None:
    plan = planned(model, dataset, recipe="d2l", threads=2, workers=1, seed=3)
    assert plan.lines()[:-1] == [
        "finetune: the whole network, 5 epochs x 1 steps of 18 pictures, new views every epoch (d2l)",
        "SGD, learning rate 5e-05, head 0.0005, constant, weight decay 0.001, loss summed over the batch",
        "kept: the last epoch (nothing is selected)",
        "cpu, fp32, 2 threads, 1 reader, seed 3",
    ]
    scratch = planned(model, dataset, recipe="d2l", strategy="scratch").lines()
    assert scratch[0].startswith("scratch: the whole network from random weights, 5 epochs")
    assert "learning rate 0.0005, head 0.0005" in scratch[1]


def test_the_lesson_computes_in_its_own_number_format(
    model: Classifier, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "choose_precision", lambda asked, device: asked or "bf16")
    assert planned(model, dataset).fmt.precision == "bf16"
    assert planned(model, dataset, recipe="d2l").fmt.precision == "fp32"
    assert planned(model, dataset, recipe="d2l", precision="bf16").fmt.precision == "bf16"


def test_without_selection_pictures_nothing_is_selected(shapes_folder: Path, model: Classifier) -> None:
    dataset, _ = load_dataset(shapes_folder, preprocess=PREPROCESS, selection=0, workers=1)
    plan = planned(model, dataset)
    assert plan.recipe.selection == 0.0
    assert plan.selection_pictures == 0
    assert plan.recipe.trains == "nothing"
    assert "kept: the probe, as there are too few pictures to choose an epoch on" in plan.lines()


def test_an_unknown_device(model: Classifier, dataset: Dataset) -> None:
    with pytest.raises(ConfigError) as caught:
        planned(model, dataset, device="cuda:99")
    assert caught.value.code == "HS-CONFIG-008"
    assert caught.value.what == "There is no device 'cuda:99' on this machine."
    assert caught.value.fix.startswith("Devices here: cpu")
