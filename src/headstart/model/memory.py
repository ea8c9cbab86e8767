"""Memory of the processor's networks: kept between layers instead of fetched anew from the system."""

from __future__ import annotations

import ctypes
import sys

import torch

# glibc's mallopt parameters (malloc.h)
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
LARGEST = 2**31 - 1
PAD = 64 * 2**20


def keep_freed_memory() -> bool:
    """Tells glibc to keep large freed blocks for the next layer; returns whether it did.

    By default each activation above 32 MB is a new mapping, whose pages the system clears one by one:
    EfficientNet-Lite0 at batch 32 and 224 pixels then runs at half its speed (decision 7 has the figures).
    Elsewhere than on Linux with glibc nothing happens.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    settings = ((M_MMAP_THRESHOLD, LARGEST), (M_TRIM_THRESHOLD, LARGEST), (M_TOP_PAD, PAD))
    accepted = [mallopt(parameter, value) == 1 for parameter, value in settings]
    return all(accepted)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch or Python ran out of memory, on whatever device."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    # torch has a type of its own for accelerators only
    return isinstance(error, RuntimeError) and (
        "can't allocate memory" in str(error) or "out of memory" in str(error)
    )
