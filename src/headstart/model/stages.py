"""Cut tables: where the networks of each family can be divided into a stem and numbered stages.

A stage runs the library's own modules in the library's own order, so that the stages composed give
the backbone bit for bit. Whatever follows the last block (final convolution, norm, pooling) belongs
to the last stage. Families that are not listed are cut at the head only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

Forward = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Stage:
    """A part of a backbone. Holds references: the backbone stays the owner of its modules."""

    name: str
    """``stem``, ``stage0``, ``stage1``, ..."""
    paths: tuple[str, ...]
    """The library's own names of its modules, ``blocks.6``."""
    modules: tuple[nn.Module, ...]
    parameters: tuple[tuple[str, nn.Parameter], ...]
    """Parameters outside of any module (class token, position embedding), by the library's name."""
    forward: Forward
    channels_last: bool = False
    """Whether its inputs are [B, h, w, C] (Swin), not [B, C, h, w] or tokens [B, N, C]."""

    def all_parameters(self) -> Iterator[nn.Parameter]:
        """Every parameter of the stage."""
        for module in self.modules:
            yield from module.parameters()
        for _, parameter in self.parameters:
            yield parameter


def compose(stages: Sequence[Stage]) -> Forward:
    """The stages one after the other; the identity for none."""
    forwards = [stage.forward for stage in stages]

    def run(x: Tensor) -> Tensor:
        for forward in forwards:
            x = forward(x)
        return x

    return run


@dataclass(frozen=True)
class Cut:
    """How to divide one family."""

    stem: Callable[[nn.Module], Sequence[str]]
    """Paths of the stem's modules, in the order in which they run."""
    stages: Callable[[nn.Module], Sequence[Sequence[str]]]
    """Paths of each stage's modules, in the order in which they run."""
    tail: Callable[[nn.Module, Tensor], Tensor]
    """What follows the last block, up to the features [B, D]."""
    stem_forward: Callable[[nn.Module, Tensor], Tensor] | None = None
    """Replaces the plain sequence of the stem's modules."""
    stem_parameters: tuple[str, ...] = field(default=())
    channels_last: bool = False
    """Whether activations between stages are [B, h, w, C]."""


def stages_of(backbone: nn.Module) -> tuple[Stage, ...] | None:
    """The stages of a headless network, stem first; None where the family has no cut table."""
    for base in type(backbone).__mro__:
        cut = _CUTS.get(f"{base.__module__}.{base.__qualname__}")
        if cut is not None:
            # A subclass with a forward of its own runs its modules in an order not known here.
            own = any(
                getattr(type(backbone), method, None) is not getattr(base, method, None)
                for method in ("forward", "_forward_impl", "forward_features", "forward_head")
            )
            return None if own else _divide(backbone, cut)
    return None


def _divide(net: nn.Module, cut: Cut) -> tuple[Stage, ...]:
    stem_paths = tuple(cut.stem(net))
    stage_paths = [tuple(paths) for paths in cut.stages(net)]
    claimed = {*stem_paths, *(path for paths in stage_paths for path in paths)}
    rest = tuple(_unclaimed(net, "", claimed))
    inside_rest = {id(p) for path in rest for p in net.get_submodule(path).parameters()}
    inside_claimed = {id(p) for path in claimed for p in net.get_submodule(path).parameters()}
    loose = [
        (name, parameter)
        for name, parameter in net.named_parameters()
        if id(parameter) not in inside_rest and id(parameter) not in inside_claimed
    ]

    stages = []
    for number, paths in enumerate([stem_paths, *stage_paths], start=-1):
        last = number == len(stage_paths) - 1
        forward = _sequence([net.get_submodule(path) for path in paths])
        if number < 0 and cut.stem_forward is not None:
            forward = _bound(cut.stem_forward, net)
        if last:
            forward = _then(forward, _bound(cut.tail, net))
        own = paths + (rest if last else ())
        stages.append(
            Stage(
                name="stem" if number < 0 else f"stage{number}",
                paths=own,
                modules=tuple(net.get_submodule(path) for path in own),
                parameters=tuple(
                    (name, parameter)
                    for name, parameter in loose
                    if (name in cut.stem_parameters and number < 0)
                    or (name not in cut.stem_parameters and last)
                ),
                forward=forward,
                channels_last=cut.channels_last and number >= 0,
            )
        )
    return tuple(stages)


def _unclaimed(module: nn.Module, prefix: str, claimed: set[str]) -> Iterator[str]:
    """Paths of the largest modules that hold no claimed module."""
    for name, child in module.named_children():
        path = f"{prefix}{name}"
        if path in claimed:
            continue
        if any(other.startswith(f"{path}.") for other in claimed):
            yield from _unclaimed(child, f"{path}.", claimed)
        else:
            yield path


def _sequence(modules: Sequence[nn.Module]) -> Forward:
    def run(x: Tensor) -> Tensor:
        for module in modules:
            x = module(x)
        return x

    return run


def _bound(function: Callable[[nn.Module, Tensor], Tensor], net: nn.Module) -> Forward:
    return lambda x: function(net, x)


def _then(first: Forward, second: Forward) -> Forward:
    return lambda x: second(first(x))


# The library's classes have no common type, so the functions below address them dynamically.
# mypy: disable-error-code="operator,union-attr,index,arg-type,attr-defined,no-any-return"


def _paths(*paths: str) -> Callable[[nn.Module], Sequence[str]]:
    return lambda net: paths


def _each(*paths: str) -> Callable[[nn.Module], Sequence[Sequence[str]]]:
    return lambda net: [(path,) for path in paths]


def _children(container: str) -> Callable[[nn.Module], Sequence[Sequence[str]]]:
    """One stage for each child of a container."""
    return lambda net: [(f"{container}.{name}",) for name, _ in net.get_submodule(container).named_children()]


