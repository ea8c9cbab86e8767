"""An exported model written by hand: the network is the mean colour and a linear head. Needs no torch."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

CLASSES = ("a,b", "猫", 'say "x"')
SIZE = 16


def graph(scale: float = 3.0, card: dict[str, Any] | None = None) -> bytes:
    """An ONNX file with the inputs and outputs of an exported model."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    weights = np.random.default_rng(0).normal(size=(3, len(CLASSES))).astype(np.float32) * scale
    nodes = [
        helper.make_node("GlobalAveragePool", ["pixels"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["features"]),
        helper.make_node("MatMul", ["features", "weights"], ["logits"]),
    ]
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "colours",
            [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["N", 3, SIZE, SIZE])],
            [
                helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", len(CLASSES)]),
                helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", 3]),
            ],
            [numpy_helper.from_array(weights, "weights")],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=9,
    )
    onnx.checker.check_model(model)
    if card is not None:
        model.metadata_props.add(key="headstart", value=json.dumps(card))
    return bytes(model.SerializeToString())


def card(**entries: Any) -> dict[str, Any]:
    """The least that a card has."""
    preprocess = {"img_size": SIZE, "resize": 18, "interpolation": "bilinear", "mean": [0.5] * 3}
    return {
        "format_version": 1,
        "classes": list(CLASSES),
        "preprocess": {**preprocess, "std": [0.25] * 3},
        "temperature": 1.0,
        **entries,
    }
