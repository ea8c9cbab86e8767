"""headstart at its defaults, on the same list of pictures.

A checkpoint is the model on disk after an epoch. Of the training pictures headstart sets some aside to choose
on, as always.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import common

import headstart


def main() -> None:
    parser = common.parser(__doc__, epochs=0)  # 0: the recipe's
    arguments = parser.parse_args()
    cell = common.Cell(arguments.out)
    pictures = common.read_pictures(arguments.data)
    rows = [(row.path, row.label, row.split) for row in (*pictures.train, *pictures.test)]
    settings = {"epochs": arguments.epochs} if arguments.epochs else {}
    with tempfile.TemporaryDirectory() as folder:
        runs, copies = Path(folder, "runs"), Path(folder, "copies")

        def keep(epoch: headstart.Epoch) -> None:
            name = "probe" if epoch.epoch == 0 else f"epoch {epoch.epoch}"
            cell.checkpoint(name, lambda: shutil.copytree(runs / "run" / "model", copies / name))

        run = headstart.train(rows, output=runs, name="run", seed=arguments.seed, hook=keep, **settings)
        # With what headstart does last: it chooses the weights and measures them on the test pictures.
        cell.checkpoint("final", lambda: run.model)
        if len(cell.checkpoints) != len(run.results) + 1:
            raise RuntimeError("the epoch hook missed an epoch")

        def right(bundle: Path) -> list[bool]:
            answers = headstart.load(bundle).predict([row.path for row in pictures.test])
            return [
                answer.prediction == row.label for answer, row in zip(answers, pictures.test, strict=True)
            ]

        cell.finish(right)


if __name__ == "__main__":
    main()
