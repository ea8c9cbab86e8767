"""The trials of a search, in Optuna's own format: ``study.db``, which its tools can open too.

A trial is better than another one if it names more selection pictures right; equal: with the lower log loss;
equal: the earlier one. That is the rule that chooses an epoch, so that a search cannot end below the settings
it began with by the measure that everything else here is judged by, and what guides the search is what
chooses in the end. The log loss alone would be less coarse on few pictures, but it punishes sure answers more
than wrong ones; as second key it still orders the many trials with equally many right. Optuna's sampler sees
nothing but the order of its values, so one number holds both: pictures named wrong + loss / (1 + loss).
"""

from __future__ import annotations

import contextlib
import json
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstart.console import table
from headstart.epoch_log import as_csv
from headstart.errors import MissingExtraError, RunError
from headstart.metrics import wilson_interval
from headstart.training.search_space import OneOf, Rate, Space, combinations, rounded

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

STUDY = "study.db"
RANDOM_TRIALS = 5  # before the sampler learns from what it saw; Optuna's ten would be half of a usual search
SHOWN_TRIALS = 10
COLUMNS = ("trial", "state", "correct", "n", "accuracy", "low_95", "high_95", "loss", "seconds")


@dataclass(frozen=True)
class Trial:
    """One trial that has ended.

    Attributes:
        number: From 1.
        settings: What it changed.
        correct: Selection pictures that it named right.
        n: Selection pictures.
        loss: Mean log loss on them, nats.
        seconds: It took.
        error: What went wrong instead; the figures are 0 then.
        balanced_accuracy: On them; nan where classes are not balanced. Where they are, so is the loss.
    """

    number: int
    settings: dict[str, Any]
    correct: int = 0
    n: int = 0
    loss: float = math.nan
    seconds: float = 0.0
    error: str = ""
    balanced_accuracy: float = math.nan

    @property
    def rank(self) -> tuple[float, float, int]:
        """Less is better: the rule that chooses an epoch, then the earlier trial."""
        return -self.right, self.loss, self.number

    @property
    def right(self) -> float:
        """Pictures that it named right; of as many, were each class equally large, where that chooses."""
        return self.correct if math.isnan(self.balanced_accuracy) else self.n * self.balanced_accuracy

    @property
    def accuracy(self) -> float:
        """On the selection pictures."""
        return self.correct / self.n if self.n else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval of `accuracy`, as if nothing had been chosen on these pictures."""
        return wilson_interval(self.correct, self.n)

    @property
    def value(self) -> float:
        """Less is better: by pictures named wrong, then by the loss."""
        return self.n - self.right + (self.loss / (1 + self.loss) if math.isfinite(self.loss) else 1.0)

    def to_dict(self) -> dict[str, Any]:
        """For YAML and JSON."""
        return {
            "trial": self.number,
            "settings": self.settings,
            "accuracy": {"value": self.accuracy, "n": self.n, "interval_95": list(self.interval)},
            **({} if math.isnan(self.balanced_accuracy) else {"balanced_accuracy": self.balanced_accuracy}),
            "loss": self.loss if math.isfinite(self.loss) else None,
            "selected_on": True,
        }


def best_of(trials: Sequence[Trial]) -> Trial | None:
    """The best trial by the rule; None if all failed."""
    complete = [trial for trial in trials if not trial.error]
    return min(complete, key=lambda trial: trial.rank, default=None)


class Trials:
    """The trials so far, and what to try next: a function of the seed and of how the earlier ones ended.

    So a search that was killed goes on as it would have. Made by `open_trials`.
    """

    def __init__(self, study: optuna.Study, seed: int) -> None:
        self.study = study
        self.seed = seed
        self.begun: optuna.Trial | None = None

    def ended(self) -> list[Trial]:
        """All that were trained to their end, or failed."""
        found: list[Trial] = []
        for trial in self.study.get_trials(deepcopy=False):
            if "outcome" in trial.user_attrs and trial.state.is_finished():
                found.append(Trial(**{**json.loads(trial.user_attrs["outcome"]), "number": len(found) + 1}))
        return found

    def next(self, space: Space, first: dict[str, Any], limit: int) -> dict[str, Any] | None:
        """What to try next: ``first``, then what the sampler says, nothing twice; None: all was tried.

        A space with no more points than ``limit`` is gone through in random order.
        """
        from optuna.samplers import TPESampler
        from optuna.trial import TrialState

        tried = [trial.settings for trial in self.ended()]
        points = combinations(space)
        chance = random.Random(f"{self.seed} {len(tried)}")
        if points is not None:
            points = [point for point in points if point not in tried]
            if not points:
                return None
        self.study.sampler = TPESampler(seed=chance.getrandbits(32), n_startup_trials=RANDOM_TRIALS)
        wanted = None if tried else rounded(first)
        if wanted is None and points is not None and len(points) + len(tried) <= limit:
            wanted = chance.choice(points)
        while True:
            if wanted is not None:
                self.study.enqueue_trial(wanted)
            self.begun = self.study.ask(distributions(space))
            settings = rounded({name: self.begun.params[name] for name in space})
            if settings not in tried and (wanted is None or settings == wanted):
                return settings
            self.study.tell(self.begun, state=TrialState.FAIL)
            wanted = wanted or (chance.choice(points) if points else None)

    def end(self, trial: Trial) -> None:
        """Notes how the trial under way ended."""
        from optuna.trial import TrialState

        assert self.begun is not None
        self.begun.set_user_attr("outcome", json.dumps(vars(trial)))
        if trial.error:
            self.study.tell(self.begun, state=TrialState.FAIL)
        else:
            self.study.tell(self.begun, trial.value)
        self.begun = None

    def abandon(self) -> None:
        """What was under way when the search stopped did not happen."""
        from optuna.trial import TrialState

        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            self.study.tell(trial.number, state=TrialState.FAIL)


@contextlib.contextmanager
def open_trials(folder: Path, seed: int) -> Iterator[Trials]:
    """The trials of a run, in its ``study.db``; made when there is none.

    Raises:
        MissingExtraError: HS-INSTALL-001.
        RunError: HS-RUN-025, the file is damaged, or cannot be written.
    """
    require_optuna()
    import optuna
    from optuna.exceptions import StorageInternalError
    from optuna.storages import RDBStorage
    from sqlalchemy import URL
    from sqlalchemy.exc import SQLAlchemyError

    path = folder / STUDY
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage: RDBStorage | None = None
    try:
        url = URL.create("sqlite", database=str(path.absolute())).render_as_string(hide_password=False)
        try:
            storage = RDBStorage(url)
        except RuntimeError as error:  # tables of another version
            raise unusable(path, error) from error
        study = optuna.create_study(
            storage=storage, study_name="headstart", direction="minimize", load_if_exists=True
        )
        trials = Trials(study, seed)
        trials.abandon()
        yield trials
    except (StorageInternalError, SQLAlchemyError) as error:
        raise unusable(path, error.__cause__ or error) from error
    finally:
        if storage is not None:
            storage.remove_session()
            storage.engine.dispose()
        optuna.logging.set_verbosity(level)


def unusable(path: Path, error: BaseException) -> RunError:
    return RunError(
        "HS-RUN-025",
        f"The record of trials cannot be read or written: {str(error).splitlines()[0]}.",
        where=path,
        fix="Free some space or change its permissions; if it is damaged, start a new search.",
    )


def require_optuna() -> None:
    """Says the pip line where the extra ``tune`` is not installed.

    Raises:
        MissingExtraError: HS-INSTALL-001.
    """
    from importlib.util import find_spec

    if find_spec("optuna") is None:
        raise MissingExtraError("tune", "Tuning")


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """The space as Optuna has it."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    return {
        name: FloatDistribution(one.low, one.high, log=True)
        if isinstance(one, Rate)
        else CategoricalDistribution(one.values)
        if isinstance(one, OneOf)
        else IntDistribution(one.low, one.high)
        for name, one in space.items()
    }


