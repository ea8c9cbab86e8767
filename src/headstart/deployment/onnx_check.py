"""Whether an ONNX file is one that an export could have written, told from its bytes before anything runs it.

A file from somewhere else may name other files as its weights, loop, hold operators of a foreign library, or
give other outputs than its card has classes. A plain installation has no onnx package; so the file is read
here as far as that takes: protobuf's wire format, and the messages of onnx.proto that a graph consists of.
What is not known is refused. Decision 27 says why.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

LARGEST_FILE = 2**31
"""Bytes: what protobuf reads."""

MOST_FIELDS = 2_000_000
"""Of messages that are looked into; an exported ViT of 86 million parameters has some ten thousand."""

SHOWN = 5
"""Faults in one line."""

LARGEST_SIDE = 4096
"""Of the square input, pixels."""

_OPERATORS = """
Abs Add Ceil Clip Cos Div Erf Exp Floor Log Mod Mul Neg Pow Reciprocal Round Sign Sin Sqrt Sub Tanh And
Equal Greater GreaterOrEqual IsInf IsNaN Less LessOrEqual Not Or Where Xor Max Mean Min Sum Celu Elu
Gelu HardSigmoid HardSwish LeakyRelu LogSoftmax Mish PRelu Relu Selu Sigmoid Softmax Softplus Softsign
Swish ThresholdedRelu
Attention AveragePool BatchNormalization Conv ConvTranspose Dropout Einsum Gemm GlobalAveragePool
GlobalMaxPool GroupNormalization InstanceNormalization LRN LayerNormalization LpNormalization LpPool
MatMul MaxPool MeanVarianceNormalization RMSNormalization
ArgMax ArgMin CumSum ReduceL1 ReduceL2 ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd
ReduceSum ReduceSumSquare TopK
Cast CastLike Concat Constant ConstantOfShape DepthToSpace Expand Flatten Gather GatherElements GatherND
Identity OneHot Pad Range Reshape Resize ScatterElements ScatterND Shape Size Slice SpaceToDepth Split
Squeeze Tile Transpose Trilu Unsqueeze
ConvInteger DequantizeLinear DynamicQuantizeLinear MatMulInteger QLinearConv QLinearMatMul
QuantizeLinear
"""
OPERATORS = frozenset(_OPERATORS.split())
"""Of ONNX's own domain: functions of tensors of fixed meaning, without graphs inside them (If, Loop, Scan),
sequences, texts or chance. All that the exports of the tested networks consist of is among them."""

DOMAINS = frozenset({"", "ai.onnx"})

FLOAT = 1  # of onnx.TensorProto.DataType
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # wire types; groups (3, 4) are of before ONNX

# Numbers of fields in onnx.proto -> their name if they are looked at, "" if they are passed over.
_MODEL = {1: "", 2: "", 3: "", 4: "", 5: "", 6: "", 7: "graph", 8: "", 14: ""}
_GRAPH = {1: "node", 2: "", 5: "initializer", 10: "", 11: "input", 12: "output", 13: "", 16: ""}
_NODE = {1: "", 2: "", 3: "", 4: "op_type", 5: "attribute", 6: "", 7: "domain", 9: ""}
_ATTRIBUTE = {1: "", 2: "", 3: "", 4: "", 5: "t", 7: "", 8: "", 9: "", 13: "", 20: ""}
_TENSOR = {
    1: "dims",
    2: "",
    4: "data",
    5: "data",
    7: "data",
    8: "name",
    9: "data",
    10: "data",
    11: "data",
    12: "",
    14: "location",
    16: "",
}
_MEANING = {
    "ModelProto": {20: "a part for training", 25: "functions of its own"},
    "GraphProto": {15: "sparse tensors"},
    "AttributeProto": {6: "a graph inside an operator", 11: "a graph inside an operator"},
    "TensorProto": {13: "weights in another file", 6: "texts"},
}


class ForeignGraphError(ValueError):
    """Why a file is not what an export writes, in words.

    Attributes:
        faults: All of them.
        damaged: It cannot be read at all.
    """

    def __init__(self, faults: Sequence[str], *, damaged: bool = False) -> None:
        more = f"; and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
        super().__init__("; ".join(faults[:SHOWN]) + more)
        self.faults = tuple(faults)
        self.damaged = damaged


@dataclass(frozen=True)
class Signature:
    """What a graph takes and gives.

    Attributes:
        side: Of the square input, pixels.
        classes: Length of ``logits``.
        features: Length of ``features``; None where the file leaves it open.
    """

    side: int
    classes: int
    features: int | None


@dataclass
class _Found:
    """What has been read."""

    fields: int = 0
    faults: dict[str, None] = field(default_factory=dict)  # a set that keeps its order
    initializers: set[str] = field(default_factory=set)
    inputs: dict[str, tuple[int, list[int | None]]] = field(default_factory=dict)
    outputs: dict[str, tuple[int, list[int | None]]] = field(default_factory=dict)

    def fault(self, words: str) -> None:
        self.faults[words] = None


def checked(data: bytes, *, inputs: str, outputs: tuple[str, str]) -> Signature:
    """What a file takes and gives, if an export could have written it.

    Args:
        data: The whole file.
        inputs: Name of the only input, float32 [N, 3, S, S].
        outputs: Names of the outputs, float32 [N, C] and [N, D].

    Raises:
        ForeignGraphError: It could not; every fault is named once.
    """
    found = _Found()
    try:
        _model(memoryview(data), found)
    except _BrokenError as error:
        raise ForeignGraphError([str(error)], damaged=True) from None
    side, lengths = _signature(found, inputs, outputs)
    if found.faults:
        raise ForeignGraphError(list(found.faults))
    assert side is not None and lengths[0] is not None
    return Signature(side, lengths[0], lengths[1])


# --- protobuf ------------------------------------------------------------------------------------------


class _BrokenError(Exception):
    """No protobuf message, or more of it than is looked at."""


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """An integer and the place behind it."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise _BrokenError("it is damaged, or no ONNX file")


