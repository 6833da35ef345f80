"""Weights and images that anyone can draw again, as the golden files of other implementations define them."""

import zlib
from collections.abc import Iterable

import numpy as np
import torch


def regenerated(keys: Iterable[tuple[str, list[int]]]) -> dict[str, torch.Tensor]:
    """A state dict by the rule of `_weights` in official_models.json; counters of batches are zero."""
    state = {}
    for name, shape in keys:
        if name.endswith("num_batches_tracked"):
            state[name] = torch.zeros(shape, dtype=torch.long)
            continue
        drawn = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape).astype(np.float32)
        if name.endswith("running_var"):
            drawn = 1 + 0.1 * np.abs(drawn)
        elif name.endswith("running_mean"):
            drawn = 0.1 * drawn
        elif drawn.ndim <= 1:
            drawn = 1 + 0.1 * drawn if name.endswith("weight") else 0.1 * drawn
        else:
            drawn = drawn / np.sqrt(np.prod(shape[1:]))
        state[name] = torch.as_tensor(drawn, dtype=torch.float32)
    return state


def drawn_images(size: int) -> torch.Tensor:
    """Two images by the rule of `_input` in official_models.json."""
    return torch.from_numpy(np.random.default_rng(0).standard_normal((2, 3, size, size)).astype(np.float32))
