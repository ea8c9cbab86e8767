"""Fine-tune a pretrained vision model on your own pictures, and know how far to trust the result.

>>> import headstart
>>> run = headstart.train("photos")                        # a folder with one folder per class
>>> run.accuracy, run.interval
>>> model = headstart.load(run.path)
>>> model.predict("new_photos")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headstart.comparing import compare
    from headstart.comparison import Compared
    from headstart.config import TrainConfig
    from headstart.data.fetch import fetch
    from headstart.deployment.predict import Model, Prediction, load
    from headstart.errors import HeadstartError
    from headstart.run import show, train
    from headstart.run_check import check
    from headstart.run_evaluation import evaluate
    from headstart.run_export import export, export_to_timm
    from headstart.run_folder import Run
    from headstart.run_report import label_suspects, report
    from headstart.run_threshold import threshold
    from headstart.training.fit import Epoch
    from headstart.tuning import tune

__version__ = "0.1.0"

# Loaded when first used: `import headstart` costs nothing.
_HOMES = {
    "Compared": "headstart.comparison",
    "Epoch": "headstart.training.fit",
    "HeadstartError": "headstart.errors",
    "Model": "headstart.deployment.predict",
    "Prediction": "headstart.deployment.predict",
    "Run": "headstart.run_folder",
    "TrainConfig": "headstart.config",
    "check": "headstart.run_check",
    "compare": "headstart.comparing",
    "evaluate": "headstart.run_evaluation",
    "export": "headstart.run_export",
    "export_to_timm": "headstart.run_export",
    "fetch": "headstart.data.fetch",
    "label_suspects": "headstart.run_report",
    "load": "headstart.deployment.predict",
    "report": "headstart.run_report",
    "show": "headstart.run",
    "threshold": "headstart.run_threshold",
    "train": "headstart.run",
    "tune": "headstart.tuning",
}

__all__ = [
    "Compared",
    "Epoch",
    "HeadstartError",
    "Model",
    "Prediction",
    "Run",
    "TrainConfig",
    "check",
    "compare",
    "evaluate",
    "export",
    "export_to_timm",
    "fetch",
    "label_suspects",
    "load",
    "report",
    "show",
    "threshold",
    "train",
    "tune",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'headstart' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
