"""headstart and its peers, side by side: one process for each data set, peer and seed, one after another.

Everything gets the same pictures, weights, processor and environment. A finished cell is kept in
``benchmarks/.cells`` and not measured again unless a script, headstart, a version or the pictures changed.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from machine import PEERS, machine

HERE = Path(__file__).parent
CELLS = HERE / ".cells"
SCRIPTS = HERE / "peers"
DATA = ("ants-bees", "hotdog-small", "chairs")
TIME_LIMIT = 4 * 3600.0  # seconds for one cell
STARTED = "BENCHMARK_STARTED"  # as in peers/common.py
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Peer:
    """A script with its flags, and how many seeds it gets."""

    name: str
    script: str
    flags: tuple[str, ...] = ()
    seeds: int = 3


LINE_UP = (
    Peer("headstart", "headstart_train.py", seeds=5),
    Peer("features_regression", "features_regression.py"),
    Peer("torch_loop_bf16", "torch_loop.py", ("--bf16",)),
    Peer(
        "hf_trainer_fair",
        "hf_trainer.py",
        ("--lr", "5e-4", "--batch-size", "32", "--warm-up", "0.1", "--bf16"),
    ),
    Peer("torch_loop", "torch_loop.py"),
    Peer("hf_trainer", "hf_trainer.py"),
    Peer("d2l_loop", "d2l_loop.py"),
    Peer("fastai_fine_tune", "fastai_fine_tune.py"),
)
NOT_RUN = {
    "autogluon": "not run: its releases ask for older versions of torch and timm, so it needs an environment "
    "of its own, and would not run on the same versions"
}


def peers(data: Path) -> Rows:
    return measured(data, DATA, LINE_UP)


def peers_quick(data: Path) -> Rows:
    return measured(data, DATA[:1], [Peer(peer.name, peer.script, peer.flags, seeds=1) for peer in LINE_UP])


def measured(data: Path, names: Sequence[str], line_up: Sequence[Peer]) -> Rows:
    """All cells, seed by seed, so that what is there when it is stopped covers every peer."""
    rows: Rows = [{"peer": peer, "not_run": reason} for peer, reason in NOT_RUN.items()]
    CELLS.mkdir(exist_ok=True)
    here = [name for name in names if (data / name).is_dir()]
    rows += [
        {"data": name, "not_run": f"needs the pictures: --data FOLDER with {name}/"}
        for name in names
        if name not in here
    ]
    weights = CELLS / "tf_efficientnet_lite0.safetensors"
    prepare(data, here, weights)
    for seed in range(max(peer.seeds for peer in line_up)):
        for name in here:
            rows += [cell(name, peer, seed, weights) for peer in line_up if seed < peer.seeds]
    return rows


def prepare(data: Path, names: Iterable[str], weights: Path) -> None:
    """Writes the weights under timm's names, and the list of pictures of each data set.

    The split is headstart's; what it would set aside to choose on trains too, as a peer may use all.
    """
    from safetensors.torch import save_file

    from headstart.data.dataset import load_dataset
    from headstart.model import bundled, zoo

    tensors = bundled.state_dict("efficientnet-lite0")
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, weights)
    for name in names:
        dataset, _ = load_dataset(data / name, preprocess=zoo.preprocess("efficientnet-lite0"))
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(("path", "label", "split"))
        for i in range(len(dataset)):
            split = "test" if dataset.splits[i] == dataset.reported_split else "train"
            writer.writerow((dataset.file(i).absolute(), dataset.classes[dataset.labels[i]], split))
        list_of(name).write_text(text.getvalue(), encoding="utf-8")


def list_of(name: str) -> Path:
    return CELLS / f"{name}.csv"


def cell(name: str, peer: Peer, seed: int, weights: Path) -> dict[str, Any]:
    """A row: kept from an earlier call, or measured now; what fails says why and is tried again next time."""
    row = {"data": name, "peer": peer.name, "flags": " ".join((*peer.flags, f"--seed {seed}")), "seed": seed}
    path = CELLS / f"{name}-{peer.name}-{seed}.json"
    identity = fingerprint(name, peer)
    if path.exists():
        kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if kept.pop("identity") == identity:
            return kept
    print(f"  {name}, {peer.name}, seed {seed} ...", end=" ", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "result.json")
        command = [sys.executable, str(SCRIPTS / peer.script), *peer.flags, "--seed", str(seed)]
        command += ["--data", str(list_of(name)), "--weights", str(weights), "--out", str(out)]
        environment = {
            **os.environ,
            "HEADSTART_HOME": folder,  # an empty cache
            "HF_HUB_OFFLINE": "1",
            "CUDA_VISIBLE_DEVICES": "",  # the same processor for all
        }
        try:
            environment[STARTED] = repr(time.time())
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, env=environment, timeout=TIME_LIMIT
            )
        except subprocess.TimeoutExpired:
            print("too slow")
            return {**row, "failed": f"not done after {TIME_LIMIT:.0f} s"}
        if done.returncode or not out.exists():
            print("failed")
            lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            return {**row, "failed": lines[-1]}
        result = json.loads(out.read_text(encoding="utf-8"))
    last = result["checkpoints"][-1]
    row |= {"accuracy": last["accuracy"], "n": len(last["correct"]), "seconds": last["seconds"], **result}
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps({**row, "identity": identity}), encoding="utf-8")
    temporary.replace(path)
    print(f"accuracy {last['accuracy']:.3f} after {last['seconds']:.1f} s")
    return row


def fingerprint(name: str, peer: Peer) -> str:
    """Changes with whatever could change the result."""
    files = [SCRIPTS / peer.script, SCRIPTS / "common.py", SCRIPTS / "network.py", list_of(name)]
    if peer.name == "headstart":
        files += sorted((HERE.parent / "src").rglob("*.py"))
    digest = hashlib.sha256(json.dumps([peer.flags, machine(*PEERS)]).encode())
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()
