"""The card of a saved model, ``model.json``: all that is known of it, readable without torch."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from headstart.errors import ModelError
from headstart.storage import write_atomic

FORMAT_VERSION = 1
MODEL_FOLDER = "model"  # of a run
CARD = "model.json"
WEIGHTS = "model.safetensors"
NEXT = "model.json.next"
"""The card of weights that are about to take the place of the old ones."""

Card = dict[str, Any]

MIGRATIONS: dict[int, Callable[[Card], Card]] = {}
"""Format version -> a function that turns a card of that version into one of the next."""


def has_model(folder: Path) -> bool:
    """Whether this is the folder of a run with a saved model."""
    return card_path(folder / MODEL_FOLDER).is_file()


def card_path(folder: Path) -> Path:
    """The card that belongs to a bundle's weights; it need not exist.

    That is `NEXT` where the process ended between exchanging the weights and exchanging the card.
    """
    new = folder / NEXT
    if new.is_file():
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            if json.loads(new.read_text(encoding="utf-8"))["weights"]["sha256"] == sha256(folder / WEIGHTS):
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
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            "HS-MODEL-011",
            f"The card of the model cannot be used: {type(error).__name__}: {error}.",
            where=folder / CARD,
            fix="Copy the whole model/ folder again.",
        ) from error


def add_to_card(folder: Path, entries: Card) -> None:
    """Writes further entries into the card of a bundle.

    Raises:
        ModelError: as `read_card`.
        RunError: HS-RUN-001 to -003.
    """
    card = read_card(folder) | entries
    write_atomic(folder / CARD, json.dumps(card, ensure_ascii=False, indent=2, allow_nan=False) + "\n")


def read_card(folder: Path) -> Card:
    """The card of a bundle, brought to the present format; needs no weights.

    Raises:
        ModelError: HS-MODEL-011 (no bundle here, or its card is no JSON), HS-MODEL-013 (made by a later
            version).
    """
    path = card_path(Path(folder))
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        version = int(card["format_version"])
    except FileNotFoundError as error:
        raise ModelError(
            "HS-MODEL-011",
            "There is no model here.",
            where=path,
            fix="Give the folder of a run that has ended, or its model/ folder.",
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            "HS-MODEL-011",
            f"The card of the model cannot be read: {error}.",
            where=path,
            fix="Copy the whole model/ folder again.",
        ) from error
    if version > FORMAT_VERSION:
        raise ModelError(
            "HS-MODEL-013",
            f"The model has format {version}; this version of headstart reads up to {FORMAT_VERSION}.",
            where=path,
            fix="pip install --upgrade headstart",
        )
    while version < FORMAT_VERSION:
        if version not in MIGRATIONS:
            raise ModelError("HS-MODEL-011", f"The model has an unknown format, {version}.", where=path)
        card = MIGRATIONS[version](card)
        version += 1
    return dict(card)
