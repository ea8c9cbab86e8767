"""Accuracy by site, camera, lot: by any value that a picture has; whether the worst one is so by chance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headstart import console, metrics
from headstart.console import counted
from headstart.evaluation.evaluate import printable, with_interval
from headstart.evaluation.predictions import NO_TRUTH, Predictions

SMALL = 20
"""Pictures below which a value is not compared: where 19 of 19 are right, 17 % of new ones may be wrong."""
LEVEL = 0.05
SHOWN = 30


def figures_by(table: Predictions, values: Mapping[str, str]) -> dict[str, Any]:
    """Accuracy of the pictures of each value, each against all others.

    Values of 20 pictures or more are tested against the rest by Fisher's exact test; p is corrected for their
    number (Holm), so that "differs" is wrong for any of them 5 times of 100 at most, where pictures are
    independent of each other.

    Args:
        table: Rows without a truth are left aside.
        values: By path; a picture without one is counted only.

    Returns:
        ``values``: the lowest accuracy first, each with ``value``, ``accuracy`` and ``rest`` (``value``,
        ``n``, ``interval_95``), ``p`` (corrected; None where it was not compared) and ``differs``.
        ``worst``: the first of those that were compared, or None. ``n``, ``without_value``: pictures.
    """
    rows = table.rows(table.truth != NO_TRUTH)
    members: dict[str, list[int]] = {}
    for i, path in enumerate(rows.paths):
        if value := values.get(path, ""):
            members.setdefault(value, []).append(i)
    right, n = rows.correct, sum(map(len, members.values()))
    hits = {value: int(right[of].sum()) for value, of in members.items()}
    total = sum(hits.values())
    order = sorted(
        members, key=lambda value: (hits[value] / len(members[value]), -len(members[value]), value)
    )
    compared = [value for value in order if SMALL <= len(members[value]) <= n - SMALL]
    plain = [
        metrics.fisher_exact(hits[value], len(members[value]), total - hits[value], n - len(members[value]))
        for value in compared
    ]
    p = dict(zip(compared, metrics.holm(plain).tolist(), strict=True))
    found = [
        {
            "value": value,
            "accuracy": _share(hits[value], len(members[value])),
            "rest": _share(total - hits[value], n - len(members[value])),
            "p": p.get(value),
            "differs": p.get(value, 1.0) < LEVEL,
        }
        for value in order
    ]
    worst = next((one for one in found if one["p"] is not None), None)
    return {"n": n, "without_value": len(rows) - n, "values": found, "worst": worst}


def _share(right: int, n: int) -> dict[str, Any]:
    interval = list(metrics.wilson_interval(right, n)) if n else None
    return {"value": right / n if n else None, "n": n, "interval_95": interval}


def by_lines(found: Mapping[str, Any], column: str) -> list[str]:
    """The figures for a person: a table, the worst value in a sentence, and what is left aside."""
    rows = [
        (
            printable(one["value"]),
            with_interval(one["accuracy"]),
            with_interval(one["rest"]),
            "too few" if one["p"] is None else f"{one['p']:.3f}" + " *" * one["differs"],
        )
        for one in found["values"][:SHOWN]
    ]
    header = (printable(column), "accuracy", "of all others", "p (Fisher, Holm)")
    lines = ["", *console.table(header, rows).split("\n")]
    if (more := len(found["values"]) - SHOWN) > 0:
        lines.append(f"  and {counted(more, 'value', 'values')} of higher accuracy")
    lines.append(worst_line(found, column))
    if found["without_value"]:
        pictures = counted(found["without_value"], "picture has", "pictures have")
        lines.append(f"{pictures} no value in '{printable(column)}': not in this table")
    return lines


def worst_line(found: Mapping[str, Any], column: str) -> str:
    """Which value is worst, and whether more than chance says so."""
    worst = found["worst"]
    if worst is None:
        return f"no value has {SMALL} pictures beside {SMALL} others: these are too few to compare"
    name = f"'{printable(worst['value'])}'"
    said = f"worst: {name} with {with_interval(worst['accuracy'])}, all others {with_interval(worst['rest'])}"
    if worst["differs"] and worst["accuracy"]["value"] < worst["rest"]["value"]:
        return f"{said}: worse than the rest beyond chance (p = {worst['p']:.2g})"
    return f"{said}: no more than chance may make of so many values (p = {worst['p']:.2g})"
