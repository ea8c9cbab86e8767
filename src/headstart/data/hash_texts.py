"""Hashes of pictures as a column of texts, kept as bytes: a million of them take 32 MB, as texts 90."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

TEXTS: Any = np.dtypes.StringDType()  # a third of the memory of <U64


class HashTexts:
    """A column of hexadecimal SHA-256, [n]: one row is a str, several are an array of texts.

    Args:
        rows: The hashes as bytes, uint8 [n, 32].
    """

    def __init__(self, rows: NDArray[np.uint8]) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[str]:
        return (row.tobytes().hex() for row in self._rows)

    @overload
    def __getitem__(self, index: int | np.integer[Any]) -> str: ...
    @overload
    def __getitem__(self, index: slice | NDArray[Any] | list[int]) -> NDArray[np.str_]: ...
    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, int | np.integer):
            return self._rows[index].tobytes().hex()
        return np.asarray(HashTexts(self._rows[index]))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.tolist(), TEXTS if dtype is None else dtype)

    def __eq__(self, other: object) -> Any:
        """Row by row, as arrays are compared."""
        return np.asarray(self) == np.asarray(other)

    def __ne__(self, other: object) -> Any:
        return np.asarray(self) != np.asarray(other)

    __hash__ = None  # type: ignore[assignment]

    def tolist(self) -> list[str]:
        """All of them."""
        return list(self)
