"""The report of a run: one HTML file to send to a colleague, and a model card in Markdown.

Everything derives from what the run left in its folder; what is not there is left out, or said to be missing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from headstart import metrics
from headstart.data.page import filled
from headstart.errors import one_line
from headstart.evaluation.evaluate import WIDE
from headstart.evaluation.predictions import NO_TRUTH
from headstart.evaluation.report_card import calibration, card, costs, findings, made, robustness, section
from headstart.evaluation.report_groups import groups
from headstart.evaluation.report_heat import heat_overlays
from headstart.evaluation.report_numbers import Numbers
from headstart.evaluation.report_pictures import NUMBER, Gallery, preprocess_of
from headstart.evaluation.report_plots import HEIGHT, WIDTH, curves, number
from headstart.evaluation.report_record import Record
from headstart.evaluation.report_words import Language
from headstart.storage import write_atomic
from headstart.versions import versions

REPORT, CARD = "report.html", "report.md"
TEMPLATES = Path(__file__).parent / "templates"
MISTAKES = 24
SUSPECTS = 24
PER_CELL = 6  # pictures of a cell that holds mistakes, and
PER_RIGHT_CELL = 3  # of one that holds none
PAIRS = 12
MATRIX = 20  # up to so many classes, the matrix is a table whose cells open
DRAWN = 20_000  # cells with a number; of larger matrices no picture is drawn
CLASSES = 60
EPOCHS = 200  # in the table


def write_report(record: Record, folder: Path, language: Language = "en") -> tuple[Path, Path]:
    """Writes ``report.html`` and ``report.md``.

    Returns:
        Their paths.

    Raises:
        MissingExtraError: HS-INSTALL-001, Jinja2 is not installed.
        RunError: HS-RUN-001 to -003, a file cannot be written.
    """
    content = Content(record, language).values()
    pages = folder / REPORT, folder / CARD
    for page in pages:
        text = filled(page.name, content, what="A report", folder=TEMPLATES, filters={"md": markdown})
        write_atomic(page, text)
    return pages


def write_suspects(record: Record, path: Path, language: Language = "en") -> None:
    """Writes the page of doubtful labels.

    Raises:
        MissingExtraError: HS-INSTALL-001, Jinja2 is not installed.
        RunError: HS-RUN-001 to -003, the file cannot be written.
    """
    content = Content(record, language)
    found: dict[str, Any] = {"w": content.w, "name": record.name, "suspects": content.suspects(NUMBER)}
    found |= {"images": content.gallery.drawn(), "version": versions().get("headstart", "")}
    found["pictures"] = content.pictures()
    write_atomic(path, filled("suspects.html", found, what="A page of doubtful labels", folder=TEMPLATES))


def markdown(text: object) -> str:
    """Text that Markdown shows as it is, on one line."""
    line = re.sub(r"([\\`*_\[\]|~$])", r"\\\1", one_line(" ".join(str(text).split())))
    return re.sub(r"^([#+=-])", r"\\\1", line)  # what would begin a heading or a list


class Content:
    """What the templates show of a record, in the words of a language."""

    def __init__(self, record: Record, language: Language) -> None:
        self.record = record
        self.tell = Numbers(language)
        self.w = self.tell.w
        figures = record.figures
        self.split = str(figures.get("split", ""))
        rows = record.predictions.of_split(self.split)
        self.rows = rows.rows(rows.truth != NO_TRUTH)
        self.names = self.rows.classes
        self.matrix = metrics.confusion_matrix(self.rows.truth, self.rows.prediction, len(self.names))
        self.gallery = Gallery(record.root, preprocess_of(record))

    def values(self) -> dict[str, Any]:
        """Everything, by name; the pictures are asked for in the order of what they tell."""
        mistakes, suspects = self.mistakes(), self.suspects(SUSPECTS)
        cells = self.cells()
        found = {
            "w": self.w,
            "name": self.record.name,
            "subtitle": " · ".join(
                map(str, filter(None, (self.record.figures.get("model"), made(self.record, self.tell))))
            ),
            "classes": list(self.names),
            "plot": {"width": WIDTH, "height": HEIGHT},
            "answer": self.answer(),
            "against": self.against(),
            "compared": self.compared(),
            "figures": self.other_figures(),
            "mistakes": mistakes,
            "matrix": self.table(cells),
            "drawn": self.drawn(),
            "cells": cells,
            "pairs": self.pairs(cells),
            "per_class": self.per_class(),
            "hidden_classes": max(0, len(self.names) - CLASSES),
            "groups": groups(self.record, self.rows, self.tell),
            "curves": self.curves(),
            "calibration": calibration(self.record, self.tell),
            "costs": costs(self.record, self.rows, self.tell) if len(self.rows) else None,
            "unknown": section(self.record, "unknown", self.tell),
            "robustness": robustness(self.record, self.tell),
            "suspects": suspects,
            "findings": findings(self.record, self.tell),
            "card": card(self.record, self.names, self.tell),
            "notice": str(self.record.card.get("notice") or ""),
            "version": versions().get("headstart", ""),
            "images": self.gallery.drawn(),
        }
        return {**found, "pictures": self.pictures()}

    # --- the answer ----------------------------------------------------------------------------------

    def answer(self) -> dict[str, Any]:
        w, figures, n = self.w, self.record.figures, len(self.rows)
        right = int(self.rows.correct.sum())
        notes: list[tuple[str, str]] = []
        if not n:
            notes.append(("warning", w["nothing"].format(split=self.split)))
            return {"n": 0, "value": w["na"], "notes": notes}
        low, high = metrics.wilson_interval(right, n)
        if high - low > WIDE:
            notes.append(("warning", w["wide"].format(n=f"{n:,}")))
        if figures.get("constant_prediction") is not None:
            notes.append(("warning", w["constant"].format(name=figures["constant_prediction"])))
        if figures.get("interrupted"):
            notes.append(("warning", w["interrupted"]))
        notes += self.leaked()
        majority = int(self.matrix.sum(1).max()) / n
        if right / n <= majority:
            notes.append(("warning", w["below_majority"]))
        elif low <= majority:
            notes.append(("warning", w["near_majority"]))
        else:
            notes.append(("good", w["clear_of_majority"]))
        if figures.get("folds"):
            notes.append(("note", w["folds"].format(n=len(figures["folds"]))))
        else:
            notes.append(("note", w["selected" if figures.get("selected_on") else "not_selected"]))
        return {
            "n": n,
            "value": self.tell.percent(right / n),
            "right": w["right_of"].format(right=f"{right:,}", n=f"{n:,}", split=self.split),
            "interval": w["interval_is"].format(interval=self.tell.interval((low, high)), n=f"{n:,}"),
            "notes": notes,
        }

    def leaked(self) -> list[tuple[str, str]]:
        without = self.record.figures.get("without_leaked")
        if not without:
            return []
        n, rest = sum(without["leaked"].values()), without["accuracy"]
        if not rest["n"]:
            return [("warning", self.w["leaked_all"].format(n=f"{n:,}"))]
        said = self.w["leaked"].format(
            n=f"{n:,}",
            accuracy=self.tell.percent(rest["value"]),
            interval=self.tell.interval(rest["interval_95"]),
            rest=f"{rest['n']:,}",
        )
        return [("warning", said)]

    def against(self) -> list[dict[str, Any]]:
        """Bars: the model, what knows nothing, and other runs on the same pictures."""
        n = len(self.rows)
        if not n:
            return []
        support = self.matrix.sum(1)
        commonest = int(support.argmax())
        return [
            self.tell.bar(self.w["this_model"], int(self.rows.correct.sum()), n, "own"),
            self.tell.bar(
                self.w["always"].format(name=self.names[commonest]), int(support[commonest]), n, "other"
            ),
        ]

    def compared(self) -> dict[str, Any] | None:
        """Other runs on the same pictures, and in words which is better."""
        found = self.record.comparison
        if not found.get("runs"):
            return None
        said = []
        for pair in found.get("differences", ()):
            a, b, points = pair["a"], pair["b"], 100 * pair["difference"]
            low, high = (100 * limit for limit in pair["interval_95"])
            if points < 0:
                a, b, points, low, high = b, a, -points, -high, -low
            values = {"points": f"{points:.1f}", "low": f"{low:.1f}", "high": f"{high:.1f}"}
            words = self.w["beats" if pair["distinguishable"] else "alike"]
            said.append(words.format(a=a, b=b, **values))
        return {
            "n": self.w["compared"].format(n=f"{found['n']:,}"),
            "runs": [
                self.tell.bar(
                    one["run"], one["correct"], one["n"], "own" if one["run"] == self.record.name else "other"
                )
                for one in found["runs"]
            ],
            "said": said,
        }

    def other_figures(self) -> list[tuple[str, str, str]]:
        """Name, value and interval."""
        rows = []
        for key in ("balanced_accuracy", "macro_f1", "auc", "top_5_accuracy", "nll", "brier"):
            figure = self.record.figures.get(key)
            if not isinstance(figure, Mapping):
                continue
            shares = key not in ("nll", "brier")
            value = self.tell.percent(figure["value"]) if shares else self.tell.plain(figure["value"])
            limits = self.tell.interval(figure.get("interval_95"), shares=shares)
            rows.append((self.w[key], value, limits))
        return rows

    # --- pictures ------------------------------------------------------------------------------------

    def shots(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """Some pictures with what was said of them; their thumbnails are asked for."""
        shown = []
        for i in rows:
            path, confidence = self.rows.paths[i], self.tell.percent(self.rows.confidence[i])
            truth, told = self.names[self.rows.truth[i]], self.names[self.rows.prediction[i]]
            alt = self.w["alt"].format(path=path, truth=truth, told=told, confidence=confidence)
            told_of = {"truth": truth, "told": told, "confidence": confidence}
            shown.append({"path": path, **told_of, "alt": alt, "heat": "", "heat_alt": ""})
        self.gallery.want([shot["path"] for shot in shown])
        return shown

    def mistakes(self) -> dict[str, Any]:
        wrong = np.flatnonzero(~self.rows.correct)
        order = wrong[np.argsort(-self.rows.confidence[wrong], kind="stable")]
        shown = self.shots(order[:MISTAKES].tolist())
        overlays, why = heat_overlays(self.record, [(shot["path"], shot["told"]) for shot in shown])
        for shot in shown:
            shot["heat"] = overlays.get(shot["path"], "")
            shot["heat_alt"] = self.w["heat_alt"].format(path=shot["path"], told=shot["told"])
        said = self.w[why] if why else self.w["heat_is"].format(n=len(overlays)) if overlays else ""
        if overlays and self.record.figures.get("refit") == "all":
            said += self.w["heat_refit"]
        return {
            "shots": shown,
            "text": self.w["mistakes_are"].format(shown=f"{len(shown):,}", n=f"{len(wrong):,}"),
            "heat": said,
        }

    def cells(self) -> dict[tuple[int, int], dict[str, Any]]:
        """The cells that open: those with most mistakes first, then those of right answers."""
        pairs = [(int(i), int(j)) for i, j in np.argwhere(self.matrix)]
        wrong = sorted((p for p in pairs if p[0] != p[1]), key=lambda p: -self.matrix[p])
        small = len(self.names) <= MATRIX
        chosen = (wrong + [p for p in pairs if p[0] == p[1]]) if small else wrong[:PAIRS]
        confidence, found = self.rows.confidence, {}
        for i, j in chosen:
            rows = np.flatnonzero((self.rows.truth == i) & (self.rows.prediction == j))
            order = rows[np.argsort(confidence[rows] if i == j else -confidence[rows], kind="stable")]
            shown = order[: PER_RIGHT_CELL if i == j else PER_CELL].tolist()
            found[i, j] = {
                "id": f"cell-{i}-{j}",
                "title": self.w["cell"].format(truth=self.names[i], told=self.names[j], n=f"{len(rows):,}"),
                "order": self.w["cell_unsure" if i == j else "cell_surest"],
                "shots": self.shots(shown),
                "more": len(rows) - len(shown),
            }
        return found

    def table(self, cells: Mapping[tuple[int, int], Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Rows of the matrix; empty if there are too many classes for a table."""
        if len(self.names) > MATRIX:
            return []
        rows = []
        for i, counts in enumerate(self.matrix.tolist()):
            total = max(1, sum(counts))
            row = [
                {
                    "n": f"{count:,}",
                    "id": cells[i, j]["id"] if count else "",
                    "title": cells[i, j]["title"] if count else "",
                    "right": i == j,
                    "share": round(100 * (count / total if i == j else (count / total) ** 0.5), 1),
                }
                for j, count in enumerate(counts)
            ]
            rows.append({"name": self.names[i], "cells": row})
        return rows

    def drawn(self) -> list[tuple[int, int, bool, float]]:
        """Row, column, whether right, and opacity of each cell, where there are too many for a table."""
        where = np.argwhere(self.matrix)
        if len(self.names) <= MATRIX or len(where) > DRAWN:
            return []
        support = np.maximum(self.matrix.sum(1), 1)
        shares = np.sqrt(self.matrix / support[:, None])
        return [(int(i), int(j), i == j, round(float(0.25 + 0.75 * shares[i, j]), 2)) for i, j in where]

    def pairs(self, cells: Mapping[tuple[int, int], Mapping[str, Any]]) -> list[dict[str, str]]:
        """The most confused pairs, by number."""
        order = sorted((p for p in cells if p[0] != p[1]), key=lambda p: -self.matrix[p])
        found = []
        for i, j in order[:PAIRS]:
            n, support = int(self.matrix[i, j]), int(self.matrix[i].sum())
            share = self.w["pair_share"].format(n=n, support=support, share=self.tell.percent(n / support))
            name = self.w["pair"].format(truth=self.names[i], told=self.names[j])
            found.append({"name": name, "share": share, "id": cells[i, j]["id"]})
        return found

    def suspects(self, limit: int) -> dict[str, Any] | None:
        """Pictures whose labels are doubtful; None if there are none."""
        rows = self.record.suspects
        if not rows:
            return None
        shown = [
            {
                "path": row.path,
                "label": row.label,
                "suggested": row.suggested,
                "score": self.tell.percent(row.score),
                "alt": self.w["suspect_alt"].format(path=row.path, label=row.label, suggested=row.suggested),
            }
            for row in rows[:limit]
        ]
        self.gallery.want([one["path"] for one in shown])
        text = self.w["suspects_are"].format(n=f"{len(rows):,}", of=f"{self.record.trained:,}")
        return {"shots": shown, "text": text, "more": len(rows) - len(shown)}

    def pictures(self) -> list[str]:
        """What is to be said of pictures that are not shown."""
        said, gallery = [], self.gallery
        if gallery.missing:
            said.append(self.w["missing"].format(n=f"{len(gallery):,}", missing=f"{gallery.missing:,}"))
            said.append(self.w["missing_how"])
        if gallery.left_out:
            said.append(self.w["too_many"].format(n=f"{gallery.left_out:,}"))
        return said

    # --- classes, groups, training -------------------------------------------------------------------

    def per_class(self) -> list[dict[str, Any]]:
        """In the order of the classes; of many the weakest."""
        scores, predicted = metrics.per_class_of(self.matrix), self.matrix.sum(0)
        order = np.arange(len(self.names))
        if len(order) > CLASSES:
            order = np.argsort(np.nan_to_num(scores.f1, nan=2.0), kind="stable")[:CLASSES]
        rows = []
        for c in order.tolist():
            hits, support, told = int(self.matrix[c, c]), int(scores.support[c]), int(predicted[c])
            rows.append(
                {
                    "name": self.names[c],
                    "n": f"{support:,}",
                    "precision": self.tell.share(hits, told),
                    "recall": self.tell.share(hits, support),
                    "f1": self.tell.percent(scores.f1[c]),
                    "width": 0 if not support else round(100 * hits / support, 1),
                }
            )
        return rows

    def curves(self) -> dict[str, Any]:
        rows, w = self.record.epochs, self.w
        plan = self.record.settings.get("plan") or {}
        chosen = int(number(plan.get("selection_pictures")) if plan.get("selection_pictures") else 0)
        watched = w["watched"] if chosen else w["watched_reported"].format(split=self.split)
        if not chosen and [row.get("stage") for row in rows] == ["probe"]:
            watched = w["out_of_fold"]
        plots = []
        for what, fractions, keys in (
            (w["loss"], False, ("train_loss", "val_loss")),
            (w["accuracy"], True, ("train_accuracy", "val_accuracy")),
        ):
            lines = [(keys[0], w["training"], "train"), (keys[1], watched, "watched")]
            if (plot := curves(rows, lines, fractions=fractions)) is not None:
                text = self.tell.percent if fractions else self.tell.plain
                ends = [
                    w["curve_line"].format(
                        name=line["name"], first=text(line["first"]), last=text(line["last"])
                    )
                    for line in plot["lines"]
                ]
                alt = w["curve_alt"].format(what=what, lines=" ".join(ends))
                plots.append({**plot, "title": what, "alt": alt})
        header = [w["epoch"], w["stage"], w["train_loss"], w["train_accuracy"]]
        header += [w[key].format(watched=watched) for key in ("val_loss", "val_accuracy")]
        table = [
            [
                str(row.get("epoch", "")),
                str(row.get("stage", "")),
                *(
                    self.tell.percent(row.get(key)) if "accuracy" in key else self.tell.plain(row.get(key))
                    for key in ("train_loss", "train_accuracy", "val_loss", "val_accuracy")
                ),
            ]
            for row in rows[:EPOCHS]
        ]
        return {"plots": plots, "header": header, "table": table, "probe": self.probe(chosen)}

    def probe(self, chosen: int) -> str:
        """The linear probe beside what was kept, on the pictures that chose; empty where they did not."""
        rows, figures = self.record.epochs, self.record.figures
        probe = next((row for row in rows if row.get("stage") == "probe" and row.get("epoch") == "0"), None)
        if not chosen or probe is None or np.isnan(number(probe.get("val_accuracy"))):
            return ""
        first = self.tell.percent(probe["val_accuracy"])
        if figures.get("epoch") == 0:
            return self.w["probe_kept"].format(n=f"{chosen:,}", probe=first) if len(rows) > 1 else ""
        best = next((row for row in rows if row.get("epoch") == str(figures.get("epoch"))), None)
        if best is None or figures.get("share") != 1.0:  # the mix has no row of its own
            return ""
        kept = self.tell.percent(best.get("val_accuracy"))
        return self.w["probe_sentence"].format(n=f"{chosen:,}", probe=first, kept=kept)