def _fields(data: memoryview, found: _Found) -> Iterator[tuple[int, Any]]:
    """Number and content of each field of a message: an integer, or bytes that are not copied."""
    at, end = 0, len(data)
    while at < end:
        found.fields += 1
        if found.fields > MOST_FIELDS:
            raise _BrokenError(f"it consists of more than {MOST_FIELDS:,} parts")
        tag, at = _varint(data, at)
        wire = tag & 7
        if wire == VARINT:
            value, at = _varint(data, at)
            yield tag >> 3, value
            continue
        if wire == BYTES:
            length, at = _varint(data, at)
        elif wire in (FIXED32, FIXED64):
            length = 4 if wire == FIXED32 else 8
        else:
            raise _BrokenError("it is damaged, or no ONNX file")
        if length > end - at:
            raise _BrokenError("it is cut short, or no ONNX file")
        yield tag >> 3, data[at : at + length]
        at += length


def _known(message: str, names: dict[int, str], data: memoryview, found: _Found) -> Iterator[tuple[str, Any]]:
    """Name and content of the fields that matter; the others are passed over if they are known at all."""
    for number, value in _fields(data, found):
        name = names.get(number)
        if name is None:
            what = _MEANING.get(message, {}).get(number, f"field {number} of {message}, which no export has")
            found.fault(f"it has {what}")
        elif name:
            yield name, value


def _text(value: Any) -> str:
    if not isinstance(value, memoryview):
        raise _BrokenError("it is damaged, or no ONNX file")
    return bytes(value).decode("utf-8", "replace")


def _message(value: Any) -> memoryview:
    if not isinstance(value, memoryview):
        raise _BrokenError("it is damaged, or no ONNX file")
    return value


# --- the messages of onnx.proto ------------------------------------------------------------------------


def _model(data: memoryview, found: _Found) -> None:
    graphs = 0
    for name, value in _known("ModelProto", _MODEL, data, found):
        if name == "graph":
            graphs += 1
            _graph(_message(value), found)
    if graphs != 1:
        raise _BrokenError("it holds no graph" if not graphs else "it holds several graphs")


