"""What `headstart models` prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from headstart.console import table
from headstart.model.zoo import Listed


def listing(models: Sequence[Listed]) -> str:
    """One line per model."""
    if not models:
        return "No model has such a name. `headstart models` lists all."
    rows = [
        (m.name, m.library, f"{m.input_size} px", m.licence, "on this machine" if m.available else "download")
        for m in models
    ]
    return table(("model", "library", "input", "licence", "weights"), rows, indent="")


def description(model: Mapping[str, Any]) -> str:
    """All about one model, from `headstart.model.zoo.describe`."""

    def numbers(values: Sequence[float]) -> str:
        return ", ".join(f"{value:g}" for value in values)

    size, resize = model["input_size"], model["resize"]
    rows = [
        ("model", model["name"]),
        ("architecture", f"{model['library']} {model['architecture']}"),
        ("parameters", f"{model['parameters']:,}"),
        ("input", f"{size} x {size} pixels, resized to {resize} ({model['interpolation']}) before the crop"),
        ("mean / std", f"{numbers(model['mean'])} / {numbers(model['std'])}"),
        ("features", model["features"]),
        ("output layer", model["output_layer"]),
        ("stages", " ".join(model["stages"]) or "none: cut at the head only"),
        ("licence", model["licence"]),
        ("weights", model["origin"]),
        ("on this machine", model["file"] if model["available"] else "no"),
    ]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)
