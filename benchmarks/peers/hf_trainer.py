"""Hugging Face's Trainer on a timm network.

Without further flags at its defaults: AdamW, 5e-5, batches of 8.
"""

from __future__ import annotations

import tempfile
from typing import Any

import common
import torch
from network import (
    ARCHITECTURE,
    WORKERS,
    PictureDataset,
    copied,
    correct,
    evaluation_view,
    training_view,
)
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import (
    TimmWrapperConfig,
    TimmWrapperForImageClassification,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)


class Checkpoints(TrainerCallback):  # type: ignore[misc]
    """Keeps the weights after each epoch."""

    def __init__(self, cell: common.Cell, network: nn.Module) -> None:
        self.cell = cell
        self.network = network

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.cell.checkpoint(f"epoch {round(state.epoch)}", lambda: copied(self.network))


def collate(rows: list[tuple[Tensor, int]]) -> dict[str, Tensor]:
    return {
        "pixel_values": torch.stack([inputs for inputs, _ in rows]),
        "labels": torch.tensor([label for _, label in rows]),
    }


def main() -> None:
    parser = common.parser(__doc__, epochs=4)
    parser.add_argument("--lr", type=float, default=5e-5)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--warm-up", type=float, default=0.0, help="part of all steps")
    parser.add_argument("--bf16", action="store_true")
    arguments = parser.parse_args()
    cell = common.Cell(arguments.out)
    pictures = common.read_pictures(arguments.data)
    set_seed(arguments.seed)
    config = TimmWrapperConfig(architecture=ARCHITECTURE, num_labels=len(pictures.classes))
    model = TimmWrapperForImageClassification(config)
    # The wrapper itself loads from a model hub only.
    tensors = load_file(arguments.weights)
    body = {name: tensor for name, tensor in tensors.items() if not name.startswith("classifier")}
    missing = model.timm_model.load_state_dict(body, strict=False).missing_keys
    if set(missing) != {"classifier.weight", "classifier.bias"}:
        raise RuntimeError(f"not in the weights: {missing}")
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            model=model,
            args=TrainingArguments(
                output_dir=folder,
                num_train_epochs=arguments.epochs,
                learning_rate=arguments.lr,
                per_device_train_batch_size=arguments.batch_size,
                warmup_steps=arguments.warm_up,
                bf16=arguments.bf16,
                use_cpu=True,
                seed=arguments.seed,
                dataloader_num_workers=WORKERS,
                remove_unused_columns=False,
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
            ),
            train_dataset=PictureDataset(pictures.train, pictures.classes, training_view()),
            data_collator=collate,
            callbacks=[Checkpoints(cell, model.timm_model)],
        )
        trainer.train()
    cell.finish(lambda state: correct(model.timm_model, state, pictures, evaluation_view()))


if __name__ == "__main__":
    main()
