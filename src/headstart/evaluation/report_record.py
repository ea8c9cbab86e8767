"""What a report tells of: all that a run left in its folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headstart.data.overrides import Decision
from headstart.evaluation.predictions import Predictions
from headstart.evaluation.robustness import Robustness


@dataclass(frozen=True)
class Record:
    """What a run left behind, as far as it is there.

    Attributes:
        name: Of the run.
        figures: ``metrics.json``.
        predictions: ``predictions.csv``.
        epochs: Rows of ``results.csv``.
        findings: ``findings.json``; None where nothing was looked for.
        settings: ``config.yaml``.
        card: ``model/model.json``; empty where the run has no model of its own.
        sizes: Pictures of each part of the data.
        groups: Group of each picture that belongs to a named one, by path; or its value in ``column``.
        column: Of a table; empty where the groups are those of the data.
        root: Where the pictures are now; None where that is not known.
        model: Folder of the run's model; None if it has none of its own.
        comparison: As `headstart.evaluation.compare.Comparison.to_dict`; empty if the run stands alone.
        suspects: Pictures whose labels are doubtful, the most doubtful first.
        trained: Pictures that the suspects are some of.
        robustness: Figures on corrupted pictures.
    """

    name: str
    figures: Mapping[str, Any]
    predictions: Predictions
    epochs: Sequence[Mapping[str, str]] = ()
    findings: Sequence[Mapping[str, Any]] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    card: Mapping[str, Any] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    groups: Mapping[str, str] = field(default_factory=dict)
    column: str = ""
    root: Path | None = None
    model: Path | None = None
    comparison: Mapping[str, Any] = field(default_factory=dict)
    suspects: Sequence[Decision] = ()
    trained: int = 0
    robustness: Sequence[Robustness] = ()
