"""One run in several processes: the first one owns its folder, prints and writes; the others compute.

Where there is one process, nothing of this happens and torch is not imported.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstart import console
from headstart.config import TrainConfig, from_mapping, to_mapping
from headstart.data.dataset import Dataset
from headstart.data.pictures import available_memory
from headstart.data.sources import Data
from headstart.data.store import finish
from headstart.errors import DataError, RunError
from headstart.launch import place
from headstart.run_folder import CONFIG
from headstart.storage import write_atomic

if TYPE_CHECKING:
    from headstart.training.checkpoint import Checkpoint, Saved

LAUNCH = ".launch"  # in the folder of a run under way: which launch with which settings it belongs to


@contextlib.contextmanager
def joined() -> Iterator[None]:
    """Connects the processes of this launch; all but the first one are quiet.

    Raises:
        RunError: HS-RUN-030, another process has ended before its time.
    """
    if place().size == 1:
        yield
        return
    from headstart.model import ranks

    try:
        with ranks.process_group(), contextlib.nullcontext() if ranks.is_first() else console.quiet():
            yield
    except RuntimeError as error:
        if not ranks.is_lost_connection(error):
            raise
        raise RunError(
            "HS-RUN-030",
            "Another process of this run has ended, so this one cannot go on.",
            fix="See its own message; after a fault of the machine: headstart train --resume RUN",
        ) from error


def is_first() -> bool:
    """Whether this process writes the run's folder."""
    return place().rank == 0


def own_device(device: str | None) -> str | None:
    """This process' GPU, where there are several processes and no other kind of device is asked for."""
    if place().size == 1 or not (device or "cuda").startswith("cuda"):
        return device
    import torch

    if not torch.cuda.is_available():
        return device
    return f"cuda:{place().local_rank % torch.cuda.device_count()}"


@contextlib.contextmanager
def shared_folder(own: contextlib.AbstractContextManager[Path]) -> Iterator[Path]:
    """The run's folder, in every process; only the first one enters ``own``, which claims it."""
    if place().size == 1:
        with own as folder:
            yield folder
        return
    from headstart.model import ranks

    if not ranks.is_first():
        yield Path(ranks.agreed(""))
        return
    with own as folder:
        ranks.agreed(str(folder))
        yield folder


@contextlib.contextmanager
def read_in_turn() -> Iterator[None]:
    """The first process of each machine reads pictures into the cache, the others read them from there."""
    if place().size == 1:
        yield
        return
    from headstart.model import ranks

    with ranks.first_of_node():
        yield
        finish()


def own_memory() -> int | None:
    """Bytes of pictures that this process may keep in memory; None: it has the machine to itself."""
    here = place().local_size
    return None if here == 1 else available_memory() // 2 // here


def check_same_pictures(dataset: Dataset) -> None:
    """All machines must have the same pictures, in the same order.

    Raises:
        DataError: HS-DATA-019.
    """
    if place().size == 1:
        return
    from headstart.model import ranks

    columns = (dataset.file_hashes, dataset.labels, dataset.splits, dataset.groups)
    content = [dataset.classes, *(column.tolist() for column in columns)]
    content += [] if dataset.soft is None else [dataset.soft_classes, dataset.soft.tolist()]
    own = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    if ranks.agreed(own) != own:
        raise DataError(
            "HS-DATA-019",
            "The pictures of this machine are not those of the first one.",
            where=dataset.root,
            fix="Copy the same folder to each machine, or name one that all of them see.",
        )


# --- restarts ------------------------------------------------------------------------------------------


def signature(config: TrainConfig, data: Data | None) -> str:
    """What a launch is to do, by its id and settings."""
    name = str(data) if isinstance(data, str | PathLike) else ""
    values = [place().launch, name, to_mapping(config)]
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def begun_by_this_launch(config: TrainConfig, data: Data | None) -> Path | None:
    """The unfinished run that this launch began before it was restarted."""
    if not place().launch or data is None:
        return None
    found = None
    if is_first():
        own = signature(config, data)
        for mark in sorted(config.output.glob(f"*/{LAUNCH}")):
            if mark.read_text(encoding="utf-8") != own:
                continue
            if (mark.parent / CONFIG).is_file():
                found = str(mark.parent)
                console.say(f"{mark.parent}: restarted, the run goes on")
            else:  # it ended before its plan was made
                shutil.rmtree(mark.parent, ignore_errors=True)
    if place().size > 1:
        from headstart.model import ranks

        found = ranks.agreed(found)
    return None if found is None else Path(found)


def mark_folder(folder: Path, config: TrainConfig, data: Data | None) -> None:
    """Notes the launch that the run belongs to."""
    if place().launch and is_first():
        write_atomic(folder / LAUNCH, signature(config, data))


def unmark_folder(folder: Path) -> None:
    """The run has come to its end: a later launch of the same name is another run."""
    (folder / LAUNCH).unlink(missing_ok=True)


def same_settings(found: tuple[Path, Data, TrainConfig] | None) -> tuple[Path, Data | None, TrainConfig]:
    """What the first process found of a run to go on with, in every process; data only if it is a folder.

    Args:
        found: None in the other processes.
    """
    if place().size == 1:
        assert found is not None
        return found
    from headstart.model import ranks

    plain: dict[str, Any] = {}
    if found is not None:
        folder, data, config = found
        name = str(data) if isinstance(data, str | PathLike) else None
        plain = {"folder": str(folder), "data": name, "config": to_mapping(config)}
    plain = ranks.agreed(plain)
    return Path(plain["folder"]), plain["data"], from_mapping(plain["config"])


def load_together(checkpoint: Checkpoint) -> Saved | None:
    """The checkpoint that the first process finds, in every process: its file need not be seen by all.

    Raises:
        RunError: HS-RUN-023, as `Checkpoint.load`.
    """
    if place().size == 1:
        return checkpoint.load()
    from headstart.model import ranks
    from headstart.training.checkpoint import Checkpoint as At

    own = checkpoint.path.read_bytes() if ranks.is_first() and checkpoint.path.exists() else b""
    content = ranks.agreed_bytes(own)
    if not content:
        return None
    if ranks.is_first():
        return checkpoint.load()
    with tempfile.TemporaryDirectory(prefix="headstart-") as folder:
        path = Path(folder) / checkpoint.path.name
        path.write_bytes(content)
        return At(path).load()
