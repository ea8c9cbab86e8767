"""`headstart report`: the page and the model card of a run, made from what is in its folder."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from glob import escape
from os import PathLike
from pathlib import Path
from typing import Any

import yaml

from headstart import console
from headstart.data.lock import OK, read_lock
from headstart.data.page import can_draw
from headstart.data.splits import SPLITS
from headstart.errors import ConfigError, DataError, RunError
from headstart.evaluation.compare import compare
from headstart.evaluation.predictions import Predictions
from headstart.evaluation.report import REPORT, write_report, write_suspects
from headstart.evaluation.report_record import Record
from headstart.evaluation.report_words import LANGUAGES, Language
from headstart.model.card import MODEL_FOLDER, has_model, read_card
from headstart.run_evaluation import EVALUATIONS, figures_of, identified, reported_split
from headstart.run_folder import CONFIG, FINDINGS, Run
from headstart.run_suspects import OUT_OF_FOLD, Ranking, ranking_of, suspects

COMPARISON = "comparison.json"  # in the folder of a comparison, beside its runs


def report(
    run: Run | str | PathLike[str],
    *,
    lang: Language = "en",
    images: str | PathLike[str] | None = None,
    against: Sequence[Run | str | PathLike[str]] = (),
) -> Path:
    """Writes ``report.html`` and ``report.md`` of a run again.

    Args:
        run: A run or its folder; an evaluation (``RUN/evaluations/NAME``) or a cross-validation will do.
        lang: Of all words but those of the data's findings: ``en`` or ``zh``.
        images: Where the pictures are now, if they have moved.
        against: Other runs, to be compared on the pictures that all of them answered. Default: of a run of
            `headstart compare`, its other runs of the same seed.

    Returns:
        The page.

    Raises:
        RunError: HS-EVAL-001 or -002, the run's figures are missing or unusable; and as
            `headstart.evaluation.compare.compare`.
        ConfigError: HS-EVAL-040, no such language.
        DataError: HS-DATA-001, ``images`` is no folder.
        MissingExtraError: HS-INSTALL-001, Jinja2 is not installed.
    """
    check_options(lang, images)
    folder = folder_of(run)
    found = record_of(folder, None if images is None else Path(images))
    if others := [folder_of(other) for other in against] or beside(folder):
        found = dataclasses.replace(found, comparison=compared(folder, others, found))
    page, _ = write_report(found, folder, lang)
    return page


def label_suspects(
    run: Run | str | PathLike[str],
    *,
    output: str | PathLike[str] | None = None,
    lang: Language = "en",
    images: str | PathLike[str] | None = None,
) -> tuple[Path, Path, int]:
    """Writes the table of suspected labels for decisions, and a page that shows them.

    Args:
        run: A run or its folder.
        output: The table; the page stands beside it. Default: ``suspects.csv`` in the run's folder.
        lang: Of the page.
        images: Where the pictures are now, if they have moved.

    Returns:
        The table, the page, and the number of suspects.

    Raises:
        RunError, DataError: as `headstart.run_suspects.suspects` and `report`.
    """
    check_options(lang, images)
    folder = folder_of(run)
    table, ranking = suspects(folder, output=output)
    found = record_of(folder, None if images is None else Path(images))
    page = table.with_name(f"{table.name if table.suffix == '.html' else table.stem}.html")
    write_suspects(found, page, lang)
    return table, page, ranking.suspects


def write_report_of(folder: Path) -> None:
    """The report at the end of a training; what goes wrong costs a warning, never the run.

    Args:
        folder: Of the run.
    """
    if not can_draw():
        return
    try:
        write_report(record_of(folder, None), folder)
    except Exception as error:
        console.warn(f"{REPORT} cannot be written: {error}. The run is complete without it.")


def check_options(lang: str, images: str | PathLike[str] | None) -> None:
    """Refuses what cannot be written or read.

    Raises:
        ConfigError: HS-EVAL-040.
        DataError: HS-DATA-001.
    """
    if lang not in LANGUAGES:
        raise ConfigError(
            "HS-EVAL-040",
            f"There are no reports in the language '{lang}'.",
            fix=f"Take one of: {', '.join(LANGUAGES)}",
        )
    check_images(images)


def check_images(images: str | PathLike[str] | None) -> None:
    """Refuses a place of pictures that is none.

    Raises:
        DataError: HS-DATA-001.
    """
    if images is not None and not Path(images).is_dir():
        raise DataError(
            "HS-DATA-001",
            "There is no such folder.",
            where=images,
            fix="Give the folder that the paths of dataset.csv begin in.",
        )


def folder_of(run: Run | str | PathLike[str]) -> Path:
    """A run's folder."""
    return run.path if isinstance(run, Run) else Path(run)


