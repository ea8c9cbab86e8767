"""The number format in which training computes: device, bf16 or fp32, memory layout."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from headstart.config import MemoryFormat, Precision
from headstart.errors import ConfigError


@dataclass(frozen=True)
class Format:
    """How training computes. Saved weights are fp32, and published figures come from an fp32 forward.

    Attributes:
        device: ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        precision: ``bf16``: matrix products and convolutions under autocast; ``fp32``: everything in fp32.
        memory_format: ``channels_last``: 1.2 to 2.5 times as fast for most convolutional networks on CPUs.
    """

    device: str
    precision: Precision
    memory_format: MemoryFormat = "channels_last"

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """The context in which the network's forward pass runs."""
        kind = torch.device(self.device).type
        return torch.autocast(kind, torch.bfloat16, enabled=self.precision == "bf16")

    def network(self, network: nn.Module) -> nn.Module:
        """``network`` on the device, in the memory format; the same values."""
        return network.to(self.device).to(memory_format=self._torch_format)  # type: ignore[call-overload]

    def inputs(self, batch: NDArray[np.float32] | Tensor) -> Tensor:
        """A batch on the device, float32, in the memory format where it is a batch of pictures."""
        tensor = torch.from_numpy(batch) if isinstance(batch, np.ndarray) else batch
        # Never `non_blocking`: MPS may read memory that is in other use by then (PyTorch's issue 189690).
        tensor = tensor.to(self.device).to(torch.float32)
        return tensor.contiguous(memory_format=self._torch_format) if tensor.ndim == 4 else tensor

    @property
    def accelerated(self) -> bool:
        """Whether the device is another one than the processor."""
        return torch.device(self.device).type != "cpu"

    @property
    def _torch_format(self) -> torch.memory_format:
        return torch.channels_last if self.memory_format == "channels_last" else torch.contiguous_format

    @property
    def storage(self) -> torch.dtype:
        """The type in which activations are kept."""
        return torch.bfloat16 if self.precision == "bf16" else torch.float32


def choose_device(asked: str | None) -> str:
    """The device asked for, or the first accelerator, or the CPU.

    Raises:
        ConfigError: HS-CONFIG-008, the device does not exist here.
    """
    if asked is None:
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    present = ["cpu"]
    if torch.cuda.is_available():
        present += ["cuda", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        present.append("mps")
    if asked not in present:
        raise ConfigError(
            "HS-CONFIG-008",
            f"There is no device {asked!r} on this machine.",
            fix="Devices here: " + ", ".join(present) + ".",
        )
    return asked


def choose_precision(asked: Precision | None, device: str) -> Precision:
    """The precision asked for, or bf16 where the device computes in it natively."""
    if asked is not None:
        return asked
    if device == "cpu":
        native = torch.backends.mkldnn.is_available() and (  # type: ignore[no-untyped-call]
            torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        )
        return "bf16" if native else "fp32"
    if device.startswith("cuda"):
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "fp32"
