"""What is found in a data set: each kind with a code of its own, examples, and what to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from headstart.console import counted
from headstart.data.listing import listed
from headstart.errors import one_line

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
NOUNS = {"error": ("error", "errors"), "warning": ("warning", "warnings"), "note": ("note", "notes")}
MARKS = {"error": "ERROR  ", "warning": "WARNING", "note": "note   "}
SHOWN = 4  # at the start of a training
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
        return one_line(": ".join(filter(None, (" = ".join(self.paths), self.text))))


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
        """In one line, with examples, for the log of a training."""
        shown = f" ({listed([str(example) for example in self.examples], 3)})" if self.examples else ""
        return one_line(f"{MARKS[self.severity]}  {self.code}  {self.what}{shown}")

    def short(self) -> str:
        """In one line, for the start of a training; of what is lost or misleads, one example."""
        example = self.examples[0].paths[:1] if self.examples and self.severity != "note" else ()
        shown = f" ({example[0]}{', ...' if len(self.examples) > 1 else ''})" if example else ""
        return one_line(f"{MARKS[self.severity]}  {self.code}  {self.what}{shown}")

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


def tally(findings: Iterable[Finding]) -> str:
    """How many of each severity: ``2 warnings, 1 note``; empty if there are none."""
    kinds = Counter(finding.severity for finding in findings)
    return ", ".join(counted(kinds[s], *NOUNS[s]) for s in SEVERITIES if kinds[s])


def worst(findings: Sequence[Finding], more: str) -> list[str]:
    """The worst ones in a few lines, and how many others there are. Errors are never among those.

    Args:
        findings: By severity.
        more: The command that tells all of them.
    """
    if not findings:
        return []
    shown = max(SHOWN, sum(finding.severity == "error" for finding in findings))
    hidden = findings[shown:]
    others = f"{tally(hidden)} more" if hidden else "examples, and what to do"
    return [
        f"found in the pictures: {tally(findings)}",
        *(f"  {finding.short()}" for finding in findings[:shown]),
        f"  {others}: {more}",
    ]
