"""examples/lesson.py runs as a script, says what it should, and opens as a notebook."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import nbformat
import pytest

LESSON = Path(__file__).parents[2] / "examples" / "lesson.py"
TRAINED = (
    "fine-tuned",
    "from-scratch",
    "default",
    "rate-times-16",
    "fine-tuned-longer",
    "from-scratch-longer",
    "head-only",
    "from-imagenet-rows",
)


@pytest.mark.skipif(find_spec("elpv_dataset") is None, reason="the package elpv-dataset is not installed")
def test_the_lesson_runs_from_its_first_cell_to_its_last(tmp_path: Path) -> None:
    surroundings = {
        **dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9"),  # nothing can be downloaded
        "no_proxy": "",
        "TORCH_HOME": str(tmp_path / "torch"),
        "OMP_WAIT_POLICY": "passive",  # threads that wait do not take the processor from other tests
    }
    done = subprocess.run(
        [sys.executable, LESSON, "--quick"],
        cwd=tmp_path,
        env={**os.environ, **surroundings},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=400,
    )
    assert done.returncode == 0, done.stderr
    for expected in (
        "CC BY-NC-SA 4.0",
        "HS-MODEL-003",  # ResNet-18 cannot be had: said, and gone on with the bundled network
        "output layer: Linear(in_features=1280, out_features=1000, bias=True)",
        "output layer Linear(in_features=1280, out_features=2, bias=True); "
        "everything else equal to the source: True",
        "the same step: True",
        "trains: ['head.weight', 'head.bias']",
    ):
        assert expected in done.stdout
    assert re.search(r"backbone +\d+ +\d+ +5e-05 ", done.stdout)
    assert re.search(r"head +2 +2562 +0\.0005 ", done.stdout)
    assert re.search(r"cell\d+\.png: (defective|functional) \(0\.\d\d\)", done.stdout)
    assert re.search(r"functional starts from row \d+: \w+", done.stdout)

    verdicts = re.findall(r"^result: (.+) - (.+): \S+ points \(.* n = 12\), ", done.stdout, re.MULTILINE)
    assert [set(pair) for pair in verdicts] == [
        {"fine-tuned", "from-scratch"},
        {"default", "fine-tuned"},
        {"fine-tuned-longer", "from-scratch-longer"},
        {"fine-tuned", "head-only"},
        {"from-imagenet-rows", "fine-tuned"},
    ]
    table = done.stdout[done.stdout.rindex("test accuracy") :]
    for name in TRAINED:
        run = tmp_path / "lesson" / "runs" / name
        metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
        assert metrics["n"] == 12
        assert re.search(rf"^ +{name} +{metrics['accuracy']['value']:.3f} ", table, re.MULTILINE)
        assert (run / "curves.png").is_file()
    for page in ("lesson.png", "classes.png"):
        assert (tmp_path / "lesson" / "pictures" / page).read_bytes().startswith(b"\x89PNG")


def test_the_lesson_opens_as_a_notebook() -> None:
    notebook = nbformat.v4.new_notebook()
    for kind, body in cells(LESSON.read_text(encoding="utf-8")):
        if kind == "markdown":
            assert all(line.startswith("#") for line in body.splitlines()), body
            text = "\n".join(line[2:] for line in body.splitlines())
            assert re.search(r"[a-z]{3}", text), text
            assert re.search(r"[\u4e00-\u9fff]", text), text  # both languages, in every cell
            notebook.cells.append(nbformat.v4.new_markdown_cell(text))
        else:
            compile(body, LESSON.name, "exec")
            notebook.cells.append(nbformat.v4.new_code_cell(body))
    nbformat.validate(notebook)
    kinds = [cell.cell_type for cell in notebook.cells]
    assert kinds[0] == "markdown"
    assert kinds.count("code") >= 14


def cells(script: str) -> list[tuple[str, str]]:
    """(``code`` or ``markdown``, text) of each ``# %%`` cell."""
    parts = re.split(r"^# %%( \[markdown\])?\n", script, flags=re.MULTILINE)
    assert not parts[0]
    marks, bodies = parts[1::2], parts[2::2]
    return [("markdown" if m else "code", b.strip()) for m, b in zip(marks, bodies, strict=True)]
