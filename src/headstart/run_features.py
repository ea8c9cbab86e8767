"""Features of pictures by a source model as it is: what a linear probe is fitted on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headstart import console
from headstart.config import TrainConfig
from headstart.data.augment import AUGMENTATIONS
from headstart.data.cache import Cache
from headstart.data.dataset import Dataset
from headstart.data.decoding import available_cpus
from headstart.data.pictures import Pictures
from headstart.data.views import Views

if TYPE_CHECKING:
    from numpy import int64
    from numpy.typing import NDArray
    from torch import Tensor

    from headstart.model.classifier import Classifier


def head_features(
    config: TrainConfig,
    source: Classifier,
    dataset: Dataset,
    pictures: Pictures,
    ids: NDArray[int64],
    cache: Cache | None,
    label: str,
) -> Tensor:
    """What the network gives its head for the evaluation views of some pictures.

    Args:
        config: Device and number format.
        source: Moves to the device.
        dataset: With the pictures.
        pictures: Their pixels.
        ids: n rows of the data set.
        cache: Keeps the features for later; None: nothing is kept.
        label: Of the progress display.

    Returns:
        float32 [n, D], on the processor.
    """
    from headstart.model.classifier import HEAD
    from headstart.model.features import FrozenPart
    from headstart.model.inputs import Loader
    from headstart.model.precision import Format, choose_device, choose_precision
    from headstart.training.frozen_views import EVALUATION, evaluation_keys

    device = choose_device(config.device)
    fmt = Format(device, choose_precision(config.precision, device), config.memory_format or "channels_last")
    fmt.network(source)
    loader = Loader(pictures.preprocess, fmt, config.workers or available_cpus())
    views = Views(dataset, pictures, AUGMENTATIONS["none"])
    with console.progress(len(ids), label) as advance:
        features = FrozenPart(source, HEAD, loader=loader, cache=cache).activations(
            views.evaluation,
            ids,
            keys=evaluation_keys(dataset, ids),
            views=EVALUATION,
            advance=advance,
        )
    return features.all()
