"""What an exported model consists of: a graph with named inputs and outputs, and its card in the metadata.

    pixels    float32 [N, 3, S, S], as `headstart.data.preprocess.Preprocess` gives them
    logits    float32 [N, C], before the temperature
    features  float32 [N, D], what enters the head

``metadata_props["headstart"]`` holds the model's card as JSON, so that the file alone predicts. It is the
bundle's ``model.json`` with these differences: ``unknown`` has a further entry ``base64``, the bytes of
``unknown.safetensors`` in base64, which `headstart.evaluation.unknown.load_detector` reads; ``onnx`` lacks
the name, hash and size of the file that it stands in. Imports neither torch nor onnx.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from headstart.data.decoding import available_cpus
from headstart.evaluation.unknown import ENTRY as UNKNOWN
from headstart.model.card import EXPORT, Card

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

__all__ = ["FEATURES", "INPUT", "KEY", "LOGITS", "Precision", "card_of", "opened_session", "portable_card"]

Precision = Literal["fp32", "fp16", "int8"]
INPUT = "pixels"
LOGITS = "logits"
FEATURES = "features"
KEY = "headstart"  # of the metadata


def portable_card(folder: Path, card: Card, entry: dict[str, Any]) -> Card:
    """The card of a bundle, with all that lies in other files of it but the weights.

    Args:
        folder: The bundle.
        card: Its card.
        entry: What is said of the export.

    Raises:
        OSError: The statistics of unknown pictures cannot be read.
    """
    portable = {**card, EXPORT: entry}
    if unknown := card.get(UNKNOWN):
        data = (folder / unknown["file"]).read_bytes()
        portable[UNKNOWN] = {**unknown, "base64": base64.b64encode(data).decode("ascii")}
    return portable


def opened_session(model: Path | bytes, threads: int | None = None) -> InferenceSession:
    """The graph of an exported model, on the processor.

    Args:
        model: The file, or its bytes.
        threads: Default: one for each core that this process may use.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or available_cpus()
    options.log_severity_level = 3
    # Threads that wait in a loop take the cores from those that decode (decision 21).
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(
        model if isinstance(model, bytes) else str(model), options, providers=["CPUExecutionProvider"]
    )


def card_of(session: InferenceSession) -> Card:
    """The card in the metadata of a file.

    Raises:
        KeyError: The file is none of headstart's.
        ValueError: It is no JSON.
    """
    card: Card = json.loads(session.get_modelmeta().custom_metadata_map[KEY])
    return card
