"""A plain script: timm's features of each picture, and scikit-learn's logistic regression on them."""

from __future__ import annotations

from collections.abc import Sequence

import common
import numpy as np
import torch
from network import WORKERS, PictureDataset, evaluation_view, pretrained
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from torch.utils.data import DataLoader


def main() -> None:
    arguments = common.parser(__doc__, epochs=0).parse_args()
    cell = common.Cell(arguments.out)
    pictures = common.read_pictures(arguments.data)
    network = pretrained(arguments.weights, 0).eval()

    def features(rows: Sequence[common.Picture]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        dataset = PictureDataset(rows, pictures.classes, evaluation_view())
        with torch.inference_mode():
            batches = [
                (network(inputs), labels) for inputs, labels in DataLoader(dataset, 32, num_workers=WORKERS)
            ]
        return torch.cat([one for one, _ in batches]).numpy(), torch.cat([one for _, one in batches]).numpy()

    regression = LogisticRegression(max_iter=1000, random_state=arguments.seed)
    regression.fit(*features(pictures.train))
    cell.checkpoint("fitted", lambda: regression)

    def right(fitted: LogisticRegression) -> Sequence[bool]:
        inputs, labels = features(pictures.test)
        return list(fitted.predict(inputs) == labels)

    cell.finish(right)


if __name__ == "__main__":
    main()
