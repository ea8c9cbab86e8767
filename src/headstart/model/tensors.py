"""Tensors in a safetensors file that is whole or absent."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from torch import Tensor

from headstart.storage import atomic_path


@contextmanager
def saved_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Iterator[Path]:
    """Writes copies of the tensors; the file takes its place when the block has ended without an error.

    Args:
        path: The file.
        tensors: On any device, in any memory layout.
        metadata: Of the file's header.

    Yields:
        The temporary file, complete.

    Raises:
        RunError: HS-RUN-001 to -003.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    copies = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    with atomic_path(path) as temporary:
        try:
            save_file(copies, temporary, metadata=dict(metadata))
        except SafetensorError as error:  # it wraps the system's errors: "... (os error 28)"
            number = re.search(r"\(os error (\d+)\)", str(error))
            raise OSError(int(number[1]) if number else 0, str(error)) from error
        yield temporary
