"""The card of a saved model, ``model.json``: all that is known of it, readable without torch."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from headstart.errors import ModelError
from headstart.storage import atomic_path, storage_errors, write_atomic

FORMAT_VERSION = 1
MODEL_FOLDER = "model"  # of a run
CARD = "model.json"
WEIGHTS = "model.safetensors"
NEXT = "model.json.next"
"""The card of weights, or of an exported model, that are about to take the place of the old ones."""
EXPORTED = "model.onnx"
EXPORT = "onnx"
"""Entry of the card that tells of `EXPORTED`; a card without it has no exported model."""

Card = dict[str, Any]

NO_CARD = (ValueError, KeyError, TypeError, OverflowError, RecursionError)
"""What reading something else than a card raises: nested without end, a version that is infinite, ..."""

MIGRATIONS: dict[int, Callable[[Card], Card]] = {}
"""Format version -> a function that turns a card of that version into one of the next."""


def has_model(folder: Path) -> bool:
    """Whether this is the folder of a run with a saved model."""
    return card_path(folder / MODEL_FOLDER).is_file()


def card_path(folder: Path) -> Path:
    """The card that belongs to a bundle's weights; it need not exist.

    That is `NEXT` where the process ended between exchanging the weights, or the exported model, and
    exchanging the card.
    """
    new = folder / NEXT
    if new.is_file():
        with contextlib.suppress(OSError, *NO_CARD):
            card = json.loads(new.read_text(encoding="utf-8"))
            files = {WEIGHTS: card["weights"], **({EXPORTED: card[EXPORT]} if card.get(EXPORT) else {})}
            if all(entry["sha256"] == sha256(folder / name) for name, entry in files.items()):
                return new
    return folder / CARD


def sha256(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def card_entries(folder: Path) -> Iterator[None]:
    """Around code that reads entries of a card.

    Raises:
        ModelError: HS-MODEL-011, an entry is missing or makes no sense.
    """
    try:
        yield
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
        raise ModelError(
            "HS-MODEL-011",
            f"The card of the model cannot be used: {type(error).__name__}: {error}.",
            where=folder / CARD,
            fix="Copy the whole model/ folder again.",
        ) from error


def class_names(card: Card) -> tuple[str, ...]:
    """The classes of a model, in the order of its outputs.

    Raises:
        KeyError, ValueError: They are not a list of different names.
    """
    names = card["classes"]
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise ValueError("its classes are no list of names")
    if len(set(names)) != len(names):
        raise ValueError("a class appears twice")
    return tuple(names)


def amend_card(folder: Path, entries: Card) -> None:
    """Puts entries into the card of a bundle; the weights stay.

    Raises:
        ModelError: as `read_card`.
        RunError: HS-RUN-001 to -003, the card cannot be written.
    """
    card = {**read_card(folder), **entries}
    write_atomic(card_path(folder), card_text(card))


@contextlib.contextmanager
def exchanged_export(folder: Path) -> Iterator[tuple[Path, Card]]:
    """Around code that writes an exported model, which takes the place of the one that is there.

    File and card change together: whenever the process ends, the card names the file that is there, or none.
    After an error both are as before.

    Args:
        folder: The bundle.

    Yields:
        The file to be written, and what the card is to say of it; its name, hash and size are filled in.

    Raises:
        ModelError: as `read_card`.
        RunError: HS-RUN-001 to -003, the folder cannot be written.
    """
    new = folder / NEXT
    entry: Card = {}
    card = read_card(folder)
    if card_path(folder) == new:  # left by a process that ended early: it becomes the card
        with storage_errors(folder / CARD):
            new.replace(folder / CARD)
    try:
        with atomic_path(folder / EXPORTED) as temporary:
            yield temporary, entry
            stored = {"file": EXPORTED, "sha256": sha256(temporary), "bytes": temporary.stat().st_size}
            write_atomic(new, card_text({**card, EXPORT: {**stored, **entry}}))
    except BaseException:
        if card_path(folder) != new:
            new.unlink(missing_ok=True)
        raise
    with storage_errors(folder / CARD):
        new.replace(folder / CARD)


def card_text(card: Card) -> str:
    """A card as it is written."""
    return json.dumps(card, ensure_ascii=False, indent=2, allow_nan=False) + "\n"


def read_card(folder: Path) -> Card:
    """The card of a bundle, brought to the present format; needs no weights.

    Raises:
        ModelError: HS-MODEL-011 (no bundle here, or its card is no JSON), HS-MODEL-013 (made by a later
            version).
    """
    path = card_path(Path(folder))
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        return migrated(card, path)
    except FileNotFoundError as error:
        raise ModelError(
            "HS-MODEL-011",
            "There is no model here.",
            where=path,
            fix="Give the folder of a run that has ended, or its model/ folder.",
        ) from error
    except (OSError, *NO_CARD) as error:
        raise ModelError(
            "HS-MODEL-011",
            f"The card of the model cannot be read: {error}.",
            where=path,
            fix="Copy the whole model/ folder again.",
        ) from error


def migrated(card: Card, where: Path) -> Card:
    """A card brought to the present format.

    Raises:
        ModelError: HS-MODEL-011, HS-MODEL-013, as `read_card`.
        KeyError, TypeError, ValueError: It does not tell its format.
    """
    version = int(card["format_version"])
    if version > FORMAT_VERSION:
        raise ModelError(
            "HS-MODEL-013",
            f"The model has format {version}; this version of headstart reads up to {FORMAT_VERSION}.",
            where=where,
            fix="pip install --upgrade headstart",
        )
    while version < FORMAT_VERSION:
        if version not in MIGRATIONS:
            raise ModelError("HS-MODEL-011", f"The model has an unknown format, {version}.", where=where)
        card = MIGRATIONS[version](card)
        version += 1
    return dict(card)
