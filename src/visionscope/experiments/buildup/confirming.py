"""The winner on fresh seeds and test images, beside the network that the build-up began with and random placements."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from visionscope.experiments.buildup.networks import Network
from visionscope.experiments.buildup.search import Search
from visionscope.experiments.buildup.trainer import Trainer
from visionscope.numerics.over_seeds import Interval, t_interval
from visionscope.training.evaluation import Scores


@dataclasses.dataclass(frozen=True, kw_only=True)
class Confirmed:
    """The winner and the network that it came from, on seeds that decided nothing and on the test images.

    Attributes:
        seeds: one training each.
        before: scores of the network that the build-up began with.
        after: scores of the winner.
        weights: of the winner, of the first of these seeds.
    """

    seeds: tuple[int, ...]
    before: tuple[Scores, ...]
    after: tuple[Scores, ...]
    weights: Path

    @property
    def gain(self) -> tuple[float, Interval]:
        """The winner's test accuracy less that of the network before, paired by seed, with Student's 95 % interval."""
        return gain_of(self.after, self.before)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Control:
    """The best of as many random placements as the rule tried, chosen by as many trainings.

    Attributes:
        drawn: the random placements, in order.
        seeds: that each was trained on.
        best: the one with the highest mean accuracy on held-out images.
        scores: of the best one, on the fresh seeds of the winner and on the test images.
        gain: the winner's test accuracy less its, paired by seed, with Student's 95 % interval.
    """

    drawn: tuple[Network, ...]
    seeds: int
    best: Network
    scores: tuple[Scores, ...]
    gain: tuple[float, Interval]


def gain_of(after: Sequence[Scores], before: Sequence[Scores]) -> tuple[float, Interval]:
    """Mean difference of test accuracies over seeds with Student's 95 % interval.

    Args:
        after: of each seed.
        before: of the same seeds.
    """
    gains = [one.top_1 - other.top_1 for one, other in zip(after, before, strict=True)]
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
        VisionscopeError: when one of them can't be trained.
    """
    seeds = tuple(range(search.seeds, 2 * search.seeds))
    winner = dataclasses.replace(winner, after=None)
    scores = trainer.scored((start, winner), seeds)
    return Confirmed(
        seeds=seeds,
        before=scores[start.name],
        after=scores[winner.name],
        weights=trainer.weights(winner, seeds[0]),
    )


def control_for(
    trainer: Trainer, search: Search, confirmed: Confirmed, start: Network, winner: Network, spent: Sequence[int]
) -> Control | None:
    """Random placements of as many blocks: as many as the rule tried, with as many trainings, the best confirmed.

    Args:
        trainer: of the search.
        search: what is asked.
        confirmed: of the winner.
        start: the network that the build-up began with.
        winner: gives the number of blocks.
        spent: trainings of each candidate that the rule tried.

    Returns:
        None where there is no other placement that can be trained.

    Raises:
        VisionscopeError: when the best one can't be trained on a fresh seed.
    """
    after = start if search.question.warm_start else None
    drawn = search.drawn(winner, len(spent), after)
    if not drawn:
        return None
    seeds = range(min(search.seeds, sum(spent) // len(drawn)))
    failed = trainer.trained(drawn, seeds)
    whole = [network for network in drawn if network.name not in failed]
    if not whole:
        return None

    def accuracy(network: Network) -> float:
        right = trainer.held[network.name].top_1
        return sum(right[seed] for seed in seeds) / len(seeds)

    best = dataclasses.replace(max(whole, key=accuracy), after=None)
    scores = trainer.scored((best,), confirmed.seeds)[best.name]
    return Control(drawn=drawn, seeds=len(seeds), best=best, scores=scores, gain=gain_of(confirmed.after, scores))
