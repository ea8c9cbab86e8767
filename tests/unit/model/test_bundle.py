"""What is saved is what is loaded; damage is noticed; nothing is unpickled."""

from __future__ import annotations

import contextlib
import json
import pickle
from pathlib import Path

import pytest
import torch

from headstart.errors import ModelError, RunError
from headstart.model import zoo
from headstart.model.bundle import load_bundle, save_bundle
from headstart.model.card import MIGRATIONS, card_path, read_card
from headstart.model.transfer import freeze, transfer

CLASSES = ("Käfer", "猫", "a=b")
PREPROCESS = {"img_size": 64, "resize": 73}


@pytest.fixture
def model():
    torch.manual_seed(0)
    return transfer(zoo.create("test_resnet", pretrained=False), CLASSES).eval()


@pytest.fixture
def no_pickle(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("unpickled")

    for name in ("load", "loads", "Unpickler", "dump", "dumps", "Pickler"):
        monkeypatch.setattr(pickle, name, refuse)
    monkeypatch.setattr(torch, "load", refuse)
    monkeypatch.setattr(torch, "save", refuse)


def pictures(side: int = 64) -> torch.Tensor:
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))


def test_round_trip_without_pickle(model, tmp_path, no_pickle):
    save_bundle(tmp_path / "model", model, {"preprocess": PREPROCESS, "temperature": 1.5})
    loaded, card = load_bundle(tmp_path / "model")
    with torch.inference_mode():
        assert torch.equal(loaded(pictures()), model(pictures()))
    assert not loaded.training
    assert loaded.classes == CLASSES
    assert card["classes"] == list(CLASSES)
    assert card["preprocess"] == PREPROCESS
    assert card["format_version"] == 1
    assert card["temperature"] == 1.5
    assert card["library"] == "timm"
    assert card["architecture"] == "test_resnet.r160_in1k"
    assert card["licence"] == "apache-2.0"
    assert card["versions"]["torch"].startswith("2.")
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == ["model.json", "model.safetensors"]
    assert "猫" in (tmp_path / "model" / "model.json").read_text(encoding="utf-8")


def test_the_notice_of_the_bundled_weights_travels_along(tmp_path):
    model = transfer(zoo.create("efficientnet-lite0"), CLASSES)
    save_bundle(tmp_path, model, {"preprocess": PREPROCESS})
    loaded, card = load_bundle(tmp_path)
    assert "Copyright (c) 2020, ML Illustrated" in card["notice"]
    assert loaded.source == model.source
    assert {k: v.numpy().tobytes() for k, v in loaded.state_dict().items()} == {
        k: v.numpy().tobytes() for k, v in model.state_dict().items()
    }


def test_channels_last_and_half_precision_are_stored_in_float32(model, tmp_path):
    freeze(model, "head")
    model.to(memory_format=torch.channels_last).to(torch.bfloat16)
    save_bundle(tmp_path, model, {"preprocess": PREPROCESS})
    loaded, _ = load_bundle(tmp_path)
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    assert torch.equal(loaded.head.weight, model.head.weight.float())


def test_input_size_and_foreign_weights_survive(tmp_path):
    from safetensors.torch import save_file

    vit = transfer(zoo.create("test_vit", pretrained=False, img_size=96), CLASSES).eval()
    save_bundle(tmp_path / "vit", vit, {})
    loaded, _ = load_bundle(tmp_path / "vit")
    with torch.inference_mode():
        assert torch.equal(loaded(pictures(96)), vit(pictures(96)))

    headless = zoo.create("test_resnet", pretrained=False).state_dict()
    save_file({k: v for k, v in headless.items() if k.startswith("backbone.")}, tmp_path / "own.safetensors")
    own = transfer(zoo.create("test_resnet", weights=tmp_path / "own.safetensors"), CLASSES).eval()
    save_bundle(tmp_path / "own", own, {})
    loaded, card = load_bundle(tmp_path / "own")
    with torch.inference_mode():
        assert torch.equal(loaded(pictures()), own(pictures()))
    assert card["licence"].startswith("unknown")


def test_saving_again_replaces_the_model(model, tmp_path):
    save_bundle(tmp_path, model, {})
    with torch.no_grad():
        model.head.bias += 1
    save_bundle(tmp_path, model, {})
    assert torch.equal(load_bundle(tmp_path)[0].head.bias, model.head.bias)


