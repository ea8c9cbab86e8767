"""Of a report: the model card, the findings in the data, and figures that stand together under a name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from headstart.data.corruptions import STRENGTHS
from headstart.evaluation.costs import Costs, cost_figures
from headstart.evaluation.predictions import Predictions
from headstart.evaluation.report_numbers import Numbers
from headstart.evaluation.report_plots import reliability
from headstart.evaluation.report_record import Record
from headstart.evaluation.robustness import worst_of

EXAMPLES = 3  # of a finding
CLASSES = 60  # whose recall stands beside costs


def section(record: Record, key: str, tell: Numbers) -> dict[str, Any] | None:
    """Figures that stand together under a name in ``metrics.json``, whatever they are."""
    found = record.figures.get(key)
    if not isinstance(found, Mapping) or not found:
        return None
    rows = [(name, (value,)) for name, value in figure_rows(found, tell)]
    return {"text": "", "header": (tell.w["value"],), "rows": rows, "points": [], "earlier": []}


def calibration(record: Record, tell: Numbers) -> dict[str, Any] | None:
    """Log loss, Brier score and calibration error before and after the temperature, and the bins of both."""
    found, w = record.figures.get("calibration"), tell.w
    if not isinstance(found, Mapping) or not isinstance(found.get("after"), Mapping):
        return section(record, "calibration", tell)
    sides = [found["after"]] if found.get("reason") else [found.get("before") or {}, found["after"]]
    rows = [
        (w[name], tuple(figure_text(side.get(name), tell) for side in sides))
        for name in ("nll", "brier", "ece")
    ]
    chance = (found["after"].get("ece") or {}).get("if_calibrated_95")
    if chance is not None:
        rows.append((w["ece_chance"], ("",) * (len(sides) - 1) + (tell.plain(chance),)))
    if found.get("reason"):
        text = w["not_calibrated"].format(reason=found["reason"])
    else:
        text = w["calibrated"].format(temperature=temperatures(found, tell), n=f"{found.get('n', 0):,}")
    earlier, points = ([], *(binned(side, tell) for side in sides))[-2:]
    header = (w["before"], w["after"])[-len(sides) :] if len(sides) > 1 else (w["value"],)
    return {"text": text, "header": header, "rows": rows, "points": points, "earlier": earlier}


CORRUPTED = {
    "noise": "corrupted_noise",
    "blur": "corrupted_blur",
    "jpeg": "corrupted_jpeg",
    "brightness": "corrupted_brightness",
    "contrast": "corrupted_contrast",
    "pixelate": "corrupted_pixelate",
}
"""Their words."""


def robustness(record: Record, tell: Numbers) -> dict[str, Any] | None:
    """Accuracy by corruption and strength, and the worst in words."""
    found, w = record.robustness, tell.w
    if not found:
        return None
    worst, n = worst_of(found), f"{found[0].n:,}"
    points = (f"{100 * value:.1f}" for value in (worst.drop, worst.drop_low_95, worst.drop_high_95))
    said = w["robustness_worst" if worst.told_apart else "robustness_alike"].format(
        name=w[CORRUPTED[worst.corruption]],
        strength=worst.strength,
        accuracy=tell.percent(worst.accuracy),
        interval=tell.interval(worst.interval),
        n=n,
        **dict(zip(("points", "low", "high"), points, strict=True)),
    )
    rows = [
        (
            w[word],
            [
                (tell.percent(row.accuracy), tell.interval(row.interval))
                for row in found
                if row.corruption == name
            ],
        )
        for name, word in CORRUPTED.items()
    ]
    return {
        "lead": w["robustness_is"].format(n=n, clean=tell.percent(found[0].accuracy + found[0].drop)),
        "worst": said,
        "header": [w["corruption"], *(w["strength"].format(strength=strength) for strength in STRENGTHS)],
        "rows": rows,
    }


def costs(record: Record, rows: Predictions, tell: Numbers) -> dict[str, Any] | None:
    """What the answers of the reported pictures cost, where a table of costs decides; else None.

    Args:
        record: Its card has the table.
        rows: The reported pictures.
    """
    w = tell.w
    try:
        table = Costs.from_card(record.card)
    except (KeyError, TypeError, ValueError):
        return None
    if table is None or table.classes != rows.classes:
        return None
    found = cost_figures(table, rows)
    sides = found["before"], found["after"]

    def shares(name: str) -> tuple[str, ...]:
        return tuple(figure_text(side[name], tell, shares=True) for side in sides)

    lines = [(w["cost"], tuple(figure_text(side["cost"], tell) for side in sides))]
    lines.append((w["cost_saved"], ("", figure_text(found["saved"], tell))))
    lines.append((w["accuracy"], shares("accuracy")))
    if table.asks:
        lines.append((w["asked"], shares("asked")))
    for name in table.classes[:CLASSES]:
        told = tuple(figure_text(side["recall"][name], tell, shares=True) for side in sides)
        lines.append((w["recall_of"].format(name=name), told))
    header = (w["most_probable"], w["least_cost"])
    return {"text": w["costs_are"], "header": header, "rows": lines, "points": [], "earlier": []}


def temperatures(found: Mapping[str, Any], tell: Numbers) -> str:
    """The temperature with its interval; of several models, all of them."""
    value, limits = found.get("temperature"), found.get("temperature_interval_95")
    if isinstance(value, list):
        return ", ".join(map(tell.plain, value))
    return f"{tell.plain(value)} ({tell.interval(limits, shares=False)})" if limits else tell.plain(value)


def binned(side: Mapping[str, Any], tell: Numbers) -> list[dict[str, Any]]:
    """The points of a reliability plot, each with its words."""
    bins = (side.get("ece") or {}).get("bins") or ()
    points = reliability([one for one in bins if isinstance(one, Mapping)])
    for point in points:
        point["title"] = tell.w["bin"].format(
            confidence=tell.percent(point["confidence"]),
            accuracy=tell.percent(point["accuracy"]),
            n=point["n"],
        )
    return points


def figure_text(figure: object, tell: Numbers, *, shares: bool = False) -> str:
    """A figure of ``metrics.json`` with interval and n."""
    if not isinstance(figure, Mapping):
        return tell.w["na"]
    write = tell.percent if shares else tell.plain
    text, limits, n = write(figure.get("value")), figure.get("interval_95"), figure.get("n")
    if limits:
        text += f" ({tell.interval(limits, shares=shares)})"
    return text if n is None else f"{text}, {f'n = {n:,}'.replace(' ', chr(0xA0))}"


def figure_rows(found: Mapping[str, Any], tell: Numbers, within: str = "") -> list[tuple[str, str]]:
    """Name and value of each figure, nested ones under both names."""
    rows: list[tuple[str, str]] = []
    for key, value in found.items():
        name = f"{within} {key}".strip().replace("_", " ")
        if isinstance(value, Mapping) and "value" in value:
            rows.append((name, figure_text(value, tell)))
        elif isinstance(value, Mapping):
            rows += figure_rows(value, tell, name)
        elif isinstance(value, bool | str):
            rows.append((name, str(value)))
        elif isinstance(value, int):
            rows.append((name, f"{value:,}"))
        elif isinstance(value, float):
            rows.append((name, tell.plain(value)))
    return rows


def findings(record: Record, tell: Numbers) -> list[dict[str, Any]] | None:
    """What a check found in the data; None where nothing was looked for."""
    if record.findings is None:
        return None
    found = []
    for one in record.findings:
        severity = str(one.get("severity", "note"))
        examples = [
            ": ".join(filter(None, (" = ".join(example.get("paths", ())), str(example.get("text", "")))))
            for example in one.get("examples", ())[:EXAMPLES]
        ]
        what = str(one.get("what", ""))
        found.append(
            {
                "severity": severity if severity in ("error", "warning", "note") else "note",
                "name": tell.w.get(severity, severity),
                "code": str(one.get("code", "")),
                "what": what[:1].upper() + what[1:],
                "mend": str(one.get("mend", "")),
                "examples": examples,
                "more": max(0, int(one.get("count", 0)) - len(examples)) if examples else 0,
            }
        )
    return found


def card(record: Record, classes: Sequence[str], tell: Numbers) -> list[tuple[str, str]]:
    """Label and text, in the order of a model card; what is not known is left out."""
    w, about, figures, settings = tell.w, record.card, record.figures, record.settings
    backbone = about.get("backbone") or {}
    plan = settings.get("plan") or {}
    preprocess = about.get("preprocess") or {}
    rows = [
        (w["made"], made(record, tell)),
        (w["source"], figures.get("model") or settings.get("model")),
        (
            w["architecture"],
            " ".join(str(about[key]) for key in ("library", "architecture") if about.get(key)),
        ),
        (w["weights_from"], backbone.get("origin")),
        (w["licence"], about.get("licence")),
        (w["kept"], kept(record, tell)),
        (w["chosen_on"], chosen_on(plan, tell)),
        (
            w["refit"],
            {"train": w["refit_train"], "all": w["refit_all"]}.get(str(figures.get("refit")), ""),
        ),
        (w["balance"], figures.get("balance") if figures.get("balance") != "none" else ""),
        (
            w["input"],
            w["input_is"].format(size=preprocess["img_size"], fit=preprocess.get("fit", "crop"))
            if "img_size" in preprocess
            else "",
        ),
        (w["temperature"], f"{about['temperature']:g}" if about.get("temperature", 1.0) != 1.0 else ""),
        (w["splits"], ", ".join(f"{part} {n:,}" for part, n in record.sizes.items())),
        (w["classes_in_order"], ", ".join(classes)),
        (w["fingerprint"], figures.get("fingerprint") or about.get("fingerprint")),
        (
            w["seconds"],
            w["seconds_are"].format(seconds=f"{figures['seconds']:.0f}") if "seconds" in figures else "",
        ),
        (
            w["versions"],
            ", ".join(
                f"{name} {version}"
                for name, version in (about.get("versions") or settings.get("versions") or {}).items()
            ),
        ),
    ]
    if not about:
        rows.insert(0, (w["card"], w["no_model"]))
    return [(label, str(text)) for label, text in rows if text]


def made(record: Record, tell: Numbers) -> str:
    """Strategy and recipe; empty where they are not known."""
    figures = record.figures
    if "strategy" not in figures:
        return ""
    return tell.w["strategy"].format(strategy=figures["strategy"], recipe=figures.get("recipe", ""))


def kept(record: Record, tell: Numbers) -> str:
    """Which weights the model has."""
    w, epoch, share = tell.w, record.figures.get("epoch"), record.figures.get("share")
    if epoch is None:
        return ""
    if epoch == 0:
        return w["kept_probe"]
    if share is not None and share < 1:
        return w["kept_mix"].format(epoch=epoch, share=f"{share:.0%}".replace("%", " %"))
    return w["kept_epoch"].format(epoch=epoch)


def chosen_on(plan: Mapping[str, Any], tell: Numbers) -> str:
    """On which pictures the weights were chosen."""
    if "selection_pictures" not in plan:
        return ""
    n = plan["selection_pictures"]
    return tell.w["chosen_on_selection"].format(n=f"{n:,}") if n else tell.w["chosen_on_nothing"]
