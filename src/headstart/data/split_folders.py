"""Which folders are parts of a split, told by their names."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable

from headstart.data.listing import SPLIT_NAMES, nfc

WORD = re.compile(
    rf"(?P<before>|.*[\W\d_])(?P<part>{'|'.join(sorted(SPLIT_NAMES, key=len, reverse=True))})"
    r"(?P<after>|sets?|[\W\d_].*)"
)


def parts_of(names: Iterable[str]) -> dict[str, str]:
    """The part that each folder is named for, of those that are named for one.

    ``train``, ``valid`` and the like alone always are. Longer names are where they differ in nothing but that
    word and one of them trains: ``training_set`` and ``test_set``, ``seg_train`` and ``seg_test``.

    Args:
        names: Of folders that lie side by side.

    Returns:
        ``train``, ``val`` or ``test`` by name, in the order of the names.
    """
    folders = list(names)
    usual = {name: SPLIT_NAMES[nfc(name).lower()] for name in folders if nfc(name).lower() in SPLIT_NAMES}
    if usual:
        return usual
    alike: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for name in folders:
        if match := WORD.fullmatch(nfc(name).lower()):
            alike[match["before"], match["after"]][name] = SPLIT_NAMES[match["part"]]
    named = [parts for parts in alike.values() if "train" in parts.values() and len(set(parts.values())) > 1]
    return named[0] if len(named) == 1 else {}
