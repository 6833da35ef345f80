"""What a build-up is asked, and its candidates with what they cost: known before anything is trained."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from visionscope.building.blocks import find_stages
from visionscope.building.harmonize import carry_out, plan_harmonize
from visionscope.core.files import write_whole
from visionscope.core.refusals import refusals
from visionscope.core.ticking import duration
from visionscope.errors import ConfigError
from visionscope.experiments.buildup.path import Places, longest, name_of
from visionscope.experiments.done import stored_tables
from visionscope.experiments.driver import Standing
from visionscope.experiments.experiment import Experiment, Variant
from visionscope.experiments.outlook import outlook_of
from visionscope.experiments.plan import TrainTask, plan_of
from visionscope.models.load import LoadedModel
from visionscope.models.spec import BLOCK_CHANGES, ModelSpec, parse_spec
from visionscope.models.surgery import changes_text
from visionscope.numerics.sequential import FEWEST, looks_of
from visionscope.training.networks import network_for

VALIDATION = 0.1
"""Share of the training images that candidates are compared on."""

MOST_SEEDS = 16
"""Of a candidate, whatever the budget: more detect effects that nobody would pay for."""

FILE = "buildup.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Question:
    """What a build-up is asked.

    Attributes:
        model: spec of the network that it begins with.
        data: a data spec without split.
        recipe: a name in `RECIPES`.
        changes: fields of the recipe that are others than its own.
        fraction: share of the training images of each class.
        mixer: what stands in attention's place; empty for attention.
    """

    model: str
    data: str
    recipe: str
    changes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    fraction: float = 1.0
    mixer: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Search:
    """A build-up with its candidates.

    Attributes:
        question: what is asked.
        base: the network that it begins with.
        room: blocks that each stage has room for.
        path: the candidates where every one helps: no search tries more.
        tasks: the training of seed 0 of the network itself and of each candidate of the path, by name.
        seconds: of one training of each of these, on one core.
        seeds: of a candidate at most.
        budget: hours on one core, or None where the seeds were said.
    """

    question: Question
    base: LoadedModel
    room: Places
    path: tuple[Places, ...]
    tasks: Mapping[str, TrainTask]
    seconds: Mapping[str, float]
    seeds: int
    budget: float | None

    @property
    def start(self) -> Places:
        """The network that it begins with, as a candidate."""
        return (0,) * len(self.room)

    @property
    def hours(self) -> float:
        """On one core, where every candidate takes all its seeds and the last one wins."""
        return self.seeds * _seconds_of_a_seed(self.seconds) / 3600

    @property
    def one_image(self) -> float:
        """Share of the held-out images that one of them is."""
        trained = next(iter(self.tasks.values())).images
        return self.question.fraction * (1 - VALIDATION) / (VALIDATION * trained)

    def variant(self, places: Places, seeds: Sequence[int]) -> Variant:
        """A candidate as what is trained.

        Args:
            places: blocks of each stage that are others.
            seeds: one training each.
        """
        asked = self.question
        return Variant(
            name=name_of(places),
            model=spec_of(self.base, asked, places),
            data=asked.data,
            recipe=asked.recipe,
            changes=asked.changes,
            fraction=asked.fraction,
            same="epochs",
            seeds=tuple(seeds),
            validation=VALIDATION,
        )


def search_for(
    question: Question, *, seeds: int | None, budget: float | None, run: Path, note: Callable[[str], None]
) -> Search:
    """Builds every candidate of the longest path, counts and times it, and chooses the seeds.

    Args:
        question: what is asked.
        seeds: of a candidate at most; None for as many as the budget allows, or those that the run folder was begun
            with: the looks of a search are fixed before its first training.
        budget: hours on one core; None for no limit.
        run: the run folder, which need not be there.
        note: takes a line for the user.

    Raises:
        ConfigError: for a network that has no room for such blocks, a mixer that can't take its maps, a budget that is
            too small for two seeds, or a run folder of another build-up.
        DataError: for images that can't be read.
    """
    begun = _begun(run, question, seeds)
    base = network_for(question.model, 0, seed=0, note=note)
    room = room_of(base, question.mixer)
    path = longest(room)
    for places in path:
        harmonized = plan_harmonize(base.model, places, mixer=question.mixer, input_size=base.input.size)
        carry_out(base.model, harmonized)
    draft = Search(
        question=question, base=base, room=room, path=path, tasks={}, seconds={}, seeds=FEWEST, budget=budget
    )
    plan = plan_of(experiment_of([draft.variant(places, (0,)) for places in (draft.start, *path)], run))
    left = Standing(trainings=list(plan.trainings), diagnoses=[], trained=0, diagnosed=0)
    known = outlook_of(plan, left, stored_tables(run)).training_seconds
    seconds = {task.variant.name: known[task.variant.name] for task in plan.trainings}
    return dataclasses.replace(
        draft,
        tasks={task.variant.name: task for task in plan.trainings},
        seconds=seconds,
        seeds=begun or _seeds_for(seconds, seeds, budget),
    )


def room_of(base: LoadedModel, mixer: str) -> Places:
    """How many blocks of each stage can be others: at most every second one, and only where the network allows it.

    Args:
        base: the network.
        mixer: what stands in attention's place.

    Raises:
        ConfigError: when no stage has room, with the reason.
        TraceError: when the network can't be traced.
    """
    stages = find_stages(base.model, base.input.size)
    room, reason = [], f"its {len(stages)} stages have one block each, and a convolution goes before each new block"
    for number, stage in enumerate(stages):
        most = 0
        for count in range(1, len(stage) // 2 + 1):
            places = tuple(count * (place == number) for place in range(len(stages)))
            try:
                plan_harmonize(base.model, places, mixer=mixer, input_size=base.input.size)
            except ConfigError as error:
                reason = str(error)
                break
            most = count
        room.append(most)
    if not any(room):
        raise ConfigError(f"{base.label}: no stage has room for another block: {reason}")
    return tuple(room)


def spec_of(base: LoadedModel, question: Question, places: Places) -> str:
    """The spec of a candidate.

    Args:
        base: the network that the build-up begins with.
        question: names its spec and the mixer.
        places: blocks of each stage that are others.
    """
    if not any(places):
        return question.model
    changes = plan_harmonize(base.model, places, mixer=question.mixer, input_size=base.input.size).changes
    spec: ModelSpec = parse_spec(question.model)
    return dataclasses.replace(spec, arguments={**spec.arguments, BLOCK_CHANGES: changes_text(changes)}).text


def experiment_of(variants: Sequence[Variant], run: Path) -> Experiment:
    """An experiment that trains, and asks nothing.

    Args:
        variants: with their seeds.
        run: the run folder.
    """
    return Experiment(
        title="Build-up", variants=tuple(variants), asked=(), claims={}, out=str(run), slurm={}, values={}
    )


def keep_question(run: Path, search: Search) -> None:
    """Writes what is asked and the seeds into the run folder, before the first training.

    Args:
        run: the run folder.
        search: any.

    Raises:
        StoreError: when the disk refuses.
    """
    told = {"asked": dataclasses.asdict(search.question), "seeds": search.seeds, "looks": looks_of(search.seeds)}
    with refusals(run / FILE):
        run.mkdir(parents=True, exist_ok=True)
        write_whole(run / FILE, (json.dumps(told, indent=1, sort_keys=True) + "\n").encode())


def _begun(run: Path, question: Question, seeds: int | None) -> int | None:
    """The seeds that a run folder was begun with; None where it was not."""
    try:
        told = json.loads((run / FILE).read_bytes())
        asked, begun = told["asked"], int(told["seeds"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"out: {run / FILE} can't be read ({error}); name another folder") from error
    if asked != json.loads(json.dumps(dataclasses.asdict(question))):
        raise ConfigError(f"out: {run} holds another build-up; name another folder, or ask the same")
    if seeds not in (None, begun):
        raise ConfigError(
            f"seeds: must be {begun} as the build-up in {run} was begun with, since its looks are fixed; got {seeds}"
        )
    return begun


def _seconds_of_a_seed(seconds: Mapping[str, float]) -> float:
    """Of one seed of every training that there may be: the search, then the network and the winner on a fresh seed."""
    start, *path = seconds.values()
    return 2 * start + sum(path) + max(path)


def _seeds_for(seconds: Mapping[str, float], seeds: int | None, budget: float | None) -> int:
    one = _seconds_of_a_seed(seconds)
    allowed = MOST_SEEDS if budget is None else min(MOST_SEEDS, int(3600 * budget / one))
    least = f"{FEWEST} seeds of {len(seconds)} networks and the confirmation take about {duration(FEWEST * one)}"
    if allowed < FEWEST:
        raise ConfigError(
            f"budget: must be enough for {FEWEST} seeds; got {duration(3600 * (budget or 0))}, and {least} on one core"
        )
    if seeds is not None and budget is not None and seeds > 3600 * budget / one:
        raise ConfigError(f"seeds: the budget is enough for {allowed}; got {seeds}")
    return seeds or allowed
