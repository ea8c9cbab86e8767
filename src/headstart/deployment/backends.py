"""What computes a saved model's answers: onnxruntime on its exported file, or torch on its weights.

    pictures float32 [n, 3, S, S], normalised  ->  logits float32 [n, C], features float32 [n, D]

Which one it is, is decided from the bundle and said. Imports neither before it is used.
"""

from __future__ import annotations

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from headstart.data.decoding import available_cpus
from headstart.deployment.onnx_check import ForeignGraphError
from headstart.deployment.onnx_file import (
    FEATURES,
    INPUT,
    LOGITS,
    card_of,
    misfits,
    opened_session,
    read_model,
)
from headstart.errors import ConfigError, ModelError
from headstart.model.answers import Answers, finite
from headstart.model.card import EXPORT, EXPORTED, NO_CARD, Card, card_entries, migrated

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

    from headstart.model.classifier import Classifier

BackendName = Literal["auto", "onnx", "torch"]

EXPORT_AGAIN = "Give the folder of a run, or the model/model.onnx that `headstart export RUN` wrote."

Pictures = NDArray[np.float32]


class Backend(Protocol):
    """A network that is ready to answer; safe to use from several threads.

    Attributes:
        side_by_side: Threads may each ask for one picture at a time, and keep one core busy so. Otherwise
            one call with a batch uses all cores.
    """

    side_by_side: bool

    def answers(self, batch: Pictures) -> Answers:
        """Logits and features of normalised pictures float32 [n, 3, S, S], n >= 1.

        Raises:
            ModelError: HS-MODEL-050, a logit is not finite.
        """

    def described(self) -> str:
        """For a person: library, version, device."""


class OnnxBackend:
    """onnxruntime on the processor, one picture at a time on each thread.

    So no bit of an answer depends on the pictures beside it, and threads that decode pictures also run the
    network on them: nobody waits for anybody. Decision 21 has what was measured.

    Args:
        session: With one thread.
        precision: Of the exported model, where it is not fp32.
    """

    side_by_side = True

    def __init__(self, session: InferenceSession, precision: str = "fp32") -> None:
        self.session = session
        self.precision = precision
        self.threads = available_cpus()
        self._pool: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()

    def answers(self, batch: Pictures) -> Answers:
        if len(batch) == 1:
            found = [self._answer(batch)]
        else:
            with self._lock:
                if self._pool is None:
                    self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="onnx")
            found = list(self._pool.map(self._answer, (batch[i : i + 1] for i in range(len(batch)))))
        return finite(joined(found))

    def _answer(self, one: Pictures) -> Answers:
        logits, features = self.session.run([LOGITS, FEATURES], {INPUT: one})
        return Answers(logits, features)

    def described(self) -> str:
        from onnxruntime import __version__

        return f"onnxruntime {__version__} on cpu" + f", {self.precision}" * (self.precision != "fp32")


class TorchBackend:
    """torch, fp32 and eager, on the device of the network.

    Args:
        network: In evaluation mode.
    """

    side_by_side = False

    def __init__(self, network: Classifier) -> None:
        self.network = network

    def answers(self, batch: Pictures) -> Answers:
        from headstart.model.forward import answers_of

        return answers_of(self.network, batch)

    def described(self) -> str:
        from torch import __version__

        return f"torch {__version__} on {next(self.network.parameters()).device}"


def joined(parts: list[Answers]) -> Answers:
    """The answers to several batches as one."""
    return Answers(*(np.concatenate(column) for column in zip(*parts, strict=True)))


class NoExportError(Exception):
    """Why a bundle cannot be used with onnxruntime, in words.

    Attributes:
        there: Whether a file of that name lies in the bundle.
    """

    def __init__(self, reason: str, *, there: bool) -> None:
        super().__init__(reason)
        self.there = there


