"""Carries out a build-up: trains what the next look needs, and decides; the same call goes on where it was stopped."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from visionscope.errors import ConfigError, StoreError, VisionscopeError
from visionscope.experiments.buildup.confirming import Confirmed, Control, confirm, control_for
from visionscope.experiments.buildup.kept import keep
from visionscope.experiments.buildup.networks import Network
from visionscope.experiments.buildup.path import Step, walk
from visionscope.experiments.buildup.search import Search
from visionscope.experiments.buildup.trainer import Held, Trainer
from visionscope.experiments.executors.choosing import executor_for
from visionscope.experiments.lock import alone
from visionscope.experiments.sitting import Sitting
from visionscope.numerics.sequential import looks_of, ruling


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trial:
    """A candidate that was tried.

    Attributes:
        network: the candidate.
        beside: what it was compared with: its parent or, with a warm start, that one trained once more.
        gains: its accuracy less that one's, on the seeds of the deciding look, in their order.
        verdict: `kept`, `dropped`, `failed` or `too slow`.
        reason: why it failed or was not trained, or "".
    """

    network: Network
    beside: Network
    gains: tuple[float, ...] = ()
    verdict: str
    reason: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Buildup:
    """What a build-up has come to.

    Attributes:
        search: what was asked.
        start: the network that it began with.
        trials: in order.
        held: of every network that was trained to be chosen, by name.
        winner: the last candidate that was kept; None where nothing helped.
        confirmed: of the winner; None where nothing helped.
        control: of the winner or, where nothing helped, of the start; None where none was asked for, or none could be.
        no_control: why there is none although it was asked for, or "".
    """

    search: Search
    start: Network
    trials: tuple[Trial, ...]
    held: dict[str, Held]
    winner: Network | None
    confirmed: Confirmed | None
    control: Control | None
    no_control: str = ""

    @property
    def chosen(self) -> Network:
        """What the rule has chosen: the winner or, where nothing helped, the start."""
        return self.winner or self.start


def carry_out(
    search: Search, sitting: Sitting, run: Path, note: Callable[[str], None], *, control: bool = False
) -> Buildup:
    """Tries candidates in the order of the rule, then trains the winner and its origin on fresh seeds.

    Args:
        search: from `search_for`.
        sitting: where trainings run, and how many at a time.
        run: the run folder.
        note: takes a line that the user should see.
        control: whether random placements get no fewer trainings, for comparison.

    Raises:
        ConfigError: when another process is at work there, the workers can't be had, or pretrained weights can't.
        StoreError: when the disk refuses; what was written before is kept.
        VisionscopeError: when the network itself, or the winner on two fresh seeds, can't be trained.
    """
    with alone(run), executor_for(sitting.on, workers=sitting.workers, folder=run / "slurm") as executor:
        keep(run, search.told())
        trainer = Trainer(search, executor, sitting, run, note)
        start = search.network(search.start)
        kept, trials = {search.start: start}, list[Trial]()

        def helps(step: Step) -> bool:
            parent = kept[step.parent]
            warm = search.question.warm_start
            network = search.network(step.places, parent if warm else None)
            trials.append(_tried(trainer, search, network, parent.again if warm else parent))
            keep(run, search.told())  # with the milliseconds that decided
            note(_told(trials[-1], search))
            if trials[-1].verdict == "kept":
                kept[step.places] = network
            return step.places in kept

        for _ in walk(search.room, helps):
            pass
        winner = next((trial.network for trial in reversed(trials) if trial.verdict == "kept"), None)
        confirmed = confirm(trainer, search, start, winner) if winner else None
        found = Buildup(
            search=search,
            start=start,
            trials=tuple(trials),
            held=trainer.held,
            winner=winner,
            confirmed=confirmed,
            control=None,
        )
        return _controlled(trainer, found, run) if control else found


def _controlled(trainer: Trainer, found: Buildup, run: Path) -> Buildup:
    """With random placements to compare with, or the reason why not: what the rule has found stands without."""
    search, tried = found.search, sum(1 for trial in found.trials if trial.gains)
    if not tried:
        return dataclasses.replace(found, no_control="the rule could compare no candidate")
    drawn = search.drawn(found.chosen, tried, found.start if search.question.warm_start else None)
    keep(run, search.told())  # with the milliseconds that decided
    try:
        control = control_for(trainer, search, drawn, found.start, found.chosen)
    except (ConfigError, StoreError):
        raise
    except VisionscopeError as error:
        return dataclasses.replace(found, no_control=str(error))
    return dataclasses.replace(found, control=control)


def _tried(trainer: Trainer, search: Search, network: Network, beside: Network) -> Trial:
    """Adds seeds until a look decides."""
    slow = search.too_slow(network)
    if slow:
        return Trial(network=network, beside=beside, verdict="too slow", reason=slow)
    for count in looks_of(search.seeds):
        seeds = range(count)
        failed = trainer.trained((beside, network), seeds)
        if beside.name in failed:
            if not beside.changes:
                raise VisionscopeError(f"{beside.name}: its training failed: {failed[beside.name]}")
            # On a seed that only the candidate needs: what was kept stands.
            reason = f"{beside.name}, which it is compared with, failed: {failed[beside.name]}"
            return Trial(network=network, beside=beside, verdict="failed", reason=reason)
        if network.name in failed:
            return Trial(network=network, beside=beside, verdict="failed", reason=failed[network.name])
        before, after = trainer.held[beside.name].top_1, trainer.held[network.name].top_1
        gains = tuple(after[seed] - before[seed] for seed in seeds)
        told = ruling(gains, search.seeds, least=search.one_image)
        if told != "more":
            break
    return Trial(network=network, beside=beside, gains=gains, verdict="kept" if told == "keep" else "dropped")


def _told(trial: Trial, search: Search) -> str:
    """A trial in one line."""
    name = trial.network.name
    if trial.verdict == "too slow":
        return f"{name}: dropped before any training: {trial.reason}"
    if trial.verdict == "failed":
        return f"{name}: dropped, since a training failed: {trial.reason}"
    gain, origin = 100 * sum(trial.gains) / len(trial.gains), trial.beside.after
    beside = f"{origin.name}, trained once more," if search.question.warm_start and origin else trial.beside.name
    shown = 100 * search.detectable(trial.gains)
    return (
        f"{name}: {trial.verdict}, {gain:+.2f} points to {beside} over {len(trial.gains)} seeds; as these "
        f"differ, {search.seeds} seeds keep a gain of {shown:.2f} points in four of five cases"
    )
