"""The fifteen common corruptions, made on the fly by torch-uncertainty in worker processes, the same wherever run."""

import functools
import importlib
import importlib.metadata
import importlib.util
import multiprocessing
import os
import signal
import sys
import threading
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from types import TracebackType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from visionscope.core.sample import InputConfig
from visionscope.data.corruption_types import TYPES
from visionscope.errors import ConfigError, NotApplicableError

LEAST_SIZE = 16  # pixels a side; motion blur mirrors 15 pixels at the edge

_NEEDED = ("torch_uncertainty", "torch_uncertainty_assets", "lightning", "kornia", "cv2")
_MAKERS = (
    "torch-uncertainty",
    "torch-uncertainty-assets",
    "kornia",
    "opencv-python",
    "opencv-python-headless",
    "numpy",
    "pillow",
    "scipy",
)
_MODULE = "torch_uncertainty.transforms.corruption"
_WORKERS = 8
_COLOURS = 3

Pixels = NDArray[np.uint8]


def maker() -> str:
    """What corrupts the images, for tables: the library and its version.

    Raises:
        NotApplicableError: where the extra is not installed.
    """
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise NotApplicableError(
            "corrupting images needs torch-uncertainty (no published set is named, and "
            f"{missing[0]} is not installed): pip install 'visionscope[corruptions]'"
        )
    return f"torch-uncertainty {importlib.metadata.version('torch-uncertainty')}"


def libraries() -> dict[str, str]:
    """The versions of what computes the corruptions, for a job's identity."""
    found = {}
    for name in _MAKERS:
        with suppress(importlib.metadata.PackageNotFoundError):  # OpenCV goes by several names
            found[name] = importlib.metadata.version(name)
    return found


def to_pixels(images: Tensor, input: InputConfig) -> Pixels:
    """The 8-bit images that a model's normalised ones were made from; grey ones in three equal channels.

    `round(255 (x std + mean))`, cut to 0 to 255: exact for images of a sample, which are resized and cropped in 8 bits.

    Args:
        images: (batch, channel, height, width), normalised.
        input: their mean and standard deviation.

    Returns:
        (batch, row, column, colour).
    """
    mean, std = _scales(input)
    values = (images.detach().cpu().double() * std + mean) * 255
    values = values.expand(-1, _COLOURS, -1, -1) if len(mean) == 1 else values
    return np.ascontiguousarray(values.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy())


def to_images(pixels: Pixels, input: InputConfig) -> Tensor:
    """The normalised images of 8-bit ones, by the arithmetic of a sample, so that they come back bit by bit.

    A network for grey images gets the luminance of the colours.

    Args:
        pixels: (batch, row, column, colour).
        input: mean and standard deviation.

    Returns:
        (batch, channel, height, width), float32.
    """
    pixels = luminance(pixels) if len(input.mean) == 1 else pixels
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (input.mean, input.std))
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous().float().div(255).sub(mean).div(std)


def luminance(pixels: Pixels) -> Pixels:
    """0.299 red + 0.587 green + 0.114 blue, in the integers that Pillow takes, so that grey stays as it is.

    Args:
        pixels: (batch, row, column, colour).

    Returns:
        (batch, row, column, 1).
    """
    shares = np.array([19595, 38470, 7471], dtype=np.uint32)
    found: Pixels = ((pixels.astype(np.uint32) @ shares + 2**15) >> 16).astype(np.uint8)[..., None]
    return found


