"""The networks of a build-up: candidates of the rule, random placements, and the weights that trainings begin with."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path

from visionscope.core.refusals import refusals
from visionscope.experiments.buildup.path import Places, name_of
from visionscope.models.checkpoint import is_as_written, save_checkpoint
from visionscope.models.load import LoadedModel
from visionscope.models.spec import BLOCK_CHANGES, ModelSpec
from visionscope.models.stages import alternate
from visionscope.models.surgery import BlockChange, change_blocks, changes_text

Slots = tuple[tuple[BlockChange | str, ...], ...]
"""What each block of each stage would become, or why it can't; from `replacements`."""

FOLDER = "beginnings"
REFUSED = 20
"""Draws that may be refused for each random placement that is wanted: to build and time one takes seconds."""

_DRAWS = 0  # seed of random placements: the same search draws the same ones


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Network:
    """A network that may be trained.

    Attributes:
        name: in tables.
        changes: its blocks that are others than those of the network that the build-up begins with.
        after: a network whose trained weights of the same seed it begins with, all but those of its own new blocks;
            None where it begins as the whole build-up does.
    """

    name: str
    changes: tuple[BlockChange, ...] = ()
    after: Network | None = None

    @property
    def again(self) -> Network:
        """The same network, trained once more from its trained weights."""
        return Network(name=f"{self.name} again", changes=self.changes, after=self)


def candidate(slots: Slots, places: Places, after: Network | None = None) -> Network:
    """A candidate of the rule: from the end of each stage, every second block is another.

    Args:
        slots: of the network that the build-up begins with.
        places: how many blocks of each stage are others, as many as there is room for.
        after: as in `Network`.
    """
    changes = [
        block
        for stage, count in zip(slots, places, strict=True)
        for block, kind in zip(stage, alternate(len(stage), count), strict=True)
        if kind == "msa" and isinstance(block, BlockChange)
    ]
    return Network(name=name_of(places), changes=tuple(changes), after=after)


def random_networks(
    slots: Slots, without: Network, most: int, fits: Callable[[Network], bool], after: Network | None = None
) -> tuple[Network, ...]:
    """Networks with as many other blocks as one has, at places drawn at random among all that can be others.

    Args:
        slots: of the network that the build-up begins with.
        without: gives the number of blocks, at least one; its own places are not drawn.
        most: how many; fewer where there are no more placements that fit, or `REFUSED` times as many did not.
        fits: whether a network can be trained.
        after: as in `Network`.
    """
    blocks = [block for stage in slots for block in stage if isinstance(block, BlockChange)]
    own = {change.path for change in without.changes}
    count = len(own) or 1
    seen = {tuple(place for place, block in enumerate(blocks) if block.path in own)} - {()}
    generator, found, refused = random.Random(_DRAWS), list[Network](), 0
    while len(found) < most and refused < REFUSED * most and len(seen) < math.comb(len(blocks), count):
        drawn = tuple(sorted(generator.sample(range(len(blocks)), count)))
        if drawn in seen:
            continue
        seen.add(drawn)
        changes = tuple(blocks[place] for place in drawn)
        network = Network(name="+".join(change.path for change in changes), changes=changes, after=after)
        if fits(network):
            found.append(network)
        else:
            refused += 1
    return tuple(found)


def spec_of(base: ModelSpec, own: Sequence[BlockChange], network: Network, weights: Path | None = None) -> str:
    """The spec of a network.

    Args:
        base: of the network that the build-up begins with, with the arguments that its file says.
        own: changed blocks that this one has.
        network: any.
        weights: a file of ours that its training begins with, which says its arguments and its blocks itself; None for
            random ones.
    """
    arguments = dict(base.arguments) if weights is None else {}
    if weights is None and (own or network.changes):
        arguments[BLOCK_CHANGES] = changes_text((*own, *network.changes))
    return dataclasses.replace(base, arguments=arguments, checkpoint=weights).text


def beginning(
    network: Network, seed: int, run: Path, *, source: str, load: Callable[[], LoadedModel], classes: int
) -> Path:
    """The file of weights that a training begins with: trained ones, and fresh ones in the blocks that are new.

    Args:
        network: that is to be trained.
        seed: of the fresh weights.
        run: the run folder.
        source: identity of the trained weights.
        load: makes the network with trained weights, without its new blocks.
        classes: of the data.

    Returns:
        The file, made where it is missing.

    Raises:
        ConfigError: for weights that are not available.
        StoreError: when the disk refuses.
    """
    fresh = [change for change in network.changes if network.after is None or change not in network.after.changes]
    told = f"{source}\n{changes_text(fresh)}\n{seed}"
    path = run / FOLDER / f"{hashlib.sha256(told.encode()).hexdigest()[:12]}.safetensors"
    if _is_whole(path):
        return path
    loaded = load()
    change_blocks(loaded.model, fresh, seed=seed)
    with refusals(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        save_checkpoint(
            path,
            loaded.model,
            num_classes=loaded.num_classes or classes,
            arguments=loaded.spec.arguments,
            config=loaded.input,
        )
    return path


def _is_whole(path: Path) -> bool:
    try:
        return is_as_written(path)
    except (OSError, ValueError):
        return False
