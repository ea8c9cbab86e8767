"""The record of trials: which is better, what comes next, what is kept of a search that was killed."""

from __future__ import annotations

import math
import sqlite3
from pathlib import Path
from typing import Any

import optuna
import pytest

from headstart.errors import MissingExtraError, RunError
from headstart.training.search_space import OneOf, Rate, Space, Whole
from headstart.trials import STUDY, Trial, Trials, best_of, open_trials, trials_csv, trials_table

SPACE: Space = {"lr": Rate(3e-5, 3e-3), "epochs": Whole(4, 24), "freeze": OneOf(("stage4", "stage5"))}
FIRST = {"lr": 3e-4, "epochs": 12, "freeze": "stage5"}


def judged(settings: dict[str, Any], number: int) -> Trial:
    """Few epochs at small rates are best."""
    return Trial(number, settings, 50 - settings["epochs"], 50, 1000 * settings.get("lr", 0.001), 1.0)


def carry_out(trials: Trials, space: Space, first: dict[str, Any], limit: int) -> list[dict[str, Any]]:
    """Trials up to a number of all."""
    chosen = []
    while len(trials.ended()) < limit:
        settings = trials.next(space, first, limit)
        if settings is None:
            break
        chosen.append(settings)
        trials.end(judged(settings, len(trials.ended()) + 1))
    return chosen


def test_the_rule() -> None:
    first, failed = Trial(1, {}, 8, 10, 0.5), Trial(2, {}, error="HS-RUN-010: no")
    lower, higher = Trial(3, {}, 8, 10, 0.4), Trial(4, {}, 9, 10, 3.0)
    assert best_of([]) is best_of([failed]) is None
    assert best_of([first, failed]) is first
    assert best_of([first, lower]) is lower
    assert best_of([first, lower, higher]) is higher  # accuracy goes before the loss
    assert best_of([first, Trial(5, {}, 8, 10, 0.5)]) is first
    # the sampler sees the same order
    assert higher.value < lower.value < first.value
    assert Trial(6, {}, 8, 10, math.inf).value <= Trial(7, {}, 7, 10, 0.0).value


def test_the_first_trial_is_as_given_and_the_search_repeats(tmp_path: Path) -> None:
    found = []
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        (tmp_path / name).mkdir()
        with open_trials(tmp_path / name, seed) as trials:
            found.append(carry_out(trials, SPACE, FIRST, 9))
    assert found[0] == found[1] != found[2]
    for chosen in found:
        assert chosen[0] == FIRST
        assert len({str(settings) for settings in chosen}) == 9


def test_a_search_goes_on_as_it_would_have(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "parts").mkdir()
    with open_trials(tmp_path / "whole", 3) as trials:
        whole = carry_out(trials, SPACE, FIRST, 8)
    parts = []
    for limit in (0, 2, 7):
        with open_trials(tmp_path / "parts", 3) as trials:
            parts += carry_out(trials, SPACE, FIRST, limit)
            trials.next(SPACE, FIRST, 8)  # and is killed while this one trains
    with open_trials(tmp_path / "parts", 3) as trials:
        parts += carry_out(trials, SPACE, FIRST, 8)
        assert [trial.number for trial in trials.ended()] == list(range(1, 9))
        assert [trial.settings for trial in trials.ended()] == whole
    assert parts == whole


def test_a_small_space_is_gone_through_once(tmp_path: Path) -> None:
    space: Space = {"epochs": Whole(4, 6), "freeze": OneOf(("stage4", "stage5"))}
    first = {"epochs": 5, "freeze": "stage5"}
    with open_trials(tmp_path, 0) as trials:
        chosen = carry_out(trials, space, first, 20)
        assert chosen[0] == first
        assert len(chosen) == len({str(settings) for settings in chosen}) == 6
        assert trials.next(space, first, 20) is None


def test_nothing_is_tried_twice_in_a_space_that_is_larger_than_the_search(tmp_path: Path) -> None:
    space: Space = {"epochs": Whole(4, 10), "freeze": OneOf(("stage4", "stage5"))}
    with open_trials(tmp_path, 0) as trials:
        chosen = carry_out(trials, space, {"epochs": 5, "freeze": "stage5"}, 13)
    assert len({str(settings) for settings in chosen}) == 13


def test_failed_trials_count_and_are_no_model(tmp_path: Path) -> None:
    with open_trials(tmp_path, 0) as trials:
        settings = trials.next(SPACE, FIRST, 5)
        assert settings is not None
        trials.end(Trial(1, settings, error="HS-RUN-011: too large"))
        assert trials.next(SPACE, FIRST, 5) != FIRST
        (failed,) = trials.ended()
        assert failed.error == "HS-RUN-011: too large"
        lines = trials_csv([failed], list(SPACE)).splitlines()
        assert lines[1] == "1,failed,,,,,,,,0.0003,12,stage5,HS-RUN-011: too large"


def test_optuna_opens_the_study(tmp_path: Path) -> None:
    folder = tmp_path / "a b?c%41#猫"
    folder.mkdir()
    before = optuna.logging.get_verbosity()
    with open_trials(folder, 0) as trials:
        carry_out(trials, SPACE, FIRST, 2)
    assert optuna.logging.get_verbosity() == before
    (folder / STUDY).rename(tmp_path / STUDY)
    storage = optuna.storages.RDBStorage(f"sqlite:///{tmp_path / STUDY}")
    study = optuna.load_study(study_name="headstart", storage=storage)
    assert [trial.params["epochs"] for trial in study.trials[:1]] == [12]
    storage.remove_session()
    storage.engine.dispose()


def test_a_damaged_record(tmp_path: Path) -> None:
    (tmp_path / STUDY).write_bytes(b"no database at all" * 100)
    with pytest.raises(RunError, match="cannot be read or written") as caught, open_trials(tmp_path, 0):
        pass
    assert caught.value.code == "HS-RUN-025"


def test_a_record_that_is_locked_or_read_only(tmp_path: Path) -> None:
    with pytest.raises(RunError) as caught, open_trials(tmp_path, 0):
        raise sqlite_error()
    assert caught.value.code == "HS-RUN-025"
    assert "disk is full" in str(caught.value)


def sqlite_error() -> Exception:
    from optuna.exceptions import StorageInternalError

    error = StorageInternalError("An exception is raised during the commit.")
    error.__cause__ = sqlite3.OperationalError("database or disk is full")
    return error


def test_without_optuna(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="Tuning needs packages") as caught, open_trials(tmp_path, 0):
        pass
    assert 'pip install "headstart[tune]"' in str(caught.value)


def test_the_table_shows_the_best_and_the_first() -> None:
    ended = [judged({"lr": 1e-4 * k, "epochs": 24 - k, "freeze": "stage5"}, k) for k in range(1, 16)]
    lines = trials_table(ended, list(SPACE)).splitlines()
    assert " ".join(lines[0].split()) == (
        "trial lr epochs freeze accuracy (n = 50) 95 % interval loss seconds"
    )
    assert [line.split()[0] for line in lines[1:]] == [*map(str, range(15, 5, -1)), "1"]
    assert "(as given)" in lines[-1]
