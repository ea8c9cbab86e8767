"""New heads, frozen parts, parameter groups."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from headstart.errors import ModelError
from headstart.model import zoo
from headstart.model.transfer import (
    freeze,
    groups_table,
    groups_text,
    parameter_groups,
    reinitialise,
    transfer,
    unfreeze,
)

CLASSES = ("hotdog", "not-hotdog")


@pytest.fixture(scope="module")
def source():
    torch.manual_seed(0)
    return zoo.create("test_efficientnet", pretrained=False)


def test_the_new_head_is_xavier_uniform(source):
    head = transfer(source, [str(i) for i in range(40)], seed=1).head
    bound = (6 / (source.num_features + 40)) ** 0.5
    assert head.weight.abs().max() <= bound
    assert head.weight.abs().max() > 0.99 * bound
    assert head.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.02)
    assert torch.equal(head.bias, torch.zeros(40))


def test_the_head_depends_on_the_seed_alone(source):
    torch.manual_seed(1)
    one = transfer(source, CLASSES, seed=5)
    torch.manual_seed(2)
    assert torch.equal(one.head.weight, transfer(source, CLASSES, seed=5).head.weight)
    assert not torch.equal(one.head.weight, transfer(source, CLASSES, seed=6).head.weight)


def test_a_head_of_zeros(source):
    model = transfer(source, CLASSES, head_init="zeros")
    assert not model.head.weight.any()
    assert model.classes == CLASSES


def test_a_head_from_source_classes(source):
    for entry in ("hotdog=934", "hotdog", "hotdog=hot dog", "hotdog = Red_Hot"):
        model = transfer(source, CLASSES, head_from=[entry])
        assert torch.equal(model.head.weight[0], source.head.weight[934]), entry
        assert torch.equal(model.head.weight[1], transfer(source, CLASSES).head.weight[1])
        assert not model.head.bias.any()


def test_a_class_name_with_an_equals_sign(source):
    model = transfer(source, ("a=b", "c"), head_from=["a=b=3", "c=4"])
    assert torch.equal(model.head.weight, source.head.weight[3:5])


def test_all_faults_of_head_from_at_once(source):
    entries = ["hotdgo=934", "hotdog=1000", "not-hotdog=crane", "hotdog=3", "hotdog=4"]
    with pytest.raises(ModelError) as caught:
        transfer(source, CLASSES, head_from=entries)
    assert caught.value.code == "HS-MODEL-009"
    details = caught.value.details
    assert "Did you mean 'hotdog'?" in details[0]
    assert "0 to 999" in details[1]
    assert "several classes 'crane'" in details[2]
    assert "given twice" in details[3]
    assert len(details) == 4


def test_an_unknown_imagenet_name_gets_the_nearest(source):
    with pytest.raises(ModelError, match=r"no class 'pizzza'\. Did you mean 'pizza'?"):
        transfer(source, CLASSES, head_from=["hotdog=pizzza"])


def test_source_and_target_share_no_memory(source):
    model = transfer(source, CLASSES)
    ours = {tensor.data_ptr() for tensor in model.state_dict().values()}
    assert not ours & {tensor.data_ptr() for tensor in source.state_dict().values()}


def test_scratch_is_the_library_initialisation():
    model = transfer(zoo.create("efficientnet-lite0"), CLASSES)
    pretrained = copy.deepcopy(model.backbone.state_dict())
    torch.manual_seed(3)
    expected = zoo.create("efficientnet-lite0", pretrained=False).backbone.state_dict()
    head = nn.Linear(1280, 2)
    before = torch.random.get_rng_state()
    reinitialise(model, seed=3)
    assert torch.equal(torch.random.get_rng_state(), before)
    for name, tensor in model.backbone.state_dict().items():
        assert torch.equal(tensor, expected[name]), name
    assert torch.equal(model.head.weight, head.weight)
    assert not torch.equal(model.backbone.conv_stem.weight, pretrained["conv_stem.weight"])


def test_numbers_and_library_names_of_stages(source):
    model = transfer(source, CLASSES)
    for cut in (2, "2", "stage2", "blocks.2"):
        freeze(model, cut)
        assert model.frozen_below == "stage2"
        trains = {n for n, p in model.named_parameters() if p.requires_grad}
        assert any(n.startswith("backbone.blocks.2.") for n in trains)
        below = ("backbone.conv_stem", "backbone.bn1", "backbone.blocks.0.", "backbone.blocks.1.")
        assert not any(n.startswith(below) for n in trains)
    freeze(model, "stem")
    assert all(p.requires_grad for p in model.parameters())
    with pytest.raises(ModelError, match="Did you mean 'stage2'") as caught:
        freeze(model, "stag2")
    assert caught.value.code == "HS-MODEL-008"
    assert "stem, stage0, stage1" in caught.value.fix


def test_frozen_modules_stay_at_rest_through_train(source):
    model = transfer(source, CLASSES)
    freeze(model, "head")
    model.train()
    assert model.training
    assert model.head.training
    assert not any(module.training for module in model.backbone.modules())
    assert [n for n, p in model.named_parameters() if p.requires_grad] == ["head.weight", "head.bias"]

    freeze(model, 3)
    model.eval().train()
    assert not model.backbone.blocks[2].training
    assert model.backbone.blocks[3].training
    assert model.backbone.conv_head.training

    unfreeze(model)
    model.train()
    assert all(module.training for module in model.modules())
    assert all(p.requires_grad for p in model.parameters())


def test_a_copy_is_independent(source):
    model = transfer(source, CLASSES)
    freeze(model, 3)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    x = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        model.eval()
        assert torch.equal(model.above(3)(model.below(3)(x)), model(x))
        assert not twin.eval().above(3)(twin.below(3)(x)).any()
    twin.train()
    assert not twin.backbone.blocks[0].training

    above = copy.deepcopy(model.above(3))
    with torch.no_grad():
        above.head.weight.zero_()
        above.head.bias.zero_()
    assert model.head.weight.any()
    assert not above(model.below(3)(x)).any()


def test_parameter_groups(source):
    model = transfer(source, CLASSES)
    groups = parameter_groups(model, lr_backbone=1e-4, lr_head=1e-3, weight_decay=0.05)
    assert [(g["name"], g["lr"], g["weight_decay"]) for g in groups] == [
        ("backbone", 1e-4, 0.05),
        ("backbone, no decay", 1e-4, 0.0),
        ("head", 1e-3, 0.05),
        ("head, no decay", 1e-3, 0.0),
    ]
    assert all(p.ndim > 1 for p in groups[0]["params"])
    assert all(p.ndim == 1 for p in groups[1]["params"])
    assert groups[2]["params"] == [model.head.weight]
    torch.optim.AdamW(groups)

    alike = parameter_groups(model, lr_backbone=1e-4, lr_head=1e-3, weight_decay=0.05, decay_1d=True)
    assert [g["name"] for g in alike] == ["backbone", "head"]
    rows = groups_table(alike)
    assert rows[1] == ("head", 2, 2 * source.num_features + 2, 1e-3, 0.05)
    assert sum(row[2] for row in rows) == sum(p.numel() for p in model.parameters())
    shown = [line.split() for line in groups_text(alike).splitlines()]
    assert shown[0] == ["trains", "tensors", "numbers", "learning", "rate", "weight", "decay"]
    assert shown[2] == ["head", "2", str(2 * source.num_features + 2), "0.001", "0.05"]

    freeze(model, "head")
    only = parameter_groups(model, lr_backbone=1e-4, lr_head=1e-3, weight_decay=0.05)
    assert [g["name"] for g in only] == ["head", "head, no decay"]


def test_position_embeddings_do_not_decay():
    model = transfer(zoo.create("test_vit", pretrained=False), CLASSES)
    for module in (model, model.above("stem")):
        groups = parameter_groups(module, lr_backbone=1, lr_head=1, weight_decay=0.1)
        decayed = {id(p) for g in groups if g["weight_decay"] for p in g["params"]}
        assert id(model.backbone.pos_embed) not in decayed
        assert id(model.backbone.patch_embed.proj.weight) in decayed
