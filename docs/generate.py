"""Writes the generated pages of docs/ from the code, so that they cannot disagree with it.

python docs/generate.py           write them (`make docs`)
python docs/generate.py --check   exit with 1 if one of them is stale
"""

from __future__ import annotations

import ast
import csv
import dataclasses
import inspect
import re
import sys
import typing
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from headstart.cli import app
from headstart.config import TrainConfig
from headstart.data.augment import AUGMENTATIONS
from headstart.training.recipes import RECIPES, Recipe, resolve_recipe

DOCS = Path(__file__).parent
CODES = DOCS / "error_codes.tsv"
NOTICE = "<!-- Written by docs/generate.py. Change the code it tells of, then run `make docs`. -->\n"
AREAS = {
    "USAGE": "The command line",
    "CONFIG": "Settings",
    "DATA": "The pictures",
    "CHECK": "Findings of `headstart check`",
    "INTERNAL": "headstart itself",
    "MODEL": "Models and their weights",
    "RUN": "Runs and the disk",
    "EVAL": "Evaluating",
    "PREDICT": "Predicting",
    "SERVE": "Serving",
    "FETCH": "Downloads",
    "INSTALL": "Installation",
}


def commands() -> str:
    """Every command with its arguments and options, as `--help` shows them."""
    text = app.generate_docs(output_format="markdown", include_hidden=False)
    text = re.sub(r" \*\[default: (?:\(\)|False|\"\")\]\*", "", text)  # says nothing
    text = text.replace("```console", "```text").replace("# headstart\n", "# Commands\n", 1)
    text += "\n\n`headstart COMMAND --help` says the same. `--debug` after any command shows where an error "
    text += "comes from. Exit codes: 0 done, 1 failed, 2 wrong usage or unusable data, 130 interrupted."
    return text


def settings() -> str:
    """The fields of `TrainConfig`."""
    texts = field_texts(TrainConfig)
    hints = typing.get_type_hints(TrainConfig)
    rows = [
        (
            f"`{field.name}`",
            f"`--{field.name.replace('_', '-')}`",
            type_words(hints[field.name]),
            value_words(field.default),
            texts[field.name],
        )
        for field in dataclasses.fields(TrainConfig)
    ]
    return (
        "# Settings of a run\n\n"
        "One list for the command line (`headstart train DATA --img-size 160`), for Python\n"
        "(`headstart.train(data, img_size=160)`) and for YAML (`img_size: 160`, read with `--config FILE`).\n"
        "Flags win over the file, the file wins over the defaults. What a dash leaves open is decided by\n"
        "the [recipe](recipes.md) or by the machine, printed before the first step, and saved in the\n"
        "run's `config.yaml`.\n\n" + table(("setting", "flag", "type", "default", "meaning"), rows)
    )


def recipes() -> str:
    """The recipes field by field, and what strategies make of them."""
    texts = field_texts(Recipe)
    variants = {
        **{f"`{name}`": recipe for name, recipe in RECIPES.items()},
        "`default`, probe": resolve_recipe(TrainConfig(strategy="probe")),
        "`default`, `--freeze head`": resolve_recipe(TrainConfig(freeze="head")),
        "`default`, scratch": resolve_recipe(TrainConfig(strategy="scratch")),
        "`d2l`, scratch": resolve_recipe(TrainConfig(recipe="d2l", strategy="scratch")),
    }
    names = [field.name for field in dataclasses.fields(Recipe)]
    rows = [
        (f"`{name}`", *(value_words(getattr(recipe, name)) for recipe in variants.values()))
        for name in names
        if name != "name"
    ]
    augmentations = [
        (
            f"`{a.name}`",
            "centre crop" if a.scale is None else f"{a.scale[0]:.0%} to {a.scale[1]:.0%} of the area",
            "-" if a.scale is None else f"{a.ratio[0]:.2f} to {a.ratio[1]:.2f}",
            "yes" if a.flip else "no",
            {0: "no", 8: "all eight"}.get(len(a.symmetries), a.name),
        )
        for a in AUGMENTATIONS.values()
    ]
    return (
        "# Recipes\n\n"
        "A recipe is a set of values; a strategy (`--strategy`) and your own settings turn it into\n"
        "another set. The first columns are the named recipes, the others what a strategy or\n"
        "`--freeze head` makes of them. The resolved recipe of a run stands in its `config.yaml`, under\n"
        "`plan`.\n\n"
        + table(("value", *variants), rows)
        + "\n\n"
        + "\n".join(f"- `{name}`: {texts[name]}" for name in names if name != "name")
        + "\n\n## Augmentations\n\nThe random views of `--augment NAME`.\n\n"
        + table(
            ("name", "crop", "width / height of the crop", "mirrored", "symmetries of the square"),
            augmentations,
        )
        + "\n\nWith `--strategy probe` the network sees each picture once, without random views: `views`\n"
        "and everything about steps have no effect there."
    )


