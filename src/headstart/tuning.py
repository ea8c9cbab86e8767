"""`headstart tune`: many short trainings with other settings, then an ordinary run with the best of them.

The trials are judged on the selection part alone. The reported pictures are measured once, by the run at the
end. What a trial is, and which is better, stands in `headstart.trials`; what may change, in
`headstart.training.search_space`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstart import console
from headstart.config import WHAT, TrainConfig, from_mapping
from headstart.data.sources import Data, command_line, options_of
from headstart.errors import ConfigError, RunError
from headstart.notation import seconds_of
from headstart.run import given, refuse_settings, required, same_pictures, train
from headstart.run_folder import (
    CONFIG,
    FINDINGS,
    Run,
    begun_folder,
    check_unchanged,
    data_name,
    data_of,
    new_folder,
    unfinished,
    write_config,
)
from headstart.run_setup import (
    recipe_and_preprocess,
    require_training_packages,
    settings,
)
from headstart.search import SEARCH, Search, report, search_lines, trial_config, write_search
from headstart.storage import write_atomic
from headstart.trial_runs import Shared, tried
from headstart.trials import (
    Trials,
    best_of,
    open_trials,
    outcome_text,
    require_optuna,
    text_of,
    trials_csv,
)

if TYPE_CHECKING:
    from headstart.model.classifier import Classifier
    from headstart.training.plan import Plan
    from headstart.training.search_space import Space

TRIALS = "trials.csv"
DEFAULT_TRIALS = 20


def tune(
    data: Data | None = None,
    config: TrainConfig | None = None,
    *,
    trials: int | None = None,
    fields: Sequence[str] | str | None = None,
    timeout: float | str | None = None,
    resume: Run | str | PathLike[str] | None = None,
    **single: Any,
) -> Run:
    """Searches for better settings on the selection part, then trains and evaluates with the best ones.

    The first trial is the settings as they are, so that the search cannot end below them there.

    Args:
        data: As for `headstart.train`.
        config: The settings that hold for all trials, all at once.
        trials: Their number. Default: 20; with ``resume``, as begun.
        fields: What is searched: of lr, epochs, freeze, augment, batch_size, img_size. Default: all but
            img_size that are not given.
        timeout: Begin no trial after so many seconds, or ``"90s"``, ``"10m"``, ``"1h30m"``; None: no limit.
        resume: A search that was interrupted or killed; it goes on with its own settings and pictures.
        single: Single settings, by the names of `headstart.TrainConfig`.

    Returns:
        The run with the best settings; ``study.db``, ``trials.csv`` and ``tune.yaml`` lie in its folder too.

    Raises:
        ConfigError, DataError, ModelError, RunError, MissingExtraError: with a stable code and what to do.
    """
    config = settings(config, single)
    deadline = None if timeout is None else time.monotonic() + timeout_seconds(timeout)
    require_training_packages(config)
    require_optuna()
    search = asked_for(data, config, trials, fields, resume)
    shared = Shared(search)
    with search_folder(search) as folder, open_trials(folder, search.config.seed) as record:
        stopped = False
        if not (folder / CONFIG).exists():  # otherwise the last training was under way already
            with console.logged_to(folder / "log.txt"):
                stopped = look_for_best(search, shared, record, folder, deadline)
        run = train(search.data, resume=folder)
        with console.logged_to(folder / "log.txt"):
            report(search, run, record.ended())
    return Run(folder, interrupted=run.interrupted or stopped)


def asked_for(
    data: Data | None,
    config: TrainConfig,
    trials: int | None,
    fields: Sequence[str] | str | None,
    resume: Run | str | PathLike[str] | None,
) -> Search:
    """The search, new or begun before; everything that can be refused before a picture is read is.

    Raises:
        ConfigError: HS-CONFIG-002, -007, -010 to -012.
        RunError: HS-RUN-021 and -022.
        UsageError: HS-USAGE-005.
    """
    from headstart.training.recipes import contradiction
    from headstart.training.search_space import check_selects, searched_fields

    if trials is not None and trials < 1:
        raise ConfigError(
            "HS-CONFIG-002",
            WHAT["HS-CONFIG-002"],
            details=[f"trials must be 1 or more, but is {trials!r}"],
        )
    if resume is not None:
        refuse_settings([*given(config), *(["fields"] if fields is not None else [])])
        folder, begun = unfinished(resume, SEARCH)
        try:
            config = from_mapping(begun["settings"], where=folder / SEARCH)
            names, number = searched_fields(begun["fields"], config), int(begun["trials"])
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(
                "HS-CONFIG-004", f"The file of settings cannot be read: {error!r}.", where=folder / SEARCH
            ) from error
        config = dataclasses.replace(config, output=folder.parent)
        return Search(same_pictures(folder, data_of(begun), data), config, names, trials or number, folder)
    data = required(data, "tune")
    faults = []
    if config.budget is not None:
        faults.append(
            "--budget chooses the epochs of one run, which tune searches: leave out --budget "
            "(--timeout limits the time of the search)"
        )
    if config.lr == "find":
        faults.append(
            "--lr find sweeps over rates in one run, which tune compares by trials: leave out --lr find"
        )
    if config.folds is not None or config.fold is not None:
        faults.append("--folds and --fold measure settings, which tune chooses: leave them out")
    if config.img_size == "auto":
        faults.append("--img-size auto compares sizes by the probe, tune by trials: write --fields img_size")
    if faults:
        raise contradiction(*faults)
    names = searched_fields(fields, config)
    check_selects(recipe_and_preprocess(config)[0], config)
    return Search(data, config, names, trials or DEFAULT_TRIALS)


@contextlib.contextmanager
def search_folder(search: Search) -> Iterator[Path]:
    """The run's folder; a new one is removed again if there is no trial yet when the search fails."""
    if search.folder is not None:
        with begun_folder(search.folder):
            yield search.folder
        return

    def kept(folder: Path) -> str:
        begun = (folder / TRIALS).exists()
        return f"not tuned to the end; to go on: headstart tune --resume {folder}" if begun else ""

    with new_folder(search.config.output, search.config.name or data_name(search.data), kept) as folder:
        yield folder


