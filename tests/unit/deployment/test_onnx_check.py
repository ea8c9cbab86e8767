"""ONNX files from somewhere else: what no export writes is refused before onnxruntime sees it."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colours import CLASSES, SIZE, card, graph
from headstart.deployment import onnx_check
from headstart.deployment.onnx_check import ForeignGraphError, Signature, checked
from headstart.deployment.onnx_file import opened_session, read_model
from headstart.deployment.predict import load
from headstart.errors import HeadstartError, ModelError

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

NAMES: dict[str, Any] = {"inputs": "pixels", "outputs": ("logits", "features")}
SOUND = graph(card=card())

Change = Callable[[Any], None]


def changed(change: Change, own: dict[str, Any] | None = None) -> bytes:
    """The bytes of a sound file after a change to its parts."""
    model = onnx.ModelProto()
    model.ParseFromString(graph(card=own or card()))
    change(model)
    return bytes(model.SerializeToString())


def outside(model: Any) -> None:
    """Weights in a file of the system."""
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "/etc/passwd"), ("offset", "0"), ("length", "36")):
        tensor.external_data.add(key=key, value=value)


def outside_of_a_constant(model: Any) -> None:
    tensor = numpy_helper.from_array(numpy_helper.to_array(model.graph.initializer[0]), "w")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    model.graph.node.append(helper.make_node("Constant", [], ["spare"], value=tensor))


def unknown_operator(model: Any) -> None:
    model.graph.node[0].op_type = "StringNormalizer"


def foreign_domain(model: Any) -> None:
    model.graph.node[0].domain = "evil.example"
    model.opset_import.add(domain="evil.example", version=1)


def microsofts_domain(model: Any) -> None:
    model.graph.node[0].op_type = "Conv"
    model.graph.node[0].domain = "com.microsoft"


def inner() -> Any:
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    return helper.make_graph([helper.make_node("Identity", ["pixels"], ["y"])], "inner", [], [out])


def loop(model: Any) -> None:
    model.graph.node.append(helper.make_node("Loop", ["", ""], ["z"], body=inner()))


def hidden_graph(model: Any) -> None:
    """In an operator that is known."""
    model.graph.node[0].attribute.append(helper.make_attribute("body", inner()))


def several_graphs(model: Any) -> None:
    model.graph.node[0].attribute.append(helper.make_attribute("bodies", [inner(), inner()]))


def own_functions(model: Any) -> None:
    model.functions.add(name="Relu", domain="")


def sparse(model: Any) -> None:
    model.graph.sparse_initializer.add()


def texts(model: Any) -> None:
    model.graph.initializer.append(helper.make_tensor("s", TensorProto.STRING, [1], [b"x"]))


def giant_input(model: Any) -> None:
    for dim in model.graph.input[0].type.tensor_type.shape.dim[2:]:
        dim.dim_value = 10**9


def open_side(model: Any) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[3].dim_param = "W"


def giant_tensor(model: Any) -> None:
    model.graph.initializer[0].dims[0] = 2**40


def negative_tensor(model: Any) -> None:
    model.graph.initializer[0].dims[0] = -1


def second_input(model: Any) -> None:
    model.graph.input.append(helper.make_tensor_value_info("path", TensorProto.FLOAT, [1]))


def second_type(model: Any) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.STRING


def third_output(model: Any) -> None:
    model.graph.output.append(helper.make_tensor_value_info("pooled", TensorProto.FLOAT, None))


def no_logits(model: Any) -> None:
    del model.graph.output[0]


FOREIGN: dict[Change, str] = {
    outside: "it has weights in another file",
    outside_of_a_constant: "it has weights in another file",
    unknown_operator: "it has the operator 'StringNormalizer', which no export has",
    foreign_domain: "it has the operator 'GlobalAveragePool' of 'evil.example', which is not ONNX's own",
    microsofts_domain: "it has the operator 'Conv' of 'com.microsoft', which is not ONNX's own",
    loop: "it has the operator 'Loop', which no export has",
    hidden_graph: "it has a graph inside an operator",
    several_graphs: "it has a graph inside an operator",
    own_functions: "it has functions of its own",
    sparse: "it has sparse tensors",
    texts: "it has texts",
    giant_input: "its input is not one float32 'pixels' [N, 3, S, S], S 4096 at most",
    open_side: "its input is not one float32 'pixels' [N, 3, S, S], S 4096 at most",
    giant_tensor: "the tensor 'weights' is said to be larger than what it holds",
    negative_tensor: "the tensor 'weights' is said to be larger than what it holds",
    second_input: "its input is not one float32 'pixels'",
    second_type: "its input is not one float32 'pixels'",
    third_output: "it has further outputs",
    no_logits: "it has no output 'logits' that is float32 with a row for each picture",
}
foreign = pytest.mark.parametrize("change", FOREIGN, ids=lambda change: change.__name__)


def never(*_: object, **__: object) -> None:
    raise AssertionError("onnxruntime was given the file")


def test_an_export_is_taken_and_its_sides_are_told() -> None:
    assert checked(SOUND, **NAMES) == Signature(SIZE, len(CLASSES), 3)
    assert opened_session(SOUND, 1).get_inputs()[0].name == "pixels"


@foreign
def test_what_no_export_writes_is_refused_before_onnxruntime_sees_it(
    change: Change, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "from-elsewhere.onnx"
    file.write_bytes(changed(change))
    monkeypatch.setattr("onnxruntime.InferenceSession", never)
    with pytest.raises(ModelError, match="HS-PREDICT-070: This file is not run") as caught:
        load(file)
    assert FOREIGN[change] in str(caught.value)


@foreign
def test_nor_is_it_run_from_a_bundle_that_names_its_hash(
    change: Change, onnx_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Path(shutil.copytree(onnx_run, tmp_path / "run"))
    put_into(run, changed(change))
    monkeypatch.setattr("onnxruntime.InferenceSession", never)
    with pytest.raises(ModelError, match="HS-PREDICT-041") as caught:
        _ = load(run, backend="onnx").backend
    assert "model.onnx is not used: " in str(caught.value) and FOREIGN[change] in str(caught.value)


def put_into(run: Path, data: bytes, **entries: Any) -> None:
    (run / "model" / "model.onnx").write_bytes(data)
    told = {"file": "model.onnx", "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    (run / "model" / "model.json").write_text(json.dumps({**card(**entries), "onnx": told}), "utf-8")


def test_every_fault_is_named_once() -> None:
    def much(model: Any) -> None:
        outside(model)
        for node in model.graph.node:
            node.op_type = "Loop"
        third_output(model)

    with pytest.raises(ForeignGraphError) as caught:
        checked(changed(much), **NAMES)
    assert len(caught.value.faults) == len(set(caught.value.faults)) == 4


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_files_are_refused_or_read_never_more(data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(SOUND)))
    spoilt = bytearray(SOUND[:cut])
    for place, value in data.draw(
        st.lists(st.tuples(st.integers(0, max(0, cut - 1)), st.integers(0, 255)), max_size=4)
    ):
        if spoilt:
            spoilt[place] = value
    try:
        assert checked(bytes(spoilt), **NAMES).side <= onnx_check.LARGEST_SIDE
    except ForeignGraphError as error:
        assert error.faults and all(error.faults)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ForeignGraphError):
        checked(data, **NAMES)


@pytest.mark.parametrize("length", [0, 1, 40, len(SOUND) - 1])
def test_a_file_that_is_cut_short_is_refused(tmp_path: Path, length: int) -> None:
    file = tmp_path / "cut.onnx"
    file.write_bytes(SOUND[:length])
    with pytest.raises(ModelError, match="HS-PREDICT-042: This file cannot be predicted with: it "):
        load(file)


def test_a_file_of_endless_parts_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_check, "MOST_FIELDS", 10)
    with pytest.raises(ForeignGraphError, match="it consists of more than 10 parts"):
        checked(SOUND, **NAMES)


def test_two_graphs_that_a_parser_would_merge_are_refused() -> None:
    model = onnx.ModelProto()
    model.ParseFromString(SOUND)
    second = onnx.ModelProto(graph=model.graph)
    with pytest.raises(ForeignGraphError, match="several graphs"):
        checked(SOUND + second.SerializeToString(), **NAMES)


def test_a_file_beyond_what_protobuf_reads_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "large.onnx"
    with open(file, "wb") as opened:
        opened.truncate(2**31)  # a hole: it takes no place
    with pytest.raises(ForeignGraphError, match="it has 2 GiB or more"):
        read_model(file)


@pytest.mark.parametrize(
    ("own", "words"),
    [
        (card(classes=["a", "b"]), "the card has 2 classes, the network answers with 3"),
        (card(preprocess={**card()["preprocess"], "img_size": 17}), "the network takes 16"),
    ],
)
def test_a_card_that_is_not_that_of_its_network_is_refused(
    own: dict[str, Any], words: str, onnx_run: Path, tmp_path: Path
) -> None:
    file = tmp_path / "mixed.onnx"
    file.write_bytes(graph(card=own))
    with pytest.raises(ModelError, match="HS-PREDICT-071: The card in this file") as caught:
        load(file)
    assert words in str(caught.value)
    run = Path(shutil.copytree(onnx_run, tmp_path / "run"))
    put_into(run, file.read_bytes(), **own)
    with pytest.raises(ModelError, match="HS-PREDICT-041") as caught:
        _ = load(run, backend="onnx").backend
    assert "model.onnx does not belong to its card: the card" in str(caught.value)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "entries",
    [
        {"classes": "abc"},
        {"classes": ["a", "a", "b"]},
        {"classes": ["a", 2, "b"]},
        {"classes": []},
        {"classes": None},
        {"temperature": 0},
        {"temperature": float("nan")},
        {"temperature": float("inf")},
        {"temperature": [1]},
        {"format_version": float("inf")},
        {"preprocess": []},
        {"preprocess": {**card()["preprocess"], "img_size": 10**6, "resize": 10**6}},
        {"unknown": {"base64": "AAAA", "sha256": hashlib.sha256(b"\0\0\0").hexdigest(), "threshold": 1}},
        {"unknown": []},
        {"unknown": "x"},
        {"min_recall": "x"},
        {"costs": 3},
        {"onnx": "x"},
    ],
    ids=lambda entries: json.dumps(entries)[:40],
)
def test_a_hostile_card_gives_an_error_with_a_code(entries: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "hostile.onnx"
    file.write_bytes(graph(card=card(**entries)))
    try:
        _ = load(file).backend
    except HeadstartError as error:
        assert error.code in {"HS-PREDICT-042", "HS-PREDICT-071", "HS-MODEL-011", "HS-PREDICT-030"}
    else:
        assert entries == {"unknown": []}  # nothing is known of unknown pictures


def test_a_card_nested_without_end_is_no_card(tmp_path: Path) -> None:
    model = onnx.ModelProto()
    model.ParseFromString(graph())
    model.metadata_props.add(key="headstart", value="[" * 200_000)
    file = tmp_path / "nested.onnx"
    file.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match="HS-PREDICT-042"):
        load(file)
    bundle = tmp_path / "model"
    bundle.mkdir()
    (bundle / "model.json").write_text("[" * 200_000, "utf-8")
    with pytest.raises(ModelError, match="HS-MODEL-011"):
        load(bundle)
