"""Names, what they stand for, and weights that are not there."""

from __future__ import annotations

import json
import math
import time

import pytest
import timm
import torch
import torchvision

from headstart.errors import ModelError
from headstart.model import weights, zoo


@pytest.fixture
def no_caches(monkeypatch, tmp_path):
    """Empty caches; every attempt to reach a host fails."""
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    asked = []

    def refuse(request, timeout):
        asked.append(request.full_url)
        raise OSError("no route to host")

    monkeypatch.setattr(weights.urllib.request, "urlopen", refuse)
    return tmp_path, asked


def test_timm_preprocessing_is_that_of_the_weights():
    from timm.data import resolve_data_config

    names = "resnet18", "resnet18.tv_in1k", "convnext_tiny", "vit_base_patch16_224", "tf_efficientnet_lite0"
    for name in names:
        cfg = resolve_data_config(pretrained_cfg=timm.models.get_pretrained_cfg(name).to_dict())
        view = zoo.preprocess(name)
        assert view.img_size == cfg["input_size"][-1]
        assert view.resize == math.floor(cfg["input_size"][-1] / cfg["crop_pct"])
        assert (view.mean, view.std, view.interpolation) == (cfg["mean"], cfg["std"], cfg["interpolation"])


def test_torchvision_preprocessing_is_that_of_the_weights():
    for name, size, resize, mode in (
        ("torchvision/resnet18", 224, 256, "bilinear"),
        ("torchvision/resnet50", 224, 232, "bilinear"),
        ("torchvision/resnet50.IMAGENET1K_V1", 224, 256, "bilinear"),
        ("torchvision/efficientnet_b1.IMAGENET1K_V1", 240, 256, "bicubic"),
        ("torchvision/swin_t", 224, 232, "bicubic"),
    ):
        view = zoo.preprocess(name)
        assert (view.img_size, view.resize, view.interpolation) == (size, resize, mode), name
        assert view.mean == (0.485, 0.456, 0.406)


def test_another_size_keeps_the_share_of_the_picture():
    assert zoo.preprocess("torchvision/resnet18", img_size=112).resize == 128
    assert zoo.preprocess("efficientnet-lite0", img_size=288, fit="pad").fit == "pad"
    with pytest.raises(ModelError, match="too small") as caught:
        zoo.spec("efficientnet-lite0", img_size=8)
    assert caught.value.code == "HS-MODEL-010"


def test_licences_come_with_the_weights():
    assert zoo.spec("torchvision/resnet18").licence == "bsd-3-clause"
    assert zoo.spec("torchvision/vit_h_14").licence == "cc-by-nc-4.0"
    assert zoo.spec("timm/resnet18.fb_ssl_yfcc100m_ft_in1k").licence == "cc-by-nc-4.0"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("efficientnet-lit0", "efficientnet-lite0"),
        ("resnet19", "resnet18"),
        ("torchvision/resnet19", "torchvision/resnet18"),
        ("resnet18.a1_in1", "resnet18.a1_in1k"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(typed, meant):
    with pytest.raises(ModelError, match=f"no model called '{typed}'") as caught:
        zoo.spec(typed)
    assert caught.value.code == "HS-MODEL-001"
    assert meant in caught.value.fix


def test_unknown_weights_of_torchvision_are_listed():
    with pytest.raises(ModelError, match="IMAGENET1K_V2"):
        zoo.spec("torchvision/resnet50.IMAGENET1K_V9")


def test_weights_of_the_hub_that_cannot_be_had(no_caches, monkeypatch):
    folder, asked = no_caches
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.invalid")
    start = time.perf_counter()
    with pytest.raises(ModelError, match="not on this machine") as caught:
        zoo.create("resnet18")
    assert time.perf_counter() - start < 5
    text = "\n".join(caught.value.details)
    assert caught.value.code == "HS-MODEL-003"
    assert "model.safetensors or pytorch_model.bin of timm/resnet18.a1_in1k, about 47 MB" in text
    assert str(folder / "hub" / "models--timm--resnet18.a1_in1k") in text
    assert str(folder / "torch" / "hub" / "checkpoints") in text
    assert (
        "https://mirror.invalid/timm/resnet18.a1_in1k/resolve/main/model.safetensors: no route to host"
        in text
    )
    assert "HF_ENDPOINT" in caught.value.fix
    assert "--weights FILE" in caught.value.fix
    assert len(asked) == 2


def test_weights_of_torchvision_that_cannot_be_had(no_caches):
    folder, asked = no_caches
    with pytest.raises(ModelError) as caught:
        zoo.create("torchvision/resnet18")
    assert caught.value.code == "HS-MODEL-003"
    assert "resnet18-f37072fd.pth, about 47 MB" in caught.value.details[0]
    assert str(folder / "torch" / "hub" / "checkpoints") in caught.value.fix
    assert asked == ["https://download.pytorch.org/models/resnet18-f37072fd.pth"]


def test_offline_mode_asks_nobody(no_caches, monkeypatch):
    _, asked = no_caches
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelError, match="switched off"):
        zoo.create("resnet18")
    assert asked == []


