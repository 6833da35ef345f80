"""What a training keeps on disk: weights at chosen moments, and all that it takes to go on after a kill."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError
from torch import nn

from visionscope.core.files import open_regular, sync_folder, write_whole
from visionscope.core.refusals import advice
from visionscope.errors import VisionscopeError
from visionscope.models.checkpoint import save_checkpoint
from visionscope.models.load import LoadedModel

_RESUME, _BEFORE = "resume.pt", "resume-before.pt"


@dataclasses.dataclass(kw_only=True)
class Position:
    """Where a training stands. Order, augmentation and dropout's draws follow from the seed and the step.

    Attributes:
        step: steps done.
        seconds: they took, over all sittings.
        loss: sum of the steps' losses since the last row of the log.
        losses: how many those are.
        best: the highest validation accuracy so far.
    """

    step: int = 0
    seconds: float = 0.0
    loss: float = 0.0
    losses: int = 0
    best: float = -1.0


class Keeper:
    """Writes into one folder. Every file appears under its name only when it is complete and on the disk.

    Args:
        folder: of this training.
        loaded: gives label, arguments and input configuration to the files of weights.
        classes: size of the head.
        writes: False for all processes but the first.
        training: identity of the training; a state of another one is passed over.
        metadata: further metadata of the files of weights.
    """

    def __init__(
        self,
        folder: Path,
        loaded: LoadedModel,
        classes: int,
        *,
        writes: bool = True,
        training: str = "",
        metadata: Mapping[str, str],
    ) -> None:
        self.folder = folder
        self._loaded = loaded
        self._classes = classes
        self._writes = writes
        self._training = training
        self._metadata = {**metadata, "training": training}
        self._state: dict[str, Any] | None = None
        self._at = 0

    def path(self, name: str) -> Path:
        """The file of a moment's weights: `init`, `warmup`, `epoch-0005`, `best`, `ema` or `last`."""
        return self.folder / f"{name}.safetensors"

    def keep(self, name: str, network: nn.Module, **more: str) -> None:
        """Writes weights as `MODEL@FILE` loads them; `step`, that of the last state by default, goes with them.

        Args:
            name: of the moment.
            network: whose state is written.
            more: metadata.

        Raises:
            VisionscopeError: when the disk refuses.
        """
        if not self._writes:
            return
        try:
            save_checkpoint(
                self.path(name),
                network,
                num_classes=self._classes,
                arguments=self._loaded.spec.arguments,
                config=self._loaded.input,
                **{**self._metadata, "step": str(self._at), **more},
            )
        except (OSError, SafetensorError) as error:
            raise self._refused(self.path(name), error) from error

    def save(self, position: Position, parts: Mapping[str, Any]) -> None:
        """Writes what `resume` reads; the one before stays until this one is complete, and one more for a torn file.

        Args:
            position: where the training stands.
            parts: objects with `state_dict`, by name.

        Raises:
            VisionscopeError: when the disk refuses; what was there before is left as it was.
        """
        self._at = position.step
        if not self._writes:
            return
        path = self.folder / _RESUME
        state = {"training": self._training, "position": dataclasses.asdict(position)}
        state |= {name: part.state_dict() for name, part in parts.items()}

        def write(file: BinaryIO) -> None:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
            if path.exists():  # only now that the new one is on the disk
                path.replace(path.with_name(_BEFORE))

        try:
            write_whole(path, write)
        except (OSError, RuntimeError) as error:  # torch.save wraps a full disk in a RuntimeError
            raise self._refused(path, error) from error

    def resume(self, parts: Mapping[str, Any]) -> Position | None:
        """Puts the latest complete state into the parts; None where there is none.

        Args:
            parts: objects with `load_state_dict`, as given to `save`.

        Raises:
            VisionscopeError: when a state is there but can't be read for another reason than being torn.
        """
        state, self._state = self._state or self._read(), None
        if not state:
            return None
        try:
            for key, part in parts.items():
                part.load_state_dict(state[key])
            position = Position(**state["position"])
            self._at = position.step
            return position
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            line = " ".join(str(error).split())[:200]
            raise VisionscopeError(
                f"{self.folder / _RESUME}: its state does not fit this training ({line}); was it written by other "
                f"versions of torch or timm? Move it and {_BEFORE} away to begin anew"
            ) from error

    def step(self) -> int | None:
        """The step that `resume` will go on from; None where it will begin. What was read waits for `resume`."""
        self._state = self._read()
        return int(self._state["position"]["step"]) if self._state else None

    def _read(self) -> dict[str, Any] | None:
        for name in (_RESUME, _BEFORE):
            state = _read(self.folder / name)
            if state and state.get("training") == self._training:
                return state
        return None

    def last_good(self) -> str:
        """For errors: where the training can go on from."""
        for name in (_RESUME, _BEFORE):
            if (self.folder / name).exists():
                return f"the last good state is {self.folder / name}"
        return "no state had been saved"

    def _refused(self, path: Path, error: Exception) -> VisionscopeError:
        reason = advice(error) if isinstance(error, OSError) else str(error).strip().partition("\n")[0]
        return VisionscopeError(f"{path} can't be written ({reason}); {self.last_good()}")


def forget(folder: Path) -> None:
    """Removes what `Keeper.resume` reads: the training is over, and its weights are on the disk.

    Args:
        folder: of the training.
    """
    sync_folder(folder)
    for name in (_RESUME, _BEFORE):
        (folder / name).unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Any] | None:
    """The state in a file, on the CPU; None where there is no file or a torn one."""
    try:
        with open_regular(path) as file:
            state = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise VisionscopeError(f"{path} can't be read ({error.strerror or error}); move it away") from error
    except (torch.OutOfMemoryError, MemoryError):
        raise
    except Exception:  # what a torn file raises depends on where it is torn
        return None
    return state if isinstance(state, dict) and isinstance(state.get("position"), dict) else None