def look_for_best(
    search: Search, shared: Shared, record: Trials, folder: Path, deadline: float | None
) -> bool:
    """Carries out the trials, and writes the plan of the best one as ``config.yaml``.

    Returns:
        Whether Ctrl-C ended the search early.

    Raises:
        ConfigError: HS-CONFIG-012, the network has nothing to choose from; HS-CONFIG-013, too few pictures.
        RunError: HS-RUN-026, all trials failed.
        KeyboardInterrupt: Before the first trial ended.
    """
    from headstart.training.search_space import defaults, nothing_to_choose_on, search_space
    from headstart.training.turned import harmful_turns

    dataset, _ = shared.pictures(search.config)
    config = search.config
    console.say(dataset.tree())
    dataset.announce(command_line("check", search.data, options_of(config), config.exclude))
    console.say(f"run: {folder}")
    if search.folder is not None:
        check_unchanged(folder, dataset)
    else:
        dataset.write_csv(folder / "dataset.csv")
        dataset.write_findings(folder / FINDINGS)
    model, first = shared.planned(search.config)
    plan = shared.without_harm(first, model)
    search = in_one_way(search, plan)
    if not plan.selection_pictures:
        raise nothing_to_choose_on(
            "there are too few training pictures to set some aside for choices",
            "Add training pictures; until then, train without tuning.",
        )
    space = search_space(search.fields, plan, model, harmful_turns(first, plan))
    refuse_empty(search, space, model)
    write_search(search, folder)
    for line in (*filter(None, (plan.turned,)), *search_lines(search, space, plan)):
        console.say(line)

    stopped = False
    try:
        carry_out(search, shared, record, space, defaults(space, plan), folder, deadline)
    except KeyboardInterrupt:
        stopped = True
        record.abandon()
    ended = record.ended()
    best = best_of(ended)
    if best is None:
        if stopped or not ended:
            raise KeyboardInterrupt
        raise RunError(
            "HS-RUN-026",
            f"None of {console.counted(len(ended), 'trial', 'trials')} could be trained.",
            details=list(dict.fromkeys(trial.error for trial in ended)),
            fix="Mend what is named; `headstart train` with the same settings says more.",
        )
    if stopped:
        console.warn("interrupted: the best settings so far are kept (Ctrl-C again stops the last training)")
    console.say(f"\nthe best settings, of trial {best.number}, are trained and evaluated as an ordinary run")
    _, best_plan = shared.planned(trial_config(search.config, best.settings))
    write_config(folder / CONFIG, best_plan, search.data)
    return stopped


