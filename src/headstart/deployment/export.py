"""From a saved model to ONNX: the graph of the installed torch's exporter, its card inside.

Nothing here says that the graph is right; `headstart.deployment.parity` does.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import logging
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from headstart.deployment.onnx_file import FEATURES, INPUT, KEY, LOGITS
from headstart.errors import MissingExtraError, ModelError
from headstart.model.card import Card
from headstart.model.classifier import Classifier
from headstart.model.folding import folded
from headstart.model.forward import evaluation_mode

if TYPE_CHECKING:
    from onnx import ModelProto

LARGEST = 2**31 - 2**24
"""Bytes of weights that fit into one file: protobuf ends at 2 GiB, and the graph takes its share."""


class TwoAnswers(nn.Module):
    """A classifier that gives logits [N, C] and features [N, D], both float32, whatever it computes in."""

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures float32 [N, 3, S, S]."""
        features = self.model.backbone(pixels.to(self.model.head.weight.dtype))
        return self.model.head(features).float(), features.float()


def graph_of(model: Classifier, side: int, *, half: bool = False) -> ModelProto:
    """The ONNX graph of a model, BatchNorm folded into the convolutions, any number of pictures at a time.

    The opset is the one that the installed torch recommends.

    Args:
        model: In float32; left as it is.
        side: Of the square input, pixels.
        half: Compute in float16; input and outputs stay float32.

    Raises:
        MissingExtraError: HS-INSTALL-001, onnx or onnxscript is not installed.
        ModelError: HS-EXPORT-001, the exporter cannot; HS-EXPORT-002, the weights do not fit into one file.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("train", "Exporting") from error
    dtype = torch.float16 if half else torch.float32
    size = sum(tensor.numel() * dtype.itemsize for tensor in model.state_dict().values())
    if size > LARGEST:
        raise ModelError(
            "HS-EXPORT-002",
            f"The weights of {model.source.name} take {size / 2**30:.1f} GiB; one ONNX file holds 2 GiB.",
            fix="Export with --precision fp16, or train a smaller network.",
        )
    quick = folded(model)
    if half:
        quick = copy.deepcopy(quick).requires_grad_(False).to(dtype)
    # Two, as the exporter takes sizes of 0 and 1 for constants.
    example = torch.zeros(2, 3, side, side)
    try:
        with evaluation_mode(quick), torch.no_grad(), silent():
            program = torch.onnx.export(
                TwoAnswers(quick).eval(),
                (example,),
                input_names=[INPUT],
                output_names=[LOGITS, FEATURES],
                dynamic_shapes={INPUT: {0: torch.export.Dim("N")}},
                dynamo=True,
                verbose=False,
            )
    except Exception as error:
        reason = str(error.__cause__ or error).strip().split("\n")[0]
        raise ModelError(
            "HS-EXPORT-001",
            f"torch {torch.__version__} cannot export {model.source.name}: {reason}.",
            fix="Train with another --model, or predict with torch. A later torch may export it.",
        ) from error
    assert program is not None
    graph: ModelProto = program.model_proto
    without_traces(graph)
    return graph


def without_traces(model: ModelProto) -> None:
    """Removes what the exporter notes of the source code: folders of this machine are nobody's business."""
    for part in (*model.graph.node, *model.graph.input, *model.graph.output, *model.graph.value_info):
        del part.metadata_props[:]
    for tensor in model.graph.initializer:
        del tensor.metadata_props[:]
    for function in model.functions:
        del function.metadata_props[:]
        for node in function.node:
            del node.metadata_props[:]
    del model.graph.metadata_props[:]
    model.doc_string = model.graph.doc_string = ""


def with_card(model: ModelProto, card: Card) -> bytes:
    """The file of a graph with its card."""
    del model.metadata_props[:]
    model.metadata_props.add(key=KEY, value=json.dumps(card, ensure_ascii=False, allow_nan=False))
    data: bytes = model.SerializeToString()
    return data


def opset_of(model: ModelProto) -> int:
    """The version of ONNX's own operators that a graph needs."""
    return next(int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx"))


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Nothing of what the exporter says on its way: it prints, logs and warns of its own matters."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
