"""An experiment: which variants are trained with which seeds, what is asked of them when, and which claims it tests."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any

from visionscope.claims.one_seed import INIT, LAST, WARMUP
from visionscope.training.recipe import Recipe, choose_recipe, followed_by_masks
from visionscope.training.terms import SEGMENTATION, Terms

THREADS = 1
"""Of torch in every task, so that the bits are the same on every machine."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Variant:
    """A network, and how it is trained.

    Attributes:
        name: in tables and claims.
        model: a model spec.
        data: a data spec without split.
        recipe: a name in `RECIPES`.
        changes: fields of the recipe that are others than its own.
        fraction: share of the training images of each class, drawn from the seed.
        same: what a smaller fraction leaves the same, `epochs` or `steps`.
        task: `classification`, or `segmentation` of data with masks; the model is then a `segmenter`.
        seeds: one training each; the same seed is the same share of the images, order and stream of initial weights in
            every variant, so that differences between variants are paired.
        validation: share of the training images, of each class alike and drawn from the seed, that is held out; the
            tables' scores are then of these, and the test images are looked at by nobody before the end.
    """

    name: str
    model: str
    data: str
    recipe: str
    changes: Mapping[str, Any]
    fraction: float
    same: str
    seeds: tuple[int, ...]
    validation: float = 0.0
    task: str = "classification"

    @functools.cached_property
    def trained_by(self) -> Recipe:
        """The recipe with its changes; for masks without what these can't follow.

        Raises:
            ConfigError: for values that don't go together.
        """
        chosen = choose_recipe(self.recipe, self.changes)
        if self.task != SEGMENTATION:
            return chosen
        return followed_by_masks(chosen, self.changes, lambda line: None)

    def terms(self, seed: int) -> Terms:
        """What the training of one seed is asked beside the recipe; its end alone is scored."""
        return Terms(
            recipe=self.recipe,
            task=self.task,
            seed=seed,
            fraction=self.fraction,
            same=self.same,
            validation=self.validation,
            scored="end",
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asked:
    """What is asked of variants at one moment of their training.

    Attributes:
        snapshot: `init`, `warmup`, `epoch-0005` or `last`.
        settings: of a study, by name: `images`, `seed`, `precision`, ...
        diagnostics: with their parameters; none where the training shall go on to this moment and nothing else.
        variants: names of those that are asked; None for all.
    """

    snapshot: str
    settings: Mapping[str, Any]
    diagnostics: tuple[Any, ...]
    variants: tuple[str, ...] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Experiment:
    """All that an experiment consists of.

    Attributes:
        title: of its page.
        variants: by order of the file.
        asked: per snapshot.
        claims: by name, in order; what each says is not looked into here.
        out: run folder.
        slurm: options for a SLURM cluster.
        values: the keys and values that say all this, as a YAML file has them.
        figures: ids of the paper's figures that its page draws beside those of its claims.
    """

    title: str
    variants: tuple[Variant, ...]
    asked: tuple[Asked, ...]
    claims: Mapping[str, Any]
    out: str
    slurm: Mapping[str, Any]
    values: Mapping[str, Any]
    figures: tuple[str, ...] = ()

    @property
    def seeds(self) -> tuple[int, ...]:
        """Of all variants, in the order in which they are trained."""
        return tuple(dict.fromkeys(seed for variant in self.variants for seed in variant.seeds))

    def asked_of(self, variant: str) -> tuple[Asked, ...]:
        """What is asked of one variant.

        Args:
            variant: its name.
        """
        return tuple(asked for asked in self.asked if asked.variants is None or variant in asked.variants)

    def until(self, variant: Variant) -> str:
        """The snapshot after which a variant's training may end, because nothing later is asked about; "" for its end.

        Args:
            variant: one of them.
        """
        recipe = variant.trained_by
        reached = {asked.snapshot: _epoch_of(asked.snapshot, recipe) for asked in self.asked_of(variant.name)}
        latest = max(reached, key=lambda name: reached[name], default=LAST)
        return "" if math.isinf(reached.get(latest, math.inf)) else latest


def _epoch_of(snapshot: str, recipe: Recipe) -> float:
    """When a snapshot is taken, in epochs; infinity for the end."""
    known = {INIT: 0.0, WARMUP: recipe.warm_up * recipe.epochs, LAST: math.inf}
    return known[snapshot] if snapshot in known else float(snapshot.removeprefix("epoch-"))
