"""Experiments: what `run` and `status` do with a study that trains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from visionscope.commands.output import command_text, exit_code
from visionscope.core.display import show_table
from visionscope.core.files import user_path
from visionscope.core.refusals import check_can_be_written
from visionscope.core.rules import values_of
from visionscope.core.terminal import interrupted, say, tell
from visionscope.errors import ConfigError
from visionscope.experiments.sitting import Sitting
from visionscope.flags import Parser

if TYPE_CHECKING:
    from argparse import Namespace
    from pathlib import Path

    from visionscope.experiments.done import Place
    from visionscope.experiments.experiment import Experiment
    from visionscope.experiments.folder import Kept
    from visionscope.experiments.session import Outcome

_OF_STUDIES = ("device", "batch", "yes")
GOES_ON = ("data", "on", "workers", "gpus", "seeds")
"""Flags of a sitting that the command has which goes on with it."""

_IN_SHORT = {
    "on": "local, ray, ray://HOST:PORT or slurm",
    "workers": "tasks at a time, a core each",
    "gpus": "GPUs of a task",
    "only_training": "train, and diagnose another time",
    "until": "hours, then stop and keep what is there",
    "seeds": "only the first so many seeds",
    "data": "data spec instead of the study's",
}


def sitting_flags(parser: Parser, *names: str) -> None:
    """Adds flags of a sitting, a line each.

    Args:
        parser: receives them.
        names: of further fields of `Sitting`.
    """
    sitting_flags_of(parser, ("on", "workers", "gpus", "only_training", "until", "seeds", *names))


def sitting_flags_of(parser: Parser, names: Sequence[str]) -> None:
    """Adds some flags of a sitting, a line each.

    Args:
        parser: receives them.
        names: of fields of `Sitting`.
    """
    for name in names:
        flag = f"--{name.replace('_', '-')}"
        if values_of(Sitting)[name].kind is bool:
            parser.add_switch(flag, _IN_SHORT[name])
        else:
            parser.add_field(Sitting, name, help=_IN_SHORT[name], default=None)


def check_trains_nothing(parsed: Namespace) -> None:
    """Refuses flags of experiments where a study trains nothing.

    Args:
        parsed: of run.

    Raises:
        ConfigError: naming the first.
    """
    for name in ("only_training", "until", "seeds"):
        if getattr(parsed, name) not in (None, False):
            flag = f"--{name.replace('_', '-')}"
            raise ConfigError(f"{flag}: is for studies that train, which have the key train; leave it out")


def sitting_of(parsed: Namespace) -> Sitting:
    """What the flags of `sitting_flags` say.

    Args:
        parsed: of run.
    """
    given: dict[str, Any] = {name: getattr(parsed, name, None) for name in values_of(Sitting)}
    return Sitting(**{name: value for name, value in given.items() if value is not None})


def run_experiment(path: Path, out: str | None, parsed: Namespace) -> int:
    """Carries out the study in a file, which trains.

    Args:
        path: the file.
        out: run folder instead of the file's, or None.
        parsed: the other flags of run.
    """
    for name in _OF_STUDIES:
        if getattr(parsed, name) not in (None, False):
            raise ConfigError(f"--{name}: is for studies that train nothing; leave it out")
    sitting = sitting_of(parsed)

    from visionscope.experiments.reading import experiment_from_file

    experiment = experiment_from_file(path, out=out, data=sitting.data)
    command = command_text(["run", str(path)], {name: getattr(parsed, name) for name in ("out", *GOES_ON)})
    return carry_out_experiment(experiment, sitting, dry=parsed.dry_run, command=command)


def carry_out_experiment(experiment: Experiment, sitting: Sitting, *, dry: bool, command: str) -> int:
    """Shows the plan of an experiment and, unless that is all, carries it out.

    Args:
        experiment: what is asked.
        sitting: how it goes.
        dry: whether the plan is all.
        command: that goes on with it, for who stops it.
    """
    if not dry:
        check_can_be_written(user_path("out", experiment.out))

    from visionscope.experiments.folder import write_experiment
    from visionscope.experiments.outlook import tell_outlook
    from visionscope.experiments.reading import with_seeds
    from visionscope.experiments.session import carry_out, planned, promises

    if sitting.seeds is not None:
        experiment = with_seeds(experiment, sitting.seeds)
    plan, outlook = planned(experiment, only_training=sitting.only_training)
    for line in (*tell_outlook(plan, outlook, sitting.workers), *promises(plan)):
        say(line)
    if dry:
        return 0
    try:
        write_experiment(user_path("out", experiment.out), plan, command)
        ended = carry_out(plan, outlook, sitting, note=lambda line: tell(f"visionscope: {line}"))
    except KeyboardInterrupt as stop:
        interrupted(f"Stopped; what is finished is kept. Go on with: {command}")
        return exit_code(stop)
    return tell_outcome(ended, command)


def tell_experiments(run: Path) -> int:
    """Writes how far each experiment of a run folder is, variant by variant, and what goes on with it.

    Args:
        run: the run folder.

    Returns:
        How many experiments it has.
    """
    from visionscope.experiments.folder import read_experiments

    listed = list(read_experiments(run))
    if not listed:
        return 0

    from visionscope.experiments.done import done_jobs, known_results, not_applicable, stored_tables

    done = done_jobs(run)
    known = known_results(stored_tables(run)) | {place for place, job in done.items() if job.whole}
    skipped = not_applicable(done)
    for one in listed:
        rows, left = [], 0
        for variant in dict.fromkeys(task.variant for task in one.tasks):
            own = [task for task in one.tasks if task.variant == variant]
            trained = sum(task.pretrained or _is_trained(run, task, known) for task in own)
            asked = [(task.training, moment, name, key) for task in own for moment, name, key in task.questions]
            answered = sum(
                (training, moment, key) in known or (training, moment, name) in skipped
                for training, moment, name, key in asked
            )
            left += len(own) - trained + len(asked) - answered
            told = "by others" if all(task.pretrained for task in own) else f"{trained} of {len(own)}"
            rows.append((variant, told, f"{answered} of {len(asked)}"))
        show_table(one.title or one.path.name, ("variant", "trained", "diagnosed"), rows)
        say(f"go on with: {one.command}" if left else "everything is done")
    return len(listed)


def _is_trained(run: Path, task: Kept, known: set[Place]) -> bool:
    folder = run / "train" / task.training
    ends = ("last", task.until) if task.until else ("last",)
    asked = [(task.training, snapshot, key) for snapshot, _, key in task.questions]
    scored = (task.training, "last", "training") in known or bool(task.until)
    return any((folder / f"{name}.safetensors").is_file() for name in ends) or (scored and set(asked) <= known)


def tell_outcome(ended: Outcome, command: str) -> int:
    """Writes the verdicts, what failed and what is left; the exit code is 1 where something failed.

    Args:
        ended: what the experiment came to.
        command: that goes on with it.
    """
    for verdict in ended.verdicts:
        say(f"* {verdict.sentence}")
        if verdict.beside:
            say(f"  {verdict.beside}")
        if verdict.missing:
            say(f"  without {verdict.missing}")
    for line in ended.failed:
        tell(f"visionscope: failed: {line}")
    if ended.left:
        say(f"{ended.left} tasks are left; go on with: {command}")
    if ended.page is not None:
        say(str(ended.page))
    return 1 if ended.failed else 0
