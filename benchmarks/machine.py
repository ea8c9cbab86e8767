"""The machine and the versions that a figure was measured with."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

NAMES = ("headstart", "torch", "torchvision", "timm", "numpy", "pillow", "onnxruntime")
PEERS = ("fastai", "transformers", "accelerate", "scikit-learn")


def machine(*further: str) -> dict[str, Any]:
    """Processor, cores, system and versions.

    Args:
        further: Packages to name beside `NAMES`; "not installed" where they are not.
    """
    model = ""
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "processor": model or platform.processor(),
        "cores": cores,
        "system": platform.system(),
        "python": platform.python_version(),
        **{name: version(name) for name in (*NAMES, *further)},
    }


def version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"