def corrupt(pixels: Pixels, positions: Sequence[int], kind: str, severity: int, seed: int) -> Pixels:
    """Corrupts images one by one, in this process; leaves its random state as it was.

    What is drawn depends on seed, position, type and severity alone. The result is rounded to 8 bits, as in the
    published sets.

    Args:
        pixels: (batch, row, column, channel) in RGB.
        positions: of each image in its sample, 0 or more.
        kind: one of `TYPES`.
        severity: 1 to 5.
        seed: 0 or more.

    Returns:
        As `pixels`.
    """
    transform = _transform(kind, severity)
    damaged = np.empty_like(pixels)
    with torch.random.fork_rng(devices=()), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tensors and numpy arrays are mixed in the library's ways of old
        for place, (image, position) in enumerate(zip(pixels, positions, strict=True)):
            # The seed comes last, for only there may numpy split a large integer into several words without a clash.
            words = np.random.SeedSequence((position, list(TYPES).index(kind), severity, seed))
            transform.rng = np.random.default_rng(words)
            torch.default_generator.manual_seed(int(words.generate_state(1, np.uint64)[0]) >> 1)
            given = torch.from_numpy(image).permute(2, 0, 1).float().div(255).contiguous()
            made = transform(given).double().clamp(0, 1).mul(255).round().to(torch.uint8)
            damaged[place] = made.permute(1, 2, 0).numpy()
    return damaged


class CorruptionWorkers:
    """Processes that corrupt images while the network looks at those before; a context, which ends them.

    Args:
        seed: of what is drawn.
        workers: how many processes, or None for one per core, at most 8; the images don't depend on it.
    """

    def __init__(self, seed: int, workers: int | None = None) -> None:
        self._seed = seed
        self._workers = workers or min(_WORKERS, len(_cores()))
        self._processes: ProcessPoolExecutor | None = None

    def __enter__(self) -> "CorruptionWorkers":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._processes is not None:
            self._processes.shutdown(cancel_futures=True)
            self._processes = None

    def corrupted(
        self, pixels: Pixels, positions: Sequence[int], conditions: Sequence[tuple[str, int]]
    ) -> Iterator[Pixels]:
        """The images under each condition, in that order, a few conditions ahead of the one that is looked at.

        Args:
            pixels: (batch, row, column, channel) in RGB.
            positions: of each image in its sample.
            conditions: types with severities.

        Raises:
            ConfigError: when a process has died.
        """
        waiting: deque[Future[Pixels]] = deque()
        try:
            for kind, severity in conditions:
                waiting.append(self._pool().submit(corrupt, pixels, list(positions), kind, severity, self._seed))
                if len(waiting) > 2 * self._workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            raise ConfigError(
                "corruption: its worker processes died; a script must start its work under "
                f"`if __name__ == '__main__':`, and memory must suffice for {self._workers} of them ({error})"
            ) from error

    def _pool(self) -> ProcessPoolExecutor:
        if self._processes is None:
            # Forks of a process that has imported the library once start at once; threads and CUDA stay out of them.
            method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
            context = multiprocessing.get_context(method)
            if method == "forkserver":
                context.set_forkserver_preload(["visionscope.data._corruption_library"])
            self._processes = ProcessPoolExecutor(self._workers, mp_context=context, initializer=_start_worker)
        return self._processes


def _cores() -> Sequence[int]:
    if sys.platform == "linux":
        return list(os.sched_getaffinity(0))
    return range(os.cpu_count() or 1)


def _start_worker() -> None:
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is interrupted, too, and ends its workers
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker of a killed process would wait for work forever, since it holds both ends of its queue."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def library() -> Any:
    """torch-uncertainty's corruptions; their import takes seconds and warns about a renamed module of scipy."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(_MODULE)


@functools.cache
def _transform(kind: str, severity: int) -> Any:
    transform = getattr(library(), TYPES[kind])(severity)
    if kind == "frost":
        transform.frost_ds = _frost_images()
    return transform


@functools.cache
def _frost_images() -> tuple[Tensor, ...]:
    """The library reads one of its five pictures again for every image, which takes most of the time."""
    pictures = library().Frost(1).frost_ds
    return tuple(pictures[index] for index in range(len(pictures)))


def _scales(input: InputConfig) -> tuple[Tensor, Tensor]:
    mean, std = (torch.tensor(values, dtype=torch.float64).view(-1, 1, 1) for values in (input.mean, input.std))
    return mean, std
