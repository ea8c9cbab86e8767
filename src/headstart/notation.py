"""How the values of some settings are written: times, parts of a picture, folds, columns."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence


def fold_of(text: str) -> tuple[int, int] | None:
    """Number, from 1, and count of ``2/5``; None if it is no such fold."""
    match = re.fullmatch(r"(\d{1,4})/(\d{1,4})", text.replace(" ", ""))
    if match is None:
        return None
    number, count = int(match[1]), int(match[2])
    return (number, count) if count >= 2 and 1 <= number <= count else None


def are_columns(columns: Sequence[str]) -> bool:
    """Whether these are ``ROLE=COLUMN``, each role once."""
    roles = [item.partition("=")[0] for item in columns]
    named = all(item.partition("=")[2] for item in columns)
    return named and len(set(roles)) == len(roles) and set(roles) <= {"path", "label", "split", "group"}


def seconds_of(time: str) -> float | None:
    """Seconds of ``30s``, ``2m``, ``1.5h`` or ``1h30m``; None if it is no such time, or none at all."""
    parts = re.fullmatch(r"(?:([\d.]+)h)?(?:([\d.]+)m)?(?:([\d.]+)s)?", time.replace(" ", "").lower())
    if parts is None:
        return None
    try:
        total = sum(float(p or 0) * unit for p, unit in zip(parts.groups(), (3600, 60, 1), strict=True))
    except ValueError:
        return None
    return total if total > 0 else None


def crop_of(text: str) -> tuple[float, float, float, float] | None:
    """Left, top, width and height of ``10,20,300,200`` or ``0.1,0,0.5,1``; None if it is no such part.

    Four numbers up to 1 are fractions of the picture and must stay inside; others are whole pixels.
    """
    try:
        left, top, width, height = (float(number) for number in text.split(","))
    except ValueError:
        return None
    crop = (left, top, width, height)
    if not all(math.isfinite(number) for number in crop) or min(left, top) < 0 or min(width, height) <= 0:
        return None
    if max(crop) <= 1:
        return crop if left + width <= 1 + 1e-9 and top + height <= 1 + 1e-9 else None
    return crop if all(number == int(number) for number in crop) and min(width, height) >= 1 else None
