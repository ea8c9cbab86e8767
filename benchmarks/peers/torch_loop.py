"""A plain loop, as PyTorch's tutorials write it: SGD with momentum on all weights.

The rate is that of the transfer-learning tutorial (1e-3 for batches of 4), scaled to batches of 32; it falls
along a cosine, as the tutorial's steps every 7 epochs would never come.
"""

from __future__ import annotations

import common
import torch
from network import WORKERS, PictureDataset, copied, correct, evaluation_view, pretrained, training_view
from torch import nn
from torch.utils.data import DataLoader


def main() -> None:
    parser = common.parser(__doc__, epochs=5)
    parser.add_argument("--bf16", action="store_true", help="bf16 autocast and channels_last: the fast path")
    arguments = parser.parse_args()
    cell = common.Cell(arguments.out)
    pictures = common.read_pictures(arguments.data)
    torch.manual_seed(arguments.seed)
    network = pretrained(arguments.weights, len(pictures.classes))
    layout = torch.channels_last if arguments.bf16 else torch.contiguous_format
    network = network.to(memory_format=layout)
    dataset = PictureDataset(pictures.train, pictures.classes, training_view())
    batches = DataLoader(dataset, batch_size=32, shuffle=True, num_workers=WORKERS)
    optimizer = torch.optim.SGD(network.parameters(), lr=8e-3, momentum=0.9, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, arguments.epochs * len(batches))
    loss = nn.CrossEntropyLoss()
    for epoch in range(1, arguments.epochs + 1):
        network.train()
        for inputs, labels in batches:
            inputs = inputs.to(memory_format=layout)
            with torch.autocast("cpu", torch.bfloat16, enabled=arguments.bf16):
                logits = network(inputs)
            optimizer.zero_grad()
            loss(logits.float(), labels).backward()
            optimizer.step()
            schedule.step()
        cell.checkpoint(f"epoch {epoch}", lambda: copied(network))
    cell.finish(lambda state: correct(network, state, pictures, evaluation_view()))


if __name__ == "__main__":
    main()
