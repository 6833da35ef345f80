"""What a build-up is asked, and its candidates with what they cost: known before anything is trained."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from visionscope.building.harmonize import HarmonizePlan, carry_out, replacements
from visionscope.building.measure import latency
from visionscope.core.ticking import duration
from visionscope.errors import ConfigError
from visionscope.experiments.buildup.kept import Question, begun_in, failed_before, seeds_held
from visionscope.experiments.buildup.networks import Network, Slots, candidate, random_networks, spec_of
from visionscope.experiments.buildup.path import Places, longest, walk
from visionscope.experiments.done import stored_tables
from visionscope.experiments.driver import Standing
from visionscope.experiments.experiment import THREADS, Experiment, Variant
from visionscope.experiments.outlook import outlook_of
from visionscope.experiments.plan import TrainTask, plan_of
from visionscope.models.load import LoadedModel
from visionscope.models.stages import alternate
from visionscope.models.surgery import changes_of
from visionscope.numerics.sequential import FEWEST, detectable, looks_of
from visionscope.running.devices import device_of
from visionscope.training.launching import open_splits, threads_of
from visionscope.training.networks import network_for

VALIDATION = 0.1
"""Share of the training images that candidates are compared on."""

MOST_SEEDS = 16
"""Of a candidate, whatever the budget: more detect effects that nobody would pay for."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Search:
    """A build-up with its candidates.

    Attributes:
        question: what is asked.
        base: the network that it begins with.
        classes: of the data.
        slots: what each of its blocks would become.
        room: blocks that each stage has room for.
        tasks: the training of seed 0 of the network itself and of each candidate, by name, where every one helps that
            is as fast as asked.
        seconds: of one training of each of these that is trained, on one core.
        seeds: of a candidate at most.
        command: that goes on with it.
        control: whether random placements get no fewer trainings, for comparison.
        milliseconds: of a forward pass of one image, by name, of the networks that were asked about so far.
        failed: why trainings failed that are not tried again, by their identity.
    """

    question: Question
    base: LoadedModel
    classes: int
    slots: Slots
    room: Places
    tasks: Mapping[str, TrainTask]
    seconds: Mapping[str, float]
    seeds: int
    command: str
    control: bool
    milliseconds: dict[str, float]
    failed: Mapping[str, str]

    @property
    def start(self) -> Places:
        """The network that it begins with, as a candidate."""
        return (0,) * len(self.room)

    @property
    def hours(self) -> float:
        """On one core, where every candidate takes all its seeds and the last one wins."""
        return self.seeds * _seconds_of_a_seed(self.seconds, self.question.warm_start) / 3600

    @property
    def control_hours(self) -> float:
        """On one core, of as many random placements as the longest path has candidates, and of the best one; about.

        All have as many blocks as the winner, which may be the dearest network of the path; elsewhere in a network the
        same blocks may cost more.
        """
        path = list(self.seconds.values())[1:]
        return self.seeds * (len(path) + 1) * max(path, default=0.0) / 3600

    @property
    def one_image(self) -> float:
        """Share of the held-out images that one of them is."""
        trained = next(iter(self.tasks.values())).images
        return self.question.fraction * (1 - VALIDATION) / (VALIDATION * trained)

    def detectable(self, gains: Sequence[float]) -> float:
        """The smallest true gain that is kept in four of five cases, where gains differ between seeds as these do.

        Args:
            gains: of at least 2 seeds, as shares.
        """
        return detectable(self.seeds) * max(statistics.stdev(gains), self.one_image)

    def told(self) -> dict[str, Any]:
        """What buildup.json says beside the result: what is asked, the seeds, what was measured."""
        return {
            "asked": dataclasses.asdict(self.question),
            "seeds": self.seeds,
            "looks": looks_of(self.seeds),
            "milliseconds": self.milliseconds,
            "command": self.command,
            "control": self.control,
        }

    def network(self, places: Places, after: Network | None = None) -> Network:
        """A candidate of the rule.

        Args:
            places: blocks of each stage that are others.
            after: the network whose trained weights it begins with, if any.
        """
        return candidate(self.slots, places, after)

    def drawn(
        self, without: Network, most: int, measured: Callable[[], None], after: Network | None = None
    ) -> tuple[Network, ...]:
        """Networks with as many changed blocks as one has, or one, at random places; all that run and are not slow.

        Args:
            without: the network.
            most: how many.
            measured: is called after each measurement.
            after: the network whose trained weights they begin with, if any.
        """

        def fits(network: Network) -> bool:
            try:
                _check_runs(self.base, network)
            except ConfigError:
                return False
            slow = self.too_slow(network)
            if self.question.at_most_ms is not None:
                measured()
            return not slow

        return random_networks(self.slots, without, most, fits, after)

    def spec(self, network: Network, weights: Path | None = None) -> str:
        """The spec of a network.

        Args:
            network: any.
            weights: that its training begins with; None for random ones.
        """
        return spec_of(self.base.spec, changes_of(self.base.model), network, weights)

    def variant(self, network: Network, seeds: Sequence[int], weights: Path | None = None) -> Variant:
        """A network as what is trained.

        Args:
            network: any.
            seeds: one training each.
            weights: as for `spec`.
        """
        asked = self.question
        return Variant(
            name=network.name,
            model=self.spec(network, weights),
            data=asked.data,
            recipe=asked.recipe,
            changes=asked.changes,
            fraction=asked.fraction,
            same="epochs",
            seeds=tuple(seeds),
            validation=VALIDATION,
        )

    def costs(self, network: Network) -> tuple[int, float | None]:
        """Parameters and 1e9 multiply-accumulates of an image; None where an operation's cost is unknown.

        Args:
            network: any, trained or not.
        """
        task = self.tasks.get(network.name)
        if task is None:
            [task] = plan_of(experiment_of([self.variant(network, (0,))], Path())).trainings
        return task.parameters, task.gmacs

    def too_slow(self, network: Network) -> str:
        """Why a network is not trained; "" where it is as fast as asked. Measured once for each network.

        Args:
            network: any.
        """
        limit, config = self.question.at_most_ms, self.base.input
        if limit is None:
            return ""
        if network.name not in self.milliseconds:
            built = network_for(self.spec(network), 0, seed=0, note=lambda line: None).model
            with threads_of(THREADS):
                found = latency({"": built}, config.size, len(config.mean), device=device_of("auto"))
            self.milliseconds[network.name] = round(found[""], 4)
        taken = self.milliseconds[network.name]
        return f"an image takes {taken:.3g} ms, above {limit:g}" if taken > limit else ""


