"""All that the weights of a training depend on, and the digest over it, known before anything is trained."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from visionscope.models.identity import entries
from visionscope.models.load import LoadedModel
from visionscope.training.folder import identity
from visionscope.training.recipe import Recipe
from visionscope.training.terms import Terms


def initial_weights(loaded: LoadedModel) -> str:
    """The identity of the weights that a training begins with, in hex; of random ones it is the same on every machine.

    Weights of a file count by their bytes. Random ones are known by what they are drawn for and from: the
    architecture, the seed, and the names, types and shapes of all that is drawn. Their bytes can't be asked:
    `torch.erfinv`, which truncated normal weights go through, is computed by a library that takes another path on
    another processor and differs in the last digit there, and trainings of one study are to be known on all machines.
    Hence a change in how a network draws its weights, its names and shapes being the same, is not noticed.

    Args:
        loaded: from `network_for`.
    """
    if not loaded.weights.startswith("random, "):
        return loaded.digest
    digest = hashlib.sha256(f"{loaded.architecture}\n{loaded.weights}\n".encode())
    for name, value in entries(loaded.model):
        told = f"{value.dtype} {tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)
        digest.update(f"{name} {told}\n".encode())
    return digest.hexdigest()


def settings_of(
    recipe: Recipe, terms: Terms, loaded: LoadedModel, digests: Sequence[str], *, processes: int, threads: int | None
) -> dict[str, Any]:
    """All that the weights depend on: no paths, but digests of what lies there.

    Args:
        recipe: how it is trained.
        terms: what is asked beside that.
        loaded: the network that it begins with.
        digests: of the images of both splits.
        processes: that train together.
        threads: of torch, where they are fixed: sums in another order give other bits.
    """
    return {
        "weights": initial_weights(loaded),
        "input": dataclasses.asdict(loaded.input),
        "data digests": list(digests),
        "recipe": dataclasses.asdict(recipe),
        "seed": terms.seed,
        "fraction": terms.fraction,
        "same": terms.same,
        "validation": terms.validation,
        "processes": processes,
        **({} if threads is None else {"threads": threads}),
    }


def training_digest(
    loaded: LoadedModel, recipe: Recipe, terms: Terms, digests: Sequence[str], *, threads: int | None
) -> str:
    """The identity of a training in one process; its first 12 digits name the folder that `train` writes to.

    Args:
        loaded: from `network_for`, with the seed and the drop path of the training.
        recipe: how it is trained.
        terms: what is asked beside that.
        digests: of both splits, `source_digest` of each.
        threads: of torch, where they are fixed.
    """
    return identity(settings_of(recipe, terms, loaded, digests, processes=1, threads=threads))
