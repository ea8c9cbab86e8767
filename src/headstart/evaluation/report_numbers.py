"""Numbers as a report writes them, in the words of a language."""

from __future__ import annotations

from typing import Any

import numpy as np

from headstart import metrics
from headstart.evaluation.report_plots import number
from headstart.evaluation.report_words import WORDS, Language


class Numbers:
    """Shares as per cent, other numbers with three places, intervals, and bars of both.

    Args:
        language: Of the words between them.
    """

    def __init__(self, language: Language) -> None:
        self.w = WORDS[language]

    def percent(self, value: object) -> str:
        """``94.8 %``, which no line breaks; "n/a" of what is no number."""
        share = number(value)
        return self.w["na"] if np.isnan(share) else f"{100 * share:.1f}\N{NO-BREAK SPACE}%"

    def plain(self, value: object) -> str:
        """A number that is no share."""
        found = number(value)
        return self.w["na"] if np.isnan(found) else f"{found:.3f}"

    def interval(self, pair: object, *, shares: bool = True) -> str:
        """``90.0 % to 97.3 %``."""
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            return self.w["na"]
        low, high = map(self.percent if shares else self.plain, pair)
        return self.w["interval"].format(low=low, high=high)

    def share(self, hits: int, n: int) -> tuple[str, str]:
        """A share and its interval; the latter is empty where there is nothing to share."""
        if not n:
            return self.w["na"], ""
        return self.percent(hits / n), self.interval(metrics.wilson_interval(hits, n))

    def bar(self, name: str, right: int, n: int, kind: str) -> dict[str, Any]:
        """A share as a bar of a chart, with its Wilson interval; lengths in per cent."""
        low, high = metrics.wilson_interval(right, n)
        return {
            "name": name,
            "kind": kind,
            "value": self.percent(right / n),
            "interval": self.interval((low, high)),
            "width": round(100 * right / n, 1),
            "low": round(100 * low, 1),
            "high": round(100 * high, 1),
            "n": f"{n:,}",
        }
