"""Weights files: where the libraries keep them, how to fetch one, how to read one without unpickling code.

Order of search: the cache of the model hub, torch's own cache, then the network. A machine without a
network gets an answer within seconds.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import os
import re
import socket
import struct
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from headstart.console import on_terminal, warn
from headstart.errors import ModelError

TIMEOUT = 5.0  # seconds for a host to answer
_WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model")
_PREFIXES = ("module.", "_orig_mod.", "model.")


@dataclass(frozen=True)
class Published:
    """Where a library publishes the weights of one model."""

    hub_id: str = ""
    """Repository on the model hub, ``timm/resnet18.a1_in1k``."""
    hub_files: tuple[str, ...] = ()
    """Names to look for in the repository, the preferred one first."""
    url: str = ""
    """Address of a plain file; its name may end in the first digits of its SHA-256."""

    @property
    def url_file(self) -> str:
        return self.url.rpartition("/")[2].partition("?")[0]

    def __bool__(self) -> bool:
        return bool(self.hub_id or self.url)


def hub_endpoint() -> str:
    """The model hub, or its mirror (HF_ENDPOINT)."""
    from huggingface_hub import constants

    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or str(constants.ENDPOINT)


def hub_cache() -> Path:
    """Folder of the model hub's files on this machine."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def torch_cache() -> Path:
    """Folder of torch's downloaded files on this machine."""
    return Path(torch.hub.get_dir(), "checkpoints")


def offline() -> bool:
    """Whether the user forbids downloads (HF_HUB_OFFLINE)."""
    value = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or ""
    return value.upper() in {"1", "ON", "YES", "TRUE"}


def find_cached(published: Published) -> Path | None:
    """The file on this machine, whatever its state; None if it is in no cache."""
    if published.hub_id:
        from huggingface_hub import try_to_load_from_cache

        repository, _, revision = published.hub_id.partition("@")
        for name in published.hub_files:
            found = try_to_load_from_cache(repository, name, cache_dir=hub_cache(), revision=revision or None)
            if isinstance(found, str) and Path(found).is_file():
                return Path(found)
    if published.url:
        path = torch_cache() / published.url_file
        if path.is_file():
            return path
    return None


def obtain(published: Published, name: str, parameters: int) -> Path:
    """The verified weights file of a model, from a cache or the network.

    Args:
        published: Where to look.
        name: The model, for messages.
        parameters: Their number, from which the size of the file is estimated.

    Raises:
        ModelError: HS-MODEL-003, neither on this machine nor reachable; HS-MODEL-015, never published.
    """
    if not published:
        raise ModelError(
            "HS-MODEL-015",
            f"No pretrained weights are published for {name}.",
            fix="Pass your own with --weights FILE, or train from random weights with --strategy scratch.",
        )
    tried: list[str] = []
    path = find_cached(published)
    if path is not None:
        if intact(path):
            return path
        warn(f"{path} is incomplete or damaged (its SHA-256 is not the one in its name); fetching it again")
        tried.append(f"{path}: incomplete or damaged")
    if offline():
        tried.append("downloads are switched off (HF_HUB_OFFLINE)")
    else:
        for fetch in (_fetch_from_hub, _fetch_from_url):
            try:
                found = fetch(published)
            except _UnreachableError as error:
                tried.append(str(error))
            else:
                if found is not None:
                    return found
    raise _unavailable(published, name, parameters, tried)


def intact(path: Path) -> bool:
    """Whether a file has the SHA-256 that its name announces (``resnet18-f37072fd.pth``), if it does."""
    announced = re.search(r"-([0-9a-f]{8,64})\.", path.name)
    if announced is None:
        return True
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest().startswith(announced[1])


class _UnreachableError(Exception):
    """A source of weights that does not answer; ``str()`` names it and says why."""


def _ask(url: str) -> None:
    """One request without retries: a host that answers anything, even an error, is reachable."""
    try:
        request = urllib.request.Request(url, method="HEAD")
        with urllib.request.urlopen(request, timeout=TIMEOUT):
            pass
    except urllib.error.HTTPError:
        pass
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise _UnreachableError(f"{url}: {getattr(error, 'reason', error)}") from error


def _fetch_from_hub(published: Published) -> Path | None:
    if not published.hub_id:
        return None
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    # Otherwise it asks the hub, even beside a mirror, for a list of programs to report in its requests.
    constants.HF_HUB_DISABLE_TELEMETRY = True
    repository, _, revision = published.hub_id.partition("@")
    address = f"{hub_endpoint()}/{repository}"
    _ask(f"{address}/resolve/{revision or 'main'}/{published.hub_files[0]}")
    for name in published.hub_files:
        try:
            found = hf_hub_download(
                repository,
                name,
                revision=revision or None,
                cache_dir=hub_cache(),
                etag_timeout=TIMEOUT,
                endpoint=hub_endpoint(),
            )
            return Path(found)
        except EntryNotFoundError:
            continue
        # The hub's client raises errors of several libraries; each means that the file did not come.
        except Exception as error:
            raise _UnreachableError(f"{address}/{name}: {_first_line(error)}") from error
    raise _UnreachableError(f"{address}: has none of {', '.join(published.hub_files)}")


