"""The commands on what a run has found: `headstart report`, `suspects`, `threshold` and `explain`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

import headstart
from headstart.cli_input import Json
from headstart.cli_output import print_result, say, show_json
from headstart.console import counted
from headstart.errors import UsageError

LINES = 20  # more pictures than this: only those that were not drawn are named


def report(
    run: Path,
    /,
    *,
    lang: Literal["en", "zh"] = "en",
    images: Path | None = None,
    against: Annotated[tuple[Path, ...], Parameter(negative=())] = (),
    by: str | None = None,
    table: Path | None = None,
    json: Json = False,
) -> int:
    """Write the page and the model card of a run again: report.html, report.md.

    Args:
        run: Folder of a run, of a cross-validation, or of an evaluation.
        lang: Language: en, zh.
        images: Where the pictures are now, if they have moved since.
        against: Another run, to be compared on the same pictures (repeatable).
        by: A column of the table that the pictures come from (site, camera, lot): its values stand in the
            place of the groups.
        table: The table that has the column of --by, where the pictures come from none.
        json: Print the files as one JSON object.
    """
    page = headstart.report(run, lang=lang, images=images, against=against, by=by, table=table)
    card = page.with_suffix(".md")
    print_result({"page": str(page), "card": str(card)} if json else f"{page}\n{card}", as_json=json)
    return 0


def suspects(
    run: Path,
    /,
    *,
    output: Annotated[Path | None, Parameter(alias="-o")] = None,
    lang: Literal["en", "zh"] = "en",
    images: Path | None = None,
    json: Json = False,
) -> int:
    """List training pictures whose label is probably wrong, for decisions that `train --overrides` reads.

    Args:
        run: Folder of a run.
        output: The table; the page stands beside it. Decisions in a table that is there are kept. Default:
            suspects.csv in the run's folder.
        lang: Language of the page: en, zh.
        images: Where the pictures are now, if they have moved since.
        json: Print files and count as one JSON object.
    """
    from headstart.console import counted
    from headstart.run_report import label_suspects

    table, page, n = label_suspects(run, output=output, lang=lang, images=images)
    print_result(
        {"table": str(table), "page": str(page), "suspects": n} if json else f"{table}\n{page}", as_json=json
    )
    say(f"{counted(n, 'label', 'labels')} to look at")
    if n:
        say(
            f"next: write keep, relabel or drop into its column decision, then train with --overrides {table}"
        )
    return 0


def threshold(
    run: Path,
    /,
    *,
    min_recall: str | None = None,
    costs: Path | None = None,
    clear: Annotated[bool, Parameter(negative=())] = False,
    json: Json = False,
) -> int:
    """Let the model of a run find one class more often, or answer by what mistakes cost.

    Args:
        run: Folder of a run.
        min_recall: A class that must not be missed, and how much of it is to be found: cracked=0.98. Decided
            by pictures that neither trained nor chose the model; `headstart predict` applies it.
        costs: A table (CSV) of what each answer costs, a row for each true class, a column for each answer;
            `headstart predict` then gives the answer of least expected cost. A column ask is what it costs to
            leave a picture to a person.
        clear: Take either back, as a call without any flag does: the most probable class is answered.
        json: Print what was found, with its figures, as one JSON object.
    """
    if clear and (min_recall is not None or costs is not None):
        raise UsageError(
            "HS-EVAL-073",
            "--clear takes back what --min-recall and --costs ask for.",
            fix="Give --clear alone, or leave it out: a new rule takes the place of the old one.",
        )
    found = headstart.threshold(run, min_recall, costs=costs)
    if json:
        show_json(found)
    return 0


def explain(
    run: Path,
    /,
    *paths: Path,
    output: Annotated[Path, Parameter(alias="-o")] = Path("explained"),
    of: str | None = None,
    device: str | None = None,
    json: Json = False,
) -> int:
    """Draw where the model looks: each picture as the network sees it, and its heat map.

    Args:
        run: Folder of a run.
        paths: Pictures, and folders to go through recursively.
        output: Folder for the drawings, NAME.heat.png; no file in it is overwritten.
        of: Class that the heat speaks for. Default: the one that the model names.
        device: cpu, cuda, cuda:1, mps.
        json: Print a row for each picture as one JSON object.
    """
    from headstart.run_explain import explain as draw

    if not paths:
        raise UsageError(
            "HS-USAGE-003", "No pictures were given.", fix="headstart explain RUN PICTURE_OR_FOLDER..."
        )
    rows = draw(run, paths, output, of=of, device=device)
    if json:
        show_json({"pictures": rows})
    else:
        told = [row for row in rows if not row["file"]] if len(rows) > LINES else rows
        for row in told:
            say(f"{row['path']}: {row['prediction'] or row['reason']}, {row['file'] or 'not drawn'}")
        say(f"{output}: {counted(sum(bool(row['file']) for row in rows), 'heat map', 'heat maps')}")
    return 0 if any(row["file"] for row in rows) else 1
