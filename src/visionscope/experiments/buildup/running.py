"""Carries out a build-up: trains what the next look needs, and decides; the same call goes on where it was stopped."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

from visionscope.errors import ConfigError, StoreError, VisionscopeError
from visionscope.experiments.buildup.confirming import Confirmed, Control, confirm, control_for
from visionscope.experiments.buildup.kept import begun_in, keep
from visionscope.experiments.buildup.networks import REFUSED, Network
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
        confirmed: of the winner; None where nothing helped, or it could not be.
        unconfirmed: why the winner could not be confirmed, or "".
        control: of the winner or, where nothing helped, of the start; None where none was asked for, none could be, or
            it is not finished.
        no_control: why there is none although it was asked for, or "".
        failed: why trainings failed before test accuracies were read, by their identity.
    """

    search: Search
    start: Network
    trials: tuple[Trial, ...]
    held: dict[str, Held]
    winner: Network | None
    confirmed: Confirmed | None = None
    unconfirmed: str = ""
    control: Control | None = None
    no_control: str = ""
    failed: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def chosen(self) -> Network:
        """What the rule has chosen: the winner or, where nothing helped, the start."""
        return self.winner or self.start

    @property
    def compared(self) -> int:
        """How many candidates were compared with their parents."""
        return sum(1 for trial in self.trials if trial.gains)


def carry_out(
    search: Search,
    sitting: Sitting,
    run: Path,
    note: Callable[[str], None],
    *,
    early: Callable[[Buildup], None] = lambda found: None,
) -> Buildup:
    """Tries candidates in the order of the rule, then trains the winner and its origin on fresh seeds.

    Args:
        search: from `search_for`.
        sitting: where trainings run, and how many at a time.
        run: the run folder.
        note: takes a line that the user should see.
        early: takes what was found before a control begins, unless buildup.json holds one.

    Raises:
        ConfigError: when another process is at work there, the workers can't be had, or pretrained weights can't.
        StoreError: when the disk refuses, or weights are gone; what was written before is kept.
        VisionscopeError: when the network itself can't be trained for the first look.
    """
    with alone(run), executor_for(sitting.on, workers=sitting.workers, folder=run / "slurm") as executor:
        keep(run, search.told())
        trainer = Trainer(search, executor, sitting, run, note)
        start = search.network(search.start)
        kept, trials = {search.start: start}, list[Trial]()

        def helps(step: Step) -> bool:
            parent = kept[step.parent]
            warm = search.question.warm_start
            network, beside = search.network(step.places, parent if warm else None), parent.again if warm else parent
            slow = search.too_slow(network)
            keep(run, search.told())  # what decided is measured once
            trials.append(
                Trial(network=network, beside=beside, verdict="too slow", reason=slow)
                if slow
                else _tried(trainer, search, network, beside)
            )
            note(_told(trials[-1], search))
            if trials[-1].verdict == "kept":
                kept[step.places] = network
            return step.places in kept

        for _ in walk(search.room, helps):
            pass
        winner = next((trial.network for trial in reversed(trials) if trial.verdict == "kept"), None)
        found = Buildup(
            search=search,
            start=start,
            trials=tuple(trials),
            held=trainer.held,
            winner=winner,
            failed=search.failed,
        )
        found = _confirmed(trainer, found)
        if not search.control:
            return found
        if not (begun_in(run).get("result") or {}).get("control"):
            early(found)
        return _controlled(trainer, found, run, note)


def _confirmed(trainer: Trainer, found: Buildup) -> Buildup:
    """With the winner confirmed, or the reason why not: what decided stands without."""
    if found.winner is None:
        return found
    try:
        confirmed = confirm(trainer, found.search, found.start, found.winner)
    except (ConfigError, StoreError):
        raise
    except VisionscopeError as error:
        return dataclasses.replace(found, unconfirmed=str(error))
    return dataclasses.replace(found, confirmed=confirmed, failed=dict(trainer.failed))


def _controlled(trainer: Trainer, found: Buildup, run: Path, note: Callable[[str], None]) -> Buildup:
    """With random placements to compare with, or the reason why not: what the rule has found stands without."""
    search, wanted = found.search, found.compared
    if not wanted:
        return dataclasses.replace(found, no_control="the rule could compare no candidate")
    if found.unconfirmed:
        return dataclasses.replace(found, no_control="it needs a winner that is confirmed")
    after = found.start if search.question.warm_start else None
    if search.question.at_most_ms is not None:
        note(f"control: random placements are built and timed until {wanted} are as fast as asked")
    drawn = search.drawn(found.chosen, wanted, lambda: keep(run, search.told()), after)
    if len(drawn) < wanted:
        note(
            f"control: {len(drawn)} of {wanted} random placements were found: there are no more, or "
            f"{REFUSED * wanted} others are too slow or can't run"
        )
    try:
        control = control_for(trainer, search, drawn, found.start, found.chosen)
    except (ConfigError, StoreError):
        raise
    except VisionscopeError as error:
        return dataclasses.replace(found, no_control=str(error))
    for name, reason in control.failed.items():
        note(f"{name}: left out of the control, since a training failed: {reason}")
    return dataclasses.replace(found, control=control, failed=dict(trainer.failed))


def _tried(trainer: Trainer, search: Search, network: Network, beside: Network) -> Trial:
    """Adds seeds until a look decides."""
    for count in looks_of(search.seeds):
        seeds = range(count)
        failed = trainer.trained((beside, network), seeds)
        if beside.name in failed:
            if not beside.changes and count == looks_of(search.seeds)[0]:
                raise VisionscopeError(f"{beside.name}: its training failed: {failed[beside.name]}")
            # On a seed that only this look of the candidate needs: what was kept stands.
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
