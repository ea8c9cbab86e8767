"""Pictures that a network takes for the same, such as mirrored copies, which no hash finds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from headstart import console
from headstart.config import TrainConfig
from headstart.data.audit_copies import SIMILAR, findings_on_alike, near_groups
from headstart.data.cache import GIGABYTE, Cache
from headstart.data.check import Checked
from headstart.data.decoding import available_cpus
from headstart.data.duplicates import Forest, Groups, Pairs, equal
from headstart.data.findings import Finding
from headstart.data.pictures import Files, Pictures
from headstart.data.preprocess import Pixels

SIMILARITY = 0.9  # cosine of centred features from which pictures are called look-alikes
PROJECTED = 256  # dimensions of the first comparison
MANY = 5000  # pictures from which it pays
SLACK = 0.05  # by which a cosine in fewer dimensions may be too low: about 4 standard deviations
TILE = 4096  # pictures compared with as many others at once: 64 MB

Floats = NDArray[np.float32]


def findings_by_features(checked: Checked, config: TrainConfig) -> list[Finding]:
    """Groups of look-alikes that are neither exact nor near copies: that they are, and where they lie.

    Args:
        checked: What was checked.
        config: Model, device and cache.

    Raises:
        ModelError: as `headstart.model.zoo.create`.
        DataError: HS-DATA-017, a file changed meanwhile.
    """
    table = checked.table
    if len(table.paths) < 2:
        return []
    exact = equal(table.read.file_hashes())
    known = Forest(len(table.paths))
    for group in (*exact, *near_groups(table, exact)):
        known.join(np.array([(group[0], i) for i in group[1:]]))
    first = known.labels()
    rows = np.flatnonzero(first == np.arange(len(first)))  # one of each group
    groups = look_alikes(features_of(checked, config, rows.tolist()), SIMILARITY)
    return findings_on_alike(table, [[int(rows[k]) for k in group] for group in groups], SIMILAR)


def features_of(checked: Checked, config: TrainConfig, rows: Sequence[int]) -> Floats:
    """What the source model's backbone makes of some pictures: float32 [len(rows), D]."""
    from headstart.model import zoo
    from headstart.model.classifier import HEAD
    from headstart.model.features import FrozenPart
    from headstart.model.inputs import Loader
    from headstart.model.precision import Format, choose_device, choose_precision
    from headstart.training.frozen_views import EVALUATION

    device = choose_device(config.device)
    fmt = Format(device, choose_precision(config.precision, device))
    model = zoo.create(config.model, weights=config.weights, img_size=config.pixels)
    model = model.to(device)
    preprocess = checked.preprocess
    pictures = Pictures(Files(checked.root, checked.table.paths), preprocess)
    cache = Cache(int(config.cache * GIGABYTE)) if config.cache else None
    loader = Loader(preprocess, fmt, config.workers or available_cpus())
    part = FrozenPart(model, HEAD, loader=loader, cache=cache)

    def view(index: int) -> Pixels:
        return preprocess.evaluation_crop(pictures[index])

    with console.progress(len(rows), "features") as advance:
        keys = [checked.table.read.file_hash(i) for i in rows]
        found = part.activations(view, rows, keys=keys, views=EVALUATION, advance=advance)
    return np.asarray(found.all().float().numpy())


def look_alikes(features: Floats, similarity: float) -> Groups:
    """Groups of pictures, each linked to the next by the cosine of centred features.

    Args:
        features: [n, D].
        similarity: Smallest cosine of a link.
    """
    unit = features - features.mean(axis=0)
    unit /= np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-12)
    forest = Forest(len(unit))
    for candidates in _similar(unit, similarity):
        pairs = candidates[forest.apart(candidates)]
        for start in range(0, len(pairs), TILE):
            part = pairs[start : start + TILE]
            cosines = np.einsum("ij,ij->i", unit[part[:, 0]], unit[part[:, 1]])
            forest.join(part[cosines >= similarity])
    return equal(forest.labels().tolist())


def _similar(unit: Floats, similarity: float) -> Iterator[Pairs]:
    """Pairs that are similar, and some that are a little less: of many, fewer dimensions are compared."""
    short, least = unit, similarity
    if len(unit) > MANY and unit.shape[1] > PROJECTED:
        # distances survive a random projection (Johnson and Lindenstrauss)
        draws = np.random.default_rng(0).standard_normal((unit.shape[1], PROJECTED), np.float32)
        short = unit @ draws
        short /= np.maximum(np.linalg.norm(short, axis=1, keepdims=True), 1e-12)
        least = similarity - SLACK
    for top in range(0, len(short), TILE):
        for left in range(top, len(short), TILE):
            cosines = short[top : top + TILE] @ short[left : left + TILE].T
            first, second = np.nonzero(cosines >= least)
            later = second + left > first + top
            yield np.stack([first[later] + top, second[later] + left], axis=1)
