"""fastai's `fine_tune` at its defaults: one epoch of the head, then the whole network.

Validation after each epoch is left out, to fastai's advantage: nothing is chosen by it.
"""

from __future__ import annotations

import common
import pandas as pd
import torch
from fastai.vision.all import (
    Callback,
    CancelValidException,
    ImageDataLoaders,
    Resize,
    accuracy,
    aug_transforms,
    set_seed,
    vision_learner,
)
from network import ARCHITECTURE, copied


class Checkpoints(Callback):  # type: ignore[misc]
    """Keeps the weights after each epoch, and skips validation."""

    def __init__(self, cell: common.Cell) -> None:
        self.cell = cell

    def before_validate(self) -> None:
        raise CancelValidException

    def after_epoch(self) -> None:
        name = f"epoch {len(self.cell.checkpoints) + 1}"  # the frozen one counts
        self.cell.checkpoint(name, lambda: copied(self.learn.model))


def main() -> None:
    arguments = common.parser(__doc__, epochs=4).parse_args()
    cell = common.Cell(arguments.out)
    pictures = common.read_pictures(arguments.data)
    set_seed(arguments.seed)
    rows = [
        (row.path.lstrip("/"), row.label, row.split == "test") for row in (*pictures.train, *pictures.test)
    ]
    table = pd.DataFrame(rows, columns=["path", "label", "is_valid"])
    loaders = ImageDataLoaders.from_df(
        table, path="/", valid_col="is_valid", item_tfms=Resize(460), batch_tfms=aug_transforms(size=224)
    )
    overlay = {"file": str(arguments.weights)}
    learner = vision_learner(loaders, ARCHITECTURE, metrics=accuracy, pretrained_cfg_overlay=overlay)
    with learner.no_bar(), learner.no_logging():
        learner.fine_tune(arguments.epochs, cbs=Checkpoints(cell))

    def right(state: dict[str, torch.Tensor]) -> list[bool]:
        learner.model.load_state_dict(state)
        with learner.no_bar(), learner.no_logging():
            probabilities, labels = learner.get_preds()
        answers: list[bool] = (probabilities.argmax(1) == labels).tolist()
        return answers

    cell.finish(right)


if __name__ == "__main__":
    main()
