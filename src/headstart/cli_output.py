"""What the command line prints: results on stdout as text or JSON, errors on stderr."""

from __future__ import annotations

import sys
import traceback
from typing import Any

from headstart import launch
from headstart.errors import HeadstartError, one_line

STEERING = {code: f"\\u{code:04x}" for code in range(0x7F, 0xA0)}
"""Letters that steer some terminals, and that JSON would show as they are."""


def show_json(value: Any) -> None:
    import json

    text = json.dumps(value, ensure_ascii=False, allow_nan=False).translate(STEERING)
    print(text if printable(text) else json.dumps(value, allow_nan=False))


def print_result(value: Any, *, as_json: bool) -> None:
    text = str(value)
    if as_json:
        show_json(value)
        return
    if sys.stdout.isatty():  # a script gets a name as it is
        text = "\n".join(map(one_line, text.split("\n")))
    print(text if printable(text) else text.encode("ascii", "backslashreplace").decode())


def printable(text: str) -> bool:
    """Whether standard output has all these letters: a pipe on Windows may not."""
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def internal(error: Exception) -> HeadstartError:
    """A fault of headstart itself, or of the machine, in one line."""
    wrapped = HeadstartError(
        "HS-INTERNAL-001",
        f"headstart failed: {type(error).__name__}: {error}",
        fix="Add --debug to see where, and report it with the command that you typed.",
    )
    wrapped.__cause__ = error
    return wrapped


def fail(error: HeadstartError, *, debug: bool, as_json: bool) -> int:
    if not debug and said_elsewhere(error):
        return error.exit_code
    if debug:
        traceback.print_exception(error)
    print(f"error {error}", file=sys.stderr)
    if as_json:
        show_json({"error": error.to_dict()})
    return error.exit_code


def said_elsewhere(error: HeadstartError) -> bool:
    """Whether another process of the same launch says it: all have the same command line and pictures."""
    here = launch.place()
    usage = error.exit_code == 2 and here.local_rank > 0
    return here.rank > 0 and (usage or error.code == "HS-RUN-030")


def say(line: str) -> None:
    from headstart import console

    console.say(line)
