"""The processes of one run, as torch's elastic launcher tells of them in the environment, and starting them.

`torchrun -m headstart train ...` starts them on one or several machines; a plain `headstart train` does the
same for the GPUs of this one. There is no launcher of our own.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

MARK = "TORCHELASTIC_RUN_ID"  # set by torch's launcher alone; WORLD_SIZE is set by schedulers, too
NO_ID = "none"  # torchrun's run id where none was given


@dataclass(frozen=True)
class Place:
    """The place of this process among those that were started together.

    Attributes:
        rank: Number of this process, from 0.
        size: How many there are.
        local_rank: Number of this process on its machine.
        local_size: How many there are on this machine.
        launch: Names the launch, the same after an elastic restart; empty without a launcher.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    launch: str = ""


def place() -> Place:
    """Where this process stands."""
    run_id = os.environ.get(MARK)
    if run_id is None:
        return Place()
    if run_id == NO_ID:  # then the launcher's own process, which stays the same, tells launches apart
        run_id = f"{NO_ID} {socket.gethostname()} {os.getppid()}"
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    rank, size, local_rank, local_size = (int(os.environ[name]) for name in names)
    return Place(rank, size, local_rank, local_size, run_id)


def leave() -> None:
    """From now on this process is alone, as far as headstart is concerned."""
    os.environ.pop(MARK, None)


def visible_gpus() -> int:
    """GPUs that training may use; asks torch only where there can be several, as importing it takes long."""
    devices = Path("/dev")
    several = len(list(devices.glob("nvidia[0-9]*"))) > 1
    if not several and not any((devices / name).exists() for name in ("kfd", "dxg")):
        return 0
    import torch

    return torch.cuda.device_count() if torch.distributed.is_available() else 0


def processes_to_start(gpus: int | str, device: str | None) -> int:
    """How many processes a plain call starts on this machine; 1: it goes on itself.

    Args:
        gpus: ``all``, or how many.
        device: What ``--device`` named: it alone is used then.
    """
    # A run's config.yaml names both: "cuda", and how many.
    named = device is not None and not (device == "cuda" and gpus != "all")
    if place().launch or named or gpus == 1:
        return 1
    return max(1, visible_gpus() if gpus == "all" else min(int(gpus), visible_gpus()))


def start(words: Sequence[str], processes: int) -> int:
    """Runs the command line ``words`` in several processes on this machine; returns the exit code.

    That of the process that failed first, 130 if the launcher was interrupted.
    """
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args, run

    # Decoding has threads of its own; those of the network are set by the plan.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    try:
        run(parse_args(arguments(words, processes)))  # type: ignore[no-untyped-call]
    except ChildFailedError as error:
        code = error.get_first_failure()[1].exitcode
        return code if code > 0 else 1  # below 0: by a signal
    except (KeyboardInterrupt, SignalException):
        return 130
    return 0


def arguments(words: Sequence[str], processes: int) -> list[str]:
    """Those of ``torchrun``."""
    return ["--standalone", f"--nproc-per-node={processes}", "-m", "headstart", *words]
