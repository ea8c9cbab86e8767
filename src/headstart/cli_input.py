"""What the command line is given: flags that several commands share, runs told from data, settings files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import CoercionError, CycloptsError, Parameter, Token, UnusedCliTokensError, convert

from headstart.config import LabelFrom, from_mapping, read_yaml, to_mapping
from headstart.errors import UsageError
from headstart.model.card import has_model

Json = Annotated[bool, Parameter(negative=())]
Patterns = Annotated[tuple[str, ...], Parameter(negative=())]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Source:
    """What is said of DATA."""

    images: Path | None = None
    """Where DATA is a table: the folder that its paths begin in."""

    columns: Patterns = ()
    """Where DATA is a table: which column holds what, such as label=species (repeatable)."""

    label_from: LabelFrom | None = None
    """Which of nested folders name the class: top, parent, path."""

    group_by: str | None = None
    """What stays on one side of a split: a column of the table, or a regular expression over the paths."""

    exclude: Patterns = ()
    """Leave out files and folders whose relative path matches this pattern (repeatable)."""

    exclude_list: Path | None = None
    """Leave out the files that this table names: what `headstart check --fix-list` wrote, or your own with a
    column path."""

    def fields(self) -> dict[str, Any]:
        """By name, for the functions of headstart."""
        return asdict(self)


def split_paths(paths: Sequence[str]) -> tuple[list[str], str | None]:
    """Runs and the data behind them, told apart by the model that a run holds."""
    is_run = [has_model(Path(path)) for path in paths]
    if len(paths) >= 2 and is_run[0] and not is_run[-1]:
        return list(paths[:-1]), paths[-1]
    if not paths:
        raise UsageError("HS-USAGE-002", "No run was given.", fix="headstart evaluate RUN [DATA]")
    return list(paths), None


def exact(kind: Any, tokens: Sequence[Token]) -> Any:
    """As cyclopts converts words, but never a fraction to a whole number.

    Raises:
        CoercionError: That was given.
    """
    value = convert(kind, tokens)
    for token in tokens:
        if type(value) is int and "." in token.value and float(token.value) != value:
            raise CoercionError(f"{token.value} is no whole number", token=token, target_type=int)
    return value


def usage_words(error: CycloptsError) -> str:
    """What is wrong with a command line."""
    if isinstance(error, UnusedCliTokensError):
        rest = [str(word) for word in error.unused_tokens or ()]
        return f"{'This is' if len(rest) == 1 else 'These are'} too much: {' '.join(rest)}"
    return str(error)


def file_settings(words: Sequence[str]) -> dict[str, Any]:
    """The checked settings of ``--config FILE``, those that are not open."""
    for position, word in enumerate(words):
        flag, equals, value = word.partition("=")
        if flag in ("--config", "-c"):
            path = Path(value) if equals else Path(*words[position + 1 : position + 2])
            checked = to_mapping(from_mapping(read_yaml(path), where=path))
            return {name: value for name, value in checked.items() if value not in (None, [])}
    return {}
