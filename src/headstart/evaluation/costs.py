"""A table of costs: read from a file, decided by, and what it brings.

The answer to a picture is the one of least expected cost, by the calibrated probabilities (C. Elkan, The
Foundations of Cost-Sensitive Learning, IJCAI 2001). Asking a person is an answer with costs of its own
(C. K. Chow, On Optimum Recognition Error and Reject Tradeoff, IEEE Transactions on Information Theory 16
(1970) 41-46).
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from headstart import console, metrics
from headstart.data.listing import nfc
from headstart.data.tables import DELIMITERS
from headstart.errors import ConfigError, nearest
from headstart.evaluation.evaluate import printable, with_interval
from headstart.evaluation.predictions import NO_TRUTH, Predictions

ASK = "ask"
"""The answer that leaves a picture to a person, where no class has this name."""
HIGHEST = 1e12
ROUNDING = 1e-12  # of the highest cost: what lies closer together is the same expected cost


@dataclass(frozen=True, eq=False)
class Costs:
    """What each answer costs.

    Attributes:
        classes: C names, in the model's order.
        values: float64 [C, A], 0 to 1e12: row = truth, column = answer; A is C, or C + 1 with `ASK` last.
    """

    classes: tuple[str, ...]
    values: NDArray[np.float64]

    @property
    def answer_names(self) -> tuple[str, ...]:
        """Names of the A answers."""
        return (*self.classes, ASK)[: self.values.shape[1]]

    @property
    def asks(self) -> bool:
        """Whether a person may be asked."""
        return len(self.answer_names) > len(self.classes)

    def answers(self, probabilities: ArrayLike) -> NDArray[np.int64]:
        """Index of the answer of least expected cost, int64 [n], of probabilities float64 [n, C].

        Of equally cheap ones the most probable class, and asking last: costs of 0 and 1 give the arg max.
        """
        p = np.asarray(probabilities, dtype=np.float64)
        expected = p @ self.values
        cheap = expected <= expected.min(axis=1, keepdims=True) + ROUNDING * self.values.max()
        likely = np.full(expected.shape, -1.0)
        likely[:, : p.shape[1]] = p
        return np.asarray(np.where(cheap, likely, -2.0).argmax(axis=1), dtype=np.int64)

    def of(self, truth: NDArray[np.int64], answers: NDArray[np.int64]) -> NDArray[np.float64]:
        """What answers cost, float64 [n]."""
        return np.asarray(self.values[truth, answers])

    def never_answered(self) -> list[tuple[str, str]]:
        """Classes that are never the cheapest answer, each with one that never costs more."""
        found = []
        for j, name in enumerate(self.classes):
            others = [k for k in range(self.values.shape[1]) if k != j]
            better = (
                k
                for k in others
                if (self.values[:, k] <= self.values[:, j]).all()
                and (self.values[:, k] < self.values[:, j]).any()
            )
            if (k := next(better, None)) is not None:
                found.append((name, self.answer_names[k]))
        return found

    def to_dict(self) -> dict[str, Any]:
        """For JSON, and the card of a model."""
        return {"answers": list(self.answer_names), "table": self.values.tolist()}

    @classmethod
    def from_card(cls, card: Mapping[str, Any]) -> Costs | None:
        """What `headstart threshold --costs` put there; None if nothing.

        Raises:
            ValueError, KeyError, TypeError: It makes no sense.
        """
        entry = card.get("costs")
        if entry is None:
            return None
        classes = tuple(card["classes"])
        values = np.array(entry["table"], dtype=np.float64)
        answers = tuple(entry["answers"])
        if answers not in (classes, (*classes, ASK)) or values.shape != (len(classes), len(answers)):
            raise ValueError("its costs are not those of its classes")
        if not ((values >= 0) & (values <= HIGHEST)).all():
            raise ValueError("its costs are not from 0 on")
        return cls(classes, values)


# --- what it brings ------------------------------------------------------------------------------------


def cost_figures(costs: Costs, table: Predictions) -> dict[str, Any]:
    """What the answers cost, by the most probable class and by the table; ready for JSON.

    Args:
        costs: Of the table's classes.
        table: Rows without a truth are left aside.

    Returns:
        ``before`` and ``after``: ``cost`` (mean of a picture), ``accuracy``, ``asked`` (share that is left to
        a person) and ``recall`` by class; ``saved``: mean difference of a picture's cost, of the same
        pictures. Each as ``{"value", "n", "interval_95"}``; a picture that is left to a person counts as not
        found.
    """
    rows = table.rows(table.truth != NO_TRUTH)
    told = rows.prediction, costs.answers(rows.probabilities)
    spent = [costs.of(rows.truth, answers) for answers in told]
    least, most = float(costs.values.min()), float(costs.values.max())
    before, after = (
        _side(costs, rows.truth, answers, _mean(cost, least, most))
        for answers, cost in zip(told, spent, strict=True)
    )
    return {
        "n": len(rows),
        "before": before,
        "after": after,
        "saved": _mean(spent[0] - spent[1], least - most, most - least),
    }


def _side(
    costs: Costs, truth: NDArray[np.int64], answers: NDArray[np.int64], cost: dict[str, Any]
) -> dict[str, Any]:
    right = answers == truth
    return {
        "cost": cost,
        "accuracy": _share(right),
        "asked": _share(answers == len(costs.classes)),
        "recall": {name: _share(right[truth == c]) for c, name in enumerate(costs.classes)},
    }


def _share(hits: NDArray[np.bool_]) -> dict[str, Any]:
    n, k = len(hits), int(hits.sum())
    return {"value": k / n if n else None, "n": n, "interval_95": _pair(metrics.wilson_interval(k, n))}


def _mean(values: NDArray[np.float64], least: float, most: float) -> dict[str, Any]:
    n = len(values)
    interval = _pair(metrics.levels_interval(values, least, most))
    return {"value": float(values.mean()) if n else None, "n": n, "interval_95": interval}


def _pair(interval: metrics.Interval) -> list[float] | None:
    return None if math.isnan(interval[0]) else [float(limit) for limit in interval]


def cost_lines(found: Mapping[str, Any], place: str) -> list[str]:
    """Both sides as a table for a person, and what is saved.

    Args:
        found: What `cost_figures` returned.
        place: How to call the pictures.
    """
    before, after = found["before"], found["after"]
    rows = [("cost per picture", with_interval(before["cost"]), with_interval(after["cost"]))]
    rows.append(("accuracy", with_interval(before["accuracy"]), with_interval(after["accuracy"])))
    if after["asked"]["value"]:
        rows.append(("left to a person", "-", with_interval(after["asked"])))
    rows += [
        (f"recall of {printable(name)}", with_interval(one), with_interval(after["recall"][name]))
        for name, one in before["recall"].items()
    ]
    header = (f"on {place}", "most probable class", "least expected cost")
    return ["", *console.table(header, rows).split("\n"), saved_line(found["saved"])]


def saved_line(saved: Mapping[str, Any]) -> str:
    """Whether the table pays on these pictures."""
    if saved["value"] is None:
        return "no picture has a known class: what the table saves cannot be said"
    value, (low, high) = saved["value"], saved["interval_95"]
    text = f"saved per picture: {value:.3f} ({low:.3f} to {high:.3f}, n = {saved['n']})"
    if value < 0:
        text = f"costs {-value:.3f} more per picture ({-high:.3f} to {-low:.3f}, n = {saved['n']})"
    return text if low > 0 or high < 0 else f"{text}: these pictures cannot tell whether it pays"


# --- the file ------------------------------------------------------------------------------------------


def read_costs(path: Path, classes: Sequence[str]) -> Costs:
    """Reads a table of costs: first line and first column name classes, in any order.

    Comma, semicolon (then also ``0,5``), tab or ``|`` between the cells. One more column, named ``ask``, is
    what it costs to leave a picture of the class to a person.

    Args:
        path: CSV, UTF-8 (or UTF-16 as spreadsheets write it).
        classes: Of the model, in its order.

    Raises:
        ConfigError: HS-EVAL-071, it cannot be read; HS-EVAL-070, it is no table of costs of these classes,
            with all faults.
    """
    lines, delimiter = _cells(path)
    if not lines:
        raise _unreadable(path, "it is empty")
    known = [nfc(name) for name in classes]
    columns, faults = [nfc(cell.strip()) for cell in lines[0][1][1:]], []
    while columns and not columns[-1]:  # spreadsheets leave empty ones behind
        columns.pop()
    rows = [nfc(cells[0].strip()) for _, cells in lines[1:]]
    answers = [*known, ASK] if ASK in columns and ASK not in known else known
    wide = len(columns) - (len(answers) - len(known))
    if len(rows) != wide:
        faults.append(f"it has {len(rows)} rows and {wide} columns of classes: it must be square")
    faults += _name_faults(rows, known, "row")
    faults += _name_faults(columns, answers, "column")
    values = np.full((len(known), len(answers)), np.nan)
    for (number, cells), row in zip(lines[1:], rows, strict=True):
        found = cells[1 : len(columns) + 1]
        if len(found) < len(columns):
            faults.append(f"line {number} has {len(found)} costs, not {len(columns)}")
        for column, cell in zip(columns, found, strict=False):
            text = cell.strip()
            cost = _cost(text, delimiter)
            if math.isnan(cost):
                said = f"{text!r} is" if text else "nothing is written, which is"
                faults.append(f"line {number}, column '{printable(column)}': {said} no cost from 0 to 1e12")
            elif row in known and column in answers:
                values[known.index(row), answers.index(column)] = cost
    if not faults and not values.any():
        faults.append("all costs are 0: every answer would be as good as any other")
    elif not faults and (values == values[:, :1]).all():
        faults.append("every answer costs the same: nothing is left to decide")
    if faults:
        raise ConfigError(
            "HS-EVAL-070",
            "This is no table of costs for the classes of this model.",
            where=path,
            details=faults,
            fix=f"First line: truth,{','.join(known)}. Then a line for each class: its name and what each "
            "answer costs if a picture shows it, 0 for the right one. A last column 'ask' is optional.",
        )
    return Costs(tuple(classes), values)


def _cells(path: Path) -> tuple[list[tuple[int, list[str]]], str]:
    """Number and cells of each line that is not empty, and what separates them."""
    try:
        data = path.read_bytes()
        text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
        by_delimiter = {
            one: list(csv.reader(io.StringIO(text, newline=""), delimiter=one)) for one in DELIMITERS
        }
    except FileNotFoundError:
        beside = [item.name for item in path.parent.iterdir()] if path.parent.is_dir() else []
        raise _unreadable(path, "there is no such file", nearest(path.name, beside)) from None
    except UnicodeDecodeError:
        raise _unreadable(path, "it is no text in UTF-8") from None
    except (OSError, csv.Error) as error:
        raise _unreadable(path, getattr(error, "strerror", None) or str(error)) from None
    delimiter = max(DELIMITERS, key=lambda one: len(next(iter(by_delimiter[one]), ())))
    rows = enumerate(by_delimiter[delimiter], start=1)
    return [(number, row) for number, row in rows if any(cell.strip() for cell in row)], delimiter


def _unreadable(path: Path, why: str, hint: str = "") -> ConfigError:
    return ConfigError(
        "HS-EVAL-071",
        f"The table of costs cannot be read: {why}.{hint}",
        where=path,
        fix="Save it as CSV in UTF-8.",
    )


def _name_faults(found: Sequence[str], known: Sequence[str], what: str) -> Iterator[str]:
    """Names that are missing, that nobody knows, and that are there twice."""
    for name in dict.fromkeys(found):
        if name not in known:
            said = f"'{printable(name)}' is no class" if name else "has no name"
            yield f"{what} {found.index(name) + 1}: {said}.{nearest(name, known)}".rstrip(".")
        if (times := found.count(name)) > 1:
            yield f"{times} {what}s are named '{printable(name)}'"
    for name in known:
        if name not in found:
            yield f"'{printable(name)}' has no {what}"


def _cost(text: str, delimiter: str) -> float:
    """The number; nan where it is none, or not from 0 to `HIGHEST`."""
    try:
        value = float(text.replace(",", ".") if delimiter == ";" else text)
    except ValueError:
        return math.nan
    return value if 0 <= value <= HIGHEST else math.nan