def in_one_way(search: Search, plan: Plan) -> Search:
    """All trials compute in the way that was measured for the first: results must not follow the clock. And
    none shows views that were found to exchange classes."""
    fixed = {name: getattr(plan.config, name) for name in ("precision", "memory_format", "threads")}
    if plan.turned and "augment" not in search.fields:
        fixed["augment"] = plan.config.augment
    return dataclasses.replace(search, config=dataclasses.replace(search.config, **fixed))


def refuse_empty(search: Search, space: Space, model: Classifier) -> None:
    """A network without stages has nothing to freeze in other places: said, or refused if all else is given.

    Raises:
        ConfigError: HS-CONFIG-012.
    """
    missing = [name for name in search.fields if name not in space]
    if not space:
        raise ConfigError(
            "HS-CONFIG-012",
            "There is no such field to search.",
            details=[f"{model.source.name} cannot be frozen at several stages: {', '.join(missing)}"],
            fix="Name other fields with --fields.",
        )
    if missing:
        console.say(
            f"not searched: {', '.join(missing)}, as {model.source.name} has no stages to choose from"
        )


def carry_out(
    search: Search,
    shared: Shared,
    record: Trials,
    space: Space,
    first: dict[str, Any],
    folder: Path,
    deadline: float | None,
) -> None:
    """Trials until their number, the time or the space is used up.

    Raises:
        DataError: A picture changed or vanished; every other trial would fail too.
        KeyboardInterrupt: Ctrl-C; the trial under way is not noted.
    """
    while len(ended := record.ended()) < search.trials:
        if deadline is not None and best_of(ended) is not None and time.monotonic() >= deadline:
            console.say(f"the time is used up after {console.counted(len(ended), 'trial', 'trials')}")
            return
        chosen = record.next(space, first, search.trials)
        if chosen is None:
            console.say(f"every combination was tried: {console.counted(len(ended), 'trial', 'trials')}")
            return
        console.say(f"trial {len(ended) + 1} of {search.trials}: {text_of(chosen)}")
        trial = tried(shared, trial_config(search.config, chosen), len(ended) + 1, chosen)
        record.end(trial)
        write_atomic(folder / TRIALS, trials_csv([*ended, trial], list(space)))
        best = best_of([*ended, trial])
        so_far = ", the best so far" if best is trial else ""
        console.say(f"  {outcome_text(trial)}{so_far}")


def timeout_seconds(timeout: float | str) -> float:
    """A time: 600, ``"90s"``, ``"10m"``, ``"1h30m"``.

    Raises:
        ConfigError: HS-CONFIG-002, it is none, or not above 0.
    """
    try:
        seconds: float | None = float(timeout)
    except ValueError:
        seconds = seconds_of(str(timeout))
    if seconds is None or not 0 < seconds < float("inf"):
        raise ConfigError(
            "HS-CONFIG-002",
            WHAT["HS-CONFIG-002"],
            details=[f"timeout must be a time above 0 such as 90s, 10m or 1h30m, but is {timeout!r}"],
        )
    return seconds
