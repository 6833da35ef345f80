"""All that the weights of a training depend on, and the digest over it, known before anything is trained."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from visionscope.models.load import LoadedModel
from visionscope.training.folder import identity
from visionscope.training.recipe import Recipe
from visionscope.training.terms import Terms


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
        "weights": loaded.digest,
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