def _graph(data: memoryview, found: _Found) -> None:
    for name, value in _known("GraphProto", _GRAPH, data, found):
        if name == "node":
            _node(_message(value), found)
        elif name == "initializer":
            found.initializers.add(_tensor(_message(value), found))
        else:
            called, kind, sides = _value(_message(value), found)
            (found.inputs if name == "input" else found.outputs)[called] = kind, sides


def _node(data: memoryview, found: _Found) -> None:
    operator = domain = ""
    for name, value in _known("NodeProto", _NODE, data, found):
        if name == "attribute":
            for _, tensor in _known("AttributeProto", _ATTRIBUTE, _message(value), found):
                _tensor(_message(tensor), found)
        elif name == "op_type":
            operator = _text(value)
        else:
            domain = _text(value)
    if domain not in DOMAINS:
        found.fault(f"it has the operator {operator[:80]!r} of {domain[:80]!r}, which is not ONNX's own")
    elif operator not in OPERATORS:
        found.fault(f"it has the operator {operator[:80]!r}, which no export has")


def _tensor(data: memoryview, found: _Found) -> str:
    """Its name."""
    called, held, dims = "", 0, list[int]()
    for name, value in _known("TensorProto", _TENSOR, data, found):
        if name == "dims":
            dims += _integers(value)
        elif name == "data":
            held += len(value) if isinstance(value, memoryview) else 1
        elif name == "location":
            if value != 0:  # 0: in this file, as the quantiser says of each
                found.fault("it has weights in another file")
        elif name == "name":
            called = _text(value)
    if _product(dims) > 2 * held:  # half a byte is the least that a number takes
        found.fault(f"the tensor {called[:80]!r} is said to be larger than what it holds")
    return called


def _value(data: memoryview, found: _Found) -> tuple[str, int, list[int | None]]:
    """Name, type and sides of an input or output; None for a side that is left open."""
    called, kind, sides = "", 0, list[int | None]()
    for number, value in _fields(data, found):
        if number == 1:
            called = _text(value)
        elif number == 2:  # TypeProto
            for case, tensor in _fields(_message(value), found):
                if case != 1:  # tensor_type; the others are sequences, maps, ...
                    continue
                for part, content in _fields(_message(tensor), found):
                    if part == 1 and isinstance(content, int):
                        kind = content
                    elif part == 2:
                        sides = [_side(_message(dim), found) for _, dim in _fields(_message(content), found)]
    return called, kind, sides


def _side(data: memoryview, found: _Found) -> int | None:
    return next((n for number, n in _fields(data, found) if number == 1 and isinstance(n, int)), None)


def _integers(value: Any) -> list[int]:
    """One integer, or several that are packed."""
    if isinstance(value, int):
        return [value]
    numbers, at = [], 0
    while at < len(value):
        number, at = _varint(value, at)
        numbers.append(number)
    return numbers


def _product(sides: Sequence[int]) -> int:
    product = 1
    for side in sides[:100]:
        product *= side
    return product


def _signature(
    found: _Found, inputs: str, outputs: tuple[str, str]
) -> tuple[int | None, tuple[int | None, int | None]]:
    """Side of the input, and lengths of the outputs; adds what is wrong with them to the faults."""
    given = {name: value for name, value in found.inputs.items() if name not in found.initializers}
    kind, sides = given.get(inputs, (0, []))
    square = len(sides) == 4 and sides[1] == 3 and sides[2] == sides[3]
    side = sides[2] if square else None
    if set(given) != {inputs} or kind != FLOAT or side is None or not 1 <= side <= LARGEST_SIDE:
        found.fault(f"its input is not one float32 {inputs!r} [N, 3, S, S], S {LARGEST_SIDE} at most")
    lengths = []
    for name in outputs:
        kind, sides = found.outputs.get(name, (0, []))
        if kind != FLOAT or len(sides) != 2 or (name == outputs[0] and not sides[1]):
            found.fault(f"it has no output {name!r} that is float32 with a row for each picture")
        lengths.append(sides[1] if len(sides) == 2 else None)
    if set(found.outputs) - set(outputs):
        found.fault("it has further outputs")
    return side, (lengths[0], lengths[1])