def session_of(folder: Path, card: Card) -> InferenceSession:
    """The exported model of a bundle, if it is the one that its card tells of.

    Raises:
        NoExportError: There is none, or it is not that one.
        ModelError: HS-MODEL-011, the entry of the card makes no sense.
    """
    path = folder / EXPORTED
    with card_entries(folder):
        entry = card.get(EXPORT)
        expected = None if not entry else str(entry["sha256"])
    if expected is None:
        there = path.exists()
        reason = f"the card does not tell of this {EXPORTED}" if there else "it was not exported"
        raise NoExportError(reason, there=there)
    try:
        data = read_model(path)
    except ForeignGraphError as error:
        raise NoExportError(f"{EXPORTED} is not used: {error}", there=True) from error
    except OSError as error:
        raise NoExportError(
            f"{EXPORTED} cannot be read: {error.strerror or error}", there=path.exists()
        ) from error
    if hashlib.sha256(data).hexdigest() != expected:
        raise NoExportError(f"{EXPORTED} is damaged, or not the one that was exported", there=True)
    session = _started(data)
    with card_entries(folder):
        if faults := misfits(session, card):
            raise NoExportError(f"{EXPORTED} does not belong to its card: {'; '.join(faults)}", there=True)
    return session


def _started(model: bytes) -> InferenceSession:
    """A session with one thread; see `OnnxBackend`.

    Raises:
        NoExportError: onnxruntime is not installed, or cannot use the file, or no export could have
            written it.
    """
    try:
        return opened_session(model, threads=1)
    except ForeignGraphError as error:
        raise NoExportError(f"{EXPORTED} is not used: {error}", there=True) from error
    except ImportError as error:
        raise NoExportError(f"onnxruntime cannot be imported: {error}", there=True) from error
    except Exception as error:  # onnxruntime has a dozen kinds, in no tree
        reason = first_line(error)
        raise NoExportError(f"onnxruntime cannot use {EXPORTED}: {reason}", there=True) from error


def lone_file(path: Path) -> tuple[InferenceSession, Card]:
    """An exported model apart from its bundle, and the card that it brings along.

    Raises:
        ModelError: HS-PREDICT-042, it is none, or damaged; HS-MODEL-013, made by a later headstart;
            HS-PREDICT-070, no export could have written it; HS-PREDICT-071, its card is not that of its
            network.
    """
    try:
        session = opened_session(path, threads=1)
    except ForeignGraphError as error:
        if error.damaged:
            raise no_model(path, str(error)) from error
        raise ModelError(
            "HS-PREDICT-070",
            "This file is not run: it is not one that `headstart export` writes.",
            where=path,
            details=error.faults,
            fix=EXPORT_AGAIN,
        ) from error
    except OSError as error:
        raise no_model(path, str(error.strerror or error)) from error
    except ImportError as error:
        raise no_model(path, f"onnxruntime cannot be imported: {error}") from error
    except Exception as error:  # onnxruntime has a dozen kinds, in no tree
        raise no_model(path, f"onnxruntime cannot use it: {first_line(error)}") from error
    try:
        card = migrated(card_of(session), path)
        faults = misfits(session, card)
    except NO_CARD as error:
        raise no_model(path, "it holds no card of headstart") from error
    if faults:
        raise ModelError(
            "HS-PREDICT-071",
            "The card in this file is not that of its network.",
            where=path,
            details=faults,
            fix=EXPORT_AGAIN,
        )
    return session, card


def no_model(path: Path, reason: str) -> ModelError:
    return ModelError(
        "HS-PREDICT-042",
        f"This file cannot be predicted with: {reason}.",
        where=path,
        fix=EXPORT_AGAIN,
    )


def first_line(error: Exception) -> str:
    """Of what a library says, as much as is read."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]


def refused_device(device: str) -> ConfigError:
    return ConfigError(
        "HS-PREDICT-043",
        f"onnxruntime computes on the processor here, not on '{device}'.",
        fix="Leave --device or --backend out: other devices are torch's.",
    )


def unusable(reason: str, where: Path) -> ModelError:
    """For ``--backend onnx``."""
    return ModelError(
        "HS-PREDICT-041",
        f"The model cannot be run with onnxruntime: {reason}.",
        where=where,
        fix="Export it: headstart export RUN. Or leave --backend out.",
    )


def without_torch(reason: str, where: Path, missing: str) -> ModelError:
    """Neither of the two is there."""
    return ModelError(
        "HS-PREDICT-040",
        f"There is nothing to compute with: {reason}, and {missing} is not installed.",
        where=where,
        fix="Where the model was trained: headstart export RUN, and copy its model/ folder again. "
        'Or here: pip install "headstart[train]"',
    )


def without_weights(where: Path) -> ModelError:
    """An exported model alone is asked for what torch does."""
    return ModelError(
        "HS-PREDICT-050",
        "torch needs the saved weights, which are not in an exported file.",
        where=where,
        fix="Give the folder of the run, or leave --backend and --device out.",
    )
