"""`headstart compare`: several ways to train, each with several seeds, on the same pictures.

Each cell of variants and seeds is an ordinary run in the folder of the comparison. The reported pictures are
the same in all of them and choose nothing within a run; which variant is best is read off them at the end.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstart import console
from headstart.comparison import (
    CELLS,
    COMPARE,
    CURVES,
    RESULT,
    Asked,
    Compared,
    cell,
    compared,
    first_lines,
    seeds_of,
    write_asked,
    write_result,
)
from headstart.config import WHAT, TrainConfig, from_mapping, read_yaml
from headstart.data.cache import GIGABYTE, Cache
from headstart.data.dataset import load_dataset
from headstart.data.sources import Data, options_of
from headstart.errors import ConfigError, DataError, HeadstartError
from headstart.run import given, refuse_settings, required, same_pictures, train
from headstart.run_folder import (
    CONFIG,
    Run,
    data_name,
    data_of,
    new_folder,
    output_in_data,
    unfinished,
)
from headstart.run_folds import check_same, has_ended, run_in
from headstart.run_lock import discard_lock, held
from headstart.run_setup import recipe_and_preprocess, require_training_packages, settings
from headstart.training.recipes import chooses_fit, contradiction
from headstart.variants import Lists, Variant, Words, lists_of, trains, variants_of

if TYPE_CHECKING:
    from headstart.training.fit import EpochHook

DEFAULT_SEEDS = 3
OF_A_PROBE = {
    "model", "weights", "strategy", "recipe", "balance", "img_size", "fit", "crop", "precision",
    "memory_format", "threads", "output", "name", "seed", "device", "gpus", "workers", "cache", "images",
    "columns", "label_from", "group_by", "exclude", "exclude_list",
}  # fmt: skip
"""Settings that mean something to a learning curve."""
WAYS = ("precision", "memory_format", "threads", "micro_batch")  # what a clock may choose
DEPTHS = ("epochs", "freeze", "views", "refit")  # and, with a budget, this too


def compare(
    data: Data | None = None,
    config: TrainConfig | None = None,
    *,
    strategies: Words = None,
    recipes: Words = None,
    models: Words = None,
    lr: Any = None,
    seeds: int | None = None,
    learning_curve: bool = False,
    draws: int | None = None,
    resume: Compared | str | PathLike[str] | None = None,
    **single: Any,
) -> Compared:
    """Trains in several ways, each with several seeds, and says which is better on the same pictures.

    Args:
        data: As for `headstart.train`.
        config: The settings that all have in common, all at once.
        strategies, recipes, models, lr: What is compared, each a list (or words with commas): every
            combination is a variant. Default: the strategies finetune, probe and scratch; beside another
            list, the common strategy.
        seeds: Trainings of each variant. Default: 3; with ``resume``, as begun.
        learning_curve: Instead, measure the linear probe on more and more training pictures, and say what
            twice as many would bring.
        draws: Of the learning curve: how many times the training pictures are drawn. Default: 10.
        resume: A comparison that was interrupted, or is to have more seeds; ended runs stay as they are.
        single: Single settings, by the names of `headstart.TrainConfig`. With ``budget`` each run has the
            same time; otherwise all that train see the same number of pictures.

    Returns:
        The comparison; its folder is never one that existed, but for ``resume``.

    Raises:
        ConfigError, DataError, ModelError, RunError: with a stable code and what to do.
    """
    whole = settings(config, single)
    require_training_packages(whole)
    if learning_curve:
        from headstart.run_learning import learn

        several = {"strategies": strategies, "recipes": recipes, "models": models, "lr": lr, "seeds": seeds}
        refuse_beside_curve({**several, "resume": resume}, whole)
        folder = learn(required(data, "compare"), whole, draws)
        return Compared(folder, file="learning-curve.json")
    if draws is not None:
        raise contradiction("--draws is of --learning-curve: leave it out, or add that")
    asked = asked_for(data, whole, (strategies, recipes, models, lr), seeds, resume)
    with comparison_folder(asked) as folder, console.logged_to(folder / "log.txt"):
        write_asked(asked, folder)
        for line in first_lines(asked, folder):
            console.say(line)
        failed: dict[str, str] = {}
        try:
            carry_out(asked, folder, failed)
        except KeyboardInterrupt:
            console.say(f"to go on: headstart compare --resume {folder}")
            return Compared(folder, interrupted=True)
        found = compared(asked, folder, failed)
        write_result(asked, folder, found, failed)
        for line in ("", *found.lines(), "", f"{folder}: {CELLS}, {RESULT}, {CURVES}"):
            console.say(line)
        discard_lock(folder)
    return Compared(folder)


def refuse_beside_curve(others: Mapping[str, Any], config: TrainConfig) -> None:
    """Says all that does not go with a learning curve.

    Raises:
        ConfigError: HS-CONFIG-047.
    """
    faults = [
        f"--{name} compares, and --learning-curve does not" for name in others if others[name] is not None
    ]
    faults += [
        f"--{name.replace('_', '-')} is of a training, and a probe has none"
        for name in given(config)
        if name not in OF_A_PROBE
    ]
    if config.img_size == "auto":
        faults.append("--img-size auto looks for a size: give it in pixels")
    if faults:
        raise ConfigError(
            "HS-CONFIG-047",
            "A learning curve is that of one probe.",
            details=faults,
            fix="Leave out what is named.",
        )


def asked_for(
    data: Data | None,
    config: TrainConfig,
    lists: tuple[Words, Words, Words, Any],
    seeds: int | None,
    resume: Compared | str | PathLike[str] | None,
) -> Asked:
    """The comparison, new or begun before; what can be refused before a picture is read is.

    Raises:
        ConfigError: HS-CONFIG-002, -007, -010, -045, -046.
        RunError: HS-RUN-021.
        UsageError: HS-USAGE-005.
    """
    if seeds is not None and seeds < 1:
        raise ConfigError(
            "HS-CONFIG-002", WHAT["HS-CONFIG-002"], details=[f"seeds must be 1 or more, but is {seeds!r}"]
        )
    if resume is not None:
        names = [name for name, one in zip(("strategies", "recipes", "models"), lists, strict=False) if one]
        refuse_settings([*given(config), *names, *(["lr"] if lists[3] is not None else [])])
        folder, begun = unfinished(resume.path if isinstance(resume, Compared) else resume, COMPARE)
        try:
            config = from_mapping(begun["settings"], where=folder / COMPARE)
            named = [begun[name] for name in ("strategies", "recipes", "models", "lr")]
            chosen = Lists(*(tuple(words) for words in named))
            number = int(begun["seeds"])
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(
                "HS-CONFIG-004", f"The file of settings cannot be read: {error!r}.", where=folder / COMPARE
            ) from error
        config = dataclasses.replace(config, output=folder.parent)
        pictures = same_pictures(folder, data_of(begun), data)
        return Asked(pictures, config, chosen, max(seeds or 0, number), folder, variants_of(chosen, config))
    pictures = required(data, "compare")
    if config.folds is not None or config.fold is not None:
        raise contradiction("--folds and --fold are of one training, compare has several: leave them out")
    chosen = lists_of(*lists, config)
    variants = variants_of(chosen, config)
    return Asked(pictures, config, chosen, seeds or DEFAULT_SEEDS, None, variants)


@contextlib.contextmanager
def comparison_folder(asked: Asked) -> Iterator[Path]:
    """The folder; a new one is removed again if it fails before a run has begun."""
    if asked.folder is not None:
        with held(asked.folder):
            yield asked.folder
        return
    output = asked.config.output
    output_in_data(output, asked.data)  # refuses the data folder itself

    def kept(folder: Path) -> str:
        begun = any(path.is_dir() for path in folder.iterdir())
        return f"not all runs have ended; to go on: headstart compare --resume {folder}" if begun else ""

    with new_folder(output, f"compare-{asked.config.name or data_name(asked.data)}", kept) as folder:
        yield folder


def carry_out(asked: Asked, folder: Path, failed: dict[str, str]) -> None:
    """Trains what has not ended yet, seed by seed. A variant that cannot be trained is noted and passed over.

    Raises:
        DataError: The pictures; all others would fail too.
        KeyboardInterrupt: Ctrl-C.
    """
    cells = [(seed, variant) for seed in seeds_of(asked) for variant in asked.variants]
    if asked.config.budget is not None:
        read_pictures(asked)
    first: Path | None = None
    lasted: dict[str, float] = {}  # of each variant, seconds of a run
    for number, (seed, variant) in enumerate(cells, start=1):
        if any(cell(folder, variant, earlier).name in failed for earlier in seeds_of(asked)):
            continue
        own = cell(folder, variant, seed)
        title = f"{variant.name}, seed {seed} ({number} of {len(cells)})"
        kept = has_ended(own)
        if kept:
            run = Run(own)
        else:
            to_come = [lasted[one.name] for _, one in cells[number - 1 :] if one.name in lasted]
            known = len(lasted) == len(asked.variants)
            console.say(f"{title}, about {sum(to_come):.0f} s left" if known else title)
            quiet = console.quiet() if seed != asked.config.seed else contextlib.nullcontext()
            try:
                with quiet:
                    run = run_in(own, asked.data, settings_of(asked, folder, variant, seed), None, one_run)
            except (DataError, ConfigError):
                raise
            except HeadstartError as error:
                failed[own.name] = f"{error.code}: {error.what}"
                console.warn(f"{title} failed: {failed[own.name]}")
                continue
            if run.interrupted:
                raise KeyboardInterrupt
        first = first or run.path
        check_same(first, run.path, "run")
        lasted[variant.name] = float(run.metrics["seconds"])
        accuracy = run.metrics["accuracy"]
        low, high = accuracy["interval_95"]
        console.say(
            f"{title}: accuracy {accuracy['value']:.3f} ({low:.3f} to {high:.3f}, n = {accuracy['n']}), "
            + ("kept" if kept else f"{run.metrics['seconds']:.0f} s")
        )


def one_run(data: Data | None, config: TrainConfig, resume: Path | None, hook: EpochHook | None) -> Run:
    """As `headstart.run.train`."""
    return train(data, config, resume=resume, hook=hook)


def settings_of(asked: Asked, folder: Path, variant: Variant, seed: int) -> TrainConfig:
    """Of one run. What a clock chose for the variant's first seed holds for the others: they differ in the
    seed alone."""
    exclude = (*asked.config.exclude, *output_in_data(asked.config.output, asked.data))
    config = dataclasses.replace(variant.config, seed=seed, exclude=exclude)
    decided = cell(folder, variant, asked.config.seed) / CONFIG
    if seed == asked.config.seed or not decided.is_file():
        return config
    whole = from_mapping(read_yaml(decided), where=decided)
    names: tuple[str, ...] = WAYS
    if config.budget is not None and trains(variant):
        names = (*WAYS, *DEPTHS)
    fixed = {name: getattr(whole, name) for name in names}
    if config.strategy == "scratch":
        fixed.pop("freeze", None)
    return dataclasses.replace(config, **fixed, budget=None)


def read_pictures(asked: Asked) -> None:
    """Decodes all pictures into the cache, so that no variant's time has to."""
    if not asked.config.cache:
        console.warn("without --cache the time of each run includes reading the pictures")
        return
    cache = Cache(int(asked.config.cache * GIGABYTE))
    seen = []
    for variant in asked.variants:
        recipe, preprocess = recipe_and_preprocess(variant.config)
        if preprocess in seen:
            continue
        seen.append(preprocess)
        load_dataset(
            asked.data,
            preprocess=preprocess,
            options=options_of(variant.config),
            exclude=(*asked.config.exclude, *output_in_data(asked.config.output, asked.data)),
            selection=recipe.selection,
            workers=variant.config.workers,
            cache=cache,
            choose_fit=chooses_fit(variant.config, recipe),
        )