def search_for(
    question: Question,
    *,
    seeds: int | None,
    budget: float | None,
    run: Path,
    note: Callable[[str], None],
    command: str = "",
    control: bool = False,
) -> Search:
    """Builds the last candidate of the longest path, which has the blocks of all; counts and times all candidates.

    Args:
        question: what is asked.
        seeds: of a candidate at most; None for as many as the budget allows, or those that the run folder was begun
            with: the looks of a search are fixed before its first training.
        budget: hours on one core; None for no limit.
        run: the run folder, which need not be there.
        note: takes a line for the user.
        command: that goes on with the search.
        control: whether random placements get no fewer trainings, for comparison.

    Raises:
        ConfigError: for a network that has no room for such blocks, a mixer that can't take its maps, a budget that is
            too small for two seeds, or a run folder of another build-up.
        DataError: for images that can't be read.
    """
    begun = begun_in(run)
    held = seeds_held(begun, run, question, seeds)
    base = network_for(question.model, 0, seed=0, pretrained=question.pretrained, note=note)
    slots = replacements(base.model, mixer=question.mixer, input_size=base.input.size)
    room = room_of(base.label, slots)
    _check_runs(base, candidate(slots, longest(room)[-1]))
    draft = Search(
        question=question,
        base=base,
        classes=len(open_splits(question.data)[0].classes),
        slots=slots,
        room=room,
        tasks={},
        seconds={},
        seeds=FEWEST,
        command=command,
        control=control,
        milliseconds=dict(begun.get("milliseconds", {})),
        failed=failed_before(begun),
    )
    networks = _tried(draft, note)
    plan = plan_of(experiment_of([draft.variant(network, (0,)) for network in networks], run))
    left = Standing(trainings=list(plan.trainings), diagnoses=[], trained=0, diagnosed=0)
    known = outlook_of(plan, left, stored_tables(run)).training_seconds
    seconds = {one.name: known[one.name] for one in networks if one is networks[0] or not draft.too_slow(one)}
    if held and budget is not None:
        _tell_seeds(held, seconds, question.warm_start, seeds, budget, note)
    return dataclasses.replace(
        draft,
        tasks={task.variant.name: task for task in plan.trainings},
        seconds=seconds,
        seeds=held or _seeds_for(seconds, question.warm_start, seeds, budget),
    )


