"""The words of an error, and its exit code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import headstart
from headstart.errors import (
    ConfigError,
    DataError,
    FetchError,
    HeadstartError,
    MissingExtraError,
    ModelError,
    RunError,
    UsageError,
    nearest,
)

SOURCE = Path(headstart.__file__).parent


def test_the_whole_text() -> None:
    error = DataError(
        "HS-DATA-099", "It is wrong.", where=Path("a/b"), fix="Mend it.", details=["first", "second"]
    )
    assert str(error) == ("HS-DATA-099: It is wrong.\n  where: a/b\n  - first\n  - second\n  to do: Mend it.")
    assert error.to_dict() == {
        "code": "HS-DATA-099",
        "what": "It is wrong.",
        "where": "a/b",
        "details": ["first", "second"],
        "fix": "Mend it.",
    }


def test_what_is_not_known_is_left_out() -> None:
    assert str(RunError("HS-RUN-099", "It is wrong.")) == "HS-RUN-099: It is wrong."


def test_ten_details_are_shown_and_the_rest_counted() -> None:
    error = DataError("HS-DATA-099", "It is wrong.", details=[f"fault {i}" for i in range(13)])
    lines = str(error).splitlines()
    assert lines[1] == "  - fault 0"
    assert lines[10] == "  - fault 9"
    assert lines[11] == "  - and 3 more"
    assert len(lines) == 12
    assert len(error.details) == 13


@pytest.mark.parametrize(
    ("kind", "code"),
    [(UsageError, 2), (ConfigError, 2), (DataError, 2), (ModelError, 1), (FetchError, 1), (RunError, 1)],
)
def test_exit_codes(kind: type[HeadstartError], code: int) -> None:
    assert kind("HS-X-001", "x").exit_code == code
    assert issubclass(kind, HeadstartError)


def test_a_missing_extra_says_the_pip_line() -> None:
    error = MissingExtraError("train", "Training")
    assert str(error) == (
        "HS-INSTALL-001: Training needs packages that are not installed.\n"
        '  to do: pip install "headstart[train]"'
    )
    assert error.exit_code == 1


def test_nearest_names() -> None:
    assert nearest("epoch", ["epochs", "seed"]) == " Did you mean 'epochs'?"
    assert nearest("CATS", ["cats"]) == " Did you mean 'cats'?"
    assert nearest("xyz", ["epochs", "seed"]) == ""
    assert nearest("", []) == ""


def test_codes_are_well_formed() -> None:
    """Every code stands in the source with the shape HS-AREA-NNN."""
    codes = {
        code
        for path in SOURCE.rglob("*.py")
        for code in re.findall(r'"(HS-[^"\s]*)"', path.read_text(encoding="utf-8"))
    }
    assert len(codes) > 50
    assert not {code for code in codes if not re.fullmatch(r"HS-[A-Z]+-\d{3}", code)}
