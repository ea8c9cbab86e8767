"""What a search was asked for, and what it found: ``tune.yaml``, the table, the command that repeats it."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from headstart import console
from headstart.config import TrainConfig, plain, to_mapping, with_absolute_paths
from headstart.data.sources import Data
from headstart.run import given
from headstart.run_folder import Run, data_text
from headstart.storage import write_atomic
from headstart.trials import Trial, best_of, trials_table
from headstart.versions import versions

if TYPE_CHECKING:
    from headstart.training.plan import Plan
    from headstart.training.search_space import Space

SEARCH = "tune.yaml"


@dataclass(frozen=True)
class Search:
    """What was asked for.

    Attributes:
        data: As for `headstart.train`.
        config: The settings that hold for all trials.
        fields: Names of the settings that are searched.
        trials: Their number.
        folder: Of the run that goes on; None for a new one.
    """

    data: Data
    config: TrainConfig
    fields: tuple[str, ...]
    trials: int
    folder: Path | None = None


def trial_config(config: TrainConfig, chosen: dict[str, Any]) -> TrainConfig:
    """The settings of a trial."""
    return dataclasses.replace(config, **chosen)


def write_search(search: Search, folder: Path, outcome: dict[str, Any] | None = None) -> None:
    """``tune.yaml``: what was asked for, from which a search goes on, and at its end what was found."""
    values = {
        "data": data_text(search.data),
        "trials": search.trials,
        "fields": list(search.fields),
        "settings": to_mapping(with_absolute_paths(search.config)),
        "versions": versions(),
    }
    if outcome is not None:
        values["outcome"] = outcome
    write_atomic(folder / SEARCH, yaml.safe_dump(values, allow_unicode=True, sort_keys=False))


def search_lines(search: Search, space: Space, plan: Plan) -> list[str]:
    """The search for a person, before it begins."""
    accuracy = "accuracy" if plan.recipe.balance == "none" else "balanced accuracy"
    lines = [
        f"search: {console.counted(search.trials, 'trial', 'trials')}, each judged on "
        f"{plan.selection_pictures} selection pictures ({accuracy}; equal: the lower loss)",
        console.table(("field", "from"), [(name, str(one)) for name, one in space.items()]),
        "the first trial is the settings as given",
    ]
    if not search.config.cache:
        lines.append("warning: without --cache every trial runs the frozen part of the network anew")
    return lines


def report(search: Search, run: Run, ended: Sequence[Trial]) -> None:
    """Says and writes what was found."""
    best = best_of(ended)
    if best is None:
        return
    failed = sum(bool(trial.error) for trial in ended)
    complete = len(ended) - failed
    write_search(
        search,
        run.path,
        {"trials": complete, "failed": failed, "best": best.to_dict(), "first": first_of(ended)},
    )
    of = console.counted(complete, "trial", "trials")
    console.say(f"\n{of}{f', {failed} more failed' if failed else ''}; the best:")
    console.say(trials_table(ended, list(best.settings)))
    low, high = run.interval
    console.say(
        f"The selection accuracy of the best of {of} is optimistic, as it was chosen for being high. The "
        f"reported one, {run.accuracy:.3f} ({low:.3f} to {high:.3f}, n = {run.metrics['n']}), is not: "
        "nothing was chosen on its pictures."
    )
    console.say(f"the same again: {repeating(search, best.settings)}")


def first_of(ended: Sequence[Trial]) -> dict[str, Any] | None:
    """The trial of the settings as given, unless it failed."""
    return ended[0].to_dict() if not ended[0].error else None


def outcome_of(run: Run) -> dict[str, Any]:
    """What a search found: numbers of trials, the best one, the first one."""
    values = yaml.safe_load((run.path / SEARCH).read_text(encoding="utf-8"))
    found: dict[str, Any] = values.get("outcome") or {}
    return found


def repeating(search: Search, chosen: dict[str, Any]) -> str:
    """The command, or for a list the call, that trains with these settings."""
    config = trial_config(search.config, chosen)
    values = {name: plain(getattr(config, name)) for name in dict.fromkeys([*given(config), *chosen])}
    if not isinstance(search.data, str | PathLike):
        return f"headstart.train(data, {', '.join(f'{name}={value!r}' for name, value in values.items())})"
    words = ["headstart", "train", str(search.data)]
    for name, value in values.items():
        for item in value if isinstance(value, list) else [value]:
            words += [f"--{name.replace('_', '-')}", str(item)]
    return shlex.join(words)
