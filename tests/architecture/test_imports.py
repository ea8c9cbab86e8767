"""The order of the modules, and what each layer may load."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import headstart

ROOT = Path(__file__).parents[2]
SOURCE = Path(headstart.__file__).parent
RUNTIME = {"numpy", "PIL", "safetensors", "cyclopts", "rich", "yaml"}
SERVER = {"fastapi", "starlette", "uvicorn", "h11", "python_multipart", "prometheus_client", "threadpoolctl"}
FOUNDATION = (
    "errors",
    "storage",
    "console",
    "notation",
    "config",
    "metrics",
    "fonts",
    "cli",
    "run_folder",
    "__main__",
)
LIGHT = (*FOUNDATION, "notation", "data", "deployment")
WITH_TORCH = ("deployment/export.py", "deployment/timm_folder.py")
"""What makes networks leave; asked for in functions only, by `headstart export`."""
LAZY_ELSEWHERE = ("evaluation", "run", "trials", "trial_runs", "search", "tuning", "demo")


def test_the_contracts_are_kept() -> None:
    script = Path(sys.executable).parent / "lint-imports"
    if not script.exists():
        pytest.skip("import-linter is not installed")
    done = subprocess.run(
        [script, "--no-cache"], cwd=ROOT, capture_output=True, text=True, encoding="utf-8", timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def modules(*names: str) -> list[Path]:
    return [
        path for name in names for path in (sorted((SOURCE / name).rglob("*.py")) or [SOURCE / f"{name}.py"])
    ]


def imported_at_once(path: Path) -> set[str]:
    """Top-level packages that importing this module imports: not those in functions or for types alone."""
    found: set[str] = set()

    def visit(nodes: list[ast.stmt]) -> None:
        for node in nodes:
            if isinstance(node, ast.Import):
                found.update(name.name.partition(".")[0] for name in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.partition(".")[0])
            elif isinstance(node, ast.If) and "TYPE_CHECKING" not in ast.unparse(node.test):
                visit(node.body + node.orelse)
            elif isinstance(node, ast.Try):
                visit(node.body + node.orelse + node.finalbody)
            elif isinstance(node, ast.ClassDef | ast.With):
                visit(node.body)

    visit(ast.parse(path.read_text(encoding="utf-8")).body)
    return found


def imports_of_headstart() -> list[str]:
    """All lines of modules that import another one of `deployment` at once."""
    return [
        line
        for path in SOURCE.rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.startswith(("from headstart.deployment", "import headstart.deployment"))
    ]


@pytest.mark.parametrize("path", modules(*LIGHT, *LAZY_ELSEWHERE), ids=lambda p: str(p.relative_to(SOURCE)))
def test_light_modules_load_the_runtime_packages_only(path: Path) -> None:
    """Prediction and ``--help`` need no torch."""
    if path.relative_to(SOURCE).as_posix() in WITH_TORCH:
        assert not any(f"deployment.{path.stem} " in line for line in imports_of_headstart())
        return
    foreign = imported_at_once(path) - set(sys.stdlib_module_names) - {"headstart"}
    of_the_extra = path.parent.name == "server" and path.stem not in ("__init__", "settings")
    assert foreign <= (RUNTIME | SERVER if of_the_extra else RUNTIME)


@pytest.mark.parametrize(
    "path", modules("data", "metrics", "config"), ids=lambda p: str(p.relative_to(SOURCE))
)
def test_reading_pictures_never_imports_torch(path: Path) -> None:
    everything = {
        name
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert not {name.partition(".")[0] for name in everything} & {"torch", "torchvision", "timm"}


def test_no_pickle() -> None:
    """Weights are read with ``weights_only``; nothing is ever stored as pickle."""
    for path in SOURCE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        for banned in (
            "pickle.load",
            "pickle.dump",
            "torch.save(",
            "weights_only=False",
            "joblib",
            "yaml.load(",
        ):
            assert banned not in text, (path.name, banned)
        assert text.count("torch.load(") == text.count("weights_only=True"), path.name


def test_files_stay_readable_in_one_sitting() -> None:
    long = {p.name: n for p in SOURCE.rglob("*.py") if (n := len(p.read_text("utf-8").splitlines())) > 450}
    assert not long
