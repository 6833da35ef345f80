"""What each command of the command line does; the heavy imports happen inside, where a command needs them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from visionscope.commands import buildup, comparing, harmonize, listing, replicate, studies, training
from visionscope.flags import Parser

if TYPE_CHECKING:
    from argparse import Namespace


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


COMMANDS: Mapping[str, Command] = {
    "demo": Command(
        "Look inside three small trained networks and write a report: a minute or two.",
        training.demo_flags,
        training.demo,
    ),
    "models": Command("List or search the available models.", listing.models_flags, listing.models),
    "points": Command("List where the feature maps of a model are measured.", listing.points_flags, listing.points),
    "diagnose": Command("Measure models on images and write a report.", studies.diagnose_flags, studies.diagnose),
    "run": Command("Run or resume the study in a YAML file, such as RUN/study.yaml.", studies.run_flags, studies.run),
    "replicate": Command(
        "Train small networks, measure them, and judge the paper's claims, figure by figure.",
        replicate.replicate_flags,
        replicate.replicate,
    ),
    "train": Command("Train a model; MODEL@FILE loads the weights.", training.train_flags, training.train),
    "harmonize": Command(
        "Put attention into a convolutional network by the paper's rules.",
        harmonize.harmonize_flags,
        harmonize.harmonize,
    ),
    "buildup": Command(
        "Put attention where it helps, found by the paper's build-up rule over seeds.",
        buildup.buildup_flags,
        buildup.buildup,
    ),
    "status": Command("Show which parts of a run are done, failed or left.", studies.run_folder_flags, studies.status),
    "report": Command("Rebuild the page of a run from its stored results.", studies.report_flags, studies.report),
    "compare": Command("Print what changed from one run to another.", comparing.compare_flags, comparing.compare),
}
