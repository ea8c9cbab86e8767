"""Every network as ``head(backbone(x))``, whole or cut into stages, with a frozen part that stays frozen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Self

from torch import Tensor, nn

from headstart.errors import ModelError, nearest
from headstart.model.source import SourceModel
from headstart.model.stages import Stage, compose, stages_of

HEAD = "head"


class Classifier(nn.Module):
    """A backbone and a linear head.

    The tensors of ``state_dict()`` are named ``backbone.`` + the name that the library gives them in
    its own headless network, ``head.weight`` and ``head.bias``.

    Attributes:
        backbone: Pictures [B, 3, S, S] -> features [B, D], float32 (bfloat16 under autocast).
        head: Features [B, D] -> logits [B, C].
        source: Where architecture, preprocessing and weights come from.
        img_size: Side of the square input that the network was built for, pixels.
        classes: Names of the outputs, in order; empty for a source model.
        frozen_below: Name of the first part that trains (``stage6``, ``head``); None if all trains.
    """

    def __init__(
        self,
        backbone: nn.Module,
        head: nn.Linear,
        *,
        source: SourceModel,
        img_size: int,
        classes: tuple[str, ...] = (),
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.source = source
        self.img_size = img_size
        self.classes = classes
        self.frozen_below: str | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Pictures [B, 3, S, S] -> logits [B, C]."""
        logits: Tensor = self.head(self.backbone(x))
        return logits

    def features(self, x: Tensor) -> Tensor:
        """Pictures [B, 3, S, S] -> features [B, D], float32 whatever the autocast."""
        features: Tensor = self.backbone(x)
        return features.float()

    @property
    def num_features(self) -> int:
        """Width D of the features."""
        return self.head.in_features

    @property
    def stages(self) -> tuple[Stage, ...] | None:
        """The parts of the backbone, stem first; None where the network is cut at the head only.

        Made anew at each access, so that a copy of the model never runs the original's modules.
        """
        return stages_of(self.backbone)

    def cut_name(self, cut: str | int) -> str:
        """The name of a cut: ``stage6`` for 6, ``"6"``, ``"stage6"`` and the library's own ``"blocks.6"``.

        Numbers count stages from 0 behind the stem. ``head`` lies behind the last stage.

        Raises:
            ModelError: HS-MODEL-008, no such stage, or a network without stages.
        """
        text = str(cut).strip()
        if text == HEAD:
            return HEAD
        stages = self.stages
        if stages is None:
            raise ModelError(
                "HS-MODEL-008",
                f"{self.source.name} can be cut at the head only; it has no stage '{text}'.",
                fix="Use --freeze head, or a ResNet, RegNet, EfficientNet, MobileNet, ConvNeXt, ViT or Swin.",
            )
        names = {stage.name: stage.name for stage in stages}
        names |= {str(number): f"stage{number}" for number in range(len(stages) - 1)}
        for stage in stages:
            names |= {path: stage.name for path in stage.paths if path not in names}
        if text not in names:
            known = [stage.name for stage in stages] + [HEAD]
            raise ModelError(
                "HS-MODEL-008",
                f"{self.source.name} has no stage '{text}'.{nearest(text, known)}",
                fix=f"Choose one of {', '.join(known)}.",
            )
        return names[text]

    def _position(self, cut: str | int) -> int:
        """Number of stages below a cut."""
        name, stages = self.cut_name(cut), self.stages or ()
        names = [stage.name for stage in stages]
        return len(stages) if name == HEAD else names.index(name)

    def below(self, cut: str | int) -> Callable[[Tensor], Tensor]:
        """What lies below a cut: pictures [B, 3, S, S] -> activations (features at ``head``).

        ``above(cut)(below(cut)(x))`` equals ``model(x)`` bit for bit.

        Raises:
            ModelError: HS-MODEL-008, no such stage.
        """
        if self.cut_name(cut) == HEAD:
            return self.backbone
        return compose((self.stages or ())[: self._position(cut)])

    def tensors_below(self, cut: str | int) -> Iterator[Tensor]:
        """Parameters and buffers below a cut, always in the same order."""
        if self.cut_name(cut) == HEAD:
            yield from self.backbone.state_dict().values()
            return
        for stage in (self.stages or ())[: self._position(cut)]:
            for module in stage.modules:
                yield from module.state_dict().values()
            for _, parameter in stage.parameters:
                yield parameter

    def above(self, cut: str | int) -> Above:
        """What lies above a cut, head included, as a module to train. Shares its modules with the model.

        Raises:
            ModelError: HS-MODEL-008, no such stage.
        """
        return Above(self, self.cut_name(cut))

    def frozen_modules(self) -> Iterator[nn.Module]:
        """The modules that ``freeze`` has put to rest."""
        if self.frozen_below == HEAD:
            yield self.backbone
        elif self.frozen_below is not None:
            for stage in (self.stages or ())[: self._position(self.frozen_below)]:
                yield from stage.modules

    def train(self, mode: bool = True) -> Self:
        """As in torch, but frozen modules stay in evaluation mode: their buffers must not move."""
        super().train(mode)
        for module in self.frozen_modules():
            module.eval()
        return self


class Above(nn.Module):
    """The stages from a cut on, and the head; made by `Classifier.above`.

    ``parameters()`` and ``train()`` reach exactly its own part. A deep copy brings a copy of the whole
    model along, so that it trains apart from the original.
    """

    def __init__(self, model: Classifier, cut: str) -> None:
        super().__init__()
        # Kept out of the module tree: the part below is not to be trained, moved or saved with this one.
        self.__dict__["model"] = model
        self.cut = cut
        self._position = model._position(cut)
        for stage in self._stages():
            for path, module in zip(stage.paths, stage.modules, strict=True):
                self.add_module(f"backbone_{path}".replace(".", "_"), module)
            for name, parameter in stage.parameters:
                self.register_parameter(f"backbone_{name}".replace(".", "_"), parameter)
        self.head = model.head

    def _stages(self) -> tuple[Stage, ...]:
        model: Classifier = self.__dict__["model"]
        return (model.stages or ())[self._position :]

    def forward(self, x: Tensor) -> Tensor:
        """Activations at the cut -> logits [B, C]."""
        logits: Tensor = self.head(self.features(x))
        return logits

    def features(self, x: Tensor) -> Tensor:
        """Activations at the cut -> features [B, D]; bfloat16 under autocast."""
        return compose(self._stages())(x)

    def train(self, mode: bool = True) -> Self:
        """As in torch, but frozen modules stay in evaluation mode."""
        super().train(mode)
        for module in self.__dict__["model"].frozen_modules():
            module.eval()
        return self
