"""What each command of the command line does; the heavy imports happen inside, where a command needs them."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from rich.console import Console
from rich.table import Table

from visionscope.config import Parser, add_study_flags, study_from_file, study_from_flags
from visionscope.core.registry import diagnostic_names
from visionscope.core.types import SPAN
from visionscope.errors import ConfigError
from visionscope.running.store import Store, data_text

if TYPE_CHECKING:
    from jsonargparse import Namespace

    from visionscope.core.types import Point
    from visionscope.running.execute import Estimate
    from visionscope.running.measuring import Prospect
    from visionscope.running.plan import Job, PlannedSubject
    from visionscope.running.study import Study

ASK_SECONDS = 600.0
_WIDE = 250
_LISTED = ("timm", "torchvision", "hf")


@dataclasses.dataclass(frozen=True)
class Command:
    """One command.

    Attributes:
        help: one line.
        flags: adds its flags to a parser.
        run: does it; returns the exit code.
    """

    help: str
    flags: Callable[[Parser], None]
    run: Callable[[Namespace], int]


def _console() -> Console:
    return Console() if sys.stdout.isatty() else Console(width=_WIDE)


def _models_flags(parser: Parser) -> None:
    parser.add_argument("pattern", nargs="?", default="", type=str, metavar="PATTERN", help="part of a name, or a glob")
    parser.add_argument("--source", default=None, type=str, help="timm, torchvision or hf; all without it")


def _models(parsed: Namespace) -> int:
    from visionscope.models.load import list_models

    if parsed.source not in (None, *_LISTED):
        raise ConfigError(f"source: must be one of {', '.join(_LISTED)}; got {parsed.source!r}")
    names = list_models(parsed.pattern)
    if parsed.source is not None:
        # The names of timm stand alone; those of other sources begin with it.
        names = tuple(name for name in names if (name.split(":")[0] if ":" in name else "timm") == parsed.source)
    if not names:
        raise ConfigError(f"pattern: no listed model matches {parsed.pattern!r}; any Hugging Face model is hf:NAME")
    sys.stdout.write("".join(f"{name}\n" for name in names))
    return 0


def _points_flags(parser: Parser) -> None:
    parser.add_argument("model", type=str, metavar="MODEL", help="[LABEL=]SPEC[?key=value][@FILE]")
    parser.add_argument("--size", type=int, nargs=2, metavar=("H", "W"), help="input in pixels instead of its own")
    parser.add_argument("--mean", type=float, nargs="+", help="as in diagnose, for a file that has none")
    parser.add_argument("--std", type=float, nargs="+", help="likewise")
    parser.add_argument("--random-weights", type=int, default=0, help="as in diagnose; points are the same with any")
    parser.add_argument("--all", action="store_true", help="branches and every sum, too")
    parser.add_argument("--json", action="store_true", help="an object with points and unwatched")


def _points(parsed: Namespace) -> int:
    import torch

    from visionscope.models.load import load_model
    from visionscope.tracing import trace

    size, mean, std = (tuple(given) if given else None for given in (parsed.size, parsed.mean, parsed.std))
    loaded = load_model(parsed.model, random_weights=parsed.random_weights, size=size, mean=mean, std=std)
    traced = trace(loaded.model, torch.zeros(2, len(loaded.input.mean), *loaded.input.size))
    points = traced.all_points if parsed.all else traced.points
    if parsed.json:
        unwatched = [{"name": missing.name, "reason": missing.reason} for missing in traced.unwatched]
        content = {"points": [dataclasses.asdict(point) for point in points], "unwatched": unwatched}
        sys.stdout.write(json.dumps(content, indent=1) + "\n")
        return 0
    console = _console()
    console.print(_points_table(loaded.label, points))
    if traced.unwatched:
        console.print(f"{len(traced.unwatched)} sums or outputs could not be watched and are left out:")
        for missing in traced.unwatched:
            console.print(f"  {missing.name}: {missing.reason}", highlight=False, markup=False)
    else:
        console.print("Everything that was seen can be watched.")
    return 0


def _points_table(label: str, points: tuple[Point, ...]) -> Table:
    table = Table("name", "kind", "stage", "depth", "grid", "channels", "layout", "prefix tokens", title=label)
    for point in points:
        table.add_row(
            point.name,
            point.kind.value,
            str(point.stage),
            f"{point.depth:.3f}",
            "x".join(map(str, point.grid)),
            str(point.channels),
            point.layout,
            str(point.prefix_tokens),
        )
    return table


def _how_flags(parser: Parser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="list the jobs and what they will cost; compute nothing")
    parser.add_argument("--yes", action="store_true", help="start without asking, however long it takes")


def _diagnose_flags(parser: Parser) -> None:
    add_study_flags(parser, models=True)
    _how_flags(parser)


def _diagnose(parsed: Namespace) -> int:
    return _carry_out(study_from_flags(parsed), parsed)


def _run_flags(parser: Parser) -> None:
    parser.add_argument("study", type=str, metavar="STUDY", help="a YAML file, such as RUN/study.yaml")
    parser.add_argument("--out", type=str, help="run folder instead of the file's")
    parser.add_argument("--device", type=str, help="device instead of the file's")
    parser.add_argument("--batch", type=int, help="images per forward pass instead of the file's")
    _how_flags(parser)


def _run(parsed: Namespace) -> int:
    return _carry_out(study_from_file(parsed.study, out=parsed.out, device=parsed.device, batch=parsed.batch), parsed)


def _carry_out(study: Study, parsed: Namespace) -> int:
    from visionscope.api import run_planned
    from visionscope.running.plan import plan

    planned = plan(study)
    everything = len(study.only) > 1 and study.only == diagnostic_names()
    if parsed.dry_run or (everything and not parsed.yes):
        outlooks = _outlooks(study, planned)
        if parsed.dry_run:
            _list_jobs(study, outlooks)
            return 0
        _ask(sum(outlook.seconds for outlook in outlooks))
    try:
        run = run_planned(study, planned)
    except KeyboardInterrupt:
        sys.stderr.write(f"\nStopped; finished parts are kept. Go on with: visionscope run {study.out}/study.yaml\n")
        return 130
    sys.stdout.write(f"{run.page}\n")
    alike: dict[tuple[str, str, str], list[str]] = {}
    for failure in run.failures:
        alike.setdefault((failure.diagnostic, failure.label, failure.message), []).append(failure.part)
    for (diagnostic, label, message), parts in alike.items():
        more = f" and {len(parts) - 1} more" if len(parts) > 1 else ""
        sys.stderr.write(f"visionscope: failed: {diagnostic} of {label}, part {parts[0]}{more}: {message}\n")
    return 1 if run.failures else 0


@dataclasses.dataclass(frozen=True)
class _Outlook:
    """What a subject will need: its observers together (None: unknown), each of its measuring jobs on its own."""

    planned: PlannedSubject
    estimate: Estimate | None
    prospects: tuple[tuple[Job, Prospect], ...]

    @property
    def seconds(self) -> float:
        known = [found.seconds for found in (self.estimate, *(prospect for _, prospect in self.prospects)) if found]
        return sum(seconds for seconds in known if seconds is not None)


def _outlooks(study: Study, planned: tuple[PlannedSubject, ...]) -> list[_Outlook]:
    from visionscope.running.execute import estimate
    from visionscope.running.measuring import prospect
    from visionscope.running.plan import device_of

    store, device = Store(study.out), device_of(study.device)
    outlooks = []
    for subject in planned:
        own = [(job, prospect(job, store, device=device)) for job in subject.measuring]
        outlooks.append(_Outlook(subject, estimate(subject, store, batch=study.batch, device=device), tuple(own)))
    return outlooks


def _list_jobs(study: Study, outlooks: list[_Outlook]) -> None:
    from visionscope.running.execute import missing_parts
    from visionscope.running.measuring import memory_warning, missing_of
    from visionscope.running.plan import device_of

    console, store = _console(), Store(study.out)
    table = Table(
        "model", "diagnostic", "job", "data", "parts", "done", "images", title=f"{study.data}, {study.precision}"
    )
    for outlook in outlooks:
        missing = missing_parts(outlook.planned, store)
        for job in outlook.planned.jobs:
            measured = job.subject is not None
            left = len(missing_of(job, store)) if measured else sum(job in jobs for jobs in missing.values())
            count, data = len(job.parts), job.record["data"]
            names = (outlook.planned.subject.label, job.diagnostic.name, job.record["job"][:12], data_text(data))
            table.add_row(*names, str(count), str(count - left), str(data["images"]))
    console.print(table)
    for outlook in outlooks:
        _say_cost(console, outlook)
        for job, prospect in outlook.prospects:
            line = memory_warning(job, prospect.cost, device_of(study.device)) if prospect.cost else ""
            sys.stderr.write(f"visionscope: warning: {line}\n" if line else "")
    total = sum(outlook.seconds for outlook in outlooks)
    console.print(f"in total about {_duration(total)}; nothing was computed", highlight=False)


def _say_cost(console: Console, outlook: _Outlook) -> None:
    from visionscope.running.execute import LONG_PART_SECONDS
    from visionscope.running.measuring import size_text

    label, estimate = outlook.planned.subject.label, outlook.estimate
    long = f"{label}: one part takes more than 10 minutes; a stop can lose that much"
    if estimate is None:
        console.print(f"{label}: cost unknown, its first images can't be measured", highlight=False)
    elif outlook.planned.observing:
        line = f"{label}: {estimate.images} images left, about {_duration(estimate.seconds)}"
        console.print(f"{line} ({estimate.seconds_per_image * 1000:.0f} ms per image)", highlight=False)
        if estimate.seconds_per_image * min(SPAN, estimate.images) > LONG_PART_SECONDS:
            console.print(long, highlight=False)
    for job, prospect in outlook.prospects:
        about = "cost unknown" if prospect.seconds is None else f"about {_duration(prospect.seconds)}"
        memory = "" if prospect.cost is None else f", {size_text(prospect.cost.memory)} beside the model"
        left = f"{prospect.parts} part{'' if prospect.parts == 1 else 's'} left"
        line = f"{label}: {job.diagnostic.name}: {left}, {about}{memory}"
        console.print(line, highlight=False)
        if prospect.seconds and prospect.seconds / prospect.parts > LONG_PART_SECONDS:
            console.print(long.replace(label, f"{label}: {job.diagnostic.name}", 1), highlight=False)


def _ask(seconds: float) -> None:
    if seconds <= ASK_SECONDS:
        return
    if sys.stdin.isatty() and sys.stderr.isatty():
        sys.stderr.write(f"All diagnostics take about {_duration(seconds)}. Start? [y/N] ")
        sys.stderr.flush()
        if sys.stdin.readline().strip().lower() in ("y", "yes"):
            return
    raise ConfigError(f"only: all takes about {_duration(seconds)}; name some diagnostics, or add --yes")


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _run_folder_flags(parser: Parser) -> None:
    parser.add_argument("run", type=str, metavar="RUN", help="the folder that --out named")


def _status(parsed: Namespace) -> int:
    states = Store(parsed.run).states()
    table = Table("model", "diagnostic", "job", "done", "failed", "left", "images", title=parsed.run)
    for state in states:
        record = state.record
        counts = (len(state.done), len(state.failed), len(state.left))
        names = (record["model"]["label"], record["diagnostic"], record["job"][:12])
        table.add_row(*names, *map(str, counts), str(record["data"]["images"]))
    console = _console()
    console.print(table)
    for state in states:
        for part, message in state.failed.items():
            where = f"{state.record['diagnostic']} of {state.record['model']['label']}, part {part}"
            console.print(f"failed: {where}: {message}", highlight=False, markup=False)
    unfinished = any(state.failed or state.left for state in states)
    hint = f"go on with: visionscope run {parsed.run}/study.yaml" if unfinished else "everything is done"
    console.print(hint, highlight=False, soft_wrap=True)
    return 0


def _report_flags(parser: Parser) -> None:
    _run_folder_flags(parser)
    parser.add_argument(
        "--published",
        default="",
        type=str,
        help="the authors' landscapes by comma beside the run's: ViT-Ti, ResNet-50",
    )


def _report(parsed: Namespace) -> int:
    from visionscope.pages import write_report

    names = [name.strip() for name in parsed.published.split(",") if name.strip()]
    sys.stdout.write(f"{write_report(parsed.run, names)}\n")
    return 0


def _train_flags(parser: Parser) -> None:
    parser.add_argument("model", type=str, metavar="MODEL", help="[LABEL=]SPEC[?key=value][@FILE]")
    parser.add_argument("--data", type=str, required=True, help="data spec without split, such as embedded")
    parser.add_argument("--out", type=str, default="visionscope-run", help="run folder; weights go below its train/")
    parser.add_argument("--epochs", type=float, default=10.0, help="passes over the training images at most")
    parser.add_argument("--minutes", type=float, default=None, help="ends the training after so long")
    parser.add_argument("--seed", type=int, default=0, help="of weights, order and augmentation")
    parser.add_argument("--fraction", type=float, default=1.0, help="share of the training images of each class")


def _train(parsed: Namespace) -> int:
    from visionscope.training.loop import Progress, train

    def report(progress: Progress) -> None:
        line = f"epoch {progress.epoch:.1f}, {progress.done:.0%}, {progress.seconds:.0f} s, loss {progress.loss:.3f}"
        sys.stderr.write(f"\r{line}\x1b[K" if sys.stderr.isatty() else "")

    named = {name: parsed[name] for name in ("epochs", "minutes", "seed", "fraction")}
    trained = train(parsed.model, parsed.data, Path(parsed.out), report=report, **named)
    sys.stderr.write("\n" if sys.stderr.isatty() else "")
    sys.stdout.write(f"{trained.accuracy:.1%} of {trained.images} test images right; weights: {trained.checkpoint}\n")
    return 0


def _demo_flags(parser: Parser) -> None:
    parser.add_argument("--out", type=str, default="visionscope-demo", help="run folder; the same command resumes it")
    parser.add_argument("--seed", type=int, default=0, help="of the networks and of the sample")


def _demo(parsed: Namespace) -> int:
    from visionscope.demo import demo

    shown = demo(parsed.out, seed=parsed.seed, say=lambda line: _say(sys.stderr, line))
    for finding in shown.findings:
        _say(sys.stdout, f"* {finding}")
    _say(sys.stdout, f"The page: {shown.page}")
    return 0


def _say(stream: TextIO, line: str) -> None:
    stream.write(f"{line}\n")
    stream.flush()


COMMANDS: Mapping[str, Command] = {
    "demo": Command("Train two small networks, look inside both, write a report: minutes.", _demo_flags, _demo),
    "models": Command("List and search the models that can be named.", _models_flags, _models),
    "points": Command("Show where the feature maps of a model can be looked at.", _points_flags, _points),
    "diagnose": Command("Look inside models and write a report.", _diagnose_flags, _diagnose),
    "run": Command("Do or go on with the study in a YAML file.", _run_flags, _run),
    "train": Command("Train a small model; its weights load as MODEL@FILE.", _train_flags, _train),
    "status": Command("Show what of a run is done, failed and left.", _run_folder_flags, _status),
    "report": Command("Build the page again from what is stored.", _report_flags, _report),
}
