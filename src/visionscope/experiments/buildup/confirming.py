"""The winner on fresh seeds and test images, beside the network that the build-up began with and random placements."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from visionscope.errors import VisionscopeError
from visionscope.experiments.buildup.networks import Network
from visionscope.experiments.buildup.search import Search
from visionscope.experiments.buildup.trainer import ScoresBySeed, Trainer
from visionscope.numerics.over_seeds import Interval, t_interval


@dataclasses.dataclass(frozen=True, kw_only=True)
class Confirmed:
    """The winner and the network that it came from, on seeds that decided nothing and on the test images.

    Attributes:
        before: scores of the network that the build-up began with.
        after: scores of the winner, of the same seeds.
        weights: of the winner, of the first of these seeds.
    """

    before: ScoresBySeed
    after: ScoresBySeed
    weights: Path

    @property
    def gain(self) -> tuple[float, Interval]:
        """The winner's test accuracy less that of the network before, paired by seed, with Student's 95 % interval."""
        return gain_of(self.after, self.before)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Control:
    """The best of as many random placements as the rule tried, chosen by no fewer trainings.

    Attributes:
        drawn: the random placements, in order.
        failed: why one of them could not be trained, by name.
        seeds: that each was trained on.
        best: the one with the highest mean accuracy on held-out images.
        scores: of the best one, on fresh seeds and on the test images.
        chosen: scores on the same of what the rule has chosen: the winner, or the start where nothing helps.
    """

    drawn: tuple[Network, ...]
    failed: Mapping[str, str]
    seeds: int
    best: Network
    scores: ScoresBySeed
    chosen: ScoresBySeed

    @property
    def compared(self) -> tuple[Network, ...]:
        """The placements that were trained on all seeds."""
        return tuple(network for network in self.drawn if network.name not in self.failed)

    @property
    def gain(self) -> tuple[float, Interval]:
        """Test accuracy of the chosen network less that of the best one, paired, with Student's 95 % interval."""
        return gain_of(self.chosen, self.scores)


def gain_of(after: ScoresBySeed, before: ScoresBySeed) -> tuple[float, Interval]:
    """Mean difference of test accuracies over the seeds of both, with Student's 95 % interval.

    Args:
        after: of two seeds or more.
        before: of two of the same or more.
    """
    gains = [after[seed].top_1 - before[seed].top_1 for seed in after if seed in before]
    return sum(gains) / len(gains), t_interval(gains)


def confirm(trainer: Trainer, search: Search, start: Network, winner: Network) -> Confirmed:
    """Trains both networks on as many fresh seeds as a candidate had at most, from where the whole build-up begins.

    With a warm start, too: what is confirmed is the placement, at the recipe's own length of training.

    Args:
        trainer: of the search.
        search: what is asked.
        start: the network that it began with.
        winner: the last candidate that was kept.

    Raises:
        StoreError: when the weights of a training are gone.
        VisionscopeError: when they can't both be trained on two of these seeds.
    """
    winner = dataclasses.replace(winner, after=None)
    scores = trainer.scored((start, winner), _fresh(search))
    after = scores[winner.name]
    return Confirmed(before=scores[start.name], after=after, weights=trainer.weights(winner, next(iter(after))))


def control_for(
    trainer: Trainer, search: Search, drawn: tuple[Network, ...], start: Network, chosen: Network
) -> Control:
    """Trains random placements, no less often than the rule trained candidates, and confirms the best.

    All trainings of candidates count, also those of one that was kept on seeds that its successor alone needed; where
    they can't be shared out evenly, the control has a few more.

    Args:
        trainer: of the search.
        search: what is asked.
        drawn: the placements.
        start: the network that the build-up began with.
        chosen: the winner, or the start where nothing helped.

    Raises:
        StoreError: when the weights of a training are gone.
        VisionscopeError: when there is none, none can be trained, or the best one not on fresh seeds.
    """
    spent = sum(len(held.top_1) for name, held in trainer.held.items() if name != start.name)
    if not drawn:
        raise VisionscopeError("no other placement of as many blocks can be trained")
    seeds = range(min(search.seeds, -(-spent // len(drawn))))
    failed = trainer.trained(drawn, seeds)
    whole = [network for network in drawn if network.name not in failed]
    if not whole:
        name, reason = next(iter(failed.items()))
        raise VisionscopeError(f"the training of each random placement failed, of {name}: {reason}")

    def accuracy(network: Network) -> float:
        right = trainer.held[network.name].top_1
        return sum(right[seed] for seed in seeds) / len(seeds)

    best, chosen = (dataclasses.replace(one, after=None) for one in (max(whole, key=accuracy), chosen))
    scores = trainer.scored((chosen, best), _fresh(search))
    return Control(
        drawn=drawn,
        failed=failed,
        seeds=len(seeds),
        best=best,
        scores=scores[best.name],
        chosen=scores[chosen.name],
    )


def _fresh(search: Search) -> range:
    """Seeds that decide nothing."""
    return range(search.seeds, 2 * search.seeds)
