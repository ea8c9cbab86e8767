"""The exceptions of headstart.

    HeadstartError
    ├── UsageError          the command line is wrong                exit 2
    ├── ConfigError         a setting is unknown or out of range     exit 2
    ├── DataError           the pictures cannot be used as they are  exit 2
    ├── ModelError          a network or its weights                 exit 1
    ├── FetchError          a download                               exit 1
    ├── RunError            a run folder or the machine              exit 1
    └── MissingExtraError   an optional package is not installed     exit 1

Every error carries a stable code (``HS-DATA-004``), and says what happened, where, and what to do.
``docs/troubleshooting.md`` lists the codes. Command line and Python show the same words.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

SHOWN_DETAILS = 10
CONTROL = {chr(i): ascii(chr(i))[1:-1] for i in (*range(32), *range(127, 160), 0x2028, 0x2029)}


class HeadstartError(Exception):
    """Something that the user can mend.

    Args:
        code: Stable identifier, ``HS-AREA-NNN``.
        what: What is wrong, one sentence.
        where: File, folder or setting concerned.
        fix: What to do, one sentence.
        details: All single faults; the first ten are shown, the rest are counted.
    """

    exit_code = 1

    def __init__(
        self, code: str, what: str, *, where: object = "", fix: str = "", details: Sequence[str] = ()
    ) -> None:
        self.code = code
        self.what = what
        self.where = str(where)
        self.fix = fix
        self.details = tuple(details)
        super().__init__(code, what)

    def __str__(self) -> str:
        lines = [f"{self.code}: {self.what}"]
        if self.where:
            lines.append(f"  where: {self.where}")
        lines += [f"  - {detail}" for detail in self.details[:SHOWN_DETAILS]]
        if len(self.details) > SHOWN_DETAILS:
            lines.append(f"  - and {len(self.details) - SHOWN_DETAILS} more")
        if self.fix:
            lines.append(f"  to do: {self.fix}")
        return "\n".join(map(one_line, lines))

    def to_dict(self) -> dict[str, object]:
        """The same error for ``--json``."""
        return {
            "code": self.code,
            "what": self.what,
            "where": self.where,
            "details": list(self.details),
            "fix": self.fix,
        }


class UsageError(HeadstartError):
    exit_code = 2


class ConfigError(HeadstartError):
    exit_code = 2


class DataError(HeadstartError):
    exit_code = 2


class ModelError(HeadstartError):
    pass


class FetchError(HeadstartError):
    pass


class RunError(HeadstartError):
    pass


class MissingExtraError(HeadstartError):
    """A command needs an optional part of headstart.

    Args:
        extra: Name of the extra, as in ``pip install "headstart[extra]"``.
        purpose: What it is needed for, as the subject of a sentence: ``"Training"``.
    """

    def __init__(self, extra: str, purpose: str) -> None:
        super().__init__(
            "HS-INSTALL-001",
            f"{purpose} needs packages that are not installed.",
            fix=f'pip install "headstart[{extra}]"',
        )


def one_line(text: str) -> str:
    """The text with control characters written out: names of files may hold line breaks and worse."""
    return text if text.isprintable() else "".join(CONTROL.get(c, c) for c in text)


def nearest(name: str, choices: Iterable[str]) -> str:
    """A suggestion for a misspelt name: ``" Did you mean 'x'?"``, or an empty string."""
    known = list(choices)
    lowered = {choice.lower(): choice for choice in known}
    found = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.6)
    return f" Did you mean '{lowered[found[0]]}'?" if found else ""
