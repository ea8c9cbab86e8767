"""Every fault of the catalogue gets its exact words, in Python and on the command line, and changes nothing.

The families are modules of this folder, each a list of faults: what is written, what is said.
"""

from __future__ import annotations

import dataclasses
import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch  # noqa: F401 - before the thread of a training that a fault ends does it

import headstart
from faults import archives, downloads, files, folders, manifests, runs, settings
from faults.catalogue import Fault, in_python, split, tree, without_hashes, words

FAMILIES: dict[str, list[Fault]] = {
    "files": files.FAULTS,
    "folders": folders.FAULTS,
    "manifests": manifests.FAULTS,
    "archives": archives.FAULTS,
    "downloads": downloads.FAULTS,
    "runs": runs.FAULTS,
    "settings": [*settings.FAULTS, *settings.FILES],
}
CODE = re.compile(r"HS-[A-Z]+-\d{3}")


def named(faults: Iterable[tuple[str, Fault]]) -> list[Any]:
    return [pytest.param(fault, id=f"{family}-{fault}") for family, fault in faults]


@pytest.fixture(scope="session")
def finished(tiny: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``data`` and ``run``, which was trained on it. Not to be changed."""
    place = tmp_path_factory.mktemp("finished")
    split(place / "data", train=6, test=3)
    few = {name: value for name, value in tiny.items() if name not in ("epochs", "batch_size")}
    trained = headstart.train(place / "data", output=place / "runs", strategy="probe", **few)
    trained.path.rename(place / "run")
    (place / "runs").rmdir()
    return place


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, in which the command is typed."""
    monkeypatch.setattr("headstart.data.download.PAUSE", 0.0)
    place = tmp_path.resolve() / "here"
    place.mkdir()
    monkeypatch.chdir(place)
    return place


def placed(fault: Fault, here: Path, home: Path) -> Fault:
    """The fault with the places of this test."""

    def put(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return value.replace("{here}", str(here)).replace("{home}", str(home))

    flags = {name: put(value) for name, value in fault.flags.items()}
    return dataclasses.replace(fault, said=put(fault.said), given=[put(v) for v in fault.given], flags=flags)


@pytest.mark.parametrize(
    "fault", named((family, fault) for family, faults in FAMILIES.items() for fault in faults)
)
def test_a_fault_gets_its_words_and_changes_nothing(
    fault: Fault, here: Path, home: Path, command: Callable[..., Any], request: pytest.FixtureRequest
) -> None:
    if fault.unless:
        pytest.skip(fault.unless)
    if fault in runs.FAULTS:
        shutil.copytree(request.getfixturevalue("finished"), here, dirs_exist_ok=True)
    fault.make(here)
    fault = placed(fault, here, home)
    before = tree(here)

    told = without_hashes(in_python(fault))
    assert tree(here) == before
    done = command(*words(fault))
    assert tree(here) == before

    assert done.code == fault.exit_code, done.err
    assert "Traceback" not in told + done.err
    if fault.command == "check":
        assert fault.said in told.split("\n\n") and fault.said in done.out.rstrip("\n").split("\n\n")
    else:
        assert told == fault.said
        assert without_hashes(done.err).rstrip("\n").endswith(f"error {fault.said}")
        assert done.out == "" or fault.command == "predict"  # which writes row by row


@pytest.mark.parametrize("fault", named(("line", fault) for fault in settings.LINES))
def test_a_wrong_command_line_gets_its_words(fault: Fault, here: Path, command: Callable[..., Any]) -> None:
    fault.make(here)
    before = tree(here)
    done = command(*fault.command.split())
    assert done.code == fault.exit_code
    assert done.err.rstrip("\n") == f"error {fault.said}"
    assert tree(here) == before


def test_the_catalogue_is_large_and_every_message_has_a_code_and_a_mend() -> None:
    faults = [fault for family in (*FAMILIES.values(), settings.LINES) for fault in family]
    assert len(faults) >= 150
    assert len({fault.name for fault in faults}) >= 140
    for fault in faults:
        assert CODE.search(fault.said), fault.name
        if fault.said.startswith(("ERROR", "WARNING", "note")):
            assert "\n         > " in fault.said
        elif "HS-DATA-016" not in fault.said:  # there, each line says what to do
            assert "\n  to do: " in fault.said, fault.name
    assert len({code for fault in faults for code in CODE.findall(fault.said)}) >= 60
