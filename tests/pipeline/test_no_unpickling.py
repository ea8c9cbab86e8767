"""Nothing is unpickled: train, go on, evaluate, explain, export, predict, serve, with pickle taken away."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

for _name in ("onnx", "fastapi", "uvicorn"):
    pytest.importorskip(_name)

REFUSED = 86
TAKEN_AWAY = f'''
import os, sys, traceback

def refuse(what):
    """Ends the process: an exception could be caught on its way."""
    print("UNPICKLING:", what, file=sys.stderr)
    traceback.print_stack()
    sys.stderr.flush()
    os._exit({REFUSED})

import _pickle, pickle

class Unpickler(pickle.Unpickler):
    def __init__(self, *args, **named):
        refuse("Unpickler")

class PythonUnpickler(pickle._Unpickler):
    def __init__(self, *args, **named):
        refuse("_Unpickler")

# marshal stays: Python reads its own .pyc files with it.
for module in (pickle, _pickle):
    for name in ("load", "loads", "_load", "_loads"):
        if hasattr(module, name):
            setattr(module, name, lambda *args, name=name, **named: refuse(name))
    module.Unpickler = Unpickler
pickle._Unpickler = PythonUnpickler

import numpy
plain_load = numpy.load

def load(*args, allow_pickle=False, **named):
    return refuse("numpy.load") if allow_pickle else plain_load(*args, allow_pickle=False, **named)

numpy.load = load

def without_torchs():
    import torch
    plain = torch.load

    def load(*args, weights_only=None, **named):
        return plain(*args, weights_only=True, **named) if weights_only else refuse("torch.load")

    torch.load = load
'''

ALL = (
    TAKEN_AWAY
    + """
import json, signal, socket, threading, time, urllib.request
without_torchs()
from headstart.cli import main
from headstart.training import checkpoint

commands, interrupted, served, picture = json.loads(sys.argv[1])
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job is told to ignore it
checkpoint.EVERY = 0.0
plain_save = checkpoint.Checkpoint.save

def save(self, *args):
    plain_save(self, *args)
    checkpoint.Checkpoint.save = plain_save
    os.kill(os.getpid(), signal.SIGINT)

def run(words):
    try:
        return main(words)
    except SystemExit as end:
        return end.code

done = []
checkpoint.Checkpoint.save = save
done.append(run(interrupted))
checkpoint.EVERY = 60.0
for words in commands:
    done.append(run(words))

def ask():
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            try:
                opener.open(url + "/health")
                break
            except OSError:
                time.sleep(0.1)
        with open(picture, "rb") as file:
            request = urllib.request.Request(url + "/predict", file.read(), {"Content-Type": "image/png"})
        answers.append(json.load(opener.open(request))["predictions"][0]["status"])
    finally:
        os.kill(os.getpid(), signal.SIGTERM)

answers = []
with socket.create_server(("127.0.0.1", 0)) as free:
    port = free.getsockname()[1]
asking = threading.Thread(target=ask, daemon=True)
asking.start()
done.append(run([*served, "--port", str(port)]))
asking.join(10)
print(json.dumps({"codes": done, "answers": answers}))
"""
)


@pytest.fixture
def without_pickle(surroundings: dict[str, str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(code: str, *words: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", code, *map(str, words)],
            env=surroundings,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=120,
            check=False,
        )

    return run


@pytest.mark.parametrize(
    "attempt",
    [
        "import pickle; pickle.loads(pickle.dumps(1))",
        "import io, pickle; pickle.load(io.BytesIO(pickle.dumps(1)))",
        "import io, pickle; pickle.Unpickler(io.BytesIO(pickle.dumps(1))).load()",
        "import io, pickle; pickle._Unpickler(io.BytesIO(pickle.dumps(1))).load()",
        "import _pickle; _pickle.loads(_pickle.dumps(1))",
        "f = io.BytesIO(); np.save(f, np.array([{}])); f.seek(0); np.load(f, allow_pickle=True)",
        "without_torchs(); f = io.BytesIO(); torch.save(1, f); f.seek(0); torch.load(f, weights_only=False)",
    ],
)
def test_the_trap_closes(without_pickle: Callable[..., Any], attempt: str) -> None:
    """Or the next test could not fail."""
    imports = "import io\nimport numpy as np\n" + ("import torch\n" if "torch" in attempt else "")
    done = without_pickle(f"{TAKEN_AWAY}{imports}try:\n    {attempt}\nexcept BaseException:\n    pass\n")
    assert done.returncode == REFUSED and "UNPICKLING:" in done.stderr, done.stderr


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_no_command_unpickles(
    without_pickle: Callable[..., Any],
    shapes_folder: Path,
    tiny: dict[str, Any],
    flags_of: Callable[..., list[str]],
    tmp_path: Path,
) -> None:
    data = shapes_folder
    run, picture = tmp_path / "runs" / data.name, data / "test" / "dots" / "000.png"
    trained = ["train", str(data), "--output", str(tmp_path / "runs"), *flags_of(tiny)]
    bundled = ["train", str(data), "--output", str(tmp_path / "more"), "--strategy", "probe"]
    commands = [
        ["train", "--resume", str(run)],
        [*bundled, "--img-size", "64", "--threads", "1", "--workers", "1"],  # weights that torch.load reads
        ["predict", str(run), str(picture), "-o", str(tmp_path / "torch.csv")],
        ["evaluate", str(run)],
        ["evaluate", str(run), str(data)],
        ["explain", str(run), str(picture), "-o", str(tmp_path / "explained")],
        ["export", str(run)],
        ["predict", str(run), str(picture), "--backend", "onnx", "-o", str(tmp_path / "onnx.csv")],
        ["predict", str(run / "model" / "model.onnx"), str(picture), "-o", str(tmp_path / "alone.csv")],
    ]
    served = ["serve", str(run), "--backend", "torch"]
    done = without_pickle(ALL, json.dumps([commands, trained, served, str(picture)]))
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told == {"codes": [130, *[0] * len(commands), 0], "answers": ["ok"]}, done.stderr
    assert {path.name for path in tmp_path.glob("*.csv")} == {"torch.csv", "onnx.csv", "alone.csv"}
