"""Every supported backbone leaves as ONNX, and answers there as here at any batch size."""

from __future__ import annotations

import json

import numpy as np
import pytest

from contract.test_backbones import BACKBONES, CLASSES, CUT, source_model
from headstart.deployment.export import graph_of, with_card
from headstart.deployment.onnx_file import opened_session
from headstart.deployment.parity import answers
from headstart.model.answers import softmax
from headstart.model.forward import answers_of
from headstart.model.transfer import transfer

QUICK = ("test_resnet", "test_efficientnet", "test_convnext", "test_vit", "test_byobnet")
every = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow, id=name) for name in BACKBONES]


@pytest.mark.parametrize("name", every)
def test_the_exported_network_answers_alike(name):
    side = BACKBONES[name]
    model = transfer(source_model(name), CLASSES, seed=3).eval()
    graph = graph_of(model, side)
    if name in CUT:  # the others have some that no convolution feeds
        assert "BatchNormalization" not in {node.op_type for node in graph.graph.node}
    session = opened_session(with_card(graph, {"classes": list(CLASSES)}), 1)
    assert json.loads(session.get_modelmeta().custom_metadata_map["headstart"]) == {"classes": list(CLASSES)}
    rng = np.random.default_rng(0)
    for size in (1, 2, 7):
        pixels = rng.standard_normal((size, 3, side, side), dtype=np.float32)
        expected, (logits, features) = answers_of(model, pixels), answers(session, pixels)
        np.testing.assert_allclose(softmax(logits), softmax(expected.logits), atol=1e-5)
        largest = np.abs(expected.features).max()
        np.testing.assert_allclose(features, expected.features, atol=1e-4 * largest)
