"""Source models from a machine that has their weights to one without a network: packed there, added here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from headstart.errors import ModelError
from headstart.model import bundled, packed, zoo
from headstart.model.networks import build, to_load
from headstart.model.source import SourceModel
from headstart.model.weights import damaged
from headstart.storage import atomic_path


def pack(name: str, path: Path) -> dict[str, Any]:
    """Writes the weights of a model into one file, for `add` on a machine without a network.

    Args:
        name: As for `headstart.model.zoo.spec`; fetched first if no cache holds the weights.
        path: The file; put in the place of one that is there.

    Returns:
        name, file, bytes, licence, notice.

    Raises:
        ModelError: as `headstart.model.zoo.create`; HS-MODEL-023, the library would not read the file as the
            same model; HS-MODEL-024, another ending than ``.safetensors``.
        RunError: HS-RUN-001 to -003, the file cannot be written.
    """
    path = Path(path)
    if path.suffix != ".safetensors":  # by which libraries know that it is nothing to unpickle
        raise ModelError(
            "HS-MODEL-024",
            "A packed model is a safetensors file, and is to be called so.",
            where=path,
            fix=f"Use --output {path.with_suffix('.safetensors').name}",
        )
    source = zoo.spec(name)
    before = zoo.published_network(source).state_dict()
    with atomic_path(path) as temporary:
        packed.write_packed(temporary, source, before)
        again = _from_packed(source, temporary).state_dict()
        if packed.checksum(before) != packed.checksum(again):
            raise ModelError(
                "HS-MODEL-023",
                f"{source.name} cannot be packed: {source.library} would read the file as another network.",
                where=path,
                fix="Carry the library's own file, and name it with --weights.",
            )
    return packed.told(source, path)


def add(path: Path) -> dict[str, Any]:
    """Keeps a file of `pack` on this machine, where its model is found by its name from then on.

    Args:
        path: The file; stays where it is.

    Returns:
        name, file (where it is kept), bytes, licence, notice.

    Raises:
        ModelError: HS-MODEL-013, -020, -021, -022: later, no such file, damaged, not what is installed here;
            HS-MODEL-001, no model of that name; HS-MODEL-004, the tensors are not those of the network.
        RunError: HS-RUN-001 to -003, it cannot be kept.
    """
    source, _ = packed.read_source(Path(path))
    here = zoo.spec(source.name)  # the name of a model that exists, so that it can be that of a file
    packed.refuse_other(path, source, here)
    with packed.copied(path, here.name) as temporary:
        packed.read_packed(temporary)
        _from_packed(here, temporary)
    return packed.told(source, packed.place_of(here.name))


def _from_packed(source: SourceModel, file: Path) -> nn.Module:
    if bundled.package_of(source) is None:
        return build(source, None, file)
    network = to_load(source)
    try:
        network.load_state_dict(packed.read_packed(file))
    except RuntimeError as error:
        raise damaged(file, error) from error
    return network
