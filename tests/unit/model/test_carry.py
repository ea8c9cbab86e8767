"""Source models carried to a machine without a network: the same network there, or a refusal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from headstart import storage
from headstart.cli import main
from headstart.errors import ModelError
from headstart.model import bundled, packed, weights, zoo
from headstart.model.carry import add, pack
from headstart.storage import home

SEED = 7


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine with its own caches, which reaches no host."""
    import huggingface_hub.constants

    def refuse(request: Any, timeout: float) -> None:
        raise OSError("no route to host")

    monkeypatch.setenv("HEADSTART_HOME", str(tmp_path / "here"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setattr(weights.urllib.request, "urlopen", refuse)
    return tmp_path


def cached(machine: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Random weights in the place where the library looks for its own; the folder to remove them with."""
    torch.manual_seed(SEED)
    source = zoo.spec(name)
    if source.library == "torchvision":
        monkeypatch.setattr(weights, "intact", lambda path: True)
        file = weights.torch_cache() / zoo.where_published(source).url_file
        file.parent.mkdir(parents=True)
        torch.save(torchvision.models.get_model(source.architecture).state_dict(), file)
        return file.parent
    folder = machine / "hub" / f"models--timm--{source.name}"
    (commit := folder / "snapshots" / ("0" * 40)).mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0" * 40, encoding="utf-8")
    save_file(timm.create_model(name).state_dict(), commit / "model.safetensors")
    return folder


def forget(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()


@pytest.mark.parametrize(
    "name",
    ["test_resnet", "test_vit", "test_efficientnet", "test_convnext", "torchvision/shufflenet_v2_x0_5"],
)
def test_a_model_is_the_same_on_the_other_machine(
    machine: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = cached(machine, name, monkeypatch)
    before = zoo.create(name).state_dict()
    facts = pack(name, machine / "model.safetensors")
    source = zoo.spec(name)
    assert facts["name"] == source.name and facts["licence"] == source.licence
    assert facts["bytes"] == (machine / "model.safetensors").stat().st_size

    forget(folder)
    with pytest.raises(ModelError) as caught:
        zoo.create(name)
    assert caught.value.code == "HS-MODEL-003"
    kept = add(machine / "model.safetensors")
    assert Path(kept["file"]).is_relative_to(home())
    after = zoo.create(name).state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[key], before[key]) for key in before)
    assert [entry.available for entry in zoo.list_models(source.name)] == [True]
    assert zoo.describe(name)["file"] == kept["file"]


def test_the_default_model_without_its_package(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = zoo.create("efficientnet-lite0").state_dict()
    pack("efficientnet-lite0", machine / "lite0.safetensors")
    monkeypatch.setattr(bundled.Package, "path", lambda self: None)
    with pytest.raises(ModelError) as caught:
        zoo.create("efficientnet-lite0")
    assert caught.value.code == "HS-MODEL-007"
    add(machine / "lite0.safetensors")
    after = zoo.create("efficientnet-lite0").state_dict()
    assert all(torch.equal(after[key], before[key]) for key in before)
    assert [entry.available for entry in zoo.list_models("efficientnet-lite0")] == [True]


def facts_of(file: Path) -> dict[str, Any]:
    with safe_open(file, "numpy") as opened:
        facts: dict[str, Any] = json.loads(opened.metadata()[packed.KEY])
    return facts


def test_licence_notice_and_checksum_are_inside(machine: Path) -> None:
    pack("efficientnet-lite0", machine / "lite0.safetensors")
    facts = facts_of(machine / "lite0.safetensors")
    assert facts["source"]["licence"] == "apache-2.0"
    assert facts["source"]["notice"] == bundled.notice()
    assert facts["sha256"] == packed.checksum(load_file(machine / "lite0.safetensors"))


def other_source(facts: dict[str, Any]) -> None:
    facts["source"] |= {"mean": [0.1, 0.5, 0.5], "resize": 300}


def other_name(facts: dict[str, Any]) -> None:
    facts["source"]["name"] = "../../../evil"


def later_version(facts: dict[str, Any]) -> None:
    facts["format_version"] = 99


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        (other_source, "HS-MODEL-022", "mean: (0.1, 0.5, 0.5) in the file, (0.5, 0.5, 0.5) here"),
        (other_name, "HS-MODEL-001", "There is no model called '../../../evil'"),
        (later_version, "HS-MODEL-013", "format 99"),
    ],
)
def test_files_that_are_not_taken(machine: Path, change: Any, code: str, words: str) -> None:
    pack("efficientnet-lite0", machine / "a.safetensors")
    facts = facts_of(machine / "a.safetensors")
    change(facts)
    save_file(
        load_file(machine / "a.safetensors"), machine / "b.safetensors", {packed.KEY: json.dumps(facts)}
    )
    with pytest.raises(ModelError) as caught:
        add(machine / "b.safetensors")
    assert caught.value.code == code
    assert words in str(caught.value)
    assert not list(home().rglob("*.safetensors"))


def test_a_changed_byte_is_found_when_added_and_when_used(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = machine / "lite0.safetensors"
    pack("efficientnet-lite0", file)
    monkeypatch.setattr(bundled.Package, "path", lambda self: None)
    kept = Path(add(file)["file"])
    for path in (file, kept):
        content = bytearray(path.read_bytes())
        content[-1000] ^= 1
        path.write_bytes(content)
    for act in (lambda: add(file), lambda: zoo.create("efficientnet-lite0")):
        with pytest.raises(ModelError, match="damaged or was changed") as caught:
            act()
        assert caught.value.code == "HS-MODEL-021"


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x02}q\x00."])
def test_other_files_are_no_packed_models(machine: Path, content: bytes) -> None:
    (machine / "model.safetensors").write_bytes(content)
    with pytest.raises(ModelError) as caught:
        add(machine / "model.safetensors")
    assert caught.value.code == "HS-MODEL-020"
    with pytest.raises(ModelError, match="No such file") as caught:
        add(machine / "absent.safetensors")
    assert caught.value.code == "HS-MODEL-020"


def test_tensors_of_another_network(machine: Path) -> None:
    source = zoo.spec("efficientnet-lite0")
    packed.write_packed(machine / "a.safetensors", source, {"conv.weight": torch.zeros(2)})
    with pytest.raises(ModelError) as caught:
        add(machine / "a.safetensors")
    assert caught.value.code == "HS-MODEL-004"
    assert not list(home().rglob("*.safetensors"))


def test_another_ending_is_refused(machine: Path) -> None:
    with pytest.raises(ModelError, match=r"Use --output lite0\.safetensors") as caught:
        pack("efficientnet-lite0", machine / "lite0.bin")
    assert caught.value.code == "HS-MODEL-024"


def test_a_full_disk_leaves_nothing(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack("efficientnet-lite0", machine / "a.safetensors")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage.os, "fsync", full)
    with pytest.raises(Exception, match="disk is full"):
        add(machine / "a.safetensors")
    assert not list(home().rglob("*.safetensors"))


def test_the_commands(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = machine / "lite0.safetensors"
    assert main(["models", "pack", "efficientnet-lite0", "-o", str(file)]) == 0
    assert "efficientnet-lite0: 18.8 MB, licence apache-2.0, in " in capsys.readouterr().out
    assert main(["models", "add", str(file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["licence"] == "apache-2.0"
    assert main(["models", "add"]) == 2
    assert "HS-USAGE-001" in capsys.readouterr().err
