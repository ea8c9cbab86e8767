"""What every supported backbone must keep: the same numbers, cut anywhere; bytes that freezing protects."""

from __future__ import annotations

import copy
import dataclasses
import functools

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from headstart.errors import ModelError
from headstart.model import zoo
from headstart.model.adapters import detach_head
from headstart.model.classifier import Classifier
from headstart.model.folding import folded
from headstart.model.networks import build
from headstart.model.source import SourceModel
from headstart.model.stages import compose
from headstart.model.transfer import freeze, frozen_tensors, parameter_groups, transfer

CLASSES = ("crack", "dent", "fine")

# name -> side of the test picture; with stages
CUT = {
    "test_resnet": 64,
    "resnet10t": 64,
    "test_efficientnet": 64,
    "test_efficientnet_gn": 64,
    "test_efficientnet_ln": 64,
    "tf_efficientnet_lite0": 64,
    "mobilenetv2_035": 64,
    "mobilenetv3_small_050": 64,
    "mobilenetv4_conv_small_035": 64,
    "test_convnext": 64,
    "test_convnext2": 64,
    "test_convnext3": 64,
    "test_vit": 160,
    "test_vit2": 160,
    "test_vit3": 160,
    "test_vit4": 160,
    "regnetx_002": 64,
    "regnety_002": 64,
    "swin_tiny_patch4_window7_224": 64,
    "swinv2_tiny_window8_256": 64,
    "torchvision/resnet18": 64,
    "torchvision/regnet_y_400mf": 64,
    "torchvision/efficientnet_b0": 64,
    "torchvision/mobilenet_v2": 64,
    "torchvision/mobilenet_v3_small": 64,
    "torchvision/convnext_tiny": 64,
    "torchvision/swin_t": 64,
    "torchvision/vit_b_16": 32,
    "torchvision/swin_v2_t": 64,
}
# cut at the head only
WHOLE = {
    "test_byobnet": 64,
    "test_nfnet": 64,
    "test_mambaout": 64,
    "test_maxvit": 160,
    "test_coatnet": 160,
    "test_vit_relpos": 160,
    "torchvision/shufflenet_v2_x0_5": 64,
    "torchvision/mnasnet0_5": 64,
    "torchvision/densenet121": 64,
}
BACKBONES = {**CUT, **WHOLE}

# Built with fewer and narrower blocks, where the library has no small network of the family.
_SWIN = {"img_size": 64, "embed_dim": 24, "depths": (1, 1, 2, 1), "num_heads": (1, 2, 4, 8), "window_size": 4}
SMALL = {
    "swin_tiny_patch4_window7_224": _SWIN,
    "swinv2_tiny_window8_256": _SWIN,
    "torchvision/vit_b_16": {
        "image_size": 32,
        "patch_size": 8,
        "num_layers": 3,
        "num_heads": 2,
        "hidden_dim": 32,
        "mlp_dim": 64,
    },
}

REFUSED = {
    "torchvision/googlenet": "auxiliary heads",
    "torchvision/inception_v3": "auxiliary heads",
    "torchvision/squeezenet1_1": "its head is a convolution",
    "deit_tiny_distilled_patch16_224": "a second, distilled head",
    "levit_128s": "a second, distilled head",
    "crossvit_9_240": "several heads",
}

every = pytest.mark.parametrize("name", BACKBONES, scope="module")
with_stages = pytest.mark.parametrize("name", CUT, scope="module")


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def network_of(name: str, num_classes: int | None = None) -> nn.Module:
    """The network as its library builds it."""
    source = zoo.spec(name)
    options = {**SMALL.get(name, {}), **({} if num_classes is None else {"num_classes": num_classes})}
    if not options:
        return build(source)
    if source.library == "timm":
        return timm.create_model(source.architecture, **options).eval()
    return torchvision.models.VisionTransformer(**options).eval()


def source_of(name: str) -> SourceModel:
    return dataclasses.replace(zoo.spec(name), input_size=BACKBONES[name])


@functools.lru_cache(maxsize=2)
def source_model(name: str) -> Classifier:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        if name not in SMALL:
            return zoo.create(name, pretrained=False)
        backbone, head, _ = detach_head(network_of(name), source_of(name))
    return Classifier(backbone, head, source=source_of(name), img_size=BACKBONES[name]).eval()


