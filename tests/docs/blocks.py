"""Code blocks of Markdown pages, and how they are run: as they stand, in the order of the page.

A comment right before a block may say `not run: REASON`, `exit: N`, or `file: NAME`: its text becomes that
file.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
RUN_LANGUAGES = ("sh", "console", "python")
OTHER_LANGUAGES = ("text", "yaml")
FENCE = re.compile(r"^```(\w*)\s*$")
DIRECTIVE = re.compile(r"^<!-- (not run|exit|file): (.+) -->$")


@dataclass(frozen=True)
class Block:
    """A fenced block: its page, line, language, directives and text."""

    page: str
    line: int
    language: str
    directives: dict[str, str]
    text: str

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def is_run(self) -> bool:
        return self.language in RUN_LANGUAGES and "not run" not in self.directives


def pages() -> list[Path]:
    """Every page whose blocks are run."""
    return [ROOT / "README.md", ROOT / "README.zh-CN.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks_of(page: Path) -> list[Block]:
    found, directives = [], {}
    lines = iter(enumerate(page.read_text(encoding="utf-8").splitlines(), start=1))
    for number, line in lines:
        if directive := DIRECTIVE.match(line):
            directives[directive[1]] = directive[2]
        elif fence := FENCE.match(line):
            text = []
            for _, inner in lines:
                if inner.startswith("```"):
                    break
                text.append(inner)
            name = page.relative_to(ROOT).as_posix()
            found.append(Block(name, number, fence[1], directives, "\n".join(text) + "\n"))
            directives = {}
        elif line.strip():
            directives = {}
    return found


def run(block: Block, names: dict[str, Any]) -> None:
    """Runs a block in the current folder.

    Args:
        names: Variables of the page's earlier Python blocks.
    """
    if "file" in block.directives:
        Path(block.directives["file"]).write_text(block.text, encoding="utf-8")
    elif not block.is_run:
        return
    elif block.language == "python":
        padding = "\n" * block.line  # so that a traceback names the line of the page
        exec(compile(padding + block.text, block.page, "exec"), names)
    else:
        run_commands(block)


def run_commands(block: Block) -> None:
    """Runs `headstart ...` lines; in a console block also looks for the output shown below each."""
    from headstart.cli import main

    allowed = int(block.directives.get("exit", "0"))
    for command, shown in commands_of(block):
        words = shlex.split(command, comments=True)
        assert words[0] == "headstart", f"{block.place}: cannot run {command!r}"
        output = io.StringIO()
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            code = main(words[1:])
        assert code == allowed, f"{block.place}: {command} ended with {code}:\n{output.getvalue()}"
        missing = first_missing(shown, output.getvalue().splitlines())
        assert missing is None, f"{block.place}: {command} did not say {missing!r}:\n{output.getvalue()}"


def commands_of(block: Block) -> list[tuple[str, list[str]]]:
    """Each command with the output that the page shows below it."""
    commands: list[tuple[str, list[str]]] = []
    text = block.text.replace("\\\n", " ")
    for line in text.splitlines():
        if block.language == "console":
            if line.startswith("$ "):
                commands.append((line.removeprefix("$ "), []))
            elif line.strip() not in ("", "..."):
                commands[-1][1].append(line)
        elif line.strip() and not line.lstrip().startswith("#"):
            commands.append((line, []))
    return commands


def first_missing(shown: list[str], real: list[str]) -> str | None:
    """The first shown line that does not come, in this order, among the real ones; numbers may differ."""
    rest = iter([plain(line) for line in real])
    for line in shown:
        if plain(line) not in rest:
            return line
    return None


def plain(line: str) -> str:
    """A line without its numbers and with single spaces."""
    return " ".join(re.sub(r"-?\d[\d.,]*", "N", line).split())