def troubleshooting() -> str:
    """One section per error code, from `error_codes.tsv`."""
    rows = read_codes()
    parts = [
        "# Troubleshooting by error code",
        "Every error of headstart has a code that stays the same in all versions, and says what is wrong,\n"
        "where, and what to do, with the names in your case. The same words come on the command line, in\n"
        "Python (`headstart.HeadstartError`, with `code`, `what`, `where`, `details`, `fix`) and with\n"
        "`--json`. HS-CHECK codes are findings of `headstart check` and stop nothing.\n"
        "A command that stops with one of these has not changed your pictures. `--debug` adds\n"
        "the place in the code.",
    ]
    for area, title in AREAS.items():
        parts.append(f"## {title}")
        for code, meaning, to_do in rows:
            if code.split("-")[1] == area:
                parts.append(f"### {code}\n\n{meaning}\n\nWhat to do: {to_do}")
    return "\n\n".join(parts)


def read_codes() -> list[tuple[str, str, str]]:
    """Code, meaning and what to do, in the order of the file."""
    with open(CODES, encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))[1:]
    return [(code, meaning, to_do) for code, meaning, to_do in rows]


def field_texts(cls: type) -> dict[str, str]:
    """The text below each field of a dataclass."""
    body = ast.parse(inspect.getsource(cls)).body[0]
    assert isinstance(body, ast.ClassDef)
    texts: dict[str, str] = {}
    for statement, below in zip(body.body, body.body[1:], strict=False):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            match below:
                case ast.Expr(ast.Constant(str(text))):
                    texts[statement.target.id] = " ".join(text.split())
    return texts


def type_words(hint: Any) -> str:
    """A field's type: ``whole number``, ``a, b or c``."""
    options = [option for option in typing.get_args(hint) if option is not type(None)]
    if typing.get_origin(hint) is typing.Literal:
        return ", ".join(f"`{choice}`" for choice in typing.get_args(hint))
    if typing.get_origin(hint) is tuple:
        return "list of texts"
    if options:
        return " or ".join(type_words(option) for option in options)
    return {bool: "`true` or `false`", int: "whole number", float: "number", str: "text", Path: "path"}[hint]


def value_words(value: object) -> str:
    """A value as YAML has it; a dash where nothing is set."""
    if value is None or value == ():
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    return (
        f"{value:g}" if isinstance(value, float) else f"`{value}`" if isinstance(value, str) else str(value)
    )


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


PAGES: dict[str, Callable[[], str]] = {
    "reference/commands.md": commands,
    "reference/settings.md": settings,
    "reference/recipes.md": recipes,
    "troubleshooting.md": troubleshooting,
}


def rendered() -> dict[Path, str]:
    """Each page's path and text."""
    return {DOCS / name: NOTICE + "\n" + page().strip() + "\n" for name, page in PAGES.items()}


def stale() -> list[Path]:
    """Pages that differ from what the code says."""
    return [
        path
        for path, text in rendered().items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]


def main() -> int:
    old = stale()
    if "--check" in sys.argv[1:]:
        for path in old:
            print(f"stale: {path.relative_to(DOCS.parent)} (run `make docs`)", file=sys.stderr)
        return 1 if old else 0
    for path, text in rendered().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
