"""The documentation is true: its blocks run, its links lead somewhere, its generated pages are fresh."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from docs.blocks import OTHER_LANGUAGES, ROOT, RUN_LANGUAGES, Block, blocks_of, pages, run

RUN_BLOCKS = {
    "README.md": 5,
    "README.zh-CN.md": 6,
    "docs/guide/checking.md": 5,
    "docs/guide/comparing.md": 4,
    "docs/guide/data.md": 7,
    "docs/guide/evaluating.md": 6,
    "docs/guide/explaining.md": 2,
    "docs/guide/freezing.md": 3,
    "docs/guide/models.md": 3,
    "docs/guide/python.md": 7,
    "docs/guide/recipes.md": 12,
    "docs/guide/reproducibility.md": 6,
    "docs/guide/reports.md": 4,
    "docs/guide/serve.md": 2,
    "docs/guide/splits.md": 6,
    "docs/guide/tuning.md": 4,
    "docs/guide/unknown.md": 1,
    "docs/quickstart.md": 3,
}
"""Blocks that run on each page; a page without any is not listed."""

NOT_RUN = {
    "README.md": 2,
    "README.zh-CN.md": 2,
    "docs/guide/clusters.md": 3,
    "docs/guide/comparing.md": 2,
    "docs/guide/data.md": 1,
    "docs/guide/models.md": 2,
    "docs/guide/reproducibility.md": 1,
    "docs/guide/serve.md": 2,
    "docs/guide/tuning.md": 2,
    "docs/quickstart.md": 1,
}
"""Blocks that do not, each with its reason beside it."""

SLOW = {"README.zh-CN.md"}
"""Run by `make test-all`: its commands are those of README.md and of the recipes."""


def module_at(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


generate = module_at(ROOT / "docs" / "generate.py")
leaves = module_at(ROOT / "docs" / "images" / "leaves.py")
BY_PAGE = {page.relative_to(ROOT).as_posix(): blocks_of(page) for page in pages()}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders that the pages speak of, small."""
    folder = tmp_path_factory.mktemp("drawn")
    leaves.draw(folder / "leaves", n=12)
    leaves.draw(folder / "more-leaves", n=3, first=300)
    leaves.draw(folder / "new-leaves", ("",), n=3, first=500)
    (folder / "new-leaves" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 this is no whole JPEG file")
    leaves.draw(folder / "ants-bees" / "train", ("ants", "bees"), n=10)
    leaves.draw(folder / "ants-bees" / "val", ("ants", "bees"), n=4, first=100)
    leaves.leaf(True, 104).save(folder / "ants-bees" / "val" / "bees" / "104.jpg")
    leaves.draw(folder / "hotdog" / "train", ("hotdog", "not-hotdog"), n=4)
    leaves.draw(folder / "hotdog" / "test", ("hotdog", "not-hotdog"), n=2, first=100)
    return folder


@pytest.fixture
def workplace(drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of its own for a page; nothing outside of it is written."""
    shutil.copytree(drawn, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path / "home"))
    # So little work goes faster on one core than shared by several.
    monkeypatch.setattr("headstart.training.planning.available_cpus", lambda: 1)
    before = signal.getsignal(signal.SIGTERM)
    yield tmp_path
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize(
    "page", [pytest.param(page, marks=[pytest.mark.slow] * (page in SLOW)) for page in sorted(RUN_BLOCKS)]
)
def test_the_blocks_of_a_page_run(page: str, workplace: Path) -> None:
    names: dict[str, object] = {"__name__": "__docs__"}
    for block in BY_PAGE[page]:
        run(block, names)


def test_every_block_is_counted() -> None:
    runs, skipped = {}, {}
    for page, blocks in BY_PAGE.items():
        if count := sum(block.is_run for block in blocks):
            runs[page] = count
        if count := sum("not run" in block.directives for block in blocks):
            skipped[page] = count
    assert runs == RUN_BLOCKS
    assert set(RUN_BLOCKS) >= SLOW
    assert skipped == NOT_RUN


def test_blocks_have_a_language_that_is_run_or_plain_text() -> None:
    blocks = [block for found in BY_PAGE.values() for block in found]
    assert not [b.place for b in blocks if b.language not in (*RUN_LANGUAGES, *OTHER_LANGUAGES)]
    # A command is in a block that runs.
    assert not [b.place for b in blocks if b.language in OTHER_LANGUAGES and is_command(b)]


def is_command(block: Block) -> bool:
    if block.page == "docs/reference/commands.md":  # usage lines
        return False
    return any(line.lstrip("$ ").startswith("headstart ") for line in block.text.splitlines())


def markdown() -> list[Path]:
    return [*pages(), ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]


@pytest.mark.parametrize("page", markdown(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    text = re.sub(r"`[^`\n]*`", "", text)
    targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|href)="([^"]+)"', text)
    dead = []
    for target in targets:
        if re.match(r"https?:|mailto:", target):
            continue
        path, _, anchor = target.partition("#")
        aim = (page.parent / path).resolve() if path else page
        if not aim.exists() or (anchor and anchor not in anchors(aim)):
            dead.append(target)
    assert not dead


def anchors(page: Path) -> set[str]:
    """The anchors that forges give to headings."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    titles = re.findall(r"^#+ (.+)$", text, flags=re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", markdown(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_and_flags_exist(page: Path) -> None:
    from headstart.cli import app

    text = page.read_text(encoding="utf-8")
    names = {name for name in app if not name.startswith("-")}
    used = set(re.findall(r"(?:^\$ |`)headstart ([a-z]+)\b", text, flags=re.M))
    assert used <= names
    flags = {"--help", "--version", "--debug"}
    for name in names:
        for argument in app[name].assemble_argument_collection():
            flags.update(argument.names)
    lines = re.findall(r"headstart [a-z]+ [^`\n]*", text)
    unknown = {flag for line in lines for flag in re.findall(r"(?<!\S)--[a-z][a-z0-9-]*", line)} - flags
    assert not unknown


def test_generated_pages_are_fresh() -> None:
    # A process of its own, as other tests leave marks on the command line's objects.
    check = [sys.executable, ROOT / "docs" / "generate.py", "--check"]
    result = subprocess.run(check, capture_output=True, text=True, encoding="utf-8")
    assert result.returncode == 0, result.stderr


def test_a_stale_page_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.md"
    monkeypatch.setattr(generate, "rendered", lambda: {page: "as the code says"})
    assert generate.stale() == [page]
    page.write_text("as the code said", encoding="utf-8")
    assert generate.stale() == [page]
    page.write_text("as the code says", encoding="utf-8")
    assert generate.stale() == []


def test_every_error_code_is_explained_once() -> None:
    in_code = set()
    for file in (ROOT / "src").rglob("*.py"):
        in_code.update(re.findall(r'"(HS-[A-Z]+-\d{3})"', file.read_text(encoding="utf-8")))
    listed = [code for code, _, _ in generate.read_codes()]
    assert len(listed) >= 70
    assert listed == sorted(set(listed))
    assert set(listed) == in_code
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^### (HS-\S+)$", page, flags=re.M)) == listed


def test_the_reference_of_files_has_every_column() -> None:
    from headstart.data.check import FIX_LIST_COLUMNS
    from headstart.data.lock import CSV_COLUMNS
    from headstart.data.overrides import COLUMNS as DECISION_COLUMNS
    from headstart.deployment.prediction_table import COLUMNS as PREDICT_COLUMNS
    from headstart.evaluation.predictions import COLUMNS as EVALUATION_COLUMNS
    from headstart.training.fit import Epoch

    EPOCH_COLUMNS = tuple(field.name for field in dataclasses.fields(Epoch))  # noqa: N806

    page = (ROOT / "docs" / "reference" / "files.md").read_text(encoding="utf-8")
    for columns in (
        CSV_COLUMNS,
        FIX_LIST_COLUMNS,
        DECISION_COLUMNS,
        PREDICT_COLUMNS,
        EVALUATION_COLUMNS,
        EPOCH_COLUMNS,
    ):
        assert f"`{','.join(columns)}" in page
        assert not [name for name in columns if f"| `{name}` |" not in page]


def test_pictures_are_small() -> None:
    images = list((ROOT / "docs").rglob("*.png"))
    assert len(images) >= 3
    assert not [path.name for path in images if path.stat().st_size >= 200_000]