def _fetch_from_url(published: Published) -> Path | None:
    if not published.url:
        return None
    _ask(published.url)
    path = torch_cache() / published.url_file
    announced = re.search(r"-([0-9a-f]{8,64})\.", path.name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _socket_timeout(4 * TIMEOUT):
            # torch downloads beside the place, verifies, then renames.
            torch.hub.download_url_to_file(
                published.url, str(path), announced[1] if announced else None, progress=on_terminal()
            )
    except (OSError, RuntimeError, http.client.HTTPException) as error:
        raise _UnreachableError(f"{published.url}: {_first_line(error)}") from error
    return path


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _unavailable(published: Published, name: str, parameters: int, tried: list[str]) -> ModelError:
    size = f"about {max(parameters * 4 / 1e6, 1):.0f} MB"
    details = []
    if published.hub_id:
        repository = published.hub_id.partition("@")[0]
        details.append(f"file: {' or '.join(published.hub_files)} of {published.hub_id}, {size}")
        details.append(f"looked in: {hub_cache() / ('models--' + repository.replace('/', '--'))}")
    if published.url:
        details.append(f"file: {published.url_file}, {size}")
        details.append(f"looked in: {torch_cache()}")
    details += [f"tried: {attempt}" for attempt in tried]
    mirror = "Set HF_ENDPOINT to a mirror of the hub that you can reach" if published.hub_id else ""
    place = f"put the file into {torch_cache()}" if published.url and not published.hub_id else ""
    ways = [way for way in (mirror, place, "fetch the file elsewhere and pass --weights FILE") if way]
    fix = ", or ".join(ways) + "; the model efficientnet-lite0 needs no download."
    return ModelError(
        "HS-MODEL-003",
        f"The weights of {name} are not on this machine and cannot be fetched.",
        details=details,
        fix=fix[0].upper() + fix[1:],
    )


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors or torch file, by name; on the CPU.

    The kind is told by the content. Torch files are read with ``weights_only``: nothing in them is run.
    Wrappers (``{"state_dict": ...}``, ``module.`` before every name) are taken off.

    Raises:
        ModelError: HS-MODEL-006 (no such file, or not a weights file), HS-MODEL-004 (damaged).
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            start = file.read(64)
    except OSError as error:
        raise ModelError(
            "HS-MODEL-006",
            f"The weights file cannot be read: {error.strerror or error}.",
            where=path,
            fix="Check the path given to --weights.",
        ) from error
    if start.startswith(b"version https://git-lfs"):
        raise ModelError(
            "HS-MODEL-006",
            "The weights file is a Git LFS pointer, not the file itself.",
            where=path,
            fix="Run `git lfs pull` in its folder.",
        )
    if not start:
        raise ModelError("HS-MODEL-004", "The weights file is empty.", where=path, fix="Fetch it again.")
    content = _read_safetensors(path) if _is_safetensors(start, path) else _read_torch(path)
    return _unwrapped(content, path)


def _is_safetensors(start: bytes, path: Path) -> bool:
    if len(start) < 9 or start[8:9] != b"{":
        return path.suffix == ".safetensors"
    (header,) = struct.unpack("<Q", start[:8])
    return bool(header < 100_000_000)


def _read_safetensors(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
    except (SafetensorError, OSError, ValueError) as error:
        raise damaged(path, error) from error


def _read_torch(path: Path) -> Any:
    import pickle

    try:
        # Training scripts often store their command line beside the weights; it is plain data.
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "weights_only" not in str(error).lower() and "unsupported" not in str(error).lower():
            raise damaged(path, error) from error
        raise ModelError(
            "HS-MODEL-006",
            "The weights file is no safetensors file, and as a torch file it holds more than tensors; "
            "it is not opened, because that could run code.",
            where=path,
            fix="Save only the tensors: safetensors.torch.save_file(model.state_dict(), FILE).",
        ) from error
    except Exception as error:
        raise damaged(path, error) from error


def _unwrapped(content: Any, path: Path) -> dict[str, Tensor]:
    while isinstance(content, dict):
        inner = [key for key in _WRAPPERS if isinstance(content.get(key), dict)]
        if not inner:
            break
        content = content[inner[0]]
    tensors = content if isinstance(content, dict) else {}
    tensors = {str(name): value for name, value in tensors.items() if isinstance(value, Tensor)}
    if not tensors:
        raise ModelError(
            "HS-MODEL-006",
            "The weights file holds no named tensors.",
            where=path,
            fix="Save model.state_dict(), not the model.",
        )
    while prefix := next((p for p in _PREFIXES if all(name.startswith(p) for name in tensors)), ""):
        tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return tensors


def damaged(path: Path, error: BaseException) -> ModelError:
    """The error for a weights file that cannot be read to its end, or does not hold what it should."""
    return ModelError(
        "HS-MODEL-004",
        f"The weights file is damaged or incomplete: {_first_line(error)}",
        where=path,
        fix="Delete the file and run the command again, or fetch it anew.",
    )
