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
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from headstart.data.decoding import available_cpus
from headstart.deployment import onnx_check
from headstart.evaluation.unknown import ENTRY as UNKNOWN
from headstart.evaluation.unknown import FILE as UNKNOWN_FILE
from headstart.model.card import EXPORT, Card, class_names

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

__all__ = [
    "FEATURES",
    "INPUT",
    "KEY",
    "LOGITS",
    "Precision",
    "card_of",
    "misfits",
    "opened_session",
    "portable_card",
    "read_model",
]

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
        data = (folder / UNKNOWN_FILE).read_bytes()  # never a name that the card gives
        portable[UNKNOWN] = {**unknown, "base64": base64.b64encode(data).decode("ascii")}
    return portable


def read_model(path: Path) -> bytes:
    """The bytes of an exported model, once: what is checked is what runs.

    Raises:
        OSError: It cannot be read.
        ForeignGraphError: It is no file, or larger than ONNX files are.
    """
    with open(path, "rb") as file:
        facts = os.fstat(file.fileno())
        if not stat.S_ISREG(facts.st_mode):
            raise onnx_check.ForeignGraphError(["it is no file"])
        if facts.st_size >= onnx_check.LARGEST_FILE:
            raise onnx_check.ForeignGraphError(["it has 2 GiB or more, which no ONNX file has"])
        return file.read(onnx_check.LARGEST_FILE)


def opened_session(model: Path | bytes, threads: int | None = None) -> InferenceSession:
    """The graph of an exported model, on the processor; onnxruntime sees no graph that no export writes.

    Args:
        model: The file, or its bytes.
        threads: Default: one for each core that this process may use.

    Raises:
        OSError: The file cannot be read.
        ForeignGraphError: As `headstart.deployment.onnx_check.checked`.
    """
    data = model if isinstance(model, bytes) else read_model(model)
    onnx_check.checked(data, inputs=INPUT, outputs=(LOGITS, FEATURES))
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or available_cpus()
    options.log_severity_level = 3
    # Threads that wait in a loop take the cores from those that decode (decision 21).
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # From bytes: a path would let it look for further files beside that one.
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def card_of(session: InferenceSession) -> Card:
    """The card in the metadata of a file.

    Raises:
        KeyError: The file is none of headstart's.
        ValueError: It is no JSON.
    """
    card: Card = json.loads(session.get_modelmeta().custom_metadata_map[KEY])
    return card


def misfits(session: InferenceSession, card: Card) -> list[str]:
    """What a card says otherwise than the graph beside it.

    Raises:
        ValueError, KeyError, TypeError: The card makes no sense.
    """
    found = []
    classes, side = len(class_names(card)), int(card["preprocess"]["img_size"])
    if (length := session.get_outputs()[0].shape[1]) != classes:
        found.append(f"the card has {classes} classes, the network answers with {length}")
    if (pixels := session.get_inputs()[0].shape[2]) != side:
        found.append(f"the card gives pictures of {side} pixels a side, the network takes {pixels}")
    return found