def test_a_network_without_published_weights(no_caches):
    with pytest.raises(ModelError, match="No pretrained weights are published") as caught:
        zoo.create(unpublished())
    assert caught.value.code == "HS-MODEL-015"


def unpublished() -> str:
    for name in timm.list_models():
        cfg = timm.models.get_pretrained_cfg(name)
        if cfg and not cfg.has_weights and isinstance(cfg.classifier, str) and name.startswith("resnet"):
            return name
    raise AssertionError("timm publishes weights for every ResNet now")


def test_cached_weights_of_the_hub_are_used(no_caches, monkeypatch):
    from safetensors.torch import save_file

    folder, asked = no_caches
    torch.manual_seed(7)
    network = timm.create_model("test_resnet")
    name = zoo.spec("test_resnet").name
    commit = folder / "hub" / f"models--timm--{name}" / "snapshots" / ("0" * 40)
    commit.mkdir(parents=True)
    refs = commit.parents[1] / "refs"
    refs.mkdir()
    (refs / "main").write_text("0" * 40, encoding="utf-8")
    save_file(network.state_dict(), commit / "model.safetensors")
    model = zoo.create("test_resnet")
    assert torch.equal(model.head.weight, network.fc.weight)
    assert torch.equal(model.backbone.conv1[0].weight, network.conv1[0].weight)
    assert asked == []
    assert [e.available for e in zoo.list_models(name)] == [True]

    (commit / "model.safetensors").write_bytes((commit / "model.safetensors").read_bytes()[:5000])
    with pytest.raises(ModelError, match="damaged or incomplete") as caught:
        zoo.create("test_resnet")
    assert caught.value.code == "HS-MODEL-004"
    assert str(commit) in caught.value.where


def test_cached_weights_of_torchvision_are_verified(no_caches, monkeypatch):
    import hashlib

    folder, asked = no_caches
    torch.manual_seed(7)
    network = torchvision.models.mobilenet_v3_small()
    file = folder / "weights.pth"
    torch.save(network.state_dict(), file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    cache = weights.torch_cache()
    cache.mkdir(parents=True)
    cached = cache / f"mobilenet_v3_small-{digest[:8]}.pth"
    cached.write_bytes(file.read_bytes())
    published = weights.Published(url=f"https://example.invalid/{cached.name}")
    monkeypatch.setattr(zoo, "where_published", lambda source: published)

    model = zoo.create("torchvision/mobilenet_v3_small")
    assert torch.equal(model.head.weight, network.classifier[-1].weight)
    assert model.head.in_features == 1024
    assert asked == []

    cached.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(ModelError, match="incomplete or damaged") as caught:
        zoo.create("torchvision/mobilenet_v3_small")
    assert str(cached) in str(caught.value)


def test_the_list_is_filtered_and_quick():
    zoo.list_models("resnet")
    start = time.perf_counter()
    names = [entry.name for entry in zoo.list_models()]
    assert time.perf_counter() - start < 2
    assert names[:3] == ["efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2"]
    assert "torchvision/resnet18" in names
    assert "torchvision/googlenet" not in names
    assert "deit_tiny_distilled_patch16_224.fb_in1k" not in names
    assert len(names) > 1000
    assert {e.name for e in zoo.list_models("ResNet18.tv")} == {"resnet18.tv_in1k"}
    assert all(e.name.startswith("torchvision/vit") for e in zoo.list_models("torchvision/vit*"))
    assert zoo.list_models("no-such-model") == []


def test_describe_says_what_is_needed():
    text = zoo.describe("efficientnet-lite0")
    assert text["output_layer"] == "Linear(in_features=1280, out_features=1000, bias=True)"
    assert text["parameters"] == 4_652_008
    assert text["stages"] == ["stem", *(f"stage{i}" for i in range(7))]
    assert text["available"] is True
    assert text["file"].endswith("efficientnet-lite0-57934424.pth")
    assert json.loads(json.dumps(text)) == text

    text = zoo.describe("torchvision/resnet18")
    assert text["output_layer"] == "Linear(in_features=512, out_features=1000, bias=True)"
    assert text["mean"] == [0.485, 0.456, 0.406]
    assert "https://download.pytorch.org/models/resnet18-f37072fd.pth" in text["origin"]

    without = zoo.describe("vit_small_patch14_dinov2")
    assert without["output_layer"] == "none"
    assert (without["features"], without["parameters"]) == (384, 22_056_192)


def test_position_embeddings_follow_the_input_size():
    for name in ("test_vit", "torchvision/vit_b_32"):
        model = zoo.create(name, pretrained=False, img_size=96)
        assert model.img_size == 96
        with torch.inference_mode():
            assert model(torch.zeros(1, 3, 96, 96)).shape == (1, 1000)
    with pytest.raises(ModelError) as caught:
        zoo.create("torchvision/vit_b_32", pretrained=False, img_size=100)
    assert caught.value.code == "HS-MODEL-010"
