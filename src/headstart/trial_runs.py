"""The trainings of a search: what they share is read once, and each is what `headstart train` would do."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from headstart import console
from headstart.config import TrainConfig
from headstart.data.cache import GIGABYTE, Cache
from headstart.data.dataset import Dataset, load_dataset
from headstart.data.pictures import Pictures
from headstart.data.sources import options_of
from headstart.errors import DataError, HeadstartError
from headstart.run_folder import output_in_data
from headstart.run_setup import recipe_and_preprocess, source_model, target_model
from headstart.search import Search
from headstart.training.recipes import chooses_fit
from headstart.trials import Trial

if TYPE_CHECKING:
    from headstart.model.classifier import Classifier
    from headstart.training.plan import Plan
    from headstart.training.train import Trained


class Shared:
    """What trials have in common: pictures and source model of each input size, read once, and the cache."""

    def __init__(self, search: Search) -> None:
        config = search.config
        self.search = search
        self.own_output = output_in_data(config.output, search.data)
        self.cache = Cache(int(config.cache * GIGABYTE)) if config.cache else None
        self._sources: dict[int | None, Classifier] = {}
        self._pictures: dict[int | None, tuple[Dataset, Pictures]] = {}
        self.source(config)  # refuses what only the network can refuse, before the first picture

    def source(self, config: TrainConfig) -> Classifier:
        """The source model at this input size; stays as it is."""
        if config.pixels not in self._sources:
            recipe, _ = recipe_and_preprocess(config)
            self._sources[config.pixels] = source_model(config, recipe.pretrained)
        return self._sources[config.pixels]

    def pictures(self, config: TrainConfig) -> tuple[Dataset, Pictures]:
        """The pictures at this input size. Parts and classes are the same at every size."""
        if config.pixels not in self._pictures:
            recipe, preprocess = recipe_and_preprocess(config)
            self._pictures[config.pixels] = load_dataset(
                self.search.data,
                preprocess=preprocess,
                options=options_of(config),
                exclude=(*config.exclude, *self.own_output),
                selection=recipe.selection,
                workers=config.workers,
                cache=self.cache,
                calibrate=config.calibrate,
                choose_fit=chooses_fit(config, recipe),
                overrides=config.overrides,
            )
        return self._pictures[config.pixels]

    def planned(self, config: TrainConfig) -> tuple[Classifier, Plan]:
        """A model that is still to be trained, and how that is done."""
        from headstart.model.memory import keep_freed_memory
        from headstart.training.first_step import checked_plan

        keep_freed_memory()
        recipe, _ = recipe_and_preprocess(config)
        dataset, pictures = self.pictures(config)
        model = target_model(config, recipe, self.source(config), dataset.classes)
        return model, checked_plan(config, model, dataset, pictures, cache=self.cache)

    def without_harm(self, plan: Plan, model: Classifier) -> Plan:
        """The plan, without mirrored views where they would exchange classes, as `headstart.train` does."""
        from headstart.training.turned import without_harm

        dataset, pictures = self.pictures(self.search.config)
        return without_harm(plan, model, dataset, pictures, self.cache)

    def trained(self, config: TrainConfig) -> Trained:
        """Exactly what `headstart.train` does with these settings, up to its evaluation."""
        import torch

        from headstart.training.speed import processor_threads
        from headstart.training.train import Trainer

        model, plan = self.planned(config)
        dataset, pictures = self.pictures(config)
        with processor_threads(plan.threads), torch.random.fork_rng():
            torch.manual_seed(config.seed)
            trainer = Trainer(
                model,
                dataset,
                pictures,
                plan,
                on_epoch=lambda row: None,
                on_best=lambda row: None,
                cache=self.cache,
            )
            return trainer.train()


def tried(shared: Shared, config: TrainConfig, number: int, chosen: dict[str, Any]) -> Trial:
    """Trains with these settings and measures on the selection part.

    Raises:
        DataError: as `carry_out`.
        KeyboardInterrupt: Ctrl-C.
    """
    started = time.perf_counter()
    try:
        with console.quiet():  # the log still has every line
            trained = shared.trained(config)
    except DataError:
        raise
    except HeadstartError as error:
        return Trial(number, chosen, error=f"{error.code}: {error.what}")
    if trained.interrupted:
        raise KeyboardInterrupt
    best = trained.best
    assert best is not None
    dataset, _ = shared.pictures(config)
    n = len(dataset.indices("selection"))
    return Trial(
        number,
        chosen,
        round(best.val_accuracy * n),
        n,
        -best.rank[1],
        time.perf_counter() - started,
        balanced_accuracy=best.val_balanced_accuracy,
    )