class Stop(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("stop_at", range(4))
def test_whenever_saving_ends_a_whole_model_is_there(
    model, tmp_path, monkeypatch, first: bool, stop_at: int
) -> None:
    """Stopped before any one of the renames that saving does (the last number: after all of them)."""
    if not first:
        save_bundle(tmp_path, model, {"preprocess": PREPROCESS, "epoch": 1})
    old = model.head.bias.clone()
    with torch.no_grad():
        model.head.bias += 1
    renames = iter(range(10))
    plain = Path.replace

    def replace(self: Path, target: Path) -> Path:
        if next(renames) == stop_at:
            raise Stop
        return plain(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    with contextlib.suppress(Stop):
        save_bundle(tmp_path, model, {"preprocess": PREPROCESS, "epoch": 2})
    monkeypatch.undo()
    if first and stop_at < 2:
        assert not card_path(tmp_path).is_file()
        return
    loaded, card = load_bundle(tmp_path)
    new = stop_at >= 2
    assert card["epoch"] == (2 if new else 1)
    assert torch.equal(loaded.head.bias, model.head.bias if new else old)
    save_bundle(tmp_path, model, {"preprocess": PREPROCESS, "epoch": 3})
    assert load_bundle(tmp_path)[1]["epoch"] == 3
    assert {path.name for path in tmp_path.iterdir()} == {"model.json", "model.safetensors"}


def test_a_damaged_or_exchanged_file_is_noticed(model, tmp_path):
    save_bundle(tmp_path, model, {})
    path = tmp_path / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match="damaged or was exchanged") as caught:
        load_bundle(tmp_path)
    assert caught.value.code == "HS-MODEL-012"
    path.unlink()
    with pytest.raises(ModelError, match="missing") as caught:
        load_bundle(tmp_path)
    assert caught.value.code == "HS-MODEL-011"


def test_folders_without_a_model(tmp_path):
    with pytest.raises(ModelError, match="no model here") as caught:
        load_bundle(tmp_path / "nowhere")
    assert caught.value.code == "HS-MODEL-011"
    for text in ("{", "[]", "{}", '{"format_version": "x"}'):
        (tmp_path / "model.json").write_text(text, encoding="utf-8")
        with pytest.raises(ModelError) as caught:
            load_bundle(tmp_path)
        assert caught.value.code == "HS-MODEL-011"


def rewrite(folder, **changes) -> None:
    card = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    (folder / "model.json").write_text(json.dumps({**card, **changes}), encoding="utf-8")


def test_formats_of_other_versions(model, tmp_path, monkeypatch):
    save_bundle(tmp_path, model, {"thing": 1})
    rewrite(tmp_path, format_version=2)
    with pytest.raises(ModelError, match="format 2; this version of headstart reads up to 1") as caught:
        read_card(tmp_path)
    assert caught.value.code == "HS-MODEL-013"

    rewrite(tmp_path, format_version=0)
    with pytest.raises(ModelError, match="unknown format"):
        read_card(tmp_path)
    monkeypatch.setitem(MIGRATIONS, 0, lambda card: {**card, "thing": card["thing"] + 1})
    assert load_bundle(tmp_path)[1]["thing"] == 2


def test_a_card_that_names_another_network(model, tmp_path):
    save_bundle(tmp_path, model, {})
    card = json.loads((tmp_path / "model.json").read_text(encoding="utf-8"))
    rewrite(tmp_path, backbone={**card["backbone"], "architecture": "test_convnext"})
    with pytest.raises(ModelError, match="differently") as caught:
        load_bundle(tmp_path)
    assert caught.value.code == "HS-MODEL-014"
    rewrite(tmp_path, backbone={**card["backbone"], "architecture": "resnet_of_tomorrow"})
    with pytest.raises(ModelError, match="has no network 'resnet_of_tomorrow'") as caught:
        load_bundle(tmp_path)
    assert caught.value.code == "HS-MODEL-014"


def test_a_model_without_names_is_not_saved(tmp_path):
    with pytest.raises(ValueError, match="1000 outputs, but 0 class names"):
        save_bundle(tmp_path, zoo.create("test_resnet", pretrained=False), {})


def test_a_folder_that_cannot_be_written(model, tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(RunError):
        save_bundle(tmp_path / "file" / "model", model, {})