def pictures(name: str, count: int = 2) -> Tensor:
    side = BACKBONES[name]
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1))


def bytes_of(tensors) -> dict[str, bytes]:
    return {name: tensor.detach().numpy().tobytes() for name, tensor in tensors}


def two_steps(model: nn.Module, x: Tensor) -> None:
    groups = parameter_groups(model, lr_backbone=0.01, lr_head=0.1, weight_decay=0.01)
    optimiser = torch.optim.SGD(groups, momentum=0.9)
    for _ in range(2):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(x), torch.tensor([0, 1])).backward()
        optimiser.step()


def test_every_family_is_here():
    assert len(CUT) == 29
    assert len(WHOLE) == 9
    tiny = {name for name in zoo_names() if name.startswith("test_")}
    assert tiny <= set(BACKBONES), f"timm's tiny networks that nothing tests: {sorted(tiny - set(BACKBONES))}"


def zoo_names() -> list[str]:
    # test_efficientnet_evos differs from the others by its norm only
    return [name for name in timm.list_models() if name != "test_efficientnet_evos"]


@every
def test_head_after_backbone_is_the_library_network(name):
    network = network_of(name)
    x = pictures(name)
    with torch.inference_mode():
        expected = network(x)
        backbone, head, _ = detach_head(network, zoo.spec(name))
        features = backbone(x)
        assert torch.equal(head(features), expected)
    assert features.shape == (2, head.in_features)
    assert features.dtype == torch.float32


@every
def test_tensors_are_named_as_in_the_headless_network_of_the_library(name):
    model = source_model(name)
    names = {key.removeprefix("backbone.") for key in model.state_dict() if key.startswith("backbone.")}
    others = {key for key in model.state_dict() if not key.startswith("backbone.")}
    assert others <= {"head.weight", "head.bias"}
    if model.source.library == "timm":
        assert names == set(network_of(name, num_classes=0).state_dict())
    else:
        whole = set(network_of(name).state_dict())
        assert names < whole
        assert len(whole - names) in (1, 2)


@every
def test_transfer_changes_nothing_but_the_head(name):
    source = source_model(name)
    before = bytes_of(source.state_dict().items())
    model = transfer(source, CLASSES, seed=3)
    with torch.inference_mode():
        assert model(pictures(name)).shape == (2, len(CLASSES))
    after = bytes_of(model.state_dict().items())
    assert {k: v for k, v in after.items() if not k.startswith("head.")} == {
        k: v for k, v in before.items() if not k.startswith("head.")
    }
    assert bytes_of(source.state_dict().items()) == before
    assert len(after["head.weight"]) == 4 * 3 * source.num_features
    assert not model.head.bias.any()


@every
def test_each_parameter_learns_and_is_in_one_group(name):
    model = transfer(source_model(name), CLASSES).train()
    x = pictures(name)
    nn.functional.cross_entropy(model(x), torch.tensor([0, 1])).backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []

    groups = parameter_groups(model, lr_backbone=0.1, lr_head=0.5, weight_decay=0.02)
    grouped = [id(p) for group in groups for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in model.parameters())
    for group in groups:
        assert group["lr"] == (0.5 if group["name"].startswith("head") else 0.1)
        if group["weight_decay"]:
            assert all(p.ndim > 1 for p in group["params"])


@every
def test_a_frozen_backbone_keeps_its_bytes(name):
    model = transfer(source_model(name), CLASSES)
    freeze(model, "head")
    model.train()
    before = bytes_of((k, v) for k, v in model.state_dict().items() if k.startswith("backbone."))
    head = model.head.weight.detach().clone()
    two_steps(model, pictures(name))
    after = bytes_of((k, v) for k, v in model.state_dict().items() if k.startswith("backbone."))
    assert after == before
    assert not torch.equal(model.head.weight, head)