def _feature_indices(first: int, last: int) -> Callable[[nn.Module], Sequence[Sequence[str]]]:
    """torchvision's ``features``, one stage for each index; ``last`` counts from the end."""
    return lambda net: [(f"features.{i}",) for i in range(first, len(net.features) + last)]


def _by_stride(net: nn.Module) -> Sequence[Sequence[str]]:
    """torchvision's MobileNets: a new stage wherever the resolution halves."""
    groups: list[list[str]] = [[]]
    for i in range(1, len(net.features) - 1):
        halves = any(isinstance(m, nn.Conv2d) and m.stride[0] > 1 for m in net.features[i].modules())
        if halves and groups[-1]:
            groups.append([])
        groups[-1].append(f"features.{i}")
    return groups


def _with_downsampling(net: nn.Module) -> Sequence[Sequence[str]]:
    """torchvision's ConvNeXt and Swin: blocks at odd indices, downsampling before them at even ones."""
    pairs = [(f"features.{i}", f"features.{i + 1}") for i in range(2, len(net.features), 2)]
    return [("features.1",), *pairs]


def _pool_flatten(net: nn.Module, head: nn.Module, x: Tensor) -> Tensor:
    return head(torch.flatten(net.avgpool(x), 1))


def _timm_vit_stem(net: nn.Module, x: Tensor) -> Tensor:
    return net.norm_pre(net.patch_drop(net._pos_embed(net.patch_embed(x))))


def _torchvision_vit_stem(net: nn.Module, x: Tensor) -> Tensor:
    x = net._process_input(x)
    x = torch.cat([net.class_token.expand(x.shape[0], -1, -1), x], dim=1)
    return net.encoder.dropout(x + net.encoder.pos_embedding)


def _torchvision_mobilenet_tail(net: nn.Module, x: Tensor) -> Tensor:
    x = nn.functional.adaptive_avg_pool2d(net.features[-1](x), (1, 1))
    return net.classifier(torch.flatten(x, 1))


_TIMM_SWIN = Cut(
    _paths("patch_embed"), _children("layers"), lambda n, x: n.forward_head(n.norm(x)), channels_last=True
)
_TORCHVISION_MOBILENET = Cut(_paths("features.0"), _by_stride, _torchvision_mobilenet_tail)

_CUTS = {
    "headstart.model.efficientnet_lite.EfficientNetLite": Cut(
        _paths("conv_stem", "bn1", "act1"), _children("blocks"), lambda n, x: n.forward_head(x)
    ),
    "timm.models.resnet.ResNet": Cut(
        _paths("conv1", "bn1", "act1", "maxpool"),
        _each("layer1", "layer2", "layer3", "layer4"),
        lambda n, x: n.forward_head(x),
    ),
    "timm.models.regnet.RegNet": Cut(
        _paths("stem"), _each("s1", "s2", "s3", "s4"), lambda n, x: n.forward_head(n.final_conv(x))
    ),
    "timm.models.efficientnet.EfficientNet": Cut(
        _paths("conv_stem", "bn1"),
        _children("blocks"),
        lambda n, x: n.forward_head(n.bn2(n.conv_head(x))),
    ),
    "timm.models.mobilenetv3.MobileNetV3": Cut(
        _paths("conv_stem", "bn1"), _children("blocks"), lambda n, x: n.forward_head(x)
    ),
    "timm.models.convnext.ConvNeXt": Cut(
        _paths("stem"), _children("stages"), lambda n, x: n.forward_head(n.norm_pre(x))
    ),
    "timm.models.vision_transformer.VisionTransformer": Cut(
        _paths("patch_embed", "pos_drop", "patch_drop", "norm_pre"),
        _children("blocks"),
        lambda n, x: n.forward_head(n.norm(x)),
        stem_forward=_timm_vit_stem,
        stem_parameters=("cls_token", "reg_token", "pos_embed"),
    ),
    "timm.models.swin_transformer.SwinTransformer": _TIMM_SWIN,
    "timm.models.swin_transformer_v2.SwinTransformerV2": _TIMM_SWIN,
    "torchvision.models.resnet.ResNet": Cut(
        _paths("conv1", "bn1", "relu", "maxpool"),
        _each("layer1", "layer2", "layer3", "layer4"),
        lambda n, x: _pool_flatten(n, n.fc, x),
    ),
    "torchvision.models.regnet.RegNet": Cut(
        _paths("stem"), _children("trunk_output"), lambda n, x: _pool_flatten(n, n.fc, x)
    ),
    "torchvision.models.efficientnet.EfficientNet": Cut(
        _paths("features.0"),
        _feature_indices(1, -1),
        lambda n, x: _pool_flatten(n, n.classifier, n.features[-1](x)),
    ),
    "torchvision.models.mobilenetv2.MobileNetV2": _TORCHVISION_MOBILENET,
    "torchvision.models.mobilenetv3.MobileNetV3": _TORCHVISION_MOBILENET,
    "torchvision.models.convnext.ConvNeXt": Cut(
        _paths("features.0"), _with_downsampling, lambda n, x: n.classifier(n.avgpool(x))
    ),
    "torchvision.models.vision_transformer.VisionTransformer": Cut(
        _paths("conv_proj", "encoder.dropout"),
        _children("encoder.layers"),
        lambda n, x: n.heads(n.encoder.ln(x)[:, 0]),
        stem_forward=_torchvision_vit_stem,
        stem_parameters=("class_token", "encoder.pos_embedding"),
    ),
    "torchvision.models.swin_transformer.SwinTransformer": Cut(
        _paths("features.0"),
        _with_downsampling,
        lambda n, x: n.head(n.flatten(n.avgpool(n.permute(n.norm(x))))),
        channels_last=True,
    ),
}
