"""Of a report: accuracy by group, or by the values of a column."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headstart.evaluation.by_value import SMALL, figures_by
from headstart.evaluation.predictions import Predictions
from headstart.evaluation.report_numbers import Numbers
from headstart.evaluation.report_record import Record

GROUPS = 30


def groups(record: Record, rows: Predictions, tell: Numbers) -> dict[str, Any] | None:
    """Accuracy of each group, or of each value of a column; whether the worst is so by chance.

    Args:
        record: Its groups, and the column that they are of.
        rows: The reported pictures.
    """
    found = figures_by(rows, record.groups)
    if len(found["values"]) < 2:
        return None

    def told(figure: Mapping[str, Any]) -> tuple[str, str]:
        return tell.percent(figure["value"]), tell.interval(figure["interval_95"])

    w, column, worst = tell.w, record.column, found["worst"]
    if worst is None:
        said = w["too_few_to_compare"].format(n=SMALL)
    else:
        worse = worst["differs"] and worst["accuracy"]["value"] < worst["rest"]["value"]
        (value, interval), (rest, _) = told(worst["accuracy"]), told(worst["rest"])
        numbers = {"name": worst["value"], "value": value, "interval": interval, "rest": rest}
        said = w["worst_beyond_chance" if worse else "worst_by_chance"].format(
            **numbers, p=f"{worst['p']:.2g}"
        )
    return {
        "title": w["groups_by"].format(column=column) if column else w["groups"],
        "header": column or w["group"],
        "text": w["by_are"].format(column=column) if column else w["groups_are"],
        "said": said,
        "without": w["without_value"].format(n=f"{found['without_value']:,}")
        if column and found["without_value"]
        else "",
        "rows": [
            {
                "name": one["value"],
                "n": f"{one['accuracy']['n']:,}",
                "accuracy": told(one["accuracy"]),
                "p": w["too_few"] if one["p"] is None else f"{one['p']:.3f}",
                "differs": one["differs"],
            }
            for one in found["values"][:GROUPS]
        ],
        "more": max(0, len(found["values"]) - GROUPS),
    }