@with_stages
def test_stages_compose_to_the_backbone(name):
    model = source_model(name)
    stages = model.stages
    assert stages is not None
    assert len(stages) >= 3
    assert [stage.name for stage in stages] == ["stem", *(f"stage{i}" for i in range(len(stages) - 1))]
    x = pictures(name)
    with torch.inference_mode():
        whole = model.backbone(x)
        assert torch.equal(compose(stages)(x), whole)
        logits = model(x)
        for cut in ("stem", 0, stages[-1].name, "head"):
            assert torch.equal(model.above(cut)(model.below(cut)(x)), logits), cut


@with_stages
def test_batch_norm_is_folded_away(name):
    model = copy.deepcopy(source_model(name))
    random = torch.Generator().manual_seed(3)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:  # as after training: none of them is the identity
        for tensor, low, high in (
            (norm.running_mean, -0.2, 0.2),
            (norm.running_var, 0.5, 2),
            (norm.weight.data, 0.5, 1.5),
            (norm.bias.data, -0.2, 0.2),
        ):
            tensor.copy_(torch.rand(tensor.shape, generator=random) * (high - low) + low)
    before = bytes_of(model.state_dict().items())
    quick = folded(model)
    assert (quick is model) == (not norms)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in quick.modules())
    cut = (model.stages or ())[-1].name
    x = pictures(name)
    with torch.inference_mode():
        expected = model.below(cut)(x)
        torch.testing.assert_close(quick.below(cut)(x), expected, rtol=1e-3, atol=1e-4 * expected.abs().max())
    assert bytes_of(model.state_dict().items()) == before


@with_stages
def test_each_tensor_belongs_to_one_stage(name):
    model = source_model(name)
    stages = model.stages or ()
    parameters = [id(p) for stage in stages for p in stage.all_parameters()]
    assert sorted(parameters) == sorted(id(p) for p in model.backbone.parameters())
    modules = [id(m) for stage in stages for module in stage.modules for m in module.modules()]
    assert len(modules) == len(set(modules))
    buffers = {id(b) for stage in stages for module in stage.modules for b in module.buffers()}
    assert buffers == {id(b) for b in model.backbone.buffers()}
    assert all(any(True for _ in stage.all_parameters()) for stage in stages)


@with_stages
def test_frozen_stages_keep_their_bytes_and_the_rest_moves(name):
    model = transfer(source_model(name), CLASSES)
    cut = (model.stages or ())[-1].name
    freeze(model, cut)
    model.train()
    frozen = bytes_of(frozen_tensors(model))
    assert frozen
    below = model.below(cut)
    x = pictures(name)
    with torch.inference_mode():
        activations = below(x).clone()

    above = model.above(cut)
    above.train()
    moving = bytes_of(above.named_parameters())
    assert {id(p) for p in above.parameters()} == {id(p) for p in model.parameters() if p.requires_grad}
    # Once through the part above alone, as on cached activations, and once through the whole network.
    two_steps(above, activations.clone())
    two_steps(model, x)
    assert bytes_of(frozen_tensors(model)) == frozen
    changed = [k for k, v in bytes_of(above.named_parameters()).items() if v != moving[k]]
    assert "head.weight" in changed
    assert len(changed) > 0.7 * len(moving)


@with_stages
def test_stages_run_in_bfloat16_and_channels_last(name):
    model = source_model(name)
    x = pictures(name).contiguous(memory_format=torch.channels_last)
    middle = len(model.stages or ()) // 2 - 1
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        whole = model(x)
        halves = model.above(middle)(model.below(middle)(x))
        features = model.features(x)
    assert torch.equal(halves, whole)
    assert torch.isfinite(whole).all()
    assert features.dtype == torch.float32


@pytest.mark.parametrize("name", WHOLE, scope="module")
def test_other_families_are_cut_at_the_head_only(name):
    model = source_model(name)
    assert model.stages is None
    x = pictures(name)
    with torch.inference_mode():
        assert torch.equal(model.above("head")(model.below("head")(x)), model(x))
    with pytest.raises(ModelError, match="can be cut at the head only") as caught:
        freeze(copy.copy(model), "stage2")
    assert caught.value.code == "HS-MODEL-008"


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_adapted_is_refused_by_name(name):
    with pytest.raises(ModelError, match=REFUSED[name]) as caught:
        zoo.create(name, pretrained=False)
    assert caught.value.code == "HS-MODEL-002"
    assert name in str(caught.value)
