"""The weights of a source model as one file, for a machine without a network.

A safetensors file with the tensors as their library names them. Its header says which model they are, under
which licence, and their checksum; nothing in it is run.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstart.errors import ModelError
from headstart.model.source import SourceModel
from headstart.storage import atomic_path, home
from headstart.versions import versions

if TYPE_CHECKING:
    from torch import Tensor

FORMAT_VERSION = 1
KEY = "headstart-source-model"  # in the header
NOT_COMPARED = ("origin", "notice", "licence", "parameters")  # words, which another version may put otherwise


def place_of(name: str) -> Path:
    """Where the file of a model is, once added; made by nobody here.

    Args:
        name: Whole name of a source model; its ``/`` cannot lead out of the folder.
    """
    return home() / "models" / f"{name.replace('/', '--')}.safetensors"


def added(name: str) -> Path | None:
    """The file of a model that was added to this machine, None if there is none."""
    path = place_of(name)
    return path if path.is_file() else None


def write_packed(path: Path, source: SourceModel, tensors: Mapping[str, Tensor]) -> None:
    """Writes the weights of a source model, or puts them in the place of those that are there.

    Args:
        path: The file.
        source: The model.
        tensors: Its state, source head included.

    Raises:
        RunError: HS-RUN-001 to -003.
    """
    from headstart.model.tensors import saved_tensors

    facts = {
        "format_version": FORMAT_VERSION,
        "source": asdict(source),
        "sha256": checksum(tensors),
        "versions": versions(),
    }
    with saved_tensors(path, tensors, {"format": "pt", KEY: json.dumps(facts, ensure_ascii=False)}):
        pass


def checksum(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of names, types, shapes and values, in the order of the names."""
    import torch

    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}\0{tensor.dtype}\0{list(tensor.shape)}\0".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def read_source(path: Path) -> tuple[SourceModel, str]:
    """Which model a file holds, and the checksum of its weights, from its header alone.

    Raises:
        ModelError: HS-MODEL-020, `headstart models pack` did not make it; HS-MODEL-013, a later version did.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with open(path, "rb"):  # says more than safetensors of one that cannot be read
            pass
        with safe_open(path, "numpy") as file:
            facts = json.loads((file.metadata() or {})[KEY])
        version = int(facts["format_version"])
        if version > FORMAT_VERSION:
            raise ModelError(
                "HS-MODEL-013",
                f"The file was made by a later version of headstart (format {version}).",
                where=path,
                fix="pip install --upgrade headstart",
            )
        return SourceModel.from_dict(facts["source"]), str(facts["sha256"])
    except (OSError, SafetensorError, LookupError, TypeError, ValueError, AttributeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "it has no such header"
        raise ModelError(
            "HS-MODEL-020",
            f"This is no packed source model: {reason}.",
            where=path,
            fix="Pack one on a machine that has its weights: headstart models pack NAME --output FILE",
        ) from error


def read_packed(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, as they were when it was packed.

    Raises:
        ModelError: as `read_source`; HS-MODEL-021, they are damaged or were changed.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    _, expected = read_source(path)
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise changed(path, expected, str(error)) from error
    if (found := checksum(tensors)) != expected:
        raise changed(path, expected, found)
    return tensors


def changed(path: Path, expected: str, found: str) -> ModelError:
    """What is said of weights that are not those that were packed."""
    return ModelError(
        "HS-MODEL-021",
        "The weights are not those that were packed: the file is damaged or was changed.",
        where=path,
        details=[f"expected SHA-256 {expected}", f"found {found}"],
        fix="Copy the file again from where it was packed, and add it again.",
    )


def refuse_other(path: Path, packed: SourceModel, here: SourceModel) -> None:
    """A model is added only where the installed libraries take it for what it was.

    Raises:
        ModelError: HS-MODEL-022, with everything that differs.
    """
    theirs, ours = asdict(packed), asdict(here)
    differences = [
        f"{name}: {theirs[name]} in the file, {ours[name]} here"
        for name in ours
        if name not in NOT_COMPARED and theirs[name] != ours[name]
    ]
    if differences:
        raise ModelError(
            "HS-MODEL-022",
            f"The installed {here.library} describes {packed.name} in another way than the file.",
            where=path,
            details=differences,
            fix=f"Install the {here.library} that the file was packed with, or pack it with the one here.",
        )


@contextmanager
def copied(path: Path, name: str) -> Iterator[Path]:
    """A copy of a file on its way to where added models are; there when the block ends without an error.

    Raises:
        RunError: HS-RUN-001 to -003.
    """
    with atomic_path(place_of(name)) as temporary:
        shutil.copyfile(path, temporary)
        yield temporary


def told(source: SourceModel, path: Path) -> dict[str, Any]:
    """For JSON, and for a person."""
    return {
        "name": source.name,
        "file": str(path),
        "bytes": path.stat().st_size,
        "licence": source.licence,
        "notice": source.notice,
    }
