"""Class names of ImageNet, to start a new head from the row of a class that the source knows.

The names are those that timm ships (WordNet lemmas); nothing is downloaded.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Mapping, Sequence

from headstart.errors import nearest

_SUBSETS: Mapping[int, str] = {
    1000: "imagenet-1k",
    11221: "imagenet-21k-miil",
    11821: "imagenet-12k",
    21841: "imagenet-22k",
    21842: "imagenet-22k-ms",
    21843: "imagenet-21k-goog",
}


class UnknownClassError(LookupError):
    """No single class answers to a name; ``str()`` says why and what is near."""


def class_names(source_classes: int) -> Sequence[tuple[str, ...]]:
    """All names of each class, in the order of the head's outputs.

    Args:
        source_classes: Outputs of the source head: 1000 (ImageNet-1k), or one of the larger sets.

    Raises:
        UnknownClassError: No ImageNet set has that many classes.
    """
    if source_classes not in _SUBSETS:
        raise UnknownClassError(f"a head with {source_classes} outputs has no known names; give an index")
    return _names(_SUBSETS[source_classes])


@functools.cache
def _names(subset: str) -> Sequence[tuple[str, ...]]:
    from timm.data import ImageNetInfo

    return [tuple(text.split(", ")) for text in ImageNetInfo(subset).label_descriptions()]


@functools.cache
def _index(subset: str) -> Mapping[str, tuple[list[int], list[int]]]:
    """Plain name -> classes that have it as first name, classes that have it as another name."""
    index: dict[str, tuple[list[int], list[int]]] = {}
    for number, names in enumerate(_names(subset)):
        for position, name in enumerate(names):
            found = index.setdefault(_plain(name), ([], []))[position > 0]
            if number not in found:
                found.append(number)
    return index


def _plain(name: str) -> str:
    """Case, spaces, hyphens and underscores do not count."""
    return re.sub(r"[\s_\-']+", "", unicodedata.normalize("NFC", name).casefold())


def class_index(name: str, source_classes: int = 1000) -> int:
    """The output of the source head that stands for a class.

    Args:
        name: ``hotdog``, ``hot dog``, ``Hot_Dog``; the first name of a class wins over its other names.

    Raises:
        UnknownClassError: No such class, several of that name, or a head whose names are not known.
    """
    names = class_names(source_classes)
    index = _index(_SUBSETS[source_classes])
    first, other = index.get(_plain(name), ([], []))
    found = first or other
    if len(found) == 1:
        return found[0]
    if found:
        choices = ", ".join(f"{i} ({', '.join(names[i])})" for i in found)
        raise UnknownClassError(f"ImageNet has several classes '{name}': {choices}; give an index")
    spoken = [alias for aliases in names for alias in aliases]
    raise UnknownClassError(f"ImageNet has no class '{name}'.{nearest(name, spoken)}")
