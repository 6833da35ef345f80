"""The folder of one training: which training it is of, whether that is finished, and that one process writes there."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric
from safetensors import SafetensorError, safe_open

from visionscope.core.files import open_regular, write_whole
from visionscope.core.refusals import advice
from visionscope.errors import VisionscopeError
from visionscope.models.checkpoint import is_as_written, own_metadata
from visionscope.training.evaluation import Scores
from visionscope.training.mask_scores import MaskScores
from visionscope.training.scoring import scored

_LOCK = ".lock"


def identity(settings: Mapping[str, Any]) -> str:
    """sha256 over all that a training's weights depend on, in hex; its first 12 digits name the folder.

    Args:
        settings: as JSON can hold them; no paths, but digests of what lies there.
    """
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def finished(folder: Path, training: str, note: Callable[[str], None]) -> Scores | MaskScores | None:
    """The test scores of a training that has ended; None where it has not, or its last file is torn or another's.

    Args:
        folder: of the training.
        training: its identity.
        note: takes a line where the weights are not those that were scored.

    Raises:
        VisionscopeError: when no file can ever be written there, as where a folder stands in its place.
    """
    path = folder / "last.safetensors"
    try:
        open_regular(path).close()
        with safe_open(path, "pt") as file:
            told = own_metadata(file.metadata() or {})
        if told.get("training") != training:
            return None
        scores = scored(json.loads(told["scores"]))
        if is_as_written(path):
            return scores
        note(f"{path}: its weights are not those that this training ended with; it is trained again")
        return None
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise VisionscopeError(f"{path} can't be read: {advice(error)}") from error
    except (SafetensorError, KeyError, TypeError, ValueError, RecursionError):
        return None


def is_kept(path: Path, training: str) -> bool:
    """Whether a file holds weights of a moment of a training, as they were written.

    Args:
        path: of the file.
        training: its identity.
    """
    try:
        with safe_open(path, "pt") as file:
            told = own_metadata(file.metadata() or {})
        return told.get("training") == training and is_as_written(path)
    except (OSError, SafetensorError, RecursionError):
        return False


def write_settings(folder: Path, settings: Mapping[str, Any]) -> None:
    """Writes train.json and makes the folder.

    Args:
        folder: of the training.
        settings: all that was asked for.

    Raises:
        VisionscopeError: when the disk refuses.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / "train.json", (json.dumps(settings, indent=1) + "\n").encode())
    except OSError as error:
        raise VisionscopeError(f"out: {folder} can't be written: {advice(error)}") from error


@contextmanager
def alone_in(folder: Path, fabric: Fabric) -> Iterator[None]:
    """Keeps any other training out of a folder, that of this one's own processes excepted.

    A process that is killed leaves no lock behind. On a file system without locks nothing is kept out; files are whole
    there, too, but the log would have the rows of both.

    Args:
        folder: of the training; made where it is missing.
        fabric: of the training; its first process holds the lock.

    Raises:
        VisionscopeError: when another training is at work there, or the folder can't be made.
    """
    held, refusal = None, ""
    if fabric.global_rank == 0:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            held = _locked(folder / _LOCK)
        except BlockingIOError:
            refusal = f"{folder}: another process is at this training; wait for it, or name another folder with --out"
        except OSError as error:
            refusal = f"out: {folder} can't be written: {advice(error)}"
    refusal = fabric.broadcast(refusal)  # else the other processes would wait for the first one
    if refusal:
        raise VisionscopeError(refusal)
    try:
        yield
    finally:
        if held is not None:
            with suppress(OSError):  # while it is held: whoever had it open finds another file there, or none
                os.unlink(folder / _LOCK)
            os.close(held)


def _locked(path: Path) -> int | None:
    """Holds a file; None where the file system has no locks."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
        try:
            # Not flock: the processes that prepare batches would inherit it, and outlive a kill.
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            os.close(descriptor)
            raise BlockingIOError from error
        except OSError:
            os.close(descriptor)
            return None
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return descriptor
        os.close(descriptor)  # its holder removed it meanwhile
