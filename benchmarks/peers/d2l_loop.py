"""The loop of the chapter "Fine-Tuning" of Dive into Deep Learning: SGD on the summed loss, batches of 128.

The chapter measures on the test pictures after each epoch; that is left out of the clock.
"""

from __future__ import annotations

from typing import Any

import common
import torch
from network import WORKERS, PictureDataset, copied, correct, pretrained, to_input, training_view
from torch import nn
from torch.utils.data import DataLoader
from torchvision.transforms import v2


def main() -> None:
    arguments = common.parser(__doc__, epochs=5).parse_args()
    cell = common.Cell(arguments.out)
    pictures = common.read_pictures(arguments.data)
    torch.manual_seed(arguments.seed)
    network = pretrained(arguments.weights, len(pictures.classes))
    head = network.get_submodule("classifier")
    nn.init.xavier_uniform_(head.get_parameter("weight"))
    dataset = PictureDataset(pictures.train, pictures.classes, training_view())
    batches = DataLoader(dataset, batch_size=128, shuffle=True, num_workers=WORKERS)
    body = [value for name, value in network.named_parameters() if not name.startswith("classifier")]
    groups: list[dict[str, Any]] = [{"params": body}, {"params": head.parameters(), "lr": 5e-4}]
    optimizer = torch.optim.SGD(groups, lr=5e-5, weight_decay=1e-3)
    loss = nn.CrossEntropyLoss(reduction="none")
    for epoch in range(1, arguments.epochs + 1):
        network.train()
        for inputs, labels in batches:
            optimizer.zero_grad()
            loss(network(inputs), labels).sum().backward()
            optimizer.step()
        cell.checkpoint(f"epoch {epoch}", lambda: copied(network))
    # The chapter's test view, which squashes the picture.
    view = v2.Compose([v2.Resize([256, 256]), v2.CenterCrop(224), *to_input()])
    cell.finish(lambda state: correct(network, state, pictures, view))


if __name__ == "__main__":
    main()
