"""What is left out of a data set on demand."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence

from headstart.console import counted
from headstart.data.listing import nfc


class Exclusions:
    """The patterns of ``--exclude``, and what each of them matched.

    A pattern is compared with a path, with each folder and file name in it, with the beginnings of the path
    that end at a folder, and with the class; ``*`` and ``?`` as in a shell.

    Attributes:
        matched: Paths by pattern, each by the first pattern that it matched.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        self.matched: dict[str, list[str]] = {pattern.rstrip("/"): [] for pattern in patterns}
        self._plain = {pattern: nfc(pattern) for pattern in self.matched}

    def leaves_out(self, path: str, class_name: str = "", *, within: str = "") -> bool:
        """Whether a pattern matches; if so, it is noted.

        Args:
            path: Relative to the data, or absolute; a folder may end in ``/``.
            class_name: Of the picture, where it may be meant too.
            within: Absolute folder of the data, which is not compared.
        """
        if not self.matched:
            return False
        pieces = nfc(path.removeprefix(within).strip("/") if within else path.rstrip("/")).split("/")
        texts = {*pieces, *("/".join(pieces[: i + 1]) for i in range(len(pieces)))}
        texts |= {class_name} if class_name else set()
        for pattern, plain in self._plain.items():
            if any(fnmatch.fnmatchcase(text, plain) for text in texts):
                self.matched[pattern].append(path)
                return True
        return False

    def notes(self, one: str, many: str) -> list[str]:
        """What each pattern did, for a person; ``one`` and ``many`` are words for what was left out."""
        return [
            f"left out by --exclude {pattern}: {counted(len(paths), one, many)}"
            if paths
            else f"--exclude {pattern} matched nothing"
            for pattern, paths in self.matched.items()
        ]
