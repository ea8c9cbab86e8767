"""The answer to one picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

OK = "ok"


@dataclass(frozen=True)
class Prediction:
    """The answer to one picture.

    Attributes:
        path: The file as given; "" for a picture in memory.
        status: ``ok``, or why there is no answer: ``empty``, ``lfs-pointer``, ``not-an-image``,
            ``truncated``, ``too-large``, ``too-small``, ``unsupported``, ``missing``, ``forbidden``.
        prediction: Name of the most probable class, or of the one that `headstart threshold` favours; ``ask``
            where its table of costs leaves the picture to a person; None without an answer.
        confidence: Its probability 0..1 (with ``ask``, of the most probable class); None without an answer.
        unknown: Whether it is none of the classes; None where the model has no threshold for that.
        unknown_score: How far it lies from the nearest class, the threshold being 1; None as above.
        probabilities: Class name -> probability, most probable first where only the top was asked for.
        reason: ``status`` in words, "" if ok.
        note: What else should be known (clipped intensities), mostly "".
        set: Classes that hold the true one with the coverage asked for, most probable first; else None.
    """

    path: str
    status: str = OK
    prediction: str | None = None
    confidence: float | None = None
    unknown: bool | None = None
    unknown_score: float | None = None
    probabilities: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""
    note: str = ""
    set: tuple[str, ...] | None = None

    @property
    def ok(self) -> bool:
        """Whether there is an answer."""
        return self.status == OK

    def top(self, k: int = 5) -> list[tuple[str, float]]:
        """The k most probable classes with their probabilities, best first; fewer if there are fewer."""
        return sorted(self.probabilities.items(), key=lambda item: -item[1])[:k]