def text_of(settings: dict[str, Any]) -> str:
    """Settings on one line."""
    return ", ".join(f"{name} {value_text(value)}" for name, value in settings.items())


def value_text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def outcome_text(trial: Trial) -> str:
    """How a trial ended, on one line."""
    if trial.error:
        return f"failed: {trial.error}"
    low, high = trial.interval
    balanced = balanced_text(trial)
    return (
        f"{f'balanced accuracy {balanced}, ' if balanced else ''}"
        f"accuracy {trial.accuracy:.3f} ({low:.3f} to {high:.3f}, n = {trial.n}), loss {trial.loss:.3f}, "
        f"{trial.seconds:.1f} s"
    )


def balanced_text(trial: Trial) -> str:
    """Its balanced accuracy, where that chooses."""
    return "" if math.isnan(trial.balanced_accuracy) else f"{trial.balanced_accuracy:.3f}"


def trials_csv(trials: Sequence[Trial], fields: Sequence[str]) -> str:
    """``trials.csv``: a row per trial, in order."""
    rows = []
    balanced = any(map(balanced_text, trials))
    for trial in trials:
        low, high = trial.interval
        figures = (trial.correct, trial.n, trial.accuracy, low, high, trial.loss, trial.seconds)
        values = ("failed", *("" for _ in figures)) if trial.error else ("complete", *figures)
        row = dict(zip(COLUMNS, (trial.number, *values), strict=True))
        row |= {name: trial.settings[name] for name in fields} | {"error": trial.error}
        rows.append(row | ({"balanced_accuracy": balanced_text(trial)} if balanced else {}))
    return as_csv(rows)


def trials_table(trials: Sequence[Trial], fields: Sequence[str]) -> str:
    """The best trials, and the first one, for a person."""
    complete = sorted((t for t in trials if not t.error), key=lambda t: t.rank)
    balanced = any(map(balanced_text, complete))
    shown = complete[:SHOWN_TRIALS] + [t for t in complete[SHOWN_TRIALS:] if t.number == 1]
    rows = []
    for trial in shown:
        low, high = trial.interval
        rows.append(
            (
                f"{trial.number}{' (as given)' if trial.number == 1 else ''}",
                *(value_text(trial.settings[name]) for name in fields),
                *([balanced_text(trial)] if balanced else []),
                f"{trial.accuracy:.3f}",
                f"{low:.3f} to {high:.3f}",
                f"{trial.loss:.3f}",
                f"{trial.seconds:.1f}",
            )
        )
    n = shown[0].n if shown else 0
    shared = ("balanced accuracy",) if balanced else ()
    header = ("trial", *fields, *shared, f"accuracy (n = {n})", "95 % interval", "loss", "seconds")
    return table(header, rows)
