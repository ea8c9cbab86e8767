"""How well distances of features tell pictures of other things: held-out classes and foreign pictures.

Each class of `chairs` is held out in turn; the pictures of the others are split into those that make the
statistics, those that set the threshold and those that test both. Foreign pictures are those of the other
data sets. Features are those of the bundled network in fp32, so that no training differs between scores.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

SETS = ("ants-bees", "hotdog-small", "brain-mri")
CLASSES = ("chair", "computer", "cup", "public-transport")
PER_FOLDER = 150
NEIGHBOURS = (1, 5, 10)
SEEDS = range(3)

Rows = list[dict[str, Any]]


def unknown(data: Path) -> Rows:
    """A row for each score and kind of foreign picture, over held-out classes and seeds."""
    if not (data / "chairs").is_dir():
        return [{"data": "chairs", "not_run": "needs the pictures: --data FOLDER with chairs/"}]
    own = {name: features_of(data / "chairs" / name) for name in CLASSES}
    foreign = {name: features_of(data / name) for name in SETS if (data / name).is_dir()}
    rows: Rows = []
    for held_out, seed in itertools.product(CLASSES, SEEDS):
        known = [name for name in CLASSES if name != held_out]
        random = np.random.default_rng(seed)
        parts = [
            np.split(random.permutation(own[name]), (PER_FOLDER // 2, 2 * PER_FOLDER // 3)) for name in known
        ]
        labels = np.concatenate([[i] * len(part[0]) for i, part in enumerate(parts)])
        train, held, test = (np.concatenate([part[i] for part in parts]) for i in range(3))
        for name, score in scores().items():
            distances = score(train, labels)
            told = {"held-out class": own[held_out], **foreign}
            rows += [
                {
                    "score": name,
                    "held_out": held_out,
                    "seed": seed,
                    "other": kind,
                    **figures(distances, held, test, rest),
                }
                for kind, rest in told.items()
            ]
    return [*means(rows), *rows]


def scores() -> dict[str, Callable[[Any, Any], Callable[[Any], Any]]]:
    """Ways to learn from features [n, D] and labels [n] a distance of features."""
    from headstart.evaluation.unknown import Familiar

    def mahalanobis(directions: int) -> Callable[[Any, Any], Callable[[Any], Any]]:
        return lambda features, labels: Familiar.of(features, labels, directions=directions).distances

    def raw(features: Any, labels: Any) -> Callable[[Any], Any]:
        """Lee et al. as published: features of any length."""
        from sklearn.covariance import ledoit_wolf

        means = np.array([features[labels == c].mean(axis=0) for c in np.unique(labels)])
        precision = np.linalg.inv(ledoit_wolf(features - means[labels], assume_centered=True)[0])

        def distances(rows: Any) -> Any:
            gaps = rows[:, None] - means
            return np.sqrt(np.einsum("ncd,de,nce->nc", gaps, precision, gaps, optimize=True).min(axis=1))

        return distances

    found = {f"mahalanobis, {n} directions": mahalanobis(n) for n in (64, 256, 10_000)}
    found |= {"mahalanobis, features of any length": raw}
    found |= {f"k-NN, k = {k}": nearest(k) for k in NEIGHBOURS}
    return found


def nearest(k: int) -> Callable[[Any, Any], Callable[[Any], Any]]:
    """Distance to the k-th nearest training picture, on features of length 1 (Sun et al. 2022)."""
    from headstart.evaluation.unknown import of_length_one

    def learnt(features: Any, labels: Any) -> Callable[[Any], Any]:
        known = of_length_one(features)

        def distances(rows: Any) -> Any:
            cosines = of_length_one(rows) @ known.T
            return np.sqrt(np.maximum(0, 2 - 2 * np.partition(cosines, -k, axis=1)[:, -k]))

        return distances

    return learnt


def figures(distances: Callable[[Any], Any], held: Any, test: Any, other: Any) -> dict[str, Any]:
    """AUROC, false rejects at a threshold for 5 %, and false accepts there."""
    from headstart.evaluation.unknown import threshold_of
    from headstart.metrics import auc

    threshold, known, strange = threshold_of(distances(held), 0.05), distances(test), distances(other)
    truth = np.repeat([False, True], [len(known), len(strange)])
    return {
        "auroc": round(float(auc(truth, np.concatenate((known, strange)))), 4),
        "false_rejects": round(float((known > threshold).mean()), 4),
        "false_accepts": round(float((strange <= threshold).mean()), 4),
        "n_known": len(known),
        "n_other": len(strange),
        "n_threshold": len(held),
    }


def means(rows: Rows) -> Rows:
    """Means over held-out classes and seeds."""
    groups: dict[tuple[str, str], Rows] = {}
    for row in rows:
        groups.setdefault((row["score"], row["other"]), []).append(row)
    return [
        {
            "score": score,
            "other": other,
            "mean_of": len(group),
            **{
                name: round(float(np.mean([row[name] for row in group])), 4)
                for name in ("auroc", "false_rejects", "false_accepts")
            },
        }
        for (score, other), group in groups.items()
    ]


def features_of(folder: Path) -> Any:
    """What the bundled network makes of `PER_FOLDER` pictures, evenly from the folder: float32 [n, D]."""
    from headstart.data.decoding import available_cpus
    from headstart.data.prefetch import prefetched
    from headstart.data.preprocess import Preprocess
    from headstart.deployment.sources import listed, read
    from headstart.model.forward import batched_answers
    from headstart.model.zoo import create

    preprocess = Preprocess(224, 256, "bicubic", (0.5,) * 3, (0.5,) * 3)
    sources = listed(folder).sources
    chosen = [sources[i] for i in np.unique(np.linspace(0, len(sources) - 1, PER_FOLDER).astype(int))]

    def view(source: Any) -> Any:
        try:
            return preprocess(read(source, preprocess)[0])
        except Exception:  # such as a placeholder: it is no picture
            return None

    model = create("efficientnet-lite0")
    views = (v for v in prefetched(view, chosen, workers=available_cpus(), ahead=16) if v is not None)
    return np.concatenate([answers.features for answers in batched_answers(model, views)])