def record_of(folder: Path, root: Path | None) -> Record:
    """What a run, an evaluation or a cross-validation left in its folder.

    Args:
        folder: Of the run.
        root: Where the pictures are; None: where they were.

    Raises:
        RunError: HS-EVAL-001, -002.
    """
    figures = figures_of(folder)
    predictions = Predictions.read_csv(folder / "predictions.csv")
    measured_later = folder.parent.name == EVALUATIONS and not (folder / CONFIG).is_file()
    home = folder.parent.parent if measured_later else folder
    own, settings = home == folder, settings_of(home)
    if root is None:
        root = Path(figures["root"]) if figures.get("root") else root_of(settings) if own else None
    run = Run(home)
    rows = []
    with contextlib.suppress(RunError):
        rows = [row for row in read_lock(folder) if row.status == OK]
    sizes = {split: sum(row.split == split for row in rows) for split in SPLITS}
    ranking = Ranking((), 0)
    if (folder / OUT_OF_FOLD).is_file():
        ranking = ranking_of(folder)
    return Record(
        name=folder.name if own else f"{home.name}: {folder.name}",
        figures=figures,
        predictions=predictions,
        epochs=run.results if own and (home / "results.csv").is_file() else (),
        findings=run.findings if (folder / FINDINGS).is_file() else None,
        settings=settings,
        card=read_card(home / MODEL_FOLDER) if has_model(home) else {},
        sizes={split: n for split, n in sizes.items() if n},
        groups={row.path: row.group_name for row in rows if row.group_name},
        root=root,
        comparison=figures.get("comparison") or {},
        suspects=ranking.rows[: ranking.suspects],
        trained=len(ranking.rows),
    )


def settings_of(folder: Path) -> dict[str, Any]:
    """``config.yaml``; empty where it is missing or cannot be read."""
    try:
        found = yaml.safe_load((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return found if isinstance(found, dict) else {}


def root_of(settings: dict[str, Any]) -> Path | None:
    """Where the pictures of a run of before this was noted are: its data folder."""
    place = Path(str(settings.get("images") or settings.get("data") or ""))
    return place if place.is_dir() else place.parent if place.is_file() else None


def beside(folder: Path) -> list[Path]:
    """Of a run of a comparison, the ended runs of the same seed beside it."""
    _, marked, seed = folder.name.rpartition("-seed")
    if not (marked and (folder.parent / COMPARISON).is_file()):
        return []
    runs = sorted(folder.parent.glob(f"*-seed{escape(seed)}"))
    return [run for run in runs if run != folder and (run / "metrics.json").is_file()]


def compared(folder: Path, others: Sequence[Path], record: Record) -> dict[str, Any]:
    """The run and others on the pictures that all of them answered.

    Raises:
        RunError: HS-EVAL-001, -002, and as `headstart.evaluation.compare.compare`.
    """
    names = [record.name, *(other.name for other in others)]
    if len(set(names)) < len(names):
        names = [record.name, *map(str, others)]
    tables = {}
    for name, place in zip(names, (folder, *others), strict=True):
        table = Predictions.read_csv(place / "predictions.csv").of_split(reported_split(place))
        tables[name] = identified(table, place)
    return compare(tables).to_dict()
