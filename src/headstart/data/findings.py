"""What is found in a data set: each kind with a code of its own, examples, and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from headstart.data.listing import listed

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
EXAMPLES = 20  # in JSON


@dataclass(frozen=True, slots=True)
class Example:
    """Pictures that show a finding.

    Attributes:
        paths: As in the table of pictures; several belong together, such as copies of each other.
        text: What is the matter with them; may be empty.
    """

    paths: tuple[str, ...]
    text: str = ""

    def __str__(self) -> str:
        return ": ".join(filter(None, (" = ".join(self.paths), self.text)))


@dataclass(frozen=True)
class Finding:
    """One kind of thing that a person should know.

    Attributes:
        code: Stable, ``HS-CHECK-NNN``, or the code of the error that training stops with.
        severity: ``error``: training refuses the data. ``warning``: files are lost, or figures mislead.
            ``note``: good to know.
        what: In words, with the number.
        count: Of files, pictures, classes or folders, as ``what`` says.
        mend: The one thing to do.
        examples: All of them.
        excluded: Path and reason of each file that `--fix-list` names.
    """

    code: str
    severity: Severity
    what: str
    count: int
    mend: str
    examples: tuple[Example, ...] = ()
    excluded: tuple[tuple[str, str], ...] = ()

    def line(self) -> str:
        """In one line, for the start of a training."""
        shown = listed([str(example) for example in self.examples], 3)
        attention = "" if self.severity == "note" else "ATTENTION: "
        return f"{attention}{self.what}" + (f" ({shown})" if shown else "")

    def to_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "code": self.code,
            "severity": self.severity,
            "what": self.what,
            "count": self.count,
            "mend": self.mend,
            "examples": [
                {"paths": list(example.paths), "text": example.text} for example in self.examples[:EXAMPLES]
            ],
        }


def by_severity(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Errors first, notes last; otherwise in the given order."""
    return tuple(sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity)))
