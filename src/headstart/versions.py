"""What a result was made with: the versions that go into every run and every model."""

from __future__ import annotations

import contextlib
import platform
from importlib import metadata

PACKAGES = ("headstart", "torch", "torchvision", "timm", "numpy", "pillow")


def versions() -> dict[str, str]:
    """Name -> version of Python, the machine and the packages that make results."""
    found = {"python": platform.python_version(), "machine": platform.machine(), "system": platform.system()}
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found