def _tried(draft: Search, note: Callable[[str], None]) -> list[Network]:
    """The network itself, and the candidates where every one helps that is as fast as asked: what the plan shows."""
    start = draft.network(draft.start)
    slow = draft.too_slow(start)
    if slow:
        note(f"{start.name}, the network itself, is slower than asked: {slow}")
    path = walk(draft.room, lambda step: not draft.too_slow(draft.network(step.places)))
    return [start, *(draft.network(step.places) for step in path)]


def room_of(label: str, slots: Slots) -> Places:
    """How many blocks of each stage can be others: at most every second one, and only where the network allows it.

    Args:
        label: of the network.
        slots: what each of its blocks would become.

    Raises:
        ConfigError: when no stage has room, with the reason.
    """
    room, reason = [], f"its {len(slots)} stages have one block each, and a convolution goes before each new block"
    for stage in slots:
        most = 0
        for count in range(1, len(stage) // 2 + 1):
            taken = [slot for slot, kind in zip(stage, alternate(len(stage), count), strict=True) if kind == "msa"]
            refused = next((slot for slot in taken if isinstance(slot, str)), None)
            if refused is not None:
                reason = refused
                break
            most = count
        room.append(most)
    if not any(room):
        raise ConfigError(f"{label}: no stage has room for another block: {reason}")
    return tuple(room)


def _check_runs(base: LoadedModel, network: Network) -> None:
    """Refuses new blocks that can't take the maps of the network."""
    carry_out(base.model, HarmonizePlan(stages=(), changes=network.changes, input_size=base.input.size))


def experiment_of(variants: Sequence[Variant], run: Path) -> Experiment:
    """An experiment that trains, and asks nothing.

    Args:
        variants: with their seeds.
        run: the run folder.
    """
    return Experiment(
        title="Build-up", variants=tuple(variants), asked=(), claims={}, out=str(run), slurm={}, values={}
    )


def _seconds_of_a_seed(seconds: Mapping[str, float], warm: bool) -> float:
    """Of one seed of every training that there may be: the search, then the network and the winner on a fresh seed.

    With a warm start each parent is trained once more, too.
    """
    start, *path = seconds.values()
    again = start + sum(path[:-1]) if warm else 0.0
    return 2 * start + sum(path) + max(path, default=0.0) + again


def _seeds_for(seconds: Mapping[str, float], warm: bool, seeds: int | None, budget: float | None) -> int:
    one = _seconds_of_a_seed(seconds, warm)
    enough = None if budget is None else int(3600 * budget / one)
    allowed = MOST_SEEDS if enough is None else min(MOST_SEEDS, enough)
    least = f"{FEWEST} seeds of {len(seconds)} networks and the confirmation take about {duration(FEWEST * one)}"
    if allowed < FEWEST:
        raise ConfigError(
            f"budget: must be enough for {FEWEST} seeds; got {duration(3600 * (budget or 0))}, and {least} on one core"
        )
    if seeds is not None and enough is not None and seeds > enough:
        raise ConfigError(f"seeds: the budget is enough for {enough}; got {seeds}")
    # 5 seeds have one look more than 4, and keep no smaller a gain.
    return seeds or min(range(FEWEST, allowed + 1), key=detectable)


def _tell_seeds(
    held: int, seconds: Mapping[str, float], warm: bool, seeds: int | None, budget: float, note: Callable[[str], None]
) -> None:
    """Says that seeds of an earlier call stay where the budget would give others."""
    stay = f"{held} seeds that this build-up was begun with"
    try:
        given = _seeds_for(seconds, warm, seeds, budget)
    except ConfigError:
        whole = duration(held * _seconds_of_a_seed(seconds, warm))
        note(f"budget: is not enough for the {stay}, which stay; they take about {whole} on one core")
    else:
        if given != held:
            note(f"the {stay} stay; this budget would give {given}")
