"""``python -m headstart`` and the command ``headstart``."""

from __future__ import annotations

import sys


def main() -> None:
    from headstart.cli import main as run

    sys.exit(run())


if __name__ == "__main__":
    main()
