"""What hears of a run as it goes: the user's epoch hook, and the tracker of ``track``.

A hook is called with each epoch. One that also has `Tracker`'s other methods hears of the start and the end.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from headstart import console
from headstart.config import Track, TrainConfig
from headstart.event_files import EventFiles

if TYPE_CHECKING:
    from headstart.training.fit import Epoch, EpochHook

SWITCHED_OFF = "HS-TRACK-001"
TRACKERS = {"tensorboard": EventFiles}
PACKAGES: dict[Track, str] = {"tensorboard": "tensorboard"}
"""What each tracker needs, of the extra ``track``."""


class Tracker(Protocol):
    """An epoch hook that hears of more. Each method but the call may be missing."""

    def begin_run(self, folder: Path, settings: Mapping[str, Any]) -> object:
        """Before the first step; also of a run that goes on.

        Args:
            folder: Of the run.
            settings: What ``config.yaml`` holds: nothing is left open, and ``plan`` is beside it.
        """

    def known_rows(self, rows: Sequence[Epoch]) -> object:
        """Of a run that goes on: the rows that it keeps from before. Later ones are trained again."""

    def __call__(self, row: Epoch, /) -> object:
        """With each epoch as it ends."""

    def end_run(self, metrics: Mapping[str, Any] | None) -> object:
        """At the end: what ``metrics.json`` holds; None of a run that failed."""


class Hooks:
    """All that hear of a run. One that raises is switched off with one warning, and the run goes on.

    Args:
        hooks: By how to call them in the warning.
    """

    def __init__(self, hooks: Mapping[str, EpochHook]) -> None:
        self._hooks = dict(hooks)

    def __call__(self, row: Epoch) -> None:
        self._tell("__call__", row)

    @contextlib.contextmanager
    def of_run(self, folder: Path, settings: Mapping[str, Any]) -> Iterator[None]:
        """Says that the run begins; `end_run` is for its end, and said here if it fails."""
        self._tell("begin_run", folder, settings)
        try:
            yield
        except BaseException:
            self.end_run(None)
            raise

    def known_rows(self, rows: Sequence[Epoch]) -> None:
        """As of `Tracker`."""
        if rows:
            self._tell("known_rows", rows)

    def end_run(self, metrics: Mapping[str, Any] | None) -> None:
        """As of `Tracker`."""
        self._tell("end_run", metrics)

    def _tell(self, method: str, *what: object) -> None:
        for name, hook in list(self._hooks.items()):
            listen = getattr(hook, method, None)
            if listen is None:
                continue
            try:
                listen(*what)
            except Exception as error:
                console.warn(
                    f"{SWITCHED_OFF}: {name} raised {type(error).__name__}: {error}. It is switched off."
                )
                del self._hooks[name]


def hooks_of(config: TrainConfig, hook: EpochHook | None) -> Hooks:
    """The user's hook, and the tracker that the settings name."""
    hooks: dict[str, EpochHook] = {} if hook is None else {"the epoch hook": hook}
    if config.track is not None:
        hooks[f"--track {config.track}"] = TRACKERS[config.track]()
    return Hooks(hooks)
